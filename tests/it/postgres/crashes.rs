//! The server is killed again and again under load, and everything that was acknowledged is stored once.

use std::time::Instant;

use loadsim::dice::Dice;

use super::kept::Kept;
use super::load::{self, Ledgers};
use super::{laws, oracle};
use crate::door::Door;

/// How often the server is killed; `OTELCONTEXT_TEST_KILLS` says otherwise.
const KILLS: u64 = 4;
const SPANS_PER_SECOND: f64 = 4_000.0;
const SECONDS: u64 = 3;

/// Kills at moments that follow from a seed: after so many spans of the load, or soon after the start, while the server
/// replays. Clients send again what was not acknowledged, so that most of it was stored already.
async fn check(kept: Kept) {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |value| value.parse::<u64>().unwrap());
    let (kills, seed) = (number("OTELCONTEXT_TEST_KILLS", KILLS), number("OTELCONTEXT_TEST_SEED", 20_261));
    let mut dice = Dice::new(seed);
    let mut server = kept.server(&[]).await;
    let door = Door::open(&server.grpc).await;
    let (mut ledgers, mut sent_again, mut replayed) = (Ledgers::new(), 0, 0.0);
    let began = Instant::now();
    for kill in 1..=kills {
        let load = load::start(&mut ledgers, &door.address, seed + kill, SPANS_PER_SECOND, SECONDS);
        // Now and then twice in one load, the second time at once.
        for again in 0..1 + u64::from(kill.is_multiple_of(3)) {
            let spans = if again == 0 { dice.below(10_000) } else { 0 };
            let accepted = || async {
                let accepted = server.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await;
                (accepted >= spans as f64).then_some(())
            };
            server.until("under load", accepted).await;
            replayed += server.metric("otelcontext_ingest_replayed_requests_total").await;
            server.kill();
            server = server.again(&[]).await;
            door.lead_to(&server.grpc);
        }
        sent_again += load.end().await.spans.retries;
    }
    server.settled().await;
    let duplicates = server.metric("otelcontext_ingest_duplicate_spans_total").await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    assert!(sent_again > 0, "the server was never killed in mid-load");
    let acknowledged = ledgers.acknowledged();
    let stored = tokio::task::block_in_place(|| laws::check(&kept.asked(server.folder()), &acknowledged));
    oracle::check(&server, &ledgers).await;
    let (known, took) = (acknowledged.len(), began.elapsed());
    println!(
        "{kept:?}: {kills} rounds in {took:?}: {known} spans acknowledged, {stored} stored, {sent_again} requests sent \
         again, {replayed} replayed, {duplicates} duplicates since the last kill"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_d3_on_sqlite_every_acknowledged_span_is_stored_once_however_often_the_server_is_killed() {
    check(Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d2_d3_on_postgres_every_acknowledged_span_is_stored_once_however_often_the_server_is_killed() {
    check(Kept::on_postgres()).await;
}
