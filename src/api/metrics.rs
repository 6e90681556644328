//! `GET /api/v1/metrics/query`: a function of a metric in each step, by group.
//!
//! Parameters: `name` and `function` are required. `since` (a stretch back from now, `1h`) or `from` and `to` (RFC 3339,
//! or `now`) say when; `step` how long a step is, by default about a sixtieth of the window; `range` how much time up
//! to its end each step looks at, by default the step. `by` names keys to group by, with commas between them; each
//! `where` is `key=value` or `key!=value`; `top` keeps that many groups. Keys are described at [`Key::read`].
//!
//! Values stand in the order of the steps; `null` is where the points do not say. JSON has no NaN and no infinity: they
//! are the texts `NaN`, `Infinity` and `-Infinity`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Query as Parameters, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fault::{Kind, chain};
use crate::model::tenant::Scope;
use crate::model::time::{UnixNanos, Window};
use crate::query::metrics::labels::{Filter, Key};
use crate::query::metrics::refusal::Refusal;
use crate::query::metrics::{GroupAnswer, MetricAnswer, MetricQuestion, PartAnswer};
use crate::query::{Error, Query};
use crate::reckon::Function;
use crate::reckon::function::UnknownFunction;

/// The path of the question.
pub const PATH: &str = "/api/v1/metrics/query";
/// The window where none is given.
const SINCE: Duration = Duration::from_secs(3_600);
/// About how many steps an answer has where no step is given.
const STEPS: u64 = 60;
/// Steps that people read easily, in seconds.
const EASY_STEPS: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400];
/// The parameters, for refusals.
const NAMES: &str = "name, function, from, to, since, step, range, by, where, top";

/// The route of this file. The gate that inserts the caller's `Scope` must stand in front of it.
pub fn router(query: Query) -> Router {
    Router::new().route(PATH, get(answer)).with_state(query)
}

/// Why there is no answer.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    detail: String,
    /// Valid names, where an unknown one was given.
    allowed: Vec<String>,
}

/// What was asked, as text and in part as values.
#[derive(Debug, Default)]
struct Asked {
    name: Option<String>,
    function: Option<String>,
    from: Option<String>,
    to: Option<String>,
    since: Option<Duration>,
    step: Option<Duration>,
    range: Option<Duration>,
    by: Vec<String>,
    filters: Vec<Filter>,
    top: Option<usize>,
}

async fn answer(
    State(query): State<Query>,
    Extension(scope): Extension<Scope>,
    Parameters(pairs): Parameters<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::read(pairs)?;
    let by = asked.by.clone();
    let question = asked.question(query.clock().now())?;
    let (name, function, range) = (question.name.clone(), question.function, question.range);
    let found = query.metrics(&scope, question).await?;
    // A hundred thousand values take longer to write than the reactor should wait.
    let written = tokio::task::spawn_blocking(move || {
        let mut body = laid_out(&found, &by);
        body["name"] = name.into();
        body["function"] = function.to_string().into();
        body["range_seconds"] = range.as_secs().into();
        body.to_string()
    });
    let body = written.await.map_err(|_| Error::Abandoned)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl Asked {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, value) in pairs {
            let once = |place: &mut Option<String>, value| match place.replace(value) {
                None => Ok(()),
                Some(_) => Err(Problem::invalid(format!("`{name}` is given twice"))),
            };
            match name.as_str() {
                "name" => once(&mut asked.name, value)?,
                "function" => once(&mut asked.function, value)?,
                "from" => once(&mut asked.from, value)?,
                "to" => once(&mut asked.to, value)?,
                "since" => asked.since = Some(stretch("since", &value)?),
                "step" => asked.step = Some(stretch("step", &value)?),
                "range" => asked.range = Some(stretch("range", &value)?),
                "by" => asked.by.extend(value.split(',').filter(|key| !key.is_empty()).map(str::to_owned)),
                "where" => asked.filters.push(filter(&value)?),
                "top" => {
                    let top = value.parse().ok().filter(|top| *top > 0);
                    let wrong = || Problem::invalid("`top` must be a whole number from 1 on".to_owned());
                    asked.top = Some(top.ok_or_else(wrong)?);
                }
                _ => {
                    return Err(Problem::invalid(format!("there is no parameter `{name}`; use {NAMES}")));
                }
            }
        }
        Ok(asked)
    }

    fn question(self, now: UnixNanos) -> Result<MetricQuestion, Problem> {
        let missing = |name| Problem::invalid(format!("`{name}` is required"));
        let function = self.function.ok_or_else(|| missing("function"))?;
        let function: Function =
            function.parse().map_err(|unknown: UnknownFunction| Problem::invalid(unknown.to_string()))?;
        let to = self.to.map_or(Ok(now), |text| moment("to", &text, now))?;
        let from = match (self.from, self.since) {
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("give `from` or `since`, not both".to_owned()));
            }
            (Some(text), None) => moment("from", &text, now)?,
            (None, since) => to.minus(since.unwrap_or(SINCE)),
        };
        let window = Window::new(from, to);
        let step = self.step.unwrap_or_else(|| easy_step(window.length()));
        Ok(MetricQuestion {
            name: self.name.ok_or_else(|| missing("name"))?,
            function,
            window,
            step,
            range: self.range.unwrap_or(step),
            group_by: self.by.iter().map(|key| Key::read(key)).collect(),
            filters: self.filters,
            top: self.top,
        })
    }
}

/// The answer as JSON; `by` are the keys as they were written.
fn laid_out(found: &MetricAnswer, by: &[String]) -> Value {
    json!({
        "window": { "from": rfc3339(found.window.from), "to": rfc3339(found.window.to) },
        "step_seconds": found.step.as_secs(),
        "items": found.parts.iter().map(|part| part_view(part, by)).collect::<Vec<Value>>(),
    })
}

fn part_view(part: &PartAnswer, by: &[String]) -> Value {
    let tally = part.tally;
    json!({
        "kind": part.kind.name(),
        "unit": part.unit,
        "monotonic": part.monotonic,
        "not_answered_because": part.unfit,
        "groups": part.groups.iter().map(|group| group_view(group, by)).collect::<Vec<Value>>(),
        "groups_left_out": part.groups_left_out,
        "values_not_told": part.not_told,
        "points": {
            "used": tally.points,
            "not_a_measurement": tally.skipped,
            "duplicate": tally.duplicates,
            "overlapping": tally.overlaps,
        },
        "resets": tally.resets,
    })
}

fn group_view(group: &GroupAnswer, by: &[String]) -> Value {
    let labels = by.iter().zip(&group.labels).map(|(key, value)| (key.clone(), value.as_str().into()));
    json!({
        "labels": labels.collect::<serde_json::Map<String, Value>>(),
        "series": group.series,
        "values": group.values.iter().copied().map(number).collect::<Vec<Value>>(),
    })
}

fn number(value: Option<f64>) -> Value {
    match value {
        None => Value::Null,
        Some(value) if value.is_nan() => "NaN".into(),
        Some(f64::INFINITY) => "Infinity".into(),
        Some(f64::NEG_INFINITY) => "-Infinity".into(),
        Some(value) => value.into(),
    }
}

fn filter(text: &str) -> Result<Filter, Problem> {
    let wrong = || Problem::invalid(format!("`where={text}` must be `key=value` or `key!=value`"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (key, equal) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(Filter { key: Key::read(key), value: value.to_owned(), equal })
}

/// A stretch of time such as `90s`, `5m`, `2h` or `7d`.
fn stretch(name: &str, text: &str) -> Result<Duration, Problem> {
    let read = || {
        let unit = match text.char_indices().last()? {
            (place, 's') => (place, 1),
            (place, 'm') => (place, 60),
            (place, 'h') => (place, 3_600),
            (place, 'd') => (place, 86_400),
            _ => return None,
        };
        let seconds = text[..unit.0].parse::<u32>().ok()?;
        Some(Duration::from_secs(u64::from(seconds) * unit.1))
    };
    read().ok_or_else(|| {
        Problem::invalid(format!("`{name}` must be a whole number with a unit, such as 90s, 5m, 2h or 7d"))
    })
}

fn moment(name: &str, text: &str, now: UnixNanos) -> Result<UnixNanos, Problem> {
    if text == "now" {
        return Ok(now);
    }
    // A plus that was not escaped arrives as a space.
    let at = text.replace(' ', "+").parse::<Timestamp>().ok();
    let nanos = at.and_then(|at| i64::try_from(at.as_nanosecond()).ok()).filter(|nanos| *nanos >= 0);
    nanos.map(UnixNanos).ok_or_else(|| {
        Problem::invalid(format!("`{name}` must be a time in RFC 3339, such as 2026-11-20T09:30:00Z, or now"))
    })
}

fn rfc3339(at: UnixNanos) -> String {
    // Every instant of 64 bits lies within the years that a timestamp covers.
    Timestamp::from_nanosecond(at.0.into()).map_or_else(|_| String::new(), |at| at.to_string())
}

fn easy_step(length: Duration) -> Duration {
    let wanted = length.as_secs() / STEPS;
    let longest = EASY_STEPS[EASY_STEPS.len() - 1];
    let step = EASY_STEPS.into_iter().find(|step| *step >= wanted);
    Duration::from_secs(step.unwrap_or_else(|| wanted.div_ceil(longest) * longest))
}

impl Problem {
    const fn invalid(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail, allowed: Vec::new() }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Invalid | Kind::TooLarge => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Denied => StatusCode::FORBIDDEN,
            Kind::Overloaded | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(cause = chain(&error), "a question about metrics failed");
        }
        let allowed = match &error {
            Error::Metrics(Refusal::UnknownMetric { known, .. }) => known.clone(),
            _ => Vec::new(),
        };
        Self { status, detail: error.to_string(), allowed }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason();
        let body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "allowed": self.allowed,
        });
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests;
