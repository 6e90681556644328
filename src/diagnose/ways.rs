//! Which end of a slow way is to blame.
//!
//! A node whose network suffers slows every call to it and from it; its neighbours suffer on one way of many. So a
//! slow way is charged to the end where the larger part of all ways is slow, and to the called end where both are
//! alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::rollup::Cell;

use super::view::{View, Way};

/// Calls that a way must have seen in both windows to be measured.
const COUNT_MIN: u64 = 3;
/// Ways whose time grew by this part of the largest growth are slow.
const SLOW_PART: f64 = 0.25;

/// Calls that both windows need for what one way takes longer to be told from chance.
const GAP_COUNT_MIN: u64 = 8;
/// Calls close in time resemble each other, so that more than this many say no more about how long they are on the way.
const INDEPENDENT_MAX: f64 = 400.0;
/// Standard deviations that a longer way must leave behind: those of eight calls that take many times as long.
const GAP_SURPRISE_MIN: f64 = 2.5;

/// By how many standard deviations calls are longer on the way than they were, 0 where they are not; none where there are too
/// few to tell. The time on the way is taken to spread as much as it is long.
pub(super) fn gap_surprise(now: &Cell, before: &Cell) -> Option<f64> {
    if now.count.min(before.count) < GAP_COUNT_MIN {
        return None;
    }
    let variance = |cell: &Cell| cell.gap_ns().powi(2) / (cell.count as f64).min(INDEPENDENT_MAX);
    let noise = (variance(now) + variance(before)).sqrt();
    Some(((now.gap_ns() - before.gap_ns()) / noise.max(1.0)).max(0.0))
}

/// Whether calls are longer on the way than they were, beyond chance where enough are known.
pub(super) fn is_longer(now: &Cell, before: &Cell) -> bool {
    match gap_surprise(now, before) {
        Some(surprise) => surprise > GAP_SURPRISE_MIN,
        None => now.gap_ns() > before.gap_ns(),
    }
}

/// A caller and a callee.
pub(super) type Ends = (ServiceId, ServiceId);

/// The ways between services, and which of them are slow.
pub(super) struct Ways {
    of_service: BTreeMap<ServiceId, BTreeSet<Ends>>,
    slow: BTreeSet<Ends>,
}

impl Ways {
    /// Measures all ways.
    pub(super) fn new(view: &View<'_>) -> Self {
        let mut sums: BTreeMap<Ends, (Cell, Cell)> = BTreeMap::new();
        for edge in view.edges.iter().filter(|edge| edge.way == Way::Remote) {
            let ends = (view.operations[edge.from].service, view.operations[edge.to].service);
            let (now, before) = sums.entry(ends).or_default();
            add(now, edge.now);
            add(before, edge.before);
        }
        let measured = sums.iter().filter(|(_, (now, before))| now.count.min(before.count) >= COUNT_MIN);
        let grown: BTreeMap<Ends, f64> =
            measured.map(|(ends, (now, before))| (*ends, now.gap_ns() - before.gap_ns())).collect();
        let most = grown.values().copied().fold(0.0, f64::max);
        let mut of_service: BTreeMap<ServiceId, BTreeSet<Ends>> = BTreeMap::new();
        for ends in grown.keys() {
            of_service.entry(ends.0).or_default().insert(*ends);
            of_service.entry(ends.1).or_default().insert(*ends);
        }
        let slow = grown.into_iter().filter(|(_, growth)| *growth > SLOW_PART * most && *growth > 0.0);
        Self { of_service, slow: slow.map(|(ends, _)| ends).collect() }
    }

    /// The node to blame for each way that holds a share of the blame.
    pub(super) fn charge(&self, shares: &BTreeMap<Ends, f64>) -> BTreeMap<Ends, ServiceId> {
        let mut charged = BTreeMap::new();
        let mut open = shares.clone();
        while !open.is_empty() {
            let mut load: BTreeMap<ServiceId, f64> = BTreeMap::new();
            for ((from, to), share) in &open {
                *load.entry(*from).or_default() += share;
                *load.entry(*to).or_default() += share * 1.05;
            }
            load.iter_mut().for_each(|(service, load)| *load *= self.slow_part(*service));
            let heaviest = load.iter().max_by(|(a, x), (b, y)| x.total_cmp(y).then(b.cmp(a)));
            let Some(hub) = heaviest.map(|(service, _)| *service) else { break };
            open.retain(|ends, _| {
                let its = ends.0 == hub || ends.1 == hub;
                if its {
                    charged.insert(*ends, hub);
                }
                !its
            });
        }
        charged
    }

    /// The part of the service's ways that are slow; a half stands for what was not measured.
    fn slow_part(&self, service: ServiceId) -> f64 {
        let Some(ways) = self.of_service.get(&service) else { return 0.5 };
        (ways.intersection(&self.slow).count() as f64 + 0.05) / (ways.len() as f64 + 0.1)
    }
}

fn add(sum: &mut Cell, cell: &Cell) {
    sum.count += cell.count;
    sum.sum_ns = sum.sum_ns.saturating_add(cell.sum_ns);
    sum.other_ns = sum.other_ns.saturating_add(cell.other_ns);
}
