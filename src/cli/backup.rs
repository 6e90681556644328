//! `otelcontext backup DIR`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::clock::Clock;
use crate::transfer::backup::{self, Source};
use crate::transfer::progress::Progress;
use crate::vitals::log;

use super::Ending;
use super::progress;

/// Backs up journal and database while a server runs or not.
pub(super) fn run(directory: &Path, as_json: bool) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    super::only_on_sqlite(&config)?;
    let source = Source { data_dir: config.data_dir, database: config.database };
    let done = super::runtime()?.block_on(async {
        let progress = Progress::default();
        let _shown = progress::show(progress.clone());
        backup::run(&source, directory, &Clock::system(), &progress).await
    });
    let done = done.with_context(|| format!("backing up to {}", directory.display()))?;
    if as_json {
        let value = json!({
            "directory": directory.display().to_string(),
            "mark": done.mark,
            "applied": done.applied,
            "bytes": done.bytes,
            "segments": done.segments,
            "log_growth_bytes": done.log_growth,
        });
        println!("{value:#}");
    } else {
        println!(
            "{} holds everything up to record {}: {} bytes, with {} journal segments. While the database was copied \
             its write-ahead log grew by {} bytes.",
            directory.display(),
            done.mark,
            done.bytes,
            done.segments,
            done.log_growth
        );
    }
    Ok(Ending::Good)
}
