//! Anomalies are written down: one identity, whichever window is asked about, also after a restart. What the same time of
//! earlier days shows as well is none. Whoever listens hears when one of its tenant begins.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::client::{Stream, ask, export, failed, open, request, rows, span};
use crate::server::{PATIENCE, Server};

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

const RESOURCE: &str = "otelcontext://anomalies";
/// The revision in which one can listen.
const REVISION: &str = "2026-07-28";

/// Begins to listen to the anomalies of a tenant.
async fn listen(server: &Server, tenant: &str) -> Stream {
    let filter = json!({"notifications": {"resourceSubscriptions": [RESOURCE]}});
    let mut stream = Stream::of(open(server, (tenant, REVISION), ("subscriptions/listen", ""), filter).await);
    let first = stream.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["notifications"]["resourceSubscriptions"], json!([RESOURCE]), "{first}");
    stream
}

#[tokio::test]
async fn whoever_listens_hears_of_the_anomalies_of_its_tenant_and_of_no_other() {
    let mut server = Server::start(&[]).await;
    // One of them before anything is known of its tenant.
    let mut own = listen(&server, "shop").await;
    export(&server, "stranger", &request("orders", vec![span(1, 1, None, "GET /orders", SERVER)])).await;
    let mut strange = listen(&server, "stranger").await;
    let listeners = || async { (server.metric("otelcontext_mcp_listeners").await == 2.0).then_some(()) };
    server.until("listened to", listeners).await;
    failing_lately(&server).await;
    let told = tokio::time::timeout(PATIENCE, own.next()).await.expect("nothing was told").unwrap();
    assert_eq!(told["method"], "notifications/resources/updated", "{told}");
    assert_eq!(told["params"]["uri"], RESOURCE, "{told}");
    let params = json!({"uri": RESOURCE});
    let read = open(&server, ("shop", REVISION), ("resources/read", RESOURCE), params).await;
    let read: Value = serde_json::from_str(&read.text().await.unwrap()).unwrap();
    let answer: Value =
        serde_json::from_str(read["result"]["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert!(rows(&answer, "anomalies").iter().any(|row| row["kind"] == "errors"), "{answer}");
    // What a stop ends is told nothing but that, if nothing was told before.
    let (code, last) = tokio::join!(server.terminate(), strange.next());
    assert_eq!(last.unwrap()["result"]["resultType"], "complete");
    assert_eq!(strange.next().await, None);
    assert_eq!(code, Some(0), "{}", server.log());
}

/// Steps that go well, and those that fail since: twenty minutes, longer than a baseline.
const LASTING: (u64, u64) = (48, 120);

#[tokio::test]
async fn trouble_that_lasts_is_not_compared_with_itself() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / STEP * STEP;
    let (well, failing) = LASTING;
    let mut spans = Vec::new();
    for step in 0..well + failing {
        for request in 0..PLAIN {
            let span = work(1, now - (well + failing - step) * STEP, request);
            spans.push(if step < well || request > 2 { span } else { failed(span, "no") });
        }
    }
    export(&server, "shop", &request("orders", spans)).await;
    server.settled().await;
    // Once it is written down, whoever asks about the last minutes is told what it was like before.
    let asked = json!({"service": "orders", "since": "5m"});
    let told = server
        .until("told as trouble", || async {
            let told = ask(&server, "shop", "get_service_health", asked.clone()).await;
            (rows(&told, "services")[0]["status"] != "healthy").then_some(told)
        })
        .await;
    assert_eq!(rows(&told, "services")[0]["status"], "critical", "{told}");
    let cause = ask(&server, "shop", "root_cause_analysis", json!({"since": "5m"})).await;
    assert_eq!(rows(&cause, "causes")[0]["service"], "orders", "{cause}");
    assert_ne!(cause["verdict"], "insufficient_evidence", "{cause}");
}

#[tokio::test]
async fn calls_that_last_are_not_silent() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut spans = Vec::new();
    for second in now - 1_500..now {
        spans.push(work(1, second, 0));
        for request in 1..4 {
            let mut poll = work(2, second, request);
            poll.name = "GET /poll".into();
            poll.end_time_unix_nano = poll.start_time_unix_nano + 30_000_000_000;
            // One that is not over yet is not known yet.
            spans.extend((second + 30 <= now).then_some(poll));
        }
    }
    for part in spans.chunks(2_000) {
        export(&server, "shop", &request("orders", part.to_vec())).await;
    }
    server.settled().await;
    let cause = ask(&server, "shop", "root_cause_analysis", json!({"since": "15m"})).await;
    assert_eq!(cause["verdict"], "insufficient_evidence", "{cause}");
    let told = ask(&server, "shop", "get_anomaly_timeline", json!({"since": "15m"})).await;
    assert_eq!(rows(&told, "anomalies"), Vec::<Value>::new(), "{told}");
}

/// Steps of a batch, three minutes.
const BATCH: u64 = 18;
/// Seconds that have passed since.
const LATE: u64 = 360;
/// Seconds of a step where three hours are asked about.
const LONG_STEP: u64 = 120;
/// Requests in a step before it.
const PLAIN: u64 = 10;
/// Services with their requests in a step of the batch: on earlier days, and today.
const SERVICES: [(&str, u64, u64); 5] =
    [("nightly", 50, 50), ("grown", 50, 200), ("sudden", PLAIN, 50), ("asleep", 0, 0), ("dead", PLAIN, 0)];

/// A request to the service of a number, in a second.
fn work(number: u64, second: u64, request: u64) -> Span {
    let mut span = span(0, 1, None, "GET /work", SERVER);
    let trace = u128::from(second) << 16 | u128::from(number << 12 | request);
    span.trace_id = trace.to_be_bytes().to_vec();
    span.start_time_unix_nano = second * 1_000_000_000;
    span.end_time_unix_nano = span.start_time_unix_nano + 5_000_000;
    span
}

/// Requests of a service in the steps up to a second: ten in each, then so many in each step of the batch.
async fn batch(server: &Server, (service, number): (&str, u64), until: u64, requests: u64) {
    let mut spans = Vec::new();
    for step in 0..WELL + BATCH {
        let second = until - (WELL + BATCH - step) * STEP;
        let requests = if step < WELL { PLAIN } else { requests };
        for request in 0..requests {
            spans.push(work(number, second, request));
        }
    }
    for part in spans.chunks(2_000) {
        export(server, "shop", &request(service, part.to_vec())).await;
    }
}

/// The services whose traffic is told to have changed in the time since `since`.
async fn changed(server: &Server, since: &str) -> BTreeSet<String> {
    let ask = ask(server, "shop", "get_anomaly_timeline", json!({"since": since, "limit": 500}));
    let found = rows(&ask.await, "anomalies");
    let of_traffic = found.iter().filter(|row| row["kind"] == "traffic" || row["kind"] == "silence");
    of_traffic.map(|row| row["service"].as_str().unwrap().to_owned()).collect()
}

/// Steps in which nobody is heard, and those after them.
const GAP: (u64, u64) = (30, 12);

#[tokio::test]
async fn a_time_in_which_nobody_is_heard_makes_nobody_silent_but_who_does_not_come_back() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / STEP * STEP;
    let (unheard, after) = GAP;
    for (number, service) in (0_u64..).zip(["steady", "other", "gone"]) {
        let well = (0..WELL).map(|step| now - (WELL + unheard + after - step) * STEP);
        let back = (0..after).map(|step| now - (after - step) * STEP).filter(|_| service != "gone");
        let mut spans = Vec::new();
        for second in well.chain(back) {
            for request in 0..PLAIN {
                spans.push(work(number, second, request));
            }
        }
        export(&server, "shop", &request(service, spans)).await;
    }
    server.settled().await;
    let told = changed(&server, "25m").await;
    assert_eq!(told, BTreeSet::from(["gone".to_owned()]));
}

#[tokio::test]
async fn what_earlier_days_show_at_the_same_time_is_no_anomaly() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    // Telemetry that is late by minutes makes nobody less busy.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - LATE;
    // Ten seconds into the last step of the long question, which holds little therefore.
    let now = now / LONG_STEP * LONG_STEP + STEP;
    // Earlier days are there before anybody looks at today.
    for days in [3, 2, 1, 0] {
        for (number, (service, earlier, today)) in (0..).zip(SERVICES) {
            let requests = if days == 0 { today } else { earlier };
            batch(&server, (service, number), now - days * 86_400, requests).await;
        }
        server.settled().await;
    }
    let unusual: BTreeSet<String> = ["dead", "grown", "sudden"].map(str::to_owned).into();
    assert_eq!(changed(&server, "25m").await, unusual);
    // Of three hours, steps are too long to show it: what is told was written down.
    let written = server
        .until("written down", || async {
            let told = changed(&server, "3h").await;
            (told.len() >= unusual.len()).then_some(told)
        })
        .await;
    assert_eq!(written, unusual);
    assert_eq!(changed(&server, "25m").await, unusual);
}
