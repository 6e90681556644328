//! `/api/v1/metrics/query`.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::packed::value::Value;
use crate::query::metrics::labels::{Filter, Key};
use crate::query::metrics::{GROUPS_MAX, GroupAnswer, KEYS_MAX, MetricQuestion, PartAnswer, easy_step};
use crate::reckon::Function;
use crate::reckon::function::UnknownFunction;

use super::answer::{Answer, Page, counted, laid_out};
use super::call::Call;
use super::parameter::{CURSOR, FROM, NAME_BYTES_MAX, Parameter, SINCE, Shape, TO};
use super::problem::{Problem, echoed};
use super::routes::Route;
use super::value;

/// About how many steps an answer has where no step is given.
const STEPS: u64 = 60;
/// Steps that people read easily, in seconds.
const EASY_STEPS: [u64; 13] = [1, 2, 5, 10, 15, 30, 60, 300, 600, 1_800, 3_600, 21_600, 86_400];
/// Functions, as refusals list them; any other percentile will do as well.
const FUNCTIONS: &[&str] =
    &["rate", "increase", "sum", "avg", "min", "max", "last", "count", "p50", "p90", "p95", "p99", "p99.9"];

const NAME: Parameter = Parameter {
    name: "name",
    description: "The metric. Needed. A name that does not exist is refused with the nearest that does.",
    shape: Shape::Text { bytes_max: NAME_BYTES_MAX },
};
const FUNCTION: Parameter = Parameter {
    name: "function",
    description: "What to reckon of the points in each step. Needed. `rate` (per second), `increase`, `sum`, `avg`, \
                  `min`, `max`, `last`, `count`, or a percentile such as `p50`, `p95` or `p99.9`. A function that no \
                  series of the metric can answer is refused with those that will do.",
    shape: Shape::Text { bytes_max: 16 },
};
const STEP: Parameter = Parameter {
    name: "step",
    description: "Length of a step in whole seconds, with a unit: `30s`, `5m`, `1h`. Steps begin at multiples of it \
                  since 1970. Default: about a sixtieth of the window. 1,500 steps at most.",
    shape: Shape::Duration,
};
const RANGE: Parameter = Parameter {
    name: "range",
    description: "How much time up to its end each step looks at: a whole number of steps, 1,000 at most. Default: the \
                  step.",
    shape: Shape::Duration,
};
const BY: Parameter = Parameter {
    name: "by",
    description: "Keys to group by, with commas between them; may be repeated; 16 keys at most. `service`, `instance`, \
                  `version`, `resource.NAME` for an attribute of the sender, and the name of an attribute of the \
                  points, where need be after `attribute.`. Default: everything is one group.",
    shape: Shape::Texts { bytes_max: 4_096, times_max: KEYS_MAX },
};
const WHERE: Parameter = Parameter {
    name: "where",
    description: "Only series with this value of a key, as `key=value`, or with another one, as `key!=value`; keys as in \
                  `by`; a value that is absent is the empty text. May be repeated, and all must hold.",
    shape: Shape::Texts { bytes_max: 4_096, times_max: KEYS_MAX },
};
const TOP: Parameter = Parameter {
    name: "top",
    description: "Only so many groups of each kind, those with the largest mean of their values. Without it all, and a \
                  refusal where those are more than 500.",
    shape: Shape::Integer { min: 1, max: GROUPS_MAX as u64, default: GROUPS_MAX as u64 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/metrics/query",
    right: Right::Read,
    name: "queryMetric",
    summary: "A metric over time, by group",
    description: "A function of the points of a metric in each step of the window, by group. The items are the series of \
                  one kind and unit each; most metrics have one. `window` is widened to whole steps.",
    in_path: &[],
    in_body: None,
    parameters: &[&NAME, &FUNCTION, &FROM, &TO, &SINCE, &STEP, &RANGE, &BY, &WHERE, &TOP, &CURSOR],
    schema: |schemas| schemas.page_with::<PartView, StepsView>(),
    answer: |call| Box::pin(answer(call)),
};

/// What was reckoned, in which steps.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricSteps)]
struct StepsView {
    /// The metric.
    name: String,
    /// The function.
    function: String,
    /// Seconds of a step.
    step_seconds: u64,
    /// Seconds up to its end that each step looks at.
    range_seconds: u64,
}

/// The series of one kind and unit.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricPart)]
struct PartView {
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    kind: &'static str,
    /// The unit of the metric in UCUM: that of the values unless the function is a count or a rate.
    unit: String,
    /// Whether it is a sum that only grows.
    monotonic: bool,
    /// Why these series do not answer the function; null where they do.
    not_answered_because: Option<&'static str>,
    /// The groups, largest mean first.
    groups: Vec<GroupView>,
    /// Groups that `top` left out.
    groups_left_out: usize,
    /// Values that are null although there are measurements: of histograms without bounds in common, and of summaries that
    /// do not report the percentile.
    values_not_told: usize,
    /// The points that were looked at.
    points: PointsView,
    /// How many times a counter began again.
    resets: u64,
}

/// One group of series.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricGroup)]
struct GroupView {
    /// The values of the keys of `by`; empty text where a series has none.
    #[schema(value_type = Object)]
    labels: Map<String, Json>,
    /// How many series it has, with or without points in the window.
    series: usize,
    /// One value a step, in order; null where the points do not say; `NaN`, `Infinity` and `-Infinity` as text.
    #[schema(value_type = Vec<serde_json::Value>)]
    values: Vec<Json>,
}

/// Points by what became of them; one that several steps look at is counted in each.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricPoints)]
struct PointsView {
    /// Points that were reckoned with.
    used: u64,
    /// Points that say that nothing was measured.
    not_a_measurement: u64,
    /// Points that came twice.
    duplicate: u64,
    /// Points whose time overlaps that of another.
    overlapping: u64,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let name = call.needed(&NAME)?.to_owned();
    let function = function(call.needed(&FUNCTION)?)?;
    let given = |parameter| call.duration_ns(parameter).map(Duration::from_nanos);
    let step = given(&STEP).unwrap_or_else(|| easy_step(resumed.window.length(), STEPS, &EASY_STEPS));
    let range = given(&RANGE).unwrap_or(step);
    let keys = call.texts(&BY).flat_map(|keys| keys.split(',')).map(str::trim).filter(|key| !key.is_empty());
    let by: Vec<String> = keys.map(str::to_owned).collect();
    let top = call.text(&TOP).map(|_| usize::try_from(call.integer(&TOP)).unwrap_or(GROUPS_MAX));
    let question = MetricQuestion {
        name: name.clone(),
        function,
        window: resumed.window,
        step,
        range,
        group_by: by.iter().map(|key| Key::read(key)).collect(),
        filters: call.texts(&WHERE).map(filter).collect::<Result<_, _>>()?,
        top,
    };
    let found = call.query().metrics(&call.scope, question).await?;
    laid_out(move || {
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = found.window;
        page.fill_counted(&found.parts, (after, usize::MAX), |part| PartView::new(part, &by))?;
        page.finish_with(&StepsView {
            name,
            function: function.to_string(),
            step_seconds: found.step.as_secs(),
            range_seconds: range.as_secs(),
        })
    })
    .await
}

impl PartView {
    /// The part; `by` are the keys as they were written.
    fn new(part: &PartAnswer, by: &[String]) -> Self {
        let tally = part.tally;
        Self {
            kind: part.kind.name(),
            unit: part.unit.clone(),
            monotonic: part.monotonic,
            not_answered_because: part.unfit,
            groups: part.groups.iter().map(|group| GroupView::new(group, by)).collect(),
            groups_left_out: part.groups_left_out,
            values_not_told: part.not_told,
            points: PointsView {
                used: tally.points,
                not_a_measurement: tally.skipped,
                duplicate: tally.duplicates,
                overlapping: tally.overlaps,
            },
            resets: tally.resets,
        }
    }
}

impl GroupView {
    fn new(group: &GroupAnswer, by: &[String]) -> Self {
        let labels = by.iter().zip(&group.labels).map(|(key, value)| (key.clone(), value.as_str().into()));
        let number = |value: &Option<f64>| value.map_or(Json::Null, |it| value::json(&Value::Double(it), 1));
        Self {
            labels: labels.collect(),
            series: group.series,
            values: group.values.iter().map(number).collect(),
        }
    }
}

fn function(text: &str) -> Result<Function, Problem> {
    text.parse().map_err(|UnknownFunction(text)| {
        let unknown = UnknownFunction(echoed(&text));
        Problem::no_such_value(FUNCTION.name, &text, &unknown.to_string(), FUNCTIONS)
    })
}

fn filter(text: &str) -> Result<Filter, Problem> {
    let wrong = || {
        let detail = format!("`{}` is no condition; write `key=value` or `key!=value`", echoed(text));
        Problem::invalid(WHERE.name, detail)
    };
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (key, equal) = key.strip_suffix('!').map_or((key, true), |key| (key, false));
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(Filter { key: Key::read(key), value: value.to_owned(), equal })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::ROUTE;
    use crate::api::{Options, Tally, router};
    use crate::clock::Clock;
    use crate::graph::Graph;
    use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
    use crate::model::node::NodeKind;
    use crate::model::packed::Attributes;
    use crate::model::resource::{Instrumentation, Resource};
    use crate::model::tenant::{Scope, TenantId};
    use crate::model::text::Text;
    use crate::model::time::UnixNanos;
    use crate::query::{self, Query};
    use crate::store::Store;
    use crate::store::rows::{Commit, PointRow, SeriesDefinition};
    use crate::vitals::health::Health;

    /// 2027-01-15T08:00:00Z.
    const START: i64 = 1_800_000_000;

    /// Serves the answers to each of `queries` on a store with one gauge; gives back status and body.
    fn answers(queries: &[&str]) -> Vec<(StatusCode, Value)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let options = crate::store::options::Options::at(directory.path().join("store.db"));
            let store = Store::open(options).await.unwrap();
            let scope = Scope::authorized(TenantId::try_from("acme").unwrap());
            store.commit(load(&store, &scope)).await.unwrap();
            let clock = Clock::standing(UnixNanos::from_seconds(START + 120));
            let options = query::Options { cache_ttl: Duration::ZERO, samples: false };
            let query = Query::new(&options, store.clone(), Graph::new(), None, clock);
            let router = router(Options::default(), query, Health::default(), &Arc::new(Tally::default()));
            let mut answers = Vec::new();
            for text in queries {
                let mut request = Request::get(format!("{}?{text}", ROUTE.path)).body(Body::empty()).unwrap();
                request.extensions_mut().insert(scope.clone());
                let response = router.clone().oneshot(request).await.unwrap();
                let status = response.status();
                let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
                answers.push((status, serde_json::from_slice(&body).unwrap()));
            }
            answers
        })
    }

    /// A gauge `load` of two services; one of them is infinite for a while.
    fn load(store: &Store, scope: &Scope) -> Commit {
        let names = store.names();
        let tenant = names.tenant(scope.tenant());
        let mut points = Vec::new();
        for (service, values) in [("cart", [0.5, 1.5]), ("pay", [3.0, f64::INFINITY])] {
            let number = names.service(tenant, NodeKind::Service, service, UnixNanos(1));
            let resource = Resource {
                service: service.into(),
                attributes: Attributes::default(),
                dropped_attributes: 0,
                schema_url: Text::default(),
            };
            let resource = names.resource(tenant, number, &Arc::new(resource), UnixNanos(1));
            let instrumentation =
                names.instrumentation(tenant, &Arc::new(Instrumentation::default()), UnixNanos(1));
            let series = Arc::new(SeriesDefinition {
                name: "load".into(),
                unit: "1".into(),
                description: Text::default(),
                metadata: Attributes::default(),
                kind: MetricKind::Gauge,
                temporality: Temporality::None,
                monotonic: false,
            });
            for (minute, value) in (0..).zip(values) {
                let point = Point {
                    time: UnixNanos::from_seconds(START + 60 * minute),
                    start: UnixNanos(0),
                    attributes: Attributes::default(),
                    value: PointValue::Double(value),
                    detail: PointDetail::default(),
                };
                let series = Arc::clone(&series);
                points.push(PointRow { tenant, service: number, resource, instrumentation, series, point });
            }
        }
        Commit { lsn: 1, points, ..Commit::default() }
    }

    #[test]
    fn a_question_is_answered_in_steps() {
        let found = answers(&[
            "name=load&function=max&since=3m&step=60s&by=service",
            "name=load&function=last&from=2027-01-15T08:00:00Z&to=now&step=1m&where=service!=pay",
            "name=load&function=avg&since=1m&top=1&by=service&where=service=cart",
        ]);
        assert!(found.iter().all(|(status, _)| *status == StatusCode::OK), "{found:?}");
        let max = &found[0].1;
        assert_eq!(max["window"]["from"], "2027-01-15T07:59:00.000000000Z");
        assert_eq!(max["window"]["to"], "2027-01-15T08:02:00.000000000Z");
        assert!(max["next_cursor"].is_null());
        assert_eq!((max["step_seconds"].as_u64(), max["function"].as_str()), (Some(60), Some("max")));
        let part = &max["items"][0];
        assert_eq!((part["kind"].as_str(), part["unit"].as_str()), (Some("gauge"), Some("1")));
        assert_eq!(part["groups"][0]["labels"]["service"], "pay");
        assert_eq!(part["groups"][0]["values"], serde_json::json!([null, 3.0, "Infinity"]));
        assert_eq!(part["groups"][1]["values"], serde_json::json!([null, 0.5, 1.5]));
        assert_eq!(part["points"]["used"], 4);
        assert_eq!(found[1].1["items"][0]["groups"][0]["values"], serde_json::json!([0.5, 1.5]));
        assert_eq!(found[1].1["items"][0]["groups"][0]["labels"], serde_json::json!({}));
        assert_eq!(found[2].1["step_seconds"], 1);
    }

    #[test]
    fn a_key_may_be_given_in_a_list_or_by_itself() {
        let found = answers(&[
            "name=load&function=max&since=3m&step=60s&by=service,resource.zone&by=phase",
            "name=load&function=max&since=3m&step=60s&by=service&by=resource.zone&by=phase&where=phase=&where=service!=pay",
        ]);
        for (status, answer) in &found {
            assert_eq!(*status, StatusCode::OK, "{answer}");
            let labels = answer["items"][0]["groups"].as_array().unwrap().last().unwrap()["labels"].clone();
            assert_eq!(labels, serde_json::json!({"service": "cart", "resource.zone": "", "phase": ""}));
        }
        assert_eq!(found[1].1["items"][0]["groups"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_wrong_question_is_told_what_is_right() {
        let invalid = "invalid-parameter";
        let many = format!("name=load&function=max{}", "&where=a=b".repeat(17));
        let keys = format!("name=load&function=max&by={}", "a,".repeat(17));
        let wrong = [
            ("function=max", 400, invalid, "name", "`name` is needed"),
            ("name=load", 400, invalid, "function", "`function` is needed"),
            ("name=load&function=median", 400, invalid, "function", "`median` is no function; use rate"),
            ("name=load&function=max&steps=5", 400, "unknown-parameter", "steps", "did you mean `step`"),
            ("name=load&name=load&function=max", 400, invalid, "name", "more than once"),
            ("name=load&function=max&step=1y", 400, invalid, "step", "a number with a unit"),
            ("name=load&function=max&step=60", 400, invalid, "step", "such as `60s`"),
            ("name=load&function=max&step=60s&range=90s", 400, invalid, "range", "a whole number of steps"),
            ("name=load&function=max&from=yesterday", 400, invalid, "from", "RFC 3339"),
            ("name=load&function=max&from=10m&since=5m", 400, invalid, "since", "give one of them"),
            ("name=load&function=max&where=service", 400, invalid, "where", "`key=value` or `key!=value`"),
            ("name=load&function=max&where=!=x", 400, invalid, "where", "`key=value` or `key!=value`"),
            (many.as_str(), 400, invalid, "where", "more than 16 times"),
            (keys.as_str(), 400, "too-much", "", "17 keys are more than 16"),
            ("name=load&function=max&top=0", 400, invalid, "top", "from 1 to 500"),
            ("name=load&function=rate", 400, invalid, "function", "ask for avg, min, max, last or sum"),
            ("name=load&function=max&since=30d&step=60s", 400, "too-much", "", "ask for a step of at least"),
            (
                "name=lod&function=max",
                404,
                "unknown-name",
                "name",
                "no metric is called `lod`; did you mean `load`?",
            ),
        ];
        let queries: Vec<&str> = wrong.iter().map(|(query, ..)| *query).collect();
        for ((query, status, kind, parameter, detail), (found, body)) in wrong.iter().zip(answers(&queries)) {
            assert_eq!(found.as_u16(), *status, "{query}: {body}");
            assert_eq!(body["type"], format!("urn:otelcontext:problem:{kind}"), "{query}: {body}");
            assert_eq!(body["parameter"].as_str().unwrap_or_default(), *parameter, "{query}: {body}");
            assert!(body["detail"].as_str().unwrap().contains(detail), "{query}: {body}");
        }
        let allowed = |query: &str| answers(&[query])[0].1["allowed"].clone();
        assert_eq!(allowed("name=lode&function=max"), serde_json::json!(["load"]));
        assert_eq!(allowed("name=load&function=avgs")[3], "avg");
    }
}
