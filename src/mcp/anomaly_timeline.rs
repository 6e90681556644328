//! `get_anomaly_timeline`.

use mcp_tools::{AnomalyTimelineAsk, Answer, Fault, Table};
use serde_json::{Value, json};

use crate::diagnose::verdict::{Anomaly, AnomalyKind};
use crate::model::rollup::Subject;
use crate::model::tenant::Scope;
use crate::query::Query;
use crate::query::anomalies::Anomalies;

use super::window::Asked;
use super::{cells, fault, page};

/// The columns of an anomaly.
pub(super) const COLUMNS: [&str; 10] =
    ["onset", "end", "service", "subject", "kind", "before", "peak", "unit", "severity", "id"];

/// What an answer says where earlier days could not be read.
pub(super) const UNCOMPARED: &str =
    "earlier days could not be read: some of the anomalies may be usual at their time of day";

pub(super) async fn answer(query: &Query, scope: &Scope, ask: AnomalyTimelineAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let Anomalies { found, is_compared } =
        query.anomalies(scope, asked.window, ask.service.as_deref()).await.map_err(fault::of)?;
    let mut answer = asked.answer();
    if !is_compared {
        answer.warnings.push(UNCOMPARED.into());
    }
    let Some(first) = found.first() else {
        answer.summary = "Nothing left its normal course in this window.".into();
        answer.why_empty = Some(
            "every operation and instance stayed within its own baseline, did what it does at this time on other days, or \
             had too little traffic to tell"
                .into(),
        );
        answer.next.push(asked.next("get_service_health", []));
        return Ok(answer);
    };
    let lasting = found.iter().filter(|anomaly| anomaly.end.is_none()).count();
    let name = |anomaly: &Anomaly| {
        query.node_of(anomaly.subject).map_or_else(String::new, |id| query.service_name(id))
    };
    answer.summary = format!(
        "{} anomalies, {lasting} of them lasting. The first to begin: {} of {}.",
        found.len(),
        first.kind.name(),
        name(first)
    );
    let rows = found.iter().map(|anomaly| row(query, anomaly, name(anomaly), &asked)).collect();
    page::put(&mut answer, Table::new("anomalies", COLUMNS), rows, (from, ask.limit));
    answer.next.push(asked.next("root_cause_analysis", [("service", json!(name(first)))]));
    Ok(answer)
}

/// An anomaly in the columns of the timeline.
pub(super) fn row(query: &Query, anomaly: &Anomaly, service: String, asked: &Asked) -> Vec<Value> {
    let end = asked.window.to;
    let (unit, shown): (_, fn(f64) -> Value) = match anomaly.kind {
        AnomalyKind::Errors => ("failed_pct", cells::percent),
        AnomalyKind::Latency => ("mean_ms", cells::milliseconds),
        AnomalyKind::Traffic | AnomalyKind::Silence => ("per_s", cells::rounded),
    };
    let subject = match anomaly.subject {
        Subject::Operation(id) => query.operation_name(id),
        Subject::Instance(_, resource) => format!("instance {}", query.instance_name(resource)),
        Subject::Edge(from, to) => format!("{} -> {}", query.operation_path(from), query.operation_path(to)),
        Subject::Logs(_, template, _) => format!("log template {}", template.0),
    };
    vec![
        cells::relative(anomaly.onset, end),
        anomaly.end.map_or(Value::Null, |at| cells::relative(at, end)),
        json!(service),
        json!(subject),
        json!(anomaly.kind.name()),
        shown(anomaly.before),
        shown(anomaly.peak),
        json!(unit),
        cells::rounded(anomaly.severity),
        json!(format!("{:016x}", anomaly.id())),
    ]
}
