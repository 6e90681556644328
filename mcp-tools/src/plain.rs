//! Makes telemetry safe to show: it was written by strangers, and a model reads it.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::answer::Answer;

/// Longest text kept in one cell, in bytes; the rest of a longer one is replaced by `…`.
const CELL_BYTES_MAX: usize = 8_192;
/// Longest heading or key, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Longest evidence id, in bytes: two operations with their services, and a window.
const ID_BYTES_MAX: usize = 4_096;

/// Writes out what a reader would not see in any text, and bounds every text.
pub(crate) fn clean(answer: &mut Answer) {
    clean_text(&mut answer.summary, CELL_BYTES_MAX);
    for moment in [&mut answer.window.from, &mut answer.window.to, &mut answer.window.as_of] {
        clean_text(moment, 40);
    }
    for table in &mut answer.tables {
        clean_text(&mut table.name, 64);
        table.columns.iter_mut().for_each(|column| clean_text(column, NAME_BYTES_MAX));
        let has_ids = |column: &String| column == "evidence" || table.name == "evidence" && column == "id";
        let ids: Vec<bool> = table.columns.iter().map(has_ids).collect();
        for (at, cell) in table.rows.iter_mut().flat_map(|row| row.iter_mut().enumerate()) {
            if ids.get(at).is_some_and(|is_id| *is_id) { clean_ids(cell) } else { clean_value(cell) }
        }
    }
    if let Some(table) = answer.shown.as_mut().and_then(|shown| shown.table.as_mut()) {
        clean_text(table, 64);
    }
    for evidence in &mut answer.evidence {
        clean_id(&mut evidence.id);
        clean_text(&mut evidence.kind, NAME_BYTES_MAX);
        clean_text(&mut evidence.text, CELL_BYTES_MAX);
    }
    for ruled_out in &mut answer.ruled_out {
        clean_text(&mut ruled_out.subject, ID_BYTES_MAX);
        clean_text(&mut ruled_out.reason, CELL_BYTES_MAX);
    }
    if let Some(detail) = answer.coverage.as_mut().and_then(|coverage| coverage.detail.as_mut()) {
        clean_text(detail, CELL_BYTES_MAX);
    }
    for argument in answer.next.iter_mut().flat_map(|next| next.arguments.values_mut()) {
        clean_value(argument);
    }
    for text in answer.why_empty.iter_mut().chain(&mut answer.warnings) {
        clean_text(text, CELL_BYTES_MAX);
    }
}

/// Cuts a text to at most `bytes_max` bytes, `…` included; true when anything was cut.
pub(crate) fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let end = bytes_max.saturating_sub('…'.len_utf8());
    text.truncate((0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
    text.push('…');
    true
}

fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => clean_text(text, CELL_BYTES_MAX),
        Value::Array(values) => values.iter_mut().for_each(clean_value),
        Value::Object(fields) => {
            let cleaned = std::mem::take(fields).into_iter().map(|(mut name, mut value)| {
                clean_text(&mut name, NAME_BYTES_MAX);
                clean_value(&mut value);
                (name, value)
            });
            *fields = cleaned.collect::<Map<_, _>>();
        }
        _ => {}
    }
}

fn clean_text(text: &mut String, bytes_max: usize) {
    if let Cow::Owned(written) = escaped(text) {
        *text = written;
    }
    cut(text, bytes_max);
}

/// Cleans ids; the `;` in one is written out too, for one stands between two in a list of ids.
fn clean_ids(value: &mut Value) {
    match value {
        Value::String(id) => clean_id(id),
        Value::Array(ids) => ids.iter_mut().for_each(clean_ids),
        other => clean_value(other),
    }
}

fn clean_id(id: &mut String) {
    if let Cow::Owned(written) = written_out(id, |c| c == ';') {
        *id = written;
    }
    cut(id, ID_BYTES_MAX);
}

/// The text with everything that a reader would not see written out, as `[U+202E]`, so that it hides nothing and no two names
/// look the same: what looks like that already has its bracket written out. [`unescaped`] reads it back.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    written_out(text, |_| false)
}

/// The text with what [`escaped`] writes out, and the characters `besides`.
fn written_out(text: &str, besides: fn(char) -> bool) -> Cow<'_, str> {
    let mut written = String::new();
    let (mut before, mut done) = (None, 0);
    for (at, c) in text.char_indices() {
        let is_unseen = is_hidden(c) || is_joiner(c) && !before.is_some_and(|before| joins(before, c));
        if is_unseen || besides(c) || c == '[' && code(&text[at..]).is_some() {
            let _ = write!(written, "{}[U+{:04X}]", &text[done..at], u32::from(c));
            done = at + c.len_utf8();
        }
        before = Some(c);
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    written.push_str(&text[done..]);
    Cow::Owned(written)
}

/// The text with what [`escaped`] wrote out as it was, in evidence ids too.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    let mut read = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices("[U+") {
        if let Some((c, length)) = code(&text[at..]) {
            read.push_str(&text[done..at]);
            read.push(c);
            done = at + length;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    read.push_str(&text[done..]);
    Cow::Owned(read)
}

/// The character that is written out at the beginning of a text, and how long that is; none where none is, or one that is
/// never written out.
fn code(text: &str) -> Option<(char, usize)> {
    let rest = text.strip_prefix("[U+")?;
    let length = rest.bytes().take(7).position(|byte| byte == b']')?;
    let digits = &rest[..length];
    if length < 4 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    let is_written_out = is_hidden(c) || is_joiner(c) || matches!(c, ';' | '[');
    is_written_out.then_some((c, length + "[U+]".len()))
}

/// True for control characters other than line feed and tab, for marks that reorder text or end lines, and for the
/// invisible characters that hide instructions from people but not from models.
pub(crate) fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}')
        || matches!(c, '\u{17b4}'..='\u{17b5}' | '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
        || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
}

/// True for what joins or shapes the letter or picture before it and is seen by that alone.
const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// Whether a joiner is seen by what it does to the character before it: one, not a row of them, and after something that it
/// can shape.
fn joins(before: char, joiner: char) -> bool {
    if before.is_whitespace() || is_hidden(before) {
        return false;
    }
    match joiner {
        '\u{200d}' if before == '\u{fe0f}' => true,
        '\u{200c}'..='\u{200d}' => !before.is_ascii() && !is_joiner(before),
        '\u{fe0e}'..='\u{fe0f}' => !before.is_ascii_alphabetic() && !is_joiner(before),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use serde_json::json;

    use super::{clean, escaped, is_hidden, unescaped, written_out};
    use crate::answer::{Answer, Table};

    #[test]
    fn what_nobody_sees_is_written_out() {
        for (text, expected) in [
            ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
            ("a\u{1b}[31mb", "a[U+001B][31mb"),
            ("pay\u{200b}ment", "pay[U+200B]ment"),
            ("\u{202e}gpj.exe", "[U+202E]gpj.exe"),
            ("hi\u{e0041}\u{e0042}", "hi[U+E0041][U+E0042]"),
            ("a\u{fe01}\u{fe02}", "a[U+FE01][U+FE02]"),
            ("❤\u{fe0f} 👩\u{200d}💻 می\u{200c}خواهم", "❤\u{fe0f} 👩\u{200d}💻 می\u{200c}خواهم"),
            ("👩\u{200d}\u{200d}\u{200d}", "👩\u{200d}[U+200D][U+200D]"),
            ("❤\u{fe0f}\u{fe0f}\u{200c}", "❤\u{fe0f}[U+FE0F][U+200C]"),
            ("👩\u{fe0f}\u{200d}💻 1\u{fe0f}\u{20e3}", "👩\u{fe0f}\u{200d}💻 1\u{fe0f}\u{20e3}"),
            ("a\u{200d}1\u{200c}é\u{fe00}", "a[U+200D]1[U+200C]é[U+FE00]"),
            ("pay[U+202E]", "pay[U+005B]U+202E]"),
            ("[U+003b][U+0041]", "[U+005B]U+003b][U+0041]"),
            ("[U+\u{202e}]", "[U+[U+202E]]"),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
            assert_eq!(unescaped(expected), text, "{text:?}");
        }
        for text in
            ["[U+]", "[U+110000]", "[U+xyz] [U+41", "[U+0000041]", "[U+0041]", "[U++202E]", "[U+000202é]"]
        {
            assert_eq!(unescaped(text), text);
        }
    }

    #[test]
    fn the_ids_of_evidence_have_no_semicolon() {
        let id = "operation:a; trace:1 [U+003B]";
        let mut table = Table::new("causes", ["cause", "evidence"]);
        table.rows = vec![vec![json!(id), json!([id])]];
        let mut answer = Answer { tables: vec![table], ..Answer::default() };
        clean(&mut answer);
        let [cause, ids] = &answer.tables[0].rows[0][..] else { panic!("two cells") };
        assert_eq!(cause, "operation:a; trace:1 [U+005B]U+003B]");
        assert_eq!(ids[0], "operation:a[U+003B] trace:1 [U+005B]U+003B]");
        for shown in [cause, &ids[0]] {
            assert_eq!(unescaped(shown.as_str().unwrap()), id);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(parts in prop::collection::vec(part(), 0..20)) {
            let text = parts.concat();
            let written = escaped(&text);
            prop_assert!(!written.chars().any(is_hidden), "{}", written);
            prop_assert_eq!(unescaped(&written), text.as_str());
            let id = written_out(&text, |c| c == ';');
            prop_assert!(!id.contains(';'), "{}", id);
            prop_assert_eq!(unescaped(&id), text.as_str());
        }
    }

    /// Any characters, and those of which codes are made.
    fn part() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<char>().prop_map(String::from),
            "[U+0-9A-Fa-f;]|\\[|\\]|\\[U\\+|202E|003B|\u{200d}|\u{fe0f}|\u{202e}|é",
        ]
    }
}
