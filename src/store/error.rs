//! What can go wrong in the store, told apart by what the caller can do about it.

use std::path::PathBuf;

use sqlx::postgres::PgDatabaseError;

use super::postgres::login;
use super::read::sql::refusal::Refusal;
use super::relocate;
use crate::fault::Kind;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of the database cannot be created.
    #[error("cannot create the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The SQLite library is older than the store relies on.
    #[error("the SQLite library is version {found}, at least {wanted} is needed")]
    Library {
        /// The library's version.
        found: String,
        /// The oldest version that will do.
        wanted: &'static str,
    },
    /// A newer release wrote this database; this one cannot read it.
    #[error(
        "the database has schema {found} and this release knows schemas up to {known}: use a newer release"
    )]
    Newer {
        /// The database's schema.
        found: i64,
        /// The newest schema of this release.
        known: i64,
    },
    /// An older release wrote this database and migrating is switched off.
    #[error(
        "the database has schema {found} and this release needs {known}: run `otelcontext migrate`, or set \
         DB_AUTOMIGRATE=true"
    )]
    Older {
        /// The database's schema; 0 where there is none yet.
        found: i64,
        /// The newest schema of this release.
        known: i64,
    },
    /// Somebody else's tables have the names of those that would be made.
    #[error(
        "the table `{table}` is there already, and this program did not make it: name another database, or on Postgres one \
         with a schema of its own in search_path. The SQLite file of the older program in Go is no place for this one: leave \
         DB_DSN out, and take over what it holds with `otelcontext import --predecessor FILE`"
    )]
    Foreign {
        /// The first of them.
        table: String,
    },
    /// The database of a server has not all characters: what is named in others could not be stored.
    #[error(
        "the database is encoded in {found}, which has not all characters: make another with CREATE DATABASE … ENCODING 'UTF8' \
         TEMPLATE template0, and name that one"
    )]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Bringing the schema up to date took too long; what was begun is undone.
    #[error("the schema was not up to date after {} s (DB_MIGRATE_TIMEOUT_SECS)", limit.as_secs())]
    Slow {
        /// The time it had.
        limit: std::time::Duration,
    },
    /// Another connection holds the database for longer than the store waits.
    #[error("the database is locked")]
    Busy(#[source] sqlx::Error),
    /// The server that holds the database is away, restarting, or no longer the one that writes.
    #[error("the database server is away")]
    Away(#[source] sqlx::Error),
    /// The server that holds the database cannot be logged in to.
    #[error("cannot log in to the database")]
    Login(#[from] login::Error),
    /// Another server leads on this database: only one at a time writes.
    #[error("another server writes to this database: this one takes over when that one stops")]
    Led,
    /// Connections share sessions of the server, so that the lock of the one that leads keeps nobody out.
    #[error(
        "connections to the database share sessions, as over a pooler in transaction mode, and two servers could write at \
         once: name the port of Postgres itself, or set the pooler to session mode"
    )]
    Pooled,
    /// The database is behind what this server stored in it: a standby took over without the last of it, or it was restored.
    #[error(
        "the database went back behind what was stored: this server begins anew, and applies its journal again from there"
    )]
    WentBack,
    /// The disk is full.
    #[error("no space is left for the database")]
    Full(#[source] sqlx::Error),
    /// The disk fails, or the file may not be read or written.
    #[error("the database cannot be read or written")]
    Disk(#[source] sqlx::Error),
    /// The file is not what the store left there.
    #[error("the database is damaged")]
    Damaged(#[source] sqlx::Error),
    /// All connections stayed in use for too long.
    #[error("no connection to the database became free in time")]
    Crowded(#[source] sqlx::Error),
    /// A rule of the schema was broken, or a statement is wrong.
    #[error("the database refused a statement")]
    Statement(#[source] sqlx::Error),
    /// A commit lies before what was applied already.
    #[error("a commit up to position {lsn} came after position {applied} was applied")]
    Behind {
        /// The commit's position.
        lsn: u64,
        /// The position that was applied last.
        applied: u64,
    },
    /// A block or another packed column does not hold what the store writes there.
    #[error("a stored {what} cannot be read")]
    Unreadable {
        /// What it is.
        what: &'static str,
    },
    /// A question took longer than the store allows.
    #[error("the question took too long: ask about less time or fewer services")]
    TimedOut(#[source] sqlx::Error),
    /// A question names more, or its answer holds more, than the store takes at once.
    #[error("more than {max} {what} in one question: ask about less")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The most that is answered.
        max: usize,
    },
    /// A statement of the operator is not one that is taken.
    #[error(transparent)]
    NotTaken(#[from] Refusal),
    /// The database does not take a statement of the operator.
    #[error("the database does not take the statement")]
    Asked(#[source] sqlx::Error),
    /// A statement of the operator answers a type that cannot be shown.
    #[error("the column `{column}` is of the type {kind}, which cannot be shown: cast it to text")]
    Kind {
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
    /// A move to another database does not come about.
    #[error(transparent)]
    NotMoved(#[from] relocate::Refusal),
    /// The database has data of several tenants, and statements of the operator know no tenants.
    #[error(
        "SQL is answered only where the database has no other tenant than the server's default, and this one has others"
    )]
    Shared,
    /// A commit ended without saying how, and was not tried again yet.
    #[error("it is not known yet whether the last commit was written")]
    InDoubt,
    /// The store was stopped.
    #[error("the store was stopped")]
    Stopped,
    /// The disk did not keep what was written. What the database holds is known again only after it was opened anew.
    #[error(
        "the disk did not keep what was written to the database: the journal keeps everything from now on; mend the \
         disk and start the server again"
    )]
    NotFlushed,
    /// Work that was handed to a thread was lost.
    #[error("a task of the store was lost")]
    Lost(#[source] tokio::task::JoinError),
}

impl Error {
    /// Whether it is what was to be written that the database refuses, and would refuse again: not that it is away, full or
    /// busy, and not what it is made of.
    pub fn is_of_data(&self) -> bool {
        match self {
            Self::Statement(sqlx::Error::Database(database)) => {
                let code = database.code().unwrap_or_default();
                match database.try_downcast_ref::<PgDatabaseError>() {
                    // Data exceptions, broken constraints but that of a partition, limits; what a trigger raises.
                    Some(_) => {
                        ["22", "23", "54"].iter().any(|class| code.starts_with(class)) && code != "23514"
                            || code == "P0001"
                    }
                    // TOOBIG, CONSTRAINT and MISMATCH.
                    None => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18..=20)),
                }
            }
            // A value that cannot be written. What the database answers is not what it was told.
            Self::Statement(error) => matches!(error, sqlx::Error::Encode(_)),
            Self::Lost(error) => error.is_panic(),
            _ => false,
        }
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Login(error) => error.kind(),
            Self::NotMoved(refusal) => refusal.kind(),
            Self::Busy(_)
            | Self::Full(_)
            | Self::Disk(_)
            | Self::Away(_)
            | Self::Led
            | Self::WentBack
            | Self::InDoubt
            | Self::NotFlushed
            | Self::Stopped => Kind::Unavailable,
            Self::Crowded(_) => Kind::Overloaded,
            Self::TimedOut(_) => Kind::TimedOut,
            Self::TooMuch { .. } => Kind::TooLarge,
            Self::NotTaken(_) | Self::Asked(_) | Self::Kind { .. } => Kind::Invalid,
            Self::Shared => Kind::Denied,
            Self::Directory { .. }
            | Self::Open { .. }
            | Self::Library { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Foreign { .. }
            | Self::Encoding { .. }
            | Self::Pooled
            | Self::Migrate(_)
            | Self::Slow { .. }
            | Self::Damaged(_)
            | Self::Statement(_)
            | Self::Behind { .. }
            | Self::Unreadable { .. }
            | Self::Lost(_) => Kind::Internal,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                match database.try_downcast_ref::<PgDatabaseError>() {
                    Some(_) => of_postgres(&code, error),
                    None => of_sqlite(code.parse().unwrap_or(0), error),
                }
            }
            sqlx::Error::PoolTimedOut => Self::Crowded(error),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Stopped,
            sqlx::Error::Io(_) => Self::Disk(error),
            sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Self::Away(error),
            _ => Self::Statement(error),
        }
    }
}

/// Sorts by the primary result code (<https://www.sqlite.org/rescode.html>).
fn of_sqlite(code: u32, error: sqlx::Error) -> Error {
    match code & 0xff {
        // BUSY and LOCKED.
        5 | 6 => Error::Busy(error),
        // INTERRUPT: only questions are interrupted, when their time is up.
        9 => Error::TimedOut(error),
        13 => Error::Full(error),
        // PERM, NOMEM, READONLY, IOERR, CANTOPEN, and PROTOCOL: the locks of the log are not to be had.
        3 | 7 | 8 | 10 | 14 | 15 => Error::Disk(error),
        // CORRUPT and NOTADB.
        11 | 26 => Error::Damaged(error),
        _ => Error::Statement(error),
    }
}

/// Sorts by SQLSTATE (Postgres documentation, appendix A).
fn of_postgres(code: &str, error: sqlx::Error) -> Error {
    match (code.get(..2).unwrap_or_default(), code) {
        // Disk full.
        (_, "53100") => Error::Full(error),
        // Query cancelled: its time was up.
        (_, "57014") => Error::TimedOut(error),
        // Connection exceptions; shutting down or starting; a server that only reads; idle, or in a transaction, for too
        // long.
        ("08", _) | (_, "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "25P03" | "25P04") => {
            Error::Away(error)
        }
        // Insufficient resources; rolled back for another transaction; a lock that was not to be had.
        ("53" | "40", _) | (_, "55P03") => Error::Busy(error),
        ("58", _) => Error::Disk(error),
        (_, "XX001" | "XX002") => Error::Damaged(error),
        _ => Error::Statement(error),
    }
}
