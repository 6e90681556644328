//! Writes the canonical text, and looks after what may follow what.

use super::{nothing_in, wrong};
use crate::search::error::Error;

/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 32;

/// Words, phrases, values, sets and ranges in a query: each is looked up in every segment.
const PARTS_MAX: usize = 256;
/// Unfinished words in a query: each may begin thousands of words, whose lines are all gone through.
const BEGINNINGS_MAX: usize = 8;

/// Writes the canonical text, and looks after what may follow what.
#[derive(Default)]
pub(super) struct Writer {
    text: String,
    /// Where parentheses were opened that are not closed yet; true for those behind a field's name.
    open: Vec<(usize, bool)>,
    last: Last,
    /// What comes next is excluded.
    pub(super) is_negated: bool,
    /// What comes next must be there.
    pub(super) is_required: bool,
    /// There is a negation before the part that comes next.
    pub(super) is_begun: bool,
    parts: usize,
    beginnings: usize,
}

/// What was written last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    /// Nothing, or an opening parenthesis.
    #[default]
    Begin,
    Part,
    Operator,
}

impl Writer {
    /// True inside of `key:(…)`, where everything is a value.
    pub(super) fn in_field(&self) -> bool {
        self.open.iter().any(|(_, is_field)| *is_field)
    }

    /// What stands side by side must all hold.
    fn join(&mut self) {
        if self.last == Last::Part {
            self.text.push_str(" AND ");
        }
        match (self.is_negated, self.is_required) {
            (true, _) => self.text.push('-'),
            (false, true) => self.text.push('+'),
            (false, false) => {}
        }
        (self.is_negated, self.is_required, self.is_begun) = (false, false, false);
    }

    /// Refuses, at this position, more than one query may ask for.
    pub(super) fn within_bounds(&self, position: usize) -> Result<(), Error> {
        if self.beginnings > BEGINNINGS_MAX {
            let problem = "there are more than 8 words with `*`";
            return Err(wrong(position, problem, "write out the words, or search for fewer of them"));
        }
        if self.parts > PARTS_MAX {
            return Err(wrong(position, "there are more than 256 words", "search for fewer of them"));
        }
        Ok(())
    }

    pub(super) fn part(&mut self, part: &str) {
        self.parts += 1;
        self.beginnings += usize::from(part.contains("\"*"));
        self.join();
        self.text.push_str(part);
        self.last = Last::Part;
    }

    pub(super) fn operator(&mut self, position: usize, name: &str) -> Result<(), Error> {
        if self.last != Last::Part || self.is_begun {
            let remedy = "put a word on each side, or quote it";
            return Err(wrong(position, "an operator has nothing before it", remedy));
        }
        self.text.push(' ');
        self.text.push_str(name);
        self.text.push(' ');
        self.last = Last::Operator;
        Ok(())
    }

    pub(super) fn open(&mut self, position: usize, field: &str) -> Result<(), Error> {
        if DEPTH_MAX <= self.open.len() {
            return Err(wrong(position, "the query is nested too deeply", "use fewer parentheses"));
        }
        self.join();
        self.text.push_str(field);
        self.text.push('(');
        self.open.push((position, !field.is_empty()));
        self.last = Last::Begin;
        Ok(())
    }

    pub(super) fn close(&mut self, position: usize, boost: &str) -> Result<(), Error> {
        if self.open.is_empty() {
            let problem = "a parenthesis is closed that was not opened";
            return Err(wrong(position, problem, "remove it or quote the text"));
        }
        if self.last != Last::Part || self.is_begun {
            let problem = "there is nothing before this parenthesis";
            return Err(wrong(position, problem, "put a word inside, or quote the text"));
        }
        self.open.pop();
        self.text.push(')');
        self.text.push_str(boost);
        Ok(())
    }

    pub(super) fn finish(self, text: &str) -> Result<String, Error> {
        let end = text.chars().count() + 1;
        if self.last == Last::Operator || self.is_begun {
            return Err(wrong(end, "the query ends too early", "put a word after the last operator"));
        }
        match self.open.last() {
            Some(_) if self.last == Last::Begin => {
                Err(wrong(end, "the query ends too early", "put a word inside the parenthesis, or quote it"))
            }
            Some((position, _)) => {
                Err(wrong(*position, "a parenthesis is not closed", "close it or quote the text"))
            }
            None if self.text.is_empty() && !text.trim().is_empty() => Err(nothing_in(1)),
            None => Ok(self.text),
        }
    }
}
