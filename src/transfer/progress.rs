//! How far a long piece of work is, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The state of one piece of work; clones share it. Written by the work, read by whoever shows it.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    step: Mutex<Step>,
    done: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    name: &'static str,
    unit: Unit,
    total: u64,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// Bytes.
    #[default]
    Bytes,
    /// Spans, log records, points or rows.
    Items,
}

/// Progress at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What is being done, as in "copying the journal"; empty before the first step.
    pub step: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// How much of it is done.
    pub done: u64,
    /// How much there is in all; 0 where nobody knows.
    pub total: u64,
}

impl Progress {
    /// Begins a step; `total` is 0 where it is not known.
    pub fn begin(&self, name: &'static str, unit: Unit, total: u64) {
        *self.inner.step.lock().unwrap_or_else(PoisonError::into_inner) = Step { name, unit, total };
        self.inner.done.store(0, Ordering::Relaxed);
    }

    /// Counts `more` as done.
    pub fn add(&self, more: u64) {
        self.inner.done.fetch_add(more, Ordering::Relaxed);
    }

    /// Says that `done` is done of the step.
    pub fn set(&self, done: u64) {
        self.inner.done.store(done, Ordering::Relaxed);
    }

    /// Progress now.
    pub fn read(&self) -> Reading {
        let Step { name, unit, total } = *self.inner.step.lock().unwrap_or_else(PoisonError::into_inner);
        Reading { step: name, unit, done: self.inner.done.load(Ordering::Relaxed), total }
    }
}
