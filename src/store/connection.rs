//! A connection to either database: statements, answers, and many rows into a table.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Connection as _, Executor, Postgres, SqlSafeStr, Sqlite, Statement as _};

use super::error::Error;
use super::postgres::copy;
use super::postgres::patience::{Lookout, Patience};
use super::row::Row;
use super::sql::{Bound, Dialect, Sql};
use super::sqlite::insert::Insert;
use super::table::{Clash, Target};
use super::values::Values;

/// Statements that are remembered by the name of their table; days go by, so they are let go of now and then.
const STATEMENTS_MAX: usize = 64;

/// A connection of one's own.
#[derive(Debug)]
pub(super) struct Connection {
    kind: Kind,
    lookout: Option<Lookout>,
    inserts: HashMap<(String, Clash), Arc<Insert>>,
    /// Whether a transaction was begun that was not heard to end.
    within: bool,
}

#[derive(Debug)]
enum Kind {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// A connection, borrowed for one statement.
#[derive(Debug)]
pub(super) enum Borrowed<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection, Patience<'c>),
}

impl From<SqliteConnection> for Connection {
    fn from(connection: SqliteConnection) -> Self {
        Self {
            kind: Kind::Sqlite(Box::new(connection)),
            lookout: None,
            inserts: HashMap::new(),
            within: false,
        }
    }
}

impl From<PgConnection> for Connection {
    fn from(connection: PgConnection) -> Self {
        Self {
            kind: Kind::Postgres(Box::new(connection)),
            lookout: None,
            inserts: HashMap::new(),
            within: false,
        }
    }
}

impl Connection {
    /// A connection that is looked after.
    pub(super) fn watched((connection, lookout): (PgConnection, Lookout)) -> Self {
        Self { lookout: Some(lookout), ..connection.into() }
    }

    /// Whether nothing came over it for so long that it was given up.
    pub(super) fn is_silent(&self) -> bool {
        self.lookout.as_ref().is_some_and(Lookout::is_silent)
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Sqlite(_) => Dialect::Sqlite,
            Kind::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A statement in its dialect.
    pub(super) fn sql(&self, text: impl Into<String>) -> Sql {
        Sql::from(self.dialect(), text)
    }

    pub(super) fn borrow(&mut self) -> Borrowed<'_> {
        match &mut self.kind {
            Kind::Sqlite(connection) => Borrowed::Sqlite(connection),
            Kind::Postgres(connection) => {
                let patience = self.lookout.as_mut().map_or(Patience::Endless, Patience::Lookout);
                Borrowed::Postgres(connection, patience)
            }
        }
    }

    /// Runs a statement and answers how many rows it touched.
    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, Error> {
        self.borrow().execute(sql).await
    }

    /// Every row of an answer.
    pub(super) async fn rows<T: Send + Unpin>(
        &mut self,
        sql: Sql,
        read: impl FnMut(Row<'_>) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        self.borrow().rows(sql, read).await
    }

    /// The first row of an answer; none where it has no rows.
    pub(super) async fn first<T: Send + Unpin>(
        &mut self,
        sql: Sql,
        read: impl FnMut(Row<'_>) -> Result<T, Error> + Send,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(sql, read).await?.into_iter().next())
    }

    /// Writes all `rows` into `target`; `bind` adds the values of one row in the order of the columns.
    pub(super) async fn insert<T: Sync>(
        &mut self,
        target: &Target,
        rows: &[T],
        bind: impl Fn(&mut Values, &T) + Send,
    ) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Sqlite(connection) => {
                if self.inserts.len() > STATEMENTS_MAX {
                    self.inserts.clear();
                }
                let place = (target.name.clone(), target.table.clash);
                let insert = match self.inserts.get(&place) {
                    Some(insert) => Arc::clone(insert),
                    None => {
                        let insert = Arc::new(Insert::new(target));
                        self.inserts.insert(place, Arc::clone(&insert));
                        insert
                    }
                };
                insert.run(connection, rows, bind).await
            }
            Kind::Postgres(connection) => {
                let mut patience = self.lookout.as_mut().map_or(Patience::Endless, Patience::Lookout);
                copy::copy((connection, &mut patience), target, rows, bind).await
            }
        }
    }

    /// Begins a transaction that writes. On SQLite the lock on writing is taken at once, so that it cannot fail half
    /// way for want of it. What somebody left half done, in a panic or because nobody waited for it any more, is taken
    /// back before.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        self.take_back().await;
        let begin = match self.dialect() {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN",
        };
        self.within = true;
        let begun = self.execute(self.sql(begin)).await;
        self.within = begun.is_ok();
        begun.map(|_| ())
    }

    /// Takes back what was left half done.
    pub(super) async fn take_back(&mut self) {
        if self.within {
            // Fails as well where the transaction ended by itself; if the connection is lost, the next statement tells.
            let _ = self.roll_back().await;
        }
    }

    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        let done = self.execute(self.sql("COMMIT")).await;
        self.within = done.is_err();
        done.map(|_| ())
    }

    pub(super) async fn roll_back(&mut self) -> Result<(), Error> {
        let done = self.execute(self.sql("ROLLBACK")).await;
        self.within = false;
        done.map(|_| ())
    }

    /// Does `work` within a transaction: everything of it, or nothing.
    pub(super) async fn in_transaction(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.begin().await?;
        let done = match work(self).await {
            Ok(()) => self.commit().await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            // A commit that failed may leave the transaction open, too. When this fails as well, the connection is lost, and
            // the next commit opens another.
            let _ = self.roll_back().await;
        }
        done
    }

    pub(super) async fn close(self) -> Result<(), Error> {
        if self.lookout.as_ref().is_some_and(Lookout::is_lost) {
            return Ok(());
        }
        match self.kind {
            Kind::Sqlite(connection) => connection.close().await?,
            Kind::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }
}

impl Borrowed<'_> {
    pub(super) async fn execute(self, sql: Sql) -> Result<u64, Error> {
        Ok(match self {
            Self::Sqlite(connection) => for_sqlite(sql).execute(connection).await?.rows_affected(),
            Self::Postgres(connection, mut patience) => {
                patience.wait(for_postgres(sql).execute(connection)).await?.rows_affected()
            }
        })
    }

    /// The names of the columns that a statement answers, without running it.
    pub(super) async fn columns(self, sql: Sql) -> Result<Vec<String>, Error> {
        let text = AssertSqlSafe(sql.text).into_sql_str();
        let names = match self {
            Self::Sqlite(connection) => names(connection.prepare(text).await?.columns()),
            Self::Postgres(connection, mut patience) => {
                names(patience.wait(connection.prepare(text)).await?.columns())
            }
        };
        Ok(names)
    }

    /// Every row of an answer, read as it comes.
    pub(super) async fn rows<T: Send + Unpin>(
        self,
        sql: Sql,
        mut read: impl FnMut(Row<'_>) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut failed = None;
        let rows = match self {
            Self::Sqlite(connection) => {
                let rows =
                    for_sqlite(sql).try_map(|row: SqliteRow| keep(read(Row::Sqlite(&row)), &mut failed));
                rows.fetch_all(connection).await.map_err(Error::from)
            }
            Self::Postgres(connection, mut patience) => {
                let came = AtomicU64::new(0);
                let rows = for_postgres(sql).try_map(|row: PgRow| {
                    came.fetch_add(1, Ordering::Relaxed);
                    keep(read(Row::Postgres(&row)), &mut failed)
                });
                patience.wait_for_rows(rows.fetch_all(connection), &came).await
            }
        };
        match failed {
            Some(error) => Err(error),
            None => rows,
        }
    }
}

fn names(columns: &[impl Column]) -> Vec<String> {
    columns.iter().map(|column| column.name().to_owned()).collect()
}

/// The statement with its values bound. Nearly every statement is made for its moment: keeping it prepared would only
/// cost memory.
fn for_sqlite(sql: Sql) -> Query<'static, Sqlite, SqliteArguments> {
    let query = sqlx::query::<Sqlite>(AssertSqlSafe(sql.text)).persistent(false);
    sql.bound.into_iter().fold(query, |query, Bound::Text(text)| query.bind(text))
}

/// The same for Postgres, where text is written as it takes it.
fn for_postgres(sql: Sql) -> Query<'static, Postgres, PgArguments> {
    let query = sqlx::query::<Postgres>(AssertSqlSafe(sql.text)).persistent(false);
    sql.bound.into_iter().fold(query, |query, Bound::Text(text)| {
        query.bind(super::postgres::text::to_stored(&text).into_owned())
    })
}

/// Stops at the first failure and keeps it aside, since the library knows only its own.
fn keep<T>(read: Result<T, Error>, failed: &mut Option<Error>) -> Result<T, sqlx::Error> {
    read.map_err(|error| {
        *failed = Some(error);
        sqlx::Error::RowNotFound
    })
}
