//! The load itself: what it can be told, and the run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use loadsim::ask;
use loadsim::fault::Kind;
use loadsim::run::{self, Manner, Options};
use loadsim::send::{self, Protocol};
use loadsim::sharing::Sharing;
use loadsim::watch;

#[derive(Debug, Args)]
pub(crate) struct Play {
    /// Where to send: host:port, or a URL with --protocol http.
    #[arg(long, default_value = "localhost:4317")]
    endpoint: String,
    /// grpc or http.
    #[arg(long, default_value = "grpc", value_parser = ["grpc", "http"])]
    protocol: String,
    /// Services to simulate.
    #[arg(long, default_value_t = 200)]
    services: usize,
    /// Spans a second for each service.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// How long to measure, such as 60s, 5m or 500ms.
    #[arg(long, default_value = "60s", value_parser = duration)]
    duration: Duration,
    /// How long to run before measuring.
    #[arg(long, default_value = "0s", value_parser = duration)]
    warmup: Duration,
    /// Spread the timestamps over this much time before now; not with --point-rate.
    #[arg(long, default_value = "0s", value_parser = duration)]
    backfill: Duration,
    /// Tenant to send as; the server's default when not given.
    #[arg(long, default_value = "")]
    tenant_id: String,
    /// The server's key.
    #[arg(long, env = "API_KEY", default_value = "", hide_env_values = true)]
    api_key: String,
    /// Repeats a run; with --prepared all but the ids of traces, which differ from run to run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections; services are shared out among them, or traces with --collector.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Spans, log records or points of one export request at most; 512 is an SDK's default, 8192 a Collector's.
    #[arg(long, default_value_t = 512)]
    batch: usize,
    /// How long spans wait at most for a request to be full; an SDK's default is 5s, a Collector's 200ms.
    #[arg(long, default_value = "50ms", value_parser = duration)]
    flush: Duration,
    /// Each connection takes whole traces with their log records, and so carries all services, as from a Collector in front of
    /// them. Records of --log-rate are dealt out in turn; points stay with the connection of their service.
    #[arg(long)]
    collector: bool,
    /// Makes at most five seconds of traffic beforehand and plays them again and again with new trace ids and times, so that
    /// loadsim costs less. Everything else repeats; the counters of --point-rate begin anew with each round of their points.
    #[arg(long)]
    prepared: bool,
    /// Log records for each request handled without failure.
    #[arg(long, default_value_t = 0.2)]
    chatter: f64,
    /// Log records a second for each service beside those that belong to requests; needs --prepared.
    #[arg(long, default_value_t = 0.0)]
    log_rate: f64,
    /// Metric points a second for each service beside those about requests; needs --prepared.
    #[arg(long, default_value_t = 0.0)]
    point_rate: f64,
    /// A fault after the warm-up.
    #[arg(long, value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>()))]
    fault: Option<Kind>,
    /// The service that the fault hits; chosen by the seed when not given.
    #[arg(long, requires = "fault")]
    fault_service: Option<String>,
    /// How long a request is sent again while the server is away or overloaded; after one that nobody answered for so long, the
    /// next are sent once each until one is answered
    #[arg(long, default_value = "30s", value_parser = duration)]
    retry_for: Duration,
    /// Writes what is sent and how it is answered, each synced before the next step, for `loadsim check`.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// The server's /metrics, for its processor, memory and disk use; then what it acknowledged is waited for.
    #[arg(long)]
    metrics_url: Option<String>,
    /// The server's MCP endpoint, such as http://127.0.0.1:8080/mcp, to put questions during the run: all tools in turn. Without
    /// a load it goes with --rate 0.
    #[arg(long, value_name = "URL")]
    ask: Option<String>,
    /// Time from one question to the next, whether or not it is answered by then.
    #[arg(long, default_value = "1s", value_parser = duration, requires = "ask")]
    ask_every: Duration,
    /// The base URL of the server's API, such as http://127.0.0.1:8080, to ask after the run until it answers with the last trace
    /// of each connection and finds the newest log record.
    #[arg(long, value_name = "URL")]
    queryable: Option<String>,
    /// Writes the report as JSON, with figures of each second; `loadsim graph` draws them.
    #[arg(long)]
    report: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a duration ends with ms, s, m or h".into()),
    };
    let seconds: f64 =
        number.parse().map_err(|_| "a duration is a number with a unit, such as 60s".to_owned())?;
    Duration::try_from_secs_f64(seconds * factor).map_err(|error| error.to_string())
}

/// Plays, tells the progress every ten seconds, and prints the report.
pub(crate) async fn play(arguments: Play) -> Result<()> {
    let protocol = if arguments.protocol == "grpc" { Protocol::Grpc } else { Protocol::Http };
    let options = Options {
        send: send::Options {
            endpoint: arguments.endpoint,
            protocol,
            tenant: arguments.tenant_id,
            api_key: arguments.api_key,
            timeout: Duration::from_secs(10),
            retry_for: arguments.retry_for,
        },
        seed: arguments.seed,
        services: arguments.services,
        spans_per_second: arguments.rate * arguments.services as f64,
        duration: arguments.duration,
        warmup: arguments.warmup,
        backfill: arguments.backfill,
        connections: arguments.connections,
        batch: arguments.batch,
        chatter: arguments.chatter,
        fault: arguments.fault.map(|kind| (kind, arguments.fault_service)),
        ledger: arguments.ledger,
        watch: watch::Options {
            metrics_url: arguments.metrics_url,
            ask: arguments.ask.map(|url| ask::Options { url, every: arguments.ask_every }),
            queryable: arguments.queryable,
        },
        manner: Manner {
            prepared: arguments.prepared,
            sharing: if arguments.collector { Sharing::ByTrace } else { Sharing::ByService },
            flush: arguments.flush,
            log_rate: arguments.log_rate,
            point_rate: arguments.point_rate,
        },
    };
    let report = run::run(&options, |ledger, elapsed| {
        if elapsed.as_secs().is_multiple_of(10) {
            let [spans, ..] = ledger.sums();
            eprintln!(
                "{} s: {} spans sent, {} acknowledged",
                elapsed.as_secs(),
                spans.sent,
                spans.acknowledged
            );
        }
    })
    .await?;
    print!("{}", report.text());
    if let Some(path) = arguments.report {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, json).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
