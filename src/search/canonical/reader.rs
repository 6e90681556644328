//! Walks over the characters of a query, and tells what stands there.

use super::{BOUND_MARK, is_weight, quote, without_boost, wrong};
use crate::search::error::Error;

/// Farthest that the words of one phrase may be moved, all moves together.
const SLOP_MAX: u32 = 50;
const BOUND: &str = "a bound is one word";
const BOUND_REMEDY: &str = "write a number, a word, or * for no bound";

/// Walks over the characters of the query.
pub(super) struct Reader {
    characters: Vec<char>,
    /// Characters that were passed over.
    pub(super) at: usize,
}

impl Reader {
    /// Begins at the start of `text`.
    pub(super) fn new(text: &str) -> Self {
        Self { characters: text.chars().collect(), at: 0 }
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    /// True when the sign that is next stands before something, and is not part of an arrow or of an option
    /// such as `--force`.
    pub(super) fn begins_text(&self) -> bool {
        let rest = &self.characters[self.at + 1..];
        let starts_text = rest.first().is_some_and(|next| !matches!(next, '-' | '!' | '+' | '=' | '>' | ')'));
        let mut run = rest.iter().take_while(|character| !character.is_whitespace());
        starts_text && run.any(|character| character.is_alphanumeric() || matches!(character, '"' | '('))
    }

    /// Passes over `()`, which people paste with names of functions.
    pub(super) fn closes_at_once(&mut self) -> bool {
        let is_empty = self.peek(1) == Some(')');
        self.at += if is_empty { 2 } else { 0 };
        is_empty
    }

    /// The text between two quotes, the first of which is next; `\"` and `\\` stand for themselves.
    pub(super) fn quoted(&mut self) -> Result<String, Error> {
        let position = self.at + 1;
        self.at += 1;
        let mut text = String::new();
        while let Some(character) = self.peek(0) {
            self.at += 1;
            match character {
                '"' => return Ok(text),
                '\\' if matches!(self.peek(0), Some('"' | '\\')) => {
                    text.extend(self.peek(0));
                    self.at += 1;
                }
                _ => text.push(character),
            }
        }
        Err(wrong(
            position,
            "a quote is not closed",
            "add the closing quote, or write \\\" for the sign itself",
        ))
    }

    /// What follows a closing quote: a star, how far words may be moved, a weight.
    pub(super) fn tail(&mut self) -> Result<String, Error> {
        let mut tail = String::new();
        if self.peek(0) == Some('*') {
            self.at += 1;
            tail.push('*');
        } else if self.peek(0) == Some('~') && self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
            let position = self.at + 1;
            self.at += 1;
            let digits = self.digits();
            if digits.parse::<u32>().is_ok_and(|slop| slop <= SLOP_MAX) {
                tail = format!("~{digits}");
            } else {
                return Err(wrong(position, "the words may be too far apart", "use at most ~50"));
            }
        }
        Ok(tail + &self.boost())
    }

    fn digits(&mut self) -> String {
        let rest = self.characters[self.at..].iter();
        let digits: String = rest.take_while(|character| character.is_ascii_digit()).collect();
        self.at += digits.len();
        digits
    }

    /// A weight that is next; nothing is ranked, so it is read and has no effect.
    pub(super) fn boost(&mut self) -> String {
        if self.peek(0) != Some('^') || !self.peek(1).is_some_and(|next| next.is_ascii_digit()) {
            return String::new();
        }
        let rest = self.characters[self.at + 1..].iter();
        let weight: String =
            rest.take_while(|character| character.is_ascii_digit() || **character == '.').collect();
        if !is_weight(&weight) {
            return String::new();
        }
        self.at += 1 + weight.len();
        format!("^{weight}")
    }

    /// What stands up to the next space, parenthesis or quote. After a backslash any of these, and any other
    /// sign, stands for itself; then the second is true, and the text has no syntax.
    pub(super) fn run(&mut self) -> (String, bool) {
        let (mut text, mut is_plain) = (String::new(), false);
        while let Some(character) = self.peek(0) {
            if character == '\\' && self.peek(1).is_some_and(|next| next.is_ascii_punctuation()) {
                text.extend(self.peek(1));
                self.at += 2;
                is_plain = true;
                continue;
            }
            if character.is_whitespace() || matches!(character, '(' | ')' | '"') {
                break;
            }
            self.at += 1;
            text.push(character);
        }
        (text, is_plain)
    }

    /// The range that is next: `[1 TO 5]`, `{1 TO *]`, `>=5`. None, and nothing passed over, where there is
    /// none: brackets without `TO` are pasted text.
    pub(super) fn bounds(&mut self) -> Result<Option<String>, Error> {
        let position = self.at + 1;
        let rest = &self.characters[self.at..];
        let sign: String = rest.iter().take_while(|character| matches!(character, '<' | '>' | '=')).collect();
        if matches!(sign.as_str(), "<" | "<=" | ">" | ">=") {
            let before = self.at;
            self.at += sign.len();
            let (text, _) = self.run();
            let (text, _) = without_boost(&text);
            if text.is_empty() && self.peek(0) == Some('"') {
                return Err(wrong(position + sign.len(), BOUND, BOUND_REMEDY));
            }
            let is_pasted = sign == "<" && text.ends_with('>');
            if is_pasted || !is_bound(text) {
                // Something like `error:<nil>` was pasted.
                self.at = before;
                return Ok(None);
            }
            return Ok(Some(format!("{sign}{}", bound(text))));
        }
        let open @ ('[' | '{') = self.peek(0).unwrap_or_default() else { return Ok(None) };
        let Some(length) = rest.iter().position(|character| matches!(character, ']' | '}')) else {
            let text: String = rest.iter().collect();
            return if text.split_whitespace().nth(1) == Some("TO") {
                Err(wrong(position, "a range is not closed", "write it as in key:[1 TO 5]"))
            } else {
                Ok(None)
            };
        };
        let text: String = rest[1..length].iter().collect();
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (close, [lower, "TO", upper]) = (rest[length], parts.as_slice()) else {
            return if parts.contains(&"TO") {
                Err(wrong(position, "a range has two bounds", "write it as in key:[1 TO 5], * for no bound"))
            } else {
                Ok(None)
            };
        };
        if !is_bound(lower) || !is_bound(upper) {
            return Err(wrong(position, BOUND, BOUND_REMEDY));
        }
        let range = format!("{open}{} TO {}{close}", bound(lower), bound(upper));
        self.at += length + 1;
        Ok(Some(range + &self.boost()))
    }

    /// The set that is next: `IN [a b "c d"]`. None, and nothing passed over, where there is none.
    pub(super) fn set(&mut self) -> Result<Option<String>, Error> {
        let before = self.at;
        let pass_spaces = |reader: &mut Self| {
            while reader.peek(0).is_some_and(char::is_whitespace) {
                reader.at += 1;
            }
        };
        pass_spaces(self);
        let position = self.at + 1;
        let is_set = self.peek(0) == Some('I') && self.peek(1) == Some('N');
        self.at += 2;
        pass_spaces(self);
        if !is_set || self.peek(0) != Some('[') {
            self.at = before;
            return Ok(None);
        }
        self.at += 1;
        let mut values = Vec::new();
        loop {
            match self.peek(0) {
                None => {
                    return Err(wrong(position, "a set is not closed", "write it as in key:IN [this that]"));
                }
                Some(']') => break,
                Some('"') => values.push(quote(&self.quoted()?)),
                Some(next) if next.is_whitespace() => self.at += 1,
                Some(_) => {
                    let rest = self.characters[self.at..].iter();
                    let is_inside = |next: &&char| !next.is_whitespace() && !matches!(next, ']' | '"');
                    let value: String = rest.take_while(is_inside).collect();
                    self.at += value.chars().count();
                    values.push(quote(&value));
                }
            }
        }
        self.at += 1;
        if values.is_empty() {
            return Err(wrong(position, "a set has no values", "write it as in key:IN [this that]"));
        }
        Ok(Some(format!("IN [{}]{}", values.join(" "), self.boost())))
    }
}

/// A bound as the grammar takes it.
fn bound(text: &str) -> String {
    if text == "*" { text.to_owned() } else { format!("{BOUND_MARK}{text}") }
}

fn is_bound(text: &str) -> bool {
    !text.is_empty() && !text.contains(['{', '}', '[', ']', '(', ')', '"'])
}
