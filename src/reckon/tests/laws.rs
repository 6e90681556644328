//! Roll-ups: merging is rolling up together, bytes come back, and both agree with walking the points one by one.

use proptest::prelude::{
    BoxedStrategy, Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::subsequence;

use super::*;
use crate::reckon::Rollup;
use crate::reckon::nature::Accrual;
use crate::reckon::rollup::MergeError;

/// A sender that restarts now and then: what it does between two exports.
#[derive(Debug, Clone)]
struct Event {
    /// Seconds since the last export.
    pause: i64,
    restart: bool,
    /// Measurements, by bucket.
    more: [u64; 4],
    gap: bool,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (1_i64..30, proptest::bool::weighted(0.15), any::<[u8; 4]>(), proptest::bool::weighted(0.1));
    let event = event.prop_map(|(pause, restart, more, gap)| Event {
        pause,
        restart,
        more: more.map(u64::from),
        gap,
    });
    proptest::collection::vec(event, 0..25)
}

/// What the sender of `events` exports as a series of `nature`; with or without saying when it started. Also what it
/// measured after its first export, in all.
fn exports(nature: Nature, events: &[Event], with_start: bool) -> (Vec<Point>, u64) {
    let (mut time, mut start, mut counts, mut measured) = (1_000, 990, [0_u64; 4], 0);
    let mut points = Vec::new();
    for event in events {
        let last = time;
        time += event.pause;
        if event.restart {
            counts = [0; 4];
            start = last;
        }
        let delta = nature.temporality == Temporality::Delta;
        for (count, more) in counts.iter_mut().zip(event.more) {
            *count = if delta { more } else { *count + more };
        }
        measured += event.more.iter().sum::<u64>();
        if points.is_empty() && !delta {
            measured = 0;
        }
        let from = if !with_start {
            0
        } else if delta {
            last
        } else {
            start
        };
        let count: u64 = counts.iter().sum();
        let mut point = match nature.kind {
            MetricKind::Histogram => {
                // A restart may come with a new version, which has other bounds.
                let bounds = if start % 2 == 0 { [1.0, 2.0, 4.0] } else { [1.0, 3.0, 4.0] };
                histogram(from, time, &bounds, &counts, delta.then_some((0.5, 9.0)))
            }
            MetricKind::ExponentialHistogram => {
                let scale = 3 - (start % 4) as i32;
                exponential(
                    (from, time),
                    scale,
                    (counts[3], 0.0),
                    (start as i32 % 9 - 4, &counts[..3]),
                    (2, &[]),
                )
            }
            MetricKind::Summary => summary(time, count, &[(0.5, count as f64), (0.9, 2.0 * count as f64)]),
            MetricKind::Gauge | MetricKind::Sum => int(from, time, count.cast_signed()),
        };
        if event.gap && !delta && !points.is_empty() {
            point.value = PointValue::Gap;
        }
        points.push(point);
    }
    (points, measured)
}

fn natures() -> BoxedStrategy<Nature> {
    prop_oneof![
        Just(COUNTER),
        Just(DELTA),
        Just(UP_DOWN),
        Just(GAUGE),
        Just(HISTOGRAM),
        Just(HISTOGRAM_DELTA),
        Just(EXPONENTIAL),
        Just(EXPONENTIAL_DELTA),
        Just(SUMMARY),
    ]
    .boxed()
}

/// Points with values and times as strange as they can come from strangers.
fn strange_points() -> impl Strategy<Value = Vec<Point>> {
    let value = prop_oneof![
        Just(PointValue::Gap),
        any::<i32>().prop_map(|value| PointValue::Int(value.into())),
        (-9_i32..9).prop_map(|value| PointValue::Double(value.into())),
        Just(PointValue::Double(f64::NAN)),
        Just(PointValue::Double(f64::NEG_INFINITY)),
        any::<u8>().prop_map(|count| PointValue::Distribution { count: count.into(), sum: None }),
    ];
    let point = (0_i64..40, -2_i64..40, value).prop_map(|(start, time, value)| point(start, time, value));
    proptest::collection::vec(point, 0..20)
}

/// The roll-ups of `points`, which are in order, cut at `cuts`; equal instants stay together.
fn pieces(nature: Nature, points: &[Point], cuts: &[usize]) -> Vec<Rollup> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([points.len()]) {
        let to = cut.clamp(from, points.len());
        let same = |to: &usize| *to > 0 && *to < points.len() && points[*to - 1].time == points[*to].time;
        let to = (to..=points.len()).find(|to| !same(to)).unwrap();
        pieces.push(Rollup::of(nature, &points[from..to]));
        from = to;
    }
    pieces
}

fn merged(nature: Nature, pieces: &[Rollup]) -> Rollup {
    let mut sum = Rollup::new(nature);
    pieces.iter().for_each(|piece| sum.merge(piece).unwrap());
    sum
}

proptest! {
    #[test]
    fn merging_roll_ups_is_rolling_up_together(
        nature in natures(), events in events(), with_start in any::<bool>(), cuts in subsequence((0..25).collect::<Vec<usize>>(), 0..6),
    ) {
        let (points, _) = exports(nature, &events, with_start);
        let whole = Rollup::of(nature, &points);
        let pieces = pieces(nature, &points, &cuts);
        prop_assert_eq!(&merged(nature, &pieces), &whole);
        // From the other end too: the grouping does not matter.
        let mut from_behind = Rollup::new(nature);
        for piece in pieces.iter().rev() {
            let mut sum = piece.clone();
            sum.merge(&from_behind).unwrap();
            from_behind = sum;
        }
        prop_assert_eq!(&from_behind, &whole);
    }

    #[test]
    fn the_law_holds_for_strange_points_too(
        nature in natures(), mut points in strange_points(), cuts in subsequence((0..20).collect::<Vec<usize>>(), 0..5),
    ) {
        points.sort_by_key(|point| point.time);
        prop_assert_eq!(merged(nature, &pieces(nature, &points, &cuts)), Rollup::of(nature, &points));
    }

    #[test]
    fn what_was_measured_is_what_is_counted(nature in natures(), events in events(), with_start in any::<bool>()) {
        if matches!(nature.accrual(), Accrual::Level | Accrual::Change) {
            return Ok(());
        }
        // Without starts a restart shows only where a value fell, which it need not do.
        let told = with_start && nature != SUMMARY;
        let events = events.into_iter().map(|event| Event { restart: event.restart && told, gap: false, ..event });
        let events: Vec<Event> = events.collect();
        let (points, after_first) = exports(nature, &events, with_start);
        let since = UnixNanos(995 * SECOND);
        let growth = Rollup::of(nature, &points).growth(None, since, since);
        let counted = growth.amount.map_or(0.0, |amount| amount.size());
        // The sequence of the first export began before time was looked at, unless it began anew just then.
        let first_counts = nature.accrual() == Accrual::Total && events.first().is_some_and(|event| event.restart);
        let first = if first_counts { events[0].more.iter().sum() } else { 0 };
        prop_assert_eq!(counted, (after_first + first) as f64);
    }

    #[test]
    fn roll_ups_come_back_from_bytes(nature in natures(), events in events(), with_start in any::<bool>()) {
        let rollup = Rollup::of(nature, &exports(nature, &events, with_start).0);
        let mut bytes = Vec::new();
        rollup.encode(&mut bytes);
        prop_assert_eq!(Rollup::decode(&bytes), Some(rollup));
        for cut in 0..bytes.len() {
            prop_assert_eq!(Rollup::decode(&bytes[..cut]), None, "cut at {}", cut);
        }
    }

    #[test]
    fn strange_bytes_never_panic(
        nature in natures(), events in events(), changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6), noise in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = Vec::new();
        Rollup::of(nature, &exports(nature, &events, true).0).encode(&mut bytes);
        for (place, byte) in changes {
            let length = bytes.len();
            bytes[usize::from(place) % length] = byte;
        }
        let forged = [vec![1, nature.kind as u8, 2], noise].concat();
        for bytes in [bytes, forged] {
            let Some(rollup) = Rollup::decode(&bytes) else { continue };
            let mut sum = rollup.clone();
            let _ = sum.merge(&rollup);
            let _ = rollup.growth(Some(&sum), UnixNanos(0), UnixNanos(0)).amount.map(|amount| amount.quantile(0.5));
            let mut again = Vec::new();
            rollup.encode(&mut again);
            prop_assert!(Rollup::decode(&again).is_some());
        }
    }
}

#[test]
fn what_does_not_fit_is_not_merged() {
    let of = |nature, time| Rollup::of(nature, &[int(0, time, 1)]);
    let mut earlier = of(COUNTER, 10);
    assert_eq!(earlier.merge(&of(GAUGE, 20)), Err(MergeError::Unlike));
    assert_eq!(earlier.merge(&of(COUNTER, 10)), Err(MergeError::Overlapping));
    assert_eq!(earlier, of(COUNTER, 10));
    assert_eq!(Rollup::decode(&[]), None);
    assert_eq!(Rollup::decode(&[2, 5, 0]), None, "another version");
}

#[test]
fn an_hour_of_points_is_small() {
    let size = |rollup: &Rollup| {
        let mut bytes = Vec::new();
        rollup.encode(&mut bytes);
        bytes.len()
    };
    let counter: Vec<Point> =
        (0..360).map(|step| int(7, 1_800_000_000 + 10 * step, 1_000 + 17 * step)).collect();
    assert!(size(&Rollup::of(COUNTER, &counter)) < 100);
    let bounds: Vec<f64> = (0..14).map(f64::from).collect();
    let of = |step: u64| {
        let counts: Vec<u64> = (0..15).map(|bucket| step * (bucket % 5)).collect();
        histogram(7, 1_800_000_000 + 10 * step as i64, &bounds, &counts, Some((0.1, 20.0)))
    };
    let histograms: Vec<Point> = (0..360).map(of).collect();
    assert!(size(&Rollup::of(HISTOGRAM, &histograms)) < 350);
    assert!(size(&Rollup::of(HISTOGRAM_DELTA, &histograms)) < 250);
}

#[test]
fn quantiles_of_any_number_come_back() {
    let strange = [(-0.0, 1.0), (0.5, f64::NAN), (f64::NAN, 2.0)];
    let mut rollup = Rollup::of(SUMMARY, &[summary(1, 5, &strange), summary(2, 9, &[(0.0, 3.0)])]);
    assert_eq!(rollup.quantiles(), [(0.0, 3.0)], "zero is one quantile, and what is no number is none");
    let coded = |rollup: &Rollup| {
        let mut bytes = Vec::new();
        rollup.encode(&mut bytes);
        bytes
    };
    assert_eq!(Rollup::decode(&coded(&rollup)).as_ref(), Some(&rollup));
    for strange in [(f64::NAN, 1.0), (0.5, f64::NAN)] {
        rollup.quantiles = vec![strange];
        assert_eq!(Rollup::decode(&coded(&rollup)), None, "nobody wrote {strange:?}");
    }
}
