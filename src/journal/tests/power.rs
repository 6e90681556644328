//! A disk in memory that fails and loses power, decided by a seed.
//!
//! It keeps apart what programs see (the page cache) and what is on the device. When power goes, each piece of what was
//! not synced is on the device or not, independently of the others; so are names that appeared or went since their
//! directory was synced. After a sync that failed, what it should have written counts as written, and never is (Rebello
//! and others 2020): only what is appended later is written by later syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::journal::disk::{Content, Disk, SegmentFile};
use crate::journal::space::Room;
use crate::journal::state::Shared;
use crate::journal::writer::Writer;
use crate::journal::{Error, Journal, Lsn, Options, Replay, prepare};

/// Bytes that reach the device together or not at all. Smaller than any real device's, so that more can go wrong.
const PIECE: usize = 64;

/// Chance, repeatable (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// True in `percent` of 100 throws.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The disk; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct PowerDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    dice: Dice,
    files: Vec<File>,
    /// Names as programs see them.
    names: BTreeMap<PathBuf, usize>,
    /// Names on the device.
    device_names: BTreeMap<PathBuf, usize>,
    /// What changed in `names` since it was synced, in order.
    changes: Vec<(PathBuf, Option<usize>)>,
    /// How many of a thousand operations fail.
    trouble: u64,
    /// After so many operations power goes.
    left: Option<u64>,
    is_off: bool,
    /// A sync answers at once and writes nothing: the defect of who acknowledges before it syncs.
    lies: bool,
}

#[derive(Debug, Clone, Default)]
struct File {
    seen: Vec<u8>,
    device: Vec<u8>,
    /// Pieces that differ, and that the next sync writes.
    dirty: BTreeSet<usize>,
}

impl PowerDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            device_names: BTreeMap::new(),
            changes: Vec::new(),
            trouble: 0,
            left: None,
            is_off: false,
            lies: false,
        })))
    }

    /// So many of a thousand operations fail from now on, and power goes after `left` operations.
    pub(crate) fn plan(&self, trouble: u64, left: Option<u64>) {
        let mut state = self.state();
        (state.trouble, state.left) = (trouble, left);
    }

    /// Syncs write nothing from now on.
    pub(crate) fn lie(&self) {
        self.state().lies = true;
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Power goes now, and is back.
    pub(crate) fn cut(&self) {
        self.state().cut();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Before each operation: whether there is power, and whether it fails.
    fn step(&mut self, kinds: &[i32]) -> io::Result<()> {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            self.is_off |= *left == 0;
        }
        if self.is_off {
            return Err(io::Error::from_raw_os_error(5));
        }
        if self.dice.below(1000) < self.trouble {
            let kind = kinds[self.dice.below(kinds.len() as u64) as usize];
            return Err(io::Error::from_raw_os_error(kind));
        }
        Ok(())
    }

    fn named(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, path: &Path, file: Option<usize>) {
        match file {
            Some(file) => self.names.insert(path.to_owned(), file),
            None => self.names.remove(path),
        };
        self.changes.push((path.to_owned(), file));
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        let outcome = self.step(&[5]);
        let Self { dice, files, is_off, lies, .. } = self;
        let file = &mut files[file];
        match &outcome {
            Ok(()) if *lies => {}
            Ok(()) => file.write(|_| true),
            // Power went half way; the rest is decided by the cut.
            Err(_) if *is_off => {}
            Err(_) => file.write(|_| dice.chance(50)),
        }
        outcome
    }

    fn cut(&mut self) {
        let Self { dice, files, names, device_names, changes, .. } = self;
        for file in files.iter_mut() {
            let share = [0, 50, 90, 100][dice.below(4) as usize];
            let length = file.device.len();
            file.write(|_| dice.chance(share));
            if length < file.device.len() && dice.chance(30) {
                let longer = file.device.len() - length;
                file.device.truncate(length + dice.below(longer as u64 + 1) as usize);
            }
            file.seen.clone_from(&file.device);
        }
        for (path, file) in changes.drain(..) {
            if dice.chance(50) {
                match file {
                    Some(file) => device_names.insert(path, file),
                    None => device_names.remove(&path),
                };
            }
        }
        names.clone_from(device_names);
        (self.is_off, self.left, self.trouble) = (false, None, 0);
    }
}

impl File {
    fn append(&mut self, bytes: &[u8]) {
        let from = self.seen.len();
        self.seen.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(from / PIECE..=(self.seen.len() - 1) / PIECE);
        }
    }

    /// Brings dirty pieces to the device, those that `reaches` says; none is dirty afterwards.
    fn write(&mut self, mut reaches: impl FnMut(usize) -> bool) {
        for piece in std::mem::take(&mut self.dirty) {
            let (from, to) = (piece * PIECE, ((piece + 1) * PIECE).min(self.seen.len()));
            if reaches(piece) && from < to {
                self.device.resize(self.device.len().max(to), 0);
                self.device[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
    }
}

impl Disk for PowerDisk {
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        Ok(state.names.keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Content>> {
        let mut state = self.state();
        state.step(&[24, 5])?;
        let file = state.named(path)?;
        Ok(Box::new(Reading(state.files[file].seen.clone())))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.state();
        state.step(&[28, 24, 5])?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len();
        state.files.push(File::default());
        state.name(path, Some(file));
        Ok(Box::new(Writing { disk: self.clone(), file }))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut state = self.state();
        let file = state.named(path)?;
        state.step(&[5])?;
        let length = length as usize;
        let file = &mut state.files[file];
        file.seen.truncate(length);
        file.device.truncate(length);
        file.dirty.retain(|piece| piece * PIECE < length);
        file.write(|_| true);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.named(path)?;
        state.sync(file)
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(&[5])?;
        state.device_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(&[5, 13])?;
        state.named(path)?;
        state.name(path, None);
        Ok(())
    }

    fn room(&self, _: &Path) -> io::Result<Room> {
        Ok(Room { free: u64::MAX, whole: u64::MAX })
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(&[28])?;
        let mut file = File::default();
        let from = state.named(from)?;
        file.append(&state.files[from].seen);
        let copy = state.files.len();
        state.files.push(file);
        state.name(to, Some(copy));
        Ok(())
    }
}

struct Writing {
    disk: PowerDisk,
    file: usize,
}

impl SegmentFile for Writing {
    fn reserve(&mut self, _: u64) -> io::Result<()> {
        // Want of room shows when something is appended, of which part may be written.
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let was_on = !state.is_off;
        let outcome = state.step(&[28, 5]);
        let written = match outcome {
            Ok(()) => bytes.len(),
            Err(_) if was_on => state.dice.below(bytes.len() as u64 + 1) as usize,
            Err(_) => 0,
        };
        state.files[self.file].append(&bytes[..written]);
        outcome
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.file)
    }
}

struct Reading(Vec<u8>);

impl Content for Reading {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, bytes: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let from = (offset as usize).min(self.0.len());
        let to = (from + bytes as usize).min(self.0.len());
        buffer.extend_from_slice(&self.0[from..to]);
        Ok(())
    }
}

/// The writer of a journal, a turn at a time.
pub(crate) struct Turns {
    writer: Writer,
    shared: Arc<Shared>,
}

impl Turns {
    /// Does what is asked for and due at `now`; false once the journal was stopped and nothing is left.
    pub(crate) fn turn(&mut self, now: Instant) -> bool {
        let work = self.shared.next_work(Some(Instant::now()));
        self.writer.turn(work, now)
    }
}

/// Opens the journal on `disk`; nothing is written but in turns.
pub(crate) fn open(
    disk: &PowerDisk,
    options: &Options,
    applied: Lsn,
) -> Result<(Journal, Replay, Turns), Error> {
    let (journal, replay, writer) = prepare(Arc::new(disk.clone()), options, applied)?;
    let shared = Arc::clone(&journal.inner.shared);
    Ok((journal, replay, Turns { writer, shared }))
}
