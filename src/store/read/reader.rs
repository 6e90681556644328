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
