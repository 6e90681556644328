//! Probes and metrics.

use crate::client::{export, request, span};
use crate::server::Server;

#[tokio::test]
async fn probes_answer_and_counters_exist_from_the_start() {
    let server = Server::start(&[]).await;
    let get = |path: &str| reqwest::get(format!("http://{}{path}", server.http));
    assert_eq!(get("/live").await.unwrap().status(), 200);
    let ready: serde_json::Value =
        serde_json::from_str(&get("/ready").await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["checks"]["replay"]["ok"], true);
    for path in ["/metrics", "/metrics/prometheus"] {
        let text = get(path).await.unwrap().text().await.unwrap();
        for name in [
            "otelcontext_ingest_accepted_total{signal=\"logs\"} 0",
            "otelcontext_ingest_pipeline_dropped_total{signal=\"traces\",reason=\"queue_full\"} 0",
            "otelcontext_journal_bytes ",
            "otelcontext_mcp_tool_invocations_total{tool=\"root_cause_analysis\",status=\"ok\"} 0",
            "otelcontext_process_resident_memory_bytes ",
        ] {
            assert!(text.contains(name), "{path} lacks {name}:\n{text}");
        }
    }
}

#[tokio::test]
async fn accounts_add_up() {
    let server = Server::start(&[]).await;
    let message = request("shop", vec![span(1, 1, None, "GET /", 2), span(1, 2, Some(1), "work", 1)]);
    export(&server, "a", &message).await;
    export(&server, "a", &message).await;
    server.settled().await;
    assert_eq!(server.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await, 4.0);
    assert_eq!(server.metric("otelcontext_ingest_stored_total{signal=\"traces\"}").await, 2.0);
    assert_eq!(server.metric("otelcontext_ingest_duplicate_spans_total").await, 2.0);
}

/// All telemetry passes through the one thread that writes the database, one statement after the other: while it waits for a
/// processor nothing else can do its work.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_thread_that_writes_the_database_goes_ahead_of_all_that_answer_and_prepare() {
    let server = Server::start(&[]).await;
    export(&server, "a", &request("shop", vec![span(1, 1, None, "GET /", 2)])).await;
    server.settled().await;
    let threads = server.threads();
    let of = |name: &str| -> Vec<i32> {
        threads.iter().filter(|(found, _)| found.starts_with(name)).map(|(_, nice)| *nice).collect()
    };
    let others = *of("tokio-rt").iter().min().unwrap();
    assert!(
        of("ahead").iter().all(|nice| *nice < others) && of("ahead").len() == 1,
        "started below `nice -n 19`? {threads:?}"
    );
    let ahead = of("sqlx-sqlite").iter().filter(|nice| **nice < others).count();
    assert_eq!(ahead, 1, "the writer, and none of those that read: {threads:?}");
}
