//! What one span, one pair of parent and child, and one link add to the roll-ups.
//!
//! Each rule looks at facts of the spans alone, never at the order in which they came; this is what makes the
//! sums independent of arrival.

use crate::model::node::NodeKind;
use crate::model::rollup::{Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;

use super::trace::{PendingLink, Remembered};
use super::{Arrival, Known};

/// Drops what a span cannot mean: a parent that is the span itself, and a dependency its kind does not call.
pub(super) fn normalize(span: &mut Known) {
    span.parent_id = span.parent_id.filter(|parent| *parent != span.span_id);
    span.dependency = span.dependency.filter(|dependency| match dependency.kind {
        NodeKind::Service => false,
        NodeKind::Queue => span.kind.is_outbound() || span.kind == SpanKind::CONSUMER,
        NodeKind::Database | NodeKind::External => span.kind.is_outbound(),
    });
}

/// What a new span adds by itself.
pub(super) fn span(span: &Known, arrival: &Arrival, emit: &mut impl FnMut(Subject, UnixNanos, Seen)) {
    let call = |caller_ns| Seen::Call { duration_ns: span.duration_ns, caller_ns, error: span.error };
    emit(Subject::Operation(span.operation), span.start, call(0));
    if arrival.entry {
        emit(Subject::Instance(span.service, arrival.resource), span.start, call(0));
    }
    let Some(dependency) = span.dependency else { return };
    if span.kind == SpanKind::CONSUMER {
        let edge = Subject::Edge(dependency.operation, span.operation);
        emit(edge, span.start, call(span.duration_ns));
    } else {
        let edge = Subject::Edge(span.operation, dependency.operation);
        emit(edge, span.start, call(span.duration_ns));
        emit(Subject::Operation(dependency.operation), span.start, call(0));
    }
}

/// What a parent and its child add once both are known.
pub(super) fn pair(parent: &mut Remembered, child: &Known, emit: &mut impl FnMut(Subject, UnixNanos, Seen)) {
    let caller = &parent.span;
    let crosses = caller.service != child.service;
    // An outbound span and the span it reaches in another service are two views of one call.
    let one_call = crosses && caller.kind.is_outbound();
    if !queue_between(caller, on_queue(child), child.kind) {
        let seen = Seen::Call {
            duration_ns: child.duration_ns,
            caller_ns: if one_call { caller.duration_ns } else { child.duration_ns },
            error: child.error || (one_call && caller.error),
        };
        emit(Subject::Edge(caller.operation, child.operation), child.start, seen);
    }
    let handed_over = caller.kind == SpanKind::PRODUCER && child.kind == SpanKind::CONSUMER;
    let overlap_ns = if handed_over { 0 } else { overlap_ns(caller, child) };
    // No overlap adds nothing to a cell that the parent's own observation has made anyway.
    if overlap_ns > 0 {
        let seen = Seen::Children { duration_ns: overlap_ns };
        emit(Subject::Operation(caller.operation), caller.start, seen);
    }
    if let Some(dependency) = caller.dependency
        && dependency.kind == NodeKind::External
        && crosses
        && !parent.answered
    {
        emit(Subject::Edge(caller.operation, dependency.operation), caller.start, Seen::Answered);
        emit(Subject::Operation(dependency.operation), caller.start, Seen::Answered);
        parent.answered = true;
    }
}

/// What a link adds once the span it points to is known.
pub(super) fn link(linked: &Known, link: &PendingLink, emit: &mut impl FnMut(Subject, UnixNanos, Seen)) {
    if !queue_between(linked, link.on_queue, link.kind) {
        let seen =
            Seen::Call { duration_ns: link.duration_ns, caller_ns: link.duration_ns, error: link.error };
        emit(Subject::Edge(linked.operation, link.operation), link.start, seen);
    }
}

/// True when the span's dependency is a queue.
pub(super) fn on_queue(span: &Known) -> bool {
    span.dependency.is_some_and(|dependency| dependency.kind == NodeKind::Queue)
}

/// True when a queue stands between the two: its own edges tell the way, so there is no edge past it.
fn queue_between(from: &Known, to_on_queue: bool, to_kind: SpanKind) -> bool {
    to_kind == SpanKind::CONSUMER && to_on_queue && on_queue(from)
}

fn overlap_ns(one: &Known, other: &Known) -> u64 {
    let end = |span: &Known| span.start.0.saturating_add_unsigned(span.duration_ns);
    let from = one.start.0.max(other.start.0);
    let to = end(one).min(end(other));
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}
