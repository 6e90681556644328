//! Keeps an answer within the caller's `max_tokens`, and says what was left out.
//!
//! Degrades in a stated order: rows from the end of the largest table, down to one each; long texts in cells;
//! the ends of `ruled_out` and `evidence`; `next`, `coverage` and `why_empty`; all but the beginning of texts in cells; the
//! last rows of tables that cannot be continued; the tool's own warnings; the end of the summary; the last rows; the tables;
//! the cursor. One warning names all that went, and `shown` and `cursor` follow the rows kept.

use serde_json::Value;

use crate::answer::{Answer, NEXT_MAX, Shown, Table};
use crate::plain::{clean, cut};
use crate::untrusted;

/// Room kept free at first for the warning that trimming adds, in bytes.
const NOTICE_BYTES: usize = 200;
/// What a long text is cut to when cutting rows did not help, in bytes.
const TEXT_BYTES: usize = 160;
/// What every text in a cell is cut to when that did not help either.
const SHORT_BYTES: usize = 32;

/// Estimates the tokens of a text, at 3.6 bytes each, rounded up.
pub const fn tokens(bytes: usize) -> usize {
    (bytes * 5).div_ceil(18)
}

/// Returns the answer as one compact JSON text of at most `tokens_max` tokens as estimated by [`tokens`], its
/// texts cleaned of control characters. Two hundred tokens suffice for what remains of any answer.
pub(crate) fn fit(mut answer: Answer, tokens_max: usize) -> String {
    clean(&mut answer);
    answer.next.truncate(NEXT_MAX);
    answer.untrusted = untrusted::places(&answer);
    let bytes_max = tokens_max * 18 / 5;
    let whole = written(&answer);
    if whole.len() <= bytes_max {
        return whole;
    }
    let mut trim = Trim { before: Before::of(&answer), answer, tokens_max, bytes_max, clipped: false };
    for step in Trim::STEPS {
        step(&mut trim);
        let text = trim.finished();
        if text.len() <= bytes_max {
            return text;
        }
    }
    trim.finished()
}

struct Trim {
    answer: Answer,
    before: Before,
    tokens_max: usize,
    bytes_max: usize,
    /// True once a text was cut.
    clipped: bool,
}

/// How much there was of everything that can be left out.
struct Before {
    rows: Vec<(String, usize)>,
    evidence: usize,
    ruled_out: usize,
    warnings: usize,
    extras: usize,
    cursor: bool,
    /// Which table can be continued, and where after each of its rows.
    paged: Option<(usize, Vec<String>)>,
}

impl Before {
    fn of(answer: &Answer) -> Self {
        Self {
            rows: answer.tables.iter().map(|table| (table.name.clone(), table.rows.len())).collect(),
            evidence: answer.evidence.len(),
            ruled_out: answer.ruled_out.len(),
            warnings: answer.warnings.len(),
            extras: extras(answer),
            cursor: answer.cursor.is_some(),
            paged: answer
                .tables
                .iter()
                .position(|table| !table.cursors.is_empty())
                .map(|at| (at, answer.tables[at].cursors.clone())),
        }
    }
}

impl Trim {
    const STEPS: [fn(&mut Self); 10] = [
        |trim| trim.cut_rows(|_| 1),
        |trim| trim.cut_cells(TEXT_BYTES),
        |trim| trim.cut_lists(),
        |trim| trim.drop_extras(),
        |trim| trim.cut_cells(SHORT_BYTES),
        |trim| trim.cut_rows(|table| usize::from(!table.cursors.is_empty())),
        |trim| trim.cut_summary(),
        |trim| trim.cut_rows(|_| 0),
        |trim| trim.answer.tables.clear(),
        |trim| trim.drop_cursor(),
    ];

    /// Takes rows from the end of whichever table is the largest at the time, leaving so many in each as `keep` says.
    fn cut_rows(&mut self, keep: fn(&Table) -> usize) {
        let mut sizes: Vec<Vec<usize>> = self
            .answer
            .tables
            .iter()
            .map(|table| table.rows.iter().map(|row| written(row).len() + 1).collect())
            .collect();
        let mut sums: Vec<usize> = sizes.iter().map(|rows| rows.iter().sum()).collect();
        let mut size = written(&self.answer).len() + NOTICE_BYTES;
        loop {
            if size <= self.bytes_max && self.finished().len() <= self.bytes_max {
                return;
            }
            let largest = (0..sums.len())
                .filter(|at| keep(&self.answer.tables[*at]) < sizes[*at].len())
                .max_by_key(|at| (sums[*at], *at));
            let Some(largest) = largest else { return };
            let row = sizes[largest].pop().unwrap_or(0);
            sums[largest] -= row;
            size -= row.min(size);
            let rows = &mut self.answer.tables[largest].rows;
            rows.pop();
        }
    }

    /// Cuts the texts in cells; a list that is longer goes.
    fn cut_cells(&mut self, bytes_max: usize) {
        for cell in self.answer.tables.iter_mut().flat_map(|table| table.rows.iter_mut().flatten()) {
            match cell {
                Value::String(text) => self.clipped |= cut(text, bytes_max),
                Value::Array(_) | Value::Object(_) if bytes_max < written(cell).len() => {
                    *cell = Value::String("…".to_owned());
                    self.clipped = true;
                }
                _ => {}
            }
        }
    }

    fn cut_lists(&mut self) {
        while self.bytes_max < self.finished().len() {
            if self.answer.ruled_out.pop().is_none() && self.answer.evidence.pop().is_none() {
                return;
            }
        }
    }

    fn drop_extras(&mut self) {
        self.answer.next.clear();
        self.answer.coverage = None;
        if let Some(why) = &mut self.answer.why_empty {
            self.clipped |= cut(why, TEXT_BYTES);
        }
    }

    fn cut_summary(&mut self) {
        self.clipped |= cut_written(&mut self.answer.summary, TEXT_BYTES);
        self.answer.warnings.clear();
        self.answer.why_empty = None;
    }

    fn drop_cursor(&mut self) {
        if self.answer.cursor.as_ref().is_some_and(|cursor| TEXT_BYTES < written(cursor).len()) {
            self.answer.cursor = None;
        }
    }

    /// The answer as it stands, with the account of what is missing.
    fn finished(&self) -> String {
        let mut answer = self.answer.clone();
        self.follow_rows(&mut answer);
        answer.warnings.push(self.notice(&answer));
        answer.untrusted = untrusted::places(&answer);
        written(&answer)
    }

    /// Makes `shown` and `cursor` agree with the rows kept.
    fn follow_rows(&self, answer: &mut Answer) {
        let kept = |at: usize| answer.tables.get(at).map_or(0, |table| table.rows.len());
        let cut: Vec<usize> =
            (0..self.before.rows.len()).filter(|at| kept(*at) < self.before.rows[*at].1).collect();
        let Some(&at) = cut.first() else { return };
        let (name, before) = &self.before.rows[at];
        let rows = kept(at) as u64;
        match &mut answer.shown {
            Some(shown)
                if shown.table.as_ref().is_none_or(|table| table == name)
                    && (at == 0 || shown.table.is_some()) =>
            {
                shown.rows = rows;
            }
            shown @ None => {
                let table = (0 < at).then(|| name.clone());
                *shown = Some(Shown { table, ..Shown::new(rows, *before as u64) });
            }
            Some(_) => {}
        }
        if let Some((at, cursors)) = &self.before.paged {
            let kept = answer.tables.get(*at).map_or(0, |table| table.rows.len());
            if kept < cursors.len() {
                // Where no row is kept, the same page is asked for again.
                answer.cursor = kept.checked_sub(1).map(|last| cursors[last].clone());
            }
        }
    }

    fn notice(&self, answer: &Answer) -> String {
        let mut missing = Vec::new();
        for (at, (name, before)) in self.before.rows.iter().enumerate() {
            let kept = answer.tables.get(at).map_or(0, |table| table.rows.len());
            if kept < *before && missing.len() < 3 {
                missing.push(format!(
                    "{kept} of {before} rows of `{}` kept",
                    name.chars().take(24).collect::<String>()
                ));
            }
        }
        for (name, kept, before) in [
            ("evidence", answer.evidence.len(), self.before.evidence),
            ("ruled_out", answer.ruled_out.len(), self.before.ruled_out),
            ("warnings", answer.warnings.len(), self.before.warnings),
            ("hints", extras(answer), self.before.extras),
            ("cursor", usize::from(answer.cursor.is_some()), usize::from(self.before.cursor)),
        ] {
            if kept < before {
                missing.push(format!("{name} dropped: {}", before - kept));
            }
        }
        if self.clipped {
            missing.push("long texts cut".to_owned());
        }
        let remedy = if answer.cursor.is_some() {
            "raise it or follow the cursor"
        } else {
            "raise it or narrow the question"
        };
        format!("cut to fit max_tokens {}: {}; {remedy}", self.tokens_max, missing.join(", "))
    }
}

/// Cuts a text until it has at most so many bytes as JSON, without its quotes; true when anything was cut.
fn cut_written(text: &mut String, bytes_max: usize) -> bool {
    let mut clipped = cut(text, bytes_max);
    loop {
        let over = written(text).len().saturating_sub(bytes_max + 2);
        if over == 0 {
            return clipped;
        }
        // What is escaped has two bytes for one.
        let fits = text.len() - over.div_ceil(2);
        clipped |= cut(text, fits);
    }
}

/// Counts the parts of an answer that only help.
fn extras(answer: &Answer) -> usize {
    answer.next.len() + usize::from(answer.coverage.is_some()) + usize::from(answer.why_empty.is_some())
}

/// Compact JSON. Answers hold only strings, numbers and lists of them, so writing cannot fail.
fn written<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
