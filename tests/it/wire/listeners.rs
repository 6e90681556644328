//! Agents that want to listen, and agents that do not read: there are no streams to hold, and an answer that nobody reads
//! costs its own bytes and nobody else anything.

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

#[tokio::test]
async fn j14_whoever_wants_to_listen_is_refused_at_once() {
    let server = Server::start(&[("API_RATE_LIMIT_RPS", "0")]).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let filter = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
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
        // The stream of the newest revision is an answer to a call; the method is not there.
        (posted("2026-07-28", "subscriptions/listen", "", filter, "connection: close\r\n"), "404"),
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
                _ => assert!(body.contains("-32601"), "{answer}"),
            }
        }
    }
    let grown = grown_bytes(&server, before);
    assert!(grown < MEMORY_MAX, "{} MiB for {LISTENERS} listeners", grown >> 20);
    is_well(&server).await;
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
