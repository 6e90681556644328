//! The text of a statement as the few kinds of token that are taken.
//!
//! Whatever databases read in different ways is refused: names in quotes or brackets, comments, parameters, dollar
//! quotes, prefixes of text, numbers with letters behind them. So what is read here is what the database reads.

use std::fmt;

use super::refusal::Refusal;

/// Longest name, in bytes: Postgres cuts longer ones.
const WORD_BYTES_MAX: usize = 63;
/// Signs, longer ones first.
const SIGNS: [&str; 19] =
    ["::", "<=", ">=", "<>", "!=", "==", "(", ")", ",", ".", "*", "+", "-", "/", "%", "=", "<", ">", ";"];

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name or a keyword, in lower case.
    Word(String),
    /// Text in its single quotes.
    Text(&'t str),
    /// A number.
    Number(&'t str),
    /// An operator or punctuation.
    Sign(&'static str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Text(text) | Self::Number(text) => f.write_str(text),
            Self::Sign(sign) => f.write_str(sign),
        }
    }
}

/// The tokens of `text`; refused where a part of it is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Refusal> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\r' | '\n' => {
                rest = &rest[1..];
                continue;
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
                let word = rest[..length].to_ascii_lowercase();
                if length > WORD_BYTES_MAX || rest[length..].starts_with('\'') {
                    return Err(Refusal::Word { word });
                }
                found.push(Token::Word(word));
                length
            }
            '0'..='9' => {
                let length = number(rest);
                if rest[length..].starts_with(|c: char| is_of_word(c) || c == '.') {
                    let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
                    return Err(Refusal::Place { token: rest[..end].to_owned() });
                }
                found.push(Token::Number(&rest[..length]));
                length
            }
            '\'' => {
                let length = quoted(rest).ok_or(Refusal::Unfinished)?;
                found.push(Token::Text(&rest[..length]));
                length
            }
            _ if rest.starts_with("--") || rest.starts_with("/*") => return Err(Refusal::Comment),
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or(Refusal::Sign { sign: first })?;
                found.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = &rest[length..];
    }
    Ok(found)
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Bytes of the number that `text` begins with: digits, a fraction, an exponent.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    let mut end = digits(0);
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

/// Bytes of the text in quotes that `text` begins with; none where it does not end, or holds NUL.
fn quoted(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find(['\'', '\0'])?;
        if text[at..].starts_with('\0') {
            return None;
        }
        if !text[at + 1..].starts_with('\'') {
            return Some(at + 1);
        }
        at += 2;
    }
}
