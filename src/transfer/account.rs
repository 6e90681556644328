//! What became of everything that an import read.

use serde_json::{Value, json};

/// Bad lines that are listed one by one; beyond them only the sum grows.
pub const BAD_LINES_LISTED: usize = 100;
/// Different reasons that are told apart; further ones are counted together.
const REASONS_MAX: usize = 50;

/// The account of one import. What was read is what was accepted, refused, or not carried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Lines, or rows of a database.
    pub read: u64,
    /// Lines without content.
    pub empty: u64,
    /// Lines that are no export request.
    pub bad: u64,
    /// Requests that the server took.
    pub requests: u64,
    /// Spans, log records and points that the server took.
    pub accepted: u64,
    /// Items that the server refused.
    pub refused: u64,
    /// Items that could not be carried over at all.
    pub lost: u64,
    /// Why items were refused or lost, or carried with something missing, with how many.
    pub reasons: Vec<(String, u64)>,
    /// The first bad lines, each with file, number and reason.
    pub bad_lines: Vec<(String, u64, String)>,
}

impl Account {
    /// Counts `items` for a reason.
    pub fn note(&mut self, reason: &str, items: u64) {
        if let Some((_, count)) = self.reasons.iter_mut().find(|(known, _)| known == reason) {
            *count += items;
        } else if self.reasons.len() < REASONS_MAX {
            self.reasons.push((reason.to_owned(), items));
        } else {
            self.note_other(items);
        }
    }

    /// Counts a bad line.
    pub fn bad_line(&mut self, file: &str, number: u64, reason: String) {
        self.bad += 1;
        if self.bad_lines.len() < BAD_LINES_LISTED {
            self.bad_lines.push((file.to_owned(), number, reason));
        }
    }

    /// Adds what a part of the import came to.
    pub fn add(&mut self, part: &Self) {
        self.read += part.read;
        self.empty += part.empty;
        self.requests += part.requests;
        self.accepted += part.accepted;
        self.refused += part.refused;
        self.lost += part.lost;
        part.reasons.iter().for_each(|(reason, items)| self.note(reason, *items));
        part.bad_lines.iter().for_each(|(file, line, reason)| self.bad_line(file, *line, reason.clone()));
    }

    /// True when the server refused items for their age.
    pub fn has_refused_old(&self) -> bool {
        let tells_age = |reason: &str| {
            let reason = reason.to_ascii_lowercase();
            ["retention", "too old", "older than"].iter().any(|words| reason.contains(words))
        };
        self.reasons.iter().any(|(reason, _)| tells_age(reason))
    }

    /// As JSON, for people's programs and for the state file.
    pub fn to_json(&self) -> Value {
        json!({
            "read": self.read,
            "empty": self.empty,
            "bad": self.bad,
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": self.refused,
            "lost": self.lost,
            "reasons": self.reasons.iter().map(|(reason, count)| json!({"reason": reason, "items": count})).collect::<Vec<_>>(),
            "bad_lines": self.bad_lines.iter().map(|(file, line, reason)| json!({"file": file, "line": line, "reason": reason})).collect::<Vec<_>>(),
        })
    }

    /// Reads what [`Account::to_json`] wrote; none where something is missing.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |name: &str| value[name].as_u64();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let reasons = value["reasons"].as_array()?.iter();
        let bad_lines = value["bad_lines"].as_array()?.iter();
        Some(Self {
            read: number("read")?,
            empty: number("empty")?,
            bad: number("bad")?,
            requests: number("requests")?,
            accepted: number("accepted")?,
            refused: number("refused")?,
            lost: number("lost")?,
            reasons: reasons
                .map(|each| Some((text(&each["reason"])?, each["items"].as_u64()?)))
                .collect::<Option<_>>()?,
            bad_lines: bad_lines
                .map(|each| Some((text(&each["file"])?, each["line"].as_u64()?, text(&each["reason"])?)))
                .collect::<Option<_>>()?,
        })
    }

    fn note_other(&mut self, items: u64) {
        const OTHER: &str = "other reasons";
        match self.reasons.iter_mut().find(|(known, _)| known == OTHER) {
            Some((_, count)) => *count += items,
            None => self.reasons.push((OTHER.to_owned(), items)),
        }
    }
}
