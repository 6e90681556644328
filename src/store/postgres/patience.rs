//! How long an answer of Postgres is waited for, and what becomes of one that is none.
//!
//! A network may swallow packets without a word, and a proxy may hang; TCP alone tells after a quarter of an hour, or never
//! where nothing is under way from this side. No fixed time would do for what writes, which may take long. So the
//! connection that writes is looked after: when nothing comes over it, Postgres is asked over another one whether it still
//! works.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor, Row};
use tokio::time::{Instant, timeout};

use super::login::{self, Login, Reached};
use crate::fault;
use crate::store::error::Error;
use crate::store::read::QUESTION_TIME_MAX;

/// How long nothing may come before somebody looks.
const LOOK_AFTER: Duration = Duration::from_secs(5);
/// How long a look may take: one that takes longer finds that Postgres is away.
const LOOK_MAX: Duration = Duration::from_secs(8);
/// How long Postgres may wait for this side, which waits for Postgres, while nothing moves: what was said is lost then.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// What comes beyond the time that Postgres itself takes for a question, or for a row of its answer.
const QUESTION_MORE: Duration = Duration::from_secs(5);

/// What Postgres says of a value that a setting cannot have there.
const CANNOT_BE_SET: &str = "22023";

/// The session behind a connection.
const WHO: &str = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
/// Nothing while Postgres works for the session, or does not tell; where it waits for this side, how far it came.
const LOOK: &str = "SELECT CASE WHEN coalesce(state, 'disabled') = 'disabled' \
     OR state = 'active' AND wait_event_type IS DISTINCT FROM 'Client' THEN NULL ELSE concat_ws(' ', state, state_change, \
     (SELECT bytes_processed FROM pg_stat_progress_copy AS copy WHERE copy.pid = session.pid)) END \
     FROM pg_stat_activity AS session WHERE pid = $1 AND backend_start::text = $2";
/// Ends the session, and gives back the lock of the one that leads.
const END: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";

/// How long.
#[derive(Debug)]
pub(in crate::store) enum Patience<'c> {
    /// As long as it takes.
    Endless,
    /// As long as Postgres lets a question take, and a little more; for an answer of many rows, for each of them.
    Question,
    /// As long as Postgres works on it.
    Lookout(&'c mut Lookout),
}

impl Patience<'_> {
    /// Waits for an answer. After [`Error::Away`] the connection is of no use.
    pub(in crate::store) async fn wait<T, E: Into<Error>>(
        &mut self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        self.wait_for_rows(answer, &AtomicU64::new(0)).await
    }

    /// Waits for an answer that counts the rows that came.
    pub(in crate::store) async fn wait_for_rows<T, E: Into<Error>>(
        &mut self,
        answer: impl Future<Output = Result<T, E>>,
        rows: &AtomicU64,
    ) -> Result<T, Error> {
        let answer = understood(answer);
        match self {
            Self::Endless => answer.await,
            Self::Question => {
                let mut answer = pin!(answer);
                let mut before = 0;
                loop {
                    if let Ok(answered) = timeout(QUESTION_TIME_MAX + QUESTION_MORE, &mut answer).await {
                        return answered;
                    }
                    let came = rows.load(Ordering::Relaxed);
                    if came == before {
                        return Err(silent("nothing came for longer than a question may take"));
                    }
                    before = came;
                }
            }
            Self::Lookout(lookout) => lookout.wait(answer, rows).await,
        }
    }
}

/// An answer, where it is one.
pub(in crate::store) async fn understood<T, E: Into<Error>>(
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Error> {
    match fault::caught(answer).await {
        Err(panicked) => Err(Error::Away(nonsense(&panicked))),
        Ok(answered) => answered.map_err(|error| match error.into() {
            Error::Disk(lost @ sqlx::Error::Io(_)) => Error::Away(lost),
            error => error,
        }),
    }
}

/// Lets Postgres look, `every` so often while it works, whether this side is still there. Where its system cannot tell, as Windows
/// and before release 15 all but Linux, it refuses that, and notices when it answers.
pub(in crate::store) async fn looked_for(
    connection: &mut PgConnection,
    every: &str,
) -> Result<(), sqlx::Error> {
    let set = format!("SET client_connection_check_interval = '{every}'");
    match connection.execute(sqlx::raw_sql(AssertSqlSafe(set))).await {
        Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some(CANNOT_BE_SET) => Ok(()),
        told => told.map(|_| ()),
    }
}

/// What no Postgres says makes the library that reads it panic; that is no defect of who asked.
pub(super) fn nonsense(panicked: &fault::Panicked) -> sqlx::Error {
    sqlx::Error::Protocol(format!("no Postgres answers so: {}", panicked.message()))
}

/// What is said of a connection over which nothing comes.
pub(in crate::store) fn silence(how: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, how))
}

fn silent(how: &'static str) -> Error {
    Error::Away(silence(how))
}

/// Looks after one connection, over others.
#[derive(Debug)]
pub(in crate::store) struct Lookout {
    login: Arc<Login>,
    /// The host of the connection. Another one that the login names, and does not answer, says nothing about it.
    reached: Reached,
    /// The process of Postgres behind the connection, and when it began.
    session: (i32, String),
    state: State,
}

/// What is known of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Usable,
    /// It ended, or what came over it was no answer.
    Broken,
    /// It was given up after a time without an answer.
    Silent,
}

/// What a look found.
enum Found {
    Works,
    /// Postgres waits for this side, and came so far.
    Waits(String),
    /// The session is over, or was ended.
    Over,
}

impl Lookout {
    /// Looks after `connection`, a new one to the host `reached`.
    pub(super) async fn over(
        (login, reached): (&Arc<Login>, &Reached),
        connection: &mut PgConnection,
    ) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(WHO).persistent(false).fetch_one(connection).await?;
        let session = (row.try_get(0)?, row.try_get(1)?);
        Ok(Self { login: Arc::clone(login), reached: reached.clone(), session, state: State::Usable })
    }

    /// True once nothing is to be hoped for from the connection.
    pub(in crate::store) fn is_lost(&self) -> bool {
        self.state != State::Usable
    }

    /// True once the connection was given up because nothing came over it.
    pub(in crate::store) fn is_silent(&self) -> bool {
        self.state == State::Silent
    }

    async fn wait<T>(
        &mut self,
        answer: impl Future<Output = Result<T, Error>>,
        rows: &AtomicU64,
    ) -> Result<T, Error> {
        if self.is_lost() {
            return Err(silent("the connection was given up"));
        }
        let mut answer = pin!(answer);
        let (mut came, mut waits) = (0, None::<(String, Instant)>);
        let (answered, state) = loop {
            if let Ok(answered) = timeout(LOOK_AFTER, &mut answer).await {
                break (answered, State::Broken);
            }
            let before = std::mem::replace(&mut came, rows.load(Ordering::Relaxed));
            if before != came {
                waits = None;
                continue;
            }
            let lost = waits.as_ref().filter(|(_, since)| since.elapsed() >= LOST_AFTER);
            let found = tokio::select! {
                biased;
                answered = &mut answer => break (answered, State::Broken),
                found = timeout(LOOK_MAX, self.look(lost.map(|(how, _)| how))) => found,
            };
            match found {
                Err(_) => {
                    let nobody = silent("nothing comes from Postgres, over a new connection either");
                    break (Err(nobody), State::Silent);
                }
                Ok(Err(error)) if is_away(&error) => break (Err(error), State::Silent),
                // It is there, and does not let anybody look: all connections may be in use.
                Ok(Err(_)) | Ok(Ok(Found::Works)) => waits = None,
                Ok(Ok(Found::Over)) => {
                    let lost = silent("Postgres knows nothing of what it was asked");
                    break (Err(lost), State::Silent);
                }
                Ok(Ok(Found::Waits(how))) => match &waits {
                    Some((known, _)) if *known == how => {}
                    _ => waits = Some((how, Instant::now())),
                },
            }
        };
        if matches!(answered, Err(Error::Away(_) | Error::Login(_))) {
            self.state = state;
        }
        answered
    }

    /// Asks Postgres about the session, and ends it where it still waits as it did, `lost`.
    async fn look(&self, lost: Option<&String>) -> Result<Found, Error> {
        let mut connection = self.login.reach_again(&self.reached).await?;
        let (process, began) = &self.session;
        let asked = sqlx::query(LOOK).persistent(false).bind(process).bind(began);
        let row = understood(asked.fetch_optional(&mut connection)).await?;
        let found = match row.map(|row| row.try_get::<Option<String>, _>(0)).transpose()? {
            None => Found::Over,
            Some(None) => Found::Works,
            Some(Some(how)) if lost == Some(&how) => {
                let ending = sqlx::query(END).persistent(false).bind(process).bind(began);
                understood(ending.execute(&mut connection)).await?;
                Found::Over
            }
            Some(Some(how)) => Found::Waits(how),
        };
        // Best effort: the server also notices when the connection just ends.
        let _ = connection.close().await;
        Ok(found)
    }
}

/// Whether a look found nobody: not that it was turned away.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Login(error) => !was_answered(error),
        Error::Away(error) => !matches!(error, sqlx::Error::Database(_)),
        _ => false,
    }
}

fn was_answered(error: &login::Error) -> bool {
    match error {
        login::Error::Unreachable { source, .. } => matches!(source, sqlx::Error::Database(_)),
        login::Error::NoHost { failures } => failures.iter().any(was_answered),
        login::Error::TimedOut { .. } => false,
        _ => true,
    }
}
