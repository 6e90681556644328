//! The journal: what it has confirmed survives a crash, and nothing else is acknowledged.
//!
//! Promises: every record has its own [`Lsn`], given out in order; [`Appended::durable`] answers `Ok` only
//! after the record is on the device ([`Sync::Durable`]) or in the page cache ([`Sync::Buffered`]); after a
//! restart every confirmed record that was not applied is yielded by [`Replay`], once and in order; a record
//! whose bytes changed is never yielded, and never takes later records with it; disk and memory stay within
//! [`Options`].
//!
//! Never: it does not read what it carries, does not wait in order to gather more (the running sync is the
//! window in which a commit gathers), does not sync a file again after a sync of it failed, and does not
//! remove a segment before [`Journal::release`] covers its last record.
//!
//! After a failed write or sync the records of that commit are refused, the segment is left for good and what
//! is not durable is written once to a new segment; refused records may therefore still be replayed, whole,
//! after a crash. If that fails too the journal refuses everything, until the next start or, where space was
//! wanting, until there is space.
//!
//! Files in reading order: `state` (queue and counters), `writer` (the thread), `format` (bytes of a
//! segment), `space` (room on the volume), `segment` (names, reading past damage), `recovery` (opening a directory), `replay`, `disk` (file
//! operations as tests see them), `error`; beside them [`copy`], for backups of a journal that is in use. The one
//! handle is [`Journal`].

pub mod copy;
mod disk;
mod error;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod recovery;
mod replay;
mod segment;
mod space;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use self::disk::{Disk, FileSystem};
pub use self::error::{Bound, Error};
pub use self::format::{BODY_BYTES_MAX, Prepared};
pub use self::recovery::{COPIES_MAX, QUARANTINED_MAX, Quarantined, Recovery};
pub use self::replay::Replay;
pub use self::space::Left;
use self::state::Shared;
use self::writer::{Sealed, Start, Writer};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// Upper bounds of the buckets in [`Stats::sync_counts`]; the last bucket has none.
pub const SYNC_BUCKETS: [Duration; 12] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Where and within which bounds a journal lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its own directory; created when missing.
    pub directory: PathBuf,
    /// A segment is closed before it would pass this size. 64 MiB let space return in steps of 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of all segments, headers of later ones excepted; an append that would pass it is refused with
    /// [`Error::Full`]. At least two segments. What a failure makes the writer write a second time, a commit at most,
    /// may lie over it until it is released.
    pub bytes_max: u64,
    /// Bytes in memory that wait for the writer; an append that would pass it is refused with
    /// [`Error::Full`].
    pub pending_bytes_max: usize,
    /// Bytes that stay free on the volume, or a tenth of it where that is less: below it appends are refused with
    /// [`Error::Space`], until a quarter more is free. Zero for none.
    pub free_bytes_min: u64,
    /// What an acknowledgement means.
    pub sync: Sync,
}

/// What [`Appended::durable`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// The record is on the device: it survives loss of power.
    Durable,
    /// The record is with the operating system, and on the device at most 200 ms later: it survives a crash
    /// of this process.
    Buffered,
}

/// The number of a record: 1, 2, 3 … in the order of appending. Zero is "none yet".
///
/// No two records that were confirmed or can be replayed share one. A number whose record was refused and never
/// reached the disk may be given out again after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

/// What is journaled: one accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which signal.
    pub signal: Signal,
    /// How to read `body`; the journal carries the number and gives it no meaning.
    pub encoding: u8,
    /// When it was received.
    pub received: UnixNanos,
    /// The request, at most [`BODY_BYTES_MAX`] bytes.
    pub body: Bytes,
}

/// An entry with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub lsn: Lsn,
    /// Its content.
    pub entry: Entry,
}

/// The outcome of an append: the record has a number and waits for the writer.
#[derive(Debug)]
#[must_use = "nothing may be acknowledged before `durable` answers"]
pub struct Appended {
    /// The record's number.
    pub lsn: Lsn,
    outcome: oneshot::Receiver<Result<(), Arc<str>>>,
}

impl Appended {
    /// Waits until the record is safe as [`Options::sync`] says.
    ///
    /// [`Error::NotDurable`] when writing it failed, [`Error::Stopped`] when the writer is gone. Dropping the
    /// future changes nothing: the record is written all the same.
    pub async fn durable(self) -> Result<(), Error> {
        match self.outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Error::NotDurable { lsn: self.lsn, reason }),
            Err(_) => Err(Error::Stopped),
        }
    }
}

/// The journal at one instant, for metrics and readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// What an acknowledgement means.
    pub sync: Sync,
    /// Bytes of all segments.
    pub bytes: u64,
    /// The bound on them.
    pub bytes_max: u64,
    /// Bytes that were damaged when it was opened.
    pub damaged_bytes: u64,
    /// Records that neither it nor the store had when it was opened.
    pub missing: u64,
    /// Segments on disk.
    pub segments: usize,
    /// The last number given out.
    pub appended: Lsn,
    /// The last record on the device.
    pub durable: Lsn,
    /// The last record that is needed no more.
    pub released: Lsn,
    /// Bytes that wait for the writer.
    pub pending_bytes: usize,
    /// Why nothing is taken, if so.
    pub poisoned: Option<String>,
    /// Nothing is taken because the volume is nearly full.
    pub short: bool,
    /// Syncs so far.
    pub syncs: u64,
    /// How long the last sync took.
    pub sync_last: Duration,
    /// How long all syncs took together.
    pub sync_total: Duration,
    /// Syncs by duration; bucket `i` counts those up to [`SYNC_BUCKETS`]`[i]` and over the bound before it.
    pub sync_counts: [u64; SYNC_BUCKETS.len() + 1],
    /// For how long a sync has been running now: a device that hangs shows here.
    pub sync_running: Option<Duration>,
}

/// The handle; clones share one journal, which stops with the last of them.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    sync: Sync,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Opens the journal in `options.directory`, which was applied up to `applied`.
///
/// Recovers first: cuts a torn tail, copies damaged segments. Blocks for about a second per GiB that is not
/// applied. [`Error::Locked`] when another instance has the directory, which is then left as it is;
/// [`Error::Version`] for segments of a later program.
pub fn open(options: Options, applied: Lsn) -> Result<(Journal, Replay), Error> {
    open_on(Arc::new(FileSystem), options, applied)
}

fn open_on(disk: Arc<dyn Disk>, options: Options, applied: Lsn) -> Result<(Journal, Replay), Error> {
    check(&options)?;
    let directory = options.directory.as_path();
    create_directory(directory)?;
    let locks = lock(directory)?;
    let (journal, replay, writer) = prepare(disk, &options, applied)?;
    let thread = thread::Builder::new()
        .name("journal".into())
        .spawn(move || {
            writer.run();
            // Held until here, also when the writer panics.
            drop(locks);
        })
        .map_err(Error::io("start the writer of", directory))?;
    *journal.inner.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok((journal, replay))
}

/// Recovers the directory and creates the segment to write to. Nothing is written until the writer runs.
fn prepare(disk: Arc<dyn Disk>, options: &Options, applied: Lsn) -> Result<(Journal, Replay, Writer), Error> {
    let recovered = recovery::recover(&*disk, &options.directory, applied)?;
    // Replayed records count as durable, so they have to be; only the last segment can be otherwise.
    if let Some(found) = recovered.segments.last() {
        disk.sync(&found.path).map_err(Error::io("sync", &found.path))?;
    }
    let sealed: VecDeque<Sealed> = recovered
        .segments
        .iter()
        .map(|found| Sealed { path: found.path.clone(), bytes: found.bytes, last: found.last })
        .collect();
    let shared = Arc::new(Shared::new(options, &recovered.report));
    let start = Start {
        directory: options.directory.clone(),
        segment_bytes: options.segment_bytes,
        free_bytes_min: options.free_bytes_min,
        sync: options.sync,
        disk: Arc::clone(&disk),
        sealed,
        sequence: recovered.sequence,
        durable: recovered.report.last,
    };
    let writer = Writer::new(start, Arc::clone(&shared))?;
    for path in &recovered.empty {
        disk.remove(path).map_err(Error::io("remove", path))?;
    }
    let inner = Inner { shared: Arc::clone(&shared), sync: options.sync, thread: Mutex::new(None) };
    let replay =
        Replay::new(disk, (&recovered.segments, &recovered.pieces), (applied, recovered.report), shared);
    Ok((Journal { inner: Arc::new(inner) }, replay, writer))
}

/// The right to work on a journal's directory while no server does; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    _locks: Vec<File>,
}

/// Claims `directory`, creating it where it is missing, for as long as the answer lives.
///
/// [`Error::Locked`] when a server has it.
pub fn claim(directory: &Path) -> Result<Claim, Error> {
    create_directory(directory)?;
    Ok(Claim { _locks: lock(directory)? })
}

impl Journal {
    /// Gives the entry the next number and queues it for the writer, in the order of numbers; waits for
    /// nothing.
    ///
    /// [`Error::Full`] at a bound, [`Error::TooLarge`] when it can never fit, [`Error::Poisoned`] after a
    /// failure of the device, [`Error::Stopped`] after [`Journal::stop`].
    pub fn append(&self, entry: Prepared) -> Result<Appended, Error> {
        self.inner.shared.append(entry)
    }

    /// Follows the last record that is on the device.
    pub fn durable(&self) -> watch::Receiver<Lsn> {
        self.inner.shared.durable()
    }

    /// Says that records up to `up_to` are needed no more; the writer removes segments that hold nothing
    /// later.
    ///
    /// To be called only once the database that applied them is itself on the device.
    pub fn release(&self, up_to: Lsn) {
        self.inner.shared.release(up_to);
    }

    /// Waits until nothing is written any more: after [`Journal::stop`], or because the writer panicked.
    pub async fn ended(&self) {
        self.inner.shared.ended().await;
    }

    /// The journal now.
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats(self.inner.sync)
    }

    /// Writes and syncs everything taken, then ends the writer and frees the directory; blocks until then.
    ///
    /// Later calls return at once. Appends are refused from the first call on.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn stop(&self) {
        self.shared.stop();
        // Taken out first: whoever comes second does not wait for a device that hangs.
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal writer panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let reason = if options.segment_bytes < 4096 {
        "a segment has at least 4096 bytes"
    } else if options.bytes_max / 2 < options.segment_bytes {
        "at least two segments fit into the bytes on disk"
    } else if options.pending_bytes_max == 0 {
        "some bytes may wait for the writer"
    } else {
        return Ok(());
    };
    Err(Error::Options { reason })
}

/// Creates the directory, durably: without its name in the parent a synced segment could not be found.
fn create_directory(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    for parent in directory.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        // A parent that we may not open was not created by us.
        if FileSystem.sync_directory(parent).is_err() {
            break;
        }
    }
    Ok(())
}

/// Locks the directory against a second instance: itself where the system can, so that removing the lock file
/// frees nothing, and the lock file everywhere.
fn lock(directory: &Path) -> Result<Vec<File>, Error> {
    let take = |file: File, path: &Path| match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path)(source)),
    };
    let mut locks = Vec::new();
    if cfg!(unix) {
        locks.push(take(File::open(directory).map_err(Error::io("open", directory))?, directory)?);
    }
    let path = directory.join("journal.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    locks.push(take(file.map_err(Error::io("open", &path))?, &path)?);
    Ok(locks)
}
