//! The server while it answers: what ends it, and how it stops.

use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Addresses;
use super::tasks::Tasks;
use crate::config::Config;
use crate::fault::Panicked;
use crate::journal::Journal;
use crate::pipeline;
use crate::receive::Receive;
use crate::store::Store;
use crate::vitals::health::Health;
use crate::vitals::spans::Spans;

/// Least time that journal and store have to close, however late the rest of a stop was.
const CLOSING: Duration = Duration::from_secs(2);

/// The server answers.
pub struct Running {
    pub(super) addresses: Addresses,
    pub(super) config: Config,
    pub(super) health: Health,
    pub(super) stop_listening: CancellationToken,
    pub(super) stop_upkeep: CancellationToken,
    pub(super) servers: Tasks,
    pub(super) receive: Receive,
    pub(super) pipeline: pipeline::Handle,
    pub(super) applier: JoinHandle<()>,
    pub(super) upkeep: Tasks,
    pub(super) spans: Spans,
    pub(super) journal: Journal,
    pub(super) store: Store,
}

impl Running {
    /// The addresses that clients use.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Waits until the server can no longer do its work, and is not ready from then on; answers which part it was. Never ends
    /// while it can.
    pub async fn failed(&mut self) -> Error {
        let (part, panicked) = tokio::select! {
            ended = &mut self.applier => match ended.map_err(JoinError::try_into_panic) {
                Err(Ok(payload)) => ("applier", Panicked::of(&*payload)),
                // By itself it ends only when it cannot go on, and has said why.
                _ => {
                    self.health.set("pipeline", false, "what is accepted is no longer stored");
                    return anyhow!("the server cannot go on; see the log");
                }
            },
            () = self.journal.ended() => {
                self.health.set("journal", false, "its writer ended in a panic: nothing is accepted");
                return anyhow!("the server cannot go on: the journal's writer ended in a panic; see the log");
            }
            ended = self.servers.panicked() => ended,
            ended = self.upkeep.panicked() => ended,
        };
        self.health.set(part, false, panicked.to_string());
        Error::new(panicked).context(format!("the server cannot go on: its {part} ended"))
    }

    /// Waits until everything that was acknowledged is stored.
    ///
    /// # Errors
    /// When that takes longer than `patience`.
    pub async fn settled(&self, patience: Duration) -> Result<()> {
        let settled = async {
            loop {
                let caught_up = self.store.applied() >= self.journal.stats().appended.0;
                if caught_up && self.pipeline.waiting().0 == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, settled).await.context("the store does not keep up")
    }

    /// Stops: no new work is taken, what was accepted is stored, and what does not fit into the deadline stays in the
    /// journal for the next start.
    pub async fn stop(self) {
        let deadline = tokio::time::Instant::now() + self.config.shutdown_timeout;
        info!("stopping");
        self.health.stopping();
        // Clients that still come are told to come again, before the sockets close.
        self.receive.set_serving(false);
        self.stop_listening.cancel();
        // Each ends by itself within half the deadline.
        self.servers.ended(deadline).await;
        // Nobody asks any more; the last spans go out while the rest is stored.
        self.spans.stop();
        self.pipeline.stop();
        if tokio::time::timeout_at(deadline, self.applier).await.is_err() {
            warn!("not everything was stored in time; the rest stays in the journal");
        }
        self.stop_upkeep.cancel();
        self.upkeep.ended(deadline).await;
        let journal = self.journal.clone();
        let close = async move {
            let _ = tokio::task::spawn_blocking(move || journal.stop()).await;
            self.store.stop().await;
        };
        let last = deadline.max(tokio::time::Instant::now() + CLOSING);
        if tokio::time::timeout_at(last, close).await.is_err() {
            warn!("journal or store did not close in time; what was acknowledged is in the journal");
        }
        info!("stopped");
    }
}
