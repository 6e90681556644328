//! A connection for the length of one question.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use super::{NAMED_MAX, QUESTION_TIME_MAX};
use crate::fault;
use crate::model::time::Window;
use crate::store::Store;
use crate::store::catalog;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, Partitions};
use crate::store::pool::Pooled;
use crate::store::row::Row;
use crate::store::sql::{Dialect, Sql};

/// Steps of SQLite's virtual machine between two looks at whether the question still stands: well under a
/// millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 4_000;

const ASKED: u8 = 0;
const DROPPED: u8 = 1;
const ANSWERED: u8 = 2;

/// A connection that sees one state of the database. When it is dropped before [`Reader::finish`], the statement
/// that runs is interrupted and the connection is closed.
#[derive(Debug)]
pub(in crate::store) struct Reader {
    connection: Pooled,
    state: Arc<AtomicU8>,
    partitions: Partitions,
}

impl Store {
    /// Waits for a free connection and begins to read.
    pub(in crate::store) async fn reader(&self) -> Result<Reader, Error> {
        let connection = self.readers().acquire().await?;
        Reader::begin(connection).await
    }
}

impl Reader {
    /// Begins to read over `connection`.
    pub(in crate::store) async fn begin(connection: Pooled) -> Result<Self, Error> {
        let state = Arc::new(AtomicU8::new(ASKED));
        let mut reader = Self { connection, state: Arc::clone(&state), partitions: Partitions::default() };
        match &mut reader.connection {
            Pooled::Sqlite(connection) => {
                let until = Instant::now() + QUESTION_TIME_MAX;
                let mut handle = connection.lock_handle().await?;
                // Once answered it lets everything pass, since it stays with the connection until the next question.
                handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || {
                    fault::point("store.looked");
                    match state.load(Ordering::Relaxed) {
                        ASKED => Instant::now() < until,
                        DROPPED => false,
                        _ => true,
                    }
                });
                drop(handle);
                let begin = reader.sql("BEGIN");
                reader.connection.borrow().execute(begin).await?;
            }
            Pooled::Postgres(_) => {
                let begin = reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                reader.connection.borrow().execute(begin).await?;
                let limit =
                    reader.sql(format!("SET LOCAL statement_timeout = {}", QUESTION_TIME_MAX.as_millis()));
                reader.connection.borrow().execute(limit).await?;
            }
        }
        // The first statement that reads decides what state is seen; which partitions there are belongs to it.
        let listing = catalog::listing(reader.dialect());
        let partitions = reader.connection.borrow().rows(listing, catalog::partition).await?;
        reader.partitions = Partitions(partitions.into_iter().collect());
        Ok(reader)
    }

    pub(in crate::store) const fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    /// A statement in the dialect of the database.
    pub(in crate::store) fn sql(&self, text: impl Into<String>) -> Sql {
        Sql::from(self.dialect(), text)
    }

    /// The days of `family` that may have rows of `window`; the newest first.
    pub(in crate::store) fn days(&self, family: Family, window: Window) -> Vec<Day> {
        self.partitions.of(family, window)
    }

    /// All days of `family`; the newest first.
    pub(in crate::store) fn all_days(&self, family: Family) -> Vec<Day> {
        self.partitions.all(family)
    }

    /// Those days of `family` that lie among `days`; the newest first.
    pub(in crate::store) fn days_between(&self, family: Family, days: (Day, Day)) -> Vec<Day> {
        self.partitions.between(family, days)
    }

    /// Lets go of the state and gives the connection back.
    pub(in crate::store) async fn finish(mut self) -> Result<(), Error> {
        let commit = self.sql("COMMIT");
        self.connection.borrow().execute(commit).await?;
        self.state.store(ANSWERED, Ordering::Relaxed);
        Ok(())
    }

    /// Every row of an answer, read by `read` as it comes.
    pub(in crate::store) async fn all<T: Send + Unpin>(
        &mut self,
        sql: Sql,
        read: impl FnMut(Row<'_>) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        self.connection.borrow().rows(sql, read).await
    }

    /// The first row of an answer; none where it has no rows.
    pub(in crate::store) async fn first<T: Send + Unpin>(
        &mut self,
        sql: Sql,
        read: impl FnMut(Row<'_>) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        Ok(self.all(sql, read).await?.into_iter().next())
    }

    /// The names of the columns of an answer, without asking for it.
    pub(in crate::store) async fn columns(&mut self, sql: Sql) -> Result<Vec<String>, Error> {
        self.connection.borrow().columns(sql).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.state.load(Ordering::Relaxed) != ANSWERED {
            self.state.store(DROPPED, Ordering::Relaxed);
            self.connection.close_on_drop();
        }
    }
}

/// Refuses a question that names more than [`NAMED_MAX`] of something.
pub(super) const fn check_named(what: &'static str, named: usize) -> Result<(), Error> {
    if named > NAMED_MAX { Err(Error::TooMuch { what, max: NAMED_MAX }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;
    use crate::store::options::Options;

    #[tokio::test]
    async fn a_statement_that_is_interrupted_is_out_of_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let mut reader = store.reader().await.unwrap();
        reader.state.store(DROPPED, Ordering::Relaxed);
        let endless =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let stopped = reader.all(reader.sql(endless), |row| row.get::<i64>(0)).await;
        assert_eq!(stopped.unwrap_err().kind(), Kind::TimedOut);
    }

    #[tokio::test]
    async fn a_question_sees_one_state() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let lsn = |reader: &Reader| reader.sql("SELECT coalesce(max(lsn), 0) FROM applied");
        let mut reader = store.reader().await.unwrap();
        let before = reader.first(lsn(&reader), |row| row.get::<i64>(0)).await.unwrap();
        store.commit(crate::store::rows::Commit { lsn: 7, ..Default::default() }).await.unwrap();
        let after = reader.first(lsn(&reader), |row| row.get::<i64>(0)).await.unwrap();
        assert_eq!((before, after), (Some(0), Some(0)));
        reader.finish().await.unwrap();
        let mut reader = store.reader().await.unwrap();
        let next = reader.first(lsn(&reader), |row| row.get::<i64>(0)).await.unwrap();
        assert_eq!(next, Some(7));
    }
}
