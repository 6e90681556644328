//! Rounds of a task that runs beside requests and questions: one that panics has failed, and is not the end of the task.

use std::time::Duration;

use tracing::error;

use crate::fault::{self, chain};
use crate::vitals::health::Health;

/// How long after a first panic the next round begins; after each further one twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The rounds of one task.
pub(super) struct Rounds {
    part: &'static str,
    health: Health,
    /// Panics since a round came to its end.
    panics: u32,
}

impl Rounds {
    /// Rounds of the task that looks after `part`.
    pub(super) const fn new(part: &'static str, health: Health) -> Self {
        Self { part, health, panics: 0 }
    }

    /// Works a round; none where it panicked. From then on the server is not ready, until a round comes to its end.
    pub(super) async fn work<T>(&mut self, round: impl Future<Output = T>) -> Option<T> {
        match fault::caught(round).await {
            Ok(done) => {
                if self.panics > 0 {
                    self.panics = 0;
                    self.health.set(self.part, true, "");
                }
                Some(done)
            }
            Err(panicked) => {
                self.panics = self.panics.saturating_add(1);
                let (part, error) = (self.part, chain(&panicked));
                self.health.set(part, false, format!("ended in {error}"));
                error!(part, error, "a round of upkeep ended in a panic; it is begun again");
                None
            }
        }
    }

    /// How long to wait for the next round, where `usual` is the pause after a round that came to its end.
    pub(super) fn pause(&self, usual: Duration) -> Duration {
        match self.panics {
            0 => usual,
            panics => PAUSE.saturating_mul(1 << (panics - 1).min(6)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_panic_the_server_is_not_ready_until_a_round_ends_and_pauses_grow() {
        let (health, usual) = (Health::default(), Duration::from_secs(300));
        health.started();
        let mut rounds = Rounds::new("index", health.clone());
        assert_eq!(rounds.work(async { 1 }).await, Some(1));
        assert_eq!(rounds.pause(usual), usual);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(rounds.work(async { panic!("a defect") }).await, None::<()>);
            assert_eq!(rounds.pause(usual), Duration::from_secs(seconds));
            let check = health.report().checks["index"].clone();
            assert!(!health.report().is_ready() && check.detail.contains("a defect"), "{check:?}");
        }
        assert_eq!(rounds.work(async { 2 }).await, Some(2));
        assert!(health.report().is_ready());
        assert_eq!(rounds.pause(usual), usual);
    }
}
