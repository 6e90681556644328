//! Faults planted in generated systems, asked about as an agent does.

use std::path::PathBuf;

use loadsim::planted::agent;
use loadsim::planted::suite::{self, Options, Outcome};

/// One system of each of the fourteen kinds of faults, and two in which nothing is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_are_named_and_quiet_systems_accuse_nobody() {
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_otelcontext")),
        runs: 1,
        seed: 7,
        only: Vec::new(),
    };
    let report = suite::run(&options, |_| {}).await.unwrap();
    let told = report.document();
    let (quiet, faulty): (Vec<&Outcome>, Vec<&Outcome>) =
        report.outcomes.iter().filter(|outcome| !outcome.is_recent).partition(|outcome| outcome.is_quiet());
    assert_eq!((quiet.len(), faulty.len()), (2, 14));
    let first = faulty.iter().filter(|outcome| outcome.rank() == Some(1)).count();
    let level = faulty.iter().filter(|outcome| outcome.is_level_right()).count();
    assert!(first >= 13 && level >= 12, "{first} of 14 first, {level} with their level\n{told}");
    assert!(quiet.iter().all(|outcome| outcome.abstains), "{told}");
    let impacts: Vec<_> = faulty.iter().filter_map(|outcome| outcome.impact.as_ref()).collect();
    let right: usize = impacts.iter().map(|impact| impact.right).sum();
    let wrong: usize = impacts.iter().map(|impact| impact.wrong.len()).sum();
    let missed: usize = impacts.iter().map(|impact| impact.missed.len()).sum();
    assert!(
        impacts.len() == 13 && right >= 9 * (wrong + missed),
        "{right} right, {wrong} wrong, {missed} missed"
    );
}

/// Some kinds, and two quiet systems: what an agent finds that knows the list of tools alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_model_finds_the_cause_in_three_calls() {
    let only =
        ["error", "latency", "dead-dependency", "bad-instance", "network-delay", "queue-backlog", "quiet"];
    let options = Options {
        program: PathBuf::from(env!("CARGO_BIN_EXE_otelcontext")),
        runs: 1,
        seed: 11,
        only: only.map(str::to_owned).to_vec(),
    };
    let report = agent::run(&options, |_| {}).await.unwrap();
    let told = report.document();
    let (quiet, faulty): (Vec<_>, Vec<_>) = report.conversations.iter().partition(|it| it.is_quiet());
    assert_eq!((quiet.len(), faulty.len()), (2, 6));
    let right = faulty.iter().filter(|it| it.is_right()).count();
    assert!(right >= 5 && quiet.iter().all(|it| it.abstains), "{told}");
    assert!(faulty.iter().all(|it| it.calls[0] == "triage" && it.calls.len() <= 3), "{told}");
}
