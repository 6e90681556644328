//! Which log templates rest, and which are forgotten.
//!
//! They *rest* and are forgotten as names are, see [`names`](super::names): what no log record that is kept has takes no room
//! among the templates of its service, and as many that rest are kept as may take room, for roll-ups, which go further back.
//! But it is the miner that gives their ids to lines, long before these are stored. So it is said first from which day on
//! templates stay, and whatever is counted from then on counts as seen on it at least. Then the miner is told which ones are to go
//! ([`Store::aged_templates`]); those that it forgot are removed with the first commit that it made without them. What was
//! counted meanwhile stays until it is old again. After a crash they are looked for anew.

use std::sync::{MutexGuard, PoisonError};

use super::commit::Slot;
use super::day::Day;
use super::error::Error;
use super::names::Oldest;
use super::partition::{Family, Partitions};
use super::read::templates::SERVICES_TOGETHER;
use super::rows::GoneTemplate;
use super::{Inner, Store};
use crate::model::id::{ServiceId, TemplateId, TenantNumber};

/// Templates that the miner is told of at a time: their rows cost the commit that removes them some milliseconds.
const TOLD_MAX: usize = 1_000;

/// What age made of the templates that are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aged {
    /// Those that are to be forgotten, and then removed by [`Commit::gone`](super::rows::Commit::gone).
    pub gone: Vec<(TenantNumber, ServiceId, GoneTemplate)>,
    /// How many of each service take room, as far as that changed.
    pub room: Vec<(TenantNumber, ServiceId, usize)>,
}

/// How far forgetting is.
#[derive(Debug)]
pub(super) struct Aging {
    /// What was last counted before this day rests. It only rises.
    floor: Day,
    /// By which days it was looked for those that are to be forgotten.
    oldest: Option<Oldest>,
    /// Services that have some.
    due: Vec<Due>,
    /// What the miner has not asked for yet.
    told: Aged,
}

/// A service that has templates which are to be forgotten.
#[derive(Debug, Clone, Copy)]
struct Due {
    tenant: TenantNumber,
    service: ServiceId,
    /// How many, those that were counted last longest ago.
    left: usize,
    /// The last of those that the miner was told of.
    after: Option<(Day, TemplateId)>,
}

impl Aging {
    /// For a store with these partitions.
    pub(super) fn of(partitions: &Partitions) -> Self {
        let floor = oldest_days(partitions).map_or(Day(i32::MIN), |oldest| oldest.usual);
        Self { floor, oldest: None, due: Vec::new(), told: Aged::default() }
    }

    /// What was last counted before this day rests.
    pub(super) const fn floor(&self) -> Day {
        self.floor
    }

    /// Adds templates of the service that is next, of which `most` were looked for.
    fn tell(&mut self, found: &[(Day, TemplateId)], (before, most): (Day, usize)) {
        let Some(next) = self.due.last_mut() else { return };
        let (tenant, service) = (next.tenant, next.service);
        let gone = found.iter().map(|(_, id)| (tenant, service, GoneTemplate { id: *id, before }));
        self.told.gone.extend(gone);
        next.left = next.left.saturating_sub(found.len());
        next.after = found.last().copied().or(next.after);
        if next.left == 0 || found.len() < most {
            self.due.pop();
        }
    }
}

impl Store {
    /// What became of templates since the last call. Whoever gives their ids to lines asks before each commit that it makes,
    /// forgets those that are to be forgotten, and removes them with that commit.
    pub fn aged_templates(&self) -> Aged {
        std::mem::take(&mut self.inner.aging().told)
    }

    /// Chooses some templates that are to be forgotten, and answers how many. None while those before were not asked for.
    pub(super) async fn age_templates(&self) -> Result<usize, Error> {
        let Some(oldest) = self.inner.rest_templates().await? else { return Ok(0) };
        if self.inner.aging().oldest != Some(oldest) {
            self.look_for_aged(oldest).await?;
        }
        if !self.inner.aging().told.gone.is_empty() {
            return Ok(0);
        }
        let (before, mut told) = (oldest.raw, 0);
        while told < TOLD_MAX {
            let Some(next) = self.inner.aging().due.last().copied() else { break };
            let most = next.left.min(TOLD_MAX - told);
            let found = self.templates_seen_before(next.service, before, next.after, most).await?;
            told += found.len();
            self.inner.aging().tell(&found, (before, most));
        }
        Ok(told)
    }

    /// Looks which services have templates that nothing which is kept has, or more that rest than are kept.
    async fn look_for_aged(&self, oldest: Oldest) -> Result<(), Error> {
        let days = [self.inner.aging().floor, oldest.raw, oldest.any];
        let resting_max = self.inner.options.resting_templates_max;
        let (mut due, mut room) = (Vec::new(), Vec::new());
        for counted in self.templates_of_services_by(days, SERVICES_TOGETHER).await? {
            let service = counted.service;
            // Those of a service that is forgotten go after it.
            let Some(tenant) = self.names().service_info(service).map(|info| info.tenant) else { continue };
            room.push((tenant, service, counted.taking_room()));
            let [_, without_records, without_any] = counted.before;
            let left = without_any.max(without_records.saturating_sub(resting_max));
            if left > 0 {
                due.push(Due { tenant, service, left, after: None });
            }
        }
        let mut aging = self.inner.aging();
        (aging.oldest, aging.due, aging.told.room) = (Some(oldest), due, room);
        Ok(())
    }
}

impl Inner {
    pub(super) fn aging(&self) -> MutexGuard<'_, Aging> {
        self.aging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has templates rest of which no record is kept, from the next commit on. None where no record is kept at all.
    async fn rest_templates(&self) -> Result<Option<Oldest>, Error> {
        let slot = self.writing().await?;
        let Slot::Ready(writer) = &*slot else { return Err(Error::Stopped) };
        let Some(oldest) = oldest_days(&writer.partitions) else { return Ok(None) };
        let mut aging = self.aging();
        aging.floor = aging.floor.max(oldest.usual);
        Ok(Some(oldest))
    }
}

/// The oldest days of log records and of what is counted of them: there is no record that would be told by a template last
/// counted before. None where there are no records.
fn oldest_days(partitions: &Partitions) -> Option<Oldest> {
    let days = |family| partitions.all(family).into_iter();
    let raw = days(Family::Logs).min()?;
    let any = [Family::Logs, Family::Minute, Family::Hour].into_iter().flat_map(days).min()?;
    let since = Oldest::of(partitions)?.usual;
    let usual = days(Family::Logs).filter(|day| *day >= since).min().unwrap_or(raw);
    Some(Oldest { usual, raw, any })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_templates_is_log_records_and_roll_ups_of_them() {
        let oldest = |kept: &[(i32, &[Family])]| {
            let partitions = kept
                .iter()
                .flat_map(|(day, families)| families.iter().map(|family| family.partition(Day(*day))));
            let partitions = Partitions(partitions.collect());
            oldest_days(&partitions).map(|oldest| [oldest.usual.0, oldest.raw.0, oldest.any.0])
        };
        let all = &[Family::Spans, Family::Logs, Family::Points][..];
        let (logs, points) = (&[Family::Logs][..], &[Family::Points][..]);
        let (minutes, hours) = (&[Family::Minute][..], &[Family::Minute, Family::Hour][..]);
        let others = &[Family::Spans, Family::Points, Family::Fine, Family::SeriesHours][..];
        assert_eq!(oldest(&[(40, others)]), None);
        // Points are kept for longer.
        let usual = [(38, points), (39, points), (40, all), (41, all)];
        let and_usual = |before: &[(i32, &[Family])]| oldest(&[before, &usual[..]].concat());
        assert_eq!(and_usual(&[(20, others)]), Some([40, 40, 40]));
        assert_eq!(and_usual(&[(35, minutes)]), Some([40, 40, 35]));
        assert_eq!(and_usual(&[(35, hours)]), Some([40, 40, 32]));
        // One came late.
        assert_eq!(and_usual(&[(30, logs)]), Some([40, 30, 30]));
    }
}
