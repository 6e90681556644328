//! Clients of the simulation: what they send, and what they were told.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::model::batch::{Batch, Signal};
use crate::model::tenant::{Scope, TenantId};
use crate::model::time::UnixNanos;
use crate::pipeline::queue::Source;
use crate::pipeline::{Error, Handle, Submission};
use crate::store::rows::Commit;

/// When the simulated world begins; items are told apart by the nanoseconds that follow.
pub(super) const BEGIN: i64 = 1_700_000_000_000_000_000;
/// Items of one request at most.
pub(super) const ITEMS_MAX: u64 = 6;

/// How clients send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// Milliseconds between two requests at most.
    pub(super) pause_max: u64,
    /// Milliseconds of a rest that one takes now and then; 0 for none.
    pub(super) rest_max: u64,
    /// Items of one request at most.
    pub(super) items_max: u64,
}

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

/// What was ever sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// All items, by number, and what their senders were told.
    pub(super) items: BTreeMap<u64, (Signal, Told)>,
    /// Bytes of memory of each item: its part of those that the least of its requests took.
    pub(super) bytes: BTreeMap<u64, usize>,
    /// Bytes of memory that a request took at most.
    pub(super) bytes_max: usize,
    /// What was sent again out of letters, and nobody knows what became of it.
    pub(super) again: BTreeSet<u64>,
}

/// What was ever sent; clones are the same.
pub(super) type Ledger = Arc<Mutex<Sent>>;

/// One client: sends until it is dropped.
pub(super) async fn client(handle: Handle, ledger: Ledger, habits: Habits, mut dice: Dice) {
    let Habits { pause_max, rest_max, items_max } = habits;
    loop {
        tokio::time::sleep(Duration::from_millis(dice.below(pause_max))).await;
        if rest_max > 0 && dice.chance(5) {
            tokio::time::sleep(Duration::from_millis(dice.below(rest_max))).await;
        }
        let signal = Signal::ALL[dice.below(3) as usize];
        let count = dice.below(items_max) + 1;
        let numbers: Vec<u64> = {
            let mut ledger = ledger.lock().unwrap();
            let tenant = dice.below(2);
            let first = ledger.items.last_key_value().map_or(0, |(last, _)| last / 2 + 1) * 2 + tenant;
            let numbers: Vec<u64> = (0..count).map(|place| first + place * 2).collect();
            ledger.items.extend(numbers.iter().map(|number| (*number, (signal, Told::Nothing))));
            numbers
        };
        let mut sent = send(&handle, &ledger, signal, &numbers).await;
        // A client that was refused or heard nothing sends the same again; spans are known by their ids.
        while !sent && signal == Signal::Traces && dice.chance(70) {
            tokio::time::sleep(Duration::from_millis(dice.below(200))).await;
            sent = send(&handle, &ledger, signal, &numbers).await;
        }
        if sent {
            let told = numbers.iter().map(|number| (*number, (signal, Told::Accepted)));
            ledger.lock().unwrap().items.extend(told);
        }
        // Now and then a client that was told so sends its spans once more all the same: its answer was lost.
        if sent && signal == Signal::Traces && dice.chance(5) {
            send(&handle, &ledger, signal, &numbers).await;
        }
    }
}

/// Sends items with these numbers; whether they were accepted.
pub(super) async fn send(handle: &Handle, ledger: &Ledger, signal: Signal, numbers: &[u64]) -> bool {
    let body = match signal {
        Signal::Traces => traces(numbers),
        Signal::Logs => logs(numbers),
        Signal::Metrics => metrics(numbers),
    };
    let body = Source { encoding: Encoding::Protobuf, received: UnixNanos(BEGIN), body: body.into() };
    let batch = decoded(signal, &body);
    assert_eq!(self::numbers(&batch), numbers);
    submit(handle, ledger, body, batch).await.is_ok()
}

/// What a request holds.
pub(super) fn decoded(signal: Signal, source: &Source) -> Batch {
    let Source { encoding, received, ref body } = *source;
    decode::decode(signal, encoding, body, received, &Limits::default()).unwrap().batch
}

/// Sends a request.
pub(super) async fn submit(
    handle: &Handle,
    ledger: &Ledger,
    source: Source,
    batch: Batch,
) -> Result<(), Error> {
    let (bytes, numbers) = (source.bytes_with(&batch), numbers(&batch));
    {
        let mut ledger = ledger.lock().unwrap();
        ledger.bytes_max = ledger.bytes_max.max(bytes);
        for number in &numbers {
            let of_item = ledger.bytes.entry(*number).or_insert(bytes);
            *of_item = (bytes / numbers.len()).min(*of_item);
        }
    }
    let Source { encoding, received, body } = source;
    let scope = Scope::authorized(tenant(numbers[0]));
    handle.accept(&scope, Submission { encoding, received, body, batch }).await
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

pub(super) fn logs(numbers: &[u64]) -> Vec<u8> {
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

/// The number of an item of this time.
fn number(time: UnixNanos) -> u64 {
    (time.0 - BEGIN) as u64
}

/// The numbers of the items of a request.
pub(super) fn numbers(batch: &Batch) -> Vec<u64> {
    let times: Vec<UnixNanos> = match batch {
        Batch::Traces(groups) => {
            groups.iter().flat_map(|group| &group.items).map(|span| span.start).collect()
        }
        Batch::Logs(groups) => {
            groups.iter().flat_map(|group| &group.items).map(|record| record.time).collect()
        }
        Batch::Metrics(groups) => {
            let metrics = groups.iter().flat_map(|group| &group.items);
            metrics.flat_map(|metric| &metric.points).map(|point| point.time).collect()
        }
    };
    times.into_iter().map(number).collect()
}

/// What is stored: of each item its signal, as what it came back, and the number of its tenant.
pub(super) fn stored(commit: &Commit) -> Vec<(u64, Signal, u32)> {
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
