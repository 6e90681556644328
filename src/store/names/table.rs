//! Entries by id.

use crate::store::day::Day;

/// An entry, and when it was named last.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) entry: T,
    /// The last day of telemetry that named it.
    pub(super) last: Day,
    /// Whether it takes room; those that others share for lack of room do not.
    pub(super) counts: bool,
}

/// When an entry was named last, and whether it takes room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) last: Day,
    pub(super) counts: bool,
}

/// Entries by id. Ids count up from 1 and none is given twice, so a vector serves, at the cost of 16 bytes for each id that
/// was ever given.
#[derive(Debug)]
pub(super) struct Table<T>(Vec<Option<Slot<T>>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl<T> Table<T> {
    /// The id that is given next.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.0.len()).expect("four billion entries do not fit in memory")
    }

    pub(super) fn get(&self, id: u32) -> Option<&T> {
        self.slot(id).map(|slot| &slot.entry)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.0.get_mut(id as usize)?.as_mut().map(|slot| &mut slot.entry)
    }

    pub(super) fn put(&mut self, id: u32, slot: Slot<T>) {
        let index = id as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(slot);
    }

    /// Takes an entry out; its id is not given again.
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        self.0.get_mut(id as usize)?.take().map(|slot| slot.entry)
    }

    /// What is noted about an entry.
    pub(super) fn mark(&self, id: u32) -> Option<Mark> {
        self.slot(id).map(|slot| Mark { last: slot.last, counts: slot.counts })
    }

    /// Moves the last day of an entry on to `day`. Answers what it was before; none where it was as late, or there is no
    /// such entry.
    pub(super) fn raise(&mut self, id: u32, day: Day) -> Option<Mark> {
        let slot = self.0.get_mut(id as usize)?.as_mut().filter(|slot| slot.last < day)?;
        let before = Mark { last: slot.last, counts: slot.counts };
        slot.last = day;
        Some(before)
    }

    fn slot(&self, id: u32) -> Option<&Slot<T>> {
        self.0.get(id as usize)?.as_ref()
    }
}
