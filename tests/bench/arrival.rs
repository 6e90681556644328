//! What the joiner is told of a span that is a row already.

use otelcontext::graph::join::{Arrival, Dependency};
use otelcontext::model::span::Status;
use otelcontext::store::rows::SpanRow;

/// The span of a row as it arrives at the joiner, without links.
pub(crate) fn of(row: &SpanRow, dependency: Option<Dependency>) -> Arrival {
    Arrival {
        tenant: row.tenant,
        trace_id: row.trace_id,
        span_id: row.span_id,
        parent_id: row.parent_id,
        service: row.service,
        resource: row.resource,
        operation: row.operation,
        kind: row.kind,
        error: row.status == Status::Error,
        entry: row.entry,
        start: row.start,
        duration_ns: row.duration_ns,
        dependency,
        links: Vec::new(),
    }
}
