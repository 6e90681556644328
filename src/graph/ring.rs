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
use crate::model::time::Window;

use super::sealed::Sealed;
use super::subject_hash::SubjectMap;

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
}

#[derive(Debug)]
struct SnapshotBucket {
    start: i64,
    sealed: Arc<Sealed>,
    open: Vec<(Subject, Cell)>,
}

impl Ring {
    /// An empty ring that keeps `kept` buckets of `width_seconds` and the newest `open` of them open.
    pub(super) fn new(width_seconds: i64, kept: i64, open: i64) -> Self {
        let slots = (0..kept).map(|_| Slot::default()).collect();
        Self { width_seconds, slots, open, newest: None, complete_from: i64::MIN }
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
        let slots = (0..self.slots.len()).map(|_| Slot::default()).collect();
        *self = Self { slots, newest: None, complete_from: after, ..*self };
    }

    /// Seals all buckets but the newest ones.
    pub(super) fn seal(&mut self) {
        let open = self.open_slots();
        for (_, slot) in self.slots.iter_mut().enumerate().filter(|(index, _)| !open.contains(index)) {
            slot.seal();
        }
    }

    /// The buckets that overlap `window`, with the open cells that `filter` picks.
    pub(super) fn snapshot(&self, window: Window, filter: impl Fn(&Subject) -> bool) -> Snapshot {
        let Some(newest) = self.newest.filter(|_| window.from < window.to) else {
            return Snapshot { buckets: Vec::new() };
        };
        let first = window.from.bucket_seconds(self.width_seconds).max(self.kept_from());
        let last = newest.min(window.to.minus(std::time::Duration::from_nanos(1)).seconds());
        let mut buckets = Vec::new();
        let mut bucket = first;
        while bucket <= last {
            let slot = &self.slots[self.slot(bucket)];
            let open = slot.open.iter().filter(|(subject, _)| filter(subject));
            let open = open.map(|(subject, cell)| (*subject, cell.clone())).collect();
            buckets.push(SnapshotBucket { start: bucket, sealed: Arc::clone(&slot.sealed), open });
            bucket += self.width_seconds;
        }
        Snapshot { buckets }
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
        for SnapshotBucket { start: bucket, sealed, open } in self.buckets {
            sealed.encoded(&filter).for_each(|(subject, cell, _)| visit(bucket, subject, cell));
            for (subject, cell) in open {
                visit(bucket, subject, Cell { sketch: Sketch::default(), ..cell });
            }
        }
    }

    /// The cells of each subject that `filter` picks, added up over all buckets.
    pub(super) fn merged(mut self, filter: impl Fn(&Subject) -> bool) -> Vec<(Subject, Cell)> {
        for bucket in &mut self.buckets {
            bucket.open.sort_unstable_by_key(|(subject, _)| *subject);
        }
        let mut runs: Vec<_> = self
            .buckets
            .iter()
            .map(|bucket| (bucket.sealed.encoded(&filter).peekable(), bucket.open.iter().peekable()))
            .collect();
        // Subject by subject, so that one tally is enough for all.
        let next = |run: &mut (Peekable<_>, Peekable<_>)| next_subject(&mut run.0, &mut run.1);
        let mut waiting: BinaryHeap<Reverse<(Subject, usize)>> = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            waiting.extend(next(run).map(|subject| Reverse((subject, at))));
        }
        let (mut merged, mut tally) = (Vec::new(), Tally::default());
        let mut sum: Option<(Subject, Cell)> = None;
        while let Some(mut first) = waiting.peek_mut() {
            let Reverse((subject, at)) = *first;
            if sum.as_ref().is_some_and(|(known, _)| *known != subject) {
                merged.extend(sum.take().map(|(known, cell)| (known, Cell { sketch: tally.take(), ..cell })));
            }
            let (_, total) = sum.get_or_insert_with(|| (subject, Cell::default()));
            let run = &mut runs[at];
            while let Some((_, cell, sketch)) = run.0.next_if(|(other, ..)| *other == subject) {
                total.merge(&cell);
                tally.add_encoded(sketch);
            }
            while let Some((_, cell)) = run.1.next_if(|(other, _)| *other == subject) {
                total.merge_totals(cell);
                tally.add(&cell.sketch);
            }
            match next(run) {
                Some(subject) => *first = Reverse((subject, at)),
                None => drop(PeekMut::pop(first)),
            }
        }
        merged.extend(sum.map(|(known, cell)| (known, Cell { sketch: tally.take(), ..cell })));
        merged
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
