//! One trace, by its id.

use std::collections::BTreeMap;

use super::columns::{self, Columns};
use super::details;
use super::reader::Reader;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, TRACES};
use crate::store::rows::SpanRow;

/// Most spans of a trace that are answered.
pub const TRACE_SPANS_MAX: usize = 10_000;
/// A trace with its spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTrace {
    /// Its id.
    pub trace_id: TraceId,
    /// Its spans with their details, by start, then by span id.
    pub spans: Vec<SpanRow>,
    /// Whether it has more spans than these; those that began first are here.
    pub truncated: bool,
    /// How many spans it has.
    pub total: u64,
    /// When the last of them ended.
    pub end: UnixNanos,
}

impl Store {
    /// The trace `trace_id`, with the first `spans_max` of its spans ([`TRACE_SPANS_MAX`] at most); none where
    /// the tenant has no such trace.
    ///
    /// Tries every key that the trace can have, 24 for each day that is kept, and folds the parts that were kept under
    /// several keys.
    pub async fn trace(
        &self,
        tenant: TenantNumber,
        trace_id: TraceId,
        spans_max: usize,
    ) -> Result<Option<StoredTrace>, Error> {
        let mut reader = self.reader().await?;
        let mut keys: BTreeMap<Day, Vec<i64>> = BTreeMap::new();
        let (mut total, mut end): (u64, _) = (0, UnixNanos(i64::MIN));
        for day in reader.all_days(Family::Spans) {
            for (key, spans, part_end) in parts(&mut reader, tenant, trace_id, day).await? {
                keys.entry(day).or_default().push(key.0);
                total = total.saturating_add(spans);
                end = end.max(part_end);
            }
        }
        let spans_max = spans_max.min(TRACE_SPANS_MAX);
        let mut spans = Vec::new();
        for (day, keys) in keys {
            let dialect = reader.dialect();
            let tables = columns::trace_tables(dialect, day);
            let mut sql = reader.sql(format!("SELECT {} FROM {tables} AND t.trace_key", columns::SPAN));
            sql.push(dialect.is_one_of(keys));
            sql.push(format_args!(
                " AND t.tenant_id = {} AND t.trace_id = {} ORDER BY s.start_ns, s.span_id, s.id LIMIT {}",
                tenant.0,
                dialect.bytes(trace_id),
                spans_max.saturating_add(1)
            ));
            spans.extend(reader.all(sql, |row| columns::span(row, day)).await?);
        }
        spans.sort_by_key(|found| (found.row.start, found.row.span_id, found.number()));
        let truncated = spans.len() > spans_max;
        spans.truncate(spans_max);
        details::load(&mut reader, &mut spans).await?;
        reader.finish().await?;
        let read = spans.len() as u64 + u64::from(truncated);
        let total = if truncated { total.max(read) } else { read };
        let spans = spans.into_iter().map(|found| found.row).collect();
        Ok((total > 0).then_some(StoredTrace { trace_id, spans, truncated, total, end }))
    }
}

/// The parts of a trace that are kept on `day`, with the number of their spans and when the last of them ended.
async fn parts(
    reader: &mut Reader,
    tenant: TenantNumber,
    trace_id: TraceId,
    day: Day,
) -> Result<Vec<(TraceKey, u64, UnixNanos)>, Error> {
    let dialect = reader.dialect();
    let instants = Window::new(day.start(), UnixNanos(day.end().0 - 1));
    let candidates = TraceKey::candidates(instants, tenant, trace_id).map(|key| key.0);
    let by_key = dialect.indexed(TRACES, day, "by_key");
    let mut sql = reader
        .sql(format!("SELECT trace_key, spans, end_ns FROM {}{by_key} WHERE trace_key", TRACES.on(day)));
    sql.push(dialect.is_one_of(candidates));
    sql.push(format_args!(" AND tenant_id = {} AND trace_id = {}", tenant.0, dialect.bytes(trace_id)));
    let parts = reader.all(sql, |row| {
        let columns = Columns { row, what: "trace summary" };
        Ok((TraceKey(columns.number(0)?), columns.number(1)?, day.after(columns.number(2)?)))
    });
    parts.await
}
