//! Measures the store alone, on rows as the pipeline hands them over.
//!
//!     cargo bench --bench store -- fill --database sqlite:/tmp/store.db --spans 20000000 --days 3
//!     cargo bench --bench store -- ask --database sqlite:/tmp/store.db --cold
//!     cargo bench --bench store -- drop --database sqlite:/tmp/store.db
//!     cargo bench --bench store -- open --database sqlite:/tmp/store.db
//!     cargo bench --bench store -- logs --database sqlite:/tmp/store.db
//!
//! `--database` is `sqlite:PATH` or `postgres:DSN`; `--report FILE` writes the figures as JSON too. `fill` goes on
//! where the database ends. What it takes to make the rows is measured apart and left out of the times; processor time
//! is that of this process, so that a server's own is not in it. `PROMOTED_ATTRIBUTES` is read as the server reads it. Prints figures and judges none.

#[path = "../arrival.rs"]
mod arrival;
mod ask;
mod fill;
mod lines;
mod measure;
mod pattern;
mod place;
mod random;
mod retire;
mod traffic;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use otelcontext::model::id::TenantNumber;
use otelcontext::model::tenant::TenantId;
use otelcontext::model::time::UnixNanos;
use otelcontext::store::Store;
use otelcontext::store::day::Day;
use serde_json::json;
use tokio::runtime::Runtime;

use self::measure::{Report, load_average, timed};
use self::place::Place;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When the first span of an empty database begins.
const FIRST_DAY: Day = Day(20_800);

/// Measures the store alone.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Where the figures go as JSON.
    #[arg(long, global = true)]
    report: Option<PathBuf>,
    /// Cargo adds it.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

/// The database that is measured.
#[derive(Debug, clap::Args)]
struct At {
    /// `sqlite:PATH` or `postgres:DSN`.
    #[arg(long)]
    database: Place,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes spans.
    Fill {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        amount: fill::Amount,
    },
    /// Asks about what was written.
    Ask {
        #[command(flatten)]
        at: At,
        /// Empty the page cache before each kind of question; needs root.
        #[arg(long)]
        cold: bool,
    },
    /// Gives up the oldest day while commits go on.
    Drop {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        amount: fill::Amount,
    },
    /// Opens the database.
    Open {
        #[command(flatten)]
        at: At,
    },
    /// Writes log records and metric points.
    Logs {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        amount: lines::Amount,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = Runtime::new().context("the runtime")?;
    println!("load average {:.1} before", load_average());
    let report = |what| Report::new(arguments.report.clone(), what);
    let report = match &arguments.what {
        What::Fill { at, amount } => {
            let mut report = report("fill");
            fill::run(&at.database, &runtime, amount, &mut report)?;
            report
        }
        What::Ask { at, cold } => {
            let mut report = report("ask");
            ask::run(&at.database, &runtime, *cold, &mut report)?;
            report
        }
        What::Drop { at, amount } => {
            let mut report = report("drop");
            retire::run(&at.database, &runtime, amount, &mut report)?;
            report
        }
        What::Open { at } => {
            let mut report = report("open");
            open(&at.database, &runtime, &mut report)?;
            report
        }
        What::Logs { at, amount } => {
            let mut report = report("logs");
            lines::run(&at.database, &runtime, amount, &mut report)?;
            report
        }
    };
    println!("load average {:.1} after", load_average());
    report.finish()
}

fn open(place: &Place, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let options = place.options()?;
    let (time, store) = timed(|| runtime.block_on(Store::open(options)));
    let store = store?;
    let partitions = runtime.block_on(store.partitions())?.len();
    println!("opened in {:.1} ms; {partitions} partitions", time.as_secs_f64() * 1e3);
    report.put("open_ms", json!(measure::round(time.as_secs_f64() * 1e3)));
    report.put("partitions", json!(partitions));
    runtime.block_on(store.stop());
    Ok(())
}

/// The one tenant of the benchmark.
fn tenant(store: &Store) -> Result<TenantNumber> {
    Ok(store.names().tenant(&TenantId::try_from("bench")?))
}

/// Where new telemetry begins: the hour after the newest span.
fn first_instant(runtime: &Runtime, store: &Store) -> Result<UnixNanos> {
    let newest = runtime.block_on(store.newest_span(tenant(store)?))?;
    Ok(newest
        .map_or(FIRST_DAY.start(), |newest| UnixNanos::from_seconds(newest.bucket_seconds(3_600) + 3_600)))
}
