//! Questions to a server that is made up.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::send::Protocol;

/// An endpoint that answers every call of a tool alike, after so long, and says what its list of tools is at once.
async fn endpoint(pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, pause));
        }
    });
    url
}

async fn answer(stream: TcpStream, pause: Duration) {
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
            tokio::time::sleep(pause).await;
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
    }
}

/// What was asked in about so long, and how many questions were due.
async fn asked(pause: Duration, every: Duration, length: Duration) -> (Asked, u64) {
    let send = send::Options {
        endpoint: String::new(),
        protocol: Protocol::Grpc,
        tenant: String::new(),
        api_key: String::new(),
        timeout: Duration::from_secs(1),
        retry_for: Duration::ZERO,
    };
    let asker = Asker::new(&Options { url: endpoint(pause).await, every }, &send).await.unwrap();
    let (end, ended) = oneshot::channel();
    let began = Instant::now();
    let asking = tokio::spawn(asker.ask(ended));
    tokio::time::sleep(length).await;
    end.send(()).unwrap();
    let due = began.elapsed().as_nanos() / every.as_nanos();
    (asking.await.unwrap(), due as u64)
}

#[tokio::test]
async fn questions_are_due_whether_or_not_those_before_are_answered() {
    let ms = Duration::from_millis;
    let (asked, due) = asked(ms(300), ms(50), ms(900)).await;
    let turns = asked.count + asked.unasked;
    assert!((due..=2 * due).contains(&turns) && asked.errors == 0, "{turns} of {due}: {asked:?}");
    assert!(asked.count > due / 3, "one after the other, a sixth of {due} would be answered: {asked:?}");
    assert!(asked.p50_ms >= 300.0, "{asked:?}");
}

#[tokio::test]
async fn what_a_slow_server_holds_up_waits_from_when_it_was_due() {
    let ms = Duration::from_millis;
    let (asked, due) = asked(ms(300), ms(2), ms(900)).await;
    assert!(asked.max_ms > 600.0, "{asked:?}");
    assert!(asked.unasked > 100 && asked.count <= (due / 150 + 2) * AT_ONCE_MAX as u64, "{asked:?}");
    let turns = asked.count + asked.unasked;
    assert!((due..=2 * due).contains(&turns), "{turns} of {due}: {asked:?}");
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
