//! What holds of one answer by itself.

use serde_json::Value;

use super::hostile::{NAME_MARK, TEXT_MARK};
use super::trial::Call;

/// The bounds of `mcp-tools/src/plain.rs`, in bytes: of a text, of a key, and of an evidence id.
const TEXT_BYTES_MAX: usize = 8_192;
const NAME_BYTES_MAX: usize = 512;
const ID_BYTES_MAX: usize = 4_096;
/// Most follow-up calls.
const NEXT_MAX: usize = 3;

/// Tools whose summaries quote what a sender wrote other than names: a message, a value, a log pattern.
const QUOTE_SENDERS: [&str; 5] =
    ["triage", "root_cause_analysis", "what_changed", "compare_attributes", "test_hypothesis"];
/// What a column of senders' own keys is called: its cells are objects.
const OWN_KEYS: &str = "attributes";

/// Something that does not hold: the rule, and how.
pub(super) type Broken = (&'static str, String);

/// Reads the answer out of a result of `tools/call`, and says what is broken about its form.
pub(super) fn form(call: &Call, result: &Value) -> (Value, Vec<Broken>) {
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let mut broken = size(text, call.tokens_max());
    let Ok(answer) = serde_json::from_str::<Value>(text) else {
        broken.push(("the text is JSON", shown(text)));
        return (Value::Null, broken);
    };
    if answer != result["structuredContent"] {
        broken.push(("the text is the structured content", shown(text)));
    }
    if answer.to_string().len() != text.len() {
        broken.push(("the text is compact", shown(text)));
    }
    (answer, broken)
}

/// Whether a text is within its bound of tokens.
fn size(text: &str, tokens_max: usize) -> Vec<Broken> {
    let tokens = mcp_tools::tokens(text.len());
    if tokens <= tokens_max {
        return Vec::new();
    }
    vec![("max_tokens bounds the answer", format!("{tokens} of {tokens_max} tokens"))]
}

/// What is broken about what an answer says.
pub(super) fn content(call: &Call, answer: &Value) -> Vec<Broken> {
    let mut broken = Vec::new();
    strings(answer, "", &mut |path, text, bytes_max| {
        if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
            broken.push(("nothing is hidden", format!("{hidden:?} at {path}: {}", shown(text))));
        }
        if text.len() > bytes_max {
            broken.push(("texts are bounded", format!("{} bytes at {path}: {}", text.len(), shown(text))));
        }
    });
    if answer["summary"].as_str().is_none_or(str::is_empty) {
        broken.push(("an answer has a summary", shown(&answer.to_string())));
    }
    if answer["next"].as_array().is_some_and(|next| next.len() > NEXT_MAX) {
        broken.push(("at most three calls are offered", shown(&answer["next"].to_string())));
    }
    for evidence in answer["evidence"].as_array().into_iter().flatten() {
        let id = evidence["id"].as_str().unwrap_or_default();
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            broken.push(("evidence has an id", shown(&evidence.to_string())));
        }
    }
    broken.extend(spoken(call, answer));
    broken
}

/// Hostile texts that stand where the answer does not say that senders' words do.
fn unmarked(answer: &Value) -> Vec<Broken> {
    let untrusted: Vec<&str> =
        answer["untrusted"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_hostile = |value: &Value| {
        let text = value.to_string();
        text.contains(TEXT_MARK) || text.contains(NAME_MARK)
    };
    let mut places: Vec<(String, &Value)> = Vec::new();
    let fields = answer.as_object().into_iter().flatten().filter(|(name, _)| *name != "tables");
    places.extend(fields.map(|(name, value)| (name.clone(), value)));
    for table in answer["tables"].as_array().into_iter().flatten() {
        let columns = table["columns"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for (at, column) in columns.enumerate() {
            let place = format!("{}.{column}", table["name"].as_str().unwrap_or_default());
            let cells = table["rows"].as_array().into_iter().flatten().map(|row| &row[at]);
            places.extend(cells.map(|cell| (place.clone(), cell)));
        }
    }
    let wrong =
        places.iter().filter(|(place, value)| is_hostile(value) && !untrusted.contains(&place.as_str()));
    wrong
        .map(|(place, value)| ("hostile text is marked", format!("{place}: {}", shown(&value.to_string()))))
        .collect()
}

/// Whether hostile texts stand only where senders' words stand.
fn spoken(call: &Call, answer: &Value) -> Vec<Broken> {
    let mut broken = unmarked(answer);
    let text = answer["summary"].to_string();
    if text.contains(TEXT_MARK) && !QUOTE_SENDERS.contains(&call.tool) {
        broken.push(("hostile text stays in rows", format!("in the summary: {}", shown(&text))));
    }
    let mut rest = answer.clone();
    for table in rest["tables"].as_array_mut().into_iter().flatten() {
        let columns = table["columns"].as_array().cloned().unwrap_or_default();
        let Some(own) = columns.iter().position(|column| column == OWN_KEYS) else { continue };
        for row in table["rows"].as_array_mut().into_iter().flatten() {
            row[own] = Value::Null;
        }
    }
    keys(&rest, &mut |key| {
        if key.contains(TEXT_MARK) || key.contains(NAME_MARK) {
            broken.push(("no key is hostile", shown(key)));
        }
    });
    broken
}

/// What is broken about the text of a refusal, which speaks with the server's voice: names may be quoted in it.
pub(super) fn refusal(text: &str) -> Vec<Broken> {
    let mut broken = Vec::new();
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}');
    if text.chars().any(|c| is_hidden(c) || breaks(c)) {
        broken.push(("a refusal is one plain line", shown(text)));
    }
    let unquoted: String = text.split('`').step_by(2).collect();
    if text.contains(TEXT_MARK) || unquoted.contains(NAME_MARK) {
        broken.push(("a refusal only quotes names", shown(text)));
    }
    if mcp_tools::tokens(text.len()) > mcp_tools::MAX_TOKENS_DEFAULT as usize {
        broken.push(("a refusal is short", format!("{} bytes: {}", text.len(), shown(text))));
    }
    broken
}

/// What is broken about a list of the server's own words.
pub(super) fn list(name: &'static str, list: &Value) -> Vec<Broken> {
    let text = list.to_string();
    let is_clean = !text.contains(TEXT_MARK) && !text.contains(NAME_MARK);
    if is_clean {
        Vec::new()
    } else {
        vec![("definitions are the server's own", format!("{name}: {}", shown(&text)))]
    }
}

/// What is broken about texts that a client shows as they are.
pub(super) fn plain(texts: &Value) -> Vec<Broken> {
    let mut broken = Vec::new();
    strings(texts, "", &mut |path, text, _| {
        if text.chars().any(is_hidden) {
            broken.push(("nothing is hidden", format!("at {path}: {}", shown(text))));
        }
    });
    broken
}

/// Calls `look` with every text of a value, keys included, with its path and its bound.
fn strings(value: &Value, path: &str, look: &mut dyn FnMut(&str, &str, usize)) {
    match value {
        Value::String(text) => look(path, text, TEXT_BYTES_MAX),
        Value::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                strings(value, &format!("{path}/{at}"), look);
            }
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                look(path, key, NAME_BYTES_MAX);
                strings(value, &format!("{path}/{key}"), look);
            }
        }
        _ => {}
    }
}

fn keys(value: &Value, look: &mut dyn FnMut(&str)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| keys(value, look)),
        Value::Object(fields) => {
            for (key, value) in fields {
                look(key);
                keys(value, look);
            }
        }
        _ => {}
    }
}

/// Control characters but line feed and tab, marks that reorder text, and what nobody sees: what joins or shapes letters of
/// some scripts, as U+200C and U+200D do, is not meant.
fn is_hidden(c: char) -> bool {
    let is_control = c.is_control() && c != '\n' && c != '\t';
    let reorders = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_unseen = matches!(c, '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    is_control || reorders || is_unseen
}

/// The beginning of a text with what is hidden written out.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(400).flat_map(char::escape_default).collect();
    if text.chars().nth(400).is_some() {
        short.push('…');
    }
    short
}
