//! Whether a fault sits in one version or one instance of a service while the others are well.

use std::collections::BTreeSet;

use crate::model::id::{ResourceId, ServiceId};
use crate::model::rollup::Cell;
use crate::model::time::UnixNanos;

use super::evidence::InstanceEvidence;
use super::stats::{latency_shift, share_surprise};
use super::verdict::SymptomKind;
use super::view::View;

/// Requests that an instance must have taken to be judged.
const COUNT_MIN: u64 = 8;
/// A version is fresh when its requests in the baseline are at most one in so many of those in the window.
const FRESH_PART: u64 = 5;
/// Share of all that is too much that must sit in the suspect.
const CONCENTRATED: f64 = 0.7;

/// Where a service's fault sits.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seat {
    Version { version: String, fresh: bool, resources: Vec<ResourceId>, now: Cell, others: Cell },
    Instance { resource: ResourceId, instance: String, now: Cell, others: Cell },
}

/// The seat of a fault of this kind in `service`; none where the instances suffer alike or only one is known.
pub(super) fn seat_of(view: &View<'_>, service: ServiceId, kind: SymptomKind) -> Option<Seat> {
    let mut instances: Vec<&InstanceEvidence> =
        view.evidence.instances.iter().filter(|it| it.service == service).collect();
    instances.sort_by(|a, b| (a.resource, &a.instance).cmp(&(b.resource, &b.instance)));
    let running: Vec<&InstanceEvidence> =
        instances.iter().copied().filter(|it| it.now.count >= COUNT_MIN).collect();
    let versions: BTreeSet<&str> =
        running.iter().map(|it| it.version.as_str()).filter(|version| !version.is_empty()).collect();
    let fresh_since = view.evidence.baseline.map_or(view.evidence.window.from, |baseline| baseline.from);
    let version =
        single_out(&running, kind, &versions.into_iter().collect::<Vec<_>>(), |it| it.version.as_str());
    if let Some((version, now, others)) = version {
        let of_version = running.iter().filter(|it| it.version == version);
        let resources: Vec<ResourceId> = of_version.clone().map(|it| it.resource).collect();
        let fresh = is_fresh(&instances, version, fresh_since);
        if fresh || resources.len() > 1 {
            return Some(Seat::Version { version: version.to_owned(), fresh, resources, now, others });
        }
    }
    let resources: Vec<ResourceId> = running.iter().map(|it| it.resource).collect();
    let (resource, now, others) = single_out(&running, kind, &resources, |it| it.resource)?;
    let found = running.iter().find(|it| it.resource == resource)?;
    Some(Seat::Instance { resource, instance: found.instance.clone(), now, others })
}

/// The version that replaced all others between baseline and window, where exactly that happened.
pub(super) fn rolled_out(
    view: &View<'_>,
    service: ServiceId,
) -> Option<(String, UnixNanos, Vec<ResourceId>)> {
    let baseline = view.evidence.baseline?;
    let of_service =
        || view.evidence.instances.iter().filter(|it| it.service == service && !it.version.is_empty());
    let now: BTreeSet<&str> =
        of_service().filter(|it| it.now.count >= COUNT_MIN).map(|it| it.version.as_str()).collect();
    let before: BTreeSet<&str> =
        of_service().filter(|it| it.before.count > 0).map(|it| it.version.as_str()).collect();
    let version =
        *now.first().filter(|version| now.len() == 1 && !before.is_empty() && !before.contains(**version))?;
    let mut resources: Vec<ResourceId> =
        of_service().filter(|it| it.version == version).map(|it| it.resource).collect();
    resources.sort_unstable();
    let first_seen = of_service().filter(|it| it.version == version).map(|it| it.first_seen).min()?;
    (first_seen >= baseline.from).then(|| (version.to_owned(), first_seen, resources))
}

/// Whether a version of the service began beside or after others that were there before.
pub(super) fn has_fresh_version(view: &View<'_>, service: ServiceId) -> bool {
    let Some(baseline) = view.evidence.baseline else { return false };
    let own = view.evidence.instances.iter().filter(|it| it.service == service);
    let told: Vec<&InstanceEvidence> = own.filter(|it| !it.version.is_empty()).collect();
    let began = told.iter().filter(|it| it.now.count >= COUNT_MIN).map(|it| it.version.as_str());
    let mut began = began.filter(|version| is_fresh(&told, version, baseline.from));
    began.any(|version| told.iter().any(|it| it.version != version && it.before.count > 0))
}

/// True when no instance of the version was seen before `since`, and it took hardly any requests in the baseline: an
/// onset is known to a bucket or two, and the first requests of a bad version come before it is noticed.
fn is_fresh(instances: &[&InstanceEvidence], version: &str, since: UnixNanos) -> bool {
    let mut of_version = instances.iter().filter(|it| it.version == version);
    of_version.all(|it| it.first_seen >= since && it.before.count <= it.now.count / FRESH_PART)
}

/// The key whose instances hold most of what is too much, and differ from the rest beyond chance.
fn single_out<'e, K: Copy + PartialEq>(
    running: &[&'e InstanceEvidence],
    kind: SymptomKind,
    keys: &[K],
    key_of: impl Fn(&'e InstanceEvidence) -> K,
) -> Option<(K, Cell, Cell)> {
    if keys.len() < 2 {
        return None;
    }
    let mut best: Option<(f64, K, Cell, Cell)> = None;
    for key in keys {
        let (mut now, mut others) = (Cell::default(), Cell::default());
        for instance in running {
            if key_of(instance) == *key { now.merge(&instance.now) } else { others.merge(&instance.now) }
        }
        if now.count < COUNT_MIN || others.count < COUNT_MIN {
            continue;
        }
        let Some(difference) = difference(kind, &now, &others) else { continue };
        if best.as_ref().is_none_or(|(known, ..)| difference > *known) {
            best = Some((difference, *key, now, others));
        }
    }
    best.map(|(_, key, now, others)| (key, now, others))
}

/// How surprising `now` is next to the others; none where it does not stand out.
fn difference(kind: SymptomKind, now: &Cell, others: &Cell) -> Option<f64> {
    match kind {
        SymptomKind::Errors => {
            let surprise = share_surprise(
                now.errors as f64,
                now.count as f64,
                others.errors as f64,
                others.count as f64,
            );
            let usual = others.error_ratio() * now.count as f64;
            let concentrated = now.errors as f64 - usual >= CONCENTRATED * now.errors as f64;
            let carries = now.errors as f64 >= CONCENTRATED * (now.errors + others.errors) as f64;
            (now.errors >= 3 && surprise > 4.0 && concentrated && carries).then_some(surprise)
        }
        SymptomKind::Latency => {
            let shift = latency_shift(now, others);
            (shift.surprise > 4.0 && shift.growth > 0.3).then_some(shift.surprise)
        }
        SymptomKind::Silence => None,
    }
}
