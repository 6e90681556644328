//! Parts of traces: what a row of their table says, and how parts of one trace are put together.

use super::columns::Columns;
use super::summaries::TraceSummary;
use crate::model::id::{OperationId, TraceId};
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::row::Row;

/// One row of the table: a trace, or a part of it.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) key: TraceKey,
    pub(super) trace_id: TraceId,
    pub(super) root: Option<(UnixNanos, OperationId)>,
    pub(super) first: (UnixNanos, OperationId),
    pub(super) end: UnixNanos,
    pub(super) spans: u64,
    pub(super) errors: u64,
    /// Whether the part itself is what was asked for.
    pub(super) matches: bool,
}

/// Its columns, of a table `t`.
pub(super) const PART: &str = "t.trace_key, t.trace_id, t.root_start_ns, t.root_operation_id, t.start_ns, \
                    t.first_operation_id, t.end_ns, t.spans, t.errors";
/// The first column behind these.
pub(super) const MATCHES: usize = 9;

/// Reads a part.
pub(super) fn part((row, day): (Row<'_>, Day), matches: bool) -> Result<Part, Error> {
    let columns = Columns { row, what: "trace summary" };
    let root_start: Option<i64> = row.get(2)?;
    let root_operation = columns.optional_number(3)?.map(OperationId);
    Ok(Part {
        key: TraceKey(columns.number(0)?),
        trace_id: columns.id(1)?,
        root: root_start.map(|start| day.after(start)).zip(root_operation),
        first: (day.after(columns.number(4)?), OperationId(columns.number(5)?)),
        end: day.after(columns.number(6)?),
        spans: columns.number(7)?,
        errors: columns.number(8)?,
        matches,
    })
}

/// Puts the parts of a trace together, by the rules that put together what each of them was made of.
pub(super) fn fold(part: Part, others: &[Part]) -> TraceSummary {
    let mut whole = part;
    for other in others {
        whole.key = whole.key.min(other.key);
        whole.root = match (whole.root, other.root) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        whole.first = whole.first.min(other.first);
        whole.end = whole.end.max(other.end);
        whole.spans = whole.spans.saturating_add(other.spans);
        whole.errors = whole.errors.saturating_add(other.errors);
    }
    TraceSummary {
        trace_id: whole.trace_id,
        key: whole.key,
        root_operation: whole.root.map(|(_, operation)| operation),
        first_operation: whole.first.1,
        start: whole.first.0,
        end: whole.end,
        spans: whole.spans,
        errors: whole.errors,
    }
}
