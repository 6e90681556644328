//! The suite as a document.

use std::fmt::Write;

use super::judge::{Outcome, Score, calibration, precision_and_recall};
use super::suite::Report;

/// What is quoted of an answer, in characters.
const QUOTED_MAX: usize = 160;

impl Report {
    /// The scores in Markdown: by kind of fault, confidence, impact, then the misses.
    pub fn document(&self) -> String {
        let mut text = String::new();
        for (is_recent, title) in
            [(false, "Told the window of the fault"), (true, "Told the last 30 minutes")]
        {
            let asked: Vec<&Outcome> = self.outcomes.iter().filter(|it| it.is_recent == is_recent).collect();
            write!(text, "### {title}\n\n").ok();
            text.push_str("| fault | runs | first | among 3 | first, and its level | abstained |\n|---|---|---|---|---|---|\n");
            let mut kinds: Vec<&str> = asked.iter().map(|it| it.kind.as_str()).collect();
            kinds.dedup();
            for kind in kinds {
                let of_kind: Vec<&Outcome> = asked.iter().filter(|it| it.kind == kind).copied().collect();
                line(&mut text, kind, &of_kind);
            }
            let faulty: Vec<&Outcome> = asked.iter().filter(|it| !it.is_quiet()).copied().collect();
            line(&mut text, "all faults", &faulty);
            text.push('\n');
        }
        let window: Vec<&Outcome> = self.outcomes.iter().filter(|it| !it.is_recent).collect();
        confidence(&mut text, &window);
        impact(&mut text, &window);
        misses(&mut text, &window);
        text
    }
}

fn line(text: &mut String, kind: &str, outcomes: &[&Outcome]) {
    let it = Score::of(outcomes);
    if outcomes.iter().all(|outcome| outcome.is_quiet()) {
        writeln!(text, "| {kind} | {} | – | – | – | {:.2} |", it.runs, it.abstained).ok();
        return;
    }
    let [first, among_3, level, abstained] =
        [it.first, it.among_3, it.level, it.abstained].map(|share| format!("{share:.2}"));
    writeln!(text, "| {kind} | {} | {first} | {among_3} | {level} | {abstained} |", it.runs).ok();
}

fn confidence(text: &mut String, outcomes: &[&Outcome]) {
    let named = outcomes.iter().filter(|it| !it.ranking.is_empty());
    let answers: Vec<(f64, bool)> = named.map(|it| (it.confidence, it.rank() == Some(1))).collect();
    let (bins, error) = calibration(&answers);
    write!(text, "### Confidence\n\nExpected calibration error: {error:.3}.\n\n").ok();
    text.push_str("| confidence | answers | mean confidence | right |\n|---|---|---|---|\n");
    for (tenth, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.answers > 0) {
        let (from, to) = (tenth as f64 / 10.0, (tenth + 1) as f64 / 10.0);
        writeln!(text, "| {from:.1}–{to:.1} | {} | {:.2} | {:.2} |", bin.answers, bin.confidence, bin.right)
            .ok();
    }
    text.push('\n');
}

fn impact(text: &mut String, outcomes: &[&Outcome]) {
    let (precision, recall) = precision_and_recall(outcomes);
    let told = outcomes.iter().filter(|outcome| outcome.impact.is_some()).count();
    write!(
        text,
        "### Impact\n\nOperations that wait for the failing node, over {told} runs: precision {precision:.3}, recall {recall:.3}.\n\n"
    )
    .ok();
}

fn misses(text: &mut String, outcomes: &[&Outcome]) {
    text.push_str("### Misses\n\n| fault | seed | right | its rank | named first | as | because |\n|---|---|---|---|---|---|---|\n");
    let is_missed = |it: &&&Outcome| if it.is_quiet() { !it.abstains } else { !it.is_level_right() };
    for miss in outcomes.iter().filter(is_missed) {
        let rank = miss.rank().map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        let first = miss.ranking.first().map_or("–", String::as_str);
        let said: String = miss.said.replace('|', "/").chars().take(QUOTED_MAX).collect();
        let (kind, seed, level) = (&miss.kind, miss.seed, miss.level.join(", "));
        let right = if miss.is_quiet() { "nothing".to_owned() } else { miss.wanted.join(" or ") };
        writeln!(text, "| {kind} | {seed} | {right} | {rank} | {first} | {level} | {said} |").ok();
    }
}
