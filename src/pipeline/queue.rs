//! Requests between journal and store, in journal order.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::decode::Encoding;
use crate::journal::{Appended, Journal, Lsn, Prepared};
use crate::model::batch::Batch;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

use super::error::Error;
use super::options::Options;
use super::pace::Pace;
use super::shares::{Sender, Shares};

/// One request that waits to be stored.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) lsn: Lsn,
    pub(super) sender: Sender,
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    pub(super) source: Source,
}

/// What a request was decoded from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) encoding: Encoding,
    pub(super) received: UnixNanos,
    pub(super) body: Bytes,
}

impl Source {
    /// Bytes of memory that it takes together with the batch that it was decoded to.
    pub(super) fn bytes_with(&self, batch: &Batch) -> usize {
        // JSON is packed before it is read, and both are kept.
        let copies = if self.encoding == Encoding::Json { 2 } else { 1 };
        self.body.len().saturating_mul(copies).saturating_add(batch.own_bytes())
    }
}

/// Room that a request asks for.
#[derive(Debug)]
pub(super) struct Claim {
    sender: Sender,
    /// Bytes of memory that it takes.
    pub(super) bytes: usize,
    /// Whether it tells of failures.
    tells: bool,
}

impl Claim {
    pub(super) fn of(tenant: &TenantId, batch: &Batch, source: &Source) -> Self {
        let sender = Sender::of(tenant, batch);
        Self { sender, bytes: source.bytes_with(batch), tells: batch.tells_of_failure() }
    }
}

/// The bounded queue. Appending to the journal and queueing happen under one lock, so that the queue's order is
/// the journal's and a caller that goes away in between cannot leave a gap.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Notify,
    stopped: CancellationToken,
    most: Depth,
    /// Requests that a tenant may hold beside others, and as large a part of the bytes; none where there are no shares.
    share: Option<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    items: usize,
    shares: Shares,
    pace: Pace,
    stopping: bool,
}

/// What one commit is made of.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) requests: Vec<Waiting>,
    pub(super) items: usize,
    /// Whether there was no room for more.
    pub(super) is_full: bool,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

impl Queue {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            inner: Mutex::default(),
            arrived: Notify::new(),
            stopped: CancellationToken::new(),
            most: Depth { requests: options.requests_max, bytes: options.bytes_max },
            share: options.tenant_requests_max,
        }
    }

    /// Refuses what [`Queue::push`] would refuse now, before anything is made of it for the journal: under overload that would
    /// be much work for nothing.
    pub(super) fn check(&self, claim: &Claim) -> Result<(), Error> {
        self.admit(&mut self.lock(), claim)
    }

    /// Whether there is room for a request; notes that its sender is there.
    fn admit(&self, inner: &mut Inner, claim: &Claim) -> Result<(), Error> {
        let (Claim { sender, bytes, tells }, now) = (claim, Instant::now());
        let (bytes, tells) = (*bytes, *tells);
        if inner.stopping {
            return Err(Error::Stopping);
        }
        inner.shares.note(sender, now);
        let (requests, waiting_bytes) = (inner.waiting.len(), inner.bytes.saturating_add(bytes));
        // The last of the room is for what tells of failures: it is what somebody will ask about.
        let is_late = requests >= open(self.most).requests || waiting_bytes > open(self.most).bytes;
        let most = if is_late && !tells { open(self.most) } else { self.most };
        if requests >= most.requests || self.waits_long(inner, sender, tells, now) {
            return Err(Error::TooManyWaiting { waiting: requests });
        }
        // One request is always let in, or a body larger than the bound could never be.
        if inner.bytes > 0 && waiting_bytes > most.bytes {
            return Err(Error::TooManyBytes { waiting_bytes: inner.bytes });
        }
        match self.share {
            Some(share) => inner.shares.check(sender, bytes, (share_of(self.most, share), self.most), now),
            None => Ok(()),
        }
    }

    /// Appends to the journal and queues, or refuses and does neither.
    pub(super) fn push(
        &self,
        journal: &Journal,
        prepared: Prepared,
        claim: Claim,
        (batch, source): (Batch, Source),
    ) -> Result<Appended, Error> {
        let mut inner = self.lock();
        self.admit(&mut inner, &claim)?;
        let Claim { sender, bytes, .. } = claim;
        let appended = journal.append(prepared).map_err(Error::Journal)?;
        inner.bytes += bytes;
        inner.items += batch.items();
        inner.shares.add(&sender, bytes);
        inner.waiting.push_back(Waiting { lsn: appended.lsn, sender, batch, bytes, source });
        drop(inner);
        self.arrived.notify_one();
        Ok(appended)
    }

    /// Whether more waits than is stored soon, and it is for this sender to wait: who is alone or holds more than its share
    /// of what waits; beyond twice as much, everybody who holds anything.
    fn waits_long(&self, inner: &Inner, sender: &Sender, tells: bool, now: Instant) -> bool {
        let soon = inner.pace.items_max();
        let soon = if tells { soon } else { soon - soon / 10 };
        if inner.items <= soon {
            return false;
        }
        let share = self.share.map_or(0.0, |share| share as f64 / self.most.requests.max(1) as f64);
        let part = inner.shares.part_of(sender, inner.bytes, now);
        part > share || inner.items > soon.saturating_mul(2) && part > 0.0
    }

    /// Takes requests from the front while they are durable, until they hold `items_max` items, or as many as the store takes
    /// in a moment, or a quarter of the bytes that may wait: what was taken waits for two commits at most, and no bound of
    /// the queue counts it.
    pub(super) fn take(&self, durable: Lsn, items_max: usize) -> Taken {
        let mut inner = self.lock();
        let items_max = inner.pace.commit_items().min(items_max);
        let mut requests = Vec::new();
        let (mut items, mut bytes) = (0, 0);
        // One request goes, however little may wait.
        let bytes_max = (self.most.bytes / 4).max(1);
        let is_full = |items: usize, bytes: usize| items_max <= items || bytes_max <= bytes;
        while !is_full(items, bytes) && inner.waiting.front().is_some_and(|front| front.lsn <= durable) {
            let Some(front) = inner.waiting.pop_front() else { break };
            inner.bytes -= front.bytes;
            inner.items -= front.batch.items();
            inner.shares.remove(&front.sender, front.bytes);
            items += front.batch.items();
            bytes += front.bytes;
            requests.push(front);
        }
        Taken { requests, items, is_full: is_full(items, bytes) }
    }

    /// Takes out a request that did not become durable, unless it was taken to be applied before.
    pub(super) fn withdraw(&self, lsn: Lsn) {
        let mut inner = self.lock();
        if let Ok(index) = inner.waiting.binary_search_by_key(&lsn, |waiting| waiting.lsn)
            && let Some(waiting) = inner.waiting.remove(index)
        {
            inner.bytes -= waiting.bytes;
            inner.items -= waiting.batch.items();
            inner.shares.remove(&waiting.sender, waiting.bytes);
        }
    }

    /// As many `items` as one commit takes were stored, in so much time.
    pub(super) fn stored(&self, items: usize, took: Duration) {
        self.lock().pace.note(items, took);
    }

    /// Waits until something was pushed or the queue was told to stop.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn depth(&self) -> Depth {
        let inner = self.lock();
        Depth { requests: inner.waiting.len(), bytes: inner.bytes }
    }

    /// Items that wait, and that may wait before a request is refused; any number where nothing is known yet.
    pub(super) fn items(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.items, inner.pace.items_max())
    }

    /// Refuses everything from now on; what waits is still applied.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.stopped.cancel();
        self.arrived.notify_one();
    }

    /// Waits until the queue was told to stop.
    pub(super) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much may wait of what tells of no failure: all but a tenth.
const fn open(most: Depth) -> Depth {
    let Depth { requests, bytes } = most;
    Depth { requests: requests - requests / 10, bytes: bytes - bytes / 10 }
}

/// So many requests of all that may wait, and as large a part of the bytes.
fn share_of(most: Depth, requests: usize) -> Depth {
    let bytes = most.bytes as f64 * requests as f64 / most.requests.max(1) as f64;
    Depth { requests, bytes: bytes as usize }
}
