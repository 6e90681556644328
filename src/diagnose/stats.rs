//! The few statistics that tell a deviation from noise.
//!
//! Counts are compared by the signed root of the likelihood ratio, which behaves like a z value and, unlike the
//! textbook z, keeps its meaning with few or no failures. Durations are compared by means and tails read from
//! sketches, so that one stray request moves nothing.

use crate::model::rollup::Cell;

/// Failures and tries that are added to every baseline: with nothing known, one failure in a hundred is expected.
const PRIOR_FAILURES: f64 = 0.5;
const PRIOR_TRIES: f64 = 50.0;
/// Requests close in time resemble each other, so that more than this many say no more about a mean.
const INDEPENDENT_MAX: f64 = 400.0;
/// The same for counts of slow requests.
const INDEPENDENT_TAIL_MAX: f64 = 2_000.0;
/// Standard deviations within which durations are as they were.
const GROWN_MIN: f64 = 2.0;
/// Calls that a latency must rest on in both windows.
pub(super) const LATENCY_COUNT_MIN: u64 = 10;

/// How surprising `failed` of `tries` is after `failed_before` of `tries_before`: about standard deviations,
/// negative where the share fell.
pub(super) fn share_surprise(failed: f64, tries: f64, failed_before: f64, tries_before: f64) -> f64 {
    if tries <= 0.0 {
        return 0.0;
    }
    let (failed_before, tries_before) = (failed_before + PRIOR_FAILURES, tries_before + PRIOR_TRIES);
    let root = root_of_gain((failed, tries), (failed_before, tries_before));
    if failed / tries < failed_before / tries_before { -root } else { root }
}

/// How surprising `count` events in `seconds` are after `count_before` in `seconds_before`: about standard
/// deviations, negative where the rate fell.
pub(super) fn rate_surprise(count: f64, seconds: f64, count_before: f64, seconds_before: f64) -> f64 {
    if seconds <= 0.0 || seconds_before <= 0.0 {
        return 0.0;
    }
    let pooled = (count + count_before) / (seconds + seconds_before);
    let gain = weighted_log(count, count / seconds / pooled)
        + weighted_log(count_before, count_before / seconds_before / pooled);
    let root = (2.0 * gain).max(0.0).sqrt();
    if count / seconds < count_before / seconds_before { -root } else { root }
}

/// How surprising it is that `now.0` of `now.1` cases went one way after `before.0` of `before.1`, with nothing assumed
/// about either: about standard deviations, never negative.
pub(super) fn even_surprise(now: (u64, u64), before: (u64, u64)) -> f64 {
    let (hits, tries) = (now.0 as f64, now.1 as f64);
    let (hits_before, tries_before) = (before.0 as f64, before.1 as f64);
    if tries <= 0.0 || tries_before <= 0.0 {
        return 0.0;
    }
    root_of_gain((hits, tries), (hits_before, tries_before))
}

/// The root of twice the likelihood that two shares gain by not being the same.
fn root_of_gain((hits, tries): (f64, f64), (hits_before, tries_before): (f64, f64)) -> f64 {
    let pooled = (hits + hits_before) / (tries + tries_before);
    let gain = |hits: f64, tries: f64| {
        weighted_log(hits, hits / tries / pooled)
            + weighted_log(tries - hits, (1.0 - hits / tries) / (1.0 - pooled))
    };
    (2.0 * (gain(hits, tries) + gain(hits_before, tries_before))).max(0.0).sqrt()
}

fn weighted_log(weight: f64, ratio: f64) -> f64 {
    if weight > 0.0 && ratio > 0.0 { weight * ratio.ln() } else { 0.0 }
}

/// The failures of `now` beyond those that its baseline's share explains; never negative.
pub(super) fn excess_errors(now: &Cell, before: &Cell) -> f64 {
    (now.errors as f64 - before.error_ratio() * now.count as f64).max(0.0)
}

/// [`share_surprise`] of the failures of two cells.
pub(super) fn error_surprise(now: &Cell, before: &Cell) -> f64 {
    share_surprise(now.errors as f64, now.count as f64, before.errors as f64, before.count as f64)
}

/// How durations moved.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Shift {
    /// Standard deviations.
    pub(super) surprise: f64,
    /// Growth relative to the baseline: 1 is twice as long.
    pub(super) growth: f64,
}

/// How the durations of two cells differ: the larger of the shift of the trimmed mean and that of the tail;
/// zero where either rests on fewer than [`LATENCY_COUNT_MIN`].
pub(super) fn latency_shift(now: &Cell, before: &Cell) -> Shift {
    if now.count < LATENCY_COUNT_MIN || before.count < LATENCY_COUNT_MIN {
        return Shift::default();
    }
    let (Some((mean, deviation)), Some((mean_before, deviation_before))) = (trimmed(now), trimmed(before))
    else {
        return Shift::default();
    };
    let body = {
        let floor = 0.1 * mean_before + 1.0;
        let variance =
            |deviation: f64, count: u64| deviation.max(floor).powi(2) / (count as f64).min(INDEPENDENT_MAX);
        let noise = (variance(deviation, now.count) + variance(deviation_before, before.count)).sqrt();
        Shift { surprise: (mean - mean_before) / noise, growth: (mean - mean_before) / (mean_before + 1.0) }
    };
    let tail = tail_shift(now, before);
    if tail.surprise > body.surprise { tail } else { body }
}

/// Whether durations grew, and beyond chance where enough are known to tell.
pub(super) fn has_grown(now: &Cell, before: &Cell) -> bool {
    let is_known = now.count.min(before.count) >= LATENCY_COUNT_MIN;
    let grew = now.mean_ns() > before.mean_ns();
    grew && (!is_known || latency_shift(now, before).surprise > GROWN_MIN)
}

/// The shift of the slowest twentieth; its growth is that of the mean, so that it weighs what callers feel.
fn tail_shift(now: &Cell, before: &Cell) -> Shift {
    let Some(bound) = before.sketch.quantile(0.95) else { return Shift::default() };
    let counted = |cell: &Cell| {
        let tries = (cell.count as f64).min(INDEPENDENT_TAIL_MAX);
        (cell.sketch.count_above(bound) as f64 / cell.count as f64 * tries, tries)
    };
    let ((slow, tries), (slow_before, tries_before)) = (counted(now), counted(before));
    let (share, share_before) = (slow / tries, slow_before / tries_before);
    if share < share_before + 0.03 || share < 2.0 * share_before {
        return Shift::default();
    }
    let far = |cell: &Cell| cell.sketch.quantile(0.98).unwrap_or(0) as f64;
    if far(now) < 1.3 * far(before) {
        return Shift::default();
    }
    Shift {
        surprise: share_surprise(slow, tries, slow_before, tries_before),
        growth: (now.mean_ns() - before.mean_ns()) / (before.mean_ns() + 1.0),
    }
}

/// Mean and standard deviation of twenty quantiles, which leave out the outermost fortieths.
fn trimmed(cell: &Cell) -> Option<(f64, f64)> {
    const POINTS: usize = 20;
    let shares = std::array::from_fn(|index| (index as f64 + 0.5) / POINTS as f64);
    let values = cell.sketch.quantiles::<POINTS>(shares)?.map(|value| value as f64);
    let mean = values.iter().sum::<f64>() / POINTS as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / POINTS as f64;
    Some((mean, variance.sqrt()))
}

/// The middle of `values`; 0 where there are none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    let is_odd = values.len() % 2 == 1;
    let (lower, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if is_odd {
        return *upper;
    }
    let below = lower.iter().copied().max_by(f64::total_cmp).unwrap_or(*upper);
    f64::midpoint(below, *upper)
}

/// The middle distance from `center`, scaled to be a standard deviation for normal noise.
pub(super) fn deviation_from(center: f64, values: &[f64]) -> f64 {
    let mut distances: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    1.4826 * median(&mut distances)
}

/// Calls that the baseline's rate leads one to expect in a window: a call is counted where it began and known once it is over,
/// so those that take long are not expected of the end of it.
pub(super) fn expected_calls(before: &Cell, window_s: f64, baseline_s: f64) -> f64 {
    if baseline_s <= 0.0 {
        return 0.0;
    }
    before.count as f64 * (window_s - before.mean_ns() / 1e9).max(0.0) / baseline_s
}

/// `value` pressed into 0 to 1: one half at `half`, never falling.
pub(super) fn saturate(value: f64, half: f64) -> f64 {
    if value == f64::INFINITY {
        return 1.0;
    }
    let value = value.max(0.0);
    value / (value + half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use crate::model::rollup::Seen;

    use super::*;

    fn cell(durations: impl IntoIterator<Item = u64>) -> Cell {
        let mut cell = Cell::default();
        for duration_ns in durations {
            cell.add(&Seen::Call { duration_ns, caller_ns: 0, error: false });
        }
        cell
    }

    proptest! {
        #[test]
        fn more_failures_surprise_more(tries in 1_u32..5_000, before in 0_u32..5_000, failed in 0.0_f64..1.0) {
            let (tries, tries_before) = (f64::from(tries), f64::from(before));
            let failed = (failed * tries).floor();
            let less = share_surprise(failed, tries, 0.01 * tries_before, tries_before);
            let more = share_surprise((failed + 1.0).min(tries), tries, 0.01 * tries_before, tries_before);
            prop_assert!(less.is_finite() && more.is_finite() && less <= more + 1e-6, "{less} {more}");
        }
    }

    #[test]
    fn few_failures_prove_little() {
        assert!(share_surprise(1.0, 10.0, 0.0, 1_000.0) < 4.0);
        assert!(share_surprise(5.0, 1_000.0, 0.0, 1_000.0) < 4.0);
        assert!(share_surprise(5.0, 5.0, 0.0, 200.0) > 4.0);
        assert!(share_surprise(0.0, 1_000.0, 100.0, 1_000.0) < -4.0);
    }

    #[test]
    fn one_stray_request_is_no_slowdown() {
        let before = cell((0..200).map(|index| 1_000_000 + index * 1_000));
        let stray =
            cell((0..200).map(|index| if index == 7 { 900_000_000 } else { 1_000_000 + index * 1_000 }));
        assert!(latency_shift(&stray, &before).surprise < 3.0);
        let slower = cell((0..200).map(|index| 1_600_000 + index * 1_000));
        assert!(latency_shift(&slower, &before).surprise > 5.0);
        let some_slow =
            cell((0..200).map(|index| if index % 8 == 0 { 9_000_000 } else { 1_000_000 + index * 1_000 }));
        assert!(latency_shift(&some_slow, &before).surprise > 4.0);
    }

    #[test]
    fn rates_rise_and_fall() {
        assert!(rate_surprise(100.0, 10.0, 20.0, 10.0) > 4.0);
        assert!(rate_surprise(0.0, 10.0, 100.0, 10.0) < -4.0);
        assert!(rate_surprise(0.0, 10.0, 0.0, 10.0).abs() < 1e-9);
    }
}
