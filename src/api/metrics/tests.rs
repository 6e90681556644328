use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::{PATH, router};
use crate::clock::Clock;
use crate::graph::Graph;
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::tenant::{Scope, TenantId};
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use crate::query::{Options, Query};
use crate::store::Store;
use crate::store::rows::{Commit, PointRow, SeriesDefinition};

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
        let options = Options { cache_ttl: Duration::ZERO };
        let query = Query::new(&options, store.clone(), Graph::new(), None, clock);
        let mut answers = Vec::new();
        for text in queries {
            let mut request = Request::get(format!("{PATH}?{text}")).body(Body::empty()).unwrap();
            request.extensions_mut().insert(scope.clone());
            let response = router(query.clone()).oneshot(request).await.unwrap();
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
        let instrumentation = names.instrumentation(tenant, &Arc::new(Instrumentation::default()));
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
    assert_eq!(max["window"]["from"], "2027-01-15T07:59:00Z");
    assert_eq!(max["window"]["to"], "2027-01-15T08:02:00Z");
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
fn a_wrong_question_is_told_what_is_right() {
    let wrong = [
        ("function=max", 400, "`name` is required"),
        ("name=load", 400, "`function` is required"),
        ("name=load&function=median", 400, "`median` is no function"),
        ("name=load&function=max&steps=5", 400, "use name, function, from"),
        ("name=load&name=load&function=max", 400, "given twice"),
        ("name=load&function=max&step=1w", 400, "`step` must be a whole number with a unit"),
        ("name=load&function=max&from=yesterday", 400, "RFC 3339"),
        ("name=load&function=max&from=now&since=5m", 400, "not both"),
        ("name=load&function=max&where=service", 400, "`key=value` or `key!=value`"),
        ("name=load&function=max&top=0", 400, "from 1 on"),
        ("name=load&function=rate", 400, "ask for avg, min, max, last or sum"),
        ("name=load&function=max&since=30d&step=60s", 400, "ask for a step of at least"),
        ("name=lode&function=max", 404, "no metric is called `lode`"),
    ];
    let queries: Vec<&str> = wrong.iter().map(|(query, ..)| *query).collect();
    for ((query, status, detail), (found, body)) in wrong.iter().zip(answers(&queries)) {
        assert_eq!(found.as_u16(), *status, "{query}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{query}: {body}");
    }
}
