//! The scalars of a JSON object (RFC 8259), without building it in memory.

use std::borrow::Cow;

/// Bytes of keys joined by dots that are rarely passed.
const PATH_BYTES_USUAL: usize = 64;
/// Deepest nesting of a text that is read at all.
const DEPTH_MAX: usize = 64;

/// A value that is neither an object nor a list nor null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'t> {
    /// Text, unescaped.
    Text(Cow<'t, str>),
    /// A number without fraction or exponent that fits.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// A truth value.
    Bool(bool),
}

/// Shows each scalar of the object that `text` is, in order, with the keys that lead to it joined by dots. Objects
/// below `objects_max` levels, and lists, are passed over. Ends early when `visit` answers false.
///
/// True when the text was read to its end and is one object with nothing but white space around it.
pub(super) fn scalars<'t>(
    text: &'t str,
    objects_max: usize,
    visit: &mut impl FnMut(&str, Scalar<'t>) -> bool,
) -> bool {
    let mut reader = Reader { text, at: 0, path: String::with_capacity(PATH_BYTES_USUAL), objects_max };
    reader.space();
    if reader.peek() != Some(b'{') || reader.object(1, visit).is_none() {
        return false;
    }
    reader.space();
    reader.at == text.len()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    path: String,
    objects_max: usize,
}

/// Each method answers none where the text is no JSON, or where the visitor has seen enough.
impl<'t> Reader<'t> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn object(&mut self, depth: usize, visit: &mut impl FnMut(&str, Scalar<'t>) -> bool) -> Option<()> {
        self.take(b'{')?;
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        let length = self.path.len();
        loop {
            let key = self.string()?;
            self.space();
            self.take(b':')?;
            self.space();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            self.member(depth, visit)?;
            self.path.truncate(length);
            self.space();
            if self.take(b'}').is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    /// The value of a key that `path` ends with.
    fn member(&mut self, depth: usize, visit: &mut impl FnMut(&str, Scalar<'t>) -> bool) -> Option<()> {
        let scalar = match self.peek()? {
            b'{' if depth < self.objects_max => return self.object(depth + 1, visit),
            b'{' | b'[' => return self.pass(depth),
            b'n' => return self.word("null"),
            b'"' => Scalar::Text(self.string()?),
            b't' => {
                self.word("true")?;
                Scalar::Bool(true)
            }
            b'f' => {
                self.word("false")?;
                Scalar::Bool(false)
            }
            _ => self.number()?,
        };
        visit(&self.path, scalar).then_some(())
    }

    /// Reads a value that nobody wants.
    fn pass(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (is_object, close) = match self.peek()? {
            b'{' => (true, b'}'),
            b'[' => (false, b']'),
            b'n' => return self.word("null"),
            b't' => return self.word("true"),
            b'f' => return self.word("false"),
            b'"' => return self.string().map(drop),
            _ => return self.number().map(drop),
        };
        self.at += 1;
        self.space();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            if is_object {
                self.string()?;
                self.space();
                self.take(b':')?;
                self.space();
            }
            self.pass(depth + 1)?;
            self.space();
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<Scalar<'t>> {
        let start = self.at;
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        let mut is_whole = true;
        if self.take(b'.').is_some() {
            is_whole = false;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if is_whole && let Ok(number) = text.parse() {
            return Some(Scalar::Int(number));
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Double)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// A string; borrowed where nothing in it is escaped.
    fn string(&mut self) -> Option<Cow<'t, str>> {
        self.take(b'"')?;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        let mut copied = start;
        loop {
            match self.peek()? {
                b'"' => {
                    let rest = &self.text[copied..self.at];
                    self.at += 1;
                    return Some(match unescaped {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                b'\\' => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(&self.text[copied..self.at]);
                    self.at += 1;
                    let character = self.escaped()?;
                    unescaped.get_or_insert_default().push(character);
                    copied = self.at;
                }
                ..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    /// The character after a backslash.
    fn escaped(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                self.take(b'\\')?;
                self.take(b'u')?;
                let second = self.hex().filter(|second| (0xdc00..0xe000).contains(second))?;
                char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::proptest;
    use serde_json::Value;

    use super::*;

    fn read(text: &str, objects_max: usize) -> Option<Vec<(String, String)>> {
        let mut found = Vec::new();
        let is_object = scalars(text, objects_max, &mut |path, scalar| {
            let value = match scalar {
                Scalar::Text(text) => Value::from(text),
                Scalar::Int(number) => number.into(),
                Scalar::Double(number) => number.into(),
                Scalar::Bool(flag) => flag.into(),
            };
            found.push((path.to_owned(), value.to_string()));
            true
        });
        is_object.then_some(found)
    }

    #[test]
    fn scalars_are_shown_with_their_paths() {
        let text = r#" {"a":1,"b":{"c":"x\"\u00e9\ud83d\ude00","d":[1,{"e":2}],"f":{"g":true}},"h":null,"i":-1.5e3,"":0} "#;
        let wanted = [("a", "1"), ("b.c", "\"x\\\"é😀\""), ("b.f.g", "true"), ("i", "-1500.0"), ("", "0")];
        let wanted: Vec<_> = wanted.map(|(path, value)| (path.to_owned(), value.to_owned())).to_vec();
        assert_eq!(read(text, 3).unwrap(), wanted);
        let shallow = read(text, 1).unwrap();
        assert_eq!(shallow.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["a", "i", ""]);
    }

    proptest! {
        #[test]
        fn objects_are_told_like_the_library_does(inner in r#"[\[\]{}:,"\\ 0-9eE.+\-a-ntrufls]{0,14}"#) {
            for text in [format!("{{{inner}}}"), format!("{{\"k\":{inner}}}"), inner] {
                let theirs = serde_json::from_str::<Value>(&text);
                let is_object = theirs.is_ok_and(|value| value.is_object());
                assert_eq!(read(&text, 4).is_some(), is_object, "{text}");
            }
        }

        #[test]
        fn texts_are_unescaped_like_the_library_does(value in ".{0,12}", key in ".{0,6}") {
            let text = serde_json::json!({ key.as_str(): value.as_str() }).to_string();
            let wanted = vec![(key, Value::from(value).to_string())];
            assert_eq!(read(&text, 4).unwrap(), wanted);
        }
    }
}
