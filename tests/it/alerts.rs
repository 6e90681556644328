//! The alerts in `docs/alerts`: promtool accepts them, their own tests hold, and they speak of what the server shows.

use std::fs::read_to_string;
use std::path::PathBuf;
use std::process::Command;

use crate::clients::promtool::{feed, scrape};
use crate::server::{Server, checkout};

const RULES: &str = "otelcontext.rules.yml";
const TESTS: &str = "otelcontext.rules.test.yml";
/// The predecessor's names, made of this server's metrics.
const PREDECESSOR: &str = "predecessor.rules.yml";
const PREDECESSOR_TESTS: &str = "predecessor.rules.test.yml";
/// What counters may be given to: their value alone says nothing.
const OVER_TIME: [&str; 3] = ["rate(", "increase(", "resets("];

fn path(name: &str) -> PathBuf {
    checkout().join("docs/alerts").join(name)
}

fn read(name: &str) -> String {
    read_to_string(path(name)).unwrap()
}

/// Has promtool do something with a file; answers what it says, having found no fault.
fn promtool(arguments: &[&str], name: &str) -> String {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).arg(path(name));
    feed(promtool, "")
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_hold() {
    for (rules, tests) in [(RULES, TESTS), (PREDECESSOR, PREDECESSOR_TESTS)] {
        let said = promtool(&["check", "rules", "--lint=all", "--lint-fatal"], rules);
        assert!(said.contains("SUCCESS"), "{said}");
        let said = promtool(&["test", "rules"], tests);
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_name_of_the_predecessor_is_tested() {
    let (rules, tests) = (read(PREDECESSOR), read(PREDECESSOR_TESTS));
    let names: Vec<&str> = rules.split("- record: ").skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert!(names.len() > 10);
    names.iter().for_each(|name| assert!(tests.contains(name), "{name} has no test"));
}

#[test]
fn every_alert_is_tested_and_names_a_section_of_the_guide() {
    let (rules, tests) = (read(RULES), read(TESTS));
    let guide = read_to_string(checkout().join("docs/OPERATIONS.md")).unwrap();
    let is_section = |name: &str| {
        let (heading, paragraph) = (format!(" {name}"), format!("**{name}.**"));
        guide.lines().any(|line| {
            line.starts_with(&paragraph)
                || line.starts_with('#') && line.trim_start_matches('#') == heading.as_str()
        })
    };
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
        let mut told =
            alert.lines().filter_map(|line| line.trim().strip_prefix("See docs/OPERATIONS.md, section "));
        let section = told.next().unwrap_or_else(|| panic!("{name} names no section"));
        assert!(is_section(section), "{name}: docs/OPERATIONS.md has no section {section}");
    }
}

/// Each metric of the server that `text` names, between what stands before it and after it.
fn named(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.match_indices("otelcontext_").map(move |(at, _)| {
        let (before, rest) = text.split_at(at);
        let end = rest.find(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        (before, name, after)
    })
}

/// The labels that a selector asks for, each with a value: `{a="1",b=~"2|3"}` asks for three.
fn asked(after: &str) -> Vec<(&str, &str)> {
    let Some((selector, _)) = after.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Vec::new();
    };
    let parts = selector.split(',').filter_map(|part| part.split_once('='));
    parts
        .flat_map(|(label, values)| {
            let values = values.trim_start_matches('~').trim_matches('"');
            values.split('|').map(move |value| (label.trim_end_matches('!'), value))
        })
        .collect()
}

#[tokio::test]
async fn the_rules_ask_for_metrics_and_labels_that_are_there_from_the_start() {
    let server = Server::start(&[]).await;
    let text = scrape(&server, "text/plain").await;
    let samples = |name: &str| {
        let starts = [format!("{name} "), format!("{name}{{")];
        text.lines().filter(move |line| starts.iter().any(|start| line.starts_with(start.as_str())))
    };
    for file in [RULES, TESTS, PREDECESSOR, PREDECESSOR_TESTS] {
        let content = read(file);
        for (_, name, _) in named(&content) {
            assert!(samples(name).next().is_some(), "{file}: {name} is not shown:\n{text}");
            let is_counter = text.contains(&format!("# TYPE {name} counter\n"));
            assert_eq!(is_counter, name.ends_with("_total"), "{file}: {name}");
        }
    }
    let has_labels = |name: &str, after: &str| {
        for (label, value) in asked(after) {
            let wanted = format!("{label}=\"{value}\"");
            assert!(samples(name).any(|line| line.contains(&wanted)), "{name} has no {wanted}:\n{text}");
        }
    };
    let predecessor = read(PREDECESSOR);
    for expression in predecessor.split(" expr: ").skip(1).filter_map(|rest| rest.lines().next()) {
        named(expression).for_each(|(_, name, after)| has_labels(name, after));
    }
    let rules = read(RULES);
    let expressions = rules.split(" expr: ").skip(1).filter_map(|rest| rest.split("\n        for: ").next());
    for expression in expressions {
        for (before, name, after) in named(expression) {
            let is_over_time = OVER_TIME.iter().any(|function| before.ends_with(function));
            assert_eq!(is_over_time, name.ends_with("_total"), "{name} in {expression}");
            has_labels(name, after);
        }
    }
}
