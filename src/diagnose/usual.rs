//! What the same time of earlier days shows as well is usual: a batch each night is no anomaly each night.
//!
//! [`super::anomaly`] compares a bucket with the time just before it, which knows nothing of the time of day. Here an
//! anomaly of traffic, silence or latency is compared with the same time of earlier days. A day is alike where the
//! subject stood on the same side of the baseline, at least half as far away as now. Today's baseline is meant, since the
//! question is whether that level is usual at this time, not whether a day rises as another does. Usual is what at least two days and half of those known show, of the last week or of the same weekday of the last four weeks.
//! Both ends of an anomaly must be usual, so that a batch that runs over becomes an anomaly when it does.
//!
//! Days are those of UTC. A rise that does not come is no anomaly, and errors are never usual.

use std::collections::{BTreeSet, HashMap};

use crate::model::rollup::{COARSE_SECONDS, Cell, HOUR_SECONDS, Subject};
use crate::model::time::{UnixNanos, Window};

use super::evidence::Slice;
use super::verdict::{Anomaly, AnomalyKind};

/// The days of the last week, counted back from the anomaly's.
const WEEK: [i64; 7] = [1, 2, 3, 4, 5, 6, 7];
/// The same weekday of the last four weeks.
const WEEKDAYS: [i64; 4] = [7, 14, 21, 28];
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Days that must have been alike.
const ALIKE_MIN: usize = 2;
/// How far from the baseline a day must have been, as a part of how far it is now: five times the traffic excuses nine
/// times, not ten.
const ALIKE_PART: f64 = 0.5;
/// Part of the baseline by which a level must leave it to be judged: what came back says nothing.
const CALM_PART: f64 = 0.15;
/// Calls from which on their mean duration says something.
const CALLS_MIN: u64 = 5;

/// How long the beginning of an anomaly is, in seconds; as much as a step of the look, where that is longer.
const BEGINNING_SECONDS: i64 = 600;
/// The same for its end.
const ENDING_SECONDS: i64 = 300;
/// Minutes by which a day may be earlier or later than another: what is started by a clock is not started to the second.
const SHIFTED_MAX: i64 = 2;
/// That a subject was there before it fell on an earlier day is looked up in one minute of five of the hour before.
const THERE_STEP_SECONDS: i64 = 300;

/// An anomaly that may be usual, with what its subject does at both ends of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    /// The anomaly; not one of errors.
    pub anomaly: Anomaly,
    beginning: Stretch,
    ending: Stretch,
}

/// Which minutes judge a departure: departures that share them are judged by one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Minutes {
    beginning: Window,
    ending: Window,
    falls: bool,
}

/// What was counted on earlier days in the minutes that [`Departure::minutes`] asks for.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The minutes, in seconds, in which anything of the tenant was heard.
    pub heard: &'a BTreeSet<i64>,
    /// Count and time of subjects in the minutes in which they were heard.
    pub cells: &'a HashMap<(i64, Subject), Cell>,
}

/// Whole minutes, and what a subject does in them today.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    window: Window,
    /// How much of it the look saw.
    seconds: f64,
    count: u64,
    sum_ns: u64,
}

/// Those of `found` that may be usual, with what `slices` tell of them; `to` is where the look ends. None where the
/// steps of the look are longer than an hour, which tells too little of a time of day.
pub fn departures(found: &[&Anomaly], slices: &[Slice], to: UnixNanos) -> Vec<Departure> {
    let width_s = slices.iter().map(|slice| slice.width_s).max().unwrap_or(1).max(1);
    if width_s > HOUR_SECONDS {
        return Vec::new();
    }
    let candidates = found.iter().filter(|anomaly| anomaly.kind != AnomalyKind::Errors);
    let mut departures: Vec<Departure> =
        candidates.map(|anomaly| Departure::new(anomaly, width_s, to)).collect();
    if departures.is_empty() {
        return departures;
    }
    let mut places: HashMap<Subject, Vec<usize>> = HashMap::new();
    for (place, departure) in departures.iter().enumerate() {
        places.entry(departure.anomaly.subject).or_default().push(place);
    }
    for slice in slices {
        for place in places.get(&slice.subject).into_iter().flatten() {
            departures[*place].beginning.add(slice);
            departures[*place].ending.add(slice);
        }
    }
    departures
}

impl Departure {
    fn new(anomaly: &Anomaly, width_s: i64, to: UnixNanos) -> Self {
        let onset = anomaly.onset.seconds();
        let to = to.seconds().max(onset + width_s);
        let stop = anomaly.end.map_or(to, |end| end.seconds().clamp(onset + width_s, to));
        // Whole steps of the look, since a step cannot be divided.
        let steps = |seconds: i64| (seconds + width_s - 1) / width_s * width_s;
        let beginning = (onset, stop.min(onset + steps(BEGINNING_SECONDS)));
        let ending = ((stop - steps(ENDING_SECONDS)).div_euclid(width_s) * width_s, stop);
        Self {
            anomaly: anomaly.clone(),
            beginning: Stretch::new(beginning, to),
            ending: Stretch::new((ending.0.max(onset), ending.1), to),
        }
    }

    /// Which minutes judge it.
    pub fn minutes(&self) -> Minutes {
        Minutes { beginning: self.beginning.window, ending: self.ending.window, falls: self.falls() }
    }

    /// Whether that was so at this time of earlier days, as far as is known.
    pub fn is_usual(&self, past: &Past<'_>) -> bool {
        let ends = [&self.beginning, &self.ending];
        let told: Vec<bool> =
            ends.into_iter().filter_map(|stretch| self.is_usual_in(stretch, past)).collect();
        !told.is_empty() && !told.contains(&false)
    }

    /// The same for one end of it; none where it is not away from its baseline there.
    fn is_usual_in(&self, stretch: &Stretch, past: &Past<'_>) -> Option<bool> {
        let now = self.away(self.level(stretch.count, stretch.sum_ns, stretch.seconds)?);
        if now <= CALM_PART * self.anomaly.before {
            return None;
        }
        let often = |days: &[i64]| {
            let known = days.iter().filter_map(|day| self.away_before(stretch, *day, past));
            let alike: Vec<bool> = known.map(|then| then >= ALIKE_PART * now).collect();
            let count = alike.iter().filter(|alike| **alike).count();
            count >= ALIKE_MIN && 2 * count >= alike.len()
        };
        Some(often(&WEEK) || often(&WEEKDAYS))
    }

    /// How far from today's baseline the subject was so many days before, a few minutes earlier or later; none where that
    /// is not known.
    fn away_before(&self, stretch: &Stretch, day: i64, past: &Past<'_>) -> Option<f64> {
        if self.falls() && !self.was_there(day, past) {
            return None;
        }
        let (from, to) = moved(stretch.window, day);
        let shifts = (-SHIFTED_MAX..=SHIFTED_MAX).map(|minutes| minutes * COARSE_SECONDS);
        let levels = shifts.filter_map(|shift| self.level_within(from + shift, to + shift, past));
        levels.map(|level| self.away(level)).reduce(f64::max)
    }

    /// The level from one second to another, over the minutes in which anybody was heard: what nobody sent is no silence.
    /// None where these are less than half of them.
    fn level_within(&self, from: i64, to: i64, past: &Past<'_>) -> Option<f64> {
        let heard: Vec<i64> = past.heard.range(from..to).copied().collect();
        let seconds = heard.len() as i64 * COARSE_SECONDS;
        if heard.is_empty() || 2 * seconds < to - from {
            return None;
        }
        let cells = heard.iter().filter_map(|minute| past.cells.get(&(*minute, self.anomaly.subject)));
        let (count, sum_ns) = cells.fold((0_u64, 0_u64), |(count, sum_ns), cell| {
            (count + cell.count, sum_ns.saturating_add(cell.sum_ns))
        });
        self.level(count, sum_ns, seconds as f64)
    }

    /// Whether the subject was heard in the hour before it fell today, on an earlier day: what was not there did not fall.
    fn was_there(&self, day: i64, past: &Past<'_>) -> bool {
        let (onset, _) = moved(self.beginning.window, day);
        hour_before(onset).any(|minute| past.cells.contains_key(&(minute, self.anomaly.subject)))
    }

    /// Calls per second, or their mean time in nanoseconds; none where these are too few to tell.
    fn level(&self, count: u64, sum_ns: u64, seconds: f64) -> Option<f64> {
        match self.anomaly.kind {
            AnomalyKind::Errors => None,
            AnomalyKind::Latency => (count >= CALLS_MIN).then(|| sum_ns as f64 / count as f64),
            AnomalyKind::Traffic | AnomalyKind::Silence => Some(count as f64 / seconds),
        }
    }

    /// How far a level is from the baseline, to the side of the anomaly.
    fn away(&self, level: f64) -> f64 {
        let way = (self.anomaly.peak - self.anomaly.before).signum();
        (level - self.anomaly.before) * way
    }

    fn falls(&self) -> bool {
        self.anomaly.peak < self.anomaly.before
    }
}

impl Stretch {
    /// Nothing counted yet, from one second to another, widened to whole minutes, of a look that ends at `to`.
    fn new((from, until): (i64, i64), to: i64) -> Self {
        let from = from.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        let until = (until + COARSE_SECONDS - 1).div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        let window = Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(until));
        Self { window, seconds: (until.min(to) - from).max(1) as f64, count: 0, sum_ns: 0 }
    }

    fn add(&mut self, slice: &Slice) {
        if self.window.contains(UnixNanos::from_seconds(slice.bucket_s)) {
            self.count += slice.count;
            self.sum_ns = self.sum_ns.saturating_add(slice.sum_ns);
        }
    }
}

impl Minutes {
    /// Each of them by its first second, of all days that are looked at.
    pub fn all(&self) -> BTreeSet<i64> {
        let mut all = BTreeSet::new();
        for day in WEEK.into_iter().chain(WEEKDAYS) {
            for window in [self.beginning, self.ending] {
                let (from, to) = moved(window, day);
                let slack = SHIFTED_MAX * COARSE_SECONDS;
                all.extend(whole_minutes(from - slack, to + slack));
            }
            if self.falls {
                all.extend(hour_before(moved(self.beginning, day).0));
            }
        }
        all
    }

    /// The minute that ends last: as long as it is the same, so is what these minutes tell.
    pub const fn end(&self) -> UnixNanos {
        self.ending.to
    }
}

/// A window so many days earlier, in seconds.
fn moved(window: Window, days: i64) -> (i64, i64) {
    (window.from.seconds() - days * DAY_SECONDS, window.to.seconds() - days * DAY_SECONDS)
}

/// The minutes from one second to another, both whole minutes.
fn whole_minutes(from: i64, to: i64) -> impl Iterator<Item = i64> {
    (0..(to - from) / COARSE_SECONDS).map(move |minute| from + minute * COARSE_SECONDS)
}

fn hour_before(minute: i64) -> impl Iterator<Item = i64> {
    (1..=HOUR_SECONDS / THERE_STEP_SECONDS).map(move |step| minute - step * THERE_STEP_SECONDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use crate::model::id::OperationId;

    use super::*;

    const SUBJECT: Subject = Subject::Operation(OperationId(1));
    /// Two o'clock, in seconds.
    const NIGHT: i64 = 20_000 * DAY_SECONDS + 2 * HOUR_SECONDS;
    const WIDTH: i64 = 10;
    const CALL_NS: u64 = 1_000_000;

    fn anomaly(kind: AnomalyKind, before: f64, peak: f64) -> Anomaly {
        let onset = UnixNanos::from_seconds(NIGHT);
        Anomaly { subject: SUBJECT, kind, onset, end: None, peak, before, severity: 0.9 }
    }

    /// What is looked at today: from two o'clock on so many calls of so many milliseconds each second, for so many minutes.
    fn today(anomaly: &Anomaly, (per_second, ms): (u64, u64), minutes: i64) -> Departure {
        let bucket = |step: i64| {
            let count = per_second * WIDTH as u64;
            let sum_ns = count * ms * CALL_NS;
            let bucket_s = NIGHT + step * WIDTH;
            Slice { subject: SUBJECT, bucket_s, width_s: WIDTH, count, errors: 0, sum_ns, other_ns: 0 }
        };
        let slices: Vec<Slice> = (0..minutes * COARSE_SECONDS / WIDTH).map(bucket).collect();
        let to = UnixNanos::from_seconds(NIGHT + minutes * COARSE_SECONDS);
        departures(&[anomaly], &slices, to).pop().unwrap()
    }

    /// Earlier days: calls per second and their milliseconds, by how many days ago and minutes after two o'clock.
    #[derive(Default)]
    struct Days {
        heard: BTreeSet<i64>,
        cells: HashMap<(i64, Subject), Cell>,
    }

    impl Days {
        fn of(days: impl IntoIterator<Item = i64>, level: impl Fn(i64, i64) -> (u64, u64)) -> Self {
            let mut known = Self::default();
            for day in days {
                for minute in -90..90 {
                    let ((per_second, ms), at) =
                        (level(day, minute), NIGHT - day * DAY_SECONDS + minute * COARSE_SECONDS);
                    known.heard.insert(at);
                    let count = per_second * 60;
                    let cell = Cell { count, sum_ns: count * ms * CALL_NS, ..Cell::default() };
                    if count > 0 {
                        known.cells.insert((at, SUBJECT), cell);
                    }
                }
            }
            known
        }

        fn tell(&self, departure: &Departure) -> bool {
            departure.is_usual(&Past { heard: &self.heard, cells: &self.cells })
        }
    }

    /// Ten minutes of so much at two o'clock, else one call a second of a millisecond.
    fn batch(high: (u64, u64)) -> impl Fn(i64, i64) -> (u64, u64) {
        move |_, minute| if (0..10).contains(&minute) { high } else { (1, 1) }
    }

    #[test]
    fn a_batch_of_each_night_is_usual() {
        let surge = anomaly(AnomalyKind::Traffic, 1.0, 5.0);
        let now = today(&surge, (5, 1), 4);
        assert!(Days::of([1, 2], batch((5, 1))).tell(&now));
        assert!(Days::of([3, 4, 5, 6, 7], batch((3, 1))).tell(&now), "half of the way is enough");
        assert!(!Days::of([1, 2, 3], batch((2, 1))).tell(&now));
        assert!(!Days::of([1], batch((5, 1))).tell(&now), "once is not usual");
        assert!(!Days::of([], batch((5, 1))).tell(&now));
        let twice = |day: i64, minute: i64| if day <= 2 { batch((5, 1))(day, minute) } else { (1, 1) };
        assert!(Days::of(1..=4, twice).tell(&now));
        assert!(!Days::of(1..=5, twice).tell(&now), "most nights went without");
        let shifted = |day: i64, minute: i64| batch((5, 1))(day, minute - 2 * (day % 2));
        assert!(Days::of([1, 2, 3], shifted).tell(&now), "two minutes later is the same time");
        let elsewhen = |day: i64, minute: i64| batch((5, 1))(day, minute + 30);
        assert!(!Days::of([1, 2, 3], elsewhen).tell(&now));
        let huge = today(&anomaly(AnomalyKind::Traffic, 1.0, 20.0), (20, 1), 4);
        assert!(!Days::of(1..=7, batch((5, 1))).tell(&huge), "twenty times is not five times");
    }

    #[test]
    fn a_batch_that_runs_over_is_not() {
        let surge = anomaly(AnomalyKind::Traffic, 1.0, 5.0);
        let days = Days::of(1..=7, batch((5, 1)));
        assert!(days.tell(&today(&surge, (5, 1), 10)));
        assert!(!days.tell(&today(&surge, (5, 1), 20)));
    }

    #[test]
    fn the_same_weekday_counts_by_itself() {
        let surge = today(&anomaly(AnomalyKind::Traffic, 1.0, 5.0), (5, 1), 4);
        let weekly = |day: i64, minute: i64| if day % 7 == 0 { batch((5, 1))(day, minute) } else { (1, 1) };
        assert!(Days::of((1..=7).chain([14]), weekly).tell(&surge));
        assert!(!Days::of(1..=7, weekly).tell(&surge), "one week is not usual");
    }

    #[test]
    fn latency_is_told_by_enough_calls() {
        let slow = today(&anomaly(AnomalyKind::Latency, 1e6, 4e6), (1, 4), 4);
        assert!(Days::of([1, 2, 3], batch((1, 4))).tell(&slow));
        assert!(!Days::of([1, 2, 3], batch((9, 1))).tell(&slow), "more calls are not slower ones");
        let seldom = |day: i64, minute: i64| if day <= 2 { batch((1, 4))(day, minute) } else { (0, 0) };
        assert!(Days::of(1..=7, seldom).tell(&slow), "days without calls say nothing");
    }

    #[test]
    fn who_was_not_there_did_not_fall_silent() {
        let silent = today(&anomaly(AnomalyKind::Silence, 1.0, 0.0), (0, 0), 4);
        assert!(Days::of(1..=7, batch((0, 0))).tell(&silent));
        assert!(!Days::of(1..=7, |_, _| (1, 1)).tell(&silent));
        assert!(!Days::of(1..=7, |_, _| (0, 0)).tell(&silent), "nobody knows it");
        let fresh = |day: i64, minute: i64| if day <= 2 { batch((0, 0))(day, minute) } else { (0, 0) };
        assert!(Days::of(1..=7, fresh).tell(&silent));
    }

    #[test]
    fn minutes_in_which_nobody_was_heard_say_nothing() {
        let silent = today(&anomaly(AnomalyKind::Silence, 1.0, 0.0), (0, 0), 4);
        let mut days = Days::of(1..=7, |_, minute| if minute < 0 { (1, 1) } else { (0, 0) });
        assert!(days.tell(&silent));
        days.heard.retain(|minute| days.cells.contains_key(&(*minute, SUBJECT)));
        assert!(!days.tell(&silent));
    }

    #[test]
    fn errors_are_never_usual_and_long_steps_tell_nothing() {
        let to = UnixNanos::from_seconds(NIGHT + 60);
        assert_eq!(departures(&[&anomaly(AnomalyKind::Errors, 0.0, 0.5)], &[], to), []);
        let surge = anomaly(AnomalyKind::Traffic, 1.0, 5.0);
        let (bucket_s, width_s) = (NIGHT, 2 * HOUR_SECONDS);
        let long = Slice { subject: SUBJECT, bucket_s, width_s, count: 9, errors: 0, sum_ns: 9, other_ns: 0 };
        assert_eq!(departures(&[&surge], &[long], to), []);
    }

    #[test]
    fn no_more_minutes_are_asked_for_than_are_looked_at() {
        let falls = today(&anomaly(AnomalyKind::Silence, 1.0, 0.0), (0, 0), 60);
        let all = falls.minutes().all();
        // Ten days, of each ten minutes and five with two before and after, and twelve of the hour before.
        assert_eq!(all.len(), 10 * (14 + 9 + 12));
        assert!(all.iter().all(|minute| minute % COARSE_SECONDS == 0 && *minute < NIGHT - DAY_SECONDS / 2));
        assert_eq!(falls.minutes().end(), UnixNanos::from_seconds(NIGHT + 3_600));
    }

    proptest! {
        #[test]
        fn more_of_it_on_earlier_days_never_makes_it_less_usual(
            levels in proptest::collection::vec(0_u64..12, 7),
            day in 0_usize..7,
            more in 0_u64..12,
            now in 2_u64..20,
        ) {
            let departure = today(&anomaly(AnomalyKind::Traffic, 1.0, now as f64), (now, 1), 5);
            let usual = |levels: &[u64]| {
                let level = |day: i64, minute: i64| batch((levels[day as usize - 1], 1))(day, minute);
                Days::of(1..=7, level).tell(&departure)
            };
            let mut higher = levels.clone();
            higher[day] += more;
            prop_assert!(!usual(&levels) || usual(&higher));
        }
    }
}
