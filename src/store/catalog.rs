//! What the database says about itself: how far each journal was applied, which partitions there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::partition::{self, Family, Kept, Partition, Partitions};
use super::row::Row;
use super::sql::{Dialect, Sql};

/// The position up to which `journal` was applied; 0 where nothing was.
pub(super) async fn applied(connection: &mut Connection, journal: &str) -> Result<u64, Error> {
    let mut sql = connection.sql("SELECT lsn FROM applied WHERE journal = ");
    sql.bind(journal);
    let lsn = connection.first(sql, |row| row.get::<i64>(0)).await?;
    u64::try_from(lsn.unwrap_or(0)).map_err(|_| Error::Unreadable { what: "journal position" })
}

/// How far the other journals that feed this database were applied.
pub(super) async fn others(connection: &mut Connection, journal: &str) -> Result<Vec<(String, i64)>, Error> {
    let mut sql = connection.sql("SELECT journal, lsn FROM applied WHERE journal <> ");
    sql.bind(journal).push(" ORDER BY journal");
    connection.rows(sql, |row| Ok((row.get(0)?, row.get(1)?))).await
}

/// Notes that `journal` is applied up to `lsn`.
pub(super) async fn set_applied(connection: &mut Connection, journal: &str, lsn: u64) -> Result<(), Error> {
    let lsn = i64::try_from(lsn).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let mut sql = connection.sql("INSERT INTO applied (journal, lsn) VALUES (");
    sql.bind(journal).push(format_args!(", {lsn}) ON CONFLICT (journal) DO UPDATE SET lsn = excluded.lsn"));
    connection.execute(sql).await.map(|_| ())
}

/// The partitions that questions see and commits write.
pub(super) async fn partitions(connection: &mut Connection) -> Result<Partitions, Error> {
    let rows = connection.rows(listing(connection.dialect()), partition).await?;
    Ok(Partitions(rows.into_iter().collect()))
}

/// Asks for the partitions; [`partition`] reads the rows.
pub(super) fn listing(dialect: Dialect) -> Sql {
    Sql::from(dialect, "SELECT family, day FROM partitions WHERE retired IS NULL")
}

pub(super) fn partition(row: Row<'_>) -> Result<Partition, Error> {
    let family = Family::from_number(row.get(0)?).ok_or(Error::Unreadable { what: "kind of partition" })?;
    Ok(Partition { family, day: Day(row.get(1)?) })
}

/// How the tables of a day are made.
#[derive(Debug)]
pub(super) struct Making {
    /// How SQLite made the empty tables and indexes that they are made after, by the name of the table; none on Postgres.
    shapes: Vec<(String, String)>,
    /// The attributes that are promoted on a new day.
    promoted: Arc<[String]>,
}

impl Making {
    pub(super) async fn read(connection: &mut Connection, promoted: &Arc<[String]>) -> Result<Self, Error> {
        Ok(Self { shapes: shapes(connection).await?, promoted: Arc::clone(promoted) })
    }

    /// The attributes that will be promoted in a partition that does not exist yet.
    pub(super) fn promoted(&self, partition: Partition) -> Arc<[String]> {
        match partition.family {
            Family::Spans | Family::Logs => Arc::clone(&self.promoted),
            _ => Arc::default(),
        }
    }
}

/// The attributes that are promoted, by partition.
pub(super) async fn promoted(
    connection: &mut Connection,
) -> Result<HashMap<Partition, Arc<[String]>>, Error> {
    let sql = connection.sql("SELECT family, day, key FROM promoted ORDER BY family, day, key");
    let rows = connection.rows(sql, |row| Ok((partition(row)?, row.get::<String>(2)?))).await?;
    let groups = rows.chunk_by(|(a, _), (b, _)| a == b);
    Ok(groups.map(|group| (group[0].0, group.iter().map(|(_, key)| key.clone()).collect())).collect())
}

async fn shapes(connection: &mut Connection) -> Result<Vec<(String, String)>, Error> {
    if connection.dialect() == Dialect::Postgres {
        return Ok(Vec::new());
    }
    let sql = connection.sql(
        "SELECT tbl_name, sql FROM sqlite_schema WHERE tbl_name LIKE '%~_shape' ESCAPE '~' AND sql IS NOT NULL \
         AND type IN ('table', 'index') ORDER BY type DESC, name",
    );
    connection.rows(sql, |row| Ok((row.get(0)?, row.get(1)?))).await
}

/// Makes the tables of `made` and notes that there are; `partitions` are those there will be.
pub(super) async fn make(
    connection: &mut Connection,
    making: &Making,
    partitions: &Partitions,
    made: Partition,
) -> Result<(), Error> {
    let dialect = connection.dialect();
    // What was given up and is not yet gone stands in the way of its successor.
    for table in made.family.tables() {
        connection.execute(connection.sql(format!("DROP TABLE IF EXISTS {}", table.on(made.day)))).await?;
    }
    for sql in made.create(dialect, &making.shapes) {
        connection.execute(sql).await?;
    }
    let (family, day) = (made.family as u8, made.day.0);
    let note = format!(
        "INSERT INTO partitions (family, day, retired, seq) VALUES ({family}, {day}, NULL, 1) \
         ON CONFLICT (family, day) DO UPDATE SET retired = NULL, seq = 1"
    );
    connection.execute(connection.sql(note)).await?;
    forget_promoted(connection, made).await?;
    for key in &*making.promoted(made) {
        let mut sql =
            connection.sql(format!("INSERT INTO promoted (family, day, key) VALUES ({family}, {day}, "));
        sql.bind(key).push(")");
        connection.execute(sql).await?;
    }
    for sql in partition::views(dialect, partitions, made.family) {
        connection.execute(sql).await?;
    }
    Ok(())
}

/// Forgets which attributes are promoted in a partition.
pub(super) async fn forget_promoted(connection: &mut Connection, partition: Partition) -> Result<(), Error> {
    let (family, day) = (partition.family as u8, partition.day.0);
    let sql = format!("DELETE FROM promoted WHERE family = {family} AND day = {day}");
    connection.execute(connection.sql(sql)).await.map(|_| ())
}

/// The first id of a table that is free; for points the first `seq`.
pub(super) async fn first_free(connection: &mut Connection, table: Kept, day: Day) -> Result<i64, Error> {
    let sql = if table == partition::POINTS {
        format!("SELECT seq FROM partitions WHERE family = {} AND day = {}", Family::Points as u8, day.0)
    } else {
        format!("SELECT coalesce(max(id), 0) + 1 FROM {}", table.on(day))
    };
    let first = connection.first(connection.sql(sql), |row| row.get::<i64>(0)).await?;
    Ok(first.unwrap_or(1))
}

/// Notes the first free `seq` of the points of `day`.
pub(super) async fn set_seq(connection: &mut Connection, day: Day, seq: i64) -> Result<(), Error> {
    let family = Family::Points as u8;
    let sql = format!("UPDATE partitions SET seq = {seq} WHERE family = {family} AND day = {}", day.0);
    connection.execute(connection.sql(sql)).await.map(|_| ())
}
