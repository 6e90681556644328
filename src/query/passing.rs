//! Which requests pass through a node, read off requests that were stored.
//!
//! Roll-ups know who calls whom, not on whose behalf: where all calls of a service go by one name, every request of it seems
//! to reach everybody that it calls. Some requests, read whole, tell whom they really reach.

use std::collections::{BTreeMap, HashMap};

use crate::diagnose::impact::Passing;
use crate::model::id::{OperationId, ServiceId, SpanId, TenantNumber, TraceId};
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
    /// How many of some requests pass through `failing` (or its `operation`), by operation, in those parts of `windows` in
    /// which it was reached at all.
    pub(super) async fn passing(
        &self,
        tenant: TenantNumber,
        windows: &[Window],
        failing: (ServiceId, Option<OperationId>),
    ) -> Result<Seen, Error> {
        let mut seen = Seen::new();
        for window in windows {
            let length = window.length() / PARTS;
            for part in 0..PARTS {
                let to = window.to.minus(length * part);
                let part = Window::new(to.minus(length), to);
                let spans = self.store.spans(tenant, &SpanAsk::newest(part, SPANS_MAX)).await?;
                for (operation, Passing { requests, through }) in passing_through(&spans, part, failing) {
                    let sums = seen.entry(operation).or_default();
                    sums.requests += requests;
                    sums.through += through;
                }
            }
        }
        Ok(seen)
    }
}

/// Counts the requests that were over within `window`; nothing where none of them reaches `failing`.
fn passing_through(
    spans: &[SpanRow],
    window: Window,
    (failing, operation): (ServiceId, Option<OperationId>),
) -> Seen {
    let places: HashMap<(TraceId, SpanId), usize> =
        spans.iter().enumerate().map(|(place, span)| ((span.trace_id, span.span_id), place)).collect();
    let meets = |span: &SpanRow| match operation {
        Some(operation) => span.service == failing && span.operation == operation,
        None => {
            let takes = span.kind.is_inbound() || span.entry;
            span.service == failing && takes || span.dependency == Some(failing)
        }
    };
    let mut through = vec![false; spans.len()];
    for (place, _) in spans.iter().enumerate().filter(|(_, span)| meets(span)) {
        let mut at = place;
        // Upwards, until somebody does not wait, or what is above is known already.
        while !through[at] {
            through[at] = true;
            let above = spans[at].parent_id.and_then(|id| places.get(&(spans[at].trace_id, id)));
            match above {
                Some(above) if spans[at].kind != SpanKind::CONSUMER => at = *above,
                _ => break,
            }
        }
    }
    let mut seen = Seen::new();
    if !through.contains(&true) {
        return seen;
    }
    let is_request = |span: &SpanRow| span.kind.is_inbound() || span.parent_id.is_none();
    for (place, span) in spans.iter().enumerate() {
        if is_request(span) && span.end() <= window.to {
            let sums = seen.entry(span.operation).or_default();
            sums.requests += 1;
            sums.through += u64::from(through[place]);
        }
    }
    seen
}
