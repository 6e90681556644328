//! The commands of an operator, and the schema: made, listed, and refused where it does not fit.

use super::kept::Kept;
use super::server::Server as Postgres;
use crate::client::{export, request, span};
use crate::server::{Server, program};

/// What a program is told that must not take ports of others.
fn variables<'a>(kept: &Kept, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, String)> {
    let mut variables = kept.variables(more);
    variables.extend(["GRPC_PORT", "OTLP_HTTP_PORT", "HTTP_PORT"].map(|port| (port, "0".to_owned())));
    variables
}

/// Starts a server that must refuse to start; answers what it said.
async fn refused(kept: &Kept, more: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (ok, said) = program(folder.path(), &variables(kept, more), &["serve"]).await;
    assert!(!ok, "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_not_made_where_that_is_switched_off() {
    let kept = Kept::on_postgres();
    let said = refused(&kept, &[("DB_AUTOMIGRATE", "false")]).await;
    assert!(said.contains("migrate"), "{said}");
    assert!(said.contains("otelcontext migrate"), "the remedy is named: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_release_is_refused() {
    let kept = Kept::on_postgres();
    let mut server = kept.server(&[]).await;
    assert_eq!(server.terminate().await, Some(0));
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of the future', true, '', 0)";
    tokio::task::block_in_place(|| Postgres::shared().sql(name, newer));
    let said = refused(&kept, &[]).await;
    assert!(said.contains("9999") && said.contains("newer release"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_know_the_database() {
    let kept = Kept::on_postgres();
    let folder = tempfile::tempdir().unwrap();
    let mut variables = variables(&kept, &[]);
    let told = async |arguments: &[&str]| program(folder.path(), &variables, arguments).await;

    let (ok, said) = told(&["migrate", "--status"]).await;
    assert!(ok && said.contains("0001 core pending"), "{said}");
    let (ok, said) = told(&["doctor"]).await;
    assert!(ok && said.contains("ok   database") && said.contains("pending"), "{said}");
    let (ok, said) = told(&["migrate"]).await;
    assert!(ok && said.contains("0001 core applied"), "{said}");
    let (ok, said) = told(&["migrate", "--status", "--json"]).await;
    assert!(ok && said.contains("\"applied\": true"), "{said}");
    let (ok, said) = told(&["doctor"]).await;
    assert!(ok && said.contains("ok   database") && said.contains("0 migrations pending"), "{said}");
    let (ok, said) = told(&["check-config"]).await;
    assert!(ok && said.contains("DB_DRIVER=postgres"), "{said}");
    assert!(!said.contains("otel:otel"), "the address holds a password: {said}");
    let (ok, said) = told(&["backup", "copy"]).await;
    assert!(!ok && said.contains("pg_dump"), "{said}");

    // While another server leads, the schema can be asked for all the same.
    let leader = kept.server(&[]).await;
    let (ok, said) = told(&["migrate", "--status"]).await;
    assert!(ok && said.contains("0001 core applied"), "{said}");
    let (ok, said) = told(&["doctor"]).await;
    assert!(ok, "{said}");
    drop(leader);

    variables.retain(|(name, _)| *name != "DB_DSN");
    variables.push(("DB_DSN", "postgres://otel:otel@127.0.0.1:1/nowhere?sslmode=disable".to_owned()));
    let (ok, said) = program(folder.path(), &variables, &["doctor"]).await;
    assert!(!ok && said.contains("FAIL database") && said.contains("127.0.0.1:1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_be_written_in_keywords() {
    let dsn = tokio::task::block_in_place(|| Postgres::shared().database());
    let server = Server::start(&[("DB_DRIVER", "postgres"), ("DB_DSN", &dsn)]).await;
    export(&server, "shop", &request("shop", vec![span(1, 1, None, "work", 2)])).await;
    server.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_may_not_do_is_told_with_its_remedy_before_the_start() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let sql = |text: String| tokio::task::block_in_place(|| Postgres::shared().sql(name, &text));
    let role = format!("guest_of_{name}");
    sql(format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'"));
    sql(format!(
        "REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    ));
    sql("GRANT CREATE ON SCHEMA public TO otel".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let mut guest = variables(&kept, &[]);
    for (name, value) in &mut guest {
        if *name == "DB_DSN" {
            *value = value.replace("otel:otel@", &format!("{role}:hunter2@"));
        }
    }
    let told = async || program(folder.path(), &guest, &["doctor"]).await;
    let (ok, said) = told().await;
    assert!(!ok && said.contains(&format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}")), "{said}");
    assert!(said.contains(&format!("GRANT TEMPORARY ON DATABASE {name} TO {role}")), "{said}");

    sql(format!("GRANT TEMPORARY ON DATABASE {name} TO {role}; GRANT CREATE ON SCHEMA public TO {role}"));
    let (ok, said) = told().await;
    assert!(ok && said.contains("no extension is needed"), "{said}");

    let (ok, said) = program(folder.path(), &variables(&kept, &[]), &["migrate"]).await;
    assert!(ok, "{said}");
    sql(format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    let (ok, said) = told().await;
    assert!(!ok && said.contains("belongs to another role"), "{said}");
    assert!(!said.contains("hunter2"), "the address holds a password: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_somebody_else_are_refused_with_the_remedy() {
    let kept = Kept::on_postgres();
    let Kept::Postgres(name) = &kept else { unreachable!() };
    let sql = |text: &str| tokio::task::block_in_place(|| Postgres::shared().sql(name, text));
    sql("CREATE SCHEMA theirs; CREATE TABLE theirs.spans (id bigint); CREATE TABLE logs (id bigint)");
    let said = refused(&kept, &[]).await;
    assert!(said.contains("`logs`") && said.contains("name another database"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let (ok, said) = program(folder.path(), &variables(&kept, &[]), &["doctor"]).await;
    assert!(!ok && said.contains("FAIL database: the table `logs`"), "{said}");
    assert!(!folder.path().join("data").exists(), "nothing is made");
    sql("DROP TABLE logs");
    let (ok, said) = program(folder.path(), &variables(&kept, &[]), &["migrate"]).await;
    assert!(ok, "a table in another schema is in nobody's way: {said}");
}
