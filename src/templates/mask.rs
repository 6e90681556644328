//! Which parts of a token are values: numbers, identifiers made of digits, addresses, times, paths and URLs.
//!
//! The rules look at the shape of text alone, and every value has a digit in it. Letters with a digit or two at
//! their end stay, for they are names more often than values (`utf8`, `eth0`); comparing lines finds out about
//! those that vary.

use super::VARIABLE;

const SCHEME_END: &[u8] = b"://";
/// How far the rules look ahead for the end of a host's name or a path, so that no line costs more than its
/// length times this.
const LOOK_AHEAD_BYTES: usize = 256;

/// Appends `token`, which holds no white space, with its values masked.
pub(super) fn token(token: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < token.len() {
        let rest = &token[at..];
        let before = at.checked_sub(1).map(|index| token[index]);
        if rest.starts_with(SCHEME_END) {
            out.extend_from_slice(SCHEME_END);
            at += SCHEME_END.len();
            let place = place_length(&token[at..]);
            if token[at..at + place].iter().any(u8::is_ascii_digit) {
                out.extend_from_slice(VARIABLE.as_bytes());
                at += place;
            }
            continue;
        }
        let value = value_length(rest, before);
        if value > 0 {
            put_variable(out, before);
            at += value;
            continue;
        }
        // What is no value goes out as it is: a whole word, so that no value is seen inside it, or one sign.
        let word = word_length(rest).max(1);
        out.extend_from_slice(&rest[..word]);
        at += word;
    }
}

/// Appends a variable, with the sign of a number as a part of it: `-1` and `1` are the same variable.
fn put_variable(out: &mut Vec<u8>, before: Option<u8>) {
    if let Some(b'-' | b'+') = before {
        let sign_at = out.len() - 1;
        if sign_at == 0 || !(out[sign_at - 1].is_ascii_alphanumeric() || b">)]-".contains(&out[sign_at - 1]))
        {
            out.truncate(sign_at);
        }
    }
    out.extend_from_slice(VARIABLE.as_bytes());
}

/// How many bytes from the start of `rest` are one value; 0 when none begins here. `before` is the byte before.
fn value_length(rest: &[u8], before: Option<u8>) -> usize {
    match rest[0] {
        b'/' => path_length(rest, before),
        b'<' | b'>' | b'~' if before.is_none() => {
            // A bound such as `<1` is a number; `<1>` is not.
            let number = run_from(&rest[1..], single_value(&rest[1..]));
            if number > 0 && rest.get(1 + number) != Some(&b'>') { 1 + number } else { 0 }
        }
        b':' => colons_length(rest, before),
        byte if is_word(byte) && !before.is_some_and(is_word) => {
            let whole = [uuid_length(rest), host_length(rest)].into_iter().find(|length| *length > 0);
            whole.unwrap_or_else(|| run_from(rest, colons_length(rest, before).max(single_value(rest))))
        }
        _ => 0,
    }
}

/// A value of `length` and those that follow it after one joining sign each: `10.0.0.1:80`,
/// `2017-07-08T06:26:32.365`.
fn run_from(rest: &[u8], mut length: usize) -> usize {
    while length > 0 && rest.get(length).is_some_and(|byte| b".:-_/+".contains(byte)) {
        match single_value(&rest[length + 1..]) {
            0 => break,
            more => length += 1 + more,
        }
    }
    length
}

/// A word that is a value: all digits, hexadecimal, digits with a short unit, or letters and digits in turn.
fn single_value(rest: &[u8]) -> usize {
    let length = word_length(rest);
    let word = &rest[..length];
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return 0;
    }
    let leading = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let turns = word.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    let is_hexadecimal = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    let is_prefixed = length > 2 && word[0] == b'0' && word[1] | 0x20 == b'x' && is_hexadecimal(&word[2..]);
    let is_value = is_prefixed
        // `42`, `10ms`, `08T06`, `26Z`: digits, up to three letters, and no more turns than a time has.
        || (leading > 0 && digits + 3 >= length && turns <= 3)
        || (length >= 8 && is_hexadecimal(word))
        // `a1B2c3`, `x7k2p`: letters and digits in turn.
        || (length >= 6 && turns >= 3)
        // `user12345`: more number than name.
        || (digits >= 4 && 2 * digits >= length);
    if is_value { length } else { 0 }
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid_length(rest: &[u8]) -> usize {
    const LENGTH: usize = 36;
    let is_uuid = rest.len() >= LENGTH
        && rest[8] == b'-'
        && rest[..LENGTH].iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
        && !rest.get(LENGTH).copied().is_some_and(is_word);
    if is_uuid { LENGTH } else { 0 }
}

/// IPv6 and MAC addresses: hexadecimal groups of at most four digits with two colons or more, and a digit.
fn colons_length(rest: &[u8], before: Option<u8>) -> usize {
    if before.is_some_and(|byte| is_word(byte) || byte == b':') {
        return 0;
    }
    let (mut length, mut group, mut colons, mut digits) = (0, 0, 0, 0);
    for byte in rest {
        match byte {
            b':' => {
                colons += 1;
                group = 0;
            }
            _ if byte.is_ascii_hexdigit() && group < 4 => {
                digits += usize::from(byte.is_ascii_digit());
                group += 1;
            }
            _ => break,
        }
        length += 1;
    }
    // A colon at the end closes what was said rather than the address, unless it is the short form `::`.
    if rest[..length].ends_with(b":") && !rest[..length].ends_with(b"::") {
        length -= 1;
        colons -= 1;
    }
    let shortened = rest[..length].windows(2).filter(|pair| *pair == b"::").count();
    let ends = shortened <= 1 && !rest.get(length).copied().is_some_and(is_word);
    if ends && colons >= 2 && digits > 0 { length } else { 0 }
}

/// A name with dots and a port: `db-1.example.org:5432`.
fn host_length(rest: &[u8]) -> usize {
    let ahead = rest.iter().take(LOOK_AHEAD_BYTES);
    let name = ahead.take_while(|byte| is_word(**byte) || matches!(byte, b'.' | b'-')).count();
    if rest.get(name) != Some(&b':') || !rest[..name].contains(&b'.') {
        return 0;
    }
    let port = rest[name + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = !rest.get(name + 1 + port).copied().is_some_and(is_word);
    if ends && (1..=5).contains(&port) { name + 1 + port } else { 0 }
}

/// A path with a digit in it.
fn path_length(rest: &[u8], before: Option<u8>) -> usize {
    if before.is_some_and(|byte| is_word(byte) || b"/.>*)_-".contains(&byte)) {
        return 0;
    }
    let path = &rest[..place_length(rest)];
    let is_named = path.get(1).is_some_and(|first| first.is_ascii_alphabetic() || b"._~".contains(first));
    if is_named && path.iter().any(u8::is_ascii_digit) { path.len() } else { 0 }
}

/// How far a path or the rest of a URL goes: up to a quote, a bracket or a list's comma, without the
/// punctuation of the sentence it stands in.
fn place_length(rest: &[u8]) -> usize {
    let ahead = rest.iter().take(LOOK_AHEAD_BYTES);
    let mut length = ahead.take_while(|byte| !ends_place(**byte)).count();
    // A character is never cut in two.
    while length > 0 && rest.get(length).is_some_and(|byte| byte & 0xc0 == 0x80) {
        length -= 1;
    }
    while length > 1 && b".:=".contains(&rest[length - 1]) {
        length -= 1;
    }
    length
}

fn ends_place(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'\'' | b'`' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'|'
    )
}

fn word_length(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| is_word(**byte)).count()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (given, wanted) in cases {
            let mut masked = Vec::new();
            token(given.as_bytes(), &mut masked);
            assert_eq!(std::str::from_utf8(&masked).unwrap(), *wanted, "{given}");
        }
    }

    #[test]
    fn numbers_and_identifiers_are_values() {
        check(&[
            ("42", "<*>"),
            ("-107,", "<*>,"),
            ("(1.36", "(<*>"),
            ("<1", "<*>"),
            ("<14>", "<<*>>"),
            ("x=-5;", "x=<*>;"),
            ("slot-9", "slot-<*>"),
            ("10ms", "<*>"),
            ("0xDEADbeef", "<*>"),
            ("blk_-1608999687919862906", "blk_<*>"),
            ("4f2a9c1e7b", "<*>"),
            ("550e8400-e29b-41d4-a716-446655440000", "<*>"),
            ("[deadbeef-cafe-babe-f00d-feedfacefee1]", "[<*>]"),
            ("user12345", "<*>"),
            ("count=3,size=7", "count=<*>,size=<*>"),
        ]);
    }

    #[test]
    fn times_addresses_and_places_are_values() {
        check(&[
            ("2017-07-08T06:26:32.365Z", "<*>"),
            ("[21:27:07.761]", "[<*>]"),
            ("/10.10.34.11:51041", "/<*>"),
            ("192.168.0.1:80->10.0.0.1:443", "<*>-><*>"),
            ("fe80::1c2:ab12", "<*>"),
            ("::1", "<*>"),
            ("00:1a:2b:3c:4d:5e,", "<*>,"),
            ("db-1.example.org:5432", "<*>"),
            ("/etc/httpd/workers2.properties", "<*>"),
            ("path=/var/lib/x1:", "path=<*>:"),
            ("https://example.org/users/17?x=1", "https://<*>"),
        ]);
    }

    #[test]
    fn names_stay() {
        check(&[
            ("jk2_init()", "jk2_init()"),
            ("utf8", "utf8"),
            ("eth0:", "eth0:"),
            ("TLSv1", "TLSv1"),
            ("héllo1", "héllo1"),
            ("a::b::c2", "a::b::c2"),
        ]);
    }
}
