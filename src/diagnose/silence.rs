//! Calls that no longer happen although their caller still runs.
//!
//! In the baseline each operation calls others a steady number of times for each request. Where that ratio breaks
//! down, either the caller stops before it calls, or the called side no longer takes notice. Calls that are
//! missing because an earlier call of the same request failed are inherited and do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::node::NodeKind;
use crate::model::span::SpanKind;

use super::blame::{Blame, Flow, Ledger};
use super::stats::{excess_errors, rate_surprise, saturate};
use super::symptom::Deviation;
use super::verdict::SymptomKind;
use super::view::{Edge, Way};
use super::waiting::grown;

/// Calls of the baseline that a ratio must rest on.
const COUNT_MIN: u64 = 20;
/// Share of the expected calls that must be missing.
const LOST_SHARE_MIN: f64 = 0.3;
/// Standard deviations of noise are this far away at least.
const SURPRISE_MIN: f64 = 5.0;

/// Missing calls as a deviation with its blame; with `symptom`, those at it or below it.
pub(super) fn missing_calls(flow: &Flow<'_, '_>, symptom: Option<ServiceId>) -> Option<(Deviation, Ledger)> {
    let below = symptom.map(|service| reachable(&flow.view.callees_by_service(), service));
    let mut ledger = Ledger::default();
    let mut excess: BTreeMap<usize, f64> = BTreeMap::new();
    let (mut surprise, mut lost_total, mut expected_total) = (0.0_f64, 0.0, 0.0);
    for edge in flow.view.edges.iter().filter(|edge| edge.from != edge.to) {
        let caller = &flow.view.operations[edge.from];
        if below.as_ref().is_some_and(|below| !below.contains(&caller.service)) {
            continue;
        }
        let Some((lost, expected, unlikely)) = missing(flow, edge) else { continue };
        let blame = match edge.way {
            Way::Remote if caller.kind.is_outbound() => Blame::Unanswered(edge.from, edge.to),
            _ => Blame::FewerCalls(edge.from, edge.to),
        };
        let weight = lost * (lost / expected).min(1.0);
        *ledger.shares.entry(blame).or_default() += weight;
        *ledger.reached.entry(flow.view.operations[blame.operation()].service).or_default() += weight;
        *excess.entry(edge.to).or_default() += lost;
        surprise = surprise.max(unlikely);
        lost_total += lost;
        expected_total += expected;
    }
    ledger.normalize();
    let worst = *excess.iter().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)))?.0;
    let severity = saturate(lost_total / expected_total, 0.5);
    let deviation = Deviation {
        kind: SymptomKind::Silence,
        excess,
        worst,
        levels: None,
        surprise,
        severity,
        volume: expected_total,
        is_tolerated: false,
    };
    Some((deviation, ledger))
}

/// Missing calls, expected calls and standard deviations of an edge whose caller still runs.
pub(super) fn missing(flow: &Flow<'_, '_>, edge: &Edge<'_>) -> Option<(f64, f64, f64)> {
    let caller = &flow.view.operations[edge.from];
    let deferred = edge.way == Way::Deferred && caller.kind != SpanKind::PRODUCER;
    let callee = &flow.view.operations[edge.to];
    // Which way the code takes inside a service is told by its steps.
    let told = !flow.view.evidence.steps.is_empty();
    let inside = told && edge.way == Way::Within && !callee.kind.is_outbound();
    if edge.way == Way::Answered
        || inside
        || deferred
        || flow.view.is_asking(edge)
        // What waits comes late.
        || grown(flow.view, edge).is_some()
        || edge.before.count < COUNT_MIN
        || caller.before.count < COUNT_MIN
    {
        return None;
    }
    let ratio = edge.before.count as f64 / caller.before.count as f64;
    let expected = ratio * caller.now.count as f64;
    let siblings = flow.calls_of(edge.from).filter(|other| other.to != edge.to);
    let inherited: f64 = siblings.map(|other| excess_errors(other.now, other.before)).sum();
    // One name often stands for calls to many: one that fails ends the request before the others are made.
    let first_of_many = (ratio - 1.0).max(0.0) * excess_errors(edge.now, edge.before);
    let mut lost = expected - edge.now.count as f64;
    lost -= match edge.way {
        // A request that failed by itself got no further.
        Way::Within | Way::Dependency => {
            let own = excess_errors(&caller.now, &caller.before);
            (ratio.max(1.0) * inherited + first_of_many).max(ratio * own)
        }
        _ => ratio.max(1.0) * inherited,
    };
    let calls_many = caller.kind.is_outbound() && matches!(edge.way, Way::Remote | Way::Dependency);
    if calls_many || caller.node_kind == NodeKind::Queue {
        // Calls that went elsewhere are not lost.
        lost = lost.min(more_unanswered(flow, edge.from, edge.way));
        lost = lost.min(flow.view.most_lost(edge.from, flow.view.operations[edge.to].service));
    }
    if expected < 10.0 || lost < LOST_SHARE_MIN * expected {
        return None;
    }
    let known = edge.before.count as f64;
    let unlikely = -rate_surprise(expected - lost, expected, known, known);
    (unlikely > SURPRISE_MIN).then_some((lost, expected, unlikely))
}

/// Calls that nobody answered beyond those of the baseline.
pub(super) fn more_unanswered(flow: &Flow<'_, '_>, at: usize, way: Way) -> f64 {
    let caller = &flow.view.operations[at];
    let edges = caller.callees.iter().map(|edge| &flow.view.edges[*edge]);
    let edges = edges.filter(|edge| edge.way == way && !flow.view.is_asking(edge));
    let (mut now, mut before) = (caller.now.count as f64, caller.before.count as f64);
    let grown = now / before.max(1.0);
    for edge in edges {
        now -= edge.now.count as f64;
        before -= edge.before.count as f64;
    }
    now - grown * before.max(0.0)
}

/// `from` and all nodes that it reaches.
pub(super) fn reachable(
    callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    from: ServiceId,
) -> BTreeSet<ServiceId> {
    let mut seen = BTreeSet::from([from]);
    let mut pending = vec![from];
    while let Some(service) = pending.pop() {
        for callee in callees.get(&service).into_iter().flatten() {
            if seen.insert(*callee) {
                pending.push(*callee);
            }
        }
    }
    seen
}
