//! A Postgres behind a slow network: the journal takes what is acknowledged, up to its bounds; nothing piles up beside it, and
//! all of it is stored once the network is quick again.

use std::time::{Duration, Instant};

use super::kept::Kept;
use super::outages::{Filler, says, takes_more};
use super::server::Server as Postgres;
use super::silent::behind_a_door;
use super::{laws, load, oracle};
use crate::api;
use crate::door::Pace;
use crate::server::Server;
use crate::wire::process_of;

/// Connections that questions may use.
const READERS: usize = 3;
/// The writer, the one that recalls traces, one that looks after the writer, one that tries the way for each of the two
/// pools, and one that is not closed yet.
const BESIDE: usize = 6;
/// How long a question may take, and a little more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(33);

/// Connections of the server that Postgres knows.
fn connections(name: &str) -> usize {
    let asked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'otel'";
    tokio::task::block_in_place(|| Postgres::shared().sql(name, asked)).parse().unwrap()
}

/// Threads of the server.
fn threads(server: &Server) -> usize {
    std::fs::read_dir(process_of(server).join("task")).unwrap().count()
}

/// Asks more at once than there are connections: all are answered in time, if only with an error. Answers the longest time.
async fn ask_at_once(server: &Server, name: &str) -> Duration {
    let url = format!("http://{}/api/v1/traces", server.http);
    let asked = Instant::now();
    let questions: Vec<_> = (0..12)
        .map(|_| {
            let asking = reqwest::Client::new().get(&url).header("x-tenant-id", load::TENANT).send();
            tokio::spawn(async move { asking.await.unwrap().status().as_u16() })
        })
        .collect();
    let mut most = 0;
    while !questions.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(connections(name));
        assert!(asked.elapsed() < ANSWERED_WITHIN, "a question is not answered");
        tokio::task::yield_now().await;
    }
    let took = asked.elapsed();
    for question in questions {
        let status = question.await.unwrap();
        assert!([200, 429, 503, 504].contains(&status), "{status}");
    }
    assert!(most <= READERS + BESIDE, "{most} connections");
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_behind_a_slow_network_the_journal_takes_what_comes_and_nothing_else_grows() {
    let readers = READERS.to_string();
    let more = [("JOURNAL_MAX_MB", "128"), ("DB_MAX_OPEN_CONNS", &*readers)];
    let (kept, door, mut server) = behind_a_door(&more).await;
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let load = load::endless(&server.grpc, 31, 500.0);
    takes_more(&server, 1_000.0).await;
    let before = threads(&server);

    let stored = async || server.metric("otelcontext_store_commits_total{result=\"ok\"}").await;
    door.go(Pace::Slow { later: Duration::from_millis(500), bytes_per_second: 10 << 20 });
    let commits = stored().await;
    let ((), longest) = tokio::join!(takes_more(&server, 3_000.0), ask_at_once(&server, name));
    println!("half a second later: twelve questions were answered within {longest:?}");
    // It is slow, and it is at work.
    server.until("storing", || async { (stored().await > commits).then_some(()) }).await;

    door.go(Pace::Slow { later: Duration::from_millis(500), bytes_per_second: 1 << 10 });
    takes_more(&server, 2_000.0).await;
    let (again, slowest, ledgers) = load.end().await;
    assert_eq!(again, 0, "a request was refused before the journal was full");
    let taken = Filler::new(7).fill(&server).await;
    assert!(taken.len() > 20, "{} requests were taken", taken.len());
    let longest = ask_at_once(&server, name).await;
    let (now, in_flight) = (threads(&server), server.metric("otelcontext_ingest_inflight_bytes").await);
    println!("a kibibyte a second: questions were answered within {longest:?}; {before} threads, then {now}");
    // Threads that block come and go with the work, up to a bound of the runtime.
    assert!(now <= before + 24, "{before} threads, then {now}");
    assert_eq!(in_flight, 0.0, "requests that were answered hold memory");
    assert_eq!(server.metric("otelcontext_db_pool_max_open").await, READERS as f64);

    door.go(Pace::Quick);
    let quick = Instant::now();
    says(&server, true).await;
    server.settled().await;
    println!("settled {:?} after the network was quick again", quick.elapsed());
    api::ask(&server, load::TENANT, "/traces").await;
    let at_rest = || async { (server.metric("otelcontext_db_pool_in_use").await == 0.0).then_some(()) };
    server.until("at rest", at_rest).await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let acknowledged = ledgers.acknowledged();
    let stored = tokio::task::block_in_place(|| laws::check(&kept.asked(server.folder()), &acknowledged));
    assert_eq!(stored, acknowledged.len() + taken.len());
    oracle::check(&server, &ledgers).await;
    println!("{stored} spans stored; the slowest acknowledgement took {slowest} ms");
}
