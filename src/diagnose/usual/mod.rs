//! What the same time of earlier days shows as well is usual: a batch each night is no anomaly each night.
//!
//! [`super::anomaly`] compares a bucket with the time just before it, which knows nothing of the time of day. Here an
//! anomaly of traffic, silence or latency is compared with the same time of earlier days. A day is alike where the
//! subject left its own level of the hour before to the same side, by at least half as large a part of it as now: each
//! day is measured by itself, so that what grew or was tuned since is told from what happens each day. Usual is what at
//! least two days and half of those known show, of the last week or of the same weekday of the last four weeks.
//! Both ends of an anomaly must be usual, so that a batch that runs over becomes an anomaly when it does.
//!
//! Days are those of UTC. A rise that does not come is no anomaly, and errors are never usual.

use std::collections::{BTreeSet, HashMap};

use crate::model::rollup::{COARSE_SECONDS, Cell, HOUR_SECONDS, Subject};
use crate::model::time::{UnixNanos, Window};

use super::evidence::Slice;
use super::stats::median;
use super::verdict::{Anomaly, AnomalyKind};

#[cfg(test)]
mod tests;

/// The days of the last week, counted back from the anomaly's.
const WEEK: [i64; 7] = [1, 2, 3, 4, 5, 6, 7];
/// The same weekday of the last four weeks.
const WEEKDAYS: [i64; 4] = [7, 14, 21, 28];
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;

/// Days that must have been alike.
const ALIKE_MIN: usize = 2;
/// How far from its own level a day must have been, as a part of how far it is now: five times the traffic excuses nine
/// times, not ten.
const ALIKE_PART: f64 = 0.5;
/// Part of the baseline by which a level must leave it to be judged: what came back says nothing.
const CALM_PART: f64 = 0.15;
/// Part of its own level below which a day was silent.
const SILENT_PART: f64 = 0.1;
/// Calls from which on their mean duration says something.
const CALLS_MIN: u64 = 5;

/// How long the beginning of an anomaly is, in seconds; as much as a step of the look, where that is longer.
const BEGINNING_SECONDS: i64 = 600;
/// The same for its end.
const ENDING_SECONDS: i64 = 300;
/// Minutes by which a day may be earlier or later than another: what is started by a clock is not started to the second.
const SHIFTED_MAX: i64 = 2;
/// The own level of an earlier day is that of one minute of five of the hour before.
const OWN_STEP_SECONDS: i64 = 300;

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
}

/// What was counted on earlier days in the minutes that [`Departure::minutes`] asks for.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// The minutes, in seconds, in which anything of the tenant was heard.
    pub heard: &'a BTreeSet<i64>,
    /// Count and time of subjects in the minutes in which they were heard.
    pub cells: &'a HashMap<(i64, Subject), Cell>,
}

/// A time of day, and what a subject does in it today.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    /// In whole minutes, for earlier days.
    window: Window,
    /// From one second to another, in buckets of the look.
    today: (i64, i64),
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
            beginning: Stretch::new(beginning),
            ending: Stretch::new((ending.0.max(onset), ending.1)),
        }
    }

    /// Which minutes judge it.
    pub fn minutes(&self) -> Minutes {
        Minutes { beginning: self.beginning.window, ending: self.ending.window }
    }

    /// Whether that was so at this time of earlier days, as far as is known.
    pub fn is_usual(&self, past: &Past<'_>) -> bool {
        let ends = [&self.beginning, &self.ending];
        let told: Vec<bool> =
            ends.into_iter().filter_map(|stretch| self.is_usual_in(stretch, past)).collect();
        !told.is_empty() && !told.contains(&false)
    }

    /// The same for one end of it; none where it is at its baseline there.
    fn is_usual_in(&self, stretch: &Stretch, past: &Past<'_>) -> Option<bool> {
        let before = self.anomaly.before;
        let now = self.level(stretch.count, stretch.sum_ns, stretch.seconds())?;
        let away = (now - before) * self.way();
        if away.abs() <= CALM_PART * before {
            return None;
        }
        let often = |days: &[i64]| {
            let alike: Vec<bool> =
                days.iter().filter_map(|day| self.was_alike(now, stretch, *day, past)).collect();
            let count = alike.iter().filter(|alike| **alike).count();
            count >= ALIKE_MIN && 2 * count >= alike.len()
        };
        // On the other side it did not come back, it went too far.
        Some(away > 0.0 && (often(&WEEK) || often(&WEEKDAYS)))
    }

    /// Whether the subject left its own level so many days before as it leaves the baseline `now`, a few minutes earlier or
    /// later; none where that is not known.
    fn was_alike(&self, now: f64, stretch: &Stretch, day: i64, past: &Past<'_>) -> Option<bool> {
        let own = self.own(day, past)?;
        let (from, to) = moved(stretch.window, day);
        let shifts = (-SHIFTED_MAX..=SHIFTED_MAX).map(|minutes| minutes * COARSE_SECONDS);
        let levels = shifts.filter_map(|shift| self.level_within(from + shift, to + shift, past));
        levels.map(|level| self.is_alike(now, own, level)).reduce(|alike, other| alike || other)
    }

    /// Whether `level` is to `own` about what `now` is to the baseline.
    fn is_alike(&self, now: f64, own: f64, level: f64) -> bool {
        if self.anomaly.kind == AnomalyKind::Silence {
            return level < SILENT_PART * own;
        }
        let before = self.anomaly.before;
        // What rises from nothing has no ratio.
        let far = if before > 0.0 { (now / before - 1.0) * own } else { now };
        (level - own) * self.way() >= ALIKE_PART * far.abs()
    }

    /// The level of an earlier day in the hour before: the middle one of its minutes, so that a batch of that hour does not
    /// count. None where there was nothing that could be left.
    fn own(&self, day: i64, past: &Past<'_>) -> Option<f64> {
        let (onset, _) = moved(self.beginning.window, day);
        let heard = hour_before(onset).filter(|minute| past.heard.contains(minute));
        let cells: Vec<Option<&Cell>> =
            heard.map(|minute| past.cells.get(&(minute, self.anomaly.subject))).collect();
        let level = |cell: &Option<&Cell>| match (self.anomaly.kind, cell) {
            (AnomalyKind::Latency, Some(cell)) => {
                (cell.count > 0).then(|| cell.sum_ns as f64 / cell.count as f64)
            }
            (AnomalyKind::Latency, None) => None,
            (_, cell) => Some(cell.map_or(0, |cell| cell.count) as f64 / COARSE_SECONDS as f64),
        };
        let calls: u64 = cells.iter().flatten().map(|cell| cell.count).sum();
        let mut levels: Vec<f64> = cells.iter().filter_map(level).collect();
        if levels.is_empty() || self.anomaly.kind == AnomalyKind::Latency && calls < CALLS_MIN {
            return None;
        }
        let own = median(&mut levels);
        (own > 0.0 || self.anomaly.before <= 0.0).then_some(own)
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

    /// Calls per second, or their mean time in nanoseconds; none where these are too few to tell.
    fn level(&self, count: u64, sum_ns: u64, seconds: f64) -> Option<f64> {
        match self.anomaly.kind {
            AnomalyKind::Errors => None,
            AnomalyKind::Latency => (count >= CALLS_MIN).then(|| sum_ns as f64 / count as f64),
            AnomalyKind::Traffic | AnomalyKind::Silence => Some(count as f64 / seconds),
        }
    }

    /// 1 for a rise, -1 for a fall.
    fn way(&self) -> f64 {
        (self.anomaly.peak - self.anomaly.before).signum()
    }
}

impl Stretch {
    /// Nothing counted yet, from one second to another.
    fn new((from, until): (i64, i64)) -> Self {
        let floor = |second: i64| second.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
        let ceil = |second: i64| floor(second + COARSE_SECONDS - 1);
        // A minute that is only partly in it would make a day milder than it was.
        let inner = (ceil(from), floor(until));
        let (first, last) = if inner.0 < inner.1 { inner } else { (floor(from), ceil(until)) };
        let window = Window::new(UnixNanos::from_seconds(first), UnixNanos::from_seconds(last));
        Self { window, today: (from, until), count: 0, sum_ns: 0 }
    }

    fn seconds(&self) -> f64 {
        (self.today.1 - self.today.0).max(1) as f64
    }

    fn add(&mut self, slice: &Slice) {
        if (self.today.0..self.today.1).contains(&slice.bucket_s) {
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
            all.extend(hour_before(moved(self.beginning, day).0));
        }
        all
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
    (1..=HOUR_SECONDS / OWN_STEP_SECONDS).map(move |step| minute - step * OWN_STEP_SECONDS)
}
