//! A connection for the length of one question.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::{NAMED_MAX, QUESTION_TIME_MAX};
use crate::store::Store;
use crate::store::error::Error;

/// Steps of SQLite's virtual machine between two looks at whether the question still stands: well under a
/// millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 4_000;

const ASKED: u8 = 0;
const DROPPED: u8 = 1;
const ANSWERED: u8 = 2;

/// A connection that sees one state of the database. When it is dropped before [`Reader::finish`], the statement
/// that runs is interrupted and the connection is closed.
#[derive(Debug)]
pub(super) struct Reader {
    connection: PoolConnection<Sqlite>,
    state: Arc<AtomicU8>,
}

impl Store {
    /// Waits for a free connection and begins to read.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let connection = self.readers().acquire().await?;
        let state = Arc::new(AtomicU8::new(ASKED));
        let mut reader = Reader { connection, state: Arc::clone(&state) };
        let until = Instant::now() + QUESTION_TIME_MAX;
        let mut handle = reader.connection.lock_handle().await?;
        // Once answered it lets everything pass, since it stays with the connection until the next question.
        handle.set_progress_handler(STEPS_BETWEEN_LOOKS, move || match state.load(Ordering::Relaxed) {
            ASKED => Instant::now() < until,
            DROPPED => false,
            _ => true,
        });
        drop(handle);
        sqlx::query("BEGIN").execute(&mut *reader.connection).await?;
        Ok(reader)
    }
}

impl Reader {
    /// Lets go of the state and gives the connection back.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        sqlx::query("COMMIT").execute(&mut *self.connection).await?;
        self.state.store(ANSWERED, Ordering::Relaxed);
        Ok(())
    }

    /// Every row of `query`, read by `read` as it comes.
    pub(super) async fn all<T: Send + Unpin>(
        &mut self,
        mut query: QueryBuilder<Sqlite>,
        mut read: impl FnMut(&SqliteRow) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut failed = None;
        let rows = query
            .build()
            // The text of most questions is made for them alone: keeping the statement would only cost memory.
            .persistent(false)
            .try_map(|row| {
                read(&row).map_err(|error| {
                    failed = Some(error);
                    sqlx::Error::RowNotFound
                })
            })
            .fetch_all(&mut *self.connection)
            .await;
        match failed {
            Some(error) => Err(error),
            None => Ok(rows?),
        }
    }

    /// The first row of `query`; none where it has no rows.
    pub(super) async fn first<T: Send + Unpin>(
        &mut self,
        query: QueryBuilder<Sqlite>,
        read: impl FnMut(&SqliteRow) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        Ok(self.all(query, read).await?.into_iter().next())
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

/// Writes `numbers` as a list for `IN (…)`.
pub(super) fn push_list(query: &mut QueryBuilder<Sqlite>, numbers: impl IntoIterator<Item = i64>) {
    query.push("(");
    let mut list = query.separated(",");
    for number in numbers {
        list.push(number);
    }
    query.push(")");
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

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
        let stopped = reader.all(QueryBuilder::new(endless), |row| Ok(row.try_get::<i64, _>(0)?)).await;
        assert_eq!(stopped.unwrap_err().kind(), Kind::TimedOut);
    }

    #[tokio::test]
    async fn a_question_sees_one_state() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let count = || QueryBuilder::new("SELECT lsn FROM applied");
        let mut reader = store.reader().await.unwrap();
        let before = reader.first(count(), |row| Ok(row.try_get::<i64, _>(0)?)).await.unwrap();
        store.commit(crate::store::rows::Commit { lsn: 7, ..Default::default() }).await.unwrap();
        let after = reader.first(count(), |row| Ok(row.try_get::<i64, _>(0)?)).await.unwrap();
        assert_eq!((before, after), (Some(0), Some(0)));
        reader.finish().await.unwrap();
        let mut reader = store.reader().await.unwrap();
        let next = reader.first(count(), |row| Ok(row.try_get::<i64, _>(0)?)).await.unwrap();
        assert_eq!(next, Some(7));
    }
}
