//! Traces that show what goes wrong in a window.

use std::collections::HashMap;

use crate::diagnose::evidence::{Exception, ExemplarSpan, ExemplarTrace, Slice};
use crate::model::id::{ServiceId, TenantNumber, TraceId};
use crate::model::rollup::Subject;
use crate::model::span::Status;
use crate::model::time::Window;
use crate::model::trace_key::TraceKey;
use crate::store::read::exemplars::{DetailsOf, Exemplar};
use crate::store::read::summaries::{TraceAsk, TraceOrder, TraceSummary};
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;

/// Failing traces, and as many slow ones, that are looked into.
const EXEMPLARS_MAX: usize = 30;
/// Requests among which the slowest are looked for.
const SLOW_AMONG_MAX: u64 = 10_000;
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
        let traces = self.store.traces_by_key(tenant, &keys, EXEMPLAR_SPANS_MAX, DetailsOf::Failed).await?;
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
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let own = slices.iter().filter(|slice| (from..to).contains(&slice.bucket_s));
    let of_instances = own.filter(|slice| matches!(slice.subject, Subject::Instance(..)));
    let requests: u64 = of_instances.map(|slice| slice.count).sum();
    let share = (SLOW_AMONG_MAX as f64 / requests.max(1) as f64).min(1.0);
    Window::new(window.to.minus(window.length().mul_f64(share)), window.to)
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
