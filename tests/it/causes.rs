//! Causes in telemetry as systems send it: what is always there must not stand before what is new.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::client::{ask, export, failed, request, rows, span, text};
use crate::server::Server;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// Seconds that are told of, and those at their end in which the database refuses.
const TOLD: u64 = 1_500;
const REFUSING: u64 = 180;
/// Requests that fail in each second, always.
const USUAL: u64 = 20;

/// A span of a trace of the service with this number, in a second.
fn at(service: u8, second: u64, request: u64, (id, parent): (u8, Option<u8>), name: &str, kind: i32) -> Span {
    let mut span = span(0, id, parent, name, kind);
    let trace = u128::from(service) << 120 | u128::from(second) << 16 | u128::from(request + 1);
    span.trace_id = trace.to_be_bytes().to_vec();
    span.start_time_unix_nano = second * 1_000_000_000 + request * 1_000_000;
    span.end_time_unix_nano = span.start_time_unix_nano + 5_000_000;
    span
}

#[tokio::test]
async fn failures_that_are_always_there_do_not_crowd_out_examples_of_new_ones() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (mut usual, mut charges) = (Vec::new(), Vec::new());
    for second in now - TOLD..now {
        let noise =
            |request| failed(at(1, second, request, (1, None), "GET /favicon.ico", SERVER), "not found");
        usual.extend((0..USUAL).map(noise));
        for request in 0..2 {
            let mut query = at(2, second, request, (2, Some(1)), "SELECT cards", CLIENT);
            query.attributes.push(text("db.system.name", "postgresql"));
            query.attributes.push(text("db.namespace", "cards"));
            query.attributes.push(text("server.address", "cards-db"));
            let charge = at(2, second, request, (1, None), "POST /charge", SERVER);
            // Not in the last moments, which are all that the newest failures show.
            let refused = (now - REFUSING..now - 10).contains(&second) && request == 0;
            let both = [query, charge];
            charges
                .extend(both.map(|span| if refused { failed(span, "too many connections") } else { span }));
        }
    }
    // The named service has such failures too.
    for second in now - TOLD..now {
        let probe = |request| failed(at(3, second, request, (1, None), "GET /probe", SERVER), "not found");
        charges.extend((0..USUAL).map(probe));
    }
    for (service, spans) in [("web", usual), ("payments", charges)] {
        for part in spans.chunks(5_000) {
            export(&server, "shop", &request(service, part.to_vec())).await;
        }
    }
    server.settled().await;
    for asked in [json!({"since": "5m"}), json!({"since": "5m", "service": "payments"})] {
        let cause = ask(&server, "shop", "root_cause_analysis", asked).await;
        let first = &rows(&cause, "causes")[0];
        assert_eq!(first["service"], "postgresql/cards", "{cause}");
        let is_example = |id: &Value| id.as_str().is_some_and(|id| id.starts_with("span:02"));
        assert!(first["evidence"].as_array().unwrap().iter().any(is_example), "{cause}");
    }
}

/// Points of a counter as OTLP/JSON, one each ten seconds between two seconds, that grows by so many each.
fn counter(name: &str, begun: u64, until: u64, each: u64) -> Value {
    let points: Vec<Value> = (begun..until)
        .step_by(10)
        .zip(1..)
        .map(|(second, number)| {
            json!({"startTimeUnixNano": format!("{}000000000", begun - 10),
                "timeUnixNano": format!("{second}000000000"), "asInt": (number * each).to_string()})
        })
        .collect();
    json!({"name": name, "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points}})
}

/// Sends counters of one service.
async fn send_counters(server: &Server, service: &str, metrics: Vec<Value>) {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let sent = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]});
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/metrics", server.otlp_http))
        .header("content-type", "application/json")
        .header("x-tenant-id", "shop")
        .body(sent.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn failures_that_a_counter_tells_from_the_first_one_on_are_seen() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (begun, failing) = (now - TOLD, now - REFUSING);
    for service in ["web", "payments", "orders"] {
        let mut metrics = vec![counter("app_requests_total", begun, now, 100)];
        if service == "payments" {
            metrics.push(counter("app_errors_total", failing, now, 30));
        }
        send_counters(&server, service, metrics).await;
    }
    server.settled().await;
    let cause = ask(&server, "shop", "root_cause_analysis", json!({"since": "5m"})).await;
    assert_ne!(cause["verdict"], "insufficient_evidence", "{cause}");
    let first = &rows(&cause, "causes")[0];
    assert_eq!(first["service"], "payments", "{cause}");
    assert!(first["cause"].as_str().unwrap().contains("app_errors_total"), "{cause}");
}

#[tokio::test]
async fn what_only_begins_to_be_counted_is_no_cause() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for service in ["web", "orders"] {
        let mut metrics = vec![counter("app_requests_total", now - TOLD, now, 100)];
        if service == "orders" {
            // Another container on the node that sends for all of them.
            metrics.push(counter("container_cpu_usage_seconds_total", now - REFUSING, now, 8));
        }
        send_counters(&server, service, metrics).await;
    }
    server.settled().await;
    let cause = ask(&server, "shop", "root_cause_analysis", json!({"since": "5m"})).await;
    assert_eq!(cause["verdict"], "insufficient_evidence", "{cause}");
}
