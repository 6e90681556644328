//! Which database, and within which bounds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::ahead;
use super::connection::Connection;
use super::error::Error;
use super::names::Limits;
use super::postgres::lead;
use super::postgres::login::Login;
pub use super::sqlite::file::File;

/// The name under which a SQLite file knows the one journal that feeds it.
pub const ONLY_JOURNAL: &str = "journal";

/// The database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file of its own.
    Sqlite(File),
    /// A server.
    Postgres(Arc<Login>),
}

/// How to open the store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which database.
    pub database: Database,
    /// The name of the journal that feeds it: positions of several journals are kept apart.
    pub journal: String,
    /// Connections for reading: so many questions are answered at once, the next one waits. At least 1.
    pub readers: u32,
    /// Connections to a server that stay open when nothing is asked; at most `readers`.
    pub idle_readers: u32,
    /// How long a connection to a server may be idle; none sets no bound.
    pub connection_idle_max: Option<Duration>,
    /// How long a connection to a server is kept before another takes its place; none sets no bound.
    pub connection_lifetime_max: Option<Duration>,
    /// Whether an older schema is brought up to date on open; refused otherwise.
    pub automigrate: bool,
    /// How long bringing the schema up to date may take; none sets no bound.
    pub migrate_timeout: Option<Duration>,
    /// How many names and contents of one tenant are told apart.
    pub names: Limits,
    /// Metric series of one tenant that are told apart; the points of further ones share one series for each service
    /// and kind.
    pub series_per_tenant_max: usize,
    /// The same over all tenants together.
    pub series_max: usize,
    /// Log templates of one service that are kept while no log record has them, for roll-ups, which go further back.
    pub resting_templates_max: usize,
    /// Keys of attributes of spans and log records whose values are found without looking at other blocks; from the next
    /// day on that is begun.
    pub promoted: Arc<[String]>,
}

impl Options {
    /// Options for the SQLite database at `path`, with the defaults of the product.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self::of(Database::Sqlite(File::at(path)))
    }

    /// Options for `database`, with the defaults of the product.
    pub fn of(database: Database) -> Self {
        Self {
            database,
            journal: ONLY_JOURNAL.to_owned(),
            readers: 4,
            idle_readers: 1,
            connection_idle_max: Some(Duration::from_secs(600)),
            connection_lifetime_max: Some(Duration::from_secs(3_600)),
            automigrate: true,
            migrate_timeout: None,
            names: Limits::default(),
            series_per_tenant_max: 500_000,
            series_max: 2_000_000,
            resting_templates_max: 20_000,
            promoted: Arc::default(),
        }
    }

    /// The same for a connection that asks for traces which are no longer in memory: the pages of one index, most of which are
    /// asked for once, so a quarter of a file's cache is enough.
    pub(super) fn recalling(&self) -> Self {
        let mut recalling = self.clone();
        if let Database::Sqlite(file) = &mut recalling.database {
            file.cache_kib /= 4;
        }
        recalling
    }
}

/// The path of the file, or where the server is; without a password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "{}", file.path.display()),
            Self::Postgres(login) => write!(f, "{login}"),
        }
    }
}

impl Database {
    /// A connection that writes. On a server it holds the lock of the one that leads, so a second one is refused with
    /// [`Error::Led`].
    pub(super) async fn writer(&self) -> Result<Connection, Error> {
        let database = self.clone();
        // The thread of a file's connection has the priority of the one that opens it, and what comes over a socket is heard
        // by the one that opened it.
        let connecting = ahead::handle().spawn(async move {
            match database {
                Self::Sqlite(file) => Ok(file.writer().await?.into()),
                Self::Postgres(login) => Ok(Connection::watched(lead::connect(&login).await?)),
            }
        });
        AbortOnDropHandle::new(connecting).await.map_err(Error::Lost)?
    }

    /// A connection that reads, beside those of the questions.
    pub(super) async fn reader(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(file) => Ok(file.reader().await?.into()),
            Self::Postgres(login) => Ok(login.connect().await?.into()),
        }
    }

    /// The file, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(file) => Some(&file.path),
            Self::Postgres(_) => None,
        }
    }
}
