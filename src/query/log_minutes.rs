//! How many log records of each template came, minute by minute: read once, and added up for each window in question.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnose::split::Track;
use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::time::Window;
use crate::store::read::rollups::RollupKind;

use super::error::Error;
use super::handle::Query;
use super::patterns::{self, Patterns};
use super::sums::Sums;
use super::window;

/// The log records of some whole minutes.
#[derive(Debug)]
pub(super) struct LogMinutes {
    window: Window,
    /// Whether they are all there is: of long ago only hours are known.
    is_whole: bool,
    /// Minutes, by their beginning in seconds; what was counted, templates with one text for the oldest; and how often.
    counts: Vec<(i64, Subject, u64)>,
    patterns: Arc<Patterns>,
}

impl Query {
    /// The log records of the minutes that overlap `window`.
    pub(super) async fn log_minutes(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<LogMinutes, Error> {
        let window = window::whole_buckets(window, COARSE_SECONDS);
        let counted = |(minute, subject, cell): (i64, Subject, Cell)| (minute, subject, cell.count);
        if self.graph.covers_by(tenant, window, COARSE_SECONDS) {
            let graph = self.graph.clone();
            let is_of_logs = |subject: &Subject| matches!(subject, Subject::Logs(..));
            let work = tokio::task::spawn_blocking(move || {
                let cells = graph.series(tenant, window, COARSE_SECONDS, is_of_logs);
                cells.into_iter().map(counted).collect()
            });
            let counts = work.await.map_err(|_| Error::Abandoned)?;
            return self
                .with_patterns(
                    tenant,
                    LogMinutes { window, is_whole: true, counts, patterns: Arc::default() },
                )
                .await;
        }
        let cells = self.store.timeline(tenant, COARSE_SECONDS, window, &[RollupKind::Logs]).await?;
        let counts = cells.into_iter().map(counted).collect();
        // Asked afterwards: what is still kept was there before.
        let is_whole = self.store.keeps_minutes(window).await?;
        self.with_patterns(tenant, LogMinutes { window, is_whole, counts, patterns: Arc::default() }).await
    }

    async fn with_patterns(&self, tenant: TenantNumber, mut read: LogMinutes) -> Result<LogMinutes, Error> {
        let ids = patterns::named(read.counts.iter().map(|(_, subject, _)| subject));
        let patterns = self.patterns(tenant, &ids).await?;
        read.counts.iter_mut().for_each(|(_, subject, _)| *subject = patterns.subject(*subject));
        read.patterns = Arc::new(patterns);
        Ok(read)
    }
}

impl LogMinutes {
    /// The share of each template among its service's log records, minute by minute, as tracks.
    pub(super) fn tracks(&self, window: Window) -> Vec<Track> {
        let window = window::whole_buckets(window, COARSE_SECONDS);
        let minutes = window.from.seconds()..window.to.seconds();
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

    /// The templates that were counted, also those that others stand for.
    pub(super) fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.patterns)
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
            let mut sums = Sums::default();
            for (_, subject, count) in self.counts.iter().filter(|(minute, ..)| minutes.contains(minute)) {
                let cell: &mut Cell = sums.entry(*subject).or_default();
                cell.count += count;
            }
            sums
        });
        Some(sums.collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::model::log::Severity;
    use crate::model::time::UnixNanos;

    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to))
    }

    fn minutes(is_whole: bool) -> LogMinutes {
        let subject = |template| Subject::Logs(ServiceId(1), TemplateId(template), Severity::ERROR);
        let counts =
            vec![(60, subject(1), 2), (120, subject(1), 3), (120, subject(2), 5), (180, subject(1), 7)];
        LogMinutes { window: window(60, 240), is_whole, counts, patterns: Arc::default() }
    }

    #[test]
    fn each_window_has_the_records_of_its_minutes() {
        let sums = minutes(true).sums(&[window(60, 180), window(120, 240), window(0, 0)]).unwrap();
        let counted: Vec<u64> = sums.iter().map(|sums| sums.values().map(|cell| cell.count).sum()).collect();
        assert_eq!(counted, [10, 15, 0]);
        assert_eq!(sums[0].len(), 2, "one sum for each template");
    }

    #[test]
    fn what_was_not_read_is_not_taken_for_nothing() {
        assert!(minutes(true).sums(&[window(60, 180), window(0, 120)]).is_none(), "it begins before");
        assert!(minutes(true).sums(&[window(180, 300)]).is_none(), "it ends after");
        assert!(minutes(false).sums(&[window(60, 180)]).is_none(), "hours may tell more");
    }

    #[test]
    fn tracks_are_shares_of_their_minutes_in_order() {
        let tracks = minutes(true).tracks(window(60, 240));
        let [Track::Share(first), Track::Share(second)] = &tracks[..] else { panic!("{tracks:?}") };
        assert_eq!(first[..], [(60, 2, 2), (120, 3, 8), (180, 7, 7)]);
        assert_eq!(second[..], [(60, 0, 2), (120, 5, 8), (180, 0, 7)]);
    }
}
