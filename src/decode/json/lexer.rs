//! JSON tokens (RFC 8259), read strictly and without recursion.
//!
//! Text stays bytes: an OTLP text that is not UTF-8 is repaired later, exactly as it is in protobuf.

use std::borrow::Cow;

use crate::decode::Encoding;
use crate::decode::error::Error;

/// Deepest nesting of values that are skipped because nobody knows their name.
const SKIPPED_DEPTH_MAX: usize = 128;

/// Reads tokens from the first byte to the last.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Bytes read so far.
    pub(super) const fn offset(&self) -> usize {
        self.at
    }

    /// The first byte of the next token; white space before it is passed over.
    pub(super) fn peek(&mut self) -> Result<u8, Error> {
        self.skip_white_space();
        self.input.get(self.at).copied().ok_or_else(|| self.malformed("the text ends too early"))
    }

    /// Takes the punctuation `byte` if it comes next.
    pub(super) fn accept(&mut self, byte: u8) -> Result<bool, Error> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        Ok(found)
    }

    /// Takes the punctuation `byte`.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.accept(byte)? {
            return Ok(());
        }
        Err(self.malformed(match byte {
            b'{' => "an object is expected here",
            b'[' => "an array is expected here",
            b':' => "a colon is expected here",
            b']' => "a comma or the end of the array is expected here",
            _ => "a comma or the end of the object is expected here",
        }))
    }

    /// True when another element or member follows inside brackets that end with `close`, which is taken if not.
    pub(super) fn more(&mut self, close: u8, is_first: bool) -> Result<bool, Error> {
        if self.accept(close)? {
            return Ok(false);
        }
        if is_first || self.accept(b',')? { Ok(true) } else { self.expect(close).map(|()| false) }
    }

    /// A member's name and the colon after it.
    pub(super) fn name(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        if self.peek()? != b'"' {
            return Err(self.malformed("a name in quotes is expected here"));
        }
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Takes `null` if it comes next.
    pub(super) fn null(&mut self) -> Result<bool, Error> {
        if self.peek()? != b'n' {
            return Ok(false);
        }
        self.word(b"null").map(|()| true)
    }

    /// A truth value.
    pub(super) fn boolean(&mut self) -> Result<bool, Error> {
        match self.peek()? {
            b't' => self.word(b"true").map(|()| true),
            b'f' => self.word(b"false").map(|()| false),
            _ => Err(self.malformed("true or false is expected here")),
        }
    }

    /// The digits of a number, checked against the grammar.
    pub(super) fn number(&mut self) -> Result<&'a [u8], Error> {
        self.skip_white_space();
        let rest = &self.input[self.at..];
        let length = number_length(rest).ok_or_else(|| self.malformed("a number is expected here"))?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// A string with its escapes undone.
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        if !self.accept(b'"')? {
            return Err(self.malformed("a string is expected here"));
        }
        let mut undone: Option<Vec<u8>> = None;
        loop {
            let rest = &self.input[self.at..];
            let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')).count();
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match undone {
                        Some(mut text) => {
                            text.extend_from_slice(&rest[..plain]);
                            Cow::Owned(text)
                        }
                        None => Cow::Borrowed(&rest[..plain]),
                    });
                }
                Some(b'\\') => {
                    let text = undone.get_or_insert_default();
                    text.extend_from_slice(&rest[..plain]);
                    self.at += 1;
                    let character = self.escape()?;
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(_) => return Err(self.malformed("a control character inside a string")),
                None => return Err(self.malformed("the text ends too early")),
            }
        }
    }

    /// Passes over one value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            let mut is_first = false;
            match self.peek()? {
                bracket @ (b'{' | b'[') => {
                    if open.len() == SKIPPED_DEPTH_MAX {
                        return Err(Error::TooDeep { depth_max: SKIPPED_DEPTH_MAX, offset: self.at });
                    }
                    self.at += 1;
                    // In ASCII the closing bracket comes two after the opening one.
                    open.push(bracket + 2);
                    is_first = true;
                }
                b'"' => drop(self.string()?),
                b't' | b'f' => drop(self.boolean()?),
                b'n' => drop(self.null()?),
                _ => drop(self.number()?),
            }
            loop {
                let Some(close) = open.last().copied() else { return Ok(()) };
                if self.more(close, is_first)? {
                    if close == b'}' {
                        self.name()?;
                    }
                    break;
                }
                open.pop();
                is_first = false;
            }
        }
    }

    /// The end of the text: nothing but white space follows.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.skip_white_space();
        if self.at == self.input.len() { Ok(()) } else { Err(self.malformed("more text after the request")) }
    }

    /// An error at the current place.
    pub(super) const fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { encoding: Encoding::Json, what, offset: self.at }
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.input.get(self.at) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Error> {
        if self.input[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.malformed("a value is expected here"))
        }
    }

    /// The character after a backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let letter = self.input.get(self.at).copied();
        let character = match letter {
            Some(character @ (b'"' | b'\\' | b'/')) => char::from(character),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.malformed("an unknown escape in a string")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        // What is no character by itself is one half of a surrogate pair.
        if first < 0xdc00 && self.input[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second)
                && let Some(character) =
                    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
            {
                return Ok(character);
            }
        }
        Err(self.malformed("half of a surrogate pair in a string"))
    }

    fn four_digits(&mut self) -> Result<u32, Error> {
        let digits = self.input.get(self.at..).and_then(|rest| rest.first_chunk::<4>());
        let value = digits.and_then(|digits| {
            digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
        });
        let value = value.ok_or_else(|| self.malformed("an escape without four hexadecimal digits"))?;
        self.at += 4;
        Ok(value)
    }
}

/// The length of the number that `text` starts with; none where it starts with none.
pub(super) fn number_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || whole > 1 && text[at] == b'0' {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}
