//! Trace summaries: folds over spans that come out the same in any order and any split.

use std::collections::HashMap;

use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::rows::SpanRow;
use super::values::Values;
use super::{partition, table};
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
pub(super) async fn write(connection: &mut Connection, summaries: &[Summary]) -> Result<(), Error> {
    // The order of the table is that of the days.
    let day = |summary: &Summary| Day::of_key(summary.key);
    for group in summaries.chunk_by(|a, b| day(a) == day(b)) {
        let target = table::TRACES.on(partition::TRACES, day(&group[0]));
        connection.insert(&target, group, |values, summary| summary.bind(values)).await?;
    }
    Ok(())
}

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
