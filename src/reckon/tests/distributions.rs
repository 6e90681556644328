//! Quantiles against sorted values, merging against counting again.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::model::metric::{Buckets, Exponential as Shape, ExponentialBuckets};
use crate::reckon::explicit::Explicit;
use crate::reckon::exponential::{BUCKETS_MAX, Exponential};
use crate::reckon::totals::Totals;

const SHARES: [f64; 8] = [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

fn totals(values: &[f64], with_extremes: bool) -> Totals {
    let extreme = |join: fn(f64, f64) -> f64| values.iter().copied().reduce(join).filter(|_| with_extremes);
    Totals::new(values.len() as u64, Some(values.iter().sum()), (extreme(f64::min), extreme(f64::max)))
}

fn explicit(bounds: &[f64], values: &[f64], with_extremes: bool) -> Explicit {
    let mut counts = vec![0; bounds.len() + 1];
    values.iter().for_each(|value| counts[bounds.partition_point(|bound| bound < value)] += 1);
    Explicit::new(Buckets { bounds: bounds.to_vec(), counts }, totals(values, with_extremes))
}

/// The index of a value's bucket: found by trying, not by the logarithm that the code uses.
fn index_of(value: f64, scale: i32) -> i32 {
    let bound = |index: i32| (f64::from(index) * f64::from(-scale).exp2()).exp2();
    let mut index = (value.log2() * f64::from(scale).exp2()).floor() as i32;
    while bound(index) >= value {
        index -= 1;
    }
    while bound(index + 1) < value {
        index += 1;
    }
    index
}

fn exponential_of(scale: i32, zero_threshold: f64, values: &[f64]) -> Exponential {
    let side = |values: &mut dyn Iterator<Item = f64>| {
        let indices: Vec<i32> = values.map(|value| index_of(value, scale)).collect();
        let Some(offset) = indices.iter().min().copied() else { return ExponentialBuckets::default() };
        let length = indices.iter().max().unwrap() - offset + 1;
        let mut counts = vec![0; length as usize];
        indices.iter().for_each(|index| counts[(index - offset) as usize] += 1);
        ExponentialBuckets { offset, counts }
    };
    let large = |value: &&f64| value.abs() > zero_threshold;
    let shape = Shape {
        scale,
        zero_count: values.iter().filter(|value| !large(value)).count() as u64,
        zero_threshold,
        positive: side(&mut values.iter().filter(large).filter(|value| **value > 0.0).copied()),
        negative: side(&mut values.iter().filter(large).filter(|value| **value < 0.0).map(|value| -value)),
    };
    Exponential::new(&shape, totals(values, false))
}

/// The value of rank `share` and the ends of the explicit bucket that holds it.
fn truth(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

fn bounds() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::btree_set(-20_i32..100, 0..12)
        .prop_map(|set| set.into_iter().map(f64::from).collect())
}

fn measurements() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec((-300_i32..1_500).prop_map(|tenth| f64::from(tenth) / 10.0), 1..200)
}

/// Values of many magnitudes and both signs, some of them zero.
fn magnitudes() -> impl Strategy<Value = Vec<f64>> {
    let value = (-20_i32..20, 1.0_f64..2.0).prop_map(|(power, part)| part * f64::from(power).exp2());
    let signed = (value, any::<bool>()).prop_map(|(value, negative)| if negative { -value } else { value });
    proptest::collection::vec(prop_oneof![8 => signed, 1 => Just(0.0)], 1..150)
}

proptest! {
    #[test]
    fn a_quantile_lies_in_the_bucket_of_the_true_value(bounds in bounds(), mut values in measurements(), known in any::<bool>()) {
        let histogram = explicit(&bounds, &values, known);
        for share in SHARES {
            let truth = truth(&mut values, share);
            let place = bounds.partition_point(|bound| *bound < truth);
            let (least, most) = (values[0], values[values.len() - 1]);
            match histogram.quantile(share) {
                Some(found) if known => {
                    let low = place.checked_sub(1).map_or(least, |place| bounds[place].max(least));
                    let high = bounds.get(place).map_or(most, |bound| bound.min(most));
                    prop_assert!((low..=high).contains(&found), "{share}: {found} is not in {low}..={high}");
                }
                Some(found) => {
                    let low = place.checked_sub(1).map_or(f64::NEG_INFINITY, |place| bounds[place]);
                    let high = bounds.get(place).copied().unwrap_or(f64::INFINITY);
                    prop_assert!((low..=high).contains(&found), "{share}: {found} is not in {low}..={high}");
                }
                None => prop_assert!(bounds.is_empty() && !known),
            }
        }
    }

    #[test]
    fn merging_explicit_histograms_is_counting_all_values_in_the_common_bounds(
        left in (bounds(), measurements()), right in (bounds(), measurements()),
    ) {
        let mut merged = explicit(&left.0, &left.1, true);
        merged.add(&explicit(&right.0, &right.1, true));
        let common: Vec<f64> = left.0.iter().filter(|bound| right.0.contains(bound)).copied().collect();
        let all = explicit(&common, &[left.1, right.1].concat(), true);
        prop_assert_eq!((merged.bounds(), merged.counts()), (all.bounds(), all.counts()));
        prop_assert_eq!((merged.totals().min, merged.totals().max), (all.totals().min, all.totals().max));
    }

    #[test]
    fn merging_exponential_histograms_is_counting_all_values_at_the_lower_scale(
        left in (-4_i32..8, magnitudes()), right in (-4_i32..8, magnitudes()),
    ) {
        let mut merged = exponential_of(left.0, 0.0, &left.1);
        merged.add(&exponential_of(right.0, 0.0, &right.1));
        let all = exponential_of(left.0.min(right.0), 0.0, &[left.1, right.1].concat());
        prop_assert_eq!((&merged.positive, &merged.negative), (&all.positive, &all.negative));
        prop_assert_eq!((merged.scale(), merged.zero_count), (all.scale(), all.zero_count));
    }

    #[test]
    fn zero_buckets_of_different_width_lose_nothing(
        left in (0_i32..6, 0.0_f64..4.0, magnitudes()), right in (0_i32..6, 0.0_f64..4.0, magnitudes()),
    ) {
        let mut merged = exponential_of(left.0, left.1, &left.2);
        merged.add(&exponential_of(right.0, right.1, &right.2));
        let all = [left.2, right.2].concat();
        prop_assert_eq!(merged.bucket_total(), all.len() as u64);
        prop_assert!(merged.zero_threshold >= left.1.max(right.1));
        let inside = all.iter().filter(|value| value.abs() <= merged.zero_threshold).count();
        prop_assert_eq!(merged.zero_count, inside as u64);
    }

    #[test]
    fn exponential_quantiles_keep_their_bound(scale in 0_i32..10, parts in proptest::collection::vec(magnitudes(), 1..4)) {
        let mut merged = exponential_of(scale, 0.0, &parts[0]);
        parts[1..].iter().for_each(|part| merged.add(&exponential_of(scale, 0.0, part)));
        let mut all = parts.concat();
        let error = f64::from(-merged.scale()).exp2().exp2() - 1.0;
        for share in SHARES {
            let (found, truth) = (merged.quantile(share).unwrap(), truth(&mut all, share));
            prop_assert!((found - truth).abs() <= truth.abs() * error * 1.000_001, "{share}: {found} for {truth}");
        }
    }

    #[test]
    fn strange_shapes_never_panic(
        scale in -10_i32..=20, zero in any::<(u64, f64)>(), sides in any::<[(i32, [u64; 5]); 2]>(),
        other in -10_i32..=20, bounds in proptest::collection::vec(any::<f64>(), 0..6), counts in proptest::collection::vec(any::<u64>(), 0..7),
    ) {
        let side = |(offset, counts): (i32, [u64; 5])| ExponentialBuckets { offset, counts: counts.to_vec() };
        let [positive, negative] = sides.map(side);
        let shape = Shape { scale, zero_count: zero.0, zero_threshold: zero.1.abs(), positive, negative };
        let totals = Totals::new(u64::MAX, Some(1.0), (Some(zero.1), Some(-zero.1)));
        let mut histogram = Exponential::new(&shape, totals);
        histogram.add(&Exponential::new(&Shape { scale: other, ..shape }, totals));
        let _ = histogram.since(&histogram.clone());
        let mut sorted: Vec<f64> = bounds.into_iter().filter(|bound| !bound.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let explicit = Explicit::new(Buckets { bounds: sorted, counts }, totals);
        for share in SHARES {
            prop_assert!(histogram.quantile(share).is_none_or(|found| !found.is_nan()));
            prop_assert!(explicit.quantile(share).is_none_or(|found| !found.is_nan()));
        }
    }
}

#[test]
fn the_rules_of_the_outer_buckets_hold() {
    let values = [0.5, 0.5, 0.5, 0.5];
    assert_eq!(
        explicit(&[1.0, 2.0], &values, false).quantile(0.5),
        Some(0.5),
        "from zero to the first bound"
    );
    assert_eq!(explicit(&[-1.0, 2.0], &[-5.0, -6.0], false).quantile(0.5), Some(-1.0));
    assert_eq!(explicit(&[1.0, 2.0], &[7.0, 9.0], false).quantile(0.5), Some(2.0), "the last bound");
    assert_eq!(explicit(&[1.0, 2.0], &[7.0, 9.0], true).quantile(0.5), Some(8.0), "up to the maximum");
    assert_eq!(explicit(&[1.0, 2.0], &[7.0, 9.0], true).quantile(1.0), Some(9.0));
    assert_eq!(explicit(&[1.0], &[], false).quantile(0.5), None);
    assert_eq!(explicit(&[], &[1.0], false).quantile(0.5), None);
    let endless = Buckets { bounds: vec![f64::NEG_INFINITY, 1.0, f64::INFINITY], counts: vec![0, 1, 3, 0] };
    let endless = Explicit::new(endless, totals(&[0.5, 2.0, 2.0, 2.0], false));
    assert_eq!((endless.bounds(), endless.counts()), (&[1.0][..], &[1, 3][..]));
}

#[test]
fn wide_histograms_stay_small() {
    let values: Vec<f64> = (1..5_000).map(|step| (f64::from(step) / 10.0 - 250.0).exp2()).collect();
    let histogram = exponential_of(6, 0.0, &values);
    assert!(histogram.positive.len() <= BUCKETS_MAX && histogram.scale() < 6);
    assert_eq!(histogram.bucket_total(), values.len() as u64);
}
