//! Traces that show what goes wrong in a window.

use std::collections::{HashMap, HashSet};

use crate::diagnose::evidence::{Exception, ExemplarSpan, ExemplarTrace, Slice};
use crate::model::id::{OperationId, ServiceId, TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Subject;
use crate::model::span::Status;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::read::exemplars::{DetailsOf, Exemplar};
use crate::store::read::spans::SpanAsk;
use crate::store::read::summaries::{TraceAsk, TraceOrder, TraceSummary};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;

/// Failing traces, and as many slow ones, that are looked into.
const EXEMPLARS_MAX: usize = 30;
/// Requests among which the slowest are looked for.
const SLOW_AMONG_MAX: u64 = 10_000;
/// Failures among which those of operations without an example are looked for.
const FAILED_AMONG_MAX: u64 = 50_000;
/// Operations that are looked for, and failed spans of them that are read.
const WITHOUT_EXAMPLE_MAX: usize = 8;
const FAILED_SPANS_MAX: usize = 200;
/// Examples of one operation that are added.
const EXAMPLES_OF_ONE_MAX: usize = 8;
/// Failures more than usual for it to be no chance, and how many deviations of a count.
const FAILURES_MIN: f64 = 4.0;
const DEVIATIONS_MIN: f64 = 3.0;
/// Spans of one exemplar that are read.
const EXEMPLAR_SPANS_MAX: usize = 1_000;

impl Query {
    /// Traces that failed, and slow ones, of windows that end at the same instant; those of one of `services`, where there
    /// are any. `slices` tell how many requests there were.
    pub(super) async fn exemplars(
        &self,
        tenant: TenantNumber,
        (windows, slices): (&[Window], &[Slice]),
        services: &[ServiceId],
    ) -> Result<Vec<Vec<ExemplarTrace>>, Error> {
        let Some(longest) = windows.iter().copied().min_by_key(|window| window.from) else {
            return Ok(Vec::new());
        };
        let failing = self.summaries(tenant, longest, services, TraceOrder::Newest).await?;
        let last = last_requests(longest, slices);
        let mut slow: Vec<(Window, Vec<TraceSummary>)> = Vec::new();
        let mut chosen: Vec<Vec<(TraceKey, TraceId)>> = Vec::new();
        for from in windows.iter().map(|window| window.from) {
            let window = Window::new(last.from.max(from), last.to);
            if !slow.iter().any(|(known, _)| *known == window) {
                slow.push((window, self.summaries(tenant, window, services, TraceOrder::Slowest).await?));
            }
            let slow = slow.iter().filter(|(known, _)| *known == window).flat_map(|(_, slow)| slow);
            let failing = failing.iter().filter(|summary| summary.start >= from);
            let mut keys = Vec::new();
            for summary in failing.chain(slow) {
                let key = (summary.key, summary.trace_id);
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            chosen.push(keys);
        }
        let mut keys: Vec<(TraceKey, TraceId)> = chosen.iter().flatten().copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let read = async |keys: &[_]| {
            self.store.traces_by_key(tenant, keys, EXEMPLAR_SPANS_MAX, DetailsOf::Failed).await
        };
        let mut traces = read(&keys).await?;
        // Failures that are there all the time must not crowd out those that are new.
        let without = self.without_example((windows, services), slices, &traces);
        let more = self.failures_of(tenant, last_failures(longest, slices), without).await?;
        let unread: Vec<_> =
            more.iter().map(|(key, _)| *key).filter(|key| keys.binary_search(key).is_err()).collect();
        traces.extend(read(&unread).await?);
        for (from, chosen) in windows.iter().map(|window| window.from).zip(&mut chosen) {
            for (key, _) in more.iter().filter(|(_, start)| *start >= from) {
                if !chosen.contains(key) {
                    chosen.push(*key);
                }
            }
        }
        let exemplar = |trace: &Exemplar| {
            let spans = trace.spans.iter().map(exemplar_span).collect();
            (trace.trace_id, ExemplarTrace { trace_id: trace.trace_id, spans })
        };
        let traces: HashMap<TraceId, ExemplarTrace> = traces.iter().map(exemplar).collect();
        let of = |keys: Vec<(TraceKey, TraceId)>| {
            keys.iter().filter_map(|(_, trace_id)| traces.get(trace_id).cloned()).collect()
        };
        Ok(chosen.into_iter().map(of).collect())
    }

    /// The operations of services (of `asked`, where there are any) that fail more than before one of the windows and of which no span fails in `traces`: those
    /// with most of such failures.
    fn without_example(
        &self,
        (windows, asked): (&[Window], &[ServiceId]),
        slices: &[Slice],
        traces: &[Exemplar],
    ) -> Vec<OperationId> {
        let failed = |row: &&SpanRow| row.status == Status::Error;
        let shown: HashSet<OperationId> = traces
            .iter()
            .flat_map(|trace| trace.spans.iter().filter(failed))
            .map(|row| row.operation)
            .collect();
        let mut failing: HashMap<OperationId, f64> = HashMap::new();
        for window in windows {
            for (operation, more) in failing_more(*window, slices) {
                let most = failing.entry(operation).or_default();
                *most = most.max(more);
            }
        }
        let is_of_service = |operation: OperationId| {
            let service = self.names().operation_info(operation)?.service;
            let is_asked = asked.is_empty() || asked.contains(&service);
            Some(is_asked && self.names().service_info(service)?.kind == NodeKind::Service)
        };
        failing.retain(|operation, _| !shown.contains(operation) && is_of_service(*operation) == Some(true));
        let mut failing: Vec<(OperationId, f64)> = failing.into_iter().collect();
        failing.sort_by(|(a, more), (b, other)| other.total_cmp(more).then(a.cmp(b)));
        failing.into_iter().take(WITHOUT_EXAMPLE_MAX).map(|(operation, _)| operation).collect()
    }

    /// The traces of the newest failed spans of each of `operations`, with when the span began.
    async fn failures_of(
        &self,
        tenant: TenantNumber,
        window: Window,
        operations: Vec<OperationId>,
    ) -> Result<Vec<((TraceKey, TraceId), UnixNanos)>, Error> {
        let mut counts: HashMap<OperationId, usize> = HashMap::new();
        let mut found = Vec::new();
        // Once more for those that louder ones left no room for.
        for _ in 0..2 {
            let unseen: Vec<OperationId> =
                operations.iter().copied().filter(|operation| !counts.contains_key(operation)).collect();
            if unseen.is_empty() {
                break;
            }
            let ask =
                SpanAsk { operations: unseen, failed: true, ..SpanAsk::newest(window, FAILED_SPANS_MAX) };
            for row in self.store.spans(tenant, &ask).await? {
                let count = counts.entry(row.operation).or_default();
                *count += 1;
                if *count <= EXAMPLES_OF_ONE_MAX {
                    found.push(((row.trace_key, row.trace_id), row.start));
                }
            }
        }
        found.sort_unstable();
        found.dedup_by_key(|(key, _)| *key);
        Ok(found)
    }

    /// The first traces of a window by `order`; only those that failed where the newest are asked for.
    async fn summaries(
        &self,
        tenant: TenantNumber,
        window: Window,
        services: &[ServiceId],
        order: TraceOrder,
    ) -> Result<Vec<TraceSummary>, Error> {
        let ask = TraceAsk {
            window,
            services: services.to_vec(),
            operations: Vec::new(),
            failed: (order == TraceOrder::Newest).then_some(true),
            duration_min_ns: None,
            order,
            after: None,
            limit: EXEMPLARS_MAX,
        };
        Ok(self.store.trace_summaries(tenant, &ask).await?.items)
    }
}

/// The end of the window, long enough for about [`SLOW_AMONG_MAX`] requests: finding the slowest looks at each.
fn last_requests(window: Window, slices: &[Slice]) -> Window {
    let of_instances = |slice: &Slice| match slice.subject {
        Subject::Instance(..) => slice.count,
        _ => 0,
    };
    last_of(window, slices, SLOW_AMONG_MAX, of_instances)
}

/// The end of the window, long enough for about [`FAILED_AMONG_MAX`] failures: finding those of some operations looks at each.
fn last_failures(window: Window, slices: &[Slice]) -> Window {
    let of_operations = |slice: &Slice| match slice.subject {
        Subject::Operation(_) => slice.errors,
        _ => 0,
    };
    last_of(window, slices, FAILED_AMONG_MAX, of_operations)
}

/// The end of the window that holds about `most` of what is counted.
fn last_of(window: Window, slices: &[Slice], most: u64, count: impl Fn(&Slice) -> u64) -> Window {
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let own = slices.iter().filter(|slice| (from..to).contains(&slice.bucket_s));
    let counted: u64 = own.map(count).sum();
    let share = (most as f64 / counted.max(1) as f64).min(1.0);
    Window::new(window.to.minus(window.length().mul_f64(share)), window.to)
}

/// How many failures more than before the window operations have in it, where that is no chance.
fn failing_more(window: Window, slices: &[Slice]) -> HashMap<OperationId, f64> {
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let mut counts: HashMap<OperationId, [(u64, u64); 2]> = HashMap::new();
    for slice in slices.iter().filter(|slice| slice.bucket_s < to) {
        if let Subject::Operation(operation) = slice.subject {
            let [before, now] = counts.entry(operation).or_default();
            let side = if slice.bucket_s < from { before } else { now };
            (side.0, side.1) = (side.0 + slice.count, side.1 + slice.errors);
        }
    }
    let more = |(operation, [before, now]): (OperationId, [(u64, u64); 2])| {
        let usual = before.1 as f64 / before.0.max(1) as f64 * now.0 as f64;
        let more = now.1 as f64 - usual;
        (more >= FAILURES_MIN && more > DEVIATIONS_MIN * (usual + 1.0).sqrt()).then_some((operation, more))
    };
    counts.into_iter().filter_map(more).collect()
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
        peer: row.dependency,
        error: row.status == Status::Error,
        start: row.start,
        duration_ns: row.duration_ns,
        status_message: row.detail.status_message().to_owned(),
        exception: exception(row),
    }
}
