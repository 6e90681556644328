//! `loadsim`: seeded telemetry over real OTLP.

mod play;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use loadsim::accuracy;
use loadsim::compare;
use loadsim::conformance::{self, Level};
use loadsim::graph;
use loadsim::incidents::evaluate;
use loadsim::incidents::replay::{self, EndAt, Target};
use loadsim::oracle::check::{self, Stored};
use loadsim::planted::{agent, suite};
use serde_json::Value;

use crate::play::Play;

/// At which seconds of a minute recorded incidents end unless others are given.
const SECONDS: [u8; 3] = [0, 20, 40];

/// Plays the telemetry of a seeded system of services at a fixed rate and accounts for every item.
#[derive(Debug, Parser)]
#[command(name = "loadsim", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    play: Play,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tries the rules of OTLP on a server: requests from the suite's cases, good and bad, and what has to come of each.
    Conformance(Conformance),
    /// Compares ledgers with what is stored: everything acknowledged present, once, unaltered, with its tenant.
    Check(Check),
    /// Sends a recorded incident as OTLP, so that it ends now, and prints its windows as JSON.
    Replay(Replay),
    /// Sends each recorded incident of a folder to a fresh server, asks it for the cause over MCP, and scores the answers.
    Evaluate(Evaluate),
    /// Plants faults of every kind in generated systems, asks a fresh server about each over MCP, and scores the answers.
    Plant(Plant),
    /// Has an agent without a model look at the same systems with the tools that there are, and scores what it finds.
    Agent(Plant),
    /// Measures recorded incidents, planted faults and log templates, and writes the document about them.
    Accuracy(Accuracy),
    /// Prints the figures of two reports side by side, and the ratio of the second's to the first's.
    Compare(Compare),
    /// Draws how runs went over time, from their reports: spans acknowledged, p99, and the server's cores, memory and disk.
    Graph(Graph),
}

#[derive(Debug, Args)]
struct Compare {
    /// What a run wrote with --report.
    first: PathBuf,
    /// What another run wrote.
    second: PathBuf,
}

#[derive(Debug, Args)]
struct Graph {
    /// What runs wrote with --report; each is a line in every panel.
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// The drawing to write.
    #[arg(long)]
    svg: PathBuf,
}

#[derive(Debug, Args)]
struct Accuracy {
    /// The folder of the data: rca/dev and loghub/dev in it.
    #[arg(long)]
    data: PathBuf,
    /// The server's program.
    #[arg(long)]
    server: PathBuf,
    /// The document to write.
    #[arg(long)]
    document: PathBuf,
    /// At which second of a minute recorded incidents end; may be given several times.
    #[arg(long, default_values_t = SECONDS, value_parser = clap::value_parser!(u8).range(..60))]
    second: Vec<u8>,
    /// Systems for each kind of planted fault; twice as many without a fault.
    #[arg(long, default_value_t = 6)]
    runs: u64,
    /// Repeats the planted faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Plant {
    /// The server's program.
    #[arg(long)]
    server: PathBuf,
    /// Systems for each kind of fault; twice as many without a fault.
    #[arg(long, default_value_t = 6)]
    runs: u64,
    /// Repeats a suite.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this kind of fault, or quiet; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Writes the tables in Markdown.
    #[arg(long)]
    document: Option<PathBuf>,
    /// Writes the answers as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Replay {
    /// The folder of the case.
    case: PathBuf,
    /// Where OTLP/HTTP is, as http://host:port.
    #[arg(long, default_value = "http://localhost:4318")]
    endpoint: String,
    /// When the incident ends: now, keep (as it was recorded), or seconds since 1970.
    #[arg(long, default_value = "now")]
    end_at: EndAt,
    /// Tenant to send as; the server's default when not given.
    #[arg(long, default_value = "")]
    tenant_id: String,
    /// The server's key.
    #[arg(long, env = "API_KEY", default_value = "", hide_env_values = true)]
    api_key: String,
}

#[derive(Debug, Args)]
struct Evaluate {
    /// The folder of cases, with their answers in truth*.json.
    folder: PathBuf,
    /// The server's program.
    #[arg(long)]
    server: PathBuf,
    /// Only cases whose name begins with this; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// At which second of a minute the incidents end, for time is counted in buckets; may be given several times.
    #[arg(long, default_values_t = SECONDS, value_parser = clap::value_parser!(u8).range(..60))]
    second: Vec<u8>,
    /// Writes the tables in Markdown.
    #[arg(long)]
    document: Option<PathBuf>,
    /// Writes the answers as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Check {
    /// What a run wrote with --ledger; may be given several times.
    #[arg(long, required = true)]
    ledger: Vec<PathBuf>,
    /// OTLP/JSON lines of one tenant, as `otelcontext export` and the Collector's file exporter write them, as TENANT=FILE;
    /// =FILE for what was sent without a tenant. Give every signal that was sent.
    #[arg(long, required = true, value_parser = stored)]
    stored: Vec<Stored>,
    /// Writes the verdict as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Conformance {
    /// Where OTLP/HTTP is, as http://host:port.
    #[arg(long, default_value = "http://localhost:4318")]
    endpoint: String,
    /// Where OTLP/gRPC is, as http://host:port; port 4317 of the endpoint's host when not given.
    #[arg(long)]
    grpc_endpoint: Option<String>,
    /// The server's key.
    #[arg(long, env = "API_KEY", default_value = "", hide_env_values = true)]
    api_key: String,
    /// Tenant to send as; the server's default when not given.
    #[arg(long, default_value = "")]
    tenant_id: String,
    /// Only cases whose group or name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only rules worded at least so: must, should, or robust for all.
    #[arg(long, default_value = "robust", value_parser = ["must", "should", "robust"])]
    level: String,
    /// The base URL of an otelcontext's API, to count what was stored; it must have no tenant but its default.
    #[arg(long)]
    read_back: Option<String>,
    /// Lists the cases and sends nothing.
    #[arg(long)]
    list: bool,
    /// Writes the outcomes as JSON.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn stored(text: &str) -> Result<Stored, String> {
    let (tenant, path) = text.split_once('=').ok_or("what is stored is given as TENANT=FILE")?;
    Ok(Stored { tenant: tenant.to_owned(), path: path.into() })
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments { command: Some(Command::Conformance(arguments)), .. } => conform(arguments).await,
        Arguments { command: Some(Command::Check(arguments)), .. } => check(&arguments),
        Arguments { command: Some(Command::Replay(arguments)), .. } => replay(arguments).await,
        Arguments { command: Some(Command::Evaluate(arguments)), .. } => evaluate(arguments).await,
        Arguments { command: Some(Command::Plant(arguments)), .. } => plant(arguments).await,
        Arguments { command: Some(Command::Agent(arguments)), .. } => agent(arguments).await,
        Arguments { command: Some(Command::Accuracy(arguments)), .. } => accuracy(arguments).await,
        Arguments { command: Some(Command::Compare(arguments)), .. } => compare(&arguments),
        Arguments { command: Some(Command::Graph(arguments)), .. } => graph(&arguments),
        Arguments { command: None, play } => play::play(play).await,
    }
}

/// Runs the suite; fails unless every case passes.
async fn conform(arguments: Conformance) -> Result<()> {
    if arguments.list {
        print!("{}", conformance::list()?);
        return Ok(());
    }
    let http = address(&arguments.endpoint)?;
    let grpc = match &arguments.grpc_endpoint {
        Some(url) => address(url)?,
        None => format!("{}:4317", http.rsplit_once(':').map_or(http.as_str(), |(host, _)| host)),
    };
    let level = match arguments.level.as_str() {
        "must" => Level::Must,
        "should" => Level::Should,
        _ => Level::Robust,
    };
    let options = conformance::Options {
        http,
        grpc,
        api_key: arguments.api_key,
        tenant: arguments.tenant_id,
        only: arguments.only,
        level,
        read_back: arguments.read_back,
    };
    let report = conformance::run(&options, |outcome| {
        if !outcome.faults.is_empty() {
            eprintln!("failed: {}/{}", outcome.group, outcome.name);
        }
    })
    .await?;
    print!("{}", report.text());
    if let Some(path) = arguments.report {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| path.display().to_string())?;
    }
    let failed = report.failed().count();
    anyhow::ensure!(failed == 0, "{failed} of {} executions failed", report.outcomes.len());
    Ok(())
}

async fn replay(arguments: Replay) -> Result<()> {
    let Replay { case, endpoint, end_at, tenant_id: tenant, api_key } = arguments;
    let sent = replay::replay(&case, end_at, &Target { endpoint, api_key, tenant }).await?;
    println!("{}", serde_json::to_string_pretty(&sent)?);
    Ok(())
}

async fn evaluate(arguments: Evaluate) -> Result<()> {
    let options = evaluate::Options {
        folder: arguments.folder,
        program: std::path::absolute(&arguments.server)?,
        only: arguments.only,
        seconds: arguments.second,
    };
    let report = evaluate::evaluate(&options, |answer| eprintln!("{answer}")).await?;
    write(&report.document(), &report, arguments.document, arguments.report)
}

async fn plant(arguments: Plant) -> Result<()> {
    let report = suite::run(&planting(&arguments)?, |outcome| eprintln!("{outcome}")).await?;
    write(&report.document(), &report, arguments.document, arguments.report)
}

async fn agent(arguments: Plant) -> Result<()> {
    let report = agent::run(&planting(&arguments)?, |conversation| eprintln!("{conversation}")).await?;
    write(&report.document(), &report, arguments.document, arguments.report)
}

fn planting(arguments: &Plant) -> Result<suite::Options> {
    Ok(suite::Options {
        program: std::path::absolute(&arguments.server)?,
        runs: arguments.runs,
        seed: arguments.seed,
        only: arguments.only.clone(),
    })
}

async fn accuracy(arguments: Accuracy) -> Result<()> {
    let options = accuracy::Options {
        data: arguments.data,
        program: std::path::absolute(&arguments.server)?,
        seconds: arguments.second,
        runs: arguments.runs,
        seed: arguments.seed,
    };
    let document = accuracy::document(&options, |line| eprintln!("{line}")).await?;
    std::fs::write(&arguments.document, document).with_context(|| arguments.document.display().to_string())
}

/// Writes tables and answers where they are wanted; the tables to standard output where they are wanted nowhere.
fn write(
    document: &str,
    report: &impl serde::Serialize,
    to_document: Option<PathBuf>,
    to_report: Option<PathBuf>,
) -> Result<()> {
    match to_document {
        Some(path) => std::fs::write(&path, document).with_context(|| path.display().to_string())?,
        None => print!("{document}"),
    }
    if let Some(path) = to_report {
        let json = serde_json::to_string_pretty(report)?;
        std::fs::write(&path, json).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn compare(arguments: &Compare) -> Result<()> {
    let (first, second) = (report(&arguments.first)?, report(&arguments.second)?);
    print!("{}", compare::table(&first, &second));
    Ok(())
}

fn graph(arguments: &Graph) -> Result<()> {
    let named = |path: &PathBuf| Ok((path.display().to_string(), report(path)?));
    let reports = arguments.reports.iter().map(named).collect::<Result<Vec<_>>>()?;
    let drawing = graph::draw(&reports)?;
    std::fs::write(&arguments.svg, drawing).with_context(|| arguments.svg.display().to_string())
}

/// What a run wrote.
fn report(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
}

/// Compares; fails unless the verdict is clean.
fn check(arguments: &Check) -> Result<()> {
    let verdict = check::check(&arguments.ledger, &arguments.stored)?;
    print!("{}", verdict.text());
    if let Some(path) = &arguments.report {
        let json = serde_json::to_string_pretty(&verdict)?;
        std::fs::write(path, json).with_context(|| path.display().to_string())?;
    }
    anyhow::ensure!(verdict.is_clean(), "what is stored is not what was acknowledged");
    Ok(())
}

/// `host:port` of a URL, or of what is already that.
fn address(url: &str) -> Result<String> {
    let url = url.to_ascii_lowercase();
    anyhow::ensure!(
        !url.starts_with("https://"),
        "the suite speaks without encryption: give an http:// endpoint, for example behind a proxy that encrypts"
    );
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    anyhow::ensure!(
        address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
        "an endpoint is http://host:port, {url} is not"
    );
    Ok(address.to_owned())
}
