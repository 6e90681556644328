//! The accounts: what was accepted, refused, stored.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::Kind;
use crate::model::batch::Signal;

use super::error::Error;

/// Why a request was refused, as labels say it.
pub(super) const REASONS: [&str; 4] = ["queue_full", "bytes_full", "stopping", "journal"];

/// Counters since start. received = stored + duplicates + waiting, for every signal, at any quiet moment.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: [AtomicU64; 3],
    stored: [AtomicU64; 3],
    duplicates: AtomicU64,
    replayed: AtomicU64,
    refused: [[AtomicU64; REASONS.len()]; 3],
    commits: AtomicU64,
    commit_failures: AtomicU64,
}

impl Tally {
    pub(super) fn accepted(&self, signal: Signal, items: u64) {
        self.accepted[signal as usize].fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, signal: Signal, items: u64, error: &Error) {
        let reason = match error {
            Error::TooManyWaiting { .. } => 0,
            Error::TooManyBytes { .. } => 1,
            Error::Stopping => 2,
            Error::Journal(_) => 3,
        };
        self.refused[signal as usize][reason].fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn stored(&self, signal: Signal, items: u64) {
        self.stored[signal as usize].fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn duplicates(&self, items: u64) {
        self.duplicates.fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn replayed(&self, requests: u64) {
        self.replayed.fetch_add(requests, Ordering::Relaxed);
    }

    pub(super) fn committed(&self, kind: Option<Kind>) {
        let counter = if kind.is_none() { &self.commits } else { &self.commit_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Items acknowledged since start.
    pub fn accepted_items(&self, signal: Signal) -> u64 {
        self.accepted[signal as usize].load(Ordering::Relaxed)
    }

    /// Items written to the store since start, replayed ones included.
    pub fn stored_items(&self, signal: Signal) -> u64 {
        self.stored[signal as usize].load(Ordering::Relaxed)
    }

    /// Spans that were stored before and came again.
    pub fn duplicate_spans(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Requests replayed from the journal at start.
    pub fn replayed_requests(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Transactions that succeeded, and tries that failed.
    pub fn commits(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.commit_failures.load(Ordering::Relaxed))
    }

    /// Items refused before they were journaled, by signal and reason.
    pub fn refused_items(&self) -> impl Iterator<Item = (Signal, &'static str, u64)> {
        Signal::ALL.into_iter().flat_map(move |signal| {
            REASONS.into_iter().enumerate().map(move |(index, reason)| {
                (signal, reason, self.refused[signal as usize][index].load(Ordering::Relaxed))
            })
        })
    }
}
