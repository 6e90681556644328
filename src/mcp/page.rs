//! Cursors: where the next page begins.

use mcp_tools::{Answer, Fault, Next, Shown, Table};
use serde_json::{Value, json};

use crate::model::id::TraceId;
use crate::model::tenant::Scope;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::query::Query;
use crate::store::read::summaries::TracePlace;

use super::fault;

/// Reads the position in a list that is computed anew each time.
pub(super) fn offset(cursor: Option<&str>) -> Result<usize, Fault> {
    let Some(cursor) = cursor else { return Ok(0) };
    cursor.strip_prefix("o.").and_then(|digits| digits.parse().ok()).ok_or_else(|| unreadable(cursor))
}

/// Reads the position in time-ordered records.
pub(super) fn position(cursor: Option<&str>) -> Result<Option<(UnixNanos, i64)>, Fault> {
    let Some(cursor) = cursor else { return Ok(None) };
    let parts = cursor.strip_prefix("r.").and_then(|rest| rest.split_once('.'));
    let read = parts.and_then(|(time, id)| Some((UnixNanos(time.parse().ok()?), id.parse().ok()?)));
    read.map(Some).ok_or_else(|| unreadable(cursor))
}

/// Writes a position in time-ordered records.
pub(super) fn position_text((time, id): (UnixNanos, i64)) -> String {
    format!("r.{}.{id}", time.0)
}

/// Reads the position in traces of an order.
pub(super) fn trace_place(cursor: Option<&str>) -> Result<Option<TracePlace>, Fault> {
    let Some(cursor) = cursor else { return Ok(None) };
    let read = || {
        let mut parts = cursor.strip_prefix("t.")?.split('.');
        let place = TracePlace {
            rank: parts.next()?.parse().ok()?,
            start: UnixNanos(parts.next()?.parse().ok()?),
            key: TraceKey(parts.next()?.parse().ok()?),
            trace_id: TraceId::from_hex(parts.next()?).ok()?,
        };
        parts.next().is_none().then_some(place)
    };
    read().map(Some).ok_or_else(|| unreadable(cursor))
}

/// Writes a position in traces of an order.
pub(super) fn trace_place_text(place: TracePlace) -> String {
    format!("t.{}.{}.{}.{}", place.rank, place.start.0, place.key.0, place.trace_id)
}

fn unreadable(cursor: &str) -> Fault {
    let short: String = cursor.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    Fault::invalid(format!(
        "cursor `{short}` is not one this tool gave; pass back `cursor` of an earlier answer unchanged, or leave it out"
    ))
}

/// Puts rows `from` onwards, `limit` at most, into the answer as its next table, with how many there are and where to
/// go on. Only one table of an answer can be paged.
pub(super) fn put(
    answer: &mut Answer,
    mut table: Table,
    rows: Vec<Vec<Value>>,
    (from, limit): (usize, usize),
) {
    let total = rows.len();
    table.rows = rows.into_iter().skip(from).take(limit).collect();
    table.cursors = (0..table.rows.len()).map(|index| format!("o.{}", from + index + 1)).collect();
    let shown = table.rows.len();
    if shown < total {
        let name = (!answer.tables.is_empty()).then(|| table.name.clone());
        answer.shown = Some(Shown { table: name, ..Shown::new(shown as u64, total as u64) });
        if from + shown < total {
            answer.cursor = Some(format!("o.{}", from + shown));
        }
    }
    answer.tables.push(table);
}

/// Offers to open a trace that log records name, where any of its spans came.
pub(super) async fn offer_trace(
    answer: &mut Answer,
    (query, scope): (&Query, &Scope),
    trace: Option<TraceId>,
) -> Result<(), Fault> {
    let Some(trace) = trace else { return Ok(()) };
    if query.has_trace(scope, trace).await.map_err(fault::of)? {
        answer.next.push(Next::new("trace_graph", [("trace_id", json!(trace.to_string()))]));
    }
    Ok(())
}

/// Puts the first `limit` rows into the answer as a table beside the paged one; says what is left out.
pub(super) fn put_beside(answer: &mut Answer, mut table: Table, mut rows: Vec<Vec<Value>>, limit: usize) {
    if rows.len() > limit {
        answer.warnings.push(format!("the first {limit} of {} {} are shown", rows.len(), table.name));
        rows.truncate(limit);
    }
    table.rows = rows;
    answer.tables.push(table);
}
