//! The doors from outside: a real socket, a fake pipeline.

mod grpc;
mod http;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message;
use tokio::net::TcpListener;

use crate::auth;
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

use super::*;

const KEY: &str = "s3cret-key";
const NOW: UnixNanos = UnixNanos::from_seconds(1_790_000_000);

/// Remembers what it accepted, or refuses everything.
#[derive(Clone, Default)]
struct Fake {
    accepted: Arc<Mutex<Vec<(String, Submission)>>>,
    refusal: Arc<Mutex<Option<Kind>>>,
}

impl Accept for Fake {
    fn accept<'a>(&'a self, scope: &'a Scope, submission: Submission) -> Accepting<'a> {
        Box::pin(async move {
            if let Some(kind) = *self.refusal.lock().unwrap() {
                return Err(kind);
            }
            self.accepted.lock().unwrap().push((scope.tenant().to_string(), submission));
            Ok(())
        })
    }
}

impl Fake {
    fn items(&self) -> usize {
        self.accepted.lock().unwrap().iter().map(|(_, submission)| submission.batch.items()).sum()
    }

    fn refuse(&self, kind: Option<Kind>) {
        *self.refusal.lock().unwrap() = kind;
    }
}

struct Server {
    http: SocketAddr,
    grpc: SocketAddr,
    pipeline: Fake,
    receive: Receive,
    budget: Budget,
}

impl Server {
    async fn start(api_key: Option<&str>, options: Options, budget: Budget) -> Self {
        let default_tenant = TenantId::try_from("default").unwrap();
        let authenticator = auth::Options {
            api_key: api_key.map(str::to_owned),
            key_file: None,
            external: None,
            default_tenant,
            questions_per_second: 0,
        };
        let authenticator = Authenticator::new(authenticator, Clock::standing(NOW)).unwrap();
        let pipeline = Fake::default();
        loadsim::send::encrypt();
        let clock = Clock::standing(NOW);
        let receive = Receive::new(options, authenticator, budget.clone(), pipeline.clone(), clock);
        let http = listen(receive.router_http_only()).await;
        let grpc = listen(receive.router_grpc()).await;
        Self { http, grpc, pipeline, receive, budget }
    }

    async fn open() -> Self {
        Self::start(None, Options::default(), Budget::new(u64::MAX)).await
    }

    async fn small(request_bytes_max: usize) -> Self {
        let options = Options { request_bytes_max, ..Options::default() };
        Self::start(None, options, Budget::new(u64::MAX)).await
    }

    /// All counters that are not zero, as `name{label,…}`.
    fn counted(&self) -> BTreeMap<String, u64> {
        let name = |name: &str, labels: Vec<(&str, &str)>| {
            let labels: Vec<&str> = labels.into_iter().map(|(_, value)| value).collect();
            format!("{}{{{}}}", name.trim_start_matches("otelcontext_"), labels.join(","))
        };
        let samples = self.receive.samples().filter(|(_, _, count)| 0 < *count);
        samples.map(|(metric, labels, count)| (name(metric, labels), count)).collect()
    }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn span(id: u8) -> trace::Span {
    trace::Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: "checkout".to_owned(),
        start_time_unix_nano: NOW.0 as u64,
        end_time_unix_nano: NOW.0 as u64 + 1,
        ..Default::default()
    }
}

/// A request with `good` valid spans and `bad` ones whose ids are zero.
fn traces(good: usize, bad: usize) -> Vec<u8> {
    let good = std::iter::repeat_n(span(7), good);
    let spans = good.chain(std::iter::repeat_n(span(0), bad)).collect();
    let scope_spans = vec![trace::ScopeSpans { spans, ..Default::default() }];
    let resource_spans = vec![trace::ResourceSpans { scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A request with one valid item of `signal`.
fn one(signal: Signal) -> Vec<u8> {
    let time_unix_nano = NOW.0 as u64;
    match signal {
        Signal::Traces => traces(1, 0),
        Signal::Logs => {
            let body = Some(AnyValue { value: Some(Value::StringValue("hello".to_owned())) });
            let log_records = vec![logs::LogRecord { time_unix_nano, body, ..Default::default() }];
            let scope_logs = vec![logs::ScopeLogs { log_records, ..Default::default() }];
            let resource_logs = vec![logs::ResourceLogs { scope_logs, ..Default::default() }];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
        Signal::Metrics => {
            let value = Some(metrics::number_data_point::Value::AsInt(3));
            let data_points = vec![metrics::NumberDataPoint { time_unix_nano, value, ..Default::default() }];
            let data = Some(metrics::metric::Data::Gauge(metrics::Gauge { data_points }));
            let metrics = vec![metrics::Metric { name: "queue".to_owned(), data, ..Default::default() }];
            let scope_metrics = vec![metrics::ScopeMetrics { metrics, ..Default::default() }];
            let resource_metrics = vec![metrics::ResourceMetrics { scope_metrics, ..Default::default() }];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
    }
}

/// A few kilobytes on the wire that would become gigabytes of empty spans.
fn empty_spans(count: usize) -> Vec<u8> {
    let scope_spans = [0x12, 0x00].repeat(count);
    let resource_spans = [length_delimited(0x12, &scope_spans)].concat();
    length_delimited(0x0a, &resource_spans)
}

fn length_delimited(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    prost::encoding::encode_varint(bytes.len() as u64, &mut message);
    message.extend_from_slice(bytes);
    message
}
