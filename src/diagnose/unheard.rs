//! Calls of which the caller tells otherwise than the called one: they fail or take time that nobody below knows of.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::id::ServiceId;

use super::blame::{Blame, Flow, Matter, Part};
use super::message::Hint;
use super::stats::{error_surprise, excess_errors, latency_shift, rate_surprise};
use super::view::{Edge, Way};
use super::ways::is_longer;

/// Failures of calls that nobody answered that must be known, and standard deviations that they must leave behind.
const REFUSED_MIN: f64 = 3.0;
const REFUSED_SURPRISE_MIN: f64 = 4.0;
/// Calls that nobody answered for time to be spent on them.
const UNANSWERED_MIN: u64 = 3;

impl Flow<'_, '_> {
    /// Failures of a call that the called service does not know of: lost on the way, timed out, or the caller's.
    pub(super) fn split_unanswered(&self, at: usize, mut rest: f64, parts: &mut Vec<(Part, f64)>) -> f64 {
        let operation = &self.view.operations[at];
        let remote: Vec<&Edge<'_>> = self.calls_of(at).filter(|edge| edge.way == Way::Remote).collect();
        let called: BTreeSet<ServiceId> =
            remote.iter().map(|edge| self.view.operations[edge.to].service).collect();
        for service in called {
            for (part, lost) in self.lost_at(at, service) {
                let lost = lost.min(rest);
                parts.push((part, lost));
                rest -= lost;
            }
        }
        rest = self.split_given_up(&remote, rest, parts);
        let busiest =
            remote.iter().max_by_key(|edge| (edge.now.count + edge.before.count, edge.from, edge.to));
        let Some(edge) = busiest.filter(|_| rest > 0.0) else { return rest };
        if self.has_slowed(edge.to) {
            parts.push((Part::Passes(Matter::Latency, edge.to), rest));
            return 0.0;
        }
        if self.hints.of(at) == Hint::Unreachable {
            let all_fail = operation.now.error_ratio() > 0.9;
            let blame = if all_fail { Blame::Unanswered(at, edge.to) } else { Blame::Way(at, edge.to) };
            parts.push((Part::Stays(blame), rest));
            return 0.0;
        }
        rest
    }

    /// Failures of the calls to one service that it does not know of: those of all calls to it where their spans say whom they
    /// call, else what fewer arrive than did. Who is late and slow has its own reasons.
    fn lost_at(&self, at: usize, service: ServiceId) -> Vec<(Part, f64)> {
        let arrived: Vec<&Edge<'_>> = self.view.arrived(at, service).collect();
        let Some(refused) = self.view.refused(at, service) else {
            let lost = arrived.iter().map(|edge| (edge.to, self.lost_calls(edge)));
            let lost = lost.filter(|(_, lost)| *lost > 0.0);
            return lost.map(|(to, lost)| (Part::Stays(Blame::Unanswered(at, to)), lost)).collect();
        };
        let peer = self.view.peer(at, service).filter(|_| refused >= REFUSED_MIN);
        let is_new = peer.is_some_and(|peer| error_surprise(&peer.now, &peer.before) > REFUSED_SURPRISE_MIN);
        let busiest =
            arrived.iter().max_by_key(|edge| (edge.now.count + edge.before.count, Reverse(edge.to)));
        let Some(edge) = busiest.filter(|_| is_new) else { return Vec::new() };
        if self.hints.are_late(at) && self.has_slowed(edge.to) {
            return vec![(Part::Passes(Matter::Latency, edge.to), refused)];
        }
        vec![(Part::Stays(Blame::Unanswered(at, edge.to)), refused)]
    }

    /// Failures of calls that arrived and were answered well: their caller did not wait. That is the fault of who is called
    /// where it takes longer than it did, and the caller's where it does not.
    fn split_given_up(&self, remote: &[&Edge<'_>], mut rest: f64, parts: &mut Vec<(Part, f64)>) -> f64 {
        for edge in remote.iter().filter(|edge| self.hints.are_late(edge.from)) {
            let failed = excess_errors(edge.now, edge.before);
            let given_up = (failed * (1.0 - self.shared_failures(edge))).min(rest);
            if given_up <= 0.0 {
                continue;
            }
            rest -= given_up;
            let part = if self.has_slowed(edge.to) {
                Part::Passes(Matter::Latency, edge.to)
            } else {
                Part::Stays(Blame::GivesUp(edge.from, edge.to))
            };
            parts.push((part, given_up));
        }
        rest
    }

    /// Whether an operation takes so much longer than it did that who waits for it may give up.
    pub(super) fn has_slowed(&self, at: usize) -> bool {
        let operation = &self.view.operations[at];
        let shift = latency_shift(&operation.now, &operation.before);
        shift.surprise > 4.0 && shift.growth > 0.5
    }

    /// Calls that the caller made and the callee did not see, judged by how many arrived in the baseline.
    pub(super) fn lost_calls(&self, edge: &Edge<'_>) -> f64 {
        let caller = &self.view.operations[edge.from];
        if caller.before.count < 10 || edge.before.count < 10 {
            return 0.0;
        }
        let ratio = edge.before.count as f64 / caller.before.count as f64;
        let expected = ratio * caller.now.count as f64;
        let lost = expected - edge.now.count as f64;
        let surprise = rate_surprise(
            edge.now.count as f64,
            expected,
            edge.before.count as f64,
            edge.before.count as f64,
        );
        if lost >= 3.0 && surprise < -4.0 { lost } else { 0.0 }
    }

    /// Whose the time is that calls take beyond those who answer them: of the ways that take longer, where one does beyond
    /// chance; else of who does not answer; else nobody's.
    pub(super) fn time_beyond_answers(&self, at: usize, own: f64) -> Vec<(Part, f64)> {
        let remote: Vec<&Edge<'_>> = self.calls_of(at).filter(|edge| edge.way == Way::Remote).collect();
        let is_plain = remote.iter().any(|edge| is_longer(edge.now, edge.before));
        let more_ns = |edge: &Edge<'_>| edge.now.count as f64 * (edge.now.gap_ns() - edge.before.gap_ns());
        let grown = remote.iter().filter(|_| is_plain).map(|edge| (edge.to, more_ns(edge)));
        let grown: Vec<(usize, f64)> = grown.filter(|(_, more_ns)| *more_ns > 0.0).collect();
        let all: f64 = grown.iter().map(|(_, more_ns)| more_ns).sum();
        if all > 0.0 {
            let part = |(to, more_ns): (usize, f64)| (Part::Stays(Blame::Way(at, to)), own * more_ns / all);
            return grown.into_iter().map(part).collect();
        }
        let unanswered = |edge: &Edge<'_>| self.view.unanswered(at, self.view.operations[edge.to].service);
        let missed = remote.iter().filter(|edge| unanswered(edge) >= UNANSWERED_MIN);
        let most = missed
            .max_by_key(|edge| (unanswered(edge), edge.now.count + edge.before.count, Reverse(edge.to)));
        most.map(|edge| (Part::Stays(Blame::Unanswered(at, edge.to)), own)).into_iter().collect()
    }
}
