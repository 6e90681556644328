//! What is taken and what is not, and answers of both databases.

use std::time::{Duration, Instant};

use proptest::prelude::{Strategy, any, prop_assert, proptest};
use proptest::sample::select;

use super::refusal::Refusal;
use super::rules::checked;
use super::tokens::{Token, tokens};
use super::value::Value;
use super::words::{COLUMNS, DEPTH_MAX, RESERVED, TYPES, VIEWS, functions};
use super::{BYTES_MAX, ROWS_MAX, Table};
use crate::fault::Kind;
use crate::model::tenant::TenantId;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::read::tests::{Chance, add_logs, add_trace, templates, tenant, trace_id};
use crate::store::rows::Commit;
use crate::store::sql::Dialect;
use crate::store::tests::home::{Home, on_both, run};

const DIALECTS: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];

/// What each dialect answers.
fn taken(text: &str) -> [Result<String, Refusal>; 2] {
    DIALECTS.map(|dialect| checked(text, dialect))
}

#[test]
fn questions_are_written_again_from_their_tokens() {
    for (text, wanted) in [
        ("SELECT  *\nFROM\tv_spans ;", "select * from v_spans"),
        ("select -1, - -1 from v_logs l limit 1", "select - 1 , - - 1 from v_logs l limit 1"),
        ("SELECT 'it''s -- /* ; ' AS said", "select 'it''s -- /* ; ' as said"),
        ("SELECT s.service FROM v_spans AS s", "select s . service from v_spans as s"),
        ("SELECT 1.5e3, .5", ""),
    ] {
        for found in taken(text) {
            match wanted {
                "" => assert!(found.is_err(), "{text}"),
                _ => assert_eq!(found.as_deref(), Ok(wanted)),
            }
        }
    }
    let [sqlite, postgres] = taken("EXPLAIN QUERY PLAN SELECT 1 AS one");
    assert_eq!(sqlite.unwrap(), "EXPLAIN QUERY PLAN select 1 as one");
    assert_eq!(postgres.unwrap(), "EXPLAIN select 1 as one");
}

#[test]
fn the_usual_questions_are_taken() {
    for text in USUAL {
        for found in taken(text) {
            assert!(found.is_ok(), "{text}: {found:?}");
        }
    }
}

#[test]
fn the_rules_are_written_down() {
    let page = include_str!("../../../../docs/OPERATIONS.md");
    let table = page.split("### SQL over HTTP").nth(1).unwrap().split("\n###").next().unwrap();
    let all = DIALECTS.into_iter().flat_map(functions).chain(VIEWS).chain(TYPES.iter().copied());
    for word in all {
        assert!(table.contains(&format!("`{word}`")), "{word}");
    }
}

/// Statements that both databases answer.
const USUAL: &[&str] = &[
    "SELECT service, count(*) AS requests, sum(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS failed, \
     avg(duration_ms) AS mean FROM v_spans WHERE kind = 'server' GROUP BY service ORDER BY requests DESC, service LIMIT 20",
    "SELECT s.trace_id, l.severity FROM v_spans s JOIN v_logs l ON l.trace_id = s.trace_id AND l.span_id = s.span_id \
     LEFT JOIN v_traces AS t ON t.trace_id = s.trace_id, v_services v WHERE v.name = s.service LIMIT 5 OFFSET 1",
    "WITH slow AS (SELECT trace_id, duration_ms FROM v_traces WHERE duration_ms > 10), ids AS (SELECT trace_id FROM slow) \
     SELECT count(DISTINCT trace_id) AS n FROM ids WHERE trace_id IN (SELECT trace_id FROM v_logs) OR trace_id IN ('a', 'b')",
    "SELECT x.n FROM (SELECT count(*) AS n FROM v_logs UNION ALL SELECT count(*) FROM v_spans) AS x ORDER BY n",
    "SELECT service, row_number() OVER (PARTITION BY service ORDER BY start DESC) AS place FROM v_spans \
     WHERE NOT EXISTS (SELECT 1 FROM v_points p) AND parent_id IS NOT NULL AND duration_ms BETWEEN 1 AND 1e9 LIMIT 3",
    "SELECT CAST(count(*) FILTER (WHERE status <> 'ok') AS integer) AS n, max(start) AS newest FROM v_spans \
     HAVING count(*) NOT IN (7, 8)",
    "SELECT operation FROM v_operations WHERE operation NOT LIKE 'x%' ESCAPE '!' AND NOT (service = 'y') ORDER BY 1 ASC NULLS LAST",
    "SELECT kind, bucket, count, errors, sum_ms / nullif(count, 0) AS mean FROM v_rollups WHERE width_seconds = 60 LIMIT 2",
    "SELECT metric, unit, value, time FROM v_points WHERE metric = 'x' LIMIT 0",
];

/// Statements that are refused by either database, and the refusal.
const REFUSED: &[(&str, &str)] = &[
    ("", "NoQuestion"),
    ("INSERT INTO tenants VALUES (9, 'x')", "NoQuestion"),
    ("PRAGMA query_only = off", "NoQuestion"),
    ("ATTACH 'x' AS y", "NoQuestion"),
    ("VALUES (1)", "NoQuestion"),
    ("TABLE tenants", "NoQuestion"),
    ("EXPLAIN ANALYZE SELECT 1", "NoQuestion"),
    ("EXPLAIN QUERY SELECT 1", "Place"),
    ("COPY tenants TO '/tmp/x'", "NoQuestion"),
    ("SELECT 1 AS x; DROP TABLE tenants", "Several"),
    ("SELECT 1 AS x;;", "Several"),
    ("SELECT 1 -- x", "Comment"),
    ("SELECT 1--1", "Comment"),
    ("SELECT /* x */ 1", "Comment"),
    ("SELECT * FROM tenants", "Relation"),
    ("SELECT * FROM v_spans, tenants", "Relation"),
    ("SELECT * FROM v_spans s, v_logs l, tenants", "Relation"),
    ("SELECT * FROM v_spans JOIN v_logs ON 1 = 1, tenants", "Relation"),
    ("SELECT * FROM v_spans JOIN v_logs USING (trace_id), tenants", "Relation"),
    ("SELECT * FROM v_spans JOIN tenants ON 1 = 1", "Relation"),
    ("SELECT * FROM (SELECT * FROM sqlite_schema) AS x", "Relation"),
    ("SELECT * FROM pg_class", "Relation"),
    ("SELECT * FROM main.tenants", "Relation"),
    ("SELECT * FROM v_spans.x", "Place"),
    ("SELECT * FROM \"tenants\"", "Sign"),
    ("SELECT * FROM [tenants]", "Sign"),
    ("SELECT * FROM `tenants`", "Sign"),
    ("SELECT * FROM 'tenants'", "Place"),
    ("SELECT * FROM v_spans offset, tenants", "Place"),
    ("SELECT * FROM v_spans window, tenants", "Place"),
    ("SELECT * FROM v_spans left, tenants", "Place"),
    ("SELECT * FROM v_spans natural, tenants", "Place"),
    ("SELECT * FROM (v_spans)", "Place"),
    ("SELECT * FROM v_spans ORDER BY 1, (SELECT name FROM tenants)", "Relation"),
    ("SELECT (SELECT name FROM tenants) AS x", "Relation"),
    ("SELECT 1 WHERE 1 IN tenants", "Place"),
    ("SELECT 1 WHERE 1 IN (SELECT id FROM tenants)", "Relation"),
    ("SELECT (TABLE tenants) AS x", "Place"),
    ("SELECT 1 AS table", "Name"),
    ("SELECT 1 UNION TABLE tenants", "Place"),
    ("SELECT 1 UNION VALUES (1)", "Place"),
    ("SELECT * INTO x FROM v_spans", "Place"),
    ("SELECT * FROM v_spans FOR UPDATE", "Place"),
    ("SELECT * FROM json_each('[]')", "Relation"),
    ("SELECT * FROM pragma_table_info('tenants')", "Relation"),
    ("SELECT * FROM generate_series(1, 9)", "Relation"),
    ("SELECT * FROM v_spans CROSS JOIN LATERAL (SELECT 1) AS x", "Relation"),
    ("WITH tenants AS (SELECT * FROM tenants) SELECT * FROM tenants", "Relation"),
    ("WITH x AS (SELECT 1 AS a), y AS (SELECT * FROM z), z AS (SELECT 2 AS a) SELECT 1", "Relation"),
    ("WITH RECURSIVE x AS (SELECT 1) SELECT 1", "Name"),
    ("WITH v_spans AS (SELECT 1) SELECT 1", "Name"),
    ("WITH x AS (DELETE FROM tenants) SELECT 1", "Place"),
    ("WITH x (a) AS (SELECT 1) SELECT 1", "Place"),
    ("SELECT * FROM (WITH tenants AS (SELECT 1) SELECT 1) AS x, tenants", "Place"),
    ("SELECT load_extension('x') AS x", "Function"),
    ("SELECT pg_read_file('/etc/passwd') AS x", "Function"),
    ("SELECT pg_sleep(9) AS x", "Function"),
    ("SELECT lo_import('/etc/passwd') AS x", "Function"),
    ("SELECT set_config('x', 'y', false) AS x", "Function"),
    ("SELECT randomblob(1000000000) AS x", "Function"),
    ("SELECT pg_catalog.pg_sleep(9) AS x", "Place"),
    ("SELECT s.lo_unlink(1) FROM v_spans s", "Place"),
    ("SELECT count (*) FROM v_spans s WHERE s.pg_typeof = 'x'", "Word"),
    ("SELECT secret FROM v_spans", "Word"),
    ("SELECT current_user", "Place"),
    ("SELECT $1", "Sign"),
    ("SELECT $x$y$x$", "Sign"),
    ("SELECT ?", "Sign"),
    ("SELECT :name", "Sign"),
    ("SELECT @name", "Sign"),
    ("SELECT 'a' || 'b'", "Sign"),
    ("SELECT E'\\'' AS x", "Word"),
    ("SELECT U&'x'", "Sign"),
    ("SELECT x'00'", "Word"),
    ("SELECT 'x", "Unfinished"),
    ("SELECT '\0'", "Unfinished"),
    ("SELECT 1FROM v_spans", "Place"),
    ("SELECT 0x1F", "Place"),
    ("SELECT 1 one", "Place"),
    ("SELECT a b FROM v_rollups", "Place"),
    ("SELECT CAST(1 AS regclass) AS x", "Type"),
    ("SELECT CASE WHEN 1 = 1 THEN 1", "Early"),
    ("SELECT 1 END", "Place"),
    ("SELECT", "Early"),
    ("SELECT 1 FROM", "Early"),
    ("SELECT (1", "Early"),
    ("SELECT 1)", "Place"),
    ("SELECT naïve", "Sign"),
    ("SELECT 1 AS \u{ff46}rom", "Sign"),
];

#[test]
fn everything_else_is_refused_for_what_it_is() {
    let long = format!("SELECT '{}' AS x", "x".repeat(65_536));
    let deep = format!("SELECT {}1{} AS x", "(".repeat(DEPTH_MAX + 1), ")".repeat(DEPTH_MAX + 1));
    let many = format!("SELECT 1 FROM v_logs{}", ", v_logs".repeat(16));
    let bounds: [(&str, &str); 3] = [(&long, "TooLong"), (&deep, "Deep"), (&many, "Tables")];
    for (text, wanted) in REFUSED.iter().chain(&bounds) {
        for found in taken(text) {
            let refusal = found.expect_err(text);
            let name = format!("{refusal:?}");
            assert!(name.starts_with(wanted), "{text}: {name}");
            assert!(refusal.to_string().len() < 1_024, "{refusal}");
        }
    }
}

/// Parts of statements, well and badly meant.
const PARTS: &[&str] = &[
    "select",
    "SELECT",
    "from",
    "FROM",
    "join",
    "on",
    "using",
    "where",
    "group by",
    "order by",
    "limit",
    "offset",
    "union all",
    "with",
    "as",
    "in",
    "exists",
    "case",
    "when",
    "then",
    "else",
    "end",
    "and",
    "not",
    "is null",
    "left",
    "natural",
    "cross",
    "v_spans",
    "v_logs",
    "v_services",
    "secret",
    "main",
    "temp",
    "sqlite_schema",
    "pragma",
    "attach",
    "table",
    "values",
    "x",
    "s",
    "name",
    "service",
    "count",
    "count(*)",
    "max(name)",
    "(select name from secret)",
    "(select name from v_services)",
    "load_extension",
    "pg_sleep",
    "json_each('[1]')",
    "1",
    "2.5",
    "'t'",
    "'secret'",
    "\"secret\"",
    "[secret]",
    "`secret`",
    "(",
    ")",
    "(",
    ")",
    ",",
    ",",
    ".",
    "*",
    "*",
    "=",
    "-",
    "--",
    "/*",
    "*/",
    ";",
    "$",
    "?",
    ":",
    "::",
    "||",
    "\0",
    "\u{e9}",
    "cast(1 as text)",
    "over (order by name)",
    "\n",
];

fn soup() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(PARTS), 1..16).prop_map(|parts| format!("SELECT {}", parts.join(" ")))
}

/// What stands in the places of a statement, some of it wrongly.
const VALUES: &[&str] = &[
    "*",
    "name",
    "s.name",
    "count(*)",
    "(select max(name) from secret)",
    "(select max(name) from x)",
    "secret.name",
    "name in (select name from secret)",
    "exists (select 1 from v_logs, secret)",
    "1",
    "x.*",
    "case when 1 = 1 then name end",
];
const TABLES: &[&str] = &[
    "v_services",
    "v_services s",
    "secret",
    "main.secret",
    "(select name from secret) as x",
    "x",
    "v_services as s",
    "v_spans",
    "(select name from v_services) x",
    "v_services offset",
    "v_services left",
    "v_services window",
    "'secret'",
    "(secret)",
];
const BETWEEN: &[&str] = &[
    ", ",
    " join ",
    " left join ",
    " natural join ",
    " cross join ",
    " on 1 = 1, ",
    " limit 1, ",
    " where 1 = 1, ",
];
const BEFORE: &[&str] = &[
    "",
    "with x as (select name from v_services) ",
    "with x as (select name from secret) ",
    "with secret as (select 1 as name) ",
];
const AFTER: &[&str] = &[
    "",
    " limit 5",
    " on 1 = 1 limit 3",
    " order by 1",
    " union select name from secret",
    " union all select name from v_services",
    ";",
];

/// A statement of the right form, with parts in their places that may be wrong there.
fn shaped() -> impl Strategy<Value = String> {
    let places =
        (select(BEFORE), select(VALUES), select(TABLES), select(BETWEEN), select(TABLES), select(AFTER));
    places.prop_map(|(before, value, one, between, two, after)| {
        format!("{before}select {value} from {one}{between}{two}{after}")
    })
}

/// Every word of what is taken is known, or given by the statement itself.
fn has_known_words_only(text: &str, dialect: Dialect) -> bool {
    let tokens = tokens(text).unwrap();
    let is_word = |token: &Token<'_>, word: &str| matches!(token, Token::Word(found) if found == word);
    tokens.iter().all(|token| {
        let Token::Word(word) = token else { return true };
        let is_given = |at: usize| {
            let before = at.checked_sub(1).map(|before| &tokens[before]);
            // After AS or WITH, or behind a table or a list: where a name is given.
            before.is_some_and(|before| {
                is_word(before, "as")
                    || is_word(before, "with")
                    || matches!(before, Token::Sign("," | ")"))
                    || VIEWS.iter().any(|view| is_word(before, view))
                    || matches!(before, Token::Word(name) if !RESERVED.contains(&name.as_str()))
            })
        };
        let known: [&[&str]; 4] = [COLUMNS, RESERVED, TYPES, &VIEWS];
        known.iter().any(|words| words.contains(&word.as_str()))
            || functions(dialect).contains(&word.as_str())
            || ["explain", "query", "plan"].contains(&word.as_str())
            || tokens.iter().enumerate().any(|(at, other)| other == token && is_given(at))
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), soup in soup()) {
        for text in [text.as_str(), soup.as_str()] {
            for dialect in DIALECTS {
                if let Ok(written) = checked(text, dialect) {
                    prop_assert!(has_known_words_only(&written, dialect), "{written}");
                    prop_assert!(!written.contains("--") || written.contains('\''), "{written}");
                    let again = checked(&written.replacen("EXPLAIN QUERY PLAN ", "", 1), dialect);
                    prop_assert!(again.is_ok(), "{written}");
                }
            }
        }
    }
}

/// A store with telemetry of the tenant `a` alone.
async fn filled(home: &Home) -> Store {
    let store = home.open().await;
    let tenant = tenant(&store, "a");
    let mut chance = Chance(7);
    let mut commit = Commit { lsn: 1, templates: templates(&tenant), ..Commit::default() };
    for number in 0..40 {
        add_trace(&tenant, trace_id(number), &mut chance, &mut commit);
        add_logs(&tenant, trace_id(number), &mut chance, &mut commit);
    }
    store.commit(commit).await.unwrap();
    store
}

fn acme() -> TenantId {
    TenantId::try_from("a").unwrap()
}

async fn ask(store: &Store, text: &str) -> Result<Table, Error> {
    store.sql(&acme(), text, ROWS_MAX).await
}

#[test]
fn no_statement_that_is_taken_reads_a_table() {
    let home = Home::sqlite();
    let (store, mut writer) = run(async {
        let store = filled(&home).await;
        let mut writer = home.options().database.writer().await.unwrap();
        for text in ["CREATE TABLE secret (name TEXT)", "INSERT INTO secret VALUES ('canary')"] {
            writer.execute(writer.sql(text)).await.unwrap();
        }
        (store, writer)
    });
    let taken = std::cell::Cell::new(0);
    proptest!(proptest::test_runner::Config { cases: 3_000, ..Default::default() }, |(text in shaped())| {
        if checked(&text, Dialect::Sqlite).is_ok() {
            taken.set(taken.get() + 1);
            // The database may refuse it; what it answers tells nothing.
            let answer = run(store.sql(&acme(), &text, 100));
            prop_assert!(!format!("{answer:?}").contains("canary"), "{}: {:?}", text, answer);
        }
    });
    assert!(taken.get() > 100, "{}", taken.get());
    let count = run(writer.first(writer.sql("SELECT count(*) FROM secret"), |row| row.get::<i64>(0)));
    assert_eq!(count.unwrap(), Some(1));
}

#[test]
fn both_databases_answer_the_usual_questions() {
    on_both(async |home| {
        let store = filled(&home).await;
        for text in USUAL {
            let table = ask(&store, text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert!(!table.columns.is_empty() && !table.truncated, "{text}: {table:?}");
            assert!(table.rows.iter().all(|row| row.len() == table.columns.len()), "{text}");
        }
        let count = ask(&store, "SELECT count(*) AS n FROM v_spans").await.unwrap();
        assert_eq!(count.columns, ["n"]);
        assert!(matches!(count.rows[0][0], Value::Integer(1..)), "{count:?}");
        let plan = ask(&store, "EXPLAIN QUERY PLAN SELECT * FROM v_spans").await.unwrap();
        assert!(!plan.rows.is_empty());
        let values =
            "SELECT 1 AS a, 2.5 AS b, 'x' AS c, null AS d, 9007199254740993 AS e, -7 / 2.0 AS f LIMIT 1";
        let table = ask(&store, values).await.unwrap();
        let wanted = [
            Value::Integer(1),
            Value::Real(2.5),
            Value::Text("x".to_owned()),
            Value::Null,
            Value::Integer(9_007_199_254_740_993),
            Value::Real(-3.5),
        ];
        assert_eq!(
            (table.columns.as_slice(), &table.rows),
            (&["a", "b", "c", "d", "e", "f"].map(str::to_owned)[..], &vec![wanted.to_vec()])
        );
    });
}

#[test]
fn the_views_have_the_columns_that_are_known_and_no_others() {
    on_both(async |home| {
        let store = home.open().await;
        let mut found = std::collections::BTreeSet::new();
        for view in VIEWS {
            found.extend(ask(&store, &format!("SELECT * FROM {view}")).await.unwrap().columns);
        }
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), COLUMNS);
    });
}

#[test]
fn an_answer_has_a_bound_and_says_so() {
    on_both(async |home| {
        let store = filled(&home).await;
        let some = store.sql(&acme(), "SELECT trace_id FROM v_spans", 5).await.unwrap();
        assert_eq!((some.rows.len(), some.truncated), (5, true));
        let many = "SELECT a.trace_id FROM v_spans a, v_spans b, v_spans c, v_spans d";
        let table = ask(&store, many).await.unwrap();
        assert_eq!((table.rows.len(), table.truncated), (ROWS_MAX, true));
        let long = format!("SELECT '{}' AS x FROM v_spans a, v_spans b", "x".repeat(60_000));
        let table = ask(&store, &long).await.unwrap();
        assert!(table.truncated && table.rows.len() * 60_000 < BYTES_MAX && table.rows.len() > 200);
        // The connections are whole behind it.
        for _ in 0..8 {
            ask(&store, "SELECT 1 AS one").await.unwrap();
        }
    });
}

#[test]
fn a_statement_ends_when_nobody_waits_for_it() {
    on_both(async |home| {
        let store = filled(&home).await;
        let endless = "SELECT count(*) AS n FROM v_spans a, v_spans b, v_spans c, v_spans d, v_spans e, v_spans f, v_spans g";
        let wait = Duration::from_millis(300);
        assert!(tokio::time::timeout(wait, ask(&store, endless)).await.is_err());
        // A reader holds back the checkpoint of SQLite; a server lists what it works on.
        let looking = match home.dialect() {
            Dialect::Sqlite => "PRAGMA wal_checkpoint(TRUNCATE)",
            Dialect::Postgres => {
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%v_spans g' \
                 AND pid <> pg_backend_pid() AND datname = current_database()"
            }
        };
        store.stop().await;
        let begun = Instant::now();
        let mut looker = home.options().database.writer().await.unwrap();
        while looker.first(looker.sql(looking), |row| row.get::<i64>(0)).await.unwrap() != Some(0) {
            assert!(begun.elapsed() < Duration::from_secs(15), "the statement goes on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn what_the_database_refuses_is_told_and_other_tenants_are_kept() {
    on_both(async |home| {
        let store = filled(&home).await;
        for text in [
            "SELECT severity FROM v_spans",
            "SELECT count(*, 1) AS n FROM v_spans",
            "SELECT nulls FROM v_spans",
        ] {
            let error = ask(&store, text).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{text}: {error:?}");
        }
        let other = TenantId::try_from("b").unwrap();
        assert!(matches!(store.sql(&other, "SELECT 1 AS x", 1).await, Err(Error::Shared)));
        tenant(&store, "b");
        store.commit(Commit { lsn: 2, ..Commit::default() }).await.unwrap();
        let error = ask(&store, "SELECT 1 AS x").await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("other tenant")), (Kind::Denied, true));
    });
}

#[test]
fn a_type_that_is_not_shown_is_named() {
    run(async {
        let home = Home::postgres();
        let store = filled(&home).await;
        let error = ask(&store, "SELECT interval '1 hour' AS span").await.unwrap_err();
        assert!(matches!(&error, Error::Kind { column, .. } if column == "span"), "{error:?}");
        let moments = "SELECT timestamp '2027-01-15 08:00:00' AS a, date '2027-01-15' AS b, \
                       percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS c, (sum(errors) > 1)::boolean AS d FROM v_traces";
        let row = ask(&store, moments).await.unwrap().rows.remove(0);
        assert_eq!(
            row[..2],
            [Value::Text("2027-01-15T08:00:00.000000Z".to_owned()), Value::Text("2027-01-15".to_owned())]
        );
        assert!(matches!(row[2..], [Value::Real(_), Value::Bool(_)]), "{row:?}");
    });
}
