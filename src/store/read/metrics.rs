//! Metric names, series and points.

use std::borrow::Cow;

use bytes::Bytes;

use super::columns::Columns;
use super::lines;
use super::reader::{Reader, check_named};
use super::spans::push_in;
use crate::model::id::{InstrumentationId, ResourceId, SeriesId, ServiceId, TenantNumber};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::packed::Attributes;
use crate::model::rollup::HOUR_SECONDS;
use crate::model::text::Text;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::partition::{Family, POINTS, SERIES_HOURS};
use crate::store::row::Row;
use crate::store::rows::SeriesDefinition;
use crate::store::sql::{Dialect, Sql};

/// Most series of one answer.
pub const SERIES_MAX: usize = 10_000;
/// Most points of one answer.
pub const POINTS_MAX: usize = 200_000;
/// Most metric names of one answer.
pub const NAMES_MAX: usize = 10_000;
/// Series whose points one statement reads: first, and at most.
const SERIES_AT_ONCE: (usize, usize) = (16, 256);
/// `points.flags`: the value is one that SQLite cannot hold, a NaN or minus zero, kept as its bits in `int_value`.
const FLAG_BITS: i64 = 2;

/// A series of the tenant, with its attributes.
type Owned = (SeriesId, Attributes);

/// Which series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesAsk {
    /// The one with this id; all where there is none.
    pub id: Option<SeriesId>,
    /// Of the metric with this name; of all where there is none.
    pub name: Option<String>,
    /// Of one of these services; of all where there are none.
    pub services: Vec<ServiceId>,
    /// Those that have a point or a reckoned hour in it; all where there is none.
    pub within: Option<Window>,
    /// How many; [`SERIES_MAX`] at most.
    pub limit: usize,
}

/// Which points of some series.
#[derive(Debug, Clone, Copy)]
pub struct PointsAsk<'a> {
    /// Those of these times, which follow each other.
    pub windows: &'a [Window],
    /// How many; [`POINTS_MAX`] at most.
    pub limit: usize,
    /// Whether their details are wanted too: buckets, percentiles, exemplars; they are left empty otherwise.
    pub with_detail: bool,
}

/// A series as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSeries {
    /// Its id.
    pub id: SeriesId,
    /// The service that sends it.
    pub service: ServiceId,
    /// The resource that sends it.
    pub resource: ResourceId,
    /// The library that makes it.
    pub instrumentation: InstrumentationId,
    /// The metric.
    pub definition: SeriesDefinition,
    /// What tells it from the other series of the metric and resource.
    pub attributes: Attributes,
    /// The time of its first point.
    pub first_seen: UnixNanos,
}

/// A metric's name with what it measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricName {
    /// The instrument's name.
    pub name: String,
    /// The unit in UCUM; may be empty.
    pub unit: String,
    /// Which kind of data its points hold.
    pub kind: MetricKind,
    /// What its senders say about it; may be empty.
    pub description: String,
    /// How many series it has.
    pub series: u64,
}

impl Store {
    /// The series that `ask` describes, by id: the oldest first.
    pub async fn series(&self, tenant: TenantNumber, ask: &SeriesAsk) -> Result<Vec<StoredSeries>, Error> {
        check_named("services", ask.services.len())?;
        let mut reader = self.reader().await?;
        let mut query = reader.sql(format!(
            "SELECT id, service_id, resource_id, instrumentation_id, name, unit, description, metadata, kind, \
             temporality, monotonic, attributes, first_seen FROM series s WHERE tenant_id = {}",
            tenant.0
        ));
        if let Some(id) = ask.id {
            query.push(format_args!(" AND id = {}", id.0));
        }
        if let Some(name) = &ask.name {
            query.push(" AND name = ").bind(name);
        }
        if !ask.services.is_empty() {
            let mut conditions = String::new();
            push_in(&mut conditions, "service_id", ask.services.iter().map(|service| service.0));
            query.push(conditions);
        }
        if let Some(window) = ask.within {
            query.push(has_points(&reader, window, true));
        }
        query.push(format_args!(" ORDER BY id LIMIT {}", ask.limit.min(SERIES_MAX)));
        let series = reader.all(query, series).await?;
        reader.finish().await?;
        Ok(series)
    }

    /// The points of `series` within `window`, by series and time and then in the order of arrival: the first
    /// `limit` of them, [`POINTS_MAX`] at most. Looks at the first [`SERIES_MAX`] of `series`; what is not the
    /// tenant's is left out.
    pub async fn points(
        &self,
        tenant: TenantNumber,
        series: &[SeriesId],
        window: Window,
        limit: usize,
    ) -> Result<Vec<(SeriesId, Point)>, Error> {
        let ask = PointsAsk { windows: &[window], limit, with_detail: true };
        self.points_within(tenant, series, ask).await
    }

    /// As [`Store::points`], of several windows.
    pub async fn points_within(
        &self,
        tenant: TenantNumber,
        series: &[SeriesId],
        ask: PointsAsk<'_>,
    ) -> Result<Vec<(SeriesId, Point)>, Error> {
        if ask.windows.is_empty() {
            return Ok(Vec::new());
        }
        let ask = PointsAsk { limit: ask.limit.min(POINTS_MAX), ..ask };
        let mut reader = self.reader().await?;
        let mut query =
            reader.sql(format!("SELECT id, attributes FROM series WHERE tenant_id = {} AND id", tenant.0));
        query.push(reader.dialect().is_one_of(series.iter().take(SERIES_MAX).map(|series| series.0.into())));
        query.push(" ORDER BY id");
        let owned = reader.all(query, |row| {
            Ok((SeriesId(Columns { row, what: "series" }.number(0)?), attributes(row, 1)?))
        });
        let owned = owned.await?;
        let found = points_of(&mut reader, &owned, ask).await?;
        reader.finish().await?;
        Ok(found)
    }

    /// The tenant's metrics by name, unit and kind, [`NAMES_MAX`] at most; with a window only those series count
    /// that have a point in it.
    pub async fn metric_names(
        &self,
        tenant: TenantNumber,
        window: Option<Window>,
    ) -> Result<Vec<MetricName>, Error> {
        let mut reader = self.reader().await?;
        let condition = window.map(|window| has_points(&reader, window, false)).unwrap_or_default();
        let by_bytes = reader.dialect().by_bytes();
        let query = reader.sql(format!(
            "SELECT name, unit, kind, max(description), count(*) FROM series s WHERE tenant_id = {}{condition} \
             GROUP BY name, unit, kind ORDER BY name{by_bytes}, unit{by_bytes}, kind LIMIT {NAMES_MAX}",
            tenant.0
        ));
        let names = reader.all(query, |row| {
            let columns = Columns { row, what: "series" };
            Ok(MetricName {
                name: row.get(0)?,
                unit: row.get(1)?,
                kind: kind(&columns, 2)?,
                description: row.get(3)?,
                series: columns.number(4)?,
            })
        });
        let names = names.await?;
        reader.finish().await?;
        Ok(names)
    }

    /// The names of the tenant's metrics that come after `after` in the order of their bytes, of all where there is none: the
    /// first [`NAMES_MAX`] of them, each once.
    pub async fn metric_names_after(
        &self,
        tenant: TenantNumber,
        after: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let mut reader = self.reader().await?;
        let by_bytes = reader.dialect().by_bytes();
        let mut query = reader.sql(format!("SELECT name FROM series WHERE tenant_id = {}", tenant.0));
        if let Some(after) = after {
            query.push(format_args!(" AND name{by_bytes} > ")).bind(after);
        }
        query.push(format_args!(" GROUP BY name ORDER BY name{by_bytes} LIMIT {NAMES_MAX}"));
        let names = reader.all(query, |row| row.get::<String>(0)).await?;
        reader.finish().await?;
        Ok(names)
    }
}

/// The condition that a series `s` has a point in `window`; with `or_hours` also that one of its reckoned hours, which are
/// kept for longer than points, lies in it.
fn has_points(reader: &Reader, window: Window, or_hours: bool) -> String {
    let exists = |table: String, time: &str, from: i64, to: i64| {
        format!(
            "EXISTS (SELECT 1 FROM {table} p WHERE p.series_id = s.id AND p.{time} >= {from} AND p.{time} < {to})"
        )
    };
    let days = reader.days(Family::Points, window).into_iter();
    let mut any: Vec<String> =
        days.map(|day| exists(POINTS.on(day), "time_ns", window.from.0, window.to.0)).collect();
    if or_hours {
        let (from, to) = (window.from.bucket_seconds(HOUR_SECONDS), window.to.seconds());
        let days = reader.days(Family::SeriesHours, window).into_iter();
        any.extend(days.map(|day| exists(SERIES_HOURS.on(day), "hour", from, to)));
    }
    if any.is_empty() { " AND 1 = 0".to_owned() } else { format!(" AND ({})", any.join(" OR ")) }
}

/// The points of `series`, by series and time, up to the limit.
async fn points_of(
    reader: &mut Reader,
    mut series: &[Owned],
    ask: PointsAsk<'_>,
) -> Result<Vec<(SeriesId, Point)>, Error> {
    let (mut found, mut at_once) = (Vec::new(), SERIES_AT_ONCE.0);
    while found.len() < ask.limit && !series.is_empty() {
        let left = ask.limit - found.len();
        let (part, rest) = series.split_at(at_once.min(series.len()));
        let points = points_together(reader, part, PointsAsk { limit: left, ..ask }).await?;
        if points.len() >= left && part.len() > 1 {
            // Whose end the limit cut off is only known of fewer.
            at_once = (part.len() / 4).max(1);
            continue;
        }
        let each = points.len() / part.len() + 1;
        found.extend(points);
        at_once = ((ask.limit - found.len()) / (2 * each)).clamp(1, SERIES_AT_ONCE.1);
        series = rest;
    }
    Ok(found)
}

/// The points of `series` by series and time. Where there are as many as the limit they are the first only of a single series.
async fn points_together(
    reader: &mut Reader,
    series: &[Owned],
    PointsAsk { windows, limit, with_detail }: PointsAsk<'_>,
) -> Result<Vec<(SeriesId, Point)>, Error> {
    let mut points: Vec<(usize, Point)> = Vec::new();
    for window in windows {
        let mut days = reader.days(Family::Points, *window);
        days.reverse();
        for day in days {
            let mut sql = reader.sql(format!(
                "SELECT time_ns, start_ns, flags, int_value, real_value, count, {}, series_id FROM {} WHERE series_id",
                if with_detail { "detail" } else { "NULL" },
                POINTS.on(day),
            ));
            sql.push(reader.dialect().is_one_of(series.iter().map(|(id, _)| id.0.into())));
            sql.push(format_args!(
                " AND time_ns >= {} AND time_ns < {} ORDER BY series_id, time_ns, seq LIMIT {}",
                window.from.0,
                window.to.0,
                limit - points.len(),
            ));
            for (id, point) in selected(reader, sql, with_detail).await? {
                let place = series.binary_search_by_key(&id, |(id, _)| *id);
                let place = place.map_err(|_| Error::Unreadable { what: "metric point" })?;
                points.push((place, Point { attributes: series[place].1.clone(), ..point }));
            }
            if points.len() >= limit {
                break;
            }
        }
        if points.len() >= limit {
            break;
        }
    }
    // Days and windows follow each other in time, and their order stays.
    points.sort_by_key(|(place, _)| *place);
    Ok(points.into_iter().map(|(place, point)| (series[place].0, point)).collect())
}

/// The points that a statement selects: out of a few lines of text, where these hold all of them exactly, else row by row.
async fn selected(
    reader: &mut Reader,
    select: Sql,
    with_detail: bool,
) -> Result<Vec<(SeriesId, Point)>, Error> {
    if !with_detail && reader.dialect() == Dialect::Sqlite {
        let joined = reader.sql(format!("SELECT {} FROM ({})", lines::joined(lines::POINTS), select.text));
        match lines::read(reader, joined, lines::POINTS, lines::point).await {
            Err(Error::Unreadable { .. }) => {}
            found => return found,
        }
    }
    let read = |row: Row<'_>| {
        let id = Columns { row, what: "metric point" }.number(7)?;
        Ok((SeriesId(id), point(row, 0)?))
    };
    reader.all(select, read).await
}

fn series(row: Row<'_>) -> Result<StoredSeries, Error> {
    let columns = Columns { row, what: "series" };
    let text = |column: usize| Ok::<_, Error>(Text::from(&*row.get::<Cow<'_, str>>(column)?));
    Ok(StoredSeries {
        id: SeriesId(columns.number(0)?),
        service: ServiceId(columns.number(1)?),
        resource: ResourceId(columns.number(2)?),
        instrumentation: InstrumentationId(columns.number(3)?),
        definition: SeriesDefinition {
            name: text(4)?,
            unit: text(5)?,
            description: text(6)?,
            metadata: attributes(row, 7)?,
            kind: kind(&columns, 8)?,
            temporality: temporality(&columns, 9)?,
            monotonic: row.get(10)?,
        },
        attributes: attributes(row, 11)?,
        first_seen: UnixNanos(columns.number(12)?),
    })
}

pub(super) fn kind(columns: &Columns<'_>, column: usize) -> Result<MetricKind, Error> {
    MetricKind::from_number(columns.number(column)?).ok_or(columns.unreadable())
}

pub(super) fn temporality(columns: &Columns<'_>, column: usize) -> Result<Temporality, Error> {
    match columns.number::<i64>(column)? {
        0 => Ok(Temporality::None),
        1 => Ok(Temporality::Delta),
        2 => Ok(Temporality::Cumulative),
        _ => Err(columns.unreadable()),
    }
}

fn attributes(row: Row<'_>, column: usize) -> Result<Attributes, Error> {
    Ok(Attributes::from_checked(Bytes::copy_from_slice(row.get(column)?)))
}

/// The value that the columns of a point hold.
pub(super) fn value_of(
    flags: i64,
    (int, real): (Option<i64>, Option<f64>),
    count: Option<i64>,
) -> PointValue {
    let exact = int.filter(|_| flags & FLAG_BITS != 0).map(|bits| f64::from_bits(bits.cast_unsigned()));
    match (count, exact.or(real), int) {
        (Some(count), sum, _) => PointValue::Distribution { count: count.cast_unsigned(), sum },
        (None, Some(value), _) => PointValue::Double(value),
        (None, None, Some(value)) => PointValue::Int(value),
        (None, None, None) => PointValue::Gap,
    }
}

/// Reads a point whose columns begin with `first`, without the attributes that it shares with its series.
pub(super) fn point(row: Row<'_>, first: usize) -> Result<Point, Error> {
    let flags: i64 = row.get(first + 2)?;
    let int: Option<i64> = row.get(first + 3)?;
    let real: Option<f64> = row.get(first + 4)?;
    let value = value_of(flags, (int, real), row.get(first + 5)?);
    let detail: Option<&[u8]> = row.get(first + 6)?;
    Ok(Point {
        time: UnixNanos(row.get(first)?),
        start: UnixNanos(row.get(first + 1)?),
        attributes: Attributes::default(),
        value,
        detail: PointDetail::from_checked(Bytes::copy_from_slice(detail.unwrap_or_default())),
    })
}
