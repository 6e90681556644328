//! Outlines of spans: their places in traces, and when, nothing else. Many of them cost a quarter of what as many spans do.

use super::columns;
use super::lines;
use super::scan::{Scan, Walk};
use super::spans::SPANS_MAX;
use crate::model::id::{OperationId, SpanId, TenantNumber};
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::partition::{Family, SPANS};

/// A span without anything but its place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanOutline {
    /// The key of its trace.
    pub trace_key: TraceKey,
    /// Its own id within the trace.
    pub span_id: SpanId,
    /// The span that caused it; none for a root.
    pub parent_id: Option<SpanId>,
    /// Its service, name and kind.
    pub operation: OperationId,
    /// Whether it is where a request enters its service.
    pub entry: bool,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
}

impl SpanOutline {
    /// When it ended; saturates.
    pub const fn end(&self) -> UnixNanos {
        self.start.plus(std::time::Duration::from_nanos(self.duration_ns))
    }
}

impl Store {
    /// The newest `limit` spans of `window`, [`SPANS_MAX`] at most, newest first; among equals the one that arrived last.
    pub async fn span_outlines(
        &self,
        tenant: TenantNumber,
        window: Window,
        limit: usize,
    ) -> Result<Vec<SpanOutline>, Error> {
        let services = self.services_of_ask(tenant, &[], &[]);
        if limit == 0 || services.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let walks = Walk::of_services("by_service", &services);
        let scan = Scan {
            family: Family::Spans,
            columns: columns::OUTLINE,
            table: SPANS,
            tables: |dialect, day| columns::span_tables(dialect, day, None),
            time: "start_ns",
            read: columns::outline,
            lines: (lines::OUTLINES, lines::outline),
            at: |span| span.start,
            walks: &walks,
            tenant,
            window,
            // The services are the tenant's own.
            conditions: "",
            attributes: &[],
            services: &[],
            least_ns: None,
            keyed: None,
            after: None,
        };
        let found = scan.bare(&mut reader, limit.min(SPANS_MAX)).await?;
        reader.finish().await?;
        Ok(found.into_iter().map(|found| found.row).collect())
    }
}
