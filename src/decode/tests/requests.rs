//! Requests as other libraries write them.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// A moment before [`super::RECEIVED`].
pub(super) const BEFORE: u64 = 1_799_999_999_000_000_000;

pub(super) fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(super) fn text(value: &str) -> AnyValue {
    any(any_value::Value::StringValue(value.into()))
}

pub(super) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

pub(super) fn resource(service: &str) -> Resource {
    Resource { attributes: vec![attribute("service.name", text(service))], ..Resource::default() }
}

/// A valid span.
pub(super) fn span(name: &str) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: name.into(),
        kind: 2,
        start_time_unix_nano: BEFORE,
        end_time_unix_nano: BEFORE + 500,
        attributes: vec![attribute("http.route", text("/pay"))],
        ..Span::default()
    }
}

/// A valid record.
pub(super) fn record(body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: BEFORE,
        observed_time_unix_nano: BEFORE + 1,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(text(body)),
        attributes: vec![attribute("thread", text("main"))],
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    }
}

pub(super) fn trace_request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: Some(resource("shop")), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

pub(super) fn logs_request(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let group = ResourceLogs { resource: Some(resource("shop")), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }
}

pub(super) fn metrics_request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let group =
        ResourceMetrics { resource: Some(resource("shop")), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }
}

pub(super) fn metric(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.into(), unit: "1".into(), data: Some(data), ..Metric::default() }
}

pub(super) fn packed_spans(spans: Vec<Span>) -> Vec<u8> {
    trace_request(spans).encode_to_vec()
}

pub(super) fn packed_records(records: Vec<LogRecord>) -> Vec<u8> {
    logs_request(records).encode_to_vec()
}

pub(super) fn packed_metrics(metrics: Vec<Metric>) -> Vec<u8> {
    metrics_request(metrics).encode_to_vec()
}

/// Field `number` of wire type 2.
pub(super) fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut out);
    prost::encoding::encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// A request around one packed item.
pub(super) fn wrapped(item: &[u8]) -> Vec<u8> {
    field(1, &field(2, &field(2, item)))
}
