//! The transaction: everything of a commit, or nothing of it.
//!
//! Details are compressed and folds computed on other threads while the rows are inserted. What memory keeps
//! between commits (ids, cells, series) is computed beside it and taken over after the transaction ended well.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;

use super::error::Error;
use super::insert::Insert;
use super::names::{Names, Pending};
use super::packing::{self, Plan};
use super::rollups::{self, Place, Rollups};
use super::rows::{Commit, Committed, TemplateRow};
use super::series::{self, SeriesTable};
use super::{Inner, Store, dictionaries, open, traces};
use crate::model::rollup::Cell;

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
        tokio::spawn(async move { inner.commit(slot, commit).await }).await.map_err(Error::Lost)?
    }
}

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

/// The one writing connection, and what memory keeps between commits.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    next_block: i64,
    next_log: i64,
    rollups: Rollups,
    series: SeriesTable,
}

/// What to take over once the transaction has ended well.
#[derive(Debug)]
struct Written {
    pending: Pending,
    blocks: usize,
    cells: Vec<(Place, Cell)>,
    series: series::Staged,
    committed: Committed,
}

/// How a transaction failed.
enum Failure {
    /// It was rolled back.
    Undone(Error),
    /// Nobody knows.
    InDoubt(Error, Committed),
}

impl Inner {
    async fn commit(&self, mut slot: OwnedMutexGuard<Slot>, commit: Arc<Commit>) -> Result<Committed, Error> {
        if let Some(committed) = self.settle_doubt(&mut slot, commit.lsn).await? {
            return Ok(committed);
        }
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let applied = self.applied.load(Ordering::Acquire);
        if commit.lsn < applied {
            return Err(Error::Behind { lsn: commit.lsn, applied });
        }
        match writer.transaction(&commit, &self.names).await {
            Ok(written) => {
                self.names.written(&written.pending);
                let committed = writer.take(written);
                self.applied.store(commit.lsn, Ordering::Release);
                Ok(committed)
            }
            Err(Failure::Undone(error)) => Err(error),
            Err(Failure::InDoubt(error, committed)) => {
                *slot = Slot::InDoubt { lsn: commit.lsn, committed };
                match self.settle_doubt(&mut slot, commit.lsn).await {
                    Ok(Some(committed)) => Ok(committed),
                    Ok(None) | Err(_) => Err(error),
                }
            }
        }
    }

    /// Finds out what became of a commit whose end was lost, and answers what it would have, where it is in the
    /// database and is the one that is tried again now.
    async fn settle_doubt(&self, slot: &mut Slot, lsn: u64) -> Result<Option<Committed>, Error> {
        let Slot::InDoubt { lsn: doubted, committed } = slot else { return Ok(None) };
        let mut connection = open::reconnect(&self.options).await?;
        let stored = open::applied(&mut connection).await?;
        let writer = Writer::start(connection).await?;
        let before = self.applied.swap(stored, Ordering::AcqRel);
        let landed = stored > before && stored == *doubted && stored == lsn;
        let committed = landed.then(|| std::mem::take(committed));
        // Dictionary entries that landed as well stay queued: writing them again changes nothing.
        *slot = Slot::Ready(Box::new(writer));
        Ok(committed)
    }
}

impl Writer {
    /// Reads what memory keeps between commits.
    pub(super) async fn start(mut connection: SqliteConnection) -> Result<Self, Error> {
        let last =
            "SELECT (SELECT coalesce(max(id), 0) FROM blocks), (SELECT coalesce(max(id), 0) FROM logs)";
        let (block, log): (i64, i64) = sqlx::query_as(last).fetch_one(&mut connection).await?;
        let rollups = Rollups::start(&mut connection, rollups::OPEN_CELLS_MAX).await?;
        let series = SeriesTable::start(&mut connection, series::SERIES_MAX).await?;
        Ok(Self { connection, next_block: block + 1, next_log: log + 1, rollups, series })
    }

    pub(super) fn into_connection(self) -> SqliteConnection {
        self.connection
    }

    async fn transaction(&mut self, commit: &Arc<Commit>, names: &Names) -> Result<Written, Failure> {
        // The lock on writing is taken at once, so that the transaction cannot fail half way for want of it.
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| Failure::Undone(error.into()))?;
        let next = Next { block: self.next_block, log: self.next_log };
        let written = write(&mut transaction, commit, names, next, (&self.rollups, &self.series)).await;
        match written {
            Ok(written) => match transaction.commit().await {
                Ok(()) => Ok(written),
                Err(error) => Err(Failure::InDoubt(error.into(), written.committed)),
            },
            Err(error) => match transaction.rollback().await {
                Ok(()) => Err(Failure::Undone(error)),
                Err(_) => Err(Failure::InDoubt(error, Committed::default())),
            },
        }
    }

    fn take(&mut self, written: Written) -> Committed {
        self.next_block += written.blocks as i64;
        self.next_log += written.committed.log_ids.len() as i64;
        self.rollups.take(written.cells);
        self.series.take(written.series);
        written.committed
    }
}

/// The ids that the commit starts with.
#[derive(Debug, Clone, Copy)]
struct Next {
    block: i64,
    log: i64,
}

async fn write(
    connection: &mut SqliteConnection,
    commit: &Arc<Commit>,
    names: &Names,
    next: Next,
    (rollups, series): (&Rollups, &SeriesTable),
) -> Result<Written, Error> {
    let plan = Arc::new(Plan::of(commit));
    let encoding = {
        let (commit, plan) = (Arc::clone(commit), Arc::clone(&plan));
        spawn_blocking(move || plan.encode(&commit))
    };
    let folding = {
        let commit = Arc::clone(commit);
        spawn_blocking(move || (traces::fold(&commit.spans), rollups::fold(&commit.observations)))
    };
    let pending = names.pending();
    dictionaries::write(&mut *connection, &pending).await?;
    insert_spans(&mut *connection, commit, &plan, next).await?;
    insert_logs(&mut *connection, commit, &plan, next).await?;
    insert_templates(&mut *connection, &commit.templates).await?;
    let series = series.write(&mut *connection, &commit.points).await?;
    let (summaries, delta) = folding.await.map_err(Error::Lost)?;
    traces::write(&mut *connection, &summaries).await?;
    let cells = rollups.write(&mut *connection, delta).await?;
    let blocks = encoding.await.map_err(Error::Lost)??;
    let block_bytes = blocks.iter().map(|block| block.data.len() as u64).sum();
    packing::write(&mut *connection, blocks, next.block).await?;
    sqlx::query("UPDATE applied SET lsn = ? WHERE one = 1")
        .bind(i64::try_from(commit.lsn).map_err(|error| sqlx::Error::Encode(error.into()))?)
        .execute(connection)
        .await?;
    let committed = Committed {
        first_log_id: next.log,
        log_ids: (next.log..).take(commit.logs.len()).collect(),
        detail_bytes: plan.bytes,
        block_bytes,
        overflowed_points: series.overflowed,
    };
    Ok(Written { pending, blocks: plan.blocks(), cells, series, committed })
}

async fn insert_spans(
    connection: &mut SqliteConnection,
    commit: &Commit,
    plan: &Plan,
    next: Next,
) -> Result<(), Error> {
    let spans: Vec<_> = commit.spans.iter().zip(&plan.spans).collect();
    SPANS
        .run(connection, &spans, |values, (span, spot)| {
            values.int(span.tenant.0);
            values.int(span.trace_key.0);
            values.blob(span.trace_id.as_bytes());
            values.blob(span.span_id.as_bytes());
            values.optional_blob(span.parent_id.as_ref().map(|id| &id.as_bytes()[..]));
            values.int(span.service.0);
            values.int(span.operation.0);
            values.int(span.resource.0);
            values.int(span.instrumentation.0);
            values.int(span.kind.0);
            values.int(span.status.number());
            values.int(span.entry);
            values.int(span.http_status);
            values.optional_int(span.dependency.map(|id| id.0.into()));
            values.int(span.start.0);
            values.unsigned(span.duration_ns);
            spot.columns(next.block).into_iter().for_each(|column| values.int(column));
        })
        .await
}

async fn insert_logs(
    connection: &mut SqliteConnection,
    commit: &Commit,
    plan: &Plan,
    next: Next,
) -> Result<(), Error> {
    let logs: Vec<_> = (next.log..).zip(&commit.logs).zip(&plan.logs).collect();
    LOGS.run(connection, &logs, |values, ((id, log), spot)| {
        values.int(*id);
        values.int(log.tenant.0);
        values.int(log.time.0);
        values.int(log.severity.0);
        values.int(log.service.0);
        values.int(log.resource.0);
        values.int(log.instrumentation.0);
        values.int(log.template.0);
        values.optional_blob(log.trace_id.as_ref().map(|id| &id.as_bytes()[..]));
        values.optional_blob(log.span_id.as_ref().map(|id| &id.as_bytes()[..]));
        spot.columns(next.block).into_iter().for_each(|column| values.int(column));
    })
    .await
}

async fn insert_templates(connection: &mut SqliteConnection, templates: &[TemplateRow]) -> Result<(), Error> {
    TEMPLATES
        .run(connection, templates, |values, template| {
            values.int(template.id.0);
            values.int(template.tenant.0);
            values.int(template.service.0);
            values.text(&template.text);
            values.text(&template.sample);
            values.int(template.first_seen.0);
        })
        .await
}

static SPANS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "spans (tenant_id, trace_key, trace_id, span_id, parent_id, service_id, operation_id, resource_id, \
         instrumentation_id, kind, status, entry, http_status, dependency_id, start_ns, duration_ns, block_id, \
         block_row)",
        18,
        "",
    )
});

static LOGS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "logs (id, tenant_id, time_ns, severity, service_id, resource_id, instrumentation_id, template_id, \
         trace_id, span_id, block_id, block_row)",
        12,
        "",
    )
});

static TEMPLATES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "templates (id, tenant_id, service_id, text, sample, first_seen)",
        6,
        "ON CONFLICT (id) DO UPDATE SET text = excluded.text, sample = excluded.sample, \
         first_seen = min(first_seen, excluded.first_seen)",
    )
});
