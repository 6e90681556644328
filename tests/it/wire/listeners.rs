//! Agents that want to listen, and agents that do not read: who listens holds a place of its tenant's and nothing else, and an
//! answer that nobody reads costs its own bytes and nobody else anything.

use std::time::{Duration, Instant};

use otelcontext::model::batch::Signal;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{call, request, rows, span};
use crate::server::Server;

use super::agents;
use super::{PROTOBUF, accepted, grown_bytes, is_well, peak_bytes, post};

const LISTENERS: usize = 100;
/// Most of one tenant who listen to anomalies.
const PLACES: usize = 64;
/// Bytes that a client's side of a connection takes before it is read.
const RECEIVED_MAX: u32 = 4 << 10;
/// What the server may need for all who listen beyond what it needed before.
const MEMORY_MAX: u64 = 32 << 20;

/// Sends `text` over a connection that takes little in without being read.
async fn unread(server: &Server, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVED_MAX).unwrap();
    let mut stream = socket.connect(server.http.parse().unwrap()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// A call of MCP as text for a connection.
fn posted(revision: &str, method: &str, name: &str, params: serde_json::Value, more: &str) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let name = if name.is_empty() { String::new() } else { format!("mcp-name: {name}\r\n") };
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: {revision}\r\n\
         mcp-method: {method}\r\n{name}{more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Exports a span over HTTP; answers how long its acknowledgement took.
async fn acknowledged(server: &Server, number: u8) -> Duration {
    let body = request("shop", vec![span(2, number, None, "work", 2)]).encode_to_vec();
    let began = Instant::now();
    accepted(&post(&server.otlp_http, Signal::Traces, &[PROTOBUF], body).await, PROTOBUF, "an export");
    began.elapsed()
}

/// A call to listen in the newest revision, as text for a connection.
fn listening(filter: &serde_json::Value, more: &str) -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    posted("2026-07-28", "subscriptions/listen", "", json!({"notifications": filter, "_meta": meta}), more)
}

#[tokio::test]
async fn j14_whoever_waits_for_what_never_comes_is_let_go_at_once() {
    let server = Server::start(&[("API_RATE_LIMIT_RPS", "0")]).await;
    let filter = json!({"toolsListChanged": true, "resourceSubscriptions": ["otelcontext://service-map"]});
    let get = |more: &str| {
        format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{more}connection: close\r\n\r\n"
        )
    };
    let before = peak_bytes(&server);
    for (text, wanted) in [
        (get("mcp-protocol-version: 2025-11-25\r\n"), "405"),
        (get("mcp-protocol-version: 2025-11-25\r\nmcp-session-id: 1\r\nlast-event-id: 7\r\n"), "405"),
        (get("mcp-protocol-version: 2026-07-28\r\n"), "405"),
        // The stream of the newest revision is an answer to a call.
        (listening(&filter, "connection: close\r\n"), "200"),
    ] {
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            listeners.push(unread(&server, &text).await);
        }
        let took = acknowledged(&server, 1).await;
        assert!(took < Duration::from_secs(2), "an acknowledgement took {took:?}");
        for mut listener in listeners {
            let mut answer = String::new();
            // To its end: nothing is held open.
            let read = tokio::time::timeout(Duration::from_secs(10), listener.read_to_string(&mut answer));
            read.await.unwrap_or_else(|_| panic!("held open: {text}")).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
            assert!(head.starts_with(&format!("HTTP/1.1 {wanted} ")), "{answer}");
            match wanted {
                "405" => assert!(head.to_ascii_lowercase().contains("allow: post"), "{answer}"),
                _ => {
                    let (first, last) = body.split_once("\n\n").expect(&answer);
                    assert!(first.contains("subscriptions/acknowledged"), "{answer}");
                    assert!(first.contains("\"notifications\":{}"), "{answer}");
                    assert!(last.contains("\"result\""), "{answer}");
                }
            }
        }
    }
    let grown = grown_bytes(&server, before);
    assert!(grown < MEMORY_MAX, "{} MiB for {LISTENERS} listeners", grown >> 20);
    is_well(&server).await;
}

#[tokio::test]
async fn j14_listeners_that_read_nothing_hold_their_places_and_nothing_else() {
    // Whoever waits for the end of requests waits for half of it.
    let mut server = Server::start(&[("API_RATE_LIMIT_RPS", "0"), ("SHUTDOWN_TIMEOUT_MS", "60000")]).await;
    let filter = json!({"resourceSubscriptions": ["otelcontext://anomalies"]});
    let count = || server.metric("otelcontext_mcp_listeners");
    let until = |wanted: f64| {
        server.until("listened to", move || async move { (count().await == wanted).then_some(()) })
    };
    let before = peak_bytes(&server);
    let mut listeners = Vec::new();
    for _ in 0..PLACES {
        listeners.push(unread(&server, &listening(&filter, "")).await);
    }
    until(PLACES as f64).await;
    let grown = grown_bytes(&server, before);
    println!("{PLACES} listeners: {} KiB", grown >> 10);
    assert!(grown < MEMORY_MAX, "{} MiB for {PLACES} listeners", grown >> 20);
    // One more of the tenant is one too many, one of another is not.
    let mut refused = unread(&server, &listening(&filter, "connection: close\r\n")).await;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), refused.read_to_string(&mut answer));
    read.await.expect("held open").unwrap();
    assert!(answer.contains("-32000") && answer.contains("instead"), "{answer}");
    let other = unread(&server, &listening(&filter, "x-tenant-id: other\r\n")).await;
    until(PLACES as f64 + 1.0).await;
    let took = acknowledged(&server, 1).await;
    assert!(took < Duration::from_secs(2), "an acknowledgement took {took:?}");
    let answer = call(&server, "default", "get_service_map", json!({})).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    is_well(&server).await;
    // Places of leavers are free again.
    listeners.truncate(PLACES / 2);
    until(PLACES as f64 / 2.0 + 1.0).await;
    let began = Instant::now();
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "the stop waited for listeners: {took:?}");
    drop((listeners, other));
}

#[tokio::test]
async fn j14_answers_that_nobody_reads_hold_up_nothing() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0"), ("API_RATE_LIMIT_RPS", "0")]).await;
    agents::store_lines(&server, 500).await;
    let arguments = json!({"since": "1970-01-02T00:00:00Z", "limit": 500, "max_tokens": 20_000});
    let mut answer_bytes = 0;
    // What it takes to answer, when answers are read.
    for _ in 0..LISTENERS / 4 {
        answer_bytes = call(&server, "default", "search_logs", arguments.clone()).await.to_string().len();
    }
    assert!(100_000 < answer_bytes, "an answer of {answer_bytes} bytes proves nothing");

    let count =
        || server.metric("otelcontext_mcp_tool_invocations_total{tool=\"search_logs\",status=\"ok\"}");
    let (before, mut known) = (peak_bytes(&server), count().await);
    let params =
        json!({"name": "search_logs", "arguments": arguments, "_meta": {"progressToken": "never read"}});
    let text = posted("2025-11-25", "tools/call", "search_logs", params, "");
    let mut clients = Vec::new();
    for number in 0..LISTENERS {
        clients.push(unread(&server, &text).await);
        known += 1.0;
        server.until("answered", || async { (count().await >= known).then_some(()) }).await;
        if number % 10 == 0 {
            let took = acknowledged(&server, number as u8 + 1).await;
            assert!(
                took < Duration::from_secs(2),
                "an acknowledgement took {took:?} beside {number} clients"
            );
        }
    }
    let grown = grown_bytes(&server, before);
    println!("{LISTENERS} unread answers of {answer_bytes} bytes: {} KiB", grown >> 10);
    let most = (2 * LISTENERS * answer_bytes) as u64;
    assert!(grown < most, "{} MiB for {LISTENERS} answers of {answer_bytes} bytes", grown >> 20);
    // More of them are unread than may be worked on at once, and others are still answered.
    let answer = call(&server, "default", "get_service_health", json!({})).await;
    assert_eq!(rows(&answer["result"]["structuredContent"], "services").len(), 1, "{answer}");
    server.settled().await;
    is_well(&server).await;
    // What was not read is there for whoever does.
    let mut first = vec![0; 12];
    clients[0].read_exact(&mut first).await.unwrap();
    assert_eq!(first, b"HTTP/1.1 200");
}
