//! Text that Postgres takes.
//!
//! Postgres has no NUL in a text, telemetry may. It is written as U+F0000 followed by `0`, and U+F0000 itself, which
//! is for private use and stands in no real name, twice: what comes back is what went in, and two texts that differ
//! still do.

use std::borrow::Cow;

const ESCAPE: char = '\u{F0000}';

/// As Postgres stores it.
pub(in crate::store) fn to_stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, ESCAPE]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// As it was before.
pub(in crate::store) fn from_stored(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE => text.push(if characters.next() == Some('0') { '\0' } else { ESCAPE }),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[\\x00a0\u{F0000}]{0,12}") {
            let stored = to_stored(&text);
            prop_assert!(!stored.contains('\0'));
            let back = from_stored(&stored).into_owned();
            prop_assert_eq!(back, text);
        }
    }
}
