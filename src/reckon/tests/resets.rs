//! What is counted between two points: resets, gaps, duplicates, overlaps.

use super::*;
use crate::reckon::Rollup;
use crate::reckon::rollup::Growth;

/// What `points` counted since second 0, with nothing known before `known_from`; and over how many seconds.
fn growth(nature: Nature, points: &[Point], known_from: i64) -> (Option<f64>, u64) {
    let rollup = Rollup::of(nature, points);
    let Growth { amount, covered_ns, .. } = rollup.growth(None, UnixNanos(known_from * SECOND), UnixNanos(0));
    (amount.map(|amount| amount.size()), covered_ns / SECOND.unsigned_abs())
}

#[track_caller]
fn check(nature: Nature, points: &[Point], counted: f64, seconds: u64) {
    assert_eq!(growth(nature, points, 50), (Some(counted), seconds));
}

#[test]
fn the_first_point_counts_only_if_its_beginning_is_known() {
    // It began in time that is looked at: all of it counts, and nothing was counted before it began.
    check(COUNTER, &[int(60, 100, 7)], 7.0, 100);
    // It began earlier, at an unknown time, or with this very point: it is where counting begins.
    for first in [int(40, 100, 7), int(0, 100, 7), int(100, 100, 7)] {
        assert_eq!(growth(COUNTER, std::slice::from_ref(&first), 50), (None, 0));
        let next = int(first.start.0 / SECOND, 110, 9);
        check(COUNTER, &[first, next], 2.0, 10);
    }
}

#[test]
fn a_new_start_is_a_reset_even_if_the_value_grew() {
    let points = [int(40, 100, 50), int(40, 110, 60), int(112, 120, 80), int(112, 130, 81)];
    check(COUNTER, &points, 10.0 + 80.0 + 1.0, 30);
    assert_eq!(Rollup::of(COUNTER, &points).tally().resets, 1);
    // The new sequence may begin at the very instant of the last point of the old one.
    check(COUNTER, &[int(40, 100, 50), int(100, 110, 60)], 60.0, 10);
}

#[test]
fn a_reset_at_an_unknown_time_contributes_nothing() {
    let points = [int(40, 100, 50), int(120, 120, 80), int(120, 130, 85)];
    check(COUNTER, &points, 5.0, 10);
    assert_eq!(Rollup::of(COUNTER, &points).tally().resets, 1);
    // A sender whose points all begin with themselves says nothing by it: the values tell.
    check(COUNTER, &[int(100, 100, 50), int(110, 110, 80), int(120, 120, 8)], 30.0 + 8.0, 20);
}

#[test]
fn a_value_that_fell_is_a_reset() {
    for start in [0, 40] {
        let points = [int(start, 100, 50), int(start, 110, 60), int(start, 120, 4), int(start, 130, 6)];
        check(COUNTER, &points, 10.0 + 4.0 + 2.0, 30);
        assert_eq!(Rollup::of(COUNTER, &points).tally().resets, 1);
    }
}

#[test]
fn starts_that_contradict_the_times_do_not_count_everything_again() {
    let points = [int(40, 100, 5_000), int(41, 110, 5_010), int(40, 120, 5_020)];
    check(COUNTER, &points, 20.0, 20);
    assert_eq!(Rollup::of(COUNTER, &points).tally().overlaps, 2);
}

#[test]
fn points_of_two_senders_count_only_from_one_to_its_own_next() {
    let points = [int(40, 100, 50), int(45, 101, 900), int(45, 111, 910), int(40, 112, 60), int(40, 122, 63)];
    check(COUNTER, &points, 10.0 + 3.0, 20);
    assert_eq!(Rollup::of(COUNTER, &points).tally().overlaps, 2);
    assert_eq!(Rollup::of(COUNTER, &points).tally().resets, 0);
}

#[test]
fn gaps_and_what_is_no_measurement_are_left_out() {
    let points = [
        int(40, 100, 50),
        point(40, 105, PointValue::Gap),
        point(40, 106, PointValue::Double(f64::NAN)),
        point(40, 107, PointValue::Double(f64::INFINITY)),
        int(40, 110, 60),
    ];
    check(COUNTER, &points, 10.0, 10);
    let rollup = Rollup::of(COUNTER, &points);
    assert_eq!((rollup.tally().points, rollup.tally().skipped), (2, 2));
    assert_eq!(rollup.last(), Some((UnixNanos(110 * SECOND), 60.0)));
    assert_eq!(Rollup::of(COUNTER, &points[..2]).last(), None, "the newest point says that there is nothing");
}

#[test]
fn infinite_gauges_take_part() {
    let gauge = |time, value| point(0, time, PointValue::Double(value));
    let rollup = Rollup::of(GAUGE, &[gauge(1, 2.0), gauge(2, f64::NEG_INFINITY), gauge(3, f64::NAN)]);
    let levels = rollup.levels().unwrap();
    assert_eq!((levels.min, levels.max, levels.sum), (f64::NEG_INFINITY, 2.0, f64::NEG_INFINITY));
    assert_eq!((rollup.tally().points, rollup.tally().skipped), (2, 1));
}

#[test]
fn order_does_not_matter_and_the_last_of_one_instant_counts() {
    let points = [int(40, 120, 70), int(40, 100, 50), int(40, 110, 1), int(40, 110, 60), int(40, 120, 70)];
    check(COUNTER, &points, 20.0, 20);
    assert_eq!(Rollup::of(COUNTER, &points).tally().duplicates, 2);
    // A delta that was sent twice counts once.
    check(DELTA, &[int(90, 100, 5), int(90, 100, 5), int(100, 110, 6)], 11.0, 20);
}

#[test]
fn deltas_count_by_themselves() {
    // The gap from 110 to 120 is not covered.
    check(DELTA, &[int(90, 100, 5), int(100, 110, 6), int(120, 130, 7)], 18.0, 30);
    let overlapping = [int(90, 100, 5), int(95, 110, 6)];
    // The time that both count passed once.
    check(DELTA, &overlapping, 11.0, 20);
    check(
        DELTA,
        &[int(40, 100, 600), int(41, 101, 600), int(100, 160, 600), int(101, 161, 600)],
        2_400.0,
        121,
    );
    assert_eq!(Rollup::of(DELTA, &overlapping).tally().overlaps, 1);
    // Without a start a delta counts since the one before it.
    check(DELTA, &[int(0, 100, 5), int(0, 110, 6)], 11.0, 10);
}

#[test]
fn sums_that_may_fall_change() {
    check(UP_DOWN, &[int(40, 100, 50), int(40, 110, 20), int(40, 120, 25)], -25.0, 20);
    check(UP_DOWN, &[int(40, 100, 50), int(105, 110, 20)], -30.0, 10);
    check(UP_DOWN, &[int(60, 100, 5)], 5.0, 100);
    assert_eq!(growth(GAUGE, &[int(0, 100, 1), int(0, 110, 9)], 0), (None, 0));
}

#[test]
fn large_counters_keep_all_digits() {
    check(COUNTER, &[int(40, 100, i64::MAX - 3), int(40, 110, i64::MAX)], 3.0, 10);
}

#[test]
fn a_bucket_that_fell_is_a_reset() {
    let bounds = [1.0, 2.0];
    let at = |time, counts: &[u64]| histogram(40, time, &bounds, counts, None);
    check(HISTOGRAM, &[at(100, &[5, 5, 0]), at(110, &[6, 7, 0])], 3.0, 10);
    // The count grew, but the first bucket fell.
    check(HISTOGRAM, &[at(100, &[5, 5, 0]), at(110, &[4, 9, 0])], 13.0, 10);
    check(HISTOGRAM, &[at(100, &[5, 5, 0]), at(110, &[1, 0, 0])], 1.0, 10);
    // Other bounds: what is comparable tells.
    let other = |counts: &[u64]| histogram(40, 110, &[1.0, 4.0], counts, None);
    check(HISTOGRAM, &[at(100, &[5, 5, 0]), other(&[6, 5, 1])], 2.0, 10);
    check(HISTOGRAM, &[at(100, &[5, 5, 0]), other(&[3, 9, 1])], 13.0, 10);
    let exponential =
        |time, scale, counts: &[u64]| exponential((40, time), scale, (1, 0.0), (0, counts), (0, &[]));
    check(EXPONENTIAL, &[exponential(100, 1, &[1, 2, 3]), exponential(110, 0, &[4, 3])], 1.0, 10);
    check(EXPONENTIAL, &[exponential(100, 1, &[1, 2, 3]), exponential(110, 0, &[2, 6])], 9.0, 10);
    check(EXPONENTIAL, &[exponential(100, 1, &[1, 2, 3]), exponential(110, 1, &[1, 9])], 11.0, 10);
}

#[test]
fn a_histogram_that_was_empty_does_not_coarsen_the_next() {
    let points = [histogram(40, 100, &[], &[], None), histogram(40, 110, &[1.0, 2.0], &[0, 4, 0], None)];
    let growth = Rollup::of(HISTOGRAM, &points).growth(None, UnixNanos(50 * SECOND), UnixNanos(0));
    assert_eq!(growth.amount.unwrap().quantile(0.5), Some(1.5));
    let empty = exponential((40, 100), -3, (0, 0.0), (0, &[]), (0, &[]));
    let points = [empty, exponential((40, 110), 5, (0, 0.0), (0, &[4]), (0, &[]))];
    let growth = Rollup::of(EXPONENTIAL, &points).growth(None, UnixNanos(50 * SECOND), UnixNanos(0));
    assert!(growth.amount.unwrap().quantile(1.0).unwrap() < 1.03);
}

#[test]
fn summaries_count_and_keep_their_largest_quantiles() {
    let points = [
        summary(100, 10, &[(0.5, 1.0), (0.99, 7.0)]),
        summary(110, 14, &[(0.5, 2.0), (0.99, f64::NAN)]),
        summary(120, 3, &[(0.5, 1.5), (0.9, 3.0)]),
    ];
    check(SUMMARY, &points, 4.0 + 3.0, 20);
    assert_eq!(Rollup::of(SUMMARY, &points).quantiles(), [(0.5, 2.0), (0.9, 3.0), (0.99, 7.0)]);
}
