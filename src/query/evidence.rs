//! Everything known about a window, in the form `diagnose` reads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::diagnose::evidence::{
    EdgeEvidence, Evidence, Exception, ExemplarSpan, ExemplarTrace, InstanceEvidence, Node,
    OperationEvidence, Slice, TemplateEvidence,
};
use crate::diagnose::split::Track;
use crate::fault;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::span::{SpanKind, Status};
use crate::model::time::Window;
use crate::store::read::exemplars::DetailsOf;
use crate::store::read::rollups::RollupKind;
use crate::store::read::summaries::{TraceAsk, TraceOrder};
use crate::store::rows::{SpanRow, TemplateRow};

use super::error::Error;
use super::handle::Query;
use super::window::{self, Comparison, Part};

/// Failing traces, and as many slow ones, that are looked into.
const EXEMPLARS_MAX: usize = 30;
/// Requests among which the slowest are looked for.
const SLOW_AMONG_MAX: u64 = 10_000;
/// Spans of one exemplar that are read.
const EXEMPLAR_SPANS_MAX: usize = 1_000;
/// Templates that are handed on, most frequent first.
const TEMPLATES_MAX: usize = 2_000;

/// Sums by subject.
pub type Sums = HashMap<Subject, Cell>;

impl Query {
    /// The time from which anything of the tenant is known, up to now.
    pub(super) async fn known(&self, tenant: TenantNumber) -> Result<Option<Window>, Error> {
        let range = self.store.rollup_range(tenant).await?;
        Ok(range.map(|range| Window::new(range.from, range.to.max(self.clock.now()))))
    }

    /// What happened in `window`, summed over it.
    pub(super) async fn sums(&self, tenant: TenantNumber, window: Window) -> Result<Sums, Error> {
        let mut sums = Sums::new();
        for part in window::parts(window) {
            let cells = self.part(tenant, part).await?;
            if sums.is_empty() {
                sums = cells;
                continue;
            }
            for (subject, cell) in cells {
                sums.entry(subject).or_default().merge(&cell);
            }
        }
        Ok(sums)
    }

    async fn part(&self, tenant: TenantNumber, part: Part) -> Result<Sums, Error> {
        let Part { window, width_seconds } = part;
        if self.graph.covers(tenant, window).is_some_and(|covered| covered <= width_seconds) {
            let graph = self.graph.clone();
            let work = tokio::task::spawn_blocking(move || {
                fault::point("query.summed");
                graph.merged(tenant, window, width_seconds)
            });
            return work.await.map_err(|_| Error::Abandoned);
        }
        let kinds = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];
        Ok(self.store.merged_rollups(tenant, width_seconds, window, &kinds).await?)
    }

    /// What happened in `window`, bucket by bucket, of subjects that a user or caller can notice.
    pub(super) async fn slices(&self, tenant: TenantNumber, window: Window) -> Result<Vec<Slice>, Error> {
        let Some(window) = self.known(tenant).await?.and_then(|known| window::clipped(window, known)) else {
            return Ok(Vec::new());
        };
        self.slices_within(tenant, window).await
    }

    /// The same, whatever is known before and after.
    pub(super) async fn slices_within(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<Slice>, Error> {
        let wanted = |subject: &Subject| matches!(subject, Subject::Instance(..) | Subject::Operation(_));
        let kinds = [RollupKind::Operation, RollupKind::Instance];
        let (width, cells) = self.timeline(tenant, window, &kinds, wanted).await?;
        Ok(cells
            .into_iter()
            .map(|(bucket_s, subject, cell)| slice(subject, bucket_s, width, &cell))
            .collect())
    }

    /// How long messages waited for each consumer, bucket by bucket, as tracks.
    pub(super) async fn wait_tracks(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<Track>, Error> {
        let Some(window) = self.known(tenant).await?.and_then(|known| window::clipped(window, known)) else {
            return Ok(Vec::new());
        };
        let store = self.store.clone();
        let wanted = move |subject: &Subject| match subject {
            Subject::Edge(_, to) => {
                store.names().operation_info(*to).is_some_and(|info| info.kind == SpanKind::CONSUMER)
            }
            _ => false,
        };
        let (_, cells) = self.timeline(tenant, window, &[RollupKind::Edge], wanted).await?;
        let mut tracks: BTreeMap<Subject, Vec<(i64, f64)>> = BTreeMap::new();
        for (bucket_s, subject, cell) in cells.into_iter().filter(|(.., cell)| cell.count > 0) {
            tracks.entry(subject).or_default().push((bucket_s, cell.gap_ns()));
        }
        Ok(tracks.into_values().map(Track::Level).collect())
    }

    /// The cells of the subjects that are wanted, and the width of their buckets in seconds.
    async fn timeline(
        &self,
        tenant: TenantNumber,
        window: Window,
        kinds: &[RollupKind],
        wanted: impl Fn(&Subject) -> bool + Clone + Send + 'static,
    ) -> Result<(i64, Vec<(i64, Subject, Cell)>), Error> {
        let width = window::step_for(window);
        let cells = if width <= COARSE_SECONDS
            && self.graph.covers(tenant, window).is_some_and(|covered| covered <= width)
        {
            let graph = self.graph.clone();
            let work = tokio::task::spawn_blocking(move || graph.series(tenant, window, width, wanted));
            return Ok((width, work.await.map_err(|_| Error::Abandoned)?));
        } else if width < COARSE_SECONDS {
            self.store.rollups(tenant, width, window, kinds).await?
        } else {
            self.store.timeline(tenant, width, window, kinds).await?
        };
        Ok((width, cells.into_iter().filter(|(_, subject, _)| wanted(subject)).collect()))
    }

    /// Everything about a window and its baseline, both cut to the time that is known.
    pub(super) async fn evidence(
        &self,
        tenant: TenantNumber,
        comparison: Comparison,
    ) -> Result<Evidence, Error> {
        let Some(known) = self.known(tenant).await? else { return Ok(Evidence::empty(comparison.now)) };
        let mut evidence = self.counted(tenant, comparison, known).await?;
        evidence.forget_empty_baseline();
        Ok(evidence)
    }

    /// What spans tell about a window and its baseline, both cut to `known`.
    pub(super) async fn counted(
        &self,
        tenant: TenantNumber,
        comparison: Comparison,
        known: Window,
    ) -> Result<Evidence, Error> {
        let mut evidence = Evidence::empty(window::clipped(comparison.now, known).unwrap_or(comparison.now));
        let baseline = window::clipped(comparison.before, known);
        let before = async {
            match baseline {
                Some(window) => self.sums(tenant, window).await,
                None => Ok(Sums::new()),
            }
        };
        let (now, before) = tokio::try_join!(Box::pin(self.sums(tenant, evidence.window)), Box::pin(before))?;
        evidence.baseline = baseline;
        self.describe(now, before, &mut evidence);
        Ok(evidence)
    }

    fn describe(&self, mut now: Sums, mut before: Sums, evidence: &mut Evidence) {
        let subjects: BTreeSet<Subject> = now.keys().chain(before.keys()).copied().collect();
        let mut nodes: HashSet<ServiceId> = HashSet::new();
        for subject in subjects {
            let (now, before) =
                (now.remove(&subject).unwrap_or_default(), before.remove(&subject).unwrap_or_default());
            match subject {
                Subject::Operation(id) => {
                    let Some(info) = self.names().operation_info(id) else { continue };
                    nodes.insert(info.service);
                    let (service, name, kind) = (info.service, info.name.to_string(), info.kind);
                    evidence.operations.push(OperationEvidence { id, service, name, kind, now, before });
                }
                Subject::Edge(from, to) => evidence.edges.push(EdgeEvidence { from, to, now, before }),
                Subject::Instance(service, resource) => {
                    let Some(info) = self.names().resource_info(resource) else { continue };
                    nodes.insert(service);
                    evidence.instances.push(InstanceEvidence {
                        service,
                        resource,
                        version: info.version.to_string(),
                        instance: info.instance.to_string(),
                        first_seen: info.first_seen,
                        now,
                        before,
                    });
                }
                Subject::Logs(..) => {}
            }
        }
        evidence.nodes = nodes
            .into_iter()
            .filter_map(|id| self.names().service_info(id))
            .map(|info| Node { id: info.id, name: info.name.to_string(), kind: info.kind })
            .collect();
        evidence.nodes.sort_by_key(|node| node.id);
    }

    /// The patterns of the log records of a window and of its baseline. They are counted a minute at a time: the minute in
    /// which the window begins is the window's.
    pub(super) async fn templates(
        &self,
        tenant: TenantNumber,
        (told, baseline): (Window, Option<Window>),
        known: &[TemplateRow],
    ) -> Result<Vec<TemplateEvidence>, Error> {
        let kinds = [RollupKind::Logs];
        let now = window::whole_buckets(told, COARSE_SECONDS);
        let before = baseline.map(|baseline| Window::new(baseline.from, now.from));
        let now = self.store.merged_rollups(tenant, COARSE_SECONDS, now, &kinds).await?;
        let before = match before {
            Some(window) => self.store.merged_rollups(tenant, COARSE_SECONDS, window, &kinds).await?,
            None => Sums::new(),
        };
        let texts: HashMap<TemplateId, &TemplateRow> =
            known.iter().map(|template| (template.id, template)).collect();
        let subjects: BTreeSet<Subject> = now.keys().chain(before.keys()).copied().collect();
        let count = |sums: &Sums, subject| sums.get(subject).map_or(0, |cell| cell.count);
        let mut templates: Vec<TemplateEvidence> = subjects
            .iter()
            .filter_map(|subject| {
                let Subject::Logs(service, id, severity) = *subject else { return None };
                let template = texts.get(&id)?;
                Some(TemplateEvidence {
                    id,
                    service,
                    severity,
                    text: template.text.clone(),
                    first_seen: template.first_seen,
                    now: count(&now, subject),
                    before: count(&before, subject),
                })
            })
            .collect();
        // Warnings and errors are never crowded out by chatter.
        templates.sort_by_key(|template| {
            (
                template.severity < Severity::WARN,
                std::cmp::Reverse(template.now + template.before),
                template.id,
            )
        });
        templates.truncate(TEMPLATES_MAX);
        Ok(templates)
    }

    /// The share of each template among its service's log records, minute by minute, as tracks.
    pub(super) async fn log_tracks(&self, tenant: TenantNumber, window: Window) -> Result<Vec<Track>, Error> {
        let window = window::whole_buckets(window, COARSE_SECONDS);
        let cells = self.store.timeline(tenant, COARSE_SECONDS, window, &[RollupKind::Logs]).await?;
        let mut all: BTreeMap<(ServiceId, i64), u64> = BTreeMap::new();
        let mut own: BTreeMap<(ServiceId, TemplateId), BTreeMap<i64, u64>> = BTreeMap::new();
        for (bucket_s, subject, cell) in cells {
            let Subject::Logs(service, template, _) = subject else { continue };
            *all.entry((service, bucket_s)).or_default() += cell.count;
            *own.entry((service, template)).or_default().entry(bucket_s).or_default() += cell.count;
        }
        let track = |((service, _), counts): (&(ServiceId, TemplateId), &BTreeMap<i64, u64>)| {
            let minutes = all.range((*service, i64::MIN)..=(*service, i64::MAX));
            Track::Share(
                minutes.map(|((_, at), of)| (*at, counts.get(at).copied().unwrap_or(0), *of)).collect(),
            )
        };
        Ok(own.iter().map(track).collect())
    }

    /// Traces that failed, and slow ones.
    pub(super) async fn exemplars(
        &self,
        tenant: TenantNumber,
        evidence: &Evidence,
        services: &[ServiceId],
    ) -> Result<Vec<ExemplarTrace>, Error> {
        let of = |window, failed, order| TraceAsk {
            window,
            services: services.to_vec(),
            operations: Vec::new(),
            failed,
            duration_min_ns: None,
            order,
            after: None,
            limit: EXEMPLARS_MAX,
        };
        let failing = of(evidence.window, Some(true), TraceOrder::Newest);
        let slow = of(last_requests(evidence), None, TraceOrder::Slowest);
        let mut found = Vec::new();
        for ask in [failing, slow] {
            let page = self.store.trace_summaries(tenant, &ask).await?;
            for summary in page.items {
                if !found.contains(&(summary.key, summary.trace_id)) {
                    found.push((summary.key, summary.trace_id));
                }
            }
        }
        let traces = self.store.traces_by_key(tenant, &found, EXEMPLAR_SPANS_MAX, DetailsOf::Failed).await?;
        Ok(traces
            .into_iter()
            .map(|trace| ExemplarTrace {
                trace_id: trace.trace_id,
                spans: trace.spans.iter().map(exemplar_span).collect(),
            })
            .collect())
    }
}

/// The end of the window, long enough for about [`SLOW_AMONG_MAX`] requests: finding the slowest looks at each.
fn last_requests(evidence: &Evidence) -> Window {
    let requests: u64 = evidence.instances.iter().map(|instance| instance.now.count).sum();
    let share = (SLOW_AMONG_MAX as f64 / requests.max(1) as f64).min(1.0);
    let length = evidence.window.length().mul_f64(share);
    Window::new(evidence.window.to.minus(length), evidence.window.to)
}

const fn slice(subject: Subject, bucket_s: i64, width_s: i64, cell: &Cell) -> Slice {
    Slice {
        subject,
        bucket_s,
        width_s,
        count: cell.count,
        errors: cell.errors,
        sum_ns: cell.sum_ns,
        other_ns: cell.other_ns,
    }
}

/// The last exception recorded on a span.
pub(super) fn exception(row: &SpanRow) -> Option<Exception> {
    let event = row.detail.events().filter(|event| event.name() == "exception").last()?;
    let text = |key| event.text(key).unwrap_or_default().to_owned();
    Some(Exception { kind: text("exception.type"), message: text("exception.message") })
}

fn exemplar_span(row: &SpanRow) -> ExemplarSpan {
    ExemplarSpan {
        span_id: row.span_id,
        parent_id: row.parent_id,
        service: row.service,
        operation: row.operation,
        resource: row.resource,
        kind: row.kind,
        error: row.status == Status::Error,
        start: row.start,
        duration_ns: row.duration_ns,
        status_message: row.detail.status_message().to_owned(),
        exception: exception(row),
    }
}
