//! Hours that were reckoned, beside the points of those that were not.

use std::collections::BTreeMap;

use crate::model::id::{SeriesId, TenantNumber};
use crate::model::metric::Point;
use crate::model::rollup::HOUR_SECONDS;
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::query::error::Error;
use crate::query::handle::Query;
use crate::reckon::{Nature, Rollup};
use crate::store;
use crate::store::series_hours::SeriesHour;

/// Hours by series and time, each with its first second.
pub(super) type StoredHours = Vec<(i64, SeriesHour)>;

/// True when hours make up steps of this length. Then they make up the window and the range of each step as well, which
/// begin at multiples of the step.
pub(super) const fn make(step_ns: i64) -> bool {
    step_ns % (HOUR_SECONDS * NANOS_PER_SECOND) == 0
}

/// How many series have no more than `page_hours` hours in `window`; at least one.
pub(super) fn series_at_once(window: Window, page_hours: usize) -> usize {
    let hours = window.length().as_secs() / HOUR_SECONDS.unsigned_abs() + 1;
    usize::try_from(hours).map_or(1, |hours| page_hours / hours).max(1)
}

impl Query {
    /// The parts of `window` whose points are to be read.
    pub(super) async fn unreckoned(&self, window: Window) -> Result<Vec<Window>, Error> {
        Ok(self.store.unreckoned_within(window).await?)
    }

    /// The hours of `series` in `window`, one more than `max` at most.
    pub(super) async fn hours(
        &self,
        tenant: TenantNumber,
        series: &[SeriesId],
        window: Window,
        max: usize,
    ) -> Result<StoredHours, Error> {
        Ok(self.store.series_hours(tenant, series, window, max + 1).await?)
    }
}

/// The hours of one series in order, each with its beginning, out of its points and what is `stored`. Where an hour has
/// both, what was made of more points is right: late points came after it was reckoned, or points are given up since.
///
/// # Errors
/// [`store::error::Error::Unreadable`] when what is stored is no roll-up of such a series and hour.
pub(super) fn join(
    nature: Nature,
    points: &[Point],
    stored: impl Iterator<Item = (i64, SeriesHour)>,
) -> Result<impl Iterator<Item = (UnixNanos, Rollup)>, Error> {
    let mut hours = BTreeMap::new();
    for (hour, SeriesHour { points, rollup, .. }) in stored {
        let window = Window::new(UnixNanos::from_seconds(hour), UnixNanos::from_seconds(hour + HOUR_SECONDS));
        let rollup = Rollup::decode(&rollup)
            .filter(|rollup| rollup.nature() == nature && rollup.is_within(window))
            .ok_or(store::error::Error::Unreadable { what: "roll-up of a metric series" })?;
        hours.insert(hour, (points, rollup));
    }
    let hour_of = |point: &Point| point.time.bucket_seconds(HOUR_SECONDS);
    for run in points.chunk_by(|a, b| hour_of(a) == hour_of(b)) {
        let (Some(hour), count) = (run.first().map(hour_of), run.len() as u64) else { continue };
        if hours.get(&hour).is_none_or(|(known, _)| *known <= count) {
            hours.insert(hour, (count, Rollup::of(nature, run)));
        }
    }
    Ok(hours.into_iter().map(|(hour, (_, rollup))| (UnixNanos::from_seconds(hour), rollup)))
}
