//! Plants every kind of fault in several systems, and asks a fresh server about each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::hurt::hurt;
pub use super::judge::{Impact, Outcome};
use super::plant::{Planted, plant};
use super::play::{FAULTY, WELL, play};
use crate::fault::Kind;
use crate::incidents::evaluate::{instant, table};
use crate::incidents::server::Server;
use crate::run::unix_nanos;
use crate::send::{self, Protocol, Sender};

/// What is asked about where only something recent is told.
const RECENT: Duration = Duration::from_secs(30 * 60);
/// Rows of an answer that are read.
const ROWS: u64 = 500;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's program.
    pub program: PathBuf,
    /// Runs of each kind of fault, and twice as many without.
    pub runs: u64,
    /// Repeats the suite.
    pub seed: u64,
    /// Only these kinds, by name, `quiet` among them; all where there are none.
    pub only: Vec<String>,
}

/// All answers.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// By kind, run and way of asking.
    pub outcomes: Vec<Outcome>,
}

/// Runs the suite; `each` is shown every answer.
///
/// # Errors
/// When the server does not start, or refuses something.
pub async fn run(options: &Options, mut each: impl FnMut(&Outcome)) -> Result<Report> {
    let mut report = Report::default();
    for (kind, seed) in systems(options) {
        let outcomes = one(options, kind, seed).await;
        let outcomes =
            outcomes.with_context(|| format!("{}, seed {seed}", kind.map_or("quiet", Kind::name)))?;
        outcomes.iter().for_each(&mut each);
        report.outcomes.extend(outcomes);
    }
    Ok(report)
}

/// The kinds of faults that are wanted, each as often as it is, with a seed for each run.
pub(super) fn systems(options: &Options) -> Vec<(Option<Kind>, u64)> {
    let kinds = Kind::ALL.into_iter().map(Some).chain([None, None]).enumerate();
    let is_wanted = |kind: &Option<Kind>| {
        let name = kind.map_or("quiet", Kind::name);
        options.only.is_empty() || options.only.iter().any(|only| only == name)
    };
    let wanted = kinds.filter(|(_, kind)| is_wanted(kind));
    let seed = |index: usize, run: u64| options.seed * 10_007 + index as u64 * 1_009 + run;
    wanted.flat_map(|(index, kind)| (0..options.runs).map(move |run| (kind, seed(index, run)))).collect()
}

/// A fresh server, and a system whose telemetry it has: what is planted in it, and until when it was played.
pub(super) async fn played(
    options: &Options,
    kind: Option<Kind>,
    seed: u64,
) -> Result<(Planted, Server, u64)> {
    let now_ns = unix_nanos();
    let from_ns = now_ns - FAULTY.as_nanos() as u64;
    let planted = plant(kind, seed, from_ns).context("no system has a place for the fault")?;
    let server = Server::start(&options.program).await?;
    let sender = Sender::new(&send::Options {
        endpoint: server.otlp.clone(),
        protocol: Protocol::Http,
        tenant: String::new(),
        api_key: String::new(),
        timeout: Duration::from_secs(30),
        retry_for: Duration::from_secs(60),
    })?;
    play(&planted, now_ns, &sender).await?;
    server.stored().await?;
    Ok((planted, server, now_ns))
}

async fn one(options: &Options, kind: Option<Kind>, seed: u64) -> Result<Vec<Outcome>> {
    let (planted, server, now_ns) = played(options, kind, seed).await?;
    let mut outcomes = Vec::new();
    for (is_recent, long) in [(false, FAULTY), (true, RECENT)] {
        let window = json!({
            "since": instant((now_ns - long.as_nanos() as u64).try_into()?)?,
            "until": instant(now_ns.try_into()?)?,
            "max_tokens": 20_000,
        });
        let content = server.ask("root_cause_analysis", window).await?;
        outcomes.push(outcome(&planted, is_recent, &content));
    }
    if let Some(outcome) = outcomes.first_mut() {
        outcome.impact = impact(&planted, now_ns, &server).await?;
    }
    Ok(outcomes)
}

fn outcome(planted: &Planted, is_recent: bool, content: &Value) -> Outcome {
    let rows = table(content, "causes");
    let text = |row: &Value, column: usize| row[column].as_str().unwrap_or_default().to_owned();
    let first = rows.first().copied().unwrap_or(&Value::Null);
    Outcome {
        kind: planted.kind.map_or("quiet", Kind::name).to_owned(),
        seed: planted.seed,
        is_recent,
        wanted: planted.truth.names.clone(),
        wanted_levels: planted.truth.levels.iter().map(|level| (*level).to_owned()).collect(),
        ranking: rows.iter().map(|row| text(row, 1)).collect(),
        said: text(first, 2),
        level: [text(first, 4), text(first, 5)],
        confidence: first[3].as_f64().unwrap_or(0.0),
        abstains: content["verdict"] == "insufficient_evidence",
        impact: None,
    }
}

/// Asks who is hurt by what is wrong; not where the culprit is whom users call.
async fn impact(planted: &Planted, now_ns: u64, server: &Server) -> Result<Option<Impact>> {
    let Some(fault) = planted.fault.as_ref().filter(|fault| fault.kind != Kind::MissingTraffic) else {
        return Ok(None);
    };
    let node = fault.culprit(&planted.topology);
    let truth = hurt(planted, &node);
    let ask = json!({
        "service": node,
        "depth": 10,
        "limit": ROWS,
        "since": instant((now_ns - (WELL + FAULTY).as_nanos() as u64).try_into()?)?,
        "until": instant(now_ns.try_into()?)?,
        "max_tokens": 20_000,
    });
    let content = server.ask("impact_analysis", ask).await?;
    let told: std::collections::BTreeSet<_> = table(&content, "affected")
        .into_iter()
        .map(|row| [&row[0], &row[1]].map(|cell| cell.as_str().unwrap_or_default().to_owned()))
        .map(|[service, operation]| (service, operation))
        .filter(|(service, _)| *service != node)
        .collect();
    let words = |it: &(String, String)| format!("{} {}", it.0, it.1);
    Ok(Some(Impact {
        right: told.intersection(&truth).count(),
        wrong: told.difference(&truth).map(words).collect(),
        missed: truth.difference(&told).map(words).collect(),
    }))
}
