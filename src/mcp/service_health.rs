//! `get_service_health`.

use mcp_tools::{Answer, Coverage, CoverageState, Fault, ServiceHealthAsk, Table};
use serde_json::{Value, json};

use crate::diagnose::verdict::Status;
use crate::model::tenant::Scope;
use crate::model::time::Window;
use crate::query::Query;
use crate::query::service_health::{HealthReport, OperationHealth, ServiceHealth};

use super::window::Asked;
use super::{cells, fault, page};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: ServiceHealthAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let report =
        query.service_health(scope, asked.window, ask.service.as_deref()).await.map_err(fault::of)?;
    let mut answer = asked.answer_about(report.window);
    if report.baseline.is_none() {
        answer
            .warnings
            .push("nothing older than the window is known: health rests on error shares alone".into());
    }
    if report.services.is_empty() {
        answer.summary = "No service took requests in this window or before it.".into();
        answer.why_empty = Some("no span was received in the window; try a longer `since`".into());
        return Ok(answer);
    }
    answer.summary = summary(&report);
    answer.coverage = query
        .counted_together(&report.namesakes)
        .map(|told| Coverage { state: CoverageState::Complete, detail: Some(told) });
    let bad = report
        .services
        .iter()
        .find(|service| matches!(service.health.status, Status::Critical | Status::Degraded));
    if let Some(bad) = bad {
        answer.next.push(asked.next("root_cause_analysis", [("service", json!(bad.info.name))]));
        answer.next.push(asked.next("impact_analysis", [("service", json!(bad.info.name))]));
    }
    let columns = [
        "service",
        "status",
        "score",
        "kind",
        "requests_per_s",
        "errors_pct",
        "errors_pct_before",
        "p95_ms",
        "p95_ms_before",
        "reasons",
    ];
    let rows = report.services.iter().map(|service| service_row(service, report.window)).collect();
    page::put(&mut answer, Table::new("services", columns), rows, (from, ask.limit));
    if !report.operations.is_empty() {
        let columns = [
            "operation",
            "kind",
            "requests_per_s",
            "errors_pct",
            "errors_pct_before",
            "p95_ms",
            "p95_ms_before",
            "self_mean_ms",
            "self_mean_ms_before",
        ];
        let rows =
            report.operations.iter().map(|operation| operation_row(operation, report.window)).collect();
        page::put_beside(&mut answer, Table::new("operations", columns), rows, ask.limit);
    }
    Ok(answer)
}

fn summary(report: &HealthReport) -> String {
    let count = |status| report.services.iter().filter(|service| service.health.status == status).count();
    if let [one] = report.services.as_slice() {
        let reasons = if one.health.reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", one.health.reasons.join("; "))
        };
        return format!("{} is {}{reasons}.", one.info.name, one.health.status.name());
    }
    let named: Vec<&str> = report
        .services
        .iter()
        .filter(|service| service.health.status == Status::Critical)
        .take(5)
        .map(|service| &*service.info.name)
        .collect();
    let critical = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    format!(
        "{} services: {} critical{critical}, {} degraded, {} healthy, {} with too little traffic to tell.",
        report.services.len(),
        count(Status::Critical),
        count(Status::Degraded),
        count(Status::Healthy),
        count(Status::Unknown)
    )
}

fn service_row(service: &ServiceHealth, window: Window) -> Vec<Value> {
    vec![
        json!(service.info.name),
        json!(service.health.status.name()),
        cells::rounded(service.health.score),
        json!(service.info.kind.name()),
        cells::rate(&service.now, window),
        cells::percent(service.now.error_ratio()),
        cells::percent(service.before.error_ratio()),
        cells::quantile(&service.now, 0.95),
        cells::quantile(&service.before, 0.95),
        json!(service.health.reasons.join("; ")),
    ]
}

fn operation_row(operation: &OperationHealth, window: Window) -> Vec<Value> {
    let own = |cell: &crate::model::rollup::Cell| {
        cells::milliseconds(cell.self_ns() as f64 / cell.count.max(1) as f64)
    };
    vec![
        json!(operation.name),
        json!(operation.kind.name()),
        cells::rate(&operation.now, window),
        cells::percent(operation.now.error_ratio()),
        cells::percent(operation.before.error_ratio()),
        cells::quantile(&operation.now, 0.95),
        cells::quantile(&operation.before, 0.95),
        own(&operation.now),
        own(&operation.before),
    ]
}
