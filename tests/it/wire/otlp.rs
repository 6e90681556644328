//! Telemetry comes back as it was sent, whichever way it came in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use otelcontext::model::batch::Signal;
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;

use crate::client::{ask, export, request, rows, span, text};
use crate::server::Server;

use super::stored::Stored;
use super::{
    GZIP, JSON, PROTOBUF, ZSTD, accepted, channel, gzip, measurements, post, samples, searched, zstd,
};

/// A minute ago, in nanoseconds.
fn a_minute_ago() -> u64 {
    let time = SystemTime::now() - Duration::from_secs(60);
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Sends one request over HTTP in every encoding and compression to both ports, each time as another tenant; answers
/// the tenants.
async fn send_over_http(server: &Server, signal: Signal, protobuf: Vec<u8>, json: &Value) -> Vec<String> {
    let mut tenants = Vec::new();
    for (port, address) in [("otlp", &server.otlp_http), ("main", &server.http)] {
        for (encoding, plain) in [(PROTOBUF, protobuf.clone()), (JSON, json.to_string().into_bytes())] {
            let packed = [(None, plain.clone()), (Some(GZIP), gzip(&plain)), (Some(ZSTD), zstd(&plain))];
            for (compression, body) in packed {
                let packing = compression.map_or("plain", |(_, name)| name);
                let form = if encoding == JSON { "json" } else { "protobuf" };
                let tenant = format!("{port}-{form}-{packing}");
                let headers = [encoding, ("x-tenant-id", &tenant)];
                let headers: Vec<_> = headers.into_iter().chain(compression).collect();
                let answer = post(address, signal, &headers, body).await;
                accepted(&answer, encoding, &tenant);
                tenants.push(tenant);
            }
        }
    }
    tenants
}

/// Sends one request over gRPC as `$client` does, with every compression; answers the tenants.
macro_rules! send_over_grpc {
    ($server:expr, $client:ident, $request:expr) => {{
        let channel = channel($server).await;
        let mut tenants = Vec::new();
        for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
            let mut client = $client::new(channel.clone());
            if let Some(compression) = compression {
                client = client.send_compressed(compression).accept_compressed(compression);
            }
            let tenant = format!("grpc-{}", compression.map_or_else(|| "plain".into(), |it| it.to_string()));
            let mut request = tonic::Request::new($request.clone());
            request.metadata_mut().insert("x-tenant-id", tenant.parse().unwrap());
            let answer = client.export(request).await.unwrap().into_inner();
            assert_eq!(answer.partial_success, None, "{tenant}");
            tenants.push(tenant);
        }
        tenants
    }};
}

/// Checks that `found` are exactly the items `sent`, every one by the sender of all samples. They are compared as
/// text, because a number that is none equals nothing.
fn same<T: std::fmt::Debug>(tenant: &str, found: &[(super::stored::Sender, T)], sent: &[T]) {
    let sender = format!("{:#?}", samples::sender());
    for (found, _) in found {
        assert_eq!(format!("{found:#?}"), sender, "{tenant}: the sender");
    }
    let mut found: Vec<String> = found.iter().map(|(_, item)| format!("{item:#?}")).collect();
    let mut sent: Vec<String> = sent.iter().map(|item| format!("{item:#?}")).collect();
    found.sort();
    sent.sort();
    assert_eq!(found.len(), sent.len(), "{tenant}");
    for (found, sent) in found.iter().zip(&sent) {
        let differs = found.lines().zip(sent.lines()).position(|(found, sent)| found != sent);
        let around = |text: &str| -> String {
            let lines = text.lines().skip(differs.unwrap_or(0).saturating_sub(6)).take(12);
            lines.fold(String::new(), |all, line| all + line + "\n")
        };
        assert_eq!(found, sent, "{tenant}: stored\n{}\ninstead of\n{}", around(found), around(sent));
    }
}

#[tokio::test]
async fn every_field_of_spans_comes_back_from_every_door() {
    let mut server = Server::start(&[]).await;
    let now = a_minute_ago();
    let sent = samples::spans(now);
    let request = samples::traces(sent.clone());
    let json = samples::traces_json(now);
    let mut tenants = send_over_http(&server, Signal::Traces, request.encode_to_vec(), &json).await;
    tenants.extend(send_over_grpc!(&server, TraceServiceClient, request));
    assert_eq!(tenants.len(), 15);
    let stored = Stored::after(&mut server).await;
    for tenant in tenants {
        same(&tenant, &stored.spans(&tenant).await, &sent);
    }
}

#[tokio::test]
async fn every_field_of_log_records_comes_back_from_every_door() {
    let mut server = Server::start(&[]).await;
    let now = a_minute_ago();
    let sent = samples::logs(now);
    let request = samples::log_request(sent.clone());
    let json = samples::logs_json(now);
    let mut tenants = send_over_http(&server, Signal::Logs, request.encode_to_vec(), &json).await;
    tenants.extend(send_over_grpc!(&server, LogsServiceClient, request));
    let stored = Stored::after(&mut server).await;
    let mut kept = sent;
    // What the structured body holds under a key can be filtered by, too.
    kept[0].attributes.push(text("inner.k", "v"));
    for tenant in tenants {
        same(&tenant, &stored.logs(&tenant).await, &kept);
    }
}

#[tokio::test]
async fn every_field_of_all_kinds_of_metrics_comes_back_from_every_door() {
    let mut server = Server::start(&[]).await;
    let now = a_minute_ago();
    let sent = measurements::metrics(now);
    let request = samples::metric_request(sent.clone());
    let json = samples::metric_request_json(&measurements::metrics_json(now));
    let mut tenants = send_over_http(&server, Signal::Metrics, request.encode_to_vec(), &json).await;
    tenants.extend(send_over_grpc!(&server, MetricsServiceClient, request));
    let stored = Stored::after(&mut server).await;
    for tenant in tenants {
        same(&tenant, &stored.metrics(&tenant).await, &sent);
    }
}

#[tokio::test]
async fn agents_read_spans_and_structured_logs_as_they_were_sent() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = a_minute_ago();
    let body = samples::traces(samples::spans(now)).encode_to_vec();
    accepted(&post(&server.otlp_http, Signal::Traces, &[PROTOBUF], body).await, PROTOBUF, "spans");
    let body = samples::log_request(samples::logs(now)).encode_to_vec();
    accepted(&post(&server.otlp_http, Signal::Logs, &[PROTOBUF], body).await, PROTOBUF, "logs");
    server.settled().await;

    let trace = ask(&server, "default", "trace_graph", json!({"trace_id": samples::TRACE_HEX})).await;
    let spans = rows(&trace, "spans");
    assert_eq!(spans.len(), 2, "{trace}");
    let [root, child] = [&spans[0], &spans[1]];
    assert_eq!(
        [&root["operation"], &root["kind"], &root["depth"]],
        [&json!("GET /pay"), &json!("server"), &json!(0)]
    );
    assert_eq!(
        [&child["service"], &child["operation"], &child["kind"], &child["status"], &child["depth"]],
        [&json!("checkout"), &json!("SELECT orders"), &json!("client"), &json!("error"), &json!(1)]
    );
    assert!(child["message"].as_str().unwrap().contains("no answer in 30 ms"), "{child}");
    let attributes = &child["attributes"];
    assert_eq!(attributes["text"], "line one\nline two\ttabbed");
    assert_eq!(attributes["int"].to_string().trim_matches('"'), i64::MAX.to_string());
    assert!(attributes["structure"].to_string().contains("ä€𝄞"), "{attributes}");

    let found = searched(&server, "default", json!({"query": "payment failed"})).await;
    let logs = rows(&found, "logs");
    assert_eq!(logs.len(), 1, "{found}");
    assert_eq!(logs[0]["body"], "payment of 17 failed after 3 tries");
    assert_eq!(logs[0]["trace_id"], samples::TRACE_HEX);
    let found = ask(&server, "default", "search_logs", json!({"trace_id": samples::TRACE_HEX})).await;
    let logs = rows(&found, "logs");
    assert_eq!(logs.len(), 5, "{found}");
    let structured = logs.last().unwrap()["body"].as_str().unwrap();
    let read: Value = serde_json::from_str(structured).expect(structured);
    assert_eq!(read["inner"]["list"], json!(["ä€𝄞", i64::MIN, false, null]));
}

/// Accepted items are stored or were there before; nothing is lost in between and nothing stored twice.
#[tokio::test]
async fn accepted_items_are_stored_or_duplicates() {
    let mut server = Server::start(&[]).await;
    let now = a_minute_ago();
    let sample = samples::traces(samples::spans(now));
    for _ in 0..3 {
        export(&server, "default", &sample).await;
    }
    // The same span twice in one request is a duplicate too.
    let twice = vec![span(7, 1, None, "work", 2); 2];
    export(&server, "default", &request("shop", twice)).await;
    // Log records and points have no identity: they are stored as often as they come.
    for _ in 0..2 {
        let body = samples::log_request(samples::logs(now)).encode_to_vec();
        accepted(&post(&server.http, Signal::Logs, &[PROTOBUF], body).await, PROTOBUF, "logs");
    }
    let body = samples::metric_request(measurements::metrics(now)).encode_to_vec();
    accepted(&post(&server.http, Signal::Metrics, &[PROTOBUF], body).await, PROTOBUF, "metrics");
    server.settled().await;

    let mut counted = Vec::new();
    for signal in Signal::ALL {
        let of = |name: &str| format!("otelcontext_{name}_total{{signal=\"{}\"}}", signal.name());
        let taken = server.metric(&of("otlp_items_accepted")).await;
        let accepted = server.metric(&of("ingest_accepted")).await;
        assert_eq!(taken, accepted, "{signal:?}: both doors and the pipeline count the same items");
        counted.push((accepted, server.metric(&of("ingest_stored")).await));
    }
    let duplicates = server.metric("otelcontext_ingest_duplicate_spans_total").await;
    let points = measurements::metrics(now).len() as f64;
    assert_eq!(counted, [(8.0, 8.0 - duplicates), (10.0, 10.0), (points, points)]);
    assert_eq!(duplicates, 5.0);
    let counts = Stored::after(&mut server).await.counts().await;
    assert_eq!([counts.spans, counts.logs, counts.points].map(|count| count as f64), [3.0, 10.0, points]);
}
