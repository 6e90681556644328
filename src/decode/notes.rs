//! What was rejected or changed and why, counted and put into words for the sender.

use std::fmt::Write;
use std::time::Duration;

use crate::model::batch::Signal;
use crate::model::time::UnixNanos;

/// Longest message in bytes (OTLP asks servers to keep responses small).
pub(super) const MESSAGE_BYTES_MAX: usize = 1024;

/// Why one item is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Known fields have the wire types of some other message.
    Shape,
    /// The trace id is absent, zero or of the wrong length.
    TraceId,
    /// The span id is absent, zero or of the wrong length.
    SpanId,
    /// A span with neither name nor start.
    Nameless,
    /// A time later than allowed.
    Future,
    /// A time earlier than what is kept.
    Old,
    /// The metric has no name.
    MetricName,
    /// The metric does not say over which time it counts.
    Temporality,
    /// A point without a time.
    NoTime,
    /// A point without a value.
    NoValue,
    /// A point with more attributes than allowed.
    Attributes,
    /// More buckets than allowed.
    BucketCount,
    /// Bounds and buckets do not fit each other.
    BucketBounds,
    /// The buckets do not add up to the count.
    BucketTotal,
    /// Scale, offset or zero threshold that no double can reach.
    Scale,
    /// Quantiles out of order or out of range.
    Quantiles,
}

impl Reason {
    const fn words(self) -> &'static str {
        match self {
            Self::Shape => "with fields of another type than the signal's",
            Self::TraceId => "without a valid trace id",
            Self::SpanId => "without a valid span id",
            Self::Nameless => "with neither name nor start time",
            Self::Future => "with a time too far in the future",
            Self::Old => "older than what is kept",
            Self::MetricName => "of a metric without a name",
            Self::Temporality => "of a metric without aggregation temporality",
            Self::NoTime => "without a time",
            Self::NoValue => "without a value",
            Self::Attributes => "with too many attributes",
            Self::BucketCount => "with too many buckets",
            Self::BucketBounds => "whose buckets do not fit their bounds",
            Self::BucketTotal => "whose buckets do not add up to the count",
            Self::Scale => "with a scale, offset or zero threshold out of range",
            Self::Quantiles => "with quantiles out of order or range",
        }
    }
}

/// What was changed on the way in although the item is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A parent id of the wrong length: the span is read as a root.
    Parent,
    /// Ids of the wrong length in a log record: it is kept without them.
    LogIds,
    /// A span without start: its end, else the time of receipt, stands in.
    Start,
    /// A span that ends before it starts: its duration is zero.
    End,
    /// Text that was not UTF-8.
    Repaired,
    /// A name or a log body longer than allowed.
    Shortened,
    /// An attribute value longer than allowed.
    ShortenedAttribute,
    /// Attributes past the limit.
    DroppedAttributes,
    /// Events or links past the limit.
    Dropped,
    /// Fields that are not OTLP's, in a request that holds nothing else.
    Unknown,
}

impl Change {
    const fn words(self) -> &'static str {
        match self {
            Self::Parent => "parent ids of the wrong length ignored",
            Self::LogIds => "log records kept without ids of the wrong length",
            Self::Start => "spans without a start time",
            Self::End => "spans that end before they start",
            Self::Repaired => "texts that were not UTF-8 repaired",
            Self::Shortened => "names or bodies shortened",
            Self::ShortenedAttribute => "attribute values shortened",
            Self::DroppedAttributes => "attributes dropped",
            Self::Dropped => "events or links dropped",
            Self::Unknown => "unknown fields ignored in a request that holds no items",
        }
    }
}

/// Counts by reason, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Notes {
    reasons: Vec<(Reason, u64)>,
    changes: Vec<(Change, u64)>,
    rejected: u64,
    first_future: Option<u64>,
    first_old: Option<u64>,
}

/// What the times of a request were held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When the request was received.
    pub(super) received: UnixNanos,
    /// How old an item may be.
    pub(super) age_max: Option<Duration>,
    /// How far ahead it may lie.
    pub(super) ahead_max: Option<Duration>,
}

impl Notes {
    /// Counts `items` rejected for `reason`.
    pub(super) fn reject(&mut self, reason: Reason, items: u64) {
        self.rejected = self.rejected.saturating_add(items);
        tally(&mut self.reasons, reason, items);
    }

    /// Remembers the first time, in nanoseconds, that lies too far ahead, for the message.
    pub(super) fn future(&mut self, nanos: u64) {
        self.first_future.get_or_insert(nanos);
    }

    /// Remembers the first time, in nanoseconds, that is too old, for the message.
    pub(super) fn old(&mut self, nanos: u64) {
        self.first_old.get_or_insert(nanos);
    }

    /// Items rejected for `reason` so far.
    pub(super) fn rejected_for(&self, reason: Reason) -> u64 {
        self.reasons.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count)
    }

    /// Changes of this kind so far.
    pub(super) fn changed(&self, change: Change) -> u64 {
        self.changes.iter().find(|(known, _)| *known == change).map_or(0, |(_, count)| *count)
    }

    /// Counts one change.
    pub(super) fn change(&mut self, change: Change) {
        self.changes(change, 1);
    }

    /// Counts `times` changes.
    pub(super) fn changes(&mut self, change: Change, times: u64) {
        tally(&mut self.changes, change, times);
    }

    /// Items rejected so far.
    pub(super) const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The message for the sender, of at most [`MESSAGE_BYTES_MAX`] bytes; none when there is nothing to say.
    pub(super) fn message(&self, signal: Signal, items: u64, times: &Times) -> Option<String> {
        let mut message = String::new();
        if self.rejected > 0 {
            let noun = match signal {
                Signal::Traces => "spans",
                Signal::Logs => "log records",
                Signal::Metrics => "data points",
            };
            let _ = write!(message, "{} of {items} {noun} rejected: ", self.rejected);
            list(&mut message, self.reasons.iter().map(|(reason, count)| (reason.words(), *count)));
            self.explain_times(signal, times, &mut message);
        }
        if !self.changes.is_empty() {
            message.push_str(if message.is_empty() { "accepted with changes: " } else { "; changed: " });
            list(&mut message, self.changes.iter().map(|(change, count)| (change.words(), *count)));
        }
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        (!message.is_empty()).then_some(message)
    }

    /// Says for rejected times which one, what was allowed, and what to change.
    fn explain_times(&self, signal: Signal, times: &Times, message: &mut String) {
        if self.rejected_for(Reason::Old) > 0
            && let (Some(nanos), Some(age_max)) = (self.first_old, times.age_max)
        {
            let variable = match signal {
                Signal::Traces => "TRACE_RETENTION_DAYS",
                Signal::Logs => "LOG_RETENTION_DAYS",
                Signal::Metrics => "METRIC_RETENTION_DAYS",
            };
            let (at, days) = (instant(nanos), age_max.as_secs() / 86_400);
            let _ = write!(
                message,
                "; the first that is too old is of {at}, and {days} days are kept: HOT_RETENTION_DAYS or \
                 {variable} keeps more"
            );
        }
        if self.rejected_for(Reason::Future) > 0
            && let (Some(nanos), Some(ahead_max)) = (self.first_future, times.ahead_max)
        {
            let (at, hours) = (instant(nanos), ahead_max.as_secs() / 3_600);
            let now = instant(times.received.0.unsigned_abs());
            let _ = write!(
                message,
                "; the first that is too far ahead is of {at}, the clock here says {now}, and {hours} hours ahead \
                 are allowed: set the sender's clock"
            );
        }
    }
}

/// An instant for people, to the second.
fn instant(nanos: u64) -> String {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{nanos} ns"), |at| at.to_string())
}

fn tally<T: Copy + PartialEq>(counts: &mut Vec<(T, u64)>, what: T, times: u64) {
    if times == 0 {
        return;
    }
    match counts.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count = count.saturating_add(times),
        None => counts.push((what, times)),
    }
}

fn list<'a>(message: &mut String, counts: impl Iterator<Item = (&'a str, u64)>) {
    for (index, (words, count)) in counts.enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let _ = write!(message, "{comma}{count} {words}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        received: UnixNanos::from_seconds(1_800_000_000),
        age_max: Some(Duration::from_secs(7 * 86_400)),
        ahead_max: Some(Duration::from_secs(86_400)),
    };

    #[test]
    fn rejected_times_are_explained() {
        let mut notes = Notes::default();
        notes.old(1_700_000_000_000_000_000);
        notes.reject(Reason::Old, 1);
        notes.future(u64::MAX);
        notes.reject(Reason::Future, 2);
        assert_eq!(
            notes.message(Signal::Logs, 4, &TIMES).unwrap(),
            "3 of 4 log records rejected: 1 older than what is kept, 2 with a time too far in the future; the first \
             that is too old is of 2023-11-14T22:13:20Z, and 7 days are kept: HOT_RETENTION_DAYS or \
             LOG_RETENTION_DAYS keeps more; the first that is too far ahead is of 2554-07-21T23:34:33Z, the clock \
             here says 2027-01-15T08:00:00Z, and 24 hours ahead are allowed: set the sender's clock"
        );
    }

    #[test]
    fn b10_the_message_counts_reasons_and_stays_short() {
        let mut notes = Notes::default();
        assert_eq!(notes.message(Signal::Traces, 0, &TIMES), None);
        notes.reject(Reason::SpanId, 1);
        notes.reject(Reason::TraceId, 1);
        notes.reject(Reason::SpanId, 1);
        notes.change(Change::Repaired);
        let message = notes.message(Signal::Traces, 9, &TIMES).unwrap();
        assert_eq!(
            message,
            "3 of 9 spans rejected: 2 without a valid span id, 1 without a valid trace id; \
             changed: 1 texts that were not UTF-8 repaired"
        );
        for reason in [
            Reason::Shape,
            Reason::Nameless,
            Reason::Future,
            Reason::Old,
            Reason::MetricName,
            Reason::Temporality,
            Reason::NoTime,
            Reason::NoValue,
            Reason::Attributes,
            Reason::BucketCount,
            Reason::BucketBounds,
            Reason::BucketTotal,
            Reason::Scale,
            Reason::Quantiles,
        ] {
            notes.reject(reason, u64::MAX / 2);
        }
        for change in [Change::Parent, Change::LogIds, Change::Start, Change::End, Change::Shortened] {
            notes.changes(change, u64::MAX);
        }
        assert_eq!(notes.rejected(), u64::MAX);
        assert!(notes.message(Signal::Metrics, u64::MAX, &TIMES).unwrap().len() <= MESSAGE_BYTES_MAX);
    }
}
