//! The applier: one task that brings accepted requests into the store, in journal order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::decode::Limits;
use crate::fault::Kind;
use crate::graph::Graph;
use crate::graph::join::{Joiner, Known, Outcome};
use crate::journal::{Journal, Lsn, Replay};
use crate::model::batch::Signal;
use crate::model::id::{TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::span::{SpanKind, Status};
use crate::model::time::UnixNanos;
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
        enricher: Enricher::new(templates, highest),
        joiner: Joiner::new(crate::graph::join::Options { spans_max: options.joined_spans_max }),
        options,
        journal: parts.journal,
        store: parts.store,
        graph: parts.graph,
        health: parts.health,
        committed: parts.committed,
        queue,
        tally,
        unsynced: Lsn(0),
        synced_at: Instant::now(),
    };
    let task = tokio::spawn(applier.run(parts.replay, parts.limits));
    Ok((handle, task))
}

struct Applier {
    enricher: Enricher,
    joiner: Joiner,
    options: Options,
    journal: Journal,
    store: Store,
    graph: Graph,
    health: Health,
    committed: Arc<tokio::sync::Notify>,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
    /// Applied, but perhaps still to be lost by the store in a power cut.
    unsynced: Lsn,
    synced_at: Instant,
}

impl Applier {
    async fn run(mut self, replay: Replay, limits: Limits) {
        let started = Instant::now();
        let mut records = 0;
        let mut source = replay::Source::new(replay, limits);
        while let Some(waiting) = source.next(self.options.commit_items_max).await {
            records += waiting.len() as u64;
            self.apply(waiting).await;
        }
        self.tally.replayed(records);
        if records > 0 {
            info!(records, seconds = started.elapsed().as_secs_f64(), "replayed the journal");
        }
        self.health.set("replay", true, format!("{records} requests replayed at start"));
        let mut durable = self.journal.durable();
        loop {
            let reached = *durable.borrow_and_update();
            let waiting = self.queue.take(reached, self.options.commit_items_max);
            if !waiting.is_empty() {
                self.apply(waiting).await;
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

    /// Commits requests, however long the store makes it wait, and tells the graph.
    async fn apply(&mut self, waiting: Vec<Waiting>) {
        let Some(lsn) = waiting.last().map(|last| last.lsn) else { return };
        let mut counts = [0_u64; 3];
        let mut enriched = Enriched::default();
        for request in waiting {
            counts[request.batch.signal() as usize] += request.batch.items() as u64;
            self.enricher.enrich(self.store.names(), &request.tenant, request.batch, &mut enriched);
        }
        self.recall(&enriched).await;
        let Enriched { spans, arrivals, logs, points, templates, mut observations } = enriched;
        let joined = self.joiner.join(&arrivals);
        let mut duplicates = 0;
        let spans = spans
            .into_iter()
            .zip(joined.outcomes)
            .filter_map(|(mut row, outcome)| match outcome {
                Outcome::New(key) => {
                    row.trace_key = key;
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
        self.commit(&commit).await;
        for arrival in &arrivals {
            self.graph.declare(arrival.tenant, arrival.operation, arrival.service);
        }
        self.graph.record(&commit.observations);
        counts[Signal::Traces as usize] -= duplicates;
        Signal::ALL.iter().for_each(|signal| self.tally.stored(*signal, counts[*signal as usize]));
        self.tally.duplicates(duplicates);
        self.committed.notify_waiters();
        self.unsynced = lsn;
        if self.synced_at.elapsed() > Duration::from_secs(5) {
            self.release(false).await;
        }
    }

    async fn commit(&self, commit: &Arc<Commit>) {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.store.commit(Arc::clone(commit)).await {
                Ok(_) => {
                    self.tally.committed(None);
                    self.health.set("store", true, "");
                    return;
                }
                Err(failure) => {
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
            let recalled = self.recalled(tenant, &unknown).await;
            for trace in recalled {
                let known = trace.spans.iter().map(|span| known(self.store.names(), tenant, span)).collect();
                self.joiner.seed(tenant, trace.trace_id, trace.key, known);
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

fn chain(failure: &dyn std::error::Error) -> String {
    let mut text = failure.to_string();
    let mut source = failure.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
