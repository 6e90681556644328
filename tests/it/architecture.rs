//! The map in `docs/ARCHITECTURE.md`, executed.
//!
//! Who may import whom, where each large dependency is spelled, who may mint what is trusted, and how long a file may
//! be. To move a wall, change a word here and say why in the commit, or in a decision record where it is a large one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules it may import, innermost first; what is absent is forbidden.
const MAY_IMPORT: &[(&str, &str)] = &[
    // Words.
    ("model", ""),
    ("fault", ""),
    ("clock", "model"),
    ("threads", ""),
    ("vitals", "model"),
    // Gates and pure transforms.
    ("net", "fault"),
    ("auth", "model fault clock"),
    ("admit", "fault model"),
    ("decode", "model fault"),
    ("encode", "model"),
    ("rules", "model"),
    ("diagnose", "model"),
    ("reckon", "model"),
    // State: strangers to each other.
    ("journal", "model fault"),
    ("letters", "model fault"),
    ("templates", "model"),
    ("graph", "model"),
    ("search", "model fault threads"),
    ("store", "model fault clock threads"),
    // Services: the only modules that see more than one kind of state.
    ("pipeline", "model fault clock vitals admit decode encode rules journal letters templates graph store"),
    ("query", "model fault clock diagnose reckon graph search store"),
    ("transfer", "model fault clock decode encode journal letters store"),
    ("upkeep", "model fault clock vitals diagnose reckon journal graph search store query"),
    // Surfaces.
    ("receive", "model fault clock auth admit decode rules pipeline"),
    // `api` and `mcp` name evidence and stored rows in the forms that questions answer with.
    ("api", "model fault vitals admit auth diagnose reckon store query"),
    ("mcp", "model fault admit diagnose query store"),
    // Composition.
    ("config", "model"),
    (
        "app",
        "model fault clock vitals admit auth decode rules net graph journal letters search store pipeline query transfer upkeep receive api mcp config",
    ),
    ("cli", "model fault clock threads vitals auth decode letters store templates transfer config app"),
    // Only in tests and in the programs of `tests/fuzz`: the drivers of every module that reads bytes from outside, each
    // of which stands in the module itself. Nothing imports it.
    (
        "fuzzing",
        "net auth decode reckon rules journal letters templates search store transfer receive api config",
    ),
];

/// Each large dependency and the only modules that may spell it.
const HOMES: &[(&str, &str)] = &[
    ("anyhow", "app cli"),
    ("azure_core", "store"),
    ("azure_identity", "store"),
    ("axum", "auth receive api mcp app"),
    ("clap", "cli"),
    ("getrandom", "cli"),
    ("hyper_rustls", "store"),
    ("hyper_util", "net store"),
    ("ipnet", "auth config"),
    ("loadsim", "cli"),
    ("mcp_tools", "mcp fuzzing"),
    ("moka", "query"),
    ("opentelemetry", "vitals"),
    ("opentelemetry_otlp", "vitals"),
    ("opentelemetry_sdk", "vitals"),
    ("petgraph", "graph"),
    ("prometheus_client", "vitals"),
    ("rcgen", "net"),
    ("reqwest", "cli"),
    ("rustix", "journal transfer threads app"),
    ("rmcp", ""),
    ("rustls", "net store"),
    ("serde", "api"),
    ("sqlx", "store"),
    ("tantivy", "search"),
    ("tantivy_query_grammar", "search"),
    ("tokio_rustls", "net"),
    ("tonic", "auth receive vitals"),
    ("utoipa", "api"),
    ("x509_parser", "net"),
];

/// Calls that create something trusted, and the only modules that may make them outside tests.
const MINTS: &[(&str, &str)] = &[("Scope::authorized(", "auth")];

/// Longest source file in lines; test files are exempt.
const FILE_LINES_MAX: usize = 500;

#[test]
fn sources_follow_the_map() {
    let mut faults = Vec::new();
    for (module, path, text) in sources() {
        let is_test = is_test_file(&path);
        for (line, fault) in check(&module, &text, is_test) {
            faults.push(format!("{}:{line}: {fault}", path.display()));
        }
        if !is_test && FILE_LINES_MAX < text.lines().count() {
            faults.push(format!("{}: over {FILE_LINES_MAX} lines", path.display()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_map_has_no_cycle_and_no_stranger() {
    let mut seen = BTreeSet::new();
    for (module, imports) in MAY_IMPORT {
        for import in imports.split_whitespace() {
            let declared_later = *module == "app" && import == "config";
            assert!(
                seen.contains(import) || declared_later,
                "`{module}` imports `{import}`, listed later or never"
            );
        }
        seen.insert(*module);
    }
    let found: BTreeSet<String> = sources().into_iter().map(|(module, ..)| module).collect();
    let listed: BTreeSet<String> = seen.into_iter().map(str::to_owned).collect();
    assert_eq!(found, listed, "the map and `src` list different modules");
}

#[test]
fn the_agent_contract_is_spelled_in_its_crate_only() {
    for (_, path, text) in sources() {
        assert!(!text.contains("rmcp::"), "{}: rmcp lives in the crate mcp-tools", path.display());
    }
}

#[test]
fn planted_faults_are_caught() {
    let caught = |module: &str, text: &str| {
        check(module, text, false).into_iter().map(|(_, fault)| fault).collect::<Vec<_>>()
    };
    assert!(caught("query", "use crate::store::Store; // crate::api is not code").is_empty());
    assert_eq!(caught("store", "use crate::query::Query;"), ["`store` may not import `query`"]);
    assert_eq!(caught("graph", "let s: crate::store::Store;"), ["`graph` may not import `store`"]);
    assert_eq!(caught("api", "let rows = sqlx::query(SQL);"), ["`sqlx` lives in store"]);
    assert_eq!(caught("mcp", "Scope::authorized(name)"), ["`Scope::authorized(…)` belongs to auth"]);
    assert_eq!(caught("api", "use super::super::store;"), ["name the module: `crate::…`"]);
    assert_eq!(caught("query", "use crate::{store, graph};"), ["write one `use` per module"]);
    assert_eq!(caught("shiny", ""), ["module `shiny` is not on the map"]);
    assert!(caught("mcp", "#[cfg(test)]\nmod tests {\n    Scope::authorized(name)\n}").is_empty());
}

/// Returns each fault in one file of `module`, with its line, counted from 1. What follows the first `#[cfg(test)]` is
/// test code, in which scopes may be made up.
fn check(module: &str, text: &str, is_test: bool) -> Vec<(usize, String)> {
    let map: BTreeMap<&str, &str> = MAY_IMPORT.iter().copied().collect();
    let Some(may) = map.get(module) else {
        return vec![(1, format!("module `{module}` is not on the map"))];
    };
    let mut faults = Vec::new();
    let mut in_tests = is_test;
    for (index, line) in text.lines().enumerate() {
        in_tests |= line.contains("#[cfg(test)]");
        let code = line.split("//").next().unwrap_or_default();
        let mut fault = |text: String| faults.push((index + 1, text));
        if code.contains("crate::{") {
            fault("write one `use` per module".into());
        }
        if code.contains("super::super") && !in_tests {
            fault("name the module: `crate::…`".into());
        }
        for import in paths_from(code, "crate") {
            let known = map.contains_key(import.as_str()) && import != module;
            if known && !may.split_whitespace().any(|it| it == import) && !in_tests {
                fault(format!("`{module}` may not import `{import}`"));
            }
        }
        for (call, minters) in MINTS {
            if code.contains(call)
                && !in_tests
                && !minters.split_whitespace().any(|minter| minter == module)
                && module != "model"
            {
                fault(format!("`{call}…)` belongs to {minters}"));
            }
        }
        for (dependency, homes) in HOMES {
            let named = !paths_from(code, dependency).is_empty();
            if named && !in_tests && !homes.split_whitespace().any(|home| home == module) {
                fault(format!("`{dependency}` lives in {homes}"));
            }
        }
    }
    faults
}

fn is_test_file(path: &Path) -> bool {
    let named =
        path.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"));
    named || path.components().any(|part| part.as_os_str() == "tests")
}

/// Returns the identifier after each `root::` in `code`.
fn paths_from(code: &str, root: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let needle = format!("{root}::");
    code.match_indices(&needle)
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| is_word(c) || c == ':'))
        .map(|(at, _)| code[at + needle.len()..].chars().take_while(|c| is_word(*c)).collect())
        .collect()
}

/// Returns every file under `src/` as (top-level module, path, text); `lib.rs` and `main.rs` excepted.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = crate::server::checkout().join("src");
    let mut found = Vec::new();
    let mut pending = vec![root.clone()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&root).unwrap();
                let first = inner.iter().next().unwrap().to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                if module != "lib" && module != "main" {
                    found.push((module, inner.to_owned(), fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found
}
