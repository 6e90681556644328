//! Requests as OTLP/JSON text, written without the tables that the decoder reads by. Names come out sorted by the
//! alphabet, so that the order of fields differs from protobuf's.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Metric, NumberDataPoint, exemplar, number_data_point,
};
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, HistogramDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use serde_json::{Value, json};

pub(in crate::decode) fn traces(request: &ExportTraceServiceRequest) -> String {
    let groups = list(&request.resource_spans, |group| {
        json!({
            "resource": group.resource.as_ref().map(resource),
            "scopeSpans": list(&group.scope_spans, |inner| json!({
                "scope": inner.scope.as_ref().map(scope),
                "spans": list(&inner.spans, span),
                "schemaUrl": inner.schema_url,
            })),
            "schemaUrl": group.schema_url,
        })
    });
    json!({ "resourceSpans": groups }).to_string()
}

pub(in crate::decode) fn logs(request: &ExportLogsServiceRequest) -> String {
    let groups = list(&request.resource_logs, |group| {
        json!({
            "resource": group.resource.as_ref().map(resource),
            "scopeLogs": list(&group.scope_logs, |inner| json!({
                "scope": inner.scope.as_ref().map(scope),
                "logRecords": list(&inner.log_records, |record| json!({
                    "timeUnixNano": record.time_unix_nano.to_string(),
                    "observedTimeUnixNano": record.observed_time_unix_nano,
                    "severityNumber": record.severity_number,
                    "severityText": record.severity_text,
                    "body": record.body.as_ref().map(any),
                    "attributes": list(&record.attributes, attribute),
                    "droppedAttributesCount": record.dropped_attributes_count,
                    "flags": record.flags,
                    "traceId": hex(&record.trace_id),
                    "spanId": hex(&record.span_id),
                    "eventName": record.event_name,
                })),
                "schemaUrl": inner.schema_url,
            })),
            "schemaUrl": group.schema_url,
        })
    });
    json!({ "resourceLogs": groups }).to_string()
}

pub(in crate::decode) fn metrics(request: &ExportMetricsServiceRequest) -> String {
    let groups = list(&request.resource_metrics, |group| {
        json!({
            "resource": group.resource.as_ref().map(resource),
            "scopeMetrics": list(&group.scope_metrics, |inner| json!({
                "scope": inner.scope.as_ref().map(scope),
                "metrics": list(&inner.metrics, metric),
                "schemaUrl": inner.schema_url,
            })),
            "schemaUrl": group.schema_url,
        })
    });
    json!({ "resourceMetrics": groups }).to_string()
}

fn list<T>(items: &[T], write: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(write).collect())
}

fn hex(id: &[u8]) -> String {
    id.iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { format!("{byte:02x}") } else { format!("{byte:02X}") })
        .collect()
}

fn double(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn any(value: &AnyValue) -> Value {
    use base64::Engine;
    match &value.value {
        None => json!({}),
        Some(any_value::Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(any_value::Value::BoolValue(flag)) => json!({ "boolValue": flag }),
        Some(any_value::Value::IntValue(number)) => json!({ "intValue": number.to_string() }),
        Some(any_value::Value::DoubleValue(number)) => json!({ "doubleValue": double(*number) }),
        Some(any_value::Value::ArrayValue(array)) => {
            json!({ "arrayValue": { "values": list(&array.values, any) } })
        }
        Some(any_value::Value::KvlistValue(map)) => {
            json!({ "kvlistValue": { "values": list(&map.values, attribute) } })
        }
        Some(any_value::Value::BytesValue(bytes)) => {
            json!({ "bytesValue": base64::engine::general_purpose::STANDARD.encode(bytes) })
        }
        // Only profiles have it; by this name a reader can tell that it was there.
        Some(any_value::Value::StringValueStrindex(index)) => json!({ "stringValueStrindex": index }),
    }
}

fn attribute(entry: &KeyValue) -> Value {
    json!({ "key": entry.key, "value": entry.value.as_ref().map(any) })
}

fn resource(resource: &Resource) -> Value {
    json!({
        "attributes": list(&resource.attributes, attribute),
        "droppedAttributesCount": resource.dropped_attributes_count,
    })
}

fn scope(scope: &InstrumentationScope) -> Value {
    json!({
        "name": scope.name,
        "version": scope.version,
        "attributes": list(&scope.attributes, attribute),
        "droppedAttributesCount": scope.dropped_attributes_count,
    })
}

fn span(span: &Span) -> Value {
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "traceState": span.trace_state,
        "parentSpanId": hex(&span.parent_span_id),
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": list(&span.attributes, attribute),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": list(&span.events, event),
        "droppedEventsCount": span.dropped_events_count,
        "links": list(&span.links, link),
        "droppedLinksCount": span.dropped_links_count,
        "status": span.status.as_ref().map(|status| json!({ "message": status.message, "code": status.code })),
    })
}

fn event(event: &span::Event) -> Value {
    json!({
        "timeUnixNano": event.time_unix_nano.to_string(),
        "name": event.name,
        "attributes": list(&event.attributes, attribute),
        "droppedAttributesCount": event.dropped_attributes_count,
    })
}

fn link(link: &span::Link) -> Value {
    json!({
        "traceId": hex(&link.trace_id),
        "spanId": hex(&link.span_id),
        "traceState": link.trace_state,
        "attributes": list(&link.attributes, attribute),
        "droppedAttributesCount": link.dropped_attributes_count,
        "flags": link.flags,
    })
}

fn metric(metric: &Metric) -> Value {
    let mut value = json!({
        "name": metric.name,
        "description": metric.description,
        "unit": metric.unit,
        "metadata": list(&metric.metadata, attribute),
    });
    let (name, data) = match &metric.data {
        None => return value,
        Some(Data::Gauge(data)) => ("gauge", json!({ "dataPoints": list(&data.data_points, number) })),
        Some(Data::Sum(data)) => (
            "sum",
            json!({
                "dataPoints": list(&data.data_points, number),
                "aggregationTemporality": data.aggregation_temporality,
                "isMonotonic": data.is_monotonic,
            }),
        ),
        Some(Data::Histogram(data)) => (
            "histogram",
            json!({
                "aggregationTemporality": data.aggregation_temporality,
                "dataPoints": list(&data.data_points, histogram_point),
            }),
        ),
        Some(Data::ExponentialHistogram(data)) => (
            "exponentialHistogram",
            json!({
                "aggregationTemporality": data.aggregation_temporality,
                "dataPoints": list(&data.data_points, exponential_point),
            }),
        ),
        Some(Data::Summary(data)) => (
            "summary",
            json!({ "dataPoints": list(&data.data_points, |point| json!({
                "attributes": list(&point.attributes, attribute),
                "startTimeUnixNano": point.start_time_unix_nano,
                "timeUnixNano": point.time_unix_nano,
                "count": point.count,
                "sum": double(point.sum),
                "quantileValues": list(&point.quantile_values, |pair| json!({
                    "quantile": double(pair.quantile),
                    "value": double(pair.value),
                })),
                "flags": point.flags,
            })) }),
        ),
    };
    value[name] = data;
    value
}

fn histogram_point(point: &HistogramDataPoint) -> Value {
    json!({
        "attributes": list(&point.attributes, attribute),
        "startTimeUnixNano": point.start_time_unix_nano,
        "timeUnixNano": point.time_unix_nano,
        "count": point.count.to_string(),
        "sum": point.sum.map(double),
        "bucketCounts": list(&point.bucket_counts, |count| json!(count.to_string())),
        "explicitBounds": list(&point.explicit_bounds, |bound| double(*bound)),
        "exemplars": list(&point.exemplars, exemplar),
        "flags": point.flags,
        "min": point.min.map(double),
        "max": point.max.map(double),
    })
}

fn exponential_point(point: &ExponentialHistogramDataPoint) -> Value {
    json!({
        "attributes": list(&point.attributes, attribute),
        "startTimeUnixNano": point.start_time_unix_nano,
        "timeUnixNano": point.time_unix_nano,
        "count": point.count,
        "sum": point.sum.map(double),
        "scale": point.scale,
        "zeroCount": point.zero_count.to_string(),
        "positive": point.positive.as_ref().map(buckets),
        "negative": point.negative.as_ref().map(buckets),
        "flags": point.flags,
        "exemplars": list(&point.exemplars, exemplar),
        "min": point.min.map(double),
        "max": point.max.map(double),
        "zeroThreshold": double(point.zero_threshold),
    })
}

fn number(point: &NumberDataPoint) -> Value {
    json!({
        "attributes": list(&point.attributes, attribute),
        "startTimeUnixNano": point.start_time_unix_nano,
        "timeUnixNano": point.time_unix_nano,
        "asDouble": match point.value { Some(number_data_point::Value::AsDouble(value)) => double(value), _ => Value::Null },
        "asInt": match point.value { Some(number_data_point::Value::AsInt(value)) => json!(value), _ => Value::Null },
        "exemplars": list(&point.exemplars, exemplar),
        "flags": point.flags,
    })
}

fn buckets(side: &Buckets) -> Value {
    json!({ "offset": side.offset, "bucketCounts": side.bucket_counts })
}

fn exemplar(exemplar: &Exemplar) -> Value {
    json!({
        "filteredAttributes": list(&exemplar.filtered_attributes, attribute),
        "timeUnixNano": exemplar.time_unix_nano,
        "asDouble": match exemplar.value { Some(exemplar::Value::AsDouble(value)) => double(value), _ => Value::Null },
        "asInt": match exemplar.value { Some(exemplar::Value::AsInt(value)) => json!(value), _ => Value::Null },
        "spanId": hex(&exemplar.span_id),
        "traceId": hex(&exemplar.trace_id),
    })
}
