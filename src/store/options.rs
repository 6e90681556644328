//! Which database, and within which bounds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::commit::SERIES_PER_TENANT_MAX;
use super::connection::Connection;
use super::error::Error;
use super::postgres::lead;
use super::postgres::login::Login;
pub use super::sqlite::file::File;

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
    /// How long a connection to a server is kept before another takes its place.
    pub connection_lifetime_max: Duration,
    /// Whether an older schema is brought up to date on open; refused otherwise.
    pub automigrate: bool,
    /// Most metric series of one tenant; points of further ones share a series for each service and kind.
    pub series_per_tenant_max: usize,
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
            journal: "journal".to_owned(),
            readers: 4,
            connection_lifetime_max: Duration::from_secs(3_600),
            automigrate: true,
            series_per_tenant_max: SERIES_PER_TENANT_MAX,
        }
    }
}

impl Database {
    /// A connection that writes. On a server it holds the lock of the one that leads, so a second one is refused with
    /// [`Error::Led`].
    pub(super) async fn writer(&self) -> Result<Connection, Error> {
        match self {
            Self::Sqlite(file) => Ok(file.writer().await?.into()),
            Self::Postgres(login) => Ok(lead::connect(login).await?.into()),
        }
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
