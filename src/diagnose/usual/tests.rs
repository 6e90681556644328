//! What earlier days make usual, and what they do not.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

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
fn today(anomaly: &Anomaly, level: (u64, u64), minutes: i64) -> Departure {
    today_as(anomaly, |_| level, minutes)
}

/// The same with the calls and their milliseconds by the second after two o'clock.
fn today_as(anomaly: &Anomaly, level: impl Fn(i64) -> (u64, u64), minutes: i64) -> Departure {
    let bucket = |step: i64| {
        let (per_second, ms) = level(step * WIDTH);
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
fn each_day_is_measured_by_its_own_level() {
    let grown = |day: i64, _: i64| if day == 1 { (10, 1) } else { (4, 1) };
    let dead = today(&anomaly(AnomalyKind::Silence, 10.0, 0.0), (0, 1), 4);
    assert!(!Days::of(1..=28, grown).tell(&dead), "no day fell");
    let fallen = today(&anomaly(AnomalyKind::Traffic, 10.0, 1.0), (2, 1), 4);
    assert!(!Days::of(1..=28, grown).tell(&fallen));
    let tuned = |day: i64, _: i64| if day == 1 { (1, 100) } else { (1, 200) };
    let slow = today(&anomaly(AnomalyKind::Latency, 1e8, 3e8), (1, 300), 4);
    assert!(!Days::of(1..=28, tuned).tell(&slow), "no day was slower than before");
    // A batch that grows with the rest stays the batch.
    let growing = |day: i64, minute: i64| (batch((5, 1))(day, minute).0 * (8 - day) as u64, 1);
    assert!(Days::of(1..=7, growing).tell(&today(&anomaly(AnomalyKind::Traffic, 10.0, 50.0), (50, 1), 4)));
    // Another batch in the hour before is not the level that is left.
    let hourly = |day: i64, minute: i64| batch((5, 1))(day, minute.rem_euclid(60));
    assert!(Days::of(1..=7, hourly).tell(&today(&anomaly(AnomalyKind::Traffic, 1.0, 5.0), (5, 1), 4)));
    // What rises from nothing does so each night.
    let seldom = |day: i64, minute: i64| (batch((5, 1))(day, minute).0.saturating_sub(1), 1);
    let woken = anomaly(AnomalyKind::Traffic, 0.0, 4.0);
    assert!(Days::of(1..=7, seldom).tell(&today(&woken, (4, 1), 4)));
    assert!(!Days::of(1..=7, |_, _| (4, 1)).tell(&today(&woken, (4, 1), 4)));
}

#[test]
fn today_is_counted_from_onset_to_end() {
    let part = |from: i64, end: i64| Anomaly {
        onset: UnixNanos::from_seconds(NIGHT + from),
        end: Some(UnixNanos::from_seconds(NIGHT + end)),
        ..anomaly(AnomalyKind::Traffic, 10.0, 0.0)
    };
    let short = today_as(&part(50, 150), |second| (if (50..150).contains(&second) { 0 } else { 10 }, 1), 4);
    let dip = |to: u64| move |_: i64, minute: i64| (if (0..3).contains(&minute) { to } else { 10 }, 1);
    assert!(!Days::of(1..=7, dip(7)).tell(&short), "less is no outage");
    assert!(Days::of(1..=7, dip(1)).tell(&short));
    assert!(Days::of(1..=7, |_, minute| (if minute == 1 { 0 } else { 10 }, 1)).tell(&short));
}

#[test]
fn what_ends_on_the_other_side_did_not_come_back() {
    let surge = anomaly(AnomalyKind::Traffic, 10.0, 50.0);
    let ending = |level: u64| move |second: i64| (if second < 900 { 50 } else { level }, 1);
    let days = Days::of(1..=7, |_, minute| (if (0..15).contains(&minute) { 50 } else { 10 }, 1));
    assert!(days.tell(&today_as(&surge, ending(10), 20)));
    assert!(!days.tell(&today_as(&surge, ending(2), 20)));
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

    #[test]
    fn what_grows_from_day_to_day_is_as_usual(
        levels in proptest::collection::vec((0_u64..12, 0_u32..6), 7),
        now in 2_u64..20,
    ) {
        let usual = |scale: &dyn Fn(u32) -> u64, kind, before: f64, now: u64| {
            let departure = today(&anomaly(kind, before, now as f64), (now, 1), 5);
            let level = |day: i64, minute: i64| {
                let (level, doubled) = levels[day as usize - 1];
                let own = if (0..10).contains(&minute) { level } else { before as u64 };
                (own * scale(doubled), 1)
            };
            Days::of(1..=7, level).tell(&departure)
        };
        let (same, grown) = (|_: u32| 1, |doubled: u32| 1_u64 << doubled);
        for (kind, before, now) in [
            (AnomalyKind::Traffic, 1.0, now),
            (AnomalyKind::Traffic, 20.0, now),
            (AnomalyKind::Silence, 20.0, 0),
        ] {
            prop_assert_eq!(usual(&same, kind, before, now), usual(&grown, kind, before, now));
        }
    }
}
