//! What a crash leaves: everything that was acknowledged, once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use loadsim::oracle::entries::Entries;
use loadsim::oracle::item::Item;
use loadsim::run::{self, Options};
use loadsim::send::{self, Protocol, Signal};
use loadsim::watch;
use otelcontext::model::id::{ServiceId, SpanId, TenantNumber, TraceId};
use otelcontext::model::node::NodeKind;
use otelcontext::model::span::SpanKind;
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::{UnixNanos, Window};
use otelcontext::store::Store;
use otelcontext::store::read::exemplars::DetailsOf;
use otelcontext::store::read::summaries::{TraceAsk, TraceOrder};
use otelcontext::store::rows::SpanRow;
use serde_json::json;

use crate::client::{ask, export, request, rows, span};
use crate::server::Server;

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
            watch: watch::Options::default(),
            manner: run::Manner::default(),
        };
        async move { run::run(&options, |_, _| {}).await.unwrap() }
    });
    // More than is to be found, by what may be accepted and not answered yet: a request of 512 on each connection.
    server
        .until("under load", || async {
            (server.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await > 70_000.0)
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
    let ledger = Entries::read(&ledger).unwrap();
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());

    let store =
        Store::open(otelcontext::store::options::Options::at(server.folder().join("data/otelcontext.db")))
            .await
            .unwrap();
    let tenant = store.names().find_tenant(&TenantId::try_from("crash").unwrap()).unwrap();
    let traces = everything(&store, tenant).await;
    let mut acknowledged = 0;
    for Item { id: line, .. } in ledger.acknowledged(Signal::Traces) {
        let (trace, span) = line.split_at(32);
        let (trace, span) = (TraceId::from_hex(trace).unwrap(), SpanId::from_hex(span).unwrap());
        let found =
            traces.get(&trace).map_or(0, |spans| spans.iter().filter(|row| row.span_id == span).count());
        assert_eq!(found, 1, "an acknowledged span is stored {found} times: {line}");
        acknowledged += 1;
    }
    assert!(acknowledged > 60_000, "{acknowledged}");
    assert_eq!(from_map, recount(&store, &traces), "the graph and a full recount of the store differ");
    store.stop().await;
}

/// Every stored span of a tenant, by trace.
async fn everything(store: &Store, tenant: TenantNumber) -> HashMap<TraceId, Vec<SpanRow>> {
    let window = Window { from: UnixNanos(0), to: UnixNanos(i64::MAX) };
    let (services, operations) = (Vec::new(), Vec::new());
    let (failed, duration_min_ns, order, limit) = (None, None, TraceOrder::Newest, 1_000);
    let mut ask =
        TraceAsk { window, services, operations, failed, duration_min_ns, order, after: None, limit };
    let mut traces = HashMap::new();
    loop {
        let page = store.trace_summaries(tenant, &ask).await.unwrap();
        for part in page.items.chunks(200) {
            let keys: Vec<_> = part.iter().map(|summary| (summary.key, summary.trace_id)).collect();
            for trace in store.traces_by_key(tenant, &keys, 10_000, DetailsOf::All).await.unwrap() {
                traces.insert(trace.trace_id, trace.spans);
            }
        }
        match page.next {
            Some(next) => ask.after = Some(next),
            None => return traces,
        }
    }
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

/// Calls between nodes, counted from the stored spans alone.
fn recount(store: &Store, traces: &HashMap<TraceId, Vec<SpanRow>>) -> BTreeMap<(String, String), u64> {
    let name = |id: ServiceId| store.names().service_info(id).unwrap().name.to_string();
    let kind = |row: &SpanRow| row.dependency.map(|id| store.names().service_info(id).unwrap().kind);
    let mut edges: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut hosts: BTreeMap<(String, String), [u64; 2]> = BTreeMap::new();
    for spans in traces.values() {
        let by_id: HashMap<SpanId, &SpanRow> = spans.iter().map(|row| (row.span_id, row)).collect();
        let mut answered = HashSet::new();
        for row in spans {
            let parent =
                row.parent_id.and_then(|id| by_id.get(&id)).filter(|parent| parent.service != row.service);
            let Some(parent) = parent else { continue };
            answered.insert(parent.span_id);
            let over_queue = row.kind == SpanKind::CONSUMER
                && kind(row) == Some(NodeKind::Queue)
                && kind(parent) == Some(NodeKind::Queue);
            if !over_queue {
                *edges.entry((name(parent.service), name(row.service))).or_default() += 1;
            }
        }
        for row in spans {
            let Some(node) = row.dependency else { continue };
            let (from, to) = (name(row.service), name(node));
            match kind(row) {
                Some(NodeKind::External) => {
                    let host = hosts.entry((from, to)).or_default();
                    host[0] += 1;
                    host[1] += u64::from(answered.contains(&row.span_id));
                }
                _ if row.kind == SpanKind::CONSUMER => *edges.entry((to, from)).or_default() += 1,
                _ => *edges.entry((from, to)).or_default() += 1,
            }
        }
    }
    // A host most of whose calls an instrumented service answered is that service and not on the map.
    edges.extend(
        hosts
            .into_iter()
            .filter(|(_, [calls, answered])| 2 * answered < *calls)
            .map(|(edge, [calls, answered])| (edge, calls - answered)),
    );
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

#[tokio::test]
async fn d6_damage_in_the_journal_is_told_and_costs_what_was_there_alone() {
    let mut server = Server::start(&[]).await;
    for trace in 1..=9 {
        export(&server, "default", &request("shop", vec![span(trace, 1, None, "pay", 2)])).await;
    }
    server.kill();
    // Whatever was stored by then: the database is lost, so all of the journal is needed.
    for entry in std::fs::read_dir(server.folder().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("otelcontext.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    // The last segment that holds records; the one after it may be prepared and bare.
    let folder = server.folder().join("data/journal");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sized =
        files.filter(|path| path.is_file()).map(|path| (std::fs::metadata(&path).unwrap().len(), path));
    let (_, path) = sized.max().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    let server = server.again(&[]).await;
    server.ready().await;
    let damaged = server.metric("otelcontext_journal_damaged_bytes").await;
    assert!(damaged > 0.0, "{}", server.log());
    let ready = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap().text().await.unwrap();
    assert!(ready.contains(&format!("{damaged} bytes were damaged")), "{ready}");
    server.settled().await;
    let map = ask(&server, "default", "get_service_health", json!({"since": "1h"})).await;
    assert!(!rows(&map, "services").is_empty(), "the others are there: {map}");
    assert_eq!(server.metric("otelcontext_journal_missing_requests").await, 0.0);
}

/// Holds the database for itself until its input ends.
const HOLD: &str = "
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()
base.execute('ROLLBACK')
";

#[tokio::test]
async fn f4_a_database_that_another_program_holds_costs_nothing_that_was_acknowledged() {
    let server = Server::start(&[]).await;
    export(&server, "crash", &request("before", vec![span(1, 1, None, "work", 2)])).await;
    server.settled().await;
    let mut holder = Command::new("python3")
        .args(["-c", HOLD])
        .arg(server.folder().join("data/otelcontext.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is missing: apt-get install python3");
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    for number in 2..8 {
        export(&server, "crash", &request("during", vec![span(number, 1, None, "work", 2)])).await;
    }
    // The commit waits for the lock, gives up, and says so.
    server
        .until("waiting for the database", async || {
            let answer = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap();
            (answer.status() == 503 && answer.text().await.unwrap().contains("locked")).then_some(())
        })
        .await;
    assert_eq!(server.metric("otelcontext_ingest_stored_total").await, 1.0);
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    server.ready().await;
    server.settled().await;
    assert_eq!(server.metric("otelcontext_ingest_stored_total").await, 7.0);
}

#[tokio::test]
async fn a_journal_whose_requests_are_all_stored_is_let_go_of_after_a_crash() {
    let server = Server::start(&[]).await;
    export(&server, "crash", &request("before", vec![span(1, 1, None, "work", 2)])).await;
    server.settled().await;
    let (server, _) = server.crash_and_restart().await;
    // Nothing comes any more; were it full, nothing could.
    let first = || async {
        let files = std::fs::read_dir(server.folder().join("data/journal")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let old = names.filter(|name| name.starts_with("000000000001-")).count();
        (old == 0).then_some(())
    };
    server.until("let go of", first).await;
}
