//! What happens around a question: turns, time, and the gate in front.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::answer::Answer;
use super::routes::within;
use super::{Options, Tally, router};
use crate::clock::Clock;
use crate::graph::Graph;
use crate::model::tenant::{Scope, TenantId};
use crate::model::time::UnixNanos;
use crate::query::{self, Query};
use crate::store::Store;
use crate::store::options::Options as StoreOptions;
use crate::vitals::health::Health;

/// A store that knows the tenant `a`, so that questions about it have something to ask.
async fn query(folder: &TempDir) -> Query {
    let store = Store::open(StoreOptions::at(folder.path().join("a.db"))).await.unwrap();
    store.names().tenant(&TenantId::try_from("a").unwrap());
    let clock = Clock::standing(UnixNanos::from_seconds(1_800_000_000));
    let options = query::Options { cache_ttl: Duration::ZERO, samples: false };
    Query::new(&options, store, Graph::new(), None, clock)
}

/// The routes over a store of their own, which lives as long as the folder.
async fn routes(options: Options, tally: &Arc<Tally>) -> (Router, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (router(options, query(&folder).await, Health::default(), tally), folder)
}

async fn send(router: &Router, scope: Option<&str>, path: &str) -> Response {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    if let Some(tenant) = scope {
        request.extensions_mut().insert(Scope::authorized(TenantId::try_from(tenant).unwrap()));
    }
    router.clone().oneshot(request).await.unwrap()
}

async fn ask(options: Options, scope: Option<&str>, path: &str) -> Response {
    let (router, _folder) = routes(options, &Arc::default()).await;
    send(&router, scope, path).await
}

async fn check(response: Response, status: u16, kind: &str, retry_after: Option<&str>) {
    assert_eq!(response.status(), status);
    let told = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(told.as_deref(), retry_after);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["type"], format!("urn:otelcontext:problem:{kind}"), "{problem}");
}

#[tokio::test]
async fn without_a_turn_a_question_is_refused_as_overload() {
    let options = Options { at_once_max: 0, turn_wait: Duration::ZERO, ..Options::default() };
    let response = ask(options, Some("a"), "/api/v1/services").await;
    check(response, 503, "overloaded", Some("1")).await;
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_ended() {
    let ended = Arc::new(());
    let held = Arc::clone(&ended);
    let endless = Box::pin(async move {
        std::future::pending::<()>().await;
        drop(held);
        Ok(Answer::text("{}"))
    });
    let response = within(Duration::ZERO, endless).await.into_response();
    check(response, 504, "timed-out", None).await;
    assert_eq!(Arc::strong_count(&ended), 1, "the work goes on");
}

#[tokio::test]
async fn nothing_is_answered_past_the_gate_without_a_scope() {
    for path in ["/api/v1/services", "/api/v1/openapi.json"] {
        check(ask(Options::default(), None, path).await, 500, "internal", None).await;
    }
}

#[tokio::test]
async fn an_empty_store_answers_empty_lists() {
    for path in ["/api/v1/services", "/api/v1/traces", "/api/v1/spans", "/api/v1/logs", "/api/v1/metrics"] {
        let response = ask(Options::default(), Some("a"), path).await;
        assert_eq!(response.status(), 200, "{path}");
    }
    // There is no index here: words cannot be searched, and the caller is told what would be right.
    check(ask(Options::default(), Some("a"), "/api/v1/logs?q=x").await, 400, "invalid-parameter", None).await;
}

#[tokio::test]
async fn questions_are_counted_by_how_they_end() {
    let tally = Arc::new(Tally::default());
    let path = "/api/v1/services";
    let full = |turn_wait| Options { at_once_max: 0, turn_wait, ..Options::default() };
    let (usual, _folder) = routes(Options::default(), &tally).await;
    send(&usual, Some("a"), path).await;
    send(&usual, Some("a"), "/api/v1/services?servce=x").await;
    send(&usual, None, path).await;
    let (busy, _folder) = routes(full(Duration::ZERO), &tally).await;
    send(&busy, Some("a"), path).await;
    // A caller who goes away while the question waits for its turn.
    let (patient, _folder) = routes(full(Duration::from_secs(3_600)), &tally).await;
    let waiting = tokio::time::timeout(Duration::ZERO, send(&patient, Some("a"), path));
    assert!(waiting.await.is_err());
    let of = |wanted: &str| {
        tally
            .questions()
            .filter(|(route, status, _)| *route == path && *status == wanted)
            .map(|it| it.2)
            .sum::<u64>()
    };
    let counts = ["ok", "error", "overloaded", "timed_out", "cancelled", "failed"].map(of);
    assert_eq!(counts, [1, 1, 1, 0, 1, 1]);
    assert!(tally.seconds().all(|(route, seconds)| (seconds > 0.0) == (route == path)));
}
