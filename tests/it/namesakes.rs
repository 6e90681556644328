//! Services of several environments under one name, as agents and people hear of them. Staging begins to send ten minutes ago to the
//! tenant of production, and all its requests fail.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::client::{ask, export, failed, request, rows, span, text};
use crate::server::Server;

const TENANT: &str = "shop";
const SERVER: i32 = 2;
const SECOND: u64 = 1_000_000_000;
/// Seconds before now: where telemetry begins, and where staging joins in.
const BEGAN: u64 = 2_400;
const JOINED: u64 = 600;
/// Seconds between two requests.
const EVERY: u64 = 5;

const ENVIRONMENT: &str = "deployment.environment.name";
const TOLD: &str = "deployment.environment.name: production, staging";

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// One request every few seconds since so many seconds ago; `salt` tells its traces from others.
fn spans(salt: u64, since: u64) -> Vec<Span> {
    let now = now();
    let made = |ago: u64| {
        let mut made = span(1, 1, None, "GET /", SERVER);
        made.trace_id = [salt, ago].map(u64::to_be_bytes).concat();
        made.span_id = (salt << 32 | ago).to_be_bytes().to_vec();
        made.start_time_unix_nano = now - ago * SECOND;
        made.end_time_unix_nano = made.start_time_unix_nano + 20_000_000;
        made
    };
    (EVERY..since).step_by(EVERY as usize).map(made).collect()
}

async fn send(server: &Server, service: &str, about: KeyValue, spans: Vec<Span>) {
    let mut request = request(service, spans);
    request.resource_spans[0].resource.as_mut().unwrap().attributes.push(about);
    export(server, TENANT, &request).await;
}

/// One point of a metric of `service`, so many seconds ago.
async fn measure(server: &Server, service: &str, about: KeyValue, ago: u64) {
    let point = NumberDataPoint {
        time_unix_nano: now() - ago * SECOND,
        value: Some(number_data_point::Value::AsDouble(0.5)),
        ..NumberDataPoint::default()
    };
    let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
    let metrics = vec![Metric { name: "cpu.utilization".into(), data, ..Metric::default() }];
    let attributes = vec![text("service.name", service), about];
    let metrics = ResourceMetrics {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    };
    let sent = reqwest::Client::new()
        .post(format!("http://{}/v1/metrics", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", TENANT)
        .body(ExportMetricsServiceRequest { resource_metrics: vec![metrics] }.encode_to_vec());
    assert_eq!(sent.send().await.unwrap().status(), 200);
}

async fn shop() -> Server {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let of = |environment: &str| text(ENVIRONMENT, environment);
    send(&server, "checkout", of("production"), spans(1, BEGAN)).await;
    let broken = spans(2, JOINED).into_iter().map(|span| failed(span, "no such host"));
    send(&server, "checkout", of("staging"), broken.collect()).await;
    send(&server, "cart", of("production"), spans(3, BEGAN)).await;
    // Who measures `cart` in another cluster has long stopped; who measures `stock` in another one has not.
    let cluster = |name: &str| text("k8s.cluster.name", name);
    measure(&server, "cart", cluster("eu"), 60).await;
    measure(&server, "cart", cluster("us"), 3 * 3_600).await;
    measure(&server, "stock", cluster("eu"), 90).await;
    measure(&server, "stock", cluster("us"), 60).await;
    server.settled().await;
    server
}

async fn rest(server: &Server, path: &str) -> Value {
    let asked = reqwest::Client::new()
        .get(format!("http://{}/api/v1{path}", server.http))
        .header("x-tenant-id", TENANT);
    let answer = asked.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Which services an answer of `describe_data` tells of as sharing their name, with what tells them apart.
fn shared(answer: &Value) -> Vec<(Value, Value)> {
    let quality = rows(answer, "quality").into_iter();
    quality
        .filter(|row| row["issue"].as_str().unwrap().ends_with("under one name"))
        .map(|row| (row["service"].clone(), row["values"].clone()))
        .collect()
}

fn marks(answer: &Value, place: &str) -> bool {
    answer["untrusted"].as_array().unwrap().iter().any(|marked| marked == place)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_share_a_name_are_told() {
    let server = shop().await;
    the_data_tells_them_apart(&server).await;
    answers_that_add_them_up_say_so(&server).await;
    another_environment_shows_in_attributes(&server).await;
}

async fn the_data_tells_them_apart(server: &Server) {
    let answer = ask(server, TENANT, "describe_data", json!({"since": "1h"})).await;
    let clusters = (json!("stock"), json!("k8s.cluster.name: eu, us"));
    assert_eq!(shared(&answer), [(json!("checkout"), json!(TOLD)), clusters], "{answer}");
    let first = &rows(&answer, "quality")[0];
    assert_eq!(first["issue"], "services of several environments under one name", "{answer}");
    assert!(first["advice"].as_str().unwrap().contains("x-tenant-id"), "{answer}");
    assert!(answer["summary"].as_str().unwrap().contains("2 names are shared"), "{answer}");
    assert!(marks(&answer, "quality.values") && !marks(&answer, "quality.advice"), "{answer}");
    let next = &answer["next"][0];
    assert_eq!(next["arguments"]["group_by"], "resource.deployment.environment.name", "{answer}");
    let mut arguments = next["arguments"].clone();
    arguments["measure"] = json!("errors_pct");
    let groups = ask(server, TENANT, next["tool"].as_str().unwrap(), arguments).await;
    for group in rows(&groups, "groups") {
        let expected = if group["resource.deployment.environment.name"] == "staging" { 100 } else { 0 };
        assert_eq!(group["errors_pct"], expected, "{groups}");
    }
    let before = ask(server, TENANT, "describe_data", json!({"since": "35m", "until": "15m"})).await;
    assert!(
        shared(&before).iter().all(|(service, _)| service != "checkout"),
        "staging had not begun: {before}"
    );
    let cart = ask(server, TENANT, "describe_data", json!({"since": "1h", "service": "cart"})).await;
    assert!(shared(&cart).is_empty(), "{cart}");
}

async fn answers_that_add_them_up_say_so(server: &Server) {
    let line = format!("Services that share a name are counted together: checkout ({TOLD}).");
    let asked = [
        ("get_service_health", json!({"since": "15m"})),
        ("get_service_health", json!({"since": "15m", "service": "checkout"})),
        ("root_cause_analysis", json!({"since": "15m", "service": "checkout"})),
        ("triage", json!({"since": "15m"})),
    ];
    for (tool, arguments) in asked {
        let answer = ask(server, TENANT, tool, arguments).await;
        let told = answer["coverage"]["detail"].as_str().unwrap_or_default();
        assert!(told.contains(&line), "{tool}: {answer}");
        assert!(marks(&answer, "coverage"), "{tool}: {answer}");
    }
    let cart = json!({"since": "15m", "service": "cart"});
    let alone = ask(server, TENANT, "get_service_health", cart).await;
    assert!(alone["coverage"].is_null(), "{alone}");
    for path in ["/service-health?since=15m", "/root-cause?since=15m&service=checkout"] {
        let answer = rest(server, path).await;
        assert!(answer["coverage"].as_array().unwrap().contains(&json!(line)), "{path}: {answer}");
    }
}

async fn another_environment_shows_in_attributes(server: &Server) {
    for target in ["window", "errors"] {
        let asked = json!({"since": "9m", "service": "checkout", "target": target});
        let answer = ask(server, TENANT, "compare_attributes", asked).await;
        let values = rows(&answer, "values");
        let is_staging = |row: &Value| {
            row["attribute"] == "resource.deployment.environment.name" && row["value"] == "staging"
        };
        assert!(values.iter().any(is_staging), "{target}: {answer}");
    }
}
