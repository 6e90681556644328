//! The routes of the main port.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::admit::Budget;
use crate::api;
use crate::auth::{self, Authenticator, Gate, Policies, Policy, Principal, Right};
use crate::clock::Clock;
use crate::config::Config;
use crate::fault::{self, chain};
use crate::mcp;
use crate::pipeline;
use crate::query::Query;
use crate::receive::{self, Receive};
use crate::vitals::health::Health;
use crate::vitals::metrics::Metrics;
use crate::vitals::spans::Spans;

use super::own_spans;

/// What stands behind the gates.
pub(super) struct Behind {
    pub(super) intake: receive::Options,
    pub(super) budget: Budget,
    pub(super) pipeline: pipeline::Handle,
    pub(super) clock: Clock,
    pub(super) query: Query,
    pub(super) health: Health,
    pub(super) spans: Spans,
    /// Cancelled when nobody is listened to any more.
    pub(super) stop_listening: CancellationToken,
}

impl Behind {
    /// The OTLP doors, behind this gate.
    pub(super) fn receive(&self, authenticator: &Authenticator) -> Receive {
        let (options, authenticator) = (self.intake.clone(), authenticator.clone());
        Receive::new(options, authenticator, self.budget.clone(), self.pipeline.clone(), self.clock.clone())
    }

    /// The routers of the ports for gRPC, OTLP over HTTP and everything else, each behind the gate and with what it asks of
    /// callers.
    pub(super) fn routers(
        &self,
        config: &Config,
        receive: &Receive,
        (authenticator, metrics): (&Authenticator, &Metrics),
    ) -> [(Router, Policies); 3] {
        let guarded = |router: Router, policies: Policies| {
            let gate = Gate::new(authenticator.clone(), policies.clone());
            let router = router.layer(middleware::from_fn_with_state(gate, auth::layer));
            (router.layer(middleware::from_fn(contained)), policies)
        };
        // Where a key is required, strangers have none.
        let names = (!authenticator.requires_key())
            .then(|| auth::Names::new(&config.mcp_allowed_hosts, &config.mcp_allowed_origins));
        let main = self.main(config, receive, (&names, metrics));
        [
            guarded(receive.router_grpc(), Receive::policies_grpc().collect()),
            guarded(fenced(receive.router_http_only(), &names), Receive::policies_http().collect()),
            guarded(main, policies(config)),
        ]
    }

    /// Probes and metrics without a key, OTLP with its own answers, the REST API and MCP behind the gate.
    fn main(
        &self,
        config: &Config,
        receive: &Receive,
        (names, metrics): (&Option<auth::Names>, &Metrics),
    ) -> Router {
        let Self { query, health, .. } = self;
        let calls = Arc::new(own_spans::calls(metrics, &self.spans, &self.clock));
        super::exports::tool_metrics(metrics, &calls);
        let open = api::probes(health.clone(), metrics.clone());
        let asked = Arc::new(own_spans::questions(&self.spans, &self.clock));
        super::exports::question_metrics(metrics, &asked);
        let options = api::Options {
            retention_days: Some(config.storage.retention.trace_days),
            sql_tenant: Some(config.default_tenant.clone()),
            ..api::Options::default()
        };
        let mut questions = api::router(options, query.clone(), health.clone(), &asked);
        if let Some(names) = names {
            questions = questions.layer(middleware::from_fn_with_state(names.clone(), auth::under_own_name));
        }
        let mut router = open.merge(fenced(receive.router_http(), names)).merge(questions);
        if config.mcp_enabled {
            let options = mcp::Options {
                path: config.mcp_path.clone(),
                concurrent_max: config.mcp_concurrent_max,
                call_timeout: config.mcp_call_timeout,
            };
            let agents = mcp::router(options, query.clone(), calls, self.stop_listening.clone());
            let agents = agents.layer(middleware::from_fn(as_agent));
            // Agents may run in web pages, and have keys: they are looked at in any case, as the protocol asks.
            let names = auth::Names::new(&config.mcp_allowed_hosts, &config.mcp_allowed_origins);
            router = router.merge(agents.layer(middleware::from_fn_with_state(names, agent_under_own_name)));
        }
        router.fallback(|| async {
            (StatusCode::NOT_FOUND, "nothing is here; see /ready, /metrics, /mcp and /api/v1/openapi.json\n")
        })
    }
}

/// The OTLP routes, where no key is required not for pages of strangers.
fn fenced(router: Router, names: &Option<auth::Names>) -> Router {
    match names {
        Some(names) => router.layer(middleware::from_fn_with_state(names.clone(), receive::of_no_stranger)),
        None => router,
    }
}

/// Tells the agents' route who asks, as the gate found.
async fn as_agent(mut request: Request, next: Next) -> Response {
    if let Some(principal) = request.extensions().get::<Principal>() {
        let may_write = principal.rights.include(Right::Ingest);
        let caller = mcp::Caller { scope: principal.scope.clone(), may_write };
        request.extensions_mut().insert(caller);
    }
    next.run(request).await
}

/// Lets a call of an agent through that comes under an accepted name, as [`auth::under_own_name`] does; others are told in
/// the words of the agent's protocol.
async fn agent_under_own_name(State(names): State<auth::Names>, request: Request, next: Next) -> Response {
    match names.objection(request.uri(), request.headers()) {
        None => next.run(request).await,
        Some(message) => mcp::forbidden(message),
    }
}

/// Answers where a part panicked that does not answer for itself; callers of gRPC take it for UNAVAILABLE.
async fn contained(request: Request, next: Next) -> Response {
    fault::caught(next.run(request)).await.unwrap_or_else(|panicked| {
        error!(error = chain(&panicked), "a request ended in a panic");
        let text = "the server failed on this request, by a defect of its own; come again\n";
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response()
    })
}

/// What each route of the main port asks of its callers.
fn policies(config: &Config) -> Policies {
    let agents = config.mcp_enabled.then(|| (config.mcp_path.clone(), Policy::Needs(Right::Read)));
    let open = api::PROBES.map(|path| (path.to_owned(), Policy::Open));
    let questions = api::policies().map(|(path, policy)| (path.to_owned(), policy));
    open.into_iter().chain(questions).chain(Receive::policies_http()).chain(agents).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn agents_are_told_in_json_rpc_under_which_name_to_ask() {
        let names = auth::Names::new(&["otel.internal".to_owned()], &[]);
        let router: Router = Router::new()
            .route("/mcp", get(|| async { StatusCode::OK }))
            .layer(middleware::from_fn_with_state(names, agent_under_own_name));
        for (host, status) in [
            ("otel.internal", StatusCode::OK),
            ("10.0.0.5:8080", StatusCode::OK),
            ("evil.com", StatusCode::FORBIDDEN),
        ] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = "/mcp".parse().unwrap();
            request.headers_mut().insert(header::HOST, host.parse().unwrap());
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{host}");
            if status == StatusCode::FORBIDDEN {
                let body = axum::body::to_bytes(answer.into_body(), 1_000).await.unwrap();
                let told = String::from_utf8_lossy(&body);
                assert!(told.contains(r#""id":null"#) && told.contains("MCP_ALLOWED_HOSTS"), "{told}");
            }
        }
    }

    #[tokio::test]
    async fn d7_a_panic_behind_the_gate_still_gets_an_answer() {
        async fn panics() -> StatusCode {
            panic!("a defect")
        }
        let router: Router = Router::new().route("/", get(panics)).layer(middleware::from_fn(contained));
        let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
    }
}
