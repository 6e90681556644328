//! The server ends, as a crash ends it, between two steps that must not be torn apart; everything that was acknowledged is
//! stored once.

use std::time::Instant;

use loadsim::dice::Dice;

use super::kept::Kept;
use super::load::{self, Ledgers};
use super::{laws, oracle};
use crate::door::Door;

/// How often the server ends at each point; `OTELCONTEXT_TEST_KILLS` says otherwise.
const KILLS: u64 = 1;
const SPANS_PER_SECOND: f64 = 4_000.0;
const SECONDS: u64 = 2;
/// Every point, in the order in which a request passes them, and how often one is passed at most before the end.
const POINTS: [(&str, usize); 11] = [
    ("accept.queued", 40),
    ("journal.appended", 40),
    ("journal.written", 40),
    ("accept.durable", 40),
    ("store.written", 3),
    ("store.committed", 3),
    ("pipeline.committed", 3),
    ("pipeline.flushed", 1),
    // Segments of earlier lives are there by now.
    ("journal.released", 1),
    ("journal.removed", 1),
    // Once more, with what the last crash left.
    ("pipeline.flushed", 1),
];

async fn check(kept: Kept) {
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |value| value.parse::<u64>().unwrap());
    let (kills, seed) = (number("OTELCONTEXT_TEST_KILLS", KILLS), number("OTELCONTEXT_TEST_SEED", 20_262));
    let mut dice = Dice::new(seed);
    let mut server = kept.server(&[]).await;
    let door = Door::open(&server.grpc).await;
    let (mut ledgers, began) = (Ledgers::new(), Instant::now());
    for (round, (point, most)) in (0..kills).flat_map(|_| POINTS).enumerate() {
        // Nothing is left to be replayed, so the point is passed by what is sent now.
        server.settled().await;
        server.kill();
        let armed = format!("{point}:{}", 1 + dice.below(most));
        server = server.again(&[("OTELCONTEXT_CRASH_AT", &armed)]).await;
        door.lead_to(&server.grpc);
        let load = load::start(&mut ledgers, &door.address, seed + round as u64, SPANS_PER_SECOND, SECONDS);
        assert_eq!(server.ended().await, None, "{armed}: not ended by a signal: {}", server.log());
        server = server.again(&[("OTELCONTEXT_CRASH_AT", "")]).await;
        door.lead_to(&server.grpc);
        load.end().await;
    }
    server.settled().await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let acknowledged = ledgers.acknowledged();
    let stored = tokio::task::block_in_place(|| laws::check(&kept.asked(server.folder()), &acknowledged));
    oracle::check(&server, &ledgers).await;
    let (known, took) = (acknowledged.len(), began.elapsed());
    println!("{kept:?}: {kills} times each point in {took:?}: {known} spans acknowledged, {stored} stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_on_sqlite_a_crash_between_any_two_steps_loses_nothing() {
    check(Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_on_postgres_a_crash_between_any_two_steps_loses_nothing() {
    check(Kept::on_postgres()).await;
}
