//! A database in memory that is slow, goes away and loses power, as the store promises to behave then.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::journal::tests::power::Dice;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::time::UnixNanos;
use crate::pipeline::Keep;
use crate::store::error::Error;
use crate::store::names::Names;
use crate::store::recall::{Recalled, RecalledSpan};
use crate::store::rows::{Commit, Committed, SpanRow, TemplateRow};

/// The database; clones are the same one.
#[derive(Clone)]
pub(super) struct Database {
    names: Arc<Names>,
    tables: Arc<Mutex<Tables>>,
}

struct Tables {
    dice: Dice,
    commits: Vec<Arc<Commit>>,
    /// Commits that survive a power cut.
    durable: usize,
    /// How many of a hundred commits fail.
    trouble: u64,
    /// A sync answers and writes nothing: the defect of who removes a segment before the barrier.
    lies: bool,
}

impl Database {
    pub(super) fn new(seed: u64) -> Self {
        let tables = Tables { dice: Dice(seed), commits: Vec::new(), durable: 0, trouble: 0, lies: false };
        Self { names: Arc::new(Names::default()), tables: Arc::new(Mutex::new(tables)) }
    }

    /// So many of a hundred commits fail from now on.
    pub(super) fn plan(&self, trouble: u64) {
        self.tables().trouble = trouble;
    }

    /// Syncs write nothing from now on.
    pub(super) fn lie(&self) {
        self.tables().lies = true;
    }

    /// Power goes now, and is back.
    pub(super) fn cut(&self) {
        let mut tables = self.tables();
        let lost = tables.commits.len() - tables.durable;
        let kept = tables.durable + tables.dice.below(lost as u64 + 1) as usize;
        tables.commits.truncate(kept);
        tables.durable = kept;
    }

    /// Everything up to here is stored.
    pub(super) fn position(&self) -> u64 {
        self.tables().position()
    }

    /// Everything that is stored.
    pub(super) fn commits(&self) -> Vec<Arc<Commit>> {
        self.tables().commits.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Waits for up to `most` milliseconds.
    async fn work(&self, most: u64) {
        let millis = self.tables().dice.below(most) + 1;
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

impl Tables {
    fn position(&self) -> u64 {
        self.commits.iter().map(|commit| commit.lsn).max().unwrap_or(0)
    }

    fn away(&mut self) -> Result<(), Error> {
        match self.dice.chance(self.trouble) {
            true => Err(Error::Away(sqlx::Error::PoolTimedOut)),
            false => Ok(()),
        }
    }

    fn spans_of(&self, tenant: TenantNumber, trace: TraceId) -> Vec<&SpanRow> {
        let spans = self.commits.iter().flat_map(|commit| &commit.spans);
        spans.filter(|span| span.tenant == tenant && span.trace_id == trace).collect()
    }
}

impl Keep for Database {
    fn names(&self) -> &Names {
        &self.names
    }

    async fn templates(&self) -> Result<(Vec<TemplateRow>, u32), Error> {
        Ok((Vec::new(), 0))
    }

    async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, Error> {
        self.work(300).await;
        let mut tables = self.tables();
        tables.away()?;
        let applied = tables.position();
        if commit.lsn < applied {
            return Err(Error::Behind { lsn: commit.lsn, applied });
        }
        tables.commits.push(commit);
        Ok(Committed::default())
    }

    async fn try_out(&self, _: Arc<Commit>) -> Result<(), Error> {
        Ok(())
    }

    async fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> Result<Vec<Recalled>, Error> {
        self.work(20).await;
        let mut tables = self.tables();
        tables.away()?;
        let recalled = traces.iter().filter_map(|(trace, _)| {
            let spans = tables.spans_of(tenant, *trace);
            let key = spans.iter().map(|span| span.trace_key).min()?;
            let spans = spans.into_iter().map(recalled).collect();
            Some(Recalled { trace_id: *trace, key, spans, truncated: false })
        });
        Ok(recalled.collect())
    }

    async fn sync(&self) -> Result<u64, Error> {
        let (position, commits) = {
            let tables = self.tables();
            (tables.position(), tables.commits.len())
        };
        self.work(100).await;
        let mut tables = self.tables();
        tables.away()?;
        if !tables.lies {
            tables.durable = tables.durable.max(commits);
        }
        Ok(position)
    }
}

fn recalled(span: &SpanRow) -> RecalledSpan {
    RecalledSpan {
        span_id: span.span_id,
        parent_id: span.parent_id,
        service: span.service,
        operation: span.operation,
        kind: span.kind,
        entry: span.entry,
        status: span.status,
        start: span.start,
        duration_ns: span.duration_ns,
        dependency: span.dependency,
    }
}
