//! Differences that only state again what another one states. A call is counted where it is made, on its way, and where it is
//! answered; a host that turns out to be a service is counted beside that service. Where these differ by the same, one of
//! them says it all: the nearest to where it comes from that still names both ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{OperationId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::span::SpanKind;

use super::difference::Difference;
use super::evidence::{EdgeEvidence, Evidence};
use super::verdict::Reference;

/// Part of a difference by which another may miss it and be the same.
const SAME: f64 = 0.1;

/// What is left of `found` without what only states again what another one states.
pub(super) fn without_restated(evidence: &Evidence, found: Vec<Difference>) -> Vec<Difference> {
    let calls = Calls::new(evidence);
    let placed: Vec<Option<Place>> = found.iter().map(|difference| calls.place(difference)).collect();
    let is_restated = |at: usize| {
        let Some(own) = &placed[at] else { return false };
        let others = found.iter().zip(&placed).filter_map(|(other, place)| Some((other, place.as_ref()?)));
        let mut told = others.filter(|(other, place)| {
            place.rank < own.rank && other.kind == found[at].kind && is_same(&found[at], other)
        });
        told.any(|(_, place)| calls.are_connected(own, place))
    };
    let restated: Vec<bool> = (0..found.len()).map(is_restated).collect();
    let kept = found.into_iter().zip(restated).filter(|(_, is_restated)| !is_restated);
    kept.map(|(difference, _)| difference).collect()
}

/// Whether both differ by the same: calls take longer where they are made, but not by more.
fn is_same(a: &Difference, b: &Difference) -> bool {
    let shift = |it: &Difference| it.now.unwrap_or(0.0) - it.before.unwrap_or(0.0);
    (shift(a) - shift(b)).abs() <= SAME * shift(b).abs()
}

/// Whether a service turned out to answer calls to a host.
fn is_answered(edge: &EdgeEvidence) -> bool {
    let (now, before) = (&edge.now, &edge.before);
    let answered = now.answered + before.answered;
    2 * answered > now.count + before.count || before.count < 2 * before.answered
}

/// Where a difference shows.
struct Place {
    /// One operation, or the two ends of a call.
    ends: Vec<OperationId>,
    /// Less is told rather than more.
    rank: u8,
}

/// Who calls whom.
struct Calls<'a> {
    /// What each operation is: its node's service, and its part in calls.
    operations: BTreeMap<OperationId, (ServiceId, SpanKind)>,
    services: BTreeSet<ServiceId>,
    /// Calls that spans of clients and producers stand for.
    pairs: BTreeSet<(OperationId, OperationId)>,
    edges: BTreeMap<(OperationId, OperationId), &'a EdgeEvidence>,
    /// Of each operation that is called, whether all of these calls are answered by another service.
    answered: BTreeMap<OperationId, bool>,
}

impl<'a> Calls<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let operations: BTreeMap<OperationId, (ServiceId, SpanKind)> =
            evidence.operations.iter().map(|it| (it.id, (it.service, it.kind))).collect();
        let nodes = evidence.nodes.iter().filter(|node| node.kind == NodeKind::Service);
        let edges: BTreeMap<(OperationId, OperationId), &EdgeEvidence> =
            evidence.edges.iter().map(|edge| ((edge.from, edge.to), edge)).collect();
        let is_outbound = |id: &OperationId| operations.get(id).is_some_and(|(_, kind)| kind.is_outbound());
        let pairs = edges.keys().filter(|(from, _)| is_outbound(from)).copied().collect();
        let mut answered: BTreeMap<OperationId, bool> = BTreeMap::new();
        for edge in &evidence.edges {
            *answered.entry(edge.to).or_insert(true) &= is_answered(edge);
        }
        Self { answered, services: nodes.map(|node| node.id).collect(), pairs, edges, operations }
    }

    fn is_of_service(&self, operation: OperationId) -> bool {
        self.operations.get(&operation).is_some_and(|(service, _)| self.services.contains(service))
    }

    /// Where a difference shows that is of requests: first where they are answered, then on their way, then where they are
    /// made, and last at a host that is a service.
    fn place(&self, difference: &Difference) -> Option<Place> {
        match difference.reference {
            Some(Reference::Operation { id, .. }) => {
                let (_, kind) = self.operations.get(&id)?;
                let is_answered = self.answered.get(&id).is_some_and(|is_answered| *is_answered);
                let rank = match (!self.is_of_service(id), is_answered) {
                    (true, true) => 5,
                    (true, false) => 3,
                    _ if kind.is_outbound() => 4,
                    _ => 0,
                };
                Some(Place { ends: vec![id], rank })
            }
            Some(Reference::Edge { from, to }) => {
                let edge = self.edges.get(&(from, to))?;
                let is_to_host = !self.is_of_service(to) && is_answered(edge);
                Some(Place { ends: vec![from, to], rank: if is_to_host { 2 } else { 1 } })
            }
            _ => None,
        }
    }

    /// Whether they are of the same calls: they have an end in common, or one calls the other.
    fn are_connected(&self, a: &Place, b: &Place) -> bool {
        let mut ends = a.ends.iter().flat_map(|own| b.ends.iter().map(move |other| (*own, *other)));
        ends.any(|(own, other)| {
            own == other || self.pairs.contains(&(own, other)) || self.pairs.contains(&(other, own))
        })
    }
}
