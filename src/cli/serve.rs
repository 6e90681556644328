//! `otelcontext serve`.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::app::App;
use crate::clock::Clock;
use crate::fault;
use crate::vitals::log;

use super::Ending;

/// How long calls to the system that are under way at the end have to return.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// Runs the server until SIGTERM or SIGINT.
pub(super) fn run() -> Result<Ending> {
    let environment = super::environment();
    if let Some((point, _)) = environment.get("OTELCONTEXT_CRASH_AT") {
        fault::crash_at(point);
    }
    let loaded = match super::of_server(&environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => return Ok(super::refused(&mistakes)),
    };
    log::start(log::Options { level: loaded.config.log_level });
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
    let runtime = super::runtime()?;
    let ending = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let bound = App::bind(loaded.config, Clock::system()).await?;
        // Starting takes as long as it takes to replay the journal, or until another server hands over.
        let mut running = tokio::select! {
            running = bound.start() => running?,
            _ = terminate.recv() => return Ok(Ending::Good),
            _ = interrupt.recv() => return Ok(Ending::Good),
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // What was acknowledged is in the journal: the next start goes on from there.
            failure = running.failed() => return Err(failure),
        }
        tokio::select! {
            () = running.stop() => {}
            // A second signal means now; the journal has everything that was acknowledged.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(Ending::Good)
    });
    // What hangs in a call to the system does not hold up the end for long.
    runtime.shutdown_timeout(LAST_CALLS);
    ending
}
