//! How well log templates fit what people found in the same lines (Zhu et al. 2019; Khan et al. 2022).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// Times that the lines are mined to measure how fast it is.
const PASSES: &str = "200";

/// What is right about the templates of some lines.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Score {
    /// The log.
    pub name: String,
    /// GA: share of lines in a group that holds exactly the lines that belong together.
    pub grouping: f64,
    /// FGA: harmonic mean of the shares of groups that are right, of those found and of those there are.
    pub groups: f64,
    /// PTA: share of found templates whose text is right, and whose lines are all of that template.
    pub texts: f64,
    /// Templates that were found, and that there are.
    pub found: [usize; 2],
    /// Lines a second on one core.
    pub lines_per_second: f64,
}

/// Scores the program's templates of each log in `folder`: `NAME/NAME_2k.content.txt` beside `NAME_2k.truth.csv`.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn evaluate(folder: &Path, program: &Path) -> Result<Vec<Score>> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    names.sort_unstable();
    ensure!(!names.is_empty(), "no logs in {}", folder.display());
    names.iter().map(|path| one(path, program)).collect()
}

fn one(folder: &Path, program: &Path) -> Result<Score> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let truth = std::fs::read(folder.join(format!("{name}_2k.truth.csv"))).with_context(|| name.clone())?;
    let output = Command::new(program)
        .arg("templates")
        .arg(folder.join(format!("{name}_2k.content.txt")))
        .args(["--passes", PASSES])
        .output()
        .with_context(|| program.display().to_string())?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{name}: {told}");
    let truth = column(&truth, "EventId")?.into_iter().zip(column(&truth, "EventTemplate")?);
    let truth: Vec<(String, String)> = truth.map(|(id, text)| (id, plain(&text))).collect();
    let found: Vec<String> =
        column(&output.stdout, "EventTemplate")?.iter().map(|text| plain(text)).collect();
    ensure!(found.len() == truth.len(), "{name}: {} lines, {} templates", truth.len(), found.len());
    let speed = told.split(" lines a second").next().and_then(|text| text.rsplit(' ').next()?.parse().ok());
    Ok(Score { name, lines_per_second: speed.unwrap_or(0.0), ..score(&truth, &found) })
}

fn column(csv: &[u8], name: &str) -> Result<Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv);
    let position = reader.headers()?.iter().position(|header| header == name);
    let position = position.with_context(|| format!("no column {name}"))?;
    reader.records().map(|record| Ok(record?.get(position).unwrap_or_default().to_owned())).collect()
}

/// A template with one kind of placeholder and single blanks.
fn plain(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "*:_".contains(c);
        match rest[1..].find(|c| !is_name(c)) {
            Some(length) if length > 0 && rest[1 + length..].starts_with('>') => {
                text.push_str("<*>");
                rest = &rest[length + 2..];
            }
            _ => {
                text.push('<');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn score(truth: &[(String, String)], found: &[String]) -> Score {
    let mut wanted: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    let mut texts: BTreeSet<&str> = BTreeSet::new();
    let mut groups: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (line, ((id, text), found)) in truth.iter().zip(found).enumerate() {
        wanted.entry(id).or_default().insert(line);
        texts.insert(text);
        groups.entry(found).or_default().insert(line);
    }
    let true_groups: BTreeSet<&BTreeSet<usize>> = wanted.values().collect();
    let right: Vec<&BTreeSet<usize>> = groups.values().filter(|group| true_groups.contains(group)).collect();
    let lines: usize = right.iter().map(|group| group.len()).sum();
    let (precision, recall) =
        (right.len() as f64 / groups.len().max(1) as f64, right.len() as f64 / wanted.len().max(1) as f64);
    let sum = precision + recall;
    let is_right =
        |(text, group): &(&&str, &BTreeSet<usize>)| group.iter().all(|line| truth[*line].1 == ***text);
    let right_texts = groups.iter().filter(is_right).count();
    Score {
        grouping: lines as f64 / truth.len().max(1) as f64,
        groups: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 },
        texts: right_texts as f64 / groups.len().max(1) as f64,
        found: [groups.len(), texts.len()],
        ..Score::default()
    }
}

/// The scores in Markdown.
pub fn document(scores: &[Score]) -> String {
    let mut text = String::from(
        "| log | GA | FGA | PTA | templates found | there are | million lines/s a core |\n|---|---|---|---|---|---|---|\n",
    );
    let line = |name: &str, it: [f64; 3], found: [usize; 2], speed: f64| {
        let [ga, fga, pta] = it.map(|share| format!("{share:.3}"));
        format!("| {name} | {ga} | {fga} | {pta} | {} | {} | {:.2} |\n", found[0], found[1], speed / 1e6)
    };
    for it in scores {
        text += &line(&it.name, [it.grouping, it.groups, it.texts], it.found, it.lines_per_second);
    }
    let mean = |of: &dyn Fn(&Score) -> f64| scores.iter().map(of).sum::<f64>() / scores.len().max(1) as f64;
    let sum = |side: usize| scores.iter().map(|it| it.found[side]).sum();
    let means = [mean(&|it| it.grouping), mean(&|it| it.groups), mean(&|it| it.texts)];
    text += &line("mean (templates: sum)", means, [sum(0), sum(1)], mean(&|it| it.lines_per_second));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_right_when_it_is_whole_and_alone() {
        let truth = ["a", "a", "b", "c"].map(|id| (id.to_owned(), format!("text {id}")));
        let found = ["text a", "text a", "text b", "text b"].map(str::to_owned);
        let score = score(&truth, &found);
        assert_eq!((score.grouping, score.found), (0.5, [2, 3]));
        assert!((score.groups - 0.4).abs() < 1e-9 && (score.texts - 0.5).abs() < 1e-9, "{score:?}");
    }

    #[test]
    fn placeholders_of_any_name_are_the_same() {
        assert_eq!(plain("took  <NUM> of <a> <IP:PORT> < <"), "took <*> of <a> <*> < <");
    }
}
