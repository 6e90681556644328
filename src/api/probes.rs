//! Probes and metrics, for operators and machines.
//!
//! `/live` says that the process answers; `/ready` says whether traffic may come and names each check; `/metrics` is the
//! exposition. None of them tells anything about a tenant, and none needs a key.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::vitals::health::Health;
use crate::vitals::metrics::{Metrics, OPENMETRICS_TYPE, PROMETHEUS_TYPE};

#[derive(Clone)]
struct Parts {
    health: Health,
    metrics: Metrics,
    /// One page at a time: who asks often shall not fill the threads that others need.
    turn: Arc<Semaphore>,
}

const LIVE: &str = "/live";
const READY: &str = "/ready";
const METRICS: [&str; 2] = ["/metrics", "/metrics/prometheus"];

/// The routes of [`probes`]; none of them needs a key.
pub const PROBES: [&str; 4] = [LIVE, READY, METRICS[0], METRICS[1]];

/// The routes of the probes and of the exposition.
pub fn probes(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route(LIVE, get(live))
        .route(READY, get(ready))
        .route(METRICS[0], get(metrics_text))
        .route(METRICS[1], get(metrics_text))
        .with_state(Parts { health, metrics, turn: Arc::new(Semaphore::new(1)) })
}

async fn live() -> Response {
    json(StatusCode::OK, r#"{"status":"live"}"#.to_owned())
}

async fn ready(State(parts): State<Parts>) -> Response {
    let report = parts.health.report();
    let mut body = format!(r#"{{"status":"{}","checks":{{"#, report.status);
    for (index, (name, check)) in report.checks.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let detail = serde_json::Value::from(check.detail.as_str());
        // Writing to a string cannot fail.
        let _ = write!(body, r#"{comma}"{name}":{{"ok":{},"detail":{detail}}}"#, check.ok);
    }
    body.push_str("}}");
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, body)
}

async fn metrics_text(State(parts): State<Parts>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = accepts.contains("application/openmetrics-text");
    // Files are looked at.
    let Ok(turn) = Arc::clone(&parts.turn).acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let page = move || match is_open {
        true => (OPENMETRICS_TYPE, parts.metrics.openmetrics()),
        false => (PROMETHEUS_TYPE, parts.metrics.prometheus()),
    };
    let work = move || {
        let _turn = turn;
        page()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok((kind, text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(_printed_by_the_panic_hook) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
