//! What a crash leaves: everything that was acknowledged, once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use loadsim::run::{self, Options};
use loadsim::send::{self, Protocol};
use otelcontext::model::id::{OperationId, ServiceId, TraceId};
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::{UnixNanos, Window};
use otelcontext::store::Store;
use serde_json::json;

use crate::client::{ask, export, request, rows, span};
use crate::server::Server;

const EVERYTHING: Window = Window { from: UnixNanos(0), to: UnixNanos(i64::MAX) };

#[tokio::test(flavor = "multi_thread")]
async fn d2_every_acknowledged_span_survives_kill_9_once_and_the_graph_agrees_with_the_store() {
    let mut server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let ledger = server.folder().join("acknowledged");
    let load = tokio::spawn({
        let options = Options {
            send: send::Options {
                endpoint: server.grpc.clone(),
                protocol: Protocol::Grpc,
                tenant: "crash".into(),
                api_key: String::new(),
                timeout: Duration::from_secs(5),
                // What is not acknowledged before the kill must stay unacknowledged: nobody retries after it.
                retry_for: Duration::ZERO,
            },
            seed: 11,
            services: 40,
            spans_per_second: 20_000.0,
            duration: Duration::from_secs(8),
            warmup: Duration::ZERO,
            backfill: Duration::ZERO,
            connections: 8,
            batch: 512,
            chatter: 0.1,
            fault: None,
            ledger: Some(ledger.clone()),
            metrics_url: None,
        };
        async move { run::run(&options, |_, _| {}).await.unwrap() }
    });
    server
        .until("under load", || async {
            (server.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await > 60_000.0)
                .then_some(())
        })
        .await;
    let (restarted, took) = server.crash_and_restart().await;
    server = restarted;
    let report = load.await.unwrap();
    assert!(report.spans.unknown > 0, "the server was not killed in mid-load: {}", report.text());
    assert!(took < Duration::from_secs(5), "ready only after {took:?}");

    server.settled().await;
    let from_map = edges_of_the_map(&server).await;
    let ledger = std::fs::read_to_string(&ledger).unwrap();
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());

    let store =
        Store::open(otelcontext::store::options::Options::at(server.folder().join("data/otelcontext.db")))
            .await
            .unwrap();
    let tenant = store.names().find_tenant(&TenantId::try_from("crash").unwrap()).unwrap();
    let mut stored: HashMap<String, BTreeSet<String>> = HashMap::new();
    let mut acknowledged = 0;
    for line in ledger.lines() {
        let (trace, span) = line.split_once(' ').unwrap();
        acknowledged += 1;
        if !stored.contains_key(trace) {
            let found = store.trace(tenant, TraceId::from_hex(trace).unwrap(), 10_000).await.unwrap();
            let spans: Vec<String> =
                found.into_iter().flat_map(|found| found.spans).map(|row| row.span_id.to_string()).collect();
            let unique: BTreeSet<String> = spans.iter().cloned().collect();
            assert_eq!(unique.len(), spans.len(), "trace {trace} holds a span twice");
            stored.insert(trace.to_owned(), unique);
        }
        assert!(stored[trace].contains(span), "an acknowledged span is missing: {line}");
    }
    assert!(acknowledged > 60_000, "{acknowledged}");
    assert_eq!(from_map, recount(&store, tenant).await, "the graph and a full recount of the store differ");
    store.stop().await;
}

/// Calls and failures between services, as the graph counts them.
async fn edges_of_the_map(server: &Server) -> BTreeMap<(String, String), u64> {
    let arguments = json!({"since": "30m", "limit": 200, "max_tokens": 20000});
    let mut edges = BTreeMap::new();
    let mut cursor = None;
    loop {
        let mut arguments = arguments.clone();
        if let Some(cursor) = cursor {
            arguments["cursor"] = cursor;
        }
        let answer = ask(server, "crash", "get_service_map", arguments).await;
        for row in rows(&answer, "edges") {
            let name = |column: &str| row[column].as_str().unwrap().to_owned();
            edges.insert((name("from"), name("to")), row["calls"].as_u64().unwrap());
        }
        match answer.get("cursor") {
            Some(next) => cursor = Some(next.clone()),
            None => return edges,
        }
    }
}

/// Calls between services, counted from the stored spans alone.
async fn recount(
    store: &Store,
    tenant: otelcontext::model::id::TenantNumber,
) -> BTreeMap<(String, String), u64> {
    let name = |id: ServiceId| store.names().service_info(id).unwrap().name.to_string();
    let owner = |id: OperationId| store.names().operation_info(id).unwrap().service;
    let mut edges = BTreeMap::new();
    for edge in store.edges_recount(tenant, EVERYTHING).await.unwrap() {
        if edge.crosses {
            *edges.entry((name(owner(edge.from)), name(owner(edge.to)))).or_default() += edge.count;
        }
    }
    edges
}

#[tokio::test]
async fn a_request_that_is_sent_again_after_a_crash_is_stored_once() {
    let server = Server::start(&[]).await;
    let message = request("shop", (1..=50).map(|id| span(9, id, (id > 1).then_some(1), "work", 1)).collect());
    export(&server, "crash", &message).await;
    let (mut server, _) = server.crash_and_restart().await;
    export(&server, "crash", &message).await;
    server.settled().await;
    assert_eq!(server.metric("otelcontext_ingest_duplicate_spans_total").await, 50.0);
    assert_eq!(server.terminate().await, Some(0));
    let store =
        Store::open(otelcontext::store::options::Options::at(server.folder().join("data/otelcontext.db")))
            .await
            .unwrap();
    assert_eq!(store.counts(None).await.unwrap().spans, 50);
    store.stop().await;
}
