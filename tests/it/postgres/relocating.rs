//! What a server kept in SQLite goes on living on Postgres, as if it had always been there.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::kept::{Asked, Kept, address};
use super::server::Server as Postgres;
use super::whole::{NO_CACHE, lasting, moment, within};
use crate::api::{self, TRACE};
use crate::server::{Server, program};

const TENANTS: [&str; 2] = ["shop", "other"];
/// Whose log records are on their way when the server is killed, and how many they are.
const LATE: (&str, u64) = ("late", 100);

/// A new database, and its address.
fn database() -> (Kept, String) {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let address = address(Postgres::shared(), name);
    (kept, address)
}

/// Runs `move` for a server that kept its data in SQLite, with the address on standard input; answers what it said and
/// whether it succeeded.
async fn relocate(server: &Server, address: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otelcontext"));
    command.current_dir(server.folder()).env_clear().env("DATA_DIR", server.folder().join("data"));
    command.args(["move", "--to", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let address = address.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(address.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What every question of the tenants is answered, but for those about a time that ends now.
async fn answers(server: &Server, window: &[String; 2]) -> Vec<(String, Value)> {
    server.settled().await;
    let mut answers = Vec::new();
    for tenant in TENANTS {
        api::searchable(server, tenant).await;
        for path in api::questions(tenant).into_iter().filter(|path| !path.contains("since=")) {
            let path = within(path, window);
            let answer = lasting(api::ask(server, tenant, &path).await);
            answers.push((format!("{path} of {tenant}"), answer));
        }
    }
    answers
}

/// Checks that every table of a SQLite file is on Postgres, row by row, but for the positions of journals.
fn check_tables(sqlite: &Asked<'_>, postgres: &Asked<'_>) {
    let tables = sqlite.rows(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '%~_shape' ESCAPE '~' \
         AND name NOT LIKE '~_sqlx%' ESCAPE '~' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND name <> 'applied'",
    );
    assert!(tables.len() > 20, "{tables:?}");
    let mut without_rows = Vec::new();
    for table in tables {
        let columns = sqlite.rows(&format!("SELECT name || ' ' || type FROM pragma_table_info('{table}')"));
        let [wanted, found] = [sqlite, postgres].map(|asked| {
            let shown = columns.iter().map(|column| match column.split_once(' ').unwrap() {
                (name, "BLOB") => asked.hex(name),
                (name, _) => name.to_owned(),
            });
            asked.rows(&format!("SELECT {} FROM {table}", shown.collect::<Vec<_>>().join(", ")))
        });
        assert_eq!(found, wanted, "{table}");
        if wanted.is_empty() {
            without_rows.push(table);
        }
    }
    for table in ["tenants", "services", "operations", "resources", "templates", "series", "partitions"] {
        assert!(!without_rows.iter().any(|without| without == table), "{table} has no rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_moved_answers_as_before_and_goes_on() {
    let server = Server::start(&NO_CACHE).await;
    let (start, window) = moment();
    for tenant in TENANTS {
        api::fill_at(&server, tenant, tenant, start).await;
        api::searchable(&server, tenant).await;
    }
    // It remembers what it will remember after the move.
    let (mut server, _) = server.crash_and_restart().await;
    let before = answers(&server, &window).await;

    let (kept, dsn) = database();
    let (ok, said) = server.command(&["move", "--to", &dsn]).await;
    assert!(!ok && said.contains("a server runs"), "{said}");
    assert!(!said.contains("otel:otel"), "the address holds a password: {said}");

    let (late, records) = LATE;
    for index in 0..records {
        let body = json!({"stringValue": format!("{late} {index}")});
        let record = json!({"timeUnixNano": (start + index).to_string(), "severityNumber": 9, "body": body});
        api::export(&server, late, "logs", &api::logs_of(late, &[record])).await;
    }
    server.kill();
    let (ok, said) = relocate(&server, &dsn).await;
    assert!(ok && said.contains("DB_DRIVER=postgres") && said.contains(" 6 spans"), "{said}");
    assert!(!said.contains("otel:otel"), "the address holds a password: {said}");
    tokio::task::block_in_place(|| {
        check_tables(&Kept::Sqlite.asked(server.folder()), &kept.asked(server.folder()));
    });

    let mut server = server.again(&[("DB_DRIVER", "postgres"), ("DB_DSN", &dsn)]).await;
    server.ready().await;
    let after = answers(&server, &window).await;
    assert_eq!(after.len(), before.len());
    for ((question, found), (_, wanted)) in after.iter().zip(&before) {
        assert_eq!(found, wanted, "{question}");
    }
    let kept_records =
        format!("SELECT count(*) FROM logs l JOIN tenants t ON t.id = l.tenant_id WHERE t.name = '{late}'");
    let found = tokio::task::block_in_place(|| kept.asked(server.folder()).rows(&kept_records));
    assert_eq!(found, [records.to_string()], "what the journal held is there once");

    // Spans that come again are recognised, others are stored beside them.
    for tenant in ["shop", "new"] {
        api::fill_at(&server, tenant, tenant, start).await;
        api::searchable(&server, tenant).await;
        let trace = api::ask(&server, tenant, &format!("/traces/{TRACE}")).await;
        assert_eq!(api::items(&trace).len(), 3, "{tenant}: {trace}");
    }
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let (ok, said) = relocate(&server, &dsn).await;
    assert!(!ok && said.contains("is not empty") && said.contains("tenants"), "{said}");
    let (ok, said) = server.command(&["move", "--to", &dsn]).await;
    assert!(!ok && said.contains("on a Postgres server already"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_cannot_be_is_refused_with_its_remedy() {
    let (kept, dsn) = database();
    let empty = tempfile::tempdir().unwrap();
    let (ok, said) = program(empty.path(), &[], &["move", "--to", &dsn]).await;
    assert!(!ok && said.contains("there is no database"), "{said}");
    assert!(!empty.path().join("data").exists(), "nothing is made there");

    let mut server = Server::start(&[]).await;
    assert_eq!(server.terminate().await, Some(0), "{}", server.log());
    let (ok, said) = server.command(&["move", "--to", "hots=localhost"]).await;
    assert!(!ok && said.contains("did you mean host?"), "{said}");
    let (ok, said) = relocate(&server, "").await;
    assert!(!ok && said.contains("there is no address"), "{said}");
    let leader = kept.server(&[]).await;
    let (ok, said) = server.command(&["move", "--to", &dsn]).await;
    assert!(!ok && said.contains("a server writes to the database to move to"), "{said}");
    drop(leader);
}
