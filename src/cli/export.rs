//! `otelcontext export`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::app::storage::store_options;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::options::Options;
use crate::transfer::export::{self, Ask};
use crate::transfer::lines::Output;
use crate::transfer::progress::Progress;
use crate::vitals::log;

use super::Ending;
use super::progress;

/// What to export and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which signal: traces, logs or metrics.
    #[arg(long, value_parser = signal)]
    signal: Signal,
    /// From when on: RFC 3339 (2026-11-20T09:30:00Z), or so long ago (15m, 2h, 7d); from the beginning without it.
    #[arg(long)]
    from: Option<String>,
    /// Until when, written likewise; now without it.
    #[arg(long)]
    to: Option<String>,
    /// Whose; DEFAULT_TENANT without it.
    #[arg(long)]
    tenant: Option<String>,
    /// The file, compressed where it ends with .gz or .zst; - is the standard output.
    #[arg(long, short, default_value = "-")]
    output: PathBuf,
}

/// Writes OTLP/JSON lines from the store.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    let now = Clock::system().now();
    let from =
        arguments.from.as_deref().map_or(Ok(UnixNanos(0)), |text| moment(text, now)).context("--from")?;
    let to = arguments.to.as_deref().map_or(Ok(now), |text| moment(text, now)).context("--to")?;
    if to <= from {
        bail!("--from is not before --to: nothing lies between them");
    }
    let tenant = match &arguments.tenant {
        Some(name) => TenantId::try_from(name.as_str()).context("--tenant")?,
        None => config.default_tenant.clone(),
    };
    let ask = Ask { tenant, signal: arguments.signal, window: Window { from, to } };
    let done = super::runtime()?.block_on(async {
        let store = open(&config).await?;
        let mut output = Output::create(&arguments.output)?;
        let progress = Progress::default();
        let shown = progress::show(progress.clone());
        let done = export::run(&store, &ask, &mut output, &progress).await?;
        output.finish()?;
        drop(shown);
        store.stop().await;
        anyhow::Ok(done)
    })?;
    eprintln!("{} items in {} lines, {} bytes before compression", done.items, done.lines, done.bytes);
    Ok(Ending::Good)
}

/// The configured database, for reading alone.
async fn open(config: &Config) -> Result<Store> {
    let options = store_options(config)?;
    if let Some(path) = options.database.path().filter(|path| !path.exists()) {
        bail!("there is no database at {}: check DATA_DIR and DB_DSN", path.display());
    }
    let options = Options { readers: 1, ..options };
    Store::open_read_only(options).await.context("opening the database")
}

fn signal(name: &str) -> Result<Signal, String> {
    let known = Signal::ALL.into_iter().find(|signal| signal.name() == name);
    known.ok_or_else(|| "it is one of traces, logs, metrics".to_owned())
}

/// A moment: RFC 3339, `now`, or so long before now.
fn moment(text: &str, now: UnixNanos) -> Result<UnixNanos> {
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(UnixNanos(i64::try_from(timestamp.as_nanosecond())?));
    }
    if text == "now" {
        return Ok(now);
    }
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match number.trim_start_matches('-').parse::<u64>() {
        Ok(number) if unit > 0 => Ok(now.minus(std::time::Duration::from_secs(number.saturating_mul(unit)))),
        _ => bail!("`{text}` is no moment: write 2026-11-20T09:30:00Z, or so long ago as 15m, 2h or 7d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_both_forms() {
        let now = UnixNanos::from_seconds(1_000_000);
        let read = |text| moment(text, now).map(UnixNanos::seconds).ok();
        assert_eq!(read("1970-01-02T00:00:00Z"), Some(86_400));
        assert_eq!(read("now"), Some(1_000_000));
        assert_eq!(read("-10s"), Some(999_990));
        assert_eq!(read("1d"), Some(913_600));
        assert_eq!(read("last tuesday"), None);
        assert_eq!(read("10"), None);
    }
}
