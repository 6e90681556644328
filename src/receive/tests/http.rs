use std::task::Poll;
use std::time::Instant;

use axum::http::Method;
use reqwest::Client;
use reqwest::Response;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::decode::Encoding;
use crate::receive::inflate::Compression;
use crate::receive::inflate::tests::{gzip, zstd};
use crate::receive::intake::{Accepted, Export};

use super::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");
const LATE: Duration = Duration::from_secs(10);

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn send(server: &Server, method: Method, path: &str, headers: Headers<'_>, body: Vec<u8>) -> Response {
    let mut request = Client::new().request(method, format!("http://{}{path}", server.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).send().await.unwrap()
}

/// A response as (status, content type, body).
async fn parts(response: Response) -> (u16, String, Vec<u8>) {
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (status, content_type, response.bytes().await.unwrap().to_vec())
}

/// Checks that a response is a refusal with a `google.rpc.Status` in the right encoding; returns it as JSON.
async fn refusal(response: Response, status: u16, content_type: &str, case: &str) -> Value {
    let is_retryable = [429, 502, 503, 504].contains(&status);
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(retry_after.is_some(), is_retryable, "{case}");
    if let Some(seconds) = retry_after {
        assert!((1..=30).contains(&seconds.parse::<u64>().unwrap()), "{case}");
    }
    let (got, got_type, body) = parts(response).await;
    assert_eq!(
        (got, got_type.as_str()),
        (status, content_type),
        "{case}: {}",
        String::from_utf8_lossy(&body)
    );
    let status = match content_type {
        "application/json" => serde_json::from_slice(&body).expect(case),
        _ => protobuf_status(&body, case),
    };
    assert!(0 < status["code"].as_i64().unwrap(), "{case}");
    let message = status["message"].as_str().unwrap();
    assert!(!message.is_empty() && message.len() <= 1024, "{case}: {message}");
    status
}

/// The code, the message and the type of the first detail.
fn protobuf_status(body: &[u8], case: &str) -> Value {
    #[derive(Message)]
    struct Status {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
    }
    let status = Status::decode(body).expect(case);
    let types: Vec<Value> = status.details.iter().map(|any| json!({ "@type": any.type_url })).collect();
    json!({ "code": status.code, "message": status.message, "details": types })
}

#[tokio::test]
async fn every_signal_is_accepted_in_every_form() {
    let server = Server::open().await;
    for signal in Signal::ALL {
        let path = format!("/v1/{}", signal.name());
        let plain = one(signal);
        let forms = [(plain.clone(), "identity"), (gzip(&plain), "GZIP"), (zstd(&plain), "zstd")];
        for (body, encoding) in forms {
            let headers = [PROTOBUF, ("content-encoding", encoding), ("x-tenant-id", "acme")];
            let response = send(&server, Method::POST, &path, &headers, body).await;
            assert_eq!(parts(response).await, (200, PROTOBUF.1.to_owned(), Vec::new()), "{path} {encoding}");
            let (tenant, submission) = server.pipeline.accepted.lock().unwrap().pop().unwrap();
            assert_eq!(tenant, "acme");
            assert_eq!((submission.batch.signal(), submission.batch.items()), (signal, 1));
            assert_eq!((&submission.body[..], submission.received), (&plain[..], NOW));
        }
    }
    assert_eq!(server.budget.held_bytes(), 0);
}

#[tokio::test]
async fn a1_content_types_are_read_as_media_types() {
    let server = Server::open().await;
    let good = [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;a=b ;c",
    ];
    for content_type in good {
        let headers = [("content-type", content_type)];
        let response = send(&server, Method::POST, "/v1/traces", &headers, b"{}".to_vec()).await;
        assert_eq!(parts(response).await, (200, JSON.1.to_owned(), b"{}".to_vec()), "{content_type}");
    }
    let bad: [Headers; 7] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/jsonx")],
        &[("content-type", "application/json, application/json")],
        &[("content-type", "\u{e9}")],
        &[JSON, PROTOBUF],
    ];
    for headers in bad {
        let response = send(&server, Method::POST, "/v1/traces", headers, b"{}".to_vec()).await;
        refusal(response, 415, JSON.1, &format!("{headers:?}")).await;
    }
}

#[tokio::test]
async fn a2_wrong_methods_and_paths_are_refused_in_the_callers_encoding() {
    let server = Server::open().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for (headers, content_type) in [(&[PROTOBUF][..], PROTOBUF.1), (&[][..], JSON.1)] {
            let response = send(&server, method.clone(), "/v1/logs", headers, Vec::new()).await;
            assert_eq!(response.headers()["allow"], "POST", "{method}");
            refusal(response, 405, content_type, method.as_str()).await;
        }
    }
    let head = send(&server, Method::HEAD, "/v1/metrics", &[], Vec::new()).await;
    assert_eq!((head.status().as_u16(), &head.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let paths = ["/", "/v1", "/v1/", "/v1/trace", "/v1/traces/", "/v1/traces/x", "//v1/traces", "/V1/traces"];
    for path in paths.into_iter().chain(["/v1development/profiles", "/v1/%74races", "/v1/traces/../logs/"]) {
        let response = send(&server, Method::POST, path, &[PROTOBUF], one(Signal::Traces)).await;
        refusal(response, 404, PROTOBUF.1, path).await;
    }
    assert_eq!(server.pipeline.items(), 0);
}

#[tokio::test]
async fn a3_cut_and_random_bodies_are_invalid_and_the_connection_lives_on() {
    let server = Server::open().await;
    let client = Client::new();
    let json = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": "07".repeat(16), "spanId": "07".repeat(8), "name": "a" }] }] }] });
    let json = json.to_string().into_bytes();
    let bodies =
        [(JSON, None, json), (PROTOBUF, Some(GZIP), gzip(&traces(2, 0))), (PROTOBUF, None, traces(2, 0))];
    for (content_type, encoding, body) in bodies {
        for length in 1..body.len() {
            let url = format!("http://{}/v1/traces", server.http);
            let mut request = client.post(url).header(content_type.0, content_type.1);
            if let Some((name, value)) = encoding {
                request = request.header(name, value);
            }
            let response = request.body(body[..length].to_vec()).send().await.unwrap();
            let case = format!("{} bytes of {content_type:?} {encoding:?}", length);
            refusal(response, 400, content_type.1, &case).await;
        }
    }
    let status = send(&server, Method::POST, "/v1/logs", &[PROTOBUF], vec![0xff; 100]).await;
    let status = refusal(status, 400, PROTOBUF.1, "random").await;
    assert_eq!(status["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
    assert_eq!((server.pipeline.items(), server.budget.held_bytes()), (0, 0));
}

#[tokio::test]
async fn a7_empty_requests_succeed_and_store_nothing() {
    let server = Server::open().await;
    for (path, field) in
        [("/v1/traces", "resourceSpans"), ("/v1/logs", "resourceLogs"), ("/v1/metrics", "resourceMetrics")]
    {
        for body in [&b""[..], &[0x0a, 0x00], &[0x0a, 0x02, 0x12, 0x00]] {
            let response = send(&server, Method::POST, path, &[PROTOBUF], body.to_vec()).await;
            assert_eq!(parts(response).await, (200, PROTOBUF.1.to_owned(), Vec::new()), "{path} {body:?}");
        }
        for body in [json!({}), json!({ field: null }), json!({ field: [] }), json!({ field: [{}] })] {
            let body = body.to_string();
            let response = send(&server, Method::POST, path, &[JSON], body.clone().into()).await;
            let (status, _, answer) = parts(response).await;
            assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]), "{path} {body}");
        }
    }
    assert!(server.pipeline.accepted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn partial_success_counts_what_must_not_come_again() {
    let server = Server::open().await;
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF], traces(2, 3)).await;
    let (status, _, body) = parts(response).await;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let partial = ExportTraceServiceResponse::decode(&body[..]).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_spans, server.pipeline.items()), (200, 3, 2));
    assert!(!partial.error_message.is_empty() && partial.error_message.len() <= 1024);

    let spans =
        json!([{ "traceId": "07".repeat(16), "spanId": "07".repeat(8), "name": "a" }, { "name": "b" }]);
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    let response = send(&server, Method::POST, "/v1/traces", &[JSON], body.into()).await;
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "64-bit integers are strings in JSON");
    assert_eq!(server.counted()["otlp_items_rejected_total{traces,invalid}"], 4);
    assert_eq!(server.counted()["otlp_items_accepted_total{traces}"], 3);
}

#[tokio::test]
async fn b1_b2_b5_b6_large_requests_are_refused_for_good() {
    let server = Server::small(1 << 20).await;
    let zeros = vec![0; 64 << 20];
    let cases = [
        ("gzip bomb", GZIP, gzip(&zeros)),
        ("zstd bomb", ZSTD, zstd(&zeros)),
        ("gzip of empty spans", GZIP, gzip(&empty_spans(500_000))),
        ("one byte more", ("x-none", ""), vec![0; (1 << 20) + 1]),
    ];
    for (case, encoding, body) in cases {
        let start = Instant::now();
        let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF, encoding], body).await;
        let status = refusal(response, 413, PROTOBUF.1, case).await;
        assert_eq!(status["code"], 8, "{case}");
        assert!(start.elapsed() < LATE, "{case}");
    }
    assert_eq!((server.pipeline.items(), server.budget.held_bytes()), (0, 0));
    let exact = length_delimited(0x7a, &vec![0; (1 << 20) - 4]);
    assert_eq!(exact.len(), 1 << 20);
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF], exact).await;
    assert_eq!(response.status(), 200, "an unknown field of exactly the limit");
}

#[tokio::test]
async fn b4_damaged_and_unknown_compression() {
    let server = Server::open().await;
    let plain = one(Signal::Traces);
    let mut junk = gzip(&plain);
    junk.extend(b"junk");
    let cases = [
        (400, "gzip", plain.clone()),
        (400, "gzip", junk),
        (400, "gzip", gzip(&gzip(&plain))),
        (400, "zstd", plain.clone()),
        (415, "deflate", plain.clone()),
        (415, "br", plain.clone()),
        (415, "gzip, gzip", gzip(&gzip(&plain))),
    ];
    for (status, encoding, body) in cases {
        let headers = [JSON, ("content-encoding", encoding)];
        let response = send(&server, Method::POST, "/v1/traces", &headers, body).await;
        refusal(response, status, JSON.1, encoding).await;
    }
    let twice = [PROTOBUF, GZIP, GZIP];
    let response = send(&server, Method::POST, "/v1/traces", &twice, gzip(&gzip(&plain))).await;
    refusal(response, 415, PROTOBUF.1, "two headers").await;
    let members = [gzip(&plain), gzip(&plain)].concat();
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF, GZIP], members).await;
    assert_eq!((response.status().as_u16(), server.pipeline.items()), (200, 2));
}

#[tokio::test]
async fn b11_large_bodies_are_decoded_off_the_reactor_with_the_same_result() {
    let server = Server::open().await;
    let plain = traces(5_000, 1);
    for (encoding, body) in [(("x-none", ""), plain.clone()), (GZIP, gzip(&plain)), (ZSTD, zstd(&plain))] {
        let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF, encoding], body).await;
        assert_eq!(response.status(), 200);
        let (_, submission) = server.pipeline.accepted.lock().unwrap().pop().unwrap();
        assert_eq!((submission.batch.items(), submission.body.len()), (5_000, plain.len()));
    }
}

#[tokio::test]
async fn c_refusals_of_the_pipeline_say_truthfully_whether_to_come_again() {
    let server = Server::open().await;
    let cases =
        [(Kind::Overloaded, 429), (Kind::Unavailable, 503), (Kind::TimedOut, 503), (Kind::Internal, 500)];
    for (kind, status) in cases {
        server.pipeline.refuse(Some(kind));
        for (content_type, body) in [(PROTOBUF, one(Signal::Logs)), (JSON, br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"observedTimeUnixNano":"1790000000000000000"}]}]}]}"#.to_vec())] {
            let response = send(&server, Method::POST, "/v1/logs", &[content_type], body).await;
            let status = refusal(response, status, content_type.1, &format!("{kind:?}")).await;
            let detail = status["details"][0]["@type"].as_str().unwrap_or_default();
            assert_eq!(detail.ends_with("RetryInfo"), kind.is_retryable(), "{kind:?}: {status}");
        }
    }
    server.pipeline.refuse(None);
    server.receive.set_serving(false);
    let response = send(&server, Method::POST, "/v1/logs", &[PROTOBUF], one(Signal::Logs)).await;
    refusal(response, 503, PROTOBUF.1, "closed").await;
    server.receive.set_serving(true);
    let response = send(&server, Method::POST, "/v1/logs", &[PROTOBUF], one(Signal::Logs)).await;
    assert_eq!(response.status(), 200);
    let counted = server.counted();
    assert_eq!(counted["otlp_requests_total{http,logs}"], 10);
    assert_eq!(counted["otlp_items_accepted_total{logs}"], 1);
    assert_eq!(counted["otlp_items_rejected_total{logs,overloaded}"], 2);
    assert_eq!(counted["otlp_payload_rejected_total{http,logs,unavailable}"], 3);
    assert_eq!(counted["http_otlp_throttled_total{logs}"], 7);
}

#[tokio::test]
async fn b8_b12_the_budget_is_taken_by_bytes_that_have_arrived() {
    let server = Server::start(None, Options::default(), Budget::new(64 << 10)).await;
    let mut promising = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 60000\r\n\r\nx";
        stream.write_all(head.as_bytes()).await.unwrap();
        promising.push(stream);
    }
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF], traces(100, 0)).await;
    assert_eq!(response.status(), 200, "promises hold nothing");
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF], traces(2_000, 0)).await;
    refusal(response, 413, PROTOBUF.1, "more than the whole budget").await;
    let mut others = server.budget.permit(64 << 10);
    others.grow(63 << 10).unwrap();
    let response = send(&server, Method::POST, "/v1/traces", &[PROTOBUF], traces(100, 0)).await;
    refusal(response, 429, PROTOBUF.1, "more than is left of the budget").await;
    drop((promising, others));
}

/// Sends `request` as it is; returns what comes back until the server closes.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _reset_is_closed_too = timeout(LATE, stream.read_to_end(&mut answer)).await.expect("never answered");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn i2_the_key_is_checked_before_any_of_the_body_is_read() {
    let server = Server::start(Some(KEY), Options::default(), Budget::new(u64::MAX)).await;
    let path = "/v1/traces?api_key=s3cret-key&access_token=s3cret-key";
    for authorization in ["", "authorization: Bearer wrong\r\n", "authorization: Basic s3cret-key\r\n"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{authorization}content-type: application/x-protobuf\r\n\
             content-length: 1000000\r\n\r\n"
        );
        let answer = raw(server.http, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{authorization}: {answer}");
        assert!(answer.contains("www-authenticate: Bearer realm=") && !answer.contains(KEY), "{answer}");
        assert!(answer.contains("content-type: application/x-protobuf"), "{answer}");
    }
    let response = send(&server, Method::POST, "/v1/logs", &[JSON], b"{}".to_vec()).await;
    assert_eq!(refusal(response, 401, JSON.1, "no key").await["code"], 16);
    let bearer = ("authorization", "bearer s3cret-key");
    let headers = [PROTOBUF, bearer, ("x-tenant-id", "acme")];
    let response = send(&server, Method::POST, "/v1/logs", &headers, one(Signal::Logs)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(server.pipeline.accepted.lock().unwrap()[0].0, "acme");
}

#[tokio::test]
async fn i3_bad_tenants_are_invalid() {
    let server = Server::open().await;
    let long = "x".repeat(151);
    for tenant in ["a,b", "..", "a/b", "%2e", "a|b", "\u{e9}", &long] {
        let headers = [PROTOBUF, ("x-tenant-id", tenant)];
        let response = send(&server, Method::POST, "/v1/traces", &headers, one(Signal::Traces)).await;
        refusal(response, 400, PROTOBUF.1, tenant).await;
    }
    let headers = [PROTOBUF, ("x-tenant-id", "a"), ("x-scope-orgid", "b")];
    let response = send(&server, Method::POST, "/v1/traces", &headers, one(Signal::Traces)).await;
    refusal(response, 400, PROTOBUF.1, "two tenants").await;
    assert_eq!(server.pipeline.items(), 0);
}

#[tokio::test]
async fn b5_h4_endless_lying_and_slow_bodies_end() {
    let hasty = Options {
        request_bytes_max: 1 << 20,
        body_timeout: Duration::from_secs(2),
        body_pace: Duration::from_millis(200),
        ..Options::default()
    };
    let server = Server::start(None, hasty, Budget::new(u64::MAX)).await;
    let head =
        "POST /v1/traces HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let lying = format!("{head}content-length: {}\r\n\r\n", u64::MAX / 2);
    assert!(raw(server.http, lying.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    let stalled = format!("{head}content-length: 10\r\n\r\n{{");
    let answer = raw(server.http, stalled.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{answer}");

    let mut endless = TcpStream::connect(server.http).await.unwrap();
    let head = head.replace("connection: close\r\n", "transfer-encoding: chunked\r\n\r\n");
    endless.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    while sent < 64 << 20 && endless.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 64 << 20, "an endless body is still being read");
    assert_eq!(server.budget.held_bytes(), 0);

    let mut gone = TcpStream::connect(server.http).await.unwrap();
    gone.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    drop(gone);
}

#[tokio::test]
async fn b11_a_body_that_unpacks_to_nothing_does_not_hold_up_the_reactor() {
    let server = Server::open().await;
    // The runtime of this test has one thread: what is unpacked on it is done at the first look.
    for (members, is_beside) in [(3, false), (20_000, true)] {
        let intake = &server.receive.intake;
        let scope = Scope::authorized(TenantId::try_from("default").unwrap());
        let packed = gzip(&[]).repeat(members);
        let mut reader = intake.reader(scope.tenant(), packed.into(), 1 << 20).unwrap();
        while reader.next().await.unwrap() {}
        let (body, permit) = reader.finish();
        let (signal, encoding, compression) = (Signal::Traces, Encoding::Protobuf, Compression::Gzip);
        let export = Export { scope, signal, encoding, compression, body, permit };
        let mut taken = std::pin::pin!(intake.take(export));
        let first = std::future::poll_fn(|context| Poll::Ready(taken.as_mut().poll(context))).await;
        assert_eq!(first.is_pending(), is_beside, "{members}");
        if is_beside {
            assert_eq!(taken.await.unwrap(), Accepted::default());
        }
    }
}
