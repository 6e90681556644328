//! What listens at the address of Postgres and is none: an error in time, whatever it says, and a server that lives on, takes
//! telemetry, and goes on when the real one is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::kept::Kept;
use super::server::Server as Postgres;
use crate::api;
use crate::client::{export, request, span};
use crate::door::Door;
use crate::server::Server;
use crate::wire::{grown_bytes, peak_bytes};

/// A message: its kind, the length that it claims beyond its own, and what comes.
fn message(kind: u8, length: i64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + length).unwrap_or(u32::MAX);
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// A message that claims its true length.
fn whole(kind: u8, body: &[u8]) -> Vec<u8> {
    message(kind, body.len() as i64, body)
}

/// A request for a password by SCRAM, and the challenge that follows the answer.
fn scram(challenge: &str) -> Vec<Vec<u8>> {
    let begin = whole(b'R', &[&10_u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat());
    vec![begin, whole(b'R', &[&11_u32.to_be_bytes()[..], challenge.as_bytes()].concat())]
}

/// A login that succeeds, and what follows the first statement.
fn let_in(answer: Vec<u8>) -> Vec<Vec<u8>> {
    let ready = whole(b'Z', b"I");
    vec![[whole(b'R', &0_u32.to_be_bytes()), ready].concat(), answer]
}

/// What a false Postgres says, part by part, each after it heard something.
fn scripts() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let row = |columns: u16, length: i32| [&columns.to_be_bytes()[..], &length.to_be_bytes()].concat();
    let (complete, ready) = (whole(b'C', b"SET\0"), whole(b'Z', b"I"));
    vec![
        ("another protocol", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]),
        ("an unknown kind", vec![whole(0xff, b"what")]),
        ("a message shorter than its own length", vec![vec![b'R', 0, 0, 0, 1, 0, 0, 0, 0, 0]]),
        ("a message without its body", vec![whole(b'R', b"")]),
        ("half a message", vec![message(b'R', 4, b"\0\0")]),
        ("two gibibytes that do not come", vec![message(b'R', 1 << 31, b"\0\0\0\0")]),
        ("an error of four gibibytes", vec![message(b'E', i64::from(u32::MAX), b"SFATAL\0")]),
        ("an error without fields", vec![whole(b'E', b"")]),
        ("a challenge of four billion rounds", scram("r=abc,s=UVM2OGJJa0M4ZjkvWDh4SDdh,i=4294967295")),
        ("a challenge that is cut", scram("r,s,i")),
        ("a challenge of nothing", scram("")),
        ("no salt", scram("r=abc,s=%%%,i=4096")),
        ("let in, and nonsense", let_in(vec![0xfe; 100])),
        ("rows that nobody described", let_in([whole(b'D', &row(500, -5)), complete.clone()].concat())),
        ("a description that is cut", let_in(whole(b'T', &[0xff, 0xff, b'a']))),
        ("statements that are complete, whatever they are", let_in([complete, ready].concat())),
        ("a column of two gibibytes", let_in(message(b'D', 1 << 31, &row(1, i32::MAX)))),
    ]
}

/// Says one script after the other, each on a connection, and counts them.
async fn false_postgres() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let said = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&said);
    tokio::spawn(async move {
        let scripts = scripts();
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let script = scripts[counted.load(Ordering::Relaxed) % scripts.len()].1.clone();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                if say(client, script).await.is_some() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    (address, said)
}

/// Says a script to the end, and waits until the client leaves. None where it left before.
async fn say(mut client: TcpStream, script: Vec<Vec<u8>>) -> Option<()> {
    let mut heard = [0; 4_096];
    for part in script {
        client.read(&mut heard).await.ok().filter(|bytes| *bytes > 0)?;
        client.write_all(&part).await.ok()?;
    }
    while client.read(&mut heard).await.is_ok_and(|bytes| bytes > 0) {}
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_what_is_no_postgres_is_told_in_time_and_costs_nothing() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let real = format!("127.0.0.1:{}", Postgres::shared().port());
    let door = Door::open(&real).await;
    let dsn = format!("postgres://otel:otel@{}/{name}?sslmode=disable&connect_timeout=2", door.address);
    let mut server = Server::start(&[("DB_DRIVER", "postgres"), ("DB_DSN", &dsn)]).await;
    let mut sent = 0_u8;
    let mut send = async |server: &Server| {
        sent += 1;
        export(server, "default", &request("shop", vec![span(sent, 1, None, "call", 2)])).await;
        sent
    };
    send(&server).await;
    server.settled().await;
    let before = peak_bytes(&server);

    let (nonsense, said) = false_postgres().await;
    door.lead_to(&nonsense);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND \
               usename = 'otel'";
    assert_ne!(tokio::task::block_in_place(|| Postgres::shared().sql(name, end)), "0");
    let (began, scripts) = (Instant::now(), scripts().len());
    let mut longest = Duration::ZERO;
    // Twice each: what asks, and what writes, meet them in turn.
    while said.load(Ordering::Relaxed) < 2 * scripts {
        assert!(began.elapsed() < Duration::from_secs(300), "{said:?} of {scripts}:\n{}", server.log());
        send(&server).await;
        let asked = Instant::now();
        let told = api::get(&server, "default", "/api/v1/traces").await;
        longest = longest.max(asked.elapsed());
        assert!([500, 503, 504].contains(&told.status), "{} {}", told.status, told.text);
        let live = reqwest::get(format!("http://{}/live", server.http)).await.unwrap();
        assert_eq!(live.status(), 200);
    }
    let ready = reqwest::get(format!("http://{}/ready", server.http)).await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(longest < Duration::from_secs(33), "a question took {longest:?}");
    let grown = grown_bytes(&server, before);
    println!(
        "{scripts} scripts in {:?}; a question took {longest:?}, and {} MiB more",
        began.elapsed(),
        grown >> 20
    );
    assert!(grown < 128 << 20, "{grown} bytes more");

    door.lead_to(&real);
    server.ready().await;
    let sent = send(&server).await;
    server.settled().await;
    assert_eq!(server.metric("otelcontext_dlq_enqueued_total").await, 0.0, "{}", server.log());
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let stored =
        tokio::task::block_in_place(|| kept.asked(server.folder()).rows("SELECT count(*) FROM spans"));
    assert_eq!(stored, [sent.to_string()]);
}
