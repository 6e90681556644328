//! The agent's tools on real data.

use std::fs;
use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
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

#[tokio::test]
async fn what_was_not_looked_at_is_not_counted_as_zero() {
    const PARTS: u64 = 3;
    const OF_PART: u64 = 4_000;
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    for part in 0..PARTS {
        let spans = (part * OF_PART..(part + 1) * OF_PART).map(|number| {
            let mut made = span(1, 1, None, "GET /", SERVER);
            made.trace_id = [1, number + 1].map(u64::to_be_bytes).concat();
            made.span_id = (number + 1).to_be_bytes().to_vec();
            // Five a second.
            let ago = (PARTS * OF_PART - number) * 200_000_000;
            made.start_time_unix_nano -= ago;
            made.end_time_unix_nano -= ago;
            made.attributes = vec![text("zone", "west")];
            made
        });
        export(&server, "shop", &request("gate", spans.collect())).await;
    }
    server.settled().await;
    let asked = json!({"group_by": "zone", "since": "1h", "step_s": 600});
    let answer = ask(&server, "shop", "aggregate", asked).await;
    assert_eq!(answer["coverage"]["state"], "partial", "{answer}");
    let group = &rows(&answer, "groups")[0];
    assert_eq!(group["count"], 10_000, "{answer}");
    let steps = group["steps"].as_array().unwrap();
    assert!(steps[0].is_null() && steps[1].is_null(), "{answer}");
    assert_eq!(steps.iter().filter_map(Value::as_u64).sum::<u64>(), 10_000, "{answer}");
    assert!(
        answer["warnings"][0].as_str().unwrap().contains("nothing was looked at in the first"),
        "{answer}"
    );
    let rate = json!({"group_by": "zone", "since": "1h", "measure": "rate"});
    let rate = ask(&server, "shop", "aggregate", rate).await;
    let per_second = rows(&rate, "groups")[0]["rate"].as_f64().unwrap();
    assert!((4.5..=5.1).contains(&per_second), "over the time that was looked at: {rate}");
}

#[tokio::test]
async fn a_log_pattern_that_never_was_is_new_however_seldom() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = span(1, 1, None, "", SERVER).start_time_unix_nano;
    let record = |minutes_ago: u64, severity_number: i32, body: &str| LogRecord {
        time_unix_nano: now - minutes_ago * 60_000_000_000,
        severity_number,
        body: text("", body).value,
        ..LogRecord::default()
    };
    // One that is as seldom was there before.
    let seldom = [2, 14].map(|ago| record(ago, 17, "lease of shard lost to another holder"));
    let mut log_records: Vec<LogRecord> = (1..30).map(|ago| record(ago, 9, "listening as ever")).collect();
    log_records.extend(seldom);
    log_records.push(record(3, 17, "deadlock detected while charging"));
    let resource = Resource { attributes: vec![text("service.name", "gate")], ..Resource::default() };
    let logs = ResourceLogs {
        resource: Some(resource),
        scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    let sent = reqwest::Client::new()
        .post(format!("http://{}/v1/logs", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", "shop")
        .body(ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    server.settled().await;
    let answer = ask(&server, "shop", "get_log_patterns", json!({"since": "10m"})).await;
    let patterns = rows(&answer, "patterns");
    let first = &patterns[0];
    assert!(first["pattern"].as_str().unwrap().starts_with("deadlock detected"), "{answer}");
    assert_eq!((&first["status"], &first["count"]), (&json!("new"), &json!(1)), "{answer}");
    let known: Vec<&Value> = patterns[1..].iter().map(|pattern| &pattern["status"]).collect();
    assert_eq!(known, ["steady", "steady"], "{answer}");
}
