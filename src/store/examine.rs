//! Whether a server could work on a database, looked at without changing anything.

use super::connection::Connection;
use super::error::Error;
use super::options::Database;
use super::postgres::lead;
use super::sql::Dialect;
use super::{Store, schema};

/// The oldest release of Postgres that has what the store relies on.
const POSTGRES_MIN: i64 = 14;

/// What was seen of a database.
#[derive(Debug, PartialEq, Eq)]
pub struct Examined {
    /// False for a file that is made at the first start.
    pub is_there: bool,
    /// Migrations that are not applied yet.
    pub pending: usize,
    /// What keeps a server from working there.
    pub obstacles: Vec<Obstacle>,
}

/// What keeps a server from working on a Postgres database that lets it in, with its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The server is too old.
    #[error("this Postgres is of release {found}, and {} is needed at least", POSTGRES_MIN)]
    Old {
        /// Its release.
        found: i64,
    },
    /// It cannot be written to.
    #[error("it is a standby, or its transactions are set to read only: name the server that writes")]
    ReadsOnly,
    /// There is no place for tables.
    #[error(
        "search_path names no schema that {role} may use: create one there, or run GRANT USAGE, CREATE ON it TO {role}"
    )]
    NoSchema {
        /// Who logs in.
        role: String,
    },
    /// Tables and their partitions cannot be made.
    #[error("{role} may not make tables: run GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}")]
    NoTables {
        /// Who logs in.
        role: String,
        /// Where tables are made.
        schema: String,
    },
    /// Rows cannot be brought in by way of temporary tables.
    #[error("{role} may not make temporary tables: run GRANT TEMPORARY ON DATABASE {database} TO {role}")]
    NoTemporary {
        /// Who logs in.
        role: String,
        /// Where.
        database: String,
    },
    /// It has not all characters: what is named in others could not be stored.
    #[error(
        "it is encoded in {found}, which has not all characters: make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE \
         template0, and name that one"
    )]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// The lock of the server that leads would keep nobody out.
    #[error(
        "its connections share sessions, as over a pooler in transaction mode, and two servers could write at once: name the \
         port of Postgres itself, or set the pooler to session mode"
    )]
    Pooled,
    /// Partitions of a table cannot be made.
    #[error(
        "the table {table} belongs to another role, and only its owner makes partitions of it: log in as that role, or run \
         REASSIGN OWNED BY it TO {role}"
    )]
    Owner {
        /// Who logs in.
        role: String,
        /// The first such table.
        table: String,
    },
}

impl Store {
    /// Looks whether a server could work on `database`: whether it can be read and written, whose tables it has, and what a
    /// role may do there. Creates and changes nothing, but for the index (`-shm`) of a write-ahead log that has lost it.
    ///
    /// # Errors
    /// When the database is there and cannot be read or written, is of a newer release, or has tables of somebody else by
    /// the names of ours.
    pub async fn examine(database: &Database) -> Result<Examined, Error> {
        let Some(mut connection) = schema::looking(database).await? else {
            let pending = schema::pending(Dialect::Sqlite, 0);
            return Ok(Examined { is_there: false, pending, obstacles: Vec::new() });
        };
        let examined = examined(&mut connection).await;
        // Best effort: either database also notices when a connection just ends.
        let _ = connection.close().await;
        let mut examined = examined?;
        if let Database::Postgres(login) = database
            && lead::shares_sessions(login).await?
        {
            examined.obstacles.push(Obstacle::Pooled);
        }
        Ok(examined)
    }
}

async fn examined(connection: &mut Connection) -> Result<Examined, Error> {
    let (found, known) = (schema::highest(connection).await?, schema::known(connection.dialect()));
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found == 0 {
        schema::check_names(connection).await?;
    }
    let obstacles = match connection.dialect() {
        Dialect::Sqlite => {
            check_writing(connection).await?;
            Vec::new()
        }
        Dialect::Postgres => on_postgres(connection).await?,
    };
    Ok(Examined { is_there: true, pending: schema::pending(connection.dialect(), found), obstacles })
}

/// That a transaction that writes can be begun; it writes nothing. Beside a write-ahead log it begins in any case, as one that
/// reads: whether the files may be written is for the caller to look at.
async fn check_writing(connection: &mut Connection) -> Result<(), Error> {
    match connection.begin().await {
        Ok(()) => connection.roll_back().await,
        // Who has the lock could take it.
        Err(Error::Busy(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the database and the role that logged in lack.
async fn on_postgres(connection: &mut Connection) -> Result<Vec<Obstacle>, Error> {
    const RIGHTS: &str = "SELECT current_user::text, current_database()::text, coalesce(current_schema()::text, ''), \
         current_setting('server_version_num')::bigint / 10000, \
         pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), \
         has_database_privilege(current_database(), 'TEMPORARY')";
    let rights = connection.first(connection.sql(RIGHTS), |row| {
        let texts = (row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?);
        Ok((texts, row.get::<i64>(3)?, [row.get::<bool>(4)?, row.get::<bool>(5)?, row.get::<bool>(6)?]))
    });
    let Some(((role, database, schema), release, [reads_only, makes_tables, makes_temporary])) =
        rights.await?
    else {
        return Err(Error::Unreadable { what: "answer about rights" });
    };
    let mut obstacles = Vec::new();
    if release < POSTGRES_MIN {
        obstacles.push(Obstacle::Old { found: release });
    }
    if reads_only {
        obstacles.push(Obstacle::ReadsOnly);
    }
    if schema.is_empty() {
        obstacles.push(Obstacle::NoSchema { role: role.clone() });
    } else if !makes_tables {
        obstacles.push(Obstacle::NoTables { role: role.clone(), schema });
    }
    if !makes_temporary {
        obstacles.push(Obstacle::NoTemporary { role: role.clone(), database });
    }
    obstacles.extend(schema::foreign_encoding(connection).await?.map(|found| Obstacle::Encoding { found }));
    let names = schema::names();
    let of_others = format!(
        "SELECT class.relname::text FROM pg_class AS class JOIN pg_namespace AS place ON place.oid = class.relnamespace \
         WHERE place.nspname = current_schema() AND class.relname::text IN ({names}) \
         AND NOT pg_has_role(class.relowner, 'USAGE') ORDER BY 1"
    );
    let table = connection.first(connection.sql(of_others), |row| row.get::<String>(0)).await?;
    obstacles.extend(table.map(|table| Obstacle::Owner { role, table }));
    Ok(obstacles)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions, Connection as _};

    use super::*;
    use crate::store::options::{File, Options};

    async fn examine(path: &Path) -> Result<Examined, Error> {
        Store::examine(&Database::Sqlite(File::at(path))).await
    }

    fn entries(folder: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_file_is_examined_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let absent = examine(&path).await.unwrap();
        assert!(!absent.is_there && absent.pending > 0);
        assert!(entries(directory.path()).is_empty(), "nothing is made");

        let store = Store::open(Options::at(&path)).await.unwrap();
        let wanted = Examined { is_there: true, pending: 0, obstacles: Vec::new() };
        assert_eq!(examine(&path).await.unwrap(), wanted, "while a server works there");
        store.stop().await;
        let (before, names) = (std::fs::read(&path).unwrap(), entries(directory.path()));
        assert_eq!(examine(&path).await.unwrap(), wanted);
        assert_eq!((std::fs::read(&path).unwrap(), entries(directory.path())), (before, names));

        std::fs::write(&path, "no database at all, and long enough to be seen as none").unwrap();
        assert!(examine(&path).await.is_err());
    }

    #[tokio::test]
    async fn the_log_that_a_crash_has_left_is_read_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        Store::open(Options::at(&path)).await.unwrap().stop().await;
        let options = SqliteConnectOptions::new().filename(&path);
        let mut connection = options.connect().await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'of tomorrow', TRUE, x'00', 0)";
        sqlx::query(newer).execute(&mut connection).await.unwrap();
        let crashed = tempfile::tempdir().unwrap();
        let files = entries(directory.path());
        for name in &files {
            std::fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
        }
        connection.close().await.unwrap();
        let path = crashed.path().join("store.db");
        let log = crashed.path().join("store.db-wal");
        let read = || (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
        let before = read();
        assert!(!before.1.is_empty(), "what was written last is in the log alone");
        let found = examine(&path).await.unwrap_err();
        assert!(matches!(found, Error::Newer { found: 9999, .. }), "the log is read: {found}");
        assert!(read() == before && entries(crashed.path()) == files, "something changed");
    }

    #[tokio::test]
    async fn tables_of_somebody_else_are_told_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.db");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("CREATE TABLE Spans (id INTEGER)").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let before = std::fs::read(&path).unwrap();
        let is_told = |error: Error| matches!(error, Error::Foreign { table } if table == "Spans");
        assert!(is_told(examine(&path).await.unwrap_err()));
        assert!(is_told(Store::applied_at(&Options::at(&path)).await.unwrap_err()));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let refused = Store::open(Options::at(&path)).await.unwrap_err();
        assert!(refused.to_string().contains("import --predecessor"), "{refused}");
        assert!(is_told(refused));
    }
}
