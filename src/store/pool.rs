//! Connections that read, shared by the questions.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Executor, Postgres, Sqlite};
use tokio_util::task::AbortOnDropHandle;

use super::connection::Borrowed;
use super::error::Error;
use super::options::Database;
use super::postgres::login::Login;
use super::sql::Dialect;

/// What a connection to Postgres is told when it is opened: to notice that whoever asked is gone, and to read only.
const READING: &str = "SET client_connection_check_interval = '1s'; SET default_transaction_read_only = on";
/// How long an idle connection to Postgres is kept.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// The pool.
#[derive(Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres { pool: PgPool, login: Arc<Login>, keeping: AbortOnDropHandle<()> },
}

/// A connection for the length of one question.
#[derive(Debug)]
pub(super) enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Pool {
    /// A pool of at most `connections`, none of which is opened yet.
    pub(super) async fn new(
        database: &Database,
        connections: u32,
        lifetime_max: Duration,
    ) -> Result<Self, Error> {
        Ok(match database {
            Database::Sqlite(file) => Self::Sqlite(
                SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(file.reading()),
            ),
            Database::Postgres(login) => {
                let options = PgPoolOptions::new()
                    .max_connections(connections)
                    .max_lifetime(login.connection_lifetime_max().map_or(lifetime_max, |most| most.min(lifetime_max)))
                    .idle_timeout(IDLE_MAX)
                    .after_connect(|connection, _| {
                        Box::pin(async move { connection.execute(sqlx::raw_sql(READING)).await.map(|_| ()) })
                    });
                Self::Postgres {
                    pool: options.connect_lazy_with(login.options().await?),
                    login: Arc::clone(login),
                }
            }
        })
    }

    /// Waits for a free connection.
    pub(super) async fn acquire(&self) -> Result<Pooled, Error> {
        Ok(match self {
            Self::Sqlite(pool) => Pooled::Sqlite(pool.acquire().await?),
            Self::Postgres { pool, login, .. } => Pooled::Postgres(match pool.acquire().await {
                Err(sqlx::Error::Io(_) | sqlx::Error::Database(_) | sqlx::Error::Tls(_)) => {
                    // Another host may have taken over, or a token has expired before it was replaced.
                    pool.set_connect_options(login.options().await?);
                    pool.acquire().await?
                }
                acquired => acquired?,
            }),
        })
    }

    /// Connections in use and connections at most.
    pub(super) fn usage(&self) -> (u32, u32) {
        let (open, idle, most) = match self {
            Self::Sqlite(pool) => (pool.size(), pool.num_idle(), pool.options().get_max_connections()),
            Self::Postgres { pool, .. } => {
                (pool.size(), pool.num_idle(), pool.options().get_max_connections())
            }
        };
        (open.saturating_sub(idle as u32), most)
    }

    /// Waits for the questions under way, then refuses further ones.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres { pool, keeping, .. } => {
                keeping.abort();
                pool.close().await;
            }
        }
    }
}

impl Pooled {
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) fn borrow(&mut self) -> Borrowed<'_> {
        match self {
            Self::Sqlite(connection) => Borrowed::Sqlite(connection),
            Self::Postgres(connection) => Borrowed::Postgres(connection),
        }
    }

    /// Closes the connection instead of giving it back.
    pub(super) fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(connection) => connection.close_on_drop(),
            Self::Postgres(connection) => connection.close_on_drop(),
        }
    }
}
