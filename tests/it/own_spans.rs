//! What the server is asked is told as spans of its own, to another server, and costs no question anything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{call, export, request, rows, span};
use crate::server::Server;

const DROPPED: &str = "otelcontext_self_spans_dropped_total";
const EXPORTED: &str = "otelcontext_self_spans_exported_total";

/// The trace of this number, as 32 hexadecimal digits.
fn trace(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

/// The trace context of a client's span in that trace.
fn traceparent(number: u8) -> String {
    format!("00-{}-{}-01", trace(number), "cd".repeat(8))
}

/// Asks over MCP, in a trace where one is given; answers the JSON-RPC message.
async fn ask(server: &Server, method: &str, mut params: Value, traceparent: Option<String>) -> Value {
    if let Some(traceparent) = traceparent {
        params["_meta"] = json!({"traceparent": traceparent});
    }
    let answer = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .header("x-tenant-id", "shop")
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
        .send()
        .await
        .unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

async fn tool(server: &Server, name: &str, arguments: Value, number: u8) -> Value {
    ask(server, "tools/call", json!({"name": name, "arguments": arguments}), Some(traceparent(number))).await
}

/// Waits until `target` shows the one span of that trace, as the row of `trace_graph`.
async fn span_of(target: &Server, tenant: &str, number: u8) -> Value {
    let arguments = json!({"trace_id": trace(number)});
    target
        .until("shown", || async {
            let message = call(target, tenant, "trace_graph", arguments.clone()).await;
            let answer = &message["result"]["structuredContent"];
            let spans = rows(answer, "spans");
            assert!(spans.len() < 2, "{answer}");
            spans.into_iter().next()
        })
        .await
}

/// Checks name, status and some attributes of a span.
fn check(found: &Value, operation: &str, status: &str, attributes: &[(&str, &str)]) {
    assert_eq!((&found["operation"], &found["status"]), (&json!(operation), &json!(status)), "{found}");
    assert_eq!((&found["kind"], &found["service"]), (&json!("server"), &json!("asked")), "{found}");
    for (key, value) in attributes {
        assert_eq!(found["attributes"][key], *value, "{key}: {found}");
    }
    assert!(!found.to_string().contains("shop"), "it tells of a tenant: {found}");
}

/// Starts a server that tells `target` of its questions, as the tenant `ops`, with further variables.
async fn telling(target: &Server, more: &[(&str, &str)]) -> Server {
    let told = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", target.grpc.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant-id=ops"),
        ("OTEL_SERVICE_NAME", "asked"),
    ];
    Server::start(&[&told[..], more].concat()).await
}

#[tokio::test]
async fn every_question_is_a_span_in_its_clients_trace() {
    let target = Server::start(&[]).await;
    let server = telling(&target, &[]).await;
    let map = json!({"uri": "otelcontext://service-map"});
    tool(&server, "list_services", json!({}), 1).await;
    tool(&server, "get_service_health", json!({"servce": "shop"}), 2).await;
    tool(&server, "tool-of-shop", json!({}), 3).await;
    ask(&server, "resources/read", map, Some(traceparent(4))).await;
    for (number, path) in [(5, "/api/v1/services"), (6, "/api/v1/traces/shop")] {
        let question = reqwest::Client::new().get(format!("http://{}{path}", server.http));
        question.header("traceparent", traceparent(number)).send().await.unwrap();
    }
    // What only lists is no question, and what a client does not want recorded is not.
    ask(&server, "tools/list", json!({}), Some(traceparent(7))).await;
    let silent = traceparent(8).replace("-01", "-00");
    ask(&server, "tools/call", json!({"name": "list_services", "arguments": {}}), Some(silent)).await;
    // This one has no trace yet, and is the last.
    ask(&server, "tools/call", json!({"name": "describe_data", "arguments": {}}), None).await;

    let found = span_of(&target, "ops", 1).await;
    let known = [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "list_services"),
        ("mcp.protocol.version", "2025-11-25"),
    ];
    check(&found, "tools/call list_services", "unset", &known);
    let tokens: u64 = found["attributes"]["otelcontext.answer.tokens"].as_str().unwrap().parse().unwrap();
    assert!(0 < tokens, "{found}");
    let found = span_of(&target, "ops", 2).await;
    check(&found, "tools/call get_service_health", "ok", &[("error.type", "tool_error")]);
    let found = span_of(&target, "ops", 3).await;
    check(&found, "tools/call", "ok", &[("error.type", "-32602")]);
    assert!(found["attributes"]["gen_ai.tool.name"].is_null(), "{found}");
    let found = span_of(&target, "ops", 4).await;
    check(&found, "resources/read", "unset", &[("gen_ai.tool.name", "get_service_map")]);
    let found = span_of(&target, "ops", 5).await;
    let known = [
        ("http.request.method", "GET"),
        ("http.route", "/api/v1/services"),
        ("http.response.status_code", "200"),
    ];
    check(&found, "GET /api/v1/services", "unset", &known);
    let found = span_of(&target, "ops", 6).await;
    check(&found, "GET /api/v1/traces/{trace_id}", "unset", &[("http.response.status_code", "400")]);

    server.until("told", || async { (server.metric(EXPORTED).await == 7.0).then_some(()) }).await;
    target.settled().await;
    let listed = call(&target, "ops", "search_traces", json!({"service": "asked"})).await;
    let listed = rows(&listed["result"]["structuredContent"], "traces");
    assert_eq!(listed.len(), 7, "{listed:?}");
    assert!(listed.iter().any(|row| row["operation"] == "tools/call describe_data"), "{listed:?}");
    assert_eq!(server.metric(DROPPED).await, 0.0);
    let counted = "otelcontext_mcp_tool_duration_seconds_count{tool=\"list_services\"}";
    assert_eq!(server.metric(counted).await, 2.0);
    assert!(0.0 < server.metric("otelcontext_mcp_answer_tokens_total{tool=\"list_services\"}").await);
}

#[tokio::test]
async fn what_the_server_fails_at_is_an_error() {
    let target = Server::start(&[]).await;
    let server = telling(&target, &[("OTELCONTEXT_CRASH_AT", "panic:query.summed:1")]).await;
    export(&server, "shop", &request("shop", vec![span(1, 1, None, "GET /", 2)])).await;
    server.settled().await;
    let failed = tool(&server, "get_service_health", json!({}), 1).await;
    assert_eq!(failed["error"]["code"], -32_000, "{failed}");
    let found = span_of(&target, "ops", 1).await;
    check(&found, "tools/call get_service_health", "error", &[("error.type", "-32000")]);

    let server = telling(&target, &[("OTELCONTEXT_CRASH_AT", "panic:api.asked:1")]).await;
    let question = reqwest::Client::new().get(format!("http://{}/api/v1/services", server.http));
    let failed = question.header("traceparent", traceparent(2)).send().await.unwrap();
    assert_eq!(failed.status(), 500);
    let found = span_of(&target, "ops", 2).await;
    check(&found, "GET /api/v1/services", "error", &[("error.type", "500")]);
}

#[tokio::test]
async fn a_stop_sends_what_waits_and_a_target_without_headers_takes_it_for_its_default_tenant() {
    let target = Server::start(&[]).await;
    let endpoint = format!("http://{}", target.grpc);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SERVICE_NAME", "asked")];
    let mut server = Server::start(&variables).await;
    tool(&server, "list_services", json!({}), 1).await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    check(&span_of(&target, "default", 1).await, "tools/call list_services", "unset", &[]);
}

#[tokio::test]
async fn a_target_that_is_away_holds_up_no_answer_and_no_stop() {
    // One port that refuses, and one that takes connections and never says a word.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    for (endpoint, drops_soon) in [("127.0.0.1:1", true), (silent.as_str(), false)] {
        let mut server = Server::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).await;
        let began = Instant::now();
        for number in 0..20 {
            let answer = tool(&server, "list_services", json!({}), number + 1).await;
            assert_eq!(answer["result"]["isError"], false, "{answer}");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{endpoint}: {:?}", began.elapsed());
        if drops_soon {
            server.until("dropped", || async { (server.metric(DROPPED).await == 20.0).then_some(()) }).await;
            assert_eq!(server.metric("otelcontext_self_spans_dropped_total{reason=\"failed\"}").await, 20.0);
            assert!(server.log().contains("could not be exported"), "{}", server.log());
        }
        assert_eq!(server.metric(EXPORTED).await, 0.0, "{endpoint}");
        assert_eq!(server.terminate().await, Some(0), "{endpoint}: {}", server.log());
    }
}

#[tokio::test]
async fn nothing_is_told_unless_it_is_asked_for() {
    let target = Server::start(&[]).await;
    let silent = Server::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).await;
    tool(&silent, "list_services", json!({}), 1).await;
    // A server that tells shows that the time for telling has passed.
    let telling = telling(&target, &[]).await;
    tool(&telling, "list_services", json!({}), 2).await;
    span_of(&target, "ops", 2).await;
    assert_eq!(silent.metric(EXPORTED).await + silent.metric(DROPPED).await, 0.0);
    assert_eq!(target.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await, 1.0);
    let text = reqwest::get(format!("http://{}/metrics", silent.http)).await.unwrap().text().await.unwrap();
    for line in [
        "otelcontext_self_spans_exported_total 0",
        "otelcontext_self_spans_dropped_total{reason=\"queue_full\"} 0",
        "otelcontext_mcp_answer_tokens_total{tool=\"triage\"} 0",
        "otelcontext_mcp_tool_duration_seconds_count{tool=\"triage\"} 0",
        "otelcontext_mcp_tool_invocations_total{tool=\"unknown\",status=\"error\"} 0",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[tokio::test]
async fn a_server_may_tell_itself_and_tells_no_more_than_it_was_asked() {
    // The port is not known before the server listens, so it starts again once it is.
    let mut server = Server::start(&[("OTEL_SERVICE_NAME", "asked")]).await;
    let grpc = server.grpc.clone();
    let (_, port) = grpc.rsplit_once(':').unwrap();
    server.terminate().await;
    let server = server.again(&[("GRPC_PORT", port), ("OTEL_EXPORTER_OTLP_ENDPOINT", &grpc)]).await;
    server.ready().await;
    // Had the first export made a span, it would go out with the second question's, or before.
    for number in 1..=2 {
        tool(&server, "describe_data", json!({}), number).await;
        let told = f64::from(number);
        server.until("told", || async { (told <= server.metric(EXPORTED).await).then_some(()) }).await;
    }
    assert_eq!(server.metric(EXPORTED).await, 2.0);
    check(&span_of(&server, "default", 1).await, "tools/call describe_data", "unset", &[]);
}
