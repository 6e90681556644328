//! Items that are wrong in themselves: mended or rejected alone, while what is good beside them is kept.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcontext::model::batch::Signal;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{ask, export, request, span, text};
use crate::server::Server;

use super::stored::Stored;
use super::{
    JSON, PROTOBUF, accepted, call_grpc, channel, grpc_path, is_well, measurements, now, post, samples, send,
};

/// A request whose spans 2 to 4 have no valid ids.
fn partly_bad() -> ExportTraceServiceRequest {
    let mut spans: Vec<_> = (1..=6).map(|id| span(1, id, None, "work", 2)).collect();
    spans[1].trace_id = vec![0; 16];
    spans[2].span_id = vec![1; 7];
    spans[3].trace_id = Vec::new();
    request("shop", spans)
}

#[tokio::test]
async fn a5_bad_spans_are_counted_and_the_good_ones_beside_them_stored() {
    let mut server = Server::start(&[]).await;
    let body = partly_bad().encode_to_vec();
    let check = |partial: ExportTracePartialSuccess| {
        assert_eq!(partial.rejected_spans, 3);
        assert!(partial.error_message.contains("3 of 6 spans rejected"), "{}", partial.error_message);
    };
    let answer = post(&server.http, Signal::Traces, &[PROTOBUF, ("x-tenant-id", "a")], body.clone()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, PROTOBUF.1));
    check(ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap());
    let headers = [("x-tenant-id", "b")];
    let answer =
        call_grpc(&channel(&server).await, grpc_path(Signal::Traces), &headers, &body).await.unwrap();
    check(ExportTraceServiceResponse::decode(&answer[..]).unwrap().partial_success.unwrap());

    let spans = json!([
        {"traceId": samples::TRACE_HEX, "spanId": "0000000000000001", "name": "good", "startTimeUnixNano": now()},
        {"traceId": "00000000000000000000000000000000", "spanId": "0000000000000002", "name": "bad", "startTimeUnixNano": now()},
    ]);
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string().into_bytes();
    let answer = post(&server.http, Signal::Traces, &[JSON, ("x-tenant-id", "c")], body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, JSON.1));
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], json!("1"), "64-bit numbers are text in JSON");
    assert!(!partial["errorMessage"].as_str().unwrap().is_empty());

    let rejected = r#"otelcontext_otlp_items_rejected_total{signal="traces",reason="invalid"}"#;
    assert_eq!(server.metric(rejected).await, 7.0);
    let stored = Stored::after(&mut server).await;
    for (tenant, kept) in [("a", 3), ("b", 3), ("c", 1)] {
        assert_eq!(stored.spans(tenant).await.len(), kept, "{tenant}");
    }
}

#[tokio::test]
async fn a5_bad_ids_of_logs_links_and_parents_are_dropped_alone() {
    let mut server = Server::start(&[]).await;
    let mut logs = samples::logs(now());
    logs.truncate(4);
    (logs[0].trace_id, logs[1].trace_id, logs[2].trace_id) = (vec![0; 16], vec![1; 15], Vec::new());
    (logs[0].span_id, logs[1].span_id, logs[2].span_id) = (vec![0; 8], vec![1; 9], Vec::new());
    let answer =
        post(&server.http, Signal::Logs, &[PROTOBUF], samples::log_request(logs).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let partial = ExportLogsServiceResponse::decode(&answer.body[..]).unwrap().partial_success;
    assert_eq!(
        partial.map_or(0, |partial| partial.rejected_log_records),
        0,
        "log records are kept without ids"
    );

    let mut spans = samples::spans(now());
    spans[1].links[0].trace_id = vec![1; 3];
    spans[1].parent_span_id = vec![1; 5];
    let answer =
        post(&server.http, Signal::Traces, &[PROTOBUF], samples::traces(spans).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success;
    assert_eq!(partial.map_or(0, |partial| partial.rejected_spans), 0, "the span is a root then");

    let stored = Stored::after(&mut server).await;
    let logs = stored.logs("default").await;
    let linked: Vec<bool> = logs.iter().map(|(_, log)| !log.trace_id.is_empty()).collect();
    assert_eq!(linked, [false, false, false, true]);
    let spans = stored.spans("default").await;
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|(_, span)| span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn a8_impossible_times_are_mended_or_rejected() {
    // A hundred years: one of the spans says 1970.
    let mut server = Server::start(&[("HOT_RETENTION_DAYS", "36500")]).await;
    let now = span(1, 1, None, "now", 2).start_time_unix_nano;
    let with_times = |id, start, end| {
        let mut span = span(1, id, None, "timed", 2);
        (span.start_time_unix_nano, span.end_time_unix_nano) = (start, end);
        span
    };
    let ten_years = 10 * 365 * 86_400 * 1_000_000_000;
    let kept =
        [with_times(1, now, now - 1), with_times(2, 1, 2), with_times(3, now, 0), with_times(4, 0, now)];
    let rejected = [
        with_times(5, now + ten_years, now + ten_years),
        with_times(6, 1 << 63, u64::MAX),
        with_times(7, u64::MAX, 1),
    ];
    let body = request("shop", kept.into_iter().chain(rejected).collect()).encode_to_vec();
    let answer = post(&server.http, Signal::Traces, &[PROTOBUF], body).await;
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 3, "{}", partial.error_message);

    let mut logs = samples::logs(now - 1_000);
    (logs[0].time_unix_nano, logs[1].time_unix_nano, logs[1].observed_time_unix_nano) = (0, 0, 0);
    let observed = logs[0].observed_time_unix_nano;
    let answer =
        post(&server.http, Signal::Logs, &[PROTOBUF], samples::log_request(logs).encode_to_vec()).await;
    accepted(&answer, PROTOBUF, "log records without time");
    let mut metrics = measurements::metrics(now);
    metrics.truncate(2);
    for metric in &mut metrics {
        let Some(Data::Gauge(gauge)) = &mut metric.data else { panic!("{metric:?}") };
        gauge.data_points[0].time_unix_nano = 0;
    }
    let answer =
        post(&server.http, Signal::Metrics, &[PROTOBUF], samples::metric_request(metrics).encode_to_vec())
            .await;
    // Either the request as a whole or each of its points is refused.
    let partial =
        ExportMetricsServiceResponse::decode(&answer.body[..]).ok().and_then(|answer| answer.partial_success);
    assert!(
        answer.status == 400 || partial.is_some_and(|partial| partial.rejected_data_points == 2),
        "{}",
        answer.text()
    );

    let stored = Stored::after(&mut server).await;
    let spans = stored.spans("default").await;
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|(_, span)| span.start_time_unix_nano <= span.end_time_unix_nano));
    let logs = stored.logs("default").await;
    assert_eq!(logs.len(), 5);
    assert!(logs.iter().any(|(_, log)| log.time_unix_nano == observed), "the observed time stands in");
    assert!(logs.iter().all(|(_, log)| log.time_unix_nano >= now - 1_000), "else the time of receipt does");
    assert_eq!(stored.counts().await.points, 0);
}

#[tokio::test]
async fn a10_one_text_that_is_not_utf8_spoils_no_other_span() {
    let mut server = Server::start(&[]).await;
    let mut spans: Vec<_> = (0..512_u16)
        .map(|index| {
            let mut span = span(1, 1, None, "work", 2);
            span.span_id = (u64::from(index) + 1).to_be_bytes().to_vec();
            span
        })
        .collect();
    spans[100].attributes = vec![text("note", "~~broken~~")];
    let mut body = request("shop", spans).encode_to_vec();
    let at = body.windows(10).position(|window| window == b"~~broken~~").unwrap();
    body[at] = 0xff;
    let answer = post(&server.http, Signal::Traces, &[PROTOBUF], body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert!(!partial.error_message.is_empty(), "the sender is told");
    let kept = 512 - partial.rejected_spans;
    assert!(kept >= 511);
    assert_eq!(Stored::after(&mut server).await.counts().await.spans.cast_signed(), kept);
}

#[tokio::test]
async fn a11_a12_control_characters_stay_out_of_our_own_output() {
    let mut server = Server::start(&[]).await;
    let hostile = "shop\u{1b}[31m\r\nlevel=ERROR forged\0\u{202e}";
    let mut failing = crate::client::failed(span(1, 1, None, hostile, 2), hostile);
    failing.attributes =
        vec![text(hostile, hostile), samples::attribute("big", Any::StringValue("x".repeat(60_000)))];
    export(&server, "default", &request(hostile, vec![failing])).await;
    server.settled().await;
    let metrics = send(Method::GET, &server.http, "/metrics", &[], Vec::new()).await.text();
    assert!(!metrics.contains("forged"), "telemetry has no place in the metrics");
    for tool in ["get_service_map", "get_service_health"] {
        let answer = ask(&server, "default", tool, json!({})).await.to_string();
        assert!(answer.contains("forged"), "{tool}: {answer}");
        assert!(!answer.contains("\\u001b") && !answer.contains('\u{202e}'), "{tool}: {answer}");
    }
    let log = server.log();
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("level=ERROR")), "{log}");
    let spans = Stored::after(&mut server).await.spans("default").await;
    assert_eq!(spans[0].1.name, hostile, "what is shown is cleaned, what is stored is whole");
    assert_eq!(spans[0].1.attributes[0].key, hostile);
}

#[tokio::test]
async fn a13_what_exceeds_the_limits_of_one_span_is_counted_as_dropped() {
    let mut server = Server::start(&[]).await;
    let mut crowded = span(1, 1, None, "crowded", 2);
    crowded.attributes = (0..10_000).map(|index| text(&format!("key-{index}"), "value")).collect();
    crowded.dropped_attributes_count = 5;
    let answer =
        post(&server.http, Signal::Traces, &[PROTOBUF], request("shop", vec![crowded]).encode_to_vec()).await;
    assert_eq!(answer.status, 200);
    let partial = ExportTraceServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert!(partial.rejected_spans == 0 && !partial.error_message.is_empty());
    let spans = Stored::after(&mut server).await.spans("default").await;
    let span = &spans[0].1;
    assert_eq!(span.attributes.len() + span.dropped_attributes_count as usize, 10_005);
}

/// Shapes that would trap a walk that trusts the sender: a long chain, a circle, a span that is its own parent.
#[tokio::test]
async fn a16_twisted_traces_are_stored_and_shown() {
    let mut server = Server::start(&[]).await;
    let link = |trace: u8, id: u64, parent: u64| {
        let mut span = span(trace, 1, None, "step", 1);
        (span.span_id, span.parent_span_id) = (id.to_be_bytes().to_vec(), parent.to_be_bytes().to_vec());
        span
    };
    let chain = (2..20_000).map(|id| link(1, id, id - 1)).chain([link(1, 1, 0)]).collect::<Vec<_>>();
    let circle = vec![link(2, 1, 3), link(2, 2, 1), link(2, 3, 2)];
    let own_parent = vec![link(3, 1, 1)];
    for spans in [chain, circle, own_parent] {
        export(&server, "default", &request("shop", spans)).await;
    }
    server.settled().await;
    for trace in [1_u8, 2, 3] {
        let id = format!("{trace:02x}").repeat(16);
        let answer = ask(&server, "default", "trace_graph", json!({"trace_id": id})).await;
        assert!(
            answer["tables"][0]["rows"].as_array().is_some_and(|rows: &Vec<Value>| !rows.is_empty()),
            "{answer}"
        );
    }
    for tool in ["get_service_map", "root_cause_analysis", "impact_analysis"] {
        let service = if tool == "impact_analysis" { json!({"service": "shop"}) } else { json!({}) };
        ask(&server, "default", tool, service).await;
    }
    is_well(&server).await;
    assert_eq!(Stored::after(&mut server).await.counts().await.spans, 19_999 + 3 + 1);
}
