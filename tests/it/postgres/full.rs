//! A volume without room: what was acknowledged is stored once there is room, and nothing is damaged meanwhile.

use super::kept::Kept;
use super::{laws, load, oracle};
use crate::door::Door;
use crate::server::Server;
use crate::volume::Volume;

const ACCEPTED: &str = "otelcontext_ingest_accepted_total{signal=\"traces\"}";

/// Waits until so many spans more are acknowledged.
async fn takes_more(server: &Server, spans: f64) {
    let before = server.metric(ACCEPTED).await;
    let more = || async { (server.metric(ACCEPTED).await >= before + spans).then_some(()) };
    server.until("taking more", more).await;
}

/// Waits until `/ready` tells something.
async fn says(server: &Server, what: &str) {
    let told = || async {
        let answer = reqwest::get(format!("http://{}/ready", server.http)).await.ok()?;
        answer.text().await.ok()?.contains(what).then_some(())
    };
    server.until(what, told).await;
}

/// Checks what is stored on a volume after the end of the loads, and that the database is sound.
async fn check(mut server: Server, volume: &Volume, ledgers: &load::Ledgers) {
    server.ready().await;
    server.settled().await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let (kept, copied) = (Kept::Sqlite, tempfile::tempdir().unwrap());
    std::fs::create_dir(copied.path().join("data")).unwrap();
    let database = "data/otelcontext.db";
    std::fs::copy(volume.outside().join(database), copied.path().join(database)).unwrap();
    let stored = tokio::task::block_in_place(|| {
        let asked = kept.asked(copied.path());
        assert_eq!(asked.rows("PRAGMA integrity_check"), ["ok"]);
        laws::check(&asked, &ledgers.acknowledged())
    });
    oracle::check(&server, ledgers).await;
    println!("{stored} spans stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn e1_e3_a_full_volume_costs_nothing_that_was_acknowledged() {
    let volume = Volume::new(128);
    let data = volume.path().join("data");
    let variables = [("DATA_DIR", data.to_str().unwrap()), ("DATA_DISK_FREE_MIN_MB", "4")];
    let server = Server::start_within(&volume, &variables).await;
    let load = load::endless(&server.grpc, 31, 2_000.0);
    for _ in 0..2 {
        takes_more(&server, 4_000.0).await;
        tokio::task::block_in_place(|| volume.fill());
        says(&server, "the volume is nearly full").await;
        let told = reqwest::get(format!("http://{}/live", server.http)).await.unwrap();
        assert_eq!(told.status(), 200);
        volume.empty();
        server.ready().await;
    }
    takes_more(&server, 4_000.0).await;
    let (again, _, ledgers) = load.end().await;
    assert!(again > 0, "nothing was refused while the volume was full");
    check(server, &volume, &ledgers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_a_database_without_room_leaves_what_is_acknowledged_in_the_journal() {
    let volume = Volume::new(128);
    std::fs::create_dir(volume.outside().join("data")).unwrap();
    let database = volume.path().join("data/otelcontext.db");
    let mut server = Server::start_within(&volume, &[("DB_DSN", database.to_str().unwrap())]).await;
    let door = Door::open(&server.grpc).await;
    let load = load::endless(&door.address, 37, 2_000.0);
    takes_more(&server, 4_000.0).await;
    tokio::task::block_in_place(|| volume.fill());
    says(&server, "no space is left").await;
    takes_more(&server, 8_000.0).await;
    // A crash changes nothing about that: the journal is replayed once there is room.
    server.kill();
    server = server.again(&[]).await;
    door.lead_to(&server.grpc);
    takes_more(&server, 2_000.0).await;
    volume.empty();
    server.ready().await;
    let (_, _, ledgers) = load.end().await;
    check(server, &volume, &ledgers).await;
}
