//! What one request may hold.

use std::time::Duration;

use crate::model::packed::DEPTH_MAX;

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
    /// Bytes kept of one name, key or attribute value; text is cut between characters.
    pub value_bytes_max: usize,
    /// Bytes kept of one text in the body of a log record.
    pub body_bytes_max: usize,
    /// Deepest nesting of a value, itself included; deeper refuses the request. Never above [`DEPTH_MAX`].
    pub depth_max: usize,
    /// How far ahead of the time of receipt an item may lie; later ones are rejected.
    pub future_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            items_max: 100_000,
            attributes_max: 1_000_000,
            attributes_per_item_max: 1_024,
            events_per_span_max: 1_024,
            buckets_per_point_max: 16_384,
            value_bytes_max: 64 * 1024,
            body_bytes_max: 1024 * 1024,
            depth_max: DEPTH_MAX,
            future_max: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Limits {
    /// The depth that holds: the views over packed values do not go below [`DEPTH_MAX`].
    pub(super) fn depth(&self) -> usize {
        self.depth_max.min(DEPTH_MAX)
    }
}
