//! What can be chosen about the pipeline.

use std::time::Duration;

/// Bounds of the pipeline.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests that may wait; the next is refused as overload.
    pub requests_max: usize,
    /// Bytes of requests that may wait, as they lie in memory; more are refused as overload.
    pub bytes_max: usize,
    /// Requests of one tenant that may wait while others send too, and as large a part of the bytes; none for any number.
    pub tenant_requests_max: Option<usize>,
    /// Longest wait for the journal's device; after that the client is told to send again, a little before most would give up
    /// by themselves.
    pub acknowledged_within: Duration,
    /// Spans, records and points that one commit takes at most, a request more or less; fewer where the store is slow.
    pub commit_items_max: usize,
    /// Least time between two commits. Each commit writes every roll-up and every end of an index that it touches, so fewer
    /// and larger ones cost far less; what was acknowledged shows up in answers this much later. Four times as much where
    /// much comes.
    pub commit_interval: Duration,
    /// Longest time between two tries while the store is away.
    pub retry_interval_max: Duration,
    /// Spans remembered to join children to parents.
    pub joined_spans_max: usize,
    /// Which spans get a row.
    pub sampling: Sampling,
}

/// Which traces are kept. All are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The share of traces that is kept whatever is in them, 0 to 1.
    pub share: f64,
    /// Traces in which a span failed are kept as well.
    pub keeps_failures: bool,
    /// Traces with a span that took so long are kept as well.
    pub slow: Option<Duration>,
}

/// Items of a commit after which the next one waits longest.
const ITEMS_BUSY: usize = 40_000;
/// How many times as long as it has to it waits then.
const BUSY_TIMES: f64 = 4.0;

impl Options {
    /// How long after the beginning of a commit of so many items the next one may begin.
    pub(super) fn interval_after(&self, items: usize) -> Duration {
        let busy = items.min(ITEMS_BUSY) as f64 / ITEMS_BUSY as f64;
        self.commit_interval.mul_f64(1.0 + (BUSY_TIMES - 1.0) * busy)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_max: 50_000,
            bytes_max: 256 << 20,
            tenant_requests_max: Some(15_000),
            acknowledged_within: Duration::from_secs(8),
            commit_items_max: 120_000,
            commit_interval: Duration::from_millis(250),
            retry_interval_max: Duration::from_secs(5),
            joined_spans_max: 2_000_000,
            sampling: Sampling { share: 1.0, keeps_failures: true, slow: Some(Duration::from_millis(500)) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_rarer_where_more_comes() {
        let options = Options::default();
        let wait = |items| options.interval_after(items).as_millis();
        assert_eq!([0, 10_000, 20_000, 40_000, usize::MAX].map(wait), [250, 437, 625, 1_000, 1_000]);
    }
}
