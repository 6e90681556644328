//! What agents ask of a shop in which something turned: traces, log patterns, metrics, what changed, what the failures have in
//! common.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};

use crate::client::{ask, call, export, failed, request, rows, span, text};
use crate::server::Server;

pub(crate) const SHOP: &str = "shop";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const MS: u64 = 1_000_000;
/// Seconds before now: where telemetry begins, and where payments from the west begin to fail.
const BEGAN: u64 = 2_400;
const TURNED: u64 = 600;
/// Seconds between two requests.
const EVERY: u64 = 4;

/// One request `ago` seconds before `now`: checkout calls payment.
pub(crate) fn payment(number: u64, ago: u64, now: u64) -> (Span, Span, Span) {
    let start = now - ago * 1_000 * MS;
    let region = if number.is_multiple_of(3) { "west" } else { "east" };
    let breaks = ago <= TURNED && region == "west";
    let id = |salt: u8| [vec![salt], (number + 1).to_be_bytes()[1..].to_vec()].concat();
    let made = |id_of: u8, parent: Option<u8>, name: &str, kind: i32, (from, length): (u64, u64)| {
        let mut made = span(0, 0, None, name, kind);
        made.trace_id = [id(9), id(8)].concat();
        made.span_id = id(id_of);
        made.parent_span_id = parent.map(&id).unwrap_or_default();
        made.start_time_unix_nano = start + from * MS;
        made.end_time_unix_nano = start + (from + length) * MS;
        if breaks { failed(made, "card network unavailable") } else { made }
    };
    let wait = 20 + number % 7;
    let entry = made(1, None, "POST /checkout", SERVER, (0, wait + 10));
    let out = made(2, Some(1), "POST", CLIENT, (2, wait + 4));
    let mut charge = made(3, Some(2), "POST /charge", SERVER, (4, wait));
    charge.attributes = vec![text("customer.region", region), text("payment.id", &format!("p-{number}"))];
    (entry, out, charge)
}

async fn post(server: &Server, signal: &str, body: Vec<u8>) {
    let post = reqwest::Client::new().post(format!("http://{}/v1/{signal}", server.otlp_http));
    let post = post.header("content-type", "application/x-protobuf").header("x-tenant-id", SHOP);
    assert_eq!(post.body(body).send().await.unwrap().status(), 200, "{signal}");
}

/// Forty minutes of a shop; ten minutes before now payments of one region begin to fail.
pub(crate) async fn shop() -> Server {
    let server = Server::start(&[("MCP_CACHE_TTL_MS", "0")]).await;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let (mut checkout, mut charges, mut records, mut points) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, ago) in (0..).zip((EVERY..BEGAN).rev().step_by(EVERY as usize)) {
        let (entry, out, charge) = payment(number, ago, now);
        let is_failed = charge.status.is_some();
        let record = |severity_number, body: String| LogRecord {
            time_unix_nano: charge.end_time_unix_nano,
            severity_number,
            body: text("", &body).value,
            trace_id: charge.trace_id.clone(),
            span_id: charge.span_id.clone(),
            ..LogRecord::default()
        };
        records.push(record(9, format!("charging card {number} of account {}", number * 7)));
        records.extend(is_failed.then(|| record(17, format!("card network refused connection {number}"))));
        let depth = if ago <= TURNED { 80.0 } else { 5.0 } + (number % 3) as f64;
        points.push(NumberDataPoint {
            time_unix_nano: charge.end_time_unix_nano,
            value: Some(number_data_point::Value::AsDouble(depth)),
            ..NumberDataPoint::default()
        });
        checkout.extend([entry, out]);
        charges.push(charge);
    }
    export(&server, SHOP, &request("checkout", checkout)).await;
    export(&server, SHOP, &request("payment", charges)).await;
    let resource =
        Some(Resource { attributes: vec![text("service.name", "payment")], ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records: records, ..ScopeLogs::default() }];
    let logs = ResourceLogs { resource: resource.clone(), scope_logs, ..ResourceLogs::default() };
    post(&server, "logs", ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()).await;
    let data = Some(metric::Data::Gauge(Gauge { data_points: points }));
    let metrics = vec![Metric { name: "payment.queue.depth".into(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let metrics = ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() };
    post(&server, "metrics", ExportMetricsServiceRequest { resource_metrics: vec![metrics] }.encode_to_vec())
        .await;
    server.settled().await;
    server
}

fn find<'a>(rows: &'a [Value], column: &str, wanted: &str) -> &'a Value {
    let found = rows.iter().find(|row| row[column] == wanted);
    found.unwrap_or_else(|| panic!("no row with {column} = {wanted}: {rows:#?}"))
}

async fn refused(server: &Server, tool: &str, arguments: Value) -> String {
    let message = call(server, SHOP, tool, arguments).await;
    assert_eq!(message["result"]["isError"], true, "{message}");
    message["result"]["content"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_find_what_turned() {
    let server = shop().await;
    triage_tells_cause_and_effect(&server).await;
    services_and_traces_are_listed(&server).await;
    patterns_are_compared_with_the_time_before(&server).await;
    metrics_are_shown_by_step(&server).await;
    both_sides_of_the_moment_are_compared(&server).await;
    failures_are_told_apart_by_their_attributes(&server).await;
    hypotheses_are_supported_and_refuted(&server).await;
    the_data_is_described(&server).await;
    items_are_counted_by_group(&server).await;
    evidence_is_opened_again(&server).await;
}

async fn triage_tells_cause_and_effect(server: &Server) {
    let answer = ask(server, SHOP, "triage", json!({})).await;
    let causes = rows(&answer, "causes");
    assert_eq!(causes[0]["service"], "payment", "{answer}");
    assert_ne!(answer["verdict"], "insufficient_evidence", "{answer}");
    let affected = rows(&answer, "affected");
    let entry = find(&affected, "operation", "POST /checkout");
    assert_eq!(entry["service"], "checkout");
    assert_eq!(entry["entry_point"], true);
    assert!(rows(&answer, "anomalies").iter().any(|row| row["kind"] == "errors"), "{answer}");
    let next: Vec<&str> =
        answer["next"].as_array().unwrap().iter().map(|it| it["tool"].as_str().unwrap()).collect();
    assert!(next.contains(&"what_changed") && next.len() <= 3, "{next:?}");
    assert!(answer["cursor"].is_null());
}

async fn services_and_traces_are_listed(server: &Server) {
    let answer = ask(server, SHOP, "list_services", json!({"sort": "name"})).await;
    let names: Vec<Value> = rows(&answer, "services").iter().map(|row| row["service"].clone()).collect();
    assert_eq!(names, [json!("checkout"), json!("payment")]);
    let part = ask(server, SHOP, "list_services", json!({"match": "PAY"})).await;
    assert_eq!(rows(&part, "services").len(), 1);
    let none = ask(server, SHOP, "list_services", json!({"match": "kafka"})).await;
    assert!(none["why_empty"].as_str().unwrap().contains("leave out `match`"), "{none}");

    let failing = json!({"status": "error", "filter": "customer.region=west", "limit": 5});
    let page = ask(server, SHOP, "search_traces", failing.clone()).await;
    let first = rows(&page, "traces");
    assert_eq!(first.len(), 5, "{page}");
    assert!(first.iter().all(|row| row["failed_spans"] == 3 && row["service"] == "checkout"), "{page}");
    let mut second = failing;
    second["cursor"] = page["cursor"].clone();
    let second = rows(&ask(server, SHOP, "search_traces", second).await, "traces");
    assert!(
        second.iter().all(|row| first.iter().all(|known| known["trace_id"] != row["trace_id"])),
        "{second:?}"
    );
    let east =
        ask(server, SHOP, "search_traces", json!({"status": "error", "filter": "customer.region=east"}))
            .await;
    assert!(east["why_empty"].as_str().unwrap().contains("status and filter"), "{east}");
    let slowest = ask(server, SHOP, "search_traces", json!({"sort": "slowest", "min_duration_ms": 36})).await;
    assert!(rows(&slowest, "traces").iter().all(|row| row["duration_ms"] == 36), "{slowest}");
    let told = refused(server, "search_traces", json!({"filter": "region"})).await;
    assert!(told.contains("write `key=value`"), "{told}");
    let told = refused(server, "search_traces", json!({"min_duration_ms": 5, "max_duration_ms": 4})).await;
    assert!(told.contains("no trace can be that long"), "{told}");
}

async fn patterns_are_compared_with_the_time_before(server: &Server) {
    let answer = ask(server, SHOP, "get_log_patterns", json!({"since": "10m"})).await;
    let patterns = rows(&answer, "patterns");
    assert_eq!(patterns[0]["status"], "new", "{answer}");
    assert_eq!(patterns[0]["severity"], "error", "{answer}");
    assert!(
        patterns[0]["pattern"].as_str().unwrap().starts_with("card network refused connection"),
        "{answer}"
    );
    assert_eq!(patterns[0]["trace_id"].as_str().unwrap().len(), 32);
    let chatter =
        patterns.iter().find(|row| row["pattern"].as_str().unwrap().starts_with("charging card")).unwrap();
    assert_eq!(chatter["status"], "steady", "{answer}");
    let only = ask(server, SHOP, "get_log_patterns", json!({"since": "10m", "status": "gone"})).await;
    assert!(only["why_empty"].is_string() && rows(&only, "patterns").is_empty(), "{only}");
    let all = ask(server, SHOP, "get_log_patterns", json!({"since": "2h"})).await;
    assert!(all["warnings"][0].as_str().unwrap().contains("no status"), "{all}");
}

async fn metrics_are_shown_by_step(server: &Server) {
    let names = ask(server, SHOP, "query_metrics", json!({})).await;
    assert_eq!(rows(&names, "metrics")[0]["metric"], "payment.queue.depth", "{names}");
    let own = ask(server, SHOP, "query_metrics", json!({"service": "payment"})).await;
    assert_eq!(rows(&own, "metrics"), rows(&names, "metrics"), "{own}");
    let none = ask(server, SHOP, "query_metrics", json!({"service": "checkout"})).await;
    assert!(none["why_empty"].as_str().unwrap().contains("of the service"), "{none}");
    let asked = json!({"metric": "payment.queue.depth", "since": "40m", "step_s": 300});
    let answer = ask(server, SHOP, "query_metrics", asked).await;
    let series = &rows(&answer, "series")[0];
    assert_eq!(series["service"], "payment");
    let values: Vec<f64> = series["values"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(values.first().unwrap() < &10.0 && values.last().unwrap() > &70.0, "{answer}");
    assert_eq!(
        series["last"],
        series["values"].as_array().unwrap().iter().rfind(|it| !it.is_null()).unwrap().clone()
    );
    for (arguments, wanted) in [
        (json!({"metric": "payment.queue.dept"}), "payment.queue.depth"),
        (json!({"metric": "payment.queue.depth", "function": "p95"}), "ask for avg"),
        (json!({"metric": "payment.queue.depth", "function": "median"}), "is no function"),
        (json!({"metric": "payment.queue.depth", "service": "paymnet"}), "did you mean `payment`?"),
        (
            json!({"metric": "payment.queue.depth", "filter": "service.name=paymnet"}),
            "did you mean `payment`?",
        ),
        (json!({"metric": "payment.queue.dept", "service": "checkout"}), "payment.queue.depth"),
        (json!({"service": "paymnet"}), "did you mean `payment`?"),
        (json!({"service": "payment", "function": "avg"}), "give `metric` with `function`"),
    ] {
        let told = refused(server, "query_metrics", arguments).await;
        assert!(told.contains(wanted), "{told}");
    }
    let misspelt = json!({"metric": "payment.queue.depth", "group_by": "srevice"});
    let misspelt = ask(server, SHOP, "query_metrics", misspelt).await;
    let told = misspelt["warnings"][0].as_str().unwrap();
    assert!(told.contains("srevice") && told.contains("did you mean `service`?"), "{misspelt}");
    let own = json!({"metric": "payment.queue.depth", "filter": "service=payment"});
    let own = ask(server, SHOP, "query_metrics", own).await;
    assert_eq!(rows(&own, "series").len(), 1, "{own}");
    let nobodys = json!({"metric": "payment.queue.depth", "filter": "service=paymnet"});
    let nobodys = ask(server, SHOP, "query_metrics", nobodys).await;
    assert!(nobodys["why_empty"].as_str().unwrap().contains("did you mean `payment`?"), "{nobodys}");
}

async fn both_sides_of_the_moment_are_compared(server: &Server) {
    let answer = ask(server, SHOP, "what_changed", json!({"since": "40m"})).await;
    let begins = answer["window"]["from"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let turned = jiff::Timestamp::now().as_second() - TURNED as i64;
    assert!((begins - turned).abs() <= 70, "{begins} is not near {turned}: {answer}");
    let changes = rows(&answer, "changes");
    let errors = changes.iter().find(|row| row["kind"] == "errors" && row["service"] == "payment").unwrap();
    // Operations are counted by the minute: the turn may lie within one.
    assert!(errors["subject"] == "POST /charge" && errors["before"].as_f64().unwrap() < 3.0, "{answer}");
    assert!(errors["now"].as_f64().unwrap() > 20.0 && errors["unit"] == "failed_pct", "{answer}");
    let pattern = find(&changes, "kind", "log_pattern");
    assert!(pattern["subject"].as_str().unwrap().contains("card network refused"), "{answer}");
    assert!(find(&changes, "kind", "metric")["subject"].as_str().unwrap().contains("payment.queue.depth"));
    assert!(changes.iter().all(|row| row["kind"] != "traffic" && row["kind"] != "latency"), "{answer}");
    assert!(find(&rows(&answer, "not_changed"), "kind", "latency")["not_changed"].as_u64().unwrap() >= 2);

    let at = ask(server, SHOP, "what_changed", json!({"since": "40m", "at": "20m"})).await;
    assert!(at["summary"].as_str().unwrap().contains("as given"), "{at}");
    let calm = ask(server, SHOP, "what_changed", json!({"since": "35m", "until": "15m"})).await;
    assert!(rows(&calm, "changes").is_empty() && calm["why_empty"].is_string(), "{calm}");
    let below = ask(server, SHOP, "what_changed", json!({"since": "40m", "service": "payment"})).await;
    assert!(rows(&below, "changes").iter().all(|row| row["service"] == "payment"), "{below}");
    let told = refused(server, "what_changed", json!({"until": "20m", "at": "5m"})).await;
    assert!(told.contains("must lie before the end"), "{told}");
}

async fn failures_are_told_apart_by_their_attributes(server: &Server) {
    let asked = json!({"service": "payment", "since": "9m"});
    let answer = ask(server, SHOP, "compare_attributes", asked).await;
    let values = rows(&answer, "values");
    assert_eq!(
        (&values[0]["attribute"], &values[0]["value"]),
        (&json!("customer.region"), &json!("west")),
        "{answer}"
    );
    assert_eq!((&values[0]["bad_pct"], &values[0]["rest_pct"]), (&json!(100), &json!(0)), "{answer}");
    assert!(values.iter().all(|row| row["attribute"] != "payment.id"), "{answer}");
    let same = ask(
        server,
        SHOP,
        "compare_attributes",
        json!({"service": "payment", "since": "40m", "until": "15m"}),
    )
    .await;
    assert!(same["why_empty"].as_str().unwrap().contains("no failed spans"), "{same}");
    let filter =
        json!({"target": "filter", "filter": "customer.region=west", "since": "30m", "until": "15m"});
    let filter = ask(server, SHOP, "compare_attributes", filter).await;
    assert!(rows(&filter, "values").first().is_some_and(|row| row["value"] == "west"), "{filter}");
    let slow = ask(server, SHOP, "compare_attributes", json!({"target": "slow", "until": "15m"})).await;
    assert!(slow["summary"].as_str().unwrap().contains("slow spans"), "{slow}");
    let told = refused(server, "compare_attributes", json!({"target": "filter"})).await;
    assert!(told.contains("needs `filter`"), "{told}");
}

async fn hypotheses_are_supported_and_refuted(server: &Server) {
    let asked = json!({"cause": "payment", "effect": "checkout", "since": "40m"});
    let answer = ask(server, SHOP, "test_hypothesis", asked).await;
    assert_eq!(answer["verdict"], "supported", "{answer}");
    let checks = rows(&answer, "checks");
    assert_eq!(find(&checks, "check", "path")["finding"], "calls lead there: checkout -> payment");
    assert_eq!(find(&checks, "check", "examples")["value"], 1, "{answer}");
    assert_eq!(find(&checks, "check", "dose")["speaks"], "for", "{answer}");
    assert!(checks.iter().all(|row| row["speaks"] != "against"), "{answer}");
    // The caller fails too, from the same minute on, but for no reason of its own.
    let decoy = json!({"cause": "checkout", "effect": "checkout", "since": "40m"});
    let decoy = ask(server, SHOP, "test_hypothesis", decoy).await;
    assert_eq!(decoy["verdict"], "refuted", "{decoy}");
    assert_eq!(find(&rows(&decoy, "checks"), "check", "own")["speaks"], "against", "{decoy}");
    let turned_round =
        ask(server, SHOP, "test_hypothesis", json!({"cause": "checkout", "effect": "payment"})).await;
    assert_eq!(turned_round["verdict"], "refuted", "{turned_round}");
    let calm = json!({"cause": "payment", "effect": "checkout", "since": "35m", "until": "15m"});
    let calm = ask(server, SHOP, "test_hypothesis", calm).await;
    assert_eq!(calm["verdict"], "refuted", "{calm}");
    let told = refused(server, "test_hypothesis", json!({"cause": "paymnt"})).await;
    assert!(told.contains("did you mean `payment`?"), "{told}");
}

async fn the_data_is_described(server: &Server) {
    let answer = ask(server, SHOP, "describe_data", json!({})).await;
    let signals = rows(&answer, "signals");
    assert_eq!(find(&signals, "signal", "spans")["services"], 2, "{answer}");
    assert_eq!(find(&signals, "signal", "metrics")["items"], 1, "{answer}");
    let keys = rows(&answer, "attributes");
    let region = find(&keys, "attribute", "customer.region");
    assert_eq!((&region["of"], &region["different_values"]), (&json!("span"), &json!(2)), "{answer}");
    let quality = rows(&answer, "quality");
    assert!(
        quality.iter().any(|row| row["issue"] == "no version" && row["service"] == "payment"),
        "{answer}"
    );
    assert!(quality.iter().any(|row| row["issue"] == "no logs" && row["service"] == "checkout"), "{answer}");
    assert!(quality.iter().all(|row| row["issue"] != "spans without their parent"), "{answer}");
    let values = ask(server, SHOP, "describe_data", json!({"attribute": "customer.region"})).await;
    assert_eq!(rows(&values, "values")[0]["value"], "east", "{values}");
    let told = refused(server, "describe_data", json!({"attribute": "customer.regoin"})).await;
    assert!(told.contains("did you mean `customer.region`?"), "{told}");
    let none = ask(server, SHOP, "describe_data", json!({"since": "3h", "until": "2h"})).await;
    assert!(none["why_empty"].as_str().unwrap().contains("the newest span began at"), "{none}");
}

async fn items_are_counted_by_group(server: &Server) {
    let by_region =
        json!({"group_by": "customer.region", "measure": "errors_pct", "service": "payment", "since": "10m"});
    let answer = ask(server, SHOP, "aggregate", by_region).await;
    let groups = rows(&answer, "groups");
    assert_eq!(
        (&groups[0]["customer.region"], &groups[1]["errors_pct"]),
        (&json!("west"), &json!(0)),
        "{answer}"
    );
    assert!(groups[0]["errors_pct"].as_f64().unwrap() > 95.0, "{answer}");
    let exact = json!({"group_by": "service,operation", "measure": "count", "step_s": 600});
    let exact = ask(server, SHOP, "aggregate", exact).await;
    let charges = rows(&exact, "groups").into_iter().find(|row| row["operation"] == "POST /charge").unwrap();
    assert_eq!(charges["count"], BEGAN / EVERY - 1, "{exact}");
    let steps: u64 = charges["steps"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(steps, BEGAN / EVERY - 1, "{exact}");
    assert!(exact["coverage"].is_null(), "what is counted anyway is exact: {exact}");
    let severities = json!({"source": "logs", "group_by": "severity"});
    let severities = ask(server, SHOP, "aggregate", severities).await;
    let errors = find(&rows(&severities, "groups"), "severity", "error")["count"].as_u64().unwrap();
    assert!((45..=50).contains(&errors), "{severities}");
    for (arguments, wanted) in [
        (json!({"source": "logs", "measure": "p95_ms"}), "ask for count or rate"),
        (json!({"source": "logs", "operation": "GET"}), "leave out `operation`"),
        (json!({"measure": "p95_mz"}), "did you mean `p95_ms`?"),
        (json!({"filter": "service.name=paymnet"}), "did you mean `payment`?"),
    ] {
        let told = refused(server, "aggregate", arguments).await;
        assert!(told.contains(wanted), "{told}");
    }
    for tool in ["search_traces", "search_logs", "aggregate"] {
        let told = refused(server, tool, json!({"filter": "service.name=paymnet"})).await;
        assert!(told.contains("did you mean `payment`?"), "{tool}: {told}");
        let answer = ask(server, SHOP, tool, json!({"filter": "service=paymnet"})).await;
        assert!(
            answer["why_empty"].as_str().unwrap().contains("did you mean `payment`?"),
            "{tool}: {answer}"
        );
    }
    for (key, wanted) in [("srevice", "`service`"), ("customer.regoin", "`customer.region`")] {
        let answer = ask(server, SHOP, "aggregate", json!({"group_by": key, "service": "payment"})).await;
        let told = answer["warnings"][0].as_str().unwrap();
        assert!(told.contains(key) && told.contains(&format!("did you mean {wanted}?")), "{answer}");
    }
}

async fn evidence_is_opened_again(server: &Server) {
    // A window that is over, so that what is observed in it stays.
    let asked = json!({"since": "40m", "until": "3m"});
    let cause = ask(server, SHOP, "root_cause_analysis", asked).await;
    let ids: Vec<&str> =
        cause["evidence"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(ids.iter().any(|id| id.starts_with("operation:payment POST /charge@")), "{cause}");
    assert!(ids.iter().any(|id| id.starts_with("span:")), "{cause}");
    let opened = async |ids: &[&str]| {
        let answer = ask(server, SHOP, "get_evidence", json!({"ids": ids.join("; ")})).await;
        (rows(&answer, "evidence"), answer)
    };
    for ids in ids.chunks(10) {
        let (found, answer) = opened(ids).await;
        assert_eq!(found.len(), ids.len());
        for row in &found {
            let is_firm = row["id"].as_str().unwrap().contains('#');
            assert_eq!(row["state"], if is_firm { "same" } else { "opened" }, "{answer:#}");
        }
    }
    // A failure that comes late is one more than was said.
    let operation = *ids.iter().find(|id| id.starts_with("operation:payment POST /charge@")).unwrap();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let (.., late) = payment(9_000, 240, now);
    export(server, SHOP, &request("payment", vec![late])).await;
    server.settled().await;
    let (found, answer) =
        opened(&[operation, "template:1", "template:999", "trace:00000000000000000000000000000099"]).await;
    let states: Vec<&Value> = found.iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["drifted", "opened", "gone", "gone"], "{answer}");
    assert_eq!(found[0]["now"].as_array().unwrap().len(), 4, "{answer}");
    let told = refused(server, "get_evidence", json!({"ids": "payment"})).await;
    assert!(told.contains("is no evidence id"), "{told}");
}
