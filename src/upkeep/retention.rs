//! What is old goes, a day at a time: by age, and where the disk budget is spent, the oldest day first.
//!
//! Before that, what was counted by the minute is added up by the hour, and metric points are reckoned to hours: these
//! are kept longest.
//!
//! Giving a day up takes no longer than a commit; its space comes back in small steps between commits. Days that come
//! are made ahead, so that no commit has to. Names, metric series and log templates that nothing which is kept has any more are
//! forgotten, some thousand at a time. On Postgres all of this is done by the server that leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::leaps::Leaps;
use super::reckoning;
use super::rounds::Rounds;
use crate::clock::Clock;
use crate::fault::{self, chain};
use crate::graph::Graph;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, Partition};
use crate::store::retire::Reclaimed;
use crate::vitals::health::Health;

/// How often it is looked whether something is old.
const INTERVAL: Duration = Duration::from_secs(60);
/// Pause between two turns of giving space back, twice as long as a turn: commits come first, what a turn touches is written
/// twice, and the journal shares the disk. How long a turn waited for a commit makes it no longer.
const TURN_PAUSE: Duration = Duration::from_millis(100);
/// How long a day is kept beyond its age: spans lie on the day on which their trace was first seen.
const SLACK: Duration = Duration::from_secs(1_800);

/// How long what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Spans and trace summaries.
    pub spans: Duration,
    /// Log records.
    pub logs: Duration,
    /// Metric points.
    pub points: Duration,
    /// Roll-ups of ten seconds.
    pub fine: Duration,
    /// Roll-ups of a minute.
    pub minute: Duration,
    /// Roll-ups of an hour, of traces and logs as of metric series; and investigations after their last note.
    pub hour: Duration,
    /// Bytes that the database and what is beside it may use; where they use more, the oldest days of spans, logs and
    /// points go. 0: no bound.
    pub budget_bytes: u64,
    /// Days whose tables are made ahead.
    pub ahead_days: u16,
}

/// What became of it, for the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    dropped: AtomicU64,
    dropped_for_space: AtomicU64,
    active: AtomicU64,
    rows_behind: AtomicU64,
    failures: AtomicU64,
    last_success: AtomicI64,
}

impl Tally {
    /// Partitions given up since start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Those of them that were given up for want of space, before their age.
    pub fn dropped_for_space(&self) -> u64 {
        self.dropped_for_space.load(Ordering::Relaxed)
    }

    /// Partitions that questions see.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Rows of partitions that were given up and are not removed yet; about.
    pub fn rows_behind(&self) -> u64 {
        self.rows_behind.load(Ordering::Relaxed)
    }

    /// Failures since the last success.
    pub fn consecutive_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// When it last succeeded, in seconds since the epoch; 0 before the first time.
    pub fn last_success_seconds(&self) -> i64 {
        self.last_success.load(Ordering::Relaxed)
    }
}

/// Tells the bytes on disk beside the database that count towards the budget too.
pub type Beside = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Starts looking; ends when `stop` is cancelled.
pub fn start(
    options: Options,
    (store, graph): (Store, Graph),
    (clock, health): (Clock, Health),
    beside: Beside,
    stop: CancellationToken,
) -> (Arc<Tally>, JoinHandle<()>) {
    let tally = Arc::new(Tally::default());
    let keeper = Keeper {
        options,
        store,
        graph,
        clock,
        beside,
        tally: Arc::clone(&tally),
        stop,
        leaps: Leaps::default(),
    };
    (tally, tokio::spawn(keeper.run(Rounds::new("retention", health))))
}

struct Keeper {
    options: Options,
    store: Store,
    graph: Graph,
    clock: Clock,
    beside: Beside,
    tally: Arc<Tally>,
    stop: CancellationToken,
    leaps: Leaps,
}

impl Keeper {
    async fn run(mut self, mut rounds: Rounds) {
        loop {
            match rounds.work(self.round()).await {
                None => {
                    self.tally.failures.fetch_add(1, Ordering::Relaxed);
                }
                Some(Ok(())) => {
                    self.tally.failures.store(0, Ordering::Relaxed);
                    self.tally.last_success.store(self.clock.now().seconds(), Ordering::Relaxed);
                }
                Some(Err(Error::Stopped)) => return,
                Some(Err(error)) => {
                    self.tally.failures.fetch_add(1, Ordering::Relaxed);
                    warn!(
                        error = chain(&error),
                        "days were not made or given up as they should be; it is tried again"
                    );
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(rounds.pause(INTERVAL)) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), Error> {
        fault::point("upkeep.retention");
        let now = self.clock.now();
        // What goes beside it is not kept from it: where one of these fails, the round tells so at its end.
        let prepared = self.prepare(now).await;
        self.store.roll_up_hours(now).await?;
        match reckoning::reckon_hours(&self.store, now, &self.stop).await {
            Ok(_) => {}
            Err(Error::Stopped) => return Err(Error::Stopped),
            // What is old goes all the same, or the disk would fill up.
            Err(error) => {
                warn!(error = chain(&error), "an hour of metrics was not reckoned; it is tried again")
            }
        }
        let partitions = self.store.partitions().await?;
        let believed = self.leaps.believed(now, Instant::now());
        let is_old = |partition: &Partition| self.options.is_old(*partition, believed);
        let old: Vec<Partition> = partitions.iter().copied().filter(is_old).collect();
        self.give_up(&old, "age").await?;
        self.store.forget_notes(believed.minus(self.options.hour)).await?;
        let reclaimed = self.reclaim().await;
        let made_room = self.make_room(believed).await;
        self.forget().await?;
        prepared.and(reclaimed).and(made_room)
    }

    async fn prepare(&self, now: UnixNanos) -> Result<(), Error> {
        let today = Day::of(now);
        let days = (0..=i32::from(self.options.ahead_days)).map(|ahead| today.plus(ahead));
        let partitions: Vec<Partition> = days
            .flat_map(|day| Family::ALL.map(|family| family.partition(day)))
            .filter(|partition| !self.options.is_old(*partition, now))
            .collect();
        self.store.prepare(&partitions).await.map(|_| ())
    }

    async fn give_up(&self, partitions: &[Partition], why: &str) -> Result<(), Error> {
        if partitions.is_empty() {
            let active = self.store.partitions().await?.len();
            self.tally.active.store(active as u64, Ordering::Relaxed);
            return Ok(());
        }
        let given = self.store.retire(partitions, self.clock.now()).await?;
        for partition in partitions {
            info!(kind = partition.family.name(), day = %partition.day, why, "gave up a day");
        }
        self.tally.dropped.fetch_add(given as u64, Ordering::Relaxed);
        let active = self.store.partitions().await?.len();
        self.tally.active.store(active as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back the space of what was given up.
    async fn reclaim(&self) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                read = self.store.read_ahead() => read?,
            }
            let outcome = self.store.reclaim(self.clock.now()).await?;
            self.tally.rows_behind.store(self.store.rows_behind().await?, Ordering::Relaxed);
            if outcome != Reclaimed::Step {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(TURN_PAUSE) => {}
            }
        }
        Ok(())
    }

    /// Forgets names, series and templates that nothing which is kept has any more.
    async fn forget(&self) -> Result<(), Error> {
        let (mut names, mut series, mut templates) = (0, 0, 0);
        loop {
            let forgotten = self.store.forget_unseen().await?;
            self.graph.forget(&forgotten.operations);
            (names, series) = (names + forgotten.names, series + forgotten.series);
            templates += forgotten.templates;
            if forgotten.is_empty() || self.stop.is_cancelled() {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(TURN_PAUSE) => {}
            }
        }
        if names + series + templates > 0 {
            info!(
                names,
                series,
                templates,
                "forgot names, metric series and log templates that nothing which is kept has any more"
            );
        }
        Ok(())
    }

    /// Gives up the oldest days of spans, logs and points until the database fits its budget; never today.
    async fn make_room(&self, now: UnixNanos) -> Result<(), Error> {
        let budget = self.options.budget_bytes;
        while budget > 0 && !self.stop.is_cancelled() {
            let used = self.store.used_bytes().await?.saturating_add((self.beside)());
            if used <= budget {
                break;
            }
            let raw = |partition: &Partition| {
                matches!(partition.family, Family::Spans | Family::Logs | Family::Points)
                    && partition.day < Day::of(now)
            };
            let partitions = self.store.partitions().await?;
            let oldest =
                partitions.iter().filter(|partition| raw(partition)).map(|partition| partition.day).min();
            let Some(oldest) = oldest else {
                warn!(
                    used,
                    budget, "DATA_DISK_BUDGET_MB is spent by what arrived today: nothing older can go"
                );
                break;
            };
            let given: Vec<Partition> = partitions
                .iter()
                .copied()
                .filter(|partition| raw(partition) && partition.day == oldest)
                .collect();
            self.give_up(&given, "space").await?;
            self.tally.dropped_for_space.fetch_add(given.len() as u64, Ordering::Relaxed);
            self.reclaim().await?;
            if self.tally.rows_behind() > 0 {
                // What was given up still takes its space: it is looked again later.
                break;
            }
        }
        Ok(())
    }
}

impl Options {
    const fn age_max(&self, family: Family) -> Duration {
        match family {
            Family::Spans => self.spans,
            Family::Logs => self.logs,
            Family::Points => self.points,
            Family::Fine => self.fine,
            Family::Minute => self.minute,
            Family::Hour | Family::SeriesHours => self.hour,
        }
    }

    /// Whether everything in it is older than it is kept.
    fn is_old(&self, partition: Partition, now: UnixNanos) -> bool {
        let until = now.minus(self.age_max(partition.family)).minus(SLACK);
        partition.end().start() <= until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_old_once_its_last_instant_is() {
        let day = |days: u64| Duration::from_secs(days * 86_400);
        let options = Options {
            spans: day(7),
            logs: day(7),
            points: day(7),
            fine: day(2),
            minute: day(30),
            hour: day(400),
            budget_bytes: 0,
            ahead_days: 1,
        };
        let partition = Partition { family: Family::Spans, day: Day(20_000) };
        let end = Day(20_001).start();
        assert!(!options.is_old(partition, end.plus(day(7))));
        assert!(options.is_old(partition, end.plus(day(7)).plus(SLACK)));
        let hours = Family::Hour.partition(Day(20_000));
        assert!(!options.is_old(hours, end.plus(day(400))));
        assert!(options.is_old(hours, hours.end().start().plus(day(401))));
    }
}
