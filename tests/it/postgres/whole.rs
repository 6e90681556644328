//! The whole server on Postgres: what goes in over OTLP is answered as on SQLite, to the letter.

use serde_json::{Value, json};

use super::kept::Kept;
use crate::api::{self, TRACE};
use crate::client;
use crate::server::Server;

/// What differs from one question to the next, whichever the database.
const OF_THE_MOMENT: [&str; 7] =
    ["next_cursor", "window", "as_of", "uptime_s", "now", "store_bytes", "cursor"];

/// Takes out what is of the moment.
pub(super) fn lasting(mut answer: Value) -> Value {
    match &mut answer {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
            for (_, value) in fields.iter_mut() {
                *value = lasting(value.take());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = lasting(value.take())),
        _ => {}
    }
    answer
}

/// The same telemetry in a server on either database, and a window that holds it.
async fn both() -> ([Server; 2], [String; 2]) {
    let kept = [Kept::Sqlite, Kept::on_postgres()];
    let servers = [kept[0].server(&NO_CACHE).await, kept[1].server(&NO_CACHE).await];
    let (start, window) = moment();
    for server in &servers {
        for (tenant, mark) in [("shop", "shop"), ("other", "other")] {
            api::fill_at(server, tenant, mark, start).await;
            api::searchable(server, tenant).await;
        }
    }
    (servers, window)
}

/// A moment well inside a minute of the recent past, so that no window cuts through what happens then, and a window
/// that holds it.
pub(super) fn moment() -> (u64, [String; 2]) {
    let start = (api::now() / 60_000_000_000 - 2) * 60_000_000_000 + 1_000_000_000;
    let minute = |after: i64| {
        let at = i128::from(start) - 1_000_000_000 + i128::from(after) * 60_000_000_000;
        jiff::Timestamp::from_nanosecond(at).unwrap().to_string()
    };
    (start, [minute(-10), minute(1)])
}

/// A question with its window.
pub(super) fn within(path: String, [from, to]: &[String; 2]) -> String {
    let has_no_window = ["since=", "/traces/", "/status", "/openapi"].iter().any(|part| path.contains(part));
    let join = if path.contains('?') { '&' } else { '?' };
    if has_no_window { path } else { format!("{path}{join}from={from}&to={to}") }
}

pub(super) const NO_CACHE: [(&str, &str); 1] = [("MCP_CACHE_TTL_MS", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn every_question_over_http_is_answered_as_on_sqlite() {
    let ([sqlite, postgres], window) = both().await;
    for path in api::questions("shop") {
        let path = within(path, &window);
        let wanted = lasting(api::ask(&sqlite, "shop", &path).await);
        let found = lasting(api::ask(&postgres, "shop", &path).await);
        assert_eq!(found, wanted, "{path}");
        assert!(!wanted.to_string().contains("other-front"), "{path}: {wanted}");
    }
    let trace = api::ask(&postgres, "shop", &format!("/traces/{TRACE}")).await;
    assert_eq!((api::items(&trace).len(), trace["logs"].as_array().unwrap().len()), (3, 3), "{trace}");
    let after_a_restart = {
        let (server, _) = postgres.crash_and_restart().await;
        lasting(api::ask(&server, "shop", &format!("/traces/{TRACE}")).await)
    };
    assert_eq!(after_a_restart, lasting(trace));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_answers_as_on_sqlite() {
    let ([sqlite, postgres], [since, until]) = both().await;
    let asked = [
        ("get_service_map", json!({})),
        ("get_service_health", json!({})),
        ("root_cause_analysis", json!({"service": "shop-front"})),
        ("impact_analysis", json!({"service": "shop-back"})),
        ("get_anomaly_timeline", json!({})),
        ("trace_graph", json!({"trace_id": TRACE})),
        ("search_logs", json!({"query": "took"})),
        ("search_logs", json!({"severity": "info"})),
        ("search_logs", json!({"trace_id": TRACE})),
        ("triage", json!({})),
        ("list_services", json!({"sort": "p95"})),
        ("search_traces", json!({"sort": "slowest"})),
        ("search_traces", json!({"service": "shop-back", "status": "error"})),
        ("get_log_patterns", json!({})),
        ("query_metrics", json!({})),
        ("query_metrics", json!({"metric": "shop.queue", "function": "last"})),
        ("what_changed", json!({})),
        ("compare_attributes", json!({"target": "slow"})),
        ("test_hypothesis", json!({"cause": "shop-back", "effect": "shop-front"})),
        ("describe_data", json!({})),
        ("aggregate", json!({"measure": "p95_ms", "group_by": "service,operation", "step_s": 60})),
        ("aggregate", json!({"group_by": "resource.service.name"})),
        ("aggregate", json!({"source": "logs", "group_by": "template,severity"})),
        ("get_evidence", json!({"ids": format!("trace:{TRACE}; template:1; series:1")})),
    ];
    for (tool, mut arguments) in asked {
        (arguments["since"], arguments["until"]) = (json!(since), json!(until));
        let wanted = lasting(client::ask(&sqlite, "shop", tool, arguments.clone()).await);
        let found = lasting(client::ask(&postgres, "shop", tool, arguments).await);
        assert_eq!(found, wanted, "{tool}");
    }
    let mut noted = Vec::new();
    for server in [&sqlite, &postgres] {
        let note = json!({"action": "write", "title": "slow", "text": "since noon", "evidence": format!("trace:{TRACE}")});
        client::ask(server, "shop", "investigation", note).await;
        let read = client::ask(server, "shop", "investigation", json!({"action": "resume", "id": 1})).await;
        let [mut notes, evidence] = ["notes", "evidence"].map(|table| client::rows(&read, table));
        assert_eq!(evidence[0]["state"], "same", "{read}");
        notes.iter_mut().for_each(|note| note["written"] = Value::Null);
        noted.push((notes, evidence));
    }
    assert_eq!(noted[0], noted[1]);
    let answer = client::ask(&postgres, "shop", "trace_graph", json!({"trace_id": TRACE})).await;
    assert_eq!(client::rows(&answer, "spans").len(), 3, "{answer}");
    let answer = client::ask(&postgres, "shop", "search_logs", json!({"query": "took"})).await;
    assert_eq!(client::rows(&answer, "logs").len(), 2, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metric_points_are_stored_as_they_came() {
    let kept = Kept::on_postgres();
    let mut server = kept.server(&[]).await;
    api::fill_at(&server, "shop", "shop", api::now()).await;
    assert_eq!(server.terminate().await, Some(0));
    let points = "SELECT e.name, e.unit, p.int_value FROM points p JOIN series e ON e.id = p.series_id";
    let rows = tokio::task::block_in_place(|| kept.asked(server.folder()).rows(points));
    assert_eq!(rows, ["shop.queue|1|3"]);
}
