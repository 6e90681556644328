//! What left its normal course, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::warn;

use crate::diagnose::anomaly;
use crate::diagnose::episode::{
    Episode, GAP, LASTS_MAX, UNHEARD_MAX, identified, unknown, without_ways_back,
};
use crate::diagnose::evidence::Slice;
use crate::diagnose::replaced::Replaced;
use crate::diagnose::usual::departures;
use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::fault::chain;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::rollup::Subject;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::store::anomalies::EpisodeRow;

use super::error::Error;
use super::handle::Query;
use super::usual::Judged;
use super::window;

/// Trouble that began longer before a window is what the window is used to.
const TROUBLE_MAX: Duration = Duration::from_secs(6 * 3600);

/// What left its normal course.
pub struct Anomalies {
    /// The anomalies, earliest onset first.
    pub found: Vec<Anomaly>,
    /// False where earlier days could not be read: then some may be usual at their time of day.
    pub is_compared: bool,
}

/// What upkeep sees.
pub struct Look {
    /// What it looked at.
    pub slices: Vec<Slice>,
    /// The anomalies in it, without those that a later look has to judge.
    pub found: Vec<Anomaly>,
    /// What would be an anomaly, were it not usual at its time of day.
    pub usual: Vec<Anomaly>,
}

impl Query {
    /// The anomalies that overlap the window `asked`, earliest onset first; of one service or of all. Those that upkeep
    /// found go by the onset that it found, whatever the window. What is usual at its time of day is none, and so is that
    /// one falls silent while nobody is heard.
    ///
    /// # Errors
    /// When the name is unknown or the store does not answer, except about earlier days.
    pub async fn anomalies(
        &self,
        scope: &Scope,
        asked: Window,
        service: Option<&str>,
    ) -> Result<Anomalies, Error> {
        let wanted = service.map(|name| self.service(scope, name)).transpose()?.map(|info| info.id);
        let Some(tenant) = self.tenant(scope) else {
            return Ok(Anomalies { found: Vec::new(), is_compared: true });
        };
        let reach = Window::new(window::plain(asked).before.from, asked.to);
        let is_wanted = |subject: Subject| wanted.is_none_or(|wanted| self.node_of(subject) == Some(wanted));
        let (mut slices, mut known) =
            tokio::try_join!(Box::pin(self.slices(tenant, reach)), self.known_episodes(tenant, asked))?;
        let heard = window::Heard::of(&slices);
        slices.retain(|slice| is_wanted(slice.subject));
        known.retain(|episode| is_wanted(episode.anomaly.subject));
        let to = asked.to.min(self.clock.now());
        let work = tokio::task::spawn_blocking(move || {
            let options = anomaly::Options::default();
            let mut found = anomaly::anomalies(&slices, &options);
            let replaced = Replaced::new(&slices, options.late_s);
            known.retain(|episode| !replaced.is(&episode.anomaly));
            found
                .retain(|anomaly| anomaly.onset < asked.to && anomaly.end.is_none_or(|end| end > asked.from));
            found.retain(|anomaly| !heard.is_unheard(anomaly, to));
            let departures = departures(&unknown(&known, &found), &slices, heard.until(to));
            (found, departures, known)
        });
        let (mut found, departures, known) = work.await.map_err(|_| Error::Abandoned)?;
        let told = Box::pin(self.told_of(tenant, departures, &mut Judged::default())).await;
        if let Some(failure) = &told.failure {
            warn!(
                tenant = tenant.0,
                error = chain(failure),
                "earlier days were not read; anomalies are told"
            );
        }
        told.drop_usual(&mut found);
        let mut found = identified(found, &known, asked.to);
        found.retain(|anomaly| anomaly.end.is_none_or(|end| end > asked.from));
        Ok(Anomalies { found, is_compared: told.failure.is_none() })
    }

    /// Tenants of which something was heard in the last hours.
    pub fn heard_tenants(&self) -> Vec<TenantNumber> {
        self.graph.tenants()
    }

    /// What upkeep looks at: `window`, and the anomalies in it. That one falls silent while nobody is heard is none, and so is
    /// what is usual at its time of day, or the way back from one of the `usual` episodes, unless it is one of the `known`
    /// ones; `judged` is what the look before it judged.
    ///
    /// # Errors
    /// When the store does not answer, which is asked where the graph does not remember the window. Where it does not answer
    /// about earlier days, what they have to judge waits for a later look.
    pub async fn look(
        &self,
        tenant: TenantNumber,
        window: Window,
        (known, usual): (&[Episode], &[Episode]),
        judged: &mut Judged,
    ) -> Result<Look, Error> {
        let slices = Box::pin(self.slices_within(tenant, window)).await?;
        // The look ends where nothing more is to come, but for calls that last.
        let options = anomaly::Options { late_s: 0, ..anomaly::Options::default() };
        let (known, usual) = (known.to_vec(), usual.to_vec());
        let work = tokio::task::spawn_blocking(move || {
            let mut found = anomaly::anomalies(&slices, &options);
            let heard = window::Heard::of(&slices);
            found.retain(|anomaly| !heard.is_unheard(anomaly, window.to));
            without_ways_back(&mut found, &known, &usual);
            let departures = departures(&unknown(&known, &found), &slices, heard.until(window.to));
            (slices, found, departures)
        });
        let (slices, mut found, departures) = work.await.map_err(|_| Error::Abandoned)?;
        let told = Box::pin(self.told_of(tenant, departures, judged)).await;
        if let Some(failure) = &told.failure {
            warn!(tenant = tenant.0, error = chain(failure), "earlier days were not read; it is tried again");
        }
        told.drop_usual(&mut found);
        judged.put_off(&told, &mut found);
        Ok(Look { slices, found, usual: told.usual })
    }

    /// The episodes that are stored and overlap `window`, or ended so shortly before it that what begins in it may be one of
    /// them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn known_episodes(&self, tenant: TenantNumber, window: Window) -> Result<Vec<Episode>, Error> {
        // What ended within the gap may go on in the window; as much again for steps of minutes.
        let window = Window::new(window.from.minus(GAP + GAP), window.to);
        Ok(self.store.episodes(tenant, window, LASTS_MAX).await?.into_iter().map(episode).collect())
    }

    /// What to compare a window with where trouble began before it that goes on in it, which would else be compared with
    /// itself: the time just before the trouble, and the services that show it. None where there is no such trouble.
    pub(super) async fn before_trouble(
        &self,
        tenant: TenantNumber,
        asked: Window,
    ) -> Result<Option<(Window, BTreeSet<ServiceId>)>, Error> {
        let middle = asked.from.plus(asked.length() / 2);
        let lasts = |Episode { anomaly, seen }: &Episode| {
            let began = anomaly.onset < asked.from && asked.from <= anomaly.onset.plus(TROUBLE_MAX);
            let goes_on = anomaly.end.unwrap_or(seen.plus(UNHEARD_MAX)) > middle;
            began && goes_on && anomaly.severity >= window::PLAIN_MIN && window::is_symptom(anomaly)
        };
        let known = self.known_episodes(tenant, asked).await?;
        let lasting: Vec<&Anomaly> = known.iter().filter(|it| lasts(it)).map(|it| &it.anomaly).collect();
        let Some(onset) = lasting.iter().map(|it| it.onset).min() else { return Ok(None) };
        let services = lasting.iter().filter_map(|it| self.node_of(it.subject)).collect();
        let length = window::plain(asked).before.length();
        Ok(Some((Window::new(onset.minus(length), onset), services)))
    }

    /// The node that a subject belongs to; the callee's for edges.
    pub fn node_of(&self, subject: Subject) -> Option<ServiceId> {
        match subject {
            Subject::Operation(operation) | Subject::Edge(_, operation) => {
                self.names().operation_info(operation).map(|info| info.service)
            }
            Subject::Instance(service, _) | Subject::Logs(service, ..) => Some(service),
        }
    }
}

fn episode(row: EpisodeRow) -> Episode {
    let EpisodeRow { subject, what, onset, end, seen, before, peak, severity } = row;
    let kind = match what {
        0 => AnomalyKind::Errors,
        1 => AnomalyKind::Latency,
        2 => AnomalyKind::Traffic,
        _ => AnomalyKind::Silence,
    };
    Episode { anomaly: Anomaly { subject, kind, onset, end, peak, before, severity }, seen }
}
