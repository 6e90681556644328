//! What is not OTLP is refused in OTLP's own words, and nothing of it is kept.

use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::Method;
use serde_json::json;
use tonic::Code;

use crate::client::{ask, export, request, span};
use crate::server::Server;

use super::stored::Stored;
use super::{
    Answer, GZIP, Headers, JSON, PROTOBUF, ZSTD, accepted, call_grpc, channel, grpc_path, gzip, http_client,
    is_well, measurements, now, post, refusals, refused, refused_grpc, samples, send, zstd,
};

/// A small valid request of each signal.
fn small(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => request("shop", vec![span(1, 1, None, "pay", 2)]).encode_to_vec(),
        Signal::Logs => samples::log_request(samples::logs(now())[1..2].to_vec()).encode_to_vec(),
        Signal::Metrics => {
            samples::metric_request(measurements::metrics(now())[..1].to_vec()).encode_to_vec()
        }
    }
}

async fn holds_nothing(server: &mut Server) {
    let counts = Stored::after(server).await.counts().await;
    assert_eq!([counts.spans, counts.logs, counts.points], [0, 0, 0]);
}

#[tokio::test]
async fn a1_content_types_are_read_as_media_types() {
    let mut server = Server::start(&[]).await;
    let bad: [Headers<'_>; 6] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/protobuf-x")],
        &[PROTOBUF, JSON],
    ];
    for address in [&server.otlp_http, &server.http] {
        for headers in bad {
            let answer = post(address, Signal::Traces, headers, small(Signal::Traces)).await;
            refused(&answer, 415, JSON, &format!("{headers:?}"));
        }
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "APPLICATION/json ;a=b",
        ] {
            let answer = post(address, Signal::Logs, &[("content-type", good)], b"{}".to_vec()).await;
            accepted(&answer, JSON, good);
        }
        for good in ["application/x-protobuf", "Application/X-Protobuf; charset=utf-8"] {
            let answer = post(address, Signal::Metrics, &[("content-type", good)], Vec::new()).await;
            accepted(&answer, PROTOBUF, good);
        }
    }
    assert_eq!(refusals(&server, "http", "invalid").await, 12.0);
    holds_nothing(&mut server).await;
}

#[tokio::test]
async fn a2_other_methods_and_paths_are_refused_in_the_callers_encoding() {
    let server = Server::start(&[]).await;
    for address in [&server.otlp_http, &server.http] {
        for encoding in [PROTOBUF, JSON] {
            for signal in Signal::ALL {
                for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
                    let path = format!("/v1/{}", signal.name());
                    let answer = send(method.clone(), address, &path, &[encoding], Vec::new()).await;
                    refused(&answer, 405, encoding, &format!("{method} {path}"));
                    assert_eq!(answer.header("allow"), "POST");
                }
            }
            for path in ["/v1/nothing", "/v1/traces/", "/v1/Traces", "/v1development/profiles"] {
                let answer = send(Method::POST, address, path, &[encoding], small(Signal::Traces)).await;
                refused(&answer, 404, encoding, path);
            }
        }
    }
    let answer = send(Method::HEAD, &server.otlp_http, "/v1/traces", &[PROTOBUF], Vec::new()).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    let answer = send(Method::POST, &server.otlp_http, "/elsewhere", &[PROTOBUF], Vec::new()).await;
    refused(&answer, 404, PROTOBUF, "/elsewhere");
    let channel = channel(&server).await;
    for path in ["/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/nothing/Nowhere"] {
        refused_grpc(call_grpc(&channel, path, &[], &[]).await, Code::Unimplemented, path);
    }
    is_well(&server).await;
}

#[tokio::test]
async fn a3_broken_bodies_are_refused_at_every_offset() {
    let mut server = Server::start(&[]).await;
    let (client, channel) = (http_client(), channel(&server).await);
    let json = samples::logs_json(now())["resourceLogs"][0]["scopeLogs"][0]["logRecords"][1].to_string();
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{json}]}}]}}]}}"#).into_bytes();
    let protobuf = small(Signal::Traces);
    let forms: [(Signal, Headers<'_>, Vec<u8>); 4] = [
        (Signal::Traces, &[PROTOBUF], protobuf.clone()),
        (Signal::Traces, &[PROTOBUF, GZIP], gzip(&protobuf)),
        (Signal::Traces, &[PROTOBUF, ZSTD], zstd(&protobuf)),
        (Signal::Logs, &[JSON], json),
    ];
    let mut broken = 0.0;
    for (signal, headers, whole) in forms {
        for end in 1..whole.len() {
            let mut request = client.post(format!("http://{}/v1/{}", server.otlp_http, signal.name()));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = Answer::of(request.body(whole[..end].to_vec()).send().await.unwrap()).await;
            refused(&answer, 400, headers[0], &format!("{headers:?} cut at {end}"));
            broken += 1.0;
        }
    }
    assert_eq!(refusals(&server, "http", "invalid").await, broken);
    for (encoding, whole) in
        [(None, protobuf.clone()), (Some("gzip"), gzip(&protobuf)), (Some("zstd"), zstd(&protobuf))]
    {
        let headers: Vec<_> = encoding.map(|encoding| ("grpc-encoding", encoding)).into_iter().collect();
        for end in 1..whole.len() {
            let result = call_grpc(&channel, grpc_path(Signal::Traces), &headers, &whole[..end]).await;
            refused_grpc(result, Code::InvalidArgument, &format!("{encoding:?} cut at {end}"));
        }
    }
    is_well(&server).await;
    holds_nothing(&mut server).await;
}

/// Bodies that are noise: refused, or nothing but unknown fields; never stored.
#[tokio::test]
async fn a3_noise_is_never_stored() {
    let mut server = Server::start(&[]).await;
    let client = http_client();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..400 {
        let noise: Vec<u8> = (0..next() % 200 + 1).map(|_| next().to_le_bytes()[0]).collect();
        let signal = Signal::ALL[round % 3];
        let encoding = if round % 2 == 0 { PROTOBUF } else { JSON };
        let request = client.post(format!("http://{}/v1/{}", server.http, signal.name()));
        let answer = request.header(encoding.0, encoding.1).body(noise.clone()).send().await.unwrap();
        assert!([200, 400].contains(&answer.status().as_u16()), "{signal:?} {noise:?}");
    }
    is_well(&server).await;
    holds_nothing(&mut server).await;
}

/// One span in JSON, with `field` as given.
fn span_json(field: &str) -> Vec<u8> {
    let now = now();
    let ids = format!(r#""traceId":"{}","spanId":"726f6f747370616e""#, samples::TRACE_HEX);
    let span = format!(r#"{{{ids},"name":"n","startTimeUnixNano":{now},"endTimeUnixNano":"{now}",{field}}}"#);
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#).into_bytes()
}

#[tokio::test]
async fn a4_json_is_read_as_otlp_wants_it() {
    let mut server = Server::start(&[]).await;
    let value = |value: &str| format!(r#""attributes":[{{"key":"k","value":{value}}}]"#);
    let good = [
        value("{}"),
        value("null"),
        value(r#"{"futureValue":1}"#),
        value(r#"{"doubleValue":"NaN"}"#),
        value(r#"{"doubleValue":"5.5"}"#),
        value(r#"{"intValue":"5.0"}"#),
        value(r#"{"intValue":1e3}"#),
        value(r#"{"bytesValue":"_-8"}"#),
        r#""flags":"257""#.to_owned(),
        r#""kind":"SPAN_KIND_SERVER""#.to_owned(),
        r#""events":null,"links":null,"status":null"#.to_owned(),
        r#""droppedAttributesCount":"3""#.to_owned(),
        r#""unknown":{"deep":[{},null,1e400]}"#.to_owned(),
    ];
    let mut expected = 0;
    for field in &good {
        let answer = post(
            &server.otlp_http,
            Signal::Traces,
            &[JSON, ("x-tenant-id", &format!("t{expected}"))],
            span_json(field),
        )
        .await;
        accepted(&answer, JSON, field);
        expected += 1;
    }
    for empty in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[]}"#, " {} \n"] {
        accepted(&post(&server.otlp_http, Signal::Traces, &[JSON], empty.into()).await, JSON, empty);
    }
    let bad = [
        value(r#"{"intValue":"9223372036854775808"}"#),
        value(r#"{"intValue":1.5}"#),
        value(r#"{"stringValue":"\ud800"}"#),
        value(r#"{"stringValue":17}"#),
        value(r#"{"boolValue":"yes"}"#),
        r#""parentSpanId":"xy""#.to_owned(),
        r#""parentSpanId":"123""#.to_owned(),
        r#""name":"again""#.to_owned(),
    ];
    for field in &bad {
        refused(&post(&server.otlp_http, Signal::Traces, &[JSON], span_json(field)).await, 400, JSON, field);
    }
    for bad in ["", "[]", "null", "17", "{} {}", "{}x", "\u{feff}{}", "{\"resourceSpans\":{}}", "{'a':1}"] {
        refused(&post(&server.otlp_http, Signal::Traces, &[JSON], bad.into()).await, 400, JSON, bad);
    }
    let counts = Stored::after(&mut server).await.counts().await;
    assert_eq!(counts.spans, expected);
}

/// Every request sent as every other signal, with the nastiest case: a metric whose name and description are as long
/// as the ids of a span.
#[tokio::test]
async fn a6_the_wrong_signal_never_becomes_a_phantom() {
    let mut server = Server::start(&[]).await;
    let mut disguised = measurements::metrics(now());
    for metric in &mut disguised {
        (metric.name, metric.description) = ("sixteen-byte-nam".into(), "eightbyt".into());
    }
    let bodies = [
        (Signal::Traces, samples::traces(samples::spans(now())).encode_to_vec()),
        (Signal::Logs, samples::log_request(samples::logs(now())).encode_to_vec()),
        (Signal::Metrics, samples::metric_request(measurements::metrics(now())).encode_to_vec()),
        (Signal::Metrics, samples::metric_request(disguised).encode_to_vec()),
    ];
    let channel = channel(&server).await;
    for (meant, body) in &bodies {
        for signal in Signal::ALL.into_iter().filter(|signal| signal != meant) {
            let case = format!("{meant:?} as {signal:?}");
            refused(&post(&server.otlp_http, signal, &[PROTOBUF], body.clone()).await, 400, PROTOBUF, &case);
            refused_grpc(
                call_grpc(&channel, grpc_path(signal), &[], body).await,
                Code::InvalidArgument,
                &case,
            );
        }
    }
    // In JSON the other signal's fields are unknown ones, which are ignored.
    for (path, body) in [
        (Signal::Traces, samples::logs_json(now())),
        (Signal::Logs, samples::traces_json(now())),
        (Signal::Metrics, samples::traces_json(now())),
    ] {
        let answer = post(&server.otlp_http, path, &[JSON], body.to_string().into()).await;
        assert!([200, 400].contains(&answer.status), "{path:?}: {}", answer.text());
    }
    is_well(&server).await;
    holds_nothing(&mut server).await;
}

#[tokio::test]
async fn a7_empty_requests_and_missing_envelopes_succeed() {
    let mut server = Server::start(&[]).await;
    let channel = channel(&server).await;
    for signal in Signal::ALL {
        // Nothing; an empty resource message; a resource with an empty scope message.
        for body in [&b""[..], &[0x0a, 0x00], &[0x0a, 0x02, 0x12, 0x00]] {
            let case = format!("{signal:?} {body:?}");
            accepted(&post(&server.http, signal, &[PROTOBUF], body.to_vec()).await, PROTOBUF, &case);
            assert_eq!(
                call_grpc(&channel, grpc_path(signal), &[], body).await.unwrap(),
                Vec::<u8>::new(),
                "{case}"
            );
        }
    }
    holds_nothing(&mut server).await;
    let (mut server, _) = server.crash_and_restart().await;
    let mut bare = request("shop", vec![span(1, 1, None, "alone", 2)]);
    bare.resource_spans[0].resource = None;
    bare.resource_spans[0].scope_spans[0].scope = None;
    export(&server, "default", &bare).await;
    server.settled().await;
    let map = ask(&server, "default", "get_service_health", json!({})).await;
    assert!(map.to_string().contains("unknown_service"), "{map}");
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 1);
}
