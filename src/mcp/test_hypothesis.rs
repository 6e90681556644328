//! `test_hypothesis`.

use mcp_tools::{Answer, Coverage, CoverageState, Fault, Table, TestHypothesisAsk, Verdict};
use serde_json::{Value, json};

use crate::diagnose::hypothesis::{Finding, Judgement, Question, Speaks};
use crate::model::tenant::Scope;
use crate::query::Query;

use super::window::Asked;
use super::{cells, fault};

pub(super) async fn answer(query: &Query, scope: &Scope, ask: TestHypothesisAsk) -> Result<Answer, Fault> {
    let asked = Asked::resolve(query, &ask.range)?;
    let names = (ask.cause.as_str(), ask.effect.as_deref());
    let found = query.hypothesis(scope, asked.window, names).await.map_err(fault::of)?;
    let mut answer = asked.answer_about(found.comparison.now);
    if !found.has_baseline {
        let detail = "Nothing is known of the time before: no deviation can be told.".to_owned();
        answer.coverage = Some(Coverage { state: CoverageState::Partial, detail: Some(detail) });
    }
    let (Some(effect), Some(tested)) = (found.effect, found.tested) else {
        answer.verdict = Some(Verdict::Undecided);
        answer.summary = "Undecided: nothing in this window suffers from anything.".to_owned();
        answer.why_empty =
            Some("no symptom stands out; name the service that suffers as `effect`".to_owned());
        return Ok(answer);
    };
    let (verdict, word) = match tested.judgement {
        Judgement::Supported => (Verdict::Supported, "Supported"),
        Judgement::Refuted => (Verdict::Refuted, "Refuted"),
        Judgement::Undecided => (Verdict::Undecided, "Undecided"),
    };
    answer.verdict = Some(verdict);
    let decisive = tested.findings.iter().find(|it| match tested.judgement {
        Judgement::Refuted => it.speaks == Speaks::Against && it.question != Question::Dose,
        _ => it.speaks != Speaks::Neither && it.question != Question::Path,
    });
    let effect = query.service_name(effect);
    let because = decisive.map(|it| format!(" {}: {}.", it.question.name(), it.text)).unwrap_or_default();
    answer.summary = format!("{word}: that {} is what {effect} suffers from.{because}", ask.cause);
    let mut table = Table::new("checks", ["check", "speaks", "value", "unit", "finding"]);
    table.rows = tested.findings.iter().map(row).collect();
    answer.tables.push(table);
    let is_supported = tested.judgement == Judgement::Supported;
    answer.next.push(if is_supported && !found.is_place {
        asked.next("impact_analysis", [("service", json!(ask.cause))])
    } else {
        asked.next("root_cause_analysis", [("service", json!(effect))])
    });
    Ok(answer)
}

fn row(finding: &Finding) -> Vec<Value> {
    let unit = match finding.question {
        Question::Path => "calls",
        Question::Deviation => "standard_deviations",
        Question::Own | Question::Examples => "part",
        Question::Order => "s_earlier",
        Question::Dose => "correlation",
    };
    vec![
        json!(finding.question.name()),
        json!(finding.speaks.name()),
        finding.value.map_or(Value::Null, cells::rounded),
        json!(unit),
        json!(finding.text),
    ]
}
