//! A network that loses everything without a word: it is noticed within half a minute, and gone on with as soon as a new
//! connection works.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::kept::Kept;
use super::outages::{says, takes_more};
use super::server::Server as Postgres;
use super::{laws, load, oracle};
use crate::api;
use crate::door::{Door, Pace};
use crate::server::Server;

/// How soon it is noticed that nothing comes from Postgres any more.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// How long a question may take, and a little more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(36);

/// A database of the shared Postgres, and a server that goes to it through a door.
pub(super) async fn behind_a_door(more: &[(&str, &str)]) -> (Kept, Door, Server) {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let door = Door::open(&format!("127.0.0.1:{}", Postgres::shared().port())).await;
    let dsn = format!("postgres://otel:otel@{}/{name}?sslmode=disable", door.address);
    let server = Server::start(&[&[("DB_DRIVER", "postgres"), ("DB_DSN", &*dsn)], more].concat()).await;
    (kept, door, server)
}

/// Waits until the server says that it is not ready; answers how long that took.
async fn noticed(server: &Server, since: Instant) -> Duration {
    server
        .until("not ready", || async {
            let ready = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap();
            (ready.status() == 503).then_some(())
        })
        .await;
    let took = since.elapsed();
    assert!(took < NOTICED_WITHIN, "it took {took:?}");
    took
}

/// Asks, and expects an error in time; answers how long it took.
async fn is_told(server: &Server) -> Duration {
    let asked = Instant::now();
    let told = api::get(server, load::TENANT, "/api/v1/traces").await;
    assert!([429, 503, 504].contains(&told.status), "{} {}", told.status, told.text);
    assert_eq!(told.header("content-type"), "application/problem+json");
    let took = asked.elapsed();
    assert!(took < ANSWERED_WITHIN, "it took {took:?}");
    took
}

/// Stops the server, and compares what is stored with what was acknowledged.
async fn check(kept: &Kept, server: &mut Server, load: load::Endless) {
    let (again, slowest, ledgers) = load.end().await;
    assert_eq!(again, 0, "a request was refused");
    server.settled().await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let acknowledged = ledgers.acknowledged();
    let stored = tokio::task::block_in_place(|| laws::check(&kept.asked(server.folder()), &acknowledged));
    assert_eq!(stored, acknowledged.len());
    oracle::check(server, &ledgers).await;
    println!("{stored} spans stored; the slowest acknowledgement took {slowest} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_postgres_of_which_nothing_is_heard_is_noticed_and_gone_on_with() {
    let (kept, door, mut server) = behind_a_door(&[]).await;
    // While nothing is sent.
    door.go(Pace::Silent);
    let idle = noticed(&server, Instant::now()).await;
    door.go(Pace::Quick);
    server.ready().await;

    let load = load::endless(&server.grpc, 23, 500.0);
    takes_more(&server, 1_000.0).await;
    door.go(Pace::Silent);
    let since = Instant::now();
    let (busy, told, ()) =
        tokio::join!(noticed(&server, since), is_told(&server), takes_more(&server, 5_000.0));
    // Also once it is known.
    let told_again = is_told(&server).await;
    door.go(Pace::Quick);
    let back = Instant::now();
    says(&server, true).await;
    println!(
        "noticed after {idle:?} idle, {busy:?} at work; questions told after {told:?}, {told_again:?}; \
         ready again after {:?}",
        back.elapsed()
    );
    check(&kept, &mut server, load).await;
}

/// As a firewall does that forgets its connections: the server's end of each is still there, and holds the lock of the one
/// that leads.
#[tokio::test(flavor = "multi_thread")]
async fn f3_connections_that_are_lost_for_good_are_given_up_for_new_ones() {
    let (kept, door, mut server) = behind_a_door(&[]).await;
    let load = load::endless(&server.grpc, 29, 500.0);
    takes_more(&server, 1_000.0).await;
    let stored = async || server.metric("otelcontext_store_commits_total{result=\"ok\"}").await;
    server.until("storing", || async { (stored().await > 0.0).then_some(()) }).await;
    // Questions at once leave connections behind that wait for the next ones.
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let address = format!("http://{}/api/v1/traces", server.http);
        asking.spawn(async move { reqwest::get(address).await.unwrap().status() });
    }
    assert!(asking.join_all().await.iter().all(reqwest::StatusCode::is_success));
    door.lose_all();
    let (lost, before) = (Instant::now(), stored().await);
    server.until("storing", || async { (stored().await > before).then_some(()) }).await;
    let again = lost.elapsed();
    assert!(again < Duration::from_secs(45), "it took {again:?}");
    server.ready().await;
    let asked = Instant::now();
    for _ in 0..8 {
        api::ask(&server, load::TENANT, "/traces").await;
    }
    println!("stores again after {again:?}, answers eight questions in {:?} more", asked.elapsed());
    check(&kept, &mut server, load).await;
}
