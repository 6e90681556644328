//! Items that a database may choke on: they are kept as they came, and so is what came beside them.

use std::collections::BTreeSet;

use loadsim::dice::Dice;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Value, json};

use super::kept::Kept;
use crate::api;
use crate::client::{request, span, text};
use crate::server::Server;

const SERVICE: &str = "sh\0op \u{F0000}0";
const NUL: &str = "before\0after\u{F0000}\0";
const TENANT: &str = "poison";

async fn post(server: &Server, signal: &str, body: Vec<u8>) -> Vec<u8> {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/{signal}", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", TENANT)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{signal}");
    answer.bytes().await.unwrap().to_vec()
}

fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![text("service.name", service), text("service.version", NUL), text("k\0", NUL)];
    Some(Resource { attributes, ..Resource::default() })
}

/// Text that cannot be packed, of so many bytes.
fn noise(dice: &mut Dice, bytes: usize) -> String {
    (0..bytes / 16).map(|_| format!("{:016x}", dice.word())).collect()
}

async fn send_spans(server: &Server, dice: &mut Dice) {
    let (long, many) = (noise(dice, 65_008), noise(dice, 32_000));
    // As long as names may be, and longer once it is written in the way of a database that knows no NUL.
    let escaped: String = noise(dice, 1_024).chars().take(512).flat_map(|letter| ['\0', letter]).collect();
    let mut spans: Vec<_> = (1..=7).map(|id| span(1, id, None, "good", 2)).collect();
    spans[1].name = NUL.into();
    spans[1].attributes = vec![text("key\0", NUL), text("other", "plain")];
    spans[1].trace_state = "a=\0".into();
    spans[2].name = long.clone();
    spans[2].attributes = vec![text(&long[1_000..], &long)];
    spans[3].attributes =
        (0..1_000).map(|key| text(&format!("{}{key}", &many[key * 16..][..16]), NUL)).collect();
    // In 2262, where nanoseconds since 1970 end.
    spans[4].start_time_unix_nano = (1 << 63) - 2;
    spans[4].end_time_unix_nano = (1 << 63) - 1;
    spans[6].name = escaped;
    spans[5].attributes = (0..1_500).map(|key| text(&format!("key{key}"), "value")).collect();
    let mut message = request("", spans);
    message.resource_spans[0].resource = resource(SERVICE);
    let mut of_long = request("", vec![span(2, 1, None, "good", 2)]);
    of_long.resource_spans[0].resource = resource(&long);
    message.resource_spans.append(&mut of_long.resource_spans);
    let answer = post(server, "traces", message.encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(&answer[..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1, "{}", partial.error_message);
}

async fn send_logs(server: &Server, dice: &mut Dice) {
    let now = span(1, 1, None, "", 1).start_time_unix_nano;
    let record = |after: u64, body: &str| LogRecord {
        time_unix_nano: now + after,
        severity_number: 9,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(body.to_owned())) }),
        ..LogRecord::default()
    };
    let mut records =
        vec![record(1, "good line"), record(2, NUL), record(3, "\0"), record(4, &noise(dice, 500_000))];
    records[1].severity_text = NUL.into();
    records[1].attributes = vec![text("key\0", NUL)];
    records[1].event_name = NUL.into();
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    let logs = ResourceLogs { resource: resource(SERVICE), scope_logs, ..ResourceLogs::default() };
    let message = ExportLogsServiceRequest { resource_logs: vec![logs] };
    assert!(post(server, "logs", message.encode_to_vec()).await.is_empty(), "a partial success");
}

async fn send_metrics(server: &Server, dice: &mut Dice) {
    let now = span(1, 1, None, "", 1).start_time_unix_nano;
    let gauge = |name: &str, values: &[f64]| {
        let points = values.iter().zip(0_u64..).map(|(value, after)| NumberDataPoint {
            time_unix_nano: now + after,
            attributes: vec![text("key\0", NUL)],
            value: Some(number_data_point::Value::AsDouble(*value)),
            ..NumberDataPoint::default()
        });
        let data = metric::Data::Gauge(Gauge { data_points: points.collect() });
        Metric {
            name: name.into(),
            unit: NUL.into(),
            description: NUL.into(),
            data: Some(data),
            ..Metric::default()
        }
    };
    let histogram = |name: &str, sum: f64| {
        let point = HistogramDataPoint {
            time_unix_nano: now,
            start_time_unix_nano: now - 1_000,
            count: 2,
            sum: Some(sum),
            bucket_counts: vec![1, 1],
            explicit_bounds: vec![1.0],
            ..HistogramDataPoint::default()
        };
        let data =
            metric::Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 1 });
        Metric { name: name.into(), data: Some(data), ..Metric::default() }
    };
    let metrics = vec![
        gauge("good", &[1.5]),
        gauge(NUL, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE / 2.0]),
        gauge(&noise(dice, 65_008), &[2.5]),
        histogram("sums", f64::INFINITY),
        histogram("more sums", f64::NAN),
    ];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let metrics =
        ResourceMetrics { resource: resource(SERVICE), scope_metrics, ..ResourceMetrics::default() };
    let message = ExportMetricsServiceRequest { resource_metrics: vec![metrics] };
    assert!(post(server, "metrics", message.encode_to_vec()).await.is_empty(), "a partial success");
}

/// One batch a signal with everything in it, and then whether all of it is told as it came.
async fn check(kept: Kept) {
    let mut server = kept.server(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let mut dice = Dice::new(9);
    send_spans(&server, &mut dice).await;
    send_logs(&server, &mut dice).await;
    send_metrics(&server, &mut dice).await;
    api::searchable(&server, TENANT).await;
    check_answers(&server).await;
    // Dictionaries are read again at a start.
    server = server.crash_and_restart().await.0;
    api::searchable(&server, TENANT).await;
    check_answers(&server).await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let asked = kept.asked(server.folder());
    let points = "SELECT count(*), count(real_value), count(int_value), count(p.count) FROM points p";
    assert_eq!(tokio::task::block_in_place(|| asked.rows(points)), ["10|8|3|2"]);
}

async fn check_answers(server: &Server) {
    let ask = async |path: &str| api::ask(server, TENANT, path).await;
    let trace = ask(&format!("/traces/{}", "01".repeat(16))).await;
    let spans = api::items(&trace);
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    let wanted = [1, 2, 3, 4, 6, 7].map(|id: u8| format!("{id:02x}").repeat(8));
    assert_eq!(ids, wanted.iter().map(String::as_str).collect(), "the one in 2262 is not kept");
    let of = |id: u8| spans.iter().find(|span| span["span_id"] == format!("{id:02x}").repeat(8)).unwrap();
    assert_eq!((&of(2)["operation"], &of(2)["service"]), (&json!(NUL), &json!(SERVICE)));
    assert_eq!(of(2)["attributes"], json!({"key\0": NUL, "other": "plain"}));
    assert_eq!(of(3)["operation"].as_str().unwrap().len(), 1_024);
    let [(key, value)]: [(&String, &Value); 1] =
        of(3)["attributes"].as_object().unwrap().iter().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((key.len(), value.as_str().unwrap().len()), (64_008, 65_008));
    assert_eq!(of(7)["operation"].as_str().unwrap().matches('\0').count(), 512);
    assert_eq!(of(4)["attributes"].as_object().unwrap().len(), 1_000);
    assert!(of(4)["attributes"].as_object().unwrap().values().all(|value| value == NUL));
    assert_eq!(of(6)["attributes"].as_object().unwrap().len(), 1_024);
    let sender = &trace["resources"][of(2)["resource"].as_str().unwrap()];
    assert_eq!(sender["attributes"]["k\0"], NUL, "{sender}");

    let services = ask("/services").await;
    let names: Vec<&str> =
        api::items(&services).iter().map(|item| item["service"].as_str().unwrap()).collect();
    assert!(names.contains(&SERVICE) && names.len() == 2, "{names:?}");
    let service = url(SERVICE);
    let operations = ask(&format!("/services/{service}/operations")).await;
    assert!(api::items(&operations).iter().any(|item| item["operation"] == NUL), "{operations}");
    let found = ask(&format!("/spans?service={service}&operation={}", url(NUL))).await;
    assert_eq!(api::items(&found).len(), 1, "{found}");
    let found = ask(&format!("/spans?attribute={}", url(&format!("key\0={NUL}")))).await;
    assert_eq!(api::items(&found).len(), 1, "{found}");

    let logs = ask(&format!("/logs?service={service}")).await;
    let bodies: Vec<&str> = api::items(&logs).iter().map(|log| log["body"].as_str().unwrap()).collect();
    assert_eq!(bodies.len(), 4, "{bodies:?}");
    assert_eq!((bodies[0].len(), &bodies[1..]), (500_000, &["\0", NUL, "good line"][..]), "newest first");
    let found = ask("/logs?q=before").await;
    assert_eq!(api::items(&found)[0]["body"], NUL, "{found}");
    assert_eq!(api::items(&found)[0]["attributes"], json!({"key\0": NUL}), "{found}");
    let templates = ask("/log-templates").await;
    assert!(templates.to_string().contains("good line"), "{templates}");
    let metrics = ask("/metrics").await;
    let names: Vec<&str> = api::items(&metrics).iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert!(names.contains(&NUL) && names.contains(&"good") && names.len() == 5, "{metrics}");
}

fn url(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a14_a15_sqlite_keeps_what_is_hard_to_keep() {
    check(Kept::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a14_a15_postgres_keeps_what_is_hard_to_keep() {
    check(Kept::on_postgres()).await;
}
