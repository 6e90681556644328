//! How many log records of each template came, minute by minute: read once, and added up for each window in question.

use std::collections::BTreeMap;

use crate::diagnose::split::Track;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::time::Window;
use crate::store::read::rollups::RollupKind;

use super::error::Error;
use super::handle::Query;
use super::sums::Sums;
use super::window;

/// The log records of some whole minutes.
#[derive(Debug)]
pub(super) struct LogMinutes {
    window: Window,
    /// Whether they are all there is: of long ago only hours are known.
    is_whole: bool,
    /// Minutes, by their beginning in seconds; what was counted; and how often.
    counts: Vec<(i64, Subject, u64)>,
}

impl Query {
    /// The log records of the minutes that overlap `window`.
    pub(super) async fn log_minutes(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<LogMinutes, Error> {
        let window = window::whole_buckets(window, COARSE_SECONDS);
        let cells = self.store.timeline(tenant, COARSE_SECONDS, window, &[RollupKind::Logs]).await?;
        let counts = cells.into_iter().map(|(minute, subject, cell)| (minute, subject, cell.count));
        let counts = counts.collect();
        // Asked afterwards: what is still kept was there before.
        let is_whole = self.store.keeps_minutes(window).await?;
        Ok(LogMinutes { window, is_whole, counts })
    }
}

impl LogMinutes {
    /// The share of each template among its service's log records, minute by minute, as tracks.
    pub(super) fn tracks(&self, window: Window) -> Vec<Track> {
        let window = window::whole_buckets(window, COARSE_SECONDS);
        let minutes = window.from.seconds()..=window.to.seconds();
        let mut all: BTreeMap<(ServiceId, i64), u64> = BTreeMap::new();
        let mut own: BTreeMap<(ServiceId, TemplateId), BTreeMap<i64, u64>> = BTreeMap::new();
        for (minute, subject, count) in self.counts.iter().filter(|(minute, ..)| minutes.contains(minute)) {
            let Subject::Logs(service, template, _) = *subject else { continue };
            *all.entry((service, *minute)).or_default() += count;
            *own.entry((service, template)).or_default().entry(*minute).or_default() += count;
        }
        let track = |((service, _), counts): (&(ServiceId, TemplateId), &BTreeMap<i64, u64>)| {
            let minutes = all.range((*service, i64::MIN)..=(*service, i64::MAX));
            Track::Share(
                minutes.map(|((_, at), of)| (*at, counts.get(at).copied().unwrap_or(0), *of)).collect(),
            )
        };
        own.iter().map(track).collect()
    }

    /// How many there were in each of `windows`, which are whole minutes; none where minutes do not
    /// tell all of it.
    pub(super) fn sums(&self, windows: &[Window]) -> Option<Vec<Sums>> {
        let is_known = |window: &Window| {
            window.to <= window.from || self.window.from <= window.from && window.to <= self.window.to
        };
        if !self.is_whole || !windows.iter().all(is_known) {
            return None;
        }
        let sums = windows.iter().map(|window| {
            let minutes = window.from.seconds()..window.to.seconds();
            let mut sums = Sums::new();
            for (_, subject, count) in self.counts.iter().filter(|(minute, ..)| minutes.contains(minute)) {
                let cell: &mut Cell = sums.entry(*subject).or_default();
                cell.count += count;
            }
            sums
        });
        Some(sums.collect())
    }
}
