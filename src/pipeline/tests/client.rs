//! Clients of the simulation: what they send, and what they were told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::decode::{self, Encoding, Limits};
use crate::journal::tests::power::Dice;
use crate::model::batch::Signal;
use crate::model::tenant::{Scope, TenantId};
use crate::model::time::UnixNanos;
use crate::pipeline::{Handle, Submission};
use crate::store::rows::Commit;

/// When the simulated world begins; items are told apart by the nanoseconds that follow.
pub(super) const BEGIN: i64 = 1_700_000_000_000_000_000;
/// Items of one request at most.
const ITEMS_MAX: u64 = 6;

/// The two tenants; an item with an odd number belongs to the second.
pub(super) fn tenant(number: u64) -> TenantId {
    TenantId::try_from(if number.is_multiple_of(2) { "even" } else { "odd" }).unwrap()
}

/// What became of an item, as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, or that it was refused.
    Nothing,
    /// It was accepted.
    Accepted,
}

/// All items that were ever sent, by number.
pub(super) type Ledger = Arc<Mutex<BTreeMap<u64, (Signal, Told)>>>;

/// One client: sends until it is dropped.
pub(super) async fn client(handle: Handle, ledger: Ledger, mut dice: Dice) {
    loop {
        tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
        let signal = Signal::ALL[dice.below(3) as usize];
        let count = dice.below(ITEMS_MAX) + 1;
        let numbers: Vec<u64> = {
            let mut ledger = ledger.lock().unwrap();
            let tenant = dice.below(2);
            let first = ledger.last_key_value().map_or(0, |(last, _)| last / 2 + 1) * 2 + tenant;
            let numbers: Vec<u64> = (0..count).map(|place| first + place * 2).collect();
            ledger.extend(numbers.iter().map(|number| (*number, (signal, Told::Nothing))));
            numbers
        };
        let mut sent = send(&handle, signal, &numbers).await;
        // A client that was refused or heard nothing sends the same again; spans are known by their ids.
        while !sent && signal == Signal::Traces && dice.chance(70) {
            tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
            sent = send(&handle, signal, &numbers).await;
        }
        if sent {
            let told = numbers.iter().map(|number| (*number, (signal, Told::Accepted)));
            ledger.lock().unwrap().extend(told);
        }
        // Now and then a client that was told so sends its spans once more all the same: its answer was lost.
        if sent && signal == Signal::Traces && dice.chance(5) {
            send(&handle, signal, &numbers).await;
        }
    }
}

/// Sends items with these numbers; whether they were accepted.
pub(super) async fn send(handle: &Handle, signal: Signal, numbers: &[u64]) -> bool {
    let body = match signal {
        Signal::Traces => traces(numbers),
        Signal::Logs => logs(numbers),
        Signal::Metrics => metrics(numbers),
    };
    let (body, received) = (body.into(), UnixNanos(BEGIN));
    let decoded = decode::decode(signal, Encoding::Protobuf, &body, received, &Limits::default()).unwrap();
    assert_eq!(decoded.batch.items(), numbers.len());
    let submission = Submission { encoding: Encoding::Protobuf, received, body, batch: decoded.batch };
    handle.accept(&Scope::authorized(tenant(numbers[0])), submission).await.is_ok()
}

fn time(number: u64) -> u64 {
    BEGIN as u64 + number
}

/// Spans of one trace share its first number's ids.
fn traces(numbers: &[u64]) -> Vec<u8> {
    let trace = numbers[0] / 16;
    let span = |number: &u64| Span {
        trace_id: [1_u64.to_be_bytes(), trace.to_be_bytes()].concat(),
        span_id: (number + 1).to_be_bytes().to_vec(),
        name: "work".to_owned(),
        kind: 2,
        start_time_unix_nano: time(*number),
        end_time_unix_nano: time(*number) + number,
        ..Span::default()
    };
    let scope = ScopeSpans { spans: numbers.iter().map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

fn logs(numbers: &[u64]) -> Vec<u8> {
    let record = |number: &u64| LogRecord {
        time_unix_nano: time(*number),
        severity_number: 9,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(format!("line {number}"))) }),
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: numbers.iter().map(record).collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

fn metrics(numbers: &[u64]) -> Vec<u8> {
    let point = |number: &u64| NumberDataPoint {
        time_unix_nano: time(*number),
        value: Some(number_data_point::Value::AsInt(*number as i64)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: numbers.iter().map(point).collect() };
    let metric =
        Metric { name: "level".to_owned(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

/// What is stored: of each item its signal, as what it came back, and the number of its tenant.
pub(super) fn stored(commit: &Commit) -> Vec<(u64, Signal, u32)> {
    let number = |time: UnixNanos| (time.0 - BEGIN) as u64;
    let spans = commit.spans.iter().map(|span| {
        let number = number(span.start);
        assert_eq!(span.duration_ns, number, "a span was altered");
        (number, Signal::Traces, span.tenant.0)
    });
    let logs = commit.logs.iter().map(|log| {
        let number = number(log.time);
        assert_eq!(log.detail.body_text(), format!("line {number}"), "a log record was altered");
        (number, Signal::Logs, log.tenant.0)
    });
    let points = commit.points.iter().map(|row| {
        let number = number(row.point.time);
        (number, Signal::Metrics, row.tenant.0)
    });
    spans.chain(logs).chain(points).collect()
}
