//! A database in memory that loses power, refuses items and lets another server lead. It outlives the servers; what one of
//! them has of it is a [`Store`](super::store::Store).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::client;
use crate::journal::tests::power::Dice;
use crate::model::id::{TenantNumber, TraceId};
use crate::store::error::Error;
use crate::store::names::Names;
use crate::store::rows::{Commit, SpanRow};

/// What happens in some worlds and not in others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A commit landed, and its sender was told that the connection was lost.
    LandedUnheard,
    /// It was found when it was tried again.
    Found,
    /// A commit was lost with the connection.
    Lost,
    /// Another server led, and a server that had waited for it led again.
    LedForAWhile,
    /// Another server stored something while it led: the one before must not go on.
    Overtaken,
    /// A server gave up, because another one led.
    GaveUp,
    /// A commit was refused for one of its items.
    Refused,
    /// One of its items made storing it end in a panic, in a thread beside the task that commits.
    PanickedBeside,
    /// The same in that task.
    Panicked,
    /// A commit ended in a panic while it was asked to end.
    PanickedAtEnd,
    /// Rows were to be tried out while such a commit was in doubt.
    TriedInDoubt,
    /// Items went into a letter.
    Buried,
    /// A server found requests in its journal that it does not decode.
    Unreadable,
    /// A server took a letter while it had not stored the commit yet that the letter is of.
    SentAgainEarly,
    /// A server took a letter with spans after the database was mended.
    SentAgainMended,
    /// A commit held as many bytes as one may, and fewer items.
    FullOfBytes,
    /// The accounts of a life were whole.
    Accounted,
}

impl Event {
    pub(super) const ALL: [Self; 17] = [
        Self::LandedUnheard,
        Self::Found,
        Self::Lost,
        Self::LedForAWhile,
        Self::Overtaken,
        Self::GaveUp,
        Self::Refused,
        Self::PanickedBeside,
        Self::Panicked,
        Self::PanickedAtEnd,
        Self::TriedInDoubt,
        Self::Buried,
        Self::Unreadable,
        Self::SentAgainEarly,
        Self::SentAgainMended,
        Self::FullOfBytes,
        Self::Accounted,
    ];
}

/// How often each happened.
pub(super) type Happened = BTreeMap<Event, u64>;

/// What goes wrong, each in so many of a hundred cases.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trouble {
    /// It is away when it is asked for something.
    pub(super) away: u64,
    /// The connection is lost with a commit.
    pub(super) lost: u64,
    /// Another server leads once the connection is lost.
    pub(super) led: u64,
    /// A commit ends in a panic while it is asked to end, and so do a few after it.
    pub(super) panics: u64,
}

/// Why an item is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The database does not take it.
    Statement,
    /// Storing it ends in a panic, in a thread beside the task that commits.
    PanicBeside,
    /// The same in that task.
    Panic,
}

/// The database; clones are the same one.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) names: Arc<Names>,
    tables: Arc<Mutex<Tables>>,
}

pub(super) struct Tables {
    dice: Dice,
    /// Decides about everything but slowness and absence.
    fate: Dice,
    commits: Vec<Arc<Commit>>,
    /// Commits that survive a power cut.
    durable: usize,
    /// The last position of which a server was told that it survives one.
    promised: u64,
    trouble: Trouble,
    /// Of a hundred items so many are refused.
    refused: u64,
    /// Items are refused no more.
    is_mended: bool,
    /// So many commits end in a panic.
    panics_next: u64,
    /// The next commit is lost with its connection, and another server leads for so long.
    loses_next: Option<Duration>,
    /// Another server leads until then.
    led_until: Option<Instant>,
    /// How often another server stored something.
    others: u64,
    /// A sync answers and writes nothing: the defect of who removes a segment before the barrier.
    lies: bool,
    pub(super) happened: Happened,
}

impl Database {
    pub(super) fn new(seed: u64) -> Self {
        let tables = Tables {
            dice: Dice(seed),
            fate: Dice(!seed),
            commits: Vec::new(),
            durable: 0,
            promised: 0,
            trouble: Trouble::default(),
            refused: 0,
            is_mended: false,
            panics_next: 0,
            loses_next: None,
            led_until: None,
            others: 0,
            lies: false,
            happened: Happened::new(),
        };
        Self { names: Arc::new(Names::default()), tables: Arc::new(Mutex::new(tables)) }
    }

    /// From now on this goes wrong.
    pub(super) fn plan(&self, trouble: Trouble) {
        self.tables().trouble = trouble;
    }

    /// So many of a hundred items are refused, until the database is mended.
    pub(super) fn refuse(&self, of_hundred: u64) {
        self.tables().refused = of_hundred;
    }

    /// Nothing is refused any more.
    pub(super) fn mend(&self) {
        self.tables().is_mended = true;
    }

    /// The next commit is lost with its connection, and another server leads for so long, and stores nothing.
    pub(super) fn lose_next(&self, led_for: Duration) {
        self.tables().loses_next = Some(led_for);
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

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Waits for up to `most` milliseconds.
    pub(super) async fn work(&self, most: u64) {
        let millis = self.tables().dice.below(most) + 1;
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Waits as long as one does for another server to give the lead back, and answers whether it did.
    pub(super) async fn leads(&self) -> bool {
        let Some(until) = self.tables().led_until else { return true };
        tokio::time::sleep_until(until.min(Instant::now() + Duration::from_secs(2))).await;
        until <= Instant::now()
    }
}

impl Tables {
    pub(super) fn note(&mut self, event: Event) {
        *self.happened.entry(event).or_default() += 1;
    }

    pub(super) fn position(&self) -> u64 {
        self.commits.iter().map(|commit| commit.lsn).max().unwrap_or(0)
    }

    /// How often another server stored something.
    pub(super) const fn others(&self) -> u64 {
        self.others
    }

    /// The last position of which a server was told that it survives a power cut.
    pub(super) const fn promised(&self) -> u64 {
        self.promised
    }

    pub(super) const fn is_mended(&self) -> bool {
        self.is_mended
    }

    pub(super) fn away(&mut self) -> Result<(), Error> {
        match self.dice.chance(self.trouble.away) {
            true => Err(away()),
            false => Ok(()),
        }
    }

    /// Whether a commit's connection is lost now, and whether the commit landed then. Another server may lead afterwards.
    pub(super) fn loses(&mut self) -> Option<bool> {
        if let Some(led_for) = self.loses_next.take() {
            self.led_until = Some(Instant::now() + led_for);
            return Some(false);
        }
        if !self.fate.chance(self.trouble.lost) {
            return None;
        }
        if self.fate.chance(self.trouble.led) {
            let most = if self.fate.chance(50) { 5_000 } else { 40_000 };
            self.led_until = Some(Instant::now() + Duration::from_millis(self.fate.below(most)));
            if self.fate.chance(40) {
                self.others += 1;
                self.note(Event::Overtaken);
            }
        }
        Some(self.fate.chance(50))
    }

    /// Whether a commit ends in a panic while it is asked to end, and whether it landed then.
    pub(super) fn panics_at_end(&mut self) -> Option<bool> {
        if self.panics_next == 0 && self.fate.chance(self.trouble.panics) {
            self.panics_next = 1 + self.fate.below(4);
        }
        let panics = self.panics_next > 0;
        self.panics_next = self.panics_next.saturating_sub(1);
        if !panics {
            return None;
        }
        self.note(Event::PanickedAtEnd);
        Some(self.fate.chance(30))
    }

    pub(super) fn land(&mut self, commit: Arc<Commit>) {
        self.commits.push(commit);
    }

    /// How many commits there are.
    pub(super) fn count(&self) -> usize {
        self.commits.len()
    }

    /// The first commits, so many, survive a power cut, and whoever asks is told so about `position`.
    pub(super) fn sync(&mut self, commits: usize, position: u64) {
        if !self.lies {
            self.durable = self.durable.max(commits);
        }
        self.promised = self.promised.max(position);
    }

    /// Why an item is refused until the database is mended.
    pub(super) fn refusal(&self, number: u64) -> Option<Refusal> {
        let mut dice = Dice(number);
        let kind = [Refusal::Statement, Refusal::Statement, Refusal::PanicBeside, Refusal::Panic];
        dice.chance(self.refused).then(|| kind[dice.below(4) as usize])
    }

    /// Why a commit is refused: for the first item that is.
    pub(super) fn refuses(&mut self, commit: &Commit) -> Option<Refusal> {
        if self.is_mended || self.refused == 0 {
            return None;
        }
        let refusal = client::stored(commit).into_iter().find_map(|(number, ..)| self.refusal(number))?;
        self.note(match refusal {
            Refusal::Statement => Event::Refused,
            Refusal::PanicBeside => Event::PanickedBeside,
            Refusal::Panic => Event::Panicked,
        });
        Some(refusal)
    }

    pub(super) fn spans_of(&self, tenant: TenantNumber, trace: TraceId) -> Vec<&SpanRow> {
        let spans = self.commits.iter().flat_map(|commit| &commit.spans);
        spans.filter(|span| span.tenant == tenant && span.trace_id == trace).collect()
    }
}

pub(super) fn away() -> Error {
    Error::Away(sqlx::Error::PoolTimedOut)
}
