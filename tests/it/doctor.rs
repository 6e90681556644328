//! What an operator is told before a start: by `doctor`, by `check-config`, and by `serve` itself.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use time::OffsetDateTime;

/// Runs the program with its data in `data` of `folder`.
fn run(folder: &Path, variables: &[(&str, String)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otelcontext"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs([("GRPC_PORT", "0"), ("OTLP_HTTP_PORT", "0"), ("HTTP_PORT", "0")])
        // However full the disk is that the tests run on.
        .envs([("DATA_DIR", "data"), ("DATA_DISK_FREE_MIN_MB", "0")])
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What `doctor` found.
struct Report {
    code: Option<i32>,
    told: Value,
}

impl Report {
    fn of(folder: &Path, variables: &[(&str, String)]) -> Self {
        let output = run(folder, variables, &["doctor", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let code = output.status.code();
        assert_eq!(told["ok"], code == Some(0), "{told}");
        Self { code, told }
    }

    /// Whether a check is well, whether it is a warning, and what it tells.
    fn check(&self, name: &str) -> (bool, bool, String) {
        let mut checks = self.told["checks"].as_array().unwrap().iter();
        let check = checks.find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no {name}: {}", self.told));
        (check["ok"] == true, check["warning"] == true, check["detail"].as_str().unwrap().to_owned())
    }
}

/// Writes a certificate for localhost that ends in so many days, and its key; answers the variables that name them.
fn certificate(folder: &Path, days: i64) -> [(&'static str, String); 2] {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let end = jiff::Timestamp::now().as_second() + days * 86_400 + 3_600;
    params.not_after = OffsetDateTime::from_unix_timestamp(end).unwrap();
    let pair = KeyPair::generate().unwrap();
    let (chain, key) = (folder.join("server.crt"), folder.join("server.key"));
    std::fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    [("TLS_CERT_FILE", chain.display().to_string()), ("TLS_KEY_FILE", key.display().to_string())]
}

/// A database of somebody else, with a table by the name of one of ours.
async fn somebody_elses(path: &Path) {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE spans (id INTEGER)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_machine_that_will_do_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let report = Report::of(folder.path(), &[]);
    assert_eq!(report.code, Some(0));
    for name in ["HTTP_PORT", "data directory", "disk space", "dead letters", "certificate", "clock"] {
        assert!(report.check(name).0, "{name}: {:?}", report.check(name));
    }
    let (ok, _, told) = report.check("database");
    assert!(ok && told.contains("is made at the start"), "{told}");
    assert!(folder.path().read_dir().unwrap().next().is_none(), "something was made");

    // A database that is there is read and written, and stays as it is.
    let output = run(folder.path(), &[], &["migrate"]);
    assert!(output.status.success(), "{output:?}");
    let names = || {
        let entries = folder.path().join("data").read_dir().unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let report = Report::of(folder.path(), &[]);
    let (ok, _, told) = report.check("database");
    assert!(ok && told.contains("can be read and written; 0 migrations pending"), "{told}");
    assert_eq!((report.code, names()), (Some(0), before));
}

#[test]
fn certificates_that_end_soon_are_warned_of_and_those_that_ended_fail() {
    let folder = tempfile::tempdir().unwrap();
    for (days, ok, warning, wanted) in [
        (90, true, false, "ends in 90 days"),
        (13, true, true, "ends in 13 days"),
        (-1, false, false, "ended"),
    ] {
        let report = Report::of(folder.path(), &certificate(folder.path(), days));
        let (is_ok, is_warning, told) = report.check("certificate");
        assert_eq!((is_ok, is_warning), (ok, warning), "{days}: {told}");
        assert!(told.contains(wanted), "{days}: {told}");
        assert_eq!(report.code, Some(if ok { 0 } else { 3 }));
    }
}

#[tokio::test]
async fn what_would_keep_a_server_from_starting_is_a_finding_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    somebody_elses(&other).await;
    std::fs::write(folder.path().join("file"), "").unwrap();
    let variables = [
        ("DB_DSN", other.display().to_string()),
        ("API_TENANT_KEYS_FILE", "missing.json".to_owned()),
        ("DLQ_PATH", "file".to_owned()),
        ("PORTS_FILE", "nowhere/ports.json".to_owned()),
    ];
    let report = Report::of(folder.path(), &variables);
    assert_eq!(report.code, Some(3));
    for (name, wanted) in [
        ("database", "import --predecessor"),
        ("API_TENANT_KEYS_FILE", "missing.json"),
        ("dead letters", "is not a folder"),
        ("PORTS_FILE", "there is no folder nowhere"),
    ] {
        let (ok, _, told) = report.check(name);
        assert!(!ok && told.contains(wanted), "{name}: {told}");
    }
    assert!(report.check("clock").0, "the report goes on");

    let postgres = |dsn: &str| [("DB_DRIVER", "postgres".to_owned()), ("DB_DSN", dsn.to_owned())];
    let report = Report::of(folder.path(), &postgres("postgres://u:hunter2@127.0.0.1/x?hots=y"));
    let (ok, _, told) = report.check("database");
    assert!(report.code == Some(3) && !ok && told.contains("DB_DSN") && !told.contains("hunter2"), "{told}");
    let report = Report::of(folder.path(), &postgres("postgres://u:p@127.0.0.1:1/x?sslmode=disable"));
    assert!(report.code == Some(3) && !report.check("database").0);
    assert!(!folder.path().join("data").exists(), "something was made");
}

#[tokio::test]
async fn a_server_does_not_start_on_tables_of_somebody_else_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db");
    somebody_elses(&other).await;
    let before = std::fs::read(&other).unwrap();
    let output = run(folder.path(), &[("DB_DSN", other.display().to_string())], &["serve"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`spans`") && said.contains("import --predecessor"), "{said}");
    assert_eq!(std::fs::read(&other).unwrap(), before);
}

#[test]
fn settings_that_cannot_be_had_are_told_all_at_once_by_whoever_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let variables = [
        ("DATA_DIR", "file/data".to_owned()),
        ("API_TENANT_KEYS_FILE", "missing.json".to_owned()),
        ("TLS_CERT_FILE", "missing.crt".to_owned()),
        ("TLS_KEY_FILE", "missing.key".to_owned()),
        ("INGEST_ACK", "memory".to_owned()),
    ];
    for command in ["check-config", "serve"] {
        let output = run(folder.path(), &variables, &[command]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        for wanted in ["DATA_DIR: ", "missing.json", "missing.crt", "INGEST_ACK: `memory`"] {
            assert_eq!(said.matches(wanted).count(), 1, "{command}: {wanted}: {said}");
        }
    }
}
