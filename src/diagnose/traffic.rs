//! Levels that rise because more is asked: what each request takes of the processor, or of connections, is as it was.
//!
//! A service's requests are those that a series counts, or else the spans that it took, bucket by bucket. They and the level are
//! compared by the same measure of both windows, so that a rise that goes on is compared at its height with its height.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::{OperationId, SeriesId, ServiceId};
use crate::model::node::NodeKind;
use crate::model::rollup::Subject;

use super::evidence::{SeriesEvidence, Spread};
use super::meaning::{Meaning, Words};
use super::series::{is_at_limit, requests_of};
use super::signal::OneKind;
use super::silence::reachable;
use super::symptom::{deviates, takes_requests};
use super::verdict::SymptomKind;
use super::view::View;

/// Part by which requests must rise, and by which a level may rise more than they do: both are taken in steps of some length.
const SLACK: f64 = 0.2;
/// Points of the baseline that a rise must rest on.
const POINTS_MIN: u64 = 3;
/// What a level that follows the requests is worth where only callers of its service suffer.
const BELOW: f64 = 0.3;

/// How many times as many requests services take as before, and who suffers.
pub(super) struct Traffic {
    rises: BTreeMap<ServiceId, f64>,
    /// Services that fail or are slower, by spans or by series.
    suffering: BTreeSet<ServiceId>,
    /// Those that they reach.
    below: BTreeSet<ServiceId>,
}

impl Traffic {
    /// Counts requests; `measured` is what series tell of failures and of latency.
    pub(super) fn new(
        view: &View<'_>,
        measured: &[OneKind; 2],
        callees: &BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    ) -> Self {
        let mut traffic = Self { rises: rises(view), suffering: BTreeSet::new(), below: BTreeSet::new() };
        let is_asked_for = |(meaning, series): &(Meaning, &SeriesEvidence)| {
            *meaning == Meaning::Resource && follows(series, &traffic.rises).is_some()
        };
        if view.series.iter().any(is_asked_for) {
            let kinds = [SymptomKind::Errors, SymptomKind::Latency];
            let suffers = |at: &usize| kinds.iter().any(|kind| deviates(view, *kind, *at));
            let shown = (0..view.operations.len()).filter(suffers).map(|at| view.operations[at].service);
            traffic.suffering = shown.chain(measured.iter().flat_map(BTreeMap::keys).copied()).collect();
            let below = traffic.suffering.iter().flat_map(|service| reachable(callees, *service));
            traffic.below = below.collect();
        }
        traffic
    }

    /// How many times as many requests as before explain how a level rose; none where they do not.
    pub(super) fn explains(&self, series: &SeriesEvidence) -> Option<f64> {
        follows(series, &self.rises)
    }

    /// What the rise of a level is worth, 0 to 1. One that follows the requests is no trouble by itself as long as something is
    /// left: nobody suffers from it. Who suffers under more requests may still suffer from what they take.
    pub(super) fn worth(&self, series: &SeriesEvidence) -> f64 {
        match self.explains(series) {
            None => 1.0,
            Some(_) if self.suffering.contains(&series.service) => 1.0,
            Some(_) if self.below.contains(&series.service) => BELOW,
            Some(_) => 0.0,
        }
    }
}

/// Whether more requests explain how the level of a series rose.
pub(super) fn is_asked_for(view: &View<'_>, id: SeriesId) -> bool {
    let series = view.evidence.series.iter().find(|series| series.id == id);
    series.is_some_and(|series| follows(series, &rises(view)).is_some())
}

/// By how many times the requests rose that explain how a level rose. A bounded one of which nothing is left is explained by
/// nothing: it keeps requests waiting.
fn follows(series: &SeriesEvidence, rises: &BTreeMap<ServiceId, f64>) -> Option<f64> {
    let times = *rises.get(&series.service)?;
    let usual = height(&series.before);
    let reached = height(&series.now);
    let is_held = Words::of(&series.metric).is_held_by_requests();
    let is_explained = series.now.count > 0 && usual > 0.0 && reached <= (1.0 + SLACK) * times * usual;
    (is_held && is_explained && !is_at_limit(series, reached)).then_some(times)
}

/// How many times as many requests each service takes, where these are more.
fn rises(view: &View<'_>) -> BTreeMap<ServiceId, f64> {
    let mut rises: BTreeMap<ServiceId, f64> = BTreeMap::new();
    for (service, [now, before]) in rates(view) {
        rises.extend(rise(&Spread::of(now), &Spread::of(before)).map(|times| (service, times)));
    }
    for (service, series) in requests_of(view) {
        match rise(&series.now, &series.before) {
            Some(times) => rises.insert(service, times),
            // A series that goes back further than the spans knows better.
            None if series.before.count >= POINTS_MIN => rises.remove(&service),
            None => None,
        };
    }
    rises
}

/// By how many times a rate rose that left its baseline.
fn rise(now: &Spread, before: &Spread) -> Option<f64> {
    let (usual, reached) = (height(before), height(now));
    let is_known = now.count > 0 && before.count >= POINTS_MIN && usual > 0.0;
    (is_known && reached > before.high && reached > (1.0 + SLACK) * usual).then(|| reached / usual)
}

/// The level of the highest quarter.
fn height(spread: &Spread) -> f64 {
    f64::midpoint(spread.upper, spread.high)
}

/// Requests a second of each service, bucket by bucket: in the window and before it.
fn rates(view: &View<'_>) -> BTreeMap<ServiceId, [Vec<f64>; 2]> {
    let window = view.evidence.window;
    let service_of = |id: OperationId| {
        let at = view.position(id)?;
        let operation = &view.operations[at];
        (operation.node_kind == NodeKind::Service && takes_requests(view, at)).then_some(operation.service)
    };
    let mut counts: BTreeMap<(ServiceId, i64), f64> = BTreeMap::new();
    let timeline = view.evidence.timeline.iter();
    for slice in timeline.filter(|slice| slice.width_s > 0 && slice.bucket_s < window.to.seconds()) {
        let Subject::Operation(id) = slice.subject else { continue };
        let Some(service) = service_of(id) else { continue };
        *counts.entry((service, slice.bucket_s)).or_default() += slice.count as f64 / slice.width_s as f64;
    }
    let mut rates: BTreeMap<ServiceId, [Vec<f64>; 2]> = BTreeMap::new();
    for ((service, bucket_s), rate) in counts {
        let [now, before] = rates.entry(service).or_default();
        let side = if bucket_s >= window.from.seconds() { now } else { before };
        side.push(rate);
    }
    rates
}
