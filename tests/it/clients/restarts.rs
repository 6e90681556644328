//! Stock senders while the server is killed and started anew: nothing they recorded is missing.
//!
//! Node over gRPC is not among them: its exporter (0.301) gives a request up at the first failure, whatever the status says.
//! The collector (rotel) gives up what was under way when a connection breaks, and tries again after an answer that asks for
//! it; so between it and the server stands what stands before servers that are restarted: a balancer that answers 503.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use serde_json::Value;

use super::collector::{collector, own_ports};
use super::{Client, exporting, node, python};
use crate::door::Door;
use crate::server::Server;

/// Orders that a service takes, some seconds long: two spans and a log record each.
const ORDERS: u32 = 500;
const COUNT: &str = "500";
const SPANS: &str = "count(*) FROM v_spans";
/// Log records of orders: SDKs log of their own, too.
const LOGS: &str = "count(DISTINCT span_id) FROM v_logs WHERE span_id IN (SELECT span_id FROM v_spans)";

/// A service that sends what it has every fifth of a second.
fn steady(mut command: Command, endpoint: &str, protocol: &str) -> Command {
    command = exporting(command, endpoint, protocol, "shop");
    command.env("OTEL_BSP_SCHEDULE_DELAY", "200").env("OTEL_BLRP_SCHEDULE_DELAY", "200");
    command
}

/// A service that tries for a minute: a machine under load takes its time to start a server. The SDKs take the number as seconds
/// or as milliseconds.
fn patient(mut service: Command, minute: &str) -> Command {
    service.env("OTEL_EXPORTER_OTLP_TIMEOUT", minute);
    service
}

/// Kills the server in the middle of what `service` sends over `door`, starts it anew, and counts what is there when the
/// service has ended.
async fn check(server: Server, door: &Door, protocol: &str, service: Command) {
    let service = Client::start(service);
    let spans = "otelcontext_ingest_accepted_total{signal=\"traces\"}";
    server
        .until("in the middle", async || {
            (server.metric(spans).await >= f64::from(ORDERS) / 2.0).then_some(())
        })
        .await;
    let (server, _) = server.crash_and_restart().await;
    door.lead_to(if protocol == "grpc" { &server.grpc } else { &server.otlp_http });
    let ended = service.end().await;
    assert!(ended.status.success(), "{}", ended.errors);
    let count = async |of: &str| count(&server, of).await;
    let orders = u64::from(ORDERS);
    server
        .until("given everything", async || {
            let all = count(SPANS).await >= 2 * orders && count(LOGS).await >= orders;
            all.then_some(())
        })
        .await;
    server.settled().await;
    assert_eq!(count(SPANS).await, 2 * orders, "{}", ended.errors);
    assert_eq!(count(LOGS).await, orders, "{}", ended.errors);
}

/// The number that `SELECT of` answers.
async fn count(server: &Server, of: &str) -> u64 {
    let url = format!("http://{}/api/v1/sql", server.http);
    let statement = format!("SELECT {of}");
    let request = reqwest::Client::new().post(url).header("content-type", "application/sql").body(statement);
    let table: Value = request.send().await.unwrap().json().await.unwrap();
    table["rows"][0][0].as_u64().unwrap_or_else(|| panic!("{table}"))
}

async fn alone(protocol: &str, command: impl FnOnce() -> Command) {
    let server = Server::start(&[]).await;
    let door = Door::open(if protocol == "grpc" { &server.grpc } else { &server.otlp_http }).await;
    let service = steady(command(), &door.address, protocol);
    check(server, &door, protocol, service).await;
}

#[tokio::test]
async fn python_over_grpc_loses_nothing_to_a_restart() {
    alone("grpc", || patient(python::shop(["steady", COUNT]), "60")).await;
}

#[tokio::test]
async fn python_over_http_loses_nothing_to_a_restart() {
    alone("http/protobuf", || patient(python::shop(["steady", COUNT]), "60")).await;
}

#[tokio::test]
async fn node_over_http_loses_nothing_to_a_restart() {
    alone("http/protobuf", || patient(node::stock(&["steady", COUNT]), "60000")).await;
}

/// What stands before a server that is restarted: it hands requests on, and answers 503 where nobody takes them.
#[derive(Clone)]
struct Balancer {
    client: reqwest::Client,
    /// Where the server is now.
    server: Arc<Mutex<String>>,
    /// The spans whose log records the server said it took.
    acknowledged: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Balancer {
    /// Opens one before `server`; answers it and its address.
    async fn open(server: &str) -> (Self, String) {
        let balancer = Self {
            client: reqwest::Client::new(),
            server: Arc::new(Mutex::new(server.to_owned())),
            acknowledged: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(hand_on).with_state(balancer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (balancer, address)
    }
}

async fn hand_on(State(balancer): State<Balancer>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let url = format!("http://{}{}", balancer.server.lock().unwrap(), head.uri.path());
    let headers = head.headers.iter().filter(|(name, _)| [CONTENT_TYPE, CONTENT_ENCODING].contains(name));
    let mut onward = balancer.client.post(url).body(body.clone());
    for (name, value) in headers {
        onward = onward.header(name, value);
    }
    let Ok(answer) = onward.send().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let status = answer.status();
    let Ok(bytes) = answer.bytes().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    if status.is_success() && head.uri.path() == "/v1/logs" {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        let logs = ExportLogsServiceRequest::decode(&*plain).unwrap();
        let scopes = logs.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records).map(|record| record.span_id);
        balancer.acknowledged.lock().unwrap().extend(records.filter(|span| !span.is_empty()));
    }
    (status, [("content-type", "application/x-protobuf")], bytes).into_response()
}

#[tokio::test]
async fn a_collector_loses_nothing_to_restarts() {
    let mut server = Server::start(&[]).await;
    let (balancer, address) = Balancer::open(&server.otlp_http).await;
    let ports = own_ports(7);
    let mut collector = collector(ports, &address, "http");
    collector.args(["--otlp-exporter-retry-initial-backoff", "200ms"]);
    collector.args(["--otlp-exporter-retry-max-backoff", "1s"]);
    let collector = Client::start(collector);
    server
        .until("forwarding", async || ports.iter().all(|port| TcpStream::connect(port).is_ok()).then_some(()))
        .await;
    let service = Client::start(steady(python::shop(["steady", COUNT]), &ports[0].to_string(), "grpc"));
    let orders = u64::from(ORDERS);
    for part in 1..3 {
        let stored = part * orders / 3;
        server.until("a part", async || (count(&server, LOGS).await >= stored).then_some(())).await;
        (server, _) = server.crash_and_restart().await;
        *balancer.server.lock().unwrap() = server.otlp_http.clone();
    }
    let ended = service.end().await;
    assert!(ended.status.success(), "{}", ended.errors);
    // Should this never come, the collector lost them; should the next, the server did.
    let acknowledged = || balancer.acknowledged.lock().unwrap().len() as u64;
    server.until("given everything", async || (orders <= acknowledged()).then_some(())).await;
    server
        .until("holding everything", async || {
            let all = count(&server, SPANS).await >= 2 * orders && count(&server, LOGS).await >= orders;
            all.then_some(())
        })
        .await;
    server.settled().await;
    assert_eq!(count(&server, SPANS).await, 2 * orders);
    assert_eq!(count(&server, LOGS).await, orders);
    drop(collector);
}
