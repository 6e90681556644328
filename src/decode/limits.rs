//! What one request may hold.

use std::time::Duration;

use crate::model::batch::Signal;
use crate::model::packed::DEPTH_MAX;

/// Bytes kept of one name, key or attribute value where nothing less is asked for.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// How old items may be when they are received, by signal: spans by their start, log records and points by their
/// time. Older ones are rejected, because they would be deleted at once. None sets no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ages {
    /// Of spans.
    pub traces: Option<Duration>,
    /// Of log records.
    pub logs: Option<Duration>,
    /// Of metric points.
    pub metrics: Option<Duration>,
}

impl Ages {
    /// The bound on items of `signal`.
    pub const fn of(&self, signal: Signal) -> Option<Duration> {
        match signal {
            Signal::Traces => self.traces,
            Signal::Logs => self.logs,
            Signal::Metrics => self.metrics,
        }
    }
}

/// Bounds on one request. What lies past the first two refuses the whole request, depth likewise; the others
/// cost the sender only the excess, which is counted.
///
/// The defaults leave normal telemetry untouched: the SDKs stop at 128 attributes, events and links per span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Spans, log records or metric points in one request, and likewise the resource, scope and metric messages
    /// around them; one more refuses the request as too large.
    pub items_max: usize,
    /// Attributes in one request wherever they hang, with array elements, events, links, exemplars and quantiles
    /// counted as attributes; one more refuses the request as too large.
    pub attributes_max: usize,
    /// Attributes kept of one resource, scope, span, event, link or record. The excess is added to the dropped
    /// count. A metric point with more is rejected, because fewer attributes would name another series.
    pub attributes_per_item_max: usize,
    /// Events kept of one span, and links kept of one span. The excess is added to the dropped counts.
    pub events_per_span_max: usize,
    /// Buckets of one histogram, and of each side of an exponential one; a point with more is rejected.
    pub buckets_per_point_max: usize,
    /// Bytes kept of one name or key; text is cut between characters.
    pub value_bytes_max: usize,
    /// Bytes kept of one text inside an attribute value, cut between characters. Never above `value_bytes_max`.
    pub attribute_bytes_max: usize,
    /// Bytes kept of one text in the body of a log record.
    pub body_bytes_max: usize,
    /// Deepest nesting of a value, itself included; deeper refuses the request. Never above [`DEPTH_MAX`].
    pub depth_max: usize,
    /// How old an item may be when it is received.
    pub age_max: Ages,
    /// How far ahead of the time of receipt an item may lie; later ones are rejected. None sets no bound.
    pub ahead_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            items_max: 100_000,
            attributes_max: 1_000_000,
            attributes_per_item_max: 1_024,
            events_per_span_max: 1_024,
            buckets_per_point_max: 16_384,
            value_bytes_max: VALUE_BYTES_MAX,
            attribute_bytes_max: VALUE_BYTES_MAX,
            body_bytes_max: 1024 * 1024,
            depth_max: DEPTH_MAX,
            age_max: Ages::default(),
            ahead_max: Some(Duration::from_secs(24 * 60 * 60)),
        }
    }
}

impl Limits {
    /// The depth that holds: the views over packed values do not go below [`DEPTH_MAX`].
    pub(super) fn depth(&self) -> usize {
        self.depth_max.min(DEPTH_MAX)
    }

    /// The bound on texts inside attribute values that holds.
    pub(super) fn attribute_bytes(&self) -> usize {
        self.attribute_bytes_max.min(self.value_bytes_max)
    }
}
