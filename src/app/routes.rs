//! The routes of the main port.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;

use crate::api;
use crate::auth::{self, Authenticator};
use crate::config::Config;
use crate::mcp;
use crate::query::Query;
use crate::receive::Receive;
use crate::vitals::health::Health;
use crate::vitals::metrics::Metrics;

/// Probes and metrics without a key, OTLP with its own answers, the REST API and MCP behind the gate.
pub(super) fn main(
    config: &Config,
    receive: &Receive,
    authenticator: &Authenticator,
    query: &Query,
    (health, metrics): (&Health, &Metrics),
) -> Router {
    let calls = Arc::new(mcp::Tally::default());
    super::exports::tool_metrics(metrics, &calls);
    let gate = || middleware::from_fn_with_state(authenticator.clone(), auth::layer);
    let open = api::probes(health.clone(), metrics.clone());
    let asked = Arc::new(api::Tally::default());
    super::exports::question_metrics(metrics, &asked);
    let options = api::Options {
        retention_days: Some(config.storage.retention.trace_days),
        sql_tenant: Some(config.default_tenant.clone()),
        ..api::Options::default()
    };
    let mut questions = api::router(options, query.clone(), health.clone(), &asked).layer(gate());
    if !authenticator.requires_key() {
        // The agents' route looks at them in any case, as the protocol asks.
        let names = auth::Names::new(&config.mcp_allowed_hosts, &config.mcp_allowed_origins);
        questions = questions.layer(middleware::from_fn_with_state(names, auth::under_own_name));
    }
    let mut router = open.merge(receive.router_http()).merge(questions);
    if config.mcp_enabled {
        let options = mcp::Options {
            path: config.mcp_path.clone(),
            concurrent_max: config.mcp_concurrent_max,
            call_timeout: config.mcp_call_timeout,
            allowed_hosts: config.mcp_allowed_hosts.clone(),
            allowed_origins: config.mcp_allowed_origins.clone(),
        };
        let guarded = mcp::router(options, query.clone(), calls);
        router = router.merge(guarded.layer(gate()));
    }
    router.fallback(|| async {
        (StatusCode::NOT_FOUND, "nothing is here; see /ready, /metrics, /mcp and /api/v1/openapi.json\n")
    })
}
