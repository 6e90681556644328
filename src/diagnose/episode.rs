//! One identity for an anomaly, however often it is looked at.
//!
//! Each look finds anomalies anew, with an onset that depends on how far back it sees. An anomaly that overlaps a known
//! episode of the same subject and kind, or follows it within [`GAP`], is that episode: it keeps its onset and its
//! baseline, and grows. A known episode that is not found any more goes on for as long as the subject stays on the far
//! side of its baseline, so that one that outlasts what a look sees does not become its own baseline.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::model::rollup::Subject;
use crate::model::time::UnixNanos;

use super::anomaly::usual_s;
use super::evidence::Slice;
use super::replaced::Replaced;
use super::verdict::{Anomaly, AnomalyKind};

/// Pause after which the same trouble is a new episode.
pub const GAP: Duration = Duration::from_secs(120);
/// The newest time by which it is judged whether an episode goes on.
const RECENT: Duration = Duration::from_secs(60);
/// Part of the way from baseline to peak from which on it does.
const LASTS_PART: f64 = 0.25;
/// Requests a second, as many as an anomaly of traffic needs in ten seconds, from which on none at all is no way back.
const TOLD_MIN: f64 = 1.0;
/// How long an episode may not be seen before it is over.
pub const UNHEARD_MAX: Duration = Duration::from_secs(600);
/// An episode that lasts longer has become the normal course.
pub const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);

/// A known episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What is known of it. Its subject, kind and onset never change.
    pub anomaly: Anomaly,
    /// Until when it was last found.
    pub seen: UnixNanos,
}

/// An episode that is being looked at.
struct Looked {
    episode: Episode,
    /// Until when an anomaly that begins is still the same.
    reach: UnixNanos,
    is_found: bool,
}

impl Looked {
    fn new(episode: Episode, is_found: bool) -> Self {
        let reach = reach(&episode);
        Self { episode, reach, is_found }
    }

    fn is(&self, found: &Anomaly) -> bool {
        let known = &self.episode.anomaly;
        is_alike(known, found)
            && found.onset <= self.reach
            && found.end.is_none_or(|end| end.plus(GAP) >= known.onset)
    }

    /// Whether what was found is but the way back: who looks from within a surge sees its end as a drop. Who does not look
    /// from within it, or sees more cease than the surge, sees something else.
    fn is_left_by(&self, found: &Anomaly) -> bool {
        let known = &self.episode.anomaly;
        let (way, left) = (known.peak - known.before, found.peak - known.before);
        let is_within = (found.before - known.before) * way.signum() >= LASTS_PART * way.abs();
        let ceased = way > 0.0 && found.peak == 0.0 && known.before >= TOLD_MIN;
        known.subject == found.subject
            && of_traffic(known)
            && of_traffic(found)
            && is_within
            && !ceased
            && way.signum() != (found.peak - found.before).signum()
            && left.abs() <= 0.5 * way.abs()
            && found.onset >= known.onset
            && found.onset <= self.reach
    }

    /// Takes in what was found in a look that ends at `to`.
    fn grow(&mut self, found: &Anomaly, to: UnixNanos) {
        let known = &mut self.episode.anomaly;
        if found.severity > known.severity {
            (known.severity, known.peak) = (found.severity, found.peak);
        }
        // Who sees only a part of it makes it no shorter.
        known.end = match (known.end, found.end) {
            (Some(known), Some(found)) => Some(known.max(found)),
            (_, end) => end,
        };
        self.episode.seen = self.episode.seen.max(found.end.unwrap_or(to));
        self.reach = self.reach.max(reach(&self.episode));
        self.is_found = true;
    }
}

/// Until when an anomaly that begins is still this episode.
fn reach(episode: &Episode) -> UnixNanos {
    let reach = episode.anomaly.end.map_or(episode.seen.plus(UNHEARD_MAX), |end| end.plus(GAP));
    reach.min(episode.anomaly.onset.plus(LASTS_MAX))
}

fn of_traffic(anomaly: &Anomaly) -> bool {
    matches!(anomaly.kind, AnomalyKind::Traffic | AnomalyKind::Silence)
}

/// Traffic that falls may cease: that is one episode; traffic that rises is another.
fn is_alike(a: &Anomaly, b: &Anomaly) -> bool {
    let way = |anomaly: &Anomaly| (anomaly.peak - anomaly.before).signum();
    a.subject == b.subject && (a.kind == b.kind || of_traffic(a) && of_traffic(b)) && way(a) == way(b)
}

/// Known episodes by subject, so that each of what was found is compared with few.
struct Known {
    all: Vec<Looked>,
    by_subject: HashMap<Subject, Vec<usize>>,
}

impl Known {
    fn new(known: &[Episode]) -> Self {
        let mut new = Self { all: Vec::new(), by_subject: HashMap::new() };
        known.iter().for_each(|known| new.add(Looked::new(known.clone(), false)));
        new
    }

    fn add(&mut self, looked: Looked) {
        self.by_subject.entry(looked.episode.anomaly.subject).or_default().push(self.all.len());
        self.all.push(looked);
    }

    /// Whether what was found is an episode, or the way back from one.
    fn has(&self, found: &Anomaly) -> bool {
        let mut places = self.by_subject.get(&found.subject).into_iter().flatten();
        places.any(|place| self.all[*place].is(found)) || self.is_left_by(found)
    }

    /// Whether what was found is the way back from an episode.
    fn is_left_by(&self, found: &Anomaly) -> bool {
        let mut places = self.by_subject.get(&found.subject).into_iter().flatten();
        places.any(|place| self.all[*place].is_left_by(found))
    }

    /// Takes in what was found in a look that ends at `to`; answers false where nobody knows it.
    fn take_in(&mut self, found: &Anomaly, to: UnixNanos) -> bool {
        let places = self.by_subject.get(&found.subject).into_iter().flatten();
        let same = places.clone().copied().find(|place| self.all[*place].is(found));
        if let Some(same) = same {
            self.all[same].grow(found, to);
            return true;
        }
        places.clone().any(|place| self.all[*place].is_left_by(found))
    }
}

/// Takes from `found` what is but the way back from one of the `usual` episodes, which are known to nobody else, unless it
/// is one of the `known` ones.
pub fn without_ways_back(found: &mut Vec<Anomaly>, known: &[Episode], usual: &[Episode]) {
    let (known, usual) = (Known::new(known), Known::new(usual));
    found.retain(|found| known.has(found) || !usual.is_left_by(found));
}

/// What the next look, which begins no earlier than `from`, may find again: the `known` episodes with those that `changed`.
pub fn remembered(mut known: Vec<Episode>, changed: &[Episode], from: UnixNanos) -> Vec<Episode> {
    let ids: HashSet<u64> = changed.iter().map(|episode| episode.anomaly.id()).collect();
    known.retain(|episode| !ids.contains(&episode.anomaly.id()));
    known.extend(changed.iter().cloned());
    known.retain(|episode| episode.anomaly.end.is_none_or(|end| end.plus(GAP) > from));
    known
}

/// Those of `found` that are neither one of the `known` episodes nor the way back from one.
pub fn unknown<'f>(known: &[Episode], found: &'f [Anomaly]) -> Vec<&'f Anomaly> {
    let known = Known::new(known);
    found.iter().filter(|found| !known.has(found)).collect()
}

/// What a look that ends at `to` makes of the `known` episodes: those that are new or changed. `found` are the anomalies
/// of the look, `slices` what it looked at.
pub fn followed(known: &[Episode], found: &[Anomaly], slices: &[Slice], to: UnixNanos) -> Vec<Episode> {
    let mut looked = Known::new(known);
    for anomaly in found {
        if !looked.take_in(anomaly, to) {
            let seen = anomaly.end.unwrap_or(to);
            looked.add(Looked::new(Episode { anomaly: anomaly.clone(), seen }, true));
        }
    }
    let (recent, replaced) = (recent(slices, to), Replaced::new(slices, 0));
    for (place, Looked { episode, is_found, .. }) in looked.all.iter_mut().enumerate() {
        let was_open = known.get(place).is_some_and(|known| known.anomaly.end.is_none());
        let (anomaly, before) = (&mut episode.anomaly, known.get(place).map_or(episode.seen, |it| it.seen));
        if was_open && (anomaly.end.is_some() || !*is_found) {
            // After a while in which nobody looked, nobody knows.
            let is_known = to <= before.plus(UNHEARD_MAX);
            match lasts(anomaly, &recent) {
                // An instance whose requests others took over meanwhile does not come back.
                Some(true) if replaced.is(anomaly) => anomaly.end = Some(anomaly.end.unwrap_or(before)),
                Some(true) if is_known => (anomaly.end, episode.seen) = (None, to),
                None if is_known => {}
                _ => anomaly.end = Some(anomaly.end.unwrap_or(episode.seen)),
            }
        }
        let most = anomaly.onset.plus(LASTS_MAX);
        if anomaly.end.unwrap_or(to) > most {
            (anomaly.end, episode.seen) = (Some(most), most);
        }
    }
    let is_new = |(place, looked): &(usize, Looked)| known.get(*place) != Some(&looked.episode);
    looked.all.into_iter().enumerate().filter(is_new).map(|(_, looked)| looked.episode).collect()
}

/// What a subject did in the last minute of a look.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    count: u64,
    errors: u64,
    sum_ns: u64,
    /// Requests in the last minute of which all are over: they are counted where they began, and known once they end.
    settled: u64,
}

/// What each subject did in the last minute of a look.
fn recent(slices: &[Slice], to: UnixNanos) -> HashMap<Subject, Recent> {
    let mut usual: HashMap<Subject, (u64, f64)> = HashMap::new();
    for slice in slices {
        let (count, sum_ns) = usual.entry(slice.subject).or_default();
        (*count, *sum_ns) = (*count + slice.count, *sum_ns + slice.sum_ns as f64);
    }
    let (since, to) = (to.minus(RECENT).seconds(), to.seconds());
    let mut recent: HashMap<Subject, Recent> = HashMap::new();
    for slice in slices {
        let (count, sum_ns) = usual.get(&slice.subject).copied().unwrap_or_default();
        let usual_s = usual_s(count, sum_ns);
        let own = recent.entry(slice.subject).or_default();
        if (since - usual_s..to - usual_s).contains(&slice.bucket_s) {
            own.settled += slice.count;
        }
        if (since..to).contains(&slice.bucket_s) {
            own.count += slice.count;
            own.errors += slice.errors;
            own.sum_ns = own.sum_ns.saturating_add(slice.sum_ns);
        }
    }
    recent
}

/// Whether the subject is still on the far side of its baseline; none where too little is heard of it.
fn lasts(anomaly: &Anomaly, recent: &HashMap<Subject, Recent>) -> Option<bool> {
    let Recent { count, errors, sum_ns, settled } = recent.get(&anomaly.subject).copied().unwrap_or_default();
    let value = match anomaly.kind {
        AnomalyKind::Traffic | AnomalyKind::Silence => settled as f64 / RECENT.as_secs_f64(),
        _ if count == 0 => return None,
        AnomalyKind::Errors => errors as f64 / count as f64,
        AnomalyKind::Latency => sum_ns as f64 / count as f64,
    };
    let way = anomaly.peak - anomaly.before;
    Some((value - anomaly.before) * way.signum() >= LASTS_PART * way.abs())
}

/// What was `found` in a window up to `to` with the identities of the `known` episodes, and the known ones that it did not
/// find; by onset, then by subject and kind. What ends later than the window lasts.
pub fn identified(found: Vec<Anomaly>, known: &[Episode], to: UnixNanos) -> Vec<Anomaly> {
    let mut looked = Known::new(known);
    let mut others = Vec::new();
    for anomaly in found {
        if !looked.take_in(&anomaly, to) {
            others.push(anomaly);
        }
    }
    for (looked, known) in looked.all.iter_mut().zip(known) {
        let end = &mut looked.episode.anomaly.end;
        *end = match (*end, known.anomaly.end) {
            // It was seen later than this window shows it.
            (Some(found), None) if found.plus(GAP) < known.seen => None,
            // Nobody looked since.
            (None, None) if !looked.is_found && known.seen.plus(UNHEARD_MAX) < to => Some(known.seen),
            (None, Some(known)) if known >= to => Some(known),
            (end, _) => end,
        };
        *end = end.filter(|end| *end < to);
    }
    let mut all: Vec<Anomaly> =
        looked.all.into_iter().map(|looked| looked.episode.anomaly).chain(others).collect();
    all.sort_by_key(|anomaly| (anomaly.onset, anomaly.subject, anomaly.kind));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::OperationId;

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_seconds(seconds)
    }

    fn anomaly(onset: i64, end: Option<i64>, peak: f64) -> Anomaly {
        Anomaly {
            subject: Subject::Operation(OperationId(7)),
            kind: AnomalyKind::Errors,
            onset: at(onset),
            end: end.map(at),
            peak,
            before: 0.0,
            severity: peak,
        }
    }

    fn failing(bucket_s: i64, errors: u64) -> Slice {
        let subject = Subject::Operation(OperationId(7));
        Slice { subject, bucket_s, width_s: 10, count: 10, errors, sum_ns: 0, other_ns: 0 }
    }

    #[test]
    fn an_episode_keeps_its_onset_and_grows_until_it_is_over() {
        let first = followed(&[], &[anomaly(100, None, 0.5)], &[], at(140));
        assert_eq!(first, [Episode { anomaly: anomaly(100, None, 0.5), seen: at(140) }]);
        assert_eq!(followed(&first, &[anomaly(100, None, 0.5)], &[], at(140)), []);
        // A later look sees less far back, and a worse peak.
        let second = followed(&first, &[anomaly(130, None, 0.8)], &[], at(170));
        assert_eq!(second, [Episode { anomaly: anomaly(100, None, 0.8), seen: at(170) }]);
        let third = followed(&second, &[anomaly(130, Some(200), 0.6)], &[], at(260));
        assert_eq!(third, [Episode { anomaly: anomaly(100, Some(200), 0.8), seen: at(200) }]);
        // Trouble that comes back at once is the same, trouble that comes back later is another.
        let again = followed(&third, &[anomaly(300, None, 0.6)], &[], at(330));
        assert_eq!(again[0].anomaly.onset, at(100));
        let later = followed(&third, &[anomaly(330, None, 0.6)], &[], at(350));
        assert_eq!(later[0].anomaly.onset, at(330));
    }

    #[test]
    fn what_outlasts_a_look_goes_on_while_it_deviates() {
        let known = [Episode { anomaly: anomaly(100, None, 0.8), seen: at(4_970) }];
        let slices = |errors| [failing(4_970, errors), failing(4_980, errors)];
        let lasting = followed(&known, &[], &slices(4), at(5_000));
        assert_eq!((lasting[0].anomaly.end, lasting[0].seen), (None, at(5_000)));
        let over = followed(&known, &[], &slices(1), at(5_000));
        assert_eq!(over[0].anomaly.end, Some(at(4_970)));
        // Of a subject that nothing is heard of nobody knows, for a while.
        assert_eq!(followed(&known, &[], &[], at(5_500)), []);
        assert_eq!(followed(&known, &[], &[], at(5_571))[0].anomaly.end, Some(at(4_970)));
        // After a day it has become normal; after a while in which nobody looked, it was over when it was last seen.
        let day = 100 + 24 * 3600;
        let known = [Episode { seen: at(day - 10), ..known[0].clone() }];
        assert_eq!(
            followed(&known, &[], &[failing(day - 10, 9)], at(day + 20))[0].anomaly.end,
            Some(at(day))
        );
        assert_eq!(followed(&known, &[], &[], at(day + 900))[0].anomaly.end, Some(at(day - 10)));
    }

    #[test]
    fn who_sees_only_a_part_makes_an_episode_no_shorter() {
        let known = [Episode { anomaly: anomaly(100, None, 0.4), seen: at(1_880) }];
        let found = [anomaly(1_300, Some(1_600), 0.8)];
        let lasting = followed(&known, &found, &[failing(1_890, 2)], at(1_910));
        assert_eq!(lasting, [Episode { anomaly: anomaly(100, None, 0.8), seen: at(1_910) }]);
        let over = followed(&known, &found, &[failing(1_890, 0)], at(1_910));
        assert_eq!(over[0].anomaly.end, Some(at(1_600)));
        let ended = [Episode { anomaly: anomaly(100, Some(1_200), 0.8), seen: at(1_200) }];
        assert_eq!(followed(&ended, &[anomaly(600, Some(800), 0.7)], &[], at(1_300)), []);
    }

    fn traffic(onset: i64, end: Option<i64>, before: f64, peak: f64) -> Anomaly {
        Anomaly { kind: AnomalyKind::Traffic, before, severity: 0.7, ..anomaly(onset, end, peak) }
    }

    #[test]
    fn the_end_of_a_usual_surge_is_no_drop_either() {
        // Found, then out of sight while it goes on, then over earlier than on other days.
        let carried = |second: i64| [Slice { count: 300, ..failing(second, 0) }];
        let usual = followed(&[], &[traffic(100, None, 1.0, 5.0)], &[], at(1_900));
        let used = followed(&usual, &[], &carried(2_480), at(2_490));
        let usual = remembered(usual, &used, at(600));
        let used = followed(&usual, &[], &carried(2_990), at(3_000));
        let usual = remembered(usual, &used, at(1_200));
        assert_eq!((usual.len(), usual[0].anomaly.end), (1, None));
        let left = |known: &[Episode], found: Anomaly| {
            let mut found = vec![found];
            without_ways_back(&mut found, known, &usual);
            !found.is_empty()
        };
        let drop = traffic(3_010, None, 5.0, 1.0);
        assert!(!left(&[], drop.clone()));
        assert!(
            left(&followed(&[], std::slice::from_ref(&drop), &[], at(3_060)), drop),
            "what was written down stays"
        );
        assert!(left(&[], traffic(3_010, None, 5.0, 0.0)), "it went out");
        assert!(left(&[], traffic(3_010, None, 1.0, 0.4)), "it was over before");
        assert!(left(&[], traffic(3_700, None, 5.0, 1.0)), "another surge");
        let over = followed(&usual, &[], &[], at(3_100));
        let over = remembered(usual.clone(), &over, at(1_300));
        assert_eq!(over[0].anomaly.end, Some(at(3_000)));
        assert_eq!(remembered(over, &[], at(3_120)), [], "forgotten when no look can see it");
    }

    #[test]
    fn the_end_of_a_surge_is_no_drop() {
        let surge = [Episode { anomaly: traffic(100, Some(1_300), 1.0, 10.0), seen: at(1_300) }];
        assert_eq!(followed(&surge, &[traffic(1_300, None, 10.0, 1.0)], &[], at(1_400)), []);
        assert_eq!(identified(vec![traffic(1_300, None, 10.0, 1.0)], &surge, at(1_400)).len(), 1);
        let found =
            [traffic(1_300, None, 10.0, 1.0), traffic(1_200, None, 1.0, 8.0), anomaly(1_200, None, 0.5)];
        assert_eq!(unknown(&surge, &found), [&found[2]]);
        let drop = followed(&surge, &[traffic(1_500, None, 1.0, 0.0)], &[], at(1_600));
        assert_eq!((drop.len(), drop[0].anomaly.onset), (1, at(1_500)));
    }

    #[test]
    fn answers_name_the_known_episode_once() {
        let known = [Episode { anomaly: anomaly(100, Some(900), 0.8), seen: at(900) }];
        let found = vec![anomaly(200, Some(300), 0.5), anomaly(500, None, 0.6)];
        assert_eq!(identified(found.clone(), &known, at(800)), [anomaly(100, None, 0.8)]);
        assert_eq!(identified(found, &known, at(1_000)), [anomaly(100, None, 0.8)], "it is found to last");
        assert_eq!(identified(vec![], &known, at(1_000)), [anomaly(100, Some(900), 0.8)]);
        let stale = [Episode { anomaly: anomaly(100, None, 0.8), seen: at(900) }];
        assert_eq!(identified(vec![], &stale, at(1_400)), [anomaly(100, None, 0.8)]);
        assert_eq!(identified(vec![], &stale, at(1_600)), [anomaly(100, Some(900), 0.8)]);
        let other = anomaly(2_000, None, 0.5);
        assert_eq!(identified(vec![other.clone()], &known, at(2_100)), [anomaly(100, Some(900), 0.8), other]);
    }
}
