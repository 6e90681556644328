//! Two tenants with the same ids, asked in every way there is.
//!
//! Which questions exist is read from the server itself: the routes and parameters of its OpenAPI document, the tools with
//! their arguments, resources, prompts and completions of MCP. A route or argument that is new is asked about without a line
//! here; one whose name is new fails until it is said which values it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use otelcontext::api;
use prost::Message;
use reqwest::Client;
use serde_json::{Value, json};

use crate::client::{call, export, failed, request, span, text};
use crate::server::Server;

/// Tells of nobody: descriptions of the server, and what needs more of the past than there is.
const QUIET: [&str; 5] =
    ["/api/v1/anomalies", "/api/v1/openapi.json", "/api/v1/root-cause", "/api/v1/sql", "/api/v1/status"];
const QUIET_TOOLS: [&str; 6] = [
    "compare_attributes",
    "get_anomaly_timeline",
    "investigation",
    "root_cause_analysis",
    "test_hypothesis",
    "what_changed",
];
const TRACE: u8 = 7;

/// A tenant, and the words in its telemetry: in the names that it is asked by, and everywhere else.
struct Tenant {
    id: String,
    name: String,
    secret: String,
}

impl Tenant {
    fn new(which: char, seed: u64) -> Self {
        let word = |salt: u64| {
            let mixed = (seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ seed;
            format!("{which}{mixed:016x}")
        };
        Self {
            id: format!("tenant-{}", word(1)),
            name: format!("n{}", word(2)),
            secret: format!("s{}", word(3)),
        }
    }

    fn service(&self) -> String {
        format!("{}-front", self.name)
    }

    /// Sends telemetry of all signals, with the ids that the other tenant has too.
    async fn fill(&self, server: &Server) {
        let (front, back) = (self.service(), format!("{}-back", self.name));
        let attributes = || vec![text("shared.key", &self.name), text(&self.secret, &self.secret)];
        let marked = |id, parent, name: &str, kind| {
            let mut span =
                failed(span(TRACE, id, parent, &format!("{name} /{}", self.name), kind), &self.secret);
            span.attributes = attributes();
            span
        };
        let spans = vec![marked(1, None, "GET", 2), marked(2, Some(1), "CALL", 3)];
        export(server, &self.id, &request(&front, spans)).await;
        export(server, &self.id, &request(&back, vec![marked(3, Some(2), "WORK", 2)])).await;
        let time_unix_nano = span(TRACE, 1, None, "", 1).start_time_unix_nano;
        let record = LogRecord {
            time_unix_nano,
            severity_number: 17,
            body: text("", &format!("shared words of {} and {}", self.name, self.secret)).value,
            attributes: attributes(),
            trace_id: vec![TRACE; 16],
            span_id: vec![2; 8],
            ..LogRecord::default()
        };
        let resource = Some(Resource {
            attributes: vec![text("service.name", &front), text("host.name", &self.secret)],
            ..Resource::default()
        });
        let logs = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: resource.clone(),
                scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }],
        };
        let point = NumberDataPoint {
            time_unix_nano,
            attributes: attributes(),
            value: Some(number_data_point::Value::AsDouble(1.0)),
            ..NumberDataPoint::default()
        };
        let metric = Metric {
            name: format!("{}.load", self.name),
            description: self.secret.clone(),
            data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
            ..Metric::default()
        };
        let metrics = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource,
                scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
                ..ResourceMetrics::default()
            }],
        };
        for (signal, body) in [("logs", logs.encode_to_vec()), ("metrics", metrics.encode_to_vec())] {
            let post = Client::new().post(format!("http://{}/v1/{signal}", server.otlp_http));
            let post = post.header("content-type", "application/x-protobuf").header("x-tenant-id", &self.id);
            assert_eq!(post.body(body).send().await.unwrap().status(), 200, "{signal}");
        }
    }
}

/// What a parameter or argument of this name is given: values that name this tenant's things, and some that name nobody's.
fn values(name: &str, tenant: &Tenant) -> Vec<String> {
    let own = |value: String| vec![value];
    let fixed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match name {
        "service" | "caller" | "cause" | "effect" => own(tenant.service()),
        "operation" => own(format!("GET /{}", tenant.name)),
        "ids" | "id" => own(format!("operation:{} GET /{}", tenant.service(), tenant.name)),
        "trace_id" => own(format!("{TRACE:02x}").repeat(16)),
        "span_id" => own("02".repeat(8)),
        "attribute" | "where" | "filter" => own(format!("shared.key={}", tenant.name)),
        "prefix" | "match" => own(tenant.name.clone()),
        "metric" => own(format!("{}.load", tenant.name)),
        "q" | "query" => vec!["shared words".to_owned(), format!("host.name:* AND {}", tenant.name)],
        "template" => (1..9).map(|id| id.to_string()).collect(),
        "by" | "group_by" => fixed(&["shared.key", "service.name"]),
        "from" | "since" => fixed(&["1h", "2020-01-01T00:00:00Z"]),
        "to" | "until" => fixed(&["now", "2199-01-01T00:00:00Z"]),
        "severity" => fixed(&["error", "info"]),
        "kind" => fixed(&["service", "server", "database"]),
        "status" => fixed(&["error", "ok", "new", "steady"]),
        "sort" => fixed(&["slowest", "rate", "name"]),
        "source" => fixed(&["spans", "logs"]),
        "measure" => fixed(&["count", "rate"]),
        "action" => fixed(&["resume"]),
        // Written by an agent, which is for a test of its own.
        "title" | "text" | "evidence" => Vec::new(),
        "target" => fixed(&["errors", "slow", "window"]),
        "at" => fixed(&["10m"]),
        "function" => fixed(&["avg", "max", "last", "rate"]),
        "order" => fixed(&["slowest", "newest"]),
        "step" | "range" | "min_duration" | "max_duration" => fixed(&["1s", "1m"]),
        "added_latency_ms" | "min_duration_ms" | "max_duration_ms" | "step_s" => fixed(&["0", "250"]),
        "limit" | "depth" | "top" | "max_tokens" => fixed(&["1", "5", "1000"]),
        // Cursors of the other tenant have tests of their own.
        "cursor" | "x-tenant-id" => Vec::new(),
        other => panic!("say in this file which values `{other}` takes"),
    }
}

/// A question: what is asked, under which name its answers are counted, and the words in it.
struct Question {
    kind: String,
    ask: Ask,
    words: Vec<String>,
}

enum Ask {
    Rest { path: String, query: Vec<(String, String)> },
    Mcp { method: String, name: String, params: Value },
}

impl Question {
    async fn answer(&self, server: &Server, tenant: &str) -> String {
        let request = match &self.ask {
            Ask::Rest { path, query } => {
                let base = format!("http://{}{path}", server.http);
                Client::new().get(reqwest::Url::parse_with_params(&base, query).unwrap())
            }

            Ask::Mcp { method, name, params } => {
                let mut params = params.clone();
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                });
                let request = Client::new()
                    .post(format!("http://{}/mcp", server.http))
                    .header("content-type", "application/json")
                    .header("accept", "application/json, text/event-stream")
                    .header("mcp-protocol-version", "2026-07-28")
                    .header("mcp-method", method)
                    .body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string());
                if name.is_empty() { request } else { request.header("mcp-name", name) }
            }
        };
        request.header("x-tenant-id", tenant).send().await.unwrap().text().await.unwrap()
    }
}

/// A base, and the base with each further value alone.
fn combined(fixed: &[(String, String)], optional: &[String], tenant: &Tenant) -> Vec<Vec<(String, String)>> {
    let mut all = vec![fixed.to_vec()];
    for name in optional {
        for value in values(name, tenant) {
            all.push([fixed, &[(name.clone(), value)]].concat());
        }
    }
    all
}

/// Every route with every parameter, in the names of `tenant`.
fn rest(tenant: &Tenant) -> Vec<Question> {
    let document: Value = serde_json::from_str(&api::document()).unwrap();
    let mut questions = Vec::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        let named = |place: &str| -> Vec<String> {
            let placed = parameters.iter().filter(|parameter| parameter["in"] == place);
            placed.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
        };
        let mut path = route.clone();
        for name in named("path") {
            let value = if name == "name" { tenant.service() } else { values(&name, tenant).remove(0) };
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        // A metric's name is needed where it is asked about; SQL is refused, whatever it says.
        let needed: Vec<(String, String)> = match route.as_str() {
            "/api/v1/metrics/query" => vec![("name".into(), format!("{}.load", tenant.name))],
            "/api/v1/sql" => vec![("q".into(), "SELECT * FROM v_services".into())],
            "/api/v1/impact" => vec![("service".into(), tenant.service())],
            _ => Vec::new(),
        };
        let optional: Vec<String> =
            named("query").into_iter().filter(|name| needed.iter().all(|(other, _)| other != name)).collect();
        for query in combined(&needed, &optional, tenant) {
            let words = query.iter().map(|(_, value)| value.clone()).chain([path.clone()]).collect();
            questions.push(Question {
                kind: route.clone(),
                ask: Ask::Rest { path: path.clone(), query },
                words,
            });
        }
    }
    questions
}

async fn listed(server: &Server, method: &str, field: &str) -> Vec<Value> {
    let ask = Ask::Mcp { method: method.to_owned(), name: String::new(), params: json!({}) };
    let answer = Question { kind: String::new(), ask, words: Vec::new() }.answer(server, "nobody").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["result"][field].as_array().unwrap_or_else(|| panic!("{method}: {answer}")).clone()
}

/// A question over MCP about the thing `name`.
fn over_mcp(kind: &str, method: &str, name: &str, params: Value) -> Question {
    let words = params.as_object().unwrap().values().flat_map(|value| match value {
        Value::Object(fields) => fields.values().map(plain).collect(),
        other => vec![plain(other)],
    });
    let words = words.collect();
    let ask = Ask::Mcp { method: method.to_owned(), name: name.to_owned(), params };
    Question { kind: kind.to_owned(), ask, words }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every tool with every argument, every resource, prompt and completion, in the names of `tenant`.
async fn mcp(server: &Server, tenant: &Tenant) -> Vec<Question> {
    let mut questions = Vec::new();
    for tool in listed(server, "tools/list", "tools").await {
        let name = tool["name"].as_str().unwrap();
        let schema = &tool["inputSchema"];
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().unwrap();
        let (needed, optional): (Vec<String>, Vec<String>) =
            properties.keys().cloned().partition(|property| required.contains(property.as_str()));
        let needed: Vec<_> =
            needed.into_iter().map(|name| (name.clone(), values(&name, tenant).remove(0))).collect();
        for arguments in combined(&needed, &optional, tenant) {
            let typed = |(name, value): (String, String)| {
                let is_number = properties[&name]["type"] == "integer";
                let value = if is_number && name == "id" { "1".to_owned() } else { value };
                (name, if is_number { json!(value.parse::<u64>().unwrap()) } else { json!(value) })
            };
            let arguments: serde_json::Map<String, Value> = arguments.into_iter().map(typed).collect();
            questions.push(over_mcp(name, "tools/call", name, json!({"name": name, "arguments": arguments})));
        }
    }
    let fill = |template: &str| {
        let mut uri = template.to_owned();
        while let Some((before, rest)) = uri.split_once('{') {
            let (variable, after) = rest.split_once('}').unwrap();
            let variable = variable.trim_start_matches(['?', '&', '+', '/']).split(',').next().unwrap();
            uri = format!("{before}{}{after}", values(variable, tenant).remove(0));
        }
        uri
    };
    let templates = listed(server, "resources/templates/list", "resourceTemplates").await;
    let templates = templates.iter().map(|template| fill(template["uriTemplate"].as_str().unwrap()));
    let resources = listed(server, "resources/list", "resources").await;
    let resources = resources.iter().map(|resource| resource["uri"].as_str().unwrap().to_owned());
    for uri in templates.chain(resources).collect::<Vec<_>>() {
        questions.push(over_mcp("resources/read", "resources/read", &uri, json!({"uri": uri})));
    }
    for prompt in listed(server, "prompts/list", "prompts").await {
        let name = prompt["name"].as_str().unwrap();
        let named = prompt["arguments"].as_array().cloned().unwrap_or_default();
        let named: Vec<&str> = named.iter().map(|argument| argument["name"].as_str().unwrap()).collect();
        let arguments: BTreeMap<&str, String> =
            named.iter().map(|name| (*name, values(name, tenant).remove(0))).collect();
        questions.push(over_mcp(
            "prompts/get",
            "prompts/get",
            name,
            json!({"name": name, "arguments": arguments}),
        ));
        for argument in named {
            for value in ["", "n"] {
                let asked = json!({
                    "ref": {"type": "ref/prompt", "name": name},
                    "argument": {"name": argument, "value": value},
                });
                questions.push(over_mcp("completion/complete", "completion/complete", "", asked));
            }
        }
    }
    questions
}

/// Asks as `asker`; nothing of `other` may come back but names that the question has itself. Answers which kinds of question told
/// the asker of its own.
async fn check(server: &Server, asker: &Tenant, other: &Tenant, questions: &[Question]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for question in questions {
        let answer = question.answer(server, &asker.id).await;
        let case = || format!("{} with {:?} as {}: {answer}", question.kind, question.words, asker.id);
        assert!(!answer.contains(&other.secret), "a secret of {} in {}", other.id, case());
        let asks_by_it = question.words.iter().any(|word| word.contains(&other.name));
        assert!(asks_by_it || !answer.contains(&other.name), "a name of {} in {}", other.id, case());
        if answer.contains(&asker.name) || answer.contains(&asker.secret) {
            told.insert(question.kind.clone());
        }
    }
    told
}

#[tokio::test]
async fn i5_whatever_is_asked_no_tenant_reads_of_another() {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let seed = std::env::var("OTELCONTEXT_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or(nanos as u64);
    println!("OTELCONTEXT_TEST_SEED={seed} names them again");
    let server = Server::start(&[("API_RATE_LIMIT_RPS", "0")]).await;
    let tenants = [Tenant::new('a', seed), Tenant::new('b', seed)];
    for tenant in &tenants {
        tenant.fill(&server).await;
    }
    server.settled().await;
    let indexed = async || (server.metric("otelcontext_search_position").await >= 6.0).then_some(());
    server.until("searchable", indexed).await;
    for (asker, other) in [(&tenants[0], &tenants[1]), (&tenants[1], &tenants[0])] {
        let mut kinds = BTreeSet::new();
        let mut told = BTreeSet::new();
        for named in [asker, other] {
            let mut questions = rest(named);
            questions.extend(mcp(&server, named).await);
            kinds.extend(questions.iter().map(|question| question.kind.clone()));
            told.extend(check(&server, asker, other, &questions).await);
        }
        // A question that tells its own tenant nothing would prove nothing about others.
        let silent = kinds.iter().filter(|kind| !told.contains(*kind));
        let silent: Vec<_> = silent
            .filter(|kind| !QUIET.contains(&kind.as_str()) && !QUIET_TOOLS.contains(&kind.as_str()))
            .collect();
        assert!(silent.is_empty(), "told nothing of {}: {silent:?}", asker.id);
        assert!(kinds.len() >= 38, "{kinds:?}");
    }
}

/// Calls of each client.
const CALLS: usize = 20;
/// Clients of each tenant.
const CLIENTS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn j6_clients_with_the_same_request_ids_get_their_own_answers() {
    let server = Arc::new(
        Server::start(&[
            ("MCP_CACHE_TTL_MS", "0"),
            ("MCP_MAX_CONCURRENT", "200"),
            ("API_RATE_LIMIT_RPS", "100000"),
        ])
        .await,
    );
    let tenants = ["left", "right"];
    for tenant in tenants {
        let spans = (1..6).map(|id| span(9, id, None, &format!("only-{tenant}"), 2)).collect();
        export(&server, tenant, &request("shared", spans)).await;
    }
    server.settled().await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        for tenant in tenants {
            let server = Arc::clone(&server);
            clients.spawn(async move {
                for round in 0..CALLS {
                    let arguments = json!({"trace_id": "09".repeat(16)});
                    let asked = call(&server, tenant, "trace_graph", arguments);
                    // Now and then a client leaves before its answer comes.
                    if (number + round) % 7 == 0 {
                        let _ = tokio::time::timeout(Duration::from_millis(2), asked).await;
                        continue;
                    }
                    let answer = asked.await.to_string();
                    let other = if tenant == "left" { "only-right" } else { "only-left" };
                    assert!(answer.contains(&format!("only-{tenant}")), "{answer}");
                    assert!(!answer.contains(other), "{answer}");
                }
            });
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}
