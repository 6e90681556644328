//! The messages of OTLP as tables: what each field is called in JSON, its number and its type
//! (opentelemetry-proto 1.11: collector, common, resource, trace, logs and metrics).
//!
//! JSON is read by these tables, and damaged messages are mended by them. Fields that are not here are unknown
//! and ignored, among them those of the profiles signal (`keyStrindex`, `stringValueStrindex`).

use crate::model::batch::Signal;

/// One message type. Fields are sorted by number.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) weight: Weight,
    pub(super) fields: &'static [Field],
}

/// What one more message of a type is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// A resource, scope or metric around items.
    Envelope,
    /// A span, log record or point.
    Item,
    /// Anything inside an item.
    Part,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// The name in JSON.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
}

/// How often a field may come and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Once; absent is the same as zero or empty.
    Implicit,
    /// Once; absent differs from zero.
    Explicit,
    /// Any number of times.
    Repeated,
    /// Any number of times up to a limit; the field numbered here counts what was dropped.
    Capped(Cap, u32),
}

/// Which limit a repeated field is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cap {
    Attributes,
    Events,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes that are base64 in JSON.
    Bytes,
    /// Bytes that are hexadecimal in JSON.
    Id,
    Bool,
    Int64,
    Uint64,
    Uint32,
    Sint32,
    Fixed64,
    SignedFixed64,
    Fixed32,
    Double,
    Enum(&'static [(&'static str, u64)]),
    Message(&'static Message),
    /// An `AnyValue` whose texts may be as long as a log body.
    Body,
}

impl Message {
    /// The field numbered `number`.
    pub(super) fn by_number(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// The field called `name` in JSON, with its position in the table.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.name.as_bytes() == name)
    }
}

/// The export request of a signal.
pub(super) const fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
    }
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::Implicit }
}

const fn explicit(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::Explicit }
}

const fn repeated(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, presence: Presence::Repeated }
}

const fn capped(number: u32, name: &'static str, message: &'static Message, cap: Cap) -> Field {
    Field { number, name, kind: Kind::Message(message), presence: Presence::Capped(cap, number + 1) }
}

const fn envelope(fields: &'static [Field]) -> Message {
    Message { weight: Weight::Envelope, fields }
}

const fn item(fields: &'static [Field]) -> Message {
    Message { weight: Weight::Item, fields }
}

const fn part(fields: &'static [Field]) -> Message {
    Message { weight: Weight::Part, fields }
}

static TRACES_REQUEST: Message = envelope(&[repeated(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);
static LOGS_REQUEST: Message = envelope(&[repeated(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))]);
static METRICS_REQUEST: Message =
    envelope(&[repeated(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))]);

static RESOURCE_SPANS: Message = envelope(&[
    field(1, "resource", Kind::Message(&RESOURCE)),
    repeated(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
    field(3, "schemaUrl", Kind::Text),
]);
static RESOURCE_LOGS: Message = envelope(&[
    field(1, "resource", Kind::Message(&RESOURCE)),
    repeated(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
    field(3, "schemaUrl", Kind::Text),
]);
static RESOURCE_METRICS: Message = envelope(&[
    field(1, "resource", Kind::Message(&RESOURCE)),
    repeated(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
    field(3, "schemaUrl", Kind::Text),
]);
static SCOPE_SPANS: Message = envelope(&[
    field(1, "scope", Kind::Message(&SCOPE)),
    repeated(2, "spans", Kind::Message(&SPAN)),
    field(3, "schemaUrl", Kind::Text),
]);
static SCOPE_LOGS: Message = envelope(&[
    field(1, "scope", Kind::Message(&SCOPE)),
    repeated(2, "logRecords", Kind::Message(&LOG_RECORD)),
    field(3, "schemaUrl", Kind::Text),
]);
static SCOPE_METRICS: Message = envelope(&[
    field(1, "scope", Kind::Message(&SCOPE)),
    repeated(2, "metrics", Kind::Message(&METRIC)),
    field(3, "schemaUrl", Kind::Text),
]);

pub(super) static RESOURCE: Message = part(&[
    capped(1, "attributes", &KEY_VALUE, Cap::Attributes),
    field(2, "droppedAttributesCount", Kind::Uint32),
]);
pub(super) static SCOPE: Message = part(&[
    field(1, "name", Kind::Text),
    field(2, "version", Kind::Text),
    capped(3, "attributes", &KEY_VALUE, Cap::Attributes),
    field(4, "droppedAttributesCount", Kind::Uint32),
]);

pub(super) static KEY_VALUE: Message =
    part(&[field(1, "key", Kind::Text), field(2, "value", Kind::Message(&ANY_VALUE))]);
pub(super) static ANY_VALUE: Message = part(&[
    explicit(1, "stringValue", Kind::Text),
    explicit(2, "boolValue", Kind::Bool),
    explicit(3, "intValue", Kind::Int64),
    explicit(4, "doubleValue", Kind::Double),
    explicit(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
    explicit(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
    explicit(7, "bytesValue", Kind::Bytes),
]);
static ARRAY_VALUE: Message = part(&[repeated(1, "values", Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = part(&[repeated(1, "values", Kind::Message(&KEY_VALUE))]);

pub(super) static SPAN: Message = item(&[
    field(1, "traceId", Kind::Id),
    field(2, "spanId", Kind::Id),
    field(3, "traceState", Kind::Text),
    field(4, "parentSpanId", Kind::Id),
    field(5, "name", Kind::Text),
    field(6, "kind", Kind::Enum(SPAN_KINDS)),
    field(7, "startTimeUnixNano", Kind::Fixed64),
    field(8, "endTimeUnixNano", Kind::Fixed64),
    capped(9, "attributes", &KEY_VALUE, Cap::Attributes),
    field(10, "droppedAttributesCount", Kind::Uint32),
    capped(11, "events", &EVENT, Cap::Events),
    field(12, "droppedEventsCount", Kind::Uint32),
    capped(13, "links", &LINK, Cap::Events),
    field(14, "droppedLinksCount", Kind::Uint32),
    field(15, "status", Kind::Message(&STATUS)),
    field(16, "flags", Kind::Fixed32),
]);
pub(super) static EVENT: Message = part(&[
    field(1, "timeUnixNano", Kind::Fixed64),
    field(2, "name", Kind::Text),
    capped(3, "attributes", &KEY_VALUE, Cap::Attributes),
    field(4, "droppedAttributesCount", Kind::Uint32),
]);
pub(super) static LINK: Message = part(&[
    field(1, "traceId", Kind::Id),
    field(2, "spanId", Kind::Id),
    field(3, "traceState", Kind::Text),
    capped(4, "attributes", &KEY_VALUE, Cap::Attributes),
    field(5, "droppedAttributesCount", Kind::Uint32),
    field(6, "flags", Kind::Fixed32),
]);
pub(super) static STATUS: Message =
    part(&[field(2, "message", Kind::Text), field(3, "code", Kind::Enum(STATUS_CODES))]);

pub(super) static LOG_RECORD: Message = item(&[
    field(1, "timeUnixNano", Kind::Fixed64),
    field(2, "severityNumber", Kind::Enum(SEVERITIES)),
    field(3, "severityText", Kind::Text),
    field(5, "body", Kind::Body),
    capped(6, "attributes", &KEY_VALUE, Cap::Attributes),
    field(7, "droppedAttributesCount", Kind::Uint32),
    field(8, "flags", Kind::Fixed32),
    field(9, "traceId", Kind::Id),
    field(10, "spanId", Kind::Id),
    field(11, "observedTimeUnixNano", Kind::Fixed64),
    field(12, "eventName", Kind::Text),
]);

pub(super) static METRIC: Message = envelope(&[
    field(1, "name", Kind::Text),
    field(2, "description", Kind::Text),
    field(3, "unit", Kind::Text),
    explicit(5, "gauge", Kind::Message(&GAUGE)),
    explicit(7, "sum", Kind::Message(&SUM)),
    explicit(9, "histogram", Kind::Message(&HISTOGRAM)),
    explicit(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    explicit(11, "summary", Kind::Message(&SUMMARY)),
    repeated(12, "metadata", Kind::Message(&KEY_VALUE)),
]);
static GAUGE: Message = part(&[repeated(1, "dataPoints", Kind::Message(&NUMBER_POINT))]);
static SUM: Message = part(&[
    repeated(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
    field(2, "aggregationTemporality", Kind::Enum(TEMPORALITIES)),
    field(3, "isMonotonic", Kind::Bool),
]);
static HISTOGRAM: Message = part(&[
    repeated(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
    field(2, "aggregationTemporality", Kind::Enum(TEMPORALITIES)),
]);
static EXPONENTIAL_HISTOGRAM: Message = part(&[
    repeated(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
    field(2, "aggregationTemporality", Kind::Enum(TEMPORALITIES)),
]);
static SUMMARY: Message = part(&[repeated(1, "dataPoints", Kind::Message(&SUMMARY_POINT))]);

pub(super) static NUMBER_POINT: Message = item(&[
    field(2, "startTimeUnixNano", Kind::Fixed64),
    field(3, "timeUnixNano", Kind::Fixed64),
    explicit(4, "asDouble", Kind::Double),
    repeated(5, "exemplars", Kind::Message(&EXEMPLAR)),
    explicit(6, "asInt", Kind::SignedFixed64),
    repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
    field(8, "flags", Kind::Uint32),
]);
pub(super) static HISTOGRAM_POINT: Message = item(&[
    field(2, "startTimeUnixNano", Kind::Fixed64),
    field(3, "timeUnixNano", Kind::Fixed64),
    field(4, "count", Kind::Fixed64),
    explicit(5, "sum", Kind::Double),
    repeated(6, "bucketCounts", Kind::Fixed64),
    repeated(7, "explicitBounds", Kind::Double),
    repeated(8, "exemplars", Kind::Message(&EXEMPLAR)),
    repeated(9, "attributes", Kind::Message(&KEY_VALUE)),
    field(10, "flags", Kind::Uint32),
    explicit(11, "min", Kind::Double),
    explicit(12, "max", Kind::Double),
]);
pub(super) static EXPONENTIAL_POINT: Message = item(&[
    repeated(1, "attributes", Kind::Message(&KEY_VALUE)),
    field(2, "startTimeUnixNano", Kind::Fixed64),
    field(3, "timeUnixNano", Kind::Fixed64),
    field(4, "count", Kind::Fixed64),
    explicit(5, "sum", Kind::Double),
    field(6, "scale", Kind::Sint32),
    field(7, "zeroCount", Kind::Fixed64),
    field(8, "positive", Kind::Message(&BUCKETS)),
    field(9, "negative", Kind::Message(&BUCKETS)),
    field(10, "flags", Kind::Uint32),
    repeated(11, "exemplars", Kind::Message(&EXEMPLAR)),
    explicit(12, "min", Kind::Double),
    explicit(13, "max", Kind::Double),
    field(14, "zeroThreshold", Kind::Double),
]);
static BUCKETS: Message =
    part(&[field(1, "offset", Kind::Sint32), repeated(2, "bucketCounts", Kind::Uint64)]);
pub(super) static SUMMARY_POINT: Message = item(&[
    field(2, "startTimeUnixNano", Kind::Fixed64),
    field(3, "timeUnixNano", Kind::Fixed64),
    field(4, "count", Kind::Fixed64),
    field(5, "sum", Kind::Double),
    repeated(6, "quantileValues", Kind::Message(&QUANTILE)),
    repeated(7, "attributes", Kind::Message(&KEY_VALUE)),
    field(8, "flags", Kind::Uint32),
]);
static QUANTILE: Message = part(&[field(1, "quantile", Kind::Double), field(2, "value", Kind::Double)]);
pub(super) static EXEMPLAR: Message = part(&[
    field(2, "timeUnixNano", Kind::Fixed64),
    explicit(3, "asDouble", Kind::Double),
    field(4, "spanId", Kind::Id),
    field(5, "traceId", Kind::Id),
    explicit(6, "asInt", Kind::SignedFixed64),
    repeated(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
]);

const SPAN_KINDS: &[(&str, u64)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];
const STATUS_CODES: &[(&str, u64)] =
    &[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)];
const TEMPORALITIES: &[(&str, u64)] = &[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
];
const SEVERITIES: &[(&str, u64)] = &[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(message: &'static Message, seen: &mut Vec<*const Message>) {
        if seen.contains(&std::ptr::from_ref(message)) {
            return;
        }
        seen.push(message);
        assert!(message.fields.len() <= 32, "more fields than the duplicate mask has bits");
        assert!(message.fields.is_sorted_by(|a, b| a.number < b.number), "{:?}", message.fields);
        for field in message.fields {
            assert!(field.number < 32, "field masks have 32 bits");
            if let Presence::Capped(_, dropped) = field.presence {
                let counter = message.by_number(dropped).unwrap();
                assert!(matches!(counter.kind, Kind::Uint32) && counter.name.starts_with("dropped"));
            }
            if let Kind::Message(inner) = field.kind {
                visit(inner, seen);
            }
        }
    }

    #[test]
    fn tables_are_sorted_and_fit_their_masks() {
        let mut seen = Vec::new();
        Signal::ALL.into_iter().for_each(|signal| visit(request(signal), &mut seen));
    }
}
