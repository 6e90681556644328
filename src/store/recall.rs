//! Traces that were begun in earlier commits.
//!
//! A trace keeps the key of its first-seen span. Whoever gets a span of a trace that is no longer in memory asks
//! here whether the trace is stored under the key of a neighbouring bucket of time. Most are not: that answer
//! costs one probe of an index for each key.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Store;
use super::day::Day;
use super::error::Error;
use super::partition::{Family, TRACES};
use super::read::columns::trace_tables;
use super::read::reader::Reader;
use super::row::Row;
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
        let mut reader = Reader::begin(self.inner.recaller.acquire().await?).await?;
        let wanted = candidates(tenant, traces);
        let found = find(&mut reader, tenant, &wanted).await?;
        let recalled = if found.is_empty() { Vec::new() } else { load(&mut reader, tenant, found).await? };
        reader.finish().await?;
        Ok(recalled)
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

/// Keys, cut into parts of one day each that one statement looks for; without days that are not kept.
fn parts<'k>(reader: &Reader, keys: &'k [TraceKey]) -> Vec<(Day, &'k [TraceKey])> {
    let mut parts = Vec::new();
    for of_day in keys.chunk_by(|a, b| Day::of_key(*a) == Day::of_key(*b)) {
        let day = Day::of_key(of_day[0]);
        if !reader.days_between(Family::Spans, (day, day)).is_empty() {
            parts.extend(of_day.chunks(PROBES).map(|part| (day, part)));
        }
    }
    parts
}

/// The keys that the traces are stored under, earliest first.
async fn find(
    reader: &mut Reader,
    tenant: TenantNumber,
    wanted: &BTreeMap<TraceKey, Vec<TraceId>>,
) -> Result<HashMap<TraceId, Vec<TraceKey>>, Error> {
    let keys: Vec<TraceKey> = wanted.keys().copied().collect();
    let mut found: HashMap<TraceId, Vec<TraceKey>> = HashMap::new();
    for (day, keys) in parts(reader, &keys) {
        // Left to itself, SQLite takes the index that begins with the tenant, and reads all traces that it has.
        let mut sql = reader.sql(format!(
            "SELECT trace_key, trace_id FROM {}{} WHERE tenant_id = {} AND trace_key",
            TRACES.on(day),
            reader.dialect().indexed(TRACES, day, "by_key"),
            tenant.0
        ));
        sql.push(reader.dialect().is_one_of(keys.iter().map(|key| key.0)));
        let rows = reader.all(sql, |row| Ok((TraceKey(row.get(0)?), trace_id(row.get(1)?)?)));
        for (key, trace) in rows.await? {
            if wanted.get(&key).is_some_and(|sharing| sharing.contains(&trace)) {
                found.entry(trace).or_default().push(key);
            }
        }
    }
    found.values_mut().for_each(|keys| keys.sort_unstable());
    Ok(found)
}

async fn load(
    reader: &mut Reader,
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
    for (day, chunk) in parts(reader, &keys) {
        let dialect = reader.dialect();
        let mut sql = reader.sql(format!(
            "SELECT s.id, t.trace_id, s.span_id, s.parent_id, s.service_id, s.operation_id, coalesce(o.kind, 0), s.entry, \
             s.status, s.start_ns, s.duration_ns, s.dependency_id FROM {} AND t.tenant_id = {} AND t.trace_key",
            trace_tables(dialect, day),
            tenant.0
        ));
        sql.push(dialect.is_one_of(chunk.iter().map(|key| key.0)));
        // In the order of arrival on either database.
        sql.push(format_args!(" ORDER BY s.id LIMIT {}", SPANS_MAX + 1));
        let rows = reader.all(sql, |row| Ok((trace_id(row.get(1)?)?, span(row, day)?))).await?;
        // The statement stops at the limit, so a full answer may have left spans of any of its traces out.
        let cut = rows.len() > room;
        let read = rows.len();
        for (trace_id, span) in rows.into_iter().take(room) {
            if let Some(trace) = recalled.get_mut(&trace_id) {
                trace.spans.push(span);
            }
        }
        room -= read.min(room);
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

fn span(row: Row<'_>, day: Day) -> Result<RecalledSpan, Error> {
    let id = |column: usize| {
        let bytes: Option<&[u8]> = row.get(column)?;
        bytes.map(SpanId::try_from).transpose().map_err(|_| Error::Unreadable { what: "span id" })
    };
    Ok(RecalledSpan {
        span_id: id(2)?.ok_or(Error::Unreadable { what: "span id" })?,
        parent_id: id(3)?,
        service: ServiceId(row.get(4)?),
        operation: OperationId(row.get(5)?),
        kind: SpanKind(row.get(6)?),
        entry: row.get(7)?,
        status: Status::from_otlp(row.get::<u8>(8)?.into()),
        start: day.after(row.get(9)?),
        duration_ns: row.get::<i64>(10)?.unsigned_abs(),
        dependency: row.get::<Option<u32>>(11)?.map(ServiceId),
    })
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, Error> {
    TraceId::try_from(bytes).map_err(|_| Error::Unreadable { what: "trace id" })
}
