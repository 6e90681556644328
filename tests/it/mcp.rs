//! The agent's tools on real data.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{ask, call, export, failed, request, rows, span, text};
use crate::server::Server;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

#[test]
fn the_list_of_tools_is_reviewed_as_a_file() {
    let path = crate::server::checkout().join("docs/reference/mcp-tools.json");
    let wanted = mcp_tools::tools_json();
    let mut sent: Value = serde_json::from_str(&wanted).unwrap();
    for tool in sent["tools"].as_array_mut().unwrap() {
        tool.as_object_mut().unwrap().remove("outputSchema");
    }
    let sent = sent.to_string();
    assert!(sent.len() < 20_000, "the list of tools takes {} bytes", sent.len());
    if fs::read_to_string(&path).unwrap_or_default() != wanted {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &wanted).unwrap();
        panic!("docs/reference/mcp-tools.json was out of date; it is written anew: review and commit it");
    }
}

#[test]
fn the_demo_ranks_every_planted_fault_first() {
    for (fault, service) in [
        ("bad-version", "payment"),
        ("error", "inventory"),
        ("latency", "recommendations"),
        ("dead-dependency", "cart"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_otelcontext"))
            .args(["demo", "--exit", "--fault", fault, "--service", service])
            .env_clear()
            .envs([("GRPC_PORT", "0"), ("OTLP_HTTP_PORT", "0"), ("HTTP_PORT", "0")])
            .current_dir(&folder)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{fault} in {service}:\n{told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(told.contains("tools/call") && told.contains("ranked first"), "{told}");
    }
}

/// A request through gateway and orders that fails in orders' database call.
async fn failing_shop(server: &Server) {
    let mut query = failed(span(7, 4, Some(3), "SELECT orders", CLIENT), "connection refused");
    query.attributes = vec![text("db.system.name", "postgresql"), text("db.namespace", "orders")];
    let gateway = vec![
        failed(span(7, 1, None, "GET /orders", SERVER), ""),
        failed(span(7, 2, Some(1), "GET", CLIENT), ""),
    ];
    export(
        server,
        "shop",
        &request("orders", vec![query, failed(span(7, 3, Some(2), "GET /list", SERVER), "")]),
    )
    .await;
    export(server, "shop", &request("gateway", gateway)).await;
    server.settled().await;
}

#[tokio::test]
async fn every_tool_answers_and_its_next_calls_are_valid() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    failing_shop(&server).await;
    let trace = "07".repeat(16);
    let asked = [
        ("get_service_map", json!({})),
        ("get_service_health", json!({})),
        ("root_cause_analysis", json!({"service": "gateway"})),
        ("impact_analysis", json!({"service": "orders"})),
        ("get_anomaly_timeline", json!({})),
        ("trace_graph", json!({"trace_id": trace})),
        ("search_logs", json!({"severity": "info"})),
        ("triage", json!({})),
        ("list_services", json!({})),
        ("search_traces", json!({})),
        ("get_log_patterns", json!({})),
        ("query_metrics", json!({})),
        ("what_changed", json!({})),
        ("compare_attributes", json!({})),
        ("test_hypothesis", json!({"cause": "orders"})),
        ("describe_data", json!({})),
        ("aggregate", json!({})),
        ("get_evidence", json!({"ids": format!("trace:{trace}")})),
        ("investigation", json!({"action": "resume"})),
    ];
    assert!(mcp_tools::TOOL_NAMES.iter().all(|tool| asked.iter().any(|(name, _)| name == tool)));
    for (tool, arguments) in asked {
        let answer = ask(&server, "shop", tool, arguments).await;
        assert!(!answer["summary"].as_str().unwrap().is_empty(), "{tool}: {answer}");
        assert!(answer["window"]["as_of"].is_string(), "{tool}: {answer}");
        for next in answer["next"].as_array().unwrap_or(&Vec::new()) {
            ask(&server, "shop", next["tool"].as_str().unwrap(), next["arguments"].clone()).await;
        }
    }
    let impact = ask(&server, "shop", "impact_analysis", json!({"service": "orders"})).await;
    let affected = rows(&impact, "affected");
    assert!(affected.iter().any(|row| row["service"] == "gateway" && row["share"] == 1), "{impact}");
    assert!(
        !affected.iter().any(|row| row["service"] == "postgresql/orders"),
        "impact must walk to callers: {impact}"
    );
    let slower = json!({"service": "orders", "caller": "gateway", "added_latency_ms": 250});
    let slower = ask(&server, "shop", "impact_analysis", slower).await;
    let entry = rows(&slower, "affected").into_iter().find(|row| row["operation"] == "GET /orders").unwrap();
    assert_eq!((&entry["share"], &entry["added_ms"]), (&json!(1), &json!(250)), "{slower}");
    assert!(entry["mean_ms"].as_f64().unwrap() > 0.0, "{slower}");
    assert!(slower["summary"].as_str().unwrap().contains("would take 250 ms longer"), "{slower}");
    let nobody = json!({"service": "gateway", "caller": "orders"});
    let nobody = ask(&server, "shop", "impact_analysis", nobody).await;
    assert!(nobody["why_empty"].as_str().unwrap().contains("no calls of orders"), "{nobody}");
    let graph = ask(&server, "shop", "trace_graph", json!({"trace_id": trace})).await;
    let origin: Vec<Value> = rows(&graph, "spans").into_iter().filter(|row| row["origin"] == true).collect();
    assert_eq!(origin.len(), 1, "{graph}");
    assert_eq!(origin[0]["operation"], "SELECT orders");
}

#[tokio::test]
async fn unknown_names_are_answered_with_the_nearest() {
    let server = Server::start(&[]).await;
    failing_shop(&server).await;
    let cases = [
        ("root_cause_analysis", json!({"service": "gatewya"}), "did you mean `gateway`?"),
        (
            "impact_analysis",
            json!({"service": "orders", "operation": "GET /lsit"}),
            "did you mean `GET /list`?",
        ),
        ("impact_analysis", json!({"service": "orders", "caller": "gatewya"}), "did you mean `gateway`?"),
        ("impact_analysis", json!({"service": "orders", "added_latency_ms": -1}), "from 0 to 600000"),
        ("get_service_map", json!({"servce": "gateway"}), "did you mean `service`?"),
        ("get_service_map", json!({"since": "yesterday"}), "RFC 3339"),
        ("search_logs", json!({"query": "\"unfinished"}), "quot"),
    ];
    for (tool, arguments, wanted) in cases {
        let message = call(&server, "shop", tool, arguments).await;
        assert_eq!(message["result"]["isError"], true, "{message}");
        let told = message["result"]["content"][0]["text"].as_str().unwrap();
        assert!(told.contains(wanted), "{tool}: {told}");
    }
    let nothing = ask(&server, "stranger", "get_service_map", json!({})).await;
    assert!(nothing["why_empty"].is_string(), "{nothing}");
}
