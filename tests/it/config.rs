//! The configuration as operators meet it.

use std::fs;
use std::process::Command;

use otelcontext::config::env_example;

#[test]
fn env_example_is_written_from_the_code() {
    let path = crate::server::checkout().join(".env.example");
    let wanted = env_example();
    let found = fs::read_to_string(&path).unwrap_or_default();
    if found != wanted {
        fs::write(&path, &wanted).unwrap();
        panic!(".env.example was out of date; it is written anew: commit it");
    }
}

#[test]
fn check_config_prints_every_mistake_and_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_otelcontext"))
        .arg("check-config")
        .current_dir(&folder)
        .env_clear()
        .envs([("HTTP_PORT", "http"), ("INGEST_ACK", "memory")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("HTTP_PORT") && text.contains("INGEST_ACK"), "{text}");
}

#[test]
fn dot_env_is_read_and_the_environment_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "HTTP_PORT=18080\nGRPC_PORT=14317\nAPI_KEY=hunter2\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_otelcontext"))
        .args(["check-config", "--json"])
        .current_dir(&folder)
        .env_clear()
        .env("GRPC_PORT", "24317")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hunter2"), "a secret is shown: {text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let variable = |name: &str| {
        let variables = value["variables"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&variable("HTTP_PORT")["value"], &variable("HTTP_PORT")["origin"]),
        (&"18080".into(), &".env".into())
    );
    assert_eq!(
        (&variable("GRPC_PORT")["value"], &variable("GRPC_PORT")["origin"]),
        (&"24317".into(), &"environment".into())
    );
}
