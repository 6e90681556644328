//! `/api/v1/service-health`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::query::service_health::{OperationHealth, ServiceHealth};

use super::answer::{Answer, Page, WindowView, counted, laid_out};
use super::call::Call;
use super::parameter::{CURSOR, FROM, LIMIT, SERVICE, SINCE, TO};
use super::problem::Problem;
use super::routes::Route;
use super::services::RequestsView;

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/service-health",
    right: Right::Read,
    name: "getServiceHealth",
    summary: "How services fare against their own past",
    description: "The services that were seen in the window or in the time before it, worst first; or one service, with \
                  its operations on the first page. `window` is the part of it that is known.",
    in_path: &[],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &SERVICE, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page_with::<HealthView, HealthDetail>(),
    answer: |call| Box::pin(answer(call)),
};

/// How a service fares.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceHealth)]
struct HealthView {
    /// Its name.
    service: String,
    /// `service`, `database`, `queue` or `external`.
    kind: &'static str,
    /// `healthy`, `degraded`, `critical`, or `unknown` where there was too little traffic to tell.
    status: &'static str,
    /// 1 is as good as its own baseline or better, 0 is down.
    #[schema(minimum = 0, maximum = 1)]
    score: f64,
    /// Why, most important first; empty when healthy.
    reasons: Vec<String>,
    /// Its requests in the window.
    now: RequestsView,
    /// Its requests in the baseline.
    before: RequestsView,
}

/// What health rests on, and what the one service that was asked for is made of.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceHealthDetail)]
struct HealthDetail {
    /// What the window was compared with; null where nothing older is known, and health rests on error shares alone.
    baseline: Option<WindowView>,
    /// What to know before health is trusted, in full sentences: which services share a name and are counted together.
    coverage: Vec<String>,
    /// The operations of the one service that was asked for, most time spent first; on the first page only.
    operations: Vec<OperationHealthView>,
}

/// How an operation fares.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationHealth)]
struct OperationHealthView {
    /// Its name.
    operation: String,
    /// The kind of its spans.
    kind: &'static str,
    /// Its spans in the window.
    now: RequestsView,
    /// Its spans in the baseline.
    before: RequestsView,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let report = call.query().service_health(&call.scope, resumed.window, call.text(&SERVICE)).await?;
    laid_out(move || {
        let view = |service: &ServiceHealth| HealthView {
            service: service.info.name.to_string(),
            kind: service.info.kind.name(),
            status: service.health.status.name(),
            score: service.health.score,
            reasons: service.health.reasons.clone(),
            now: (&service.now).into(),
            before: (&service.before).into(),
        };
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = report.window;
        page.fill_counted(&report.services, (after, resumed.limit), view)?;
        let operations = if after == 0 { report.operations.as_slice() } else { &[] };
        let operation = |operation: &OperationHealth| OperationHealthView {
            operation: operation.name.clone(),
            kind: operation.kind.name(),
            now: (&operation.now).into(),
            before: (&operation.before).into(),
        };
        page.finish_with(&HealthDetail {
            baseline: report.baseline.map(WindowView::from),
            coverage: call.query().counted_together(&report.namesakes).into_iter().collect(),
            operations: operations.iter().map(operation).collect(),
        })
    })
    .await
}
