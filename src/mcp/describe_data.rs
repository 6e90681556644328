//! `describe_data`.

use std::cmp::Reverse;

use mcp_tools::{Answer, Coverage, CoverageState, DescribeDataAsk, Fault, Table};
use serde_json::{Value, json};

use crate::model::tenant::Scope;
use crate::query::Query;
use crate::query::described::{Bearer, DataDescribed, Described};
use crate::query::namesakes::{self, Namesakes};

use super::window::Asked;
use super::{cells, fault, page};

/// Values shown of one key.
const TOP: usize = 3;
/// Issues shown, but for names that several services share.
const ISSUES_MAX: usize = 20;
/// Names that several services share shown.
const NAMESAKES_MAX: usize = 10;

pub(super) async fn answer(query: &Query, scope: &Scope, ask: DescribeDataAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let found = query.describe_data(scope, asked.window, ask.service.as_deref()).await.map_err(fault::of)?;
    let mut answer = asked.answer();
    answer.summary = format!(
        "{} spans of {} services, {} log records of {}, {} metrics of {}; {} kinds of issues.",
        found.spans,
        found.span_services,
        found.logs,
        found.log_services,
        found.metrics,
        found.metric_services,
        found.issues.len() + found.namesakes.len()
    );
    let shared = found.namesakes.chunk_by(|a, b| a.service == b.service).count();
    if shared > 0 {
        answer.summary.push_str(&format!(
            " {shared} names are shared by services of several namespaces, environments or clusters."
        ));
    }
    match &ask.attribute {
        Some(key) => values(&mut answer, &found, key, (from, ask.limit))?,
        None => keys(&mut answer, &found, ask.part.as_deref(), (from, ask.limit)),
    }
    let mut signals = Table::new("signals", ["signal", "items", "services", "looked_at"]);
    signals.rows = vec![
        vec![json!("spans"), json!(found.spans), json!(found.span_services), json!(found.looked_at.0)],
        vec![json!("logs"), json!(found.logs), json!(found.log_services), json!(found.looked_at.1)],
        vec![json!("metrics"), json!(found.metrics), json!(found.metric_services), Value::Null],
    ];
    answer.tables.push(signals);
    quality(&mut answer, query, &found);
    if let Some(first) = found.namesakes.first() {
        let by = json!(format!("resource.{}", first.attribute));
        let service = json!(query.service_name(first.service));
        answer.next.push(asked.next("aggregate", [("service", service), ("group_by", by)]));
    }
    let sampled = query.sampled();
    if found.spans > found.looked_at.0 || found.logs > found.looked_at.1 || !sampled.is_empty() {
        let detail = format!("Attributes are those of the newest spans and log records{sampled}.");
        answer.coverage = Some(Coverage { state: CoverageState::Sampled, detail: Some(detail) });
    }
    if found.spans == 0 && found.logs == 0 && found.metrics == 0 {
        answer.why_empty = Some(last_seen(query, scope).await?);
    }
    Ok(answer)
}

/// What is wrong: first names that several services share, for nothing else in answers shows that.
fn quality(answer: &mut Answer, query: &Query, found: &DataDescribed) {
    let shared = |it: &Namesakes| {
        vec![
            json!(it.apart.issue()),
            json!(query.service_name(it.service)),
            cells::percent(1.0),
            json!(it.told(it.values.len())),
            json!(namesakes::ADVICE),
        ]
    };
    let issues = found.issues.iter().map(|issue| {
        vec![
            json!(issue.issue),
            json!(issue.service.map(|id| query.service_name(id))),
            cells::percent(issue.part),
            Value::Null,
            json!(issue.advice),
        ]
    });
    let mut rows: Vec<Vec<Value>> = found.namesakes.iter().take(NAMESAKES_MAX).map(shared).collect();
    let shown = rows.len();
    if shown < found.namesakes.len() {
        let all = found.namesakes.len();
        answer.warnings.push(format!(
            "{shown} of {all} issues of names that several services share are shown; give `service` for those of one"
        ));
    }
    rows.extend(issues);
    let table = Table::new("quality", ["issue", "service", "part_pct", "values", "advice"]);
    page::put_beside(answer, table, rows, ISSUES_MAX + shown);
}

/// When anything was received at all.
async fn last_seen(query: &Query, scope: &Scope) -> Result<String, Fault> {
    let kept = query.holdings(scope).await.map_err(fault::of)?;
    let time = |at: crate::model::time::UnixNanos| mcp_tools::rfc3339(at.0);
    Ok(match (kept.oldest, kept.newest_span) {
        (Some(oldest), Some(newest)) => format!(
            "nothing was received in the window; telemetry is kept from {} on, and the newest span began at {}",
            time(oldest),
            time(newest)
        ),
        (Some(oldest), None) => {
            format!("nothing was received in the window; telemetry is kept from {} on", time(oldest))
        }
        (None, _) => {
            "no telemetry of this tenant was ever received; check endpoint, key and tenant of the exporter"
                .to_owned()
        }
    })
}

/// Of how many items the attributes of a bearer are.
const fn of(found: &DataDescribed, bearer: Bearer) -> u64 {
    match bearer {
        Bearer::Span => found.looked_at.0,
        Bearer::Log => found.looked_at.1,
        Bearer::Resource => found.looked_at.2,
    }
}

fn keys(answer: &mut Answer, found: &DataDescribed, part: Option<&str>, page: (usize, usize)) {
    let part = part.map(str::to_lowercase);
    let is_wanted = |key: &str| part.as_ref().is_none_or(|part| key.to_lowercase().contains(part));
    let mut keys: Vec<(&(Bearer, String), &Described)> =
        found.attributes.iter().filter(|((_, key), _)| is_wanted(key)).collect();
    keys.sort_by_key(|((bearer, key), described)| (Reverse(described.with), *bearer, key));
    let rows = keys.iter().map(|((bearer, key), described)| {
        let all = of(found, *bearer).max(1);
        let top: Vec<String> =
            ranked(described).into_iter().take(TOP).map(|(value, _)| value.to_owned()).collect();
        vec![
            json!(key),
            json!(bearer.name()),
            cells::percent(described.with as f64 / all as f64),
            distinct(described),
            json!(top),
        ]
    });
    let table =
        Table::new("attributes", ["attribute", "of", "have_it_pct", "different_values", "most_frequent"]);
    self::page::put(answer, table, rows.collect(), page);
}

fn distinct(described: &Described) -> Value {
    if described.more {
        json!(format!("more than {}", described.values.len()))
    } else {
        json!(described.values.len())
    }
}

/// The values of a key, the most frequent first.
fn ranked(described: &Described) -> Vec<(&str, u64)> {
    let mut values: Vec<(&str, u64)> =
        described.values.iter().map(|(value, count)| (value.as_str(), *count)).collect();
    values.sort_by_key(|(value, count)| (Reverse(*count), *value));
    values
}

fn values(answer: &mut Answer, found: &DataDescribed, key: &str, page: (usize, usize)) -> Result<(), Fault> {
    let borne = found.attributes.iter().filter(|((_, known), _)| known == key);
    let mut rows = Vec::new();
    for ((bearer, _), described) in borne {
        let share = |count: u64| cells::percent(count as f64 / described.with.max(1) as f64);
        let row = |(value, count): (&str, u64)| {
            vec![json!(value), json!(bearer.name()), json!(count), share(count)]
        };
        rows.extend(ranked(described).into_iter().map(row));
        if described.more {
            answer.warnings.push(format!("only {} values of {key} are counted", described.values.len()));
        }
    }
    if rows.is_empty() && !found.attributes.is_empty() {
        let known = found.attributes.keys().map(|(_, key)| key.as_str());
        return Err(Fault::unknown("attribute", key, known));
    }
    self::page::put(answer, Table::new("values", ["value", "of", "count", "pct"]), rows, page);
    Ok(())
}
