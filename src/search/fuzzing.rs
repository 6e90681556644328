//! Query texts: understood, or refused at a place that exists; and the words of any text.

use super::error::Error;
use super::expression::{Expression, parse};
use super::words::{WORD_BYTES_MAX, words};

/// Expressions in each other that a text of 4 KiB may give.
const NODES_MAX: usize = 16_384;

/// A query text.
pub(crate) fn query(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for word in words(text) {
        assert!(!word.is_empty() && word.len() <= WORD_BYTES_MAX, "{word:?} is no word");
        assert!(word.chars().all(char::is_alphanumeric) || !word.is_ascii(), "{word:?} is no word");
    }
    let found = parse(text);
    match &found {
        Ok(expression) => assert!(nodes(expression) <= NODES_MAX, "more parts than text"),
        Err(Error::Query { position, problem, remedy }) => {
            assert!((1..=text.chars().count() + 1).contains(position), "a place outside of the text");
            assert!(!problem.is_empty() && !remedy.is_empty());
        }
        Err(error) => panic!("a text fails otherwise than as a text: {error}"),
    }
    assert_eq!(format!("{:?}", parse(text)), format!("{found:?}"), "the same text asks the same");
}

fn nodes(expression: &Expression) -> usize {
    match expression {
        Expression::Not(inner) => 1 + nodes(inner),
        Expression::And(parts) | Expression::Or(parts) => {
            assert!(parts.len() > 1, "one part is joined to nothing");
            1 + parts.iter().map(nodes).sum::<usize>()
        }
        Expression::Range(range) => {
            // Whatever the bounds are, a value is inside or outside.
            let _ = ["", "1", "-1.5", "z"].map(|value| range.values.holds(value));
            1
        }
        _ => 1,
    }
}
