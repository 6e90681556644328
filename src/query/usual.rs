//! Which anomalies are usual at their time of day: earlier days are read for those that a look found.

use std::collections::{HashMap, HashSet};

use crate::diagnose::usual::{Departure, Past};
use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Subject};
use crate::model::time::UnixNanos;

use super::error::Error;
use super::handle::Query;

/// Times of day that one look asks about; anomalies that begin and end in the same minutes share one. What lies at
/// others, the least severe, is reported as if it were not usual.
const TIMES_MAX: usize = 24;
/// Cells that one look asks for, one for each subject and minute: a few tenths of a second. What is beyond is reported.
const CELLS_MAX: usize = 20_000;

/// What a look judged, so that the next one need not ask again within the same minute. Holds the anomalies of one look.
#[derive(Debug, Clone, Default)]
pub struct Judged(HashMap<Asked, bool>);

/// An anomaly up to a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    subject: Subject,
    kind: AnomalyKind,
    onset_minute: i64,
    end: UnixNanos,
}

impl Asked {
    fn of(departure: &Departure) -> Self {
        let Anomaly { subject, kind, onset, .. } = departure.anomaly;
        let onset_minute = onset.bucket_seconds(COARSE_SECONDS);
        Self { subject, kind, onset_minute, end: departure.minutes().end() }
    }
}

impl Query {
    /// Takes away from `found` what is usual of it; `departures` are those of it that may be. `judged` is what the look
    /// before it judged, and becomes what this one did.
    ///
    /// # Errors
    /// When the store does not answer. Then `found` is as it was.
    pub(super) async fn drop_usual(
        &self,
        tenant: TenantNumber,
        found: &mut Vec<Anomaly>,
        departures: Vec<Departure>,
        judged: &mut Judged,
    ) -> Result<(), Error> {
        let mut told: Vec<(Departure, bool)> = Vec::new();
        let mut open = Vec::new();
        for departure in departures {
            match judged.0.get(&Asked::of(&departure)) {
                Some(is_usual) => told.push((departure, *is_usual)),
                None => open.push(departure),
            }
        }
        for together in by_time(open) {
            told.extend(self.judge(tenant, together).await?);
        }
        judged.0 = told.iter().map(|(departure, is_usual)| (Asked::of(departure), *is_usual)).collect();
        let usual: HashSet<u64> = told
            .iter()
            .filter(|(_, is_usual)| *is_usual)
            .map(|(departure, _)| departure.anomaly.id())
            .collect();
        found.retain(|anomaly| !usual.contains(&anomaly.id()));
        Ok(())
    }

    /// Judges departures that share their minutes.
    async fn judge(
        &self,
        tenant: TenantNumber,
        together: Vec<Departure>,
    ) -> Result<Vec<(Departure, bool)>, Error> {
        let Some(minutes) = together.first().map(|first| first.minutes().all()) else {
            return Ok(Vec::new());
        };
        let subjects: HashSet<Subject> = together.iter().map(|departure| departure.anomaly.subject).collect();
        let subjects: Vec<Subject> = subjects.into_iter().collect();
        let counted = self.store.minutes_of(tenant, &minutes, &subjects).await?;
        let work = tokio::task::spawn_blocking(move || {
            let past = Past { heard: &counted.heard, cells: &counted.cells };
            let judged = together.into_iter().map(|departure| {
                let is_usual = departure.is_usual(&past);
                (departure, is_usual)
            });
            judged.collect::<Vec<_>>()
        });
        work.await.map_err(|_| Error::Abandoned)
    }
}

/// Departures that share their minutes, the most severe first, within the bounds of one look.
fn by_time(mut departures: Vec<Departure>) -> Vec<Vec<Departure>> {
    departures.sort_by(|a, b| b.anomaly.severity.total_cmp(&a.anomaly.severity));
    let mut times: Vec<(usize, Vec<Departure>)> = Vec::new();
    let mut cells = 0;
    for departure in departures {
        let minutes = departure.minutes();
        let place = times.iter().position(|(_, together)| together[0].minutes() == minutes);
        let more = place.map_or_else(|| minutes.all().len(), |place| times[place].0);
        if cells + more > CELLS_MAX {
            break;
        }
        match place {
            Some(place) => times[place].1.push(departure),
            None if times.len() < TIMES_MAX => times.push((more, vec![departure])),
            None => continue,
        }
        cells += more;
    }
    times.into_iter().map(|(_, together)| together).collect()
}

#[cfg(test)]
mod tests {
    use crate::diagnose::usual::departures;
    use crate::model::id::OperationId;

    use super::*;

    /// Departures of so many subjects that begin in so many minutes, the later ones more severe.
    fn surges(subjects: u32, minutes: i64) -> Vec<Departure> {
        let surge = |subject: u32, minute: i64| Anomaly {
            subject: Subject::Operation(OperationId(subject)),
            kind: AnomalyKind::Traffic,
            onset: UnixNanos::from_seconds(1_800_000_000 + minute * COARSE_SECONDS),
            end: None,
            peak: 5.0,
            before: 1.0,
            severity: minute as f64 / minutes as f64,
        };
        let all: Vec<Anomaly> = (0..minutes)
            .flat_map(|minute| (0..subjects).map(move |subject| surge(subject, minute)))
            .collect();
        let all: Vec<&Anomaly> = all.iter().collect();
        departures(&all, &[], UnixNanos::from_seconds(1_800_010_000))
    }

    #[test]
    fn what_begins_and_ends_together_is_read_together() {
        let times = by_time(surges(3, 2));
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
        assert!(times[0][0].anomaly.onset > times[1][0].anomaly.onset, "the most severe first");
    }

    #[test]
    fn a_look_asks_for_so_much_and_no_more() {
        assert_eq!(by_time(surges(1, 100)).len(), TIMES_MAX);
        let times = by_time(surges(1_000, 1));
        let minutes = times[0][0].minutes().all().len();
        assert_eq!((times.len(), times[0].len()), (1, CELLS_MAX / minutes));
    }
}
