//! The REST API from outside.
//!
//! In reading order: this file (telemetry and requests), `schema` (whether an answer is what the document says); then the
//! promises: `document`, `questions`, `pages`, `refusals`, `tenants`, `sql`.

mod document;
mod pages;
mod questions;
mod refusals;
mod schema;
mod sql;
mod tenants;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::server::Server;

/// The trace that every tenant sends, and its spans.
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ROOT: &str = "b7ad6b7169203331";
const CALL: &str = "00f067aa0ba902b7";
const WORK: &str = "00f067aa0ba902b8";

/// A whole answer.
pub(crate) struct Told {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) text: String,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

async fn send(server: &Server, method: Method, tenant: &str, path: &str) -> Told {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.request(method, format!("http://{}{path}", server.http)).header("x-tenant-id", tenant);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Told { status, headers, text: answer.text().await.unwrap() }
}

pub(crate) async fn get(server: &Server, tenant: &str, path: &str) -> Told {
    send(server, Method::GET, tenant, path).await
}

/// Asks for a path under `/api/v1` and expects an answer.
pub(crate) async fn ask(server: &Server, tenant: &str, path: &str) -> Value {
    let told = get(server, tenant, &format!("/api/v1{path}")).await;
    assert_eq!(
        (told.status, told.header("content-type")),
        (200, "application/json"),
        "{path}: {}",
        told.text
    );
    assert_eq!(told.header("cache-control"), "no-store", "{path}");
    assert_eq!(told.header("content-length"), told.text.len().to_string(), "{path}");
    assert!(told.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
    told.json()
}

/// Asks for a path under `/api/v1` and expects a problem of this status and kind; answers it.
async fn refused(server: &Server, tenant: &str, path: &str, (status, kind): (u16, &str)) -> Value {
    let told = get(server, tenant, &format!("/api/v1{path}")).await;
    assert_eq!(
        (told.status, told.header("content-type")),
        (status, "application/problem+json"),
        "{path}: {}",
        told.text
    );
    let problem = told.json();
    assert_eq!(problem["type"], format!("urn:otelcontext:problem:{kind}"), "{path}: {problem}");
    assert_eq!(problem["status"], status, "{path}: {problem}");
    problem
}

pub(crate) fn items(answer: &Value) -> &Vec<Value> {
    answer["items"].as_array().unwrap()
}

/// The values of one field of the items.
pub(crate) fn column<'a>(answer: &'a Value, field: &str) -> Vec<&'a str> {
    items(answer).iter().map(|item| item[field].as_str().unwrap()).collect()
}

/// The time now, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// Exports one signal as JSON and expects full success.
pub(crate) async fn export(server: &Server, tenant: &str, signal: &str, body: &Value) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/{signal}", server.otlp_http))
        .header("content-type", "application/json")
        .header("x-tenant-id", tenant)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(answer.text().await.unwrap(), "{}");
}

pub(crate) fn resource(service: &str) -> Value {
    json!({"attributes": [
        {"key": "service.name", "value": {"stringValue": service}},
        {"key": "host.cores", "value": {"intValue": "8"}},
    ]})
}

pub(crate) fn spans_of(service: &str, spans: &[Value]) -> Value {
    let scope = json!({"name": "shop.tracer", "version": "1.2"});
    json!({"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"scope": scope, "spans": spans}]}]})
}

pub(crate) fn logs_of(service: &str, records: &[Value]) -> Value {
    json!({"resourceLogs": [{"resource": resource(service), "scopeLogs": [{"logRecords": records}]}]})
}

/// A span that takes `milliseconds` from `start` on.
pub(crate) fn span((trace, id): (&str, &str), name: &str, start: u64, milliseconds: u64) -> Value {
    json!({
        "traceId": trace, "spanId": id, "name": name, "kind": 2,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": (start + milliseconds * 1_000_000).to_string(),
    })
}

/// Telemetry of one tenant with `mark` wherever a sender can put words: a trace of three spans over two services that
/// failed, three log records, and a metric. All tenants send the same ids. Answers when the trace began.
async fn fill(server: &Server, tenant: &str, mark: &str) -> u64 {
    let start = now() - 2_000_000_000;
    fill_at(server, tenant, mark, start).await;
    start
}

/// As [`fill`], from `start` on.
pub(crate) async fn fill_at(server: &Server, tenant: &str, mark: &str, start: u64) {
    let (front, back) = (format!("{mark}-front"), format!("{mark}-back"));
    let mut root = span((TRACE, ROOT), &format!("GET /{mark}"), start, 40);
    root["status"] = json!({"code": 2, "message": format!("{mark} failed")});
    let mut call = span((TRACE, CALL), &format!("CALL {mark}"), start + 1_000_000, 30);
    call["kind"] = json!(3);
    call["parentSpanId"] = json!(ROOT);
    call["attributes"] = json!([
        {"key": "mark", "value": {"stringValue": mark}},
        {"key": "small", "value": {"intValue": "-7"}},
        {"key": "large", "value": {"intValue": "9007199254740993"}},
        {"key": "ratio", "value": {"doubleValue": 0.5}},
        {"key": "sure", "value": {"boolValue": true}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "two"}]}}},
    ]);
    call["events"] = json!([{
        "timeUnixNano": (start + 2_000_000).to_string(), "name": format!("{mark}.retry"),
        "attributes": [{"key": "attempt", "value": {"intValue": "2"}}],
    }]);
    call["links"] = json!([{"traceId": "11111111111111111111111111111111", "spanId": ROOT}]);
    let mut work = span((TRACE, WORK), &format!("WORK {mark}"), start + 2_000_000, 20);
    work["parentSpanId"] = json!(CALL);
    export(server, tenant, "traces", &spans_of(&front, &[root, call])).await;
    export(server, tenant, "traces", &spans_of(&back, &[work])).await;
    let record = |index: u64, severity: u8, body: Value| {
        json!({
            "timeUnixNano": (start + index).to_string(), "severityNumber": severity, "body": body,
            "traceId": TRACE, "spanId": CALL,
            "attributes": [{"key": "mark", "value": {"stringValue": format!("{mark}{index}")}}],
        })
    };
    let records = [
        record(1, 9, json!({"stringValue": format!("{mark} took 17 ms")})),
        record(2, 9, json!({"stringValue": format!("{mark} took 18 ms")})),
        record(3, 17, json!({"kvlistValue": {"values": [{"key": mark, "value": {"boolValue": true}}]}})),
    ];
    export(server, tenant, "logs", &logs_of(&front, &records)).await;
    let point = json!({"timeUnixNano": start.to_string(), "asInt": "3"});
    let metric = json!({"name": format!("{mark}.queue"), "unit": "1", "description": "Waiting.",
                        "gauge": {"dataPoints": [point]}});
    let metrics =
        json!({"resourceMetrics": [{"resource": resource(&front), "scopeMetrics": [{"metrics": [metric]}]}]});
    export(server, tenant, "metrics", &metrics).await;
}

/// Every route about things of the tenant whose mark is `mark`, with most of what can be asked of it.
pub(crate) fn questions(mark: &str) -> Vec<String> {
    let front = format!("{mark}-front");
    [
        "/services".to_owned(),
        "/services?kind=service&since=15m".to_owned(),
        format!("/services/{front}/operations"),
        "/traces".to_owned(),
        "/traces?order=slowest&status=error".to_owned(),
        "/traces?order=errors".to_owned(),
        format!("/traces?service={front}&attribute=mark%3D{mark}"),
        format!("/traces?attribute.mark={mark}&operation=CALL%20{mark}"),
        format!("/traces/{TRACE}"),
        "/spans".to_owned(),
        "/spans?order=slowest".to_owned(),
        format!("/spans?trace_id={TRACE}"),
        format!("/spans?span_id={CALL}"),
        format!("/spans?service={front}&kind=client&attribute.mark={mark}"),
        "/logs".to_owned(),
        format!("/logs?trace_id={TRACE}&span_id={CALL}"),
        format!("/logs?service={front}&severity=error"),
        format!("/logs?attribute.mark={mark}1"),
        format!("/logs?q={mark}"),
        "/logs?q=took&limit=1".to_owned(),
        "/log-templates".to_owned(),
        format!("/log-templates?service={front}"),
        "/metrics".to_owned(),
        format!("/metrics?prefix={mark}"),
        format!("/metrics/query?name={mark}.queue&function=last&by=service"),
        format!("/metrics/query?name={mark}.queue&function=max&since=15m&step=1m&by=service&where=version%3D&top=1"),
        "/service-map".to_owned(),
        format!("/service-map?service={front}&depth=1"),
        "/service-health".to_owned(),
        format!("/service-health?service={front}"),
        "/anomalies".to_owned(),
        format!("/anomalies?service={front}"),
        "/root-cause".to_owned(),
        format!("/root-cause?service={front}"),
        format!("/impact?service={mark}-back"),
        "/status".to_owned(),
        "/openapi.json".to_owned(),
    ]
    .into()
}

/// Waits until everything that the tenant sent is stored, and searched by words.
pub(crate) async fn searchable(server: &Server, tenant: &str) {
    server.settled().await;
    let indexed = || async {
        let answer = ask(server, tenant, "/logs?q=anything").await;
        answer.get("incomplete").is_none().then_some(())
    };
    server.until("searchable", indexed).await;
}
