//! Agents as others build them: the Python client and the Inspector, in both eras of the protocol, and FastMCP.

use std::process::Command;

use serde_json::{Value, json};

use super::{TENANT, node, python, run, tool};
use crate::client::{export, failed, request, span};
use crate::server::Server;

/// A server with a failed request to ask about.
pub(super) async fn troubled() -> Server {
    const SERVER: i32 = 2;
    const CLIENT: i32 = 3;
    let server = Server::start(&[]).await;
    let spans = vec![
        span(1, 1, None, "POST /orders", SERVER),
        failed(span(1, 2, Some(1), "charge", CLIENT), "refused"),
    ];
    export(&server, TENANT, &request("shop", spans)).await;
    let spans = vec![failed(span(1, 3, Some(2), "POST /charge", SERVER), "card declined")];
    export(&server, TENANT, &request("payment", spans)).await;
    server.settled().await;
    server
}

/// A question to each tool.
fn questions() -> Value {
    json!({
        "get_service_map": {},
        "get_service_health": {"since": "15m"},
        "root_cause_analysis": {"service": "shop"},
        "impact_analysis": {"service": "payment"},
        "get_anomaly_timeline": {"limit": 5},
        "trace_graph": {"trace_id": "01".repeat(16)},
        "search_logs": {"query": "declined", "severity": "error"},
        "triage": {},
        "list_services": {"match": "pay"},
        "search_traces": {"status": "error", "sort": "most_errors"},
        "get_log_patterns": {"severity": "error"},
        "query_metrics": {"match": "queue"},
        "what_changed": {"since": "15m"},
        "compare_attributes": {"target": "window"},
        "test_hypothesis": {"cause": "payment"},
        "describe_data": {"service": "shop"},
        "aggregate": {"measure": "p95_ms", "step_s": 60},
        "get_evidence": {"ids": "operation:payment POST /charge"},
        "investigation": {"action": "resume"},
    })
}

async fn check_http(mode: &str, revision: &str) {
    let server = troubled().await;
    check_python(format!("http://{}/mcp", server.http), mode, revision).await;
}

/// The Python client finds every tool at a URL, or behind a command in JSON, and gets an answer from each.
pub(super) async fn check_python(reached: String, mode: &str, revision: &str) {
    let mut agent = python("agent.py");
    agent.args([reached, mode.to_owned(), questions().to_string()]);
    let report = run(agent).await.report();
    assert_eq!((&report["revision"], &report["server"]), (&json!(revision), &json!("otelcontext")));
    check_answers(&report);
}

/// Every tool was listed, and gave an answer that is the same as text and as structure.
fn check_answers(report: &Value) {
    for (tool, _) in questions().as_object().unwrap() {
        assert!(report["tools"].as_array().unwrap().contains(&json!(tool)), "{tool} is not listed");
        let answer = &report["answers"][tool];
        assert_eq!(answer["is_error"], false, "{tool}: {answer}");
        assert!(!answer["structured"]["summary"].as_str().unwrap().is_empty(), "{tool}: {answer}");
        let text: Value = serde_json::from_str(answer["text"][0].as_str().unwrap()).unwrap();
        assert_eq!(text, answer["structured"], "{tool}");
    }
    let spans = &report["answers"]["trace_graph"]["structured"]["tables"][0]["rows"];
    assert_eq!(spans.as_array().unwrap().len(), 3, "{spans}");
}

#[tokio::test]
async fn fastmcp_calls_every_tool() {
    let server = troubled().await;
    let mut agent = python("fast_agent.py");
    agent.args([format!("http://{}/mcp", server.http), questions().to_string()]);
    check_answers(&run(agent).await.report());
}

#[tokio::test]
async fn the_python_client_calls_every_tool_in_the_modern_era() {
    check_http("auto", "2026-07-28").await;
}

#[tokio::test]
async fn the_python_client_calls_every_tool_in_the_legacy_era() {
    check_http("legacy", "2025-11-25").await;
}

fn inspector(server: &Server, arguments: &[&str]) -> Command {
    let mut command = node::node();
    command
        .arg(tool("node/node_modules/.bin/mcp-inspector"))
        .args(["--cli", &format!("http://{}/mcp", server.http)]);
    command.args(["--format", "json"]).args(arguments);
    command
}

#[tokio::test]
async fn the_inspector_finds_no_fault_with_the_tools() {
    let server = troubled().await;
    for era in ["modern", "legacy"] {
        let ended =
            run(inspector(&server, &["--protocol-era", era, "--method", "tools/list", "--strict"])).await;
        let tools = ended.report()["result"]["tools"].clone();
        let names: Vec<_> =
            tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        for (tool, _) in questions().as_object().unwrap() {
            assert!(names.contains(&tool.as_str()), "{tool} is not among {names:?}");
        }
    }
}

#[tokio::test]
async fn the_inspector_calls_every_tool_in_both_eras() {
    let server = troubled().await;
    for era in ["modern", "legacy"] {
        for (tool, arguments) in questions().as_object().unwrap() {
            let arguments = arguments.to_string();
            let call = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &arguments];
            let report =
                run(inspector(&server, &[&["--protocol-era", era], &call[..]].concat())).await.report();
            let summary = report["result"]["structuredContent"]["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{tool} in the {era} era: {report}");
        }
    }
}
