//! Traces by service, outcome, duration and attributes; and one trace with everything it has.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::model::id::{OperationId, ServiceId, TenantNumber, TraceId};
use crate::model::span::Status;
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::read::exemplars::{DetailsOf, Exemplar};
use crate::store::read::logs::StoredLog;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::read::summaries::{TRACES_MAX, TraceAsk, TraceOrder, TracePlace, TraceSummary};
use crate::store::read::trace::{StoredTrace, TRACE_SPANS_MAX};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;
use super::spans::has_all;
use super::trace;

/// Traces that one page looks at; then it is given as it is, with where to go on.
const LOOKED_AT_MAX: usize = 10_000;
/// The same where attributes decide: each trace is read with its spans.
const SEARCHED_MAX: usize = 2_000;
/// Up to so many spans with the attributes lead to their traces; where there are more, traces that match are common
/// and found by walking over all of them.
const LEADS_MAX: usize = 2_000;
/// Traces that are read with their spans at a time, and spans of each that are looked at.
const READ_AT_ONCE: (usize, usize) = (50, 2_000);
/// A span that begins later than this after the window may not lead to its trace.
const SPANS_AFTER: Duration = Duration::from_secs(3_600);
/// Log records of one trace that are read.
const TRACE_LOGS_MAX: usize = 1_000;

/// Which traces. Everything given must hold; service, operation and attributes of one span of the trace together.
#[derive(Debug, Clone)]
pub struct TraceQuestion {
    /// Traces that began within it.
    pub window: Window,
    /// A service that took part.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// Only those with failed spans, or only those without.
    pub failed: Option<bool>,
    /// The shortest, from first start to last end.
    pub duration_min_ns: Option<u64>,
    /// The longest.
    pub duration_max_ns: Option<u64>,
    /// Attributes of a span, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// What comes first.
    pub order: TraceOrder,
    /// Only what comes after this place.
    pub after: Option<TracePlace>,
    /// How many, up to 1,000.
    pub limit: usize,
}

/// Traces in the order that was asked for.
#[derive(Debug, Clone, Default)]
pub struct TracesFound {
    /// What is kept about each.
    pub traces: Vec<TraceSummary>,
    /// After which place the next page begins; none at the end. There may be one after a page of fewer traces than were
    /// asked for, where few of those looked at match.
    pub next: Option<TracePlace>,
}

/// A trace with everything that it has.
#[derive(Debug, Clone)]
pub struct WholeTrace {
    /// Its spans.
    pub stored: StoredTrace,
    /// Its log records, earliest first.
    pub logs: Vec<StoredLog>,
    /// True when it has more log records than these newest ones.
    pub more_logs: bool,
}

impl Query {
    /// Finds traces.
    ///
    /// # Errors
    /// When a name is unknown or the store does not answer.
    pub async fn traces(&self, scope: &Scope, question: TraceQuestion) -> Result<TracesFound, Error> {
        let service = question.service.as_deref().map(|name| self.service(scope, name)).transpose()?;
        let Some(tenant) = self.tenant(scope) else { return Ok(TracesFound::default()) };
        let services: Vec<ServiceId> = service.map(|info| info.id).into_iter().collect();
        let operations = self.operations_named(tenant, &services, question.operation.as_deref())?;
        let search = Search { query: self, tenant, question, services, operations };
        if search.question.attributes.is_empty() {
            return search.walk().await;
        }
        match search.leads().await? {
            Some(leads) => search.follow(leads).await,
            None => search.walk().await,
        }
    }

    /// The trace with this id, its spans and the newest 1,000 of its log records that are not more than an hour away from
    /// them; none where nothing of it is stored for the tenant.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn whole_trace(&self, scope: &Scope, id: TraceId) -> Result<Option<WholeTrace>, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(None) };
        let Some(stored) = self.store.trace(tenant, id, TRACE_SPANS_MAX).await? else { return Ok(None) };
        let page = self.store.logs(tenant, &trace::logs_of(&stored, TRACE_LOGS_MAX)).await?;
        let mut logs = page.items;
        logs.reverse();
        Ok(Some(WholeTrace { stored, logs, more_logs: page.next.is_some() }))
    }
}

struct Search<'a> {
    query: &'a Query,
    tenant: TenantNumber,
    question: TraceQuestion,
    services: Vec<ServiceId>,
    operations: Vec<OperationId>,
}

impl Search<'_> {
    /// Walks over the traces in order.
    async fn walk(&self) -> Result<TracesFound, Error> {
        let question = &self.question;
        let searching = !question.attributes.is_empty();
        let looked_at_max = if searching { SEARCHED_MAX } else { LOOKED_AT_MAX };
        let mut ask = TraceAsk {
            window: question.window,
            services: self.services.clone(),
            operations: self.operations.clone(),
            failed: question.failed,
            duration_min_ns: question.duration_min_ns,
            order: question.order,
            after: question.after.or_else(|| self.first_place()),
            limit: if searching { READ_AT_ONCE.0 } else { (question.limit + 1).min(TRACES_MAX) },
        };
        let mut found = TracesFound::default();
        let mut looked_at = 0;
        loop {
            let page = self.query.store.trace_summaries(self.tenant, &ask).await?;
            looked_at += page.items.len();
            let holding = self.holding(&page.items).await?;
            for summary in page.items {
                if !self.fits(&summary)
                    || holding.as_ref().is_some_and(|ids| !ids.contains(&summary.trace_id))
                {
                    continue;
                }
                if found.traces.len() == question.limit {
                    found.next = found.traces.last().map(|last| self.place(last));
                    return Ok(found);
                }
                found.traces.push(summary);
            }
            if page.next.is_none() || looked_at >= looked_at_max {
                found.next = page.next;
                return Ok(found);
            }
            ask.after = page.next;
            ask.limit = if searching { ask.limit } else { TRACES_MAX };
        }
    }

    /// Where the order begins: with the slowest first, those that took too long are stepped over at once.
    fn first_place(&self) -> Option<TracePlace> {
        let most = self.question.duration_max_ns.filter(|_| self.question.order == TraceOrder::Slowest)?;
        // The earliest place among those that took one nanosecond longer.
        let trace_id = TraceId::try_from(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..]).ok()?;
        Some(TracePlace {
            rank: most.checked_add(1)?,
            start: UnixNanos(i64::MIN),
            key: TraceKey(i64::MIN),
            trace_id,
        })
    }

    fn fits(&self, summary: &TraceSummary) -> bool {
        self.question.duration_max_ns.is_none_or(|most| duration_ns(summary) <= most)
    }

    /// Which of the traces have a span with the attributes; none where no attributes were asked for.
    async fn holding(&self, summaries: &[TraceSummary]) -> Result<Option<HashSet<TraceId>>, Error> {
        if self.question.attributes.is_empty() {
            return Ok(None);
        }
        let keys: Vec<(TraceKey, TraceId)> =
            summaries.iter().map(|summary| (summary.key, summary.trace_id)).collect();
        let mut holding = HashSet::new();
        for keys in keys.chunks(READ_AT_ONCE.0) {
            let traces =
                self.query.store.traces_by_key(self.tenant, keys, READ_AT_ONCE.1, DetailsOf::All).await?;
            let matching = traces.iter().filter(|trace| trace.spans.iter().any(|span| self.is_wanted(span)));
            holding.extend(matching.map(|trace| trace.trace_id));
        }
        Ok(Some(holding))
    }

    /// Whether one span has the service, the operation and the attributes.
    fn is_wanted(&self, span: &SpanRow) -> bool {
        (self.services.is_empty() || self.services.contains(&span.service))
            && (self.operations.is_empty() || self.operations.contains(&span.operation))
            && has_all(&self.question.attributes, |key| span.detail.attribute(key))
    }

    /// The spans that lead to the traces, where they are few enough to follow all of them.
    async fn leads(&self) -> Result<Option<Vec<(TraceId, TraceKey)>>, Error> {
        let Window { from, to } = self.question.window;
        let ask = SpanAsk {
            window: Window::new(from, to.plus(SPANS_AFTER)),
            services: self.services.clone(),
            operations: self.operations.clone(),
            failed: false,
            duration_min_ns: None,
            attributes: self.question.attributes.clone(),
            order: SpanOrder::Newest,
            limit: LEADS_MAX + 1,
            with_detail: false,
        };
        let spans = self.query.store.spans(self.tenant, &ask).await?;
        if spans.len() > LEADS_MAX {
            return Ok(None);
        }
        // The keys of one trace stand together, so that it is read whole.
        let mut leads: Vec<_> = spans.iter().map(|span| (span.trace_id, span.trace_key)).collect();
        leads.sort_unstable();
        leads.dedup();
        Ok(Some(leads))
    }

    /// Reads the traces that spans lead to, and puts them in order.
    async fn follow(&self, leads: Vec<(TraceId, TraceKey)>) -> Result<TracesFound, Error> {
        let question = &self.question;
        let mut whole: HashMap<TraceId, TraceSummary> = HashMap::new();
        for leads in leads.chunks(READ_AT_ONCE.0) {
            let keys: Vec<(TraceKey, TraceId)> = leads.iter().map(|(id, key)| (*key, *id)).collect();
            let none = DetailsOf::None;
            for trace in self.query.store.traces_by_key(self.tenant, &keys, READ_AT_ONCE.1, none).await? {
                let Some(part) = summary(&trace) else { continue };
                whole.entry(trace.trace_id).and_modify(|known| join(known, &part)).or_insert(part);
            }
        }
        let mut traces: Vec<TraceSummary> = whole
            .into_values()
            .filter(|summary| question.window.contains(summary.start))
            .filter(|summary| question.failed.is_none_or(|failed| failed == (summary.errors > 0)))
            .filter(|summary| question.duration_min_ns.is_none_or(|least| duration_ns(summary) >= least))
            .filter(|summary| self.fits(summary))
            .filter(|summary| question.after.is_none_or(|after| self.place(summary) < after))
            .collect();
        traces.sort_by_key(|summary| std::cmp::Reverse(self.place(summary)));
        let more = traces.len() > question.limit;
        traces.truncate(question.limit);
        let next = traces.last().filter(|_| more).map(|last| self.place(last));
        Ok(TracesFound { traces, next })
    }

    fn place(&self, summary: &TraceSummary) -> TracePlace {
        place_in(self.question.order, summary)
    }
}

/// Where a trace stands in an order.
pub fn place_in(order: TraceOrder, summary: &TraceSummary) -> TracePlace {
    let rank = match order {
        TraceOrder::Newest => 0,
        TraceOrder::Slowest => duration_ns(summary),
        TraceOrder::MostErrors => summary.errors,
    };
    TracePlace { rank, start: summary.start, key: summary.key, trace_id: summary.trace_id }
}

/// From its first start to its last end.
pub fn duration_ns(summary: &TraceSummary) -> u64 {
    u64::try_from(summary.end.0.saturating_sub(summary.start.0)).unwrap_or(0)
}

/// What the store keeps about a trace, from its spans.
fn summary(trace: &Exemplar) -> Option<TraceSummary> {
    let first = trace.spans.first()?;
    let root = trace.spans.iter().find(|span| span.parent_id.is_none());
    Some(TraceSummary {
        trace_id: trace.trace_id,
        key: trace.spans.iter().map(|span| span.trace_key).min()?,
        root_operation: root.map(|span| span.operation),
        first_operation: first.operation,
        start: first.start,
        end: trace.spans.iter().map(SpanRow::end).max()?,
        spans: trace.spans.len() as u64,
        errors: trace.spans.iter().filter(|span| span.status == Status::Error).count() as u64,
    })
}

/// Adds another part of the same trace.
fn join(whole: &mut TraceSummary, part: &TraceSummary) {
    if part.start < whole.start {
        whole.first_operation = part.first_operation;
        whole.root_operation = part.root_operation.or(whole.root_operation);
    }
    whole.root_operation = whole.root_operation.or(part.root_operation);
    whole.key = whole.key.min(part.key);
    whole.start = whole.start.min(part.start);
    whole.end = whole.end.max(part.end);
    whole.spans += part.spans;
    whole.errors += part.errors;
}
