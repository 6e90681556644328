//! Opening: the database, the schema, the dictionaries, the connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::aging::Aging;
use super::commit::{Slot, Writer};
use super::connection::Connection;
use super::error::Error;
use super::names::{Names, Oldest};
use super::options::{Database, Options};
use super::pool::Pool;
use super::sql::Dialect;
use super::sqlite::file::Held;
use super::{Inner, Store, ahead, catalog, dictionaries, schema};

impl Store {
    /// Starts the thread on which commits run, with the priority of the caller's: before others give way. Without this call it
    /// starts when it is needed.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn go_ahead() -> io::Result<()> {
        ahead::start()
    }

    /// Opens the database, creates it where missing, brings its schema up to date and reads the dictionaries.
    ///
    /// Errs when the database cannot be created or opened, was written by a newer release, or is of an older one
    /// while [`Options::automigrate`] is off; and with [`Error::Led`] where another server leads it.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let mut connection = options.database.writer().await?;
        let migrating = schema::migrate(&mut connection, options.automigrate);
        match options.migrate_timeout {
            Some(limit) => {
                tokio::time::timeout(limit, migrating).await.map_err(|_| Error::Slow { limit })??
            }
            None => migrating.await?,
        }
        let names = Names::with_limits(options.names);
        names.load(dictionaries::read(&mut connection).await?);
        let partitions = catalog::partitions(&mut connection).await?;
        if let Some(oldest) = Oldest::of(&partitions) {
            names.rest(oldest);
        }
        let applied = catalog::applied(&mut connection, &options.journal).await?;
        let others = catalog::others(&mut connection, &options.journal).await?;
        let writer = Writer::start(connection, &options).await?;
        let inner = Inner {
            readers: Pool::new(&options, options.readers.max(1)).await?,
            recaller: Pool::new(&options.recalling(), 1).await?,
            names,
            untold: std::sync::Mutex::default(),
            orphans: std::sync::Mutex::default(),
            aging: std::sync::Mutex::new(Aging::of(&partitions)),
            next: std::sync::Mutex::default(),
            applied: AtomicU64::new(applied),
            not_flushed: AtomicBool::new(false),
            held: Held::default(),
            others,
            writer: Arc::new(Mutex::new(Slot::Ready(Box::new(writer)))),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes all connections after the questions and the commit under way are done; everything after it
    /// answers [`Error::Stopped`].
    pub async fn stop(&self) {
        let slot = std::mem::replace(&mut *self.inner.writer.lock().await, Slot::Stopped);
        let mut writer = match slot {
            Slot::Ready(writer) => Some(writer),
            _ => None,
        };
        // At rest, every minute is a row for who reads it. One that is not is found open by who opens the store next. Before
        // questions are waited for: one over a lost connection may outlast what a stop may take.
        if let Some(writer) = &mut writer
            && let Err(error) = writer.close_minutes(i64::MAX).await
        {
            tracing::warn!(%error, "closing the database: its last minutes stay open");
        }
        self.readers().close().await;
        self.inner.recaller.close().await;
        if let Some(writer) = writer {
            close(writer.connection).await;
        }
    }

    /// Whether this server could write now: on a server, whether it is connected and leads. Waits for the commit under way.
    ///
    /// # Errors
    /// With what keeps it from writing.
    pub async fn check(&self) -> Result<(), Error> {
        match self.inner.options.database {
            Database::Sqlite(_) => Ok(()),
            Database::Postgres(_) => self.inner.writing().await.map(|_| ()),
        }
    }

    /// Makes the commits so far survive a power cut, and answers the position that is safe: journal up to it is
    /// no longer needed. Costs one flush of the write-ahead log on SQLite, nothing on a server, which flushed before
    /// it answered; waits for no commit.
    ///
    /// After [`Error::NotFlushed`] it answers nothing else: the system may have forgotten what it could not write, and would
    /// call a second flush a success (Rebello and others 2020).
    pub async fn sync(&self) -> Result<u64, Error> {
        if self.inner.not_flushed.load(Ordering::Acquire) {
            return Err(Error::NotFlushed);
        }
        // What was applied is in the log file, or a checkpoint flushed it into the database on its way out.
        let applied = self.inner.applied.load(Ordering::Acquire);
        if let Database::Sqlite(file) = &self.inner.options.database {
            let (file, inner) = (file.clone(), Arc::clone(&self.inner));
            let synced = tokio::task::spawn_blocking(move || file.sync(&inner.held));
            synced.await.map_err(Error::Lost)?.inspect_err(|error| {
                if matches!(error, Error::NotFlushed) {
                    self.inner.not_flushed.store(true, Ordering::Release);
                }
            })?;
        }
        Ok(applied)
    }
}

/// Best effort: what is not copied into the database now is read from the log at the next start.
async fn close(mut connection: Connection) {
    if connection.dialect() == Dialect::Sqlite {
        for statement in ["PRAGMA optimize", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = connection.execute(connection.sql(statement)).await {
                tracing::warn!(%error, statement, "closing the database");
            }
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}
