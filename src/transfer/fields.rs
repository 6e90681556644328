//! OTLP's messages as tables for writing JSON: the number, name and form of each field (opentelemetry-proto 1.11).

/// One message type, its fields in order of number.
pub(super) struct Message(pub(super) &'static [Field]);

/// One field: its number, its name in JSON, its form, and whether it may come more than once.
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) is_repeated: bool,
}

/// How a value is written in JSON.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Text.
    Text,
    /// Bytes as hexadecimal text.
    Id,
    /// A varint of 32 bits as number.
    Number,
    /// A varint of 32 bits as number, which may be negative.
    Enum,
    /// A varint as text, for 64 bits do not fit a JSON number.
    Wide,
    /// A zigzag varint of 32 bits as number.
    Zigzag,
    /// A varint as truth value.
    Bool,
    /// Eight bytes as an unsigned number in text.
    Fixed64,
    /// Eight bytes as a signed number in text.
    SignedFixed64,
    /// Four bytes as number.
    Fixed32,
    /// Eight bytes as a double.
    Double,
    /// A message of this type.
    Message(&'static Message),
    /// An `AnyValue`.
    Value,
}

const fn one(number: u32, name: &'static str, form: Form) -> Field {
    Field { number, name, form, is_repeated: false }
}

const fn many(number: u32, name: &'static str, form: Form) -> Field {
    Field { number, name, form, is_repeated: true }
}

pub(super) static TRACES: Message = Message(&[many(1, "resourceSpans", Form::Message(&RESOURCE_SPANS))]);
pub(super) static LOGS: Message = Message(&[many(1, "resourceLogs", Form::Message(&RESOURCE_LOGS))]);
pub(super) static METRICS: Message = Message(&[many(1, "resourceMetrics", Form::Message(&RESOURCE_METRICS))]);

static RESOURCE_SPANS: Message = Message(&[
    one(1, "resource", Form::Message(&RESOURCE)),
    many(2, "scopeSpans", Form::Message(&SCOPE_SPANS)),
    one(3, "schemaUrl", Form::Text),
]);
static RESOURCE_LOGS: Message = Message(&[
    one(1, "resource", Form::Message(&RESOURCE)),
    many(2, "scopeLogs", Form::Message(&SCOPE_LOGS)),
    one(3, "schemaUrl", Form::Text),
]);
static RESOURCE_METRICS: Message = Message(&[
    one(1, "resource", Form::Message(&RESOURCE)),
    many(2, "scopeMetrics", Form::Message(&SCOPE_METRICS)),
    one(3, "schemaUrl", Form::Text),
]);
static SCOPE_SPANS: Message = Message(&[
    one(1, "scope", Form::Message(&SCOPE)),
    many(2, "spans", Form::Message(&SPAN)),
    one(3, "schemaUrl", Form::Text),
]);
static SCOPE_LOGS: Message = Message(&[
    one(1, "scope", Form::Message(&SCOPE)),
    many(2, "logRecords", Form::Message(&LOG_RECORD)),
    one(3, "schemaUrl", Form::Text),
]);
static SCOPE_METRICS: Message = Message(&[
    one(1, "scope", Form::Message(&SCOPE)),
    many(2, "metrics", Form::Message(&METRIC)),
    one(3, "schemaUrl", Form::Text),
]);
static RESOURCE: Message = Message(&[
    many(1, "attributes", Form::Message(&KEY_VALUE)),
    one(2, "droppedAttributesCount", Form::Number),
]);
static SCOPE: Message = Message(&[
    one(1, "name", Form::Text),
    one(2, "version", Form::Text),
    many(3, "attributes", Form::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Form::Number),
]);
pub(super) static KEY_VALUE: Message = Message(&[one(1, "key", Form::Text), one(2, "value", Form::Value)]);

static SPAN: Message = Message(&[
    one(1, "traceId", Form::Id),
    one(2, "spanId", Form::Id),
    one(3, "traceState", Form::Text),
    one(4, "parentSpanId", Form::Id),
    one(5, "name", Form::Text),
    one(6, "kind", Form::Enum),
    one(7, "startTimeUnixNano", Form::Fixed64),
    one(8, "endTimeUnixNano", Form::Fixed64),
    many(9, "attributes", Form::Message(&KEY_VALUE)),
    one(10, "droppedAttributesCount", Form::Number),
    many(11, "events", Form::Message(&EVENT)),
    one(12, "droppedEventsCount", Form::Number),
    many(13, "links", Form::Message(&LINK)),
    one(14, "droppedLinksCount", Form::Number),
    one(15, "status", Form::Message(&STATUS)),
    one(16, "flags", Form::Fixed32),
]);
static EVENT: Message = Message(&[
    one(1, "timeUnixNano", Form::Fixed64),
    one(2, "name", Form::Text),
    many(3, "attributes", Form::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Form::Number),
]);
static LINK: Message = Message(&[
    one(1, "traceId", Form::Id),
    one(2, "spanId", Form::Id),
    one(3, "traceState", Form::Text),
    many(4, "attributes", Form::Message(&KEY_VALUE)),
    one(5, "droppedAttributesCount", Form::Number),
    one(6, "flags", Form::Fixed32),
]);
static STATUS: Message = Message(&[one(2, "message", Form::Text), one(3, "code", Form::Enum)]);

static LOG_RECORD: Message = Message(&[
    one(1, "timeUnixNano", Form::Fixed64),
    one(2, "severityNumber", Form::Enum),
    one(3, "severityText", Form::Text),
    one(5, "body", Form::Value),
    many(6, "attributes", Form::Message(&KEY_VALUE)),
    one(7, "droppedAttributesCount", Form::Number),
    one(8, "flags", Form::Fixed32),
    one(9, "traceId", Form::Id),
    one(10, "spanId", Form::Id),
    one(11, "observedTimeUnixNano", Form::Fixed64),
    one(12, "eventName", Form::Text),
]);

static METRIC: Message = Message(&[
    one(1, "name", Form::Text),
    one(2, "description", Form::Text),
    one(3, "unit", Form::Text),
    one(5, "gauge", Form::Message(&GAUGE)),
    one(7, "sum", Form::Message(&SUM)),
    one(9, "histogram", Form::Message(&HISTOGRAM)),
    one(10, "exponentialHistogram", Form::Message(&EXPONENTIAL_HISTOGRAM)),
    one(11, "summary", Form::Message(&SUMMARY)),
    many(12, "metadata", Form::Message(&KEY_VALUE)),
]);
static GAUGE: Message = Message(&[many(1, "dataPoints", Form::Message(&NUMBER_POINT))]);
static SUM: Message = Message(&[
    many(1, "dataPoints", Form::Message(&NUMBER_POINT)),
    one(2, "aggregationTemporality", Form::Enum),
    one(3, "isMonotonic", Form::Bool),
]);
static HISTOGRAM: Message = Message(&[
    many(1, "dataPoints", Form::Message(&HISTOGRAM_POINT)),
    one(2, "aggregationTemporality", Form::Enum),
]);
static EXPONENTIAL_HISTOGRAM: Message = Message(&[
    many(1, "dataPoints", Form::Message(&EXPONENTIAL_POINT)),
    one(2, "aggregationTemporality", Form::Enum),
]);
static SUMMARY: Message = Message(&[many(1, "dataPoints", Form::Message(&SUMMARY_POINT))]);
static NUMBER_POINT: Message = Message(&[
    one(2, "startTimeUnixNano", Form::Fixed64),
    one(3, "timeUnixNano", Form::Fixed64),
    one(4, "asDouble", Form::Double),
    many(5, "exemplars", Form::Message(&EXEMPLAR)),
    one(6, "asInt", Form::SignedFixed64),
    many(7, "attributes", Form::Message(&KEY_VALUE)),
    one(8, "flags", Form::Number),
]);
static HISTOGRAM_POINT: Message = Message(&[
    one(2, "startTimeUnixNano", Form::Fixed64),
    one(3, "timeUnixNano", Form::Fixed64),
    one(4, "count", Form::Fixed64),
    one(5, "sum", Form::Double),
    many(6, "bucketCounts", Form::Fixed64),
    many(7, "explicitBounds", Form::Double),
    many(8, "exemplars", Form::Message(&EXEMPLAR)),
    many(9, "attributes", Form::Message(&KEY_VALUE)),
    one(10, "flags", Form::Number),
    one(11, "min", Form::Double),
    one(12, "max", Form::Double),
]);
static EXPONENTIAL_POINT: Message = Message(&[
    many(1, "attributes", Form::Message(&KEY_VALUE)),
    one(2, "startTimeUnixNano", Form::Fixed64),
    one(3, "timeUnixNano", Form::Fixed64),
    one(4, "count", Form::Fixed64),
    one(5, "sum", Form::Double),
    one(6, "scale", Form::Zigzag),
    one(7, "zeroCount", Form::Fixed64),
    one(8, "positive", Form::Message(&BUCKETS)),
    one(9, "negative", Form::Message(&BUCKETS)),
    one(10, "flags", Form::Number),
    many(11, "exemplars", Form::Message(&EXEMPLAR)),
    one(12, "min", Form::Double),
    one(13, "max", Form::Double),
    one(14, "zeroThreshold", Form::Double),
]);
static BUCKETS: Message = Message(&[one(1, "offset", Form::Zigzag), many(2, "bucketCounts", Form::Wide)]);
static SUMMARY_POINT: Message = Message(&[
    one(2, "startTimeUnixNano", Form::Fixed64),
    one(3, "timeUnixNano", Form::Fixed64),
    one(4, "count", Form::Fixed64),
    one(5, "sum", Form::Double),
    many(6, "quantileValues", Form::Message(&QUANTILE)),
    many(7, "attributes", Form::Message(&KEY_VALUE)),
    one(8, "flags", Form::Number),
]);
static QUANTILE: Message = Message(&[one(1, "quantile", Form::Double), one(2, "value", Form::Double)]);
static EXEMPLAR: Message = Message(&[
    one(2, "timeUnixNano", Form::Fixed64),
    one(3, "asDouble", Form::Double),
    one(4, "spanId", Form::Id),
    one(5, "traceId", Form::Id),
    one(6, "asInt", Form::SignedFixed64),
    many(7, "filteredAttributes", Form::Message(&KEY_VALUE)),
]);
