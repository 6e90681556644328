//! The migrations that this version knows, and which of them a database has.

use std::cmp::Ordering;

use sqlx::migrate::Migrator;

use super::connection::{Borrowed, Connection};
use super::error::Error;
use super::options::{Database, Options};
use super::sql::Dialect;
use super::{Store, catalog, relocate};

static ON_SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static ON_POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

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
    /// The migrations in order, and whether `database` has them; a file that does not exist has none. Changes
    /// nothing.
    ///
    /// # Errors
    /// When the database is there and cannot be read.
    pub async fn migrations(database: &Database) -> Result<Vec<Migration>, Error> {
        let highest = match looking(database).await? {
            Some(mut connection) => {
                let highest = highest(&mut connection).await?;
                connection.close().await?;
                highest
            }
            None => 0,
        };
        let known =
            migrations(database).iter().filter(|migration| migration.migration_type.is_up_migration());
        Ok(known
            .map(|migration| Migration {
                version: migration.version,
                name: migration.description.to_string(),
                applied: migration.version <= highest,
            })
            .collect())
    }

    /// The journal position that the database of `options` holds, without opening it for writing; 0 where there is no
    /// database yet.
    ///
    /// # Errors
    /// When the database is there and cannot be read, or is somebody else's.
    pub async fn applied_at(options: &Options) -> Result<u64, Error> {
        let Some(mut connection) = looking(&options.database).await? else { return Ok(0) };
        let applied = match highest(&mut connection).await? {
            0 => {
                check_names(&mut connection).await?;
                0
            }
            _ => catalog::applied(&mut connection, &options.journal).await?,
        };
        connection.close().await?;
        Ok(applied)
    }
}

/// Brings the schema up to date. The migrations of a server run under its own lock, each in a transaction.
pub(super) async fn migrate(connection: &mut Connection, automigrate: bool) -> Result<(), Error> {
    if let Some(found) = foreign_encoding(connection).await? {
        return Err(Error::Encoding { found });
    }
    let migrator = of(connection.dialect());
    let known = known(connection.dialect());
    let found = highest(connection).await?;
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found == 0 {
        check_names(connection).await?;
    }
    if found < known && !automigrate {
        return Err(Error::Older { found, known });
    }
    let done = match connection.borrow() {
        Borrowed::Sqlite(connection) => migrator.run_direct(None, connection, false).await,
        Borrowed::Postgres(connection, mut patience) => {
            let migrating = migrator.run_direct(None, connection, false);
            return patience.wait(async { migrating.await.map_err(Error::Migrate) }).await;
        }
    };
    done.map_err(Error::Migrate)
}

/// Errs where the schema is not the one of this release.
pub(super) async fn check(connection: &mut Connection) -> Result<(), Error> {
    let (found, known) = (highest(connection).await?, known(connection.dialect()));
    match found.cmp(&known) {
        Ordering::Less => Err(Error::Older { found, known }),
        Ordering::Equal => Ok(()),
        Ordering::Greater => Err(Error::Newer { found, known }),
    }
}

/// The number of the newest migration of this release.
pub(super) fn known(dialect: Dialect) -> i64 {
    of(dialect).iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Refuses a database to which no migration was applied and that has a table by one of our names all the same.
pub(super) async fn check_names(connection: &mut Connection) -> Result<(), Error> {
    let names = names();
    let text = match connection.dialect() {
        Dialect::Sqlite => {
            format!("SELECT name FROM sqlite_schema WHERE lower(name) IN ({names}) ORDER BY 1")
        }
        // A table is made in the first schema of search_path; those of other schemas are not in its way.
        Dialect::Postgres => format!(
            "SELECT class.relname::text FROM pg_class AS class JOIN pg_namespace AS place ON place.oid = class.relnamespace \
             WHERE place.nspname = current_schema() AND class.relname::text IN ({names}) ORDER BY 1"
        ),
    };
    let table = connection.first(connection.sql(text), |row| row.get::<String>(0)).await?;
    // Somebody may have migrated it since it was looked at.
    if let Some(table) = table
        && highest(connection).await? == 0
    {
        return Err(Error::Foreign { table });
    }
    Ok(())
}

/// The encoding of a database that has not all characters; none where it has. A file always has.
pub(super) async fn foreign_encoding(connection: &mut Connection) -> Result<Option<String>, Error> {
    const FOREIGN: &str =
        "SELECT current_setting('server_encoding') WHERE current_setting('server_encoding') <> 'UTF8'";
    match connection.dialect() {
        Dialect::Sqlite => Ok(None),
        Dialect::Postgres => connection.first(connection.sql(FOREIGN), |row| row.get::<String>(0)).await,
    }
}

/// The names of our tables, as a list in SQL.
pub(super) fn names() -> String {
    let quoted: Vec<String> = relocate::tables().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}

/// How many migrations a database lacks whose newest is `found`.
pub(super) fn pending(dialect: Dialect, found: i64) -> usize {
    let known = of(dialect).iter().filter(|migration| migration.migration_type.is_up_migration());
    known.filter(|migration| migration.version > found).count()
}

fn migrations(database: &Database) -> &'static Migrator {
    of(match database {
        Database::Sqlite(_) => Dialect::Sqlite,
        Database::Postgres(_) => Dialect::Postgres,
    })
}

fn of(dialect: Dialect) -> &'static Migrator {
    match dialect {
        Dialect::Sqlite => &ON_SQLITE,
        Dialect::Postgres => &ON_POSTGRES,
    }
}

/// A connection to a database that is there, which may be anybody's: a file is left as it is.
pub(super) async fn looking(database: &Database) -> Result<Option<Connection>, Error> {
    match database {
        Database::Sqlite(file) if !file.path.exists() => Ok(None),
        Database::Sqlite(file) => Ok(Some(file.looking().await?.into())),
        Database::Postgres(_) => database.reader().await.map(Some),
    }
}

/// The number of the newest migration that the database has; 0 where it has none.
pub(super) async fn highest(connection: &mut Connection) -> Result<i64, Error> {
    let kept = match connection.dialect() {
        Dialect::Sqlite => {
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'"
        }
        // Another program may keep its own in a later schema of search_path.
        Dialect::Postgres => {
            "SELECT format('%I.%I', place.nspname, class.relname) FROM pg_class AS class \
             JOIN pg_namespace AS place ON place.oid = class.relnamespace \
             WHERE place.nspname = current_schema() AND class.relname = '_sqlx_migrations'"
        }
    };
    let Some(kept) = connection.first(connection.sql(kept), |row| row.get::<String>(0)).await? else {
        return Ok(0);
    };
    let highest = connection.sql(format!("SELECT coalesce(max(version), 0) FROM {kept} WHERE success"));
    Ok(connection.first(highest, |row| row.get::<i64>(0)).await?.unwrap_or(0))
}
