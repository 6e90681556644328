//! `otelcontext import`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::clock::Clock;
use crate::model::tenant::TenantId;
use crate::transfer::account::Account;
use crate::transfer::deliver::Deliverer;
use crate::transfer::progress::Progress;
use crate::transfer::{import, predecessor};
use crate::vitals::log;

use super::Ending;
use super::door::Server;
use super::progress;

/// How long one request is tried while the server is away or at a limit.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What to import and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files of OTLP/JSON lines, plain, gzip or zstd, as the Collector's file exporter and `export` write them.
    #[arg(required_unless_present = "predecessor", conflicts_with = "predecessor")]
    files: Vec<PathBuf>,
    /// The SQLite file of the Go program that came before, in place of files.
    #[arg(long, value_name = "FILE")]
    predecessor: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
    /// Whose the data becomes; without it the server's default, or what a predecessor's rows say.
    #[arg(long)]
    tenant: Option<String>,
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
    let deliverer = Arc::new(Deliverer::new(arguments.server.door(&config)?, PATIENCE));
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
             again into an empty one, with a new file for --resume: what was taken would come twice, and the old file \
             says that this is done."
        );
    }
}
