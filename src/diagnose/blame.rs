//! Blame flows down the calls: from the symptom's operations to where failures and time come from.
//!
//! Each step splits what an operation has too much of (failures, or time) between itself and those it called,
//! in proportion to what each of them has too much of. What a node keeps is its blame; what it passes on it has
//! merely inherited. The shares of all blames add up to 1, cycles die out after [`STEPS_MAX`] steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::node::NodeKind;
use crate::model::span::SpanKind;

use super::awaited::Wait;
use super::concentration::has_fresh_version;
use super::message::{Hint, Hints};
use super::stats::{error_surprise, excess_errors, expected_calls, rate_surprise};
use super::view::{Edge, View, Way};

/// Longest way from a symptom to a cause, in operations.
const STEPS_MAX: usize = 48;
/// Smaller shares of blame stay where they are.
const SHARE_MIN: f64 = 0.004;
/// How many times as often as before one may call and still expect room.
const MORE_CALLS: f64 = 2.0;
/// Parts of a split below this share of it are noise.
const PART_MIN: f64 = 0.04;

/// Where blame comes to rest. Numbers are positions of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blame {
    /// An operation's own work.
    Operation(usize),
    /// An operation of a database, queue or external host.
    Dependency(usize),
    /// The way from an operation to another service's.
    Way(usize, usize),
    /// An operation that is called and does not answer.
    Unanswered(usize, usize),
    /// An operation that does not wait for the answer of another.
    GivesUp(usize, usize),
    /// An operation that calls another more often than before.
    MoreCalls(usize, usize),
    /// An operation that no longer calls another.
    FewerCalls(usize, usize),
}

impl Blame {
    /// The operation that is blamed, or at the blamed end of a way.
    pub(super) const fn operation(self) -> usize {
        match self {
            Self::Operation(at) | Self::Dependency(at) => at,
            Self::GivesUp(from, _) | Self::MoreCalls(from, _) | Self::FewerCalls(from, _) => from,
            Self::Way(_, to) | Self::Unanswered(_, to) => to,
        }
    }

    /// The caller and the called one, where it is about calls.
    pub(super) const fn ends(self) -> Option<(usize, usize)> {
        match self {
            Self::Operation(_) | Self::Dependency(_) => None,
            Self::Way(from, to)
            | Self::Unanswered(from, to)
            | Self::GivesUp(from, to)
            | Self::MoreCalls(from, to)
            | Self::FewerCalls(from, to) => Some((from, to)),
        }
    }
}

/// What flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Matter {
    /// Failures beyond the baseline.
    Errors,
    /// Time beyond the baseline.
    Latency,
}

/// Where a part of an operation's excess goes.
pub(super) enum Part {
    Stays(Blame),
    Passes(Matter, usize),
}

/// Shares of blame, and the ways it took.
#[derive(Default)]
pub(super) struct Ledger {
    /// Shares by where they rest; they add up to 1 unless empty.
    pub(super) shares: BTreeMap<Blame, f64>,
    /// For each node, what reached it, and what it passed on to which node.
    pub(super) passed: BTreeMap<ServiceId, BTreeMap<ServiceId, f64>>,
    /// All that reached a node.
    pub(super) reached: BTreeMap<ServiceId, f64>,
}

impl Ledger {
    /// Adds `weight` times the shares of `other`.
    pub(super) fn add(&mut self, other: &Self, weight: f64) {
        for (blame, share) in &other.shares {
            *self.shares.entry(*blame).or_default() += weight * share;
        }
        for (from, targets) in &other.passed {
            for (to, share) in targets {
                *self.passed.entry(*from).or_default().entry(*to).or_default() += weight * share;
            }
        }
        for (service, share) in &other.reached {
            *self.reached.entry(*service).or_default() += weight * share;
        }
    }

    /// Makes the shares add up to 1; an empty ledger stays empty.
    pub(super) fn normalize(&mut self) {
        self.divide(self.total());
    }

    /// What the shares add up to.
    pub(super) fn total(&self) -> f64 {
        self.shares.values().sum()
    }

    /// Makes each share that part of `total`.
    pub(super) fn divide(&mut self, total: f64) {
        if total > 0.0 {
            self.shares.values_mut().for_each(|share| *share /= total);
            self.reached.values_mut().for_each(|share| *share /= total);
            self.passed.values_mut().flat_map(BTreeMap::values_mut).for_each(|share| *share /= total);
        }
    }
}

/// Splits excess between operations.
pub(super) struct Flow<'v, 'a> {
    pub(super) view: &'v View<'a>,
    pub(super) hints: &'v Hints,
}

impl Flow<'_, '_> {
    /// Lets `start` (weights by operation) flow down until all of it rests.
    pub(super) fn run(&self, matter: Matter, start: &BTreeMap<usize, f64>) -> Ledger {
        let mut ledger = Ledger::default();
        let mut moving: BTreeMap<(Matter, usize), f64> =
            start.iter().map(|(at, weight)| ((matter, *at), *weight)).collect();
        let total: f64 = moving.values().sum();
        let mut came_from: BTreeMap<(Matter, usize), ServiceId> = BTreeMap::new();
        for step in 0..=STEPS_MAX {
            let mut next: BTreeMap<(Matter, usize), f64> = BTreeMap::new();
            for ((matter, at), weight) in std::mem::take(&mut moving) {
                let service = self.view.operations[at].service;
                if came_from.get(&(matter, at)) != Some(&service) {
                    *ledger.reached.entry(service).or_default() += weight;
                }
                if step == STEPS_MAX || weight < SHARE_MIN * total {
                    *ledger.shares.entry(Blame::Operation(at)).or_default() += weight;
                    continue;
                }
                for (part, share) in self.split(matter, at) {
                    let weight = weight * share;
                    let target = match part {
                        Part::Stays(blame) => {
                            *ledger.shares.entry(blame).or_default() += weight;
                            self.view.operations[blame.operation()].service
                        }
                        Part::Passes(matter, to) => {
                            *next.entry((matter, to)).or_default() += weight;
                            came_from.insert((matter, to), service);
                            self.view.operations[to].service
                        }
                    };
                    if target != service {
                        *ledger.passed.entry(service).or_default().entry(target).or_default() += weight;
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            moving = next;
        }
        ledger.normalize();
        ledger
    }

    fn split(&self, matter: Matter, at: usize) -> Vec<(Part, f64)> {
        let parts = match matter {
            Matter::Errors => self.split_errors(at),
            Matter::Latency => self.split_latency(at),
        };
        let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
        let kept: Vec<_> = parts.into_iter().filter(|(_, weight)| *weight > PART_MIN * total).collect();
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        if total <= 0.0 {
            return vec![(Part::Stays(self.rest_of(at)), 1.0)];
        }
        kept.into_iter().map(|(part, weight)| (part, weight / total)).collect()
    }

    /// Blame that no callee takes over.
    fn rest_of(&self, at: usize) -> Blame {
        let operation = &self.view.operations[at];
        if operation.node_kind == NodeKind::Service { Blame::Operation(at) } else { Blame::Dependency(at) }
    }

    /// Failures that no callee takes over. A queue that is asked for messages answers for what it answers, unless it says
    /// that it was asked wrongly.
    pub(super) fn failure_of(&self, at: usize) -> Blame {
        let queue = self.view.asked_queue(at).filter(|_| self.hints.of(at) != Hint::Rejected);
        queue.map_or_else(|| self.rest_of(at), Blame::Dependency)
    }

    fn split_errors(&self, at: usize) -> Vec<(Part, f64)> {
        let operation = &self.view.operations[at];
        let mut rest = excess_errors(&operation.now, &operation.before);
        let mut parts = Vec::new();
        for edge in self.calls_of(at) {
            let excess = excess_errors(edge.now, edge.before);
            let excess = excess * self.shared_failures(edge);
            if excess <= 0.0 {
                continue;
            }
            rest -= excess;
            if edge.way == Way::Dependency && !self.dependency_is_to_blame(edge) {
                parts.push((Part::Stays(Blame::Operation(at)), excess));
            } else if edge.way == Way::Dependency {
                parts.push((Part::Stays(Blame::Dependency(edge.to)), excess));
            } else {
                parts.push((Part::Passes(Matter::Errors, edge.to), excess));
            }
        }
        if rest > 0.0 && operation.kind.is_outbound() {
            rest = self.split_unanswered(at, rest, &mut parts);
        }
        if rest > 0.0 {
            parts.push((Part::Stays(self.failure_of(at)), rest));
        }
        parts
    }

    /// Which part of the failures of calls the called operation knows of. A call counts as failed where either end says so.
    /// What one caller alone says is left to it: it gave up, or asked for what is not there. What several services say of one
    /// operation is that one's, and so is that it has no room, and what is said of a version that is new where the caller's is
    /// not.
    pub(super) fn shared_failures(&self, edge: &Edge<'_>) -> f64 {
        if edge.way != Way::Remote {
            return 1.0;
        }
        let callee = &self.view.operations[edge.to];
        let callers = callee.callers.iter().map(|other| &self.view.edges[*other]);
        let callers = callers.filter(|other| other.way == Way::Remote);
        let (mut told, mut failing) = (0.0, BTreeSet::new());
        for other in callers {
            told += excess_errors(other.now, other.before);
            if error_surprise(other.now, other.before) > 3.0 {
                failing.insert(self.view.operations[other.from].service);
            }
        }
        let known = excess_errors(&callee.now, &callee.before);
        let is_new = |at: usize| has_fresh_version(self.view, self.view.operations[at].service);
        let is_callees = failing.len() > 1
            || told <= known
            || self.has_no_room(edge)
            || is_new(edge.to) && !is_new(edge.from);
        if is_callees { 1.0 } else { known / told }
    }

    /// Whether the callee says that it has no room for calls that are hardly more than they were.
    fn has_no_room(&self, edge: &Edge<'_>) -> bool {
        let usual = expected_calls(edge.before, self.view.window_s, self.view.baseline_s);
        self.hints.of(edge.from) == Hint::Full
            && (usual <= 0.0 || edge.now.count as f64 <= MORE_CALLS * usual)
    }

    /// A dependency that fails one of many callers for one of many calls was asked wrongly; one that cannot be
    /// reached, fails several callers, or fails most calls is at fault itself. External hosts answer for what
    /// they return, unless they say that the request was wrong.
    fn dependency_is_to_blame(&self, edge: &Edge<'_>) -> bool {
        let service = self.view.operations[edge.to].service;
        let (mut calls, mut errors, mut failing) = (0, 0, BTreeSet::new());
        let into = self.view.edges.iter().filter(|edge| edge.way == Way::Dependency);
        for other in into.filter(|other| self.view.operations[other.to].service == service) {
            calls += other.now.count;
            errors += other.now.errors;
            if error_surprise(other.now, other.before) > 3.0 {
                failing.insert(self.view.operations[other.from].service);
            }
        }
        let most = 2 * errors >= calls;
        match self.hints.of(edge.from) {
            Hint::Unreachable => true,
            Hint::Full => failing.len() > 1 || self.has_no_room(edge),
            Hint::Rejected => most && failing.len() > 1,
            Hint::Silent => {
                most || failing.len() > 1 || self.view.operations[edge.to].node_kind == NodeKind::External
            }
        }
    }

    fn split_latency(&self, at: usize) -> Vec<(Part, f64)> {
        let operation = &self.view.operations[at];
        let (now, before) = (&operation.now, &operation.before);
        let mut parts = Vec::new();
        let mut own = now.count as f64 * self.view.own_growth(at);
        if before.count == 0 {
            own = now.count as f64 * self.view.own_means(at).0;
        }
        let (mut beside, mut unsure) = (Vec::new(), Vec::new());
        for edge in self.calls_of(at).filter(|edge| edge.wait != Wait::Not) {
            let slower = edge.now.count as f64 * (edge.now.mean_ns() - edge.before.mean_ns());
            let slower =
                if edge.before.count == 0 && before.count > 0 { edge.now.sum_ns as f64 } else { slower };
            if edge.way == Way::Dependency {
                own -= slower.max(0.0);
                parts.push((Part::Stays(Blame::Dependency(edge.to)), slower));
            } else {
                if edge.way == Way::Within && !self.view.operations[edge.to].kind.is_outbound() {
                    beside.push((parts.len(), self.kept_by(edge.to)));
                }
                if edge.wait == Wait::PerhapsNot {
                    unsure.push(parts.len());
                }
                parts.push((Part::Passes(Matter::Latency, edge.to), slower));
            }
            let more = self.added_calls(edge);
            if more > 0.0 && error_surprise(edge.now, edge.before) < 3.0 {
                parts.push((Part::Stays(Blame::MoreCalls(at, edge.to)), more * edge.before.mean_ns()));
            }
        }
        let excess = now.count as f64 * (now.mean_ns() - before.mean_ns());
        leave_rest(excess - own.max(0.0), &unsure, &mut parts);
        self.count_once(excess - own.max(0.0), &beside, &mut parts);
        if operation.kind.is_outbound() && self.calls_of(at).any(|edge| edge.way == Way::Remote) {
            parts.extend(self.time_beyond_answers(at, own));
        } else {
            parts.push((Part::Stays(self.rest_of(at)), own));
        }
        parts.retain(|(_, weight)| *weight > 0.0);
        parts
    }

    /// What part of an operation's growth it would keep: that of its own time.
    fn kept_by(&self, at: usize) -> f64 {
        let operation = &self.view.operations[at];
        let grown = operation.now.mean_ns() - operation.before.mean_ns();
        (self.view.own_growth(at) / grown.max(1.0)).clamp(0.0, 1.0)
    }

    /// Children that run at the same time are slow for the same reason. Where together they grew by more than `excess`,
    /// what work inside the service would keep for itself gives way to the calls beside it.
    fn count_once(&self, excess: f64, beside: &[(usize, f64)], parts: &mut [(Part, f64)]) {
        let all: f64 = parts.iter().map(|(_, slower)| slower.max(0.0)).sum();
        let inside: f64 = beside.iter().map(|(at, kept)| parts[*at].1.max(0.0) * kept).sum();
        let calls = parts.iter().any(|(part, slower)| {
            *slower > 0.0
                && matches!(part, Part::Passes(_, to) if self.view.operations[*to].kind.is_outbound())
        });
        let twice = (all - excess.max(0.0)).min(inside);
        if !calls || twice <= 0.0 || inside <= 0.0 {
            return;
        }
        for (at, kept) in beside {
            let slower = parts[*at].1.max(0.0);
            parts[*at].1 -= slower * kept * twice / inside;
        }
    }

    /// Calls beyond those that the caller's own traffic explains.
    fn added_calls(&self, edge: &Edge<'_>) -> f64 {
        let caller = &self.view.operations[edge.from];
        if caller.before.count < 10 || edge.before.count < 10 {
            return 0.0;
        }
        let expected = edge.before.count as f64 / caller.before.count as f64 * caller.now.count as f64;
        let count = edge.now.count as f64;
        let surprise = rate_surprise(count, expected, edge.before.count as f64, edge.before.count as f64);
        if count > 1.5 * expected && surprise > 5.0 { count - expected } else { 0.0 }
    }

    /// The calls that the operation waits for, none counted twice.
    pub(super) fn calls_of(&self, at: usize) -> impl Iterator<Item = &Edge<'_>> {
        let waits = self.view.operations[at].kind != SpanKind::PRODUCER;
        self.view.operations[at].callees.iter().map(|edge| &self.view.edges[*edge]).filter(move |edge| {
            edge.to != at
                && match edge.way {
                    Way::Within | Way::Remote => waits,
                    Way::Dependency => true,
                    Way::Answered | Way::Deferred => false,
                }
        })
    }
}

/// Leaves to calls for which an operation perhaps does not wait no more of `excess` than nothing else explains.
fn leave_rest(excess: f64, unsure: &[usize], parts: &mut [(Part, f64)]) {
    let all: f64 = parts.iter().map(|(_, slower)| slower.max(0.0)).sum();
    let theirs: f64 = unsure.iter().map(|at| parts[*at].1.max(0.0)).sum();
    if theirs <= 0.0 {
        return;
    }
    let left = (excess - (all - theirs)).clamp(0.0, theirs);
    for at in unsure {
        parts[*at].1 *= left / theirs;
    }
}
