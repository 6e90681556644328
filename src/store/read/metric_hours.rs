//! Hours of metric series: what was reckoned of their points, and the points of those that are to be reckoned.

use super::Page;
use super::columns::Columns;
use super::metrics::{POINTS_MAX, SERIES_MAX, kind, point, temporality};
use crate::model::id::{SeriesId, TenantNumber};
use crate::model::metric::{MetricKind, Point, Temporality};
use crate::model::rollup::HOUR_SECONDS;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, POINTS, SERIES_HOURS};
use crate::store::series_hours::SeriesHour;

/// Most hours of one answer.
pub const HOURS_MAX: usize = 50_000;
/// Most unreckoned hours of a window that are told apart, and most windows that they make.
const UNRECKONED_MAX: usize = 500;
const WINDOWS_MAX: usize = 24;

/// The points of a series, and what decides how they are read.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPoints {
    /// The series.
    pub series: SeriesId,
    /// Which kind of data the points hold.
    pub kind: MetricKind,
    /// Over which time they count.
    pub temporality: Temporality,
    /// True for sums that only grow.
    pub monotonic: bool,
    /// The points by time and order of arrival, without the attributes of the series.
    pub points: Vec<Point>,
}

impl Store {
    /// The points of all tenants' series in an hour, given by its first second: about the first `limit` of them behind
    /// the place `after`, [`POINTS_MAX`] at most, by series and time. Points of one instant come together; of an
    /// instant that alone has as many as `limit`, the rest is left out.
    pub async fn points_of_hour(
        &self,
        hour: i64,
        after: Option<(SeriesId, UnixNanos)>,
        limit: usize,
    ) -> Result<Page<SeriesPoints, (SeriesId, UnixNanos)>, Error> {
        let limit = limit.clamp(1, POINTS_MAX);
        let from = UnixNanos::from_seconds(hour);
        let to = UnixNanos::from_seconds(hour + HOUR_SECONDS);
        let mut reader = self.reader().await?;
        let mut found = Vec::new();
        if let Some(day) = reader.days_between(Family::Points, (Day::of(from), Day::of(from))).first() {
            // The order of the loops is told: in whatever order the points lie, they come by series.
            let mut query = reader.sql(format!(
                "SELECT s.id, s.kind, s.temporality, s.monotonic, p.time_ns, p.start_ns, p.flags, p.int_value, \
                 p.real_value, p.count, p.detail FROM series s CROSS JOIN {} p WHERE p.series_id = s.id \
                 AND p.time_ns >= {} AND p.time_ns < {}",
                POINTS.on(*day),
                from.0,
                to.0
            ));
            if let Some((series, time)) = after {
                let (series, time) = (series.0, time.0);
                query.push(format_args!(" AND s.id >= {series} AND (s.id > {series} OR p.time_ns > {time})"));
            }
            query.push(format_args!(" ORDER BY s.id, p.time_ns, p.seq LIMIT {limit}"));
            found = reader
                .all(query, |row| {
                    let columns = Columns { row, what: "series" };
                    let points = SeriesPoints {
                        series: SeriesId(columns.number(0)?),
                        kind: kind(&columns, 1)?,
                        temporality: temporality(&columns, 2)?,
                        monotonic: row.get(3)?,
                        points: Vec::new(),
                    };
                    Ok((points, point(row, 4)?))
                })
                .await?;
        }
        reader.finish().await?;
        Ok(page(found, limit))
    }

    /// The roll-ups of the hours within `window` of `series`, by series and hour, each with the hour's first second:
    /// the first `limit` of them, [`HOURS_MAX`] at most. Looks at the first [`SERIES_MAX`] of `series`; what is not the
    /// tenant's is left out.
    pub async fn series_hours(
        &self,
        tenant: TenantNumber,
        series: &[SeriesId],
        window: Window,
        limit: usize,
    ) -> Result<Vec<(i64, SeriesHour)>, Error> {
        let limit = limit.min(HOURS_MAX);
        let mut reader = self.reader().await?;
        let mut days = reader.days(Family::SeriesHours, window);
        days.reverse();
        let mut query = reader.sql(format!("SELECT id FROM series WHERE tenant_id = {} AND id", tenant.0));
        query.push(reader.dialect().is_one_of(series.iter().take(SERIES_MAX).map(|series| series.0.into())));
        query.push(" ORDER BY id");
        let owned = reader.all(query, |row| row.get::<u32>(0)).await?;
        let mut found = Vec::new();
        for id in owned {
            for day in &days {
                let query = reader.sql(format!(
                    "SELECT hour, points, rollup FROM {} WHERE series_id = {id} AND hour >= {} AND hour < {} \
                     ORDER BY hour LIMIT {}",
                    SERIES_HOURS.on(*day),
                    window.from.seconds(),
                    window.to.seconds(),
                    limit - found.len(),
                ));
                let hours = reader.all(query, |row| {
                    let rollup = row.get::<&[u8]>(2)?.to_vec();
                    let points = row.get::<i64>(1)?.unsigned_abs();
                    Ok((row.get(0)?, SeriesHour { series: SeriesId(id), points, rollup }))
                });
                found.extend(hours.await?);
            }
        }
        reader.finish().await?;
        Ok(found)
    }

    /// The parts of `window` whose points are not reckoned to hours yet, in order; where they are many, parts that are
    /// may lie between them.
    pub async fn unreckoned_within(&self, window: Window) -> Result<Vec<Window>, Error> {
        let mut reader = self.reader().await?;
        let sql = reader.sql(format!(
            "SELECT hour FROM unreckoned WHERE hour > {} AND hour < {} ORDER BY hour LIMIT {}",
            window.from.seconds().saturating_sub(HOUR_SECONDS),
            window.to.seconds(),
            UNRECKONED_MAX + 1
        ));
        let hours = reader.all(sql, |row| row.get::<i64>(0)).await?;
        reader.finish().await?;
        let at = UnixNanos::from_seconds;
        let mut windows: Vec<Window> = hours
            .chunk_by(|hour, next| hour + HOUR_SECONDS == *next)
            .filter_map(|run| Some((*run.first()?, *run.last()?)))
            .map(|(first, last)| Window::new(at(first), at(last + HOUR_SECONDS)))
            .collect();
        if windows.len() > WINDOWS_MAX || hours.len() > UNRECKONED_MAX {
            let from = windows.first().map_or(window.from, |first| first.from);
            windows = vec![Window::new(from, window.to)];
        }
        Ok(windows)
    }
}

/// Points by series. What comes behind a full page begins a new instant.
fn page(mut found: Vec<(SeriesPoints, Point)>, limit: usize) -> Page<SeriesPoints, (SeriesId, UnixNanos)> {
    let place = |(series, point): &(SeriesPoints, Point)| (series.series, point.time);
    let mut next = None;
    if found.len() >= limit
        && let Some(last) = found.last().map(place)
    {
        let whole = found.partition_point(|row| place(row) < last);
        if whole > 0 {
            found.truncate(whole);
        }
        next = found.last().map(place);
    }
    let mut items: Vec<SeriesPoints> = Vec::new();
    for (series, point) in found {
        match items.last_mut() {
            Some(last) if last.series == series.series => last.points.push(point),
            _ => items.push(SeriesPoints { points: vec![point], ..series }),
        }
    }
    Page { items, next }
}
