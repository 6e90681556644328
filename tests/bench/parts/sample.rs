//! The telemetry that the parts work on: traces of a shop, lines of 24 templates, points of four metrics.

use std::iter;

use anyhow::{Context, Result};
use bytes::Bytes;
use loadsim::dice::Dice;
use loadsim::encode;
use loadsim::topology::Topology;
use loadsim::traffic::{Span, Traffic};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcontext::decode::{Encoding, Limits, decode};
use otelcontext::model::batch::{Batch, Signal};
use otelcontext::model::time::UnixNanos;
use prost::Message;
use serde::Serialize;

use crate::log_lines;

/// Spans of a request, and about as many records or points.
pub(crate) const ITEMS: usize = 4_096;
/// When a request is received.
pub(crate) const RECEIVED: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

/// When the first of it happened.
const BEGUN_NS: u64 = 1_799_999_990_000_000_000;
/// Between two requests from outside.
const PAUSE_NS: u64 = 10_000_000;
/// Points that are made of each, of other routes.
const ROUTES: usize = 40;

/// What log records have in their bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// A line.
    Lines,
    /// A JSON object of ten values.
    Objects,
}

/// A request as it comes.
pub(crate) fn body(signal: Signal, encoding: Encoding) -> Result<Bytes> {
    match signal {
        Signal::Traces => encoded(&spans(), encoding),
        Signal::Logs => encoded(&logs(Bodies::Lines), encoding),
        Signal::Metrics => encoded(&points(), encoding),
    }
}

/// What a request holds.
pub(crate) fn batch(signal: Signal) -> Result<Batch> {
    decoded(signal, &body(signal, Encoding::Protobuf)?)
}

/// Log records with such bodies.
pub(crate) fn log_batch(bodies: Bodies) -> Result<Batch> {
    decoded(Signal::Logs, &encoded(&logs(bodies), Encoding::Protobuf)?)
}

/// As many lines as a request has.
pub(crate) fn lines() -> Vec<String> {
    let mut dice = Dice::new(5);
    (0..ITEMS).map(|_| line(&mut dice)).collect()
}

fn decoded(signal: Signal, body: &Bytes) -> Result<Batch> {
    let decoded = decode(signal, Encoding::Protobuf, body, RECEIVED, &Limits::default())?;
    Ok(decoded.batch)
}

fn encoded(request: &(impl Message + Serialize), encoding: Encoding) -> Result<Bytes> {
    match encoding {
        Encoding::Protobuf => Ok(request.encode_to_vec().into()),
        Encoding::Json => Ok(serde_json::to_vec(request).context("a request as JSON")?.into()),
    }
}

/// What the shop did, and who did it.
fn played() -> (Traffic, Vec<Span>) {
    let mut traffic = Traffic::new(Topology::shop(), Vec::new(), 1);
    let mut spans = Vec::new();
    for at in (BEGUN_NS..).step_by(PAUSE_NS as usize) {
        if spans.len() >= ITEMS {
            break;
        }
        traffic.request(at, &mut spans);
    }
    spans.truncate(ITEMS);
    (traffic, spans)
}

fn spans() -> ExportTraceServiceRequest {
    let (traffic, spans) = played();
    encode::spans(&traffic, &spans)
}

/// A record for each span, of its sender; each third one belongs to the span.
fn logs(bodies: Bodies) -> ExportLogsServiceRequest {
    let mut dice = Dice::new(7);
    let groups = spans().resource_spans.into_iter().map(|group| {
        let scope_logs = group.scope_spans.into_iter().map(|group| {
            let records = group.spans.into_iter().map(|span| {
                let is_of_span = dice.chance(1.0 / 3.0);
                let (trace_id, span_id) =
                    if is_of_span { (span.trace_id, span.span_id) } else { Default::default() };
                LogRecord {
                    time_unix_nano: span.start_time_unix_nano,
                    observed_time_unix_nano: span.start_time_unix_nano,
                    severity_number: *dice.pick(&[5, 9, 9, 9, 9, 9, 9, 13, 17]),
                    body: Some(any(Value::StringValue(content(bodies, &mut dice)))),
                    attributes: vec![
                        text("logger.name", "com.shop.jobs.Job"),
                        text("thread.name", &format!("worker-{}", dice.below(64))),
                        text("customer.id", &format!("customer-{}", dice.below(100_000))),
                        KeyValue {
                            key: "thread.id".into(),
                            value: Some(any(Value::IntValue(17))),
                            ..KeyValue::default()
                        },
                    ],
                    trace_id,
                    span_id,
                    ..LogRecord::default()
                }
            });
            ScopeLogs { scope: group.scope, log_records: records.collect(), ..ScopeLogs::default() }
        });
        let scope_logs = scope_logs.collect();
        ResourceLogs { resource: group.resource, scope_logs, ..ResourceLogs::default() }
    });
    ExportLogsServiceRequest { resource_logs: groups.collect() }
}

fn content(bodies: Bodies, dice: &mut Dice) -> String {
    let line = line(dice);
    if bodies == Bodies::Lines {
        return line;
    }
    serde_json::json!({
        "time": "2027-01-15T08:00:00.123Z",
        "level": dice.pick(&["info", "warn", "error"]),
        "msg": line,
        "logger": "com.shop.jobs.Job",
        "user": dice.below(100_000),
        "elapsed_ms": dice.share() * 100.0,
        "cached": dice.chance(0.5),
        "http": { "method": "GET", "status": 200, "path": "/orders/7" },
    })
    .to_string()
}

fn line(dice: &mut Dice) -> String {
    let template = dice.below(log_lines::TEMPLATES.len());
    log_lines::line(template, &mut |bound| dice.word() % bound)
}

/// The metrics of the shop, a point of each series for each of some routes.
fn points() -> ExportMetricsServiceRequest {
    let (traffic, spans) = played();
    let mut dice = Dice::new(9);
    let mut request = encode::metrics(&traffic, &spans, (BEGUN_NS, BEGUN_NS + 10_000_000_000), &mut dice);
    let groups = request.resource_metrics.iter_mut().flat_map(|group| &mut group.scope_metrics);
    for metric in groups.flat_map(|group| &mut group.metrics) {
        match &mut metric.data {
            Some(Data::Gauge(gauge)) => spread(&mut gauge.data_points, |point| &mut point.attributes),
            Some(Data::Sum(sum)) => spread(&mut sum.data_points, |point| &mut point.attributes),
            Some(Data::Histogram(histogram)) => {
                spread(&mut histogram.data_points, |point| &mut point.attributes);
            }
            _ => {}
        }
    }
    request
}

/// Puts a point of each route in the place of each.
fn spread<P: Clone>(points: &mut Vec<P>, attributes: impl Fn(&mut P) -> &mut Vec<KeyValue>) {
    let spread = points.drain(..).flat_map(|point| iter::repeat_n(point, ROUTES).enumerate());
    let spread = spread.map(|(route, mut point)| {
        attributes(&mut point).extend([
            text("http.request.method", ["GET", "POST"][route % 2]),
            text("http.route", &format!("/api/v1/orders/{route}")),
        ]);
        point
    });
    *points = spread.collect::<Vec<P>>();
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(Value::StringValue(value.into()))), ..KeyValue::default() }
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}
