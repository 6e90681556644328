//! An evaluation as a document.

use std::fmt::Write;

use super::evaluate::{Answer, Report, Way};
use super::score::Score;

/// What is quoted of an answer, in characters.
const QUOTED_MAX: usize = 160;

impl Report {
    /// The scores in Markdown: a table for each way of asking, then the cases whose cause was not named first.
    pub fn document(&self) -> String {
        let mut text = String::new();
        for way in self.ways() {
            write!(text, "### Told {}\n\n", way.words()).ok();
            text.push_str("| incidents | answers | first | among 3 | among 5 | mean reciprocal rank |\n|---|---|---|---|---|---|\n");
            for (group, it) in self.scores(way) {
                let shares = [it.first, it.among_3, it.among_5, it.reciprocal_rank];
                let [first, among_3, among_5, mrr] = shares.map(|share| format!("{share:.2}"));
                writeln!(text, "| {group} | {} | {first} | {among_3} | {among_5} | {mrr} |", it.cases).ok();
            }
            text.push('\n');
        }
        self.changes(&mut text);
        text.push_str(
            "### Misses\n\nCases whose cause was not named first, told the window of the fault.\n\n",
        );
        text.push_str(
            "| case | at second | fault | cause | its rank | named first | because |\n|---|---|---|---|---|---|---|\n",
        );
        for miss in self.answers.iter().filter(|answer| answer.way == Way::Window && answer.rank != Some(1)) {
            let Answer { case, second, cause, group: [_, _, fault], .. } = miss;
            let rank = miss.rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
            let first = miss.ranking.first().map_or("–", String::as_str);
            let said: String = miss.said.replace('|', "/").chars().take(QUOTED_MAX).collect();
            writeln!(text, "| {case} | {second} | {fault} | {cause} | {rank} | {first} | {said} |").ok();
        }
        text
    }

    /// How often the change that is to blame was named, of the cases in which one is.
    fn changes(&self, text: &mut String) {
        text.push_str("### The change to blame\n\n| told | answers | first | among 3 |\n|---|---|---|---|\n");
        for way in self.ways() {
            let answers = self.answers.iter().filter(|answer| answer.way == way);
            let ranks: Vec<Option<usize>> = answers.filter_map(|answer| answer.change).collect();
            let it = Score::of(&ranks);
            if it.cases > 0 {
                writeln!(text, "| {} | {} | {:.2} | {:.2} |", way.words(), it.cases, it.first, it.among_3)
                    .ok();
            }
        }
        text.push('\n');
    }
}
