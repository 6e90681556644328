//! What the series of new instances are compared with. Every series begins anew with its instance, so that what a service
//! came to since it was deployed shows only beside the instances that were replaced: series of the same service, metric and
//! attributes that were there before, of which some ended as the new one began.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnose::evidence::Spread;
use crate::model::id::{ResourceId, SeriesId, ServiceId};
use crate::model::time::NANOS_PER_SECOND;
use crate::store::read::metrics::StoredSeries;

/// What a series measures: its service and metric, and its attributes.
type Measured = (ServiceId, String, Vec<(String, String)>);

/// How long before the window an instance may have come whose series are compared with earlier ones.
const CAME_WITHIN: Duration = Duration::from_secs(30 * 60);
/// How long instances overlap, or leave a gap; and how long one begins.
const CHANGE_TAKES: Duration = Duration::from_secs(120);
/// Earlier series that one is compared with.
const EARLIER_MAX: usize = 8;
/// New series of one metric that are compared: more of them say the same.
const NEW_MAX: usize = 50;
/// Values that they must have.
const VALUES_MIN: u64 = 3;
/// Attributes that tell instances apart, and nothing about what is measured.
const OF_INSTANCES: [&str; 14] = [
    "service.instance.id",
    "instance",
    "instance_id",
    "pod",
    "pod_name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.pod.ip",
    "k8s.node.name",
    "container.id",
    "host",
    "host.name",
    "host.id",
    "process.pid",
];

/// What a series of a new instance is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Earlier {
    /// The values of the earlier instances before it came.
    pub(super) before: Spread,
    /// The step from which on it is no longer only beginning.
    pub(super) settled: usize,
}

/// A series step by step.
struct Followed<'a> {
    id: SeriesId,
    resource: ResourceId,
    values: &'a [Option<f64>],
    /// The first and the last step with a value.
    seen: (usize, usize),
}

/// What series of new instances are compared with, by series; of steps of so many nanoseconds, of which the baseline and the
/// window begin with the first two, and the window ends before the last.
pub(super) fn earlier(
    series: &[(StoredSeries, Vec<Option<f64>>)],
    steps: [usize; 3],
    step_ns: i64,
) -> BTreeMap<SeriesId, Earlier> {
    let mut alike: BTreeMap<Measured, Vec<Followed<'_>>> = BTreeMap::new();
    for (series, values) in series {
        let attributes = series.attributes.iter().filter(|(key, _)| !OF_INSTANCES.contains(key));
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.render().into_owned()));
        let key = (series.service, series.definition.name.to_string(), attributes.collect());
        if let Some(followed) = followed(series.id, series.resource, values) {
            alike.entry(key).or_default().push(followed);
        }
    }
    let several = alike.into_values().filter(|group| group.len() > 1);
    several.flat_map(|group| earlier_of(&group, steps, step_ns)).collect()
}

fn followed(id: SeriesId, resource: ResourceId, values: &[Option<f64>]) -> Option<Followed<'_>> {
    let first = values.iter().position(Option::is_some)?;
    let last = values.iter().rposition(Option::is_some)?;
    Some(Followed { id, resource, values, seen: (first, last) })
}

/// The same among series that only their instances tell apart.
fn earlier_of(
    group: &[Followed<'_>],
    [start, split, end]: [usize; 3],
    step_ns: i64,
) -> Vec<(SeriesId, Earlier)> {
    let steps = |of: Duration| {
        let nanos = i64::try_from(of.as_secs()).unwrap_or(i64::MAX).saturating_mul(NANOS_PER_SECOND);
        usize::try_from(nanos / step_ns.max(1)).unwrap_or(usize::MAX).max(1)
    };
    let (recently, slack) = (split.saturating_sub(steps(CAME_WITHIN)), steps(CHANGE_TAKES));
    let of = |new: &Followed<'_>| {
        let (came, _) = new.seen;
        if came < recently || came <= start || came >= end {
            return None;
        }
        let is_older = |it: &&Followed<'_>| it.resource != new.resource && it.seen.0 < came.min(split);
        let mut older: Vec<&Followed<'_>> = group.iter().filter(is_older).collect();
        let has_ended = |it: &Followed<'_>| it.seen.1 <= came + slack && it.seen.1 + slack < end;
        if !older.iter().any(|it| has_ended(it)) {
            return None;
        }
        // Those that went last are most like it.
        older.sort_by_key(|it| (!has_ended(it), std::cmp::Reverse(it.seen.1), it.id));
        older.truncate(EARLIER_MAX);
        let until = came.min(split);
        let values = older.iter().flat_map(|it| it.values.get(start..until.min(it.values.len())));
        let before = Spread::of(values.flatten().flatten().copied().collect());
        let is_enough = before.count >= VALUES_MIN;
        is_enough.then_some((new.id, Earlier { before, settled: came + slack }))
    };
    let came = |it: &&Followed<'_>| recently <= it.seen.0 && start < it.seen.0;
    group.iter().filter(came).take(NEW_MAX).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: i64 = 30 * NANOS_PER_SECOND;

    /// A series of an instance that was there in these steps, at one level.
    fn values(seen: std::ops::Range<usize>, level: f64) -> Vec<Option<f64>> {
        (0..120).map(|step| seen.contains(&step).then_some(level)).collect()
    }

    /// The middle of what the last of these series is compared with, in a window that begins at step 90.
    fn compared(series: &[Vec<Option<f64>>]) -> Option<f64> {
        let numbered = (1..).zip(series);
        let group: Vec<Followed<'_>> =
            numbered.filter_map(|(id, values)| followed(SeriesId(id), ResourceId(id), values)).collect();
        let last = group.last().map(|it| it.id);
        let found = earlier_of(&group, [0, 90, 120], STEP_NS);
        found.into_iter().find(|(id, _)| Some(*id) == last).map(|(_, earlier)| earlier.before.median)
    }

    #[test]
    fn a_new_instance_is_compared_with_those_that_it_replaced() {
        let (old, other) = (values(0..86, 4.0), values(0..120, 4.0));
        assert_eq!(compared(&[old.clone(), other.clone(), values(86..120, 20.0)]), Some(4.0));
        assert_eq!(compared(&[values(0..101, 4.0), values(100..120, 20.0)]), Some(4.0), "inside the window");
        assert_eq!(compared(&[other.clone(), values(86..120, 20.0)]), None, "one more, and none replaced");
        assert_eq!(compared(&[values(0..20, 4.0), values(20..120, 20.0)]), None, "long before");
        assert_eq!(compared(&[old, other]), None, "nobody came");
    }
}
