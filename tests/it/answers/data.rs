//! Forty minutes of a shop and of hostile services beside it. Ten minutes before now the payments of one region begin to fail
//! and to be slow, and so do the hostile services.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use prost::Message;
use serde_json::json;

use super::hostile::{self, NAME_MARK, TEXT_MARK};
use crate::client::{ask, export, failed, request, span, text};
use crate::server::Server;

/// Whose it all is.
pub(super) const TENANT: &str = "shop";
/// Seconds before now: where telemetry begins, and where it turns.
pub(super) const BEGAN: u64 = 2_400;
const TURNED: u64 = 600;
/// Seconds between two requests.
const EVERY: u64 = 8;
const MS: u64 = 1_000_000;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// When a request comes, as its number and how many seconds before now.
struct Moment {
    number: usize,
    ago: u64,
    start: u64,
}

impl Moment {
    fn all(now: u64) -> Vec<Self> {
        let agos = (EVERY..BEGAN).rev().step_by(EVERY as usize);
        let moment = |(number, ago): (usize, u64)| Self { number, ago, start: now - ago * 1_000 * MS };
        agos.enumerate().map(moment).collect()
    }

    fn is_late(&self) -> bool {
        self.ago <= TURNED
    }

    fn id(&self, salt: u8) -> Vec<u8> {
        [vec![salt], (self.number as u64 + 1).to_be_bytes()[1..].to_vec()].concat()
    }

    /// A span of the trace of `salt`; `times` are its beginning after the request's and its length, in milliseconds.
    fn span(
        &self,
        salt: u8,
        (id, parent): (u8, Option<u8>),
        name: &str,
        kind: i32,
        times: (u64, u64),
    ) -> Span {
        let mut made = span(0, 0, None, name, kind);
        made.trace_id = [self.id(salt), self.id(salt + 1)].concat();
        made.span_id = self.id(id);
        made.parent_span_id = parent.map(|parent| self.id(parent)).unwrap_or_default();
        made.start_time_unix_nano = self.start + times.0 * MS;
        made.end_time_unix_nano = made.start_time_unix_nano + times.1 * MS;
        made
    }
}

/// Sends everything and waits until it can be asked about, words of logs included.
pub(super) async fn fill(server: &Server, now: u64) {
    let moments = Moment::all(now);
    let (mut checkout, mut charges) = (Vec::new(), Vec::new());
    for moment in &moments {
        let [entry, out, charge] = payment(moment);
        checkout.extend([entry, out]);
        charges.push(charge);
    }
    export(server, TENANT, &request("checkout", checkout)).await;
    export(server, TENANT, &request("payment", charges)).await;
    let mut gate = Vec::new();
    for (at, service) in hostile::services().iter().enumerate() {
        let mut own = Vec::new();
        for moment in moments.iter().filter(|moment| moment.number % 4 == at) {
            let [entry, out, inner] = hostile_call(moment, at);
            gate.extend([entry, out]);
            own.push(inner);
        }
        let mut request = request(service, own);
        let resource = request.resource_spans[0].resource.as_mut().unwrap();
        resource.attributes.extend(about_sender(at));
        resource.attributes.push(environment(at));
        export(server, TENANT, &request).await;
    }
    export(server, TENANT, &request("gate", gate)).await;
    post(server, "logs", ExportLogsServiceRequest { resource_logs: logs(&moments, now) }.encode_to_vec())
        .await;
    let metrics = ExportMetricsServiceRequest { resource_metrics: vec![metrics(&moments)] };
    post(server, "metrics", metrics.encode_to_vec()).await;
    server.settled().await;
    let searchable = async || {
        let answer = ask(server, TENANT, "search_logs", json!({"query": "charging"})).await;
        answer["warnings"].is_null().then_some(())
    };
    server.until("searchable", searchable).await;
}

async fn post(server: &Server, signal: &str, body: Vec<u8>) {
    let post = reqwest::Client::new().post(format!("http://{}/v1/{signal}", server.otlp_http));
    let post = post.header("content-type", "application/x-protobuf").header("x-tenant-id", TENANT);
    assert_eq!(post.body(body).send().await.unwrap().status(), 200, "{signal}");
}

/// Checkout calls payment.
fn payment(moment: &Moment) -> [Span; 3] {
    let region = if moment.number.is_multiple_of(3) { "west" } else { "east" };
    let breaks = moment.is_late() && region == "west";
    let wait = if breaks { 420 } else { 20 } + moment.number as u64 % 7;
    let entry = moment.span(8, (1, None), "POST /checkout", SERVER, (0, wait + 10));
    let out = moment.span(8, (2, Some(1)), "POST", CLIENT, (2, wait + 4));
    let mut charge = moment.span(8, (3, Some(2)), "POST /charge", SERVER, (4, wait));
    charge.attributes =
        vec![text("customer.region", region), text("payment.id", &format!("p-{}", moment.number))];
    let made = [entry, out, charge];
    if breaks { made.map(|span| failed(span, "card network unavailable")) } else { made }
}

/// The gate calls a hostile service, whose words are in everything it sends.
fn hostile_call(moment: &Moment, service: usize) -> [Span; 3] {
    let wait = if moment.is_late() { 300 } else { 15 } + moment.number as u64 % 5;
    let entry = moment.span(16, (4, None), "GET /gate", SERVER, (0, wait + 8));
    let out = moment.span(16, (5, Some(4)), "GET", CLIENT, (1, wait + 4));
    let name = hostile::operation(service, moment.number);
    let mut inner = moment.span(16, (6, Some(5)), &name, SERVER, (3, wait));
    let told = hostile::text(moment.number);
    inner.attributes = vec![text("note", &told), text(&hostile::key(), &told)];
    inner.attributes.extend(likenesses(moment.number));
    inner.events = vec![Event {
        name: "exception".into(),
        time_unix_nano: inner.end_time_unix_nano,
        attributes: vec![
            text("exception.type", &format!("{TEXT_MARK}.Error")),
            text("exception.message", &told),
            text("exception.stacktrace", &format!("{told}\n  at {TEXT_MARK}()")),
        ],
        ..Event::default()
    }];
    let made = [entry, out, inner];
    if moment.is_late() { made.map(|span| failed(span, &told)) } else { made }
}

/// What is called as columns of the server's own are.
fn likenesses(number: usize) -> Vec<KeyValue> {
    ["state", "level", "kind"].iter().map(|key| text(key, &hostile::text(number))).collect()
}

fn about_sender(service: usize) -> Vec<KeyValue> {
    vec![
        text("host.name", &hostile::text(service + 1)),
        text("service.version", &format!("{NAME_MARK}-1.{service}\u{200b}")),
        text("service.instance.id", &format!("{NAME_MARK}/{service}\u{202e}")),
    ]
}

fn environment(number: usize) -> KeyValue {
    text("deployment.environment.name", &hostile::text(number))
}

/// What payment logs, and the hostile lines; some of those belong to traces of which no span was ever sent.
fn logs(moments: &[Moment], now: u64) -> Vec<ResourceLogs> {
    let mut own = Vec::new();
    for moment in moments {
        let [.., charge] = payment(moment);
        let record = |severity_number, body: String| LogRecord {
            time_unix_nano: charge.end_time_unix_nano,
            severity_number,
            body: text("", &body).value,
            trace_id: charge.trace_id.clone(),
            span_id: charge.span_id.clone(),
            ..LogRecord::default()
        };
        let number = moment.number;
        own.push(record(9, format!("charging card {number} of account {}", number * 7)));
        let is_failed = charge.status.is_some();
        own.extend(is_failed.then(|| record(17, format!("card network refused connection {number}"))));
    }
    let services = hostile::services();
    let mut by_service: Vec<Vec<LogRecord>> = vec![Vec::new(); services.len()];
    for number in 0..hostile::LINES {
        // All after the turn, so that their patterns are news.
        let ago = TURNED - 3 * number as u64 % (TURNED - 10);
        let trace = if number % 5 == 0 { vec![99; 16] } else { Vec::new() };
        by_service[number % services.len()].push(LogRecord {
            time_unix_nano: now - ago * 1_000 * MS,
            severity_number: if number % 2 == 0 { 17 } else { 9 },
            severity_text: format!("{TEXT_MARK}\u{202e}"),
            body: text("", &hostile::line(number)).value,
            attributes: [
                vec![text("note", &hostile::text(number)), text(&hostile::key(), "1")],
                likenesses(number),
            ]
            .concat(),
            trace_id: trace,
            ..LogRecord::default()
        });
    }
    let mut all = vec![resource_logs("payment", Vec::new(), own)];
    let hostile = services.iter().zip(by_service).enumerate();
    // Their spans are of another environment.
    let about = |at: usize| [about_sender(at), vec![environment(at + services.len())]].concat();
    all.extend(hostile.map(|(at, (service, records))| resource_logs(service, about(at), records)));
    all
}

fn resource_logs(service: &str, about: Vec<KeyValue>, log_records: Vec<LogRecord>) -> ResourceLogs {
    let attributes = [vec![text("service.name", service)], about].concat();
    ResourceLogs {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

fn metrics(moments: &[Moment]) -> ResourceMetrics {
    let points = |value: fn(&Moment) -> f64| {
        let point = |moment: &Moment| NumberDataPoint {
            start_time_unix_nano: moments[0].start - 1_000 * MS,
            time_unix_nano: moment.start,
            attributes: vec![text("customer.region", "west")],
            value: Some(number_data_point::Value::AsDouble(value(moment))),
            ..NumberDataPoint::default()
        };
        moments.iter().map(point).collect::<Vec<_>>()
    };
    let gauge = |name: &str, description: &str, value: fn(&Moment) -> f64| Metric {
        name: name.into(),
        description: description.into(),
        data: Some(metric::Data::Gauge(Gauge { data_points: points(value) })),
        ..Metric::default()
    };
    let depth = |moment: &Moment| {
        let waiting = if moment.is_late() { 80.0 } else { 5.0 };
        waiting + (moment.number % 3) as f64
    };
    let count = |moment: &Moment| moment.number as f64;
    let sum = Sum { data_points: points(count), aggregation_temporality: 2, is_monotonic: true };
    let metrics = vec![
        gauge("payment.queue.depth", "Cards that wait.", depth),
        gauge(&format!("{NAME_MARK}.depth"), &hostile::text(2), depth),
        gauge(&format!("{NAME_MARK}\u{200b}.hidden` \u{1b}[1m"), &hostile::text(7), depth),
        Metric { name: "payment.cards".into(), data: Some(metric::Data::Sum(sum)), ..Metric::default() },
    ];
    ResourceMetrics {
        resource: Some(Resource { attributes: vec![text("service.name", "payment")], ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }
}
