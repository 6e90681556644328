//! `query_metrics`.

use std::time::Duration;

use mcp_tools::{Answer, Fault, Next, QueryMetricsAsk, Table};
use serde_json::{Value, json};

use crate::model::metric::MetricKind;
use crate::model::tenant::Scope;
use crate::query::Query;
use crate::query::metrics::labels::{Filter, Key};
use crate::query::metrics::{
    Function, GROUPS_MAX, GroupAnswer, MetricQuestion, PartAnswer, UnknownFunction, easy_step,
};

use super::window::Asked;
use super::{cells, doubt, fault, meant, page};

/// About how many steps an answer has where no step is given.
const STEPS: u64 = 12;
/// Steps that are read easily, in seconds. None is shorter than the minute in which most senders export: it would hold some
/// of the series and not the others.
const EASY_STEPS: [u64; 8] = [60, 300, 600, 1_800, 3_600, 10_800, 21_600, 86_400];
/// Part of the series that have points in a step, below which it is said that steps are too short.
const SELDOM: f64 = 0.6;
/// Steps whose values are shown one by one.
const VALUES_MAX: usize = 60;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: QueryMetricsAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    if let Some(service) = &ask.service {
        // An unknown service is told as such, not as one without series.
        query.service(scope, service).map_err(fault::of)?;
    }
    let Some(metric) = ask.metric.clone() else {
        return names(query, scope, &ask, (asked, from)).await;
    };
    // Either way the series are those that a service sends.
    let (meant, _) = meant::meanings((query, scope), ask.service.as_deref(), &ask.filter);
    let function = match &ask.function {
        Some(text) => text.parse().map_err(|unknown: UnknownFunction| Fault::invalid(unknown.to_string()))?,
        None => usual_function(query, scope, (&metric, meant.service.as_deref()), &asked).await?,
    };
    let given = ask.step_s.map(|seconds| Duration::from_secs(seconds.into()));
    let step = given.unwrap_or_else(|| easy_step(asked.window.length(), STEPS, &EASY_STEPS));
    let by = ask.group_by.clone().unwrap_or_else(|| vec!["service".to_owned()]);
    let equal = |(key, value): (String, String)| Filter { key: Key::read(&key), value, equal: true };
    let service = meant.service.map(|service| ("service".to_owned(), service));
    let question = MetricQuestion {
        name: metric.clone(),
        function,
        window: asked.window,
        step,
        range: step,
        group_by: by.iter().map(|key| Key::read(key)).collect(),
        filters: meant.filter.into_iter().chain(service).map(equal).collect(),
        top: Some(GROUPS_MAX),
    };
    let found = query.metrics(scope, question).await.map_err(fault::of)?;
    let mut answer = asked.answer_about(found.window);
    let groups: usize = found.parts.iter().map(|part| part.groups.len()).sum();
    let steps = found.parts.iter().flat_map(|part| &part.groups).map(|group| group.values.len()).max();
    let steps = steps.unwrap_or(0);
    answer.summary = format!(
        "{function} of {metric} by {}: {groups} groups, {steps} steps of {} s.",
        by.join(", "),
        found.step.as_secs()
    );
    let fixed = ["unit", "series", "min", "mean", "max", "last", "values"];
    let columns: Vec<&str> = by.iter().map(String::as_str).chain(fixed).collect();
    let rows: Vec<Vec<Value>> =
        found.parts.iter().flat_map(|part| part.groups.iter().map(move |group| row(part, group))).collect();
    let why = doubt::why_empty(&found.parts, function);
    answer.why_empty = why.map(|why| meant::why_empty(why, (query, scope), &ask.filter));
    for key in by.iter().filter(|key| found.absent.contains(&Key::read(key))) {
        let unknown = Fault::unknown("attribute", key, found.keys.iter().map(String::as_str));
        answer.warnings.push(format!("none of the series has this key: {unknown}"));
    }
    warn_of(&found.parts, (steps, found.step), &mut answer.warnings);
    answer.warnings.extend(doubt::warnings(&found.parts, function));
    page::put(&mut answer, Table::new("series", columns), rows, (from, ask.limit));
    Ok(answer)
}

/// The names of the metrics that have a point in the window, of one service or of all.
async fn names(
    query: &Query,
    scope: &Scope,
    ask: &QueryMetricsAsk,
    (asked, from): (Asked, usize),
) -> Result<Answer, Fault> {
    let (mut found, more) = match &ask.service {
        Some(service) => query.metric_names_of(scope, asked.window, service).await,
        None => query.metric_names(scope, asked.window).await.map(|names| (names, false)),
    }
    .map_err(fault::of)?;
    let all = found.len();
    if let Some(part) = ask.part.as_deref().map(str::to_lowercase) {
        found.retain(|metric| metric.name.to_lowercase().contains(&part));
    }
    let mut answer = asked.answer();
    let of = ask.service.as_ref().map_or_else(String::new, |service| format!(" of {service}"));
    answer.summary = format!("{} metrics{of} have points in this window.", found.len());
    if more {
        answer
            .warnings
            .push("the service has more series than are looked at: some are not counted".to_owned());
    }
    if found.is_empty() {
        answer.why_empty = Some(match (all, &ask.service) {
            (0, None) => "no metric point was received in the window; try a longer `since`".to_owned(),
            (0, Some(_)) => {
                "no metric point of the service was received in the window; drop `service` or try a longer `since`"
                    .to_owned()
            }
            _ => format!("none of {all} names has this part; leave out `match`"),
        });
    }
    let rows = found.iter().map(|metric| {
        vec![
            json!(metric.name),
            json!(metric.kind.name()),
            json!(metric.unit),
            json!(metric.series),
            json!(metric.description),
        ]
    });
    let table = Table::new("metrics", ["metric", "kind", "unit", "series", "description"]);
    page::put(&mut answer, table, rows.collect(), (from, ask.limit));
    if let Some(first) = found.first() {
        let service = ask.service.iter().map(|service| ("service", json!(service)));
        answer.next.push(Next::new("query_metrics", service.chain([("metric", json!(first.name))])));
    }
    Ok(answer)
}

/// The rate of what adds up, the mean of everything else.
async fn usual_function(
    query: &Query,
    scope: &Scope,
    metric: (&str, Option<&str>),
    asked: &Asked,
) -> Result<Function, Fault> {
    let kinds = query.metric_kinds(scope, asked.window, metric).await.map_err(fault::of)?;
    Ok(if kinds.contains(&MetricKind::Sum) { Function::Rate } else { Function::Average })
}

/// Says what of the answer was left out, and what of it may mislead.
fn warn_of(parts: &[PartAnswer], (steps, step): (usize, Duration), warnings: &mut Vec<String>) {
    let left_out: usize = parts.iter().map(|part| part.groups_left_out).sum();
    if left_out > 0 {
        warnings.push(format!(
            "{left_out} more groups with smaller values were left out; filter or group by less"
        ));
    }
    if steps > VALUES_MAX {
        warnings.push(format!(
            "the last {VALUES_MAX} of {steps} values of each group are shown; give a larger `step_s`"
        ));
    }
    let is_short = step < Duration::from_secs(EASY_STEPS[0]);
    if let Some(share) = seldom(parts).filter(|_| is_short) {
        warnings.push(format!(
            "a step has points of {share:.0} % of the series that are known in the window: give a larger `step_s`, \
             at least as long as the time between two exports"
        ));
    }
    let unfit = parts.iter().filter_map(|part| Some((part.kind.name(), part.unfit?)));
    warnings.extend(unfit.map(|(kind, reason)| format!("its {kind} series are left out: {reason}")));
}

/// How many of the hundred series that report in the window do so in a step, where that is so few that steps must be shorter
/// than the time between exports.
fn seldom(parts: &[PartAnswer]) -> Option<f64> {
    let groups = || parts.iter().flat_map(|part| &part.groups).filter(|group| group.told_by.len() > 2);
    // Both ends may hold less.
    let inner = |group: &GroupAnswer| 1..group.told_by.len() - 1;
    let most: usize =
        groups().map(|group| group.series.min(group.told_by.iter().sum()) * inner(group).len()).sum();
    let told: usize = groups().flat_map(|group| &group.told_by[inner(group)]).sum();
    let share = told as f64 / most.max(1) as f64;
    (most > 0 && share < SELDOM).then_some(100.0 * share)
}

/// The values of the steps that are whole: of the last not, where some of the series that were there before have not reported
/// in it yet.
fn whole(group: &GroupAnswer) -> &[Option<f64>] {
    match group.told_by.as_slice() {
        [.., before, last] if last < before => &group.values[..group.values.len() - 1],
        _ => &group.values,
    }
}

fn row(part: &PartAnswer, group: &GroupAnswer) -> Vec<Value> {
    let known = || whole(group).iter().flatten().copied().filter(|value| !value.is_nan());
    let count = known().count();
    let bound = |pick: fn(f64, f64) -> f64| known().reduce(pick).map_or(Value::Null, cells::rounded);
    let mean = if count == 0 { Value::Null } else { cells::rounded(known().sum::<f64>() / count as f64) };
    let shown = &group.values[group.values.len().saturating_sub(VALUES_MAX)..];
    let values: Vec<Value> = shown.iter().map(|value| value.map_or(Value::Null, cells::rounded)).collect();
    let labels = group.labels.iter().map(|label| json!(label));
    let last = known().next_back().map_or(Value::Null, cells::rounded);
    let fixed = [
        json!(part.unit),
        json!(group.series),
        bound(f64::min),
        mean,
        bound(f64::max),
        last,
        Value::Array(values),
    ];
    labels.chain(fixed).collect()
}
