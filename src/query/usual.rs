//! Which anomalies are usual at their time of day: earlier days are read for those that a look found.

use std::collections::{HashMap, HashSet};

use crate::diagnose::usual::{Departure, Minutes, Past};
use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::model::id::TenantNumber;
use crate::model::rollup::Subject;

use super::error::Error;
use super::handle::Query;

/// Times of day that one look asks about; anomalies that begin and end in the same minutes share one. What lies at
/// others, the least severe, is left undecided.
const TIMES_MAX: usize = 24;
/// Cells that one look asks for, one for each subject and minute: a few tenths of a second. What is beyond is left undecided.
const CELLS_MAX: usize = 20_000;
/// Looks that an anomaly may be left undecided before it is one.
const LOOKS_MAX: u32 = 5;

/// What a look judged, so that the next one need not ask again as long as the minutes that judge are the same. Holds the
/// anomalies of one look.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    is_usual: HashMap<Asked, bool>,
    /// How many looks in a row left an anomaly undecided.
    put_off: HashMap<(Subject, AnomalyKind), u32>,
}

/// An anomaly up to the minutes that judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked {
    subject: Subject,
    kind: AnomalyKind,
    minutes: Minutes,
}

/// What earlier days tell of the departures of a look.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Those that are usual.
    pub(super) usual: Vec<Anomaly>,
    /// Those of which nothing is told, as they are beyond the bounds of a look or the store did not answer.
    undecided: Vec<Anomaly>,
    /// Why the store did not answer.
    pub(super) failure: Option<Error>,
}

impl Asked {
    fn of(departure: &Departure) -> Self {
        let Anomaly { subject, kind, .. } = departure.anomaly;
        Self { subject, kind, minutes: departure.minutes() }
    }
}

impl Told {
    /// Takes from `found` what is usual of it.
    pub(super) fn drop_usual(&self, found: &mut Vec<Anomaly>) {
        drop_all(&self.usual, found);
    }
}

impl Judged {
    /// Takes from `found` what a look leaves undecided, for a few looks: then it is an anomaly after all.
    pub(super) fn put_off(&mut self, told: &Told, found: &mut Vec<Anomaly>) {
        let before = std::mem::take(&mut self.put_off);
        let mut waiting = Vec::new();
        for anomaly in &told.undecided {
            let key = (anomaly.subject, anomaly.kind);
            let looks = before.get(&key).copied().unwrap_or(0).saturating_add(1);
            self.put_off.insert(key, looks);
            if looks <= LOOKS_MAX {
                waiting.push(anomaly.clone());
            }
        }
        drop_all(&waiting, found);
    }
}

fn drop_all(these: &[Anomaly], found: &mut Vec<Anomaly>) {
    let ids: HashSet<u64> = these.iter().map(Anomaly::id).collect();
    found.retain(|anomaly| !ids.contains(&anomaly.id()));
}

impl Query {
    /// What earlier days tell of `departures`. `judged` is what the look before it judged, and becomes what this one did.
    pub(super) async fn told_of(
        &self,
        tenant: TenantNumber,
        departures: Vec<Departure>,
        judged: &mut Judged,
    ) -> Told {
        let mut told = Told::default();
        let mut is_usual = HashMap::new();
        let mut open = Vec::new();
        for departure in departures {
            let asked = Asked::of(&departure);
            match judged.is_usual.get(&asked) {
                Some(known) => {
                    is_usual.insert(asked, *known);
                    told.usual.extend(known.then_some(departure.anomaly));
                }
                None => open.push(departure),
            }
        }
        let (times, beyond) = by_time(open, &judged.put_off);
        told.undecided.extend(beyond.into_iter().map(|departure| departure.anomaly));
        for together in times {
            let anomalies = together.iter().map(|departure| departure.anomaly.clone());
            // Who does not answer is asked no more in this look.
            if told.failure.is_some() {
                told.undecided.extend(anomalies);
                continue;
            }
            let anomalies: Vec<Anomaly> = anomalies.collect();
            match self.judge(tenant, together).await {
                Ok(answers) => {
                    for (departure, answer) in answers {
                        is_usual.insert(Asked::of(&departure), answer);
                        told.usual.extend(answer.then_some(departure.anomaly));
                    }
                }
                Err(failure) => {
                    told.undecided.extend(anomalies);
                    told.failure = Some(failure);
                }
            }
        }
        judged.is_usual = is_usual;
        told
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

/// Departures that share their minutes, those that were `put_off` first, then the most severe, within the bounds of one
/// look; and those that are beyond.
fn by_time(
    mut departures: Vec<Departure>,
    put_off: &HashMap<(Subject, AnomalyKind), u32>,
) -> (Vec<Vec<Departure>>, Vec<Departure>) {
    let looks = |it: &Departure| put_off.get(&(it.anomaly.subject, it.anomaly.kind)).copied().unwrap_or(0);
    departures
        .sort_by(|a, b| looks(b).cmp(&looks(a)).then(b.anomaly.severity.total_cmp(&a.anomaly.severity)));
    let mut times: Vec<(usize, Vec<Departure>)> = Vec::new();
    let mut beyond = Vec::new();
    let mut cells = 0;
    for departure in departures {
        let minutes = departure.minutes();
        let place = times.iter().position(|(_, together)| together[0].minutes() == minutes);
        let more = place.map_or_else(|| minutes.all().len(), |place| times[place].0);
        if cells + more > CELLS_MAX {
            beyond.push(departure);
            continue;
        }
        match place {
            Some(place) => times[place].1.push(departure),
            None if times.len() < TIMES_MAX => times.push((more, vec![departure])),
            None => {
                beyond.push(departure);
                continue;
            }
        }
        cells += more;
    }
    (times.into_iter().map(|(_, together)| together).collect(), beyond)
}

#[cfg(test)]
mod tests {
    use crate::diagnose::usual::departures;
    use crate::model::id::OperationId;
    use crate::model::rollup::COARSE_SECONDS;
    use crate::model::time::UnixNanos;

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
        let (times, _) = by_time(surges(3, 2), &HashMap::new());
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
        assert!(times[0][0].anomaly.onset > times[1][0].anomaly.onset, "the most severe first");
    }

    #[test]
    fn a_look_asks_for_so_much_and_no_more() {
        let (times, beyond) = by_time(surges(1, 100), &HashMap::new());
        assert_eq!((times.len(), beyond.len()), (TIMES_MAX, 100 - TIMES_MAX));
        let (times, beyond) = by_time(surges(1_000, 1), &HashMap::new());
        let minutes = times[0][0].minutes().all().len();
        assert_eq!((times.len(), times[0].len()), (1, CELLS_MAX / minutes));
        assert_eq!(beyond.len(), 1_000 - times[0].len());
    }

    #[test]
    fn what_is_beyond_waits_for_its_turn_but_not_for_ever() {
        let mut judged = Judged::default();
        let (_, beyond) = by_time(surges(100, 1), &judged.put_off);
        let undecided: Vec<Anomaly> = beyond.into_iter().take(9).map(|it| it.anomaly).collect();
        let told = Told { undecided: undecided.clone(), ..Told::default() };
        for look in 1..=LOOKS_MAX + 1 {
            let mut found = undecided.clone();
            judged.put_off(&told, &mut found);
            assert_eq!(found.is_empty(), look <= LOOKS_MAX, "look {look}");
        }
        let (times, _) = by_time(surges(100, 1), &judged.put_off);
        let first: HashSet<u64> = times[0][..9].iter().map(|it| it.anomaly.id()).collect();
        assert_eq!(first, undecided.iter().map(Anomaly::id).collect(), "who waited comes first");
        judged.put_off(&Told::default(), &mut Vec::new());
        assert!(judged.put_off.is_empty());
    }
}
