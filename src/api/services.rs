//! `/api/v1/services` and their operations.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::model::rollup::Cell;

use super::answer::{Answer, Page, laid_out};
use super::call::{Call, foreign_cursor};
use super::cursor::Place;
use super::parameter::{CURSOR, FROM, LIMIT, Parameter, SERVICE, SINCE, Shape, TO};
use super::problem::Problem;
use super::routes::Route;
use super::time::{milliseconds, rfc3339};

const KIND: Parameter = Parameter {
    name: "kind",
    description: "Only nodes of this kind.",
    shape: Shape::Choice(&["service", "database", "queue", "external"]),
};
const NAME: Parameter = Parameter {
    name: "name",
    ..SERVICE.described("The service's name, percent-encoded where it needs to be.")
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/services",
    right: Right::Read,
    name: "listServices",
    summary: "Services, and what they call",
    description: "Every service that ever sent telemetry, and the databases, queues and hosts that services call, by \
                  name and kind, with the requests that each took in the window: entry spans of services, calls to the \
                  others.",
    in_path: &[],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &KIND, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page::<ServiceView>(),
    answer: |call| Box::pin(services(call)),
};

pub(super) const OPERATIONS: Route = Route {
    path: "/api/v1/services/{name}/operations",
    right: Right::Read,
    name: "listOperations",
    summary: "Operations of a service",
    description: "Every operation of the service by name and kind, with its spans in the window; for databases, queues \
                  and hosts, the calls to it.",
    in_path: &[&NAME],
    in_body: None,
    parameters: &[&FROM, &TO, &SINCE, &LIMIT, &CURSOR],
    schema: |schemas| schemas.page::<OperationView>(),
    answer: |call| Box::pin(operations(call)),
};

/// A node of the service graph with its requests in the window.
#[derive(Serialize, ToSchema)]
#[schema(as = Service)]
struct ServiceView {
    /// Its name.
    service: String,
    /// `service`, `database`, `queue` or `external`.
    kind: &'static str,
    /// The time of the telemetry that named it first.
    #[schema(format = DateTime)]
    first_seen: String,
    #[serde(flatten)]
    #[schema(inline)]
    requests: RequestsView,
}

/// An operation with its spans in the window.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
struct OperationView {
    /// Its name: that of its spans.
    operation: String,
    /// The kind of its spans: `internal`, `server`, `client`, `producer` or `consumer`.
    kind: &'static str,
    /// The time of the span that named it first.
    #[schema(format = DateTime)]
    first_seen: String,
    #[serde(flatten)]
    #[schema(inline)]
    requests: RequestsView,
}

/// What was counted, with the durations below which a share of all lie: off by 1/32 at most. Null where nothing was
/// counted.
#[derive(Serialize, ToSchema)]
#[schema(as = Requests)]
pub(super) struct RequestsView {
    /// Requests, calls or spans.
    requests: u64,
    /// Failed ones.
    errors: u64,
    /// Mean duration in milliseconds.
    mean_ms: Option<f64>,
    /// Duration that half of them stay below, in milliseconds.
    p50_ms: Option<f64>,
    /// Duration that 95 of 100 stay below, in milliseconds.
    p95_ms: Option<f64>,
    /// Duration that 99 of 100 stay below, in milliseconds.
    p99_ms: Option<f64>,
    /// Longest duration in milliseconds.
    max_ms: Option<f64>,
}

impl From<&Cell> for RequestsView {
    fn from(cell: &Cell) -> Self {
        let counted = |nanos: f64| (cell.count > 0).then_some(nanos / 1e6);
        let quantile = |share| cell.sketch.quantile(share).map(milliseconds);
        Self {
            requests: cell.count,
            errors: cell.errors,
            mean_ms: counted(cell.mean_ns()),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: counted(cell.max_ns as f64),
        }
    }
}

/// Where an item of a list by name stands: its name, and a number among those of the same name.
fn place(name: &str, number: u8) -> Place {
    Place { numbers: vec![number.into()], name: name.to_owned() }
}

/// Leaves out what stands up to `after`, and answers whether there is more than `limit` of the rest.
fn page_by_name<T>(
    items: &mut Vec<T>,
    (after, limit): (Option<&Place>, usize),
    name: impl Fn(&T) -> (&str, u8),
) -> Result<Option<Place>, Problem> {
    if let Some(after) = after {
        let [number] = after.fixed().ok_or_else(foreign_cursor)?;
        items.retain(|item| {
            let (name, own) = name(item);
            (name, i64::from(own)) > (after.name.as_str(), number)
        });
    }
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(items.last().filter(|_| more).map(&name).map(|(name, number)| place(name, number)))
}

async fn services(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let found = call.query().services(&call.scope, resumed.window).await?;
    laid_out(move || {
        let mut items = found.items;
        if let Some(kind) = call.text(&KIND) {
            items.retain(|(info, _)| info.kind.name() == kind);
        }
        let next = page_by_name(&mut items, (resumed.after.as_ref(), resumed.limit), |(info, _)| {
            (&info.name, info.kind as u8)
        })?;
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = found.window;
        page.fill(
            &items,
            next,
            |(info, cell)| ServiceView {
                service: info.name.to_string(),
                kind: info.kind.name(),
                first_seen: rfc3339(info.first_seen),
                requests: cell.into(),
            },
            |_, (info, _)| place(&info.name, info.kind as u8),
        )?;
        page.finish()
    })
    .await
}

async fn operations(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let found = call.query().operations(&call.scope, resumed.window, call.path(0)).await?;
    laid_out(move || {
        let mut items = found.items;
        let next = page_by_name(&mut items, (resumed.after.as_ref(), resumed.limit), |(info, _)| {
            (&info.name, info.kind.0)
        })?;
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = found.window;
        page.fill(
            &items,
            next,
            |(info, cell)| OperationView {
                operation: info.name.to_string(),
                kind: info.kind.name(),
                first_seen: rfc3339(info.first_seen),
                requests: cell.into(),
            },
            |_, (info, _)| place(&info.name, info.kind.0),
        )?;
        page.finish()
    })
    .await
}
