use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, prop_assert, proptest};
use sqlx::Row;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;

use super::dsn::{Dsn, HOSTS_MAX};
use super::entra::{CONNECTION_LIFETIME_MAX, Environment, Tokens};
use super::lead;
use super::login::Login;
use super::patience::{Patience, looked_for};
use crate::fault::{Kind, chain};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::examine::Obstacle;
use crate::store::options::Database;
use crate::store::tests::server::Server;

/// What matters of a DSN, on one line; the mistake where there is one.
fn read(text: &str) -> String {
    let dsn = match Dsn::parse(text) {
        Ok(dsn) => dsn,
        Err(mistake) => return mistake.to_string(),
    };
    let hosts: Vec<String> = dsn.hosts.iter().map(ToString::to_string).collect();
    let mut parts = vec![format!("{}@{}", dsn.user.unwrap_or_default(), hosts.join(","))];
    parts.extend(dsn.password.map(|password| format!("password {}", password.0)));
    parts.extend(dsn.database.map(|database| format!("database {database}")));
    parts.push(format!("{:?}", dsn.ssl.mode));
    parts.extend(dsn.settings.iter().map(|(name, value)| format!("{name}={value}")));
    parts.join("; ")
}

#[test]
fn both_forms_are_read() {
    let cases = [
        (
            "host=localhost user=otel password=otel dbname=otelcontext port=5432 sslmode=disable TimeZone=UTC",
            "otel@localhost:5432; password otel; database otelcontext; Disable; TimeZone=UTC",
        ),
        ("", "@the local server, port 5432; Prefer"),
        ("user = 'o tel'  password='it''s'", "password is followed"),
        (r"user='o\'tel' password=a\ b\\c", r"o'tel@the local server, port 5432; password a b\c; Prefer"),
        ("host='' user=''  dbname=x", "@the local server, port 5432; database x; Prefer"),
        ("user=a user=b", "b@the local server, port 5432; Prefer"),
        ("host=a,b,c port=1,2,3", "@a:1,b:2,c:3; Prefer"),
        ("host=a,b port=6000", "@a:6000,b:6000; Prefer"),
        ("host=/var/run/postgresql port=5433", "@/var/run/postgresql:5433; Prefer"),
        ("host=::1", "@[::1]:5432; Prefer"),
        ("sslmode=require", "@the local server, port 5432; Require"),
        ("sslmode=require sslrootcert=ca.crt", "@the local server, port 5432; VerifyCa"),
        ("sslmode=verify-full sslrootcert=system", "@the local server, port 5432; VerifyFull"),
        (
            "options='-c statement_timeout=5min --search-path=a,b -cjit=off' my.setting=1",
            "@the local server, port 5432; Prefer; statement_timeout=5min; search_path=a,b; jit=off; my.setting=1",
        ),
        (
            "gssencmode=disable keepalives_idle=30 channel_binding=prefer",
            "@the local server, port 5432; Prefer",
        ),
        (
            "postgres://otel:s%40cret@db.example:6432/otelcontext?sslmode=verify-full&TimeZone=UTC",
            "otel@db.example:6432; password s@cret; database otelcontext; VerifyFull; TimeZone=UTC",
        ),
        ("postgresql://", "@the local server, port 5432; Prefer"),
        ("postgresql:///x?host=/run&port=1", "@/run:1; database x; Prefer"),
        ("postgresql://u@[::1]:5433,h2/x", "u@[::1]:5433,h2:5432; database x; Prefer"),
        ("postgresql://%2Frun%2Fpg/x", "@/run/pg:5432; database x; Prefer"),
        ("postgres://u:p@w@h/x?ssl=true", "u@h:5432; password p@w; database x; Require"),
        ("postgres://u:p@h/x?options=-c%20jit%3Doff", "u@h:5432; password p; database x; Prefer; jit=off"),
    ];
    for (text, wanted) in cases {
        if wanted == "password is followed" {
            assert!(Dsn::parse(text).is_err(), "{text}");
            continue;
        }
        assert_eq!(read(text), wanted, "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_remedy() {
    let cases = [
        ("hots=localhost", "hots is not a setting of a Postgres DSN: did you mean host?"),
        ("database=x", "database is not a setting of a Postgres DSN: did you mean dbname?"),
        ("Timezon=UTC", "Timezon is not a setting of a Postgres DSN: did you mean TimeZone?"),
        ("xyzzy=1", "xyzzy is not a setting of a Postgres DSN"),
        (
            "host",
            "at the beginning of the DSN comes something that is not key=value: put values with spaces in single quotes",
        ),
        (
            "password=my secret host=a",
            "after the value of password comes something that is not key=value: put values with spaces in single quotes",
        ),
        (
            "password=my s=cret host=a",
            "after the value of password comes something that is not key=value: put values with spaces in single quotes",
        ),
        ("host= password=my", "host has no value: write one, or remove it"),
        ("user='otel", "the value of user has an opening quote and no closing one"),
        (
            "sslmode=on",
            "sslmode=on is not right: it is one of disable, allow, prefer, require, verify-ca and verify-full",
        ),
        ("port=http", "port=http is not right: it is a number from 1 to 65535"),
        ("port=0", "port=0 is not right: it is a number from 1 to 65535"),
        ("host=a,b,c port=1,2", "the DSN lists 3 hosts and 2 ports: give one port for all or one for each"),
        (
            "connect_timeout=soon",
            "connect_timeout=soon is not right: it is a number of seconds from 1 to 600, or 0 for the usual 10",
        ),
        (
            "target_session_attrs=standby",
            "target_session_attrs=standby is not right: the server must write: use read-write, primary or any",
        ),
        ("sslcert=a.crt", "sslcert and sslkey must be given together"),
        (
            "sslmode=require sslrootcert=system",
            "sslrootcert=system is not right: it needs sslmode=verify-full",
        ),
        ("hostaddr=127.0.0.1", "hostaddr is not supported: write the address as host"),
        (
            "gssencmode=require",
            "gssencmode=require is not right: only disable or prefer is supported: remove it",
        ),
        ("client_encoding=LATIN1", "client_encoding=LATIN1 is not right: the server speaks UTF8: remove it"),
        ("options=-W", "options=-W is not right: it is a list of `-c name=value`"),
        (
            "postgres://u:50%@h",
            "the password of the URL is not right: write % as %25, / as %2F, ? as %3F and @ as %40",
        ),
        (
            "postgres://u:a/b@h/x",
            "the password of the URL is not right: write % as %25, / as %2F, ? as %3F and @ as %40",
        ),
        (
            "postgres://u:a?b@h/x",
            "the password of the URL is not right: write % as %25, / as %2F, ? as %3F and @ as %40",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(read(text), wanted, "{text}");
    }
    assert!(read(&format!("host={}", "a,".repeat(HOSTS_MAX))).contains("at most 16 may be listed"));
    assert_eq!(read(&"x".repeat(20_000)), "the DSN is longer than 16384 bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever else a DSN holds, and however wrong it is, a password is not repeated.
    #[test]
    fn a_password_is_never_shown(before in "[ -~]{0,12}", after in "[ -~]{0,12}", word in "[a-z0-9]{0,9}") {
        let secret = "Zq7XhunterXw9";
        for dsn in [
            format!("{before} password={secret} {after}"),
            format!("{before} password='{secret}' {after}"),
            format!("password=x{word} {secret}{after}"),
            format!("postgres://{before}:{secret}@{after}"),
            format!("postgres://u:{before}{secret}@h/{after}"),
        ] {
            let shown = match Login::parse(&dsn) {
                Ok(login) => format!("{login:?} {login}"),
                Err(error) => format!("{error:?} {}", chain(&error)),
            };
            prop_assert!(!shown.contains(secret), "{dsn}: {shown}");
        }
    }

    /// A quoted value comes back as it was, whatever it holds.
    #[test]
    fn a_quoted_value_comes_back(value in "\\PC{1,20}") {
        let escaped = value.replace('\\', r"\\").replace('\'', r"\'");
        let dsn = Dsn::parse(&format!("password = '{escaped}' user=otel")).unwrap();
        prop_assert!(dsn.password.is_some_and(|password| password.0 == value));
    }
}

#[test]
fn entra_asks_for_a_dsn_without_a_password_that_encrypts_and_names_its_user() {
    let tokens = Tokens::new(Environment::default()).unwrap();
    let refused = |dsn: &str| {
        let error = Login::parse(dsn).unwrap().with_tokens(tokens.clone()).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        chain(&error)
    };
    assert!(refused("host=h user=u password=p sslmode=require").contains("remove the password"));
    assert!(refused("host=h user=u").contains("set sslmode to"));
    assert!(refused("host=h user=u sslmode=prefer").contains("set sslmode to"));
    assert!(refused("host=h sslmode=verify-full").contains("needs user"));
    for mode in ["require", "verify-ca", "verify-full"] {
        let login = Login::parse(&format!("host=h user=u sslmode={mode}")).unwrap();
        assert_eq!(login.connection_lifetime_max(), None);
        let login = login.with_tokens(tokens.clone()).unwrap();
        assert_eq!(login.connection_lifetime_max(), Some(CONNECTION_LIFETIME_MAX));
    }
    assert_eq!(CONNECTION_LIFETIME_MAX.as_secs(), 30 * 60);
}

#[test]
fn an_authority_without_https_is_refused() {
    let variable = |name: &str| (name == "AZURE_AUTHORITY_HOST").then(|| "http://login.example".to_owned());
    let error = Tokens::new(Environment::read(variable)).unwrap_err();
    assert_eq!(error.to_string(), "AZURE_AUTHORITY_HOST must be an https:// URL");
}

#[tokio::test]
async fn the_options_open_connections() {
    let dsn = format!("{} statement_timeout=5min options='-c work_mem=7MB'", Server::shared().database());
    let login = Login::parse(&dsn).unwrap();
    let pool = sqlx::PgPool::connect_with(login.options().await.unwrap()).await.unwrap();
    let shown = "SELECT concat_ws(' ', current_setting('application_name'), current_setting('statement_timeout'), \
                 current_setting('work_mem'), current_setting('TimeZone'))";
    let row = sqlx::query(shown).fetch_one(&pool).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "otelcontext 5min 7MB UTC");
}

/// It says nothing about the host that the connection is to.
#[tokio::test]
async fn a_listed_host_that_does_not_answer_costs_nobody_the_connection_to_another() {
    // Nobody listens there yet, so that logging in passes on at once.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::shared();
    let (name, works) = (server.database_name(), server.port());
    let dsn = format!(
        "host=127.0.0.1,127.0.0.1 port={port},{works} user=otel password=otel dbname={name} sslmode=disable"
    );
    let login = Arc::new(Login::parse(&dsn).unwrap());
    let (mut connection, mut lookout) = lead::connect(&login).await.unwrap();
    let dark = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let work = sqlx::query("SELECT pg_sleep(15)").execute(&mut connection);
    Patience::Lookout(&mut lookout).wait(work).await.unwrap();
    assert!(!lookout.is_lost());
    drop(dark);
}

/// One message of the protocol, with its kind.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let (kind, length) = (from.read_u8().await?, from.read_u32().await?);
    let mut whole = vec![kind];
    whole.extend(length.to_be_bytes());
    whole.resize(length as usize + 1, 0);
    from.read_exact(&mut whole[5..]).await?;
    Ok((kind, whole))
}

/// Everything up to where Postgres waits for what is asked next.
async fn answer(session: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let (kind, bytes) = message(session).await?;
        all.extend(bytes);
        if kind == b'Z' {
            return Ok(all);
        }
    }
}

/// A pooler in transaction mode that has one session; answers its port.
async fn pooler(server: &Server, database: &str) -> u16 {
    let socket = server.folder().join(format!(".s.PGSQL.{}", server.port()));
    let mut session = UnixStream::connect(socket).await.unwrap();
    let begin = format!("user\0postgres\0database\0{database}\0\0");
    session.write_u32(begin.len() as u32 + 8).await.unwrap();
    session.write_u32(3 << 16).await.unwrap();
    session.write_all(begin.as_bytes()).await.unwrap();
    let greeting = answer(&mut session).await.unwrap();
    let session = Arc::new(Mutex::new(session));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(pass_on(client, Arc::clone(&session), greeting.clone()));
        }
    });
    port
}

async fn pass_on(
    mut client: TcpStream,
    session: Arc<Mutex<UnixStream>>,
    greeting: Vec<u8>,
) -> io::Result<()> {
    let length = client.read_u32().await?;
    client.read_exact(&mut vec![0_u8; length as usize - 4]).await?;
    client.write_all(&greeting).await?;
    let mut asked = Vec::new();
    loop {
        let (kind, bytes) = message(&mut client).await?;
        match kind {
            b'X' => return Ok(()),
            _ => asked.extend(bytes),
        }
        if matches!(kind, b'Q' | b'S') {
            let mut session = session.lock().await;
            session.write_all(&std::mem::take(&mut asked)).await?;
            client.write_all(&answer(&mut session).await?).await?;
        }
    }
}

#[tokio::test]
async fn connections_that_share_a_session_do_not_lead() {
    let server = Server::shared();
    let name = server.database_name();
    let port = pooler(server, &name).await;
    let dsn = format!("host=127.0.0.1 port={port} user=otel password=otel dbname={name} sslmode=disable");
    let login = Arc::new(Login::parse(&dsn).unwrap());
    let refused = lead::connect(&login).await.unwrap_err();
    assert!(matches!(refused, Error::Pooled), "{refused}");
    let examined = Store::examine(&Database::Postgres(login)).await.unwrap();
    assert!(examined.obstacles.contains(&Obstacle::Pooled), "{examined:?}");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(server.sql(&name, locks), "0", "the session of the pooler keeps none");

    let direct = Arc::new(Login::parse(&server.dsn(&name)).unwrap());
    let _leads = lead::connect(&direct).await.unwrap();
    let examined = Store::examine(&Database::Postgres(direct)).await.unwrap();
    assert!(examined.obstacles.is_empty(), "{examined:?}");
}

#[tokio::test]
async fn no_bound_of_questions_applies_to_what_writes() {
    let dsn = format!("{} statement_timeout=300ms idle_session_timeout=1min", Server::shared().database());
    let (mut connection, _) = lead::connect(&Arc::new(Login::parse(&dsn).unwrap())).await.unwrap();
    sqlx::query("SELECT pg_sleep(0.6)").execute(&mut connection).await.unwrap();
    let row = sqlx::query("SELECT current_setting('idle_session_timeout')").fetch_one(&mut connection).await;
    assert_eq!(row.unwrap().get::<String, _>(0), "0");
}

#[tokio::test]
async fn a_system_that_cannot_tell_whether_somebody_is_gone_does_without() {
    let login = Login::parse(&Server::shared().database()).unwrap();
    let mut connection = login.connect().await.unwrap();
    // It refuses this value, as it does any other on Windows.
    for (every, shown) in [("5s", "5s"), ("-1s", "5s"), ("250ms", "250ms")] {
        looked_for(&mut connection, every).await.unwrap();
        let row = sqlx::query("SHOW client_connection_check_interval").fetch_one(&mut connection).await;
        assert_eq!(row.unwrap().get::<String, _>(0), shown);
    }
    assert!(looked_for(&mut connection, "5s'; SET nothing_of_the_kind = '1").await.is_err());
}
