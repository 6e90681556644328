pub(crate) mod power;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use tempfile::TempDir;

use super::disk::{Content, SegmentFile};
use super::space::Room;
use super::state::Work;
use super::*;
use crate::fault::Kind;

fn options(directory: &Path) -> Options {
    Options {
        directory: directory.to_owned(),
        segment_bytes: 4096,
        bytes_max: 1 << 20,
        pending_bytes_max: 1 << 20,
        free_bytes_min: 0,
        sync: Sync::Durable,
    }
}

fn entry(number: u64) -> Entry {
    Entry {
        tenant: TenantId::try_from("team").unwrap(),
        signal: Signal::ALL[number as usize % 3],
        encoding: 1,
        received: UnixNanos(number as i64),
        body: Bytes::from(format!("entry {number} ").into_bytes()),
    }
}

fn prepared(number: u64) -> Prepared {
    Prepared::new(&entry(number)).unwrap()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Appends entries `numbers` and waits for each.
fn write(journal: &Journal, numbers: impl IntoIterator<Item = u64>) -> Vec<Lsn> {
    let appended: Vec<_> = numbers.into_iter().map(|n| journal.append(prepared(n)).unwrap()).collect();
    let lsns = appended.iter().map(|one| one.lsn).collect();
    for one in appended {
        wait(one.durable()).unwrap();
    }
    lsns
}

/// Writes `count` entries, each in a commit of its own, and stops.
fn written(directory: &Path, count: u64) {
    let (journal, _) = open(options(directory), Lsn(0)).unwrap();
    for number in 1..=count {
        write(&journal, [number]);
    }
    journal.stop();
}

/// Opens and replays everything after `applied`; every entry has to be the one written under its number.
fn replayed(directory: &Path, applied: u64) -> (Vec<u64>, Recovery) {
    let (_journal, replay) = open(options(directory), Lsn(applied)).unwrap();
    let report = replay.report().clone();
    let lsns = replay.map(|record| {
        let record = record.unwrap();
        assert_eq!(record.entry, entry(record.lsn.0));
        record.lsn.0
    });
    let lsns: Vec<_> = lsns.collect();
    assert_eq!(report.records, lsns.len() as u64);
    (lsns, report)
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    segment::list(&FileSystem, directory).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// Segments that hold records, without the one each open adds.
fn filled(directory: &Path) -> Vec<PathBuf> {
    let has_records = |path: &PathBuf| format::HEADER_BYTES < fs::read(path).unwrap().len();
    segments(directory).into_iter().filter(has_records).collect()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn many_threads_share_commits_and_all_is_replayed_in_order() {
    let directory = TempDir::new().unwrap();
    let (journal, replay) = open(options(directory.path()), Lsn(0)).unwrap();
    assert_eq!(replay.count(), 0);
    let bodies: Vec<_> = thread::scope(|scope| {
        let write = |thread: u64| {
            let journal = journal.clone();
            scope.spawn(move || {
                let one = |n: u64| {
                    let entry = Entry { received: UnixNanos((thread * 1000 + n) as i64), ..entry(n) };
                    let appended = journal.append(Prepared::new(&entry).unwrap()).unwrap();
                    let lsn = appended.lsn;
                    wait(appended.durable()).unwrap();
                    assert!(lsn <= *journal.durable().borrow(), "acknowledged before it was published");
                    (lsn, entry)
                };
                (0..50).map(one).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..8).map(write).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let stats = journal.stats();
    assert_eq!((stats.appended, stats.durable, stats.pending_bytes), (Lsn(400), Lsn(400), 0));
    assert!(stats.syncs < 400, "{} syncs for 400 records", stats.syncs);
    assert_eq!(stats.sync_counts.iter().sum::<u64>(), stats.syncs);
    journal.stop();
    let (_journal, replay) = open(options(directory.path()), Lsn(0)).unwrap();
    let wanted: BTreeMap<Lsn, Entry> = bodies.into_iter().collect();
    let found: Vec<_> =
        replay.map(|record| record.unwrap()).map(|record| (record.lsn, record.entry)).collect();
    assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
}

#[test]
fn replay_skips_what_was_applied_and_numbers_go_on() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 200);
    assert!(1 < filled(directory.path()).len());
    assert_eq!(replayed(directory.path(), 150).0, (151..=200).collect::<Vec<_>>());
    assert_eq!(replayed(directory.path(), 200).0, [0; 0]);
    let (journal, _) = open(options(directory.path()), Lsn(150)).unwrap();
    assert_eq!(write(&journal, [201]), [Lsn(201)]);
    journal.stop();
    let (journal, _) = open(options(directory.path()), Lsn(500)).unwrap();
    assert_eq!(journal.stats().durable, Lsn(500));
    assert_eq!(write(&journal, [501]), [Lsn(501)]);
    journal.stop();
    // Without the applied position the numbers still go on behind the last segment.
    assert_eq!(replayed(directory.path(), 0).1.last, Lsn(501));
}

#[test]
fn d12_opening_again_and_again_leaves_no_files() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 3);
    for _ in 0..5 {
        assert_eq!(replayed(directory.path(), 0).0, [1, 2, 3]);
    }
    assert_eq!(segments(directory.path()).len(), 2);
}

#[test]
fn d5_a_torn_last_record_is_cut_at_every_byte() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 3);
    let path = filled(directory.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let last = prepared(3).bytes();
    for cut in 1..=last {
        for zeroed in [false, true] {
            let mut torn = whole[..whole.len() - cut].to_vec();
            if zeroed {
                torn.resize(whole.len() + 100, 0);
            }
            fs::write(&path, &torn).unwrap();
            let torn_bytes = torn.len() - (whole.len() - last);
            let (lsns, report) = replayed(directory.path(), 0);
            assert_eq!(lsns, [1, 2], "cut {cut}");
            assert_eq!((report.torn_tail_bytes, report.quarantined.len()), (torn_bytes as u64, 0));
            assert_eq!(fs::read(&path).unwrap().len(), whole.len() - last);
        }
    }
    assert_eq!(replayed(directory.path(), 0).1.torn_tail_bytes, 0);
}

#[test]
fn d5_stale_bytes_of_another_segment_are_no_records() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    written(one.path(), 3);
    written(other.path(), 5);
    let path = filled(one.path()).pop().unwrap();
    let stale = fs::read(filled(other.path()).pop().unwrap()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&stale[bytes.len()..]);
    fs::write(&path, &bytes).unwrap();
    let (lsns, report) = replayed(one.path(), 0);
    assert_eq!(lsns, [1, 2, 3]);
    assert_eq!(report.torn_tail_bytes, (prepared(4).bytes() + prepared(5).bytes()) as u64);
}

#[test]
fn d6_a_flipped_byte_in_the_middle_costs_one_record() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 5);
    let path = filled(directory.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let start = format::HEADER_BYTES + prepared(1).bytes() + prepared(2).bytes();
    for offset in start..start + prepared(3).bytes() {
        fs::write(&path, &whole).unwrap();
        flip(&path, offset);
        let damaged = fs::read(&path).unwrap();
        let (lsns, report) = replayed(directory.path(), 0);
        assert_eq!(lsns, [1, 2, 4, 5], "byte {offset}");
        let [place] = report.quarantined.as_slice() else { panic!("byte {offset}: {report:?}") };
        assert_eq!((place.offset, place.after), (start as u64, Lsn(2)));
        assert_eq!((place.bytes, report.torn_tail_bytes), (prepared(3).bytes() as u64, 0));
        let copy = place.copy.as_ref().unwrap();
        assert_eq!(fs::read(copy).unwrap(), damaged);
        fs::remove_file(copy).unwrap();
        assert_eq!(fs::read(&path).unwrap(), damaged, "the segment itself stays as it is");
    }
}

#[test]
fn f8_what_neither_store_nor_journal_has_is_counted() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 200);
    let paths = filled(directory.path());
    assert_eq!(replayed(directory.path(), 0).1.missing, 0);
    fs::remove_file(&paths[0]).unwrap();
    let (lsns, report) = replayed(directory.path(), 0);
    let first = lsns[0];
    assert!(first > 1 && report.missing == first - 1, "{first}: {report:?}");
    assert_eq!(replayed(directory.path(), first - 3).1.missing, 2);
    assert_eq!(replayed(directory.path(), first - 1).1.missing, 0);
    assert_eq!(replayed(directory.path(), 200).1.missing, 0);
}

#[test]
fn d6_a_damaged_header_costs_nothing() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 2);
    let path = filled(directory.path()).pop().unwrap();
    for offset in 0..format::HEADER_BYTES {
        flip(&path, offset);
        let (lsns, report) = replayed(directory.path(), 0);
        assert_eq!((lsns, report.quarantined.len()), (vec![1, 2], 1), "byte {offset}");
        flip(&path, offset);
    }
    assert_eq!(replayed(directory.path(), 0).1.quarantined, []);
}

#[test]
fn d6_damage_in_an_earlier_segment_keeps_the_others() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 200);
    let paths = filled(directory.path());
    assert!(2 < paths.len());
    let first = fs::read(&paths[0]).unwrap();
    flip(&paths[0], first.len() - 1);
    let (lsns, report) = replayed(directory.path(), 0);
    assert_eq!((lsns.len(), report.quarantined.len(), report.torn_tail_bytes), (199, 1, 0));
    // What is applied is not looked at any more.
    assert_eq!(replayed(directory.path(), 190).1.quarantined, []);
    fs::write(&paths[0], &first[..20]).unwrap();
    let (lsns, report) = replayed(directory.path(), 0);
    assert!(lsns.len() < 200 && lsns.last() == Some(&200), "{lsns:?}");
    assert_eq!(report.quarantined.len(), 1);
}

#[test]
fn a_later_format_is_refused_and_kept() {
    let directory = TempDir::new().unwrap();
    written(directory.path(), 1);
    let path = filled(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] = 9;
    let checksum = crc32c::crc32c(&bytes[..44]);
    bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let refused = open(options(directory.path()), Lsn(0)).unwrap_err();
    assert!(matches!(refused, Error::Version { found: 9, .. }));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn d8_a_second_instance_is_refused_and_alters_nothing() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open(options(directory.path()), Lsn(0)).unwrap();
    write(&journal, [1]);
    let before = segments(directory.path());
    fs::remove_file(directory.path().join("journal.lock")).unwrap();
    for _ in 0..2 {
        let refused = open(options(directory.path()), Lsn(0)).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }) && refused.kind() == Kind::Unavailable);
    }
    assert!(!directory.path().join("journal.lock").exists());
    assert_eq!(segments(directory.path()), before);
    write(&journal, [2]);
    journal.stop();
    journal.stop();
    assert!(matches!(journal.append(prepared(3)), Err(Error::Stopped)));
    assert_eq!(replayed(directory.path(), 0).0, [1, 2]);
}

#[test]
fn dropping_the_last_handle_writes_what_was_taken() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open(options(directory.path()), Lsn(0)).unwrap();
    let appended = journal.append(prepared(1)).unwrap();
    drop(appended);
    drop(journal);
    assert_eq!(replayed(directory.path(), 0).0, [1]);
}

#[test]
fn release_removes_whole_segments_only() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open(options(directory.path()), Lsn(0)).unwrap();
    write(&journal, 1..=200);
    let count = journal.stats().segments;
    assert!(2 < count);
    journal.release(Lsn(1));
    write(&journal, [201]);
    // It may have begun another one; the first still holds what is needed.
    assert!(journal.stats().segments >= count);
    journal.release(Lsn(150));
    journal.release(Lsn(140));
    write(&journal, [202]);
    journal.stop();
    let stats = journal.stats();
    assert!(stats.segments < count);
    assert_eq!(stats.segments, segments(directory.path()).len());
    let on_disk: u64 = segments(directory.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(stats.bytes, on_disk);
    assert_eq!(replayed(directory.path(), 150).0, (151..=202).collect::<Vec<_>>());
}

#[test]
fn full_refuses_until_space_is_released() {
    let directory = TempDir::new().unwrap();
    let bounds = Options { bytes_max: 8192, ..options(directory.path()) };
    let (journal, _) = open(bounds, Lsn(0)).unwrap();
    let mut last = Lsn(0);
    let refused = loop {
        match journal.append(prepared(1)) {
            Ok(appended) => {
                last = appended.lsn;
                wait(appended.durable()).unwrap();
            }
            Err(error) => break error,
        }
        assert!(journal.stats().bytes <= 8192);
    };
    assert!(matches!(refused, Error::Full { what: Bound::Disk, .. }) && refused.kind() == Kind::Overloaded);
    journal.release(last);
    while journal.append(prepared(1)).is_err() {
        thread::yield_now();
    }
    let huge = Prepared::new(&Entry { body: noise(9000), ..entry(1) }).unwrap();
    assert!(matches!(journal.append(huge), Err(Error::TooLarge { .. })));
}

#[test]
fn a_record_larger_than_a_segment_waits_only_for_its_own_space() {
    let directory = TempDir::new().unwrap();
    let bounds = Options { bytes_max: 9000, pending_bytes_max: 100, ..options(directory.path()) };
    let (journal, _) = open(bounds, Lsn(0)).unwrap();
    write(&journal, [1]);
    let body = noise(8900);
    let huge = Prepared::new(&Entry { body: body.clone(), ..entry(2) }).unwrap();
    assert!(matches!(journal.append(huge.clone()), Err(Error::Full { what: Bound::Disk, .. })));
    // The only segment is all released, and pressure makes the writer close it although it is small.
    journal.release(Lsn(1));
    let appended = loop {
        match journal.append(huge.clone()) {
            Ok(appended) => break appended,
            Err(_) => thread::yield_now(),
        }
    };
    wait(appended.durable()).unwrap();
    journal.stop();
    let (_journal, mut replay) = open(options(directory.path()), Lsn(1)).unwrap();
    assert_eq!(replay.next().unwrap().unwrap().entry.body, body);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let directory = TempDir::new().unwrap();
    let good = options(directory.path());
    for bad in [
        Options { segment_bytes: 100, ..good.clone() },
        Options { bytes_max: 5000, ..good.clone() },
        Options { pending_bytes_max: 0, ..good },
    ] {
        assert_eq!(open(bad, Lsn(0)).unwrap_err().kind(), Kind::Invalid);
    }
}

/// Bytes that do not compress.
fn noise(length: usize) -> Bytes {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect::<Vec<_>>().into()
}

/// A disk that fails on demand.
#[derive(Clone, Default)]
struct Faulty(Arc<Faults>);

#[derive(Default)]
struct Faults {
    /// Syncs that fail from now on.
    syncs: AtomicUsize,
    /// Appends that write half and fail.
    appends: AtomicUsize,
    /// Files that cannot be created for want of space.
    creates: AtomicUsize,
    /// Syncs of files that failed before.
    synced_again: AtomicUsize,
    directory_syncs: AtomicUsize,
    /// Claims of room that fail, and the bytes that the volume says are free, where not 0.
    reserves: AtomicUsize,
    free: AtomicUsize,
}

fn fails(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    faults: Arc<Faults>,
    failed: bool,
}

impl Disk for Faulty {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        FileSystem.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Content>> {
        FileSystem.open(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        FileSystem.truncate(path, length)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        FileSystem.sync(path)
    }

    fn room(&self, directory: &Path) -> io::Result<Room> {
        match self.0.free.load(Ordering::SeqCst) {
            0 => FileSystem.room(directory),
            free => Ok(Room { free: free as u64, whole: 100_000 }),
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.copy(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        if fails(&self.0.creates) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = FileSystem.create(path)?;
        Ok(Box::new(FaultyFile { file, faults: Arc::clone(&self.0), failed: false }))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.directory_syncs.fetch_add(1, Ordering::SeqCst);
        FileSystem.sync_directory(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }
}

impl SegmentFile for FaultyFile {
    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if fails(&self.faults.reserves) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.reserve(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if fails(&self.faults.appends) {
            self.failed = true;
            self.file.append(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.failed {
            self.faults.synced_again.fetch_add(1, Ordering::SeqCst);
        }
        if fails(&self.faults.syncs) {
            self.failed = true;
            return Err(io::Error::from_raw_os_error(5));
        }
        self.file.sync()
    }
}

fn faulty(directory: &Path, sync: Sync) -> (Journal, Arc<Faults>) {
    let disk = Faulty::default();
    let options = Options { sync, ..options(directory) };
    let (journal, _) = open_on(Arc::new(disk.clone()), options, Lsn(0)).unwrap();
    (journal, disk.0)
}

#[test]
fn e4_a_failed_sync_is_not_acknowledged_and_the_next_segment_goes_on() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    write(&journal, [1]);
    faults.syncs.store(1, Ordering::SeqCst);
    let refused = wait(journal.append(prepared(2)).unwrap().durable()).unwrap_err();
    assert!(matches!(refused, Error::NotDurable { lsn: Lsn(2), .. }) && refused.kind() == Kind::Unavailable);
    assert_eq!(write(&journal, [3]), [Lsn(3)]);
    assert_eq!(journal.stats().poisoned, None);
    assert_eq!(faults.synced_again.load(Ordering::SeqCst), 0);
    journal.stop();
    assert_eq!(segments(directory.path()).len(), 2);
    // Refused, yet whole; and once, although both segments hold it.
    let (lsns, report) = replayed(directory.path(), 0);
    assert_eq!((lsns, report.quarantined, report.torn_tail_bytes), (vec![1, 2, 3], vec![], 0));
}

#[test]
fn e4_when_the_new_segment_fails_too_everything_is_refused() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    write(&journal, [1]);
    faults.syncs.store(usize::MAX, Ordering::SeqCst);
    assert!(wait(journal.append(prepared(2)).unwrap().durable()).is_err());
    while journal.stats().poisoned.is_none() {
        thread::yield_now();
    }
    faults.syncs.store(0, Ordering::SeqCst);
    let refused = journal.append(prepared(3)).unwrap_err();
    assert!(matches!(refused, Error::Poisoned { .. }) && refused.kind() == Kind::Unavailable);
    assert_eq!((journal.stats().durable, journal.stats().pending_bytes), (Lsn(1), 0));
    journal.stop();
    assert_eq!(faults.synced_again.load(Ordering::SeqCst), 0);
    // Record 2 reached the file after all: refused, but whole.
    assert_eq!(replayed(directory.path(), 0).0, [1, 2]);
}

#[test]
fn e5_a_short_write_leaves_no_half_record() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    write(&journal, [1]);
    faults.appends.store(1, Ordering::SeqCst);
    assert!(wait(journal.append(prepared(2)).unwrap().durable()).is_err());
    write(&journal, [3]);
    journal.stop();
    let (lsns, report) = replayed(directory.path(), 0);
    assert_eq!((lsns, report.quarantined, report.torn_tail_bytes), (vec![1, 2, 3], vec![], 0));
}

#[test]
fn e1_want_of_space_passes_without_a_restart() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    write(&journal, [1]);
    faults.appends.store(1, Ordering::SeqCst);
    faults.creates.store(1, Ordering::SeqCst);
    assert!(wait(journal.append(prepared(2)).unwrap().durable()).is_err());
    while journal.stats().poisoned.is_none() {
        thread::yield_now();
    }
    while journal.stats().poisoned.is_some() {
        thread::yield_now();
    }
    assert_eq!(write(&journal, [3]), [Lsn(3)]);
    journal.stop();
    let (lsns, report) = replayed(directory.path(), 0);
    assert_eq!((lsns, report.quarantined), (vec![1, 3], vec![]));
}

#[test]
fn e1_room_is_claimed_before_anything_is_written() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    // Not as much as wished, but what is needed.
    faults.reserves.store(1, Ordering::SeqCst);
    write(&journal, [1]);
    assert_eq!(journal.stats().segments, 1);
    faults.reserves.store(2, Ordering::SeqCst);
    let is_refused = |number: &u64| wait(journal.append(prepared(*number)).unwrap().durable()).is_err();
    let refused = (2..1_000).find(is_refused).expect("no more room is claimed at the next segment");
    write(&journal, [refused + 1]);
    journal.stop();
    let (_, report) = replayed(directory.path(), 0);
    assert_eq!((report.quarantined, report.torn_tail_bytes), (vec![], 0));
}

#[test]
fn e1_a_volume_that_is_nearly_full_is_left_alone_until_it_has_room() {
    let directory = TempDir::new().unwrap();
    let faults = Faulty::default();
    faults.0.free.store(50_000, Ordering::SeqCst);
    let options = Options { free_bytes_min: 20_000, ..options(directory.path()) };
    let (journal, _, mut writer) = prepare(Arc::new(faults.clone()), &options, Lsn(0)).unwrap();
    let mut now = Instant::now();
    let mut look = |free: usize| {
        faults.0.free.store(free, Ordering::SeqCst);
        now += Duration::from_secs(1);
        let nothing = Work { batch: Vec::new(), released: Lsn(0), pressed: false, stopping: false };
        assert!(writer.turn(nothing, now));
        assert_eq!(writer.deadline().is_some(), journal.stats().short, "it looks again by itself");
        journal.append(prepared(1)).map(|_| ()).map_err(|error| error.kind())
    };
    assert_eq!(look(10_000), Ok(()), "a tenth of the volume is enough");
    assert_eq!(look(9_999), Err(Kind::Overloaded));
    assert_eq!(look(12_499), Err(Kind::Overloaded), "a quarter more has to be free");
    assert_eq!(look(12_500), Ok(()));
    assert_eq!(look(10_000), Ok(()));
}

#[test]
fn e4_a_buffered_journal_writes_acknowledged_records_again() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Buffered);
    write(&journal, [1, 2]);
    let mut durable = journal.durable();
    wait(durable.wait_for(|lsn| *lsn == Lsn(2))).unwrap();
    faults.syncs.store(1, Ordering::SeqCst);
    write(&journal, [3, 4]);
    wait(durable.wait_for(|lsn| *lsn == Lsn(4))).unwrap();
    journal.stop();
    assert_eq!(faults.synced_again.load(Ordering::SeqCst), 0);
    let (lsns, report) = replayed(directory.path(), 0);
    assert_eq!((lsns, report.quarantined), (vec![1, 2, 3, 4], vec![]));
}

#[test]
fn e8_each_new_segment_is_made_durable_by_name() {
    let directory = TempDir::new().unwrap();
    let (journal, faults) = faulty(directory.path(), Sync::Durable);
    write(&journal, 1..=200);
    let created = journal.stats().segments;
    assert!(2 < created);
    assert_eq!(faults.directory_syncs.load(Ordering::SeqCst), created);
}

#[test]
fn e7_a_directory_that_cannot_be_is_a_clear_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = open(options(&file.join("journal")), Lsn(0)).unwrap_err();
    assert!(matches!(refused, Error::Io { action: "create", .. }), "{refused}");
}

#[test]
fn bodies_that_look_like_records_do_not_hide_what_follows_damage() {
    let directory = TempDir::new().unwrap();
    let bounds = Options { segment_bytes: 1 << 19, ..options(directory.path()) };
    let (journal, _) = open(bounds, Lsn(0)).unwrap();
    let mut fake = Vec::new();
    prepared(2).encode(&[0; 16], Lsn(2), &mut fake);
    let large = Entry { body: fake.repeat(500).into(), ..entry(1) };
    for lsn in 1..=2 {
        let appended = journal.append(Prepared::new(&large).unwrap()).unwrap();
        assert_eq!(appended.lsn, Lsn(lsn));
        wait(appended.durable()).unwrap();
    }
    journal.stop();
    let path = filled(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[format::HEADER_BYTES..][..4].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let (_journal, replay) = open(options(directory.path()), Lsn(0)).unwrap();
    let found: Vec<_> = replay.map(|record| record.unwrap().lsn).collect();
    assert_eq!(found, [Lsn(2)]);
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Release(u64),
    Reopen,
    Tear(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..60).prop_map(Step::Append),
        2 => (0_u64..100).prop_map(Step::Release),
        1 => Just(Step::Reopen),
        1 => (1_u64..40).prop_map(Step::Tear),
    ]
}

/// The journal beside a model of it: a range of numbers, and how far it was applied.
struct Model {
    directory: TempDir,
    journal: Option<Journal>,
    last: u64,
    applied: u64,
}

impl Model {
    fn reopen(&mut self) {
        self.journal = None;
        let (journal, replay) = open(options(self.directory.path()), Lsn(self.applied)).unwrap();
        let found: Vec<_> = replay.map(|record| record.unwrap()).collect();
        for record in &found {
            assert_eq!(record.entry, entry(record.lsn.0));
        }
        let lsns: Vec<_> = found.iter().map(|record| record.lsn.0).collect();
        assert_eq!(lsns, (self.applied + 1..=self.last).collect::<Vec<_>>());
        assert_eq!(journal.stats().appended, Lsn(self.last));
        self.journal = Some(journal);
    }

    fn take(&mut self, step: &Step) {
        if self.journal.is_none() {
            self.reopen();
        }
        let journal = self.journal.as_ref().unwrap();
        match step {
            Step::Append(count) => {
                let first = self.last + 1;
                self.last += count;
                let lsns = write(journal, first..=self.last);
                assert_eq!(lsns.last(), Some(&Lsn(self.last)));
            }
            Step::Release(percent) => {
                self.applied += (self.last - self.applied) * percent / 100;
                journal.release(Lsn(self.applied));
            }
            Step::Reopen => self.reopen(),
            Step::Tear(bytes) => {
                self.journal = None;
                let Some(path) = segments(self.directory.path()).pop() else { return };
                let mut torn = fs::read(&path).unwrap();
                torn.extend(noise(*bytes as usize));
                fs::write(&path, torn).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    #[test]
    fn any_history_replays_what_was_confirmed_and_not_applied(
        steps in proptest::collection::vec(step(), 1..12),
    ) {
        let mut model = Model { directory: TempDir::new().unwrap(), journal: None, last: 0, applied: 0 };
        for step in &steps {
            model.take(step);
        }
        model.reopen();
    }
}
