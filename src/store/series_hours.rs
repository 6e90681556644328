//! Roll-ups of an hour of metric series: reckoned by the caller from the points of the hour once it is over, and again
//! when late points changed it. They outlive the points.
//!
//! A commit notes the hours of its points. Whoever reckons reads the points beside the commits; if one touched the hour
//! meanwhile, it stays noted, and is reckoned again.

use super::commit::{Slot, Writer};
use super::day::Day;
use super::error::Error;
use super::hours::{HOURS_MAX, SETTLING, Stamp};
use super::partition::{Family, SERIES_HOURS};
use super::{Store, catalog, table};
use crate::model::id::SeriesId;
use crate::model::rollup::HOUR_SECONDS;
use crate::model::time::UnixNanos;

/// An hour whose points changed since they were reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreckoned {
    /// Its first second.
    pub hour: i64,
    /// When it was touched last.
    stamp: Stamp,
}

/// The roll-up of an hour of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesHour {
    /// The series.
    pub series: SeriesId,
    /// How many points it was reckoned from. Of two roll-ups of one hour that of more points is kept, of as many the
    /// later one.
    pub points: u64,
    /// What they say, as bytes that the store does not look into.
    pub rollup: Vec<u8>,
}

impl Store {
    /// The oldest hours that ended some minutes before `now` and whose points changed since they were reckoned; a few
    /// dozen at most. Reckon them by [`Store::points_of_hour`] and [`Store::put_series_hours`], then say so by
    /// [`Store::reckoned`].
    pub async fn unreckoned_hours(&self, now: UnixNanos) -> Result<Vec<Unreckoned>, Error> {
        let before = now.minus(SETTLING).seconds() - HOUR_SECONDS;
        let mut reader = self.reader().await?;
        let sql =
            format!("SELECT hour FROM unreckoned WHERE hour <= {before} ORDER BY hour LIMIT {HOURS_MAX}");
        let hours = reader.all(reader.sql(sql), |row| row.get::<i64>(0)).await?;
        reader.finish().await?;
        match &*self.inner.writing().await? {
            Slot::Ready(writer) => {
                let stamp = |hour| writer.series.touched.stamp(hour);
                Ok(hours.into_iter().map(|hour| Unreckoned { hour, stamp: stamp(hour) }).collect())
            }
            _ => Err(Error::Stopped),
        }
    }

    /// Writes roll-ups of `hour`, of each series one.
    pub async fn put_series_hours(&self, hour: i64, rollups: &[SeriesHour]) -> Result<(), Error> {
        if rollups.is_empty() {
            return Ok(());
        }
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let partition = Family::SeriesHours.partition(Day::of(UnixNanos::from_seconds(hour)));
        let mut partitions = writer.partitions.clone();
        let missing = partitions.0.insert(partition);
        let Writer { connection, making, .. } = &mut **writer;
        connection
            .in_transaction(async |connection| {
                if missing {
                    catalog::make(connection, making, &partitions, partition).await?;
                }
                let target = table::SERIES_HOURS.on(SERIES_HOURS, partition.day);
                connection
                    .insert(&target, rollups, |values, row| {
                        values.int(row.series.0);
                        values.int(hour);
                        values.unsigned(row.points);
                        values.blob(&row.rollup);
                    })
                    .await
            })
            .await?;
        writer.partitions = partitions;
        Ok(())
    }

    /// Notes that an hour is reckoned; answers false, and leaves it noted as unreckoned, where a commit touched it since
    /// [`Store::unreckoned_hours`] answered it.
    pub async fn reckoned(&self, reckoned: Unreckoned) -> Result<bool, Error> {
        let Unreckoned { hour, stamp } = reckoned;
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        if writer.series.touched.stamp(hour) != stamp {
            return Ok(false);
        }
        let sql = writer.connection.sql(format!("DELETE FROM unreckoned WHERE hour = {hour}"));
        writer
            .connection
            .in_transaction(async |connection| connection.execute(sql).await.map(|_| ()))
            .await?;
        writer.series.touched.forget(hour);
        Ok(true)
    }
}
