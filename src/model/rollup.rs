//! Roll-ups: rate, errors and duration of operations, instances and edges in buckets of time.
//!
//! A span is turned into [`Observation`]s; observations are added to [`Cell`]s. Adding commutes, so a cell is
//! the same whatever the order of arrival. Those of a commit are added up once ([`Folded`]): the store keeps cells on
//! disk, the graph keeps the recent ones in memory, and both add the same ones.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use super::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use super::log::Severity;
use super::sketch::Sketch;
use super::time::UnixNanos;

/// Width of the fine buckets, in seconds.
pub const FINE_SECONDS: i64 = 10;
/// Width of the coarse buckets, in seconds.
pub const COARSE_SECONDS: i64 = 60;
/// Width of the buckets that are kept longest, in seconds.
pub const HOUR_SECONDS: i64 = 3_600;

/// What a cell is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All spans of an operation.
    Operation(OperationId),
    /// The entry spans of one service as sent by one resource: an instance or version of it.
    Instance(ServiceId, ResourceId),
    /// Calls from one operation to another; also within a service, and to databases, queues and hosts.
    Edge(OperationId, OperationId),
    /// Log records of one template and severity.
    Logs(ServiceId, TemplateId, Severity),
}

/// One fact about a span or log record, to be added to the cell of `subject` in the bucket of `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// What it is about.
    pub subject: Subject,
    /// The instant whose bucket counts it.
    pub at: UnixNanos,
    /// What was seen.
    pub seen: Seen,
}

/// What one observation adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A span, call or record: one more in `count`. For an edge the duration is the callee's where the callee
    /// was seen, else the caller's.
    Call {
        /// How long it took; 0 for log records.
        duration_ns: u64,
        /// How long the caller waited, for edges; equals `duration_ns` where only one side was seen.
        caller_ns: u64,
        /// Whether it failed.
        error: bool,
    },
    /// Time that an operation spent waiting for a child, or a message in a queue.
    Children {
        /// The child's duration, cut to its parent's; or how long the message waited.
        duration_ns: u64,
    },
    /// A call counted earlier on this edge to an external host turned out to be answered by an instrumented
    /// service, whose own edge counts it.
    Answered,
}

/// The sums of one subject in one bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// Spans, calls or records.
    pub count: u64,
    /// Failed ones.
    pub errors: u64,
    /// Sum of durations.
    pub sum_ns: u64,
    /// Longest duration.
    pub max_ns: u64,
    /// Time spent waiting for children (operations), or that callers waited, or messages until they were done (edges).
    pub other_ns: u64,
    /// Calls that an instrumented service answered (edges to external hosts).
    pub answered: u64,
    /// Durations by size.
    pub sketch: Sketch,
}

impl Cell {
    /// Adds one observation.
    pub fn add(&mut self, seen: &Seen) {
        match *seen {
            Seen::Call { duration_ns, caller_ns, error } => {
                self.count += 1;
                self.errors += u64::from(error);
                self.sum_ns = self.sum_ns.saturating_add(duration_ns);
                self.max_ns = self.max_ns.max(duration_ns);
                self.other_ns = self.other_ns.saturating_add(caller_ns);
                self.sketch.add(duration_ns);
            }
            Seen::Children { duration_ns } => self.other_ns = self.other_ns.saturating_add(duration_ns),
            Seen::Answered => self.answered += 1,
        }
    }

    /// Adds everything another cell holds.
    pub fn merge(&mut self, other: &Self) {
        self.merge_totals(other);
        self.sketch.merge(&other.sketch);
    }

    /// The same without the durations by size.
    pub fn merge_totals(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.other_ns = self.other_ns.saturating_add(other.other_ns);
        self.answered += other.answered;
    }

    /// Time spent in the operation itself, not in its children; parallel children may hide some of it.
    pub const fn self_ns(&self) -> u64 {
        self.sum_ns.saturating_sub(self.other_ns)
    }

    /// Mean time spent in the operation itself, in nanoseconds.
    pub fn self_mean_ns(&self) -> f64 {
        ratio(self.self_ns(), self.count)
    }

    /// What callers of an edge waited beyond what the callee took, or its messages in the queue, for each call in
    /// nanoseconds; 0 where there was none.
    pub fn gap_ns(&self) -> f64 {
        ratio(self.other_ns.saturating_sub(self.sum_ns), self.count)
    }

    /// Failed share of all, 0 to 1.
    pub fn error_ratio(&self) -> f64 {
        ratio(self.errors, self.count)
    }

    /// Mean duration in nanoseconds.
    pub fn mean_ns(&self) -> f64 {
        ratio(self.sum_ns, self.count)
    }
}

/// Observations added up: a cell for each tenant, fine bucket and subject. One of thousands of spans costs a tenth of what
/// adding each to the cells of the store and of the graph would.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded(HashMap<(TenantNumber, i64, Subject), Sum, RandomState>);

/// A cell, and how many observations it is the sum of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    cell: Cell,
    observations: u64,
}

/// The cell of one bucket of [`FINE_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldedCell<'f> {
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The first second of the bucket.
    pub bucket_s: i64,
    /// What it is about.
    pub subject: Subject,
    /// The sums.
    pub cell: &'f Cell,
    /// How many observations these are the sums of.
    pub observations: u64,
}

impl Folded {
    /// Adds one observation.
    pub fn add(&mut self, tenant: TenantNumber, observation: &Observation) {
        let bucket = observation.at.bucket_seconds(FINE_SECONDS);
        let sum = self.0.entry((tenant, bucket, observation.subject)).or_default();
        sum.cell.add(&observation.seen);
        sum.observations += 1;
    }

    /// Adds what others are the sums of.
    pub fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (place, more) in other.0 {
            let sum = self.0.entry(place).or_default();
            sum.cell.merge(&more.cell);
            sum.observations += more.observations;
        }
    }

    /// The cells, in no order.
    pub fn iter(&self) -> impl Iterator<Item = FoldedCell<'_>> {
        self.0.iter().map(|((tenant, bucket_s, subject), sum)| FoldedCell {
            tenant: *tenant,
            bucket_s: *bucket_s,
            subject: *subject,
            cell: &sum.cell,
            observations: sum.observations,
        })
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(TenantNumber, Observation)> for Folded {
    fn from_iter<I: IntoIterator<Item = (TenantNumber, Observation)>>(observations: I) -> Self {
        let mut folded = Self::default();
        observations.into_iter().for_each(|(tenant, observation)| folded.add(tenant, &observation));
        folded
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
