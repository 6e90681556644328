//! Arguments of any bytes: understood within their bounds, or refused in one line that can be shown.

use serde_json::{Map, Value};

use crate::plain::is_hidden;
use crate::{Fault, MAX_TOKENS_BOUNDS, Question, TOOL_NAMES, TimeExpression, TimeRange, rfc3339};

/// Longest refusal, in bytes: five mistakes, each with what would be right.
const REFUSAL_BYTES_MAX: usize = 8_192;
const NOW_NS: i64 = 1_800_000_000_000_000_000;

/// A moment.
pub fn time(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match TimeExpression::parse(text) {
        Ok(moment) => {
            if let Ok(at) = moment.resolve(NOW_NS) {
                assert!(at >= 0, "before 1970");
                // It is shown in milliseconds.
                let shown = TimeExpression::parse(&rfc3339(at)).and_then(|shown| shown.resolve(NOW_NS));
                assert_eq!(shown.ok(), Some(at / 1_000_000 * 1_000_000), "shown as it is read");
            }
            if let Ok((since, until)) =
                (TimeRange { since: Some(moment), until: TimeExpression::NOW }).resolve(NOW_NS)
            {
                assert!(0 <= since && since < until);
            }
        }
        Err(fault) => check(&fault),
    }
}

/// The arguments of a call; the first byte chooses the tool.
pub fn arguments(input: &[u8]) {
    let Some((choice, text)) = input.split_first() else { return };
    let Ok(arguments) = serde_json::from_slice::<Map<String, Value>>(text) else { return };
    let tool = TOOL_NAMES[usize::from(*choice) % TOOL_NAMES.len()];
    let asked = Question::parse(tool, arguments.clone());
    assert_eq!(
        asked.as_ref().ok(),
        Question::parse(tool, arguments).as_ref().ok(),
        "the same call asks the same"
    );
    match asked {
        Ok(question) => {
            let (least, most) = (MAX_TOKENS_BOUNDS.0 as usize, MAX_TOKENS_BOUNDS.1 as usize);
            assert!((least..=most).contains(&question.max_tokens()), "an answer of any size");
        }
        Err(fault) => check(&fault),
    }
}

fn check(fault: &Fault) {
    let told = fault.to_string();
    assert!(told.len() <= REFUSAL_BYTES_MAX, "a refusal of {} bytes", told.len());
    assert!(!told.chars().any(|c| is_hidden(c) || c == '\n'), "a refusal of several lines: {told:?}");
}
