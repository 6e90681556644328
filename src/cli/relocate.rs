//! `otelcontext move`.

use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Map, json};

use crate::app::storage::{database, journal_name};
use crate::config::Driver;
use crate::store::options::{Database, Options};
use crate::store::postgres::login::Login;
use crate::store::relocate::Moved;
use crate::transfer::backup::Source;
use crate::transfer::progress::Progress;
use crate::transfer::relocate;
use crate::vitals::log;

use super::Ending;
use super::progress;

/// Bytes that are read of an address: more than one may have.
const ADDRESS_BYTES_MAX: u64 = 64 << 10;

/// Where to move to.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The address of the empty database, as DB_DSN takes it; - reads it from standard input, so that no list of
    /// processes shows its password.
    #[arg(long, value_name = "DSN")]
    to: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl std::fmt::Debug for Arguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds a password.
        f.debug_struct("Arguments").field("json", &self.json).finish_non_exhaustive()
    }
}

/// Moves what the configured SQLite file holds to Postgres.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    if config.storage.driver == Driver::Postgres {
        bail!(
            "the data is on a Postgres server already, as DB_DRIVER says: run this with the settings that the server \
             had on SQLite"
        );
    }
    let from = database(&config)?;
    if !config.database.exists() {
        bail!("there is no database at {from}: check DATA_DIR and DB_DSN");
    }
    let to = Database::Postgres(Arc::new(Login::parse(&address(&arguments.to)?).context("--to")?));
    let options = Options { journal: journal_name(&config.data_dir)?, ..Options::of(to.clone()) };
    let source = Source { data_dir: config.data_dir, database: config.database };
    let moved = super::runtime()?.block_on(async {
        let progress = Progress::default();
        let _shown = progress::show(progress.clone());
        relocate::run(&source, &options, &progress).await
    });
    let moved = moved.with_context(|| format!("moving {from} to {to}"))?;
    if arguments.json {
        let rows: Map<_, _> =
            moved.rows.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
        println!("{:#}", json!({"applied": moved.applied, "rows": rows}));
    } else {
        tell(&moved, (&from, &to));
    }
    Ok(Ending::Good)
}

fn tell(moved: &Moved, (from, to): (&Database, &Database)) {
    println!("{to} holds everything of {from}, up to record {} of the journal:", moved.applied);
    for (table, rows) in &moved.rows {
        println!("{rows:>14} {table}");
    }
    println!(
        "Set DB_DRIVER=postgres and DB_DSN (or DB_DSN_FILE) to the address of this database, leave DATA_DIR as it is, \
         and start the server: it goes on where it stopped. {from} is as it was; do not start the server on it any \
         more, and remove it when you are content."
    );
}

/// The address itself, or the one that standard input holds.
fn address(to: &str) -> Result<String> {
    let mut address = to.to_owned();
    if to == "-" {
        address.clear();
        let mut input = std::io::stdin().lock().take(ADDRESS_BYTES_MAX);
        input.read_to_string(&mut address).context("reading the address from standard input")?;
    }
    if address.trim().is_empty() {
        bail!(
            "--to: there is no address: write one such as postgres://user@host:5432/database, or pipe it in with -"
        );
    }
    Ok(address)
}
