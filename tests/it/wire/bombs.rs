//! Requests that are small to send and large to take: refused early, at no cost to anybody else.

use std::io::Read;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use otelcontext::model::batch::Signal;
use prost::Message;
use sqlx::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::client::{request, span};
use crate::server::{PATIENCE, Server};

use super::stored::Stored;
use super::{
    GZIP, Headers, JSON, PROTOBUF, ZSTD, call_grpc, channel, grown_bytes, grpc_path, gzip, is_well,
    peak_bytes, post, refusals, refused, refused_grpc, zstd,
};

/// What the server may grow for one bomb that is unpacked to the default limit of 64 MiB.
const BOMB_BYTES_MAX: u64 = 128 << 20;

/// What it may grow for many, one after the other: its allocator gives memory back with some delay.
const BOMBS_BYTES_MAX: u64 = 320 << 20;

/// Compresses a body, or leaves it as it is.
type Pack = fn(&[u8]) -> Vec<u8>;

/// `length` zeros, compressed.
fn zeros(length: u64, compression: (&str, &str)) -> Vec<u8> {
    let mut zeros = std::io::repeat(0).take(length);
    if compression == ZSTD {
        return zstd::encode_all(zeros, 1).unwrap();
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut zeros, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// A protobuf field of wire type 2.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// `content` inside messages, the outermost field first.
fn nested(numbers: &[u8], content: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(content.to_vec(), |inner, number| field(*number, &inner))
}

/// The bombs are made before the server starts, so that the tests' own memory does not disturb the machine meanwhile.
#[tokio::test]
async fn b1_b2_b3_a_gigabyte_of_zeros_is_refused_while_it_is_unpacked() {
    let bombs = [GZIP, ZSTD].map(|compression| (compression, zeros(1 << 30, compression)));
    let server = Server::start(&[]).await;
    let channel = channel(&server).await;
    let before = peak_bytes(&server);
    let answer = post(&server.http, Signal::Traces, &[PROTOBUF, GZIP], bombs[0].1.clone()).await;
    refused(&answer, 413, PROTOBUF, "the first");
    let grown = grown_bytes(&server, before);
    assert!(grown < BOMB_BYTES_MAX, "the server grew by {} MiB for one bomb", grown >> 20);
    for (compression, bomb) in &bombs {
        for address in [&server.otlp_http, &server.http] {
            for (signal, encoding) in [(Signal::Traces, PROTOBUF), (Signal::Logs, JSON)] {
                let answer = post(address, signal, &[encoding, *compression], bomb.clone()).await;
                refused(&answer, 413, encoding, compression.1);
            }
        }
        let headers = [("grpc-encoding", compression.1)];
        let result = call_grpc(&channel, grpc_path(Signal::Metrics), &headers, bomb).await;
        refused_grpc(result, Code::ResourceExhausted, compression.1);
    }
    let grown = grown_bytes(&server, before);
    assert!(grown < BOMBS_BYTES_MAX, "the server grew by {} MiB", grown >> 20);
    assert_eq!(
        [refusals(&server, "http", "too_large").await, refusals(&server, "grpc", "too_large").await],
        [9.0, 2.0]
    );
    is_well(&server).await;
}

#[tokio::test]
async fn b3_the_limit_is_the_configured_one_on_every_door() {
    let mut server = Server::start(&[("GRPC_MAX_RECV_MB", "1")]).await;
    let channel = channel(&server).await;
    // A field of tomorrow, exactly as long as the limit allows, and one byte more.
    let fits = field(15, &vec![0; (1 << 20) - 4]);
    assert_eq!(fits.len(), 1 << 20);
    let exceeds = field(15, &vec![0; (1 << 20) - 3]);
    for signal in Signal::ALL {
        let path = grpc_path(signal);
        let forms: [(Headers<'_>, Headers<'_>, Pack); 3] = [
            (&[PROTOBUF], &[], <[u8]>::to_vec),
            (&[PROTOBUF, GZIP], &[("grpc-encoding", "gzip")], gzip),
            (&[PROTOBUF, ZSTD], &[("grpc-encoding", "zstd")], zstd),
        ];
        for (headers, metadata, pack) in forms {
            let case = format!("{signal:?} {headers:?}");
            for address in [&server.otlp_http, &server.http] {
                let answer = post(address, signal, headers, pack(&fits)).await;
                assert_eq!(answer.status, 200, "{case}: {}", answer.text());
                refused(&post(address, signal, headers, pack(&exceeds)).await, 413, PROTOBUF, &case);
            }
            call_grpc(&channel, path, metadata, &pack(&fits)).await.expect(&case);
            refused_grpc(
                call_grpc(&channel, path, metadata, &pack(&exceeds)).await,
                Code::ResourceExhausted,
                &case,
            );
        }
    }
    assert_eq!(
        [refusals(&server, "http", "too_large").await, refusals(&server, "grpc", "too_large").await],
        [18.0, 9.0]
    );
    is_well(&server).await;
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 0);
}

#[tokio::test]
async fn b4_damaged_and_doubled_compression_is_refused() {
    let mut server = Server::start(&[]).await;
    let plain = request("shop", vec![span(1, 1, None, "pay", 2)]).encode_to_vec();
    let packed = gzip(&plain);
    let with_trailer = |change: fn(&mut Vec<u8>)| {
        let mut body = packed.clone();
        change(&mut body);
        body
    };
    let bad = [
        ("plain bytes called gzip", GZIP, plain.clone()),
        ("plain bytes called zstd", ZSTD, plain.clone()),
        ("zstd called gzip", GZIP, zstd(&plain)),
        ("gzip called zstd", ZSTD, gzip(&plain)),
        ("gzip in gzip", GZIP, gzip(&packed)),
        ("a wrong checksum", GZIP, with_trailer(|body| *body.iter_mut().nth_back(5).unwrap() ^= 1)),
        ("junk at the end", GZIP, with_trailer(|body| body.extend_from_slice(b"junk"))),
    ];
    let channel = channel(&server).await;
    for (case, compression, body) in bad {
        let metadata = [("grpc-encoding", compression.1)];
        let result = call_grpc(&channel, grpc_path(Signal::Traces), &metadata, &body).await;
        refused_grpc(result, Code::InvalidArgument, case);
        let answer = post(&server.otlp_http, Signal::Traces, &[PROTOBUF, compression], body).await;
        refused(&answer, 400, PROTOBUF, case);
    }
    for unknown in ["deflate", "br", "snappy", "gzip, gzip", "x"] {
        let headers = [PROTOBUF, ("content-encoding", unknown)];
        refused(
            &post(&server.otlp_http, Signal::Traces, &headers, packed.clone()).await,
            415,
            PROTOBUF,
            unknown,
        );
        let result =
            call_grpc(&channel, grpc_path(Signal::Traces), &[("grpc-encoding", unknown)], &packed).await;
        refused_grpc(result, Code::Unimplemented, unknown);
    }
    is_well(&server).await;
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 0);
}

/// Speaks HTTP by hand: sends `head`, then `piece` until the server has answered or hung up; answers what it said.
async fn speak(address: &str, head: &str, piece: &[u8]) -> String {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = async {
        while !piece.is_empty() && writer.write_all(piece).await.is_ok() {}
        // What is left to do is listening.
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 16 << 10];
    let listening = async {
        let length = reader.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let either = async {
        tokio::select! {
            () = sending => String::new(),
            answer = listening => answer,
        }
    };
    tokio::time::timeout(PATIENCE, either).await.expect("no answer")
}

#[tokio::test]
async fn b5_bodies_without_end_are_cut_at_the_limit() {
    let server = Server::start(&[("GRPC_MAX_RECV_MB", "1")]).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n";
    let piece = [&b"10000\r\n"[..], &vec![0; 1 << 16], b"\r\n"].concat();
    let answer = speak(&server.otlp_http, &format!("{head}transfer-encoding: chunked\r\n\r\n"), &piece).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "endless: {answer}");
    for length in ["1048577", "68719476736"] {
        let answer = speak(&server.otlp_http, &format!("{head}content-length: {length}\r\n\r\n"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "announced {length}: {answer}");
    }
    for bad in ["content-length: -1", "content-length: x", "content-length: 5\r\ncontent-length: 6"] {
        let answer = speak(&server.otlp_http, &format!("{head}{bad}\r\n\r\n"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn b6_millions_of_empty_messages_are_counted_before_they_are_decoded() {
    let server = Server::start(&[]).await;
    let channel = channel(&server).await;
    let before = peak_bytes(&server);
    let empty = |number: u8| [number << 3 | 2, 0].repeat(4 << 20);
    let bombs = [
        ("spans", Signal::Traces, nested(&[1, 2], &empty(2))),
        ("scopes", Signal::Traces, nested(&[1], &empty(2))),
        ("resources", Signal::Traces, empty(1)),
        ("attributes of a span", Signal::Traces, nested(&[1, 2, 2], &empty(9))),
        ("events", Signal::Traces, nested(&[1, 2, 2], &empty(11))),
        ("log records", Signal::Logs, nested(&[1, 2], &empty(2))),
        ("metrics", Signal::Metrics, nested(&[1, 2], &empty(2))),
        ("points of a gauge", Signal::Metrics, nested(&[1, 2, 2, 5], &empty(1))),
    ];
    let count = bombs.len() as f64;
    for (case, signal, bomb) in bombs {
        let packed = gzip(&bomb);
        refused(
            &post(&server.otlp_http, signal, &[PROTOBUF, GZIP], packed.clone()).await,
            413,
            PROTOBUF,
            case,
        );
        let result = call_grpc(&channel, grpc_path(signal), &[("grpc-encoding", "gzip")], &packed).await;
        refused_grpc(result, Code::ResourceExhausted, case);
    }
    let json =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(2 << 20));
    let answer = post(&server.otlp_http, Signal::Traces, &[JSON, GZIP], gzip(json.as_bytes())).await;
    refused(&answer, 413, JSON, "spans in JSON");
    let grown = grown_bytes(&server, before);
    assert!(grown < BOMB_BYTES_MAX, "the server grew by {} MiB", grown >> 20);
    assert_eq!(refusals(&server, "http", "too_large").await, count + 1.0);
    is_well(&server).await;
}

/// An item of two bytes takes as much memory as any other, and is charged for it: what waits stays within its bound.
#[tokio::test]
async fn b6_small_items_are_charged_as_they_lie_in_memory() {
    const RECORDS: usize = 20_000;
    let server = Server::start(&[("INGEST_PIPELINE_MAX_BYTES", "8388608")]).await;
    let records = gzip(&nested(&[1, 2], &[2 << 3 | 2, 0].repeat(RECORDS)));
    let file = server.folder().join("data").join("otelcontext.db");
    let mut database = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    // Nothing is stored meanwhile, so that everything waits.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let mut accepted = 0;
    let refusal = loop {
        let answer = post(&server.otlp_http, Signal::Logs, &[PROTOBUF, GZIP], records.clone()).await;
        if answer.status != 200 {
            break answer;
        }
        accepted += RECORDS;
        assert!(accepted < 16 * RECORDS, "{accepted} records wait in 8 MiB");
    };
    assert_eq!(refusal.status, 429, "{}", refusal.text());
    assert!(accepted >= RECORDS, "none was accepted");
    // Some may have been taken out already; what waits becomes less from here on.
    let bytes = server.metric("otelcontext_ingest_pipeline_queue_bytes").await;
    let waiting = server.metric("otelcontext_ingest_pipeline_queue_items").await;
    assert!(bytes > waiting * 50.0, "{bytes} bytes of {waiting} records");
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    server.settled().await;
    let stored = r#"otelcontext_ingest_stored_total{signal="logs"}"#;
    // The account follows the commit by a moment.
    server
        .until("counted", || async { (server.metric(stored).await >= accepted as f64).then_some(()) })
        .await;
    assert_eq!(server.metric(stored).await, accepted as f64);
    is_well(&server).await;
}

#[tokio::test]
async fn b7_deep_nesting_is_refused_without_recursion() {
    let mut server = Server::start(&[]).await;
    for depth in [40, 1_000, 100_000] {
        // An array in an array in an array: AnyValue 5, ArrayValue 1.
        let mut value = Vec::new();
        for _ in 0..depth.min(5_000) {
            value = field(5, &field(1, &value));
        }
        let attribute = [field(1, b"k"), field(2, &value)].concat();
        let body = nested(&[1, 2, 2, 9], &attribute);
        refused(&post(&server.otlp_http, Signal::Traces, &[PROTOBUF], body).await, 400, PROTOBUF, "protobuf");
        let value = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(depth), "]}}".repeat(depth));
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}"#
        );
        refused(&post(&server.otlp_http, Signal::Traces, &[JSON], body.into()).await, 400, JSON, "JSON");
        let unknown = format!(r#"{{"unknown":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let answer = post(&server.otlp_http, Signal::Traces, &[JSON], unknown.into()).await;
        assert!([200, 400].contains(&answer.status), "an unknown field: {}", answer.text());
    }
    is_well(&server).await;
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 0);
}

#[tokio::test]
async fn b9_too_many_or_too_large_headers_are_refused() {
    let server = Server::start(&[]).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\ncontent-type: application/json\r\n";
    let large = format!("x-large: {}\r\n", "x".repeat(128 << 10));
    let many: String = (0..1_000).map(|index| format!("x-{index}: y\r\n")).collect();
    for (case, headers) in [("large", large), ("many", many)] {
        let answer = speak(&server.http, &format!("{head}{headers}\r\n"), b"").await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{case}: {answer}");
    }
    is_well(&server).await;
}

#[tokio::test]
async fn b10_many_mistakes_make_a_short_answer() {
    let server = Server::start(&[]).await;
    let mut spans: Vec<_> = (0..20_000)
        .map(|index: u32| {
            let mut span = span(1, 1, None, &format!("a name of its own: {index}"), 2);
            span.span_id = vec![1; index as usize % 8];
            span
        })
        .collect();
    spans.push(span(1, 1, None, "good", 2));
    let answer =
        post(&server.otlp_http, Signal::Traces, &[PROTOBUF], request("shop", spans).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() <= 2_048, "{} bytes", answer.body.len());
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 20_000);
}

/// Silent clients and those that send half a head are let go, and keep nobody else waiting.
#[tokio::test]
async fn h4_clients_that_never_finish_are_let_go() {
    let server = Server::start(&[]).await;
    let mut waiting = Vec::new();
    let half_a_call = "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
                       content-type: application/json\r\ncontent-length: 200\r\n\r\n{";
    for head in
        ["", "POST /v1/traces HT", "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nx-half: ", half_a_call]
    {
        for address in [&server.grpc, &server.otlp_http, &server.http] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            waiting.push((head, stream));
        }
    }
    is_well(&server).await;
    for (head, mut stream) in waiting {
        let mut answer = Vec::new();
        // An answer or a reset are both fine: what counts is that the connection ends.
        let ends = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
        assert!(ends.is_ok(), "{head:?}: the connection is still open");
    }
    is_well(&server).await;
}
