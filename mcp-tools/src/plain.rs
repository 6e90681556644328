//! Makes telemetry safe to show: it was written by strangers, and a model reads it.

use serde_json::{Map, Value};

use crate::answer::Answer;

/// Longest text kept in one cell, in bytes; the rest of a longer one is replaced by `…`.
const CELL_BYTES_MAX: usize = 8_192;
/// Longest name, moment or heading, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 512;

/// Takes out of every text what a reader would not see, and bounds every text.
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
        clean_text(&mut evidence.id, NAME_BYTES_MAX);
        clean_text(&mut evidence.kind, NAME_BYTES_MAX);
        clean_text(&mut evidence.text, CELL_BYTES_MAX);
    }
    for ruled_out in &mut answer.ruled_out {
        clean_text(&mut ruled_out.subject, NAME_BYTES_MAX);
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
    if text.chars().any(is_hidden) {
        text.retain(|c| !is_hidden(c));
    }
    cut(text, bytes_max);
}

/// True for control characters other than line feed and tab, for marks that reorder text, and for the
/// invisible tag characters and zero-width spaces that hide instructions from people but not from models.
pub(crate) fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}
