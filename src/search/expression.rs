//! The query text, read into a tree: what the Lucene grammar found in it, in terms of log lines.
//!
//! Words stand side by side and must all occur. `"in quotes"` is a phrase, with `~2` behind it one whose words
//! may be moved by two places; `conn*` is a beginning; `-word`, `!word` and `NOT word` exclude; `OR` offers a
//! choice and binds less than side by side (`AND` may be written, and `||`, `&&`); parentheses group. `+word`
//! must occur, which makes the choices beside it optional. `key:value` and `key:"two words"` ask for an
//! attribute with exactly this value, `key:val*` for one that begins so, `key:*` for any, `key:(this OR that)`
//! and `key:IN [this that]` for one of several, `key:[500 TO 599]`, `key:{1 TO 5}` and `key:>=500` for a range
//! (of numbers where the bounds are numbers, else of text). `severity:`, `service:` and `template:` ask for
//! what every line has. Weights such as `^2` are read and mean nothing, as nothing is ranked. Case matters
//! only for the operators.

use tantivy_query_grammar::{Occur, UserInputAst, UserInputBound, UserInputLeaf, parse_query};

use super::canonical::{BOUND_MARK, POSITION_MARK, canonical, wrong};
use super::error::Error;
use super::range::{Range, Values};
use super::schema::SEVERITY_MAX;
use super::words::words;
use crate::model::id::TemplateId;
use crate::model::log::Severity;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// Every line.
    All,
    /// These words in a row; the last may be a beginning, or all may be moved by `slop` places together.
    Words { words: Vec<String>, is_prefix: bool, slop: u32 },
    /// An attribute with this value, or with a value that begins so.
    Attribute { key: String, value: String, is_prefix: bool },
    /// An attribute with a value in this range.
    Range(Range),
    /// A severity number in this range, both ends included; none where the first is greater.
    Severity { least: u8, most: u8 },
    /// Lines of the services with this name, or with a name that begins so.
    Service { position: usize, name: String, is_prefix: bool },
    /// Lines of a template.
    Template(TemplateId),
    /// Lines that do not match.
    Not(Box<Expression>),
    /// All of them; at least two.
    And(Vec<Expression>),
    /// Any of them; at least two.
    Or(Vec<Expression>),
}

impl Expression {
    /// Adds the templates that it names to `named`.
    pub(super) fn name_templates(&self, named: &mut Vec<TemplateId>) {
        match self {
            Self::Template(template) => named.push(*template),
            Self::Not(part) => part.name_templates(named),
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.name_templates(named));
            }
            _ => {}
        }
    }
}

/// Reads a query text; text without anything in it asks for every line.
///
/// [`Error::Query`] with the position and a remedy where it cannot be understood.
pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    let canonical = canonical(text)?;
    match parse_query(&canonical) {
        Ok(tree) => clause(tree),
        // What the grammar does not take although it was put into its form is searched for as it stands.
        Err(_) => match words(text) {
            words if words.is_empty() => Err(wrong(1, "the query cannot be read", "quote the text")),
            words => Ok(all(words.into_iter().map(|word| in_a_row(vec![word])).collect())),
        },
    }
}

fn in_a_row(words: Vec<String>) -> Expression {
    Expression::Words { words, is_prefix: false, slop: 0 }
}

fn clause(tree: UserInputAst) -> Result<Expression, Error> {
    let parts = match tree {
        UserInputAst::Leaf(leaf) => return of_leaf(*leaf),
        UserInputAst::Boost(inner, _) => return clause(*inner),
        UserInputAst::Clause(parts) => parts,
    };
    let (mut must, mut may) = (Vec::new(), Vec::new());
    let mut must_not = Vec::new();
    for (occur, part) in parts {
        let part = clause(part)?;
        match occur {
            None | Some(Occur::Must) => must.push(part),
            Some(Occur::Should) => may.push(part),
            Some(Occur::MustNot) => must_not.push(Expression::Not(Box::new(part))),
        }
    }
    // Beside what must be, a choice narrows nothing.
    if must.is_empty() && !may.is_empty() {
        must.push(any(may));
    }
    must.extend(must_not);
    Ok(all(must))
}

fn all(parts: Vec<Expression>) -> Expression {
    if parts.is_empty() { Expression::All } else { one_or(parts, Expression::And) }
}

fn any(parts: Vec<Expression>) -> Expression {
    one_or(parts, Expression::Or)
}

/// The only part, or all of them joined; there is at least one.
fn one_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn of_leaf(leaf: UserInputLeaf) -> Result<Expression, Error> {
    match leaf {
        UserInputLeaf::All => Ok(Expression::All),
        UserInputLeaf::Literal(literal) => match literal.field_name {
            Some(field) => {
                let field = Field::new(&field);
                if literal.slop != 0 {
                    let problem = "a value's words cannot be moved";
                    return Err(wrong(field.position, problem, "write ~ behind a phrase without a key"));
                }
                field.value(&literal.phrase, literal.prefix)
            }
            None => {
                // `order-*` is the words before the star; there is no word that it could begin.
                let ends_in_word = literal.phrase.chars().next_back().is_some_and(char::is_alphanumeric);
                let is_prefix = literal.prefix && ends_in_word;
                Ok(Expression::Words { words: words(&literal.phrase), is_prefix, slop: literal.slop })
            }
        },
        UserInputLeaf::Exists { field } => Field::new(&field).value("", true),
        UserInputLeaf::Set { field, elements } => {
            let field = field.unwrap_or_default();
            let field = Field::new(&field);
            let values: Result<Vec<_>, Error> =
                elements.iter().map(|value| field.value(value, false)).collect();
            values.map(any)
        }
        UserInputLeaf::Range { field, lower, upper } => {
            let field = field.unwrap_or_default();
            Field::new(&field).range(&lower, &upper)
        }
        // All slashes stand in quotes, so there is none; its words are the best that can be made of it.
        UserInputLeaf::Regex { pattern, .. } => Ok(in_a_row(words(&pattern))),
    }
}

/// A field's name with the place where it was written.
#[derive(Debug, Clone, Copy)]
struct Field<'a> {
    position: usize,
    key: &'a str,
}

impl<'a> Field<'a> {
    fn new(name: &'a str) -> Self {
        let (position, key) = name.split_once(POSITION_MARK).unwrap_or(("1", name));
        Self { position: position.parse().unwrap_or(1), key }
    }

    fn is(&self, name: &str) -> bool {
        self.key.eq_ignore_ascii_case(name)
    }

    fn wrong(&self, problem: &'static str, remedy: &'static str) -> Error {
        wrong(self.position, problem, remedy)
    }

    /// Refuses fields that the store finds by an index of its own.
    fn check(&self) -> Result<(), Error> {
        if self.is("trace_id") || self.is("span_id") {
            let remedy = "give the trace beside the query, not in it";
            return Err(self.wrong("traces are not part of the query text", remedy));
        }
        Ok(())
    }

    /// Lines whose field has `value`, or a value that begins so.
    fn value(&self, value: &str, is_prefix: bool) -> Result<Expression, Error> {
        self.check()?;
        let is_any = is_prefix && value.is_empty();
        if self.is("severity") {
            return if is_any { Ok(Expression::All) } else { self.severity(value) };
        }
        if is_any && (self.is("service") || self.is("template")) {
            return Ok(Expression::All);
        }
        if self.is("service") {
            return Ok(Expression::Service { position: self.position, name: value.to_owned(), is_prefix });
        }
        if self.is("template") {
            let number = if is_prefix { None } else { value.parse().ok() };
            return number.map(|number| Expression::Template(TemplateId(number))).ok_or_else(|| {
                self.wrong("no such template", "give its number, as in template:17 of an answer")
            });
        }
        Ok(Expression::Attribute { key: self.key.to_owned(), value: value.to_owned(), is_prefix })
    }

    fn range(&self, lower: &UserInputBound, upper: &UserInputBound) -> Result<Expression, Error> {
        self.check()?;
        if self.is("severity") {
            return self.severities(lower, upper);
        }
        if self.is("service") || self.is("template") {
            return Err(self.wrong("this field has no order", "name its values, as in key:IN [this that]"));
        }
        let values = Values::between(bound(lower), bound(upper));
        Ok(Expression::Range(Range { key: self.key.to_owned(), values }))
    }

    /// A level by name or number.
    fn severity(&self, value: &str) -> Result<Expression, Error> {
        // In quotes the sign is part of the value, and what is meant is clear.
        let (value, and_above) = match value.strip_prefix(">=") {
            Some(value) => (value, true),
            None => (value, false),
        };
        let (least, most) = self.level(value)?;
        Ok(Expression::Severity { least, most: if and_above { SEVERITY_MAX } else { most } })
    }

    fn severities(&self, lower: &UserInputBound, upper: &UserInputBound) -> Result<Expression, Error> {
        let least = match bound(lower) {
            UserInputBound::Inclusive(level) => self.level(&level)?.0,
            UserInputBound::Exclusive(level) => self.level(&level)?.1 + 1,
            UserInputBound::Unbounded => 0,
        };
        let most = match bound(upper) {
            UserInputBound::Inclusive(level) => self.level(&level)?.1,
            UserInputBound::Exclusive(level) => match self.level(&level)?.0.checked_sub(1) {
                Some(most) => most,
                // Nothing is below nought.
                None => return Ok(Expression::Severity { least: 1, most: 0 }),
            },
            UserInputBound::Unbounded => SEVERITY_MAX,
        };
        Ok(Expression::Severity { least, most })
    }

    /// The numbers of a level by name or number.
    fn level(&self, name: &str) -> Result<(u8, u8), Error> {
        if let Ok(number @ 0..=SEVERITY_MAX) = name.parse::<u8>() {
            return Ok((number, number));
        }
        let least = Severity::from_name(name)
            .ok_or_else(|| self.wrong("no such severity", "use trace, debug, info, warn, error or fatal"))?;
        Ok((least.0, (least.0 + 3).min(SEVERITY_MAX)))
    }
}

/// The bound as it was written, without the mark.
fn bound(bound: &UserInputBound) -> UserInputBound {
    let written = |text: &str| text.strip_prefix(BOUND_MARK).unwrap_or(text).to_owned();
    match bound {
        UserInputBound::Inclusive(text) => UserInputBound::Inclusive(written(text)),
        UserInputBound::Exclusive(text) => UserInputBound::Exclusive(written(text)),
        UserInputBound::Unbounded => UserInputBound::Unbounded,
    }
}
