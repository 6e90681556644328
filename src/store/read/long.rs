//! Long windows: hours that are added up are read as such, minutes where they are not, or where an hour is cut.

use crate::model::rollup::{COARSE_SECONDS, HOUR_SECONDS};
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::day::{Day, days_of};
use crate::store::error::Error;
use crate::store::partition::Family;

use super::reader::Reader;

/// Whole hours that are worth looking for their sums.
const HOURS_MIN: i64 = 2;
/// Hours that are not added up, of one window; beyond it minutes are read.
const UNROLLED_MAX: usize = 500;

/// Which roll-ups cover `window`, each once: their width in seconds and the part of the window. Where minutes are no
/// longer kept, an hour that the window cuts counts whole.
pub(super) async fn parts(reader: &mut Reader, window: Window) -> Result<Vec<(i64, Window)>, Error> {
    let minutes = |from: i64, to: UnixNanos| (COARSE_SECONDS, Window::new(UnixNanos::from_seconds(from), to));
    let start = window.from.bucket_seconds(COARSE_SECONDS);
    let mut first = start.div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
    if first < start && keeps_minutes(reader, first) {
        first += HOUR_SECONDS;
    }
    let mut end = window.to.bucket_seconds(HOUR_SECONDS);
    if UnixNanos::from_seconds(end) < window.to && !keeps_minutes(reader, end) {
        end += HOUR_SECONDS;
    }
    if end - first < HOURS_MIN * HOUR_SECONDS && keeps_minutes(reader, first) {
        return Ok(vec![(COARSE_SECONDS, window)]);
    }
    let sql = reader.sql(format!(
        "SELECT hour FROM unrolled WHERE hour >= {first} AND hour < {end} ORDER BY hour LIMIT {}",
        UNROLLED_MAX + 1
    ));
    let unrolled = reader.all(sql, |row| row.get::<i64>(0)).await?;
    if unrolled.len() > UNROLLED_MAX {
        return Ok(vec![(COARSE_SECONDS, window)]);
    }
    let at = UnixNanos::from_seconds;
    let mut parts = vec![minutes(start, at(first.max(start)))];
    let mut next = first;
    for hour in unrolled.into_iter().chain([end]) {
        parts.push((HOUR_SECONDS, Window::new(at(next), at(hour))));
        if hour < end {
            parts.push(minutes(hour, at(hour + HOUR_SECONDS)));
        }
        next = hour + HOUR_SECONDS;
    }
    parts.push(minutes(end, window.to));
    parts.retain(|(_, part)| part.from < part.to);
    Ok(parts)
}

impl Store {
    /// Whether minutes tell all that is known of the roll-ups of `window`.
    pub async fn keeps_minutes(&self, window: Window) -> Result<bool, Error> {
        let reader = self.reader().await?;
        let (first, last) = days_of(window);
        let kept = (first.0..=last.0).all(|day| keeps_minutes_of(&reader, Day(day)));
        reader.finish().await?;
        Ok(kept)
    }
}

/// Whether there are minutes of the day of an hour.
fn keeps_minutes(reader: &Reader, hour: i64) -> bool {
    keeps_minutes_of(reader, Day::of(UnixNanos::from_seconds(hour)))
}

/// Whether there are minutes of a day; of a day without anything there is nothing to miss.
fn keeps_minutes_of(reader: &Reader, day: Day) -> bool {
    let kept = |family| !reader.days_between(family, (day, day)).is_empty();
    kept(Family::Minute) || !kept(Family::Hour)
}
