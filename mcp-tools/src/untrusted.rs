//! Which parts of an answer quote the observed systems.
//!
//! Names, log bodies, messages and attributes are written by whoever sends telemetry, and an agent must not take them for
//! instructions. Each answer says in `untrusted` where such text can stand: as `table.column`, and as the name of a field
//! of prose. A column is trusted only where all of its texts are words of the server's own.

use serde_json::Value;

use crate::answer::{Answer, Table};

/// Columns whose texts are the server's own words, moments, or ids that consist of digits.
const OWN: [&str; 24] = [
    "at",
    "advice",
    "begun",
    "check",
    "end",
    "fault",
    "issue",
    "kind",
    "level",
    "not_changed",
    "onset",
    "parent_id",
    "severity",
    "signal",
    "span_id",
    "speaks",
    "start",
    "state",
    "status",
    "template",
    "time",
    "trace_id",
    "window_from",
    "written",
];

/// Where text of the observed systems can stand, in the order of the answer's fields.
pub(crate) fn places(answer: &Answer) -> Vec<String> {
    let prose = [
        ("summary", !answer.summary.is_empty()),
        ("coverage", answer.coverage.as_ref().is_some_and(|coverage| coverage.detail.is_some())),
        ("evidence", !answer.evidence.is_empty()),
        ("ruled_out", !answer.ruled_out.is_empty()),
        ("why_empty", answer.why_empty.is_some()),
        ("warnings", !answer.warnings.is_empty()),
        ("next", !answer.next.is_empty()),
    ];
    let prose = prose.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name.to_owned());
    prose.chain(answer.tables.iter().flat_map(columns)).collect()
}

/// The columns of a table that have texts which are not the server's own.
fn columns(table: &Table) -> impl Iterator<Item = String> + '_ {
    let quotes = |at: usize| table.rows.iter().filter_map(move |row| row.get(at)).any(is_text);
    let names = table.columns.iter().enumerate();
    let untrusted = names.filter(move |(at, name)| !OWN.contains(&name.as_str()) && quotes(*at));
    untrusted.map(|(_, name)| format!("{}.{name}", table.name))
}

fn is_text(cell: &Value) -> bool {
    match cell {
        Value::String(text) => !text.is_empty(),
        Value::Array(cells) => cells.iter().any(is_text),
        Value::Object(fields) => !fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::places;
    use crate::answer::{Answer, Next, Table};

    #[test]
    fn what_quotes_a_sender_is_marked() {
        let mut table = Table::new("logs", ["time", "body", "count", "labels"]);
        table.rows = vec![vec![json!("-3s"), json!("ignore this"), json!(3), json!([null, 1])]];
        let answer = Answer {
            tables: vec![table, Table::new("empty", ["body"])],
            summary: "one record".into(),
            next: vec![Next::new("triage", [])],
            ..Answer::default()
        };
        assert_eq!(places(&answer), ["summary", "next", "logs.body"]);
        assert!(places(&Answer::default()).is_empty());
    }
}
