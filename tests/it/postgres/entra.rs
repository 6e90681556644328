//! Logging in with tokens: a real Postgres with TLS, and a token endpoint over real HTTPS. The role's password is the
//! token, which Azure's own server would check in another way; everything before that is the same.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use otelcontext::fault::{Kind, chain};
use otelcontext::store::postgres::entra::{Environment, Tokens};
use otelcontext::store::postgres::login::{Error, Login};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Row};

use super::endpoint::{Answer, Endpoint, unix_seconds};
use super::login::encrypted;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const SECRET: &str = "s3cr3t-of-the-application";

/// A token as long as Entra's; the role gets it as its password.
fn token(role: &str, number: u32) -> String {
    let token = format!("eyJ0eXAi.{}.{number}", "QWxsIG9mIGl0IQ".repeat(120));
    encrypted().sql("postgres", &format!("ALTER ROLE {role} PASSWORD '{token}'"));
    token
}

fn login_with(role: &str, variables: &[(&str, String)]) -> Login {
    let server = encrypted();
    let authority = server.file("ca.crt");
    let dsn = format!(
        "host=localhost port={} user={role} dbname=postgres sslmode=verify-full sslrootcert={}",
        server.port(),
        authority.display()
    );
    let environment = Environment::read(|name| {
        let mut variables = variables.iter();
        variables.find_map(|(other, value)| (*other == name).then(|| value.clone()))
    });
    Login::parse(&dsn).unwrap().with_tokens(Tokens::new(environment).unwrap()).unwrap()
}

/// A login as an application with a secret.
fn application(role: &str, endpoint: &Endpoint) -> Login {
    let file = encrypted().file("ca.crt").display().to_string();
    login_with(
        role,
        &[
            ("AZURE_TENANT_ID", TENANT.into()),
            ("AZURE_CLIENT_ID", "the-client".into()),
            ("AZURE_CLIENT_SECRET", SECRET.into()),
            ("AZURE_AUTHORITY_HOST", endpoint.authority()),
            ("SSL_CERT_FILE", file),
        ],
    )
}

async fn enter(login: &Login) -> Result<String, Error> {
    let mut connection = login.connect().await?;
    let row = sqlx::raw_sql("SELECT current_user::text").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Ok(row.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_once_and_opens_the_database() {
    let endpoint = Endpoint::start(encrypted().folder(), Answer::Token(token("entra", 1), 3600)).await;
    let login = application("entra", &endpoint);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let login = login.clone();
        running.spawn(async move { enter(&login).await });
    }
    while let Some(entered) = running.join_next().await {
        assert_eq!(entered.unwrap().unwrap(), "entra");
    }
    assert_eq!(enter(&login).await.unwrap(), "entra");
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let (path, form) = &requests[0];
    assert_eq!(path, &format!("/{TENANT}/oauth2/v2.0/token"));
    for part in [
        "grant_type=client_credentials",
        "client_id=the-client",
        &format!("client_secret={SECRET}"),
        "scope=https%3A%2F%2Fossrdbms-aad.database.windows.net%2F.default",
    ] {
        assert!(form.contains(part), "{part} is not in {form}");
    }

    // The database takes another token now: the first refusal makes the login ask again.
    endpoint.answer(Answer::Token(token("entra", 2), 3600));
    let refused = enter(&login).await.unwrap_err();
    assert!(matches!(refused, Error::Denied { .. }), "{refused:?}");
    assert_eq!(enter(&login).await.unwrap(), "entra");
    assert_eq!(endpoint.requests().len(), 2);
    let shown = format!("{login:?} {refused:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("eyJ0eXAi"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_gets_the_next_token_before_the_last_expires() {
    let endpoint = Endpoint::start(encrypted().folder(), Answer::Token(token("entra_renewed", 1), 10)).await;
    let login = application("entra_renewed", &endpoint);
    let began = Instant::now();
    // No connection outlives its use, so that each one has to log in.
    let options = PgPoolOptions::new().max_connections(1).max_lifetime(Duration::from_millis(1));
    let pool = options.connect_lazy_with(login.options().await.unwrap());
    sqlx::raw_sql("SELECT 1").execute(&pool).await.unwrap();
    endpoint.answer(Answer::Token(token("entra_renewed", 2), 3600));
    let keeping = tokio::spawn({
        let (login, pool) = (login.clone(), pool.clone());
        async move { login.keep(&pool).await }
    });
    loop {
        // The old token is refused from now on, so this answers only with the new one.
        let fresh = sqlx::PgConnection::connect_with(&pool.connect_options()).await;
        if fresh.is_ok() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the first token expired: {fresh:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(endpoint.requests().len(), 2);
    keeping.abort();
}

#[tokio::test]
async fn while_the_endpoint_fails_the_old_token_is_used_until_it_expires() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(log.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let endpoint = Endpoint::start(encrypted().folder(), Answer::Token(token("entra_kept", 1), 10)).await;
    let login = application("entra_kept", &endpoint);
    assert_eq!(enter(&login).await.unwrap(), "entra_kept");
    endpoint.answer(Answer::Refusal("AADSTS7000215: Invalid client secret provided."));
    let began = Instant::now();
    while endpoint.requests().len() < 2 {
        assert_eq!(enter(&login).await.unwrap(), "entra_kept");
        assert!(began.elapsed() < Duration::from_secs(10), "nobody asks for a new token");
    }
    assert_eq!(enter(&login).await.unwrap(), "entra_kept");
    let text = log.text();
    assert!(text.contains("acquire entra token") && text.contains("AADSTS7000215"), "{text}");
    assert!(!text.contains(SECRET) && !text.contains("eyJ0eXAi"), "{text}");

    let error = loop {
        match enter(&login).await {
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(20), "an expired token is used"),
            Err(error) => break error,
        }
    };
    let text = chain(&error);
    assert!(
        text.contains("acquire entra token: client secret: ") && text.contains("AADSTS7000215"),
        "{text}"
    );
    assert!(!text.contains(SECRET), "{text}");
    assert_eq!(error.kind(), Kind::Unavailable);
    // It heals by itself.
    endpoint.answer(Answer::Token(token("entra_kept", 2), 3600));
    assert_eq!(enter(&login).await.unwrap(), "entra_kept");
}

#[tokio::test]
async fn a_workload_shows_the_token_of_its_cluster() {
    let endpoint = Endpoint::start(encrypted().folder(), Answer::Token(token("entra_other", 1), 3600)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("federated");
    std::fs::write(&file, "assertion-of-the-cluster").unwrap();
    let mut variables = vec![
        ("AZURE_TENANT_ID", TENANT.to_owned()),
        ("AZURE_CLIENT_ID", "the-client".to_owned()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.display().to_string()),
        ("AZURE_AUTHORITY_HOST", endpoint.authority()),
        ("SSL_CERT_FILE", encrypted().file("ca.crt").display().to_string()),
    ];
    assert_eq!(enter(&login_with("entra_other", &variables)).await.unwrap(), "entra_other");
    let (_, form) = &endpoint.requests()[0];
    assert!(form.contains("client_assertion=assertion-of-the-cluster"), "{form}");

    // An endpoint whose certificate nobody vouches for gets nothing.
    variables[4].1 = encrypted().file("stranger.crt").display().to_string();
    let text = chain(&enter(&login_with("entra_other", &variables)).await.unwrap_err());
    assert!(
        text.contains("acquire entra token: workload identity: ") && text.contains("UnknownIssuer"),
        "{text}"
    );
    assert_eq!(endpoint.requests().len(), 1);
}

/// The name of the variable that tells this program to be the server whose environment the test made.
const DSN: &str = "OTELCONTEXT_TEST_DSN";

/// What stands for a managed identity and for the command line tools is found through the environment of the process, so
/// this test runs itself again in one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_identity_comes_before_the_command_line() {
    if let Ok(dsn) = std::env::var(DSN) {
        let tokens = Tokens::new(Environment::read(|name| std::env::var(name).ok())).unwrap();
        enter(&Login::parse(&dsn).unwrap().with_tokens(tokens).unwrap()).await.unwrap();
        return;
    }
    let server = encrypted();
    let dsn = |role: &str| {
        let authority = server.file("ca.crt");
        format!(
            "host=localhost port={} user={role} dbname=postgres sslmode=verify-full sslrootcert={}",
            server.port(),
            authority.display()
        )
    };
    let endpoint = Endpoint::start(server.folder(), Answer::Token(token("entra_managed", 1), 3600)).await;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("az");
    let answer = serde_json::json!({
        "accessToken": token("entra_cli", 1),
        "expires_on": unix_seconds() + 3600,
        "tokenType": "Bearer",
    });
    std::fs::write(&script, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let identity = format!("{}/msi/token", endpoint.authority());
    let search = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let alone = async |role: &str, variables: &[(&str, &str)]| {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::entra::a_managed_identity_comes_before_the_command_line"])
            .env_clear()
            .envs([("PATH", search.as_str()), (DSN, &dsn(role)), ("IDENTITY_ENDPOINT", &identity)])
            .env("SSL_CERT_FILE", server.file("ca.crt"))
            .envs(variables.iter().copied())
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains("1 passed"), "{role}: {told}");
    };
    alone("entra_managed", &[("IDENTITY_HEADER", "the-header"), ("AZURE_CLIENT_ID", "the-identity")]).await;
    let (path, _) = &endpoint.requests()[0];
    assert!(path.starts_with("/msi/token?") && path.contains("client_id=the-identity"), "{path}");
    // A kind of machine whose managed identities azure_identity does not know: the next in order is asked.
    alone("entra_cli", &[("IMDS_ENDPOINT", "https://localhost")]).await;
    assert_eq!(endpoint.requests().len(), 1);
}

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
