//! Giving up what is old: a partition as a whole, then its space in small steps.
//!
//! Once [`Store::retire`] has answered, no question sees the partition any more. Its tables are still there:
//! [`Store::reclaim`] removes them bit by bit, so that no commit waits long for it. On SQLite the space goes to later
//! tables of the same file, which stays as large as it was; on Postgres the tables are dropped, and their files with them.

use std::time::{Duration, Instant};

use super::commit::{Slot, Writer};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::partition::{self, Family, Kept, Partition, Partitions};
use super::sql::Dialect;
use super::{Store, catalog};
use crate::model::time::UnixNanos;

/// Rows of SQLite that are removed in one step: some milliseconds of work.
const ROWS_PER_STEP: i64 = 20_000;
/// How long steps go on before a commit has its turn.
const TURN: Duration = Duration::from_millis(50);
/// How long the tables of a retired partition of Postgres are kept: longer than any question that began before.
const GRACE_SECONDS: i64 = 60;

/// What a step of reclaiming did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaimed {
    /// There is more to do.
    Step,
    /// What is left must wait for questions that may still read it.
    Waiting,
    /// Nothing is left.
    Done,
}

impl Store {
    /// The partitions that questions see, by family and day.
    pub async fn partitions(&self) -> Result<Vec<Partition>, Error> {
        let slot = self.inner.writing().await?;
        match &*slot {
            Slot::Ready(writer) => Ok(writer.partitions.0.iter().copied().collect()),
            _ => Err(Error::Stopped),
        }
    }

    /// Makes the partitions of `days` that do not exist, so that the first commit of a day need not.
    pub async fn prepare(&self, days: &[Partition]) -> Result<usize, Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let missing: Vec<Partition> =
            days.iter().copied().filter(|partition| !writer.partitions.has(*partition)).collect();
        if missing.is_empty() {
            return Ok(0);
        }
        let mut partitions = writer.partitions.clone();
        partitions.0.extend(missing.iter().copied());
        let Writer { connection, making, .. } = &mut **writer;
        connection
            .in_transaction(async |connection| {
                for partition in &missing {
                    catalog::make(connection, making, &partitions, *partition).await?;
                }
                Ok(())
            })
            .await?;
        writer.partitions = partitions;
        for partition in &missing {
            writer.promoted.insert(*partition, writer.making.promoted(*partition));
        }
        Ok(missing.len())
    }

    /// Gives up `partitions`: no question sees them any more. Answers how many there were.
    pub async fn retire(&self, partitions: &[Partition], now: UnixNanos) -> Result<usize, Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let given: Vec<Partition> =
            partitions.iter().copied().filter(|partition| writer.partitions.has(*partition)).collect();
        if given.is_empty() {
            return Ok(0);
        }
        if given.iter().any(|partition| partition.family == Family::Fine) {
            // Open minutes are kept as their tens of seconds alone.
            let ends = given.iter().map(|partition| partition.end().start_seconds());
            writer.close_minutes(ends.max().unwrap_or(0)).await?;
        }
        let mut left = writer.partitions.clone();
        left.0.retain(|partition| !given.contains(partition));
        writer
            .connection
            .in_transaction(async |connection| note(connection, &given, &left, now).await)
            .await?;
        writer.partitions = left;
        writer.rollups.write().await.forget(&given);
        let gone = |table: &Kept, day: &Day| {
            given.iter().any(|partition| partition.day == *day && partition.family.tables().contains(table))
        };
        writer.next.retain(|(table, day), _| !gone(table, day));
        Ok(given.len())
    }

    /// Rows of partitions that were given up and are not removed yet; about, and without those of roll-ups and points.
    pub async fn rows_behind(&self) -> Result<u64, Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let connection = &mut writer.connection;
        let sql = connection.sql("SELECT family, day FROM partitions WHERE retired IS NOT NULL");
        let retired = connection.rows(sql, catalog::partition).await?;
        let mut rows = 0;
        for Partition { family, day } in retired {
            let table = match family {
                Family::Spans => partition::SPANS.on(day),
                Family::Logs => partition::LOGS.on(day),
                _ => continue,
            };
            let exists = match connection.dialect() {
                Dialect::Sqlite => format!("SELECT count(*) FROM sqlite_schema WHERE name = '{table}'"),
                Dialect::Postgres => format!("SELECT count(to_regclass('{table}'))"),
            };
            if connection.first(connection.sql(exists), |row| row.get::<i64>(0)).await? == Some(1) {
                let sql = format!("SELECT coalesce(max(id) - min(id) + 1, 0) FROM {table}");
                rows += connection.first(connection.sql(sql), |row| row.get::<i64>(0)).await?.unwrap_or(0);
            }
        }
        Ok(rows.unsigned_abs())
    }

    /// Removes a little of what was given up before `now`. It takes the writer for [`TURN`] or a step more; to remove a large
    /// index of SQLite takes as long as it takes to read it.
    pub async fn reclaim(&self, now: UnixNanos) -> Result<Reclaimed, Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let connection = &mut writer.connection;
        let sql = connection.sql(
            "SELECT family, day, retired FROM partitions WHERE retired IS NOT NULL ORDER BY retired, day",
        );
        let retired = connection.rows(sql, |row| Ok((catalog::partition(row)?, row.get::<i64>(2)?))).await?;
        let Some((partition, since)) = retired.first().copied() else { return Ok(Reclaimed::Done) };
        match connection.dialect() {
            Dialect::Postgres => {
                if now.seconds() < since + GRACE_SECONDS {
                    return Ok(Reclaimed::Waiting);
                }
                connection
                    .in_transaction(async |connection| drop_tables(connection, partition).await)
                    .await?;
            }
            Dialect::Sqlite => {
                // Commits take turns with it, and each may take seconds: a step at a time would never end.
                let until = Instant::now() + TURN;
                let turn = async |connection: &mut Connection| {
                    while shrink(connection, partition).await? && Instant::now() < until {}
                    Ok(())
                };
                connection.in_transaction(turn).await?;
            }
        }
        Ok(Reclaimed::Step)
    }
}

async fn note(
    connection: &mut Connection,
    given: &[Partition],
    left: &Partitions,
    now: UnixNanos,
) -> Result<(), Error> {
    for partition in given {
        let sql = format!(
            "UPDATE partitions SET retired = {} WHERE family = {} AND day = {}",
            now.seconds(),
            partition.family as u8,
            partition.day.0
        );
        connection.execute(connection.sql(sql)).await?;
    }
    for family in Family::ALL {
        if given.iter().any(|partition| partition.family == family) {
            for sql in partition::views(connection.dialect(), left, family) {
                connection.execute(sql).await?;
            }
        }
    }
    Ok(())
}

async fn drop_tables(connection: &mut Connection, partition: Partition) -> Result<(), Error> {
    for table in partition.family.tables() {
        connection
            .execute(connection.sql(format!("DROP TABLE IF EXISTS {}", table.on(partition.day))))
            .await?;
    }
    forget(connection, partition).await
}

async fn forget(connection: &mut Connection, partition: Partition) -> Result<(), Error> {
    let (family, day) = (partition.family as u8, partition.day.0);
    let sql =
        format!("DELETE FROM partitions WHERE family = {family} AND day = {day} AND retired IS NOT NULL");
    connection.execute(connection.sql(sql)).await?;
    catalog::forget_promoted(connection, partition).await
}

/// One step on SQLite: an index, or some rows of a table without indexes, or a table that is nearly empty. Dropping a
/// large table at once would look at each of its pages while commits wait. Tells whether there is more to do.
async fn shrink(connection: &mut Connection, partition: Partition) -> Result<bool, Error> {
    for table in partition.family.tables() {
        let name = table.on(partition.day);
        let mut sql = connection
            .sql("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ");
        sql.bind(&name);
        if let Some(index) = connection.first(sql, |row| row.get::<String>(0)).await? {
            connection.execute(connection.sql(format!("DROP INDEX {index}"))).await?;
            return Ok(true);
        }
        let mut sql = connection.sql("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ");
        sql.bind(&name);
        let Some(without_rowid) = connection.first(sql, |row| row.get::<bool>(0)).await? else { continue };
        let rows = match without_rowid {
            // Rows go from the front of the key: whole pages become free.
            true => remove_front(connection, *table, &name).await?,
            false => {
                let sql =
                    format!("DELETE FROM {name} WHERE id < (SELECT min(id) FROM {name}) + {ROWS_PER_STEP}");
                connection.execute(connection.sql(sql)).await?
            }
        };
        if rows == 0 {
            connection.execute(connection.sql(format!("DROP TABLE {name}"))).await?;
        }
        return Ok(true);
    }
    forget(connection, partition).await?;
    Ok(false)
}

/// Removes some rows from the front of a table that is ordered by its key.
async fn remove_front(connection: &mut Connection, table: Kept, name: &str) -> Result<u64, Error> {
    let key = match table {
        partition::POINTS => "series_id, time_ns, seq",
        partition::SERIES_HOURS => "series_id, hour",
        partition::FINE => "tenant_id, bucket, kind, part",
        _ => "tenant_id, width, bucket, kind, a, b, c",
    };
    let place = connection.sql(format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {ROWS_PER_STEP})"));
    if connection.first(place, |row| row.get::<i64>(0)).await? < Some(ROWS_PER_STEP) {
        return connection.execute(connection.sql(format!("DELETE FROM {name}"))).await;
    }
    let sql = format!(
        "DELETE FROM {name} WHERE ({key}) <= (SELECT {key} FROM {name} ORDER BY {key} LIMIT 1 OFFSET {ROWS_PER_STEP})"
    );
    connection.execute(connection.sql(sql)).await
}
