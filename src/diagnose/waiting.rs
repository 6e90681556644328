//! Messages that wait longer in a queue than they used to.
//!
//! Whoever sends a message does not wait for who takes it, and neither is slow: a backlog shows on the way between a queue
//! and its consumer alone.

use std::collections::BTreeMap;

use crate::model::id::ServiceId;
use crate::model::span::SpanKind;

use super::blame::{Blame, Ledger};
use super::silence::reachable;
use super::stats::saturate;
use super::symptom::Deviation;
use super::verdict::SymptomKind;
use super::view::{Edge, View, Way};

/// Messages that both windows must rest on.
const COUNT_MIN: u64 = 10;
/// Growth of the wait that must be exceeded: it has doubled.
const GROWTH_MIN: f64 = 1.0;
/// Standard deviations that the growth must leave behind.
const SURPRISE_MIN: f64 = 4.0;
/// What a wait that nobody sits through weighs next to what callers notice.
const UNSEEN: f64 = 0.5;

/// By how much messages wait longer on an edge, in standard deviations and as growth; none where they do not. The waits of a
/// queue are taken to spread as much as they are long.
pub(super) fn grown(view: &View<'_>, edge: &Edge<'_>) -> Option<(f64, f64)> {
    let taken = edge.way == Way::Deferred && view.operations[edge.to].kind == SpanKind::CONSUMER;
    if !taken || edge.now.count.min(edge.before.count) < COUNT_MIN {
        return None;
    }
    let (now, before) = (edge.now.gap_ns(), edge.before.gap_ns());
    let error = (now * now / edge.now.count as f64 + before * before / edge.before.count as f64).sqrt();
    let surprise = (now - before) / error.max(1.0);
    let growth = now / before.max(1e6) - 1.0;
    (surprise > SURPRISE_MIN && growth > GROWTH_MIN).then_some((surprise, growth))
}

/// Longer waits as a deviation with its blame; with `symptom`, those at it or below it.
pub(super) fn longer_waits(view: &View<'_>, symptom: Option<ServiceId>) -> Option<(Deviation, Ledger)> {
    let below = symptom.map(|service| reachable(&view.callees_by_service(), service));
    let mut ledger = Ledger::default();
    let mut excess: BTreeMap<usize, f64> = BTreeMap::new();
    let (mut surprise, mut severity, mut volume) = (0.0_f64, 0.0_f64, 0.0);
    let mut worst: Option<(f64, &Edge<'_>)> = None;
    for edge in &view.edges {
        let consumer = view.operations[edge.to].service;
        let Some((unlikely, growth)) = grown(view, edge) else { continue };
        if below.as_ref().is_some_and(|below| !below.contains(&consumer)) {
            continue;
        }
        let waited = edge.now.count as f64 * (edge.now.gap_ns() - edge.before.gap_ns());
        *ledger.shares.entry(Blame::Way(edge.from, edge.to)).or_default() += waited;
        *ledger.reached.entry(consumer).or_default() += waited;
        *excess.entry(edge.to).or_default() += waited;
        surprise = surprise.max(unlikely);
        severity = severity.max(UNSEEN * saturate(growth, 1.0));
        volume += edge.now.count as f64;
        if worst.is_none_or(|(known, _)| waited > known) {
            worst = Some((waited, edge));
        }
    }
    ledger.normalize();
    let (_, edge) = worst?;
    let levels = Some((edge.before.gap_ns(), edge.now.gap_ns()));
    let deviation = Deviation {
        kind: SymptomKind::Latency,
        excess,
        worst: edge.to,
        levels,
        surprise,
        severity,
        volume,
        is_tolerated: false,
    };
    Some((deviation, ledger))
}
