//! What the handles and the writer share: the queue, the counters and the durable position.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::error::{Bound, Error};
use super::format::{HEADER_BYTES, Prepared};
use super::{Appended, Lsn, Options, Recovery, SYNC_BUCKETS, Stats, Sync};

/// Most bytes of one commit; what arrives meanwhile waits for the next.
const COMMIT_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Tells an appender the outcome: the reason when its record did not become durable.
pub(super) type Waiter = oneshot::Sender<Result<(), Arc<str>>>;

/// A record that waits for the writer.
pub(super) struct Pending {
    pub(super) lsn: Lsn,
    pub(super) prepared: Prepared,
    pub(super) waiter: Waiter,
}

/// Shared by all handles and the writer thread.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    durable: watch::Sender<Lsn>,
    /// True once the writer is gone.
    over: watch::Sender<bool>,
    bytes_max: u64,
    segment_bytes: u64,
    pending_bytes_max: usize,
    free_bytes_min: u64,
    damaged_bytes: u64,
    missing: u64,
}

/// Guarded by one lock that is held for a few instructions at a time.
pub(super) struct State {
    /// The last LSN that was given out.
    appended: Lsn,
    queue: VecDeque<Pending>,
    pending_bytes: usize,
    disk_bytes: u64,
    segments: usize,
    released: Lsn,
    /// The writer has not looked at `released` yet.
    release_waits: bool,
    /// An append was refused for want of disk space since the writer last looked.
    pressed: bool,
    stopping: bool,
    ended: bool,
    poisoned: Option<Arc<str>>,
    /// The volume is nearly full.
    short: bool,
    syncs: u64,
    sync_last: Duration,
    sync_total: Duration,
    sync_counts: [u64; SYNC_BUCKETS.len() + 1],
    sync_started: Option<Instant>,
}

/// What the writer should do next.
pub(super) struct Work {
    /// Records to commit together, in the order of LSNs.
    pub(super) batch: Vec<Pending>,
    /// Records up to here are needed no more.
    pub(super) released: Lsn,
    /// Appends are refused for want of disk space.
    pub(super) pressed: bool,
    /// Stop once the queue is empty, which it is when `batch` is.
    pub(super) stopping: bool,
}

impl Shared {
    /// The state of a journal that was found so.
    pub(super) fn new(options: &Options, found: &Recovery) -> Self {
        let last = found.last;
        let state = State {
            appended: last,
            queue: VecDeque::new(),
            pending_bytes: 0,
            disk_bytes: 0,
            segments: 0,
            released: Lsn(0),
            release_waits: false,
            pressed: false,
            stopping: false,
            ended: false,
            poisoned: None,
            short: false,
            syncs: 0,
            sync_last: Duration::ZERO,
            sync_total: Duration::ZERO,
            sync_counts: [0; SYNC_BUCKETS.len() + 1],
            sync_started: None,
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            durable: watch::Sender::new(last),
            over: watch::Sender::new(false),
            bytes_max: options.bytes_max,
            segment_bytes: options.segment_bytes,
            pending_bytes_max: options.pending_bytes_max,
            free_bytes_min: options.free_bytes_min,
            damaged_bytes: found.quarantined_bytes,
            missing: found.missing,
        }
    }

    /// The state stays consistent between statements, so a panic under the lock leaves it usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, prepared: Prepared) -> Result<Appended, Error> {
        let bytes = prepared.bytes();
        let bytes_max = self.bytes_max - HEADER_BYTES as u64;
        if bytes_max < bytes as u64 {
            return Err(Error::TooLarge { bytes: bytes as u64, bytes_max });
        }
        let mut state = self.lock();
        if state.stopping || state.ended {
            return Err(Error::Stopped);
        }
        if let Some(reason) = &state.poisoned {
            return Err(Error::Poisoned { reason: Arc::clone(reason) });
        }
        if state.short {
            return Err(Error::Space { free_bytes_min: self.free_bytes_min });
        }
        let pending = state.pending_bytes + bytes;
        // A record larger than the bound is taken alone, or it could never be.
        if state.pending_bytes != 0 && self.pending_bytes_max < pending {
            return Err(Error::Full { what: Bound::Pending, bytes_max: self.pending_bytes_max as u64 });
        }
        if self.bytes_max < state.disk_bytes + pending as u64 {
            state.pressed = true;
            drop(state);
            self.work.notify_one();
            return Err(Error::Full { what: Bound::Disk, bytes_max: self.bytes_max });
        }
        let lsn = Lsn(state.appended.0 + 1);
        let (waiter, outcome) = oneshot::channel();
        state.appended = lsn;
        state.pending_bytes = pending;
        state.queue.push_back(Pending { lsn, prepared, waiter });
        drop(state);
        self.work.notify_one();
        Ok(Appended { lsn, outcome })
    }

    /// Waits for work, at most until `deadline`, and takes one commit's worth of records.
    pub(super) fn next_work(&self, deadline: Option<Instant>) -> Work {
        let mut state = self.lock();
        while state.queue.is_empty() && !state.stopping && !state.release_waits && !state.pressed {
            let Some(deadline) = deadline else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.release_waits = false;
        Work {
            batch: state.take(COMMIT_BYTES_MAX.min(self.segment_bytes)),
            released: state.released,
            pressed: std::mem::take(&mut state.pressed),
            stopping: state.stopping,
        }
    }

    /// Records that `bytes` no longer wait for the writer, and what the segments now take on disk.
    pub(super) fn settled(&self, bytes: usize, disk_bytes: u64, segments: usize) {
        let mut state = self.lock();
        state.pending_bytes = state.pending_bytes.saturating_sub(bytes);
        state.disk_bytes = disk_bytes;
        state.segments = segments;
    }

    /// Publishes that everything up to `lsn` is on the device.
    pub(super) fn publish(&self, lsn: Lsn) {
        self.durable.send_if_modified(|durable| {
            let later = *durable < lsn;
            *durable = lsn.max(*durable);
            later
        });
    }

    pub(super) fn release(&self, up_to: Lsn) {
        let mut state = self.lock();
        if state.released < up_to {
            state.released = up_to;
            state.release_waits = true;
            self.work.notify_one();
        }
    }

    pub(super) fn released(&self) -> Lsn {
        self.lock().released
    }

    /// Refuses appends from now on, or takes them again, and returns what was still waiting.
    pub(super) fn set_poisoned(&self, reason: Option<Arc<str>>) -> Vec<Pending> {
        let mut state = self.lock();
        let refuses = reason.is_some();
        state.poisoned = reason;
        if refuses { state.take(u64::MAX) } else { Vec::new() }
    }

    /// Refuses appends while the volume is nearly full.
    pub(super) fn set_short(&self, is_short: bool) {
        self.lock().short = is_short;
    }

    pub(super) fn sync_starts(&self) {
        self.lock().sync_started = Some(Instant::now());
    }

    pub(super) fn sync_ends(&self) {
        let mut state = self.lock();
        let Some(started) = state.sync_started.take() else { return };
        let took = started.elapsed();
        state.syncs += 1;
        state.sync_last = took;
        state.sync_total += took;
        let bucket = SYNC_BUCKETS.iter().position(|bound| took <= *bound).unwrap_or(SYNC_BUCKETS.len());
        state.sync_counts[bucket] += 1;
    }

    pub(super) fn durable(&self) -> watch::Receiver<Lsn> {
        self.durable.subscribe()
    }

    pub(super) fn stats(&self, sync: Sync) -> Stats {
        let durable = *self.durable.borrow();
        let state = self.lock();
        Stats {
            sync,
            bytes: state.disk_bytes,
            bytes_max: self.bytes_max,
            damaged_bytes: self.damaged_bytes,
            missing: self.missing,
            segments: state.segments,
            appended: state.appended,
            durable,
            released: state.released,
            pending_bytes: state.pending_bytes,
            poisoned: state.poisoned.as_deref().map(str::to_owned),
            short: state.short,
            syncs: state.syncs,
            sync_last: state.sync_last,
            sync_total: state.sync_total,
            sync_counts: state.sync_counts,
            sync_running: state.sync_started.map(|started| started.elapsed()),
        }
    }

    /// Asks the writer to stop once everything taken is written.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.work.notify_all();
    }

    /// The writer is gone: nothing that waits will be written. Dropping the waiters tells their appenders.
    pub(super) fn end(&self) {
        let waiting = {
            let mut state = self.lock();
            if !state.stopping && state.poisoned.is_none() {
                state.poisoned = Some(Arc::from("the writer ended unexpectedly"));
            }
            state.ended = true;
            state.take(u64::MAX)
        };
        drop(waiting);
        self.over.send_replace(true);
    }

    /// Waits until the writer is gone.
    pub(super) async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

impl State {
    /// Takes records from the queue up to `bytes_max` together, but at least one if there is one.
    fn take(&mut self, bytes_max: u64) -> Vec<Pending> {
        let mut bytes = 0_u64;
        let fits = self.queue.iter().take_while(|pending| {
            bytes += pending.prepared.bytes() as u64;
            bytes <= bytes_max
        });
        let count = fits.count().max(1).min(self.queue.len());
        self.queue.drain(..count).collect()
    }
}
