//! Roll-ups of an hour: added up from those of a minute once the hour is over, and again when late telemetry changed
//! it. They are written whole, so doing it twice changes nothing.
//!
//! A commit that touches minutes of an hour notes the hour. The sums are read beside the commits; if one touched the
//! hour meanwhile, it stays noted, and is added up again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::commit::{Slot, Writer};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::partition::{Family, Partition};
use super::read::rollups::{Ask, RollupKind, walk};
use super::rollups::{Place, bind, columns};
use super::{Store, catalog, table};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, HOUR_SECONDS};
use crate::model::time::{UnixNanos, Window};

/// How long after its end an hour is left alone: most of what is late has come by then.
pub(super) const SETTLING: Duration = Duration::from_secs(300);
/// Hours that one call looks for.
pub(super) const HOURS_MAX: usize = 48;
const KINDS: [RollupKind; 4] =
    [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge, RollupKind::Logs];

/// When hours were touched last. No two are the same in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Hours that are noted as to be added up, each with the commit that touched it last.
#[derive(Debug)]
pub(super) struct Touched {
    hours: HashMap<i64, Stamp>,
    /// Stands for the hours that no commit touched since the writer was opened: what was read from before is told from
    /// what is read after.
    opened: Stamp,
}

impl Touched {
    /// None yet, for a writer that is being opened.
    pub(super) fn new() -> Self {
        Self { hours: HashMap::new(), opened: Stamp::new() }
    }

    pub(super) fn has(&self, hour: i64) -> bool {
        self.hours.contains_key(&hour)
    }

    /// A commit wrote to these hours.
    pub(super) fn touch(&mut self, hours: impl IntoIterator<Item = i64>) {
        let stamp = Stamp::new();
        self.hours.extend(hours.into_iter().map(|hour| (hour, stamp)));
    }

    pub(super) fn stamp(&self, hour: i64) -> Stamp {
        self.hours.get(&hour).copied().unwrap_or(self.opened)
    }

    /// The hour was added up, and is noted no more.
    pub(super) fn forget(&mut self, hour: i64) {
        self.hours.remove(&hour);
    }
}

/// Notes in `table` that hours are to be added up.
pub(super) async fn note(
    connection: &mut Connection,
    table: &str,
    hours: impl IntoIterator<Item = i64>,
) -> Result<(), Error> {
    let hours: Vec<String> = hours.into_iter().map(|hour| format!("({hour})")).collect();
    if hours.is_empty() {
        return Ok(());
    }
    let hours = hours.join(",");
    let sql = format!("INSERT INTO {table} (hour) VALUES {hours} ON CONFLICT (hour) DO NOTHING");
    connection.execute(connection.sql(sql)).await.map(|_| ())
}

impl Store {
    /// Adds up the roll-ups of the hours that ended before `now` and changed since they were added up; answers how many
    /// hours. Takes the writer only to write the sums.
    pub async fn roll_up_hours(&self, now: UnixNanos) -> Result<usize, Error> {
        let before = now.minus(SETTLING).seconds() - HOUR_SECONDS;
        if let Slot::Ready(writer) = &mut *self.inner.writing().await? {
            writer.close_minutes(now.minus(SETTLING).seconds()).await?;
        }
        let mut reader = self.reader().await?;
        let sql = format!("SELECT hour FROM unrolled WHERE hour <= {before} ORDER BY hour LIMIT {HOURS_MAX}");
        let hours = reader.all(reader.sql(sql), |row| row.get::<i64>(0)).await?;
        reader.finish().await?;
        for hour in &hours {
            self.roll_up(*hour).await?;
        }
        Ok(hours.len())
    }

    async fn roll_up(&self, hour: i64) -> Result<(), Error> {
        let stamp = match &*self.inner.writing().await? {
            Slot::Ready(writer) => writer.rollups.read().await.touched.stamp(hour),
            _ => return Err(Error::Stopped),
        };
        let cells = self.sums(hour).await?;
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let is_final = writer.rollups.read().await.touched.stamp(hour) == stamp;
        let partition = Family::Hour.partition(Day::of(UnixNanos::from_seconds(hour)));
        let mut partitions = writer.partitions.clone();
        let missing = !cells.is_empty() && partitions.0.insert(partition);
        let Writer { connection, making, .. } = &mut **writer;
        connection
            .in_transaction(async |connection| {
                if missing {
                    catalog::make(connection, making, &partitions, partition).await?;
                }
                let Partition { family, day } = partition;
                let target = table::ROLLUPS.on(family.tables()[0], day);
                connection.insert(&target, &cells, |values, (place, cell)| bind(values, place, cell)).await?;
                if is_final {
                    let sql = connection.sql(format!("DELETE FROM unrolled WHERE hour = {hour}"));
                    connection.execute(sql).await?;
                }
                Ok(())
            })
            .await?;
        writer.partitions = partitions;
        if is_final {
            writer.rollups.write().await.touched.forget(hour);
        }
        Ok(())
    }

    /// The cells of an hour, of all tenants, in the order of the table.
    async fn sums(&self, hour: i64) -> Result<Vec<(Place, Cell)>, Error> {
        let window = Window::new(UnixNanos::from_seconds(hour), UnixNanos::from_seconds(hour + HOUR_SECONDS));
        let tenants: Vec<TenantNumber> =
            self.names().tenants().into_iter().map(|(number, _)| number).collect();
        let mut reader = self.reader().await?;
        let mut cells: HashMap<Place, Cell> = HashMap::new();
        for tenant in tenants {
            let ask = Ask { tenant, width_seconds: COARSE_SECONDS, window, kinds: &KINDS, only: None };
            walk(&mut reader, &ask, |_, subject, cell| {
                let place = Place { tenant, width: HOUR_SECONDS, bucket: hour, subject: columns(subject) };
                cells.entry(place).or_default().merge(&cell);
                true
            })
            .await?;
        }
        reader.finish().await?;
        let mut cells: Vec<(Place, Cell)> = cells.into_iter().collect();
        cells.sort_unstable_by_key(|(place, _)| *place);
        Ok(cells)
    }
}
