//! `get_service_map`.

use mcp_tools::{Answer, Fault, ServiceMapAsk, Table};
use serde_json::{Value, json};

use crate::model::node::NodeKind;
use crate::model::tenant::Scope;
use crate::query::Query;
use crate::query::service_map::{MapEdge, ServiceMap};

use super::window::Asked;
use super::{cells, fault, page};

/// Nodes that are shown even where fewer rows are asked for: the edges speak of them.
const NODES_MIN: usize = 200;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: ServiceMapAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let around = ask.service.as_deref().map(|name| (name, ask.depth as usize));
    let map = query.service_map(scope, asked.window, around).await.map_err(fault::of)?;
    let mut answer = asked.answer_about(map.window);
    if map.nodes.is_empty() {
        answer.summary = "No service sent spans in this window.".into();
        answer.why_empty =
            Some("no span of this tenant was received in the window; try a longer `since`".into());
        return Ok(answer);
    }
    let services = map.nodes.iter().filter(|node| node.info.kind == NodeKind::Service).count();
    let dependencies = map.nodes.len() - services;
    let worst =
        map.edges.iter().filter(|edge| edge.calls.errors > 0).max_by(|a, b| {
            a.calls.errors.cmp(&b.calls.errors).then(b.from.cmp(&a.from)).then(b.to.cmp(&a.to))
        });
    answer.summary = format!(
        "{services} services and {dependencies} databases, queues and hosts with {} call paths.",
        map.edges.len()
    );
    if let Some(edge) = worst {
        answer.summary.push_str(&format!(
            " Most failures: {} -> {}, {} of {} calls.",
            query.service_name(edge.from),
            query.service_name(edge.to),
            edge.calls.errors,
            edge.calls.count
        ));
        answer
            .next
            .push(asked.next("root_cause_analysis", [("service", json!(query.service_name(edge.to)))]));
    }
    let nodes = Table::new(
        "services",
        ["service", "kind", "requests_per_s", "errors_pct", "p50_ms", "p95_ms", "p99_ms"],
    );
    page::put_beside(&mut answer, nodes, node_rows(&map), ask.limit.max(NODES_MIN));
    let edges = Table::new(
        "edges",
        ["from", "to", "calls", "calls_per_s", "errors_pct", "p95_ms", "caller_mean_ms", "callee_mean_ms"],
    );
    page::put(&mut answer, edges, edge_rows(query, &map), (from, ask.limit));
    Ok(answer)
}

fn node_rows(map: &ServiceMap) -> Vec<Vec<Value>> {
    let row = |node: &crate::query::service_map::MapNode| {
        let requests = &node.requests;
        vec![
            json!(node.info.name),
            json!(node.info.kind.name()),
            cells::rate(requests, map.window),
            cells::percent(requests.error_ratio()),
            cells::quantile(requests, 0.5),
            cells::quantile(requests, 0.95),
            cells::quantile(requests, 0.99),
        ]
    };
    map.nodes.iter().map(row).collect()
}

fn edge_rows(query: &Query, map: &ServiceMap) -> Vec<Vec<Value>> {
    let row = |edge: &MapEdge| {
        let calls = &edge.calls;
        vec![
            json!(query.service_name(edge.from)),
            json!(query.service_name(edge.to)),
            json!(calls.count),
            cells::rate(calls, map.window),
            cells::percent(calls.error_ratio()),
            cells::quantile(calls, 0.95),
            cells::milliseconds(calls.other_ns as f64 / calls.count.max(1) as f64),
            cells::milliseconds(calls.mean_ns()),
        ]
    };
    map.edges.iter().map(row).collect()
}
