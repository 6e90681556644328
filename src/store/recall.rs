//! Traces that were begun in earlier commits.
//!
//! A trace keeps the key of its first-seen span. Whoever gets a span of a trace that is no longer in memory asks
//! here whether the trace is stored under the key of a neighbouring bucket of time. Most are not: that answer
//! costs one probe of an index for each key.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::Store;
use super::error::Error;
use super::insert::Values;
use crate::model::id::{OperationId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::span::{SpanKind, Status};
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};

/// Most spans that one call answers. Traces whose spans did not fit are marked.
pub const SPANS_MAX: usize = 100_000;
/// Keys that one statement looks for.
const PROBES: usize = 500;

/// A trace that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// The trace.
    pub trace_id: TraceId,
    /// The key that its next spans belong under: the earliest it is stored under.
    pub key: TraceKey,
    /// Its stored spans, in order of arrival.
    pub spans: Vec<RecalledSpan>,
    /// True when the trace has more spans than were answered, because of [`SPANS_MAX`].
    pub truncated: bool,
}

/// What is kept of a span for joining it with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecalledSpan {
    /// Its id.
    pub span_id: SpanId,
    /// The span that caused it.
    pub parent_id: Option<SpanId>,
    /// The service that sent it.
    pub service: ServiceId,
    /// Its name and kind.
    pub operation: OperationId,
    /// Its part in a call.
    pub kind: SpanKind,
    /// Whether it is where a request enters its service.
    pub entry: bool,
    /// How it ended.
    pub status: Status,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: u64,
    /// The database, queue or external host that it calls.
    pub dependency: Option<ServiceId>,
}

impl Store {
    /// Finds those of `traces` that are stored, each given with the start of one of its spans: a trace is found
    /// when it was first seen in the bucket of that start or in one of the two beside it. Answers each trace
    /// once, in the order of its key. Sees everything that was committed before the call.
    pub async fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> Result<Vec<Recalled>, Error> {
        if traces.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.inner.recaller.acquire().await?;
        let wanted = candidates(tenant, traces);
        let found = find(&mut connection, tenant, &wanted).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        load(&mut connection, tenant, found).await
    }
}

/// Every key that the traces may have. Two traces may share one.
fn candidates(tenant: TenantNumber, traces: &[(TraceId, UnixNanos)]) -> BTreeMap<TraceKey, Vec<TraceId>> {
    const BUCKET: Duration = Duration::from_secs(BUCKET_SECONDS.unsigned_abs());
    let mut wanted: BTreeMap<TraceKey, Vec<TraceId>> = BTreeMap::new();
    for (trace, start) in traces {
        let window = Window::new(start.minus(BUCKET), start.plus(BUCKET));
        for key in TraceKey::candidates(window, tenant, *trace) {
            let sharing = wanted.entry(key).or_default();
            if !sharing.contains(trace) {
                sharing.push(*trace);
            }
        }
    }
    wanted
}

/// The keys that the traces are stored under, earliest first.
async fn find(
    connection: &mut SqliteConnection,
    tenant: TenantNumber,
    wanted: &BTreeMap<TraceKey, Vec<TraceId>>,
) -> Result<HashMap<TraceId, Vec<TraceKey>>, Error> {
    let keys: Vec<TraceKey> = wanted.keys().copied().collect();
    let mut found: HashMap<TraceId, Vec<TraceKey>> = HashMap::new();
    for chunk in keys.chunks(PROBES) {
        for row in query(&mut *connection, &TRACES, tenant, chunk).await? {
            let key = TraceKey(row.try_get(0)?);
            let trace = trace_id(row.try_get(1)?)?;
            if wanted.get(&key).is_some_and(|sharing| sharing.contains(&trace)) {
                found.entry(trace).or_default().push(key);
            }
        }
    }
    found.values_mut().for_each(|keys| keys.sort_unstable());
    Ok(found)
}

async fn load(
    connection: &mut SqliteConnection,
    tenant: TenantNumber,
    found: HashMap<TraceId, Vec<TraceKey>>,
) -> Result<Vec<Recalled>, Error> {
    let mut keys: Vec<TraceKey> = found.values().flatten().copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let mut recalled: HashMap<TraceId, Recalled> = HashMap::with_capacity(found.len());
    for (trace_id, keys) in &found {
        let spans = Vec::new();
        recalled.insert(*trace_id, Recalled { trace_id: *trace_id, key: keys[0], spans, truncated: false });
    }
    let mut room = SPANS_MAX;
    for chunk in keys.chunks(PROBES) {
        let rows = query(&mut *connection, &SPANS, tenant, chunk).await?;
        // The statement stops at the limit, so a full answer may have left spans of any of its traces out.
        let cut = rows.len() > room;
        for row in rows.iter().take(room) {
            if let Some(trace) = recalled.get_mut(&trace_id(row.try_get(1)?)?) {
                trace.spans.push(span(row)?);
            }
        }
        room -= rows.len().min(room);
        if cut {
            let rest = chunk[0]..;
            for (trace_id, keys) in &found {
                if keys.iter().any(|key| rest.contains(key))
                    && let Some(trace) = recalled.get_mut(trace_id)
                {
                    trace.truncated = true;
                }
            }
            break;
        }
    }
    let mut recalled: Vec<Recalled> = recalled.into_values().collect();
    recalled.sort_unstable_by_key(|trace| (trace.key, trace.trace_id));
    Ok(recalled)
}

/// Runs one of the two statements. A short chunk is filled up with its last key.
async fn query(
    connection: &mut SqliteConnection,
    statement: &Arc<str>,
    tenant: TenantNumber,
    chunk: &[TraceKey],
) -> Result<Vec<SqliteRow>, Error> {
    let Some(last) = chunk.last() else { return Ok(Vec::new()) };
    let mut values = Values::with_capacity(PROBES + 1);
    values.int(tenant.0);
    chunk.iter().chain(std::iter::repeat(last)).take(PROBES).for_each(|key| values.int(key.0));
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(statement)), values.into_arguments()?);
    Ok(query.fetch_all(connection).await?)
}

static TRACES: LazyLock<Arc<str>> = LazyLock::new(|| {
    let keys = vec!["?"; PROBES].join(",");
    format!("SELECT trace_key, trace_id FROM traces WHERE tenant_id = ? AND trace_key IN ({keys})").into()
});

static SPANS: LazyLock<Arc<str>> = LazyLock::new(|| {
    let keys = vec!["?"; PROBES].join(",");
    let limit = SPANS_MAX + 1;
    format!(
        "SELECT id, trace_id, span_id, parent_id, service_id, operation_id, kind, entry, status, start_ns, \
         duration_ns, dependency_id FROM spans INDEXED BY spans_by_trace WHERE tenant_id = ? \
         AND trace_key IN ({keys}) LIMIT {limit}"
    )
    .into()
});

fn span(row: &SqliteRow) -> Result<RecalledSpan, Error> {
    let id = |column: usize| {
        let bytes: Option<&[u8]> = row.try_get(column)?;
        bytes.map(SpanId::try_from).transpose().map_err(|_| Error::Unreadable { what: "span id" })
    };
    Ok(RecalledSpan {
        span_id: id(2)?.ok_or(Error::Unreadable { what: "span id" })?,
        parent_id: id(3)?,
        service: ServiceId(row.try_get(4)?),
        operation: OperationId(row.try_get(5)?),
        kind: SpanKind(row.try_get(6)?),
        entry: row.try_get(7)?,
        status: Status::from_otlp(row.try_get::<u8, _>(8)?.into()),
        start: UnixNanos(row.try_get(9)?),
        duration_ns: row.try_get::<i64, _>(10)?.unsigned_abs(),
        dependency: row.try_get::<Option<u32>, _>(11)?.map(ServiceId),
    })
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, Error> {
    TraceId::try_from(bytes).map_err(|_| Error::Unreadable { what: "trace id" })
}
