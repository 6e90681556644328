//! The running server as strangers meet it: what it promises on the wire, checked through its ports alone.
//!
//! In reading order: this file (requests and refusals), `samples` and `measurements` (telemetry with everything in it), `stored` (what
//! the database holds once a server has stopped); then the promises: `otlp`, `bad_input`, `bad_items`, `bombs`, `tenants`,
//! `keys`, `scopes`, `tls`, `fairness`, `frames`, `rules`, `agents`, `listeners`, `leavers`, `stopping`, `panics`.

mod agents;
mod bad_input;
mod bad_items;
mod bombs;
mod fairness;
mod frames;
mod keys;
mod leavers;
mod listeners;
mod measurements;
mod otlp;
mod panics;
mod rules;
mod samples;
mod scopes;
mod stopping;
mod stored;
mod tenants;
mod tls;

use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::Value;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::client;
use crate::server::Server;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");

/// Headers by name and value.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// A whole HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// `google.rpc.Status` as far as tests look into it.
#[derive(Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A moment ago, in nanoseconds, as senders write times.
fn now() -> u64 {
    client::span(1, 1, None, "", 1).start_time_unix_nano
}

/// A client that keeps its connections and asks no proxy.
fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Sends one request and reads the answer whole.
async fn send(method: Method, address: &str, path: &str, headers: Headers<'_>, body: Vec<u8>) -> Answer {
    let mut request = http_client().request(method, format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.body(body).send().await.unwrap()).await
}

/// Exports `body` over HTTP.
async fn post(address: &str, signal: Signal, headers: Headers<'_>, body: Vec<u8>) -> Answer {
    send(Method::POST, address, &format!("/v1/{}", signal.name()), headers, body).await
}

/// Checks that `answer` is a refusal as OTLP wants it: a small `google.rpc.Status` in the encoding of the request,
/// `Retry-After` exactly where sending again makes sense. Answers its message.
fn refused(answer: &Answer, status: u16, encoding: (&str, &str), case: &str) -> String {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, encoding.1),
        "{case}: {}",
        answer.text()
    );
    let is_retryable = [429, 502, 503, 504].contains(&status);
    assert_eq!(answer.headers.contains_key("retry-after"), is_retryable, "{case}");
    assert!(answer.body.len() <= 4_096, "{case}: a refusal of {} bytes", answer.body.len());
    let (code, message) = match encoding {
        JSON => {
            let status = answer.json();
            (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
        }
        _ => {
            let status = RpcStatus::decode(&answer.body[..]).expect(case);
            assert!(status.details.iter().all(|detail| detail.type_url.contains("google.rpc.")), "{case}");
            (i64::from(status.code), status.message)
        }
    };
    assert!(code != 0 && !message.is_empty(), "{case}");
    message
}

/// Checks that `answer` is a full success: no partial success, in the encoding of the request.
fn accepted(answer: &Answer, encoding: (&str, &str), case: &str) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, encoding.1),
        "{case}: {}",
        answer.text()
    );
    let empty: &[u8] = if encoding == JSON { b"{}" } else { b"" };
    assert_eq!(answer.body, empty, "{case}: {}", answer.text());
}

/// A gRPC connection to the server.
async fn channel(server: &Server) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

/// The gRPC path of a signal's export.
fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// Sends `message` in one gRPC frame that is marked as compressed where the headers name a compression; answers the
/// bytes of the response message.
async fn call_grpc(
    channel: &Channel,
    path: &str,
    headers: Headers<'_>,
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    let is_compressed = headers.iter().any(|(name, _)| *name == "grpc-encoding");
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[u8::from(is_compressed)][..], &length, message].concat();
    let mut request =
        http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from(frame)));
    let answer = channel
        .clone()
        .oneshot(request.body(body).unwrap())
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    let (head, body) = answer.into_parts();
    assert_eq!(head.status, 200, "gRPC answers 200 and says the rest in its own words");
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or(head.headers);
    let status = Status::from_header_map(&trailers).expect("an answer without grpc-status");
    match status.code() {
        Code::Ok => Ok(collected.to_bytes()[5..].to_vec()),
        _ => Err(status),
    }
}

/// Checks that a call was refused with `code`, with advice to retry exactly where sending again makes sense.
fn refused_grpc<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, case: &str) -> String {
    let status = result.expect_err(case);
    assert_eq!(status.code(), code, "{case}: {status}");
    let has_retry_info = String::from_utf8_lossy(status.details()).contains("google.rpc.RetryInfo");
    assert_eq!(has_retry_info, code == Code::Unavailable, "{case}");
    assert!(!status.message().is_empty() && status.message().len() <= 1_024, "{case}");
    status.message().to_owned()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 1).unwrap()
}

/// The samples of every metric whose line starts with `start`, read as `/metrics` shows them.
async fn refusals(server: &Server, transport: &str, reason: &str) -> f64 {
    let text = send(Method::GET, &server.http, "/metrics", &[], Vec::new()).await.text();
    let of = |line: &&str| {
        line.starts_with("otelcontext_otlp_payload_rejected_total{")
            && line.contains(&format!("transport=\"{transport}\""))
            && line.contains(&format!("reason=\"{reason}\""))
    };
    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Asks `search_logs` until words are searched in everything that was stored. The server must keep no answers.
async fn searched(server: &Server, tenant: &str, arguments: Value) -> Value {
    let ask = || async {
        let answer = client::ask(server, tenant, "search_logs", arguments.clone()).await;
        answer["warnings"].is_null().then_some(answer)
    };
    server.until("searchable", ask).await
}

/// Checks that the server is in good shape: ready, and taking telemetry.
async fn is_well(server: &Server) {
    let answer = send(Method::GET, &server.http, "/ready", &[], Vec::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = post(&server.otlp_http, Signal::Traces, &[PROTOBUF], Vec::new()).await;
    accepted(&answer, PROTOBUF, "an empty request after the test");
}

/// The process that serves from the folder of `server`.
pub(crate) fn process_of(server: &Server) -> PathBuf {
    let folder = server.folder().canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let mut of_folder = processes.filter(|path| path.join("cwd").read_link().is_ok_and(|cwd| cwd == folder));
    of_folder.next().expect("no process serves from the folder")
}

/// The most memory that the server ever used, in bytes.
pub(crate) fn peak_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(process_of(server).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// How many bytes the peak rose since it was `before`. The kernel counts a peak when it is asked for, to within
/// a few pages a thread, so a second reading may be below the first: nothing rose then.
pub(crate) fn grown_bytes(server: &Server, before: u64) -> u64 {
    peak_bytes(server).saturating_sub(before)
}
