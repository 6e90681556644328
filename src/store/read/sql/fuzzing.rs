//! Statements of any text: what the rules take, SQLite reads as one question over the views, and nothing else.

use std::cell::RefCell;
use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::rules::checked;
use super::words::{COLUMNS, TEXT_BYTES_MAX, VIEWS};
use crate::store::sql::Dialect;

/// Steps of SQLite's machine that no question takes. What it sorts and groups by it writes to tables of its own, which
/// the step that opens them tells from others.
const CHANGES: [&str; 11] = [
    "OpenWrite",
    "CreateBtree",
    "Destroy",
    "DropTable",
    "JournalMode",
    "ParseSchema",
    "SetCookie",
    "SqlExec",
    "VOpen",
    "VUpdate",
    "Vacuum",
];

/// A statement.
pub(crate) fn statement(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let Ok(taken) = checked(text, dialect) else { continue };
        assert!(taken.len() <= 2 * TEXT_BYTES_MAX + 64, "written again it is {} bytes", taken.len());
        if !taken.starts_with("EXPLAIN ") {
            assert_eq!(checked(&taken, dialect).as_ref(), Ok(&taken), "written again it is the same");
        }
        if dialect == Dialect::Sqlite {
            DATABASE.with_borrow_mut(|database| database.explain(&taken));
        }
    }
}

thread_local! {
    static DATABASE: RefCell<Database> = RefCell::new(Database::new());
}

/// A database in memory with tables in place of the views, and one that nobody may read.
struct Database {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
    /// Where the tables begin that may be read.
    roots: BTreeSet<i64>,
}

impl Database {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime of one thread can be made");
        let (connection, roots) = runtime.block_on(async {
            let mut connection = SqliteConnection::connect("sqlite::memory:").await.expect("memory opens");
            let quoted: Vec<String> = COLUMNS.iter().map(|column| format!("\"{column}\"")).collect();
            for table in VIEWS.iter().chain(&["secret"]) {
                let text = format!("CREATE TABLE {table} ({})", quoted.join(", "));
                sqlx::query(AssertSqlSafe(text)).execute(&mut connection).await.expect("a table can be made");
            }
            let listed = sqlx::query("SELECT rootpage FROM sqlite_schema WHERE name <> 'secret'");
            let listed = listed.fetch_all(&mut connection).await.expect("tables are listed");
            (connection, listed.iter().map(|row| row.get(0)).collect())
        });
        Self { runtime, connection, roots }
    }

    /// Looks at the steps that SQLite would take. What it does not take is none of our concern.
    fn explain(&mut self, taken: &str) {
        let question = taken.strip_prefix("EXPLAIN QUERY PLAN ").unwrap_or(taken);
        let text = AssertSqlSafe(format!("EXPLAIN {question}"));
        let steps = self.runtime.block_on(sqlx::raw_sql(text).fetch_all(&mut self.connection));
        for step in steps.iter().flatten() {
            let (name, p2, p3): (String, i64, i64) = (step.get("opcode"), step.get("p2"), step.get("p3"));
            assert!(!CHANGES.contains(&&*name), "{name} in {taken}");
            let is_elsewhere = name == "OpenRead" && (p3 != 0 || !self.roots.contains(&p2));
            assert!(!is_elsewhere, "it reads what is no view: {taken}");
            assert!(name != "Transaction" || p2 == 0, "it begins to write: {taken}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_is_no_question_over_the_views_is_told() {
        for (text, is_one) in [
            ("SELECT service, count(*) FROM v_spans GROUP BY service ORDER BY 2", true),
            ("WITH a AS (SELECT 1 AS b) SELECT * FROM a, v_logs", true),
            ("SELECT * FROM secret", false),
            ("SELECT (SELECT max(name) FROM secret) FROM v_spans", false),
            ("SELECT * FROM sqlite_schema", false),
            ("DELETE FROM v_spans", false),
            ("INSERT INTO v_spans (a) VALUES (1)", false),
            ("CREATE TABLE t (a)", false),
            ("BEGIN IMMEDIATE", false),
        ] {
            let told = catch_unwind(AssertUnwindSafe(|| Database::new().explain(text)));
            assert_eq!(told.is_ok(), is_one, "{text}");
        }
    }
}
