//! The operator's rules at the door: what is rejected is said and counted, what is left out is nowhere, what is read out
//! of log lines can be searched.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use otelcontext::model::batch::Signal;
use prost::Message;
use serde_json::{Value, json};

use crate::client::{ask, request, rows, span, text};
use crate::server::Server;

use super::stored::Stored;
use super::{
    JSON, PROTOBUF, accepted, call_grpc, channel, grpc_path, measurements, now, post, samples, searched,
};

const DAY: u64 = 86_400 * 1_000_000_000;

/// One item of each signal at each of `times`.
fn timed(signal: Signal, times: &[u64]) -> Vec<u8> {
    match signal {
        Signal::Traces => {
            let spans = times.iter().zip(1..).map(|(time, id)| {
                let mut span = span(1, id, None, "work", 2);
                (span.start_time_unix_nano, span.end_time_unix_nano) = (*time, *time);
                span
            });
            request("shop", spans.collect()).encode_to_vec()
        }
        Signal::Logs => {
            samples::log_request(times.iter().map(|time| line(*time, 17, "late")).collect()).encode_to_vec()
        }
        Signal::Metrics => {
            let metrics = times.iter().map(|time| {
                let mut metric = measurements::metrics(*time).swap_remove(0);
                let Some(Data::Gauge(gauge)) = &mut metric.data else { panic!("{metric:?}") };
                // A counter may well have begun years ago.
                gauge.data_points[0].start_time_unix_nano = 1;
                metric
            });
            samples::metric_request(metrics.collect()).encode_to_vec()
        }
    }
}

fn line(time: u64, severity: i32, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: time,
        severity_number: severity,
        body: samples::any(Any::StringValue(body.into())),
        ..LogRecord::default()
    }
}

/// The partial success of an answer in protobuf: what was rejected, and the message.
fn partial(signal: Signal, answer: &[u8]) -> (i64, String) {
    let found = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(answer)
            .unwrap()
            .partial_success
            .map(|partial| (partial.rejected_spans, partial.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(answer)
            .unwrap()
            .partial_success
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(answer)
            .unwrap()
            .partial_success
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
    };
    found.unwrap_or_default()
}

/// Exports over HTTP and over gRPC, as tenants of these names; answers both partial successes.
async fn export_both(server: &Server, signal: Signal, body: &[u8]) -> [(i64, String); 2] {
    let answer = post(&server.http, signal, &[PROTOBUF, ("x-tenant-id", "http")], body.to_vec()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let over_http = partial(signal, &answer.body);
    let headers = [("x-tenant-id", "grpc")];
    let answer = call_grpc(&channel(server).await, grpc_path(signal), &headers, body).await.unwrap();
    [over_http, partial(signal, &answer)]
}

async fn rejected(server: &Server, signal: Signal, reason: &str) -> f64 {
    let labels = format!("{{signal=\"{}\",reason=\"{reason}\"}}", signal.name());
    server.metric(&format!("otelcontext_otlp_items_rejected_total{labels}")).await
}

#[tokio::test]
async fn items_outside_the_time_that_is_kept_are_rejected_alone_on_every_door() {
    let mut server = Server::start(&[("HOT_RETENTION_DAYS", "3"), ("LOG_RETENTION_DAYS", "30")]).await;
    let now = now();
    for (signal, days) in [(Signal::Traces, 3), (Signal::Logs, 30), (Signal::Metrics, 3)] {
        let hour = DAY / 24;
        let body = timed(signal, &[now, now - days * DAY + hour, now - days * DAY - hour, now + DAY + hour]);
        for (count, message) in export_both(&server, signal, &body).await {
            assert_eq!(count, 2, "{signal:?}: {message}");
            for part in ["HOT_RETENTION_DAYS", &format!("{days} days are kept"), "the sender's clock", "T"] {
                assert!(message.contains(part), "{signal:?}: no `{part}` in {message}");
            }
        }
        assert_eq!(rejected(&server, signal, "too_old").await, 2.0, "{signal:?}");
        assert_eq!(rejected(&server, signal, "in_the_future").await, 2.0, "{signal:?}");
        assert_eq!(rejected(&server, signal, "invalid").await, 0.0, "{signal:?}");
    }
    let span = |nanos: u64| json!({"traceId": samples::TRACE_HEX, "spanId": "0000000000000001", "name": "n", "startTimeUnixNano": nanos.to_string()});
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span(1)]}]}]}).to_string().into_bytes();
    let answer = post(&server.otlp_http, Signal::Traces, &[JSON], body).await;
    assert_eq!((answer.status, &answer.json()["partialSuccess"]["rejectedSpans"]), (200, &json!("1")));
    let stored = Stored::after(&mut server).await;
    for tenant in ["http", "grpc"] {
        assert_eq!(stored.spans(tenant).await.len(), 2);
        assert_eq!(stored.logs(tenant).await.len(), 2);
        assert_eq!(stored.metrics(tenant).await.len(), 2);
    }
    assert_eq!(stored.counts().await.spans, 4);
}

#[tokio::test]
async fn services_and_severities_that_are_not_wanted_are_rejected_and_stay_out_after_a_crash() {
    let variables = [
        ("INGEST_EXCLUDED_SERVICES", "noise"),
        ("INGEST_MIN_SEVERITY", "INFO"),
        ("STORE_MIN_SEVERITY", "ERROR"),
    ];
    let server = Server::start(&variables).await;
    let spans = |service: &str| request(service, vec![span(1, 1, None, "work", 2)]).encode_to_vec();
    for (service, wanted) in [("shop", 0), ("noise", 1)] {
        for (count, message) in export_both(&server, Signal::Traces, &spans(service)).await {
            assert_eq!(count, wanted, "{service}: {message}");
            assert_eq!(message.contains("INGEST_EXCLUDED_SERVICES"), wanted == 1, "{message}");
        }
    }
    let now = now();
    let lines = vec![
        line(now, 5, "below both"),
        line(now, 9, "counted only"),
        line(now, 17, "stored"),
        line(now, 0, "DEBUG says the line itself"),
        line(now, 0, "of unknown severity"),
    ];
    for (count, message) in
        export_both(&server, Signal::Logs, &samples::log_request(lines).encode_to_vec()).await
    {
        assert_eq!(count, 2, "{message}");
        assert!(message.contains("2 log records rejected: below INGEST_MIN_SEVERITY=info"), "{message}");
        assert!(
            message.contains("1 log records counted and not stored: below STORE_MIN_SEVERITY=error"),
            "{message}"
        );
    }
    assert_eq!(rejected(&server, Signal::Traces, "service").await, 2.0);
    assert_eq!(rejected(&server, Signal::Logs, "severity").await, 4.0);
    server.settled().await;
    let number = |name: &'static str| server.metric(name);
    let accepted = number(r#"otelcontext_ingest_accepted_total{signal="logs"}"#).await;
    let kept = number(r#"otelcontext_ingest_stored_total{signal="logs"}"#).await;
    let counted = number("otelcontext_ingest_counted_only_records_total").await;
    assert_eq!((accepted, kept, counted), (6.0, 4.0, 2.0));
    let (mut server, _) = server.crash_and_restart().await;
    server.settled().await;
    let stored = Stored::after(&mut server).await;
    for tenant in ["http", "grpc"] {
        assert_eq!(stored.spans(tenant).await.len(), 1);
        let bodies = stored.logs(tenant).await.into_iter().map(|(_, log)| log.body).collect::<Vec<_>>();
        let body = |text: &str| samples::any(Any::StringValue(text.into()));
        assert_eq!(bodies, [body("stored"), body("of unknown severity")]);
    }
}

#[tokio::test]
async fn only_services_that_are_allowed_are_taken() {
    let server = Server::start(&[("INGEST_ALLOWED_SERVICES", "shop, bank")]).await;
    for (service, wanted) in [("shop", 0), ("bank", 0), ("shop2", 1)] {
        let body = request(service, vec![span(1, 1, None, "work", 2)]).encode_to_vec();
        let [(over_http, _), (over_grpc, _)] = export_both(&server, Signal::Traces, &body).await;
        assert_eq!((over_http, over_grpc), (wanted, wanted), "{service}");
    }
}

#[tokio::test]
async fn attributes_are_left_out_after_the_graph_has_read_them() {
    let mut server = Server::start(&[
        ("ATTRIBUTE_DROP", "db.system.name,user.*"),
        ("ATTRIBUTE_VALUE_MAX_BYTES", "8"),
        ("ATTRIBUTES_MAX", "4"),
    ])
    .await;
    let mut root = span(1, 1, None, "pay", 2);
    root.attributes = (0..6).map(|index| text(&format!("k{index}"), "v")).collect();
    let mut query = span(1, 2, Some(1), "SELECT", 3);
    query.attributes =
        vec![text("db.system.name", "redis"), text("user.email", "a@b"), text("note", "äääää")];
    query.events = vec![Event {
        name: "login".into(),
        attributes: vec![text("user.id", "7"), text("x", "y")],
        ..Event::default()
    }];
    let mut body = request("shop", vec![root, query]);
    let resource = body.resource_spans[0].resource.as_mut().unwrap();
    resource.attributes.push(text("user.home", "/root"));
    for (count, message) in export_both(&server, Signal::Traces, &body.encode_to_vec()).await {
        assert_eq!(count, 0);
        assert!(
            message.contains("2 attributes dropped") && message.contains("1 attribute values shortened"),
            "{message}"
        );
    }
    server.settled().await;
    let map = ask(&server, "http", "get_service_map", json!({"since": "1h"})).await;
    assert!(
        map.to_string().contains("redis"),
        "the database is known although its name is not stored: {map}"
    );
    let dropped = |reason: &str| format!("otelcontext_attributes_dropped_total{{reason=\"{reason}\"}}");
    assert_eq!(server.metric(&dropped("denied")).await, 8.0);
    assert_eq!(server.metric(&dropped("too_many")).await, 4.0);
    assert_eq!(server.metric(&dropped("not_allowed")).await, 0.0);
    assert_eq!(server.metric("otelcontext_attributes_truncated_total").await, 2.0);
    let stored = Stored::after(&mut server).await;
    let spans = stored.spans("http").await;
    let span = |name: &str| spans.iter().find(|(_, span)| span.name == name).unwrap();
    let (sender, root) = span("pay");
    assert_eq!(sender.resource.attributes, [text("service.name", "shop")]);
    assert_eq!((root.attributes.len(), root.dropped_attributes_count), (4, 2));
    let (_, query) = span("SELECT");
    assert_eq!(query.attributes, [text("note", "ääää")]);
    assert_eq!(query.events[0].attributes, [text("x", "y")]);
}

#[tokio::test]
async fn only_attributes_that_are_allowed_are_stored() {
    let mut server = Server::start(&[("ATTRIBUTE_ALLOW", "http.*")]).await;
    let mut sent = span(1, 1, None, "pay", 2);
    sent.attributes = vec![text("http.route", "/pay"), text("secret", "s")];
    let exception = vec![text("exception.type", "Oops"), text("exception.stacktrace", "s")];
    sent.events = vec![Event { name: "exception".into(), attributes: exception, ..Event::default() }];
    let body = request("shop", vec![sent]).encode_to_vec();
    accepted(&post(&server.http, Signal::Traces, &[PROTOBUF], body).await, PROTOBUF, "a span");
    let mut log = line(now(), 9, "line");
    log.attributes = vec![text("http.method", "GET"), text("secret", "s")];
    let body = samples::log_request(vec![log]).encode_to_vec();
    accepted(&post(&server.http, Signal::Logs, &[PROTOBUF], body).await, PROTOBUF, "a line");
    let stored = Stored::after(&mut server).await;
    let (sender, span) = stored.spans("default").await.swap_remove(0);
    assert_eq!(sender.resource.attributes, [text("service.name", "shop")]);
    assert_eq!(span.attributes, [text("http.route", "/pay")]);
    assert_eq!(span.events[0].attributes, [text("exception.type", "Oops")]);
    let (_, log) = stored.logs("default").await.swap_remove(0);
    assert_eq!(log.attributes, [text("http.method", "GET")]);
}

/// Sends lines and finds them again by words; answers what `search_logs` shows, in the order of sending.
async fn shown(server: &Server, lines: &[&str]) -> Vec<Value> {
    let now = now();
    let records = lines.iter().zip(0..).map(|(body, index)| {
        let attributes: Vec<KeyValue> = vec![text("own", "kept"), text("tag", "needle")];
        LogRecord { attributes, ..line(now + index, 0, body) }
    });
    let body = samples::log_request(records.collect()).encode_to_vec();
    accepted(&post(&server.http, Signal::Logs, &[PROTOBUF], body).await, PROTOBUF, "lines");
    server.settled().await;
    let answer = searched(server, "default", json!({"query": "needle", "since": "1h"})).await;
    let mut found = rows(&answer, "logs");
    found.reverse();
    assert_eq!(found.len(), lines.len(), "{answer}");
    found
}

const LINES: [&str; 4] = [
    r#"{"level":"error","msg":"card 17 declined","order":{"id":4711,"vip":true},"own":"not this"}"#,
    "2026-01-02 15:04:05,123 WARN [main] c.e.Pay - slow",
    "level=debug msg=\"a b\"",
    "an error reading a file",
];

#[tokio::test]
async fn levels_and_fields_are_read_out_of_lines_and_shown_to_agents() {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let found = shown(&server, &LINES).await;
    let severities: Vec<_> = found.iter().map(|row| row["severity"].as_str().unwrap()).collect();
    assert_eq!(severities, ["error", "warn", "debug", "unknown"]);
    assert_eq!(found[0]["body"], "card 17 declined");
    let attributes = &found[0]["attributes"];
    assert_eq!(attributes["order.id"], "4711", "{attributes}");
    assert_eq!((&attributes["order.vip"], &attributes["own"]), (&json!("true"), &json!("kept")));
    assert_eq!(found[1]["body"], LINES[1]);
    let by_field =
        ask(&server, "default", "search_logs", json!({"query": "order.id=4711", "since": "1h"})).await;
    assert_eq!(rows(&by_field, "logs").len(), 1, "{by_field}");
    let severe = ask(&server, "default", "search_logs", json!({"severity": "warn", "since": "1h"})).await;
    assert_eq!(rows(&severe, "logs").len(), 2, "{severe}");
}

#[tokio::test]
async fn lines_are_left_alone_where_nobody_wants_them_read() {
    let off = [("LOG_SEVERITY_FROM_BODY", "false"), ("LOG_PARSE_JSON", "false"), ("MCP_CACHE_TTL_MS", "0")];
    let server = Server::start(&off).await;
    for (row, line) in shown(&server, &LINES).await.iter().zip(LINES) {
        assert_eq!((&row["severity"], &row["body"]), (&json!("unknown"), &json!(line)));
        assert_eq!(row["attributes"], json!({"own": "kept", "tag": "needle"}));
    }
}
