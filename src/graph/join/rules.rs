//! What one span, one pair of parent and child, and one link add to the roll-ups.
//!
//! Each rule looks at facts of the spans alone, never at the order in which they came; this is what makes the
//! sums independent of arrival.

use crate::model::id::OperationId;
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
    let queue = queue_between(caller, queue_of(child), child.kind);
    if queue.is_none() {
        let seen = Seen::Call {
            duration_ns: child.duration_ns,
            caller_ns: if one_call { caller.duration_ns } else { child.duration_ns },
            error: child.error || (one_call && caller.error),
        };
        emit(Subject::Edge(caller.operation, child.operation), child.start, seen);
    }
    route(caller, queue, child.start, emit);
    let handed_over = is_handed_over(caller, child.kind);
    if handed_over {
        let edge = Subject::Edge(queue.unwrap_or(caller.operation), child.operation);
        wait(edge, (waited_ns(caller, child.start), 1), child.start, emit);
    }
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
    let queue = queue_between(linked, link.queue, link.kind);
    if queue.is_none() {
        let seen =
            Seen::Call { duration_ns: link.duration_ns, caller_ns: link.duration_ns, error: link.error };
        emit(Subject::Edge(linked.operation, link.operation), link.start, seen);
    }
    route(linked, queue, link.start, emit);
    if is_handed_over(linked, link.kind) {
        let edge = Subject::Edge(queue.unwrap_or(linked.operation), link.operation);
        // Past the queue each link is a call of its own; out of it a span that takes many messages is one.
        let shared_by = if queue.is_some() { link.shared_by } else { 1 };
        wait(edge, (waited_ns(linked, link.start), shared_by), link.start, emit);
    }
}

/// The queue's operation, where the span's dependency is one.
pub(super) fn queue_of(span: &Known) -> Option<OperationId> {
    span.dependency
        .filter(|dependency| dependency.kind == NodeKind::Queue)
        .map(|dependency| dependency.operation)
}

/// The operation of the queue that stands before the one that takes, where the one that sends names a queue too: edges of
/// queues tell the way, so there is no edge past them.
fn queue_between(from: &Known, to_queue: Option<OperationId>, to_kind: SpanKind) -> Option<OperationId> {
    to_queue.filter(|_| to_kind == SpanKind::CONSUMER && queue_of(from).is_some())
}

/// A message that is taken from another queue than it was put into found its way there: an exchange puts messages into queues,
/// a topic into subscriptions. That costs nobody any time that is known.
fn route(
    sender: &Known,
    taken_from: Option<OperationId>,
    taken: UnixNanos,
    emit: &mut impl FnMut(Subject, UnixNanos, Seen),
) {
    if let (Some(put_into), Some(taken_from)) = (queue_of(sender), taken_from)
        && put_into != taken_from
    {
        let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error: false };
        emit(Subject::Edge(put_into, taken_from), taken, seen);
    }
}

fn is_handed_over(sender: &Known, taker: SpanKind) -> bool {
    sender.kind == SpanKind::PRODUCER && taker == SpanKind::CONSUMER
}

/// How long a message waited: from the end of the span that sent it to the beginning of the one that took it.
fn waited_ns(sender: &Known, taken: UnixNanos) -> u64 {
    u64::try_from(taken.0.saturating_sub(sender.start.0.saturating_add_unsigned(sender.duration_ns)))
        .unwrap_or(0)
}

/// Adds what a message waited to what callers of the edge waited, a part of it where a span took several.
fn wait(
    edge: Subject,
    (waited_ns, parts): (u64, u64),
    taken: UnixNanos,
    emit: &mut impl FnMut(Subject, UnixNanos, Seen),
) {
    // No wait adds nothing to a cell that the call itself has made anyway.
    if waited_ns / parts > 0 {
        emit(edge, taken, Seen::Children { duration_ns: waited_ns / parts });
    }
}

fn overlap_ns(one: &Known, other: &Known) -> u64 {
    let end = |span: &Known| span.start.0.saturating_add_unsigned(span.duration_ns);
    let from = one.start.0.max(other.start.0);
    let to = end(one).min(end(other));
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}
