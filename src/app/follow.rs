//! What lies in files and may change while the server runs.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::fault::chain;

/// What a look at the files found.
pub(super) enum Seen {
    /// Nothing new.
    Same,
    /// Something else, which is in use from now on.
    Other,
    /// Something else that cannot be used, and why.
    Unusable(String),
}

/// Looks again and again, off the reactor, until `stop` or until there is nothing to look at. Logs `refused` when it begins to
/// find what cannot be used.
pub(super) fn follow(
    every: Duration,
    refused: &'static str,
    look: impl Fn() -> Option<Seen> + Clone + Send + 'static,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut fails = false;
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let failed = match tokio::task::spawn_blocking(look.clone()).await {
                Ok(None) => return,
                Ok(Some(Seen::Same)) => continue,
                Ok(Some(Seen::Other)) => None,
                Ok(Some(Seen::Unusable(reason))) => Some(reason),
                Err(defect) => Some(chain(&defect)),
            };
            // Once, not at each look; a counter goes on.
            if let Some(reason) = failed.as_ref().filter(|_| !fails) {
                error!(reason, "{refused}");
            }
            fails = failed.is_some();
        }
    })
}
