//! The accounts: what was accepted, refused, stored.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::Kind;
use crate::model::batch::Signal;
use crate::rules::LeftOut;

use super::error::Error;

/// Why a request was refused, as labels say it.
pub(super) const REASONS: [&str; 6] =
    ["queue_full", "bytes_full", "stopping", "journal", "tenant_backpressure", "service_backpressure"];

/// Counters since start. received = stored + duplicates + counted only + sampled out + held + dead letters + waiting, for every
/// signal, at any quiet moment.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: [AtomicU64; 3],
    stored: [AtomicU64; 3],
    buried: [AtomicU64; 3],
    duplicates: AtomicU64,
    replayed: AtomicU64,
    refused: [[AtomicU64; REASONS.len()]; 3],
    commits: AtomicU64,
    commit_failures: AtomicU64,
    counted_only: AtomicU64,
    attributes_denied: AtomicU64,
    attributes_not_allowed: AtomicU64,
    attributes_shortened: AtomicU64,
    overflowed_points: AtomicU64,
    overflowed_lines: AtomicU64,
    unfollowed_links: AtomicU64,
    sampled_out: AtomicU64,
    held: AtomicU64,
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
            Error::Journal(_) | Error::Unanswered { .. } => 3,
            Error::TenantCrowds => 4,
            Error::ServiceCrowds { .. } => 5,
        };
        self.refused[signal as usize][reason].fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn stored(&self, signal: Signal, items: u64) {
        self.stored[signal as usize].fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn buried(&self, signal: Signal, items: u64) {
        self.buried[signal as usize].fetch_add(items, Ordering::Relaxed);
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

    pub(super) fn left_out(&self, counted_only: u64, left_out: LeftOut) {
        let LeftOut { denied, not_allowed, shortened } = left_out;
        for (counter, by) in [
            (&self.counted_only, counted_only),
            (&self.attributes_denied, denied),
            (&self.attributes_not_allowed, not_allowed),
            (&self.attributes_shortened, shortened),
        ] {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(super) fn overflowed(&self, points: u64) {
        self.overflowed_points.fetch_add(points, Ordering::Relaxed);
    }

    pub(super) fn overflowed_lines(&self, records: u64) {
        self.overflowed_lines.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn unfollowed_links(&self, links: u64) {
        self.unfollowed_links.fetch_add(links, Ordering::Relaxed);
    }

    pub(super) fn sampled(&self, held: u64, gone: u64) {
        self.held.store(held, Ordering::Relaxed);
        self.sampled_out.fetch_add(gone, Ordering::Relaxed);
    }

    /// Spans that count and are not stored because of sampling, and those of which that is not decided yet.
    pub fn sampled_spans(&self) -> (u64, u64) {
        (self.sampled_out.load(Ordering::Relaxed), self.held.load(Ordering::Relaxed))
    }

    /// Log records that count in templates and roll-ups and were not stored, because they are not severe enough.
    pub fn counted_only_records(&self) -> u64 {
        self.counted_only.load(Ordering::Relaxed)
    }

    /// Attributes left out of what is stored: those that are denied, and those that are not allowed.
    pub fn attributes_left_out(&self) -> (u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.attributes_denied), get(&self.attributes_not_allowed))
    }

    /// Texts from log bodies that were cut to become attributes.
    pub fn attributes_shortened(&self) -> u64 {
        self.attributes_shortened.load(Ordering::Relaxed)
    }

    /// Points whose series came after the last that is told apart, and that went to an overflow series.
    pub fn overflowed_points(&self) -> u64 {
        self.overflowed_points.load(Ordering::Relaxed)
    }

    /// Log records that share the template `<*>` because their service, their tenant or all have too many.
    pub fn overflowed_log_lines(&self) -> u64 {
        self.overflowed_lines.load(Ordering::Relaxed)
    }

    /// Links that are stored and add nothing to the graph, because their span or the commit had too many.
    pub fn links_not_followed(&self) -> u64 {
        self.unfollowed_links.load(Ordering::Relaxed)
    }

    /// Items acknowledged since start.
    pub fn accepted_items(&self, signal: Signal) -> u64 {
        self.accepted[signal as usize].load(Ordering::Relaxed)
    }

    /// Items written to the store since start, replayed ones included.
    pub fn stored_items(&self, signal: Signal) -> u64 {
        self.stored[signal as usize].load(Ordering::Relaxed)
    }

    /// Items put into dead letters since start.
    pub fn buried_items(&self, signal: Signal) -> u64 {
        self.buried[signal as usize].load(Ordering::Relaxed)
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
