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
//!
//! Files in reading order: `reader` (what stands where), `writer` (what may follow what).

mod reader;
mod writer;

use self::reader::Reader;
use self::writer::Writer;
use super::error::Error;
use super::words::words;

/// Longest query text in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;
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
    let mut reader = Reader::new(text);
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
        writer.within_bounds(position)?;
    }
    writer.finish(text)
}

/// A refusal at a character, counted from 1.
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
