//! Where words begin and end, the same for lines and for questions.
//!
//! A word is a run of letters and digits, in lower case, cut at [`WORD_BYTES_MAX`]; an ideograph is a word of
//! its own, because such scripts put no space between words. An identifier with punctuation (`order-7f3a`,
//! `10.0.0.7:5432`) is therefore several words in a row: found by each, and as a phrase by the whole.
//! Identifiers in camel case are indexed whole and, at the same position, by their parts.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Longest word in bytes; what is longer is found by its beginning.
pub const WORD_BYTES_MAX: usize = 255;
/// Longest word that is looked at for camel case: what is longer is encoded data, not a name.
const CAMEL_BYTES_MAX: usize = 64;
/// Most parts of one camel-case word.
const CAMEL_PARTS_MAX: usize = 8;

/// The words of `text` in lower case, in order; camel case stays whole.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((from, to)) = next_word(text, at) {
        let mut word = String::new();
        lower_into(&text[from..to], &mut word);
        found.push(word);
        at = to;
    }
    found
}

/// The longest start of `text` of at most `bytes` bytes that ends between characters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Appends `text` to `out` in lower case.
pub(super) fn push_lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        let from = out.len();
        out.push_str(text);
        out[from..].make_ascii_lowercase();
    } else {
        out.extend(text.chars().flat_map(char::to_lowercase));
    }
}

fn lower_into(word: &str, out: &mut String) {
    out.clear();
    push_lower(cut(word, WORD_BYTES_MAX), out);
    // A few letters grow when lowered.
    out.truncate(out.floor_char_boundary(WORD_BYTES_MAX));
}

/// Start and end of the first word at or after byte `at`.
fn next_word(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut from = at;
    let first = loop {
        let byte = *bytes.get(from)?;
        if byte.is_ascii() {
            if byte.is_ascii_alphanumeric() {
                break char::from(byte);
            }
            from += 1;
        } else {
            let character = text[from..].chars().next()?;
            if character.is_alphanumeric() {
                break character;
            }
            from += character.len_utf8();
        }
    };
    let mut to = from + first.len_utf8();
    if is_ideograph(first) {
        return Some((from, to));
    }
    while let Some(byte) = bytes.get(to) {
        if byte.is_ascii() {
            if !byte.is_ascii_alphanumeric() {
                break;
            }
            to += 1;
        } else {
            match text[to..].chars().next() {
                Some(next) if next.is_alphanumeric() && !is_ideograph(next) => to += next.len_utf8(),
                _ => break,
            }
        }
    }
    Some((from, to))
}

/// Kana and Han, in the ranges of the Unicode blocks that hold them.
const fn is_ideograph(character: char) -> bool {
    matches!(
        character,
        '\u{3040}'..='\u{30ff}'
            | '\u{3400}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

/// Where in `word`, after `from`, a part in camel case ends: before `C` in `camelCase`, before `S` in
/// `HTTPServer`.
fn next_hump(word: &[u8], from: usize) -> Option<usize> {
    (from + 1..word.len()).find(|&at| {
        let rises = word[at - 1].is_ascii_lowercase() && word[at].is_ascii_uppercase();
        let next_is_low = word.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        rises || (word[at - 1].is_ascii_uppercase() && word[at].is_ascii_uppercase() && next_is_low)
    })
}

/// The index's tokenizer.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, at: 0, parts: None, token: &mut self.token }
    }
}

/// Walks the words of one text.
pub(super) struct WordStream<'a> {
    text: &'a str,
    at: usize,
    parts: Option<Parts>,
    token: &'a mut Token,
}

/// The parts of a camel-case word that are still to come.
struct Parts {
    from: usize,
    to: usize,
    left: usize,
}

impl WordStream<'_> {
    fn set(&mut self, from: usize, to: usize) {
        self.token.offset_from = from;
        self.token.offset_to = to;
        lower_into(&self.text[from..to], &mut self.token.text);
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        if let Some(parts) = self.parts.take() {
            let word = &self.text.as_bytes()[..parts.to];
            let hump = next_hump(word, parts.from).unwrap_or(parts.to);
            if hump < parts.to && 1 < parts.left {
                self.parts = Some(Parts { from: hump, to: parts.to, left: parts.left - 1 });
            }
            self.set(parts.from, hump);
            return true;
        }
        let Some((from, to)) = next_word(self.text, self.at) else { return false };
        self.at = to;
        self.token.position = self.token.position.wrapping_add(1);
        self.set(from, to);
        let is_name = to - from <= CAMEL_BYTES_MAX;
        if is_name && next_hump(&self.text.as_bytes()[..to], from).is_some() {
            self.parts = Some(Parts { from, to, left: CAMEL_PARTS_MAX });
        }
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    /// The words that are indexed, each with its position.
    fn indexed(text: &str) -> String {
        let mut tokenizer = Words::default();
        let mut stream = tokenizer.token_stream(text);
        let mut found = Vec::new();
        while stream.advance() {
            found.push(format!("{}@{}", stream.token().text, stream.token().position));
        }
        found.join(" ")
    }

    #[test]
    fn text_falls_into_words() {
        let cases = [
            ("Hello, happy-tax payer!", "hello@0 happy@1 tax@2 payer@3"),
            ("10.0.0.7:5432", "10@0 0@1 0@2 7@3 5432@4"),
            ("a camelCase b", "a@0 camelcase@1 camel@1 case@1 b@2"),
            ("HTTPServerError", "httpservererror@0 http@0 server@0 error@0"),
            ("user_id=7f3A9Bc", "user@0 id@1 7f3a9bc@2"),
            ("Zürich ÉTÉ", "zürich@0 été@1"),
            ("支付 failed 失", "支@0 付@1 failed@2 失@3"),
            ("", ""),
            (" -- ", ""),
        ];
        for (text, wanted) in cases {
            assert_eq!(indexed(text), wanted, "{text}");
        }
        assert_eq!(words("Pay camelCase"), ["pay", "camelcase"]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(words(&"é".repeat(300)), ["é".repeat(127)]);
        assert_eq!(words(&"x".repeat(300)), ["x".repeat(255)]);
    }

    #[test]
    fn camel_case_has_a_bound() {
        assert_eq!(indexed(&"aB".repeat(20)).split(' ').count(), 1 + CAMEL_PARTS_MAX);
        assert_eq!(indexed(&"aB".repeat(40)).split(' ').count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_has_words_of_letters_and_digits(text in "\\PC{0,40}") {
            for word in words(&text) {
                assert!(!word.is_empty() && word.len() <= WORD_BYTES_MAX);
            }
            // Questions and lines agree on the whole words.
            let whole: Vec<String> = words(&text);
            let line = indexed(&text);
            assert!(whole.iter().all(|word| line.contains(word.as_str())));
        }
    }
}
