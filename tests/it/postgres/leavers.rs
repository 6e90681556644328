//! Clients that leave in the middle of a question: the database stops working on it within a second, and what the question
//! held is there for the next one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::kept::Kept;
use super::server::Server as Postgres;
use crate::client::{call, export, request, span};
use crate::server::Server;
use crate::wire::process_of;

/// How soon nothing is worked on any more.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// As many statements of the operator as run at once.
const TURNS: usize = 2;
/// A statement that takes as long as it may, over 100 spans.
const HEAVY: &str =
    "SELECT count(*) AS n FROM v_spans AS a, v_spans AS b, v_spans AS c, v_spans AS d, v_spans AS e";

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It closes its connection.
    Closes,
    /// It resets the stream, and keeps the connection.
    Resets,
}

/// Asks the heavy question; ends when it is answered.
fn ask(server: &Server, channel: &Channel, way: Way) -> JoinHandle<()> {
    let url = format!("http://{}/api/v1/sql", server.http);
    match way {
        Way::Closes => tokio::spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let _ = client.post(url).body(HEAVY).send().await;
        }),
        Way::Resets => {
            let body = tonic::body::Body::new(http_body_util::Full::new(bytes::Bytes::from(HEAVY)));
            let question = http::Request::post(url).header("content-type", "application/sql").body(body);
            let channel = channel.clone();
            tokio::spawn(async move {
                let _ = channel.oneshot(question.unwrap()).await;
            })
        }
    }
}

/// How many statements over spans the database works on. On SQLite each keeps a thread of the server busy.
fn at_work(kept: &Kept, server: &Server) -> usize {
    match kept {
        Kept::Sqlite => {
            let tasks = process_of(server).join("task");
            let mut busy = BTreeSet::new();
            // A busy thread may be caught while it waits for a page.
            for _look in 0..10 {
                let statuses = std::fs::read_dir(&tasks)
                    .unwrap()
                    .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
                // The number, the name in brackets, the state.
                busy.extend(statuses.filter_map(|status| {
                    let (number, rest) = status.split_once(" (sqlx-sqlite")?;
                    rest.split_once(") ")?.1.starts_with('R').then(|| number.to_owned())
                }));
            }
            busy.len()
        }
        Kept::Postgres(name) => {
            let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                         AND backend_type = 'client backend' AND query LIKE '%v_spans%' AND pid <> pg_backend_pid()";
            tokio::task::block_in_place(|| Postgres::shared().sql(name, asked)).parse().unwrap()
        }
    }
}

/// A server on `kept` that knows a hundred spans.
async fn filled(kept: &Kept) -> Server {
    let server = kept.server(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let spans = (1..=100).map(|id| span(1, id, (id > 1).then_some(1), "work", 2)).collect();
    export(&server, "default", &request("shop", spans)).await;
    server.settled().await;
    server
}

/// Waits until the database works on `wanted` statements.
async fn until_at_work(kept: &Kept, server: &Server, wanted: usize) {
    let reached = || async { (at_work(kept, server) == wanted).then_some(()) };
    server.until(&format!("at work on {wanted} statements"), reached).await;
}

/// Waits until no question holds a connection. What looks after the index holds one now and then.
async fn until_given_back(server: &Server) {
    let free = || async { (server.metric("otelcontext_db_pool_in_use").await == 0.0).then_some(()) };
    server.until("free of questions", free).await;
}

async fn check(kept: Kept) {
    let server = filled(&kept).await;
    let channel = Channel::from_shared(format!("http://{}", server.http)).unwrap().connect().await.unwrap();
    until_at_work(&kept, &server, 0).await;
    for way in [Way::Closes, Way::Resets] {
        let clients: Vec<_> = (0..TURNS).map(|_| ask(&server, &channel, way)).collect();
        until_at_work(&kept, &server, TURNS).await;
        assert!(clients.iter().all(|client| !client.is_finished()), "it was answered: {}", server.log());
        let left = Instant::now();
        clients.iter().for_each(JoinHandle::abort);
        until_at_work(&kept, &server, 0).await;
        until_given_back(&server).await;
        let took = left.elapsed();
        println!("{kept:?}, {way:?}: nothing is worked on any more after {took:?}");
        assert!(took < STOPPED_WITHIN, "{way:?}: it went on for {took:?}");
        // Their turns and their connections were given back.
        let url = format!("http://{}/api/v1/sql?q=SELECT+count(*)+AS+n+FROM+v_spans", server.http);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), 200, "{way:?}: {}", server.log());
        assert_eq!(answer.json::<serde_json::Value>().await.unwrap()["rows"], json!([[100]]));
    }
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn j13_on_sqlite_a_question_stops_when_its_client_leaves() {
    check(Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn j13_on_postgres_a_question_stops_when_its_client_leaves() {
    check(Kept::on_postgres()).await;
}

/// An agent that leaves while the table that its call reads is locked, so that the call lasts as long as it may.
#[tokio::test(flavor = "multi_thread")]
async fn j13_a_call_of_an_agent_stops_when_the_agent_leaves() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let server = std::sync::Arc::new(filled(&kept).await);
    let count = |condition: &str| {
        let asked = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
        );
        tokio::task::block_in_place(|| Postgres::shared().sql(name, &asked)).parse::<usize>().unwrap()
    };
    // Questions alone: upkeep may wait for the table too.
    let waiting = || count("wait_event_type = 'Lock' AND query LIKE 'SELECT%'");
    let mut session = tokio::task::block_in_place(|| Postgres::shared().session(name));
    session.say("BEGIN; LOCK TABLE spans IN ACCESS EXCLUSIVE MODE;");
    server
        .until("locked", || async {
            (count("query LIKE 'LOCK TABLE%' AND state = 'idle in transaction'") == 1).then_some(())
        })
        .await;
    let before = waiting();
    let agents: Vec<_> = (0..3)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            let arguments = json!({"trace_id": "01".repeat(16)});
            tokio::spawn(async move { call(&server, "default", "trace_graph", arguments).await })
        })
        .collect();
    server.until("waiting", || async { (waiting() == before + agents.len()).then_some(()) }).await;
    let left = Instant::now();
    agents.iter().for_each(JoinHandle::abort);
    server.until("rid of them", || async { (waiting() == before).then_some(()) }).await;
    until_given_back(&server).await;
    let took = left.elapsed();
    println!("agents: nothing waits any more after {took:?}");
    assert!(took < STOPPED_WITHIN, "it went on for {took:?}");
    tokio::task::block_in_place(|| drop(session));
    let answer = call(&server, "default", "trace_graph", json!({"trace_id": "01".repeat(16)})).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}
