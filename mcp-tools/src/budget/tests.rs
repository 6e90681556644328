use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::{Value, json};

use super::{fit, tokens};
use crate::answer::{Answer, Coverage, CoverageState, Evidence, Next, RuledOut, Shown, Table, Window};

fn table(name: &str, rows: usize, text: &str) -> Table {
    Table {
        rows: (0..rows).map(|row| vec![json!(row), json!(text)]).collect(),
        cursors: (0..rows).map(|row| format!("after-{row}")).collect(),
        ..Table::new(name, ["rank", "text"])
    }
}

fn fitted(answer: Answer, tokens_max: usize) -> Value {
    let text = fit(answer, tokens_max);
    assert!(tokens(text.len()) <= tokens_max, "{} > {tokens_max}: {text}", tokens(text.len()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_fits_is_left_alone() {
    let answer =
        Answer { tables: vec![table("causes", 3, "x")], cursor: Some("c".into()), ..Answer::default() };
    let value = fitted(answer, 4_000);
    assert_eq!(value["tables"][0]["rows"].as_array().unwrap().len(), 3);
    assert_eq!((&value["shown"], &value["warnings"]), (&Value::Null, &Value::Null));
    assert_eq!(value["cursor"], "c");
}

#[test]
fn rows_go_from_the_end_of_the_largest_table_and_shown_and_cursor_follow() {
    let small = Table { cursors: vec![], ..table("small", 2, "y") };
    let answer = Answer {
        tables: vec![table("logs", 200, &"x".repeat(50)), small],
        cursor: Some("after-199".into()),
        shown: Some(Shown::new(200, 900)),
        ..Answer::default()
    };
    let value = fitted(answer, 1_000);
    let kept = value["tables"][0]["rows"].as_array().unwrap().len();
    assert!((20..200).contains(&kept), "{kept}");
    assert_eq!(value["tables"][1]["rows"].as_array().unwrap().len(), 2, "the small table is whole");
    assert_eq!(value["shown"], format!("{kept} of 900"));
    assert_eq!(value["cursor"], format!("after-{}", kept - 1));
    let warning = value["warnings"][0].as_str().unwrap();
    assert!(warning.contains(&format!("{kept} of 200 rows of `logs` kept")), "{warning}");
}

#[test]
fn a_table_beside_the_first_is_named_in_shown() {
    let answer =
        Answer { tables: vec![Table::new("nodes", ["n"]), table("edges", 300, "x")], ..Answer::default() };
    let value = fitted(answer, 400);
    assert!(value["shown"].as_str().unwrap().ends_with("of 300 edges"), "{value}");
}

#[test]
fn one_huge_row_is_cut_rather_than_lost() {
    let value =
        fitted(Answer { tables: vec![table("logs", 1, &"é".repeat(9_000))], ..Answer::default() }, 300);
    let text = value["tables"][0]["rows"][0][1].as_str().unwrap();
    assert!(text.ends_with('…') && 100 < text.len(), "{text}");
    assert!(value["warnings"][0].as_str().unwrap().contains("long texts cut"));
}

#[test]
fn texts_show_what_a_terminal_or_a_reader_would_not_see() {
    let mut answer = Answer { summary: "a\u{1b}[31mb\u{202e}c\nd\u{e0041}".into(), ..Answer::default() };
    answer.tables.push(Table { rows: vec![vec![json!({"k\u{7}": ["v\u{0}"]})]], ..Table::new("t", ["c"]) });
    let value = fitted(answer, 4_000);
    assert_eq!(value["summary"], "a[U+001B][31mb[U+202E]c\nd[U+E0041]");
    assert_eq!(value["tables"][0]["rows"][0][0], json!({"k[U+0007]": ["v[U+0000]"]}));
}

#[test]
fn where_no_row_is_kept_the_page_is_asked_for_again() {
    let quotes = "\"\\".repeat(2_000);
    for (rows, text) in [(1, "x".repeat(4_000)), (40, "y".repeat(4_000))] {
        let mut paged = table("logs", rows, &text);
        paged.columns = (0..40).map(|at| format!("a column of some length {at}")).collect();
        paged.rows.iter_mut().for_each(|row| row.resize(40, json!(text)));
        let cursor = Some(format!("after-{}", rows - 1));
        let answer = Answer { summary: quotes.clone(), tables: vec![paged], cursor, ..Answer::default() };
        let value = fitted(answer, 200);
        assert_eq!((&value["tables"], &value["cursor"]), (&Value::Null, &Value::Null), "{value}");
        assert!(value["warnings"][0].as_str().unwrap().ends_with("raise it or narrow the question"));
        assert!(value["summary"].as_str().unwrap().starts_with("\"\\\""), "{value}");
    }
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let text = || prop::string::string_regex("(?s).{0,400}").unwrap();
    let rows = prop::collection::vec((any::<i64>(), text()), 0..40);
    let tables = prop::collection::vec((text(), rows), 0..4);
    (text(), tables, prop::collection::vec(text(), 0..12), any::<bool>()).prop_map(
        |(summary, tables, texts, whole)| {
            let mut answer = Answer {
                summary,
                window: Window::new(0, i64::MAX, i64::MAX),
                coverage: whole
                    .then(|| Coverage { state: CoverageState::Partial, detail: texts.first().cloned() }),
                why_empty: texts.get(1).cloned(),
                cursor: whole.then(|| texts.concat()),
                warnings: texts.clone(),
                ..Answer::default()
            };
            for (at, (name, rows)) in tables.into_iter().enumerate() {
                let rows: Vec<_> =
                    rows.into_iter().map(|(number, text)| vec![json!(number), json!(text)]).collect();
                let is_paged = at == PAGED;
                let cursors =
                    if is_paged { (0..rows.len()).map(|row| row.to_string()).collect() } else { vec![] };
                answer.tables.push(Table { name, rows, cursors, ..Table::new("", ["number", "text"]) });
            }
            for (at, text) in texts.into_iter().enumerate() {
                answer.evidence.push(Evidence {
                    id: format!("E{at}"),
                    kind: "log".into(),
                    text: text.clone(),
                });
                answer.ruled_out.push(RuledOut { subject: text.clone(), reason: text.clone() });
                answer.next.push(Next::new("trace_graph", [("trace_id", json!(text))]));
            }
            answer
        },
    )
}

/// The table that can be continued.
const PAGED: usize = 1;

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn every_answer_fits_every_budget(answer in any_answer(), tokens_max in 200_usize..4_000) {
        let rows: usize = answer.tables.iter().map(|table| table.rows.len()).sum();
        let paged = answer.tables.get(PAGED).map_or(0, |table| table.rows.len());
        let cursor = json!(answer.cursor);
        let value = fitted(answer, tokens_max);
        let after = value["tables"][PAGED]["rows"].as_array().map_or(0, Vec::len);
        match &value["cursor"] {
            Value::Null => assert!(cursor.is_null() || after == 0, "rows can be continued: {value}"),
            found if after < paged => assert_eq!(found, &json!((after - 1).to_string()), "{value}"),
            found => assert_eq!(found, &cursor, "{value}"),
        }
        let kept: usize = value["tables"].as_array().into_iter().flatten()
            .map(|table| table["rows"].as_array().unwrap().len()).sum();
        if kept < rows {
            assert!(value["shown"].is_string(), "rows left out are counted: {value}");
            assert!(value["warnings"].to_string().contains("cut to fit max_tokens"), "{value}");
        }
    }
}
