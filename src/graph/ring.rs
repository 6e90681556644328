//! The buckets of one width, from the newest back to as many as are kept.
//!
//! The newest few buckets are maps that are quick to add to. Older ones are sealed into bytes; what still comes
//! for them gathers in a small map beside the bytes until it is worth sealing again. Readers take the bytes by
//! reference count, so the lock is held only for copying what is open.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::iter::Peekable;
use std::sync::Arc;

use crate::model::rollup::{Cell, Subject};
use crate::model::sketch::{Sketch, Tally};
use crate::model::subject_map::SubjectMap;
use crate::model::time::{UnixNanos, Window};

use super::joined::{BUCKETS, Joined, Wanted};
use super::sealed::Sealed;

/// Blocks that one question makes for those that come after it: each costs about what reading its buckets does.
const MADE_MAX: usize = 2;
/// Open cells beside sealed ones are sealed no sooner than this many came.
const LATE_CELLS_MIN: usize = 1_024;

/// Buckets of one width in a ring of slots.
#[derive(Debug)]
pub(super) struct Ring {
    width_seconds: i64,
    /// One slot for each bucket that is kept; a bucket's slot follows from its time.
    slots: Vec<Slot>,
    /// How many of the newest buckets stay open.
    open: i64,
    /// The newest bucket, none while there is nothing.
    newest: Option<i64>,
    /// What lies before it may be in the store alone.
    complete_from: i64,
    joined: Joined,
}

#[derive(Debug, Default)]
struct Slot {
    open: SubjectMap<Cell>,
    sealed: Arc<Sealed>,
}

/// The cells of some buckets, detached from the lock.
#[derive(Debug)]
pub(super) struct Snapshot {
    buckets: Vec<SnapshotBucket>,
    /// Blocks that would have spared reading their buckets, had they been made.
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct SnapshotBucket {
    start: i64,
    /// The windows that it overlaps, by number.
    windows: Vec<usize>,
    sealed: Arc<Sealed>,
    open: Vec<(Subject, Cell)>,
}

impl Ring {
    /// An empty ring that keeps `kept` buckets of `width_seconds` and the newest `open` of them open.
    pub(super) fn new(width_seconds: i64, kept: i64, open: i64) -> Self {
        let slots = (0..kept).map(|_| Slot::default()).collect();
        let joined = Joined::default();
        Self { width_seconds, slots, open, newest: None, complete_from: i64::MIN, joined }
    }

    /// The start of the earliest bucket that is kept.
    pub(super) fn kept_from(&self) -> i64 {
        let span = (self.slots.len() as i64 - 1) * self.width_seconds;
        self.newest.map_or(i64::MIN, |newest| newest.saturating_sub(span))
    }

    /// True when all that is known about `window` is here.
    pub(super) fn covers(&self, window: Window) -> bool {
        self.newest.is_some()
            && window.from.bucket_seconds(self.width_seconds) >= self.kept_from().max(self.complete_from)
    }

    /// Makes `bucket` the newest if it is later than that, clears those that drop out and seals those that are
    /// no longer among the newest. True when it moved.
    pub(super) fn advance(&mut self, bucket: i64) -> bool {
        let Some(newest) = self.newest else {
            self.newest = Some(bucket);
            return true;
        };
        if bucket <= newest {
            return false;
        }
        let steps = bucket.saturating_sub(newest) / self.width_seconds;
        for step in 0..steps.min(self.slots.len() as i64) {
            let slot = self.slot(bucket - step * self.width_seconds);
            self.slots[slot] = Slot::default();
        }
        self.newest = Some(bucket);
        let open = self.open_slots();
        for (_, slot) in self.slots.iter_mut().enumerate().filter(|(index, _)| !open.contains(index)) {
            if slot.open.len() * 8 >= slot.sealed.len() {
                slot.seal();
            }
        }
        true
    }

    /// The cell to add to; none when the bucket lies before those that are kept. What the cell holds is not all
    /// that is known: more may be sealed.
    pub(super) fn cell(&mut self, bucket: i64, subject: Subject) -> Option<&mut Cell> {
        self.advance(bucket);
        if bucket < self.kept_from() {
            return None;
        }
        let open_from = self.newest?.saturating_sub((self.open - 1) * self.width_seconds);
        let index = self.slot(bucket);
        let slot = &mut self.slots[index];
        if bucket < open_from && slot.open.len() >= slot.sealed.len().max(LATE_CELLS_MIN) {
            slot.seal();
        }
        Some(slot.open.entry(subject).or_default())
    }

    /// Adds a cell from the store.
    pub(super) fn restore(&mut self, bucket: i64, subject: Subject, cell: &Cell) {
        if let Some(sum) = self.cell(bucket, subject) {
            sum.merge(cell);
        }
    }

    /// Says that windows are covered that begin at this second or later.
    pub(super) const fn complete_from(&mut self, seconds: i64) {
        self.complete_from = seconds;
    }

    /// True when there is a newest bucket and it ended before `seconds`.
    pub(super) fn ended_before(&self, seconds: i64) -> bool {
        self.newest.is_some_and(|newest| newest.saturating_add(self.width_seconds) < seconds)
    }

    /// Drops all cells. Windows that begin in buckets up to the newest are not covered from now on.
    pub(super) fn clear(&mut self) {
        let after =
            self.newest.map_or(self.complete_from, |newest| newest.saturating_add(self.width_seconds));
        self.slots = (0..self.slots.len()).map(|_| Slot::default()).collect();
        self.joined.clear();
        (self.newest, self.complete_from) = (None, after);
    }

    /// Seals all buckets but the newest ones.
    pub(super) fn seal(&mut self) {
        let open = self.open_slots();
        for (_, slot) in self.slots.iter_mut().enumerate().filter(|(index, _)| !open.contains(index)) {
            slot.seal();
        }
    }

    /// The buckets that overlap any of `windows`, which have numbers, with the open cells that `filter` picks; ten of them as
    /// one, where `by_blocks` says that it does not matter.
    pub(super) fn snapshot(
        &self,
        windows: &[(usize, Window)],
        by_blocks: bool,
        filter: impl Fn(&Subject) -> bool,
    ) -> Snapshot {
        let (mut buckets, mut wanted) = (Vec::new(), Vec::new());
        let Some(newest) = self.newest else { return Snapshot { buckets, wanted } };
        let overlapping = |start: i64| -> Vec<usize> {
            let end = UnixNanos::from_seconds(start.saturating_add(self.width_seconds));
            let is_in = |window: &Window| {
                window.from < window.to && window.from < end && UnixNanos::from_seconds(start) < window.to
            };
            windows.iter().filter(|(_, window)| is_in(window)).map(|(number, _)| *number).collect()
        };
        let open_of = |starts: &mut dyn Iterator<Item = i64>| -> Vec<(Subject, Cell)> {
            let open = starts.flat_map(|start| &self.slots[self.slot(start)].open);
            let open = open.filter(|(subject, _)| filter(subject));
            open.map(|(subject, cell)| (*subject, cell.clone())).collect()
        };
        let mut start = self.kept_from();
        while start <= newest {
            let windows = overlapping(start);
            let block = self.block(start).filter(|block| {
                by_blocks && !windows.is_empty() && block.clone().all(|other| overlapping(other) == windows)
            });
            if let Some(mut block) = block {
                let parts: Vec<_> =
                    block.clone().map(|start| Arc::clone(&self.slots[self.slot(start)].sealed)).collect();
                let next = start + BUCKETS * self.width_seconds;
                if let Some(sealed) = self.joined.of(start, &parts) {
                    buckets.push(SnapshotBucket { start, windows, sealed, open: open_of(&mut block) });
                    start = next;
                    continue;
                }
                wanted.push(Wanted { start, parts });
            }
            if !windows.is_empty() {
                let sealed = Arc::clone(&self.slots[self.slot(start)].sealed);
                let open = open_of(&mut std::iter::once(start));
                buckets.push(SnapshotBucket { start, windows, sealed, open });
            }
            start += self.width_seconds;
        }
        wanted.truncate(MADE_MAX);
        Snapshot { buckets, wanted }
    }

    /// The starts of the buckets of the block that begins at `start`, if one does and all of them are sealed.
    fn block(&self, start: i64) -> Option<impl Iterator<Item = i64> + Clone + use<>> {
        let (width, length) = (self.width_seconds, BUCKETS * self.width_seconds);
        let open_from = self.newest?.saturating_sub((self.open - 1) * width);
        let is_block = start.rem_euclid(length) == 0 && start >= self.kept_from();
        (is_block && start.saturating_add(length) <= open_from)
            .then(|| (0..BUCKETS).map(move |at| start + at * width))
    }

    /// Keeps blocks that were made.
    pub(super) fn keep(&self, made: Vec<(Wanted, Sealed)>) {
        for (wanted, whole) in made {
            self.joined.put(&wanted, whole, self.kept_from());
        }
    }

    fn slot(&self, bucket: i64) -> usize {
        (bucket / self.width_seconds).rem_euclid(self.slots.len() as i64) as usize
    }

    fn open_slots(&self) -> Vec<usize> {
        let newest = self.newest.unwrap_or_default();
        (0..self.open).map(|step| self.slot(newest.saturating_sub(step * self.width_seconds))).collect()
    }
}

impl Slot {
    fn seal(&mut self) {
        if !self.open.is_empty() {
            let mut cells: Vec<_> = std::mem::take(&mut self.open).into_iter().collect();
            cells.sort_unstable_by_key(|(subject, _)| *subject);
            self.sealed = Arc::new(self.sealed.with(cells));
        }
    }
}

impl Snapshot {
    /// Shows each cell whose subject `filter` picks, without its sketch, up to two of one bucket and subject.
    pub(super) fn visit_totals(
        self,
        filter: impl Fn(&Subject) -> bool,
        mut visit: impl FnMut(i64, Subject, Cell),
    ) {
        for SnapshotBucket { start: bucket, sealed, open, .. } in self.buckets {
            sealed.encoded(&filter).for_each(|(subject, cell, _)| visit(bucket, subject, cell));
            for (subject, cell) in open {
                visit(bucket, subject, Cell { sketch: Sketch::default(), ..cell });
            }
        }
    }

    /// How many buckets and blocks are to be read.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Takes in the buckets of another.
    pub(super) fn join(&mut self, other: Self) {
        self.buckets.extend(other.buckets);
        self.wanted.extend(other.wanted);
    }

    /// The blocks that would have spared reading their buckets.
    pub(super) fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Makes a block.
    pub(super) fn made(wanted: &Wanted) -> Sealed {
        let bucket = |sealed: &Arc<Sealed>| SnapshotBucket {
            start: wanted.start,
            windows: vec![0],
            sealed: Arc::clone(sealed),
            open: Vec::new(),
        };
        let buckets = wanted.parts.iter().map(bucket).collect();
        let merged = Self { buckets, wanted: Vec::new() }.merged(1, |_| true).pop();
        Sealed::default().with(merged.unwrap_or_default())
    }

    /// The cells of each subject that `filter` picks, added up over the buckets of each of so many windows.
    pub(super) fn merged(
        mut self,
        windows: usize,
        filter: impl Fn(&Subject) -> bool,
    ) -> Vec<Vec<(Subject, Cell)>> {
        for bucket in &mut self.buckets {
            bucket.open.sort_unstable_by_key(|(subject, _)| *subject);
        }
        let mut runs: Vec<_> = self
            .buckets
            .iter()
            .map(|bucket| (bucket.sealed.encoded(&filter).peekable(), bucket.open.iter().peekable()))
            .collect();
        let mut waiting: BinaryHeap<Reverse<(Subject, usize)>> = BinaryHeap::new();
        for (at, (sealed, open)) in runs.iter_mut().enumerate() {
            waiting.extend(next_subject(sealed, open).map(|subject| Reverse((subject, at))));
        }
        // Subject by subject, so that each cell is read once, and one tally a part is enough for all.
        let (mut sums, parts) = Sums::new(windows, &self.buckets);
        while let Some(mut first) = waiting.peek_mut() {
            let Reverse((subject, at)) = *first;
            sums.begin(subject);
            let (sealed, open) = &mut runs[at];
            let part = parts[at];
            while let Some((_, cell, sketch)) = sealed.next_if(|(other, ..)| *other == subject) {
                sums.add_encoded(part, &cell, sketch);
            }
            while let Some((_, cell)) = open.next_if(|(other, _)| *other == subject) {
                sums.add(part, cell, &cell.sketch);
            }
            match next_subject(sealed, open) {
                Some(subject) => *first = Reverse((subject, at)),
                None => drop(PeekMut::pop(first)),
            }
        }
        sums.finish()
    }
}

/// Adds up the cells of one subject after the other, for several windows at once. Buckets that lie in the same windows are
/// one part: each is added once, and what windows have in common is added up when the subject is through.
struct Sums {
    subject: Option<Subject>,
    /// For each part the windows that it lies in, the totals so far, if there are any, and the durations.
    parts: Vec<Part>,
    done: Vec<Vec<(Subject, Cell)>>,
    /// The sketch that was read last.
    sketch: Sketch,
    /// What is added up of one window's parts.
    tally: Tally,
}

struct Part {
    windows: Vec<usize>,
    totals: Option<Cell>,
    tally: Tally,
}

impl Sums {
    /// For so many windows; also which part each bucket is of.
    fn new(windows: usize, buckets: &[SnapshotBucket]) -> (Self, Vec<usize>) {
        let mut parts: Vec<Part> = Vec::new();
        let mut part_of = |bucket: &SnapshotBucket| {
            parts.iter().position(|part| part.windows == bucket.windows).unwrap_or_else(|| {
                let windows = bucket.windows.clone();
                parts.push(Part { windows, totals: None, tally: Tally::default() });
                parts.len() - 1
            })
        };
        let of_buckets = buckets.iter().map(&mut part_of).collect();
        let done = vec![Vec::new(); windows];
        let sums = Self { subject: None, parts, done, sketch: Sketch::default(), tally: Tally::default() };
        (sums, of_buckets)
    }

    fn begin(&mut self, subject: Subject) {
        if self.subject == Some(subject) {
            return;
        }
        if let Some(known) = self.subject.replace(subject) {
            self.end(known);
        }
    }

    fn end(&mut self, subject: Subject) {
        let taken = self.parts.iter_mut().filter_map(|part| {
            let totals = part.totals.take()?;
            Some((&part.windows, Cell { sketch: part.tally.take(), ..totals }))
        });
        let mut cells: Vec<(&Vec<usize>, Cell)> = taken.collect();
        for (window, done) in self.done.iter_mut().enumerate() {
            let mut own = cells.iter_mut().filter(|(windows, _)| windows.contains(&window));
            let Some((windows, first)) = own.next() else { continue };
            let Some((_, second)) = own.next() else {
                // The last window of a part takes it as it is.
                let is_last = windows.last() == Some(&window);
                done.push((subject, if is_last { std::mem::take(first) } else { first.clone() }));
                continue;
            };
            let mut totals = Cell::default();
            for cell in [&*first, &*second].into_iter().chain(own.map(|(_, cell)| &*cell)) {
                totals.merge_totals(cell);
                self.tally.add(&cell.sketch);
            }
            done.push((subject, Cell { sketch: self.tally.take(), ..totals }));
        }
    }

    fn add(&mut self, part: usize, cell: &Cell, sketch: &Sketch) {
        let part = &mut self.parts[part];
        part.totals.get_or_insert_default().merge_totals(cell);
        part.tally.add(sketch);
    }

    fn add_encoded(&mut self, part: usize, cell: &Cell, bytes: &[u8]) {
        let mut sketch = std::mem::take(&mut self.sketch);
        if sketch.read_from(bytes).is_some() {
            self.add(part, cell, &sketch);
        }
        self.sketch = sketch;
    }

    fn finish(mut self) -> Vec<Vec<(Subject, Cell)>> {
        if let Some(subject) = self.subject {
            self.end(subject);
        }
        self.done
    }
}

/// The first subject of what is still to come.
fn next_subject<'a>(
    sealed: &mut Peekable<impl Iterator<Item = (Subject, Cell, &'a [u8])>>,
    open: &mut Peekable<impl Iterator<Item = &'a (Subject, Cell)>>,
) -> Option<Subject> {
    let sealed = sealed.peek().map(|(subject, ..)| *subject);
    sealed.into_iter().chain(open.peek().map(|(subject, _)| *subject)).min()
}
