//! Opening: the file, the schema, the dictionaries, the connections.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnection, SqlitePoolOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::sync::Mutex;

use super::commit::Writer;
use super::error::Error;
use super::names::info::{InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use super::names::{Names, Pending};
use super::options::Options;
use super::{Inner, Store};
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::time::UnixNanos;

/// The first release in which a reset of the write-ahead log cannot lose a checkpointed page.
const LIBRARY: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

impl Store {
    /// Opens the database, creates it where missing, brings its schema up to date and reads the dictionaries.
    ///
    /// Errs when the file cannot be created or opened, was written by a newer release, or is of an older one
    /// while [`Options::automigrate`] is off.
    pub async fn open(options: Options) -> Result<Self, Error> {
        if let Some(directory) = options.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(directory)
                .await
                .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        }
        let opening = |source| Error::Open { path: options.path.clone(), source };
        let mut connection = options.writing().connect().await.map_err(opening)?;
        check_library(&mut connection).await?;
        migrate(&mut connection, options.automigrate).await?;
        let names = Names::default();
        names.load(dictionaries(&mut connection).await?);
        let applied = applied(&mut connection).await?;
        let tenants: Vec<_> = names.tenants().into_iter().map(|(number, _)| number).collect();
        let writer = Writer::start(connection, &tenants).await?;
        let pool = |connections: u32| {
            SqlitePoolOptions::new().max_connections(connections).connect_lazy_with(options.reading())
        };
        let inner = Inner {
            readers: pool(options.readers.max(1)),
            recaller: pool(1),
            names,
            applied: AtomicU64::new(applied),
            writer: Mutex::new(Some(writer)),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes all connections after the questions and the commit under way are done; everything after it
    /// answers [`Error::Stopped`].
    pub async fn stop(&self) {
        self.inner.readers.close().await;
        self.inner.recaller.close().await;
        if let Some(writer) = self.inner.writer.lock().await.take() {
            writer.stop().await;
        }
    }

    /// Makes the commits so far survive a power cut, and answers the position that is safe: journal up to it is
    /// no longer needed. Costs one flush of the write-ahead log; waits for no commit.
    pub async fn sync(&self) -> Result<u64, Error> {
        // What was applied is in the log file, or a checkpoint flushed it into the database on its way out.
        let applied = self.inner.applied.load(Ordering::Acquire);
        let path = self.inner.options.path.clone();
        tokio::task::spawn_blocking(move || sync_files(&path))
            .await
            .map_err(Error::Lost)?
            .map_err(|error| Error::Disk(sqlx::Error::Io(error)))?;
        Ok(applied)
    }
}

impl Writer {
    async fn stop(self) {
        let mut connection = self.into_connection();
        // Best effort: what is not copied into the database now is read from the log at the next start.
        for statement in ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = sqlx::query(statement).execute(&mut connection).await {
                tracing::warn!(%error, statement, "closing the database");
            }
        }
        if let Err(error) = connection.close().await {
            tracing::warn!(%error, "closing the database");
        }
    }
}

/// Opens another writing connection in place of one that failed.
pub(super) async fn reconnect(options: &Options) -> Result<SqliteConnection, Error> {
    options.writing().connect().await.map_err(|source| Error::Open { path: options.path.clone(), source })
}

/// The position that the database holds.
pub(super) async fn applied(connection: &mut SqliteConnection) -> Result<u64, Error> {
    let lsn: i64 = sqlx::query_scalar("SELECT lsn FROM applied WHERE one = 1").fetch_one(connection).await?;
    u64::try_from(lsn).map_err(|_| Error::Unreadable { what: "journal position" })
}

fn sync_files(path: &Path) -> std::io::Result<()> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::File::open(&log) {
        Ok(log) => log.sync_data()?,
        // Without a log everything is in the database.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::File::open(path)?.sync_data()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

async fn check_library(connection: &mut SqliteConnection) -> Result<(), Error> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(connection).await?;
    let numbers: Vec<u32> = found.split('.').map(|number| number.parse().unwrap_or(0)).collect();
    if numbers.as_slice() < LIBRARY.1.as_slice() {
        return Err(Error::Library { found, wanted: LIBRARY.0 });
    }
    Ok(())
}

async fn migrate(connection: &mut SqliteConnection, automigrate: bool) -> Result<(), Error> {
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let kept: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let found: i64 = if kept == 0 {
        0
    } else {
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await?
    };
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found < known && !automigrate {
        return Err(Error::Older { found, known });
    }
    MIGRATIONS.run_direct(None, connection, false).await.map_err(Error::Migrate)
}

async fn dictionaries(connection: &mut SqliteConnection) -> Result<Pending, Error> {
    let mut rows = Pending::default();
    for row in sqlx::query("SELECT id, name FROM tenants ORDER BY id").fetch_all(&mut *connection).await? {
        let tenant = TenantId::try_from(row.try_get::<&str, _>(1)?)
            .map_err(|_| Error::Unreadable { what: "tenant name" })?;
        rows.tenants.push((TenantNumber(row.try_get(0)?), tenant));
    }
    for row in sqlx::query("SELECT id, tenant_id, kind, name, first_seen FROM services ORDER BY id")
        .fetch_all(&mut *connection)
        .await?
    {
        rows.services.push(Arc::new(service(&row)?));
    }
    let statement = "SELECT id, tenant_id, service_id, kind, name, first_seen FROM operations ORDER BY id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.operations.push(Arc::new(OperationInfo {
            id: OperationId(row.try_get(0)?),
            tenant: TenantNumber(row.try_get(1)?),
            service: ServiceId(row.try_get(2)?),
            kind: SpanKind(row.try_get(3)?),
            name: row.try_get::<&str, _>(4)?.into(),
            first_seen: UnixNanos(row.try_get(5)?),
        }));
    }
    let statement = "SELECT r.id, r.tenant_id, r.service_id, r.version, r.instance, r.attributes, \
                     r.dropped_attributes, r.schema_url, r.first_seen, s.name \
                     FROM resources r JOIN services s ON s.id = r.service_id ORDER BY r.id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.resources.push(Arc::new(resource(&row)?));
    }
    let statement = "SELECT id, tenant_id, name, version, attributes, dropped_attributes, schema_url \
                     FROM instrumentations ORDER BY id";
    for row in sqlx::query(statement).fetch_all(&mut *connection).await? {
        rows.instrumentations.push(Arc::new(instrumentation(&row)?));
    }
    Ok(rows)
}

fn service(row: &SqliteRow) -> Result<ServiceInfo, Error> {
    Ok(ServiceInfo {
        id: ServiceId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        kind: NodeKind::from_number(row.try_get(2)?).ok_or(Error::Unreadable { what: "kind of node" })?,
        name: row.try_get::<&str, _>(3)?.into(),
        first_seen: UnixNanos(row.try_get(4)?),
    })
}

fn resource(row: &SqliteRow) -> Result<ResourceInfo, Error> {
    let resource = Resource {
        service: row.try_get::<&str, _>(9)?.into(),
        attributes: Attributes::from_checked(Bytes::copy_from_slice(row.try_get(5)?)),
        dropped_attributes: row.try_get(6)?,
        schema_url: Text::from(row.try_get::<&str, _>(7)?),
    };
    Ok(ResourceInfo {
        id: ResourceId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        service: ServiceId(row.try_get(2)?),
        version: row.try_get::<&str, _>(3)?.into(),
        instance: row.try_get::<&str, _>(4)?.into(),
        resource: Arc::new(resource),
        first_seen: UnixNanos(row.try_get(8)?),
    })
}

fn instrumentation(row: &SqliteRow) -> Result<InstrumentationInfo, Error> {
    let instrumentation = Instrumentation {
        name: Text::from(row.try_get::<&str, _>(2)?),
        version: Text::from(row.try_get::<&str, _>(3)?),
        attributes: Attributes::from_checked(Bytes::copy_from_slice(row.try_get(4)?)),
        dropped_attributes: row.try_get(5)?,
        schema_url: Text::from(row.try_get::<&str, _>(6)?),
    };
    Ok(InstrumentationInfo {
        id: InstrumentationId(row.try_get(0)?),
        tenant: TenantNumber(row.try_get(1)?),
        instrumentation: Arc::new(instrumentation),
    })
}
