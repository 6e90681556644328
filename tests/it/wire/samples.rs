//! Telemetry in which every field of OTLP is used, as protobuf and, written by hand, as JSON.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Value, json};

use super::stored::Sender;

pub(super) const TRACE: [u8; 16] = *b"0123456789abcdef";
pub(super) const TRACE_HEX: &str = "30313233343536373839616263646566";
const ROOT: [u8; 8] = *b"rootspan";
const ROOT_HEX: &str = "726f6f747370616e";
const CHILD: [u8; 8] = *b"child456";
const CHILD_HEX: &str = "6368696c64343536";
const LINKED: [u8; 16] = *b"some-other-trace";
const LINKED_HEX: &str = "736f6d652d6f746865722d7472616365";

pub(super) const fn any(value: Any) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

pub(super) fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: any(value), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.into()))
}

/// A map with every kind of value, some of them deep inside.
fn structure() -> Any {
    let items = [Any::StringValue("ä€𝄞".into()), Any::IntValue(i64::MIN), Any::BoolValue(false)];
    let values = items.into_iter().map(|item| AnyValue { value: Some(item) }).chain([AnyValue::default()]);
    let array = Any::ArrayValue(ArrayValue { values: values.collect() });
    let inner = Any::KvlistValue(KeyValueList { values: vec![attribute("list", array), text("k", "v")] });
    Any::KvlistValue(KeyValueList { values: vec![attribute("inner", inner), text("", "without a key")] })
}

fn structure_json() -> Value {
    let array = json!([
        {"stringValue": "ä€𝄞"}, {"intValue": "-9223372036854775808"}, {"boolValue": false}, {},
    ]);
    let inner = json!([
        {"key": "list", "value": {"arrayValue": {"values": array}}},
        {"key": "k", "value": {"stringValue": "v"}},
    ]);
    json!({"kvlistValue": {"values": [
        {"key": "inner", "value": {"kvlistValue": {"values": inner}}},
        {"key": "", "value": {"stringValue": "without a key"}},
    ]}})
}

/// Attributes of every kind.
pub(super) fn attributes() -> Vec<KeyValue> {
    vec![
        text("text", "line one\nline two\ttabbed"),
        text("text.empty", ""),
        attribute("int", Any::IntValue(i64::MAX)),
        attribute("double", Any::DoubleValue(0.1)),
        attribute("double.nan", Any::DoubleValue(f64::NAN)),
        attribute("double.infinite", Any::DoubleValue(f64::NEG_INFINITY)),
        attribute("bool", Any::BoolValue(true)),
        attribute("bytes", Any::BytesValue(vec![0, 255, 128, 7])),
        attribute("structure", structure()),
        KeyValue { key: "nothing".into(), value: Some(AnyValue::default()), ..KeyValue::default() },
    ]
}

pub(super) fn attributes_json() -> Value {
    json!([
        {"key": "text", "value": {"stringValue": "line one\nline two\ttabbed"}},
        {"key": "text.empty", "value": {"stringValue": ""}},
        {"key": "int", "value": {"intValue": "9223372036854775807"}},
        {"key": "double", "value": {"doubleValue": 0.1}},
        {"key": "double.nan", "value": {"doubleValue": "NaN"}},
        {"key": "double.infinite", "value": {"doubleValue": "-Infinity"}},
        {"key": "bool", "value": {"boolValue": true}},
        {"key": "bytes", "value": {"bytesValue": "AP+ABw=="}},
        {"key": "structure", "value": structure_json()},
        {"key": "nothing", "value": {}},
    ])
}

/// The sender of all samples.
pub(super) fn sender() -> Sender {
    let named = [("service.name", "checkout"), ("service.version", "1.2.3"), ("k8s.pod.name", "checkout-7")];
    let resource = named.into_iter().map(|(key, value)| text(key, value)).chain(attributes()).collect();
    Sender {
        resource: Resource { attributes: resource, dropped_attributes_count: 2, entity_refs: Vec::new() },
        resource_schema: "https://opentelemetry.io/schemas/1.27.0".into(),
        scope: InstrumentationScope {
            name: "io.example.http".into(),
            version: "0.9.1".into(),
            attributes: attributes(),
            dropped_attributes_count: 1,
        },
        scope_schema: "https://opentelemetry.io/schemas/1.26.0".into(),
    }
}

/// The request in JSON around `items`, which are named `item` inside `scopes` inside `resources`.
fn request_json([resources, scopes, item]: [&str; 3], items: &Value) -> Value {
    let named = json!([
        {"key": "service.name", "value": {"stringValue": "checkout"}},
        {"key": "service.version", "value": {"stringValue": "1.2.3"}},
        {"key": "k8s.pod.name", "value": {"stringValue": "checkout-7"}},
    ]);
    let attributes: Vec<Value> =
        [named, attributes_json()].iter().flat_map(|list| list.as_array().unwrap().clone()).collect();
    json!({resources: [{
        "resource": {"attributes": attributes, "droppedAttributesCount": 2},
        "schemaUrl": "https://opentelemetry.io/schemas/1.27.0",
        scopes: [{
            "scope": {
                "name": "io.example.http", "version": "0.9.1",
                "attributes": attributes_json(), "droppedAttributesCount": 1,
            },
            "schemaUrl": "https://opentelemetry.io/schemas/1.26.0",
            item: items,
        }],
    }]})
}

/// Two spans around the time `now`, in nanoseconds.
pub(super) fn spans(now: u64) -> Vec<Span> {
    let root = Span {
        trace_id: TRACE.to_vec(),
        span_id: ROOT.to_vec(),
        trace_state: "vendor=opaque,other=1".into(),
        flags: 0x0001,
        name: "GET /pay".into(),
        kind: 2,
        start_time_unix_nano: now,
        end_time_unix_nano: now + 40_000_001,
        ..Span::default()
    };
    let event = |offset, name: &str, attributes, dropped_attributes_count| Event {
        time_unix_nano: now + offset,
        name: name.into(),
        attributes,
        dropped_attributes_count,
    };
    let exception = vec![text("exception.type", "Timeout"), text("exception.message", "no answer in 30 ms")];
    let child = Span {
        trace_id: TRACE.to_vec(),
        span_id: CHILD.to_vec(),
        trace_state: "vendor=child".into(),
        parent_span_id: ROOT.to_vec(),
        flags: 0x0301,
        name: "SELECT orders".into(),
        kind: 3,
        start_time_unix_nano: now + 1_000,
        end_time_unix_nano: now + 30_001_000,
        attributes: attributes(),
        dropped_attributes_count: 3,
        events: vec![event(20, "exception", exception, 0), event(10, "retry", attributes(), 1)],
        dropped_events_count: 4,
        links: vec![Link {
            trace_id: LINKED.to_vec(),
            span_id: ROOT.to_vec(),
            trace_state: "vendor=link".into(),
            attributes: attributes(),
            dropped_attributes_count: 5,
            flags: 0x0101,
        }],
        dropped_links_count: 6,
        status: Some(Status { message: "no answer in 30 ms".into(), code: 2 }),
    };
    vec![root, child]
}

/// [`spans`] as a request.
pub(super) fn traces(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let Sender { resource, resource_schema, scope, scope_schema } = sender();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: scope_schema }];
    let of_resource = ResourceSpans { resource: Some(resource), scope_spans, schema_url: resource_schema };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }
}

/// [`spans`] as a request in JSON.
pub(super) fn traces_json(now: u64) -> Value {
    let time = |offset: u64| json!((now + offset).to_string());
    let exception = json!([
        {"key": "exception.type", "value": {"stringValue": "Timeout"}},
        {"key": "exception.message", "value": {"stringValue": "no answer in 30 ms"}},
    ]);
    let spans = json!([
        {
            "traceId": TRACE_HEX, "spanId": ROOT_HEX, "parentSpanId": "", "traceState": "vendor=opaque,other=1",
            "flags": 1, "name": "GET /pay", "kind": 2,
            "startTimeUnixNano": time(0), "endTimeUnixNano": time(40_000_001),
        },
        {
            "traceId": TRACE_HEX.to_uppercase(), "spanId": CHILD_HEX, "parentSpanId": ROOT_HEX,
            "traceState": "vendor=child", "flags": 0x0301, "name": "SELECT orders", "kind": 3,
            "startTimeUnixNano": now + 1_000, "endTimeUnixNano": time(30_001_000),
            "attributes": attributes_json(), "droppedAttributesCount": 3,
            "events": [
                {"timeUnixNano": time(20), "name": "exception", "attributes": exception},
                {
                    "timeUnixNano": time(10), "name": "retry",
                    "attributes": attributes_json(), "droppedAttributesCount": 1,
                },
            ],
            "droppedEventsCount": 4,
            "links": [{
                "traceId": LINKED_HEX, "spanId": ROOT_HEX, "traceState": "vendor=link",
                "attributes": attributes_json(), "droppedAttributesCount": 5, "flags": 0x0101,
            }],
            "droppedLinksCount": 6,
            "status": {"message": "no answer in 30 ms", "code": 2},
            "aFieldOfTomorrow": {"is": ["ignored", null, 1.5, {}]},
        },
    ]);
    request_json(["resourceSpans", "scopeSpans", "spans"], &spans)
}

/// Log records around the time `now`: a structured body, an event, a list, bytes, and none at all.
pub(super) fn logs(now: u64) -> Vec<LogRecord> {
    let bodies = [
        Some(structure()),
        Some(Any::StringValue("payment of 17 failed after 3 tries".into())),
        Some(Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(Any::IntValue(7)) }] })),
        Some(Any::BytesValue(vec![1, 2, 3])),
        None,
    ];
    let record = |(index, body): (u64, Option<Any>)| LogRecord {
        time_unix_nano: now + index,
        observed_time_unix_nano: now + 100 + index,
        severity_number: 17,
        severity_text: "ERROR2".into(),
        body: body.and_then(any),
        attributes: attributes(),
        dropped_attributes_count: 2,
        flags: 0x0101,
        trace_id: TRACE.to_vec(),
        span_id: CHILD.to_vec(),
        event_name: if index == 1 { "payment.failed".into() } else { String::new() },
    };
    (0..).zip(bodies).map(record).collect()
}

/// [`logs`] as a request.
pub(super) fn log_request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let Sender { resource, resource_schema, scope, scope_schema } = sender();
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, schema_url: scope_schema }];
    let of_resource = ResourceLogs { resource: Some(resource), scope_logs, schema_url: resource_schema };
    ExportLogsServiceRequest { resource_logs: vec![of_resource] }
}

/// [`logs`] as a request in JSON.
pub(super) fn logs_json(now: u64) -> Value {
    let bodies = [
        structure_json(),
        json!({"stringValue": "payment of 17 failed after 3 tries"}),
        json!({"arrayValue": {"values": [{"intValue": 7}]}}),
        json!({"bytesValue": "AQID"}),
        Value::Null,
    ];
    let record = |(index, body): (u64, Value)| {
        json!({
            "timeUnixNano": (now + index).to_string(), "observedTimeUnixNano": (now + 100 + index).to_string(),
            "severityNumber": 17, "severityText": "ERROR2", "body": body,
            "attributes": attributes_json(), "droppedAttributesCount": 2, "flags": 0x0101,
            "traceId": TRACE_HEX, "spanId": CHILD_HEX,
            "eventName": if index == 1 { "payment.failed" } else { "" },
        })
    };
    let records: Vec<Value> = (0..).zip(bodies).map(record).collect();
    request_json(["resourceLogs", "scopeLogs", "logRecords"], &json!(records))
}

/// Metrics as a request.
pub(super) fn metric_request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let Sender { resource, resource_schema, scope, scope_schema } = sender();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: scope_schema }];
    let of_resource =
        ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: resource_schema };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
}

/// Metrics as a request in JSON.
pub(super) fn metric_request_json(metrics: &Value) -> Value {
    request_json(["resourceMetrics", "scopeMetrics", "metrics"], metrics)
}
