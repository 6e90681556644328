//! `impact_analysis`.

use mcp_tools::{Answer, Coverage, CoverageState, Fault, ImpactAsk, Next, Table};
use serde_json::json;

use crate::model::tenant::Scope;
use crate::query::Query;

use super::window::Asked;
use super::{cells, fault, page};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: ImpactAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let target = (ask.service.as_str(), ask.operation.as_deref());
    let impact = query.impact(scope, asked.window, target, ask.depth).await.map_err(fault::of)?;
    let mut answer = asked.answer();
    let others: Vec<_> = impact.affected.iter().filter(|affected| affected.distance > 0).collect();
    let mut services: Vec<String> =
        others.iter().map(|affected| query.service_name(affected.service)).collect();
    services.sort_unstable();
    services.dedup();
    let entries = impact.affected.iter().filter(|affected| affected.entry).count();
    answer.summary = if others.is_empty() {
        format!("No other service's requests pass through {} in this window.", ask.service)
    } else {
        format!(
            "{} operations of {} services depend on {}, {entries} of them entry points.",
            others.len(),
            services.len(),
            ask.service
        )
    };
    if impact.affected.is_empty() {
        answer.why_empty =
            Some(format!("{} took no calls in this window; try a longer `since`", ask.service));
    }
    let columns = ["service", "operation", "share", "errors_pct", "distance", "entry_point"];
    let rows = impact
        .affected
        .iter()
        .map(|affected| {
            vec![
                json!(query.service_name(affected.service)),
                json!(affected.operation.map(|id| query.operation_name(id))),
                cells::rounded(affected.share),
                cells::percent(affected.observed_errors),
                json!(affected.distance),
                json!(affected.entry),
            ]
        })
        .collect();
    page::put(&mut answer, Table::new("affected", columns), rows, (from, ask.limit));
    if !impact.coverage.is_empty() {
        answer.coverage =
            Some(Coverage { state: CoverageState::Partial, detail: Some(impact.coverage.join(" ")) });
    }
    answer.next.push(Next::new("root_cause_analysis", [("service", json!(ask.service))]));
    Ok(answer)
}
