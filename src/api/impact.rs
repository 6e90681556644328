//! `/api/v1/impact`.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::diagnose::verdict::Affected;
use crate::query::WhatIf;

use super::answer::{Answer, Page, counted, laid_out};
use super::call::Call;
use super::parameter::{
    CURSOR, FROM, LIMIT, NAME_BYTES_MAX, OPERATION, Parameter, SERVICE, SINCE, Shape, TO,
};
use super::problem::Problem;
use super::routes::Route;

const DEPTH: Parameter = Parameter {
    name: "depth",
    description: "Most calls between services on the way towards the callers.",
    shape: Shape::Integer { min: 1, max: 10, default: 5 },
};

const CALLER: Parameter = Parameter {
    name: "caller",
    description: "What if only the calls of this service to it go wrong? Default: those of all.",
    shape: Shape::Text { bytes_max: NAME_BYTES_MAX },
};
const ADDED_LATENCY: Parameter = Parameter {
    name: "added_latency_ms",
    description: "What if each call took so many milliseconds longer? Default 0: it fails.",
    shape: Shape::Integer { min: 0, max: 600_000, default: 0 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/impact",
    right: Right::Read,
    name: "getImpact",
    summary: "Who is hurt when a service fails or slows down",
    description: "The operations whose requests pass through the service, or through one operation of it: entry points \
                  first, then by falling share.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &SERVICE.described("The failing service. Needed."),
        &OPERATION.described("One operation of it. Default: all."),
        &CALLER,
        &ADDED_LATENCY,
        &DEPTH,
        &FROM,
        &TO,
        &SINCE,
        &LIMIT,
        &CURSOR,
    ],
    schema: |schemas| schemas.page_with::<AffectedView, Coverage>(),
    answer: |call| Box::pin(answer(call)),
};

/// An operation that is affected.
#[derive(Serialize, ToSchema)]
#[schema(as = Affected)]
struct AffectedView {
    /// Its service.
    service: String,
    /// Its name; null where only the service is known.
    operation: Option<String>,
    /// Share of its requests that pass through the failing service.
    #[schema(minimum = 0, maximum = 1)]
    share: f64,
    /// Share of its requests that failed in the window.
    #[schema(minimum = 0, maximum = 1)]
    errors_share: f64,
    /// Mean duration of its requests in the window in milliseconds; 0 where none were counted.
    #[schema(minimum = 0)]
    mean_ms: f64,
    /// What its mean request would take longer, in milliseconds; 0 where calls are supposed to fail.
    #[schema(minimum = 0)]
    added_ms: f64,
    /// Calls between services on the shortest way to the failing service; 0 within it.
    distance: u32,
    /// True when nothing known calls it: its callers are users.
    entry_point: bool,
}

/// What an answer does not rest on.
#[derive(Serialize, ToSchema)]
struct Coverage {
    /// What the answer does not rest on, in full sentences; empty where nothing is missing.
    coverage: Vec<String>,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let what = WhatIf {
        service: call.needed(&SERVICE)?,
        operation: call.text(&OPERATION),
        caller: call.text(&CALLER),
        added: Duration::from_millis(call.integer(&ADDED_LATENCY)),
    };
    let depth = u32::try_from(call.integer(&DEPTH)).unwrap_or(u32::MAX);
    let impact = call.query().impact(&call.scope, resumed.window, what, depth).await?;
    laid_out(move || {
        let query = call.query();
        let view = |affected: &Affected| AffectedView {
            service: query.service_name(affected.service),
            operation: affected.operation.map(|id| query.operation_name(id)),
            share: affected.share,
            errors_share: affected.observed_errors,
            mean_ms: affected.observed_ns / 1e6,
            added_ms: affected.added_ns / 1e6,
            distance: affected.distance,
            entry_point: affected.entry,
        };
        let mut page = Page::new(&call.seal, resumed.window);
        page.fill_counted(&impact.affected, (after, resumed.limit), view)?;
        page.finish_with(&Coverage { coverage: impact.coverage })
    })
    .await
}
