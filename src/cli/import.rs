//! `otelcontext import`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::clock::Clock;
use crate::config::Config;
use crate::decode::Encoding;
use crate::model::tenant::TenantId;
use crate::transfer::account::Account;
use crate::transfer::deliver::{self, Answer, Deliverer, Door, Request};
use crate::transfer::progress::Progress;
use crate::transfer::{import, predecessor};
use crate::vitals::log;

use super::Ending;
use super::progress;

/// How long one request is tried while the server is away or at a limit.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// What to import and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files of OTLP/JSON lines, plain, gzip or zstd, as the Collector's file exporter and `export` write them.
    #[arg(required_unless_present = "predecessor", conflicts_with = "predecessor")]
    files: Vec<PathBuf>,
    /// The SQLite file of the Go program that came before, in place of files.
    #[arg(long, value_name = "FILE")]
    predecessor: Option<PathBuf>,
    /// The server's OTLP/HTTP address; this machine and OTLP_HTTP_PORT without it.
    #[arg(long)]
    endpoint: Option<String>,
    /// Whose the data becomes; without it the server's default, or what a predecessor's rows say.
    #[arg(long)]
    tenant: Option<String>,
    /// A file with the key; API_KEY without it.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
    /// Keeps the position in this file, and goes on from it when the import is run again.
    #[arg(long, value_name = "STATE")]
    resume: Option<PathBuf>,
    /// End at the first bad line.
    #[arg(long)]
    strict: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Sends what is in files to a running server, and tells what became of it.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    let tenant = arguments.tenant.as_deref().map(TenantId::try_from).transpose().context("--tenant")?;
    let deliverer = Arc::new(Deliverer::new(Http::new(arguments, &config)?, PATIENCE));
    let account = super::runtime()?.block_on(async {
        let progress = Progress::default();
        let _shown = progress::show(progress.clone());
        let state = arguments.resume.clone();
        match &arguments.predecessor {
            Some(database) => {
                let options = predecessor::Options { database: database.clone(), tenant, state };
                predecessor::run(&options, &deliverer, &progress).await
            }
            None => {
                let (files, strict) = (arguments.files.clone(), arguments.strict);
                let options = import::Options { files, tenant, strict, state };
                import::run(&options, deliverer, &Clock::system(), &progress).await
            }
        }
    })?;
    if arguments.json {
        println!("{:#}", json!(account.to_json()));
    } else {
        tell(&account, arguments.predecessor.is_some());
    }
    Ok(Ending::Good)
}

fn tell(account: &Account, are_rows: bool) {
    let what = if are_rows { "rows" } else { "lines" };
    println!(
        "{} {what} read, {} requests, {} items accepted",
        account.read, account.requests, account.accepted
    );
    println!("{} items refused by the server, {} not carried over", account.refused, account.lost);
    for (reason, items) in &account.reasons {
        println!("  {items}: {reason}");
    }
    if account.bad > 0 {
        println!("{} bad lines:", account.bad);
        for (file, line, reason) in &account.bad_lines {
            println!("  {file}:{line}: {reason}");
        }
    }
    if account.has_refused_old() {
        println!(
            "The server refuses items older than it keeps: raise HOT_RETENTION_DAYS there, restart it, and import \
             again."
        );
    }
}

/// The OTLP/HTTP door of a server.
struct Http {
    client: reqwest::Client,
    endpoint: String,
    api_key: Option<String>,
}

impl Http {
    fn new(arguments: &Arguments, config: &Config) -> Result<Self> {
        let api_key = match &arguments.api_key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                Some(text.trim().to_owned())
            }
            None => config.api_key.clone(),
        };
        let endpoint = match &arguments.endpoint {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => url.clone(),
            Some(other) if other.contains("://") => bail!("--endpoint: `{other}` is neither http nor https"),
            Some(address) => format!("http://{address}"),
            None => format!("http://127.0.0.1:{}", config.otlp_http_port),
        };
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT).build()?;
        Ok(Self { client, endpoint: endpoint.trim_end_matches('/').to_owned(), api_key })
    }
}

impl Door for Http {
    async fn post(&self, request: &Request) -> Answer {
        let media_type = match request.encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        };
        let mut sending = self
            .client
            .post(format!("{}/v1/{}", self.endpoint, request.signal.name()))
            .header("content-type", media_type)
            .body(request.body.clone());
        if let Some(tenant) = &request.tenant {
            sending = sending.header("x-tenant-id", tenant.as_str());
        }
        if let Some(key) = &self.api_key {
            sending = sending.header("authorization", format!("Bearer {key}"));
        }
        let outcome = match sending.send().await {
            Ok(answer) => read(answer, request).await,
            Err(error) => Err(error),
        };
        outcome.unwrap_or_else(|error| Answer::Again {
            after: None,
            reason: format!(
                "no server answers at {}: start one with `otelcontext serve`, or name one with --endpoint ({})",
                self.endpoint,
                crate::fault::chain(&error)
            ),
            is_unreachable: true,
        })
    }
}

async fn read(answer: reqwest::Response, request: &Request) -> Result<Answer, reqwest::Error> {
    let status = answer.status();
    let header = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
    let after = header.map(Duration::from_secs);
    let body = answer.bytes().await?;
    let told = deliver::status_message(request.encoding, &body);
    let reason = if told.is_empty() { status.to_string() } else { format!("{status}: {told}") };
    Ok(match status.as_u16() {
        200..=299 => {
            let (rejected, message) = deliver::partial_success(request.signal, request.encoding, &body);
            Answer::Accepted { rejected, message }
        }
        413 => Answer::TooLarge(reason),
        401 | 403 | 404 | 405 => Answer::Turned(reason),
        429 | 502 | 503 | 504 => Answer::Again { after, reason, is_unreachable: false },
        _ => Answer::Refused(reason),
    })
}
