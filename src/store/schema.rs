//! The migrations that this version knows, and which of them a database has.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{ConnectOptions, Connection};

use super::Store;
use super::error::Error;
use super::options::Options;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number; they are applied in rising order.
    pub version: i64,
    /// What it brings.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

impl Store {
    /// The migrations in order, and whether the database at `path` has them; a file that does not exist has none.
    /// Changes nothing.
    ///
    /// # Errors
    /// When the file is there and is not a database that can be read.
    pub async fn migrations(path: &Path) -> Result<Vec<Migration>, Error> {
        let highest = if path.exists() { highest(path).await? } else { 0 };
        let known = MIGRATIONS.iter().filter(|migration| migration.migration_type.is_up_migration());
        Ok(known
            .map(|migration| Migration {
                version: migration.version,
                name: migration.description.to_string(),
                applied: migration.version <= highest,
            })
            .collect())
    }
}

impl Store {
    /// The journal position that the database at `path` holds, without opening it for writing; 0 where there is no
    /// database yet.
    ///
    /// # Errors
    /// When the file is there and is not a database that can be read.
    pub async fn applied_at(path: &Path) -> Result<u64, Error> {
        if !path.exists() || highest(path).await? == 0 {
            return Ok(0);
        }
        let opening = |source| Error::Open { path: path.to_owned(), source };
        let mut connection = Options::at(path).reading().connect().await.map_err(opening)?;
        let applied = super::open::applied(&mut connection).await?;
        connection.close().await?;
        Ok(applied)
    }
}

async fn highest(path: &Path) -> Result<i64, Error> {
    let opening = |source| Error::Open { path: path.to_owned(), source };
    let mut connection = Options::at(path).reading().connect().await.map_err(opening)?;
    let kept: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut connection)
    .await?;
    let mut highest = 0;
    if kept > 0 {
        highest = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(highest)
}
