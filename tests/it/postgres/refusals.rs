//! Refusals of a real Postgres that pass: what was acknowledged is tried again until it is stored, and goes into no dead
//! letter. What becomes of each code is in the store's own tests.

use super::kept::{Asked, address};
use super::outages::says;
use super::server::{Options, Server as Postgres};
use crate::client::{export, request, span};
use crate::server::Server;

const SPANS: &str = "SELECT count(*) FROM spans";

/// A Postgres with one database, and a server on it that has stored one span.
async fn filled(settings: &'static [&'static str]) -> (Postgres, String, Server) {
    let (postgres, name) = tokio::task::block_in_place(|| {
        let postgres = Postgres::start(Options { settings, ..Options::default() });
        let name = postgres.database_name();
        (postgres, name)
    });
    let server = Server::start(&[("DB_DRIVER", "postgres"), ("DB_DSN", &address(&postgres, &name))]).await;
    export(&server, "default", &request("shop", vec![span(1, 1, None, "first", 2)])).await;
    server.settled().await;
    (postgres, name, server)
}

/// Checks that so many spans are stored, and that nothing became a letter.
async fn check(postgres: &Postgres, name: &str, server: &mut Server, spans: usize) {
    server.settled().await;
    assert_eq!(server.metric("otelcontext_dlq_enqueued_total").await, 0.0, "{}", server.log());
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let stored = tokio::task::block_in_place(|| Asked::postgres(postgres, name).rows(SPANS));
    assert_eq!(stored, [spans.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_commit_that_loses_in_a_deadlock_is_tried_again() {
    // Who waits first looks first, and loses.
    let (postgres, name, mut server) = filled(&["deadlock_timeout=3s"]).await;
    let ask = |sql: &str| tokio::task::block_in_place(|| postgres.sql(&name, sql));
    let mut session = tokio::task::block_in_place(|| postgres.session(&name));
    session.say("SET deadlock_timeout = '10min'; BEGIN; LOCK TABLE applied IN ACCESS EXCLUSIVE MODE;");
    let holds = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE applied%' AND \
                 state = 'idle in transaction'";
    server.until("locked", || async { (ask(holds) == "1").then_some(()) }).await;
    // It holds a lock on the spans, and waits for the position.
    export(&server, "default", &request("shop", vec![span(2, 1, None, "second", 2)])).await;
    let waits = "SELECT count(*) FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid) WHERE usename = 'otel' AND \
                 wait_event_type = 'Lock' AND granted AND relation::regclass::text LIKE 'spans%' AND \
                 mode = 'RowExclusiveLock'";
    server.until("waiting", || async { (ask(waits) != "0").then_some(()) }).await;
    session.say("LOCK TABLE spans IN ACCESS EXCLUSIVE MODE; ROLLBACK;");
    let lost = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    server.until("deadlocked", || async { (ask(lost) != "0").then_some(()) }).await;
    check(&postgres, &name, &mut server, 2).await;
    assert!(server.log().contains("deadlock detected"), "{}", server.log());
    tokio::task::block_in_place(|| drop(session));
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_database_that_only_reads_is_waited_for_until_it_can_be_written_to() {
    let (postgres, name, mut server) = filled(&[]).await;
    let ask = |sql: &str| tokio::task::block_in_place(|| postgres.sql("postgres", sql));
    ask(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}' AND usename = 'otel'"
    );
    assert_ne!(ask(&end), "0");
    export(&server, "default", &request("shop", vec![span(2, 1, None, "second", 2)])).await;
    says(&server, false).await;
    let refused = || async { server.log().contains("read-only transaction").then_some(()) };
    server.until("refused", refused).await;
    // What is sent meanwhile is in the journal.
    export(&server, "default", &request("shop", vec![span(3, 1, None, "third", 2)])).await;
    ask(&format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    says(&server, true).await;
    check(&postgres, &name, &mut server, 3).await;
}
