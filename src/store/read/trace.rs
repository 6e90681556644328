//! One trace, by its id.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::columns::{self, Columns};
use super::details;
use super::reader::{Reader, push_list};
use crate::model::id::{TenantNumber, TraceId};
use crate::model::time::Window;
use crate::model::trace_key::{BUCKET_SECONDS, HASH_BITS, TraceKey};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::rows::SpanRow;

/// Most spans of a trace that are answered.
pub const TRACE_SPANS_MAX: usize = 10_000;
/// Keys that one statement looks for.
const PROBES: usize = 256;
/// Buckets that are tried one by one: four weeks. Where the store spans more, as after a span with a wrong clock,
/// the buckets that exist are listed first.
const BUCKETS_MAX: i64 = 4_096;

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
}

impl Store {
    /// The trace `trace_id`, with the first `spans_max` of its spans ([`TRACE_SPANS_MAX`] at most); none where
    /// the tenant has no such trace.
    ///
    /// Tries every key that the trace can have within the time that the store holds, about a thousand for a
    /// week, and folds the parts that were kept under several keys.
    pub async fn trace(
        &self,
        tenant: TenantNumber,
        trace_id: TraceId,
        spans_max: usize,
    ) -> Result<Option<StoredTrace>, Error> {
        let mut reader = self.reader().await?;
        let mut keys = Vec::new();
        let mut total: u64 = 0;
        let windows = windows(&mut reader).await?;
        let candidates =
            windows.into_iter().flat_map(|window| TraceKey::candidates(window, tenant, trace_id));
        for candidates in candidates.collect::<Vec<_>>().chunks(PROBES) {
            for (key, spans) in parts(&mut reader, tenant, trace_id, candidates).await? {
                keys.push(key);
                total = total.saturating_add(spans);
            }
        }
        let spans_max = spans_max.min(TRACE_SPANS_MAX);
        let mut spans = Vec::new();
        if !keys.is_empty() {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
            query.push(columns::SPAN).push(" FROM spans INDEXED BY spans_by_trace WHERE trace_key IN ");
            push_list(&mut query, keys.iter().map(|key| key.0));
            query.push(format_args!(" AND tenant_id = {} AND trace_id = x'{trace_id}'", tenant.0));
            query.push(" ORDER BY start_ns, span_id, id LIMIT ").push(spans_max.saturating_add(1));
            spans = reader.all(query, columns::span).await?;
        }
        let truncated = spans.len() > spans_max;
        spans.truncate(spans_max);
        details::load(&mut reader, &mut spans).await?;
        reader.finish().await?;
        let read = spans.len() as u64 + u64::from(truncated);
        let total = if truncated { total.max(read) } else { read };
        let spans = spans.into_iter().map(|found| found.row).collect();
        Ok((total > 0).then_some(StoredTrace { trace_id, spans, truncated, total }))
    }
}

/// The windows in which the store may have keys; together they hold every key there is.
async fn windows(reader: &mut Reader) -> Result<Vec<Window>, Error> {
    let query = "SELECT (SELECT min(trace_key) FROM traces), (SELECT max(trace_key) FROM traces)";
    let bounds = reader.first(QueryBuilder::new(query), |row| {
        Ok((row.try_get::<Option<i64>, _>(0)?, row.try_get::<Option<i64>, _>(1)?))
    });
    let Some((Some(first), Some(last))) = bounds.await? else { return Ok(Vec::new()) };
    let (first, last) = (TraceKey(first).bucket_start(), TraceKey(last).bucket_start());
    if (last.seconds() - first.seconds()) / BUCKET_SECONDS < BUCKETS_MAX {
        return Ok(vec![Window::new(first, last)]);
    }
    // Jumps from each bucket to the first key after it.
    let query = format!(
        "WITH RECURSIVE buckets (bucket) AS (\
         SELECT (SELECT min(trace_key) FROM traces) >> {HASH_BITS} UNION ALL \
         SELECT (SELECT min(trace_key) FROM traces WHERE trace_key >= (bucket + 1) << {HASH_BITS}) >> {HASH_BITS} \
         FROM buckets WHERE bucket IS NOT NULL) \
         SELECT bucket << {HASH_BITS} FROM buckets WHERE bucket IS NOT NULL"
    );
    let buckets = reader.all(QueryBuilder::new(query), |row| Ok(TraceKey(row.try_get(0)?).bucket_start()));
    Ok(buckets.await?.into_iter().map(|start| Window::new(start, start)).collect())
}

/// The parts of a trace among `candidates`, with the number of their spans.
async fn parts(
    reader: &mut Reader,
    tenant: TenantNumber,
    trace_id: TraceId,
    candidates: &[TraceKey],
) -> Result<Vec<(TraceKey, u64)>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT trace_key, spans FROM traces WHERE trace_key IN ");
    push_list(&mut query, candidates.iter().map(|key| key.0));
    query.push(format_args!(" AND tenant_id = {} AND trace_id = x'{trace_id}'", tenant.0));
    let parts = reader.all(query, |row| {
        let columns = Columns { row, what: "trace summary" };
        Ok((TraceKey(columns.number(0)?), columns.number(1)?))
    });
    parts.await
}
