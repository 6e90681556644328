//! What telemetry there is in a window, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::model::id::{ResourceId, ServiceId, SpanId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::read::exemplars::{DetailsOf, Exemplar};
use crate::store::read::logs::{LogAsk, StoredLog};
use crate::store::read::metrics::{SERIES_MAX, SeriesAsk};
use crate::store::read::spans::SpanAsk;
use crate::store::read::summaries::{TraceAsk, TraceOrder};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;
use super::namesakes::{Namesakes, Senders};
use super::window;

/// Spans and log records whose attributes are looked at: the newest.
const LOOKED_AT: (usize, usize) = (2_000, 2_000);
/// Traces that are looked into, and spans of each.
const TRACES: (usize, usize) = (50, 500);
/// A span that begins so long before its parent has another clock.
const SKEW_MIN: Duration = Duration::from_millis(5);
/// Part of a service's items that an issue must concern to be told.
const PART_MIN: f64 = 0.02;
/// Values kept of one key.
const VALUES_MAX: usize = 2_000;
/// Longest value shown, in characters.
const VALUE_CHARS_MAX: usize = 120;
/// Services that may share their name of which it is asked who sent metrics in the window.
const SUSPECTED_MAX: usize = 500;

/// Who has an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bearer {
    /// Spans.
    Span,
    /// Log records.
    Log,
    /// The senders of either.
    Resource,
}

impl Bearer {
    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["span", "log", "resource"][self as usize]
    }
}

/// An attribute key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Items that have it.
    pub with: u64,
    /// Its values with how many have each, as far as they are counted.
    pub values: BTreeMap<String, u64>,
    /// Whether there are more values than are counted.
    pub more: bool,
}

/// Something wrong with telemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// What.
    pub issue: &'static str,
    /// Whose; none where it concerns all.
    pub service: Option<ServiceId>,
    /// The part of what was looked at that it concerns.
    pub part: f64,
    /// What it does to answers, and how it is mended.
    pub advice: &'static str,
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct DataDescribed {
    /// Spans in the window, counted.
    pub spans: u64,
    /// Services that sent them.
    pub span_services: usize,
    /// Log records in the window, counted a minute at a time.
    pub logs: u64,
    /// Services that sent them.
    pub log_services: usize,
    /// Names of metrics that have a point in the window.
    pub metrics: usize,
    /// Series of metrics, in the window or not.
    pub series: usize,
    /// Services that sent them.
    pub metric_services: usize,
    /// Attribute keys by bearer and key.
    pub attributes: BTreeMap<(Bearer, String), Described>,
    /// Spans, log records and resources whose attributes were looked at.
    pub looked_at: (u64, u64, u64),
    /// What is wrong, the largest part first.
    pub issues: Vec<Issue>,
    /// Names that several services share, by name.
    pub namesakes: Vec<Namesakes>,
}

/// Who sends what.
#[derive(Debug, Default)]
struct Sending {
    /// Services that send spans, log records and metrics.
    services: [BTreeSet<ServiceId>; 3],
    /// Who sent requests that were counted in the window.
    counted: Senders,
    /// Who sends series, in the window or not.
    measured: Senders,
}

impl Query {
    /// Describes what was received in `asked`; of one service or of all.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer.
    pub async fn describe_data(
        &self,
        scope: &Scope,
        asked: Window,
        service: Option<&str>,
    ) -> Result<DataDescribed, Error> {
        let service = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let Some(tenant) = self.tenant(scope) else { return Ok(DataDescribed::default()) };
        let mut found = DataDescribed::default();
        let sending = Box::pin(self.count_signals(tenant, asked, service, &mut found)).await?;
        let services: Vec<ServiceId> = service.into_iter().collect();
        let spans =
            SpanAsk { services: services.clone(), with_detail: true, ..SpanAsk::newest(asked, LOOKED_AT.0) };
        let logs =
            LogAsk { services: services.clone(), with_detail: true, ..LogAsk::newest(asked, LOOKED_AT.1) };
        let (spans, logs, traces) = tokio::try_join!(
            async { Ok::<_, Error>(self.store.spans(tenant, &spans).await?) },
            async { Ok(self.store.logs(tenant, &logs).await?.items) },
            Box::pin(self.newest_traces(tenant, asked, services)),
        )?;
        self.count_attributes(&spans, &logs, &mut found);
        found.issues = broken_traces(&traces);
        found.issues.extend(untraced_logs(&logs));
        found.issues.extend(self.missing(&spans, &sending.services));
        found.issues.retain(|issue| issue.part >= PART_MIN);
        found.issues.sort_by(|a, b| {
            b.part.total_cmp(&a.part).then(a.issue.cmp(b.issue)).then(a.service.cmp(&b.service))
        });
        let mut heard = sending.counted;
        heard.extend(spans.iter().map(|span| (span.service, span.resource)));
        heard.extend(logs.iter().map(|log| (log.row.service, log.row.resource)));
        found.namesakes = Box::pin(self.shared_names(tenant, asked, heard, sending.measured)).await?;
        Ok(found)
    }

    /// Names that several services share, by who was heard in the window, and who sends series. Only where it matters is it
    /// asked which of these have a point in the window.
    async fn shared_names(
        &self,
        tenant: TenantNumber,
        asked: Window,
        mut heard: Senders,
        measured: Senders,
    ) -> Result<Vec<Namesakes>, Error> {
        let all: Senders = heard.union(&measured).copied().collect();
        let suspected = self.namesakes(move || all).await?;
        let services: BTreeSet<ServiceId> = suspected.iter().map(|shared| shared.service).collect();
        if !measured.iter().any(|(service, _)| services.contains(service)) {
            return Ok(suspected);
        }
        let ask = SeriesAsk {
            services: services.iter().copied().take(SUSPECTED_MAX).collect(),
            within: Some(asked),
            limit: SERIES_MAX,
            ..SeriesAsk::default()
        };
        let series = self.store.series(tenant, &ask).await?;
        heard.extend(series.iter().map(|series| (series.service, series.resource)));
        self.namesakes(move || heard).await
    }

    /// Counts what each signal has; answers who sends spans, log records and metrics.
    async fn count_signals(
        &self,
        tenant: TenantNumber,
        asked: Window,
        service: Option<ServiceId>,
        found: &mut DataDescribed,
    ) -> Result<Sending, Error> {
        let is_wanted = |id: ServiceId| service.is_none_or(|service| service == id);
        let mut sending = Sending::default();
        if let Some(known) = self.known(tenant).await?.and_then(|known| window::clipped(asked, known)) {
            for (subject, cell) in self.sums(tenant, known).await? {
                if let Subject::Instance(owner, resource) = subject
                    && is_wanted(owner)
                    && cell.count > 0
                {
                    sending.counted.insert((owner, resource));
                }
                let Subject::Operation(_) = subject else { continue };
                // Calls to who sends no spans are counted for it too: they are their callers' spans.
                let owner = self.node_of(subject).filter(|owner| self.is_instrumented(*owner));
                let Some(owner) = owner.filter(|owner| is_wanted(*owner) && cell.count > 0) else {
                    continue;
                };
                found.spans += cell.count;
                sending.services[0].insert(owner);
            }
            let minutes = window::whole_buckets(known, COARSE_SECONDS);
            for (subject, cell) in self.logs_of(tenant, &[minutes]).await?.into_iter().flatten() {
                let Subject::Logs(owner, ..) = subject else { continue };
                if is_wanted(owner) {
                    found.logs += cell.count;
                    sending.services[1].insert(owner);
                }
            }
        }
        let services: Vec<ServiceId> = service.into_iter().collect();
        let series = SeriesAsk { services, limit: SERIES_MAX, ..SeriesAsk::default() };
        let series = self.store.series(tenant, &series).await?;
        let names: BTreeSet<String> =
            series.iter().map(|series| series.definition.name.to_string()).collect();
        let with_points = self.store.metric_names(tenant, Some(asked)).await?;
        found.metrics = with_points.iter().filter(|metric| names.contains(&metric.name)).count();
        found.series = series.len();
        sending.measured.extend(series.iter().map(|series| (series.service, series.resource)));
        sending.services[2].extend(series.iter().map(|series| series.service));
        [found.span_services, found.log_services, found.metric_services] =
            [0, 1, 2].map(|signal| sending.services[signal].len());
        Ok(sending)
    }

    async fn newest_traces(
        &self,
        tenant: TenantNumber,
        window: Window,
        services: Vec<ServiceId>,
    ) -> Result<Vec<Exemplar>, Error> {
        let ask = TraceAsk {
            window,
            services,
            operations: Vec::new(),
            failed: None,
            duration_min_ns: None,
            order: TraceOrder::Newest,
            after: None,
            limit: TRACES.0,
        };
        let page = self.store.trace_summaries(tenant, &ask).await?;
        let keys: Vec<_> = page.items.iter().map(|summary| (summary.key, summary.trace_id)).collect();
        Ok(self.store.traces_by_key(tenant, &keys, TRACES.1, DetailsOf::None).await?)
    }

    fn count_attributes(&self, spans: &[SpanRow], logs: &[StoredLog], found: &mut DataDescribed) {
        let mut add = |bearer: Bearer, key: &str, value: &str| {
            let known = found.attributes.entry((bearer, key.to_owned())).or_default();
            known.with += 1;
            let short: String = value.chars().take(VALUE_CHARS_MAX).collect();
            if known.values.len() < VALUES_MAX || known.values.contains_key(&short) {
                *known.values.entry(short).or_default() += 1;
            } else {
                known.more = true;
            }
        };
        let mut resources: BTreeSet<ResourceId> = BTreeSet::new();
        for span in spans {
            resources.insert(span.resource);
            span.detail.attributes().for_each(|(key, value)| add(Bearer::Span, key, &value.render()));
        }
        for log in logs {
            resources.insert(log.row.resource);
            log.row.detail.attributes().for_each(|(key, value)| add(Bearer::Log, key, &value.render()));
        }
        for info in resources.iter().filter_map(|id| self.resource(*id)) {
            let attributes = info.resource.attributes.iter();
            attributes.for_each(|(key, value)| add(Bearer::Resource, key, &value.render()));
        }
        found.looked_at = (spans.len() as u64, logs.len() as u64, resources.len() as u64);
    }

    /// What services leave out.
    fn missing(&self, spans: &[SpanRow], sending: &[BTreeSet<ServiceId>; 3]) -> Vec<Issue> {
        let mut issues = Vec::new();
        let mut versions: BTreeMap<ServiceId, bool> = BTreeMap::new();
        for span in spans {
            let known = versions.entry(span.service).or_default();
            *known = *known || self.resource(span.resource).is_some_and(|info| !info.version.is_empty());
        }
        let whole = |issue, service, advice| Issue { issue, service: Some(service), part: 1.0, advice };
        for (service, _) in versions.iter().filter(|(_, has_version)| !**has_version) {
            let advice = "a bad version cannot be told; set `service.version` on the resource";
            issues.push(whole("no version", *service, advice));
        }
        let [with_spans, with_logs, with_metrics] = sending;
        for service in with_spans.iter().filter(|id| self.is_instrumented(**id)) {
            if !with_logs.contains(service) {
                issues.push(whole(
                    "no logs",
                    *service,
                    "what it says about itself is not heard; export its logs over OTLP",
                ));
            }
            if !with_metrics.contains(service) {
                let advice =
                    "saturation of its processor or memory is not seen; export its metrics over OTLP";
                issues.push(whole("no metrics", *service, advice));
            }
        }
        for service in with_logs.iter().chain(with_metrics).filter(|service| !with_spans.contains(service)) {
            let advice = "its part in requests is not seen; instrument it for traces";
            let issue = whole("no spans", *service, advice);
            if !issues.contains(&issue) {
                issues.push(issue);
            }
        }
        issues
    }
}

/// Spans whose parent is not there, and those that begin before theirs.
fn broken_traces(traces: &[Exemplar]) -> Vec<Issue> {
    let mut all: BTreeMap<ServiceId, u64> = BTreeMap::new();
    let mut orphans: BTreeMap<ServiceId, u64> = BTreeMap::new();
    let mut skewed: BTreeMap<ServiceId, u64> = BTreeMap::new();
    // The end of a trace that was not read whole is missing for that reason alone.
    for trace in traces.iter().filter(|trace| trace.spans.len() < TRACES.1) {
        let by_id: HashMap<SpanId, &SpanRow> = trace.spans.iter().map(|span| (span.span_id, span)).collect();
        for span in &trace.spans {
            *all.entry(span.service).or_default() += 1;
            let Some(parent) = span.parent_id else { continue };
            match by_id.get(&parent) {
                None => *orphans.entry(span.service).or_default() += 1,
                Some(parent) if span.start.plus(SKEW_MIN) < parent.start => {
                    *skewed.entry(span.service).or_default() += 1;
                }
                Some(_) => {}
            }
        }
    }
    let issues = |counts: BTreeMap<ServiceId, u64>, issue, advice| -> Vec<Issue> {
        let part = |(service, count): (ServiceId, u64)| Issue {
            issue,
            service: Some(service),
            part: count as f64 / all.get(&service).copied().unwrap_or(count) as f64,
            advice,
        };
        counts.into_iter().map(part).collect()
    };
    let mut found = issues(
        orphans,
        "spans without their parent",
        "who called is not known; let the caller export its spans, and keep the context through proxies and queues",
    );
    found.extend(issues(
        skewed,
        "spans that begin before their parent",
        "clocks differ, so order in time misleads; synchronise the clocks of the hosts",
    ));
    found
}

/// Log records that no trace is known of.
fn untraced_logs(logs: &[StoredLog]) -> Vec<Issue> {
    let mut counts: BTreeMap<ServiceId, (u64, u64)> = BTreeMap::new();
    for log in logs {
        let (all, untraced) = counts.entry(log.row.service).or_default();
        *all += 1;
        *untraced += u64::from(log.row.trace_id.is_none());
    }
    let issue = |(service, (all, untraced)): (ServiceId, (u64, u64))| Issue {
        issue: "log records without a trace",
        service: Some(service),
        part: untraced as f64 / all as f64,
        advice: "they are not tied to requests; let the logger add trace and span ids",
    };
    counts.into_iter().map(issue).collect()
}
