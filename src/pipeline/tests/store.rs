//! What one server has of the database: its connection, and what it knows of the last commit, as the store keeps it.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};

use super::client;
use super::database::{Database, Event, Refusal, away};
use crate::model::id::{TenantNumber, TraceId};
use crate::model::rollup::{Cell, Subject};
use crate::model::time::UnixNanos;
use crate::pipeline::{Keep, Known};
use crate::store::error::Error;
use crate::store::names::Names;
use crate::store::recall::{Recalled, RecalledSpan};
use crate::store::rows::{Commit, Committed, SpanRow};

/// A position that no commit has: the connection was lost between two of them.
const NO_COMMIT: u64 = u64::MAX;

/// The store of one server; clones are the same one.
#[derive(Clone)]
pub(super) struct Store {
    database: Database,
    state: Arc<Mutex<State>>,
}

struct State {
    /// How far this server knows that it came.
    applied: u64,
    /// The connection was lost, and perhaps the end of the commit at this position.
    doubt: Option<u64>,
    /// How often other servers had stored something when this one began to lead.
    others: u64,
    /// What was answered last is that another server leads.
    is_led: bool,
    /// What this server stored.
    stored: Vec<Arc<Commit>>,
    /// Items of each signal therein.
    counts: [u64; 3],
}

/// The sums of each tenant and subject.
pub(super) type Sums = BTreeMap<(TenantNumber, Subject), Cell>;

impl Store {
    /// Waits until no other server leads.
    pub(super) async fn open(database: &Database) -> Self {
        while !database.leads().await {}
        let tables = database.tables();
        let state = State {
            applied: tables.position(),
            doubt: None,
            others: tables.others(),
            is_led: false,
            stored: Vec::new(),
            counts: [0; 3],
        };
        drop(tables);
        Self { database: database.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Whether what was answered last is that another server leads.
    pub(super) fn is_led(&self) -> bool {
        self.state().is_led
    }

    /// Items of each signal that this server stored.
    pub(super) fn counts(&self) -> [u64; 3] {
        self.state().counts
    }

    /// What this server stored.
    pub(super) fn stored(&self) -> Vec<Arc<Commit>> {
        self.state().stored.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn land(&self, commit: Arc<Commit>) {
        self.database.tables().land(Arc::clone(&commit));
        let mut state = self.state();
        client::stored(&commit).iter().for_each(|(_, signal, _)| state.counts[*signal as usize] += 1);
        state.stored.push(commit);
    }

    /// Connects anew, if that is needed. Whether the commit that was in doubt landed, and is the one at `lsn`.
    async fn settle(&self, lsn: u64) -> Result<bool, Error> {
        let Some(doubted) = self.state().doubt else { return Ok(false) };
        self.database.tables().away()?;
        let leads = self.database.leads().await;
        let mut tables = self.database.tables();
        let mut state = self.state();
        let was_led = state.is_led;
        state.is_led = !leads || tables.others() != state.others;
        if state.is_led {
            return Err(Error::Led);
        }
        if was_led {
            tables.note(Event::LedForAWhile);
        }
        let stored = tables.position();
        let before = std::mem::replace(&mut state.applied, stored);
        state.doubt = None;
        Ok(stored > before && stored == doubted && stored == lsn)
    }

    /// How the store fails where an item is refused.
    async fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Statement => Error::Statement(sqlx::Error::Encode("refused".into())),
            Refusal::PanicBeside => panicked().await,
            Refusal::Panic => {
                self.state().doubt = Some(NO_COMMIT);
                panicked().await
            }
        }
    }
}

/// How work ends that panics.
async fn panicked() -> Error {
    let work = tokio::spawn(async { resume_unwind(Box::new("as planned")) });
    Error::Lost(work.await.expect_err("a panic"))
}

impl Keep for Store {
    fn names(&self) -> &Names {
        &self.database.names
    }

    async fn templates(&self) -> Result<Known, Error> {
        Ok(Known::default())
    }

    async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, Error> {
        self.database.work(300).await;
        if self.settle(commit.lsn).await? {
            self.database.tables().note(Event::Found);
            return Ok(Committed::default());
        }
        let refusal = {
            let mut tables = self.database.tables();
            tables.away()?;
            let applied = self.state().applied;
            if commit.lsn < applied {
                return Err(Error::Behind { lsn: commit.lsn, applied });
            }
            tables.refuses(&commit)
        };
        if let Some(refusal) = refusal {
            return Err(self.refused(refusal).await);
        }
        let ends = self.database.tables().panics_at_end();
        if let Some(has_landed) = ends {
            self.state().doubt = Some(commit.lsn);
            if has_landed {
                self.land(commit);
            }
            return Err(panicked().await);
        }
        let lost = self.database.tables().loses();
        match lost {
            None => {
                self.state().applied = commit.lsn;
                self.land(commit);
                Ok(Committed::default())
            }
            Some(false) => {
                self.database.tables().note(Event::Lost);
                self.state().doubt = Some(commit.lsn);
                Err(away())
            }
            Some(true) => {
                let lsn = commit.lsn;
                self.land(commit);
                self.state().doubt = Some(lsn);
                // It looks at once, and may hear what it did not.
                match self.settle(lsn).await {
                    Ok(true) => Ok(Committed::default()),
                    Ok(false) | Err(_) => {
                        self.database.tables().note(Event::LandedUnheard);
                        Err(away())
                    }
                }
            }
        }
    }

    async fn try_out(&self, commit: Arc<Commit>) -> Result<(), Error> {
        self.database.work(10).await;
        match self.state().doubt {
            Some(NO_COMMIT) | None => {}
            Some(_) => {
                self.database.tables().note(Event::TriedInDoubt);
                return Err(Error::InDoubt);
            }
        }
        self.settle(NO_COMMIT).await?;
        let refusal = {
            let mut tables = self.database.tables();
            if let Err(error) = tables.away() {
                self.state().doubt = Some(NO_COMMIT);
                return Err(error);
            }
            tables.refuses(&commit)
        };
        match refusal {
            None => Ok(()),
            Some(refusal) => Err(self.refused(refusal).await),
        }
    }

    async fn recall(
        &self,
        tenant: TenantNumber,
        traces: &[(TraceId, UnixNanos)],
    ) -> Result<Vec<Recalled>, Error> {
        self.database.work(20).await;
        let mut tables = self.database.tables();
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
        let (position, commits) = (self.state().applied, self.database.tables().count());
        self.database.work(100).await;
        let mut tables = self.database.tables();
        tables.away()?;
        tables.sync(commits, position);
        Ok(position)
    }
}

/// Adds up what commits add to the roll-ups.
pub(super) fn sums<'c>(commits: impl IntoIterator<Item = &'c Arc<Commit>>) -> Sums {
    let mut sums = Sums::new();
    for cell in commits.into_iter().flat_map(|commit| commit.cells.iter()) {
        sums.entry((cell.tenant, cell.subject)).or_default().merge(cell.cell);
    }
    sums
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
