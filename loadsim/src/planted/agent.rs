//! An agent without a model: it knows the list of tools alone, begins where that says so, and follows the calls that answers
//! offer. What it finds, and what it costs in calls and tokens, is what the tools give to any agent.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::judge::calibration;
use super::plant::Planted;
use super::suite::{Options, played, systems};
use crate::fault::{Kind, node_name};
use crate::incidents::evaluate::table;
use crate::incidents::server::Server;
use crate::topology::Call;

/// How the description of the tool begins with which an agent should begin.
const START: &str = "Start here";
/// Calls of one conversation.
const CALLS_MAX: usize = 3;
/// Tokens of all its answers.
const TOKENS_MAX: usize = 8_000;
/// What it is told: since when something may be wrong.
const SINCE: &str = "30m";

/// What became of one conversation.
#[derive(Debug, Clone, Serialize)]
pub struct Conversation {
    /// The kind of fault; `quiet` where there is none.
    pub kind: String,
    /// Repeats the run.
    pub seed: u64,
    /// The nodes of which one is right.
    pub wanted: Vec<String>,
    /// The tools that were called, in order.
    pub calls: Vec<String>,
    /// Tokens of the answers, at 3.6 bytes each.
    pub tokens: usize,
    /// The causes that were named, the most probable first.
    pub ranking: Vec<String>,
    /// The confidence in the first.
    pub confidence: f64,
    /// True where no cause was named that is to be acted on.
    pub abstains: bool,
    /// Whether each step of the path from the first cause to the symptom is a call that there is.
    pub is_grounded: bool,
}

impl Conversation {
    /// True where a right node was named first, within the calls and tokens.
    pub fn is_right(&self) -> bool {
        !self.abstains
            && self.ranking.first().is_some_and(|first| self.wanted.contains(first))
            && self.calls.len() <= CALLS_MAX
            && self.tokens <= TOKENS_MAX
    }

    /// True for a run without fault.
    pub const fn is_quiet(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said =
            if self.abstains { "nothing" } else { self.ranking.first().map_or("nothing", String::as_str) };
        write!(
            f,
            "{}, seed {}: wanted {:?}, named {said} by {:?}, {} tokens",
            self.kind, self.seed, self.wanted, self.calls, self.tokens
        )
    }
}

/// All conversations.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// By kind and run.
    pub conversations: Vec<Conversation>,
}

/// Has the agent look at every system of the suite; `each` is shown every conversation.
///
/// # Errors
/// When the server does not start, or refuses something.
pub async fn run(options: &Options, mut each: impl FnMut(&Conversation)) -> Result<Report> {
    let mut report = Report::default();
    for (kind, seed) in systems(options) {
        let name = kind.map_or("quiet", Kind::name);
        let (planted, server, _) =
            played(options, kind, seed).await.with_context(|| format!("{name}, seed {seed}"))?;
        let conversation = talk(&planted, &server).await.with_context(|| format!("{name}, seed {seed}"))?;
        each(&conversation);
        report.conversations.push(conversation);
    }
    Ok(report)
}

async fn talk(planted: &Planted, server: &Server) -> Result<Conversation> {
    let tools = server.tools().await?;
    let begins = |tool: &&Value| tool["description"].as_str().is_some_and(|text| text.starts_with(START));
    let first = tools.iter().find(begins).or_else(|| tools.first()).context("there are no tools")?;
    let mut found = Conversation {
        kind: planted.kind.map_or("quiet", Kind::name).to_owned(),
        seed: planted.seed,
        wanted: planted.truth.names.clone(),
        calls: Vec::new(),
        tokens: 0,
        ranking: Vec::new(),
        confidence: 0.0,
        abstains: true,
        is_grounded: false,
    };
    let mut next = Some((first["name"].as_str().unwrap_or_default().to_owned(), json!({"since": SINCE})));
    while let Some((tool, arguments)) = next.filter(|_| found.calls.len() < CALLS_MAX) {
        let answer = server.ask(&tool, arguments).await?;
        found.tokens += (answer.to_string().len() * 5).div_ceil(18);
        found.calls.push(tool);
        let causes = table(&answer, "causes");
        if found.ranking.is_empty() && !causes.is_empty() {
            take(&mut found, planted, &answer, &causes);
        }
        // Once there is a cause that can be acted on, one more call looks at what it does.
        let is_enough = !found.abstains && found.calls.len() > 1;
        let offered = answer["next"].as_array().and_then(|next| next.first()).filter(|_| !is_enough);
        next = offered.and_then(|it| Some((it["tool"].as_str()?.to_owned(), it["arguments"].clone())));
    }
    Ok(found)
}

/// Takes what an answer says of the cause.
fn take(found: &mut Conversation, planted: &Planted, answer: &Value, causes: &[&Value]) {
    let text = |row: &Value, column: usize| row[column].as_str().unwrap_or_default().to_owned();
    found.ranking = causes.iter().map(|row| text(row, 1)).collect();
    found.abstains = answer["verdict"] == "insufficient_evidence";
    found.confidence = causes.first().and_then(|row| row[3].as_f64()).unwrap_or(0.0);
    let columns = answer["tables"].as_array().into_iter().flatten().find(|it| it["name"] == "causes");
    let place = columns.and_then(|it| it["columns"].as_array()?.iter().position(|name| name == "path"));
    let path = place.zip(causes.first()).map(|(place, row)| text(row, place)).unwrap_or_default();
    let nodes: Vec<&str> = path.split(" -> ").collect();
    let calls = calls(planted);
    let is_call = |pair: &[&str]| {
        let [from, to] = [pair[0], pair[1]].map(str::to_owned);
        calls.contains(&(from.clone(), to.clone())) || calls.contains(&(to, from))
    };
    found.is_grounded =
        nodes.first() == found.ranking.first().map(String::as_str).as_ref() && nodes.windows(2).all(is_call);
}

/// Who calls whom in the system, databases, queues and hosts among them.
fn calls(planted: &Planted) -> BTreeSet<(String, String)> {
    let services = &planted.topology.services;
    let mut found = BTreeSet::new();
    for service in services {
        for call in service.operations.iter().flat_map(|operation| &operation.calls) {
            let to = match call {
                Call::Service { service, .. } => services[*service].name.clone(),
                other => node_name(other).unwrap_or_default(),
            };
            if let Call::Queue { service: consumer, .. } = call {
                found.insert((to.clone(), services[*consumer].name.clone()));
            }
            found.insert((service.name.clone(), to));
        }
    }
    found
}

impl Report {
    /// The figures in Markdown.
    pub fn document(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut kinds: Vec<&str> = self.conversations.iter().map(|it| it.kind.as_str()).collect();
        kinds.dedup();
        for kind in kinds {
            let own: Vec<&Conversation> = self.conversations.iter().filter(|it| it.kind == kind).collect();
            line(&mut text, kind, &own);
        }
        let faulty: Vec<&Conversation> = self.conversations.iter().filter(|it| !it.is_quiet()).collect();
        line(&mut text, "all faults", &faulty);
        let named = self.conversations.iter().filter(|it| !it.ranking.is_empty());
        let answers: Vec<(f64, bool)> = named
            .map(|it| (it.confidence, it.ranking.first().is_some_and(|first| it.wanted.contains(first))))
            .collect();
        write!(text, "\nExpected calibration error of the confidence: {:.3}.\n", calibration(&answers).1)
            .ok();
        text.push_str(
            "\n## Misses\n\n| fault | seed | right | named | calls | tokens |\n|---|---|---|---|---|---|\n",
        );
        let is_missed = |it: &&Conversation| if it.is_quiet() { !it.abstains } else { !it.is_right() };
        for it in self.conversations.iter().filter(is_missed) {
            let right = if it.is_quiet() { "nothing".to_owned() } else { it.wanted.join(" or ") };
            let named =
                if it.abstains { "nothing" } else { it.ranking.first().map_or("–", String::as_str) };
            let calls = it.calls.join(", ");
            writeln!(text, "| {} | {} | {right} | {named} | {calls} | {} |", it.kind, it.seed, it.tokens)
                .ok();
        }
        text
    }
}

fn line(text: &mut String, kind: &str, own: &[&Conversation]) {
    let count = own.len().max(1) as f64;
    let share = |is: &dyn Fn(&Conversation) -> bool| own.iter().filter(|it| is(it)).count() as f64 / count;
    let mean =
        |of: &dyn Fn(&Conversation) -> usize| own.iter().map(|it| of(it)).sum::<usize>() as f64 / count;
    let (calls, tokens) = (mean(&|it| it.calls.len()), mean(&|it| it.tokens));
    let abstained = share(&|it| it.abstains);
    let (right, grounded) = match own.iter().all(|it| it.is_quiet()) {
        true => ("–".to_owned(), "–".to_owned()),
        false => {
            let both = |it: &Conversation| it.is_right() && it.is_grounded;
            (format!("{:.2}", share(&Conversation::is_right)), format!("{:.2}", share(&both)))
        }
    };
    writeln!(
        text,
        "| {kind} | {} | {right} | {grounded} | {abstained:.2} | {calls:.1} | {tokens:.0} |",
        own.len()
    )
    .ok();
}

const HEAD: &str = "# What an agent finds without a model\n\n\
An agent that knows the list of tools alone looks at generated systems in which a fault was planted, or none. It calls the tool \
whose description says to start there, told only that something may be wrong since 30 minutes, follows the first call that the \
answer offers, and stops after three calls. A run is right where the true cause was named first within three calls and 8,000 \
tokens (3.6 bytes each); grounded, where each step of the path that was told is a call that there is. It is written by:\n\n\
```sh\n\
cargo build --release --workspace\n\
target/release/loadsim agent --server target/release/otelcontext --document docs/AGENTS.md\n\
```\n\n\
| fault | runs | right | right and grounded | abstained | calls | tokens |\n|---|---|---|---|---|---|---|\n";
