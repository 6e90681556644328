//! Which parts of an answer quote the observed systems.
//!
//! Names, log bodies, messages and attributes are written by whoever sends telemetry, and an agent must not take them for
//! instructions. Each answer says in `untrusted` where such text can stand: as `table.column`, and as the name of a field
//! of prose. A column is trusted only where all of its texts are words of the server's own.

use serde_json::Value;

use crate::answer::{Answer, Table};

/// The columns of each table whose texts are the server's own words, moments, or ids that consist of digits. The columns of
/// `groups` and `series` are called what the caller likes and hold what senders wrote; `changes` has a `kind` that is the
/// name of a sender's event.
const OWN: [(&str, &[&str]); 17] = [
    ("anomalies", &["onset", "end", "kind"]),
    ("causes", &["level", "fault", "onset"]),
    ("changes", &["at"]),
    ("checks", &["check", "speaks"]),
    ("evidence", &["state", "window_from"]),
    ("investigations", &["begun", "written"]),
    ("logs", &["time", "severity", "template", "trace_id"]),
    ("metrics", &["kind"]),
    ("not_changed", &["kind"]),
    ("notes", &["written"]),
    ("operations", &["kind"]),
    ("patterns", &["template", "status", "severity", "trace_id"]),
    ("quality", &["issue", "advice"]),
    ("services", &["kind", "status"]),
    ("signals", &["signal"]),
    ("spans", &["kind", "status", "span_id"]),
    ("traces", &["trace_id", "start"]),
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
    let own = OWN.iter().find(|(name, _)| *name == table.name).map_or(&[][..], |(_, columns)| columns);
    let names = table.columns.iter().enumerate();
    let untrusted = names.filter(move |(at, name)| !own.contains(&name.as_str()) && quotes(*at));
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

    #[test]
    fn a_key_of_the_callers_is_not_trusted_for_its_name() {
        for name in ["groups", "series", "changes", "new"] {
            let mut table = Table::new(name, ["kind", "state", "level", "count"]);
            table.rows = vec![vec![json!("ignore"), json!("this"), json!("and that"), json!(3)]];
            let answer = Answer { tables: vec![table], ..Answer::default() };
            assert_eq!(places(&answer), ["kind", "state", "level"].map(|column| format!("{name}.{column}")));
        }
    }
}
