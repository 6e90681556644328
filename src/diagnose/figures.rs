//! Counts, shares and durations in words.

use crate::model::rollup::Cell;

use super::signal::short;
use super::view::{Operation, View};

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

pub(super) fn self_text(operation: &Operation<'_>) -> String {
    format!(
        "{} of its own time per call, {} before",
        time_text(operation.now.self_mean_ns()),
        time_text(operation.before.self_mean_ns())
    )
}

pub(super) fn calls_text(operation: &Operation<'_>) -> String {
    format!("{} calls in the window, {} in the baseline", operation.now.count, operation.before.count)
}

/// How long messages wait on an edge, now and before.
pub(super) fn waits_text(view: &View<'_>, from: usize, to: usize) -> String {
    let edge = view.edges.iter().find(|edge| edge.from == from && edge.to == to);
    edge.map_or_else(String::new, |edge| {
        let [now, before] = [edge.now, edge.before].map(|cell| time_text(cell.gap_ns()));
        format!(": {now} each, {before} before")
    })
}

pub(super) fn gap_text(view: &View<'_>, from: usize, to: usize) -> String {
    match view.edges.iter().find(|edge| edge.from == from && edge.to == to) {
        Some(edge) if edge.now.gap_ns() > 0.0 => {
            format!(": {} per call, {} before", time_text(edge.now.gap_ns()), time_text(edge.before.gap_ns()))
        }
        _ => String::new(),
    }
}

/// Calls per request of the caller, before and now.
pub(super) fn calls_ratio(view: &View<'_>, from: usize, to: usize) -> (f64, f64) {
    let caller = &view.operations[from];
    let ratio = |calls: u64, requests: u64| if requests == 0 { 0.0 } else { calls as f64 / requests as f64 };
    view.edges.iter().find(|edge| edge.from == from && edge.to == to).map_or((0.0, 0.0), |edge| {
        (ratio(edge.before.count, caller.before.count), ratio(edge.now.count, caller.now.count))
    })
}

pub(super) fn percent(share: f64) -> String {
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
