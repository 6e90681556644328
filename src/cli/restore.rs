//! `otelcontext restore DIR`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::clock::Clock;
use crate::transfer::progress::Progress;
use crate::transfer::restore::{self, Destination};
use crate::vitals::log;

use super::Ending;
use super::progress;

/// Restores a backup to DATA_DIR.
pub(super) fn run(directory: &Path, force: bool, as_json: bool) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    let data_dir = config.data_dir.display().to_string();
    super::only_on_sqlite(&config)?;
    let destination = Destination { data_dir: config.data_dir, database: config.database };
    let done = super::runtime()?.block_on(async {
        let progress = Progress::default();
        let _shown = progress::show(progress.clone());
        restore::run(directory, &destination, force, &Clock::system(), &progress).await
    });
    let done = done.with_context(|| format!("restoring {} to {data_dir}", directory.display()))?;
    let aside: Vec<String> = done.aside.iter().map(|path| path.display().to_string()).collect();
    if as_json {
        let value = json!({
            "data_dir": data_dir,
            "mark": done.mark,
            "applied": done.applied,
            "bytes": done.bytes,
            "product": done.product,
            "created_ns": done.created_ns,
            "aside": aside,
        });
        println!("{value:#}");
        return Ok(Ending::Good);
    }
    println!(
        "{data_dir} holds the backup up to record {}, made by release {}; the next start replays {} records.",
        done.mark,
        done.product,
        done.mark - done.applied
    );
    for folder in aside {
        println!("What was there before is in {folder}; remove it when it is not needed any more.");
    }
    Ok(Ending::Good)
}
