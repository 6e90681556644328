//! The applier: one task that brings accepted requests into the store, in journal order.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle as Runtime, RuntimeFlavor};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::decode::Limits;
use crate::fault::{self, chain};
use crate::graph::Graph;
use crate::graph::join::{Arrival, Joiner, Outcome};
use crate::journal::{Journal, Lsn, Replay};
use crate::letters::Letters;
use crate::model::batch::Signal;
use crate::model::id::TenantNumber;
use crate::model::rollup::Observation;
use crate::model::time::UnixNanos;
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};
use crate::rules::Rules;
use crate::store::rows::{Commit, SpanRow};
use crate::vitals::health::Health;

use super::accept::Handle;
use super::enrich::{Enriched, Enricher};
use super::keep::Keep;
use super::options::Options;
use super::poison::{Origins, Request};
use super::queue::{Queue, Waiting};
use super::replay;
use super::sampling::Sampler;
use super::shares::Sender;
use super::tally::Tally;

/// What the pipeline works with.
pub struct Parts<S> {
    /// Where requests become durable.
    pub journal: Journal,
    /// What the journal holds beyond the store's position.
    pub replay: Replay,
    /// Where they are kept.
    pub store: S,
    /// Who is told afterwards.
    pub graph: Graph,
    /// Bounds of decoding, the same as at the door.
    pub limits: Limits,
    /// What is left out of what is stored; at a replay also what is refused, the same as at the door.
    pub rules: Rules,
    /// Where what cannot be stored is kept.
    pub letters: Letters,
    /// The wall time.
    pub clock: Clock,
    /// Where trouble is reported.
    pub health: Health,
    /// Called after each commit.
    pub committed: Arc<tokio::sync::Notify>,
}

/// Starts the applier. It first replays what the journal holds beyond the store, then sets the check `replay` good
/// and applies what arrives. The task ends after [`Handle::stop`], once nothing waits.
///
/// # Errors
/// When the store cannot tell its templates.
pub async fn start<S: Keep>(
    options: Options,
    parts: Parts<S>,
) -> Result<(Handle, JoinHandle<()>), crate::store::error::Error> {
    let (templates, highest) = parts.store.templates().await?;
    let queue = Arc::new(Queue::new(&options));
    let tally = Arc::new(Tally::default());
    let handle = Handle {
        journal: parts.journal.clone(),
        queue: Arc::clone(&queue),
        tally: Arc::clone(&tally),
        acknowledged_within: options.acknowledged_within,
    };
    parts.health.set("replay", false, "reading the journal");
    let door = replay::Door { limits: parts.limits, rules: parts.rules };
    let applier = Applier {
        enricher: Enricher::new(door.rules.clone(), templates, highest),
        joiner: Joiner::new(crate::graph::join::Options { spans_max: options.joined_spans_max }),
        sampler: Sampler::new(options.sampling),
        options,
        journal: parts.journal,
        store: parts.store,
        graph: parts.graph,
        letters: parts.letters,
        door: door.clone(),
        clock: parts.clock,
        health: parts.health,
        committed: parts.committed,
        queue,
        tally,
        unsynced: Lsn(0),
        synced_at: Instant::now(),
    };
    let falls = Falls(applier.health.clone());
    let task = tokio::spawn(async move {
        let _falls = falls;
        applier.run(parts.replay, door).await;
    });
    Ok((handle, task))
}

/// Tells that nothing is stored any more as soon as the applier panics, before anybody else can know.
struct Falls(Health);

impl Drop for Falls {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(
                "pipeline",
                false,
                "the applier ended in a panic: what is accepted is no longer stored",
            );
        }
    }
}

/// Spans that begin later than this from now are stored, but kept from the graph: its memory follows the newest.
const GRAPH_AHEAD_MAX: Duration = Duration::from_secs(60);

pub(super) struct Applier<S> {
    enricher: Enricher,
    pub(super) joiner: Joiner,
    sampler: Sampler,
    pub(super) options: Options,
    journal: Journal,
    pub(super) store: S,
    graph: Graph,
    pub(super) letters: Letters,
    /// What requests are held to.
    pub(super) door: replay::Door,
    clock: Clock,
    pub(super) health: Health,
    committed: Arc<tokio::sync::Notify>,
    queue: Arc<Queue>,
    pub(super) tally: Arc<Tally>,
    /// Applied, but perhaps still to be lost by the store in a power cut.
    unsynced: Lsn,
    synced_at: Instant,
}

impl<S: Keep> Applier<S> {
    async fn run(mut self, replay: Replay, door: replay::Door) {
        if let Err(broken) = self.catch_up(replay, door).await {
            let chain = chain(&broken);
            error!(error = chain, "the journal was not replayed to its end; nothing is applied");
            self.health.set("replay", false, chain);
            return;
        }
        let mut durable = self.journal.durable();
        loop {
            let reached = *durable.borrow_and_update();
            let waiting = self.queue.take(reached, self.options.commit_items_max);
            if !waiting.is_empty() {
                let began = Instant::now();
                let items: usize = waiting.iter().map(|request| request.batch.items()).sum();
                if !self.apply(waiting).await {
                    return;
                }
                if items >= self.options.commit_items_max {
                    self.queue.stored(items, began.elapsed());
                } else if !self.queue.is_stopping() {
                    self.gather(began).await;
                }
                continue;
            }
            if self.queue.is_stopping()
                && (self.queue.depth().requests == 0 || self.journal.stats().poisoned.is_some())
            {
                break;
            }
            tokio::select! {
                biased;
                () = self.queue.arrived() => {}
                changed = durable.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    self.sampler.expire(Instant::now());
                    self.account_samples();
                    self.release(false).await;
                }
            }
        }
        self.release(true).await;
    }

    /// Applies what the journal holds beyond the store.
    async fn catch_up(&mut self, replay: Replay, door: replay::Door) -> Result<(), replay::Broken> {
        let started = Instant::now();
        let mut records = 0;
        let mut source = replay::Source::new(replay, door);
        while let Some(read) = source.next(self.options.commit_items_max)? {
            records += read.waiting.len() as u64;
            for request in &read.waiting {
                // What became a letter before a crash, and is stored now, must not be sent again.
                if let Err(failure) = self.letters.take_back(request.source.received, request.lsn.0) {
                    warn!(
                        error = chain(&failure),
                        lsn = request.lsn.0,
                        "a dead letter of a request that is applied again stays"
                    );
                }
            }
            for letter in read.unreadable {
                self.bury(letter).await;
            }
            let applied = read.waiting.last().map(|request| request.lsn);
            if !self.apply(read.waiting).await || !self.pass(applied, read.last).await {
                return Err(replay::Broken::Led);
            }
        }
        self.tally.replayed(records);
        if records > 0 {
            info!(records, seconds = started.elapsed().as_secs_f64(), "replayed the journal");
        }
        self.health.set("replay", true, format!("{records} requests replayed at start"));
        Ok(())
    }

    /// Moves the position to `last`, where what lies behind `applied` is in letters. False as with [`Applier::apply`].
    async fn pass(&mut self, applied: Option<Lsn>, last: Option<Lsn>) -> bool {
        let Some(last) = last.filter(|last| applied.is_none_or(|applied| applied < *last)) else {
            return true;
        };
        let commit = Commit { lsn: last.0, ..Commit::default() };
        let passed = self.commit(commit, Origins::default(), &[]).await.is_some();
        self.unsynced = last;
        passed
    }

    /// Lets requests gather until the next commit is due, or the server stops.
    async fn gather(&self, began: Instant) {
        let due = began + self.options.commit_interval;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => {}
            () = self.queue.stopped() => {}
        }
    }

    /// Commits requests, however long the store makes it wait, and tells the graph. False where the server must not go on.
    async fn apply(&mut self, waiting: Vec<Waiting>) -> bool {
        let Some(lsn) = waiting.last().map(|last| last.lsn) else { return true };
        let mut counts = [0_u64; 3];
        let mut enriched = Enriched::default();
        // Thousands of records take a while: the other tasks of this thread go on elsewhere.
        let (requests, broken) = in_place(|| self.enrich(waiting, &mut enriched));
        requests.iter().for_each(|request| counts[request.signal as usize] += request.items as u64);
        for request in &broken {
            self.bury(request.whole("reading it ended in a panic, a defect of this version")).await;
        }
        self.recall(&enriched).await;
        let (outcomes, observed) = self.join(&enriched, &requests).await;
        let Enriched { spans, arrivals, logs, points, templates, mut observations, counted_only, left_out } =
            enriched;
        self.tally.left_out(counted_only, left_out);
        let all_spans = spans.len();
        let spans = fresh(spans, outcomes);
        let left_of_spans = (all_spans - spans.len()) as u64;
        let picked = self.sampler.pick(Instant::now(), spans);
        let (places, spans) = picked.rows.into_iter().unzip();
        observations.extend(observed);
        let commit = Commit { lsn: lsn.0, spans, logs, points, observations, templates };
        let origins = Origins::new(places, &commit);
        let Some((commit, buried)) = self.commit(commit, origins, &requests).await else { return false };
        if buried[Signal::Traces as usize] > 0 {
            // It takes them for stored, and would take them for duplicates when they are sent again.
            self.forget_joined();
        }
        in_place(|| self.show(&arrivals, &commit));
        counts[Signal::Traces as usize] += picked.rescued;
        counts[Signal::Traces as usize] -= left_of_spans + picked.passed_over;
        self.account_samples();
        counts[Signal::Logs as usize] -= counted_only;
        for signal in Signal::ALL {
            let index = signal as usize;
            self.tally.stored(signal, counts[index].saturating_sub(buried[index]));
        }
        self.tally.duplicates(left_of_spans);
        self.committed.notify_waiters();
        self.unsynced = lsn;
        if self.synced_at.elapsed() > Duration::from_secs(5) {
            self.release(false).await;
        }
        true
    }

    fn account_samples(&mut self) {
        let (held, gone) = self.sampler.account();
        self.tally.sampled(held, gone);
    }

    /// Adds the rows of requests to `enriched`. Answers the requests, and apart from them those that made this panic, of
    /// which nothing was added.
    fn enrich(&mut self, waiting: Vec<Waiting>, enriched: &mut Enriched) -> (Vec<Request>, Vec<Request>) {
        let (mut requests, mut broken) = (Vec::with_capacity(waiting.len()), Vec::new());
        for waiting in waiting {
            let Waiting { lsn, sender: Sender { tenant, .. }, batch, source, .. } = waiting;
            let (signal, items) = (batch.signal(), batch.items());
            let before = enriched.lengths();
            let (names, enricher) = (self.store.names(), &mut self.enricher);
            let work = || enricher.enrich(names, &tenant, batch, enriched);
            let outcome = catch_unwind(AssertUnwindSafe(work));
            if outcome.is_err() {
                enriched.cut_to(before);
            }
            let rows = before.of(signal)..enriched.lengths().of(signal);
            let request = Request { lsn: lsn.0, tenant, signal, items, source, rows };
            if outcome.is_ok() { &mut requests } else { &mut broken }.push(request);
        }
        (requests, broken)
    }

    /// Joins the arrivals. A request that makes this panic is parted with: its spans come out as if they were there
    /// before.
    async fn join(
        &mut self,
        enriched: &Enriched,
        requests: &[Request],
    ) -> (Vec<Outcome>, Vec<(TenantNumber, Observation)>) {
        let joiner = &mut self.joiner;
        let together = || catch_unwind(AssertUnwindSafe(|| joiner.join(&enriched.arrivals)));
        if let Ok(joined) = in_place(together) {
            return (joined.outcomes, joined.observations);
        }
        // What it remembers may be half of something. What is stored is recalled.
        self.forget_joined();
        let (mut outcomes, mut observations) = (Vec::new(), Vec::new());
        for request in requests.iter().filter(|request| request.signal == Signal::Traces) {
            self.recall(enriched).await;
            let (joiner, arrivals) = (&mut self.joiner, &enriched.arrivals[request.rows.clone()]);
            match catch_unwind(AssertUnwindSafe(|| joiner.join(arrivals))) {
                Ok(joined) => {
                    outcomes.extend(joined.outcomes);
                    observations.extend(joined.observations);
                }
                Err(_) => {
                    self.forget_joined();
                    outcomes.extend(request.rows.clone().map(|_| Outcome::Duplicate));
                    self.bury(request.whole("joining its spans ended in a panic, a defect of this version"))
                        .await;
                }
            }
        }
        (outcomes, observations)
    }

    /// Tells the graph what was stored.
    fn show(&self, arrivals: &[Arrival], commit: &Commit) {
        // A commit holds thousands of spans of a few hundred operations; each is told once.
        let told: HashSet<_> =
            arrivals.iter().map(|arrival| (arrival.tenant, arrival.operation, arrival.service)).collect();
        for (tenant, operation, service) in told {
            self.graph.declare(tenant, operation, service);
        }
        let latest = self.clock.now().plus(GRAPH_AHEAD_MAX);
        if commit.observations.iter().all(|(_, observation)| observation.at <= latest) {
            self.graph.record(&commit.observations);
        } else {
            let present = commit.observations.iter().filter(|(_, observation)| observation.at <= latest);
            self.graph.record(&present.copied().collect::<Vec<_>>());
        }
    }

    /// Lets the journal delete what the store has on disk for good.
    async fn release(&mut self, last: bool) {
        if self.unsynced == Lsn(0) {
            return;
        }
        match self.store.sync().await {
            Ok(position) => {
                fault::point("pipeline.flushed");
                self.journal.release(Lsn(position));
                if position >= self.unsynced.0 {
                    self.unsynced = Lsn(0);
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
        self.synced_at = Instant::now();
    }
}

/// The spans that were not there before, under the keys of their traces, each with its place.
fn fresh(spans: Vec<SpanRow>, outcomes: Vec<Outcome>) -> Vec<(usize, SpanRow)> {
    let placed = spans.into_iter().zip(outcomes).enumerate();
    let new = placed.filter_map(|(place, (mut row, outcome))| {
        let Outcome::New(key) = outcome else { return None };
        // A span far from its trace's first one keeps the key of its own time, where it will be looked for when it comes
        // again after a restart; readers fold the parts.
        if is_near(key, row.start) {
            row.trace_key = key;
        }
        Some((place, row))
    });
    new.collect()
}

/// Does what takes a while; the other tasks of this thread go on elsewhere, where there is another thread.
pub(super) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Runtime::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => tokio::task::block_in_place(work),
    }
}

fn is_near(key: TraceKey, start: UnixNanos) -> bool {
    let own = UnixNanos::from_seconds(start.bucket_seconds(BUCKET_SECONDS));
    let apart = key.bucket_start().since(own).max(own.since(key.bucket_start()));
    apart <= Duration::from_secs(BUCKET_SECONDS.unsigned_abs())
}
