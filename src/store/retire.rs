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
use crate::fault::Kind;
use crate::model::time::UnixNanos;

/// Rows of SQLite that are removed in one step: some milliseconds of work.
const ROWS_PER_STEP: i64 = 20_000;
/// How long steps go on before a commit has its turn.
const TURN: Duration = Duration::from_millis(50);
/// How often it is begun to read an index, each time for as long as a question may last.
const READINGS_MAX: u32 = 12;
/// How long the tables of a retired partition of Postgres are kept: longer than any question that began before.
const GRACE_SECONDS: i64 = 60;
/// How long upkeep waits for who reads the tables of Postgres that show all days, such as a dump: commits wait meanwhile, and it
/// comes again.
const HURRIED: &str = "SET LOCAL lock_timeout = '1s'";
/// What Postgres says of a lock that was not to be had by then.
const NOT_TO_BE_HAD: &str = "55P03";

/// What a step of reclaiming did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reclaimed {
    /// There is more to do.
    Step,
    /// What is left must wait for questions that may still read it, or for whoever reads the tables that show all days.
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
                hurry(connection).await?;
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
                // Each by itself is read off an end of the table; both at once would read all of it.
                let sql = format!(
                    "SELECT coalesce((SELECT max(id) FROM {table}) - (SELECT min(id) FROM {table}) + 1, 0)"
                );
                rows += connection.first(connection.sql(sql), |row| row.get::<i64>(0)).await?.unwrap_or(0);
            }
        }
        Ok(rows.unsigned_abs())
    }

    /// Reads the pages of the index that [`Store::reclaim`] removes next, so that the system has them in memory as far as it
    /// has room: SQLite looks at each of them to remove it, and commits wait meanwhile. May be given up at any time.
    pub async fn read_ahead(&self) -> Result<(), Error> {
        let index = {
            let mut slot = self.inner.writing().await?;
            let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
            let connection = &mut writer.connection;
            match (connection.dialect(), retired(connection).await?.first()) {
                (Dialect::Sqlite, Some((partition, _))) => first_index(connection, *partition).await?,
                _ => None,
            }
        };
        let Some(Index { table, name, condition }) = index else { return Ok(()) };
        for _ in 0..READINGS_MAX {
            let mut reader = self.reader().await?;
            // Not count(*), which cannot be interrupted.
            let sql = reader.sql(format!("SELECT sum(1) FROM {table} INDEXED BY {name}{condition}"));
            match reader.first(sql, |row| row.get::<Option<i64>>(0)).await {
                Ok(_) => return reader.finish().await,
                // What was read is in memory, and the next one gets further.
                Err(error) if error.kind() == Kind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes a little of what was given up before `now`. It takes the writer for [`TURN`] or a step more; to remove a large
    /// index of SQLite takes as long as it takes to read it: see [`Store::read_ahead`].
    pub async fn reclaim(&self, now: UnixNanos) -> Result<Reclaimed, Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let connection = &mut writer.connection;
        let Some((partition, since)) = retired(connection).await?.first().copied() else {
            return Ok(Reclaimed::Done);
        };
        match connection.dialect() {
            Dialect::Postgres => {
                if now.seconds() < since + GRACE_SECONDS {
                    return Ok(Reclaimed::Waiting);
                }
                let dropping = connection.in_transaction(async |connection| {
                    hurry(connection).await?;
                    drop_tables(connection, partition).await
                });
                match dropping.await {
                    Err(error) if waited_for_a_lock(&error) => return Ok(Reclaimed::Waiting),
                    dropped => dropped?,
                }
            }
            Dialect::Sqlite => {
                // Commits take turns with it, and each may take seconds: a step at a time would never end.
                let until = Instant::now() + TURN;
                let turn = async |connection: &mut Connection| {
                    if let Some(index) = first_index(connection, partition).await? {
                        connection.execute(connection.sql(format!("DROP INDEX {}", index.name))).await?;
                        return Ok(());
                    }
                    while shrink(connection, partition).await? && Instant::now() < until {}
                    Ok(())
                };
                connection.in_transaction(turn).await?;
            }
        }
        Ok(Reclaimed::Step)
    }
}

/// What was given up and is not removed yet, and since when in seconds; the oldest first.
async fn retired(connection: &mut Connection) -> Result<Vec<(Partition, i64)>, Error> {
    let sql = connection
        .sql("SELECT family, day, retired FROM partitions WHERE retired IS NOT NULL ORDER BY retired, day");
    connection.rows(sql, |row| Ok((catalog::partition(row)?, row.get::<i64>(2)?))).await
}

/// An index of SQLite.
struct Index {
    table: String,
    name: String,
    /// Which rows it has, from ` WHERE ` on; empty for all.
    condition: String,
}

/// The first index that the tables of a partition still have.
async fn first_index(connection: &mut Connection, partition: Partition) -> Result<Option<Index>, Error> {
    for table in partition.family.tables() {
        let table = table.on(partition.day);
        let mut sql = connection.sql(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ",
        );
        sql.bind(&table);
        let found = connection.first(sql, |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?))).await?;
        if let Some((name, definition)) = found {
            let condition = definition.find(" WHERE ").map_or("", |at| &definition[at..]).to_owned();
            return Ok(Some(Index { table, name, condition }));
        }
    }
    Ok(None)
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

/// Lets the transaction that was begun wait for no lock for long. SQLite has one lock, and has it by then.
async fn hurry(connection: &mut Connection) -> Result<(), Error> {
    match connection.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => connection.execute(connection.sql(HURRIED)).await.map(|_| ()),
    }
}

fn waited_for_a_lock(error: &Error) -> bool {
    let Error::Busy(sqlx::Error::Database(error)) = error else { return false };
    error.code().as_deref() == Some(NOT_TO_BE_HAD)
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

/// One step on SQLite, once the indexes are gone: some rows of a table, or a table that is nearly empty. Dropping a
/// large table at once would look at each of its pages while commits wait. Tells whether there is more to do.
async fn shrink(connection: &mut Connection, partition: Partition) -> Result<bool, Error> {
    for table in partition.family.tables() {
        let name = table.on(partition.day);
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
