//! Real clients against the server: stock SDKs, a collector between them and us, agents, and the scraper's own checker.
//!
//! Their programs are in `tests/clients`; `.ci/setup` installs what those need, and a test that misses something fails
//! saying so. Reading order: this file (starting clients, and what must be seen of what they sent), [`python`] and
//! [`node`] (one service each), [`restarts`] (what becomes of their telemetry when the server restarts), [`collector`] (rotel),
//! [`otelcol`] (the official Collector over restarts, on [`numbered`] records, read out of what it said by [`wire`]), [`agents`],
//! [`stdio`] (agents without HTTP), [`conformance`] (the official suite of MCP), [`promtool`].

mod agents;
mod collector;
mod conformance;
mod node;
mod numbered;
mod otelcol;
pub(crate) mod promtool;
pub(crate) mod python;
mod restarts;
mod stdio;
mod wire;

use std::fs::{File, read_to_string};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{ask, rows};
use crate::server::{PATIENCE, Server};

/// How soon after its export telemetry has to be on the map.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

/// The tenant of clients that name none.
const TENANT: &str = "default";

/// Something installed by `.ci/setup`.
fn tool(path: &str) -> PathBuf {
    let folder = std::env::var_os("OTELCONTEXT_TEST_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/otelcontext/tools"),
        PathBuf::from,
    );
    let found = folder.join(path);
    assert!(found.exists(), "{} is missing; install it with `.ci/setup`", found.display());
    found
}

/// A program of `tests/clients`.
fn program(path: &str) -> PathBuf {
    crate::server::checkout().join("tests/clients").join(path)
}

/// A Python program, run by the interpreter that has the packages.
fn python(name: &str) -> Command {
    let mut command = Command::new(tool("python/bin/python"));
    command.arg(program("python").join(name));
    command
}

/// Tells a client by the standard variables, and by nothing else, where to send its telemetry and as which service. It
/// exports when it ends.
pub(crate) fn exporting(mut command: Command, endpoint: &str, protocol: &str, service: &str) -> Command {
    const NEVER_MS: &str = "600000";
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_SERVICE_NAME", service)
        .envs(
            ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BLRP_SCHEDULE_DELAY", "OTEL_METRIC_EXPORT_INTERVAL"]
                .map(|name| (name, NEVER_MS)),
        );
    command
}

/// The server's address for `protocol`.
fn endpoint<'a>(server: &'a Server, protocol: &str) -> &'a str {
    if protocol == "grpc" { &server.grpc } else { &server.otlp_http }
}

/// A running client; killed when dropped.
pub(crate) struct Client {
    child: Child,
    folder: TempDir,
}

/// What a client left behind.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    output: String,
    pub(crate) errors: String,
    at: Instant,
}

impl Client {
    /// Starts `command` with no variables but its own, the path, and a home of its own.
    pub(crate) fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
        let child = command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .envs(own)
            .stdin(Stdio::piped())
            .stdout(File::create(folder.path().join("output")).unwrap())
            .stderr(File::create(folder.path().join("errors")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: {command:?}"));
        Self { child, folder }
    }

    /// Waits until the client has printed a line, which is JSON.
    async fn says(&mut self) -> Value {
        let began = Instant::now();
        loop {
            let output = self.read("output");
            if let Some((line, _)) = output.split_once('\n') {
                return serde_json::from_str(line).unwrap();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "said nothing, {ended:?}: {}",
                self.read("errors")
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes the client's standard input and waits until it has ended, in whichever way.
    pub(crate) async fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let at = Instant::now();
                return Ended { status, output: self.read("output"), errors: self.read("errors"), at };
            }
            assert!(began.elapsed() < PATIENCE, "does not end: {}", self.read("errors"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn read(&self, name: &str) -> String {
        read_to_string(self.folder.path().join(name)).unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The JSON the client printed, having ended well and complained about nothing.
    fn report(&self) -> Value {
        assert!(
            self.status.success() && self.errors.is_empty(),
            "{}: {}{}",
            self.status,
            self.output,
            self.errors
        );
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {}", self.output))
    }
}

/// Runs a client to its end.
async fn run(command: Command) -> Ended {
    Client::start(command).end().await
}

/// Runs a client that takes orders as `service`, and checks that within [`SEEN_WITHIN`] of its end the map shows it with
/// its `database`, and that everything it recorded arrived and can be asked for.
async fn check_seen(server: &Server, command: Command, service: &str, database: &str) {
    let ended = run(command).await;
    let recorded = ended.report();
    let traces = recorded["traces"].as_array().unwrap();
    let on_map = |map: &Value| {
        let nodes = rows(map, "services");
        let node =
            |name: &str, kind: &str| nodes.iter().any(|node| node["service"] == name && node["kind"] == kind);
        let calls = json!(traces.len());
        let edges = rows(map, "edges");
        let edge = edges
            .iter()
            .any(|edge| edge["from"] == service && edge["to"] == database && edge["calls"] == calls);
        node(service, "service") && node(database, "database") && edge
    };
    until_asked(server, "get_service_map", json!({"since": "15m"}), on_map).await;
    let took = ended.at.elapsed();
    assert!(took < SEEN_WITHIN, "{service} was on the map only after {took:?}");
    println!("{service} was on the map after {took:?}");

    server.settled().await;
    assert_eq!(accepted(server).await, counts(&recorded));
    let trace = ask(server, TENANT, "trace_graph", json!({"trace_id": traces[0]})).await;
    let spans = rows(&trace, "spans");
    let seen: Vec<_> = spans.iter().map(|span| (&span["depth"], &span["service"], &span["kind"])).collect();
    assert_eq!(
        seen,
        [(&json!(0), &json!(service), &json!("server")), (&json!(1), &json!(service), &json!("client"))]
    );
    assert_eq!(rows(&trace, "logs").len(), 1, "{trace}");
    let all = |logs: &Value| rows(logs, "logs").len() == traces.len();
    until_asked(
        server,
        "search_logs",
        json!({"service": service, "query": "stored", "severity": "info"}),
        all,
    )
    .await;
}

/// Asks until the answer is as wanted.
async fn until_asked(
    server: &Server,
    tool: &str,
    arguments: Value,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let probe = || async {
        let answer = ask(server, TENANT, tool, arguments.clone()).await;
        wanted(&answer).then_some(answer)
    };
    server.until(&format!("seen by {tool} {arguments}"), probe).await
}

/// Spans, log records and metric points the server acknowledged.
async fn accepted(server: &Server) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for (count, signal) in counts.iter_mut().zip(["traces", "logs", "metrics"]) {
        *count = server.metric(&format!("otelcontext_ingest_accepted_total{{signal=\"{signal}\"}}")).await;
    }
    counts
}

/// Spans, log records and metric points a client recorded.
fn counts(recorded: &Value) -> [f64; 3] {
    ["spans", "logs", "points"].map(|name| recorded[name].as_f64().unwrap())
}
