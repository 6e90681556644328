//! Connections that read, shared by the questions.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Executor, Postgres, Sqlite};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Borrowed;
use super::error::Error;
use super::options::{Database, Options};
use super::postgres::login::Login;
use super::postgres::patience::{Patience, looked_for, silence, understood};
use super::sql::Dialect;
use crate::fault::chain;

/// What a connection to Postgres is told when it is opened: to read only, and to compile no statement to machine code, which takes
/// seconds for a large one, in which it does not notice that whoever asked is gone.
const READING: &str = "SET jit = off; SET default_transaction_read_only = on";

/// How often Postgres looks whether who asked is still there.
const LOOKED_FOR_EVERY: &str = "250ms";

/// How long a question waits for a connection to Postgres. The pool tries again for all of this time while the server
/// refuses connections, so it must be short of the time that a question has.
const ACQUIRE_MAX: Duration = Duration::from_secs(5);

/// How long a connection to Postgres that waited for a question may take to say that it is there. One that is lost without a word
/// says nothing for ever.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// When a connection to Postgres was last asked whether it is there, and said nothing. Those that waited beside it are lost with it:
/// to ask each of them would cost a question as much time again.
#[derive(Debug, Default)]
struct Silence(std::sync::Mutex<Option<Instant>>);

impl Silence {
    /// Whether `connection` is there, which has waited for `idle`, and its host still will do.
    async fn is_there(
        &self,
        connection: &mut PgConnection,
        login: &Login,
        idle: Duration,
    ) -> Result<bool, sqlx::Error> {
        let asked = Instant::now();
        if self.covers(asked.checked_sub(idle)) {
            return Err(silence("it waited beside one that says nothing"));
        }
        match timeout(ANSWER_MAX, login.still_will_do(connection)).await {
            Ok(answered) => Ok(answered.unwrap_or(false)),
            Err(_) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
                Err(silence("nothing comes over it"))
            }
        }
    }

    /// Whether a connection that waits since then, or for longer than can be said, waited beside a silent one.
    fn covers(&self, since: Option<Instant>) -> bool {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| since.is_none_or(|since| since < at))
    }
}

/// The pool.
#[derive(Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres { pool: PgPool, login: Arc<Login>, way: Arc<Way>, keeping: AbortOnDropHandle<()> },
}

/// How a pool gets to the server. Questions that find it gone look for the way together: each with a connection of its own,
/// they would open more of them than the pool may.
#[derive(Debug, Default)]
pub(super) struct Way {
    tried: Mutex<Option<Tried>>,
    /// Told when the host turns out to be one that will not do any more. The pool itself would go on asking it for as long as a
    /// question waits.
    lost: Notify,
}

/// When somebody had tried last, and what kept them from it.
type Tried = (Instant, Option<String>);

impl Way {
    /// Tells a new connection what it is for. Errs where its host will not do: it was the one that writes when the pool was
    /// given it, and may be a standby by now, which would answer what was true some time ago.
    async fn begin(&self, connection: &mut PgConnection, login: &Login) -> Result<(), sqlx::Error> {
        if !login.will_do(connection).await? {
            self.lost.notify_waiters();
            return Err(only_reads());
        }
        connection.execute(sqlx::raw_sql(READING)).await?;
        looked_for(connection, LOOKED_FOR_EVERY).await
    }

    /// A connection of the pool; errs at once where its host will not do.
    async fn along(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, Error> {
        let lost = self.lost.notified();
        tokio::select! {
            biased;
            acquired = understood(pool.acquire()) => acquired,
            () = lost => Err(Error::Away(only_reads())),
        }
    }

    /// Finds a host that will do, or learns what somebody found who tried meanwhile.
    async fn find(&self, pool: &PgPool, login: &Login) -> Result<(), Error> {
        let since = Instant::now();
        let mut tried = self.tried.lock().await;
        if let Some((at, failure)) = &*tried
            && *at >= since
        {
            return match failure {
                None => Ok(()),
                Some(failure) => Err(Error::Away(sqlx::Error::Io(io::Error::other(failure.clone())))),
            };
        }
        let found = login.options().await;
        *tried = Some((Instant::now(), found.as_ref().err().map(|error| chain(error))));
        pool.set_connect_options(found?);
        Ok(())
    }
}

/// What is said of a host that will not do.
fn only_reads() -> sqlx::Error {
    let why = "the host only reads, and target_session_attrs asks for one that writes";
    sqlx::Error::Io(io::Error::other(why))
}

/// A connection for the length of one question.
#[derive(Debug)]
pub(super) enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Pool {
    /// A pool of at most `connections`, none of which is opened yet.
    pub(super) async fn new(options: &Options, connections: u32) -> Result<Self, Error> {
        Ok(match &options.database {
            Database::Sqlite(file) => Self::Sqlite(
                SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(file.reading()),
            ),
            Database::Postgres(login) => {
                let (known, way) = (Arc::new(Silence::default()), Arc::new(Way::default()));
                let (asked, begun) = (Arc::clone(login), (Arc::clone(login), Arc::clone(&way)));
                let bounds = [login.connection_lifetime_max(), options.connection_lifetime_max];
                let options = PgPoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(ACQUIRE_MAX)
                    // The pool takes five minutes to open these if need be, and nobody has their places meanwhile: one is
                    // left for questions.
                    .min_connections(options.idle_readers.min(connections.saturating_sub(1)))
                    .max_lifetime(bounds.into_iter().flatten().min())
                    .idle_timeout(options.connection_idle_max)
                    // The pool itself would wait until there is no time left to connect.
                    .test_before_acquire(false)
                    .before_acquire(move |connection, about| {
                        let (known, login) = (Arc::clone(&known), Arc::clone(&asked));
                        Box::pin(async move { known.is_there(connection, &login, about.idle_for).await })
                    })
                    .after_connect(move |connection, _| {
                        let (login, way) = begun.clone();
                        Box::pin(async move {
                            // The pool itself would wait for ever.
                            let told = timeout(ACQUIRE_MAX, way.begin(connection, &login));
                            told.await.map_err(|_| sqlx::Error::PoolTimedOut)?
                        })
                    });
                let (pool, login) = (options.connect_lazy_with(login.options().await?), Arc::clone(login));
                let (kept, keeper) = (pool.clone(), Arc::clone(&login));
                let keeping = AbortOnDropHandle::new(tokio::spawn(async move { keeper.keep(&kept).await }));
                Self::Postgres { pool, login, way, keeping }
            }
        })
    }

    /// Waits for a free connection; on Postgres some seconds at most.
    pub(super) async fn acquire(&self) -> Result<Pooled, Error> {
        Ok(match self {
            Self::Sqlite(pool) => Pooled::Sqlite(pool.acquire().await?),
            Self::Postgres { pool, login, way, .. } => {
                Pooled::Postgres(match way.along(pool).await {
                    Err(crowded @ Error::Crowded(_)) => {
                        // Where the server is away it says so; else its connections are all in use: those that are lost are
                        // given up sooner, where they are asked in time.
                        way.find(pool, login).await?;
                        return Err(crowded);
                    }
                    Err(Error::Stopped) => return Err(Error::Stopped),
                    Err(_) => {
                        // Another host may have taken over, or a token has expired before it was replaced.
                        way.find(pool, login).await?;
                        understood(pool.acquire()).await?
                    }
                    Ok(acquired) => acquired,
                })
            }
        })
    }

    /// Whose SQL its connections speak.
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
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
            Self::Postgres(connection) => Borrowed::Postgres(connection, Patience::Question),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::Sql;
    use crate::store::tests::home::run;
    use crate::store::tests::server::{self, Server};

    /// The port of the server that answers.
    async fn port(pool: &Pool) -> u16 {
        let mut pooled = pool.acquire().await.unwrap();
        let sql = Sql::from(Dialect::Postgres, "SELECT current_setting('port')");
        let answer = pooled.borrow().rows(sql, |row| row.get::<String>(0)).await.unwrap();
        answer[0].parse().unwrap()
    }

    /// As after a switchover.
    #[test]
    fn a_host_that_came_back_as_a_standby_is_left_for_the_one_that_writes() {
        run(async {
            let mut first = Server::start(server::Options::default());
            let second = Server::start(server::Options::default());
            let dsn = format!(
                "host=127.0.0.1,127.0.0.1 port={},{} user=otel password=otel dbname=postgres sslmode=disable \
                 target_session_attrs=read-write",
                first.port(),
                second.port()
            );
            let login = Arc::new(Login::parse(&dsn).unwrap());
            let options = Options::of(Database::Postgres(Arc::clone(&login)));
            let pool = Pool::new(&options, 2).await.unwrap();
            assert_eq!(port(&pool).await, first.port());
            first.stop();
            std::fs::write(first.file("data/standby.signal"), "").unwrap();
            first.restart();
            let asked = Instant::now();
            assert_eq!(port(&pool).await, second.port());
            assert!(asked.elapsed() < ACQUIRE_MAX, "the question waited for {:?}", asked.elapsed());
            // Behind a pooler, connections outlive the change.
            for (server, leads) in [(&first, false), (&second, true)] {
                let any = Login::parse(&server.dsn("postgres")).unwrap();
                let mut connection = any.connect().await.unwrap();
                assert_eq!(login.still_will_do(&mut connection).await.unwrap(), leads);
                assert!(any.still_will_do(&mut connection).await.unwrap());
            }
            pool.close().await;
        });
    }

    #[test]
    fn what_waited_beside_a_silent_connection_is_lost_with_it_and_nothing_later() {
        let silence = Silence::default();
        let now = Instant::now();
        assert!(!silence.covers(Some(now)) && !silence.covers(None));
        *silence.0.lock().unwrap() = Some(now);
        assert!(silence.covers(now.checked_sub(Duration::from_millis(1))) && silence.covers(None));
        assert!(!silence.covers(Some(now)) && !silence.covers(Some(now + Duration::from_millis(1))));
    }
}
