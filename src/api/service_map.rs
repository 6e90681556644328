//! `/api/v1/service-map`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Right;
use crate::query::service_map::MapEdge;

use super::answer::{Answer, Page, counted, laid_out};
use super::call::Call;
use super::parameter::{CURSOR, FROM, LIMIT, Parameter, SERVICE, SINCE, Shape, TO};
use super::problem::Problem;
use super::routes::Route;
use super::services::RequestsView;
use super::time::milliseconds;

const DEPTH: Parameter = Parameter {
    name: "depth",
    description: "Calls around `service`, either way; without it, it has no effect.",
    shape: Shape::Integer { min: 1, max: 10, default: 2 },
};

pub(super) const ROUTE: Route = Route {
    path: "/api/v1/service-map",
    right: Right::Read,
    name: "getServiceMap",
    summary: "Who calls whom",
    description: "The calls between services, databases, queues and hosts in the window, by the names of their ends; on \
                  the first page all nodes too. `window` is the part of it that is known.",
    in_path: &[],
    in_body: None,
    parameters: &[
        &FROM,
        &TO,
        &SINCE,
        &SERVICE.described("The centre of the map. Default: everything."),
        &DEPTH,
        &LIMIT.defaulting(1_000),
        &CURSOR,
    ],
    schema: |schemas| schemas.page_with::<EdgeView, MapNodes>(),
    answer: |call| Box::pin(answer(call)),
};

/// Calls from one node to another. Counts and durations are those of the callee.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceMapEdge)]
struct EdgeView {
    /// The caller.
    from: String,
    /// The callee.
    to: String,
    /// Mean time that callers waited, in milliseconds; null where nothing was counted.
    caller_mean_ms: Option<f64>,
    #[serde(flatten)]
    #[schema(inline)]
    calls: RequestsView,
}

/// The nodes of the map.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceMapNodes)]
struct MapNodes {
    /// The nodes, by kind and name; on the first page only.
    nodes: Vec<NodeView>,
}

/// A node with the requests that it took.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceMapNode)]
struct NodeView {
    /// Its name.
    service: String,
    /// `service`, `database`, `queue` or `external`.
    kind: &'static str,
    #[serde(flatten)]
    #[schema(inline)]
    requests: RequestsView,
}

async fn answer(call: Call) -> Result<Answer, Problem> {
    let resumed = call.resumed()?;
    let after = counted(resumed.after.as_ref())?;
    let depth = usize::try_from(call.integer(&DEPTH)).unwrap_or(usize::MAX);
    let around = call.text(&SERVICE).map(|name| (name, depth));
    let map = call.query().service_map(&call.scope, resumed.window, around).await?;
    laid_out(move || {
        let query = call.query();
        let view = |edge: &MapEdge| EdgeView {
            from: query.service_name(edge.from),
            to: query.service_name(edge.to),
            caller_mean_ms: edge.calls.other_ns.checked_div(edge.calls.count).map(milliseconds),
            calls: (&edge.calls).into(),
        };
        let mut page = Page::new(&call.seal, resumed.window);
        page.shown = map.window;
        page.fill_counted(&map.edges, (after, resumed.limit), view)?;
        let nodes = if after == 0 { map.nodes.as_slice() } else { &[] };
        let node = |node: &crate::query::service_map::MapNode| NodeView {
            service: node.info.name.to_string(),
            kind: node.info.kind.name(),
            requests: (&node.requests).into(),
        };
        page.finish_with(&MapNodes { nodes: nodes.iter().map(node).collect() })
    })
    .await
}
