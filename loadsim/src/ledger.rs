//! What was sent, acknowledged and refused.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::send::{Delivery, Outcome, Request, Signal};

/// The accounts of one run; shared by its connections.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

/// Sums of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Items sent, each counted once however often it was tried.
    pub sent: u64,
    /// Items acknowledged and not rejected.
    pub acknowledged: u64,
    /// Items rejected in a partial success.
    pub rejected: u64,
    /// Items of requests refused for good.
    pub refused: u64,
    /// Items of requests whose fate is unknown: unanswered until the time to retry ran out.
    pub unknown: u64,
    /// Requests sent.
    pub requests: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Requests acknowledged at the first try.
    pub first_try: u64,
    /// Items acknowledged at the first try and not rejected.
    pub first_try_items: u64,
    /// Bytes of the messages sent, before any compression, each counted once however often it was tried.
    pub bytes: u64,
}

/// What was entered over a stretch of a run.
#[derive(Debug, Clone)]
pub(crate) struct Lap {
    /// Spans acknowledged and not rejected.
    pub(crate) spans: u64,
    /// Items of all signals whose fate was entered.
    pub(crate) sent: u64,
    /// Those acknowledged at the first try and not rejected.
    pub(crate) first_try: u64,
    /// How long acknowledged requests waited.
    pub(crate) latency_us: Histogram<u64>,
}

#[derive(Debug)]
struct Inner {
    sums: [Sums; 3],
    latency_us: Histogram<u64>,
    lap: Lap,
    reasons: Vec<(String, u64)>,
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new() -> Result<Self> {
        let latency_us = Histogram::new_with_bounds(1, 600_000_000, 3)?;
        let lap = Lap { spans: 0, sent: 0, first_try: 0, latency_us: latency_us.clone() };
        let inner = Inner { sums: Default::default(), latency_us, lap, reasons: Vec::new() };
        Ok(Self { inner: Mutex::new(inner) })
    }

    /// Enters what became of a request. `waited` counts from the instant the request was due, so that a stalled server shows
    /// in the latencies of what it held up.
    pub fn enter(&self, request: &Request, delivery: &Delivery, waited: Duration) {
        let items = request.items;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = &mut *inner;
        let sums = &mut inner.sums[request.signal as usize];
        sums.sent += items;
        sums.bytes += request.body.len() as u64;
        sums.requests += 1;
        sums.retries += delivery.retries;
        inner.lap.sent += items;
        match &delivery.outcome {
            Outcome::Acknowledged { rejected } => {
                let accepted = items.saturating_sub(*rejected);
                sums.acknowledged += accepted;
                sums.rejected += rejected;
                if request.signal == Signal::Traces {
                    inner.lap.spans += accepted;
                }
                if delivery.retries == 0 {
                    sums.first_try += 1;
                    sums.first_try_items += accepted;
                    inner.lap.first_try += accepted;
                }
                let waited_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
                inner.latency_us.saturating_record(waited_us);
                inner.lap.latency_us.saturating_record(waited_us);
            }
            Outcome::Refused(why) => {
                sums.refused += items;
                note(&mut inner.reasons, why);
            }
            Outcome::GaveUp(why) => {
                sums.unknown += items;
                note(&mut inner.reasons, why);
            }
        }
    }

    /// The sums so far: traces, logs, metrics.
    pub fn sums(&self) -> [Sums; 3] {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).sums.clone()
    }

    /// What was entered since the call before, or since the start.
    pub(crate) fn lap(&self) -> Lap {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let latency_us = Histogram::new_from(&inner.latency_us);
        std::mem::replace(&mut inner.lap, Lap { spans: 0, sent: 0, first_try: 0, latency_us })
    }

    /// The reasons of refusals with their counts.
    pub fn reasons(&self) -> Vec<(String, u64)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).reasons.clone()
    }

    /// The time that a share of the acknowledged requests waited at most, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.latency_us.value_at_quantile(share) as f64 / 1e3
    }
}

impl Lap {
    /// Adds what was entered after it.
    pub(crate) fn add(&mut self, after: &Self) {
        self.spans += after.spans;
        self.sent += after.sent;
        self.first_try += after.first_try;
        // Both have the same bounds.
        let _ = self.latency_us.add(&after.latency_us);
    }
}

fn note(reasons: &mut Vec<(String, u64)>, why: &str) {
    const REASONS_MAX: usize = 20;
    if let Some((_, count)) = reasons.iter_mut().find(|(reason, _)| reason == why) {
        *count += 1;
    } else if reasons.len() < REASONS_MAX {
        reasons.push((why.to_owned(), 1));
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
