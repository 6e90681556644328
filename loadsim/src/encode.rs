//! What happened, as OTLP.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, span};

use crate::dice::Dice;
use crate::topology::Call;
use crate::traffic::{Role, Span, Traffic};

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The memory that each instance of a service has.
const MEMORY_BYTES: f64 = 5e8;

/// The sender of some telemetry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sender {
    service: usize,
    instance: usize,
    version: String,
}

fn sender(traffic: &Traffic, span: &Span) -> Sender {
    let version = traffic.version(span.service, span.instance, span.start_ns).to_owned();
    Sender { service: span.service, instance: span.instance, version }
}

fn by_sender<'a>(traffic: &Traffic, spans: &'a [Span]) -> BTreeMap<Sender, Vec<&'a Span>> {
    let mut groups: BTreeMap<Sender, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        groups.entry(sender(traffic, span)).or_default().push(span);
    }
    groups
}

/// Spans as one export request, grouped by sender.
pub fn spans(traffic: &Traffic, spans: &[Span]) -> ExportTraceServiceRequest {
    let groups = by_sender(traffic, spans);
    let resource_spans = groups
        .into_iter()
        .map(|(sender, spans)| ResourceSpans {
            resource: Some(resource(traffic, &sender)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: spans.into_iter().map(|span| otlp_span(traffic, span)).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

/// The log records that belong to spans: an error for each failure where it arose, and some chatter.
pub fn logs(traffic: &Traffic, spans: &[Span], chatter: f64, dice: &mut Dice) -> ExportLogsServiceRequest {
    let groups = by_sender(traffic, spans);
    let mut resource_logs = Vec::new();
    for (sender, spans) in groups {
        let log_records: Vec<LogRecord> =
            spans.into_iter().filter_map(|span| log_record(span, chatter, dice)).collect();
        if !log_records.is_empty() {
            resource_logs.push(ResourceLogs {
                resource: Some(resource(traffic, &sender)),
                scope_logs: vec![ScopeLogs { scope: Some(scope()), log_records, ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            });
        }
    }
    ExportLogsServiceRequest { resource_logs }
}

/// Metrics of every service about spans it took since the last call: a delta request count, a delta latency
/// histogram, and gauges of memory and processor use.
pub fn metrics(
    traffic: &Traffic,
    spans: &[Span],
    (from_ns, to_ns): (u64, u64),
    dice: &mut Dice,
) -> ExportMetricsServiceRequest {
    let mut resource_metrics = Vec::new();
    for (sender, spans) in by_sender(traffic, spans) {
        let taken: Vec<&Span> =
            spans.into_iter().filter(|span| matches!(span.role, Role::Server | Role::Consumer(_))).collect();
        if taken.is_empty() {
            continue;
        }
        let gauge = |name: &str, unit: &str, value: f64| Metric {
            name: name.into(),
            unit: unit.into(),
            data: Some(metric::Data::Gauge(Gauge {
                data_points: vec![number(value, from_ns, to_ns, vec![])],
            })),
            ..Metric::default()
        };
        let failed = taken.iter().filter(|span| span.failure.is_some()).count();
        let counts = [("ok", taken.len() - failed), ("error", failed)];
        let requests = Metric {
            name: "app.requests".into(),
            unit: "{request}".into(),
            data: Some(metric::Data::Sum(Sum {
                data_points: counts
                    .iter()
                    .map(|(outcome, count)| {
                        number(*count as f64, from_ns, to_ns, vec![text("outcome", outcome)])
                    })
                    .collect(),
                aggregation_temporality: AggregationTemporality::Delta.into(),
                is_monotonic: true,
            })),
            ..Metric::default()
        };
        let (cpu, memory) = traffic.usage(sender.service, sender.instance, to_ns, dice);
        let metrics = vec![
            requests,
            histogram(&taken, from_ns, to_ns),
            gauge("process.memory.usage", "By", memory * MEMORY_BYTES),
            gauge("process.cpu.utilization", "1", cpu),
        ];
        resource_metrics.push(ResourceMetrics {
            resource: Some(resource(traffic, &sender)),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        });
    }
    ExportMetricsServiceRequest { resource_metrics }
}

fn histogram(taken: &[&Span], from_ns: u64, to_ns: u64) -> Metric {
    let mut bucket_counts = vec![0; BOUNDS.len() + 1];
    let mut sum = 0.0;
    for span in taken {
        let seconds = span.duration_ns as f64 / 1e9;
        sum += seconds;
        bucket_counts[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())] += 1;
    }
    let point = HistogramDataPoint {
        start_time_unix_nano: from_ns,
        time_unix_nano: to_ns,
        count: taken.len() as u64,
        sum: Some(sum),
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    };
    Metric {
        name: "http.server.request.duration".into(),
        unit: "s".into(),
        data: Some(metric::Data::Histogram(Histogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Delta.into(),
        })),
        ..Metric::default()
    }
}

/// A point of a gauge or sum.
pub(crate) fn number(value: f64, from_ns: u64, to_ns: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: from_ns,
        time_unix_nano: to_ns,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn log_record(span: &Span, chatter: f64, dice: &mut Dice) -> Option<LogRecord> {
    let own = span.failure.as_ref().filter(|failure| failure.own);
    let (severity_number, severity_text, body) = match own {
        Some(failure) => {
            (17, "ERROR", format!("{} failed: {}: {}", span.name, failure.kind, failure.message))
        }
        None if matches!(span.role, Role::Server) && dice.chance(chatter) => {
            let milliseconds = span.duration_ns as f64 / 1e6;
            (
                9,
                "INFO",
                format!("handled {} for user {} in {milliseconds:.1} ms", span.name, dice.below(100_000)),
            )
        }
        None => return None,
    };
    let mut attributes = vec![text("thread.name", "worker")];
    if let Some(failure) = own {
        attributes.push(text("exception.type", failure.kind));
        attributes.push(text("exception.message", &failure.message));
    }
    let time_unix_nano = span.start_ns + span.duration_ns;
    Some(LogRecord {
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano,
        severity_number,
        severity_text: severity_text.into(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(body)) }),
        attributes,
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        ..LogRecord::default()
    })
}

/// The resource of an instance of a service, with the version that it runs at an instant.
pub(crate) fn instance(traffic: &Traffic, service: usize, instance: usize, at_ns: u64) -> Resource {
    let version = traffic.version(service, instance, at_ns).to_owned();
    resource(traffic, &Sender { service, instance, version })
}

fn resource(traffic: &Traffic, sender: &Sender) -> Resource {
    let name = &traffic.topology().services[sender.service].name;
    let attributes = vec![
        text("service.name", name),
        text("service.version", &sender.version),
        text("service.instance.id", &format!("{name}-{}", sender.instance)),
        text("k8s.pod.name", &format!("{name}-{}", sender.instance)),
        text("deployment.environment.name", "production"),
        text("telemetry.sdk.language", "rust"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// The scope of all telemetry.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "loadsim".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

fn otlp_span(traffic: &Traffic, span: &Span) -> OtlpSpan {
    let (kind, attributes) = described(traffic, span);
    let events = span.failure.iter().filter(|failure| failure.own).map(|failure| span::Event {
        time_unix_nano: span.start_ns + span.duration_ns,
        name: "exception".into(),
        attributes: vec![text("exception.type", failure.kind), text("exception.message", &failure.message)],
        ..span::Event::default()
    });
    OtlpSpan {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        parent_span_id: span.parent_id.map(|id| id.to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: kind.into(),
        start_time_unix_nano: span.start_ns,
        end_time_unix_nano: span.start_ns + span.duration_ns,
        attributes,
        events: events.collect(),
        status: span.failure.as_ref().map(|failure| Status { message: failure.message.clone(), code: 2 }),
        flags: 0x101,
        ..OtlpSpan::default()
    }
}

fn described(traffic: &Traffic, span: &Span) -> (span::SpanKind, Vec<KeyValue>) {
    let failed = span.failure.is_some();
    let user = i64::from(u16::from_be_bytes([span.trace_id[0], span.trace_id[1]]));
    let code = if failed { 500 } else { 200 };
    match &span.role {
        Role::Server => {
            let (method, route) = span.name.split_once(' ').unwrap_or(("GET", "/"));
            let attributes = vec![
                text("http.request.method", method),
                text("http.route", route),
                text("url.path", &format!("{route}/{user}")),
                text("url.scheme", "http"),
                integer("http.response.status_code", code),
                text("network.protocol.version", "1.1"),
                text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) loadsim"),
                text("client.address", &format!("10.0.{}.{}", user % 256, span.instance)),
                integer("enduser.number", user),
            ];
            (span::SpanKind::Server, attributes)
        }
        Role::Consumer(destination) => (span::SpanKind::Consumer, messaging(destination, "process")),
        Role::Client(callee) => {
            let attributes = vec![
                text("http.request.method", &span.name),
                text("server.address", callee),
                integer("server.port", 8080),
                text("url.full", &format!("http://{callee}:8080/{user}")),
                integer("http.response.status_code", code),
                text("network.protocol.version", "1.1"),
                text("network.peer.address", &format!("10.1.{}.7", span.service % 256)),
                integer("http.request.body.size", 100 + user % 900),
            ];
            (span::SpanKind::Client, attributes)
        }
        Role::Dependency(Call::Database { system, namespace, statement }) => {
            let (operation, collection) = statement.split_once(' ').unwrap_or((statement, ""));
            let attributes = vec![
                text("db.system.name", system),
                text("db.namespace", namespace),
                text("db.operation.name", operation),
                text("db.collection.name", collection),
                text(
                    "db.query.text",
                    &format!("{operation} * FROM {collection} WHERE tenant = ? AND id = ?"),
                ),
                text("server.address", &format!("{system}.internal")),
                integer("server.port", 5432),
                integer("db.response.returned_rows", user % 50),
            ];
            (span::SpanKind::Client, attributes)
        }
        Role::Dependency(Call::Queue { destination, .. }) => {
            (span::SpanKind::Producer, messaging(destination, "send"))
        }
        Role::Dependency(Call::External { host }) => {
            let attributes = vec![
                text("http.request.method", "POST"),
                text("server.address", host),
                integer("server.port", 443),
                text("url.full", &format!("https://{host}/v2/{user}")),
                integer("http.response.status_code", if failed { 504 } else { 200 }),
            ];
            (span::SpanKind::Client, attributes)
        }
        Role::Dependency(Call::Service { service, .. }) => (
            span::SpanKind::Client,
            vec![text("server.address", &traffic.topology().services[*service].name)],
        ),
    }
}

fn messaging(destination: &str, operation: &str) -> Vec<KeyValue> {
    vec![
        text("messaging.system", "kafka"),
        text("messaging.destination.name", destination),
        text("messaging.operation.type", operation),
        text("messaging.client.id", "loadsim"),
        integer("messaging.kafka.offset", 42),
    ]
}

/// An attribute that is a text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.into()))
}

/// An attribute that is a whole number.
pub(crate) fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
