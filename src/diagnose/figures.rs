//! Counts, shares and durations in words.

use std::cmp::Reverse;

use crate::model::rollup::Cell;

use super::signal::short;
use super::verdict::SymptomKind;
use super::view::{Edge, Operation, View, Way};

/// How many calls to an operation fail, those included that ask it for messages in vain.
pub(super) fn failures_text(view: &View<'_>, at: usize) -> String {
    let operation = &view.operations[at];
    let (mut now, mut before) = (operation.now.clone().into_owned(), operation.before.clone().into_owned());
    let callees = operation.callees.iter().map(|edge| &view.edges[*edge]);
    for edge in callees.filter(|edge| view.is_asking(edge)) {
        now.merge_totals(edge.now);
        before.merge_totals(edge.before);
    }
    errors_text(&now, &before)
}

pub(super) fn errors_text(now: &Cell, before: &Cell) -> String {
    format!(
        "{} of {} calls failed ({}), {} before",
        now.errors,
        now.count,
        percent(now.error_ratio()),
        if before.count == 0 { "unknown".to_owned() } else { percent(before.error_ratio()) }
    )
}

pub(super) fn mean_text(now: &Cell, before: &Cell) -> String {
    format!("{} on average, {} before", time_text(now.mean_ns()), time_text(before.mean_ns()))
}

/// How an instance or version does next to the others.
pub(super) fn elsewhere_text(kind: SymptomKind, now: &Cell, others: &Cell) -> String {
    match kind {
        SymptomKind::Latency => {
            let [now, others] = [now, others].map(|cell| time_text(cell.mean_ns()));
            format!("{now} on average there, {others} elsewhere")
        }
        _ => format!(
            "{} of {} requests fail there, {} of {} elsewhere",
            now.errors, now.count, others.errors, others.count
        ),
    }
}

pub(super) fn self_text(view: &View<'_>, at: usize) -> String {
    let (now, before) = view.own_means(at);
    format!("{} of its own time per call, {} before", time_text(now), time_text(before))
}

pub(super) fn calls_text(operation: &Operation<'_>) -> String {
    format!("{} calls in the window, {} in the baseline", operation.now.count, operation.before.count)
}

/// How long messages wait on an edge, now and before.
pub(super) fn waits_text(view: &View<'_>, from: usize, to: usize) -> String {
    let edge = view.edge(from, to);
    edge.map_or_else(String::new, |edge| {
        let [now, before] = [edge.now, edge.before].map(|cell| time_text(cell.gap_ns()));
        format!(": {now} each, {before} before")
    })
}

/// How long calls spend on the way, now and before.
pub(super) fn gap_text(view: &View<'_>, from: usize, to: usize) -> String {
    let edge = view.edge(from, to);
    let [now, before] = edge.map_or([0.0; 2], |edge| [edge.now.gap_ns(), edge.before.gap_ns()]);
    format!("{} per call, {} before", time_text(now), time_text(before))
}

/// An operation with the node it is of.
pub(super) fn place_text(view: &View<'_>, at: usize) -> String {
    let operation = &view.operations[at];
    format!("{} ({})", view.node_name(operation.service), operation.name)
}

/// Whom an operation stands for that does nothing but call: the one that it calls most.
pub(super) fn whom_text(view: &View<'_>, at: usize) -> String {
    let calls = view.operations[at].callees.iter().map(|edge| &view.edges[*edge]);
    let calls = calls.filter(|edge| matches!(edge.way, Way::Remote | Way::Dependency));
    let most = calls.max_by_key(|edge| (edge.now.count + edge.before.count, Reverse(edge.to)));
    let most = most.filter(|_| view.operations[at].kind.is_outbound() && !view.calls_many(at));
    place_text(view, most.map_or(at, |edge| edge.to))
}

/// The calls of an operation to the service of another.
pub(super) fn calls_to_text(view: &View<'_>, from: usize, to: usize) -> String {
    let caller = place_text(view, from);
    match view.peer(from, view.operations[to].service) {
        Some(peer) => format!("calls by {caller} to {}", view.node_name(view.operations[peer.at].service)),
        None if view.calls_many(from) => format!("calls by {caller}, some of them to others,"),
        None => format!("calls by {caller}"),
    }
}

/// How many of them fail.
pub(super) fn failing_text(view: &View<'_>, from: usize, to: usize) -> String {
    let (now, before) = view.made(from, view.operations[to].service);
    format!(
        "{} of {} {} fail, {} before",
        now.errors,
        now.count,
        calls_to_text(view, from, to),
        percent(before.error_ratio())
    )
}

/// How many calls fail of those that arrive.
pub(super) fn given_up_text(view: &View<'_>, from: usize, to: usize) -> String {
    let edge = view.edge(from, to);
    edge.map_or_else(String::new, |edge| errors_text(edge.now, edge.before))
}

/// How many calls to a service arrive.
pub(super) fn arriving_text(view: &View<'_>, from: usize, to: usize) -> String {
    let service = view.operations[to].service;
    if let Some(peer) = view.peer(from, service) {
        let arrived = |of: fn(&Edge<'_>) -> u64| view.arrived(from, service).map(of).sum::<u64>();
        let (now, before) = (arrived(|edge| edge.now.count), arrived(|edge| edge.before.count));
        let text = format!("{now} of {} calls arrive", peer.now.count);
        return format!("{text}, {before} of {} before", peer.before.count);
    }
    let (before, now) = calls_ratio(view, from, to);
    format!("{} calls per request, {} before", short(now), short(before))
}

/// Calls per request of the caller, before and now.
pub(super) fn calls_ratio(view: &View<'_>, from: usize, to: usize) -> (f64, f64) {
    let caller = &view.operations[from];
    let ratio = |calls: u64, requests: u64| if requests == 0 { 0.0 } else { calls as f64 / requests as f64 };
    view.edge(from, to).map_or((0.0, 0.0), |edge| {
        (ratio(edge.before.count, caller.before.count), ratio(edge.now.count, caller.now.count))
    })
}

fn percent(share: f64) -> String {
    let digits = usize::from(share > 0.0 && share < 0.1);
    format!("{:.digits$} %", 100.0 * share)
}

/// A duration with a fitting unit.
pub(super) fn time_text(nanos: f64) -> String {
    match nanos {
        nanos if nanos >= 1e9 => format!("{} s", short(nanos / 1e9)),
        nanos if nanos >= 1e6 => format!("{} ms", short(nanos / 1e6)),
        nanos => format!("{} µs", short(nanos / 1e3)),
    }
}
