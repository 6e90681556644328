//! Backup, restore, export and import from outside: the real binary on real data.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use loadsim::oracle::entries::Entries;
use loadsim::run::{self, Options};
use loadsim::send::{self, Protocol};
use loadsim::watch;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord as Record, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric as Instrument, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    exemplar, number_data_point,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use otelcontext::decode::{Encoding, Limits, decode};
use otelcontext::model::batch::{Batch, Group, Signal};
use otelcontext::model::log::{LogRecord, Severity};
use otelcontext::model::metric::{Metric, MetricKind, PointValue};
use otelcontext::model::resource::{Instrumentation, Resource};
use otelcontext::model::span::{Span, Status};
use otelcontext::model::time::{UnixNanos, Window};
use otelcontext::store::Store;
use otelcontext::store::read::spans::SpanAsk;
use prost::Message;
use serde_json::Value as Json;
use sqlx::ConnectOptions;

use crate::client::{export, failed, request, span, text};
use crate::server::Server;

fn load(endpoint: &str, ledger: &Path) -> Options {
    Options {
        send: send::Options {
            endpoint: endpoint.to_owned(),
            protocol: Protocol::Grpc,
            tenant: "backup".into(),
            api_key: String::new(),
            timeout: Duration::from_secs(5),
            retry_for: Duration::ZERO,
        },
        seed: 5,
        services: 20,
        spans_per_second: 4_000.0,
        duration: Duration::from_secs(15),
        warmup: Duration::ZERO,
        backfill: Duration::ZERO,
        connections: 4,
        batch: 256,
        chatter: 0.1,
        fault: None,
        ledger: Some(ledger.to_owned()),
        watch: watch::Options::default(),
        manner: run::Manner::default(),
    }
}

/// Every stored span of a tenant, with how often it is there.
async fn stored(database: &Path, tenant: &str) -> HashMap<(String, String), usize> {
    let options = otelcontext::store::options::Options::at(database);
    let store = Store::open_read_only(options).await.unwrap();
    let tenant = store.names().find_tenant(&tenant.try_into().unwrap()).unwrap();
    let mut found = HashMap::new();
    let mut to = i64::MAX;
    loop {
        let ask = SpanAsk::newest(Window { from: UnixNanos(0), to: UnixNanos(to) }, 10_000);
        let mut rows = store.spans(tenant, &ask).await.unwrap();
        let last = rows.last().map(|row| row.start).filter(|_| rows.len() == 10_000);
        if let Some(last) = last {
            rows.retain(|row| row.start > last);
            to = last.0 + 1;
        }
        for row in rows {
            *found.entry((row.trace_id.to_string(), row.span_id.to_string())).or_default() += 1;
        }
        if last.is_none() {
            store.stop().await;
            return found;
        }
    }
}

/// Runs `restore` into the data directory of `folder`.
fn restoring(backup: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otelcontext"));
    command.env_clear().env("DATA_DIR", folder.join("data")).arg("restore").arg(backup);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_to_its_mark_and_to_nothing_beyond_it() {
    let mut server = Server::start(&[]).await;
    let ledger = server.folder().join("ledger");
    let running = tokio::spawn({
        let options = load(&server.grpc, &ledger);
        async move { run::run(&options, |_, _| {}).await.unwrap() }
    });
    let before = request("before", (1..=50).map(|id| span(1, id, None, "before", 2)).collect());
    server
        .until("under load", || async {
            (server.metric("otelcontext_ingest_accepted_total{signal=\"traces\"}").await > 4_000.0)
                .then_some(())
        })
        .await;
    export(&server, "backup", &before).await;
    let acknowledged_before = before.resource_spans[0].scope_spans[0].spans.len();

    let backup = server.folder().join("backup");
    let (ok, said) = server.command(&["backup", backup.to_str().unwrap(), "--json"]).await;
    assert!(ok, "{said}");
    let manifest = std::fs::read_to_string(backup.join("manifest.json")).unwrap();
    let manifest: Json = serde_json::from_str(&manifest).unwrap();
    assert!(manifest["mark"].as_u64() >= manifest["applied"].as_u64(), "{manifest}");
    let after = request("after", (1..=50).map(|id| span(2, id, None, "after", 2)).collect());
    export(&server, "backup", &after).await;
    assert!(!running.is_finished(), "the load ended before the backup");
    let (ok, said) = server.command(&["backup", backup.to_str().unwrap()]).await;
    assert!(!ok && said.contains("is not empty"), "{said}");
    let (ok, said) = server.command(&["restore", backup.to_str().unwrap(), "--force"]).await;
    assert!(!ok && said.contains("a server runs"), "{said}");
    server.kill();
    running.await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let status = restoring(&backup, folder.path()).status().unwrap();
    assert!(status.success());
    let mut restored = Server::start_on(folder).await;
    restored.settled().await;
    assert_eq!(restored.terminate().await, Some(0), "{}", restored.log());
    let found = stored(&restored.folder().join("data/otelcontext.db"), "backup").await;
    let of = |trace: &str| found.keys().filter(|(id, _)| id == trace).count();
    assert_eq!(of(&"01".repeat(16)), acknowledged_before, "what was acknowledged before is there");
    assert_eq!(of(&"02".repeat(16)), 0, "what came after is not");
    assert!(found.values().all(|times| *times == 1), "a span is there twice");

    // The ledger is in the order of sending, but for requests that were under way side by side: what is
    // there is all of its beginning and nothing of its end.
    let ledger = Entries::read(&ledger).unwrap();
    let ids: Vec<(String, String)> = ledger
        .acknowledged(loadsim::send::Signal::Traces)
        .map(|item| item.id.split_at(32))
        .map(|(trace, span)| (trace.to_owned(), span.to_owned()))
        .collect();
    let kept: Vec<bool> = ids.iter().map(|id| found.contains_key(id)).collect();
    let last_kept = kept.iter().rposition(|kept| *kept).unwrap();
    let first_lost = kept.iter().position(|kept| !*kept).expect("nothing came after the mark");
    assert!(first_lost >= 4_000, "{first_lost} of the first spans are missing");
    // Four connections have a request of at most 256 spans each under way.
    assert!(last_kept < first_lost + 4 * 2 * 256, "{first_lost} is lost and {last_kept} is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_is_run_again() {
    let mut server = Server::start(&[]).await;
    for trace in 1..=20 {
        let spans = (1..=200).map(|id| span(trace, id, None, "work", 2)).collect();
        export(&server, "backup", &request("shop", spans)).await;
    }
    server.settled().await;
    let backup = server.folder().join("backup");
    let (ok, said) = server.command(&["backup", backup.to_str().unwrap()]).await;
    assert!(ok, "{said}");
    assert_eq!(server.terminate().await, Some(0));

    let folder = tempfile::tempdir().unwrap();
    for micros in (0..40).map(|round| round * 1_500) {
        let mut restore = restoring(&backup, folder.path());
        let mut child = restore.arg("--force").spawn().unwrap();
        // Whatever it is doing by then: every place to be killed at is a good one.
        std::thread::sleep(Duration::from_micros(micros));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let status = restoring(&backup, folder.path()).arg("--force").status().unwrap();
    assert!(status.success());
    let mut restored = Server::start_on(folder).await;
    restored.settled().await;
    assert_eq!(restored.terminate().await, Some(0), "{}", restored.log());
    let found = stored(&restored.folder().join("data/otelcontext.db"), "backup").await;
    assert_eq!(found.len(), 4_000);
    assert!(found.values().all(|times| *times == 1));

    let items = exported(&restored, "backup").await;
    assert_eq!(items.spans.len(), 4_000, "an export in many windows leaves something out");
    assert!(items.spans.is_sorted_by_key(|(_, _, span)| span.start));

    // A server does not start on half a restore.
    std::fs::write(restored.folder().join("data/restore.unfinished"), "{}").unwrap();
    let (ok, said) = restored.command(&["serve"]).await;
    assert!(!ok && said.contains("was not finished"), "{said}");
}

/// An item with its sender.
type Sent<T> = (Resource, Instrumentation, T);

/// What an export holds, decoded.
#[derive(Debug, Default, PartialEq)]
struct Items {
    spans: Vec<Sent<Span>>,
    logs: Vec<Sent<LogRecord>>,
    metrics: Vec<Sent<Metric>>,
}

impl Items {
    fn add(&mut self, signal: Signal, encoding: Encoding, body: Vec<u8>) {
        let received = UnixNanos(i64::MAX / 2);
        let decoded = decode(signal, encoding, &body.into(), received, &Limits::default()).unwrap();
        assert_eq!(decoded.rejected, 0, "{decoded:?}");
        match decoded.batch {
            Batch::Traces(groups) => self.spans.extend(groups.into_iter().flat_map(flat)),
            Batch::Logs(groups) => self.logs.extend(groups.into_iter().flat_map(flat)),
            Batch::Metrics(groups) => self.metrics.extend(groups.into_iter().flat_map(flat)),
        }
    }

    fn add_lines(&mut self, signal: Signal, path: &Path) {
        let bytes = std::fs::read(path).unwrap();
        let plain = match path.extension().and_then(|extension| extension.to_str()) {
            Some("zst") => zstd::decode_all(&*bytes).unwrap(),
            Some("gz") => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*bytes), &mut plain).unwrap();
                plain
            }
            _ => bytes,
        };
        let lines = plain.split_inclusive(|byte| *byte == b'\n');
        lines.for_each(|line| self.add(signal, Encoding::Json, line.to_vec()));
    }
}

fn flat<T>(group: Group<T>) -> Vec<Sent<T>> {
    let Group { resource, instrumentation, items } = group;
    items
        .into_iter()
        .map(|item| (Resource::clone(&resource), Instrumentation::clone(&instrumentation), item))
        .collect()
}

/// Exports all of a tenant's signals.
async fn exported(server: &Server, tenant: &str) -> Items {
    let mut items = Items::default();
    let files =
        [(Signal::Traces, "traces.zst"), (Signal::Logs, "logs.gz"), (Signal::Metrics, "metrics.jsonl")];
    for (signal, file) in files {
        let arguments = ["export", "--signal", signal.name(), "--tenant", tenant, "--output", file];
        let (ok, said) = server.command(&arguments).await;
        assert!(ok, "{said}");
        items.add_lines(signal, &server.folder().join(file));
    }
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_from_one_server_and_imported_into_another_is_the_same() {
    // As it came: without what is read out of bodies.
    let plain = [("LOG_PARSE_JSON", "false"), ("LOG_SEVERITY_FROM_BODY", "false")];
    let server = Server::start(&plain).await;
    let sent = everything();
    post(&server, "traces", sent.0.encode_to_vec()).await;
    post(&server, "logs", sent.1.encode_to_vec()).await;
    post(&server, "metrics", sent.2.encode_to_vec()).await;
    server.settled().await;
    let mut all = Items::default();
    all.add(Signal::Traces, Encoding::Protobuf, sent.0.encode_to_vec());
    all.add(Signal::Logs, Encoding::Protobuf, sent.1.encode_to_vec());
    all.add(Signal::Metrics, Encoding::Protobuf, sent.2.encode_to_vec());
    assert_eq!(exported(&server, "moving").await, all);

    let second = Server::start(&plain).await;
    let file = |name: &str| server.folder().join(name).to_str().unwrap().to_owned();
    let endpoint = format!("http://{}", second.otlp_http);
    let (traces, logs, metrics) = (file("traces.zst"), file("logs.gz"), file("metrics.jsonl"));
    let arguments =
        ["import", &traces, &logs, &metrics, "--endpoint", &endpoint, "--tenant", "moving", "--json"];
    let (ok, said) = server.command(&arguments).await;
    assert!(ok, "{said}");
    let account: Json = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    assert_eq!(
        (&account["accepted"], &account["refused"]),
        (&Json::from(2 + 2 + 5), &Json::from(0)),
        "{said}"
    );
    second.settled().await;
    assert_eq!(exported(&second, "moving").await, all);

    let nobody = server.command(&["import", &logs, "--endpoint", "http://127.0.0.1:1"]).await;
    assert!(!nobody.0 && nobody.1.contains("otelcontext serve"), "{}", nobody.1);
    let unknown = server.command(&["export", "--signal", "logs", "--tenant", "nobody"]).await;
    assert!(!unknown.0 && unknown.1.contains("it has moving"), "{}", unknown.1);
}

async fn post(server: &Server, signal: &str, body: Vec<u8>) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/v1/{signal}", server.otlp_http))
        .header("content-type", "application/x-protobuf")
        .header("x-tenant-id", "moving")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap().is_empty(), "a partial success");
}

/// A request of each signal with every field that OTLP has.
fn everything() -> (ExportTraceServiceRequest, ExportLogsServiceRequest, ExportMetricsServiceRequest) {
    let mut one = failed(span(7, 1, None, "GET /", 2), "boom");
    let now = one.start_time_unix_nano;
    one.attributes = all_attributes();
    one.trace_state = "a=b".into();
    (one.dropped_attributes_count, one.dropped_events_count) = (1, 2);
    (one.dropped_links_count, one.flags) = (3, 0x101);
    one.events = vec![Event {
        time_unix_nano: now,
        name: "exception".into(),
        attributes: vec![text("exception.message", "no")],
        dropped_attributes_count: 4,
    }];
    one.links = vec![Link {
        trace_id: vec![9; 16],
        span_id: vec![8; 8],
        trace_state: "c=d".into(),
        attributes: vec![text("l", "m")],
        dropped_attributes_count: 5,
        flags: 1,
    }];
    let mut traces = request("shop", vec![one, span(7, 2, Some(1), "SELECT", 3)]);
    let schema_url = "https://example.org/schema".to_owned();
    let outer = &mut traces.resource_spans[0];
    outer.schema_url.clone_from(&schema_url);
    outer.scope_spans[0].schema_url.clone_from(&schema_url);
    outer.scope_spans[0].scope = Some(scope());
    if let Some(resource) = &mut outer.resource {
        resource.attributes.push(text("service.version", "2"));
        resource.dropped_attributes_count = 6;
    }
    let resource = outer.resource.clone();
    let scope_logs =
        vec![ScopeLogs { scope: Some(scope()), log_records: records(now), schema_url: String::new() }];
    let logs = ResourceLogs { resource: resource.clone(), scope_logs, schema_url: schema_url.clone() };
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics: metrics(now), schema_url: String::new() }];
    let metrics = ResourceMetrics { resource, scope_metrics, schema_url };
    (
        traces,
        ExportLogsServiceRequest { resource_logs: vec![logs] },
        ExportMetricsServiceRequest { resource_metrics: vec![metrics] },
    )
}

fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn all_attributes() -> Vec<KeyValue> {
    let attribute = |key: &str, value| KeyValue { key: key.into(), value: any(value), ..KeyValue::default() };
    let values = vec![AnyValue { value: Some(Value::DoubleValue(0.1)) }, AnyValue { value: None }];
    vec![
        text("text", "ä"),
        attribute("int", Value::IntValue(i64::MIN)),
        attribute("bool", Value::BoolValue(false)),
        attribute("double", Value::DoubleValue(f64::INFINITY)),
        attribute("list", Value::ArrayValue(ArrayValue { values })),
        attribute("map", Value::KvlistValue(map())),
        attribute("bytes", Value::BytesValue(vec![0, 255, 7])),
    ]
}

fn map() -> KeyValueList {
    KeyValueList { values: vec![text("inner", "x\"\n\u{1f600}")] }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "library".into(),
        version: "1".into(),
        attributes: vec![text("a", "b")],
        dropped_attributes_count: 2,
    }
}

fn records(now: u64) -> Vec<Record> {
    let record = Record {
        time_unix_nano: now,
        observed_time_unix_nano: now + 1,
        severity_number: 17,
        severity_text: "Error".into(),
        body: any(Value::StringValue("it broke".into())),
        attributes: all_attributes(),
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: vec![7; 16],
        span_id: vec![1; 8],
        event_name: "broken".into(),
    };
    let structured =
        Record { body: any(Value::KvlistValue(map())), time_unix_nano: now + 5, ..record.clone() };
    vec![record, structured]
}

/// A metric of each kind, with one point.
fn metrics(now: u64) -> Vec<Instrument> {
    let number = |value| NumberDataPoint {
        attributes: vec![text("route", "/")],
        start_time_unix_nano: now - 1,
        time_unix_nano: now,
        exemplars: exemplars(now),
        flags: 0,
        value: Some(value),
    };
    let (int, double) = (number_data_point::Value::AsInt(-7), number_data_point::Value::AsDouble(-0.0));
    let data = [
        Data::Gauge(Gauge { data_points: vec![number(int)] }),
        Data::Sum(Sum { data_points: vec![number(double)], aggregation_temporality: 2, is_monotonic: true }),
        Data::Histogram(Histogram { data_points: vec![histogram(now)], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(now)],
            aggregation_temporality: 1,
        }),
        Data::Summary(Summary { data_points: vec![summary(now)] }),
    ];
    let metric = |(data, number): (Data, u32)| Instrument {
        name: format!("metric.{number}"),
        description: "what it is".into(),
        unit: "s".into(),
        metadata: vec![text("m", "n")],
        data: Some(data),
    };
    data.into_iter().zip(0..).map(metric).collect()
}

fn exemplars(now: u64) -> Vec<Exemplar> {
    vec![Exemplar {
        filtered_attributes: vec![text("user", "u")],
        time_unix_nano: now,
        span_id: vec![1; 8],
        trace_id: vec![7; 16],
        value: Some(exemplar::Value::AsDouble(1.5)),
    }]
}

fn histogram(now: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: vec![text("route", "/")],
        start_time_unix_nano: now - 1,
        time_unix_nano: now,
        count: 3,
        sum: Some(0.75),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        exemplars: exemplars(now),
        flags: 0,
        min: Some(0.1),
        max: Some(0.6),
    }
}

fn exponential(now: u64) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        attributes: vec![text("route", "/")],
        start_time_unix_nano: now - 1,
        time_unix_nano: now,
        count: 6,
        sum: Some(-1.0),
        scale: -2,
        zero_count: 1,
        positive: Some(Buckets { offset: -3, bucket_counts: vec![1, 0, 1] }),
        negative: Some(Buckets { offset: 1, bucket_counts: vec![3] }),
        flags: 0,
        exemplars: exemplars(now),
        min: Some(-9.0),
        max: Some(2.0),
        zero_threshold: 0.001,
    }
}

fn summary(now: u64) -> SummaryDataPoint {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    SummaryDataPoint {
        attributes: vec![text("route", "/")],
        start_time_unix_nano: now - 1,
        time_unix_nano: now,
        count: 2,
        sum: 3.0,
        quantile_values: vec![quantile(0.0, 1.0), quantile(1.0, 2.0)],
        flags: 0,
    }
}

const fn traces_of_the_predecessor() -> [(&'static str, &'static str); 2] {
    [("shop", "0af7651916cd43dd8448eb211c80319c"), ("bank", "1af7651916cd43dd8448eb211c80319c")]
}

/// The predecessor's tables, as far as they matter.
const SCHEMA: &str = "
        CREATE TABLE traces (id integer PRIMARY KEY AUTOINCREMENT, tenant_id varchar(64), trace_id varchar(32),
            service_name varchar(255), duration integer, status varchar(50), timestamp datetime, created_at datetime,
            updated_at datetime, deleted_at datetime);
        CREATE TABLE spans (id integer PRIMARY KEY AUTOINCREMENT, tenant_id varchar(64), trace_id varchar(32),
            span_id varchar(16), parent_span_id varchar(16), operation_name varchar(255), start_time datetime,
            end_time datetime, duration integer, service_name varchar(255), status varchar(50), attributes_json blob);
        CREATE TABLE logs (id integer PRIMARY KEY AUTOINCREMENT, tenant_id varchar(64), trace_id varchar(32),
            span_id varchar(16), severity varchar(50), body text, service_name varchar(255), attributes_json blob,
            ai_insight blob, timestamp datetime);
        CREATE TABLE metric_buckets (id integer PRIMARY KEY AUTOINCREMENT, tenant_id varchar(64), name varchar(255),
            service_name varchar(255), time_bucket datetime, min real, max real, sum real, count integer,
            attributes_json blob);
        CREATE TABLE investigations (tenant_id varchar(64), id varchar(64) PRIMARY KEY, status text);
        INSERT INTO investigations VALUES ('default', 'x', 'open');";

/// A database as the predecessor's tables are documented.
async fn predecessor(path: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let recent = |seconds: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let at = jiff::Timestamp::from_second(i64::try_from(now).unwrap() - 3_600 + seconds).unwrap();
        at.to_string().replace('T', " ").replace('Z', ".25+00:00")
    };
    let attributes = r#"[{"key":"http.route","value":{"Value":{"StringValue":"/pay"}}},
        {"key":"retries","value":{"Value":{"IntValue":3}}},
        {"key":"tags","value":{"Value":{"ArrayValue":{"values":[{"Value":{"BoolValue":true}}]}}}}]"#;
    let packed = zstd::encode_all(attributes.as_bytes(), 3).unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.unwrap();
    for (tenant, trace) in traces_of_the_predecessor() {
        for (span, parent, status) in [
            ("b7ad6b7169203331", "", "STATUS_CODE_ERROR"),
            ("00f067aa0ba902b7", "b7ad6b7169203331", "STATUS_CODE_OK"),
        ] {
            sqlx::query(
                "INSERT INTO spans (tenant_id, trace_id, span_id, parent_span_id, operation_name, start_time, end_time, \
                 duration, service_name, status, attributes_json) VALUES (?, ?, ?, ?, 'POST /pay', ?, ?, 2000000, \
                 'payment', ?, ?)",
            )
            .bind(tenant)
            .bind(trace)
            .bind(span)
            .bind(parent)
            .bind(recent(0))
            .bind(recent(2))
            .bind(status)
            .bind(&packed)
            .execute(&mut connection)
            .await
            .unwrap();
        }
        sqlx::query("INSERT INTO traces (tenant_id, trace_id, timestamp) VALUES (?, ?, ?)")
            .bind(tenant)
            .bind(trace)
            .bind(recent(0))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let broken = "INSERT INTO spans (tenant_id, trace_id, span_id, start_time, service_name) VALUES \
         ('shop', 'not hex', 'b7ad6b7169203331', ?, 'payment'), ('a/b', '0af7651916cd43dd8448eb211c80319c', \
         'b7ad6b7169203331', ?, 'payment')";
    sqlx::query(broken).bind(recent(0)).bind(recent(0)).execute(&mut connection).await.unwrap();
    let logs = "INSERT INTO logs (tenant_id, trace_id, span_id, severity, body, service_name, attributes_json, \
         ai_insight, timestamp) VALUES ('shop', '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', 'ERROR', \
         'card refused', 'payment', ?, 'the bank is away', ?)";
    sqlx::query(logs).bind(attributes).bind(recent(1)).execute(&mut connection).await.unwrap();
    let buckets = "INSERT INTO metric_buckets (tenant_id, name, service_name, time_bucket, min, max, sum, count, \
         attributes_json) VALUES ('shop', 'queue.length', 'payment', ?, 1.5, 4.0, 9.5, 4, '{\"queue\":\"orders\"}')";
    sqlx::query(buckets).bind(recent(0)).execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessors_database_is_carried_over_with_an_account_of_the_rest() {
    let server = Server::start(&[]).await;
    let file = server.folder().join("OtelContext.db");
    predecessor(&file).await;
    let endpoint = format!("http://{}", server.otlp_http);
    let arguments = [
        "import",
        "--predecessor",
        file.to_str().unwrap(),
        "--endpoint",
        &endpoint,
        "--resume",
        "state",
        "--json",
    ];
    let (ok, said) = server.command(&arguments).await;
    assert!(ok, "{said}");
    let account: Json = serde_json::from_str(&said[said.find('{').unwrap()..]).unwrap();
    let counts = ["read", "accepted", "refused", "lost"].map(|name| account[name].as_u64().unwrap());
    assert_eq!(counts, [8, 6, 0, 2], "{said}");
    for reason in
        ["trace id is not 32 hex digits", "tenant name", "investigations", "as summaries", "made anew"]
    {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    // Run again it knows that nothing is left.
    let (ok, again) = server.command(&arguments).await;
    assert!(ok && again[again.find('{').unwrap()..] == said[said.find('{').unwrap()..], "{again}");

    server.settled().await;
    for tenant in ["shop", "bank"] {
        let items = exported(&server, tenant).await;
        assert_eq!(items.spans.len(), 2);
        for (resource, _, span) in &items.spans {
            assert_eq!(&*resource.service, "payment");
            assert_eq!(span.duration_ns, 2_000_000_000);
            assert_eq!(span.name.as_str(), "POST /pay");
            assert_eq!(span.status == Status::Error, span.parent_id.is_none());
            let rendered = |key: &str| span.detail.attribute(key).unwrap().render();
            assert_eq!(["http.route", "retries", "tags"].map(rendered), ["/pay", "3", "[true]"]);
        }
    }
    let items = exported(&server, "shop").await;
    let [(_, _, record)] = items.logs.as_slice() else { panic!("{:?}", items.logs) };
    assert_eq!((record.severity, record.detail.severity_text()), (Severity(17), "ERROR"));
    assert_eq!(record.detail.body_text(), "card refused");
    assert_eq!(record.trace_id.unwrap().to_string(), traces_of_the_predecessor()[0].1);
    assert_eq!(record.detail.attribute("ai_insight").unwrap().render(), "the bank is away");
    let [(_, _, metric)] = items.metrics.as_slice() else { panic!("{:?}", items.metrics) };
    let point = &metric.points[0];
    assert_eq!((metric.name.as_str(), metric.kind), ("queue.length", MetricKind::Summary));
    assert_eq!(point.value, PointValue::Distribution { count: 4, sum: Some(9.5) });
    assert_eq!(point.detail.quantiles(), [(0.0, 1.5), (1.0, 4.0)]);
    assert_eq!(point.attributes.text("queue"), Some("orders"));
    assert_eq!(point.time.0 - point.start.0, 30_000_000_000);
}
