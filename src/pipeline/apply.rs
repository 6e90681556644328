//! The applier: one task that makes commits of accepted requests, in journal order. While one is stored, the next is made.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Handle as Runtime, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::decode::Limits;
use crate::fault::chain;
use crate::graph::Graph;
use crate::graph::join::{Arrival, Joiner, Outcome};
use crate::journal::{Journal, Lsn, Replay};
use crate::letters::Letters;
use crate::model::batch::Signal;
use crate::model::rollup::Folded;
use crate::model::time::UnixNanos;
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};
use crate::rules::Rules;
use crate::store::rows::{Commit, SpanRow};
use crate::vitals::health::Health;

use super::accept::Handle;
use super::enrich::{Enriched, Enricher};
use super::finish::{self, Committer, Finished, Made, Progress};
use super::keep::Keep;
use super::options::Options;
use super::pace::COMMIT_ITEMS_MIN;
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
    let known = parts.store.templates().await?;
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
    let health = parts.health.clone();
    let committer = Committer {
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
        progress: Mutex::new(Progress::new()),
        buries_spans: AtomicBool::new(false),
    };
    let applier = Applier {
        enricher: Enricher::new(door.rules.clone(), known),
        joiner: joiner(&committer.options),
        sampler: Sampler::new(committer.options.sampling),
        committer: Arc::new(committer),
        storing: JoinSet::new(),
        ended: None,
        is_led: false,
    };
    let task = tokio::spawn(async move {
        let _falls = Falls(health);
        applier.run(parts.replay, door).await;
    });
    Ok((handle, task))
}

/// Tells that nothing is stored any more as soon as the applier panics, before anybody else can know.
pub(super) struct Falls(pub(super) Health);

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

pub(super) struct Applier<S> {
    enricher: Enricher,
    pub(super) joiner: Joiner,
    sampler: Sampler,
    pub(super) committer: Arc<Committer<S>>,
    /// The commit that is being stored, one at most; given up where the applier is.
    storing: JoinSet<Finished>,
    /// How it ended, where that is known before anybody waits for it.
    ended: Option<Finished>,
    /// Another server leads: whatever was not stored then must not be passed by.
    is_led: bool,
}

impl<S: Keep> Applier<S> {
    async fn run(mut self, replay: Replay, door: replay::Door) {
        let this = Arc::clone(&self.committer);
        if let Err(broken) = self.catch_up(replay, door).await {
            let chain = chain(&broken);
            error!(error = chain, "the journal was not replayed to its end; nothing is applied");
            this.health.set("replay", false, chain);
            return;
        }
        let mut durable = this.journal.durable();
        loop {
            let reached = *durable.borrow_and_update();
            let taken = this.queue.take(reached, this.options.commit_items_max);
            if !taken.requests.is_empty() {
                let began = Instant::now();
                if !self.apply(taken.requests, taken.is_full).await {
                    return;
                }
                if !taken.is_full && !this.queue.is_stopping() {
                    self.gather(began, taken.items).await;
                }
                continue;
            }
            if this.queue.is_stopping()
                && (this.queue.depth().requests == 0 || this.journal.stats().poisoned.is_some())
            {
                break;
            }
            tokio::select! {
                biased;
                () = this.queue.arrived() => {}
                changed = durable.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    if !self.stored().await {
                        return;
                    }
                    self.sampler.expire(Instant::now());
                    let (held, gone) = self.sampler.account();
                    this.tally.sampled(held, gone);
                    this.release(false).await;
                }
            }
        }
        if self.stored().await {
            this.release(true).await;
        }
    }

    /// Applies what the journal holds beyond the store.
    async fn catch_up(&mut self, replay: Replay, door: replay::Door) -> Result<(), replay::Broken> {
        let started = Instant::now();
        let this = Arc::clone(&self.committer);
        let mut records = 0;
        let mut source = replay::Source::new(replay, door);
        let items_max = this.options.commit_items_max.min(COMMIT_ITEMS_MIN);
        while let Some(read) = source.next(items_max, this.options.bytes_max / 4)? {
            records += read.waiting.len() as u64;
            for (received, lsn) in read.requests() {
                // What became a letter before a crash, and is stored or becomes another letter now, must not be sent again.
                if let Err(failure) = this.letters.take_back(received, lsn) {
                    warn!(
                        error = chain(&failure),
                        lsn, "a dead letter of a request that is applied again stays"
                    );
                }
            }
            for letter in read.unreadable {
                this.bury(letter).await;
            }
            let applied = read.waiting.last().map(|request| request.lsn);
            if !self.apply(read.waiting, false).await || !self.pass(applied, read.last).await {
                return Err(replay::Broken::Led);
            }
        }
        if !self.stored().await {
            return Err(replay::Broken::Led);
        }
        this.tally.replayed(records);
        if records > 0 {
            info!(records, seconds = started.elapsed().as_secs_f64(), "replayed the journal");
        }
        this.health.set("replay", true, format!("{records} requests replayed at start"));
        Ok(())
    }

    /// Moves the position to `last`, where what lies behind `applied` is in letters. False as with [`Applier::apply`].
    async fn pass(&mut self, applied: Option<Lsn>, last: Option<Lsn>) -> bool {
        match last.filter(|last| applied.is_none_or(|applied| applied < *last)) {
            Some(last) => self.stored().await && self.committer.pass(last).await,
            None => true,
        }
    }

    /// Lets requests gather until the next commit is due after one of so many items, or the server stops.
    async fn gather(&self, began: Instant, items: usize) {
        let due = began + self.committer.options.interval_after(items);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => {}
            () = self.committer.queue.stopped() => {}
        }
    }

    /// Makes a commit of requests, waits until the one before it is stored, and has it stored; a full one tells how fast
    /// that is. False where the server must not go on.
    async fn apply(&mut self, waiting: Vec<Waiting>, is_full: bool) -> bool {
        let Some(made) = self.make(waiting, is_full).await else { return !self.is_led };
        let finished = self.settled().await;
        let finishing = Arc::clone(&self.committer).finish(made);
        match finished {
            Finished::Stored => {
                self.storing.spawn(finishing);
                true
            }
            // The next is made only when this one can be recalled.
            Finished::Buried => {
                self.is_led |= finishing.await == Finished::Led;
                self.forget();
                !self.is_led
            }
            Finished::Led => false,
        }
    }

    /// Waits until nothing is being stored any more. False where the server must not go on.
    async fn stored(&mut self) -> bool {
        if self.settled().await == Finished::Buried {
            self.forget();
        }
        !self.is_led
    }

    /// Waits until nothing is being stored any more. After [`Finished::Buried`] the joiner takes spans for stored that are in
    /// letters, and would take them for duplicates when they are sent again: it has to forget, as soon as all that it knows
    /// of is stored.
    async fn settled(&mut self) -> Finished {
        if self.ended.is_none() {
            self.ended = self.storing.join_next().await.map(ended);
        }
        let finished = self.ended.take().unwrap_or(Finished::Stored);
        self.is_led |= finished == Finished::Led;
        if self.is_led { Finished::Led } else { finished }
    }

    /// Whether nothing more will be stored, as far as that is known by now.
    pub(super) fn is_led(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.storing.try_join_next().map(ended);
        }
        self.is_led || self.ended == Some(Finished::Led)
    }

    /// Makes a commit of requests; none of none, and where another server leads.
    async fn make(&mut self, waiting: Vec<Waiting>, is_full: bool) -> Option<Made> {
        let (began, lsn) = (Instant::now(), waiting.last()?.lsn);
        let this = Arc::clone(&self.committer);
        if this.buries_spans.load(Ordering::Acquire) {
            // These may be among them, sent again out of a letter.
            if !self.stored().await {
                return None;
            }
        }
        let mut counts = [0_u64; 3];
        let mut enriched = Enriched::default();
        // Thousands of records take a while: the other tasks of this thread go on elsewhere.
        let (requests, broken) = in_place(|| self.enrich(waiting, &mut enriched));
        requests.iter().for_each(|request| counts[request.signal as usize] += request.items as u64);
        let items = requests.iter().map(|request| request.items).sum();
        for request in &broken {
            this.bury(request.whole("reading it ended in a panic, a defect of this version")).await;
        }
        self.recall(&enriched).await;
        let (outcomes, mut cells) = self.join(&enriched, &requests).await;
        this.tally.overflowed_lines(enriched.overflowed);
        this.tally.unfollowed_links(enriched.links.unfollowed());
        let Enriched {
            mut spans,
            arrivals,
            logs,
            points,
            templates,
            gone,
            observations,
            counted_only,
            left_out,
            ..
        } = enriched;
        this.tally.left_out(counted_only, left_out);
        let all_spans = spans.len();
        let places = fresh(&mut spans, &outcomes);
        let duplicates = (all_spans - spans.len()) as u64;
        let picked = self.sampler.pick(Instant::now(), (spans, places));
        observations.iter().for_each(|(tenant, observation)| cells.add(*tenant, observation));
        let commit =
            Arc::new(Commit { lsn: lsn.0, spans: picked.rows, logs, points, cells, templates, gone });
        this.store.await_turn(&commit);
        counts[Signal::Traces as usize] += picked.rescued;
        counts[Signal::Traces as usize] -= duplicates + picked.passed_over;
        counts[Signal::Logs as usize] -= counted_only;
        Some(Made {
            began,
            full_of: Some(items).filter(|_| is_full),
            origins: Origins::new(picked.places, &commit),
            commit,
            requests,
            seen: finish::seen(&arrivals),
            counts,
            duplicates,
            sampled: self.sampler.account(),
        })
    }

    /// Adds the rows of requests to `enriched`. Answers the requests, and apart from them those that made this panic, of
    /// which nothing was added.
    fn enrich(&mut self, waiting: Vec<Waiting>, enriched: &mut Enriched) -> (Vec<Request>, Vec<Request>) {
        let (mut requests, mut broken) = (Vec::with_capacity(waiting.len()), Vec::new());
        // Before any line: what is forgotten now is in no commit from this one on.
        enriched.gone = self.enricher.forget(self.committer.store.aged_templates());
        for waiting in waiting {
            let Waiting { lsn, sender: Sender { tenant, .. }, batch, source, .. } = waiting;
            let (signal, items) = (batch.signal(), batch.items());
            let before = enriched.lengths();
            let (names, enricher) = (self.committer.store.names(), &mut self.enricher);
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
    async fn join(&mut self, enriched: &Enriched, requests: &[Request]) -> (Vec<Outcome>, Folded) {
        let joiner = &mut self.joiner;
        if let Ok(joined) = in_place(|| joined(joiner, &enriched.arrivals)) {
            return joined;
        }
        // What it remembers may be half of something. What is stored is recalled.
        self.forget_joined().await;
        let (mut outcomes, mut cells) = (Vec::new(), Folded::default());
        for request in requests.iter().filter(|request| request.signal == Signal::Traces) {
            self.recall(enriched).await;
            match joined(&mut self.joiner, &enriched.arrivals[request.rows.clone()]) {
                Ok((more, observed)) => {
                    outcomes.extend(more);
                    cells.merge(observed);
                }
                Err(_) => {
                    self.forget_joined().await;
                    outcomes.extend(request.rows.clone().map(|_| Outcome::Duplicate));
                    self.committer
                        .bury(request.whole("joining its spans ended in a panic, a defect of this version"))
                        .await;
                }
            }
        }
        (outcomes, cells)
    }

    /// Forgets what was joined, once it can be recalled.
    async fn forget_joined(&mut self) {
        self.stored().await;
        self.forget();
    }

    fn forget(&mut self) {
        self.joiner = joiner(&self.committer.options);
        self.committer.buries_spans.store(false, Ordering::Release);
    }
}

/// How a commit ended. Its panic goes on here.
fn ended(outcome: Result<Finished, JoinError>) -> Finished {
    match outcome.map_err(JoinError::try_into_panic) {
        Ok(finished) => finished,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime ends.
        Err(Err(_)) => Finished::Led,
    }
}

/// Joins arrivals; what they add to the roll-ups is added up at once.
fn joined(joiner: &mut Joiner, arrivals: &[Arrival]) -> std::thread::Result<(Vec<Outcome>, Folded)> {
    catch_unwind(AssertUnwindSafe(|| {
        let mut cells = Folded::default();
        let outcomes = joiner.join_each(arrivals, |tenant, observation| cells.add(tenant, &observation));
        (outcomes, cells)
    }))
}

fn joiner(options: &Options) -> Joiner {
    Joiner::new(crate::graph::join::Options { spans_max: options.joined_spans_max })
}

/// Leaves the spans that were not there before, under the keys of their traces; answers the place that each had.
fn fresh(spans: &mut Vec<SpanRow>, outcomes: &[Outcome]) -> Vec<usize> {
    let mut places = Vec::with_capacity(spans.len());
    let mut placed = outcomes.iter().enumerate();
    spans.retain_mut(|row| {
        let Some((place, Outcome::New(key))) = placed.next() else { return false };
        // A span far from its trace's first one keeps the key of its own time, where it will be looked for when it comes
        // again after a restart; readers fold the parts.
        if is_near(*key, row.start) {
            row.trace_key = *key;
        }
        places.push(place);
        true
    });
    places
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
