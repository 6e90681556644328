//! The kept inputs of every target, and a fixed number of changes of them.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::mutate::{Chance, mutate};
use super::{TARGETS, Target};

/// Most bytes of all kept inputs, and of one of them.
const CORPUS_BYTES_MAX: u64 = 1 << 20;
const INPUT_BYTES_MAX: u64 = 32 << 10;
/// Changed inputs of each target: up to a second of a debug build. `OTELCONTEXT_TEST_INPUTS` asks for others.
const INPUTS: u64 = 10_000;
/// Where the slow ones stop: what they do takes up to a millisecond.
const INPUTS_OF_SLOW: u64 = 1_000;
const SLOW: [&str; 4] = ["receive_inflate", "receive_packed", "journal_damage", "store_rows"];

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder in the order of their names, with their content.
fn kept(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The first of `count` changes of the kept inputs at which `target` panics, with what it said.
fn smoke(name: &str, target: Target, kept: &[Vec<u8>], count: u64) -> Option<(u64, Vec<u8>)> {
    (0..count).find_map(|number| {
        let seed = xxh3_64(name.as_bytes()).wrapping_add(number);
        let input = mutate(kept, &mut Chance::of(seed));
        catch_unwind(AssertUnwindSafe(|| target(&input))).is_err().then_some((seed, input))
    })
}

/// Runs the kept inputs of one target and changes of them.
fn check(name: &str, target: Target) {
    let folder = checkout().join("tests/corpus").join(name);
    let kept = kept(&folder);
    assert!(!kept.is_empty(), "{} has no input", folder.display());
    for (path, input) in &kept {
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        assert!(outcome.is_ok(), "{name} panics at {}", path.display());
    }
    let kept: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    let asked = std::env::var("OTELCONTEXT_TEST_INPUTS").ok().map(|count| count.parse().unwrap());
    let count = asked.unwrap_or(if SLOW.contains(&name) { INPUTS_OF_SLOW } else { INPUTS });
    if let Some((seed, input)) = smoke(name, target, &kept, count) {
        let path = std::env::temp_dir().join(format!("otelcontext-{name}-{seed:016x}"));
        fs::write(&path, &input).unwrap();
        panic!(
            "{name} panics at an input of seed {seed:016x}, in {}; `tests/fuzz/run {name} {0}` runs it again, and it \
             belongs into tests/corpus/{name}",
            path.display()
        );
    }
}

/// One test for each target, so that they run beside each other and are told apart.
macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                check(name, super::target(name).unwrap());
            }
        )*

        /// The targets that have a test.
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    decode_traces decode_logs decode_metrics decode_traces_json decode_logs_json decode_metrics_json
    receive_inflate receive_packed receive_grpc_message receive_headers
    auth_headers auth_keys net_certificates config_variables config_dot_env
    rules_body rules_details templates_lines
    journal_segment journal_damage letters_letter
    store_block store_rows store_statement store_dsn reckon_rollup search_query
    api_cursor api_time mcp_time mcp_arguments
    transfer_request transfer_lines transfer_manifest transfer_answers
}

#[test]
fn every_target_has_a_test_a_program_and_inputs() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name comes twice");
    assert_eq!(TESTED.iter().copied().collect::<BTreeSet<_>>(), names);
    let manifest = fs::read_to_string(checkout().join("tests/fuzz/Cargo.toml")).unwrap();
    let programs = manifest.split("[[bin]]").skip(1).map(|program| program.split('"').nth(1).unwrap());
    assert_eq!(programs.collect::<BTreeSet<_>>(), names);
    let corpus = kept_folders();
    assert_eq!(corpus.iter().map(String::as_str).collect::<BTreeSet<_>>(), names);
}

#[test]
fn kept_inputs_are_few_and_small() {
    let mut bytes = 0;
    for name in kept_folders() {
        let mut seen = BTreeSet::new();
        for (path, input) in kept(&checkout().join("tests/corpus").join(name)) {
            let length = input.len() as u64;
            assert!(length <= INPUT_BYTES_MAX, "{} has {length} bytes", path.display());
            assert!(seen.insert(input), "{} is there twice", path.display());
            bytes += length;
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes of inputs are kept");
}

fn kept_folders() -> Vec<String> {
    let listed = fs::read_dir(checkout().join("tests/corpus")).unwrap();
    listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_planted_defect_is_found() {
    /// Panics where two bytes stand beside each other that no kept input has so.
    fn planted(input: &[u8]) {
        assert!(!input.windows(2).any(|pair| pair == b"}\x80"), "planted");
    }
    let inputs: Vec<Vec<u8>> =
        kept(&checkout().join("tests/corpus/decode_logs_json")).into_iter().map(|(_, input)| input).collect();
    assert!(inputs.iter().all(|input| catch_unwind(|| planted(input)).is_ok()), "a kept input has the pair");
    let (seed, input) = smoke("planted", planted, &inputs, INPUTS).expect("the defect is found");
    assert_eq!(mutate(&inputs, &mut Chance::of(seed)), input, "the seed makes the input again");
    assert_eq!(smoke("sound", |_| {}, &inputs, INPUTS), None);
}
