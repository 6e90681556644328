//! Spans and log records counted and measured by group.
//!
//! Where the groups are those that are counted anyway, the answer is exact, whatever the window holds. Attributes are
//! looked up item by item: of the newest, as many as are read for one answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Seen, Subject};
use crate::model::span::Status;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::logs::{LOGS_MAX, LogAsk, StoredLog};
use crate::store::read::spans::{SPANS_MAX, SpanAsk};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;
use super::patterns;
use super::sums::Sums;
use super::window;

/// Most steps of an answer.
pub const STEPS_MAX: usize = 60;
/// Most groups that are kept while items are looked at.
const GROUPS_MAX: usize = 10_000;
/// What spans and log records are grouped by that is no attribute of theirs.
const OF_SPANS: [&str; 5] = ["service", "operation", "kind", "version", "instance"];
const OF_LOGS: [&str; 5] = ["service", "severity", "template", "version", "instance"];
/// What stands before the attributes of those who send them.
const OF_RESOURCE: &str = "resource.";

/// What to count.
#[derive(Debug, Clone)]
pub struct AggregateQuestion {
    /// Whether log records are counted instead of spans.
    pub of_logs: bool,
    /// What is grouped by.
    pub group_by: Vec<String>,
    /// Only what this service sends.
    pub service: Option<String>,
    /// Only spans of this name.
    pub operation: Option<String>,
    /// Only items with these attributes, by key and rendered value.
    pub filter: Vec<(String, String)>,
    /// When.
    pub window: Window,
    /// Length of a step; none for no steps. Widened to what is counted: ten seconds for spans, a minute for log records.
    pub step: Option<Duration>,
}

impl AggregateQuestion {
    /// Whether log records are grouped by their templates.
    fn by_template(&self) -> bool {
        self.of_logs && self.group_by.iter().any(|key| key == "template")
    }
}

/// Sums by group.
#[derive(Debug, Clone, Default)]
pub struct Aggregated {
    /// The values of the keys, and the sums of the window and of each step.
    pub groups: BTreeMap<Vec<String>, Vec<Cell>>,
    /// The window and the steps that were counted.
    pub windows: Vec<Window>,
    /// Items that were looked at one by one, where the answer rests on those; then only the newest may be in it.
    pub looked_at: Option<usize>,
    /// The oldest item that was looked at, where there are more: what lies before it is not known, and the window begins
    /// there.
    pub looked_from: Option<UnixNanos>,
    /// Whether there are more items, or groups, than were looked at.
    pub cut: bool,
    /// What was grouped by that none of the items looked at has.
    pub absent: Vec<String>,
    /// What those items can be grouped by, where something is absent.
    pub keys: BTreeSet<String>,
    /// Whether requests were counted, which is what versions and instances are counted by, instead of all spans.
    pub of_requests: bool,
}

impl Aggregated {
    /// Whether items of this window, or of the end of it, were counted.
    pub fn knows(&self, window: &Window) -> bool {
        self.looked_from.is_none_or(|from| from < window.to)
    }

    /// Notes that `count` items were looked at, and that only those from `oldest` on were where there may be more.
    fn looked(&mut self, (count, most): (usize, usize), oldest: Option<UnixNanos>) {
        self.looked_at = Some(count);
        self.cut = count >= most;
        self.looked_from = oldest.filter(|_| self.cut);
        let Some(from) = self.looked_from else { return };
        for window in self.windows.iter_mut().filter(|window| window.contains(from)) {
            window.from = from;
        }
    }
}

impl Query {
    /// Counts spans or log records by group.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn aggregate(&self, scope: &Scope, question: AggregateQuestion) -> Result<Aggregated, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(Aggregated::default()) };
        let services: Vec<ServiceId> = service.map(|info| info.id).into_iter().collect();
        let operations = self.operations_named(tenant, &services, question.operation.as_deref())?;
        let wanted = Wanted { services, operations };
        let counted: &[&str] = match question.of_logs {
            true => &["service", "severity", "template"],
            false => &["service", "operation", "kind"],
        };
        let is_counted = |keys: &[&str]| question.group_by.iter().all(|key| keys.contains(&key.as_str()));
        let by_instance = !question.of_logs
            && wanted.operations.is_empty()
            && is_counted(&["service", "version", "instance"])
            && !is_counted(counted);
        if question.filter.is_empty() && (is_counted(counted) || by_instance) {
            return Box::pin(self.counted_groups(tenant, &question, &wanted, by_instance)).await;
        }
        Box::pin(self.looked_up_groups(tenant, &question, &wanted)).await
    }

    /// Groups of what is counted anyway.
    async fn counted_groups(
        &self,
        tenant: TenantNumber,
        question: &AggregateQuestion,
        wanted: &Wanted,
        by_instance: bool,
    ) -> Result<Aggregated, Error> {
        let width = if question.of_logs { COARSE_SECONDS } else { FINE_SECONDS };
        let known = self.known(tenant).await?;
        let Some(known) = known.and_then(|known| window::clipped(question.window, known)) else {
            return Ok(Aggregated { windows: vec![question.window], ..Aggregated::default() });
        };
        let windows = windows(known, question.step, width.max(self.kept_width(known.from)));
        let mut sums = match question.of_logs {
            true => self.logs_of(tenant, &windows).await?,
            false => self.sums_of(tenant, &windows).await?,
        };
        if question.by_template() {
            let ids = patterns::named(sums.iter().flat_map(|sums| sums.keys()));
            let patterns = self.patterns(tenant, &ids).await?;
            sums = sums.into_iter().map(|sums| patterns.added_up(sums)).collect();
        }
        let mut found = Aggregated { windows, of_requests: by_instance, ..Aggregated::default() };
        for (at, sums) in sums.into_iter().enumerate() {
            self.add_sums(&mut found, at, sums, (question, wanted, by_instance));
        }
        Ok(found)
    }

    fn add_sums(
        &self,
        found: &mut Aggregated,
        at: usize,
        sums: Sums,
        (question, wanted, by_instance): (&AggregateQuestion, &Wanted, bool),
    ) {
        let windows = found.windows.len();
        for (subject, cell) in sums.into_iter().filter(|(_, cell)| cell.count > 0) {
            let is_wanted = match subject {
                Subject::Operation(id) => {
                    // Calls to who sends no spans are counted for it too: they are their callers' spans.
                    let owner = self.node_of(subject);
                    !by_instance
                        && wanted.operation(id)
                        && owner.is_some_and(|owner| self.is_instrumented(owner))
                }
                Subject::Instance(..) => by_instance,
                Subject::Logs(..) => question.of_logs,
                Subject::Edge(..) => false,
            };
            let Some(owner) = self.node_of(subject).filter(|owner| is_wanted && wanted.service(*owner))
            else {
                continue;
            };
            let value = |key: &String| match (key.as_str(), subject) {
                ("service", _) => self.service_name(owner),
                ("operation", Subject::Operation(id)) => self.operation_name(id),
                ("kind", Subject::Operation(id)) => {
                    self.names().operation_info(id).map_or("?", |info| info.kind.name()).to_owned()
                }
                ("version", Subject::Instance(_, id)) => {
                    self.resource(id).map(|info| info.version.to_string()).unwrap_or_default()
                }
                ("instance", Subject::Instance(_, id)) => self.instance_name(id),
                ("severity", Subject::Logs(.., severity)) => severity.name().to_owned(),
                ("template", Subject::Logs(_, id, _)) => template_name(id),
                _ => String::new(),
            };
            let labels: Vec<String> = question.group_by.iter().map(value).collect();
            let cells = found.groups.entry(labels).or_insert_with(|| vec![Cell::default(); windows]);
            cells[at].merge(&cell);
        }
    }

    /// Groups of items that are looked at one by one.
    async fn looked_up_groups(
        &self,
        tenant: TenantNumber,
        question: &AggregateQuestion,
        wanted: &Wanted,
    ) -> Result<Aggregated, Error> {
        let whole = windows(question.window, question.step, FINE_SECONDS).into_iter();
        // Nothing is looked at before and behind the window itself.
        let looked_in = whole.map(|whole| window::clipped(whole, question.window).unwrap_or(whole));
        let found = Aggregated { windows: looked_in.collect(), ..Aggregated::default() };
        match question.of_logs {
            true => self.logs_looked_up(tenant, question, (wanted, found)).await,
            false => self.spans_looked_up(tenant, question, (wanted, found)).await,
        }
    }

    async fn logs_looked_up(
        &self,
        tenant: TenantNumber,
        question: &AggregateQuestion,
        (wanted, mut found): (&Wanted, Aggregated),
    ) -> Result<Aggregated, Error> {
        let ask = LogAsk {
            services: wanted.services.clone(),
            attributes: question.filter.clone(),
            with_detail: true,
            ..LogAsk::newest(question.window, LOGS_MAX)
        };
        let mut logs = self.store.logs(tenant, &ask).await?.items;
        if question.by_template() {
            let ids = logs.iter().map(|log| log.row.template).collect();
            let patterns = self.patterns(tenant, &ids).await?;
            logs.iter_mut().for_each(|log| log.row.template = patterns.oldest(log.row.template));
        }
        found.looked((logs.len(), LOGS_MAX), logs.last().map(|log| log.row.time));
        for log in &logs {
            let labels = question.group_by.iter().map(|key| self.value_of_log(log, key)).collect();
            let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error: false };
            add_item(&mut found, labels, log.row.time, &seen);
        }
        found.absent = absent(&found, &question.group_by, &OF_LOGS);
        if !found.absent.is_empty() {
            let own = logs.iter().flat_map(|log| log.row.detail.attributes()).map(|(key, _)| key).collect();
            let senders = logs.iter().map(|log| log.row.resource).collect();
            found.keys = self.keys(&OF_LOGS, own, senders);
        }
        Ok(found)
    }

    async fn spans_looked_up(
        &self,
        tenant: TenantNumber,
        question: &AggregateQuestion,
        (wanted, mut found): (&Wanted, Aggregated),
    ) -> Result<Aggregated, Error> {
        let ask = SpanAsk {
            services: wanted.services.clone(),
            operations: wanted.operations.clone(),
            attributes: question.filter.clone(),
            with_detail: true,
            ..SpanAsk::newest(question.window, SPANS_MAX)
        };
        let spans = self.store.spans(tenant, &ask).await?;
        found.looked((spans.len(), SPANS_MAX), spans.last().map(|span| span.start));
        for span in &spans {
            let labels = question.group_by.iter().map(|key| self.value_of_span(span, key)).collect();
            let seen = Seen::Call {
                duration_ns: span.duration_ns,
                caller_ns: 0,
                error: span.status == Status::Error,
            };
            add_item(&mut found, labels, span.start, &seen);
        }
        found.absent = absent(&found, &question.group_by, &OF_SPANS);
        if !found.absent.is_empty() {
            let own = spans.iter().flat_map(|span| span.detail.attributes()).map(|(key, _)| key).collect();
            let senders = spans.iter().map(|span| span.resource).collect();
            found.keys = self.keys(&OF_SPANS, own, senders);
        }
        Ok(found)
    }

    /// What items can be grouped by that have these attributes and senders.
    fn keys(&self, fields: &[&str], own: BTreeSet<&str>, senders: BTreeSet<ResourceId>) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = fields.iter().copied().chain(own).map(str::to_owned).collect();
        for sender in senders.into_iter().filter_map(|id| self.resource(id)) {
            let attributes = sender.resource.attributes.iter();
            keys.extend(attributes.map(|(key, _)| format!("{OF_RESOURCE}{key}")));
        }
        keys
    }

    fn value_of_span(&self, span: &SpanRow, key: &str) -> String {
        match key {
            "service" => self.service_name(span.service),
            "operation" => self.operation_name(span.operation),
            "kind" => span.kind.name().to_owned(),
            "version" => {
                self.resource(span.resource).map(|info| info.version.to_string()).unwrap_or_default()
            }
            "instance" => self.instance_name(span.resource),
            _ => match key.strip_prefix(OF_RESOURCE) {
                Some(key) => self.value_of_resource(span.resource, key),
                None => {
                    span.detail.attribute(key).map(|value| value.render().into_owned()).unwrap_or_default()
                }
            },
        }
    }

    fn value_of_log(&self, log: &StoredLog, key: &str) -> String {
        match key {
            "service" => self.service_name(log.row.service),
            "severity" => log.row.severity.name().to_owned(),
            "template" => template_name(log.row.template),
            "version" => {
                self.resource(log.row.resource).map(|info| info.version.to_string()).unwrap_or_default()
            }
            "instance" => self.instance_name(log.row.resource),
            _ => match key.strip_prefix(OF_RESOURCE) {
                Some(key) => self.value_of_resource(log.row.resource, key),
                None => {
                    let found = log.row.detail.attributes().find(|(known, _)| *known == key);
                    found.map(|(_, value)| value.render().into_owned()).unwrap_or_default()
                }
            },
        }
    }

    fn value_of_resource(&self, id: ResourceId, key: &str) -> String {
        let info = self.resource(id);
        info.and_then(|info| info.resource.attributes.get(key).map(|value| value.render().into_owned()))
            .unwrap_or_default()
    }
}

/// What is counted.
struct Wanted {
    services: Vec<ServiceId>,
    operations: Vec<OperationId>,
}

impl Wanted {
    fn service(&self, id: ServiceId) -> bool {
        self.services.is_empty() || self.services.contains(&id)
    }

    fn operation(&self, id: OperationId) -> bool {
        self.operations.is_empty() || self.operations.contains(&id)
    }
}

/// The attributes among `keys` that no item has, where there are any items.
fn absent(found: &Aggregated, keys: &[String], fields: &[&str]) -> Vec<String> {
    if found.groups.is_empty() {
        return Vec::new();
    }
    let is_empty = |at: usize| found.groups.keys().all(|labels| labels.get(at).is_none_or(String::is_empty));
    let attributes = keys.iter().enumerate().filter(|(_, key)| !fields.contains(&key.as_str()));
    attributes.filter(|(at, _)| is_empty(*at)).map(|(_, key)| key.clone()).collect()
}

fn template_name(id: TemplateId) -> String {
    format!("template:{}", id.0)
}

/// The window in whole buckets, and its steps, the last so many.
fn windows(window: Window, step: Option<Duration>, width: i64) -> Vec<Window> {
    let whole = window::whole_buckets(window, width);
    let mut all = vec![whole];
    if let Some(step) = step {
        let step_s = i64::try_from(step.as_secs()).unwrap_or(i64::MAX).max(1);
        let step_s = (step_s + width - 1) / width * width;
        let first = UnixNanos::from_seconds(whole.from.bucket_seconds(step_s)).seconds();
        let count = (whole.to.seconds() - first + step_s - 1) / step_s;
        let skipped = (count - STEPS_MAX as i64).max(0);
        let begins = (skipped..count).map(|at| first + at * step_s);
        all.extend(begins.map(|from| {
            let step = Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(from + step_s));
            Window::new(step.from.max(whole.from), step.to.min(whole.to))
        }));
    }
    all
}

fn add_item(found: &mut Aggregated, labels: Vec<String>, at: UnixNanos, seen: &Seen) {
    let windows = found.windows.len();
    if found.groups.len() >= GROUPS_MAX && !found.groups.contains_key(&labels) {
        found.cut = true;
        return;
    }
    let cells = found.groups.entry(labels).or_insert_with(|| vec![Cell::default(); windows]);
    for (window, cell) in found.windows.iter().zip(cells) {
        if window.contains(at) {
            cell.add(seen);
        }
    }
}
