//! Calls between operations, counted anew from the spans: what the roll-ups and the graph must agree with.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::columns::{Columns, span_tables};
use crate::model::id::{OperationId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::span::Status;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::partition::Family;

/// Most spans that are joined: about 100 bytes each.
pub const SPANS_MAX: usize = 4_000_000;
/// A parent that began earlier than this before the window is not found.
pub const PARENTS_WITHIN: Duration = Duration::from_secs(3_600);

/// All pairs of a parent and its child that are of the same operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecountedEdge {
    /// The parent's operation.
    pub from: OperationId,
    /// The child's operation.
    pub to: OperationId,
    /// Whether parent and child are of different services.
    pub crosses: bool,
    /// How many pairs.
    pub count: u64,
    /// In how many of them the child failed.
    pub errors: u64,
}

struct Seen {
    trace_id: TraceId,
    parent_id: Option<SpanId>,
    operation: OperationId,
    service: ServiceId,
    failed: bool,
    start: UnixNanos,
}

impl Store {
    /// Every span that began within `window` with its parent in the same trace, by the operations of both.
    ///
    /// For checks, not for serving: reads all spans of the window and of the time before it in which parents
    /// are looked for. Errs when these are more than [`SPANS_MAX`].
    pub async fn edges_recount(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<RecountedEdge>, Error> {
        let mut reader = self.reader().await?;
        let mut spans: HashMap<(TraceId, SpanId), Seen> = HashMap::new();
        let services = self.services_of_ask(tenant, &[], &[]);
        let from = window.from.minus(PARENTS_WITHIN);
        for day in reader.days(Family::Spans, Window::new(from, window.to)) {
            for service in &services {
                let sql = reader.sql(format!(
                    "SELECT t.trace_id, s.span_id, s.parent_id, s.operation_id, s.status, s.start_ns FROM {} \
                     AND s.service_id = {} AND +s.tenant_id = {} AND s.start_ns >= {} AND s.start_ns < {}",
                    span_tables(reader.dialect(), day, Some("by_service")),
                    service.0,
                    tenant.0,
                    day.since(from),
                    day.since(window.to)
                ));
                let read = reader.all(sql, |row| {
                    let columns = Columns { row, what: "span" };
                    let seen = Seen {
                        trace_id: columns.id(0)?,
                        parent_id: columns.optional_id(2)?,
                        operation: OperationId(columns.number(3)?),
                        service: *service,
                        failed: Status::from_otlp(columns.number(4)?) == Status::Error,
                        start: day.after(columns.number(5)?),
                    };
                    spans.insert((seen.trace_id, columns.id(1)?), seen);
                    if spans.len() > SPANS_MAX {
                        return Err(Error::TooMuch { what: "spans", max: SPANS_MAX });
                    }
                    Ok(())
                });
                read.await?;
            }
        }
        reader.finish().await?;
        Ok(count(&spans, window))
    }
}

fn count(spans: &HashMap<(TraceId, SpanId), Seen>, window: Window) -> Vec<RecountedEdge> {
    let mut edges: BTreeMap<(OperationId, OperationId), RecountedEdge> = BTreeMap::new();
    for child in spans.values().filter(|span| window.contains(span.start)) {
        let Some(parent) = child.parent_id.and_then(|parent| spans.get(&(child.trace_id, parent))) else {
            continue;
        };
        let (from, to) = (parent.operation, child.operation);
        let crosses = parent.service != child.service;
        let none = RecountedEdge { from, to, crosses, count: 0, errors: 0 };
        let edge = edges.entry((from, to)).or_insert(none);
        edge.count += 1;
        edge.errors += u64::from(child.failed);
    }
    edges.into_values().collect()
}
