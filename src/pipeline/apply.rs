//! The applier: one task that brings accepted requests into the store, in journal order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::decode::Limits;
use crate::fault::{Kind, chain};
use crate::graph::Graph;
use crate::graph::join::{Arrival, Joiner, Known, Outcome};
use crate::journal::{Journal, Lsn, Replay};
use crate::model::batch::Signal;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};
use crate::rules::Rules;
use crate::store::Store;
use crate::store::names::Names;
use crate::store::recall::RecalledSpan;
use crate::store::rows::Commit;
use crate::vitals::health::Health;

use super::accept::Handle;
use super::enrich::{self, Enriched, Enricher};
use super::options::Options;
use super::queue::{Queue, Waiting};
use super::replay;
use super::tally::Tally;

/// What the pipeline works with.
pub struct Parts {
    /// Where requests become durable.
    pub journal: Journal,
    /// What the journal holds beyond the store's position.
    pub replay: Replay,
    /// Where they are kept.
    pub store: Store,
    /// Who is told afterwards.
    pub graph: Graph,
    /// Bounds of decoding, the same as at the door.
    pub limits: Limits,
    /// What is left out of what is stored; at a replay also what is refused, the same as at the door.
    pub rules: Rules,
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
pub async fn start(
    options: Options,
    parts: Parts,
) -> Result<(Handle, JoinHandle<()>), crate::store::error::Error> {
    let templates = parts.store.templates(None).await?;
    let highest = parts.store.template_highest().await?;
    let queue = Arc::new(Queue::new(&options));
    let tally = Arc::new(Tally::default());
    let handle =
        Handle { journal: parts.journal.clone(), queue: Arc::clone(&queue), tally: Arc::clone(&tally) };
    parts.health.set("replay", false, "reading the journal");
    let applier = Applier {
        enricher: Enricher::new(parts.rules.clone(), templates, highest),
        joiner: Joiner::new(crate::graph::join::Options { spans_max: options.joined_spans_max }),
        options,
        journal: parts.journal,
        store: parts.store,
        graph: parts.graph,
        clock: parts.clock,
        health: parts.health,
        committed: parts.committed,
        queue,
        tally,
        unsynced: Lsn(0),
        synced_at: Instant::now(),
    };
    let door = replay::Door { limits: parts.limits, rules: parts.rules };
    let task = tokio::spawn(applier.run(parts.replay, door));
    Ok((handle, task))
}

/// How long another server may lead before this one gives up: its own connection may be on its way out.
const LED_MAX: Duration = Duration::from_secs(10);
/// Traces that the store is asked about at once.
const RECALLED_TOGETHER: usize = 1_000;
/// Spans that begin later than this from now are stored, but kept from the graph: its memory follows the newest.
const GRAPH_AHEAD_MAX: Duration = Duration::from_secs(60);

struct Applier {
    enricher: Enricher,
    joiner: Joiner,
    options: Options,
    journal: Journal,
    store: Store,
    graph: Graph,
    clock: Clock,
    health: Health,
    committed: Arc<tokio::sync::Notify>,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
    /// Applied, but perhaps still to be lost by the store in a power cut.
    unsynced: Lsn,
    synced_at: Instant,
}

impl Applier {
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
                if items < self.options.commit_items_max && !self.queue.is_stopping() {
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
                () = self.queue.arrived() => {}
                changed = durable.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => self.release(false).await,
            }
        }
        self.release(true).await;
    }

    /// Applies what the journal holds beyond the store.
    async fn catch_up(&mut self, replay: Replay, door: replay::Door) -> Result<(), replay::Broken> {
        let started = Instant::now();
        let mut records = 0;
        let mut source = replay::Source::new(replay, door);
        while let Some(waiting) = source.next(self.options.commit_items_max).await? {
            records += waiting.len() as u64;
            if !self.apply(waiting).await {
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

    /// Lets requests gather until the next commit is due, or the server stops.
    async fn gather(&self, began: Instant) {
        let due = began + self.options.commit_interval;
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            () = self.queue.stopped() => {}
        }
    }

    /// Commits requests, however long the store makes it wait, and tells the graph.
    /// False where the server must not go on.
    async fn apply(&mut self, waiting: Vec<Waiting>) -> bool {
        let Some(lsn) = waiting.last().map(|last| last.lsn) else { return true };
        let mut counts = [0_u64; 3];
        let mut enriched = Enriched::default();
        // Thousands of records take a while: the other tasks of this thread go on elsewhere.
        tokio::task::block_in_place(|| {
            for request in waiting {
                counts[request.batch.signal() as usize] += request.batch.items() as u64;
                self.enricher.enrich(self.store.names(), &request.tenant, request.batch, &mut enriched);
            }
        });
        self.recall(&enriched).await;
        let Enriched { spans, arrivals, logs, points, templates, mut observations, counted_only, left_out } =
            enriched;
        self.tally.left_out(counted_only, left_out);
        let joined = tokio::task::block_in_place(|| self.joiner.join(&arrivals));
        let mut duplicates = 0;
        let spans = spans
            .into_iter()
            .zip(joined.outcomes)
            .filter_map(|(mut row, outcome)| match outcome {
                Outcome::New(key) => {
                    // A span far from its trace's first one keeps the key of its own time, where it will be looked
                    // for when it comes again after a restart; readers fold the parts.
                    if is_near(key, row.start) {
                        row.trace_key = key;
                    }
                    Some(row)
                }
                Outcome::Duplicate => {
                    duplicates += 1;
                    None
                }
            })
            .collect();
        observations.extend(joined.observations);
        let commit = Arc::new(Commit { lsn: lsn.0, spans, logs, points, observations, templates });
        if !self.commit(&commit).await {
            return false;
        }
        tokio::task::block_in_place(|| self.show(&arrivals, &commit));
        counts[Signal::Traces as usize] -= duplicates;
        counts[Signal::Logs as usize] -= counted_only;
        Signal::ALL.iter().for_each(|signal| self.tally.stored(*signal, counts[*signal as usize]));
        self.tally.duplicates(duplicates);
        self.committed.notify_waiters();
        self.unsynced = lsn;
        if self.synced_at.elapsed() > Duration::from_secs(5) {
            self.release(false).await;
        }
        true
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

    /// Commits, however long the store makes it wait. False where another server leads by now: this one must not go on.
    async fn commit(&self, commit: &Arc<Commit>) -> bool {
        let mut led_since: Option<Instant> = None;
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.commit(Arc::clone(commit)).await {
                Ok(committed) => {
                    self.tally.committed(None);
                    self.tally.overflowed(committed.overflowed_points);
                    self.health.set("store", true, "");
                    return true;
                }
                Err(failure) => {
                    led_since = match failure {
                        crate::store::error::Error::Led => Some(led_since.unwrap_or_else(Instant::now)),
                        _ => None,
                    };
                    if led_since.is_some_and(|since| since.elapsed() > LED_MAX) {
                        error!(
                            "another server leads on this database; what was accepted here stays in the journal"
                        );
                        return false;
                    }
                    self.tally.committed(Some(failure.kind()));
                    let chain = chain(&failure);
                    if failure.kind() == Kind::Internal {
                        error!(
                            lsn = commit.lsn,
                            error = chain,
                            "the store refuses a commit; it is tried again"
                        );
                    } else {
                        warn!(
                            lsn = commit.lsn,
                            error = chain,
                            "the store is away; the commit is tried again"
                        );
                    }
                    self.health.set("store", false, chain);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.options.retry_interval_max);
                }
            }
        }
    }

    /// Gives the joiner the traces that were begun before it remembers.
    async fn recall(&mut self, enriched: &Enriched) {
        for (tenant, positions) in enrich::by_tenant(&enriched.arrivals) {
            let unknown: Vec<(TraceId, UnixNanos)> = if positions.len() == enriched.arrivals.len() {
                self.joiner.unknown(tenant, &enriched.arrivals)
            } else {
                let own: Vec<_> = positions.iter().map(|index| enriched.arrivals[*index].clone()).collect();
                self.joiner.unknown(tenant, &own)
            };
            let mut parts: Vec<&[(TraceId, UnixNanos)]> = unknown.chunks(RECALLED_TOGETHER).collect();
            while let Some(part) = parts.pop() {
                let recalled = self.recalled(tenant, part).await;
                if part.len() > 1 && recalled.iter().any(|trace| trace.truncated) {
                    // Too many spans for one answer: a few traces at a time have room.
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([left, right]);
                    continue;
                }
                for trace in recalled {
                    let known =
                        trace.spans.iter().map(|span| known(self.store.names(), tenant, span)).collect();
                    self.joiner.seed(tenant, trace.trace_id, trace.key, known);
                }
            }
        }
    }

    async fn recalled(
        &self,
        tenant: TenantNumber,
        unknown: &[(TraceId, UnixNanos)],
    ) -> Vec<crate::store::recall::Recalled> {
        if unknown.is_empty() {
            return Vec::new();
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.recall(tenant, unknown).await {
                Ok(recalled) => return recalled,
                Err(failure) => {
                    let chain = chain(&failure);
                    warn!(error = chain, "the store cannot be read; it is asked again");
                    self.health.set("store", false, chain);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.options.retry_interval_max);
                }
            }
        }
    }

    /// Lets the journal delete what the store has on disk for good.
    async fn release(&mut self, last: bool) {
        if self.unsynced == Lsn(0) {
            return;
        }
        match self.store.sync().await {
            Ok(position) => {
                self.journal.release(Lsn(position));
                if position >= self.unsynced.0 {
                    self.unsynced = Lsn(0);
                }
            }
            Err(failure) if last => {
                warn!(error = chain(&failure), "the store was not synced; the journal keeps its data")
            }
            Err(failure) => warn!(error = chain(&failure), "the store was not synced; it is tried again"),
        }
        self.synced_at = Instant::now();
    }
}

/// What the joiner needs to know of a stored span. The operation on the peer is the span's own name, as
/// [`super::traits`] gives it, except for queues, whose one operation is their name.
fn known(names: &Names, tenant: TenantNumber, span: &RecalledSpan) -> Known {
    let dependency = span.dependency.and_then(|node| {
        let info = names.service_info(node)?;
        let called = names.operation_info(span.operation)?;
        let (kind, name) = match info.kind {
            NodeKind::Queue => {
                (SpanKind::PRODUCER, info.name.split_once('/').map_or(&*info.name, |(_, name)| name))
            }
            _ => (SpanKind::CLIENT, &*called.name),
        };
        let operation = names.operation(tenant, node, kind, name, span.start);
        Some(crate::graph::join::Dependency { kind: info.kind, operation })
    });
    Known {
        span_id: span.span_id,
        parent_id: span.parent_id,
        service: span.service,
        operation: span.operation,
        kind: span.kind,
        error: span.status == Status::Error,
        start: span.start,
        duration_ns: span.duration_ns,
        dependency,
    }
}

fn is_near(key: TraceKey, start: UnixNanos) -> bool {
    let own = UnixNanos::from_seconds(start.bucket_seconds(BUCKET_SECONDS));
    let apart = key.bucket_start().since(own).max(own.since(key.bucket_start()));
    apart <= Duration::from_secs(BUCKET_SECONDS.unsigned_abs())
}
