//! What users notice: the significant deviations that need an explanation.
//!
//! Without a service to ask about, entry operations are examined; where all of them are well, any operation whose
//! callers are well too, and failures that are far worse than what entries show although their callers tolerate them. Who asks
//! a queue for messages is silent where it hardly asks any more though there are some. A deviation
//! must be both improbable and large enough to matter.

use std::collections::BTreeMap;

use crate::model::id::ServiceId;
use crate::model::node::NodeKind;

use super::stats::{error_surprise, excess_errors, expected_calls, latency_shift, rate_surprise, saturate};
use super::verdict::SymptomKind;
use super::view::View;

/// Failures that a deviation must rest on.
const ERRORS_MIN: u64 = 4;
/// Standard deviations that a shift of latency must leave behind; requests close in time resemble each other.
const SHIFT_MIN: f64 = 4.0;
/// Comparisons of failed shares in which noise alone may deviate once: one in so many for each operation examined.
const FALSE_ALARM_ODDS: f64 = 100.0;
/// Failed share that must be new.
const ERROR_SHARE_MIN: f64 = 0.004;
/// Growth of latency that must be exceeded.
const GROWTH_MIN: f64 = 0.15;
/// What failures that callers tolerate weigh next to what is noticed.
const UNNOTICED: f64 = 0.5;
/// Part of all time that makes a slowness inside half as severe as it is.
const FELT_HALF: f64 = 0.05;
/// Calls that silence must be measured against.
const SILENCE_COUNT_MIN: f64 = 20.0;

/// A significant deviation of one kind and the operations that show it.
#[derive(Debug, Clone)]
pub(super) struct Deviation {
    pub(super) kind: SymptomKind,
    /// What each operation has too much of: failures, nanoseconds, or missing calls.
    pub(super) excess: BTreeMap<usize, f64>,
    /// The operation that shows it most.
    pub(super) worst: usize,
    /// The measure in the baseline and in the window, where that operation's own roll-ups do not tell it.
    pub(super) levels: Option<(f64, f64)>,
    /// Standard deviations of the worst.
    pub(super) surprise: f64,
    /// 0 to 1: how bad it is for those who notice it.
    pub(super) severity: f64,
    /// Requests of the deviating operations in the window.
    pub(super) volume: f64,
    /// Whether callers tolerate it, while something else is noticed.
    pub(super) is_tolerated: bool,
}

/// One deviating operation.
#[derive(Debug, Clone, Copy)]
struct Single {
    excess: f64,
    surprise: f64,
    severity: f64,
    volume: f64,
}

/// Deviations at `service`, or at the entries, or wherever they surface; strongest first.
pub(super) fn deviations(view: &View<'_>, service: Option<ServiceId>) -> Vec<Deviation> {
    let all: Vec<usize> = (0..view.operations.len()).collect();
    let mut found: Vec<Deviation> = match service {
        Some(service) => {
            let own: Vec<usize> =
                all.iter().copied().filter(|at| view.operations[*at].service == service).collect();
            let inbound: Vec<usize> = own.iter().copied().filter(|at| takes_requests(view, *at)).collect();
            let kinds = [SymptomKind::Errors, SymptomKind::Latency, SymptomKind::Silence];
            let hidden = |at: usize| own.contains(&at) && !inbound.contains(&at);
            kinds
                .iter()
                .flat_map(|kind| {
                    let noticed = gather(view, *kind, &inbound);
                    let worse = noticed.as_ref().and_then(|noticed| tolerated(view, noticed, hidden));
                    [noticed.or_else(|| gather(view, *kind, &own)), worse]
                })
                .flatten()
                .collect()
        }
        None => [SymptomKind::Errors, SymptomKind::Latency]
            .iter()
            .flat_map(|kind| {
                let entries: Vec<usize> = all.iter().copied().filter(|at| view.is_entry(*at)).collect();
                let noticed = gather(view, *kind, &entries);
                let worse =
                    noticed.as_ref().and_then(|noticed| tolerated(view, noticed, |at| !view.is_entry(at)));
                let shown = noticed.or_else(|| {
                    let mut inner = gather(view, *kind, &surfacing_or_all(view, *kind))?;
                    inner.severity *= felt(view, &inner, &entries);
                    Some(inner)
                });
                [shown, worse]
            })
            .flatten()
            .chain(gather(
                view,
                SymptomKind::Silence,
                &all.iter().copied().filter(|at| may_cease(view, *at)).collect::<Vec<_>>(),
            ))
            .collect(),
    };
    found.sort_by(|a, b| b.severity.total_cmp(&a.severity).then(a.kind.cmp(&b.kind)));
    found
}

/// Failures where `hidden` says so that callers tolerate, and that are far worse than what is `noticed`: more of them, less by
/// chance, and, though they weigh less, more severe. Who gets an answer gets less than was asked for; slowness that callers do
/// not notice takes nothing from them.
fn tolerated(view: &View<'_>, noticed: &Deviation, hidden: impl Fn(usize) -> bool) -> Option<Deviation> {
    if noticed.kind != SymptomKind::Errors {
        return None;
    }
    let surfacing = surfacing(view, noticed.kind);
    let hidden: Vec<usize> = surfacing.into_iter().filter(|at| hidden(*at)).collect();
    let mut found = gather(view, noticed.kind, &hidden)?;
    found.severity *= UNNOTICED;
    found.is_tolerated = true;
    let failures = |deviation: &Deviation| deviation.excess.values().sum::<f64>();
    let is_worse = found.surprise > noticed.surprise && found.severity > noticed.severity;
    (is_worse && failures(&found) > failures(noticed)).then_some(found)
}

/// How much of a deviation that does not surface at the entries could be felt there, 0 to 1: slowness by its part of
/// all time that requests took.
fn felt(view: &View<'_>, deviation: &Deviation, entries: &[usize]) -> f64 {
    let time: f64 = entries.iter().map(|at| view.operations[*at].now.sum_ns as f64).sum();
    if deviation.kind != SymptomKind::Latency || time <= 0.0 {
        return 1.0;
    }
    saturate(deviation.excess.values().sum::<f64>() / time, FELT_HALF)
}

/// True for operations that take work from elsewhere.
pub(super) fn takes_requests(view: &View<'_>, at: usize) -> bool {
    let operation = &view.operations[at];
    operation.kind.is_inbound() || operation.node_kind != NodeKind::Service || view.is_entry(at)
}

/// True for operations that nobody known leads to: users and timers do, or those who ask a queue for messages do by themselves.
pub(super) fn may_cease(view: &View<'_>, at: usize) -> bool {
    view.is_entry(at) || view.asked_queue(at).is_some()
}

/// True when the operation deviates significantly in this way.
pub(super) fn deviates(view: &View<'_>, kind: SymptomKind, at: usize) -> bool {
    single(view, kind, at, view.operations.len()).is_some()
}

/// Deviating operations none of whose callers deviates.
fn surfacing(view: &View<'_>, kind: SymptomKind) -> Vec<usize> {
    let deviating: Vec<bool> = (0..view.operations.len()).map(|at| deviates(view, kind, at)).collect();
    let surfaces = |at: &usize| {
        let callers = view.operations[*at].callers.iter().map(|edge| view.edges[*edge].from);
        deviating[*at] && !callers.filter(|from| from != at).any(|from| deviating[from])
    };
    (0..deviating.len()).filter(surfaces).collect()
}

/// The same; where callers deviate all around, all that deviate.
fn surfacing_or_all(view: &View<'_>, kind: SymptomKind) -> Vec<usize> {
    let found = surfacing(view, kind);
    if !found.is_empty() {
        return found;
    }
    (0..view.operations.len()).filter(|at| deviates(view, kind, *at)).collect()
}

fn gather(view: &View<'_>, kind: SymptomKind, among: &[usize]) -> Option<Deviation> {
    let singles: BTreeMap<usize, Single> = among
        .iter()
        .filter_map(|at| single(view, kind, *at, among.len()).map(|single| (*at, single)))
        .collect();
    let worst = singles.iter().max_by(|(a, x), (b, y)| x.excess.total_cmp(&y.excess).then(b.cmp(a)))?;
    let volume: f64 = singles.values().map(|single| single.volume).sum();
    Some(Deviation {
        kind,
        worst: *worst.0,
        levels: None,
        surprise: singles.values().map(|single| single.surprise).fold(0.0, f64::max),
        severity: singles.values().map(|single| single.severity * single.volume).sum::<f64>()
            / volume.max(1.0),
        volume,
        is_tolerated: false,
        excess: singles.iter().map(|(at, single)| (*at, single.excess)).collect(),
    })
}

/// Standard deviations that a failed share must leave behind when so many operations are examined: 3.5 for a few,
/// 4.8 for a thousand.
fn error_surprise_min(among: usize) -> f64 {
    (2.0 * (FALSE_ALARM_ODDS * among.max(4) as f64).ln()).sqrt()
}

/// The deviation of one operation of `among` that are examined.
fn single(view: &View<'_>, kind: SymptomKind, at: usize, among: usize) -> Option<Single> {
    let operation = &view.operations[at];
    let (now, before) = (&*operation.now, &*operation.before);
    match kind {
        SymptomKind::Errors => {
            let (excess, surprise) = (excess_errors(now, before), error_surprise(now, before));
            let share = excess / (now.count as f64).max(1.0);
            let counts =
                now.errors >= ERRORS_MIN && surprise > error_surprise_min(among) && share > ERROR_SHARE_MIN;
            counts.then_some(Single {
                excess,
                surprise,
                severity: saturate(share, 0.05),
                volume: now.count as f64,
            })
        }
        SymptomKind::Latency => {
            let shift = latency_shift(now, before);
            let excess = (now.mean_ns() - before.mean_ns()) * now.count as f64;
            let counts = shift.surprise > SHIFT_MIN && shift.growth > GROWTH_MIN && excess > 0.0;
            counts.then_some(Single {
                excess,
                surprise: shift.surprise,
                severity: saturate(shift.growth, 1.0),
                volume: now.count as f64,
            })
        }
        SymptomKind::Silence => {
            // How often a queue is asked says nothing as long as nothing is left in it.
            let is_idle = view.asked_queue(at).is_some() && !view.leaves_messages(at);
            if view.baseline_s <= 0.0 || is_idle {
                return None;
            }
            let expected = expected_calls(before, view.window_s, view.baseline_s);
            let surprise =
                -rate_surprise(now.count as f64, view.window_s, before.count as f64, view.baseline_s);
            let lost = expected - now.count as f64;
            let counts =
                expected >= SILENCE_COUNT_MIN && (now.count as f64) < 0.1 * expected && surprise > 5.0;
            counts.then_some(Single {
                excess: lost,
                surprise,
                severity: saturate(lost / expected, 0.3),
                volume: expected,
            })
        }
    }
}
