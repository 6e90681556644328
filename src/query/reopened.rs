//! Evidence opened again: what a handle names is looked up, and observed anew.

use std::collections::BTreeSet;

use crate::diagnose::evidence::Evidence;
use crate::diagnose::observed::{Observed, observed};
use crate::diagnose::verdict::{Reference, Summary};
use crate::model::id::{OperationId, SeriesId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId};
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::store::read::NAMED_MAX;
use crate::store::read::metrics::{SeriesAsk, StoredSeries};
use crate::store::read::trace::TRACE_SPANS_MAX;
use crate::store::rows::SpanRow;

use super::error::Error;
use super::evidence::described;
use super::handle::Query;
use super::patterns::Patterns;
use super::sums::Sums;
use super::window;

/// Between the ends of a call.
const ARROW: &str = " -> ";

/// What a handle names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// An operation, as `service operation`.
    Operation(String),
    /// Calls, as `service operation -> service operation`.
    Edge(String),
    /// An instance, as `service/instance`.
    Instance(String),
    /// A log template.
    Template(TemplateId),
    /// A metric series.
    Series(SeriesId),
    /// A change event.
    Change(UnixNanos),
    /// A trace.
    Trace(TraceId),
    /// A span.
    Span(TraceId, SpanId),
}

/// What there is under a handle.
#[derive(Debug, Clone, PartialEq)]
pub enum Reopened {
    /// What was observed in the window and in the time before it, and what it is in words.
    Observed {
        /// In the window.
        now: Option<Observed>,
        /// Before it.
        before: Option<Observed>,
        /// Its name.
        what: String,
    },
    /// A record that does not change: a trace, a span, an event.
    Record(String),
    /// Nothing of that name is stored.
    Nothing,
}

impl Query {
    /// Opens what a handle names. What is counted or measured is observed in `window`, and in as long a time before it (levels
    /// in longer); of several that have the name, the one with this digest, or else the one that has the most to show.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn reopen(
        &self,
        scope: &Scope,
        named: &Named,
        window: Window,
        digest: Option<u16>,
    ) -> Result<Reopened, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Reopened::Nothing) };
        match named {
            Named::Trace(id) => Ok(self.trace_record(tenant, *id, None).await?),
            Named::Span(trace, span) => Ok(self.trace_record(tenant, *trace, Some(*span)).await?),
            Named::Change(at) => {
                let around = Window::new(*at, UnixNanos(at.0.saturating_add(1)));
                let changes = self.changes(tenant, around).await?;
                let told = changes.first().map(|change| format!("{}: {}", change.kind, change.text));
                Ok(told.map_or(Reopened::Nothing, Reopened::Record))
            }
            _ => Box::pin(self.observe(tenant, named, window, digest)).await,
        }
    }

    async fn observe(
        &self,
        tenant: TenantNumber,
        named: &Named,
        window: Window,
        digest: Option<u16>,
    ) -> Result<Reopened, Error> {
        let patterns = self.patterns_of(tenant, named).await?;
        let references = match patterns.iter().next() {
            // It stands for all that have its text.
            Some(oldest) => vec![(Reference::Template(oldest.id), oldest.text.clone())],
            None => self.references(tenant, named).await?,
        };
        if references.is_empty() {
            return Ok(Reopened::Nothing);
        }
        // Counts of unequal times say nothing side by side; levels may rest on more.
        let before = match named {
            Named::Series(_) => window::plain(window).before,
            _ => Window::new(window.from.minus(window.length()), window.from),
        };
        let (now, earlier) = match named {
            Named::Template(_) => {
                let now = self.records_in(tenant, window, &patterns).await?;
                (now, self.records_in(tenant, before, &patterns).await?)
            }
            Named::Series(id) => {
                let earlier = (before, window::plain(before).before);
                let now = Box::pin(self.levels_in(tenant, *id, (window, before))).await?;
                (now, Box::pin(self.levels_in(tenant, *id, earlier)).await?)
            }
            _ => {
                let numbers = numbers(&references);
                let both = [(window, None), (before, None)];
                let mut counted = self.counted_about(tenant, &both, numbers).await?.into_iter();
                let mut next = |window| counted.next().unwrap_or_else(|| Evidence::empty(window));
                (next(window), next(before))
            }
        };
        let size = |observed: &Option<Observed>| match observed {
            Some(Observed::Requests(it)) => it.count,
            Some(Observed::Records(count)) => *count,
            Some(Observed::Level(_)) => 1,
            None => 0,
        };
        let all = references.into_iter().map(|(reference, what)| {
            let what = format!("{what}{}", beyond(&reference, &now, &earlier));
            (observed(&now, &reference), observed(&earlier, &reference), what)
        });
        let is_meant = |now: &Option<Observed>| now.is_some_and(|now| Some(now.digest()) == digest);
        let most = all.max_by_key(|(now, before, _)| (is_meant(now), size(now), size(before)));
        Ok(most.map_or(Reopened::Nothing, |(now, before, what)| Reopened::Observed { now, before, what }))
    }

    /// The templates that have the text of the one that is named.
    async fn patterns_of(&self, tenant: TenantNumber, named: &Named) -> Result<Patterns, Error> {
        let Named::Template(id) = named else { return Ok(Patterns::default()) };
        let alike = self.alike(tenant, Some(*id)).await?;
        self.patterns(tenant, &alike.into_iter().collect()).await
    }

    /// The log records of these templates in a window, which are counted a minute at a time.
    async fn records_in(
        &self,
        tenant: TenantNumber,
        window: Window,
        patterns: &Patterns,
    ) -> Result<Evidence, Error> {
        let minutes = window::whole_buckets(window, COARSE_SECONDS);
        let mut sums = self.logs_of(tenant, &[minutes]).await?.pop().unwrap_or_default();
        sums.retain(|subject, _| matches!(subject, Subject::Logs(_, id, _) if patterns.get(*id).is_some()));
        let templates = described(&patterns.added_up(sums), &Sums::default(), patterns);
        Ok(Evidence { templates, ..Evidence::empty(window) })
    }

    /// A series in a window, and in the time before it; with those of its service and metric, as that of a new instance is
    /// compared with what it replaced.
    async fn levels_in(
        &self,
        tenant: TenantNumber,
        id: SeriesId,
        (window, before): (Window, Window),
    ) -> Result<Evidence, Error> {
        let asked = (before.from, window.from, window.to);
        let ask = SeriesAsk { id: Some(id), limit: 1, ..SeriesAsk::default() };
        let own = self.store.series(tenant, &ask).await?.into_iter().next();
        let of = |series: &StoredSeries| (series.service, series.definition.name.to_string());
        let own = own.as_ref().map(of);
        let readings = Box::pin(self.readings_of(tenant, asked, |series| Some(of(series)) == own)).await?;
        let mut series = self.measured(tenant, &readings, window, before.from).series;
        series.retain(|series| series.id == id);
        Ok(Evidence { series, ..Evidence::empty(window) })
    }

    /// Everything that has the name of a handle, with what it is; templates are found by their texts.
    async fn references(
        &self,
        tenant: TenantNumber,
        named: &Named,
    ) -> Result<Vec<(Reference, String)>, Error> {
        let none = Summary::default();
        let operation = |id| Reference::Operation { id, before: none, now: none };
        Ok(match named {
            Named::Operation(path) => {
                let found = self.operations_at(tenant, path).into_iter();
                found.map(|id| (operation(id), path.clone())).collect()
            }
            Named::Edge(path) => {
                // A name may have an arrow in it.
                let splits =
                    path.match_indices(ARROW).map(|(at, _)| (&path[..at], &path[at + ARROW.len()..]));
                let mut pairs = Vec::new();
                for (from, to) in splits {
                    let (from, to) = (self.operations_at(tenant, from), self.operations_at(tenant, to));
                    pairs.extend(from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))));
                }
                let told = |(from, to)| (Reference::Edge { from, to }, path.clone());
                pairs.into_iter().map(told).collect()
            }
            Named::Instance(path) => self.instances_at(tenant, path),
            Named::Series(id) => {
                let ask = SeriesAsk { id: Some(*id), limit: 1, ..SeriesAsk::default() };
                let own = self.store.series(tenant, &ask).await?.into_iter().next();
                let name = |service: ServiceId| self.service_name(service);
                let told =
                    own.map(|series| format!("{} of {}", series.definition.name, name(series.service)));
                told.map(|told| (Reference::Series(*id), told)).into_iter().collect()
            }
            Named::Template(_) | Named::Change(_) | Named::Trace(_) | Named::Span(..) => Vec::new(),
        })
    }

    /// Operations whose service and name are written so.
    fn operations_at(&self, tenant: TenantNumber, path: &str) -> Vec<OperationId> {
        let services = self.names().services_of(tenant).into_iter();
        let named = services.filter_map(|service| {
            let rest = path.strip_prefix(&*service.name)?.strip_prefix(' ')?;
            Some((service.id, rest.to_owned()))
        });
        let operations = named.flat_map(|(service, name)| {
            let all = self.names().operations_of(service).into_iter();
            all.filter(move |operation| *operation.name == *name).map(|operation| operation.id)
        });
        operations.collect()
    }

    fn instances_at(&self, tenant: TenantNumber, path: &str) -> Vec<(Reference, String)> {
        let mut found = Vec::new();
        for service in self.names().services_of(tenant) {
            let Some(name) = path.strip_prefix(&*service.name).and_then(|rest| rest.strip_prefix('/')) else {
                continue;
            };
            for resource in self.names().resources_of(service.id) {
                if self.instance_name(resource.id) == name {
                    let reference = Reference::Instance { service: service.id, resource: resource.id };
                    found.push((reference, path.to_owned()));
                }
            }
        }
        found
    }

    async fn trace_record(
        &self,
        tenant: TenantNumber,
        id: TraceId,
        span: Option<SpanId>,
    ) -> Result<Reopened, Error> {
        let Some(trace) = self.store.trace(tenant, id, TRACE_SPANS_MAX).await? else {
            return Ok(Reopened::Nothing);
        };
        let told = |row: &SpanRow| {
            let words = [row.detail.status_message().to_owned()];
            let exception = super::exemplars::exception(row).map(|it| format!("{}: {}", it.kind, it.message));
            let words: Vec<String> = words.into_iter().chain(exception).filter(|it| !it.is_empty()).collect();
            format!(
                "{} {}, {:.1} ms, {}{}{}",
                self.service_name(row.service),
                self.operation_name(row.operation),
                row.duration_ns as f64 / 1e6,
                row.status.name(),
                if words.is_empty() { "" } else { ": " },
                words.join("; ")
            )
        };
        Ok(match span {
            Some(span) => {
                let own = trace.spans.iter().find(|row| row.span_id == span);
                own.map_or(Reopened::Nothing, |row| Reopened::Record(told(row)))
            }
            None => {
                let first = trace.spans.iter().min_by_key(|row| row.start);
                let root = first.map(told).unwrap_or_default();
                Reopened::Record(format!("{} spans; the first: {root}", trace.total))
            }
        })
    }
}

/// What calls take beyond what they take where they arrive, in words; empty for what is no call, or takes nothing more.
fn beyond(reference: &Reference, now: &Evidence, earlier: &Evidence) -> String {
    let Reference::Edge { from, to } = *reference else { return String::new() };
    let gap_ms = |evidence: &Evidence| {
        let mut edges = evidence.edges.iter();
        edges.find(|edge| edge.from == from && edge.to == to).map_or(0.0, |edge| edge.now.gap_ns() / 1e6)
    };
    let (now, before) = (gap_ms(now), gap_ms(earlier));
    if now <= 0.0 && before <= 0.0 {
        return String::new();
    }
    format!("; {now:.2} ms for each call beyond what it takes there, {before:.2} ms before")
}

/// The numbers of what is referred to; none where there are too many to be asked about.
fn numbers(references: &[(Reference, String)]) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for (reference, _) in references {
        match *reference {
            Reference::Operation { id, .. } => numbers.extend([id.0]),
            Reference::Edge { from, to } => numbers.extend([from.0, to.0]),
            Reference::Instance { resource, .. } => numbers.extend([resource.0]),
            _ => {}
        }
    }
    (numbers.len() <= NAMED_MAX).then_some(numbers)
}
