//! A line as masked tokens, in one pass.

use xxhash_rust::xxh3::xxh3_128;

use super::{VARIABLE, mask};

/// Units that belong to the number before them.
const UNITS: [&[u8]; 13] =
    [b"B", b"kB", b"KB", b"MB", b"GB", b"TB", b"PB", b"KiB", b"MiB", b"GiB", b"TiB", b"sec", b"secs"];

const SPACE: u8 = 1;
const DIGIT: u8 = 2;
/// What each byte is.
const TRAITS: [u8; 256] = {
    let mut traits = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        traits[byte] = match byte as u8 {
            b' ' | b'\t'..=b'\r' => SPACE,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    traits
};

/// The masked tokens of one line and their text, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Masked tokens joined by one space.
    text: Vec<u8>,
    /// Where each token ends in the text.
    ends: Vec<usize>,
}

/// What is compared of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Of the whole token.
    pub(super) hash: u64,
    /// Of the key and the equals sign, where it has both.
    pub(super) key: Option<u64>,
    /// Nothing but a value.
    pub(super) is_variable: bool,
    /// The key's value is a variable.
    pub(super) is_keyed_variable: bool,
    /// Fit to tell branches of the tree apart: without values and digits.
    pub(super) is_word: bool,
    /// Letters alone, but for punctuation at its ends: seldom a value.
    pub(super) is_plain: bool,
}

impl Tokens {
    /// Reads a line: its first `bytes_max` bytes, split at white space into at most `tokens_max` tokens.
    pub(super) fn read(&mut self, line: &str, bytes_max: usize, tokens_max: usize) {
        self.text.clear();
        self.ends.clear();
        let mut rest = cut(line, bytes_max).as_bytes();
        while let Some((token, traits)) = next_token(&mut rest) {
            // Every kind of value has a digit; most tokens have none.
            if traits & DIGIT == 0 {
                if self.takes_unit(token) {
                    continue;
                }
                if self.is_full(tokens_max) {
                    return;
                }
                self.begin();
                self.text.extend_from_slice(token);
            } else {
                if self.is_full(tokens_max) {
                    return;
                }
                self.begin();
                mask::token(token, &mut self.text);
            }
            self.end();
        }
    }

    /// Reads the text of a template: tokens that are masked already.
    pub(super) fn read_template(&mut self, text: &str, tokens_max: usize) {
        self.text.clear();
        self.ends.clear();
        for token in text.split_ascii_whitespace() {
            if self.is_full(tokens_max) {
                return;
            }
            self.begin();
            self.text.extend_from_slice(token.as_bytes());
            self.end();
        }
    }

    /// The masked text.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Stands for the masked text.
    pub(super) fn fingerprint(&self) -> u128 {
        fingerprint(&self.text)
    }

    /// The bytes of each token, in order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |end| {
            let token = &self.text[from..*end];
            from = end + 1;
            token
        })
    }

    fn is_full(&mut self, tokens_max: usize) -> bool {
        let full = self.ends.len() >= tokens_max;
        if full {
            // The last token stands for all that follows.
            let from = self.ends.len().checked_sub(2).map_or(0, |index| self.ends[index] + 1);
            self.text.truncate(from);
            self.text.extend_from_slice(VARIABLE.as_bytes());
            if let Some(end) = self.ends.last_mut() {
                *end = self.text.len();
            }
        }
        full
    }

    /// Makes a unit part of the value before it, so that "1.36 KB" and "<1 sec" are one value like "1360" and
    /// "00:05". A quantity in brackets says a size again in other words and is left out.
    fn takes_unit(&mut self, token: &[u8]) -> bool {
        if token.len() > 5 || !self.text.ends_with(VARIABLE.as_bytes()) {
            return false;
        }
        let word = token.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (unit, after) = token.split_at(word);
        if !UNITS.contains(&unit) || !after.iter().all(|byte| b",.;:)]".contains(byte)) {
            return false;
        }
        self.text.extend_from_slice(after);
        let from = self.ends.len().checked_sub(2).map_or(0, |index| self.ends[index] + 1);
        if self.ends.len() > 1 && &self.text[from..] == b"(<*>)" {
            self.text.truncate(from - 1);
            self.ends.pop();
        } else if let Some(end) = self.ends.last_mut() {
            *end = self.text.len();
        }
        true
    }

    fn begin(&mut self) {
        if !self.ends.is_empty() {
            self.text.push(b' ');
        }
    }

    fn end(&mut self) {
        self.ends.push(self.text.len());
    }
}

impl Token {
    /// What is compared of a masked token.
    pub(super) fn of(text: &[u8]) -> Self {
        let variable = VARIABLE.as_bytes();
        let equals = text.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
        Self {
            hash: hash(text),
            key: equals.map(|at| hash(&text[..=at])),
            is_variable: text == variable,
            is_keyed_variable: equals.is_some_and(|at| &text[at + 1..] == variable),
            is_plain: is_plain(text),
            is_word: !text.iter().any(u8::is_ascii_digit) && !text.windows(3).any(|part| part == variable),
        }
    }
}

/// True for letters with nothing but punctuation around them.
fn is_plain(text: &[u8]) -> bool {
    let from = text.iter().position(|byte| !b"([{\"'".contains(byte)).unwrap_or(text.len());
    let to = text.iter().rposition(|byte| !b",.;:)]}\"'!?".contains(byte)).map_or(0, |at| at + 1);
    from < to && text[from..to].iter().all(u8::is_ascii_alphabetic)
}

/// Stands for a masked text, however long it is.
pub(super) fn fingerprint(text: &[u8]) -> u128 {
    xxh3_128(text)
}

/// The start of a text, at most `bytes_max` bytes of whole characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Takes the next run of bytes that are not white space, and says which kinds of bytes it has.
fn next_token<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], u8)> {
    let from = rest.iter().position(|byte| TRAITS[usize::from(*byte)] & SPACE == 0)?;
    let mut traits = 0;
    let mut to = from;
    while to < rest.len() {
        let here = TRAITS[usize::from(rest[to])];
        if here & SPACE != 0 {
            break;
        }
        traits |= here;
        to += 1;
    }
    let token = &rest[from..to];
    *rest = &rest[to..];
    Some((token, traits))
}

/// FNV-1a with a last mixing step. Equal hashes of different tokens would only group lines of one service.
fn hash(bytes: &[u8]) -> u64 {
    let word = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |word, byte| {
        (word ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    word ^ word >> 32
}
