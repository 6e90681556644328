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
        table.rows.iter_mut().flatten().for_each(clean_value);
    }
    if let Some(table) = answer.shown.as_mut().and_then(|shown| shown.table.as_mut()) {
        clean_text(table, 64);
    }
    for evidence in &mut answer.evidence {
        clean_text(&mut evidence.id, ID_BYTES_MAX);
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

/// The text with everything that a reader would not see written out, as `[U+202E]`, so that it hides nothing and names stay
/// apart; [`unescaped`] reads it back.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let mut before = None;
    let is_unseen = |before: Option<char>, c| is_hidden(c) || is_joiner(c) && !before.is_some_and(joins);
    let is_plain = text.chars().all(|c| !is_unseen(before.replace(c), c));
    if is_plain {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(2 * text.len());
    let mut before = None;
    for c in text.chars() {
        if is_unseen(before.replace(c), c) {
            let _ = write!(written, "[U+{:04X}]", u32::from(c));
        } else {
            written.push(c);
        }
    }
    Cow::Owned(written)
}

/// The text with what [`escaped`] wrote out as it was.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("[U+") {
        return Cow::Borrowed(text);
    }
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once("[U+") {
        read.push_str(plain);
        let digits = after.split_once(']').map(|(digits, _)| digits).filter(|digits| digits.len() <= 6);
        match digits.and_then(|digits| char::from_u32(u32::from_str_radix(digits, 16).ok()?)) {
            Some(c) => {
                read.push(c);
                rest = &after[digits.map_or(0, str::len) + 1..];
            }
            None => {
                read.push_str("[U+");
                rest = after;
            }
        }
    }
    read.push_str(rest);
    Cow::Owned(read)
}

/// True for control characters other than line feed and tab, for marks that reorder text or end lines, and for the
/// invisible characters that hide instructions from people but not from models.
pub(crate) fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}')
        || matches!(c, '\u{17b4}'..='\u{17b5}' | '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

/// True for what joins or shapes the letter or picture before it and is seen by that alone.
const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// Whether a joiner may follow: one, not a row of them, and after something that is no plain letter.
fn joins(c: char) -> bool {
    !c.is_ascii_alphabetic() && !c.is_whitespace() && !is_hidden(c) && (c == '\u{fe0f}' || !is_joiner(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{escaped, is_hidden, unescaped};

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
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
            assert_eq!(unescaped(expected), text, "{text:?}");
        }
        for text in ["[U+]", "[U+110000]", "[U+xyz] [U+41", "[U+0000041]"] {
            assert_eq!(unescaped(text), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(text in prop::collection::vec(any::<char>(), 0..40)) {
            let text: String = text.into_iter().collect();
            let written = escaped(&text);
            prop_assert!(!written.chars().any(is_hidden), "{}", written);
            if !text.contains("[U+") {
                prop_assert_eq!(unescaped(&written), text.as_str());
            }
        }
    }
}
