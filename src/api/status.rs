//! `/api/v1/status`.

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Answer;
use super::call::Call;
use super::problem::Problem;
use super::routes::Route;
use super::time::rfc3339;
use crate::auth::Right;

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/status",
    right: Right::Read,
    name: "getStatus",
    summary: "The server, and how much it keeps",
    description: "Version, uptime and health of the server, and what is kept of the tenant, as far as that costs little \
                  to tell.",
    in_path: &[],
    in_body: None,
    parameters: &[],
    schema: |schemas| schemas.object::<StatusView>(),
    answer: |call| Box::pin(answer(call)),
};

/// The server and what it keeps of the tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
struct StatusView {
    /// The program's version.
    version: &'static str,
    /// Seconds since the server started to answer.
    uptime_s: u64,
    /// `ready`, `starting` or `degraded`; `/ready` names each check.
    status: String,
    /// The server's clock.
    #[schema(format = DateTime)]
    now: String,
    /// How many days telemetry is kept; null where all of it is.
    retention_days: Option<u32>,
    /// What is kept of the tenant.
    stored: StoredView,
    /// Bytes that the database of all tenants takes; only the operator sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    store_bytes: Option<u64>,
}

/// What is kept of a tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Stored)]
struct StoredView {
    /// Instrumented services.
    services: u64,
    /// Databases, queues and hosts that services call.
    dependencies: u64,
    /// Operations of both.
    operations: u64,
    /// Resources that sent telemetry: instances in one version.
    resources: u64,
    /// From when on anything is counted, to the second; null where nothing is.
    #[schema(format = DateTime)]
    oldest: Option<String>,
    /// When the newest span began; null where there is none.
    #[schema(format = DateTime)]
    newest_span: Option<String>,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let (query, parts) = (call.query(), &call.parts);
    let holdings = query.holdings(&call.scope).await?;
    let store_bytes = if call.is_admin { Some(query.store_bytes().await?) } else { None };
    Answer::object(&StatusView {
        version: parts.options.version,
        uptime_s: parts.started.elapsed().as_secs(),
        status: parts.health.report().status.to_string(),
        now: rfc3339(query.clock().now()),
        retention_days: parts.options.retention_days,
        stored: StoredView {
            services: holdings.services,
            dependencies: holdings.dependencies,
            operations: holdings.operations,
            resources: holdings.resources,
            oldest: holdings.oldest.map(rfc3339),
            newest_span: holdings.newest_span.map(rfc3339),
        },
        store_bytes,
    })
}
