//! Trace summaries: folds over spans that come out the same in any order and any split.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;

use super::error::Error;
use super::insert::{Insert, Values};
use super::rows::SpanRow;
use crate::model::id::{OperationId, TenantNumber, TraceId};
use crate::model::span::Status;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

/// What is kept about a trace. "First" and "root" are the least of all by (start, operation), so a tie does not
/// depend on what came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    key: TraceKey,
    tenant: TenantNumber,
    trace_id: TraceId,
    root: Option<(UnixNanos, OperationId)>,
    first: (UnixNanos, OperationId),
    end: UnixNanos,
    spans: u32,
    errors: u32,
}

/// The summaries of `spans` alone, in the order of the table.
pub(super) fn fold(spans: &[SpanRow]) -> Vec<Summary> {
    let mut places: HashMap<(TraceKey, TenantNumber, TraceId), usize> = HashMap::new();
    let mut summaries: Vec<Summary> = Vec::new();
    for span in spans {
        let place = (span.trace_key, span.tenant, span.trace_id);
        match places.get(&place) {
            Some(index) => summaries[*index].add(span),
            None => {
                places.insert(place, summaries.len());
                summaries.push(Summary::of(span));
            }
        }
    }
    summaries.sort_unstable_by_key(|summary| (summary.key, summary.tenant, summary.trace_id));
    summaries
}

/// Adds `summaries` to what the table holds.
pub(super) async fn write(connection: &mut SqliteConnection, summaries: &[Summary]) -> Result<(), Error> {
    UPSERT.run(connection, summaries, |values, summary| summary.bind(values)).await
}

static UPSERT: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "traces (trace_key, trace_id, tenant_id, root_operation_id, root_start_ns, first_operation_id, start_ns, \
         end_ns, spans, errors)",
        10,
        "ON CONFLICT (trace_key, tenant_id, trace_id) DO UPDATE SET \
         root_operation_id = CASE WHEN root_start_ns IS NULL \
         OR (excluded.root_start_ns, excluded.root_operation_id) < (root_start_ns, root_operation_id) \
         THEN excluded.root_operation_id ELSE root_operation_id END, \
         root_start_ns = coalesce(min(root_start_ns, excluded.root_start_ns), root_start_ns, excluded.root_start_ns), \
         first_operation_id = CASE \
         WHEN (excluded.start_ns, excluded.first_operation_id) < (start_ns, first_operation_id) \
         THEN excluded.first_operation_id ELSE first_operation_id END, \
         start_ns = min(start_ns, excluded.start_ns), \
         end_ns = max(end_ns, excluded.end_ns), \
         spans = spans + excluded.spans, \
         errors = errors + excluded.errors",
    )
});

impl Summary {
    fn of(span: &SpanRow) -> Self {
        let first = (span.start, span.operation);
        Self {
            key: span.trace_key,
            tenant: span.tenant,
            trace_id: span.trace_id,
            root: span.parent_id.is_none().then_some(first),
            first,
            end: span.end(),
            spans: 1,
            errors: u32::from(span.status == Status::Error),
        }
    }

    fn add(&mut self, span: &SpanRow) {
        let other = Self::of(span);
        self.root = match (self.root, other.root) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.first = self.first.min(other.first);
        self.end = self.end.max(other.end);
        self.spans += 1;
        self.errors += other.errors;
    }

    fn bind(&self, values: &mut Values) {
        values.int(self.key.0);
        values.blob(self.trace_id.as_bytes());
        values.int(self.tenant.0);
        values.optional_int(self.root.map(|(_, operation)| operation.0.into()));
        values.optional_int(self.root.map(|(start, _)| start.0));
        values.int(self.first.1.0);
        values.int(self.first.0.0);
        values.int(self.end.0);
        values.int(self.spans);
        values.int(self.errors);
    }
}
