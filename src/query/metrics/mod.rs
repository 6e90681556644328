//! Metrics over time: a function of the points in each step, by group.
//!
//! Reads the points at full resolution, or what was reckoned of whole hours where that tells the same, and leaves all reckoning to [`reckon`](crate::reckon). Series of one name that
//! differ in kind, unit or in whether they may fall are answered apart. A step holds the points from its beginning up
//! to, not including, its end; what was counted between two points belongs to the step of the later one.
//!
//! Files in reading order: this one (the question and its answer), [`labels`] (grouping and filtering), `reading`
//! (points out of the store, page by page), `hours` (what was reckoned of them), [`refusal`] (what cannot be asked).

mod hours;
pub mod labels;
pub(super) mod reading;
pub mod refusal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::labels::{Filter, Key};
use self::reading::{Groups, Pages, Part};
use self::refusal::Refusal;
use super::error::Error;
use super::handle::Query;
use crate::model::id::TenantNumber;
use crate::model::metric::MetricKind;
use crate::model::tenant::Scope;
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::reckon::Nature;
use crate::reckon::gather::Gathered;
use crate::reckon::nature::Accrual;
use crate::reckon::rollup::Tally;
use crate::reckon::steps::Plan;
use crate::store::read::metrics::{SERIES_MAX, SeriesAsk, StoredSeries};

pub use crate::reckon::Function;
pub use crate::reckon::function::UnknownFunction;

/// Most steps of an answer; a day in minutes.
pub const STEPS_MAX: usize = 1_500;
/// Most steps in the range that each step looks back over.
pub const RANGE_STEPS_MAX: usize = 1_000;
/// Most groups of an answer.
pub const GROUPS_MAX: usize = 500;
/// Most values that are reckoned for an answer: groups times steps, whether they are shown or not.
pub const VALUES_MAX: usize = 100_000;
/// Most points that are read for an answer.
pub const POINTS_MAX: usize = 1_000_000;
/// Most keys, and most filters, of a question.
pub const KEYS_MAX: usize = 16;
/// How far before the first step points are looked for, at least, so that what the first point in it counted is known.
const LOOK_BACK: Duration = Duration::from_secs(300);

/// What to reckon.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricQuestion {
    /// The name of the metric.
    pub name: String,
    /// Of the points in each step.
    pub function: Function,
    /// When; widened to whole steps.
    pub window: Window,
    /// Length of a step in whole seconds; steps begin at multiples of it since 1970.
    pub step: Duration,
    /// How much time up to its end each step looks at: a whole number of steps.
    pub range: Duration,
    /// One answer for each combination of values of these keys; a single one where there are none.
    pub group_by: Vec<Key>,
    /// Only series that meet all of them.
    pub filters: Vec<Filter>,
    /// Only this many groups of each kind, [`GROUPS_MAX`] at most, those with the largest mean of their values; all
    /// where it is none, and a refusal where those are more.
    pub top: Option<usize>,
}

/// What was reckoned.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricAnswer {
    /// The time that is covered, in whole steps.
    pub window: Window,
    /// Length of a step.
    pub step: Duration,
    /// One for each kind and unit that the metric has, by kind and unit.
    pub parts: Vec<PartAnswer>,
    /// What was grouped by that none of its series has.
    pub absent: Vec<Key>,
    /// What they can be grouped by, where something is absent.
    pub keys: BTreeSet<String>,
}

/// The answer of the series of one kind and unit.
#[derive(Debug, Clone, PartialEq)]
pub struct PartAnswer {
    /// Which kind of data their points hold.
    pub kind: MetricKind,
    /// The unit of the metric in UCUM; that of the values unless the function is a count or a rate.
    pub unit: String,
    /// True for sums that only grow.
    pub monotonic: bool,
    /// Why they do not answer the function; then there are no groups.
    pub unfit: Option<&'static str>,
    /// Largest mean first, then by labels.
    pub groups: Vec<GroupAnswer>,
    /// Groups that were left out because only the top was asked for.
    pub groups_left_out: usize,
    /// Values that are none although there are measurements: of histograms that have no bounds, or none in common, and
    /// of summaries that do not report the percentile.
    pub not_told: usize,
    /// The points that were looked at, by what became of them; a point is counted once for each step that shows it.
    pub tally: Tally,
}

/// The answer of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupAnswer {
    /// The values of the keys that were grouped by, in their order.
    pub labels: Vec<String>,
    /// How many series it has, with or without points in the window.
    pub series: usize,
    /// One value a step; none where the points do not say. May be infinite or NaN.
    pub values: Vec<Option<f64>>,
    /// How many of the series have points in each step.
    pub told_by: Vec<usize>,
}

impl Query {
    /// Reckons a function of a metric in each step.
    ///
    /// # Errors
    /// [`Error::Metrics`] when the question is beyond a limit, names no metric or no function of it;
    /// [`Error::Store`] when the store does not answer.
    pub async fn metrics(&self, scope: &Scope, question: MetricQuestion) -> Result<MetricAnswer, Error> {
        let plan = plan(&question)?;
        for (what, found) in [("keys", question.group_by.len()), ("filters", question.filters.len())] {
            if found > KEYS_MAX {
                return Err(Refusal::TooManyKeys { what, found, max: KEYS_MAX }.into());
            }
        }
        let unknown = |known| Refusal::UnknownMetric { name: question.name.clone(), known };
        let Some(tenant) = self.tenant(scope) else { return Err(unknown(Vec::new()).into()) };
        let Some(series) = self.series_of(tenant, &question, &plan).await? else {
            let names = self.store.metric_names(tenant, None).await?;
            let names = names.iter().map(|metric| metric.name.as_str());
            return Err(unknown(labels::suggestions(&question.name, names)).into());
        };
        let absent = labels::absent(self.names(), &series, &question.group_by);
        let keys = if absent.is_empty() { BTreeSet::new() } else { labels::known(self.names(), &series) };
        let parts = self.parts(series, &question, plan.steps)?;
        let mut answers = Vec::new();
        for (place, part) in parts {
            let groups = match part.unfit {
                Some(_) => Vec::new(),
                None => self.reckon(tenant, &part, plan, Pages::OF_A_QUESTION).await?,
            };
            answers.push(answered(place, part, groups, &question)?);
        }
        let first_reason = answers.first().and_then(|answer: &PartAnswer| answer.unfit);
        if let Some(reason) = first_reason.filter(|_| answers.iter().all(|answer| answer.unfit.is_some())) {
            let function = question.function.to_string();
            return Err(Refusal::Unfit { name: question.name, function, reason }.into());
        }
        let length = Duration::from_nanos(plan.step_ns.unsigned_abs());
        let steps = u32::try_from(plan.steps).unwrap_or(u32::MAX);
        let window = Window::new(plan.from, plan.from.plus(length.saturating_mul(steps)));
        Ok(MetricAnswer { window, step: length, parts: answers, absent, keys })
    }

    /// The series of the metric that meet the filters; none when there is no such metric.
    async fn series_of(
        &self,
        tenant: TenantNumber,
        question: &MetricQuestion,
        plan: &Plan,
    ) -> Result<Option<Vec<StoredSeries>>, Error> {
        let service = question.filters.iter().find(|filter| filter.key == Key::Service && filter.equal);
        let services = service.map(|filter| self.names().find_services(tenant, &filter.value));
        let ask = SeriesAsk {
            name: Some(question.name.clone()),
            services: services.iter().flatten().map(|service| service.id).collect(),
            limit: SERIES_MAX,
            ..SeriesAsk::default()
        };
        let heard = Window::new(plan.known_from, question.window.to);
        let mut series = self.series_or_heard(tenant, &ask, heard).await?;
        if series.is_empty() {
            // Others may send a metric that this service does not.
            let of_all = SeriesAsk { services: Vec::new(), limit: 1, ..ask };
            let series = self.store.series(tenant, &of_all).await?;
            return Ok((!series.is_empty()).then(Vec::new));
        }
        if series.len() == SERIES_MAX {
            return Err(Refusal::TooManySeries { max: SERIES_MAX }.into());
        }
        series.retain(|series| labels::meets(self.names(), series, &question.filters));
        Ok(Some(series))
    }

    /// The series that `ask` describes; where they are as many as it takes, those of them that have points in `heard`: what has
    /// ended, of instances that are gone for example, makes room.
    pub(in crate::query) async fn series_or_heard(
        &self,
        tenant: TenantNumber,
        ask: &SeriesAsk,
        heard: Window,
    ) -> Result<Vec<StoredSeries>, Error> {
        let series = self.store.series(tenant, ask).await?;
        if series.len() < ask.limit {
            return Ok(series);
        }
        let ask = SeriesAsk { within: Some(heard), ..ask.clone() };
        Ok(self.store.series(tenant, &ask).await?)
    }

    /// The series by kind and by group.
    fn parts(
        &self,
        series: Vec<StoredSeries>,
        question: &MetricQuestion,
        steps: usize,
    ) -> Result<BTreeMap<Place, Part>, Refusal> {
        let mut parts = BTreeMap::<Place, Part>::new();
        for series in series {
            let definition = &series.definition;
            let nature = Nature {
                kind: definition.kind,
                temporality: definition.temporality,
                monotonic: definition.monotonic,
            };
            let is_level = matches!(nature.accrual(), Accrual::Level | Accrual::Change);
            let place = (nature.kind, definition.unit.to_string(), nature.monotonic, is_level);
            let part =
                parts.entry(place).or_insert_with(|| Part::new(question.function.unfit(nature), nature));
            let labels = labels::values(self.names(), &series, &question.group_by);
            part.add(labels, series.id, nature);
            let groups = part.groups();
            if groups.saturating_mul(steps) > VALUES_MAX {
                return Err(Refusal::TooManyGroups { groups, steps, max: VALUES_MAX });
            }
        }
        Ok(parts)
    }
}

/// What tells the parts of an answer apart: kind, unit, whether it only grows, whether its points are levels.
type Place = (MetricKind, String, bool, bool);

/// The first of `steps` (seconds, rising) that cuts `length` into at most about so many; where the longest is too short, a
/// multiple of it.
pub fn easy_step(length: Duration, about: u64, steps: &[u64]) -> Duration {
    let wanted = length.as_secs() / about;
    let longest = steps.last().copied().unwrap_or(1);
    let step = steps.iter().copied().find(|step| *step >= wanted);
    Duration::from_secs(step.unwrap_or_else(|| wanted.div_ceil(longest) * longest))
}

/// The steps of a question.
fn plan(question: &MetricQuestion) -> Result<Plan, Refusal> {
    let step_seconds = question.step.as_secs();
    if step_seconds == 0 || question.step.subsec_nanos() != 0 {
        return Err(Refusal::Step);
    }
    if question.window.length().is_zero() {
        return Err(Refusal::EmptyWindow);
    }
    let width = i64::try_from(step_seconds).map_err(|_| Refusal::Step)?;
    let step_ns = width.checked_mul(NANOS_PER_SECOND).ok_or(Refusal::Step)?;
    let range_steps = question.range.as_nanos() / question.step.as_nanos();
    let range_steps = usize::try_from(range_steps).ok().filter(|steps| (1..=RANGE_STEPS_MAX).contains(steps));
    let whole = question.range.as_nanos().is_multiple_of(question.step.as_nanos());
    let window_steps = range_steps.filter(|_| whole).ok_or(Refusal::Range { max: RANGE_STEPS_MAX })?;
    let from = UnixNanos::from_seconds(question.window.from.bucket_seconds(width));
    let length = question.window.to.0.saturating_sub(from.0).unsigned_abs();
    let steps = length.div_ceil(step_ns.unsigned_abs());
    let known = usize::try_from(steps).ok().filter(|steps| *steps <= STEPS_MAX);
    let Some(steps) = known else {
        let step_seconds = question.window.length().as_secs() / (STEPS_MAX as u64 - 1) + 1;
        return Err(Refusal::TooManySteps { steps, max: STEPS_MAX, step_seconds });
    };
    let known_from = from.minus(question.range.max(LOOK_BACK));
    Ok(Plan { from, step_ns, steps, window_steps, to: question.window.to, known_from })
}

/// Lays out one part.
fn answered(
    (kind, unit, monotonic, _): Place,
    part: Part,
    groups: Groups,
    question: &MetricQuestion,
) -> Result<PartAnswer, Refusal> {
    let unfit = part.unfit;
    let mut tally = Tally::default();
    let mut not_told = 0;
    let mut answers: Vec<(f64, GroupAnswer)> = Vec::new();
    for (group, steps) in part.into_labels().into_iter().zip(groups) {
        steps.iter().flatten().for_each(|gathered| tally.add(gathered.tally()));
        let value = |gathered: &Option<Box<Gathered>>| gathered.as_ref()?.answer(question.function);
        let values: Vec<Option<f64>> = steps.iter().map(value).collect();
        let measured = steps.iter().map(|it| it.as_ref().is_some_and(|it| it.has_measurements()));
        not_told +=
            values.iter().zip(measured).filter(|(value, measured)| value.is_none() && *measured).count();
        let (labels, series) = group;
        let told_by = steps.iter().map(|it| it.as_ref().map_or(0, |it| it.series())).collect();
        answers.push((mean(&values), GroupAnswer { labels, series, values, told_by }));
    }
    answers.sort_by(|(a, group), (b, other)| b.total_cmp(a).then_with(|| group.labels.cmp(&other.labels)));
    let all = answers.len();
    match question.top {
        Some(top) => answers.truncate(top.min(GROUPS_MAX)),
        None if all > GROUPS_MAX => return Err(Refusal::TooManyToShow { groups: all, max: GROUPS_MAX }),
        None => {}
    }
    Ok(PartAnswer {
        kind,
        unit,
        monotonic,
        unfit,
        not_told,
        groups_left_out: all - answers.len(),
        groups: answers.into_iter().map(|(_, group)| group).collect(),
        tally,
    })
}

/// The mean of the values that are numbers; less than any other where there are none, so that such groups come last.
fn mean(values: &[Option<f64>]) -> f64 {
    let known = || values.iter().flatten().filter(|value| !value.is_nan());
    let count = known().count();
    let mean = known().sum::<f64>() / count as f64;
    if count == 0 || mean.is_nan() { f64::NEG_INFINITY } else { mean }
}
