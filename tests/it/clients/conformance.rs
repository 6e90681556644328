//! The official conformance suite of MCP, against the server as it is.
//!
//! What the server cannot pass is listed for each revision in `tests/clients/node/conformance-*.yml`: scenarios that need
//! the suite's own tools, resources and prompts. The suite fails on whatever else fails, and on an entry that passes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{node, program, run, tool};
use crate::client::{export, request, span};
use crate::server::Server;

const REVISIONS: [&str; 2] = ["2026-07-28", "2025-11-25"];

/// The suite, told to keep what it found in `found`.
fn suite(server: &Server, found: &Path, arguments: &[&str]) -> Command {
    let mut command = node::node();
    command
        .arg(tool("node/node_modules/@modelcontextprotocol/conformance/dist/index.js"))
        .args(["server", "--url", &format!("http://{}/mcp", server.http), "--output-dir"])
        .arg(found)
        .args(arguments);
    command
}

/// Runs all that `revision` requires, with a list of the scenarios that are expected to fail. Answers whether the suite is
/// content, and what it said.
async fn required(server: &Server, revision: &str, expected: &Path) -> (bool, String) {
    let found = tempfile::tempdir().unwrap();
    let expected = expected.to_str().unwrap();
    let arguments = ["--requirements", revision, "--expected-failures", expected];
    let ended = run(suite(server, found.path(), &arguments)).await;
    // It looked at something.
    let scenarios = std::fs::read_dir(found.path()).map_or(0, Iterator::count);
    assert!(30 < scenarios, "{revision}: {scenarios} scenarios were run: {}{}", ended.output, ended.errors);
    (ended.status.success(), format!("{}{}", ended.output, ended.errors))
}

fn list_of(revision: &str) -> PathBuf {
    program(&format!("node/conformance-{revision}.yml"))
}

async fn server() -> Server {
    let server = Server::start(&[]).await;
    export(&server, super::TENANT, &request("shop", vec![span(1, 1, None, "GET /", 2)])).await;
    server.settled().await;
    server
}

#[tokio::test]
async fn j3_the_official_suite_finds_nothing_but_that_its_own_tools_are_not_there() {
    let server = server().await;
    for revision in REVISIONS {
        let (is_content, said) = required(&server, revision, &list_of(revision)).await;
        assert!(is_content, "{revision}:\n{said}");
    }
    // The suite runs it with the rest of its revision, but does not count it there.
    let found = tempfile::tempdir().unwrap();
    let arguments = ["--scenario", "http-header-validation", "--spec-version", "2026-07-28"];
    let ended = run(suite(&server, found.path(), &arguments)).await;
    assert!(ended.status.success(), "{}{}", ended.output, ended.errors);
}

#[tokio::test]
async fn j3_a_scenario_too_few_or_too_many_on_the_list_is_a_failure() {
    let server = server().await;
    let folder = tempfile::tempdir().unwrap();
    for (revision, fails, passes) in [
        ("2026-07-28", "tools-call-image", "caching"),
        ("2025-11-25", "logging-set-level", "server-initialize"),
    ] {
        let list = std::fs::read_to_string(list_of(revision)).unwrap();
        let entry = format!("  - {fails}\n");
        assert!(list.contains(&entry), "{fails} is not on the list");
        for (name, list) in [(fails, list.replace(&entry, "")), (passes, format!("{list}  - {passes}\n"))] {
            let path = folder.path().join("list.yml");
            std::fs::write(&path, list).unwrap();
            let (is_content, said) = required(&server, revision, &path).await;
            assert!(!is_content, "{revision}: {name} was not noticed:\n{said}");
            assert!(said.contains(name), "{revision}: {name} is not told:\n{said}");
        }
    }
}
