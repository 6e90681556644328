//! Steps and windows against rolling up each window by itself; groups against adding by hand.

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;
use crate::reckon::gather::Gathered;
use crate::reckon::steps::Plan;
use crate::reckon::{Function, Rollup};

const fn plan(from: i64, step: i64, steps: usize, window_steps: usize, known_from: i64) -> Plan {
    Plan {
        from: UnixNanos(from * SECOND),
        step_ns: step * SECOND,
        steps,
        window_steps,
        to: UnixNanos(i64::MAX),
        known_from: UnixNanos(known_from * SECOND),
    }
}

/// The answers of a group of series, step by step.
fn answers(plan: Plan, nature: Nature, series: &[Vec<Point>], function: Function) -> Vec<Option<f64>> {
    let mut steps = vec![None; plan.steps];
    for points in series {
        plan.windows(&plan.cells(nature, points), |step, rollup, growth| {
            let gathered = steps[step].get_or_insert_with(|| Gathered::new(nature));
            gathered.add(rollup, growth, plan.window_ns(step));
        });
    }
    steps.into_iter().map(|gathered| gathered.and_then(|it| it.answer(function))).collect()
}

proptest! {
    #[test]
    fn windows_are_roll_ups_of_their_points(
        moves in proptest::collection::vec((1_i64..40, any::<u8>()), 0..40), step in 1_i64..60, steps in 1_usize..20, window_steps in 1_usize..8,
    ) {
        let (mut time, mut points) = (0, Vec::new());
        for (pause, value) in moves {
            time += pause;
            points.push(int(0, time, value.into()));
        }
        let plan = plan(200, step, steps, window_steps, 0);
        let mut found = vec![None; steps];
        plan.windows(&plan.cells(COUNTER, &points), |step, rollup, growth| found[step] = Some((rollup.clone(), growth)));
        for (number, found) in found.into_iter().enumerate() {
            let to = 200 + step * (number as i64 + 1);
            let from = to - step * window_steps as i64;
            let inside = |point: &&Point| (from * SECOND..to * SECOND).contains(&point.time.0);
            let inside: Vec<Point> = points.iter().filter(inside).cloned().collect();
            let earlier: Vec<Point> = points.iter().filter(|point| point.time.0 < from * SECOND).cloned().collect();
            let expected = (!inside.is_empty()).then(|| {
                let rollup = Rollup::of(COUNTER, &inside);
                let before = (!earlier.is_empty()).then(|| Rollup::of(COUNTER, &earlier));
                let growth = rollup.growth(before.as_ref(), UnixNanos(0), UnixNanos(from * SECOND));
                (rollup, growth)
            });
            prop_assert_eq!(found, expected, "step {}", number);
        }
    }

    #[test]
    fn steps_add_up_to_the_whole(moves in proptest::collection::vec((1_i64..40, any::<u8>()), 2..40), step in 1_i64..60) {
        let (mut time, mut points) = (0, Vec::new());
        for (pause, value) in moves {
            time += pause;
            points.push(int(0, time, value.into()));
        }
        let steps = (time / step + 1) as usize;
        let parts: f64 = answers(plan(0, step, steps, 1, 0), COUNTER, &[points.clone()], Function::Increase).into_iter().flatten().sum();
        let whole = answers(plan(0, time + 1, 1, 1, 0), COUNTER, &[points], Function::Increase);
        prop_assert_eq!(Some(parts), whole[0]);
    }
}

#[test]
fn a_rate_is_right_whatever_the_step() {
    // Two a second, exported every ten seconds.
    let series =
        |per_second: i64| (0..60).map(|at| int(0, 3 + 10 * at, 10 * at * per_second)).collect::<Vec<_>>();
    for (step, empty) in [(4, true), (10, false), (15, false), (60, false)] {
        let found = answers(plan(120, step, 6, 1, 0), COUNTER, &[series(2), series(3)], Function::Rate);
        assert!(found.iter().flatten().all(|rate| (rate - 5.0).abs() < 1e-9), "{step}: {found:?}");
        assert_eq!(found.iter().any(Option::is_none), empty, "{step}: {found:?}");
    }
    assert_eq!(answers(plan(120, 10, 2, 6, 0), COUNTER, &[series(2)], Function::Increase), [Some(120.0); 2]);
}

#[test]
fn series_that_end_within_a_step_counted_nothing_after_it() {
    // Ten a second, exported every ten seconds: by one process for a third of the hour, then by another one.
    let export = |start: i64, from: i64, to: i64| {
        (from..=to).step_by(10).map(|at| int(start, at, 10 * (at - start))).collect::<Vec<_>>()
    };
    let (first, second) = (export(100, 3_500, 4_800), export(4_800, 4_810, 7_200));
    let found = answers(plan(3_600, 3_600, 1, 1, 3_000), COUNTER, &[first.clone(), second], Function::Rate);
    let rate = found[0].unwrap();
    assert!((rate - 10.0).abs() < 0.1, "{rate}");
    // A job of five minutes.
    let job = export(4_000, 4_010, 4_300);
    let found = answers(plan(3_600, 3_600, 1, 1, 3_000), COUNTER, &[job], Function::Rate)[0].unwrap();
    assert!((found - 3_000.0 / 3_600.0).abs() < 0.01, "{found}");
    // One that was there before time was looked at: what it counted is spread over the time that it is known for.
    let found = answers(plan(3_600, 1_800, 1, 1, 3_600), COUNTER, &[first], Function::Rate)[0].unwrap();
    assert!((found - 12_000.0 / 1_800.0).abs() < 0.1, "{found}");
}

#[test]
fn levels_are_gathered_by_series() {
    let gauge = |time, value| point(0, time, PointValue::Double(value));
    let series = [vec![gauge(1, 2.0), gauge(2, 4.0)], vec![gauge(1, 10.0)], vec![]];
    let of = |function| answers(plan(0, 10, 1, 1, 0), GAUGE, &series, function)[0];
    assert_eq!(of(Function::Sum), Some(13.0));
    assert_eq!(of(Function::Average), Some(16.0 / 3.0));
    assert_eq!((of(Function::Minimum), of(Function::Maximum)), (Some(2.0), Some(10.0)));
    assert_eq!((of(Function::Last), of(Function::Count)), (Some(4.0), Some(3.0)));
    assert_eq!(of(Function::Rate), None);
}

#[test]
fn distributions_are_gathered_by_bucket() {
    let of = |counts: &[u64]| vec![histogram(50, 60, &[1.0, 2.0], counts, Some((0.5, 4.0)))];
    let series = [of(&[10, 0, 0]), of(&[0, 9, 1])];
    let of = |function| answers(plan(60, 60, 1, 1, 0), HISTOGRAM_DELTA, &series, function)[0];
    assert_eq!(of(Function::Quantile(0.5)), Some(1.0));
    assert_eq!((of(Function::Minimum), of(Function::Maximum)), (Some(0.5), Some(4.0)));
    assert_eq!(
        (of(Function::Count), of(Function::Sum), of(Function::Average)),
        (Some(20.0), Some(20.0), Some(1.0))
    );
    // In the rest of the minute, of which nothing came, nothing was counted.
    assert_eq!(of(Function::Rate), Some(20.0 / 60.0));
    let every_ten: Vec<Point> =
        (1..=6).map(|at| histogram(10 * at, 10 * at + 10, &[1.0], &[2, 0], Some((0.5, 0.5)))).collect();
    let rates = |step| {
        answers(plan(20, step, 1, 1, 0), HISTOGRAM_DELTA, std::slice::from_ref(&every_ten), Function::Rate)[0]
    };
    assert_eq!((rates(45), rates(50)), (Some(0.2), Some(0.2)), "whatever the step");
}

#[test]
fn summaries_answer_only_what_was_reported() {
    let series = [vec![summary(61, 5, &[(0.5, 1.0), (0.99, 7.0)])], vec![summary(62, 5, &[(0.5, 3.0)])]];
    let of = |function| answers(plan(60, 60, 1, 1, 0), SUMMARY, &series, function)[0];
    assert_eq!(of(Function::Quantile(0.5)), Some(3.0));
    assert_eq!(of("p99".parse().unwrap()), Some(7.0));
    assert_eq!(of(Function::Quantile(0.9)), None);
}

#[test]
fn functions_are_read_and_written() {
    for name in
        ["rate", "increase", "sum", "avg", "min", "max", "last", "count", "p50", "p99.9", "p0", "p100"]
    {
        let function: Function = name.parse().unwrap();
        assert_eq!(function.to_string(), name);
    }
    for wrong in ["", "p", "p101", "p-1", "pNaN", "pinf", "median"] {
        assert!(wrong.parse::<Function>().is_err(), "{wrong}");
    }
    assert!(Function::Rate.unfit(GAUGE).is_some() && Function::Rate.unfit(UP_DOWN).is_none());
    assert!(Function::Quantile(0.5).unfit(COUNTER).is_some() && Function::Last.unfit(HISTOGRAM).is_some());
}
