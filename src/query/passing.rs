//! Which requests pass through a node, read off requests that were stored.
//!
//! Roll-ups know who calls whom, not on whose behalf: where all calls of a service go by one name, every request of it seems
//! to reach everybody that it calls. Some requests, read whole, tell whom they really reach.

use std::collections::{BTreeMap, HashMap};

use crate::diagnose::impact::{Passing, Supposed};
use crate::model::id::{OperationId, SpanId, TenantNumber, TraceId};
use crate::model::span::SpanKind;
use crate::model::time::Window;
use crate::store::read::spans::SpanAsk;
use crate::store::rows::SpanRow;

use super::error::Error;
use super::handle::Query;

/// Parts of a window that are looked into: what goes on at one time of it need not at another.
const PARTS: u32 = 3;
/// Spans of each part that are read: the newest.
const SPANS_MAX: usize = 2_500;

/// How many requests of each operation were seen, and how many passed through.
type Seen = BTreeMap<OperationId, Passing>;

impl Query {
    /// How many of some requests pass through what goes wrong, by operation, in those parts of `windows` in which it was
    /// reached at all.
    pub(super) async fn passing(
        &self,
        tenant: TenantNumber,
        windows: &[Window],
        what: Supposed,
    ) -> Result<Seen, Error> {
        let mut seen = Seen::new();
        for window in windows {
            let length = window.length() / PARTS;
            for part in 0..PARTS {
                let to = window.to.minus(length * part);
                let part = Window::new(to.minus(length), to);
                let spans = self.store.spans(tenant, &SpanAsk::newest(part, SPANS_MAX)).await?;
                let work = tokio::task::spawn_blocking(move || passing_through(&spans, part, what));
                let passing = work.await.map_err(|_| Error::Abandoned)?;
                for (operation, Passing { requests, through, calls }) in passing {
                    let sums = seen.entry(operation).or_default();
                    sums.requests += requests;
                    sums.through += through;
                    sums.calls += calls;
                }
            }
        }
        Ok(seen)
    }
}

/// Counts the requests that were over within `window`; nothing where none of them reaches what goes wrong.
fn passing_through(spans: &[SpanRow], window: Window, what: Supposed) -> Seen {
    let places: HashMap<(TraceId, SpanId), usize> =
        spans.iter().enumerate().map(|(place, span)| ((span.trace_id, span.span_id), place)).collect();
    // Who names itself as its parent has none.
    let above: Vec<Option<usize>> = spans
        .iter()
        .enumerate()
        .map(|(place, span)| {
            let above = span.parent_id.and_then(|id| places.get(&(span.trace_id, id))).copied();
            above.filter(|above| *above != place)
        })
        .collect();
    let meets: Vec<bool> = spans
        .iter()
        .zip(&above)
        .map(|(span, above)| is_met(span, above.map(|at| &spans[at]), what))
        .collect();
    // A call that both of its ends tell is one.
    let mut calls = meets.clone();
    for above in (0..spans.len()).filter(|place| meets[*place]).filter_map(|place| above[place]) {
        calls[above] = false;
    }
    let (mut below, mut counted) = (vec![0_u64; spans.len()], vec![usize::MAX; spans.len()]);
    for place in (0..spans.len()).filter(|place| calls[*place]) {
        let mut at = place;
        // Upwards, until somebody does not wait, or has been counted: spans may go in a circle.
        while counted[at] != place {
            (counted[at], below[at]) = (place, below[at] + 1);
            match above[at] {
                Some(above) if spans[at].kind != SpanKind::CONSUMER => at = above,
                _ => break,
            }
        }
    }
    let mut seen = Seen::new();
    if below.iter().all(|calls| *calls == 0) {
        return seen;
    }
    let is_request = |span: &SpanRow| span.kind.is_inbound() || span.parent_id.is_none();
    for (place, span) in spans.iter().enumerate() {
        if is_request(span) && span.end() <= window.to {
            let sums = seen.entry(span.operation).or_default();
            sums.requests += 1;
            sums.through += u64::from(below[place] > 0);
            sums.calls += below[place];
        }
    }
    seen
}

/// Whether a span is a call that goes wrong; `above` is what made it.
fn is_met(span: &SpanRow, above: Option<&SpanRow>, what: Supposed) -> bool {
    let is_caller = |span: &SpanRow| what.caller.is_none_or(|caller| span.service == caller);
    let made = what.caller.is_none() || above.is_some_and(is_caller);
    match what.operation {
        Some(operation) => span.service == what.failing && span.operation == operation && made,
        None => {
            let takes = span.kind.is_inbound() || span.entry;
            span.service == what.failing && takes && made
                || span.dependency == Some(what.failing) && is_caller(span)
        }
    }
}
