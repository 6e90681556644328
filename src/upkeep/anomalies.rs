//! What leaves its normal course is written down, each episode once, so that it is known by one onset whoever asks, and
//! still known when the roll-ups that told it are gone. Whoever waits for news of a tenant is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::rounds::Rounds;
use crate::clock::Clock;
use crate::diagnose::episode::{Episode, followed, remembered};
use crate::fault::{self, chain};
use crate::model::id::TenantNumber;
use crate::model::rollup::FINE_SECONDS;
use crate::model::time::{UnixNanos, Window};
use crate::query::usual::Judged;
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
    /// Tells what happened, and whoever waits for news of it.
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

/// What is remembered of a tenant from one look to the next.
#[derive(Clone)]
struct Remembered {
    /// The episodes that the next look may find again.
    episodes: Vec<Episode>,
    /// What was usual at its time of day, to know the way back from it: never written down.
    usual: Vec<Episode>,
    /// Which anomalies were usual at their time of day.
    judged: Judged,
}

/// Starts looking; ends when `stop` is cancelled.
pub fn start(what: Followed, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut rounds = Rounds::new("anomalies", what.health.clone());
        let mut known = BTreeMap::new();
        for round in 0_u64.. {
            if let Some(Err(failure)) = rounds.work(what.round(round, &mut known, &stop)).await {
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
    /// Looks at each tenant that was heard lately; `known` is what is remembered of those that were looked at before, so that
    /// the store is asked for it once.
    async fn round(
        &self,
        round: u64,
        known: &mut BTreeMap<TenantNumber, Remembered>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        fault::point("upkeep.anomalies");
        let now = self.clock.now();
        if round.is_multiple_of(FORGET_ROUNDS) {
            self.store.forget_episodes(now.minus(self.keep)).await?;
        }
        let to = UnixNanos::from_seconds(now.minus(LATE_MAX).bucket_seconds(FINE_SECONDS));
        let mut tenants: BTreeSet<TenantNumber> = self.query.heard_tenants().into_iter().collect();
        let is_open = |episode: &Episode| episode.anomaly.end.is_none();
        known.retain(|tenant, known| tenants.contains(tenant) || known.episodes.iter().any(is_open));
        tenants.extend(known.keys());
        for tenant in tenants {
            if stop.is_cancelled() {
                return Ok(());
            }
            let window = Window::new(to.minus(REACH), to);
            // What could not be written down is found again.
            match self.tenant(tenant, window, known.get(&tenant)).await {
                Ok(followed) => drop(known.insert(tenant, followed)),
                Err(failure) => {
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

    /// Looks at one tenant; answers what the next look has to know.
    async fn tenant(
        &self,
        tenant: TenantNumber,
        window: Window,
        known: Option<&Remembered>,
    ) -> Result<Remembered, Error> {
        let Remembered { episodes: known, usual, mut judged } = match known {
            Some(known) => known.clone(),
            None => {
                let episodes = self.query.known_episodes(tenant, window).await?;
                Remembered { episodes, usual: Vec::new(), judged: Judged::default() }
            }
        };
        let look = self.query.look(tenant, window, (&known, &usual), &mut judged).await?;
        let work = tokio::task::spawn_blocking(move || {
            let changed = followed(&known, &look.found, &look.slices, window.to);
            // One that is new, has ended or goes on; those that only grew are none.
            let lasts = |episode: &Episode| (episode.anomaly.id(), episode.anomaly.end.is_none());
            let lasted: HashMap<u64, bool> = known.iter().map(lasts).collect();
            let is_news = changed.iter().map(lasts).any(|(id, lasts)| lasted.get(&id) != Some(&lasts));
            let episodes = remembered(known, &changed, window.from);
            let used = followed(&usual, &look.usual, &look.slices, window.to);
            let usual = remembered(usual, &used, window.from);
            (changed, is_news, Remembered { episodes, usual, judged })
        });
        let (changed, is_news, remembered) = work.await.map_err(|_| Error::Abandoned)?;
        let rows: Vec<EpisodeRow> = changed.iter().map(row).collect();
        self.store.put_episodes(tenant, &rows).await?;
        if is_news {
            self.query.anomalies_changed(tenant);
        }
        Ok(remembered)
    }
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
