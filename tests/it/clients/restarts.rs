//! Stock senders while the server is killed and started anew: nothing they recorded is missing.
//!
//! Node over gRPC is not among them: its exporter (0.301) gives a request up at the first failure, whatever the status says.

use std::process::Command;

use serde_json::Value;

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
    let count = async |of: &str| {
        let statement = format!("SELECT {of}");
        let url = format!("http://{}/api/v1/sql", server.http);
        let request =
            reqwest::Client::new().post(url).header("content-type", "application/sql").body(statement);
        let table: Value = request.send().await.unwrap().json().await.unwrap();
        table["rows"][0][0].as_u64().unwrap_or_else(|| panic!("{table}"))
    };
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
