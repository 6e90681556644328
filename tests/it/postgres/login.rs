//! Logging in to a real Postgres.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use otelcontext::fault::{Kind, chain};
use otelcontext::store::postgres::login::{Error, Login};
use sqlx::{Connection, Row};

use super::server::{Options, Server};

/// A server with TLS that the tests of this program share.
pub(super) fn encrypted() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        let server = Server::start(Options { tls: true, ..Options::default() });
        for role in [
            "encrypted_only",
            "plain_only",
            "certified",
            "entra",
            "entra_renewed",
            "entra_kept",
            "entra_other",
            "entra_managed",
            "entra_cli",
        ] {
            server.sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'otel'"));
        }
        server
    })
}

/// Who is in, whether encrypted, and on which port.
async fn enter(dsn: &str) -> Result<(String, bool, u16), Error> {
    let mut connection = Login::parse(dsn)?.connect().await?;
    let row = sqlx::raw_sql(
        "SELECT current_user::text, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), current_setting('port')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    Ok((row.get(0), row.get(1), row.get::<String, _>(2).parse().unwrap()))
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
        // A socket is never encrypted, and never needs to be.
        format!("host={folder} port={port} user=otel password=otel dbname={name} sslmode=require"),
        format!("postgres://otel:otel@127.0.0.1:{port}/{name}"),
        format!("postgresql://otel:o%74el@localhost:{port}/{name}?sslmode=disable&connect_timeout=5"),
        format!("postgres://otel:otel@{escaped}:{port}/{name}"),
        format!("postgres:///{name}?host={folder}&port={port}&user=otel&password=otel"),
    ] {
        assert_eq!(enter(&dsn).await.unwrap(), ("otel".into(), false, port), "{dsn}");
    }
}

#[tokio::test]
async fn tls_is_as_strict_as_asked() {
    let server = encrypted();
    let port = server.port();
    let file = |name: &str| server.file(name).display().to_string();
    let (authority, stranger) = (file("ca.crt"), file("stranger.crt"));
    let (certificate, key) = (file("client.crt"), file("client.key"));
    // The rest of the DSN, and whether the connection is encrypted or what the error says.
    let cases: Vec<(String, Result<bool, &str>)> = vec![
        ("host=127.0.0.1 user=otel sslmode=disable".into(), Ok(false)),
        ("host=127.0.0.1 user=otel sslmode=allow".into(), Ok(false)),
        ("host=127.0.0.1 user=encrypted_only sslmode=allow".into(), Ok(true)),
        ("host=127.0.0.1 user=otel".into(), Ok(true)),
        ("host=127.0.0.1 user=plain_only sslmode=prefer".into(), Ok(false)),
        ("host=127.0.0.1 user=plain_only sslmode=require".into(), Err("refuses the login of plain_only")),
        (
            "host=127.0.0.1 user=encrypted_only sslmode=disable".into(),
            Err("refuses the login of encrypted_only"),
        ),
        ("host=127.0.0.1 user=otel sslmode=require".into(), Ok(true)),
        (
            format!("host=127.0.0.1 user=otel sslmode=require sslrootcert={stranger}"),
            Err("sslmode=verify-ca"),
        ),
        (format!("host=127.0.0.1 user=otel sslmode=verify-ca sslrootcert={authority}"), Ok(true)),
        (format!("host=127.0.0.1 user=otel sslmode=verify-ca sslrootcert={stranger}"), Err("UnknownIssuer")),
        (format!("host=localhost user=otel sslmode=verify-full sslrootcert={authority}"), Ok(true)),
        (
            format!("host=127.0.0.1 user=otel sslmode=verify-full sslrootcert={authority}"),
            Err("not valid for name"),
        ),
        (
            format!("host=localhost user=otel sslmode=verify-full sslrootcert={stranger}"),
            Err("UnknownIssuer"),
        ),
        ("host=localhost user=otel sslmode=verify-full".into(), Err("sslmode=verify-full")),
        (
            "host=localhost user=otel sslmode=verify-full sslrootcert=/nowhere/ca.crt".into(),
            Err("sslrootcert, /nowhere/ca.crt"),
        ),
        (
            format!(
                "host=localhost user=certified sslmode=verify-full sslrootcert={authority} sslcert={certificate} sslkey={key}"
            ),
            Ok(true),
        ),
        (
            format!("host=localhost user=certified sslmode=verify-full sslrootcert={authority}"),
            Err("refuses the login of certified"),
        ),
    ];
    for (rest, wanted) in cases {
        let dsn = format!("{rest} port={port} password=otel dbname=postgres");
        match (enter(&dsn).await, wanted) {
            (Ok((_, is_encrypted, _)), Ok(wanted)) => assert_eq!(is_encrypted, wanted, "{rest}"),
            (Err(error), Err(wanted)) => assert!(chain(&error).contains(wanted), "{rest}: {}", chain(&error)),
            (found, wanted) => panic!("{rest}: {found:?} instead of {wanted:?}"),
        }
    }
    let plain = Server::shared();
    let error = enter(&format!("{} sslmode=require", plain.database())).await.unwrap_err();
    assert!(chain(&error).contains("server does not support TLS"), "{}", chain(&error));
}

#[tokio::test]
async fn a_refusal_says_who_and_what_and_shows_no_password() {
    let server = Server::shared();
    let port = server.port();
    let dsn = server.dsn("postgres").replace("password=otel", "password=Tr0ub4dor");
    let error = enter(&dsn).await.unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("refuses the login of otel") && text.contains("password authentication failed"),
        "{text}"
    );
    assert!(!text.contains("Tr0ub4dor") && !format!("{error:?}").contains("Tr0ub4dor"), "{text}");
    assert_eq!(error.kind(), Kind::Internal);
    // The next host would say the same and is not bothered.
    let dsn =
        format!("host=127.0.0.1,127.0.0.1 port={port},{port} user=otel password=Tr0ub4dor dbname=postgres");
    assert!(matches!(enter(&dsn).await.unwrap_err(), Error::Denied { .. }));
    let text = chain(&enter(&server.dsn("nowhere")).await.unwrap_err());
    assert!(
        text.contains("does not open the database") && text.contains("\"nowhere\" does not exist"),
        "{text}"
    );
}

#[tokio::test]
async fn hosts_are_tried_in_order_until_one_will_do() {
    let mut first = Server::start(Options::default());
    let reader =
        Server::start(Options { fsync: true, settings: &["max_connections=20"], ..Options::default() });
    reader.sql("postgres", "ALTER ROLE otel SET default_transaction_read_only = on");
    assert_eq!(reader.sql("postgres", "SHOW max_connections"), "20");
    assert_eq!(
        (reader.sql("postgres", "SHOW fsync"), first.sql("postgres", "SHOW fsync")),
        ("on".into(), "off".into())
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let (one, two) = (first.port(), reader.port());
    let dsn = |ports: &[u16], rest: &str| {
        let hosts = vec!["127.0.0.1"; ports.len()].join(",");
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!("host={hosts} port={} user=otel password=otel dbname=postgres {rest}", ports.join(","))
    };
    let port = async |dsn: String| enter(&dsn).await.map(|(_, _, port)| port);

    assert_eq!(port(dsn(&[two, one], "")).await.unwrap(), two);
    assert_eq!(port(dsn(&[two, one], "target_session_attrs=read-write")).await.unwrap(), one);
    let error = port(dsn(&[two], "target_session_attrs=read-write")).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);

    first.sql("postgres", "CREATE TABLE kept AS SELECT 7 AS number");
    first.kill();
    assert_eq!(port(dsn(&[one, two], "")).await.unwrap(), two);
    let error = port(dsn(&[one, two], "target_session_attrs=read-write")).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains(&format!("127.0.0.1:{one}")) && text.contains("read-only"), "{text}");
    assert_eq!(error.kind(), Kind::Unavailable);
    first.restart();
    assert_eq!(port(dsn(&[one, two], "")).await.unwrap(), one);
    assert_eq!(first.sql("postgres", "SELECT number FROM kept"), "7");
    assert!(first.log().contains("database system was not properly shut down"), "{}", first.log());

    let began = Instant::now();
    assert_eq!(port(dsn(&[silent, one], "connect_timeout=1")).await.unwrap(), one);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_server_ends_with_its_owner_even_after_a_panic() {
    let told = std::sync::Mutex::new(None);
    let panicked = std::panic::catch_unwind(|| {
        let server = Server::start(Options::default());
        *told.lock().unwrap() = Some((server.port(), server.folder().to_owned()));
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.is_err());
    let (port, folder) = told.into_inner().unwrap().unwrap();
    assert!(!folder.exists(), "{} is left", folder.display());
    TcpListener::bind(("127.0.0.1", port)).unwrap();
}
