//! Random arguments that a tool must take: read from its schema, filled with what there is.
//!
//! An argument whose name is new fails until it is said here which values it takes.

use std::collections::{BTreeMap, BTreeSet};

use mcp_tools::rfc3339;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::data::{BEGAN, TENANT};
use super::hostile::TEXT_MARK;
use super::trial::{Call, PAGED};
use crate::client::{ask, rows};
use crate::server::Server;

/// Longest name that arguments take, in bytes.
const NAME_BYTES_MAX: usize = 1_024;
/// How long before now a window ends whose answers stay: what is observed in it is firm by then.
const OVER_S: i64 = 200;
const SECOND_NS: i64 = 1_000_000_000;

/// A source of arguments that gives the same ones for a seed.
pub(super) fn runner(seed: u64) -> TestRunner {
    let seed = seed.to_be_bytes().repeat(4);
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// What there is to ask about, by the names that answers show.
pub(super) struct Live {
    services: Vec<String>,
    /// Services with one of their operations.
    operations: Vec<(String, String)>,
    /// Callers and those they call.
    edges: Vec<(String, String)>,
    /// Metrics with a function that they answer.
    metrics: Vec<(String, &'static str)>,
    traces: Vec<String>,
    templates: Vec<String>,
    evidence: Vec<String>,
    cursors: BTreeMap<&'static str, String>,
    /// When windows that stay begin and end, in nanoseconds since 1970.
    from_ns: i64,
    to_ns: i64,
}

impl Live {
    pub(super) async fn learn(server: &Server, now: u64) -> Self {
        let now = i64::try_from(now).unwrap();
        let mut live = Self {
            services: Vec::new(),
            operations: Vec::new(),
            edges: Vec::new(),
            metrics: Vec::new(),
            traces: Vec::new(),
            templates: Vec::new(),
            evidence: Vec::new(),
            cursors: BTreeMap::new(),
            from_ns: now - BEGAN as i64 * SECOND_NS,
            to_ns: now - OVER_S * SECOND_NS,
        };
        let all = |more: Value| {
            let mut arguments = json!({"limit": 200, "max_tokens": 20_000});
            arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            arguments
        };
        let services = ask(server, TENANT, "list_services", all(json!({"sort": "name"}))).await;
        live.services = column(&rows(&services, "services"), "service");
        let operations = all(json!({"group_by": "service,operation"}));
        let operations = rows(&ask(server, TENANT, "aggregate", operations).await, "groups");
        live.operations = pairs(&operations, ("service", "operation"));
        let map = ask(server, TENANT, "get_service_map", all(json!({}))).await;
        live.edges = pairs(&rows(&map, "edges"), ("from", "to"));
        let traces = rows(&ask(server, TENANT, "search_traces", all(json!({}))).await, "traces");
        live.traces = column(&traces, "trace_id");
        let patterns = ask(server, TENANT, "get_log_patterns", all(json!({}))).await;
        live.templates = column(&rows(&patterns, "patterns"), "template");
        let metrics = rows(&ask(server, TENANT, "query_metrics", all(json!({}))).await, "metrics");
        for metric in &metrics {
            let functions: &[&str] = match metric["kind"].as_str().unwrap() {
                "sum" => &["rate", "increase", "count"],
                _ => &["avg", "min", "max", "last", "sum", "count"],
            };
            let name = metric["metric"].as_str().unwrap();
            live.metrics.extend(functions.iter().map(|function| (name.to_owned(), *function)));
        }
        for service in ["checkout", "gate"] {
            let asked = all(json!({"service": service, "since": live.begin(), "until": live.end()}));
            let found = ask(server, TENANT, "root_cause_analysis", asked).await;
            let ids = found["evidence"].as_array().into_iter().flatten();
            live.evidence.extend(ids.filter_map(|it| Some(it["id"].as_str()?.to_owned())));
        }
        for number in 1..=2 {
            let title = format!("{TEXT_MARK} {number}");
            let (text, evidence) = (format!("a note\u{202e} {TEXT_MARK}"), &live.evidence[0]);
            let note = json!({"action": "write", "title": title, "text": text, "evidence": evidence});
            ask(server, TENANT, "investigation", note).await;
        }
        for (tool, ..) in PAGED {
            let mut asked = live.needed(tool);
            asked.insert("limit".to_owned(), json!(1));
            let answer = ask(server, TENANT, tool, Value::Object(asked)).await;
            live.cursors.extend(answer["cursor"].as_str().map(|cursor| (tool, cursor.to_owned())));
        }
        live
    }

    /// Where the windows that stay begin and end.
    pub(super) fn begin(&self) -> String {
        rfc3339(self.from_ns)
    }

    pub(super) fn end(&self) -> String {
        rfc3339(self.to_ns)
    }

    /// The arguments without which a tool does not answer.
    pub(super) fn needed(&self, tool: &str) -> Map<String, Value> {
        let needed = match tool {
            "impact_analysis" => json!({"service": "payment"}),
            "trace_graph" => json!({"trace_id": self.traces[0]}),
            "test_hypothesis" => json!({"cause": "payment"}),
            "get_evidence" => json!({"ids": self.evidence[0]}),
            "investigation" => json!({"action": "resume"}),
            _ => json!({}),
        };
        needed.as_object().unwrap().clone()
    }

    /// Windows as arguments write them, `since` before `until`; those that are fixed have both ends written out, or only the
    /// later one.
    fn windows(&self) -> Vec<(Option<String>, Option<String>)> {
        let shifted = |ns: i64| rfc3339(ns + 7_200 * SECOND_NS).replace('Z', "+02:00");
        let middle = rfc3339(self.to_ns - 900 * SECOND_NS);
        let own = |text: &str| Some(text.to_owned());
        vec![
            (None, None),
            (own("15m"), None),
            (own("-2h"), own("now")),
            (own("1h30m"), own("20m")),
            (own("40 minutes ago"), own("5 min ago")),
            (own("last 24h"), None),
            (own("now-30m"), own("now-1m")),
            (own("7d"), own("2h")),
            (Some(self.begin()), None),
            (None, Some(self.end())),
            (Some(self.begin()), Some(self.end())),
            (Some(shifted(self.from_ns)), Some(shifted(self.to_ns))),
            (Some(self.begin().replace('T', " ")), Some(middle.clone())),
            (Some(middle), Some(self.end())),
        ]
    }

    /// Values of an argument; of one that depends on another, both together.
    fn values(&self, tool: &'static str, argument: &str, form: &Value) -> BoxedStrategy<Value> {
        if let Some(words) = form["enum"].as_array() {
            return select(words.clone()).boxed();
        }
        let one_of = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect::<Vec<_>>();
        let values: Vec<Value> = match argument {
            "service" | "cause" | "effect" => self.services.iter().map(|name| json!(name)).collect(),
            "operation" => self.operations.iter().map(|pair| json!(pair)).collect(),
            "caller" => self.edges.iter().map(|pair| json!(pair)).collect(),
            "metric" => self.metrics.iter().map(|pair| json!(pair)).collect(),
            "trace_id" => self.traces.iter().map(|id| json!(id)).collect(),
            "template" => self.templates.iter().map(|id| json!(id)).collect(),
            "ids" => return ids(self.evidence.clone()),
            "cursor" => self.cursors.get(tool).map(|cursor| json!(cursor)).into_iter().collect(),
            "filter" => one_of(&["customer.region=west", "customer.region=\"east\"", "a=\"two words\" b=1"]),
            "query" => {
                one_of(&["charging card", "\"network refused\"", TEXT_MARK, "severity:error", "note:*"])
            }
            "match" => one_of(&["pay", "zq", "CARD", "no such part"]),
            "attribute" => one_of(&["customer.region", "note"]),
            "group_by" if tool == "query_metrics" => {
                one_of(&["service", "instance", "customer.region", "state", "kind"])
            }
            // Of spans, and of log records.
            "group_by" => vec![
                json!(["service,operation", "service,severity"]),
                json!(["kind", "template"]),
                json!(["state,level", "level,state"]),
                json!(["level", "kind"]),
                json!(["customer.region", "note"]),
                json!(["version,instance", "instance"]),
                json!(["resource.host.name", "resource.host.name"]),
            ],
            "at" => vec![json!("10m"), json!("25m"), json!(rfc3339(self.to_ns - 600 * SECOND_NS))],
            "step_s" => vec![json!(600), json!(1_800)],
            "min_duration_ms" | "max_duration_ms" => vec![json!(0), json!(25), json!(300), json!(86_400_000)],
            "added_latency_ms" => vec![json!(0), json!(1), json!(250), json!(600_000)],
            "depth" => return (1_u32..=10).prop_map(|depth| json!(depth)).boxed(),
            "limit" => return (1_u32..=200).prop_map(|limit| json!(limit)).boxed(),
            "max_tokens" => return budgets(form),
            "id" => vec![json!(1), json!(2)],
            "title" => vec![json!("slow \u{202e}checkout"), json!(format!("of {TEXT_MARK}"))],
            "text" => one_of(&["payment is slow", "# heading\n\n- \u{200b}one", "zqtold: ignore this"]),
            "evidence" => return ids(self.evidence.clone()),
            // Given with the metric that answers it.
            "function" => Vec::new(),
            other => panic!("say in this file which values `{other}` takes"),
        };
        if values.is_empty() { Just(Value::Null).boxed() } else { select(values).boxed() }
    }
}

/// Sizes of answers, small ones more often than not.
fn budgets(form: &Value) -> BoxedStrategy<Value> {
    let bound = |name: &str| u32::try_from(form[name].as_u64().unwrap()).unwrap();
    let (least, most) = (bound("minimum"), bound("maximum"));
    let sizes = proptest::prop_oneof![Just(least), least..=least * 5, least..=most];
    sizes.prop_map(|size| json!(size)).boxed()
}

/// One to three ids.
fn ids(known: Vec<String>) -> BoxedStrategy<Value> {
    let some = proptest::collection::vec(select(known), 1..4);
    some.prop_map(|ids| json!(ids.join("; "))).boxed()
}

fn column(rows: &[Value], name: &str) -> Vec<String> {
    let found: BTreeSet<&str> = rows.iter().filter_map(|row| row[name].as_str()).collect();
    found.into_iter().map(str::to_owned).collect()
}

/// Pairs of names; those that arguments cannot take for their length are left out.
fn pairs(rows: &[Value], (first, second): (&str, &str)) -> Vec<(String, String)> {
    let pair = |row: &Value| Some((row[first].as_str()?.to_owned(), row[second].as_str()?.to_owned()));
    let found: BTreeSet<(String, String)> = rows.iter().filter_map(pair).collect();
    found.into_iter().filter(|(one, other)| one.len().max(other.len()) <= NAME_BYTES_MAX).collect()
}

/// Calls of a tool as `tools/list` describes it.
pub(super) fn calls(tool: &Value, live: &Live) -> BoxedStrategy<Call> {
    let name = tool["name"].as_str().unwrap();
    let name = *mcp_tools::TOOL_NAMES.iter().find(|known| **known == name).unwrap();
    let schema = &tool["inputSchema"];
    let properties = schema["properties"].as_object().unwrap();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let timed = properties.contains_key("since");
    let mut given: Vec<BoxedStrategy<(String, Option<Value>)>> = Vec::new();
    for (argument, form) in properties.iter().filter(|(name, _)| !matches!(name.as_str(), "since" | "until"))
    {
        let values = live.values(name, argument, form);
        let values = match required.contains(&argument.as_str()) {
            true => values.prop_map(Some).boxed(),
            false => option::weighted(likelihood(argument), values).boxed(),
        };
        let argument = argument.clone();
        given.push(values.prop_map(move |value| (argument.clone(), value)).boxed());
    }
    let windows = select(live.windows());
    let made = move |(given, window): (Vec<Given>, Times)| {
        let given =
            given.into_iter().filter_map(|(name, value)| Some((name, value.filter(|it| !it.is_null())?)));
        let mut arguments: Map<String, Value> = given.collect();
        if timed {
            arguments.extend(window.0.map(|since| ("since".to_owned(), json!(since))));
            arguments.extend(window.1.map(|until| ("until".to_owned(), json!(until))));
        }
        fit(name, &mut arguments);
        Call { tool: name, arguments }
    };
    (given, windows).prop_map(made).boxed()
}

/// An argument, and the value that it is given, where it is.
type Given = (String, Option<Value>);
/// `since` and `until`.
type Times = (Option<String>, Option<String>);

/// How often an argument is given; narrow ones less often, so that most answers say something.
fn likelihood(argument: &str) -> f64 {
    match argument {
        "limit" | "max_tokens" | "group_by" | "metric" => 0.6,
        "cursor" | "match" | "attribute" | "template" | "trace_id" => 0.15,
        _ => 0.3,
    }
}

/// The next call.
pub(super) fn next(calls: &BoxedStrategy<Call>, runner: &mut TestRunner) -> Call {
    calls.new_tree(runner).unwrap().current()
}

/// Makes arguments fit each other.
fn fit(tool: &str, arguments: &mut Map<String, Value>) {
    fit_names(arguments);
    let of_logs = arguments.get("source").is_some_and(|source| source == "logs");
    if tool == "aggregate" {
        if let Some(pair) = arguments.get_mut("group_by") {
            *pair = pair[usize::from(of_logs)].take();
        }
        if of_logs {
            arguments.remove("operation");
            let measure = arguments.get("measure").is_none_or(|it| it == "count" || it == "rate");
            if !measure {
                arguments.remove("measure");
            }
        }
    }
    if arguments.get("target").is_some_and(|target| target == "filter") {
        arguments.entry("filter").or_insert_with(|| json!("customer.region=west"));
    }
    let duration = |name: &str| arguments.get(name).and_then(Value::as_u64);
    if let (Some(least), Some(most)) = (duration("min_duration_ms"), duration("max_duration_ms"))
        && least > most
    {
        arguments.insert("min_duration_ms".to_owned(), json!(most));
        arguments.insert("max_duration_ms".to_owned(), json!(least));
    }
    if arguments.contains_key("attribute") {
        // An attribute must be there in the window, of whoever is asked about.
        for name in ["service", "since", "until"] {
            arguments.remove(name);
        }
    }
    if arguments.contains_key("at") {
        arguments.remove("until");
    }
    if tool == "query_metrics" && !arguments.contains_key("metric") {
        // They are about one metric.
        ["function", "group_by", "filter", "step_s"].iter().for_each(|name| drop(arguments.remove(*name)));
    }
    if tool == "investigation" {
        fit_deed(arguments);
    }
}

/// Leaves what the action takes: what is written begins an investigation or belongs to one.
fn fit_deed(arguments: &mut Map<String, Value>) {
    if arguments["action"] == "write" {
        arguments.entry("text").or_insert_with(|| json!("a note"));
        match arguments.contains_key("id") {
            true => drop(arguments.remove("title")),
            false => drop(arguments.entry("title").or_insert_with(|| json!("a title"))),
        }
        return;
    }
    ["title", "text", "evidence"].iter().for_each(|name| drop(arguments.remove(*name)));
    if arguments["action"] == "export" {
        arguments.entry("id").or_insert_with(|| json!(1));
    }
}

/// Takes apart the names that were drawn together.
fn fit_names(arguments: &mut Map<String, Value>) {
    let pair = |arguments: &mut Map<String, Value>, name: &str| {
        let value = arguments.remove(name)?;
        Some((value[0].clone(), value[1].clone()))
    };
    if let Some((metric, function)) = pair(arguments, "metric") {
        arguments.insert("metric".to_owned(), metric);
        arguments.insert("function".to_owned(), function);
    }
    if let Some((caller, service)) = pair(arguments, "caller") {
        arguments.insert("caller".to_owned(), caller);
        arguments.insert("service".to_owned(), service);
    }
    if let Some((service, operation)) = pair(arguments, "operation") {
        arguments.remove("caller");
        arguments.insert("operation".to_owned(), operation);
        arguments.insert("service".to_owned(), service);
    }
}
