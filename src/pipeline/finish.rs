//! What becomes of a commit once it is made: it is stored, and then shown to the graph.
//!
//! One commit is finished at a time, in order; the applier makes the next one meanwhile.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use crate::clock::Clock;
use crate::fault::{self, chain};
use crate::graph::Graph;
use crate::graph::join::Arrival;
use crate::journal::{Journal, Lsn};
use crate::letters::Letters;
use crate::model::batch::Signal;
use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::store::rows::Commit;
use crate::vitals::health::Health;

use super::apply::{Falls, in_place};
use super::keep::Keep;
use super::options::Options;
use super::poison::{Origins, Request};
use super::queue::Queue;
use super::replay::Door;
use super::tally::Tally;

/// Spans whose ten seconds begin later than this from now are stored, but kept from the graph: its memory follows the newest.
const GRAPH_AHEAD_MAX: Duration = Duration::from_secs(60);
/// How often the store is asked to make what it has survive a power cut, so that the journal can let go of it.
const RELEASE_AFTER: Duration = Duration::from_secs(5);

/// Stores what was made, and tells everybody.
pub(super) struct Committer<S> {
    pub(super) options: Options,
    pub(super) journal: Journal,
    pub(super) store: S,
    pub(super) graph: Graph,
    pub(super) letters: Letters,
    /// What requests are held to.
    pub(super) door: Door,
    pub(super) clock: Clock,
    pub(super) health: Health,
    pub(super) committed: Arc<Notify>,
    pub(super) queue: Arc<Queue>,
    pub(super) tally: Arc<Tally>,
    pub(super) progress: Mutex<Progress>,
    /// Spans went into letters since the joiner began to remember.
    pub(super) buries_spans: AtomicBool,
}

/// How far the committer came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Up to where it is applied, where the store may still lose some of it in a power cut.
    unsynced: Option<Lsn>,
    synced_at: Instant,
    /// When the last commit ended.
    finished_at: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        // Whether the store has on disk what earlier runs applied, and the journal let go of it, is not known.
        Self { unsynced: Some(Lsn(0)), synced_at: now, finished_at: now }
    }
}

/// An operation, of a service, that spans were seen of.
type Seen = (TenantNumber, OperationId, ServiceId);

/// A commit that is to be stored, and what is to be told when it is.
pub(super) struct Made {
    /// When its requests were taken.
    pub(super) began: Instant,
    /// Its items, where it holds as much as a commit takes.
    pub(super) full_of: Option<usize>,
    pub(super) commit: Arc<Commit>,
    pub(super) origins: Origins,
    pub(super) requests: Vec<Request>,
    pub(super) seen: HashSet<Seen, RandomState>,
    /// Items of each signal that get stored.
    pub(super) counts: [u64; 3],
    /// Spans that were there before.
    pub(super) duplicates: u64,
    /// Spans that are held for a decision, and those that were given up, see [`super::sampling`].
    pub(super) sampled: (u64, u64),
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    /// All of it, or all but log records and points, is stored.
    Stored,
    /// Some of its spans went into letters.
    Buried,
    /// Another server leads by now: this one must not go on.
    Led,
}

impl<S: Keep> Committer<S> {
    /// Commits, however long the store makes it wait, and tells the graph.
    pub(super) async fn finish(self: Arc<Self>, made: Made) -> Finished {
        let _falls = Falls(self.health.clone());
        let Made { began, full_of, commit, origins, requests, seen, counts, duplicates, sampled } = made;
        let lsn = Lsn(commit.lsn);
        let Some((commit, buried)) = self.commit(commit, origins, &requests).await else {
            return Finished::Led;
        };
        in_place(|| self.show(seen, &commit));
        // Rows are many, and to let go of them takes a while: the next commit does not wait for it.
        tokio::task::spawn_blocking(move || drop((commit, requests)));
        self.tally.sampled(sampled.0, sampled.1);
        for signal in Signal::ALL {
            let index = signal as usize;
            self.tally.stored(signal, counts[index].saturating_sub(buried[index]));
        }
        self.tally.duplicates(duplicates);
        self.committed.notify_waiters();
        let is_due = {
            let mut progress = self.progress();
            let waited_for = progress.finished_at.max(began);
            progress.finished_at = Instant::now();
            if let Some(items) = full_of {
                // While the one before was stored this one was made: that took no time of its own.
                self.queue.stored(items, waited_for.elapsed());
            }
            progress.unsynced = Some(lsn);
            progress.synced_at.elapsed() > RELEASE_AFTER
        };
        if is_due {
            self.release(false).await;
        }
        if buried[Signal::Traces as usize] > 0 { Finished::Buried } else { Finished::Stored }
    }

    /// Moves the position to `lsn`, with nothing to store. False where another server leads.
    pub(super) async fn pass(&self, lsn: Lsn) -> bool {
        let commit = Arc::new(Commit { lsn: lsn.0, ..Commit::default() });
        let passed = self.commit(commit, Origins::default(), &[]).await.is_some();
        self.progress().unsynced = Some(lsn);
        passed
    }

    /// Tells the graph what was stored.
    fn show(&self, seen: HashSet<Seen, RandomState>, commit: &Commit) {
        for (tenant, operation, service) in seen {
            self.graph.declare(tenant, operation, service);
        }
        self.graph.record(&commit.cells, self.clock.now().plus(GRAPH_AHEAD_MAX));
    }

    /// Lets the journal delete what the store has on disk for good.
    pub(super) async fn release(&self, last: bool) {
        if self.progress().unsynced.is_none() {
            return;
        }
        match self.store.sync().await {
            Ok(position) => {
                fault::point("pipeline.flushed");
                self.journal.release(Lsn(position));
                let mut progress = self.progress();
                if progress.unsynced.is_some_and(|unsynced| position >= unsynced.0) {
                    progress.unsynced = None;
                }
            }
            Err(failure @ crate::store::error::Error::NotFlushed) => {
                self.health.set("database_flush", false, chain(&failure));
            }
            Err(failure) if last => {
                warn!(error = chain(&failure), "the store was not synced; the journal keeps its data")
            }
            Err(failure) => warn!(error = chain(&failure), "the store was not synced; it is tried again"),
        }
        self.progress().synced_at = Instant::now();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operations of some arrivals: a commit holds thousands of spans of a few hundred operations, and each is told once.
pub(super) fn seen(arrivals: &[Arrival]) -> HashSet<Seen, RandomState> {
    arrivals.iter().map(|arrival| (arrival.tenant, arrival.operation, arrival.service)).collect()
}
