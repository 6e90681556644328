//! How many calls an operation is due: as many for each request of its callers as there were in the baseline.
//!
//! Requests are those that a service takes; inside it, one operation leads to the next. Where a call before fails, the ones
//! after it are not made, and are not due.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;

use super::evidence::{EdgeEvidence, Evidence, OperationEvidence};
use super::stats::excess_errors;

/// Longest way inside a service, in operations.
const STEPS_MAX: usize = 12;
/// Part of the calls of the baseline that known callers must have made for them to tell.
const KNOWN_MIN: f64 = 0.5;

/// What is known of the callers of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Due {
    /// Users, or others of whom nothing is known, call it.
    Unknown,
    /// It asks for messages, as often as it likes.
    Asking,
    /// Its callers lead one to expect so many calls.
    Calls(f64),
}

/// Who calls whom, and how often.
pub(super) struct Dues<'a> {
    into: BTreeMap<OperationId, Vec<Call<'a>>>,
    /// Operations that ask a queue for messages.
    asking: BTreeSet<OperationId>,
    /// Requests of the window, and for what lies inside a service those that it is due.
    requests: BTreeMap<OperationId, f64>,
}

/// Calls of one operation by another.
struct Call<'a> {
    edge: &'a EdgeEvidence,
    /// Calls for each request of the caller in the baseline.
    ratio: f64,
    /// Failures of the caller's other calls, beyond those of the baseline.
    failed: f64,
}

impl<'a> Dues<'a> {
    /// Reads the calls of a window and its baseline.
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let operations: BTreeMap<OperationId, &OperationEvidence> =
            evidence.operations.iter().map(|it| (it.id, it)).collect();
        let mut out: BTreeMap<OperationId, f64> = BTreeMap::new();
        for edge in &evidence.edges {
            *out.entry(edge.from).or_default() += excess_errors(&edge.now, &edge.before);
        }
        let nodes = evidence.nodes.iter().filter(|node| node.kind == NodeKind::Queue);
        let queues: BTreeSet<ServiceId> = nodes.map(|node| node.id).collect();
        let (mut into, mut asking) = (BTreeMap::<OperationId, Vec<Call<'_>>>::new(), BTreeSet::new());
        for edge in evidence.edges.iter().filter(|edge| edge.from != edge.to) {
            let (Some(from), Some(to)) = (operations.get(&edge.from), operations.get(&edge.to)) else {
                continue;
            };
            if queues.contains(&from.service) && to.kind.is_outbound() {
                asking.insert(to.id);
            }
            let others = out.get(&from.id).copied().unwrap_or(0.0) - excess_errors(&edge.now, &edge.before);
            // What goes out makes one call, whatever it is counted as.
            let failed = if from.kind.is_outbound() { 0.0 } else { others.max(0.0) };
            let ratio = per_request(&edge.before, &from.before);
            into.entry(to.id).or_default().push(Call { edge, ratio, failed });
        }
        let requests = operations.iter().map(|(id, it)| (*id, it.now.count as f64)).collect();
        let mut dues = Self { into, asking, requests };
        let inner: Vec<&OperationEvidence> =
            operations.into_values().filter(|it| !it.kind.is_inbound()).collect();
        for _ in 0..STEPS_MAX {
            let next: Vec<(OperationId, f64)> = inner
                .iter()
                .filter_map(|it| match dues.of(it) {
                    Due::Calls(calls) => Some((it.id, calls)),
                    Due::Unknown | Due::Asking => None,
                })
                .collect();
            dues.requests.extend(next);
        }
        dues
    }

    /// What an operation is due.
    pub(super) fn of(&self, operation: &OperationEvidence) -> Due {
        let calls = self.into.get(&operation.id).map_or(&[][..], Vec::as_slice);
        if self.asking.contains(&operation.id) {
            return Due::Asking;
        }
        let known: u64 =
            calls.iter().filter(|call| call.ratio > 0.0).map(|call| call.edge.before.count).sum();
        if known == 0 || (known as f64) < KNOWN_MIN * operation.before.count as f64 {
            return Due::Unknown;
        }
        let due = |call: &Call<'_>| {
            let requests = self.requests.get(&call.edge.from).copied().unwrap_or(0.0);
            (call.ratio * requests - call.ratio.max(1.0) * call.failed).max(0.0)
        };
        Due::Calls(calls.iter().map(due).sum())
    }
}

fn per_request(calls: &Cell, requests: &Cell) -> f64 {
    if requests.count == 0 { 0.0 } else { calls.count as f64 / requests.count as f64 }
}
