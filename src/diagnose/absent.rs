//! Trouble of a node that its own spans do not show: calls to it that do not arrive or are longer on the way, calls that are
//! no longer made, and silence.

use crate::model::id::ServiceId;

use super::blame::Flow;
use super::figures::time_text;
use super::message::Hint;
use super::silence::{missing, more_unanswered};
use super::stats::{error_surprise, excess_errors, expected_calls, rate_surprise};
use super::symptom::{deviates, may_cease};
use super::verdict::SymptomKind;
use super::view::{Edge, View, Way};
use super::ways::gap_surprise;

/// Failures that calls must have that nobody answers, where as many arrive as before.
const FAILED_MIN: f64 = 4.0;
/// Standard deviations that the failures of a caller must leave behind to show where its calls do not arrive.
const SURPRISE_MIN: f64 = 4.0;

/// Part of what callers waited by which a longer way must make them wait longer.
const DELAY_MIN: f64 = 0.15;

/// What is not there of a node.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    /// The position of the operation that shows it: that of a caller that fails, or the one that is called less.
    pub(super) at: usize,
    /// What that operation shows.
    pub(super) kind: SymptomKind,
    /// Standard deviations.
    pub(super) surprise: f64,
    /// In which way.
    pub(super) lack: Lack,
    /// What is not there, in one sentence.
    pub(super) text: String,
}

/// In which way something is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is called and does not answer.
    Unanswered,
    /// It is called and answers as ever, and its callers wait for longer than it takes.
    Delayed,
    /// It is not called, or does not call.
    Missing,
}

/// The calls to a node that most surely do not arrive: it is called, and does not know of it. The few that do may be well.
pub(super) fn unanswered(flow: &Flow<'_, '_>, service: ServiceId) -> Option<Absence> {
    most(calls_into(flow.view, service).filter_map(|edge| of_calls(flow, edge)))
}

/// The calls of others to a node, as those who wait for them count them.
fn calls_into<'v, 'a>(view: &'v View<'a>, service: ServiceId) -> impl Iterator<Item = &'v Edge<'a>> {
    view.edges.iter().filter(move |edge| {
        let (from, to) = (&view.operations[edge.from], &view.operations[edge.to]);
        edge.way == Way::Remote && to.service == service && from.kind.is_outbound()
    })
}

/// The calls to a node that most surely spend longer on the way than they did: it takes no notice of that.
pub(super) fn delayed(flow: &Flow<'_, '_>, service: ServiceId) -> Option<Absence> {
    let view = flow.view;
    most(calls_into(view, service).filter_map(|edge| {
        let surprise = gap_surprise(edge.now, edge.before).filter(|surprise| *surprise > SURPRISE_MIN)?;
        let (now, before) = (edge.now.gap_ns(), edge.before.gap_ns());
        if now - before < DELAY_MIN * (edge.before.mean_ns() + before) {
            return None;
        }
        let from = &view.operations[edge.from];
        let text = format!(
            "calls by {} of {} wait {} beyond the answer of {}, {} before",
            from.name,
            view.node_name(from.service),
            time_text(now),
            view.operations[edge.to].name,
            time_text(before)
        );
        Some(Absence { at: edge.from, kind: SymptomKind::Latency, surprise, lack: Lack::Delayed, text })
    }))
}

/// What of a node is no longer called, or no longer calls, though those who did are at work; or that users no longer call, or
/// that it no longer asks for messages that are there.
pub(super) fn silent(flow: &Flow<'_, '_>, service: ServiceId) -> Option<Absence> {
    let view = flow.view;
    let calls = view.edges.iter().filter(|edge| edge.from != edge.to).filter_map(|edge| {
        let (lost, expected, surprise) = missing(flow, edge)?;
        let (from, to) = (&view.operations[edge.from], &view.operations[edge.to]);
        // Calls that go out and do not arrive are missed where they go, others where they come from.
        let goes_out = edge.way == Way::Remote && from.kind.is_outbound();
        let text = format!(
            "{lost:.0} of {expected:.0} calls of {} by {} of {} are missing",
            to.name,
            from.name,
            view.node_name(from.service)
        );
        let owner = if goes_out { to.service } else { from.service };
        let (at, kind) = (edge.to, SymptomKind::Silence);
        (owner == service).then_some(Absence { at, kind, surprise, lack: Lack::Missing, text })
    });
    let own = (0..view.operations.len()).filter(|at| view.operations[*at].service == service);
    let ceased = own.filter(|at| may_cease(view, *at) && deviates(view, SymptomKind::Silence, *at));
    let entries = ceased.map(|at| {
        let operation = &view.operations[at];
        let (now, before) = (operation.now.count, operation.before.count);
        let expected = expected_calls(&operation.before, view.window_s, view.baseline_s);
        let text = match view.asked_queue(at) {
            Some(queue) => format!(
                "{} asked {} for messages {now} times where {expected:.0} were expected, and there are some",
                operation.name,
                view.node_name(view.operations[queue].service)
            ),
            None => format!("{} took {now} calls where {expected:.0} were expected", operation.name),
        };
        let surprise = -rate_surprise(now as f64, view.window_s, before as f64, view.baseline_s);
        Absence { at, kind: SymptomKind::Silence, surprise, lack: Lack::Missing, text }
    });
    most(calls.chain(entries))
}

/// How many of the calls of an edge do not arrive; none where chance explains it.
fn of_calls(flow: &Flow<'_, '_>, edge: &Edge<'_>) -> Option<Absence> {
    let (from, to) = (&flow.view.operations[edge.from], &flow.view.operations[edge.to]);
    let (made, made_before) = flow.view.made(edge.from, to.service);
    let failing = error_surprise(&made, &made_before);
    // Calls that went elsewhere under the same name are not lost.
    let lost = flow.lost_calls(edge).min(more_unanswered(flow, edge.from, edge.way));
    let lost = lost.min(flow.view.most_lost(edge.from, to.service));
    let (lost, surprise) = if lost > 0.0 {
        let (count, known) = (edge.now.count as f64, edge.before.count as f64);
        (lost, -rate_surprise(count, count + lost, known, known))
    } else {
        let refused = flow.view.refused(edge.from, to.service);
        let unknown = refused.or_else(|| unreachable(flow, edge.from, to.service))?;
        if unknown < FAILED_MIN {
            return None;
        }
        (unknown, failing)
    };
    let text = format!(
        "{lost:.0} of {} calls by {} of {} do not arrive at {}",
        made.count,
        from.name,
        flow.view.node_name(from.service),
        to.name
    );
    let fails = failing > SURPRISE_MIN;
    let (at, kind) = if fails { (edge.from, SymptomKind::Errors) } else { (edge.to, SymptomKind::Silence) };
    Some(Absence { at, kind, surprise, lack: Lack::Unanswered, text })
}

/// Failures of calls that say that nobody was reached, and that the one who is called knows nothing of; none where others are
/// called by the same name, whose they may be.
fn unreachable(flow: &Flow<'_, '_>, at: usize, service: ServiceId) -> Option<f64> {
    let from = &flow.view.operations[at];
    let remote = from.callees.iter().map(|edge| &flow.view.edges[*edge]);
    let remote = remote.filter(|edge| edge.way == Way::Remote);
    let known: f64 = remote.clone().map(|edge| excess_errors(edge.now, edge.before)).sum();
    let is_only = remote.map(|edge| flow.view.operations[edge.to].service).all(|it| it == service);
    let unknown = excess_errors(&from.now, &from.before) - known;
    (is_only && flow.hints.of(at) == Hint::Unreachable).then_some(unknown)
}

/// The one that chance explains least; of equal ones the first by position.
fn most(all: impl Iterator<Item = Absence>) -> Option<Absence> {
    all.max_by(|a, b| {
        a.surprise.total_cmp(&b.surprise).then(b.at.cmp(&a.at)).then_with(|| b.text.cmp(&a.text))
    })
}
