//! Agents that leave in the middle of a call: within a second nothing works on it any more, and its place is the next one's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{Stream, call, export, open, request, span, text};
use crate::server::Server;

/// How soon nothing is worked on any more.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// Spans that the slow call reads one by one, in parts that are exported at once.
const SPANS: [u32; 3] = [2_000; 3];
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Grouped by an attribute, so that every span is read.
fn slow() -> Value {
    json!({"name": "aggregate", "arguments": {"group_by": "customer"}})
}

/// A server with a place for one call, whose database stops for a fifth of a second now and then while it reads.
async fn hesitant() -> Arc<Server> {
    let variables = [
        ("MCP_MAX_CONCURRENT", "1"),
        ("MCP_CACHE_TTL_MS", "0"),
        ("OTELCONTEXT_CRASH_AT", "wait:store.looked:*"),
    ];
    let server = Server::start(&variables).await;
    let mut number = 0_u64;
    for part in SPANS {
        let spans = (0..part).map(|_| {
            number += 1;
            let mut span = span(1, 1, None, "GET /", 2);
            span.trace_id = u128::from(number).to_be_bytes().to_vec();
            span.attributes = vec![text("customer", "somebody")];
            span
        });
        export(&server, "default", &request("shop", spans.collect())).await;
    }
    server.settled().await;
    Arc::new(server)
}

/// Begins the slow call, and waits until it is worked on.
async fn begun(server: &Arc<Server>, revision: &'static str) -> JoinHandle<()> {
    loop {
        let asked = Arc::clone(server);
        let agent = tokio::spawn(async move {
            let answer = open(&asked, ("default", revision), ("tools/call", "aggregate"), slow()).await;
            println!("{revision}: {}", answer.text().await.unwrap());
        });
        let found = server
            .until("worked on", || async {
                if agent.is_finished() {
                    return Some(false);
                }
                let other = call(server, "default", "get_service_map", json!({})).await;
                (other["error"]["code"] == -32_000).then_some(true)
            })
            .await;
        // Where the other call was first, the slow one was refused.
        if found && !agent.is_finished() {
            return agent;
        }
    }
}

/// Checks that nothing is left of a call that was left at `left`, the `number`th.
async fn is_over(server: &Server, left: Instant, number: f64) {
    let cancelled = "otelcontext_mcp_tool_invocations_total{tool=\"aggregate\",status=\"cancelled\"}";
    server.until("counted", || async { (server.metric(cancelled).await == number).then_some(()) }).await;
    server
        .until("free for the next call", || async {
            let answer = call(server, "default", "get_service_map", json!({})).await;
            (answer["result"]["isError"] == false).then_some(())
        })
        .await;
    // What looks after the index holds a connection now and then.
    server
        .until("free of questions", || async {
            (server.metric("otelcontext_db_pool_in_use").await == 0.0).then_some(())
        })
        .await;
    let took = left.elapsed();
    println!("nothing is worked on any more after {took:?}");
    assert!(took < STOPPED_WITHIN, "it went on for {took:?}: {}", server.log());
}

#[tokio::test]
async fn j13_a_call_ends_when_its_agent_leaves_before_the_answer_begins() {
    let server = hesitant().await;
    for (number, revision) in (1_u8..).zip(REVISIONS) {
        let agent = begun(&server, revision).await;
        let left = Instant::now();
        agent.abort();
        is_over(&server, left, number.into()).await;
    }
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test]
async fn j13_a_call_ends_when_its_agent_leaves_after_it_heard_of_its_progress() {
    let server = hesitant().await;
    for (number, revision) in (1_u8..).zip(REVISIONS) {
        let mut params = slow();
        params["_meta"]["progressToken"] = json!("mine");
        let answer = open(&server, ("default", revision), ("tools/call", "aggregate"), params).await;
        let mut stream = Stream::of(answer);
        for seconds in 1..=2 {
            let told = stream.next().await.unwrap();
            assert_eq!(told["method"], "notifications/progress", "{told}");
            assert!(told["params"]["progress"].as_f64().unwrap() >= f64::from(seconds), "{told}");
        }
        let left = Instant::now();
        drop(stream);
        is_over(&server, left, number.into()).await;
    }
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}
