//! `otelcontext demo`: the main job, end to end, on made-up telemetry.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use loadsim::dice::Dice;
use loadsim::encode;
use loadsim::fault::{Fault, Kind};
use loadsim::run::unix_nanos;
use loadsim::send::{self, Protocol, Request, Sender};
use loadsim::topology::Topology;
use loadsim::traffic::{Span, Traffic};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{Addresses, App, Running};
use crate::clock::Clock;
use crate::config::{Config, Environment, Loaded};
use crate::vitals::log;

use super::Ending;

/// Requests from outside, each second.
const REQUESTS_PER_SECOND: u64 = 8;
/// How long the shop was well.
const WELL: Duration = Duration::from_secs(12 * 60);
/// How long the fault lasts by now.
const FAULTY: Duration = Duration::from_secs(3 * 60);
/// Telemetry is exported this much at a time, as Collectors do.
const SLICE: Duration = Duration::from_secs(5);
/// How long the server may take to store what it took, and to answer.
const SETTLING: Duration = Duration::from_secs(60);
/// How much of an answer that is no use is repeated.
const TOLD_CHARS_MAX: usize = 1_000;
/// The newest protocol revision of MCP.
const PROTOCOL: &str = "2026-07-28";

/// What it has its own way: where the data of the server lies that is configured here, for made-up telemetry does not belong
/// there, and that it is asked over MCP, on this machine.
const OWN: [(&str, &str); 9] = [
    ("BIND_ADDR", "127.0.0.1"),
    ("MCP_ENABLED", "true"),
    ("APP_ENV", ""),
    ("DB_DRIVER", "sqlite"),
    ("DB_DSN", ""),
    ("DB_DSN_FILE", ""),
    ("DB_AZURE_AUTH", ""),
    ("DLQ_PATH", ""),
    ("TLS_CACHE_DIR", ""),
];

/// What can be chosen about the demo.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Stop after the answer; status 0 only if the planted fault was ranked first.
    #[arg(long)]
    exit: bool,
    /// What goes wrong.
    #[arg(long, default_value = "bad-version", value_parser = fault())]
    fault: Kind,
    /// The service where it goes wrong.
    #[arg(long, default_value = "payment")]
    service: String,
    /// Repeats a demo.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the data in this folder, which must be new or empty.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// The faults by name, so that the help lists them.
fn fault() -> impl clap::builder::TypedValueParser<Value = Kind> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

/// Plays the demo.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let mut environment = super::environment();
    let own_folder = prepare(&mut environment, arguments.keep.as_deref())?;
    let loaded = match super::loaded(&environment) {
        Ok(loaded) => loaded,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: tracing::Level::WARN });
    let outcome = super::runtime()?.block_on(play(arguments, loaded));
    if let Some(folder) = own_folder {
        // What cannot be removed is only made-up telemetry.
        let _ = std::fs::remove_dir_all(folder);
    }
    let first = outcome?;
    if arguments.exit && !first {
        bail!("the planted fault was not ranked first");
    }
    Ok(Ending::Good)
}

/// Keeps the demo out of the way: a database and a folder of its own, whatever is configured, and free ports where the usual
/// ones are taken. Answers the folder to remove at the end.
fn prepare(environment: &mut Environment, keep: Option<&Path>) -> Result<Option<PathBuf>> {
    for (name, value) in OWN {
        environment.set(name, value);
    }
    let given = Config::load(environment).ok();
    let is_default = |name: &str| {
        let effective = given.iter().flat_map(|loaded: &Loaded| &loaded.effective);
        effective
            .into_iter()
            .any(|(other, _, origin)| *other == name && *origin == crate::config::Origin::Default)
    };
    for name in ["GRPC_PORT", "OTLP_HTTP_PORT", "HTTP_PORT"] {
        let value = given.iter().flat_map(|loaded| &loaded.effective).find(|(other, ..)| *other == name);
        let port: u16 = value.and_then(|(_, value, _)| value.parse().ok()).unwrap_or(0);
        if is_default(name) && TcpListener::bind(("127.0.0.1", port)).is_err() {
            environment.set(name, "0");
        }
    }
    let folder = match keep {
        Some(folder) => folder.to_owned(),
        None => std::env::temp_dir().join(format!("otelcontext-demo-{}", std::process::id())),
    };
    let reading = || folder.display().to_string();
    if keep.is_none() && folder.exists() {
        // Of a demo that was killed, under the same number of process.
        std::fs::remove_dir_all(&folder).with_context(reading)?;
    }
    std::fs::create_dir_all(&folder).with_context(reading)?;
    if std::fs::read_dir(&folder).with_context(reading)?.next().is_some() {
        bail!("{} is not empty; the demo keeps its data apart: name another folder", folder.display());
    }
    environment.set("DATA_DIR", &reading());
    Ok(keep.is_none().then_some(folder))
}

/// Plays, asks and tells; answers whether the planted fault was ranked first.
async fn play(arguments: &Arguments, mut loaded: Loaded) -> Result<bool> {
    let access = &loaded.config.access;
    if loaded.config.api_key.is_none() && (access.key_file.is_some() || access.external.is_some()) {
        bail!("the demo sends with the operator's key: set API_KEY beside API_TENANT_KEYS_FILE, or neither");
    }
    // It talks to itself, and to nobody else.
    loaded.config.encryption = None;
    let (api_key, mcp_path) =
        (loaded.config.api_key.clone().unwrap_or_default(), loaded.config.mcp_path.clone());
    let running = App::bind(loaded.config, Clock::system()).await?.start().await?;
    let addresses = running.addresses();
    let topology = Topology::shop();
    let service = topology.position(&arguments.service).with_context(|| {
        let names: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
        format!("the shop has no service `{}`; it has {}", arguments.service, names.join(", "))
    })?;
    let now = unix_nanos();
    let from_ns = now - nanos(FAULTY);
    let fault = Fault::of(arguments.fault, service, from_ns);
    fault.fits(&topology).map_err(anyhow::Error::msg)?;
    let culprit = fault.culprit(&topology);
    eprintln!(
        "Playing {} minutes of a small shop; for the last {}, `{}` has a fault: {}.",
        (WELL + FAULTY).as_secs() / 60,
        FAULTY.as_secs() / 60,
        arguments.service,
        arguments.fault
    );
    let began = Instant::now();
    let sent =
        send(addresses, &api_key, Traffic::new(topology, vec![fault], arguments.seed), now, arguments.seed)
            .await?;
    running.settled(SETTLING).await.context("waiting until everything is stored")?;
    eprintln!(
        "{sent} spans over OTLP/gRPC, with their logs and metrics, are durable and stored after {:.1} s.\n",
        began.elapsed().as_secs_f64()
    );

    let call = json!({"name": "root_cause_analysis", "arguments": {"since": "15m"}});
    let url = format!("http://{}{mcp_path}", addresses.http);
    let answer = ask(&url, &api_key, &call).await?;
    let first = tell(&url, &call, &answer, &culprit, addresses);
    finish(arguments, running).await?;
    Ok(first)
}

async fn finish(arguments: &Arguments, running: Running) -> Result<()> {
    if !arguments.exit {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        eprintln!("\nThe server keeps running; stop it with Ctrl-C.");
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    running.stop().await;
    Ok(())
}

/// Sends everything slice by slice; answers how many spans.
async fn send(
    addresses: Addresses,
    api_key: &str,
    mut traffic: Traffic,
    now: u64,
    seed: u64,
) -> Result<usize> {
    let options = send::Options {
        endpoint: addresses.grpc.to_string(),
        protocol: Protocol::Grpc,
        tenant: String::new(),
        api_key: api_key.to_owned(),
        timeout: Duration::from_secs(10),
        retry_for: Duration::from_secs(30),
    };
    let sender = Sender::new(&options)?;
    let mut dice = Dice::new(seed).branch(9);
    let mut sent = 0;
    let mut slice_from = now - nanos(WELL + FAULTY);
    while slice_from < now {
        let slice_to = slice_from + nanos(SLICE);
        let mut spans: Vec<Span> = Vec::new();
        let requests = (REQUESTS_PER_SECOND * SLICE.as_secs()) as f64 * traffic.load(slice_from);
        for _ in 0..requests.round() as u64 {
            traffic.request(slice_from + dice.word() % nanos(SLICE), &mut spans);
        }
        sent += spans.len();
        let metrics = encode::metrics(&traffic, &spans, (slice_from, slice_to), &mut dice);
        let requests = [
            Request::traces(&encode::spans(&traffic, &spans)),
            Request::logs(&encode::logs(&traffic, &spans, 0.2, &mut dice)),
            Request::metrics(&metrics, 0),
        ];
        send::deliver_all(&sender, &requests).await?;
        slice_from = slice_to;
    }
    Ok(sent)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes one tool call as an agent does.
async fn ask(url: &str, api_key: &str, call: &Value) -> Result<Value> {
    let mut params = call.clone();
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": PROTOCOL,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "otelcontext-demo", "version": env!("CARGO_PKG_VERSION")},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let mut request = super::client::believing(url, SETTLING, None)?
        .post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", PROTOCOL)
        .header("mcp-method", "tools/call")
        .header("mcp-name", call["name"].as_str().unwrap_or_default())
        .body(body.to_string());
    if !api_key.is_empty() {
        request = request.header("authorization", format!("Bearer {api_key}"));
    }
    let response = request.send().await?;
    let status = response.status();
    content(status, &response.text().await?)
}

/// What a tool told, of what the server answered.
fn content(status: StatusCode, text: &str) -> Result<Value> {
    let told = || text.chars().take(TOLD_CHARS_MAX).collect::<String>();
    if !status.is_success() {
        bail!("the server answered the tool call with {status}: {}", told());
    }
    let answer: Value =
        serde_json::from_str(text).with_context(|| format!("the tool call was answered with: {}", told()))?;
    match answer.pointer("/result/structuredContent") {
        Some(content) => Ok(content.clone()),
        None => bail!("the tool call was not answered: {}", told()),
    }
}

/// Prints the answer and where to look next; answers whether `culprit` was ranked first.
fn tell(url: &str, call: &Value, answer: &Value, culprit: &str, addresses: Addresses) -> bool {
    println!("An agent asks over MCP at {url}:\n\n  tools/call {call}\n");
    println!(
        "and is told ({}):\n\n  {}\n",
        answer["verdict"].as_str().unwrap_or("?"),
        answer["summary"].as_str().unwrap_or("?")
    );
    let empty = Vec::new();
    let tables = answer["tables"].as_array().unwrap_or(&empty);
    let causes = tables.iter().find(|table| table["name"] == "causes").map(|table| &table["rows"]);
    let rows = causes.and_then(Value::as_array).unwrap_or(&empty);
    for row in rows.iter().take(3) {
        println!(
            "  {}. {} (confidence {}): {}",
            row[0],
            row[1].as_str().unwrap_or("?"),
            row[3],
            row[2].as_str().unwrap_or("?")
        );
    }
    let first = rows.first().is_some_and(|row| row[1] == culprit);
    println!(
        "\nThe planted fault is in `{culprit}`: {}.",
        if first { "ranked first" } else { "NOT ranked first" }
    );
    println!("\nWhere to look next:");
    for next in answer["next"].as_array().unwrap_or(&empty) {
        println!("  {} {}", next["tool"].as_str().unwrap_or("?"), next["arguments"]);
    }
    println!(
        "  http://{}/metrics, http://{}/ready; send your own OTLP to {} (gRPC) or {} (HTTP)",
        addresses.http, addresses.http, addresses.grpc, addresses.otlp_http
    );
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_beyond_this_machine_does_not_keep_the_demo_from_asking() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let mut environment =
            Environment::of_pairs([("BIND_ADDR", "0.0.0.0"), ("MCP_ENABLED", "false"), ("GRPC_PORT", "0")]);
        assert_eq!(prepare(&mut environment, Some(&kept)).unwrap(), None);
        let config = Config::load(&environment).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config;
        assert!(config.bind_addr.is_loopback() && config.mcp_enabled);
        assert_eq!(config.data_dir, kept);
    }

    #[test]
    fn what_the_server_says_against_a_call_is_repeated() {
        let refused = |status, text: &str| format!("{:#}", content(status, text).unwrap_err());
        let told = refused(StatusCode::FORBIDDEN, "this name is not one of the server's");
        assert!(told.contains("403") && told.ends_with("this name is not one of the server's"), "{told}");
        let told = refused(StatusCode::OK, "<html>");
        assert!(told.contains("answered with: <html>"), "{told}");
        let told = refused(StatusCode::OK, r#"{"error":{"code":-32000,"message":"overloaded"}}"#);
        assert!(told.contains("overloaded"), "{told}");
        let text = r#"{"result":{"structuredContent":{"verdict":"cause_found"}}}"#;
        assert_eq!(content(StatusCode::OK, text).unwrap()["verdict"], "cause_found");
    }
}
