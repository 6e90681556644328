//! The one writer: commits one after the other, each everything or nothing.
//!
//! What memory keeps between commits (ids, cells, series) is computed beside it and taken over after the transaction
//! ended well. When it ended without saying how, because the connection was lost, another connection is opened and
//! the database is asked.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedMutexGuard, RwLock};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

use super::catalog::{self, Making};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::names::{Names, Oldest};
use super::options::{Database, Options};
use super::partition::{Kept, Partition, Partitions};
use super::rollups::{self, Rollups};
use super::rows::{Commit, Committed};
use super::series::SeriesTable;
use super::sql::Dialect;
use super::sqlite::file;
use super::templates::LastDays;
use super::write::{self, Shape, Written};
use super::{Inner, Store, ahead, schema};
use crate::fault;

impl Store {
    /// Writes everything of `commit` in one transaction and moves [`Store::applied`] to its position.
    ///
    /// After an error nothing changed, and the same commit can be tried again; keep an [`Arc`] of it for that.
    /// Errs with [`Error::Behind`] when the position lies before what was applied. One at the position itself is
    /// written without moving it. Commits are written one after the other in the order of the calls; a call that
    /// is dropped while it waits for its turn writes nothing, later its commit goes on to its end.
    pub async fn commit(&self, commit: impl Into<Arc<Commit>>) -> Result<Committed, Error> {
        let slot = Arc::clone(&self.inner.writer).lock_owned().await;
        let (inner, commit) = (Arc::clone(&self.inner), commit.into());
        ahead::handle().spawn(async move { inner.commit(slot, commit).await }).await.map_err(Error::Lost)?
    }

    /// Begins to work out what can be known of a commit before its turn: call it as soon as the commit is made. What was
    /// worked out of another one whose turn has not come is given up, and worked out again then.
    pub fn await_turn(&self, commit: &Arc<Commit>) {
        let next = Next::of(commit);
        *self.inner.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// Writes everything of `commit` and takes it back: errs where [`Store::commit`] would, and changes nothing.
    pub async fn try_out(&self, commit: impl Into<Arc<Commit>>) -> Result<(), Error> {
        let (inner, commit) = (Arc::clone(&self.inner), commit.into());
        tokio::spawn(async move { inner.try_out(&commit).await }).await.map_err(Error::Lost)?
    }
}

/// A commit before its turn, and its shape as soon as that is known.
#[derive(Debug)]
pub(super) struct Next {
    commit: Arc<Commit>,
    shape: JoinHandle<Shape>,
}

impl Next {
    fn of(commit: &Arc<Commit>) -> Self {
        let (commit, shaped) = (Arc::clone(commit), Arc::clone(commit));
        Self { commit, shape: spawn_blocking(move || Shape::of(&shaped)) }
    }
}

/// A position that no commit has: the connection was lost between two of them.
const NO_COMMIT: u64 = u64::MAX;

/// Where the writer is.
#[derive(Debug)]
pub(super) enum Slot {
    /// Waiting for a commit.
    Ready(Box<Writer>),
    /// A commit ended without saying how: the next one opens another connection and looks.
    InDoubt {
        /// The commit's position and what it would have answered.
        lsn: u64,
        committed: Committed,
    },
    /// Closed for good.
    Stopped,
}

impl Slot {
    /// The connection is lost or in use, and so may be the end of the commit at `lsn`.
    fn doubt(lsn: u64) -> Self {
        Self::InDoubt { lsn, committed: Committed::default() }
    }

    /// Takes the writer out: should work with it end in a panic, its connection is lost. None where it is not ready.
    fn take(&mut self) -> Option<Box<Writer>> {
        match std::mem::replace(self, Self::doubt(NO_COMMIT)) {
            Self::Ready(writer) => Some(writer),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// The one writing connection, and what memory keeps between commits.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    /// How the tables of a day are made.
    pub(super) making: Making,
    /// The attributes that are promoted, by partition.
    pub(super) promoted: HashMap<Partition, Arc<[String]>>,
    pub(super) partitions: Partitions,
    /// The first id that is free, or for points the first `seq`, by table; loaded when the table is first written.
    pub(super) next: HashMap<(Kept, Day), i64>,
    /// Whoever prepares the next commit waits until what the last one wrote is taken over.
    pub(super) rollups: Arc<RwLock<Rollups>>,
    pub(super) series: SeriesTable,
    /// The last days of log templates.
    pub(super) last_days: LastDays,
    /// When the write-ahead log was last to be begun anew.
    shortened_at: Option<Instant>,
}

/// How a transaction failed.
enum Failure {
    /// It was rolled back.
    Undone(Error),
    /// The connection was lost before it was asked to end, so it cannot have landed.
    Lost(Error),
    /// Nobody knows.
    InDoubt(Error, Committed),
}

impl Inner {
    async fn commit(&self, mut slot: OwnedMutexGuard<Slot>, commit: Arc<Commit>) -> Result<Committed, Error> {
        if let Some(committed) = self.settle_doubt(&mut slot, commit.lsn).await? {
            return Ok(committed);
        }
        let applied = self.applied.load(Ordering::Acquire);
        if commit.lsn < applied {
            return Err(Error::Behind { lsn: commit.lsn, applied });
        }
        let shape = self.shape(&commit).await?;
        let mut writer = slot.take().ok_or(Error::Stopped)?;
        writer.connection.take_back().await;
        if let Database::Sqlite(file) = &self.options.database
            && file.log_bytes() > file::LOG_BYTES_MAX
        {
            writer.shorten_log().await;
        }
        self.names.counted(&commit.cells);
        writer.last_days.rise(self.aging().floor());
        let ended = match writer.transaction((&commit, shape), &self.names, &self.options.journal).await {
            Ok(written) => {
                // Should this end in a panic from here on, nobody knows what became of the commit.
                *slot = Slot::doubt(commit.lsn);
                writer.end(written).await
            }
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(written) => {
                self.names.written(&written.pending);
                if commit.lsn > applied {
                    self.names.moved_on();
                }
                let committed = writer.take(written).await;
                self.applied.store(commit.lsn, Ordering::Release);
                *slot = Slot::Ready(writer);
                Ok(committed)
            }
            Err(Failure::Undone(error)) => {
                *slot = Slot::Ready(writer);
                Err(error)
            }
            Err(Failure::Lost(error)) => {
                *slot = Slot::doubt(NO_COMMIT);
                Err(error)
            }
            Err(Failure::InDoubt(error, committed)) => {
                *slot = Slot::InDoubt { lsn: commit.lsn, committed };
                // On Postgres it leads as long as its connection lives, and would keep the next one waiting.
                drop(writer);
                match self.settle_doubt(&mut slot, commit.lsn).await {
                    Ok(Some(committed)) => Ok(committed),
                    Ok(None) | Err(_) => Err(error),
                }
            }
        }
    }

    /// The shape of a commit, worked out now where nobody did before.
    async fn shape(&self, commit: &Arc<Commit>) -> Result<Shape, Error> {
        let next = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.take_if(|next| Arc::ptr_eq(&next.commit, commit))
        };
        let Next { shape, .. } = next.unwrap_or_else(|| Next::of(commit));
        shape.await.map_err(Error::Lost)
    }

    async fn try_out(&self, commit: &Arc<Commit>) -> Result<(), Error> {
        let shape = self.shape(commit).await?;
        let mut slot = self.writing().await?;
        let mut writer = slot.take().ok_or(Error::Stopped)?;
        let written = (commit, shape);
        let tried = match writer.connection.begin().await {
            Ok(()) => {
                write::write(&mut writer, written, &self.names, &self.options.journal).await.map(|_| ())
            }
            Err(error) => Err(error),
        };
        // Where the connection is lost, so is what was written; the next commit opens another.
        let undone = writer.connection.roll_back().await;
        let is_connected = undone.is_ok() && !matches!(tried, Err(Error::Away(_)));
        if is_connected || writer.connection.dialect() == Dialect::Sqlite {
            // SQLite takes back by itself what a failing disk made impossible, and then knows of no transaction.
            *slot = Slot::Ready(writer);
        }
        tried.and(undone)
    }

    /// Finds out what became of a commit whose end was lost, and answers what it would have, where it is in the
    /// database and is the one that is tried again now.
    async fn settle_doubt(&self, slot: &mut Slot, lsn: u64) -> Result<Option<Committed>, Error> {
        let Slot::InDoubt { lsn: doubted, committed } = slot else { return Ok(None) };
        let mut connection = self.options.database.writer().await?;
        if catalog::others(&mut connection, &self.options.journal).await? != self.others {
            // Another server led meanwhile and handed out names: what memory knows here is not what the tables say.
            return Err(Error::Led);
        }
        let stored = catalog::applied(&mut connection, &self.options.journal).await?;
        if stored < self.applied.load(Ordering::Acquire) {
            // Names that memory knows may be in no table, and requests that were stored are so no longer.
            return Err(Error::WentBack);
        }
        // A newer release may have led meanwhile: what this one writes, that one need not understand.
        schema::check(&mut connection).await?;
        let writer = Writer::start(connection, &self.options).await?;
        let before = self.applied.swap(stored, Ordering::AcqRel);
        let landed = stored > before && stored == *doubted && stored == lsn;
        let committed = landed.then(|| std::mem::take(committed));
        // Dictionary entries that landed as well stay queued: writing them again changes nothing.
        *slot = Slot::Ready(Box::new(writer));
        Ok(committed)
    }

    /// The writer, once it is free and connected, for work beside commits. While a commit is in doubt there is none:
    /// only that commit, tried again, may find out whether it landed, or it would be written twice.
    pub(super) async fn writing(&self) -> Result<OwnedMutexGuard<Slot>, Error> {
        self.connected(Arc::clone(&self.writer).lock_owned().await).await
    }

    /// The same for whoever waited until it was free.
    pub(super) async fn connected(
        &self,
        mut slot: OwnedMutexGuard<Slot>,
    ) -> Result<OwnedMutexGuard<Slot>, Error> {
        if let Slot::Ready(writer) = &mut *slot {
            writer.connection.take_back().await;
        }
        if let Slot::Ready(writer) = &mut *slot
            && let Err(error) = writer.answers().await
        {
            let was_silent = writer.connection.is_silent();
            *slot = Slot::doubt(NO_COMMIT);
            if was_silent {
                // Nobody could be reached either, after some time: the caller is told at once.
                return Err(error);
            }
        }
        match *slot {
            Slot::InDoubt { lsn, .. } if lsn != NO_COMMIT => return Err(Error::InDoubt),
            _ => self.settle_doubt(&mut slot, NO_COMMIT).await?,
        };
        Ok(slot)
    }
}

impl Writer {
    /// The attributes that are promoted in a partition, which may not exist yet.
    pub(super) fn promoted(&self, partition: Partition) -> Arc<[String]> {
        match self.partitions.has(partition) {
            true => self.promoted.get(&partition).cloned().unwrap_or_default(),
            false => self.making.promoted(partition),
        }
    }

    /// Reads what memory keeps between commits.
    pub(super) async fn start(mut connection: Connection, options: &Options) -> Result<Self, Error> {
        let making = Making::read(&mut connection, &options.promoted).await?;
        let promoted = catalog::promoted(&mut connection).await?;
        let partitions = catalog::partitions(&mut connection).await?;
        let rollups = Rollups::start(&mut connection, &partitions, rollups::OPEN_CELLS_MAX).await?;
        let mut series =
            SeriesTable::start(&mut connection, (options.series_per_tenant_max, options.series_max)).await?;
        if let Some(oldest) = Oldest::of(&partitions) {
            series.rest(oldest);
        }
        let rollups = Arc::new(RwLock::new(rollups));
        Ok(Self {
            connection,
            making,
            promoted,
            partitions,
            next: HashMap::new(),
            rollups,
            series,
            last_days: LastDays::default(),
            shortened_at: None,
        })
    }

    /// Errs where the connection does not answer; a file always does.
    async fn answers(&mut self) -> Result<(), Error> {
        match self.connection.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.connection.execute(self.connection.sql("SELECT 1")).await.map(|_| ()),
        }
    }

    /// Begins a transaction and writes the commit.
    async fn transaction(
        &mut self,
        (commit, shape): (&Arc<Commit>, Shape),
        names: &Names,
        journal: &str,
    ) -> Result<Written, Failure> {
        let rows = commit.spans.len() + commit.logs.len() + commit.points.len();
        if let Err(error) = self.begin(rows).await {
            return Err(match self.connection.dialect() {
                Dialect::Sqlite => Failure::Undone(error),
                // The server went away or was restarted: another connection is needed.
                Dialect::Postgres => Failure::Lost(error),
            });
        }
        match write::write(self, (commit, shape), names, journal).await {
            Ok(written) => {
                fault::point("store.written");
                Ok(written)
            }
            Err(error) => match self.connection.roll_back().await {
                // One that is away by its own word, as a server that only reads is, may have another in its place.
                Ok(()) if !matches!(error, Error::Away(_)) => Err(Failure::Undone(error)),
                _ => Err(Failure::Lost(error)),
            },
        }
    }

    /// Ends the transaction well.
    async fn end(&mut self, written: Written) -> Result<Written, Failure> {
        match self.connection.commit().await {
            Ok(()) => {
                fault::point("store.committed");
                Ok(written)
            }
            Err(error) => Err(Failure::InDoubt(error, written.committed)),
        }
    }

    /// Begins SQLite's write-ahead log anew, if whoever reads it ends soon.
    async fn shorten_log(&mut self) {
        if self.shortened_at.is_some_and(|at| at.elapsed() < file::SHORTEN_AFTER) {
            return;
        }
        let mut is_busy = false;
        for statement in file::shorten() {
            let statement = self.connection.sql(statement);
            // The one that copies the log answers whether somebody kept it from its end; the others answer their setting.
            match self.connection.rows(statement, |row| row.get::<i64>(0)).await {
                Ok(answer) => is_busy |= answer == [1],
                Err(error) => warn!(error = fault::chain(&error), "the write-ahead log was not begun anew"),
            }
        }
        if is_busy {
            warn!(
                "the write-ahead log grows, as somebody always reads it; it is begun anew once nobody does"
            );
        }
        self.shortened_at = Some(Instant::now());
    }

    async fn begin(&mut self, rows: usize) -> Result<(), Error> {
        if self.connection.dialect() == Dialect::Sqlite {
            let statement = self.connection.sql(file::checkpoint(rows));
            self.connection.execute(statement).await?;
        }
        self.connection.begin().await
    }

    async fn take(&mut self, written: Written) -> Committed {
        for partition in &written.made {
            self.promoted.insert(*partition, self.making.promoted(*partition));
        }
        self.partitions.0.extend(written.made);
        self.next.extend(written.next);
        let mut rollups = Arc::clone(&self.rollups).write_owned().await;
        // While the next commit begins.
        spawn_blocking(move || rollups.take(written.rollups));
        self.series.take(written.series);
        self.last_days.take(written.templates);
        written.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{ServiceId, TemplateId, TenantNumber};
    use crate::model::time::UnixNanos;
    use crate::store::rows::TemplateRow;

    /// A commit that takes some pages.
    fn large(lsn: u64) -> Commit {
        let template = |id| TemplateRow {
            id: TemplateId(id),
            tenant: TenantNumber(1),
            service: ServiceId(1),
            text: "x".repeat(20_000),
            sample: lsn.to_string(),
            first_seen: UnixNanos(1),
        };
        Commit { lsn, templates: (1..40).map(template).collect(), ..Commit::default() }
    }

    #[tokio::test]
    async fn what_is_left_half_done_holds_up_no_commit() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let template = "INSERT INTO templates VALUES (50, 1, 1, 'half', 'done', 1, 1)";
        // One that panics, and one for which nobody waits any more.
        for is_dropped in [false, true] {
            let inner = Arc::clone(&store.inner);
            let (begun, heard) = tokio::sync::oneshot::channel();
            let left = tokio::spawn(async move {
                let mut slot = inner.writing().await.unwrap();
                let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
                let work = async |connection: &mut Connection| {
                    connection.execute(connection.sql(template)).await?;
                    begun.send(()).unwrap();
                    if is_dropped {
                        std::future::pending::<()>().await;
                    }
                    panic!("a defect")
                };
                writer.connection.in_transaction(work).await
            });
            heard.await.unwrap();
            left.abort();
            left.await.unwrap_err();
            store.commit(large(1 + u64::from(is_dropped))).await.unwrap();
        }
        let mut slot = store.inner.writing().await.unwrap();
        let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
        let sql = writer.connection.sql("SELECT count(*) FROM templates WHERE id = 50");
        assert_eq!(writer.connection.first(sql, |row| row.get::<i64>(0)).await.unwrap(), Some(0));
    }

    #[tokio::test]
    async fn a_log_that_is_begun_anew_does_not_grow() {
        let directory = tempfile::tempdir().unwrap();
        let file = file::File::at(directory.path().join("store.db"));
        let store = Store::open(Options::at(file.path.clone())).await.unwrap();
        let mut before = 0;
        for lsn in 1..4 {
            store.commit(large(lsn)).await.unwrap();
            assert!(file.log_bytes() > before, "nothing begins it anew by itself");
            before = file.log_bytes();
        }
        let mut slot = store.inner.writing().await.unwrap();
        let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
        writer.shorten_log().await;
        drop(slot);
        store.commit(large(4)).await.unwrap();
        assert_eq!(file.log_bytes(), before);
    }
}
