//! Who leads: of several servers on one database, the one whose writing connection holds an advisory lock.
//!
//! The lock belongs to the connection that commits, so a server that lost the connection cannot commit, and one that
//! was killed gives the lock back as soon as Postgres notices that its connection is gone. Partitions are made and
//! given up, and roll-ups added up, over the same connection: by the leader only.
//!
//! Of one session of Postgres, anybody may have the lock again. Where connections share sessions, as over a pooler in
//! transaction mode, it keeps nobody out: such a connection is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor, Row};
use tokio::time::timeout;
use tracing::warn;

use super::login::{Login, Reached};
use super::patience::{Lookout, looked_for, understood};
use crate::fault::chain;
use crate::store::error::Error;

/// The lock: "otelctxt" in ASCII. Advisory locks are those of one database.
const LOCK: i64 = 0x6f74_656c_6374_7874;
/// A lock that nobody needs, to look by.
const TRIED: i64 = LOCK + 1;
/// What the writing connection is told: a commit that was answered is on disk, and Postgres looks every few seconds
/// whether this server still lives, so that another can take over. What a role or the DSN bounds is meant for questions: a commit or a
/// migration would be tried again for ever.
const WRITING: &str = "SET synchronous_commit = on; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; \
     SET tcp_keepalives_count = 2; \
     SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '2s'; \
     SELECT set_config(name, '0', false) FROM pg_settings \
     WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout')";
/// How often Postgres looks while it works.
const LOOKED_FOR_EVERY: &str = "5s";
/// What it is told once it leads: readers of a partition may make its removal wait, not for ever.
const LEADING: &str = "SET lock_timeout = '30s'";
/// How long all of that may take.
const LEADS_WITHIN: Duration = Duration::from_secs(15);

/// How long a second connection may take that tells whether connections share sessions: in front of a pool that is used up it
/// waits.
const SHARED_WITHIN: Duration = Duration::from_secs(3);

fn silent() -> Error {
    Error::Away(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
}

/// Connects, and leads. Errs with [`Error::Led`] where another server does.
pub(in crate::store) async fn connect(login: &Arc<Login>) -> Result<(PgConnection, Lookout), Error> {
    let (connection, reached) = login.reach().await?;
    timeout(LEADS_WITHIN, understood(lead((login, &reached), connection))).await.map_err(|_| silent())?
}

async fn lead(
    (login, reached): (&Arc<Login>, &Reached),
    mut connection: PgConnection,
) -> Result<(PgConnection, Lookout), Error> {
    connection.execute(sqlx::raw_sql(WRITING)).await?;
    looked_for(&mut connection, LOOKED_FOR_EVERY).await?;
    let lookout = Lookout::over((login, reached), &mut connection).await?;
    // Waits a moment: the connection that held the lock may be on its way out.
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await;
    match locked.map_err(Error::from) {
        Ok(_) => {
            match timeout(SHARED_WITHIN, is_shared(login, reached, LOCK))
                .await
                .unwrap_or_else(|_| Err(silent()))
            {
                Ok(false) => {}
                Ok(true) => return Err(Error::Pooled),
                // All connections may be in use, which is no reason to store nothing.
                Err(error) => warn!(error = chain(&error), "whether connections share sessions is not known"),
            }
            connection.execute(sqlx::raw_sql(LEADING)).await?;
            Ok((connection, lookout))
        }
        Err(error) => {
            // Best effort: the server also notices when the connection just ends.
            let _ = connection.close().await;
            Err(if matches!(error, Error::Busy(_)) { Error::Led } else { error })
        }
    }
}

/// Whether connections share sessions. Changes nothing, and tells beside a server that leads, too.
pub(in crate::store) async fn shares_sessions(login: &Login) -> Result<bool, Error> {
    let (mut first, reached) = login.reach().await?;
    // Where somebody else has it, they look now.
    let shared = is_true(&mut first, &format!("pg_try_advisory_lock({TRIED})")).await?
        && is_shared(login, &reached, TRIED).await?;
    // It gives the lock back as well.
    let _ = first.close().await;
    Ok(shared)
}

/// Whether a second connection to the same host has `lock` twice once it took it, and one has it already: both are of one
/// session then. It gives back what both had in the same breath, since the next statement may be heard by another session.
async fn is_shared(login: &Login, reached: &Reached, lock: i64) -> Result<bool, Error> {
    let mut second = login.reach_again(reached).await?;
    let twice = format!(
        "CASE WHEN pg_try_advisory_lock({lock}) THEN pg_advisory_unlock({lock}) AND pg_advisory_unlock({lock}) ELSE false END"
    );
    let shared = is_true(&mut second, &twice).await?;
    let _ = second.close().await;
    Ok(shared)
}

/// Asks as a simple query, which passes through every pooler.
async fn is_true(connection: &mut PgConnection, condition: &str) -> Result<bool, sqlx::Error> {
    let asked = sqlx::raw_sql(AssertSqlSafe(format!("SELECT {condition} AS so")));
    asked.fetch_one(connection).await?.try_get::<bool, _>("so")
}
