//! Several traces at once, by keys that a question found before.

use std::collections::{BTreeMap, HashMap};

use super::columns::{self, Found};
use super::details;
use super::lines;
use super::reader::Reader;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::span::Status;
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, TRACES};
use crate::store::rows::SpanRow;
use crate::store::sql::Dialect;

/// Most traces of one question.
pub const EXEMPLARS_MAX: usize = 200;

/// Of which spans the details are read; the others have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailsOf {
    /// Of all.
    All,
    /// Of those that failed.
    Failed,
    /// Of none.
    None,
}

/// The spans of one of several traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: TraceId,
    /// Its spans under the key asked for, by start, then by span id.
    pub spans: Vec<SpanRow>,
}

impl Store {
    /// The spans of the traces that `keys` name ([`EXEMPLARS_MAX`] at most), each up to `spans_max` of them, in the
    /// order of `keys`. Costs one statement a day, and reads each block of the details that are wanted once.
    pub async fn traces_by_key(
        &self,
        tenant: TenantNumber,
        keys: &[(TraceKey, TraceId)],
        spans_max: usize,
        details_of: DetailsOf,
    ) -> Result<Vec<Exemplar>, Error> {
        let keys = &keys[..keys.len().min(EXEMPLARS_MAX)];
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let mut taken: HashMap<TraceId, usize> = keys.iter().map(|(_, trace_id)| (*trace_id, 0)).collect();
        let mut by_day: BTreeMap<Day, Vec<i64>> = BTreeMap::new();
        for (key, _) in keys {
            by_day.entry(Day::of_key(*key)).or_default().push(key.0);
        }
        let mut rows: Vec<Found<SpanRow>> = Vec::new();
        for (day, keys) in by_day {
            if reader.days_between(Family::Spans, (day, day)).is_empty() {
                continue;
            }
            rows.extend(spans_of(&mut reader, tenant, (day, keys), spans_max).await?);
        }
        rows.retain(|found| {
            taken.get_mut(&found.row.trace_id).is_some_and(|taken| {
                *taken += 1;
                *taken <= spans_max
            })
        });
        let is_wanted = |found: &Found<SpanRow>| match details_of {
            DetailsOf::All => true,
            DetailsOf::Failed => found.row.status == Status::Error,
            DetailsOf::None => false,
        };
        details::load_of(&mut reader, &mut rows, is_wanted).await?;
        reader.finish().await?;
        let mut spans: HashMap<TraceId, Vec<SpanRow>> = HashMap::new();
        for found in rows {
            spans.entry(found.row.trace_id).or_default().push(found.row);
        }
        let exemplar =
            |trace_id: &TraceId| spans.remove(trace_id).map(|spans| Exemplar { trace_id: *trace_id, spans });
        Ok(keys.iter().map(|(_, trace_id)| trace_id).filter_map(exemplar).collect())
    }
}

/// The spans of the traces that have one of `keys`, by start, then by span id: the first `spans_max` of each, or more.
async fn spans_of(
    reader: &mut Reader,
    tenant: TenantNumber,
    (day, keys): (Day, Vec<i64>),
    spans_max: usize,
) -> Result<Vec<Found<SpanRow>>, Error> {
    let dialect = reader.dialect();
    let most = i64::try_from(keys.len().saturating_mul(spans_max)).unwrap_or(i64::MAX);
    let keys = dialect.is_one_of(keys);
    let tables = columns::trace_tables(dialect, day);
    let wanted = format!("{tables} AND t.trace_key{keys} AND t.tenant_id = {}", tenant.0);
    const ORDER: &str = "ORDER BY s.start_ns, s.span_id, s.id";
    let sql = reader.sql(format!(
        "SELECT CAST(coalesce(sum(spans), 0) AS BIGINT) FROM {}{} WHERE trace_key{keys} AND tenant_id = {}",
        TRACES.on(day),
        dialect.indexed(TRACES, day, "by_key"),
        tenant.0
    ));
    let few = reader.first(sql, |row| row.get::<i64>(0)).await? <= Some(most);
    if few && dialect == Dialect::Sqlite {
        let sql = reader.sql(format!("SELECT {} FROM {wanted}", lines::joined(lines::SPANS)));
        let mut rows = lines::read(reader, sql, lines::SPANS, |fields| lines::span(fields, day)).await?;
        rows.sort_by_key(|found| (found.row.start, found.row.span_id, found.id));
        return Ok(rows);
    }
    let first_of_each = match few {
        true => String::new(),
        false => format!(
            " AND s.id IN (SELECT id FROM (SELECT s.id AS id, row_number() OVER (PARTITION BY t.id {ORDER}) AS place \
             FROM {wanted}) AS placed WHERE place <= {spans_max})"
        ),
    };
    let sql = reader.sql(format!("SELECT {} FROM {wanted}{first_of_each} {ORDER}", columns::SPAN));
    reader.all(sql, |row| columns::span(row, day)).await
}
