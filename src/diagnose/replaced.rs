//! Instances that ended while their service goes on.
//!
//! A deployment, a scale-down or a crash ends instances, and others take their requests over: that is a replacement, not a
//! silence. It is one where the service, all its instances together, is asked about as often afterwards as before: nearly so,
//! or so that most of what the one instance took is taken by others.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::id::ServiceId;
use crate::model::rollup::Subject;

use super::evidence::Slice;
use super::verdict::{Anomaly, AnomalyKind};

/// Seconds before and after the end of an instance in which its service is looked at.
const LOOKED_AT_S: i64 = 300;
/// Part of its requests that a service may lose all the same: traffic varies.
const LOST_MAX: f64 = 0.2;
/// Part of the instance's own requests that may be lost; the others were taken over.
const LEFT_MAX: f64 = 0.5;
/// Part of its usual traffic below which an instance has ended.
const ENDED: f64 = 0.1;

/// How often each service was asked, whichever of its instances answered.
pub struct Replaced {
    /// Requests by bucket.
    services: BTreeMap<ServiceId, BTreeMap<i64, u64>>,
    /// The width of the widest bucket.
    width_s: i64,
    /// Up to where all that there was is known.
    known_s: i64,
}

impl Replaced {
    /// Adds up the instances of `series`, of whose last `late_s` seconds something may be still to come.
    pub fn new(series: &[Slice], late_s: i64) -> Self {
        let mut services: BTreeMap<ServiceId, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut width_s = 1;
        for slice in series {
            if let Subject::Instance(service, _) = slice.subject {
                width_s = slice.width_s.max(width_s);
                *services.entry(service).or_default().entry(slice.bucket_s).or_default() += slice.count;
            }
        }
        let end_s = series.iter().map(|slice| slice.bucket_s + slice.width_s.max(1)).max();
        Self { services, width_s, known_s: end_s.map_or(0, |end_s| end_s.saturating_sub(late_s)) }
    }

    /// Whether an anomaly is but an instance that ended, and whose requests others take. Where the time before its end is
    /// not known, it is not.
    pub fn is(&self, anomaly: &Anomaly) -> bool {
        let Subject::Instance(service, _) = anomaly.subject else { return false };
        let of_traffic = matches!(anomaly.kind, AnomalyKind::Silence | AnomalyKind::Traffic);
        if !of_traffic || anomaly.peak >= ENDED * anomaly.before {
            return false;
        }
        let Some(buckets) = self.services.get(&service) else { return false };
        let onset = anomaly.onset.seconds();
        let first = buckets.keys().next().copied().unwrap_or(onset);
        let end = anomaly.end.map_or(self.known_s, |end| end.seconds().min(self.known_s));
        let before = self.per_second(buckets, first.max(onset - LOOKED_AT_S)..onset);
        let after = self.per_second(buckets, onset..end.min(onset + LOOKED_AT_S));
        let (Some(before), Some(after)) = (before, after) else { return false };
        // By chance alone more or fewer come.
        let length = LOOKED_AT_S as f64;
        let chance = ((before + after) / length).sqrt();
        after >= before - f64::min(LOST_MAX * before, LEFT_MAX * anomaly.before + chance)
    }

    /// Requests a second in the whole buckets of some seconds; none where there are none.
    fn per_second(&self, buckets: &BTreeMap<i64, u64>, seconds: Range<i64>) -> Option<f64> {
        let length = (seconds.end - seconds.start) / self.width_s * self.width_s;
        if length <= 0 {
            return None;
        }
        let counts = buckets.range(seconds.start..seconds.start + length).map(|(_, count)| *count);
        Some(counts.sum::<u64>() as f64 / length as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::anomaly::{Options, anomalies};
    use crate::diagnose::episode::{Episode, followed};
    use crate::model::id::ResourceId;
    use crate::model::time::UnixNanos;

    /// Ten minutes in steps of ten seconds of an instance that takes so many requests a step, while it lives.
    fn instance(number: u32, count: u64, lives: Range<i64>) -> Vec<Slice> {
        let steps = (0..60).filter(|step| lives.contains(step));
        let slice = |step: i64| Slice {
            subject: Subject::Instance(ServiceId(1), ResourceId(number)),
            bucket_s: 10 * step,
            width_s: 10,
            count,
            errors: 0,
            sum_ns: count * 1_000_000,
            other_ns: 0,
        };
        steps.map(slice).collect()
    }

    /// What falls silent beside another service that goes on.
    fn silent(series: &[Vec<Slice>]) -> Vec<Subject> {
        let other = instance(9, 20, 0..60).into_iter();
        let other = other.map(|it| Slice { subject: Subject::Instance(ServiceId(2), ResourceId(9)), ..it });
        let series: Vec<Slice> = series.concat().into_iter().chain(other).collect();
        let found = anomalies(&series, &Options::default());
        found.into_iter().filter(|it| it.peak < it.before).map(|it| it.subject).collect()
    }

    #[test]
    fn an_instance_that_others_replace_is_not_silent() {
        let old = instance(1, 20, 0..40);
        let subject = old[0].subject;
        assert_eq!(silent(&[old.clone(), instance(2, 20, 0..60), instance(3, 20, 40..60)]), [], "a new one");
        let others = [instance(2, 10, 0..40), instance(3, 10, 0..40)];
        let busier = [instance(2, 19, 40..60), instance(3, 19, 40..60)];
        let taken: Vec<Vec<Slice>> = [&others[..], &busier[..], std::slice::from_ref(&old)].concat();
        assert_eq!(silent(&taken), [], "the others are busier");
        assert_eq!(silent(std::slice::from_ref(&old)), [subject], "nobody is left");
        let left = [old.clone(), instance(2, 20, 0..60)];
        assert_eq!(silent(&left), [subject], "the other one takes no more than before");
        let away = [old, instance(2, 20, 0..40)];
        assert_eq!(silent(&away).len(), 2, "the service ended");
    }

    #[test]
    fn a_known_silence_ends_once_others_took_over() {
        let series = [instance(1, 20, 0..40), instance(3, 20, 44..60)].concat();
        let known = Episode {
            anomaly: Anomaly {
                subject: series[0].subject,
                kind: AnomalyKind::Silence,
                onset: UnixNanos::from_seconds(400),
                end: None,
                peak: 0.0,
                before: 2.0,
                severity: 1.0,
            },
            seen: UnixNanos::from_seconds(430),
        };
        let now = UnixNanos::from_seconds(600);
        let changed = followed(std::slice::from_ref(&known), &[], &series, now);
        assert_eq!(changed.iter().map(|it| it.anomaly.end).collect::<Vec<_>>(), [Some(known.seen)]);
        let silent = followed(std::slice::from_ref(&known), &[], &instance(1, 20, 0..40), now);
        assert!(silent.iter().all(|it| it.anomaly.end.is_none()), "{silent:?}");
    }
}
