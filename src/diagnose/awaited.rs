//! Calls that an operation makes and does not wait for: what it sends off ends after it.
//!
//! Roll-ups say how long a call took, not how much of that its caller sat through. Examples do: where a caller that is well has
//! ended, what still goes on below made it no later. Whether that was always so is told by how much longer than beside their
//! caller its calls took in the baseline; else the caller may have waited, and had enough of it.

use std::collections::BTreeMap;

use crate::model::id::SpanId;
use crate::model::rollup::Cell;

use super::evidence::ExemplarSpan;
use super::view::{Edge, View, Way};

/// Examples that must be known.
const EXAMPLES_MIN: u32 = 3;
/// Part of them in which the call must end last: where the first of several answers is enough, many do.
const LAST_PART: f64 = 0.8;
/// Part of a call that must lie behind the end of its caller: spans that end together are closed one after the other.
const BEHIND_PART: f64 = 0.1;

impl View<'_> {
    /// How much more of its own time an operation takes for each request.
    pub(super) fn own_growth(&self, at: usize) -> f64 {
        let (now, before) = self.own_means(at);
        now - before
    }

    /// How much of its own time an operation takes for each request, in the window and before. What goes on beside it without
    /// being waited for hides nothing of that.
    pub(super) fn own_means(&self, at: usize) -> (f64, f64) {
        let operation = &self.operations[at];
        let (now, before) = (operation.now.self_mean_ns(), operation.before.self_mean_ns());
        let calls = operation.callees.iter().map(|edge| &self.edges[*edge]);
        let calls = calls.filter(|edge| edge.to != at && matches!(edge.way, Way::Within | Way::Remote));
        if calls.clone().all(|edge| edge.wait != Wait::Not) {
            return (now, before);
        }
        let (mut waited, mut waited_before) = (0.0, 0.0);
        for edge in calls.filter(|edge| edge.wait != Wait::Not) {
            waited += edge.now.sum_ns as f64;
            waited_before += edge.before.sum_ns as f64;
        }
        let rest = |cell: &Cell, waited: f64| (cell.sum_ns as f64 - waited) / (cell.count as f64).max(1.0);
        (now.max(rest(&operation.now, waited)), before.max(rest(&operation.before, waited_before)))
    }
}

/// Whether an operation waits for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// As far as is known, until the call has ended.
    ToTheEnd,
    /// It ends before the call does, which is new: perhaps it has had enough of waiting.
    PerhapsNot,
    /// It ends before the call does, and did before.
    Not,
}

/// The calls, by the positions of their ends, that examples show to end after their callers.
pub(super) fn outlasting(view: &View<'_>) -> BTreeMap<(usize, usize), Wait> {
    let mut seen: BTreeMap<(usize, usize), (u32, u32)> = BTreeMap::new();
    for trace in &view.traces {
        let mut by_id: BTreeMap<SpanId, &ExemplarSpan> = BTreeMap::new();
        for span in &trace.spans {
            let known = by_id.entry(span.span_id).or_insert(span);
            if span.start < known.start {
                *known = span;
            }
        }
        for child in by_id.values() {
            let parent = child.parent_id.filter(|id| *id != child.span_id).and_then(|id| by_id.get(&id));
            // A caller that fails may have given up.
            let Some(parent) = parent.filter(|parent| !parent.error) else { continue };
            let ends = (view.position(parent.operation), view.position(child.operation));
            if let (Some(from), Some(to)) = ends {
                let (all, last) = seen.entry((from, to)).or_default();
                (*all, *last) = (*all + 1, *last + u32::from(is_last(parent, child)));
            }
        }
    }
    seen.retain(|_, (all, last)| *all >= EXAMPLES_MIN && f64::from(*last) >= LAST_PART * f64::from(*all));
    let edges = view.edges.iter().filter(|edge| seen.contains_key(&(edge.from, edge.to)));
    edges.map(|edge| ((edge.from, edge.to), wait_of(view, edge))).collect()
}

/// Whether a child ends clearly after its parent. Clocks of two services differ, so that between these only what takes longer
/// than its parent does; a call that goes out is the wait itself.
fn is_last(parent: &ExemplarSpan, child: &ExemplarSpan) -> bool {
    let took = child.duration_ns as f64;
    if parent.service != child.service {
        return !parent.kind.is_outbound() && (1.0 - BEHIND_PART) * took > parent.duration_ns as f64;
    }
    let end_of = |span: &ExemplarSpan| span.start.0.saturating_add_unsigned(span.duration_ns);
    let behind = end_of(child).saturating_sub(end_of(parent));
    behind > 0 && behind as f64 > BEHIND_PART * took
}

/// What a call is that ends last now: whether calls of its caller went on behind it in the baseline too.
fn wait_of(view: &View<'_>, edge: &Edge<'_>) -> Wait {
    let caller = &view.operations[edge.from];
    let calls = caller.callees.iter().map(|edge| &view.edges[*edge]);
    let calls = calls.filter(|call| matches!(call.way, Way::Within | Way::Remote));
    let took: f64 = calls.map(|call| call.before.sum_ns as f64).sum();
    let behind = took - caller.before.other_ns as f64;
    if behind > BEHIND_PART * edge.before.sum_ns as f64 { Wait::Not } else { Wait::PerhapsNot }
}
