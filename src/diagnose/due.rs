//! How many calls an operation is due: as many for each request of its callers as there were in the baseline.
//!
//! Requests are those that a service takes; inside it, one operation leads to the next. Where a request fails, by itself or in
//! a call before, the calls after it are not made, and are not due.
//!
//! One name often stands for calls to many: a client's `GET`, a proxy's `ingress`. What users ask for decides who is called
//! then, and a callee misses no more than its caller left unanswered over all of them. Of that, what only some requests led to
//! is missing where hardly any of it is left.

use std::collections::BTreeMap;

use crate::model::id::OperationId;
use crate::model::rollup::Cell;

use super::evidence::{Evidence, OperationEvidence};
use super::stats::{excess_errors, expected_calls};
use super::symptom::deviates;
use super::verdict::SymptomKind;
use super::view::{Edge, View, Way};

/// Longest way inside a service, in operations.
const STEPS_MAX: usize = 12;
/// Part of the calls of the baseline that known callers must have made for them to tell.
const KNOWN_MIN: f64 = 0.5;
/// Calls for each request from which on every request makes one.
const ALWAYS: f64 = 0.9;
/// Part of the calls that is left where hardly any is.
const LEFT: f64 = 0.1;

/// What is known of the callers of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Due {
    /// Users, or others of whom nothing is known, call it.
    Unknown,
    /// It asks for messages, as often as it likes.
    Asking,
    /// It asked for messages so many times in as long a time, and hardly does any more though there are some.
    Stopped(f64),
    /// Its callers lead one to expect so many calls.
    Calls(f64),
}

/// What each operation is due.
pub(super) struct Dues(BTreeMap<OperationId, Due>);

impl Dues {
    /// Reads the calls of a window and its baseline.
    pub(super) fn new(evidence: &Evidence) -> Self {
        let view = View::new(evidence);
        let mut traffic = Traffic::new(&view);
        let inner: Vec<usize> =
            (0..view.operations.len()).filter(|at| !view.operations[*at].kind.is_inbound()).collect();
        for _ in 0..STEPS_MAX {
            let left = traffic.left();
            let next: Vec<(usize, Due)> = inner.iter().map(|at| (*at, traffic.due(*at, &left))).collect();
            for (at, due) in next {
                if let Due::Calls(calls) = due {
                    traffic.requests[at] = calls;
                }
            }
        }
        let left = traffic.left();
        let due = |(at, id): (usize, OperationId)| (id, traffic.due(at, &left));
        Self(view.operations.iter().map(|it| it.id).enumerate().map(due).collect())
    }

    /// What an operation is due.
    pub(super) fn of(&self, operation: &OperationEvidence) -> Due {
        self.0.get(&operation.id).copied().unwrap_or(Due::Unknown)
    }
}

/// Requests that callers left unanswered, by caller and way.
type Left = BTreeMap<(usize, Way), f64>;

/// How requests lead to calls.
struct Traffic<'v, 'a> {
    view: &'v View<'a>,
    /// By position of the edge.
    calls: Vec<Call>,
    /// Requests of the window by position, and for what lies inside a service those that it is due.
    requests: Vec<f64>,
}

/// Calls of one operation by another.
struct Call {
    /// Calls for each request of the caller in the baseline.
    ratio: f64,
    /// Requests of the caller that failed, beyond those of the baseline, and not in this call.
    failed: f64,
    /// The calls of the caller one of which may be made in the place of another; none where it stands by itself.
    among: Option<Way>,
}

impl<'v, 'a> Traffic<'v, 'a> {
    fn new(view: &'v View<'a>) -> Self {
        let mut failed_calls = vec![0.0; view.operations.len()];
        for edge in &view.edges {
            failed_calls[edge.from] += excess_errors(edge.now, edge.before);
        }
        let call = |edge: &Edge<'_>| {
            let caller = &view.operations[edge.from];
            let own = excess_errors(&caller.now, &caller.before);
            let others = failed_calls[edge.from].max(own) - excess_errors(edge.now, edge.before);
            // What goes out makes one call, whatever it is counted as.
            let failed = if caller.kind.is_outbound() { 0.0 } else { others.max(0.0) };
            Call { ratio: per_request(edge.before, &caller.before), failed, among: among(view, edge) }
        };
        let calls = view.edges.iter().map(call).collect();
        let requests = view.operations.iter().map(|it| it.now.count as f64).collect();
        Self { view, calls, requests }
    }

    /// Calls that an edge lacks by what its caller is due alone; negative where there are more.
    fn gap(&self, at: usize) -> f64 {
        let (edge, call) = (&self.view.edges[at], &self.calls[at]);
        let gap = call.ratio * self.requests[edge.from] - edge.now.count as f64;
        if gap > 0.0 { (gap - call.each() * call.failed).max(0.0) } else { gap }
    }

    fn left(&self) -> Left {
        let mut left = Left::new();
        for (at, (edge, call)) in self.view.edges.iter().zip(&self.calls).enumerate() {
            let Some(way) = call.among else { continue };
            // What a caller is at work beyond what it is due goes somewhere as well.
            let beyond = self.view.operations[edge.from].now.count as f64 - self.requests[edge.from];
            *left.entry((edge.from, way)).or_insert(beyond.max(0.0)) += self.gap(at) / call.each();
        }
        left
    }

    fn due(&self, at: usize, left: &Left) -> Due {
        let (view, operation) = (self.view, &self.view.operations[at]);
        if view.asked_queue(at).is_some() {
            let has_stopped = deviates(view, SymptomKind::Silence, at);
            let before = expected_calls(&operation.before, view.window_s, view.baseline_s);
            return if has_stopped { Due::Stopped(before) } else { Due::Asking };
        }
        let callers: Vec<usize> =
            operation.callers.iter().copied().filter(|edge| view.edges[*edge].from != at).collect();
        let telling = callers.iter().filter(|edge| self.calls[**edge].ratio > 0.0);
        let known: u64 = telling.map(|edge| view.edges[*edge].before.count).sum();
        if known == 0 || (known as f64) < KNOWN_MIN * operation.before.count as f64 {
            return Due::Unknown;
        }
        Due::Calls(callers.into_iter().map(|edge| self.due_of_edge(edge, left)).sum())
    }

    fn due_of_edge(&self, at: usize, left: &Left) -> f64 {
        let (edge, call) = (&self.view.edges[at], &self.calls[at]);
        let (count, gap) = (edge.now.count as f64, self.gap(at));
        if gap <= 0.0 {
            return count + gap;
        }
        let left = call.among.and_then(|way| left.get(&(edge.from, way)));
        let missing = left.map_or(gap, |left| gap.min(call.each() * left)).max(0.0);
        let is_silent = count < LEFT * (count + missing);
        if call.ratio < ALWAYS && !is_silent { count } else { count + missing }
    }
}

impl Call {
    /// Calls that a request makes that makes any.
    fn each(&self) -> f64 {
        self.ratio.max(1.0)
    }
}

/// See [`Call::among`]. Hosts that services answer for count the same calls again, and a host that was never called before may
/// be another address of who no longer answers.
fn among(view: &View<'_>, edge: &Edge<'_>) -> Option<Way> {
    let is_apart = edge.before.count > 0 && edge.now.answered + edge.before.answered == 0;
    match edge.way {
        _ if edge.from == edge.to || view.is_asking(edge) => None,
        Way::Dependency => is_apart.then_some(Way::Remote),
        way => Some(way),
    }
}

fn per_request(calls: &Cell, requests: &Cell) -> f64 {
    if requests.count == 0 { 0.0 } else { calls.count as f64 / requests.count as f64 }
}
