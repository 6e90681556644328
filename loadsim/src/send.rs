//! Delivery over OTLP, with the retries of an SDK (OTLP specification, "Failures").

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How to reach the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// `host:port`, or a URL for HTTP.
    pub endpoint: String,
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// `x-tenant-id`; empty sends none.
    pub tenant: String,
    /// Bearer key; empty sends none.
    pub api_key: String,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// How long a request that may be retried is sent again.
    pub retry_for: Duration,
}

impl Options {
    /// A client over HTTP that says in each request who it is, as senders do.
    ///
    /// # Errors
    /// When the key or the tenant cannot stand in a header.
    pub(crate) fn client(&self, timeout: Duration) -> Result<reqwest::Client> {
        encrypt();
        let bearer = format!("Bearer {}", self.api_key);
        let headers = [
            (AUTHORIZATION, &bearer, !self.api_key.is_empty()),
            (HeaderName::from_static("x-tenant-id"), &self.tenant, !self.tenant.is_empty()),
        ];
        let mut map = HeaderMap::new();
        for (name, value, _) in headers.into_iter().filter(|(.., wanted)| *wanted) {
            let value = HeaderValue::from_str(value);
            let mut value = value.with_context(|| format!("{name} is not visible ASCII"))?;
            value.set_sensitive(name == AUTHORIZATION);
            map.insert(name, value);
        }
        Ok(reqwest::Client::builder().default_headers(map).timeout(timeout).build()?)
    }
}

/// The transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// One encoded export request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which signal.
    pub signal: Signal,
    /// The protobuf message.
    pub body: bytes::Bytes,
    /// Spans, records or points in it.
    pub items: u64,
}

/// The three signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
}

impl Signal {
    /// `traces`, `logs` or `metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// The signal of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Traces, Self::Logs, Self::Metrics].into_iter().find(|signal| signal.name() == name)
    }

    /// The path of OTLP/HTTP.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The path of OTLP/gRPC.
    pub(crate) const fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

impl Request {
    /// Encodes spans.
    pub fn traces(message: &ExportTraceServiceRequest) -> Self {
        let scopes = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let items = scopes.map(|scope| scope.spans.len() as u64).sum();
        Self { signal: Signal::Traces, body: message.encode_to_vec().into(), items }
    }

    /// Encodes log records.
    pub fn logs(message: &ExportLogsServiceRequest) -> Self {
        let scopes = message.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        let items = scopes.map(|scope| scope.log_records.len() as u64).sum();
        Self { signal: Signal::Logs, body: message.encode_to_vec().into(), items }
    }

    /// Encodes metric points; `items` is how many points the message holds.
    pub fn metrics(message: &ExportMetricsServiceRequest, items: u64) -> Self {
        Self { signal: Signal::Metrics, body: message.encode_to_vec().into(), items }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged; so many of its items were rejected for good.
    Acknowledged {
        /// Items named as rejected in the partial success.
        rejected: u64,
    },
    /// Refused for good.
    Refused(String),
    /// Still refused or unanswered when the time to retry ran out.
    GaveUp(String),
}

/// What became of a request, and at what cost.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The end of it.
    pub outcome: Outcome,
    /// Tries beyond the first.
    pub retries: u64,
    /// Duration of the last try.
    pub latency: Duration,
}

enum Try {
    Done(Outcome),
    /// The server says that it may succeed later.
    Again(String, Option<Duration>),
    /// Nobody answered.
    Silent(String),
}

/// One connection to the server.
#[derive(Debug, Clone)]
pub struct Sender {
    options: Options,
    way: Way,
    /// Whether the last request was given up because nobody answered.
    has_given_up: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Way {
    Grpc(Channel),
    Http(reqwest::Client, String),
}

/// Chooses who encrypts HTTP, once for the process: clients refuse to be made before.
pub fn encrypt() {
    // Whoever comes second finds it chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Sender {
    /// Prepares a connection; it is opened by the first request.
    ///
    /// # Errors
    /// When the endpoint is not an address.
    pub fn new(options: &Options) -> Result<Self> {
        let url = if options.endpoint.contains("://") {
            options.endpoint.clone()
        } else {
            format!("http://{}", options.endpoint)
        };
        let way = match options.protocol {
            Protocol::Grpc => {
                let endpoint = Channel::from_shared(url).context("the endpoint is not host:port or a URL")?;
                Way::Grpc(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(5)).connect_lazy())
            }
            Protocol::Http => {
                Way::Http(options.client(options.timeout)?, url.trim_end_matches('/').to_owned())
            }
        };
        Ok(Self { options: options.clone(), way, has_given_up: Arc::default() })
    }

    /// Sends a request and again while the answer says that it may succeed later, for as long as the options say. After one
    /// that was given up because nobody answered, the next are sent once each until one is answered: a run against a server that
    /// is gone for good must end.
    pub async fn deliver(&self, request: &Request) -> Delivery {
        let began = Instant::now();
        let mut retries = 0;
        let mut pause = Duration::from_millis(100);
        loop {
            let tried = Instant::now();
            let outcome = match &self.way {
                Way::Grpc(channel) => self.over_grpc(channel, request).await,
                Way::Http(client, url) => self.over_http(client, url, request).await,
            };
            let latency = tried.elapsed();
            let is_silent = matches!(outcome, Try::Silent(_));
            let (why, wait) = match outcome {
                Try::Done(outcome) => {
                    self.has_given_up.store(false, Ordering::Relaxed);
                    return Delivery { outcome, retries, latency };
                }
                Try::Again(why, wait) => (why, wait.unwrap_or(pause)),
                Try::Silent(why) => (why, pause),
            };
            let is_given_up = is_silent && self.has_given_up.load(Ordering::Relaxed)
                || began.elapsed() + wait > self.options.retry_for;
            self.has_given_up.store(is_silent && is_given_up, Ordering::Relaxed);
            if is_given_up {
                return Delivery { outcome: Outcome::GaveUp(why), retries, latency };
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            retries += 1;
        }
    }

    async fn over_grpc(&self, channel: &Channel, request: &Request) -> Try {
        let mut client = tonic::client::Grpc::new(channel.clone());
        if let Err(error) = client.ready().await {
            return Try::Silent(error.to_string());
        }
        let mut message = tonic::Request::new(request.body.clone());
        message.set_timeout(self.options.timeout);
        let bearer = format!("Bearer {}", self.options.api_key);
        let headers = [
            ("authorization", &bearer, !self.options.api_key.is_empty()),
            ("x-tenant-id", &self.options.tenant, !self.options.tenant.is_empty()),
        ];
        for (name, value, _) in headers.into_iter().filter(|(.., wanted)| *wanted) {
            let Ok(value) = MetadataValue::<Ascii>::try_from(value) else {
                return Try::Done(Outcome::Refused(format!("{name} is not visible ASCII")));
            };
            message.metadata_mut().insert(name, value);
        }
        let path = http::uri::PathAndQuery::from_static(request.signal.method());
        let call = client.unary(message, path, Raw);
        match tokio::time::timeout(self.options.timeout, call).await {
            Ok(Ok(answer)) => Try::Done(acknowledged(request.signal, &answer.into_inner())),
            Ok(Err(status)) => grpc_failure(&status),
            Err(_) => Try::Silent("no answer in time".into()),
        }
    }

    async fn over_http(&self, client: &reqwest::Client, url: &str, request: &Request) -> Try {
        let call = client
            .post(format!("{url}{}", request.signal.path()))
            .header("content-type", "application/x-protobuf")
            .body(request.body.clone());
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => return Try::Silent(error.to_string()),
        };
        let status = answer.status();
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        match (status.as_u16(), answer.bytes().await) {
            (200, Ok(body)) => Try::Done(acknowledged(request.signal, &body)),
            (200, Err(error)) => Try::Silent(error.to_string()),
            (429 | 503, _) => Try::Again(status.to_string(), wait.map(Duration::from_secs)),
            // Somebody between answers that nobody is behind.
            (502 | 504, _) => Try::Silent(status.to_string()),
            _ => Try::Done(Outcome::Refused(status.to_string())),
        }
    }
}

fn grpc_failure(status: &Status) -> Try {
    let why = format!("{:?}: {}", status.code(), status.message());
    // What did not come from a server has a cause: a connection that was not made, or that broke in mid-call.
    let is_silent = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled if is_silent => Try::Silent(why),
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Try::Again(why, None),
        Code::ResourceExhausted if !status.details().is_empty() => Try::Again(why, None),
        _ => Try::Done(Outcome::Refused(why)),
    }
}

fn acknowledged(signal: Signal, body: &[u8]) -> Outcome {
    let rejected = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .map(|answer| answer.partial_success.map_or(0, |partial| partial.rejected_spans)),
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .map(|answer| answer.partial_success.map_or(0, |partial| partial.rejected_log_records)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .map(|answer| answer.partial_success.map_or(0, |partial| partial.rejected_data_points)),
    };
    match rejected {
        Ok(rejected) => Outcome::Acknowledged { rejected: u64::try_from(rejected).unwrap_or(0) },
        Err(error) => Outcome::Refused(format!("the answer is not OTLP: {error}")),
    }
}

/// Messages that are encoded already.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = bytes::Bytes;
    type Decode = bytes::Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = bytes::Bytes;
    type Error = Status;

    fn encode(&mut self, item: bytes::Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = bytes::Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<bytes::Bytes>, Status> {
        let length = source.remaining();
        Ok(Some(source.copy_to_bytes(length)))
    }
}

/// Fails unless every request of a list was acknowledged whole.
///
/// # Errors
/// With the first outcome that is not a full acknowledgement.
pub async fn deliver_all(sender: &Sender, requests: &[Request]) -> Result<()> {
    for request in requests {
        match sender.deliver(request).await.outcome {
            Outcome::Acknowledged { rejected: 0 } => {}
            outcome => bail!("the server did not take a request: {outcome:?}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(endpoint: String, protocol: Protocol, retry_for: Duration) -> Sender {
        encrypt();
        let (tenant, api_key, timeout) = (String::new(), String::new(), Duration::from_secs(5));
        Sender::new(&Options { endpoint, protocol, tenant, api_key, timeout, retry_for }).unwrap()
    }

    fn request() -> Request {
        Request { signal: Signal::Traces, body: bytes::Bytes::new(), items: 1 }
    }

    #[tokio::test]
    async fn who_says_later_is_asked_again_for_each_request() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await.unwrap();
                let answer =
                    "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
            }
        });
        let sender = sender(endpoint, Protocol::Http, Duration::from_millis(250));
        for _ in 0..3 {
            let delivery = sender.deliver(&request()).await;
            assert!(matches!(delivery.outcome, Outcome::GaveUp(_)) && delivery.retries > 0, "{delivery:?}");
        }
    }

    #[tokio::test]
    async fn who_is_gone_for_good_is_waited_for_once() {
        for protocol in [Protocol::Grpc, Protocol::Http] {
            let sender = sender("http://127.0.0.1:1".into(), protocol, Duration::from_millis(500));
            let first = sender.deliver(&request()).await;
            assert!(matches!(first.outcome, Outcome::GaveUp(_)) && first.retries > 0, "{first:?}");
            for _ in 0..3 {
                let next = sender.clone().deliver(&request()).await;
                assert!(matches!(next.outcome, Outcome::GaveUp(_)) && next.retries == 0, "{next:?}");
            }
        }
    }
}
