//! What leaves its normal course is written down, each episode once, so that it is known by one onset whoever asks, and
//! still known when the roll-ups that told it are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::rounds::Rounds;
use crate::clock::Clock;
use crate::diagnose::episode::{Episode, followed};
use crate::fault::{self, chain};
use crate::model::id::TenantNumber;
use crate::model::rollup::FINE_SECONDS;
use crate::model::time::{UnixNanos, Window};
use crate::query::{Error, Query};
use crate::store::Store;
use crate::store::anomalies::EpisodeRow;
use crate::vitals::health::Health;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(30);
/// How far back a look sees: as far as ten seconds are told apart.
const REACH: Duration = Duration::from_secs(30 * 60);
/// How late telemetry may come: what is newer is not looked at yet.
const LATE_MAX: Duration = Duration::from_secs(30);
/// How often it is looked for episodes that are old.
const FORGET_ROUNDS: u64 = 120;

/// What is looked at, and how long what was found is kept.
pub struct Followed {
    /// Tells what happened.
    pub query: Query,
    /// Where episodes are written.
    pub store: Store,
    /// The wall time.
    pub clock: Clock,
    /// Where panics are reported.
    pub health: Health,
    /// How long episodes are kept after they were last found.
    pub keep: Duration,
}

/// Starts looking; ends when `stop` is cancelled.
pub fn start(what: Followed, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut rounds = Rounds::new("anomalies", what.health.clone());
        let mut open = BTreeSet::new();
        for round in 0_u64.. {
            if let Some(Err(failure)) = rounds.work(what.round(round, &mut open, &stop)).await {
                warn!(error = chain(&failure), "anomalies were not written down; it is tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rounds.pause(INTERVAL)) => {}
            }
        }
    })
}

impl Followed {
    /// Looks at each tenant that was heard lately; `open` are those that have episodes that last.
    async fn round(
        &self,
        round: u64,
        open: &mut BTreeSet<TenantNumber>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        fault::point("upkeep.anomalies");
        let now = self.clock.now();
        if round.is_multiple_of(FORGET_ROUNDS) {
            self.store.forget_episodes(now.minus(self.keep)).await?;
        }
        let to = UnixNanos::from_seconds(now.minus(LATE_MAX).bucket_seconds(FINE_SECONDS));
        let mut tenants: BTreeSet<TenantNumber> = self.query.heard_tenants().into_iter().collect();
        tenants.append(open);
        for tenant in tenants {
            if stop.is_cancelled() {
                return Ok(());
            }
            match self.tenant(tenant, Window::new(to.minus(REACH), to)).await {
                Ok(true) => drop(open.insert(tenant)),
                Ok(false) => {}
                Err(failure) => {
                    open.insert(tenant);
                    let error = chain(&failure);
                    warn!(
                        tenant = tenant.0,
                        error, "anomalies of a tenant were not written down; it is tried again"
                    );
                }
            }
        }
        Ok(())
    }

    /// Looks at one tenant; answers whether it has episodes that last.
    async fn tenant(&self, tenant: TenantNumber, window: Window) -> Result<bool, Error> {
        let (slices, found, known) = self.query.look(tenant, window).await?;
        let work = tokio::task::spawn_blocking(move || {
            let changed = followed(&known, &found, &slices, window.to);
            let still = |episode: &Episode| episode.anomaly.end.is_none();
            let lasts = changed.iter().any(still)
                || known.iter().any(|known| still(known) && changed.iter().all(|it| !is_same(it, known)));
            (changed, lasts)
        });
        let (changed, lasts) = work.await.map_err(|_| Error::Abandoned)?;
        let rows: Vec<EpisodeRow> = changed.iter().map(row).collect();
        self.store.put_episodes(tenant, &rows).await?;
        Ok(lasts)
    }
}

fn is_same(a: &Episode, b: &Episode) -> bool {
    a.anomaly.id() == b.anomaly.id()
}

fn row(episode: &Episode) -> EpisodeRow {
    let Episode { anomaly, seen } = episode;
    EpisodeRow {
        subject: anomaly.subject,
        what: anomaly.kind as u8,
        onset: anomaly.onset,
        end: anomaly.end,
        seen: *seen,
        before: anomaly.before,
        peak: anomaly.peak,
        severity: anomaly.severity,
    }
}
