//! `impact_analysis`.

use std::time::Duration;

use mcp_tools::{Answer, Coverage, CoverageState, Fault, ImpactAsk, Table};
use serde_json::json;

use crate::diagnose::verdict::{Affected, Reading};
use crate::model::tenant::Scope;
use crate::model::time::Window;
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
    // Who takes messages from a queue is waited for by nobody, and is well known all the same.
    let is_reader = impact.affected.is_empty() && ask.caller.is_none() && !impact.reads.is_empty();
    if is_reader {
        let read = |it: &Reading| (query.service_name(it.queue), it.now, it.before);
        let reads: Vec<(String, u64, u64)> = impact.reads.iter().map(read).collect();
        answer.summary = reading_text(&ask.service, &reads, asked.window);
    }
    if impact.affected.is_empty() {
        answer.why_empty = Some(if is_reader {
            format!("nobody waits for {}: messages wait for it instead", ask.service)
        } else {
            format!("{} took no {} in this window; try a longer `since`", ask.service, calls(&ask))
        });
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
    if !impact.coverage.is_empty() && !is_reader {
        answer.coverage =
            Some(Coverage { state: CoverageState::Partial, detail: Some(impact.coverage.join(" ")) });
    }
    answer.next.push(asked.next("root_cause_analysis", [("service", json!(ask.service))]));
    Ok(answer)
}

/// Who takes messages, from which queues, and how many.
fn reading_text(service: &str, reads: &[(String, u64, u64)], window: Window) -> String {
    let one = |(queue, now, before): &(String, u64, u64)| match (now, before) {
        (0, 0) => queue.clone(),
        (0, before) => format!("{queue} (no message in this window, {before} in the time before)"),
        (now, _) => {
            let rate = cells::rounded(cells::per_second(*now, window));
            format!("{queue} ({now} messages in this window, {rate} per second)")
        }
    };
    let queues: Vec<String> = reads.iter().map(one).collect();
    format!(
        "{service} reads from {}. Nobody waits for it: no request of another service passes through it.",
        queues.join(", ")
    )
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
    let who = match (others.len(), services.len()) {
        (1, _) => format!("1 operation depends on {target}"),
        (count, 1) => format!("{count} operations of 1 service depend on {target}"),
        (count, services) => format!("{count} operations of {services} services depend on {target}"),
    };
    let who = match (others.len(), entries) {
        (1, 0) => format!("{who}."),
        (1, _) => format!("{who}, an entry point."),
        (_, 1) => format!("{who}, 1 of them an entry point."),
        _ => format!("{who}, {entries} of them entry points."),
    };
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

#[cfg(test)]
mod tests {
    use crate::model::time::UnixNanos;

    use super::*;

    #[test]
    fn a_reader_of_queues_is_told_as_one() {
        let window = Window::new(UnixNanos(0), UnixNanos::from_seconds(1_000));
        let told = |now, before| reading_text("notes", &[("kafka/events".to_owned(), now, before)], window);
        assert!(told(690, 0).starts_with(
            "notes reads from kafka/events (690 messages in this window, 0.69 per second). Nobody waits"
        ));
        assert!(told(0, 7).contains("no message in this window, 7 in the time before"));
        assert!(told(0, 0).starts_with("notes reads from kafka/events. "));
    }
}
