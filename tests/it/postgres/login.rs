//! Logging in to a real Postgres.

use otelcontext::store::postgres::login::{Error, Login};
use sqlx::{Connection, Row};

use super::server::{Options, Server};

/// Who is in, and whether encrypted; or the error with all its causes.
async fn try_login(dsn: &str) -> Result<(String, bool), String> {
    let login = Login::parse(dsn).map_err(|error| otelcontext::fault::chain(&error))?;
    let mut connection = login.connect().await.map_err(|error| otelcontext::fault::chain(&error))?;
    let row = sqlx::raw_sql(
        "SELECT current_user::text, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    Ok((row.get(0), row.get(1)))
}

#[tokio::test]
async fn every_form_of_a_dsn_gets_in() {
    let server = Server::shared();
    let (name, port, folder) = (server.database_name(), server.port(), server.folder().display());
    let escaped = folder.to_string().replace('/', "%2F");
    for dsn in [
        server.dsn(&name),
        format!(
            "host=localhost user=otel password=otel dbname={name} port={port} sslmode=disable TimeZone=UTC"
        ),
        format!("  host = '127.0.0.1'  port = '{port}' user='otel' password = 'otel' dbname='{name}' "),
        format!("host={folder} port={port} user=otel password=otel dbname={name} sslmode=require"),
        format!("postgres://otel:otel@127.0.0.1:{port}/{name}"),
        format!("postgresql://otel:o%74el@localhost:{port}/{name}?sslmode=disable&connect_timeout=5"),
        format!("postgres://otel:otel@{escaped}:{port}/{name}"),
        format!("postgres:///{name}?host={folder}&port={port}&user=otel&password=otel"),
    ] {
        assert_eq!(try_login(&dsn).await, Ok(("otel".into(), false)), "{dsn}");
    }
}
