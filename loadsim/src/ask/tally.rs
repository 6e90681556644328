//! How questions went.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::questions::QUESTIONS;

/// Questions of a run. Times are of answers without error, from when a question was due; there are none without such an
/// answer.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// Questions that were answered, be it with an error.
    pub count: u64,
    /// Those without an answer, or with an error for one.
    pub errors: u64,
    /// Questions that were due and never put, because too many before them were not answered.
    pub unasked: u64,
    /// Half of the answers came within so many milliseconds.
    pub p50_ms: Option<f64>,
    /// Nineteen of twenty did.
    pub p95_ms: Option<f64>,
    /// All did.
    pub max_ms: Option<f64>,
    /// The same for each tool and its arguments.
    pub tools: Vec<Tool>,
}

/// Calls of one tool with the same arguments.
#[derive(Debug, Clone, Serialize)]
pub struct Tool {
    /// The tool.
    pub tool: String,
    /// Its arguments: fixed ones with their values, others by their names.
    pub arguments: String,
    /// Calls that were answered, be it with an error.
    pub count: u64,
    /// Those without an answer, or with an error for one.
    pub errors: u64,
    /// What was said at the first of them.
    pub first_error: Option<String>,
    /// Half of the answers came within so many milliseconds.
    pub p50_ms: Option<f64>,
    /// Nineteen of twenty did.
    pub p95_ms: Option<f64>,
    /// All did.
    pub max_ms: Option<f64>,
    /// Bytes of the largest answer.
    pub answer_bytes_max: u64,
}

/// Counts questions as they are answered.
#[derive(Debug)]
pub(super) struct Tally {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    errors: u64,
    first_error: Option<String>,
    waited_us: Histogram<u64>,
    answer_bytes_max: u64,
}

impl Tally {
    /// An empty tally.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn new() -> Result<Self> {
        let entry = || -> Result<Entry> {
            let waited_us = Histogram::new_with_bounds(1, 600_000_000, 3)?;
            Ok(Entry { errors: 0, first_error: None, waited_us, answer_bytes_max: 0 })
        };
        Ok(Self { entries: QUESTIONS.iter().map(|_| entry()).collect::<Result<_>>()? })
    }

    /// Counts an answer of so many bytes to the question at a position.
    pub(super) fn answered(&mut self, position: usize, waited: Duration, bytes: u64) {
        let entry = &mut self.entries[position];
        entry.waited_us.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        entry.answer_bytes_max = entry.answer_bytes_max.max(bytes);
    }

    /// Counts a question at a position that was not answered, or with an error.
    pub(super) fn failed(&mut self, position: usize, error: String) {
        let entry = &mut self.entries[position];
        entry.errors += 1;
        entry.first_error.get_or_insert(error);
    }

    /// How all went, with so many that were never put.
    pub(super) fn asked(&self, unasked: u64) -> Asked {
        let mut all = Histogram::new_from(&self.entries[0].waited_us);
        for entry in &self.entries {
            // All have the same bounds.
            let _ = all.add(&entry.waited_us);
        }
        let tools: Vec<Tool> = QUESTIONS
            .iter()
            .zip(&self.entries)
            .map(|(question, entry)| Tool {
                tool: question.tool.to_owned(),
                arguments: question.described(),
                count: entry.waited_us.len() + entry.errors,
                errors: entry.errors,
                first_error: entry.first_error.clone(),
                p50_ms: milliseconds(&entry.waited_us, 0.5),
                p95_ms: milliseconds(&entry.waited_us, 0.95),
                max_ms: milliseconds(&entry.waited_us, 1.0),
                answer_bytes_max: entry.answer_bytes_max,
            })
            .collect();
        Asked {
            count: tools.iter().map(|tool| tool.count).sum(),
            errors: tools.iter().map(|tool| tool.errors).sum(),
            unasked,
            p50_ms: milliseconds(&all, 0.5),
            p95_ms: milliseconds(&all, 0.95),
            max_ms: milliseconds(&all, 1.0),
            tools,
        }
    }
}

fn milliseconds(waited_us: &Histogram<u64>, share: f64) -> Option<f64> {
    (!waited_us.is_empty()).then(|| waited_us.value_at_quantile(share) as f64 / 1e3)
}

/// The times of answers as text.
fn times(p50_ms: Option<f64>, p95_ms: Option<f64>, max_ms: Option<f64>) -> String {
    match (p50_ms, p95_ms, max_ms) {
        (Some(p50), Some(p95), Some(max)) => format!("p50 {p50:.1} ms, p95 {p95:.1} ms, max {max:.1} ms"),
        _ => "none answered".to_owned(),
    }
}

impl Asked {
    /// A line about all, and one for each tool.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "asked: {} questions, {} failed, {} never put; {}\n",
            self.count,
            self.errors,
            self.unasked,
            times(self.p50_ms, self.p95_ms, self.max_ms)
        );
        for tool in &self.tools {
            text.push_str(&tool.text());
        }
        text
    }
}

impl Tool {
    /// The tool with its arguments.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.tool, self.arguments).trim_end().to_owned()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "  {}: {}, {}, {} bytes\n",
            self.name(),
            self.count,
            times(self.p50_ms, self.p95_ms, self.max_ms),
            self.answer_bytes_max
        );
        if let Some(error) = &self.first_error {
            text.push_str(&format!("    {} failed, the first: {error}\n", self.errors));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_are_told_apart() {
        let mut tally = Tally::new().unwrap();
        for ms in 1..=99 {
            tally.answered(0, Duration::from_millis(ms), 10 * ms);
        }
        tally.failed(0, "busy".into());
        tally.answered(1, Duration::from_millis(2_000), 5);
        tally.failed(2, "gone".into());
        tally.failed(2, "gone again".into());
        let asked = tally.asked(4);
        assert_eq!((asked.count, asked.errors, asked.unasked), (103, 3, 4));
        assert!(
            asked.max_ms.is_some_and(|max| (1_990.0..2_010.0).contains(&max))
                && asked.p50_ms.is_some_and(|p50| (45.0..55.0).contains(&p50)),
            "{asked:?}"
        );
        let [first, second, third, ..] = &asked.tools[..] else { panic!("{asked:?}") };
        assert_eq!((first.count, first.errors, first.answer_bytes_max), (100, 1, 990));
        assert!(first.p95_ms.is_some_and(|p95| (94.0..96.0).contains(&p95)), "{first:?}");
        assert_eq!((second.count, second.errors, &second.first_error), (1, 0, &None));
        assert_eq!((third.errors, third.first_error.as_deref(), third.max_ms), (2, Some("gone"), None));
        let text = asked.text();
        assert!(text.starts_with("asked: 103 questions, 3 failed, 4 never put; p50 "), "{text}");
        assert!(text.contains("\n    2 failed, the first: gone\n"), "{text}");
        assert_eq!(text.lines().count(), 1 + QUESTIONS.len() + 2);
    }
}
