//! `compare_attributes`.

use mcp_tools::{Answer, BadSet, CompareAttributesAsk, Coverage, CoverageState, Fault, Table};
use serde_json::{Value, json};

use crate::diagnose::overrepresented::Overrepresented;
use crate::model::tenant::Scope;
use crate::query::Query;
use crate::query::attributes::{AttributeQuestion, Bad};

use super::window::Asked;
use super::{cells, fault, page};

/// Words of keys that tell how a span ended rather than why.
const OUTCOMES: [&str; 6] = ["error", "exception", "status_code", "otel.status", "http.response", "rpc.grpc"];
/// Values shown of those.
const OUTCOMES_MAX: usize = 5;
/// Other values of the same spans that the summary names, and characters of each.
const SAME_MAX: (usize, usize) = (4, 80);

pub(super) async fn answer(query: &Query, scope: &Scope, ask: CompareAttributesAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let from = page::offset(ask.cursor.as_deref())?;
    let (bad, words) = match ask.target {
        BadSet::Errors => (Bad::Failed, "failed spans"),
        BadSet::Slow => (Bad::Slow, "slow spans"),
        BadSet::Filter => (Bad::With(ask.filter.clone()), "matching spans"),
        BadSet::Window => (Bad::Window, "spans of the window"),
    };
    let question = AttributeQuestion {
        window: asked.window,
        service: ask.service.clone(),
        operation: ask.operation.clone(),
        bad,
        attributes: if ask.target == BadSet::Filter { Vec::new() } else { ask.filter.clone() },
    };
    let found = query.compare_attributes(scope, question).await.map_err(fault::of)?;
    let is_outcome = |it: &&Overrepresented| {
        it.pairs.iter().all(|(key, _)| OUTCOMES.iter().any(|word| key.contains(word)))
    };
    let (outcomes, causes): (Vec<&Overrepresented>, Vec<&Overrepresented>) =
        found.values.iter().partition(|it| ask.target == BadSet::Errors && is_outcome(it));
    let mut answer = asked.answer();
    let (bad, rest) = found.spans;
    let first = causes.first().map(|first| {
        let (key, value) = &first.pairs[0];
        format!(
            " Most telling: {key} = {value}, {} % against {} %{}.",
            cells::percent(first.bad.1),
            cells::percent(first.rest.1),
            same_spans(first)
        )
    });
    answer.summary = format!("{bad} {words} compared with {rest} others.{}", first.unwrap_or_default());
    if found.cut {
        answer.coverage = Some(Coverage {
            state: CoverageState::Sampled,
            detail: Some("The newest spans of each side were compared; there are more.".to_owned()),
        });
    }
    if causes.is_empty() {
        answer.why_empty = Some(match (bad, rest) {
            (0, _) => format!("there are no {words} in the window; try another `target` or a longer `since`"),
            (_, 0) => "there are no other spans to compare with; try a longer `since`".to_owned(),
            _ => format!("the {words} have no value more often than the others beyond chance"),
        });
    }
    let columns =
        ["attribute", "value", "bad_pct", "rest_pct", "bad", "rest", "lift", "score", "same_spans_have"];
    let rows = causes.iter().map(|it| row(it)).collect();
    page::put(&mut answer, Table::new("values", columns), rows, (from, ask.limit));
    if !outcomes.is_empty() {
        let rows = outcomes.iter().map(|it| row(it)).collect();
        page::put_beside(&mut answer, Table::new("outcomes", columns), rows, OUTCOMES_MAX);
    }
    if bad > 0 && ask.target != BadSet::Window {
        let sort = if ask.target == BadSet::Slow { "slowest" } else { "newest" };
        let mut arguments = vec![("sort", json!(sort))];
        arguments.extend((ask.target == BadSet::Errors).then(|| ("status", json!("error"))));
        arguments.extend(ask.service.map(|service| ("service", json!(service))));
        answer.next.push(asked.next("search_traces", arguments));
    }
    Ok(answer)
}

/// What else the same spans have, in words; empty where it is nothing.
fn same_spans(it: &Overrepresented) -> String {
    let mut others: Vec<String> =
        it.pairs.iter().skip(1).map(|(key, value)| format!("{key} = {value}")).collect();
    let (most, chars_max) = SAME_MAX;
    let more = others.len().saturating_sub(most);
    others.truncate(most);
    for other in others.iter_mut().filter(|other| other.chars().count() > chars_max) {
        *other = other.chars().take(chars_max).chain(['…']).collect();
    }
    match (others.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("; the same spans have {}", others.join(", ")),
        (false, more) => format!("; the same spans have {}, and {more} more", others.join(", ")),
    }
}

fn row(it: &Overrepresented) -> Vec<Value> {
    let (key, value) = &it.pairs[0];
    let same: Vec<String> = it.pairs[1..].iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        json!(key),
        json!(value),
        cells::percent(it.bad.1),
        cells::percent(it.rest.1),
        json!(it.bad.0),
        json!(it.rest.0),
        cells::rounded(it.lift),
        cells::rounded(it.score),
        json!(same.join(" ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_same_spans_have_is_told() {
        let of = |count: u32| Overrepresented {
            pairs: (0..count).map(|at| (format!("k{at}"), format!("v{at}"))).collect(),
            bad: (10, 1.0),
            rest: (0, 0.0),
            lift: f64::INFINITY,
            score: 0.5,
        };
        assert_eq!(same_spans(&of(1)), "");
        assert_eq!(same_spans(&of(3)), "; the same spans have k1 = v1, k2 = v2");
        assert!(same_spans(&of(8)).ends_with("k4 = v4, and 3 more"), "{}", same_spans(&of(8)));
    }
}
