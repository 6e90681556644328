//! Two servers on one database: one leads, the other waits and takes over.

use std::time::{Duration, Instant};

use super::kept::{Asked, Kept};
use super::server::Server as Postgres;
use super::{laws, load, oracle};
use crate::api;
use crate::client::{export, request, span};
use crate::door::Door;
use crate::server::Server;

const STORED: &str = "otelcontext_ingest_stored_total{signal=\"traces\"}";

/// Checks that a server waits for another: it lives, is not ready, and tells everybody to come again.
async fn stands_by(server: &Server) {
    server
        .until("standing by", || async {
            let ready = reqwest::get(format!("http://{}/ready", server.http)).await.ok()?;
            (ready.status() == 503 && ready.text().await.ok()?.contains("another server writes"))
                .then_some(())
        })
        .await;
    let live = reqwest::get(format!("http://{}/live", server.http)).await.unwrap();
    assert_eq!(live.status(), 200);
    let client = reqwest::Client::new();
    for (address, path) in [
        (&server.otlp_http, "/v1/traces"),
        (&server.http, "/v1/logs"),
        (&server.http, "/mcp"),
        (&server.http, "/api/v1/traces"),
    ] {
        let answer = client.post(format!("http://{address}{path}")).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        assert!(answer.text().await.unwrap().starts_with(r#"{"code":14,"#), "{path}");
    }
}

/// The trace ids, as 32 digits, of the spans that one test sends.
fn trace(number: u8) -> String {
    format!("{number:02x}").repeat(16)
}

/// Whether `server` answers a trace of `shop` with its one span.
async fn answers(server: &Server, number: u8) {
    let found = api::ask(server, "shop", &format!("/traces/{}", trace(number))).await;
    assert_eq!(api::items(&found).len(), 1, "{found}");
}

async fn send(server: &Server, number: u8) {
    export(server, "shop", &request("shop", vec![span(number, 1, None, "work", 2)])).await;
}

/// A server that ended, on a database with trace 1 of five days ago and trace 2 of today.
async fn with_an_old_day(kept: &Kept) -> Server {
    // It keeps seven days.
    let mut server = kept.server(&[("HOT_RETENTION_DAYS", "7")]).await;
    let mut old = span(1, 1, None, "old", 2);
    old.start_time_unix_nano -= 5 * 86_400_000_000_000;
    old.end_time_unix_nano = old.start_time_unix_nano + 1_000_000;
    export(&server, "shop", &request("shop", vec![old])).await;
    send(&server, 2).await;
    server.settled().await;
    assert_eq!(server.terminate().await, Some(0));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_takes_over_and_what_the_first_one_owes_comes_when_it_leads_again() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let postgres = Postgres::shared();
    let asked = || Asked::postgres(postgres, name);
    let first = with_an_old_day(&kept).await;
    let keeps = [("HOT_RETENTION_DAYS", "2"), ("MCP_CACHE_TTL_MS", "0")];
    let mut first = first.again(&keeps).await;
    first.ready().await;
    let second = kept.listening(&keeps).await;
    stands_by(&second).await;
    let dropped = "otelcontext_partitions_dropped_total";
    first.until("rid of the old day", || async { (first.metric(dropped).await >= 1.0).then_some(()) }).await;
    assert_eq!(second.metric(dropped).await, 0.0, "only the leader gives days up");
    let gone = api::get(&first, "shop", &format!("/api/v1/traces/{}", trace(1))).await;
    assert_eq!(gone.status, 404, "{}", gone.text);
    answers(&first, 2).await;

    // What cannot be stored is acknowledged all the same.
    let held = hold_commits(name);
    first
        .until("held", || async {
            asked_in_place(&asked, HOLDS).first().is_some_and(|row| row == "1").then_some(())
        })
        .await;
    send(&first, 3).await;
    first.kill();
    let killed = Instant::now();
    release_commits(name);
    held.await.unwrap();
    second.ready().await;
    let took = killed.elapsed();
    println!("took over after {took:?}");
    assert!(took < Duration::from_secs(30), "took over only after {took:?}");
    answers(&second, 2).await;
    let owed = api::get(&second, "shop", &format!("/api/v1/traces/{}", trace(3))).await;
    assert_eq!(owed.status, 404, "it was not stored: {}", owed.text);
    send(&second, 4).await;
    second.settled().await;
    answers(&second, 4).await;
    let given_up = second.metric(dropped).await;
    second
        .until("done with a round", || async {
            (second.metric("otelcontext_retention_last_success_timestamp").await > 0.0).then_some(())
        })
        .await;
    assert_eq!((given_up, second.metric(dropped).await), (0.0, 0.0), "the day is given up once");

    let first = first.again(&[]).await;
    stands_by(&first).await;
    let mut second = second;
    assert_eq!(second.terminate().await, Some(0), "{}", second.log());
    first.ready().await;
    first.settled().await;
    for number in 2..=4 {
        answers(&first, number).await;
    }
    // The tables of the old day stay a minute longer, for questions that began before.
    let spans = "SELECT encode(t.trace_id, 'hex') FROM spans s \
                 JOIN traces t ON t.day = s.day AND t.id = s.trace_row \
                 WHERE s.day * 86400::bigint + s.start_ns / 1000000000 > extract(epoch FROM now()) - 86400";
    assert_eq!(asked_in_place(&asked, spans), [trace(2), trace(3), trace(4)], "each once");
    let twice = "SELECT count(*) - count(DISTINCT (family, day)) FROM partitions";
    assert_eq!(asked_in_place(&asked, twice), ["0"]);
    let old = "SELECT count(*) FROM partitions WHERE retired IS NULL AND family < 3 \
               AND day < extract(epoch FROM now()) / 86400 - 4";
    assert_eq!(asked_in_place(&asked, old), ["0"]);
}

/// One where [`hold_commits`] has its lock.
const HOLDS: &str = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
     WHERE c.relname = 'applied' AND l.mode = 'ExclusiveLock' AND l.granted \
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn asked_in_place<'a>(asked: &impl Fn() -> Asked<'a>, sql: &str) -> Vec<String> {
    tokio::task::block_in_place(|| asked().rows(sql))
}

/// Keeps commits from their end until [`release_commits`].
fn hold_commits(name: &str) -> tokio::task::JoinHandle<()> {
    let name = name.to_owned();
    tokio::task::spawn_blocking(move || {
        let hold = "BEGIN; LOCK TABLE applied IN EXCLUSIVE MODE; \
                    DO $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END $$; ROLLBACK";
        Postgres::shared().sql(&name, hold);
    })
}

fn release_commits(name: &str) {
    let release = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                   AND pid <> pg_backend_pid() AND query LIKE 'BEGIN; LOCK TABLE applied%'";
    tokio::task::block_in_place(|| Postgres::shared().sql(name, release));
}

/// Ends the connection of the leader, once another server waits in the queue for its lock and is the next to have it: one that
/// has just begun, for each wait ends after two seconds.
const CUT: &str = "WITH locks AS (SELECT pid, granted, waitstart FROM pg_locks WHERE locktype = 'advisory' \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) \
     SELECT pg_terminate_backend(pid) FROM locks WHERE granted AND EXISTS \
     (SELECT 1 FROM locks WHERE NOT granted AND clock_timestamp() - waitstart < interval '1 second')";

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_loses_its_connection_under_load_loses_nothing() {
    let kept = Kept::on_postgres();
    let mut servers = [kept.server(&[]).await, kept.listening(&[]).await];
    stands_by(&servers[1]).await;
    let door = Door::open(&servers[0].grpc).await;
    let load = load::endless(&door.address, 17, 2_000.0);
    let stored = || async { (servers[0].metric(STORED).await > 2_000.0).then_some(()) };
    servers[0].until("storing", stored).await;
    let is_cut =
        || async { (!asked_in_place(&|| kept.asked(servers[0].folder()), CUT).is_empty()).then_some(()) };
    servers[0].until("cut off", is_cut).await;
    let [first, second] = &mut servers;
    // The one that was cut off gives up, so that whoever runs it starts it anew.
    second.ready().await;
    door.lead_to(&second.grpc);
    assert_ne!(first.ended().await, Some(0), "{}", first.log());
    let (_, _, ledgers) = load.end().await;
    second.settled().await;
    assert_eq!(second.terminate().await, Some(0), "{}", second.log());
    let [first, _] = servers;
    let mut first = first.again(&[]).await;
    first.ready().await;
    first.settled().await;
    assert_eq!(first.terminate().await, Some(0), "{}", first.log());
    let acknowledged = ledgers.acknowledged();
    tokio::task::block_in_place(|| laws::check(&kept.asked(first.folder()), &acknowledged));
    oracle::check(&first, &ledgers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_slept_while_another_led_writes_nothing_under_wrong_names() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let mut first = kept.server(&[]).await;
    send(&first, 1).await;
    first.settled().await;
    let mut second = kept.listening(&[]).await;
    stands_by(&second).await;
    first.signal("-STOP");
    let asked = || kept.asked(second.folder());
    let is_cut = || async { (!asked_in_place(&asked, CUT).is_empty()).then_some(()) };
    second.until("first in the queue", is_cut).await;
    second.ready().await;
    let message = request("only the second knows", vec![span(2, 1, None, "its operation", 2)]);
    export(&second, "shop", &message).await;
    second.settled().await;
    assert_eq!(second.terminate().await, Some(0), "{}", second.log());

    // Nobody leads now, but what this one remembers is no longer what the database says.
    first.signal("-CONT");
    let message = request("only the first knows", vec![span(3, 1, None, "another", 2)]);
    export(&first, "shop", &message).await;
    assert_ne!(first.ended().await, Some(0), "{}", first.log());
    let first = first.again(&[]).await;
    first.ready().await;
    first.settled().await;
    let spans = api::ask(&first, "shop", "/spans").await;
    let mut names: Vec<_> =
        api::column(&spans, "service").into_iter().zip(api::column(&spans, "operation")).collect();
    names.sort_unstable();
    let wanted =
        [("only the first knows", "another"), ("only the second knows", "its operation"), ("shop", "work")];
    assert_eq!(names, wanted, "{spans} in {name}");
}

/// As where a standby takes over that lacks the last commits, or somebody restores an older state under a running server.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_back_is_noticed_and_the_journal_is_applied_again() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let mut server = kept.server(&[]).await;
    let sql = |text: &str| tokio::task::block_in_place(|| Postgres::shared().sql(name, text));
    send(&server, 1).await;
    server.settled().await;
    let before = sql("SELECT max(lsn) FROM applied");
    send(&server, 2).await;
    server.settled().await;
    sql(&format!("UPDATE applied SET lsn = {}", before.trim()));
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()");
    send(&server, 3).await;
    assert_ne!(server.ended().await, Some(0), "{}", server.log());
    assert!(server.log().contains("went back"), "{}", server.log());
    let server = server.again(&[]).await;
    server.ready().await;
    server.settled().await;
    assert!(server.log().contains("replayed the journal"), "{}", server.log());
    for number in 1..=3 {
        answers(&server, number).await;
    }
}
