//! The one thread that writes: it commits what waits, rolls segments and removes those that were released.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::disk::{Disk, SegmentFile};
use super::error::Error;
use super::format::{HEADER_BYTES, Header, Prepared, SegmentId};
use super::segment;
use super::space::Watch;
use super::state::{Pending, Shared, Work};
use super::{Lsn, Sync};
use crate::fault;

/// Longest time that written records of a [`Sync::Buffered`] journal stay unsynced.
const BUFFERED_SYNC: Duration = Duration::from_millis(200);
/// Most bytes that a [`Sync::Buffered`] journal holds in memory to write them again after a failed sync.
const BUFFERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often a journal that failed for want of space, memory or file handles tries again.
const RETRY: Duration = Duration::from_secs(1);
/// Room is claimed in steps of this many bytes, ahead of what is written.
const RESERVED_BYTES: u64 = 16 * 1024 * 1024;
/// A buffer that grew past this for one large record is given back.
const BUFFER_BYTES_KEPT: usize = 16 * 1024 * 1024;

/// A segment that is written no more.
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Everything in it is at or before this LSN.
    pub(super) last: Lsn,
}

/// The segment that is being written.
struct Active {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    id: SegmentId,
    bytes: u64,
    /// Bytes of the file that have room for sure.
    reserved: u64,
    /// The last record; the one before the segment's base while it is empty.
    last: Lsn,
}

impl Active {
    /// Claims room up to `end` and some beyond it, but not beyond `segment_bytes` without need.
    fn reserve(&mut self, end: u64, segment_bytes: u64) -> io::Result<()> {
        if end <= self.reserved {
            return Ok(());
        }
        let ahead = end.next_multiple_of(RESERVED_BYTES).min(segment_bytes.max(end));
        self.reserved = match self.file.reserve(ahead) {
            Ok(()) => ahead,
            Err(_) => self.file.reserve(end).map(|()| end)?,
        };
        Ok(())
    }
}

/// What the writer starts from.
pub(super) struct Start {
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) free_bytes_min: u64,
    pub(super) sync: Sync,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) sequence: u64,
    pub(super) durable: Lsn,
}

/// The state of the writer thread.
pub(super) struct Writer {
    start: Start,
    shared: Arc<Shared>,
    active: Option<Active>,
    /// The last record that is on the device.
    durable: Lsn,
    /// Acknowledged but not synced ([`Sync::Buffered`] alone), kept to be written again should the sync fail.
    unsynced: Vec<(Lsn, Prepared)>,
    unsynced_bytes: usize,
    sync_due: Option<Instant>,
    /// When to try again after a failure for want of space.
    retry_at: Option<Instant>,
    space: Watch,
    /// When this turn began.
    now: Instant,
    buffer: Vec<u8>,
}

impl Writer {
    /// Creates the first segment.
    pub(super) fn new(start: Start, shared: Arc<Shared>) -> Result<Self, Error> {
        let directory = start.directory.clone();
        let mut writer = Self {
            durable: start.durable,
            space: Watch::new(start.free_bytes_min),
            start,
            shared,
            active: None,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            sync_due: None,
            retry_at: None,
            now: Instant::now(),
            buffer: Vec::new(),
        };
        writer.active = Some(writer.create().map_err(Error::io("create a segment in", &directory))?);
        writer.report_disk();
        writer.look_for_room();
        Ok(writer)
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        /// Tells the handles that the writer is gone, however it went.
        struct End(Arc<Shared>);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.end();
            }
        }
        let _end = End(Arc::clone(&self.shared));
        loop {
            let work = self.shared.next_work(self.deadline());
            if !self.turn(work, Instant::now()) {
                break;
            }
        }
    }

    /// When there is something to do although nothing is asked for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sync_due.into_iter().chain(self.retry_at).chain(self.space.deadline()).min()
    }

    /// Does what is due at `now`; false once everything is done that there will ever be.
    pub(super) fn turn(&mut self, work: Work, now: Instant) -> bool {
        self.now = now;
        let is_idle = work.batch.is_empty();
        if !is_idle {
            self.commit(work.batch);
        }
        if self.sync_due.is_some_and(|due| work.stopping || due <= now) {
            self.sync_unsynced();
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry();
        }
        self.look_for_room();
        self.remove_released(work.released, work.pressed);
        !(is_idle && work.stopping)
    }

    fn look_for_room(&mut self) {
        if let Some(is_short) = self.space.look(&*self.start.disk, &self.start.directory, self.now) {
            self.shared.set_short(is_short);
        }
    }

    /// Writes a batch, makes it durable where the options say so, and tells its appenders.
    fn commit(&mut self, batch: Vec<Pending>) {
        let bytes = batch.iter().map(|pending| pending.prepared.bytes()).sum();
        let (records, waiters): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| ((pending.lsn, pending.prepared), pending.waiter)).unzip();
        let written = self.write(&records, bytes);
        let failure = match written {
            Ok(()) => {
                self.keep_unsynced(records, bytes);
                None
            }
            Err(cause) => Some((records, cause)),
        };
        let (disk_bytes, segments) = self.disk_use();
        self.shared.settled(bytes, disk_bytes, segments);
        fault::point("journal.written");
        let outcome = failure.as_ref().map_or(Ok(()), |(_, cause)| Err(Arc::from(cause.to_string())));
        for waiter in waiters {
            // An appender that no longer waits is none the worse.
            let _ = waiter.send(outcome.clone());
        }
        if let Some((records, cause)) = failure {
            self.write_again(records, &cause);
        } else if BUFFERED_BYTES_MAX <= self.unsynced_bytes {
            self.sync_unsynced();
        }
    }

    fn write(&mut self, records: &[(Lsn, Prepared)], bytes: usize) -> io::Result<()> {
        let fits = |active: &Active| {
            active.bytes == HEADER_BYTES as u64 || active.bytes + bytes as u64 <= self.start.segment_bytes
        };
        if !self.active.as_ref().is_some_and(fits) {
            self.roll()?;
        }
        let Some(active) = &mut self.active else { return Err(io::ErrorKind::NotConnected.into()) };
        active.reserve(active.bytes + bytes as u64, self.start.segment_bytes)?;
        self.buffer.clear();
        for (lsn, prepared) in records {
            prepared.encode(&active.id, *lsn, &mut self.buffer);
            active.last = *lsn;
        }
        // Counted first: after a failure any part of it may be on disk.
        active.bytes += self.buffer.len() as u64;
        let appended = active.file.append(&self.buffer);
        if BUFFER_BYTES_KEPT < self.buffer.capacity() {
            self.buffer = Vec::new();
        }
        appended?;
        fault::point("journal.appended");
        match self.start.sync {
            Sync::Durable => self.sync(),
            Sync::Buffered => Ok(()),
        }
    }

    /// Brings the active segment to the device and publishes that it is there.
    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        self.shared.sync_starts();
        let synced = active.file.sync();
        self.shared.sync_ends();
        synced?;
        self.durable = active.last;
        self.shared.publish(self.durable);
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.sync_due = None;
        Ok(())
    }

    fn keep_unsynced(&mut self, records: Vec<(Lsn, Prepared)>, bytes: usize) {
        if self.start.sync == Sync::Buffered {
            self.unsynced.extend(records);
            self.unsynced_bytes += bytes;
            self.sync_due.get_or_insert(self.now + BUFFERED_SYNC);
        }
    }

    fn sync_unsynced(&mut self) {
        self.sync_due = None;
        if !self.unsynced.is_empty()
            && let Err(cause) = self.sync()
        {
            self.write_again(Vec::new(), &cause);
        }
    }

    /// Leaves the segment that failed and writes what is not durable to a new one, once.
    fn write_again(&mut self, failed: Vec<(Lsn, Prepared)>, cause: &io::Error) {
        let records = failed.len() + self.unsynced.len();
        warn!(%cause, records, "a journal segment failed, writing a new one");
        self.seal();
        let acknowledged = self.unsynced.len();
        self.unsynced.extend(failed);
        if let Err(second) = self.write_unsynced_to_new() {
            // Those that were refused may be sent again under new LSNs; only what was acknowledged is still
            // owed.
            self.unsynced.truncate(acknowledged);
            self.poison(cause, &second);
        }
        self.report_disk();
    }

    /// Creates a segment and brings everything unsynced to it and to the device; leaves none when it fails.
    fn write_unsynced_to_new(&mut self) -> io::Result<()> {
        let records = std::mem::take(&mut self.unsynced);
        let written = self.create().and_then(|mut active| {
            for (lsn, prepared) in &records {
                self.buffer.clear();
                prepared.encode(&active.id, *lsn, &mut self.buffer);
                active.bytes += self.buffer.len() as u64;
                active.last = *lsn;
                if let Err(cause) = active.file.append(&self.buffer) {
                    self.discard(active);
                    return Err(cause);
                }
            }
            self.active = Some(active);
            self.sync()
        });
        if written.is_err() {
            self.unsynced = records;
            if let Some(active) = self.active.take() {
                self.discard(active);
            }
        }
        written
    }

    /// Refuses everything from now on. Want of space, file handles or memory passes, so that alone is tried again.
    fn poison(&mut self, cause: &io::Error, second: &io::Error) {
        self.retry_at = is_passing(second).then(|| self.now + RETRY);
        error!(%cause, %second, tries_again = self.retry_at.is_some(), "the journal takes no more entries");
        let reason: Arc<str> = if cause.kind() == second.kind() {
            Arc::from(cause.to_string())
        } else {
            Arc::from(format!("{cause}; then on a new segment: {second}"))
        };
        for pending in self.shared.set_poisoned(Some(Arc::clone(&reason))) {
            let (disk_bytes, segments) = self.disk_use();
            self.shared.settled(pending.prepared.bytes(), disk_bytes, segments);
            let _ = pending.waiter.send(Err(Arc::clone(&reason)));
        }
    }

    fn retry(&mut self) {
        if self.write_unsynced_to_new().is_ok() {
            self.retry_at = None;
            self.shared.set_poisoned(None);
            info!("the journal has what it lacked and takes entries again");
        } else {
            self.retry_at = Some(self.now + RETRY);
        }
        self.report_disk();
    }

    /// Closes the active segment, everything in it being durable, and opens the next.
    fn roll(&mut self) -> io::Result<()> {
        if !self.unsynced.is_empty() {
            self.sync()?;
        }
        let next = self.create()?;
        self.seal();
        self.active = Some(next);
        Ok(())
    }

    fn seal(&mut self) {
        if let Some(Active { path, bytes, last, .. }) = self.active.take() {
            self.start.sealed.push_back(Sealed { path, bytes, last });
        }
    }

    /// Creates a durable, empty segment behind the durable position.
    fn create(&mut self) -> io::Result<Active> {
        let sequence = self.start.sequence;
        self.start.sequence += 1;
        let id = segment::new_id(sequence);
        let header = Header { id, sequence, base: Lsn(self.durable.0 + 1) };
        let path = self.start.directory.join(segment::file_name(&header));
        let file = self.start.disk.create(&path)?;
        let bytes = HEADER_BYTES as u64;
        let mut active = Active { file, path, id, bytes, reserved: 0, last: self.durable };
        let written = active.file.append(&header.encode()).and_then(|()| active.file.sync());
        match written.and_then(|()| self.start.disk.sync_directory(&self.start.directory)) {
            Ok(()) => Ok(active),
            Err(cause) => {
                self.discard(active);
                Err(cause)
            }
        }
    }

    /// Removes a segment whose records nobody counts on; one that cannot be removed is kept in the books.
    fn discard(&mut self, active: Active) {
        let Active { file, path, bytes, last, .. } = active;
        drop(file);
        if self.start.disk.remove(&path).is_err() {
            self.start.sealed.push_back(Sealed { path, bytes, last });
        }
    }

    /// Removes segments, oldest first, that hold nothing after `released`.
    fn remove_released(&mut self, released: Lsn, is_pressed: bool) {
        let wants_roll = |active: &Active| {
            let is_large = self.start.segment_bytes <= active.bytes * 2;
            let has_records = (HEADER_BYTES as u64) < active.bytes;
            has_records && active.last <= released && (is_large || is_pressed)
        };
        if self.active.as_ref().is_some_and(wants_roll) {
            self.sync_unsynced();
            if let Err(cause) = self.roll() {
                warn!(%cause, "cannot open a new journal segment in order to free the released one");
            }
        }
        let mut removed = false;
        while let Some(oldest) = self.start.sealed.pop_front_if(|oldest| oldest.last <= released) {
            fault::point("journal.released");
            let outcome = self.start.disk.remove(&oldest.path);
            fault::point("journal.removed");
            match outcome {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    warn!(path = %oldest.path.display(), %cause, "cannot remove a released journal segment");
                    self.start.sealed.push_front(oldest);
                    break;
                }
                _ => removed = true,
            }
        }
        if removed {
            // Not synced: a segment that comes back after a crash was applied and is skipped.
            self.report_disk();
        }
    }

    fn report_disk(&self) {
        let (bytes, segments) = self.disk_use();
        self.shared.settled(0, bytes, segments);
    }

    /// Bytes and number of all segments.
    fn disk_use(&self) -> (u64, usize) {
        let active = self.active.as_ref().map(|active| active.bytes);
        let bytes = self.start.sealed.iter().map(|sealed| sealed.bytes).chain(active).sum();
        (bytes, self.start.sealed.len() + usize::from(active.is_some()))
    }
}

/// Whether the system lacked something that it may have again: space, file handles or memory.
fn is_passing(cause: &io::Error) -> bool {
    // ENFILE and EMFILE, the same on every Unix.
    const WITHOUT_HANDLES: [i32; 2] = [23, 24];
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::OutOfMemory];
    kinds.contains(&cause.kind()) || cause.raw_os_error().is_some_and(|code| WITHOUT_HANDLES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e9_want_of_file_handles_passes_and_a_failing_disk_does_not() {
        let of = io::Error::from_raw_os_error;
        // ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM.
        assert!([28, 122, 24, 23, 12].into_iter().all(|code| is_passing(&of(code))));
        // EIO, EROFS, EACCES.
        assert!([5, 30, 13].into_iter().all(|code| !is_passing(&of(code))));
    }
}
