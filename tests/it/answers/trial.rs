//! A server under trial: calls are put to it, answers are looked at, and what they offer is followed. What is broken is
//! collected, so that one run tells of all of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::arguments::Live;
use super::checks::{self, Broken, shown};
use super::data::TENANT;
use crate::client::{call, rows};
use crate::server::Server;

/// Tools with pages: the table that goes on, and the column that tells its rows apart, where there is one.
pub(super) const PAGED: [(&str, &str, Option<&str>); 15] = [
    ("root_cause_analysis", "causes", Some("rank")),
    ("get_service_health", "services", None),
    ("what_changed", "changes", Some("rank")),
    ("impact_analysis", "affected", None),
    ("compare_attributes", "values", None),
    ("get_anomaly_timeline", "anomalies", Some("id")),
    ("get_service_map", "edges", None),
    ("list_services", "services", None),
    ("search_traces", "traces", Some("trace_id")),
    ("trace_graph", "spans", Some("span_id")),
    ("get_log_patterns", "patterns", Some("template")),
    ("search_logs", "logs", Some("body")),
    ("query_metrics", "metrics", None),
    ("aggregate", "groups", None),
    ("describe_data", "attributes", None),
];
/// Most pages of one question.
const PAGES_MAX: usize = 80;
/// Offered calls that are followed, and pieces of evidence that are opened, at most.
const FOLLOWED_MAX: usize = 150;
const OPENED_MAX: usize = 80;
/// Examples told of one broken rule.
const EXAMPLES_MAX: usize = 4;

/// A call of a tool.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) tool: &'static str,
    pub(super) arguments: Map<String, Value>,
}

impl Call {
    pub(super) fn new(tool: &str, arguments: Map<String, Value>) -> Option<Self> {
        let tool = mcp_tools::TOOL_NAMES.into_iter().find(|known| *known == tool)?;
        Some(Self { tool, arguments })
    }

    /// The size of the answer that is asked for.
    pub(super) fn tokens_max(&self) -> usize {
        let given = self.arguments.get("max_tokens").and_then(Value::as_u64);
        given.unwrap_or(mcp_tools::MAX_TOKENS_DEFAULT.into()) as usize
    }

    fn told(&self) -> String {
        format!("{} {}", self.tool, Value::Object(self.arguments.clone()))
    }

    /// Whether the window is written out, so that the same question has the same answer later on.
    fn is_fixed(&self) -> bool {
        let is_moment =
            |name: &str| self.arguments.get(name).and_then(Value::as_str).map(|text| text.contains(':'));
        is_moment("until") == Some(true) && is_moment("since") != Some(false)
    }

    fn with(&self, name: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.arguments.insert(name.to_owned(), value);
        changed
    }

    async fn put(&self, server: &Server) -> Value {
        call(server, TENANT, self.tool, Value::Object(self.arguments.clone())).await
    }
}

/// Puts another method of the protocol than `tools/call`.
pub(super) async fn put(server: &Server, method: &str, name: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let request = reqwest::Client::new()
        .post(format!("http://{}/mcp", server.http))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("x-tenant-id", TENANT)
        .body(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string());
    let request = if name.is_empty() { request } else { request.header("mcp-name", name) };
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method}: {error}: {text}"))
}

pub(super) struct Trial<'a> {
    server: &'a Server,
    /// By rule: how often it was broken, and examples.
    broken: BTreeMap<&'static str, (usize, Vec<String>)>,
    followed: BTreeSet<String>,
    opened: BTreeSet<String>,
    calls: usize,
}

impl<'a> Trial<'a> {
    pub(super) const fn new(server: &'a Server) -> Self {
        Self { server, broken: BTreeMap::new(), followed: BTreeSet::new(), opened: BTreeSet::new(), calls: 0 }
    }

    /// Puts a call, looks at its answer, and follows everything that the answer offers.
    pub(super) async fn check(&mut self, call: &Call) {
        let Some((text, answer)) = self.answer(call).await else { return };
        if call.is_fixed() {
            self.again(call, &text).await;
        }
        self.follow(call, &answer).await;
        self.open(call, &answer).await;
        if let Some(cursor) = answer["cursor"].as_str() {
            self.turn(call, &answer, cursor).await;
        }
    }

    /// The text and the content of an answer; none where there was none.
    async fn answer(&mut self, call: &Call) -> Option<(String, Value)> {
        self.calls += 1;
        let message = call.put(self.server).await;
        let result = &message["result"];
        if !message["error"].is_null() || result["isError"] == true {
            let text = result["content"][0]["text"].as_str().unwrap_or_default();
            let told = if text.is_empty() { message.to_string() } else { text.to_owned() };
            self.note(&call.told(), vec![("a valid call is answered", shown(&told))]);
            self.note(&call.told(), checks::refusal(text));
            return None;
        }
        let (answer, broken) = checks::form(call, result);
        self.note(&call.told(), broken);
        if answer.is_null() {
            return None;
        }
        self.note(&call.told(), checks::content(call, &answer));
        Some((result["content"][0]["text"].as_str().unwrap_or_default().to_owned(), answer))
    }

    /// The same question has the same answer. What upkeep finds every half a minute may change it once, not twice.
    async fn again(&mut self, call: &Call, text: &str) {
        let Some((second, _)) = self.answer(call).await else { return };
        if second == text {
            return;
        }
        for _ in 0..3 {
            let Some((next, _)) = self.answer(call).await else { return };
            if next != second {
                let at = next.bytes().zip(second.bytes()).take_while(|(one, other)| one == other).count();
                let around = |text: &str| {
                    shown(&text.chars().skip(at.saturating_sub(120)).take(240).collect::<String>())
                };
                let told = format!("at {at}: {} — {}", around(&second), around(&next));
                self.note(&call.told(), vec![("the same question has the same answer", told)]);
                return;
            }
        }
    }

    /// Every call that is offered is answered.
    async fn follow(&mut self, call: &Call, answer: &Value) {
        for next in answer["next"].as_array().into_iter().flatten() {
            let arguments = next["arguments"].as_object().cloned().unwrap_or_default();
            let tool = next["tool"].as_str().unwrap_or_default();
            let Some(offered) = Call::new(tool, arguments) else {
                self.note(&call.told(), vec![("an offered call is valid", shown(tool))]);
                continue;
            };
            if self.followed.len() >= FOLLOWED_MAX || !self.followed.insert(offered.told()) {
                continue;
            }
            if self.answer(&offered).await.is_none() {
                let told = shown(&offered.told());
                self.note(&call.told(), vec![("an offered call is valid", told)]);
            }
        }
    }

    /// Everything that an answer rests on can be opened again, by its tool and as a resource.
    async fn open(&mut self, call: &Call, answer: &Value) {
        for id in handles(answer) {
            if self.opened.len() >= OPENED_MAX || !self.opened.insert(id.clone()) {
                continue;
            }
            let mut arguments = Map::from_iter([("ids".to_owned(), json!(id))]);
            for name in ["since", "until"] {
                arguments.extend(call.arguments.get(name).map(|value| (name.to_owned(), value.clone())));
            }
            let opening = Call { tool: "get_evidence", arguments };
            let opened = self.answer(&opening).await.map(|(_, opened)| opened).unwrap_or_default();
            self.note(&call.told(), is_open("get_evidence", &id, &opened));
            let uri = format!("otelcontext://evidence/{}", percent_encoded(&id));
            let message = put(self.server, "resources/read", &uri, json!({"uri": uri})).await;
            let text = message["result"]["contents"][0]["text"].as_str().unwrap_or_default();
            let read: Value = serde_json::from_str(text).unwrap_or_default();
            self.note(&call.told(), is_open("resources/read", &id, &read));
            self.note(&call.told(), checks::plain(&read));
        }
    }

    /// The page that a cursor leads to has other rows.
    async fn turn(&mut self, call: &Call, answer: &Value, cursor: &str) {
        let Some((_, second)) = self.answer(&call.with("cursor", json!(cursor))).await else { return };
        let Some((table, Some(column))) = paged(call.tool) else { return };
        let first = ids(answer, table, column);
        let both: Vec<String> =
            ids(&second, table, column).into_iter().filter(|id| first.contains(id)).collect();
        if call.is_fixed() && !both.is_empty() {
            let told = format!("after {cursor}: {}", shown(&both.join(", ")));
            self.note(&call.told(), vec![("pages do not overlap", told)]);
        }
    }

    /// Turns the pages of a question until they end: each row comes once, and as many as there are said to be.
    pub(super) async fn walk(&mut self, call: &Call) {
        let (table, column) = paged(call.tool).unwrap();
        let (mut seen, mut rows_seen, mut total) = (BTreeSet::new(), 0, None);
        let mut page = call.clone();
        for _ in 0..PAGES_MAX {
            let Some((_, answer)) = self.answer(&page).await else { return };
            rows_seen += rows(&answer, table).len();
            let own = column.map(|column| ids(&answer, table, column)).unwrap_or_default();
            let again: Vec<String> = own.into_iter().filter(|id| !seen.insert(id.clone())).collect();
            if !again.is_empty() {
                self.note(&page.told(), vec![("pages do not overlap", shown(&again.join(", ")))]);
            }
            total = total.or_else(|| said(&answer));
            let Some(cursor) = answer["cursor"].as_str() else {
                if total.is_some_and(|total| total != rows_seen) {
                    let told = format!("{rows_seen} rows of {total:?} in `{table}`");
                    self.note(&call.told(), vec![("pages have all rows", told)]);
                }
                return;
            };
            page = call.with("cursor", json!(cursor));
        }
        self.note(&call.told(), vec![("pages end", format!("{rows_seen} rows on {PAGES_MAX} pages"))]);
    }

    /// Asks for what is not there, with names close to those that are; nothing but names comes back.
    pub(super) async fn refuse(&mut self, method: &str, name: &str, params: Value) {
        self.calls += 1;
        let message = put(self.server, method, name, params.clone()).await;
        let said = [&message["result"]["content"][0]["text"], &message["error"]["message"]];
        let Some(text) = said.into_iter().find_map(Value::as_str).filter(|_| is_refused(&message)) else {
            let told = shown(&message.to_string());
            self.note(&format!("{method} {params}"), vec![("what is not there is refused", told)]);
            return;
        };
        self.note(&format!("{method} {params}"), checks::refusal(text));
    }

    /// Notes what was broken by what was asked.
    pub(super) fn note(&mut self, asked: &str, broken: Vec<Broken>) {
        for (rule, how) in broken {
            let (count, examples) = self.broken.entry(rule).or_default();
            *count += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(format!("  {}\n    {how}", shown(asked)));
            }
        }
    }

    /// Fails where anything was broken.
    pub(super) fn end(self, seed: u64) {
        println!(
            "{} calls, of them {} offered ones; {} pieces of evidence were opened",
            self.calls,
            self.followed.len(),
            self.opened.len()
        );
        let rules = self.broken.iter();
        let told: Vec<String> = rules
            .map(|(rule, (count, examples))| format!("{rule}: broken {count} times\n{}", examples.join("\n")))
            .collect();
        assert!(told.is_empty(), "OTELCONTEXT_TEST_SEED={seed} asks the same again\n\n{}", told.join("\n\n"));
        assert!(!self.followed.is_empty() && !self.opened.is_empty(), "nothing was offered");
    }
}

/// The call that a walk over all pages begins with.
pub(super) fn walk_of(tool: &'static str, live: &Live) -> Call {
    let mut arguments = live.needed(tool);
    let limit = match tool {
        "search_traces" | "search_logs" => 60,
        "get_log_patterns" | "compare_attributes" | "what_changed" | "describe_data" => 7,
        _ => 2,
    };
    arguments.insert("limit".to_owned(), json!(limit));
    arguments.insert("max_tokens".to_owned(), json!(20_000));
    arguments.insert("since".to_owned(), json!(live.begin()));
    arguments.insert("until".to_owned(), json!(live.end()));
    Call { tool, arguments }
}

fn is_refused(message: &Value) -> bool {
    message["error"].is_object() || message["result"]["isError"] == true
}

fn paged(tool: &str) -> Option<(&'static str, Option<&'static str>)> {
    PAGED.into_iter().find(|(paged, ..)| *paged == tool).map(|(_, table, column)| (table, column))
}

/// What tells the rows of a table apart; cells that were cut to fit do not.
fn ids(answer: &Value, table: &str, column: &str) -> Vec<String> {
    let cells = rows(answer, table).into_iter().map(|row| row[column].to_string());
    cells.filter(|cell| !cell.contains('…')).collect()
}

/// How many rows an answer says there are, where it knows.
fn said(answer: &Value) -> Option<usize> {
    let (_, total) = answer["shown"].as_str()?.split_once(" of ")?;
    total.split(' ').next()?.parse().ok()
}

/// The handles of an answer: of its evidence, and in the tables' columns of that name.
fn handles(answer: &Value) -> Vec<String> {
    let own = answer["evidence"].as_array().into_iter().flatten().map(|it| it["id"].clone());
    let tables = answer["tables"].as_array().into_iter().flatten();
    let names = tables.filter_map(|table| table["name"].as_str()).filter(|name| *name != "evidence");
    let cells = names.flat_map(|name| rows(answer, name)).map(|row| row["evidence"].clone());
    let is_cut = answer["warnings"].to_string().contains("long texts cut");
    let texts = own.chain(cells).flat_map(|value| match value {
        Value::Array(values) => values,
        other => vec![other],
    });
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .filter(|text| !is_cut || !text.ends_with('…'))
        .collect()
}

fn is_open(door: &str, id: &str, answer: &Value) -> Vec<Broken> {
    let found = rows(answer, "evidence");
    let is_found = found.len() == 1 && found[0]["state"].as_str().is_some_and(|state| state != "gone");
    if is_found {
        return Vec::new();
    }
    let told = format!("{door} of {}: {}", shown(id), shown(&answer["tables"].to_string()));
    vec![("evidence can be opened", told)]
}

/// One segment of an address (RFC 3986, section 2.1).
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encoded).collect()
}
