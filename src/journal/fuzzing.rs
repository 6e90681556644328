//! Segments of any bytes, and segments that were written and then damaged: what is yielded was written, and what was not
//! touched is yielded.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Content, Disk, SegmentFile};
use super::format::{self, HEADER_BYTES, Header, Prepared, RECORD_BYTES_MIN};
use super::segment::{self, Item, Scanner};
use super::space::Room;
use super::state::Shared;
use super::{Entry, Lsn, Options, Replay, Sync, recovery};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

const FOLDER: &str = "journal";
const NAMED: Header = Header { id: [7; 16], sequence: 1, base: Lsn(1) };
/// Records of a segment that is written.
const RECORDS_MAX: u64 = 12;

/// A segment of these bytes: its parts follow each other to the end, and each record has its checksum.
pub(crate) fn segment(input: &[u8]) {
    let disk = Memory::default();
    let path = disk.put(&NAMED, input.to_vec());
    // Of a header of another version nothing is read.
    let Ok(mut scanner) = Scanner::open(&disk, &NAMED, &path) else { return };
    let id = Header::decode(&first(input)).map_or(NAMED.id, |header| header.id);
    let mut at = input.len().min(HEADER_BYTES) as u64;
    let mut last = Lsn(0);
    while let Ok(Some(item)) = scanner.next() {
        let (offset, bytes) = match item {
            Item::Record { offset, frame } => {
                assert!(last < frame.lsn, "numbers go up");
                last = frame.lsn;
                let record = &input[offset as usize..offset as usize + frame.bytes];
                let checksum = [&id[..], &record[..4], &record[8..]].concat();
                assert_eq!(
                    crc32c::crc32c(&checksum).to_le_bytes(),
                    record[4..8],
                    "a record without its checksum"
                );
                let _ = format::decode(record);
                (offset, frame.bytes as u64)
            }
            Item::Damaged { offset, bytes } | Item::Tail { offset, bytes } => (offset, bytes),
        };
        assert!(offset == at && bytes > 0, "parts follow each other");
        at += bytes;
    }
    assert_eq!(at, input.len() as u64, "the parts are all of it");
    recovered(&disk, Lsn(u64::from(input.first().copied().unwrap_or_default())));
}

/// Segments that are written and then written over: the first bytes choose how many records they have, where the second
/// begins, and what was applied; five bytes each then choose where and with what they are written over.
pub(crate) fn damage(input: &[u8]) {
    let [count, second, applied, edits @ ..] = input else { return };
    let count = 1 + u64::from(*count) % RECORDS_MAX;
    let second = 2 + u64::from(*second) % RECORDS_MAX;
    let applied = Lsn(u64::from(*applied) % (count + 1));
    let headers = [NAMED, Header { id: [9; 16], sequence: 2, base: Lsn(second) }];
    let mut written: Vec<Vec<u8>> = headers.iter().map(|header| header.encode().to_vec()).collect();
    // Where each record lies.
    let mut places = BTreeMap::new();
    for lsn in 1..=count {
        let at = usize::from(lsn >= second);
        let from = written[at].len();
        let Ok(prepared) = Prepared::new(&entry(lsn)) else { unreachable!("the body is short") };
        prepared.encode(&headers[at].id, Lsn(lsn), &mut written[at]);
        places.insert(lsn, (at, from..written[at].len()));
    }
    if count < second {
        written.truncate(1);
    }
    let intact = written.clone();
    for edit in edits.chunks_exact(5) {
        write_over(&mut written, edit);
    }
    let disk = Memory::default();
    for (header, bytes) in headers.iter().zip(&written) {
        disk.put(header, bytes.clone());
    }
    let yielded = recovered(&disk, applied);
    for (lsn, found) in &yielded {
        assert!(places.contains_key(lsn) && *found == entry(*lsn), "record {lsn} was never written");
    }
    for (lsn, (at, range)) in places.range(applied.0 + 1..) {
        let is_whole = written[*at].get(range.clone()) == Some(&intact[*at][range.clone()]);
        assert!(!is_whole || yielded.contains_key(lsn), "record {lsn} was not touched and is gone");
    }
}

/// Overwrites bytes of a segment with one value or with others of it, or cuts its end off.
fn write_over(written: &mut [Vec<u8>], edit: &[u8]) {
    let [kind, high, low, length, value] = edit else { return };
    let at = usize::from(kind >> 3) % written.len();
    let segment = &mut written[at];
    let place = usize::from(u16::from_be_bytes([*high, *low])) % segment.len().max(1);
    let end = segment.len().min(place + 1 + usize::from(*length));
    match kind & 7 {
        0..=3 => segment[place..end].fill(*value),
        4 => segment[place..end].iter_mut().for_each(|byte| *byte ^= value),
        5 => segment.truncate(place.max(1)),
        // Never a whole record: one that stands in two places of its segment is beyond what disks do.
        6 => {
            let end = end.min(place + RECORD_BYTES_MIN - 1);
            let to = usize::from(*value).min(segment.len() - (end - place));
            segment.copy_within(place..end, to);
        }
        _ => segment.extend(std::iter::repeat_n(*value, usize::from(*length))),
    }
}

/// A short body for even numbers, one that is compressed for odd ones.
fn entry(lsn: u64) -> Entry {
    let Ok(tenant) = TenantId::try_from("team") else { unreachable!("the name is plain") };
    let body = if lsn.is_multiple_of(2) {
        vec![lsn as u8; 20]
    } else {
        format!("record {lsn} ").repeat(40).into_bytes()
    };
    let signal = Signal::ALL[lsn as usize % 3];
    Entry { tenant, signal, encoding: lsn as u8, received: UnixNanos(lsn as i64), body: body.into() }
}

/// Recovers and replays: numbers go up, and stay behind what was applied. Damage is no failure.
fn recovered(disk: &Memory, applied: Lsn) -> BTreeMap<u64, Entry> {
    let found = match recovery::recover(disk, Path::new(FOLDER), applied) {
        Ok(found) => found,
        Err(super::Error::Version { .. }) => return BTreeMap::new(),
        Err(error) => panic!("a damaged journal cannot be opened: {error}"),
    };
    let options = Options {
        directory: FOLDER.into(),
        segment_bytes: 4096,
        bytes_max: 1 << 20,
        pending_bytes_max: 1 << 20,
        free_bytes_min: 0,
        sync: Sync::Durable,
    };
    let shared = Arc::new(Shared::new(&options, &found.report));
    let records = found.report.records;
    let replay = Replay::new(
        Arc::new(disk.clone()),
        (&found.segments, &found.pieces),
        (applied, found.report.clone()),
        shared,
    );
    let (mut yielded, mut counted, mut last) = (BTreeMap::new(), 0, applied);
    for record in replay {
        counted += 1;
        match record {
            Ok(record) => {
                assert!(last < record.lsn, "numbers go up");
                last = record.lsn;
                yielded.insert(record.lsn.0, record.entry);
            }
            Err(super::Error::Unreadable { lsn, .. }) => last = lsn,
            Err(error) => panic!("a damaged journal cannot be replayed: {error}"),
        }
    }
    assert_eq!(counted, records, "as many records as were told");
    assert!(last <= found.report.last, "the next number was given out before");
    yielded
}

fn first(input: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let bytes = input.len().min(HEADER_BYTES);
    header[..bytes].copy_from_slice(&input[..bytes]);
    header
}

/// Files in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>);

impl Memory {
    fn put(&self, named: &Header, bytes: Vec<u8>) -> PathBuf {
        let path = Path::new(FOLDER).join(segment::file_name(named));
        self.with(|files| files.insert(path.clone(), bytes));
        path
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<PathBuf, Vec<u8>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(|files| files.get(path).cloned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Memory {
    fn list(&self, _directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.with(|files| files.keys().cloned().collect()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Content>> {
        Ok(Box::new(Reading(self.of(path)?)))
    }

    fn create(&self, _path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.with(|files| files.get_mut(path).map(|bytes| bytes.truncate(length as usize)));
        Ok(())
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|files| files.remove(path));
        Ok(())
    }

    fn room(&self, _directory: &Path) -> io::Result<Room> {
        Ok(Room { free: u64::MAX, whole: u64::MAX })
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.of(from)?;
        self.with(|files| files.insert(to.to_owned(), bytes));
        Ok(())
    }
}

struct Reading(Vec<u8>);

impl Content for Reading {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        buffer.extend_from_slice(&rest[..rest.len().min(bytes as usize)]);
        Ok(())
    }
}
