//! Who leads: of several servers on one database, the one whose writing connection holds an advisory lock.
//!
//! The lock belongs to the connection that commits, so a server that lost the connection cannot commit, and one that
//! was killed gives the lock back as soon as Postgres notices that its connection is gone. Partitions are made and
//! given up, and roll-ups added up, over the same connection: by the leader only.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor};
use tokio::time::timeout;

use super::login::{Login, Reached};
use super::patience::{Lookout, understood};
use crate::store::error::Error;

/// The lock: "otelctxt" in ASCII. Advisory locks are those of one database.
const LOCK: i64 = 0x6f74_656c_6374_7874;
/// What the writing connection is told: a commit that was answered is on disk, and Postgres looks every few seconds
/// whether this server still lives, so that another can take over.
const WRITING: &str = "SET synchronous_commit = on; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; \
     SET tcp_keepalives_count = 2; SET client_connection_check_interval = '5s'; \
     SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '2s'";
/// What it is told once it leads: readers of a partition may make its removal wait, not for ever.
const LEADING: &str = "SET lock_timeout = '30s'";
/// How long all of that may take.
const LEADS_WITHIN: Duration = Duration::from_secs(15);

/// Connects, and leads. Errs with [`Error::Led`] where another server does.
pub(in crate::store) async fn connect(login: &Arc<Login>) -> Result<(PgConnection, Lookout), Error> {
    let (connection, reached) = login.reach().await?;
    let silent = || Error::Away(sqlx::Error::Io(io::ErrorKind::TimedOut.into()));
    timeout(LEADS_WITHIN, understood(lead((login, &reached), connection))).await.map_err(|_| silent())?
}

async fn lead(
    (login, reached): (&Arc<Login>, &Reached),
    mut connection: PgConnection,
) -> Result<(PgConnection, Lookout), Error> {
    connection.execute(sqlx::raw_sql(WRITING)).await?;
    let lookout = Lookout::over((login, reached), &mut connection).await?;
    // Waits a moment: the connection that held the lock may be on its way out.
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await;
    match locked.map_err(Error::from) {
        Ok(_) => {
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
