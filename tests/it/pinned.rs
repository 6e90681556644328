//! Readers that hold the write-ahead log of SQLite: intake goes on, and the log shrinks once they are done. One of our own is
//! done when its time is up.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{export, request, span};
use crate::postgres::outages::Filler;
use crate::server::Server;

/// What the log keeps of its size at most, once nobody reads what it holds.
const LOG_BYTES: u64 = 64 << 20;
/// Begins to read, says so, and goes on until its input ends.
const READ: &str = "
import sqlite3, sys
base = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True, isolation_level=None)
base.execute('BEGIN')
base.execute('SELECT count(*) FROM sqlite_schema').fetchall()
print('reads', flush=True)
sys.stdin.read()
";
/// A statement that takes as long as it may, over 100 spans.
const HEAVY: &str =
    "SELECT count(*) AS n FROM v_spans AS a, v_spans AS b, v_spans AS c, v_spans AS d, v_spans AS e";

/// Another program that reads; it ends when this is dropped.
struct Foreign(Child);

impl Foreign {
    fn begins(server: &Server) -> Self {
        let mut program = Command::new("python3")
            .args(["-c", READ])
            .arg(server.folder().join("data/otelcontext.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs: apt-get install -y python3 (or .ci/setup)");
        let mut said = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "reads\n");
        Self(program)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn log_bytes(server: &Server) -> u64 {
    std::fs::metadata(server.folder().join("data/otelcontext.db-wal")).map_or(0, |file| file.len())
}

/// Sends and stores until `done`.
async fn fill(server: &Server, filler: &mut Filler, done: impl Fn() -> bool) {
    for _ in 0..80 {
        if done() {
            return;
        }
        assert_eq!(filler.send(server).await.status(), 200);
        server.settled().await;
    }
    panic!("the log has {} bytes:\n{}", log_bytes(server), server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_a_reader_that_never_ends_lets_the_log_grow_and_intake_go_on() {
    let server = Server::start(&[]).await;
    let mut filler = Filler::new(11);
    fill(&server, &mut filler, || log_bytes(&server) > 0).await;
    let foreign = tokio::task::block_in_place(|| Foreign::begins(&server));
    // What is committed is stored, and nothing of the log can be used again.
    fill(&server, &mut filler, || log_bytes(&server) > LOG_BYTES + (16 << 20)).await;
    let pinned = log_bytes(&server);
    tokio::task::block_in_place(|| drop(foreign));
    fill(&server, &mut filler, || log_bytes(&server) <= LOG_BYTES).await;
    println!("the log had {pinned} bytes while it was read, and {} afterwards", log_bytes(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_a_question_of_our_own_is_ended_when_its_time_is_up() {
    let server = Server::start(&[]).await;
    let mut filler = Filler::new(13);
    let spans = (1..=100).map(|id| span(250, id, None, "call", 2)).collect();
    export(&server, "default", &request("shop", spans)).await;
    server.settled().await;
    let asking = reqwest::Client::new().post(format!("http://{}/api/v1/sql", server.http)).body(HEAVY).send();
    let (asked, asking) = (Instant::now(), tokio::spawn(asking));
    // What is sent meanwhile is stored.
    fill(&server, &mut filler, || log_bytes(&server) > LOG_BYTES / 2 || asking.is_finished()).await;
    let meanwhile = log_bytes(&server);
    let answer = asking.await.unwrap().unwrap();
    let took = asked.elapsed();
    assert!([503, 504].contains(&answer.status().as_u16()), "{answer:?}");
    assert!(took < Duration::from_secs(33), "it took {took:?}");
    fill(&server, &mut filler, || log_bytes(&server) <= LOG_BYTES).await;
    // It is written over from its beginning again: it does not grow by what comes.
    let ended = log_bytes(&server).max(24 << 20);
    for _ in 0..12 {
        assert_eq!(filler.send(&server).await.status(), 200);
        server.settled().await;
    }
    let grown = log_bytes(&server);
    println!("ended after {took:?}; the log had {meanwhile} bytes then, and {grown} after 24 MiB more");
    assert!(grown <= ended + (8 << 20), "{ended} bytes, then {grown}");
}
