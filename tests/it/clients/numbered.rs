//! Records with a number: who sent them, who passed them on and who stored them can be compared one by one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use loadsim::send::{Options, Outcome, Protocol, Request, Sender, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::client::{request, span, text};
use crate::server::Server;

pub(super) const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// How often each number is there.
pub(super) type Copies = BTreeMap<u64, u64>;

/// Records of a request.
const EACH: u64 = 10;
/// The time between two requests of a signal.
const PACE: Duration = Duration::from_millis(10);

/// A request of the records with these numbers.
fn numbered(signal: Signal, numbers: RangeInclusive<u64>) -> Request {
    let items = numbers.clone().count() as u64;
    let now = loadsim::run::unix_nanos();
    let shop = Resource { attributes: vec![text("service.name", "shop")], ..Resource::default() };
    let resource = Some(shop);
    match signal {
        Signal::Traces => {
            let spans = numbers.map(|number| Span {
                trace_id: u128::from(number).to_be_bytes().to_vec(),
                span_id: number.to_be_bytes().to_vec(),
                ..span(0, 0, None, "POST /orders", 2)
            });
            Request::traces(&request("shop", spans.collect()))
        }
        Signal::Logs => {
            let record = |number: u64| LogRecord {
                time_unix_nano: now,
                severity_number: 9,
                body: Some(AnyValue {
                    value: Some(any_value::Value::StringValue(format!("order {number} taken"))),
                }),
                trace_id: u128::from(number).to_be_bytes().to_vec(),
                span_id: number.to_be_bytes().to_vec(),
                ..LogRecord::default()
            };
            let scope = ScopeLogs { log_records: numbers.map(record).collect(), ..ScopeLogs::default() };
            let resource = ResourceLogs { resource, scope_logs: vec![scope], ..ResourceLogs::default() };
            Request::logs(&ExportLogsServiceRequest { resource_logs: vec![resource] })
        }
        Signal::Metrics => {
            let point = |number: u64| NumberDataPoint {
                time_unix_nano: now + number % EACH,
                value: Some(number_data_point::Value::AsInt(number.cast_signed())),
                ..NumberDataPoint::default()
            };
            let gauge = Gauge { data_points: numbers.map(point).collect() };
            let data = Some(metric::Data::Gauge(gauge));
            let metric = Metric { name: "shop.order".into(), data, ..Metric::default() };
            let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
            let resource =
                ResourceMetrics { resource, scope_metrics: vec![scope], ..ResourceMetrics::default() };
            Request::metrics(&ExportMetricsServiceRequest { resource_metrics: vec![resource] }, items)
        }
    }
}

/// The numbers of the records in a message.
pub(super) fn numbers(signal: Signal, message: &[u8]) -> Vec<u64> {
    let number = |id: Vec<u8>| u64::from_be_bytes(id.try_into().unwrap());
    match signal {
        Signal::Traces => {
            let message = ExportTraceServiceRequest::decode(message).unwrap();
            let scopes = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            scopes.flat_map(|scope| scope.spans).map(|span| number(span.span_id)).collect()
        }
        Signal::Logs => {
            let message = ExportLogsServiceRequest::decode(message).unwrap();
            let scopes = message.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| number(record.span_id)).collect()
        }
        Signal::Metrics => {
            let message = ExportMetricsServiceRequest::decode(message).unwrap();
            let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
            let points = scopes.flat_map(|scope| scope.metrics).flat_map(|metric| match metric.data {
                Some(metric::Data::Gauge(gauge)) => gauge.data_points,
                data => panic!("{data:?}"),
            });
            let value = |point: NumberDataPoint| match point.value {
                Some(number_data_point::Value::AsInt(value)) => value.cast_unsigned(),
                value => panic!("{value:?}"),
            };
            points.map(value).collect()
        }
    }
}

/// A client that sends one request of each signal at every turn, with the numbers from one on, and each again until it is
/// acknowledged. It ends with the runtime.
pub(super) struct Load {
    acknowledged: [Arc<AtomicU64>; 3],
    ended: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(endpoint: String, protocol: Protocol) -> Self {
        let options = Options {
            endpoint,
            protocol,
            tenant: String::new(),
            api_key: String::new(),
            timeout: Duration::from_secs(10),
            retry_for: crate::server::PATIENCE,
        };
        let sender = Sender::new(&options).unwrap();
        let acknowledged: [Arc<AtomicU64>; 3] = Default::default();
        let ended = Arc::new(AtomicBool::new(false));
        let tasks = SIGNALS.into_iter().zip(&acknowledged).map(|(signal, acknowledged)| {
            tokio::spawn(keep_sending(signal, sender.clone(), Arc::clone(acknowledged), Arc::clone(&ended)))
        });
        let tasks = tasks.collect();
        Self { acknowledged, ended, tasks }
    }

    /// The highest number that was acknowledged, for each signal; all before it were, too.
    pub(super) fn acknowledged(&self) -> [u64; 3] {
        self.acknowledged.each_ref().map(|highest| highest.load(Ordering::SeqCst))
    }

    /// Ends it when what is under way is acknowledged; answers as [`Load::acknowledged`].
    pub(super) async fn end(mut self) -> [u64; 3] {
        self.ended.store(true, Ordering::SeqCst);
        for task in std::mem::take(&mut self.tasks) {
            task.await.unwrap();
        }
        self.acknowledged()
    }
}

async fn keep_sending(signal: Signal, sender: Sender, acknowledged: Arc<AtomicU64>, ended: Arc<AtomicBool>) {
    let mut turns = tokio::time::interval(PACE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !ended.load(Ordering::SeqCst) {
        turns.tick().await;
        let before = acknowledged.load(Ordering::SeqCst);
        let delivery = sender.deliver(&numbered(signal, before + 1..=before + EACH)).await;
        assert_eq!(delivery.outcome, Outcome::Acknowledged { rejected: 0 }, "{signal:?} after {before}");
        acknowledged.store(before + EACH, Ordering::SeqCst);
    }
}

/// How often the server stored each number.
pub(super) async fn stored(server: &Server, signal: Signal) -> Copies {
    const ROWS_MAX: usize = 10_000;
    let (view, column) = match signal {
        Signal::Traces => ("v_spans", "span_id"),
        Signal::Logs => ("v_logs", "span_id"),
        Signal::Metrics => ("v_points", "value"),
    };
    let client = reqwest::Client::new();
    let mut copies = Copies::new();
    loop {
        let last = copies.last_key_value().map_or(0, |(number, _)| *number);
        let last = if column == "value" { last.to_string() } else { format!("'{last:016x}'") };
        let statement = format!(
            "SELECT {column}, count(*) FROM {view} WHERE {column} > {last} GROUP BY {column} ORDER BY {column} \
             LIMIT {ROWS_MAX}"
        );
        let asked = client.post(format!("http://{}/api/v1/sql", server.http));
        let asked = asked.header("content-type", "application/sql").body(statement);
        let table: Value = asked.send().await.unwrap().json().await.unwrap();
        let rows = table["rows"].as_array().unwrap_or_else(|| panic!("{table}"));
        copies.extend(rows.iter().map(|row| {
            let number = row[0].as_str().map_or_else(
                || row[0].as_u64().or_else(|| row[0].as_f64().map(|number| number as u64)).unwrap(),
                |id| u64::from_str_radix(id, 16).unwrap(),
            );
            (number, row[1].as_u64().unwrap())
        }));
        if rows.len() < ROWS_MAX {
            return copies;
        }
    }
}
