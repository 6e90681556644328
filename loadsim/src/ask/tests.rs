//! Questions to a server that is made up.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::send::Protocol;

/// Calls of tools.
#[derive(Debug, Default)]
struct Calls {
    began: AtomicUsize,
    under_way: AtomicUsize,
    /// Most of them that were under way at once.
    at_once: AtomicUsize,
}

/// An endpoint that answers every call of a tool alike, after so long, and says what its list of tools is at once.
async fn endpoint(pause: Duration, calls: Arc<Calls>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, pause, Arc::clone(&calls)));
        }
    });
    url
}

async fn answer(stream: TcpStream, pause: Duration, calls: Arc<Calls>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut length, mut is_call, mut line) = (0, false, String::new());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            is_call |= line.trim() == "mcp-method: tools/call";
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let result = json!({"tools": [], "structuredContent": {"summary": "all is well"}});
        if is_call {
            calls.began.fetch_add(1, Relaxed);
            calls.at_once.fetch_max(calls.under_way.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(pause).await;
            calls.under_way.fetch_sub(1, Relaxed);
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    }
}

/// What was asked until so many calls had begun, and most calls under way at once.
async fn asked(pause: Duration, every: Duration, calls_min: usize) -> (Asked, usize) {
    let send = send::Options {
        endpoint: String::new(),
        protocol: Protocol::Grpc,
        tenant: String::new(),
        api_key: String::new(),
        timeout: Duration::from_secs(1),
        retry_for: Duration::ZERO,
    };
    let calls = Arc::new(Calls::default());
    let url = endpoint(pause, Arc::clone(&calls)).await;
    let asker = Asker::new(&Options { url, every }, &send).await.unwrap();
    let (end, ended) = oneshot::channel();
    let asking = tokio::spawn(asker.ask(ended));
    let enough = async {
        while calls.began.load(Relaxed) < calls_min {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), enough).await.expect("questions are put");
    end.send(()).unwrap();
    (asking.await.unwrap(), calls.at_once.load(Relaxed))
}

#[tokio::test]
async fn questions_are_due_whether_or_not_those_before_are_answered() {
    let ms = Duration::from_millis;
    let (asked, at_once) = asked(ms(300), ms(50), 18).await;
    assert!(asked.count >= 18 && asked.errors == 0, "{asked:?}");
    assert!(at_once > 1, "one after the other: {asked:?}");
    assert!(asked.p50_ms >= Some(300.0), "{asked:?}");
}

#[tokio::test]
async fn what_a_slow_server_holds_up_waits_from_when_it_was_due() {
    let ms = Duration::from_millis;
    let (asked, at_once) = asked(ms(300), ms(2), 2 * AT_ONCE_MAX + 1).await;
    assert!(asked.max_ms > Some(600.0), "its third answer is of one that was due soon: {asked:?}");
    assert!(at_once <= AT_ONCE_MAX && asked.unasked > 100, "{at_once} at once: {asked:?}");
}

#[test]
fn what_cannot_be_asked_yet_loses_its_turn() {
    let mut known = Known::default();
    let round = |known: &Known| {
        let mut asked = vec![turn(0, known).0];
        while asked.len() < QUESTIONS.len() {
            let (position, _) = turn(asked[asked.len() - 1] + 1, known);
            if position <= asked[asked.len() - 1] {
                break;
            }
            asked.push(position);
        }
        asked.into_iter().map(|position| QUESTIONS[position].tool).collect::<Vec<_>>()
    };
    let at_first = round(&known);
    assert!(at_first.contains(&"search_traces") && !at_first.contains(&"trace_graph"), "{at_first:?}");
    let answer = json!({"tables": [{"name": "traces", "columns": ["trace_id"], "rows": [["ab"]]}]});
    known.learn("search_traces", &json!({}), &answer);
    assert!(round(&known).contains(&"trace_graph"));
}
