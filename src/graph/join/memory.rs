//! Two generations of traces. A trace that is touched moves to the current one; when the current one is full
//! the older is dropped and the current one takes its place. This forgets the traces that were not touched for
//! longest, roughly, without a list of their order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::quality::RandomState;

use crate::model::id::{TenantNumber, TraceId};

use super::trace::Trace;

/// What finds a trace.
pub(super) type Key = (TenantNumber, TraceId);

/// The traces that are remembered.
#[derive(Debug)]
pub(super) struct Memory {
    current: HashMap<Key, Trace, RandomState>,
    older: HashMap<Key, Trace, RandomState>,
    /// Sum of the weights of the current generation.
    weight: usize,
    weight_max: usize,
}

impl Memory {
    /// A memory whose generations are full at `weight_max`.
    pub(super) fn new(weight_max: usize) -> Self {
        Self { current: HashMap::default(), older: HashMap::default(), weight: 0, weight_max }
    }

    /// The trace, if it is remembered.
    pub(super) fn get(&self, key: &Key) -> Option<&Trace> {
        self.current.get(key).or_else(|| self.older.get(key))
    }

    /// Changes a trace, which is a stub if it was not remembered.
    pub(super) fn update<R>(&mut self, key: Key, change: impl FnOnce(&mut Trace) -> R) -> R {
        let (trace, before) = match self.current.entry(key) {
            Entry::Occupied(slot) => {
                let trace = slot.into_mut();
                let before = trace.weight();
                (trace, before)
            }
            Entry::Vacant(slot) => (slot.insert(self.older.remove(&key).unwrap_or_default()), 0),
        };
        let result = change(trace);
        // The sum holds `before` as a part, so the subtraction cannot pass zero.
        self.weight = self.weight + trace.weight() - before;
        result
    }

    /// Starts a new generation when the current one is full. Separate from [`Memory::update`] so that what was
    /// looked up for a call stays until the end of the call.
    pub(super) fn turn_when_full(&mut self) {
        if self.weight >= self.weight_max {
            self.older = std::mem::take(&mut self.current);
            self.weight = 0;
        }
    }

    /// How many traces are remembered.
    pub(super) fn traces(&self) -> usize {
        self.current.len() + self.older.len()
    }

    /// Spans, links and traces remembered, both generations counted.
    #[cfg(test)]
    pub(super) fn weight_for_tests(&self) -> usize {
        self.current.values().chain(self.older.values()).map(Trace::weight).sum()
    }

    /// Fills generations sooner, without changing what one trace may hold.
    #[cfg(test)]
    pub(super) fn set_weight_max_for_tests(&mut self, weight_max: usize) {
        self.weight_max = weight_max;
    }
}
