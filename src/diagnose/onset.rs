//! When a deviation began.
//!
//! Each bucket votes for "as in the window" against "as in the baseline" with its log-likelihood ratio; the onset
//! is the start of the run of buckets with the largest sum. Unlike a threshold for each bucket this finds slow
//! starts and thin traffic, and it is not misled by a deviation that has ended.

use std::collections::BTreeMap;

use crate::model::rollup::Subject;
use crate::model::time::UnixNanos;

use super::evidence::Slice;
use super::verdict::SymptomKind;
use super::view::View;

/// When the operation at this position began to deviate in this way; none where no timeline tells.
pub(super) fn onset_of(view: &View<'_>, at: usize, kind: SymptomKind) -> Option<UnixNanos> {
    let operation = &view.operations[at];
    let subject = Subject::Operation(operation.id);
    let mut buckets: BTreeMap<i64, Slice> = BTreeMap::new();
    for slice in view.evidence.timeline.iter().filter(|slice| slice.subject == subject && slice.width_s > 0) {
        let known =
            buckets.entry(slice.bucket_s).or_insert(Slice { count: 0, errors: 0, sum_ns: 0, ..*slice });
        known.count += slice.count;
        known.errors += slice.errors;
        known.sum_ns = known.sum_ns.saturating_add(slice.sum_ns);
    }
    if kind == SymptomKind::Silence {
        fill(&mut buckets, view.evidence.window.to.seconds());
    }
    let (now, before) = (&operation.now, &operation.before);
    let vote = |slice: &Slice| match kind {
        SymptomKind::Errors => {
            let (usual, bad) = ratios(now.error_ratio(), before.error_ratio());
            let (failed, fine) = (slice.errors as f64, slice.count.saturating_sub(slice.errors) as f64);
            failed * (bad / usual).ln() + fine * ((1.0 - bad) / (1.0 - usual)).ln()
        }
        SymptomKind::Latency => {
            slice.sum_ns as f64 - slice.count as f64 * f64::midpoint(now.mean_ns(), before.mean_ns())
        }
        SymptomKind::Silence => {
            let usual = before.count as f64 / view.baseline_s.max(1.0) * slice.width_s as f64;
            let bad = (now.count as f64 / view.window_s.max(1.0) * slice.width_s as f64).max(0.05 * usual);
            slice.count as f64 * (bad / usual.max(1e-9)).ln() + usual - bad
        }
    };
    let start = heaviest_run(buckets.values().map(|slice| (slice.bucket_s, vote(slice))))?;
    (start < view.evidence.window.to.seconds()).then(|| UnixNanos::from_seconds(start))
}

/// The failed shares of the baseline and the window, the latter at least twice as high, and neither none nor all.
fn ratios(now: f64, before: f64) -> (f64, f64) {
    let usual = before.clamp(0.001, 0.499);
    (usual, now.clamp(2.0 * usual, 0.999))
}

/// Puts empty buckets where none were counted, up to `end_s`; at most a few thousand.
fn fill(buckets: &mut BTreeMap<i64, Slice>, end_s: i64) {
    const FILLED_MAX: usize = 5_000;
    let Some(first) = buckets.values().next().copied() else { return };
    let starts = (0..).map(|step| first.bucket_s.saturating_add(first.width_s.saturating_mul(step)));
    for bucket_s in starts.take(FILLED_MAX).take_while(|start| start.saturating_add(first.width_s) <= end_s) {
        buckets.entry(bucket_s).or_insert(Slice {
            bucket_s,
            count: 0,
            errors: 0,
            sum_ns: 0,
            other_ns: 0,
            ..first
        });
    }
}

/// The start of the run of values with the largest sum; none where no sum is positive.
fn heaviest_run(values: impl Iterator<Item = (i64, f64)>) -> Option<i64> {
    let mut best: Option<(i64, f64)> = None;
    let mut run: Option<(i64, f64)> = None;
    for (at, value) in values {
        let (start, sum) = run.filter(|(_, sum)| *sum > 0.0).unwrap_or((at, 0.0));
        run = Some((start, sum + value));
        if sum + value > best.map_or(0.0, |(_, sum)| sum) {
            best = Some((start, sum + value));
        }
    }
    best.map(|(start, _)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_most_failed_before_more_fail_now() {
        assert_eq!(ratios(1.0, 0.5), (0.499, 0.999));
        assert_eq!(ratios(0.6, 0.9), (0.499, 0.998));
        assert_eq!(ratios(0.0, 0.0), (0.001, 0.002));
    }

    #[test]
    fn the_heaviest_run_is_found() {
        let values = [-1.0, 2.0, -3.0, 1.0, 5.0, -1.0, 4.0, -9.0, 6.0];
        assert_eq!(heaviest_run((0..).zip(values)), Some(3));
        assert_eq!(heaviest_run((0..).zip([-1.0, -2.0])), None);
    }
}
