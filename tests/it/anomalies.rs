//! Anomalies are written down: one identity, whichever window is asked about, also after a restart.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::client::{ask, export, failed, request, rows, span};
use crate::server::Server;

const SERVER: i32 = 2;
/// Seconds of a step.
const STEP: u64 = 10;
/// Steps that go well before any fails.
const WELL: u64 = 60;
/// Steps that fail.
const FAILING: u64 = 9;

/// Ten requests in each step up to now, of which those of the last steps fail.
async fn failing_lately(server: &Server) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut first = now / STEP * STEP - FAILING * STEP;
    // Not at the beginning of a minute, so that looks in steps of minutes see another onset.
    if first.is_multiple_of(60) {
        first -= STEP;
    }
    let mut spans = Vec::new();
    for step in 0..WELL + FAILING {
        let second = first + STEP * step - STEP * WELL;
        for number in 0..10 {
            let mut span = span(0, 1, None, "GET /orders", SERVER);
            let trace = u128::from(second) << 8 | number;
            span.trace_id = trace.to_be_bytes().to_vec();
            span.start_time_unix_nano = second * 1_000_000_000;
            span.end_time_unix_nano = span.start_time_unix_nano + 5_000_000;
            spans.push(if step < WELL { span } else { failed(span, "no") });
        }
    }
    export(server, "shop", &request("orders", spans)).await;
    server.settled().await;
}

/// The operation's failures in the time since `since`.
async fn failures(server: &Server, since: &str) -> Option<Value> {
    let answer = ask(server, "shop", "get_anomaly_timeline", json!({"since": since})).await;
    let found = rows(&answer, "anomalies");
    let mut of_operation =
        found.into_iter().filter(|row| row["kind"] == "errors" && row["subject"] == "GET /orders");
    let first = of_operation.next();
    assert!(of_operation.next().is_none(), "one trouble, one anomaly: {answer}");
    first
}

#[tokio::test]
async fn an_anomaly_keeps_its_identity_whoever_asks_and_after_a_restart() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    failing_lately(&server).await;
    let near = failures(&server, "25m").await.expect("failures are an anomaly");
    let known = server
        .until("written down", || async {
            let far = failures(&server, "3h").await?;
            (far["id"] == near["id"]).then_some(far)
        })
        .await;
    assert_eq!(known["id"].as_str().unwrap().len(), 16);
    let (server, _) = server.crash_and_restart().await;
    for since in ["25m", "3h"] {
        assert_eq!(failures(&server, since).await.expect("it is known")["id"], near["id"], "{since}");
    }
    let strange = ask(&server, "stranger", "get_anomaly_timeline", json!({"since": "3h"})).await;
    assert!(strange["why_empty"].is_string(), "{strange}");
}
