//! What was measured about a window: series that describe services, and calls that a service graph's metrics count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::diagnose;
use crate::diagnose::evidence::{CallEvidence, Evidence, Node, SeriesEvidence, Spread};
use crate::diagnose::split::Track;
use crate::model::id::{ResourceId, SeriesId, ServiceId, TenantNumber};
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::reckon::gather::Gathered;
use crate::reckon::nature::Accrual;
use crate::reckon::steps::Plan;
use crate::reckon::{Function, Nature};
use crate::store::read::metrics::{SERIES_MAX, SeriesAsk, StoredSeries};

use super::error::Error;
use super::handle::Query;
use super::metrics::reading::{Pages, Part};
use super::metrics::refusal::Refusal;
use super::replaced::{self, Earlier};
use super::window;

/// What a service graph calls the number of calls (OpenTelemetry Collector, `servicegraph` connector).
const CALLS: &str = "traces_service_graph_request_total";
/// Series that are read at a time.
const SERIES_AT_ONCE: usize = 256;
/// Steps that a series is read in, at most.
const STEPS_MAX: u64 = 1_440;
/// Lengths of a step, in seconds: the first that makes no more steps than that.
const STEPS_SECONDS: [i64; 4] = [10, 60, 600, 3_600];
/// How far before the first step points are looked for, so that what the first of a counter counted is known.
const LOOK_BACK: Duration = Duration::from_secs(300);
/// How far before the window series are looked at, where they go back so far: many are sent once in five minutes.
const SERIES_BASELINE: Duration = Duration::from_secs(3 * 3600);
/// Series whose values are further apart on average come seldom.
const SELDOM_SECONDS: i64 = 90;

/// The telling series of a tenant.
#[derive(Debug, Default)]
struct Measures {
    series: Vec<StoredSeries>,
    calls: Vec<StoredSeries>,
    /// Whether there are more than were read.
    more: bool,
    /// Metrics whose names say nothing.
    others: usize,
}

/// What they tell of a window and its baseline.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) series: Vec<SeriesEvidence>,
    pub(super) calls: Vec<CallEvidence>,
    /// Series that were too many to be read.
    pub(super) unread: usize,
    /// Metrics that were not read, as their names say nothing.
    pub(super) others: usize,
}

/// The telling series as they were read: one value for each step.
#[derive(Debug)]
pub(super) struct Readings {
    /// When the first of them was first seen.
    pub(super) since: Option<UnixNanos>,
    plan: Plan,
    series: Vec<(StoredSeries, Vec<Option<f64>>)>,
    calls: Vec<(StoredSeries, Vec<Option<f64>>)>,
    unread: usize,
    others: usize,
}

impl Readings {
    /// The series of `window` as tracks.
    pub(super) fn tracks(&self, window: Window) -> Vec<Track> {
        let (start, end) = (self.step(window.from), self.end(window.to));
        let time = |step: usize| (self.plan.from.0 + self.plan.step_ns * step as i64) / NANOS_PER_SECOND;
        let track = |(series, values): &(StoredSeries, Vec<Option<f64>>)| {
            let points = part(values, start, end).iter().enumerate();
            let points = points.filter_map(|(step, value)| Some((time(start + step), (*value)?))).collect();
            if diagnose::piles_up(&series.definition.name.to_string()) {
                Track::Pile(points)
            } else {
                Track::Level(points)
            }
        };
        self.series.iter().map(track).collect()
    }

    /// Who sent values from `since` on.
    pub(super) fn senders(&self, since: UnixNanos) -> Vec<(ServiceId, ResourceId)> {
        let start = self.step(since);
        let is_heard = |values: &[Option<f64>]| part(values, start, values.len()).iter().any(Option::is_some);
        let heard = self.series.iter().filter(|(_, values)| is_heard(values));
        heard.map(|(series, _)| (series.service, series.resource)).collect()
    }

    /// The series that were read, with the resource that each came from.
    pub(super) fn sources(&self) -> impl Iterator<Item = (SeriesId, ResourceId)> {
        self.series.iter().map(|(series, _)| (series.id, series.resource))
    }

    /// The first step that lies behind an instant as a whole.
    fn end(&self, at: UnixNanos) -> usize {
        self.step(UnixNanos(at.0.saturating_add(self.plan.step_ns - 1)))
    }

    /// The step that an instant lies in, or the first one.
    fn step(&self, at: UnixNanos) -> usize {
        let since = at.0.saturating_sub(self.plan.from.0).max(0);
        usize::try_from(since / self.plan.step_ns).unwrap_or(usize::MAX)
    }
}

impl Query {
    /// Which series tell something about a service's health; where they are many those that have points in `within`.
    async fn measures(&self, tenant: TenantNumber, within: Window) -> Result<Measures, Error> {
        let known = self.store.metric_names(tenant, None).await?;
        let known: BTreeSet<String> = known.into_iter().map(|metric| metric.name).collect();
        let (names, others): (Vec<String>, Vec<String>) =
            known.into_iter().partition(|name| name == CALLS || diagnose::is_telling(name));
        let mut measures = Measures { others: others.len(), ..Measures::default() };
        for name in names {
            let is_calls = name == CALLS;
            let list = if is_calls { &mut measures.calls } else { &mut measures.series };
            let limit = SERIES_MAX.saturating_sub(list.len());
            let ask = SeriesAsk { name: Some(name), limit, ..SeriesAsk::default() };
            let found = self.series_or_heard(tenant, &ask, within).await?;
            measures.more |= found.len() == limit;
            list.extend(found);
        }
        Ok(measures)
    }

    /// The telling series from `before` to `until`, and further back where they go back so far.
    pub(super) async fn readings(
        &self,
        tenant: TenantNumber,
        asked: (UnixNanos, UnixNanos, UnixNanos),
    ) -> Result<Readings, Error> {
        self.readings_of(tenant, asked, |_| true).await
    }

    /// The same of those series alone that are wanted.
    pub(super) async fn readings_of(
        &self,
        tenant: TenantNumber,
        (before, asked, until): (UnixNanos, UnixNanos, UnixNanos),
        is_wanted: impl Fn(&StoredSeries) -> bool,
    ) -> Result<Readings, Error> {
        let Measures { mut series, mut calls, more, others } =
            self.measures(tenant, Window::new(before, until)).await?;
        let since = series.iter().chain(&calls).map(|series| series.first_seen).min();
        let long_before = asked.minus(SERIES_BASELINE).max(since.unwrap_or(before));
        // Nothing is known from before the first of them was seen.
        let before = before.min(long_before).max(since.unwrap_or(before)).min(until);
        let plan = plan(Window::new(before, until));
        let mut unread = if more { SERIES_MAX } else { 0 };
        series.retain(&is_wanted);
        calls.retain(&is_wanted);
        let series = self.values(tenant, series, plan, level_of, &mut unread).await?;
        let calls = self.values(tenant, calls, plan, |_| Function::Increase, &mut unread).await?;
        Ok(Readings { since, plan, series, calls, unread, others })
    }

    /// What was measured in `window`, and since `before` in the time before it.
    pub(super) fn measured(
        &self,
        tenant: TenantNumber,
        readings: &Readings,
        window: Window,
        before: UnixNanos,
    ) -> Measured {
        let (unread, others) = (readings.unread, readings.others);
        let mut measured = Measured { unread, others, ..Measured::default() };
        let long_before = window.from.minus(SERIES_BASELINE).max(readings.since.unwrap_or(before));
        let [start, split, end] =
            [before.min(long_before), window.from, window.to].map(|at| readings.step(at));
        // In how many steps before the window a resource is heard of.
        let mut heard: BTreeMap<ResourceId, usize> = BTreeMap::new();
        for (series, values) in &readings.series {
            let steps = part(values, start, split).iter().flatten().count();
            let most = heard.entry(series.resource).or_default();
            *most = steps.max(*most);
        }
        let steps = [start, split, end];
        let earlier = replaced::earlier(&readings.series, steps, readings.plan.step_ns);
        for (series, values) in &readings.series {
            let heard = heard.get(&series.resource).copied().unwrap_or_default();
            let earlier = earlier.get(&series.id);
            let compared = compared((series, values), steps, readings.plan.step_ns, (heard, earlier));
            measured.series.extend(compared);
        }
        let mut by_ends: BTreeMap<(ServiceId, ServiceId), (f64, f64)> = BTreeMap::new();
        for (series, values) in &readings.calls {
            let node = |key| self.named_node(tenant, series.attributes.text(key)?);
            let (Some(from), Some(to)) = (node("client"), node("server")) else { continue };
            let sums = by_ends.entry((from, to)).or_default();
            sums.0 += part(values, split, end).iter().flatten().sum::<f64>();
            sums.1 += part(values, start, split).iter().flatten().sum::<f64>();
        }
        let calls =
            by_ends.into_iter().map(|((from, to), (now, before))| CallEvidence { from, to, now, before });
        measured.calls = calls.collect();
        measured
    }

    /// One value for each step of each series; series whose points are too many to read are left out and counted.
    async fn values(
        &self,
        tenant: TenantNumber,
        series: Vec<StoredSeries>,
        plan: Plan,
        function: fn(Nature) -> Function,
        unread: &mut usize,
    ) -> Result<Vec<(StoredSeries, Vec<Option<f64>>)>, Error> {
        let mut by_nature: BTreeMap<Nature, Vec<StoredSeries>> = BTreeMap::new();
        for series in series {
            by_nature.entry(nature(&series)).or_default().push(series);
        }
        let mut found = Vec::new();
        for (nature, series) in by_nature {
            for some in series.chunks(SERIES_AT_ONCE) {
                let mut part = Part::new(None, nature);
                for series in some {
                    part.add(vec![series.id.0.to_string()], series.id, nature);
                }
                let groups = match Box::pin(self.reckon(tenant, &part, plan, Pages::OF_LEVELS)).await {
                    Ok(groups) => groups,
                    Err(Error::Metrics(Refusal::TooManyPoints { .. })) => {
                        *unread += some.len();
                        continue;
                    }
                    Err(other) => return Err(other),
                };
                let by_id: BTreeMap<SeriesId, &StoredSeries> = some.iter().map(|it| (it.id, it)).collect();
                for ((labels, _), steps) in part.into_labels().into_iter().zip(groups) {
                    let id = labels.first().and_then(|id| id.parse().ok()).map(SeriesId);
                    let Some(series) = id.and_then(|id| by_id.get(&id)) else { continue };
                    let value = |gathered: &Option<Box<Gathered>>| {
                        gathered.as_ref()?.answer(function(nature)).filter(|value| value.is_finite())
                    };
                    found.push(((*series).clone(), steps.iter().map(value).collect()));
                }
            }
        }
        Ok(found)
    }

    fn named_node(&self, tenant: TenantNumber, name: &str) -> Option<ServiceId> {
        let mut found = self.names().find_services(tenant, name);
        found.sort_by_key(|service| service.kind);
        found.first().map(|service| service.id)
    }

    /// Adds the nodes that only logs, series or a service graph's metrics know.
    pub(super) fn add_nodes(&self, evidence: &mut Evidence) {
        let mut known: BTreeSet<ServiceId> = evidence.nodes.iter().map(|node| node.id).collect();
        let series = evidence.series.iter().map(|series| series.service);
        let calls = evidence.calls.iter().flat_map(|call| [call.from, call.to]);
        let logs = evidence.templates.iter().map(|template| template.service);
        for id in series.chain(calls).chain(logs) {
            if known.insert(id)
                && let Some(info) = self.names().service_info(id)
            {
                evidence.nodes.push(Node { id: info.id, name: info.name.to_string(), kind: info.kind });
            }
        }
        evidence.nodes.sort_by_key(|node| node.id);
    }
}

/// A series in the steps of the window, from the second on, and before it from the first on. `heard` is in how many steps
/// before the window its resource is heard of, and `earlier` what it is compared with where it replaced another.
fn compared(
    (series, values): (&StoredSeries, &[Option<f64>]),
    [start, split, end]: [usize; 3],
    step_ns: i64,
    (heard, earlier): (usize, Option<&Earlier>),
) -> Option<SeriesEvidence> {
    let metric = series.definition.name.to_string();
    let attributes = attributes_of(series);
    let mut before = earlier.map_or_else(|| spread(part(values, start, split)), |earlier| earlier.before);
    let counts_failures = || counts_events(nature(series)) && diagnose::counts_failures(&metric, &attributes);
    if before.count == 0 && counts_failures() {
        // Many of these counters begin with the first failure: who told of others before had none.
        before = Spread::of(vec![0.0; heard]);
    }
    let split = earlier.map_or(split, |earlier| split.max(earlier.settled));
    let now = since_it_left(part(values, split, end), &before, step_ns);
    let (points, now) = (now.iter().flatten(), spread(now));
    let (above, below) =
        (points.clone().filter(|it| **it > before.high), points.filter(|it| **it < before.low));
    let (above, below) = (above.count() as u64, below.count() as u64);
    (now.count > 0 || before.count > 0).then(|| SeriesEvidence {
        id: series.id,
        service: series.service,
        name: named(&metric, &attributes),
        metric,
        attributes,
        unit: series.definition.unit.to_string(),
        now,
        before,
        above,
        below,
        replaced: earlier.is_some(),
    })
}

fn nature(series: &StoredSeries) -> Nature {
    let definition = &series.definition;
    Nature { kind: definition.kind, temporality: definition.temporality, monotonic: definition.monotonic }
}

/// What of a series is compared: the level of gauges, the rate of counters, the mean of distributions.
fn level_of(nature: Nature) -> Function {
    match nature.accrual() {
        Accrual::Total | Accrual::Delta if nature.is_number() => Function::Rate,
        _ => Function::Average,
    }
}

/// The attributes that tell a series apart from the others of its metric, by key.
fn attributes_of(series: &StoredSeries) -> Vec<(String, String)> {
    series.attributes.iter().map(|(key, value)| (key.to_owned(), value.render().into_owned())).collect()
}

/// Whether a series counts from zero what happens.
const fn counts_events(nature: Nature) -> bool {
    matches!(nature.accrual(), Accrual::Total | Accrual::Delta) && nature.is_number()
}

/// The name of the metric, and the attributes that tell its series apart.
fn named(metric: &str, attributes: &[(String, String)]) -> String {
    let told: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if told.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", told.join(", ")) }
}

/// Steps that cover `window`.
fn plan(window: Window) -> Plan {
    let length = window.length().as_secs();
    let fits = |seconds: &i64| length / seconds.unsigned_abs() <= STEPS_MAX;
    let longest = STEPS_SECONDS[3];
    let hours = i64::try_from(length / STEPS_MAX).unwrap_or(i64::MAX / 2) / longest + 1;
    let seconds = STEPS_SECONDS.into_iter().find(fits).unwrap_or_else(|| hours.saturating_mul(longest));
    let whole = window::whole_buckets(window, seconds);
    let step_ns = seconds * NANOS_PER_SECOND;
    let steps = (whole.length().as_secs() / seconds.unsigned_abs()) as usize;
    let known_from = whole.from.minus(LOOK_BACK);
    Plan { from: whole.from, step_ns, steps, window_steps: 1, to: window.to, known_from }
}

/// The values of the steps from `start` to `end`, or those of them that there are.
fn part(values: &[Option<f64>], start: usize, end: usize) -> &[Option<f64>] {
    let end = end.min(values.len());
    &values[start.min(end)..end]
}

/// The values from the first one on that lies outside the baseline, where that is one of the first half and values come
/// less than once a minute: what comes once in five minutes tells of the time before for a while.
fn since_it_left<'a>(values: &'a [Option<f64>], before: &Spread, step_ns: i64) -> &'a [Option<f64>] {
    let known = values.iter().flatten().count();
    let seldom_ns = known as i64 * SELDOM_SECONDS * NANOS_PER_SECOND;
    if before.count == 0 || values.len() as i64 * step_ns <= seldom_ns {
        return values;
    }
    let is_outside = |value: &Option<f64>| value.is_some_and(|it| it < before.low || it > before.high);
    let left = values.iter().position(is_outside).filter(|at| *at <= values.len() / 2);
    &values[left.unwrap_or(0)..]
}

fn spread(values: &[Option<f64>]) -> Spread {
    Spread::of(values.iter().flatten().copied().collect())
}
