//! A panic is a defect, and costs no more than it must: the request at hand, or one round of a task; where nothing sensible
//! is left to be done, the process, which says of what it ended. Never is a server ready that does not do its work.

use std::collections::BTreeSet;

use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::Method;
use serde_json::json;
use tonic::Code;

use crate::client::{call, export, request, span};
use crate::server::Server;

use super::samples;
use super::stored::Stored;
use super::{JSON, PROTOBUF, call_grpc, channel, grpc_path, is_well, now, post, refused, refused_grpc, send};

/// Starts a server that panics at `point`, as in `name:1`.
async fn panicking(point: &str) -> Server {
    Server::listening(&[("OTELCONTEXT_CRASH_AT", &format!("panic:{point}")), ("MCP_CACHE_TTL_MS", "0")]).await
}

/// A request with one span, numbered `number`.
fn numbered(number: u64) -> Vec<u8> {
    let mut span = span(1, 1, None, "work", 2);
    span.span_id = number.to_be_bytes().to_vec();
    request("shop", vec![span]).encode_to_vec()
}

/// The numbers of the spans that a server left; each is there once.
async fn numbers(stored: &Stored) -> BTreeSet<u64> {
    let spans = stored.spans("default").await;
    let number = |id: &[u8]| u64::from_be_bytes(id.try_into().unwrap());
    let numbers: BTreeSet<u64> = spans.iter().map(|(_, span)| number(&span.span_id)).collect();
    assert_eq!(numbers.len(), spans.len(), "a span is stored twice");
    numbers
}

/// Checks that the log tells of a panic that was planned at `point`.
fn tells(server: &Server, point: &str) {
    let (name, _) = point.split_once(':').unwrap();
    assert!(server.log().contains(&format!("as planned at {name}")), "{}", server.log());
}

#[tokio::test]
async fn d7_a_panic_while_an_export_is_worked_on_is_a_refusal_that_says_to_come_again() {
    for encoding in [PROTOBUF, JSON] {
        let mut server = panicking("receive.arrived:1").await;
        let body = match encoding {
            JSON => b"{}".to_vec(),
            _ => numbered(1),
        };
        let address = server.otlp_http.clone();
        let refusal = post(&address, Signal::Traces, &[encoding], body.clone()).await;
        let said = refused(&refusal, 503, encoding, "a panic");
        assert!(said.contains("again later") && !said.contains("planned"), "{said}");
        assert_eq!(post(&address, Signal::Traces, &[encoding], body).await.status, 200);
        server.ready().await;
        is_well(&server).await;
        tells(&server, "receive.arrived:1");
        let wanted = if encoding == JSON { BTreeSet::new() } else { BTreeSet::from([1]) };
        assert_eq!(numbers(&Stored::after(&mut server).await).await, wanted);
    }
    let mut server = panicking("receive.arrived:2").await;
    // One connection for all calls.
    let channel = channel(&server).await;
    let export = async |number| call_grpc(&channel, grpc_path(Signal::Traces), &[], &numbered(number)).await;
    export(1).await.unwrap();
    let said = refused_grpc(export(2).await, Code::Unavailable, "a panic");
    assert!(said.contains("again later") && !said.contains("planned"), "{said}");
    export(2).await.unwrap();
    is_well(&server).await;
    assert_eq!(numbers(&Stored::after(&mut server).await).await, BTreeSet::from([1, 2]));
}

#[tokio::test]
async fn d7_a_panic_in_a_question_or_in_its_blocking_read_costs_that_question() {
    // What a thread of its own was lost with may succeed the next time.
    for (point, status) in [("api.asked:1", 500), ("query.summed:1", 503)] {
        let server = panicking(point).await;
        server.ready().await;
        export(&server, "default", &request("shop", vec![span(1, 1, None, "GET /", 2)])).await;
        server.settled().await;
        let ask = async || send(Method::GET, &server.http, "/api/v1/services", &[], Vec::new()).await;
        let failed = ask().await;
        assert_eq!(
            (failed.status, failed.header("content-type")),
            (status, "application/problem+json"),
            "{point}: {}",
            failed.text()
        );
        assert!(!failed.text().contains("planned"), "{point}: {}", failed.text());
        tells(&server, point);
        let answer = ask().await;
        assert_eq!((answer.status, answer.json()["items"].as_array().unwrap().len()), (200, 1), "{point}");
        is_well(&server).await;
    }
    let server = panicking("query.summed:1").await;
    server.ready().await;
    export(&server, "default", &request("shop", vec![span(1, 1, None, "GET /", 2)])).await;
    server.settled().await;
    let failed = call(&server, "default", "get_service_health", json!({})).await;
    assert_eq!(failed["error"]["code"], -32_000, "{failed}");
    assert!(!failed.to_string().contains("planned"), "{failed}");
    tells(&server, "query.summed:1");
    let answer = call(&server, "default", "get_service_health", json!({})).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    is_well(&server).await;
}

/// Exports until the server has ended; answers the numbers that were acknowledged. Meanwhile it is ready until it is not,
/// and never again.
async fn exported_until_the_end(server: &Server) -> BTreeSet<u64> {
    // A connection for each request.
    let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let (mut acknowledged, mut was_ready, mut is_over) = (BTreeSet::new(), false, false);
    for number in 1.. {
        let ready = http.get(format!("http://{}/ready", server.http)).send().await;
        let ready = ready.ok().map(|answer| answer.status().as_u16());
        assert!(!is_over || ready != Some(200), "it is ready again:\n{}", server.log());
        is_over |= was_ready && ready != Some(200);
        was_ready |= ready == Some(200);
        let export =
            http.post(format!("http://{}/v1/traces", server.otlp_http)).header(PROTOBUF.0, PROTOBUF.1);
        match export.body(numbered(number)).send().await {
            Ok(answer) if answer.status() == 200 => {
                acknowledged.insert(number);
            }
            Ok(answer) => assert_eq!(answer.status(), 503, "a refusal that clients do not send again"),
            Err(_) if is_over => break,
            // No answer is no acknowledgement.
            Err(_) => {}
        }
    }
    acknowledged
}

#[tokio::test]
async fn d7_a_panic_of_a_part_that_all_depends_on_ends_the_process_which_names_it() {
    for (point, part) in [
        ("pipeline.committed:2", "its applier ended"),
        ("journal.appended:3", "the journal's writer ended"),
        ("journal.written:3", "the journal's writer ended"),
        ("net.accepted:60", " port"),
    ] {
        let mut server = panicking(point).await;
        server.ready().await;
        let acknowledged = exported_until_the_end(&server).await;
        assert_eq!(server.ended().await, Some(1), "{point}: {}", server.log());
        tells(&server, point);
        let log = server.log();
        let last = log.lines().rfind(|line| line.starts_with("otelcontext: ")).unwrap_or_default();
        assert!(last.contains("the server cannot go on") && last.contains(part), "{point}: {last}\n{log}");
        let mut server = server.again(&[("OTELCONTEXT_CRASH_AT", "")]).await;
        server.ready().await;
        server.settled().await;
        is_well(&server).await;
        let stored = numbers(&Stored::after(&mut server).await).await;
        assert!(acknowledged.is_subset(&stored), "{point}: acknowledged {acknowledged:?}, stored {stored:?}");
    }
}

#[tokio::test]
async fn d7_a_panic_within_a_commit_is_a_commit_that_is_tried_again() {
    for point in ["store.written:1", "store.committed:1"] {
        let mut server = panicking(point).await;
        server.ready().await;
        for number in 1..=3 {
            let answer = post(&server.otlp_http, Signal::Traces, &[PROTOBUF], numbered(number)).await;
            assert_eq!(answer.status, 200, "{point}");
        }
        server.settled().await;
        tells(&server, point);
        server.ready().await;
        is_well(&server).await;
        assert_eq!(server.metric("otelcontext_ingest_stored_total{signal=\"traces\"}").await, 3.0, "{point}");
        let stored = Stored::after(&mut server).await;
        assert_eq!(numbers(&stored).await, BTreeSet::from([1, 2, 3]), "{point}");
    }
}

#[tokio::test]
async fn d7_upkeep_that_panics_is_begun_again_and_meanwhile_the_server_is_not_ready() {
    for (point, part) in
        [("upkeep.retention", "retention"), ("upkeep.indexed", "search_index"), ("upkeep.watched", "watch")]
    {
        for (passes, recovers) in [("1", true), ("*", false)] {
            let mut server = panicking(&format!("{point}:{passes}")).await;
            let logs = samples::log_request(samples::logs(now())).encode_to_vec();
            assert_eq!(post(&server.otlp_http, Signal::Logs, &[PROTOBUF], logs).await.status, 200);
            let panics = || server.log().matches("a round of upkeep ended in a panic").count();
            let wanted = if recovers { 1 } else { 2 };
            server.until("in a panic", || async { (panics() >= wanted).then_some(()) }).await;
            if recovers {
                server.ready().await;
                assert_eq!(panics(), 1, "{point}: {}", server.log());
                is_well(&server).await;
            } else {
                let ready = send(Method::GET, &server.http, "/ready", &[], Vec::new()).await;
                assert_eq!(ready.status, 503, "{point}: {}", ready.text());
                let check = &ready.json()["checks"][part];
                assert_eq!(check["ok"], false, "{point}: {}", ready.text());
                assert!(check["detail"].as_str().unwrap().contains("panic"), "{point}: {}", ready.text());
                // What it is there for goes on.
                let answer = post(&server.otlp_http, Signal::Traces, &[PROTOBUF], numbered(1)).await;
                assert_eq!(answer.status, 200);
            }
            assert_eq!(server.terminate().await, Some(0), "{point}: {}", server.log());
        }
    }
}
