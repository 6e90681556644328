//! Metric series and their points.
//!
//! A series is found by a hash of everything that identifies it. Points are ordered by series and time; points
//! of one series and instant, a retried request for example, are all kept and told apart by `seq`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::error::Error;
use super::insert::{Insert, Values};
use super::names::OVERFLOW;
use super::names::info::hash;
use super::rows::{PointRow, SeriesDefinition};
use crate::model::id::{SeriesId, ServiceId, TenantNumber};
use crate::model::metric::PointValue;

/// Most series of one tenant. Past it, points of new series go to one series for each service and kind, whose
/// name is [`OVERFLOW`].
pub(super) const SERIES_MAX: usize = 500_000;
/// `points.flags`: the sender says that there is a gap.
const FLAG_GAP: i64 = 1;
/// `points.flags`: the value is one that SQLite cannot hold, a NaN or minus zero, kept as its bits in `int_value`.
const FLAG_BITS: i64 = 2;
/// Series or instants that one statement looks for.
const PROBES: usize = 256;

/// The series in memory: 50 bytes each.
#[derive(Debug)]
pub(super) struct SeriesTable {
    known: HashMap<(TenantNumber, u128), Held>,
    counts: HashMap<TenantNumber, usize>,
    next: u32,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    id: SeriesId,
    /// No stored point is later. Unknown until the series gets a point after a restart.
    newest: Option<i64>,
}

/// What a commit changes in memory once it succeeded.
#[derive(Debug, Default)]
pub(super) struct Staged {
    held: HashMap<(TenantNumber, u128), Held>,
    added: HashMap<TenantNumber, usize>,
    /// Points that went to an overflow series.
    pub(super) overflowed: u64,
}

/// A point with its place in the table.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    series: SeriesId,
    seq: i64,
    row: &'a PointRow,
}

/// A series that is not stored yet.
#[derive(Debug)]
struct NewSeries<'a> {
    id: SeriesId,
    hash: u128,
    overflow: bool,
    row: &'a PointRow,
}

impl SeriesTable {
    /// Reads which series there are.
    pub(super) async fn start(connection: &mut SqliteConnection, limit: usize) -> Result<Self, Error> {
        let mut table = Self { known: HashMap::new(), counts: HashMap::new(), next: 1, limit };
        let rows =
            sqlx::query("SELECT id, tenant_id, hash, name FROM series").fetch_all(&mut *connection).await?;
        for row in rows {
            let id: u32 = row.try_get(0)?;
            let tenant = TenantNumber(row.try_get(1)?);
            let hash: [u8; 16] = row
                .try_get::<&[u8], _>(2)?
                .try_into()
                .map_err(|_| Error::Unreadable { what: "series hash" })?;
            table.known.insert((tenant, u128::from_be_bytes(hash)), Held { id: SeriesId(id), newest: None });
            *table.counts.entry(tenant).or_default() += usize::from(row.try_get::<&str, _>(3)? != OVERFLOW);
            table.next = table.next.max(id + 1);
        }
        Ok(table)
    }

    /// Writes `points` and the series they open. Changes nothing in memory; see [`SeriesTable::take`].
    pub(super) async fn write(
        &self,
        connection: &mut SqliteConnection,
        points: &[PointRow],
    ) -> Result<Staged, Error> {
        let mut staged = Staged::default();
        let mut new = Vec::new();
        let mut definitions = Definitions::default();
        let mut placed = Vec::with_capacity(points.len());
        let mut keys = HashMap::new();
        for row in points {
            let key = (row.tenant, definitions.series_hash(row));
            let (key, series) = self.settle(key, row, &mut staged, &mut new);
            keys.insert(series, key);
            placed.push(Placed { series, seq: 0, row });
        }
        SERIES.run(&mut *connection, &new, bind_series).await?;
        learn_newest(connection, &mut staged, &keys).await?;
        placed.sort_by_key(|placed| (placed.series, placed.row.point.time));
        let newest = |series| keys.get(&series).and_then(|key| staged.held.get(key)?.newest);
        number(connection, &mut placed, newest).await?;
        POINTS.run(connection, &placed, bind_point).await?;
        for placed in &placed {
            if let Some(held) = keys.get(&placed.series).and_then(|key| staged.held.get_mut(key)) {
                held.newest = held.newest.max(Some(placed.row.point.time.0));
            }
        }
        Ok(staged)
    }

    /// Takes over what [`SeriesTable::write`] wrote.
    pub(super) fn take(&mut self, staged: Staged) {
        for held in staged.held.values() {
            self.next = self.next.max(held.id.0 + 1);
        }
        self.known.extend(staged.held);
        for (tenant, added) in staged.added {
            *self.counts.entry(tenant).or_default() += added;
        }
    }

    /// The series that a point goes to, and the key it is held under.
    fn settle<'a>(
        &self,
        key: (TenantNumber, u128),
        row: &'a PointRow,
        staged: &mut Staged,
        new: &mut Vec<NewSeries<'a>>,
    ) -> ((TenantNumber, u128), SeriesId) {
        let known = |key, staged: &mut Staged| {
            let held = staged.held.get(&key).or_else(|| self.known.get(&key)).copied()?;
            staged.held.insert(key, held);
            Some(held.id)
        };
        if let Some(id) = known(key, staged) {
            return (key, id);
        }
        let count = |counts: &HashMap<_, usize>| counts.get(&row.tenant).copied().unwrap_or(0);
        let overflow = count(&self.counts) + count(&staged.added) >= self.limit;
        let key = if overflow { (row.tenant, overflow_hash(row)) } else { key };
        staged.overflowed += u64::from(overflow);
        if let Some(id) = known(key, staged) {
            return (key, id);
        }
        let offset = u32::try_from(new.len()).expect("a commit has fewer than four billion points");
        let id = SeriesId(self.next + offset);
        if !overflow {
            *staged.added.entry(row.tenant).or_default() += 1;
        }
        // A new series has no points, so any time is later than its newest.
        staged.held.insert(key, Held { id, newest: Some(i64::MIN) });
        new.push(NewSeries { id, hash: key.1, overflow, row });
        (key, id)
    }
}

/// Remembers the hash of the definition seen last: points of one metric follow each other.
#[derive(Debug, Default)]
struct Definitions<'a> {
    last: Option<(&'a Arc<SeriesDefinition>, u128)>,
}

impl<'a> Definitions<'a> {
    fn series_hash(&mut self, row: &'a PointRow) -> u128 {
        let definition = match self.last {
            Some((definition, hash)) if Arc::ptr_eq(definition, &row.series) => hash,
            _ => definition_hash(&row.series),
        };
        self.last = Some((&row.series, definition));
        hash(&[
            &definition.to_le_bytes(),
            &row.service.0.to_le_bytes(),
            &row.resource.0.to_le_bytes(),
            &row.instrumentation.0.to_le_bytes(),
            row.point.attributes.as_bytes(),
        ])
    }
}

fn definition_hash(series: &SeriesDefinition) -> u128 {
    hash(&[
        series.name.as_str().as_bytes(),
        series.unit.as_str().as_bytes(),
        &[series.kind as u8, series.temporality as u8, u8::from(series.monotonic)],
    ])
}

fn overflow_hash(row: &PointRow) -> u128 {
    hash(&[OVERFLOW.as_bytes(), &[row.series.kind as u8], &row.service.0.to_le_bytes()])
}

/// Looks up the newest stored point of series that were not touched since the start.
async fn learn_newest(
    connection: &mut SqliteConnection,
    staged: &mut Staged,
    keys: &HashMap<SeriesId, (TenantNumber, u128)>,
) -> Result<(), Error> {
    let unknown: Vec<SeriesId> =
        staged.held.values().filter(|held| held.newest.is_none()).map(|held| held.id).collect();
    for chunk in unknown.chunks(PROBES) {
        let mut values = Values::with_capacity(chunk.len());
        chunk.iter().for_each(|series| values.int(series.0));
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&NEWEST)), values.into_arguments()?);
        for row in query.fetch_all(&mut *connection).await? {
            let Some(series) = row.try_get::<Option<u32>, _>(0)?.map(SeriesId) else { continue };
            if let Some(held) = keys.get(&series).and_then(|key| staged.held.get_mut(key)) {
                held.newest = Some(row.try_get::<Option<i64>, _>(1)?.unwrap_or(i64::MIN));
            }
        }
    }
    Ok(())
}

/// Numbers the points of one series and instant, after those that are stored already.
async fn number(
    connection: &mut SqliteConnection,
    placed: &mut [Placed<'_>],
    newest: impl Fn(SeriesId) -> Option<i64>,
) -> Result<(), Error> {
    let instant = |placed: &Placed<'_>| (placed.series, placed.row.point.time.0);
    let mut late: Vec<(SeriesId, i64)> = placed
        .iter()
        .map(instant)
        .filter(|(series, time)| newest(*series).is_none_or(|newest| *time <= newest))
        .collect();
    late.dedup();
    let mut stored = HashMap::new();
    for chunk in late.chunks(PROBES) {
        let mut values = Values::with_capacity(2 * chunk.len());
        for (series, time) in chunk {
            values.int(series.0);
            values.int(*time);
        }
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&LAST_SEQ)), values.into_arguments()?);
        for row in query.fetch_all(&mut *connection).await? {
            stored.insert((SeriesId(row.try_get(0)?), row.try_get::<i64, _>(1)?), row.try_get::<i64, _>(2)?);
        }
    }
    for run in placed.chunk_by_mut(|a, b| instant(a) == instant(b)) {
        let base = stored.get(&instant(&run[0])).map_or(0, |last| last + 1);
        for (placed, seq) in run.iter_mut().zip(base..) {
            placed.seq = seq;
        }
    }
    Ok(())
}

static NEWEST: LazyLock<Arc<str>> = LazyLock::new(|| {
    let wanted = vec!["(?)"; PROBES].join(",");
    format!(
        "SELECT w.column1, (SELECT max(p.time_ns) FROM points AS p WHERE p.series_id = w.column1) \
         FROM (VALUES {wanted}) AS w"
    )
    .into()
});

static LAST_SEQ: LazyLock<Arc<str>> = LazyLock::new(|| {
    let wanted = vec!["(?,?)"; PROBES].join(",");
    format!(
        "SELECT w.column1, w.column2, max(p.seq) FROM (VALUES {wanted}) AS w CROSS JOIN points AS p \
         ON p.series_id = w.column1 AND p.time_ns = w.column2 GROUP BY w.column1, w.column2"
    )
    .into()
});

static SERIES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "series (id, tenant_id, hash, name, unit, description, metadata, kind, temporality, monotonic, service_id, \
         resource_id, instrumentation_id, attributes, first_seen)",
        15,
        "",
    )
});

fn bind_series(values: &mut Values, series: &NewSeries<'_>) {
    let row = series.row;
    let definition = &row.series;
    let ServiceId(service) = row.service;
    values.int(series.id.0);
    values.int(row.tenant.0);
    values.blob(&series.hash.to_be_bytes());
    if series.overflow {
        values.text(OVERFLOW);
        values.text("");
        values.text("");
        values.blob(&[]);
    } else {
        values.text(definition.name.as_str());
        values.text(definition.unit.as_str());
        values.text(definition.description.as_str());
        values.blob(definition.metadata.as_bytes());
    }
    values.int(definition.kind as u8);
    values.int(definition.temporality as u8);
    values.int(definition.monotonic);
    values.int(service);
    values.int(row.resource.0);
    values.int(row.instrumentation.0);
    values.blob(if series.overflow { &[] } else { row.point.attributes.as_bytes() });
    values.int(row.point.time.0);
}

static POINTS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "points (series_id, time_ns, seq, start_ns, flags, int_value, real_value, count, detail)",
        9,
        "",
    )
});

fn bind_point(values: &mut Values, placed: &Placed<'_>) {
    let point = &placed.row.point;
    values.int(placed.series.0);
    values.int(point.time.0);
    values.int(placed.seq);
    values.int(point.start.0);
    let (int, real, count) = match point.value {
        PointValue::Gap => (None, None, None),
        PointValue::Int(value) => (Some(value), None, None),
        PointValue::Double(value) => (None, Some(value), None),
        PointValue::Distribution { count, sum } => (None, sum, Some(count.cast_signed())),
    };
    // SQLite has no NaN and no minus zero: they would become "no value" and zero.
    let is_lost = |value: &f64| value.is_nan() || (*value == 0.0 && value.is_sign_negative());
    let bits = real.filter(is_lost).map(|value| value.to_bits().cast_signed());
    let gap = matches!(point.value, PointValue::Gap);
    values.int(if gap { FLAG_GAP } else { 0 } | if bits.is_some() { FLAG_BITS } else { 0 });
    values.optional_int(int.or(bits));
    values.optional_real(real.filter(|value| !value.is_nan()));
    values.optional_int(count);
    let detail = point.detail.as_bytes();
    values.optional_blob((!detail.is_empty()).then_some(detail));
}
