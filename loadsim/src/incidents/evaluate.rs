//! Asks a fresh server about each recorded incident, and counts how often it names the cause.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::case::Case;
use super::replay::{EndAt, Target, send};
use super::score::{Score, Truth, rank_of, truths};
use super::server::Server;

/// What is asked about in [`Way::Recent`]: so much time up to the end.
const RECENT_NS: i64 = 30 * 60 * 1_000_000_000;

/// Finds what was deployed, switched and committed.
const EVENTS: &str = "event.name:IN [deployment feature_flag.change vcs.commit]";

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of cases, with the answers beside them.
    pub folder: PathBuf,
    /// The server's program.
    pub program: PathBuf,
    /// Only cases whose name begins with one of these; all where there are none.
    pub only: Vec<String>,
    /// At which seconds of a minute the cases end: each case is sent and asked about once for each.
    pub seconds: Vec<u8>,
}

/// What the server is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The window of the fault.
    Window,
    /// The last half hour.
    Recent,
    /// The window, and the service that raised the alarm.
    Service,
}

impl Way {
    /// In a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Window => "the window of the fault",
            Self::Recent => "the last 30 minutes",
            Self::Service => "the window, and the service that raised the alarm",
        }
    }
}

/// What the server said about one case.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The case.
    pub case: String,
    /// At which second of a minute it ended.
    pub second: u8,
    /// What was told.
    pub way: Way,
    /// The service that is the cause.
    pub cause: String,
    /// The collection, the class of faults and the fault.
    pub group: [String; 3],
    /// The services that were named, the most probable first.
    pub ranking: Vec<String>,
    /// What was said of the first.
    pub said: String,
    /// The confidence in the first.
    pub confidence: f64,
    /// How far the answer goes.
    pub verdict: String,
    /// The place of the cause among them.
    pub rank: Option<usize>,
    /// Where a change is to blame: whether it was named, and its place among those that were.
    pub change: Option<Option<usize>>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank.map_or_else(|| "not".to_owned(), |rank| format!("{rank}."));
        write!(f, "{}, told {}: {} named {rank}", self.case, self.way.words(), self.cause)
    }
}

/// All answers.
#[derive(Debug, Serialize)]
pub struct Report {
    /// By case and way.
    pub answers: Vec<Answer>,
}

/// Evaluates; `each` is shown every answer.
///
/// # Errors
/// When a case cannot be read, the server does not start, or refuses something.
pub async fn evaluate(options: &Options, mut each: impl FnMut(&Answer)) -> Result<Report> {
    let truths = truths(&options.folder)?;
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|beginning| name.starts_with(beginning.as_str()))
    };
    let mut answers = Vec::new();
    for truth in truths.values().filter(|truth| wanted(&truth.id)) {
        let case = Case::open(&options.folder.join(&truth.id))?;
        for second in &options.seconds {
            let server = Server::start(&options.program).await?;
            let asked = ask(&case, truth, (&server, *second)).await.with_context(|| truth.id.clone())?;
            asked.iter().for_each(&mut each);
            answers.extend(asked);
        }
    }
    Ok(Report { answers })
}

async fn ask(case: &Case, truth: &Truth, (server, second): (&Server, u8)) -> Result<Vec<Answer>> {
    let target = Target { endpoint: server.otlp.clone(), api_key: String::new(), tenant: String::new() };
    let sent = send(case, EndAt::Second(second), &target).await?;
    server.stored().await?;
    let (from, to) = sent.fault_window_ns;
    let changes = case.changes(sent.offset_ns)?;
    if let Some(last) = changes.iter().map(|change| change.at_ns).filter(|at_ns| *at_ns < to).max() {
        // The full-text index, by which they are found, comes a moment behind the store.
        let ask = json!({"query": EVENTS, "since": instant(last)?, "until": instant(to)?});
        server.found("search_logs", &ask).await?;
    }
    let window = |from: i64| {
        Ok::<_, anyhow::Error>(json!({"since": instant(from)?, "until": instant(to)?, "max_tokens": 20_000}))
    };
    let mut ways = vec![(Way::Window, window(from)?), (Way::Recent, window(to - RECENT_NS)?)];
    if let Some(alert) = &case.alert {
        let mut arguments = window(from)?;
        arguments["service"] = Value::String(alert.service.clone());
        ways.push((Way::Service, arguments));
    }
    let mut answers = Vec::new();
    for (way, arguments) in ways {
        let content = server.ask("root_cause_analysis", arguments).await?;
        answers.push(answer(truth, (way, second), &content));
    }
    Ok(answers)
}

fn answer(truth: &Truth, (way, second): (Way, u8), content: &Value) -> Answer {
    let rows = table(content, "causes");
    let name = |row: &&Value| row[1].as_str().unwrap_or_default().to_owned();
    let ranking: Vec<String> = rows.iter().map(name).collect();
    let first = rows.first().copied().unwrap_or(&Value::Null);
    Answer {
        case: truth.id.clone(),
        second,
        way,
        cause: truth.root_cause_service.clone(),
        group: [&truth.suite, &truth.fault_class, &truth.fault_type].map(Clone::clone),
        rank: rank_of(&truth.root_cause_service, &ranking),
        change: truth.root_cause_commit.as_deref().filter(|revision| *revision != "none").map(|revision| {
            // A deployment and the commit that it carries are one change.
            let changes: Vec<String> = table(content, "changes")
                .iter()
                .filter_map(|row| row[5].as_str().map(str::to_owned))
                .collect();
            rank_of(revision, &changes)
        }),
        ranking,
        said: first[2].as_str().unwrap_or_default().to_owned(),
        confidence: first[3].as_f64().unwrap_or(0.0),
        verdict: content["verdict"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The rows of a table of an answer.
pub(crate) fn table<'a>(content: &'a Value, name: &str) -> Vec<&'a Value> {
    let tables = content["tables"].as_array().into_iter().flatten();
    let rows = tables.filter(|table| table["name"] == name).filter_map(|table| table["rows"].as_array());
    rows.flatten().collect()
}

pub(crate) fn instant(nanoseconds: i64) -> Result<String> {
    Ok(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())?.format(&Rfc3339)?)
}

impl Report {
    /// The ways in which was asked.
    pub(super) fn ways(&self) -> Vec<Way> {
        let mut ways: Vec<Way> = self.answers.iter().map(|answer| answer.way).collect();
        ways.sort_unstable();
        ways.dedup();
        ways
    }

    /// Scores by collection, and by collection and class where it has several.
    pub(super) fn scores(&self, way: Way) -> BTreeMap<String, Score> {
        let mut ranks: BTreeMap<String, Vec<Option<usize>>> = BTreeMap::new();
        for answer in self.answers.iter().filter(|answer| answer.way == way) {
            let [suite, class, _] = &answer.group;
            for group in [suite.clone(), format!("{suite} / {class}")] {
                ranks.entry(group).or_default().push(answer.rank);
            }
        }
        ranks.into_iter().map(|(group, ranks)| (group, Score::of(&ranks))).collect()
    }
}
