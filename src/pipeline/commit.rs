//! Committing what was enriched, however long the store makes it wait, without the rows that it refuses for good.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, warn};

use crate::fault::{self, Kind, chain};
use crate::letters::Letter;
use crate::model::batch::Signal;
use crate::store::error::Error;
use crate::store::rows::{Commit, Committed};

use super::apply::in_place;
use super::finish::Committer;
use super::keep::Keep;
use super::poison::{Origins, Request, Row, Search};

/// How long another server may lead before this one gives up: its own connection may be on its way out.
const LED_MAX: Duration = Duration::from_secs(10);
/// Times that the store refuses the same data before it is searched for what is refused.
const REFUSALS: u32 = 3;

/// Another server leads.
struct Led;

/// What the store is asked to do with a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Commit,
    TryOut,
}

impl<S: Keep> Committer<S> {
    /// Commits. Answers what was committed, and of each signal how many items went into letters instead. None where
    /// another server leads by now: this one must not go on.
    pub(super) async fn commit(
        &self,
        mut commit: Arc<Commit>,
        mut origins: Origins,
        requests: &[Request],
    ) -> Option<(Arc<Commit>, [u64; 3])> {
        let mut buried = [0; 3];
        loop {
            let refused = match self.insist(&commit, Attempt::Commit).await.ok()? {
                Ok(committed) => {
                    self.tally.overflowed(committed.overflowed_points);
                    return Some((commit, buried));
                }
                Err(refused) => chain(&refused),
            };
            let found = self.refused_rows(&commit).await.ok()?;
            if found.is_empty() {
                self.health.set("store", false, refused.clone());
                error!(
                    lsn = commit.lsn,
                    error = refused,
                    "the store refuses a commit, for no row of it; it is tried again"
                );
                tokio::time::sleep(self.options.retry_interval_max).await;
                continue;
            }
            for (request, places, reason) in origins.requests(requests, &found) {
                buried[request.signal as usize] += places.len() as u64;
                if request.signal == Signal::Traces {
                    // Before anybody can send them again.
                    self.buries_spans.store(true, Ordering::Release);
                }
                self.bury(request.part(&places, &self.door, reason)).await;
            }
            let rows: BTreeSet<Row> = found.into_keys().collect();
            let (rest, left) = origins.without(&commit, &rows);
            (commit, origins) = (Arc::new(rest), left);
        }
    }

    /// The rows for which the store refuses a commit, each with why; none where it does not for a row of it, or where only
    /// the commit itself can tell.
    async fn refused_rows(&self, commit: &Commit) -> Result<BTreeMap<Row, String>, Led> {
        let mut search = Search::new(commit);
        while let Some(part) = search.next() {
            match self.insist(&Arc::new(part), Attempt::TryOut).await? {
                Ok(_) => search.took(),
                Err(Error::InDoubt) => return Ok(BTreeMap::new()),
                Err(refused) => search.refused(chain(&refused)),
            }
        }
        Ok(search.found())
    }

    /// Goes on until the store has done it, or refuses the data of it for good.
    async fn insist(&self, commit: &Arc<Commit>, attempt: Attempt) -> Result<Result<Committed, Error>, Led> {
        let (mut led_since, mut refusals): (Option<Instant>, u32) = (None, 0);
        let mut pause = Duration::from_millis(50);
        loop {
            let done = match attempt {
                Attempt::Commit => self.store.commit(Arc::clone(commit)).await,
                Attempt::TryOut => {
                    self.store.try_out(Arc::clone(commit)).await.map(|()| Committed::default())
                }
            };
            let failure = match done {
                Ok(done) => {
                    if attempt == Attempt::Commit {
                        fault::point("pipeline.committed");
                        self.tally.committed(None);
                    }
                    self.health.set("store", true, "");
                    return Ok(Ok(done));
                }
                Err(failure) => failure,
            };
            if matches!(failure, Error::WentBack) {
                error!(error = chain(&failure), "what was accepted here stays in the journal");
                self.health.set("store", false, chain(&failure));
                return Err(Led);
            }
            led_since = match failure {
                Error::Led => Some(led_since.unwrap_or_else(Instant::now)),
                _ => None,
            };
            if led_since.is_some_and(|since| since.elapsed() > LED_MAX) {
                error!("another server leads on this database; what was accepted here stays in the journal");
                return Err(Led);
            }
            if attempt == Attempt::Commit {
                self.tally.committed(Some(failure.kind()));
            }
            refusals = if failure.is_of_data() { refusals + 1 } else { 0 };
            let ends_try = refusals > 0 || matches!(failure, Error::InDoubt);
            if refusals >= REFUSALS || ends_try && attempt == Attempt::TryOut {
                return Ok(Err(failure));
            }
            let chain = chain(&failure);
            if failure.kind() == Kind::Internal {
                error!(error = chain, "the store refuses a commit; it is tried again");
            } else {
                warn!(error = chain, "the store is away; the commit is tried again");
            }
            self.health.set("store", false, chain);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.options.retry_interval_max);
        }
    }

    /// Keeps a letter, however long it takes until there is room for it: what is in no table and in no letter must not
    /// leave the journal.
    pub(super) async fn bury(&self, letter: Letter) {
        let mut pause = Duration::from_millis(50);
        loop {
            let work = || self.letters.put(&letter);
            match in_place(|| catch_unwind(AssertUnwindSafe(work))) {
                Ok(Ok(name)) => {
                    error!(name, items = letter.items, reason = letter.reason, "put into a dead letter");
                    self.tally.buried(letter.signal, letter.items);
                    self.health.set("dead_letters", true, "");
                    return;
                }
                Ok(Err(failure)) => {
                    let chain = chain(&failure);
                    error!(
                        error = chain,
                        "a dead letter cannot be kept, so nothing more is stored; it is tried again"
                    );
                    self.health.set("dead_letters", false, chain);
                }
                Err(_) => error!("keeping a dead letter ended in a panic; it is tried again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(self.options.retry_interval_max);
        }
    }
}
