//! The command line: one file for each subcommand.
//!
//! Exit codes: 0 ok, 1 failure, 2 usage, 3 check failed.

mod backup;
mod check_config;
mod client;
mod demo;
mod dlq;
mod doctor;
mod door;
mod export;
mod import;
mod keys;
mod mcp;
mod migrate;
mod progress;
mod relocate;
mod restore;
mod serve;
mod templates;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::app::checks;
use crate::clock::Clock;
use crate::config::{Config, Driver, Environment, Loaded};
use crate::store::Store;
use crate::threads::{self, Rank};

/// The observability server that AI agents ask when production breaks.
#[derive(Debug, Parser)]
#[command(name = "otelcontext", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (what is done without a subcommand, too).
    Serve,
    /// Start the server, play a small shop through a planted fault over OTLP, and show what an agent would be told.
    Demo(demo::Arguments),
    /// Check the environment and .env, and show the effective configuration.
    CheckConfig {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring the database's schema up to date.
    Migrate {
        /// Only list the migrations and whether they are applied.
        #[arg(long)]
        status: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check this machine, or ask a running server whether it is ready.
    Doctor {
        /// Ask the server on HTTP_PORT and do nothing else.
        #[arg(long)]
        ready: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Back up journal and database, also while a server ingests.
    Backup {
        /// The directory for the backup, new or empty.
        directory: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Verify a backup and restore it to DATA_DIR; no server may run there.
    Restore {
        /// The directory of the backup.
        directory: PathBuf,
        /// Move data that is there aside instead of refusing.
        #[arg(long)]
        force: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move everything from SQLite into an empty Postgres database; no server may run meanwhile.
    Move(relocate::Arguments),
    /// Write stored telemetry as OTLP/JSON lines, also while a server runs.
    Export(export::Arguments),
    /// Send OTLP/JSON lines, or a predecessor's database, to a running server.
    Import(import::Arguments),
    /// Dead letters: what was acknowledged and the database refuses for good.
    #[command(subcommand)]
    Dlq(dlq::Arguments),
    /// Keys that are bound to tenants.
    #[command(subcommand)]
    Keys(keys::Arguments),
    /// What agents ask a running server, by other ways than HTTP.
    #[command(subcommand)]
    Mcp(mcp::Arguments),
    /// Mine log templates from a file of one message a line; prints CSV.
    Templates {
        /// The file.
        file: PathBuf,
        /// Mines it so many times, and tells how many lines a second that were.
        #[arg(long, default_value_t = 1)]
        passes: u32,
    },
}

/// A failure whose text was not printed yet, or a check that failed and printed its findings.
enum Ending {
    Good,
    CheckFailed,
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::CheckConfig { json } => check_config::run(json),
        Command::Migrate { status, json } => migrate::run(status, json),
        Command::Doctor { ready, json } => doctor::run(ready, json),
        Command::Backup { directory, json } => backup::run(&directory, json),
        Command::Restore { directory, force, json } => restore::run(&directory, force, json),
        Command::Move(arguments) => relocate::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Dlq(arguments) => dlq::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Mcp(arguments) => mcp::run(&arguments),
        Command::Templates { file, passes } => templates::run(&file, passes),
    };
    match outcome {
        Ok(Ending::Good) => ExitCode::SUCCESS,
        Ok(Ending::CheckFailed) => ExitCode::from(3),
        Err(error) => {
            eprintln!("otelcontext: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Loads the configuration of this process; prints every mistake where there are any.
fn loaded(environment: &Environment) -> Result<Loaded, Ending> {
    Config::load(environment).map_err(|mistakes| refused(&mistakes))
}

fn refused(mistakes: &[String]) -> Ending {
    eprintln!("otelcontext: the configuration has {} mistakes:", mistakes.len());
    mistakes.iter().for_each(|mistake| eprintln!("  {mistake}"));
    Ending::CheckFailed
}

/// Loads the configuration of a server: errs with every mistake, and with what else its start would fail on.
fn of_server(environment: &Environment) -> Result<Loaded, Vec<String>> {
    Config::load_and(environment, |config| checks::problems(config, &Clock::system()))
}

/// Refuses what copies a database file where the data is on a server.
fn only_on_sqlite(config: &Config) -> anyhow::Result<()> {
    if config.storage.driver == Driver::Postgres {
        anyhow::bail!(
            "the data is on a Postgres server: use pg_dump and pg_restore, and copy DATA_DIR/journal and \
             DATA_DIR/journal-name beside them; see \"Backup and restore\" in docs/OPERATIONS.md"
        );
    }
    Ok(())
}

fn environment() -> Environment {
    Environment::of_process(Path::new("."))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // The thread that writes the database is started first: all others give way to it, this one too.
    Store::go_ahead().context("starting threads")?;
    threads::begin();
    Rank::Usual.take();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().on_thread_start(|| Rank::Usual.take()).build().context("starting threads")
}
