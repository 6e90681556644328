//! `impact_analysis`.

use std::time::Duration;

use mcp_tools::{Answer, Coverage, CoverageState, Fault, ImpactAsk, Table};
use serde_json::json;

use crate::diagnose::verdict::Affected;
use crate::model::tenant::Scope;
use crate::query::{Query, WhatIf};

use super::window::Asked;
use super::{cells, fault, page};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: ImpactAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let what = WhatIf {
        service: &ask.service,
        operation: ask.operation.as_deref(),
        caller: ask.caller.as_deref(),
        added: Duration::from_millis(ask.added_latency_ms.into()),
    };
    let impact = query.impact(scope, asked.window, what, ask.depth).await.map_err(fault::of)?;
    let mut answer = asked.answer();
    answer.summary = summary(query, &ask, &impact.affected);
    if impact.affected.is_empty() {
        answer.why_empty =
            Some(format!("{} took no {} in this window; try a longer `since`", ask.service, calls(&ask)));
    }
    let slows = ask.added_latency_ms > 0;
    let common = ["service", "operation", "share", "errors_pct", "distance", "entry_point"];
    let columns = common.into_iter().chain(["mean_ms", "added_ms"].into_iter().filter(|_| slows));
    let rows = impact.affected.iter().map(|affected| {
        let common = [
            json!(query.service_name(affected.service)),
            json!(affected.operation.map(|id| query.operation_name(id))),
            cells::rounded(affected.share),
            cells::percent(affected.observed_errors),
            json!(affected.distance),
            json!(affected.entry),
        ];
        let times = [affected.observed_ns, affected.added_ns].map(cells::milliseconds);
        common.into_iter().chain(times.into_iter().filter(|_| slows)).collect()
    });
    page::put(&mut answer, Table::new("affected", columns), rows.collect(), (from, ask.limit));
    if !impact.coverage.is_empty() {
        answer.coverage =
            Some(Coverage { state: CoverageState::Partial, detail: Some(impact.coverage.join(" ")) });
    }
    answer.next.push(asked.next("root_cause_analysis", [("service", json!(ask.service))]));
    Ok(answer)
}

/// Which calls go wrong.
fn calls(ask: &ImpactAsk) -> String {
    ask.caller.as_ref().map_or_else(|| "calls".to_owned(), |caller| format!("calls of {caller}"))
}

fn summary(query: &Query, ask: &ImpactAsk, affected: &[Affected]) -> String {
    let others: Vec<&Affected> = affected.iter().filter(|affected| affected.distance > 0).collect();
    let calls = calls(ask);
    if others.is_empty() {
        return match ask.caller {
            Some(_) => format!("No request passes through {calls} to {} in this window.", ask.service),
            None => format!("No other service's requests pass through {} in this window.", ask.service),
        };
    }
    let mut services: Vec<String> =
        others.iter().map(|affected| query.service_name(affected.service)).collect();
    services.sort_unstable();
    services.dedup();
    let entries = affected.iter().filter(|affected| affected.entry).count();
    let target = match ask.caller {
        Some(_) => format!("{calls} to {}", ask.service),
        None => ask.service.clone(),
    };
    let who = format!(
        "{} operations of {} services depend on {target}, {entries} of them entry points.",
        others.len(),
        services.len(),
    );
    let slowest = others.iter().copied().filter(|affected| affected.entry).max_by(|a, b| {
        a.added_ns.total_cmp(&b.added_ns).then(b.service.cmp(&a.service)).then(b.operation.cmp(&a.operation))
    });
    match slowest.filter(|slowest| slowest.added_ns > 0.0) {
        Some(slowest) => {
            let name =
                slowest.operation.map(|id| format!(" {}", query.operation_name(id))).unwrap_or_default();
            let longer = format!(
                "{who} If each call took {} ms longer, requests of {}{name} would take {} ms longer on average",
                ask.added_latency_ms,
                query.service_name(slowest.service),
                cells::milliseconds(slowest.added_ns),
            );
            if slowest.observed_ns > 0.0 {
                format!("{longer} than the {} ms they take now.", cells::milliseconds(slowest.observed_ns))
            } else {
                format!("{longer}.")
            }
        }
        None => who,
    }
}
