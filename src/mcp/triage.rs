//! `triage`: verdict, impact, anomalies and health in one answer.

use std::collections::BTreeSet;
use std::time::Duration;

use mcp_tools::{Answer, Fault, Table, TriageAsk};
use serde_json::json;

use crate::diagnose::verdict::{Anomaly, Impact, Level, Outcome, Status};
use crate::model::id::ServiceId;
use crate::model::tenant::Scope;
use crate::query::namesakes::Namesakes;
use crate::query::root_cause::Explanation;
use crate::query::service_health::HealthReport;
use crate::query::{Query, WhatIf};

use super::window::Asked;
use super::{anomaly_timeline, cells, fault, page, root_cause};

/// Calls between the cause and whoever is hurt, at most.
const DEPTH: u32 = 5;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: TriageAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let service = ask.service.as_deref();
    let (mut found, anomalies) = tokio::try_join!(
        Box::pin(query.root_cause(scope, asked.window, service)),
        Box::pin(query.anomalies(scope, asked.window, service)),
    )
    .map_err(fault::of)?;
    // Where a cause is found, all that is said is of the time since it shows: an hour of which it is the last minutes would
    // seem well.
    let is_found = found.verdict.outcome != Outcome::InsufficientEvidence;
    let felt = if is_found { found.comparison.now } else { asked.window };
    let health = async { query.service_health(scope, felt, None).await.map_err(fault::of) };
    let (health, hurt) = tokio::try_join!(Box::pin(health), Box::pin(hurt(query, scope, &found)))?;
    found.namesakes.extend(unwell_namesakes(&health, &found.namesakes));
    let mut answer = root_cause::laid_out(query, &asked, &found, (0, ask.limit));
    // There is no second page of several tables: the cursor belongs to `root_cause_analysis`.
    answer.cursor = None;
    if !anomalies.is_compared {
        answer.warnings.push(anomaly_timeline::UNCOMPARED.into());
    }
    answer.tables.iter_mut().for_each(|table| table.cursors.clear());
    let mut told = vec![answer.summary.clone()];
    told.extend(
        hurt.and_then(|(service, impact)| affected(query, (&service, &impact), (&mut answer, ask.limit))),
    );
    told.extend(lasting(query, &asked, &anomalies.found, (&mut answer, ask.limit)));
    told.extend(unwell(&health, (&mut answer, ask.limit)));
    answer.summary = told.join(" ");
    if is_found {
        answer.next.retain(|next| next.tool != "what_changed");
        answer.next.truncate(2);
        answer.next.push(root_cause::next_changed(query, &asked, &found));
    }
    Ok(answer)
}

/// What comes of the first cause, with the service that it lies in.
async fn hurt(query: &Query, scope: &Scope, found: &Explanation) -> Result<Option<(String, Impact)>, Fault> {
    let is_found = found.verdict.outcome != Outcome::InsufficientEvidence;
    let Some(cause) = found.verdict.causes.first().filter(|_| is_found) else { return Ok(None) };
    if matches!(cause.level, Level::Host | Level::Zone) {
        // Who depends on one of its services are not all whom the place hurts.
        return Ok(None);
    }
    let service = query.service_name(cause.service);
    let what = WhatIf { service: &service, operation: None, caller: None, added: Duration::ZERO };
    let impact = query.impact(scope, found.comparison.now, what, DEPTH).await.map_err(fault::of)?;
    Ok(Some((service, impact)))
}

/// Who is hurt by the first cause.
fn affected(
    query: &Query,
    (service, impact): (&str, &Impact),
    (answer, limit): (&mut Answer, usize),
) -> Option<String> {
    let others: Vec<_> = impact.affected.iter().filter(|affected| affected.distance > 0).collect();
    if others.is_empty() {
        return None;
    }
    let columns = ["service", "operation", "share", "errors_pct", "entry_point"];
    let rows = others.iter().map(|affected| {
        vec![
            json!(query.service_name(affected.service)),
            json!(affected.operation.map(|id| query.operation_name(id))),
            cells::rounded(affected.share),
            cells::percent(affected.observed_errors),
            json!(affected.entry),
        ]
    });
    page::put_beside(answer, Table::new("affected", columns), rows.collect(), limit);
    let entries = others.iter().filter(|affected| affected.entry).count();
    let who = match (others.len(), entries) {
        (1, 0) => format!("1 operation depends on {service}."),
        (1, _) => format!("1 operation depends on {service}, an entry point."),
        (count, 1) => format!("{count} operations depend on {service}, 1 of them an entry point."),
        (count, _) => format!("{count} operations depend on {service}, {entries} of them entry points."),
    };
    Some(who)
}

/// What left its normal course and has not come back, then what did.
fn lasting(
    query: &Query,
    asked: &Asked,
    anomalies: &[Anomaly],
    (answer, limit): (&mut Answer, usize),
) -> Option<String> {
    let mut ranked: Vec<&Anomaly> = anomalies.iter().collect();
    ranked.sort_by(|a, b| {
        a.end
            .is_some()
            .cmp(&b.end.is_some())
            .then(b.severity.total_cmp(&a.severity))
            .then(a.onset.cmp(&b.onset))
    });
    if ranked.is_empty() {
        return None;
    }
    let name = |anomaly: &Anomaly| {
        query.node_of(anomaly.subject).map_or_else(String::new, |id| query.service_name(id))
    };
    let rows =
        ranked.iter().map(|anomaly| anomaly_timeline::row(query, anomaly, name(anomaly), asked)).collect();
    page::put_beside(answer, Table::new("anomalies", anomaly_timeline::COLUMNS), rows, limit);
    let lasting = ranked.iter().filter(|anomaly| anomaly.end.is_none()).count();
    Some(format!("{} anomalies, {lasting} of them lasting.", ranked.len()))
}

const fn is_unwell(status: Status) -> bool {
    matches!(status, Status::Critical | Status::Degraded)
}

/// Names that services which are not well share with others, but for those that are told already.
fn unwell_namesakes(health: &HealthReport, told: &[Namesakes]) -> Vec<Namesakes> {
    let unwell = health.services.iter().filter(|service| is_unwell(service.health.status));
    let unwell: BTreeSet<ServiceId> = unwell.map(|service| service.info.id).collect();
    let is_told = |service: ServiceId| told.iter().any(|told| told.service == service);
    let more = health.namesakes.iter();
    more.filter(|it| unwell.contains(&it.service) && !is_told(it.service)).cloned().collect()
}

/// Services that are not well.
fn unwell(health: &HealthReport, (answer, limit): (&mut Answer, usize)) -> Option<String> {
    let unwell: Vec<_> = health.services.iter().filter(|service| is_unwell(service.health.status)).collect();
    if unwell.is_empty() {
        return None;
    }
    let rows = unwell.iter().map(|service| {
        vec![
            json!(service.info.name),
            json!(service.health.status.name()),
            cells::rounded(service.health.score),
            json!(service.health.reasons.join("; ")),
        ]
    });
    let table = Table::new("services", ["service", "status", "score", "reasons"]);
    page::put_beside(answer, table, rows.collect(), limit);
    Some(format!("{} of {} services are not well.", unwell.len(), health.services.len()))
}
