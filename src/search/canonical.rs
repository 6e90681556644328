//! The query text as people and agents write it, made into text that the Lucene grammar reads without a doubt.
//!
//! People paste lines: dashes, arrows, colons, apostrophes, brackets. The grammar would refuse most of them or
//! read them as syntax, and it neither says where it stumbled nor joins what stands side by side by `AND`.
//! Here every word and value is put in quotes, signs without a meaning are passed over, `AND` is written out,
//! negations are counted, and what cannot be understood is refused with its place and a remedy. What remains
//! to the grammar is what it is good at: precedence, ranges, sets, fields, slop.
//!
//! The grammar's tree has no positions, so each field's name carries its own: `12@http.route:"/api"`. Bounds
//! of ranges carry [`BOUND_MARK`], so that none is taken for syntax.

use super::error::Error;
use super::words::words;

/// Longest query text in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses.
const DEPTH_MAX: usize = 32;
/// Farthest that the words of one phrase may be moved, all moves together.
const SLOP_MAX: u32 = 50;
const BOUND: &str = "a bound is one word";
const BOUND_REMEDY: &str = "write a number, a word, or * for no bound";
/// Begins each bound of a range.
pub(super) const BOUND_MARK: char = '\'';
/// Stands between the position and the name of a field.
pub(super) const POSITION_MARK: char = '@';

/// Text for the grammar; empty where the query asks for every line.
///
/// [`Error::Query`] with the position and a remedy where it cannot be understood.
pub(super) fn canonical(text: &str) -> Result<String, Error> {
    if QUERY_BYTES_MAX < text.len() {
        let position = text[..text.floor_char_boundary(QUERY_BYTES_MAX)].chars().count() + 1;
        return Err(wrong(position, "the query is too long", "keep it under 4096 bytes"));
    }
    let mut writer = Writer::default();
    let mut reader = Reader { characters: text.chars().collect(), at: 0 };
    while let Some(character) = reader.peek(0) {
        let position = reader.at + 1;
        match character {
            _ if character.is_whitespace() => reader.at += 1,
            '(' if reader.closes_at_once() => {}
            '(' => {
                reader.at += 1;
                writer.open(position, "")?;
            }
            ')' => {
                reader.at += 1;
                writer.close(position, &reader.boost())?;
            }
            '-' | '!' if reader.begins_text() => {
                reader.at += 1;
                writer.is_negated = !writer.is_negated;
                writer.is_begun = true;
            }
            '+' if reader.begins_text() => {
                reader.at += 1;
                writer.is_required = true;
            }
            '"' => {
                let quoted = reader.quoted()?;
                if !writer.in_field() && words(&quoted).is_empty() {
                    return Err(nothing_in(position));
                }
                let tail = reader.tail()?;
                writer.part(&(quote(&quoted) + &tail));
            }
            _ => word(&mut reader, &mut writer)?,
        }
    }
    writer.finish(text)
}

pub(super) const fn wrong(position: usize, problem: &'static str, remedy: &'static str) -> Error {
    Error::Query { position, problem, remedy }
}

const fn nothing_in(position: usize) -> Error {
    wrong(position, "there is nothing to search for", "write a word with letters or digits")
}

/// In quotes, as the grammar reads them.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What begins with a sign or a letter: an operator, a field with its value, or plain words.
fn word(reader: &mut Reader, writer: &mut Writer) -> Result<(), Error> {
    let (start, position) = (reader.at, reader.at + 1);
    if writer.in_field()
        && let Some(bounds) = reader.bounds()?
    {
        writer.part(&bounds);
        return Ok(());
    }
    let (text, is_plain) = reader.run();
    match text.as_str() {
        "AND" | "&&" => return writer.operator(position, "AND"),
        "OR" | "||" => return writer.operator(position, "OR"),
        "NOT" => {
            writer.is_negated = !writer.is_negated;
            writer.is_begun = true;
            return Ok(());
        }
        "*" => {
            writer.part("*");
            return Ok(());
        }
        _ => {}
    }
    if !is_plain
        && let Some((key, _)) = text.split_once(':')
        && is_key(key)
    {
        let end = reader.at;
        reader.at = start + key.chars().count() + 1;
        if let Some(value) = field(reader, writer, (position, key))? {
            writer.part(&value);
            return Ok(());
        }
        // A path, an address, or a word before a colon.
        if reader.at < end {
            reader.at = end;
        } else if reader.at > end {
            return Ok(());
        }
    }
    let (text, boost) = if is_plain { (text.as_str(), String::new()) } else { without_boost(&text) };
    let (begin, star) = if is_plain { (text, "") } else { beginning(position, text)? };
    // What has no letter or digit is passed over, except where it is a field's value.
    if writer.in_field() || !words(begin).is_empty() {
        writer.part(&format!("{}{star}{boost}", quote(begin)));
    }
    Ok(())
}

/// The field's part that begins behind its colon; none where the colon makes no field. A group is opened, and
/// the reader then stands behind the parenthesis.
fn field(
    reader: &mut Reader,
    writer: &mut Writer,
    (position, key): (usize, &str),
) -> Result<Option<String>, Error> {
    let name = format!("{position}{POSITION_MARK}{key}:");
    if let Some(bounds) = reader.bounds()? {
        return Ok(Some(name + &bounds));
    }
    if let Some(set) = reader.set()? {
        return Ok(Some(name + &set));
    }
    match (reader.peek(0), reader.peek(1)) {
        (Some('('), _) => {
            let at = reader.at + 1;
            if reader.closes_at_once() {
                return Err(wrong(at, "there is no value", "write key:* for any value"));
            }
            reader.at += 1;
            writer.open(at, &name)?;
            Ok(None)
        }
        (Some('"'), _) => {
            let value = reader.quoted()?;
            Ok(Some(name + &quote(&value) + &reader.tail()?))
        }
        (None | Some(':'), _) | (Some('/'), Some('/')) => Ok(None),
        (Some(next), _) if next.is_whitespace() => Ok(None),
        (Some('[' | '{'), _) => Ok(None),
        _ => {
            let value_position = reader.at + 1;
            let (text, is_plain) = reader.run();
            if is_plain {
                return Ok(Some(name + &quote(&text)));
            }
            let (text, boost) = without_boost(&text);
            if text == "*" {
                return Ok(Some(name + "*" + &boost));
            }
            if !text.contains(char::is_alphanumeric) {
                return Ok(None);
            }
            let (begin, star) = beginning(value_position, text)?;
            Ok(Some(format!("{name}{}{star}{boost}", quote(begin))))
        }
    }
}

/// True for what can be an attribute's name rather than the start of an address or a time.
fn is_key(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_alphanumeric() || "._-/@$".contains(character))
}

/// The text without its closing star, and the star.
fn beginning(position: usize, text: &str) -> Result<(&str, &'static str), Error> {
    let (start, star) = match text.strip_suffix('*') {
        Some(start) => (start, "*"),
        None => (text, ""),
    };
    match start.chars().position(|character| character == '*') {
        Some(at) if start.chars().any(char::is_alphanumeric) => Err(wrong(
            position + at,
            "a star stands only at the end of a word",
            "write the beginning as in conn*, or quote the text",
        )),
        _ => Ok((start, star)),
    }
}

/// The text before a boost such as `^2`, and the boost.
fn without_boost(text: &str) -> (&str, String) {
    match text.rsplit_once('^') {
        Some((start, weight)) if !start.is_empty() && is_weight(weight) => (start, format!("^{weight}")),
        _ => (text, String::new()),
    }
}

fn is_weight(text: &str) -> bool {
    let mut parts = text.splitn(2, '.');
    text.len() <= 8 && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Walks over the characters of the query.
struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    /// True when the sign that is next stands before something, and is not part of an arrow or of an option
    /// such as `--force`.
    fn begins_text(&self) -> bool {
        let rest = &self.characters[self.at + 1..];
        let starts_text = rest.first().is_some_and(|next| !matches!(next, '-' | '!' | '+' | '=' | '>' | ')'));
        let mut run = rest.iter().take_while(|character| !character.is_whitespace());
        starts_text && run.any(|character| character.is_alphanumeric() || matches!(character, '"' | '('))
    }

    /// Passes over `()`, which people paste with names of functions.
    fn closes_at_once(&mut self) -> bool {
        let is_empty = self.peek(1) == Some(')');
        self.at += if is_empty { 2 } else { 0 };
        is_empty
    }

    /// The text between two quotes, the first of which is next; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, Error> {
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
    fn tail(&mut self) -> Result<String, Error> {
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
    fn boost(&mut self) -> String {
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
    fn run(&mut self) -> (String, bool) {
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
    fn bounds(&mut self) -> Result<Option<String>, Error> {
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
    fn set(&mut self) -> Result<Option<String>, Error> {
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

/// Writes the canonical text, and looks after what may follow what.
#[derive(Default)]
struct Writer {
    text: String,
    /// Where parentheses were opened that are not closed yet; true for those behind a field's name.
    open: Vec<(usize, bool)>,
    last: Last,
    is_negated: bool,
    is_required: bool,
    /// There is a negation before the part that comes next.
    is_begun: bool,
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
    fn in_field(&self) -> bool {
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

    fn part(&mut self, part: &str) {
        self.join();
        self.text.push_str(part);
        self.last = Last::Part;
    }

    fn operator(&mut self, position: usize, name: &str) -> Result<(), Error> {
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

    fn open(&mut self, position: usize, field: &str) -> Result<(), Error> {
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

    fn close(&mut self, position: usize, boost: &str) -> Result<(), Error> {
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

    fn finish(self, text: &str) -> Result<String, Error> {
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
