//! The query text as people and agents write it, read into a tree.
//!
//! Words stand side by side and must all occur. `"in quotes"` is a phrase, `conn*` a beginning, `-word`,
//! `!word` and `NOT word` exclude, `OR` offers a choice and binds less than side by side (`AND` may be
//! written, and `||`, `&&`), parentheses group. `key:value` and `key:"two words"` ask for an attribute with
//! exactly this value, `key:val*` for one that begins so, `key:*` for any; `severity:error` and
//! `severity:>=warn` ask for the level. Case matters only for the operators. What has no letter or digit is
//! passed over, as people paste lines with dashes and arrows.

use super::error::Error;
use super::words::words;
use crate::model::log::Severity;

/// Longest query text in bytes.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses and negations.
const DEPTH_MAX: usize = 32;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Every line.
    All,
    /// These words in a row; the last may be a beginning.
    Words { words: Vec<String>, is_prefix: bool },
    /// An attribute with this value, or with a value that begins so.
    Attribute { key: String, value: String, is_prefix: bool },
    /// A severity number in this range, both ends included.
    Severity { least: u8, most: u8 },
    /// Lines that do not match.
    Not(Box<Expression>),
    /// All of them; at least two.
    And(Vec<Expression>),
    /// Any of them; at least two.
    Or(Vec<Expression>),
}

/// Reads a query text; text without anything in it asks for every line.
///
/// [`Error::Query`] with the position and a remedy where it cannot be understood.
pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    if QUERY_BYTES_MAX < text.len() {
        let position = text[..text.floor_char_boundary(QUERY_BYTES_MAX)].chars().count() + 1;
        return Err(wrong(position, "the query is too long", "keep it under 4096 bytes"));
    }
    let mut tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    if tokens.is_empty() {
        return if text.trim().is_empty() { Ok(Expression::All) } else { Err(nothing_in(1)) };
    }
    tokens.reverse();
    let mut parser = Parser { tokens, end };
    let expression = parser.choice(0)?;
    match parser.tokens.pop() {
        None => Ok(expression),
        Some((position, _)) => {
            Err(wrong(position, "a parenthesis is closed that was not opened", "remove it or quote the text"))
        }
    }
}

fn wrong(position: usize, problem: &'static str, remedy: &'static str) -> Error {
    Error::Query { position, problem, remedy }
}

fn nothing_in(position: usize) -> Error {
    wrong(position, "there is nothing to search for", "write a word with letters or digits")
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    Leaf(Expression),
}

/// The tokens of `text`, each with its position in characters from 1.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let mut lexer = Lexer { characters: text.chars().collect(), at: 0 };
    let mut found = Vec::new();
    while let Some(character) = lexer.peek(0) {
        let position = lexer.at + 1;
        let token = match character {
            _ if character.is_whitespace() => {
                lexer.at += 1;
                continue;
            }
            '(' => lexer.single(Token::Open),
            ')' => lexer.single(Token::Close),
            '-' | '!' if lexer.negates() => lexer.single(Token::Not),
            '"' => {
                let words = words(&lexer.quoted()?);
                if words.is_empty() {
                    return Err(nothing_in(position));
                }
                Token::Leaf(Expression::Words { words, is_prefix: false })
            }
            _ => match lexer.word(position)? {
                Some(token) => token,
                None => continue,
            },
        };
        found.push((position, token));
    }
    Ok(found)
}

struct Lexer {
    characters: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    /// True when the dash or exclamation mark that is next stands before something, and is not part of an
    /// arrow or of an option such as `--force`.
    fn negates(&self) -> bool {
        let rest = &self.characters[self.at + 1..];
        let starts_text = rest.first().is_some_and(|next| !matches!(next, '-' | '!' | '=' | '>' | ')'));
        let mut run = rest.iter().take_while(|character| !character.is_whitespace());
        starts_text && run.any(|character| character.is_alphanumeric() || matches!(character, '"' | '('))
    }

    fn single(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    /// The text between two quotes, the first of which is next; `\"` and `\\` stand for themselves.
    fn quoted(&mut self) -> Result<String, Error> {
        let position = self.at + 1;
        self.at += 1;
        let mut text = String::new();
        while let Some(character) = self.peek(0) {
            self.at += 1;
            match character {
                '"' => return Ok(text),
                '\\' if matches!(self.peek(0), Some('"' | '\\')) => {
                    text.extend(self.peek(0));
                    self.at += 1;
                }
                _ => text.push(character),
            }
        }
        Err(wrong(
            position,
            "a quote is not closed",
            "add the closing quote, or write \\\" for the sign itself",
        ))
    }

    /// A word, an operator or an attribute; none for what has no letter or digit.
    fn word(&mut self, position: usize) -> Result<Option<Token>, Error> {
        let mut text = String::new();
        while let Some(character) = self.peek(0) {
            if character.is_whitespace() || matches!(character, '(' | ')' | '"') {
                break;
            }
            self.at += 1;
            text.push(character);
        }
        match text.as_str() {
            "AND" | "&&" => return Ok(Some(Token::And)),
            "OR" | "||" => return Ok(Some(Token::Or)),
            "NOT" => return Ok(Some(Token::Not)),
            "*" => return Ok(Some(Token::Leaf(Expression::All))),
            _ => {}
        }
        if let Some((key, value)) = text.split_once(':')
            && is_key(key)
        {
            let is_path = value.starts_with(':') || value.starts_with("//");
            let is_quoted = value.is_empty() && self.peek(0) == Some('"');
            let is_group = value.is_empty() && self.peek(0) == Some('(');
            if is_group {
                return Err(wrong(
                    self.at + 1,
                    "an attribute has one value",
                    "write (key:this OR key:that) instead of key:(this OR that)",
                ));
            }
            if is_quoted {
                let value = self.quoted()?;
                return field(position, key, &value, false).map(|leaf| Some(Token::Leaf(leaf)));
            }
            if !is_path && !value.is_empty() {
                let (value, is_prefix) = beginning(position, value)?;
                return field(position, key, value, is_prefix).map(|leaf| Some(Token::Leaf(leaf)));
            }
        }
        let (text, is_prefix) = beginning(position, &text)?;
        let words = words(text);
        let ends_in_word = text.chars().next_back().is_some_and(char::is_alphanumeric);
        // `order-*` is the words before the star; there is no word that it could begin.
        let is_prefix = is_prefix && ends_in_word;
        Ok((!words.is_empty()).then_some(Token::Leaf(Expression::Words { words, is_prefix })))
    }
}

/// True for what can be an attribute's name rather than the start of an address or a time.
fn is_key(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && text.chars().all(|character| character.is_alphanumeric() || "._-/@$".contains(character))
}

/// The text without its closing star, and whether there was one.
fn beginning(position: usize, text: &str) -> Result<(&str, bool), Error> {
    let (start, is_prefix) = match text.strip_suffix('*') {
        Some(start) => (start, true),
        None => (text, false),
    };
    match start.chars().position(|character| character == '*') {
        Some(at) if start.chars().any(char::is_alphanumeric) => Err(wrong(
            position + at,
            "a star stands only at the end of a word",
            "write the beginning as in conn*, or quote the text",
        )),
        _ => Ok((start, is_prefix)),
    }
}

fn field(position: usize, key: &str, value: &str, is_prefix: bool) -> Result<Expression, Error> {
    if key.eq_ignore_ascii_case("severity") {
        return severity(value).ok_or_else(|| {
            wrong(position, "no such severity", "use trace, debug, info, warn, error or fatal")
        });
    }
    if key.eq_ignore_ascii_case("service") {
        let remedy = "name the service beside the query, not in it";
        return Err(wrong(position, "services are not part of the query text", remedy));
    }
    if value.starts_with(['<', '>']) {
        let remedy = "write the exact value, or quote it if it begins with this sign";
        return Err(wrong(position, "attributes cannot be compared by size", remedy));
    }
    Ok(Expression::Attribute { key: key.to_owned(), value: value.to_owned(), is_prefix })
}

/// A level by name or number, alone or with all above it.
fn severity(value: &str) -> Option<Expression> {
    let (name, and_above) = match value.strip_prefix(">=") {
        Some(name) => (name, true),
        None => (value, false),
    };
    if let Ok(number @ 0..=24) = name.parse::<u8>() {
        return Some(Expression::Severity { least: number, most: if and_above { 24 } else { number } });
    }
    let least = Severity::from_name(name)?.0;
    Some(Expression::Severity { least, most: if and_above { 24 } else { least + 3 } })
}

/// Recursive descent over tokens, the next of which is last.
struct Parser {
    tokens: Vec<(usize, Token)>,
    end: usize,
}

impl Parser {
    fn next_is(&self, token: &Token) -> bool {
        self.tokens.last().is_some_and(|(_, next)| next == token)
    }

    fn position(&self) -> usize {
        self.tokens.last().map_or(self.end, |(position, _)| *position)
    }

    /// What `OR` separates.
    fn choice(&mut self, depth: usize) -> Result<Expression, Error> {
        if DEPTH_MAX < depth {
            return Err(wrong(self.position(), "the query is nested too deeply", "use fewer parentheses"));
        }
        let mut choices = vec![self.sequence(depth)?];
        while self.next_is(&Token::Or) {
            self.tokens.pop();
            choices.push(self.sequence(depth)?);
        }
        Ok(one_or(choices, Expression::Or))
    }

    /// What stands side by side.
    fn sequence(&mut self, depth: usize) -> Result<Expression, Error> {
        let mut parts = Vec::new();
        loop {
            match self.tokens.last() {
                Some((_, Token::And)) if !parts.is_empty() => {
                    self.tokens.pop();
                    parts.push(self.part(depth)?);
                }
                None | Some((_, Token::Or | Token::Close)) if !parts.is_empty() => {
                    return Ok(one_or(parts, Expression::And));
                }
                _ => parts.push(self.part(depth)?),
            }
        }
    }

    fn part(&mut self, depth: usize) -> Result<Expression, Error> {
        let position = self.position();
        match self.tokens.pop() {
            Some((_, Token::Leaf(leaf))) => Ok(leaf),
            Some((_, Token::Not)) if depth < DEPTH_MAX => {
                self.part(depth + 1).map(|part| Expression::Not(Box::new(part)))
            }
            Some((_, Token::Not)) => Err(wrong(position, "the query is nested too deeply", "negate once")),
            Some((_, Token::Open)) => {
                let inner = self.choice(depth + 1)?;
                match self.tokens.pop() {
                    Some((_, Token::Close)) => Ok(inner),
                    _ => Err(wrong(position, "a parenthesis is not closed", "close it or quote the text")),
                }
            }
            Some((_, Token::And | Token::Or)) => Err(wrong(
                position,
                "an operator has nothing before it",
                "put a word on each side, or quote it",
            )),
            Some((_, Token::Close)) => Err(wrong(
                position,
                "there is nothing before this parenthesis",
                "put a word inside, or quote the text",
            )),
            None => Err(wrong(position, "the query ends too early", "put a word after the last operator")),
        }
    }
}

fn one_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn show(expression: &Expression) -> String {
        let all = |parts: &[Expression], sign: &str| parts.iter().map(show).collect::<Vec<_>>().join(sign);
        match expression {
            Expression::All => "everything".into(),
            Expression::Words { words, is_prefix } => words.join(" ") + if *is_prefix { "…" } else { "" },
            Expression::Attribute { key, value, is_prefix } => {
                format!("{key}={value}{}", if *is_prefix { "…" } else { "" })
            }
            Expression::Severity { least, most } => format!("{least}..{most}"),
            Expression::Not(part) => format!("no {}", show(part)),
            Expression::And(parts) => format!("[{}]", all(parts, " & ")),
            Expression::Or(parts) => format!("[{}]", all(parts, " | ")),
        }
    }

    #[test]
    fn texts_are_understood() {
        let cases = [
            ("", "everything"),
            ("  ", "everything"),
            ("*", "everything"),
            ("Timeout", "timeout"),
            ("pay AND refused late", "[pay & refused & late]"),
            ("a b OR c", "[[a & b] | c]"),
            ("a && (b || c)", "[a & [b | c]]"),
            ("a -b !c NOT d", "[a & no b & no c & no d]"),
            ("-(a OR b)", "no [a | b]"),
            ("\"connection reset\" by", "[connection reset & by]"),
            ("\"a \\\"quoted\\\" word\"", "a quoted word"),
            ("conn*", "conn…"),
            ("order-7f3a", "order 7f3a"),
            ("order-7f*", "order 7f…"),
            ("order-*", "order"),
            ("/api/pay", "api pay"),
            ("10.0.0.7:5432", "10 0 0 7 5432"),
            ("http://shop/pay", "http shop pay"),
            ("std::io::Error", "std io error"),
            ("ERROR: no space", "[error & no & space]"),
            ("2026-01-02T10:00:00Z", "2026 01 02t10 00 00z"),
            ("a - b -> c | d", "[a & b & c & d]"),
            ("tar --force != -/tmp/x", "[tar & force & no tmp x]"),
            ("select * from", "[select & everything & from]"),
            ("http.route:/api/*", "http.route=/api/…"),
            ("k8s.pod.name:pay-1 x", "[k8s.pod.name=pay-1 & x]"),
            ("user:\"Ann Lee\" -y", "[user=Ann Lee & no y]"),
            ("trace_id:*", "trace_id=…"),
            ("severity:error", "17..20"),
            ("Severity:>=WARN", "13..24"),
            ("severity:\"info\" or", "[9..12 & or]"),
            ("severity:3", "3..3"),
        ];
        for (text, wanted) in cases {
            assert_eq!(parse(text).map(|expression| show(&expression)).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_place_and_remedy() {
        let cases = [
            ("a \"b", 3, "a quote is not closed"),
            ("é (b", 3, "a parenthesis is not closed"),
            ("a b) c", 4, "a parenthesis is closed that was not opened"),
            ("f()", 3, "there is nothing before this parenthesis"),
            ("OR a", 1, "an operator has nothing before it"),
            ("a OR OR b", 6, "an operator has nothing before it"),
            ("a AND", 6, "the query ends too early"),
            ("a NOT", 6, "the query ends too early"),
            ("x *tail", 3, "a star stands only at the end of a word"),
            ("mi*le", 3, "a star stands only at the end of a word"),
            ("severity:loud", 1, "no such severity"),
            ("x service:pay", 3, "services are not part of the query text"),
            ("code:>500", 1, "attributes cannot be compared by size"),
            ("code:(a OR b)", 6, "an attribute has one value"),
            ("--- \u{2014}", 1, "there is nothing to search for"),
            ("a \"-\"", 3, "there is nothing to search for"),
        ];
        for (text, at, wanted) in cases {
            match parse(text) {
                Err(Error::Query { position, problem, remedy }) => {
                    assert_eq!((position, problem), (at, wanted), "{text}");
                    assert!(!remedy.is_empty());
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for deep in ["(".repeat(4000), "-(".repeat(2000) + "a", "NOT ".repeat(1000), "a".repeat(5000)] {
            assert!(matches!(parse(&deep), Err(Error::Query { .. })));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "[a-zé\" ()*:!-]{0,30}|(AND|OR|NOT|[(]|[)]|a|-|\"| ){0,30}|\\PC{0,30}",
        ) {
            let _ = parse(&text);
        }
    }
}
