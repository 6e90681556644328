//! `list_services`.

use std::cmp::Reverse;

use mcp_tools::{Answer, Fault, ListServicesAsk, ServiceSort, Table};
use serde_json::json;

use crate::model::tenant::Scope;
use crate::query::Query;

use super::window::Asked;
use super::{cells, fault, page};

/// Versions shown of one service: the newest.
const VERSIONS_MAX: usize = 3;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: ListServicesAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let found = query.services(scope, asked.window).await.map_err(fault::of)?;
    let mut answer = asked.answer_about(found.window);
    let (all, mut items) = (found.items.len(), found.items);
    if let Some(part) = ask.part.as_deref().map(str::to_lowercase) {
        items.retain(|(info, _)| info.name.to_lowercase().contains(&part));
    }
    match ask.sort {
        ServiceSort::Rate => items.sort_by_key(|(_, cell)| Reverse(cell.count)),
        ServiceSort::Errors => items.sort_by(|(_, a), (_, b)| b.error_ratio().total_cmp(&a.error_ratio())),
        ServiceSort::P95 => items.sort_by_key(|(_, cell)| Reverse(cell.sketch.quantile(0.95))),
        ServiceSort::Name => {}
    }
    let idle = items.iter().filter(|(_, cell)| cell.count == 0).count();
    answer.summary = match items.len() {
        0 => "No service matches.".to_owned(),
        shown => {
            format!("{shown} services, databases, queues and hosts; {idle} took no request in this window.")
        }
    };
    if items.is_empty() {
        answer.why_empty = Some(match &ask.part {
            Some(_) if all > 0 => format!("none of {all} names has this part; leave out `match`"),
            _ => "no telemetry of this tenant was ever received".to_owned(),
        });
    }
    let columns =
        ["service", "kind", "requests_per_s", "errors_pct", "p50_ms", "p95_ms", "versions", "first_seen"];
    let rows = items.iter().map(|(info, cell)| {
        vec![
            json!(info.name),
            json!(info.kind.name()),
            cells::rate(cell, found.window),
            cells::percent(cell.error_ratio()),
            cells::quantile(cell, 0.5),
            cells::quantile(cell, 0.95),
            json!(query.versions(info.id, VERSIONS_MAX)),
            cells::relative(info.first_seen, found.window.to),
        ]
    });
    page::put(&mut answer, Table::new("services", columns), rows.collect(), (from, ask.limit));
    if !items.is_empty() {
        answer.next.push(asked.next("get_service_health", []));
    }
    Ok(answer)
}
