//! The severity of a record that comes without one, read from its body.
//!
//! Careful: a record of unknown severity misleads nobody, one with a wrong severity does. A level is believed only
//! where loggers put it: under a known key, or before the message, spelled the way loggers spell it.

use crate::model::log::Severity;
use crate::model::packed::value::{Entries, Value};

use super::json::{self, Scalar};

/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 512;
/// Bytes of a JSON text that are looked at.
const JSON_BYTES_MAX: usize = 8 * 1024;
/// Words before a level that are skipped.
const SKIPPED_MAX: usize = 8;
/// Keys under which loggers write a level, in any case.
const KEYS: [&str; 9] = [
    "level",
    "severity",
    "lvl",
    "log.level",
    "levelname",
    "loglevel",
    "log_level",
    "severity_text",
    "severitytext",
];

/// The severity that `body` tells; none where it tells none for sure.
pub(super) fn of_body(body: Value<'_>) -> Option<Severity> {
    match body {
        Value::Text(text) => of_text(text),
        Value::Map(entries) => of_map(entries, ""),
        _ => None,
    }
}

fn of_text(text: &str) -> Option<Severity> {
    let text = text.trim_ascii_start();
    if text.starts_with('{') {
        return of_json(&text[..text.floor_char_boundary(JSON_BYTES_MAX)]);
    }
    let line = &text[..text.floor_char_boundary(LINE_BYTES_MAX)];
    let line = line.lines().next()?;
    syslog(line).or_else(|| klog(line)).or_else(|| logfmt(line)).or_else(|| before_the_message(line))
}

fn of_json(text: &str) -> Option<Severity> {
    let mut found = None;
    json::scalars(text, 2, &mut |path, scalar| {
        if is_key(path) {
            found = match scalar {
                Scalar::Text(name) => Severity::from_name(&name),
                Scalar::Int(number) => of_number(path, number),
                _ => None,
            };
        }
        found.is_none()
    });
    found
}

fn of_map(entries: Entries<'_>, outer: &str) -> Option<Severity> {
    entries.iter().find_map(|(key, value)| match value {
        Value::Map(inner) if outer.is_empty() && key.eq_ignore_ascii_case("log") => of_map(inner, "log."),
        Value::Text(name) if is_key_within(outer, key) => Severity::from_name(name),
        Value::Int(number) if is_key_within(outer, key) => of_number(key, number),
        _ => None,
    })
}

fn is_key_within(outer: &str, key: &str) -> bool {
    if outer.is_empty() { is_key(key) } else { key.eq_ignore_ascii_case("level") }
}

fn is_key(path: &str) -> bool {
    KEYS.iter().any(|key| key.eq_ignore_ascii_case(path))
}

/// The numbers of bunyan and pino, which stand under `level`. Others are ambiguous: syslog counts down, Python up.
fn of_number(key: &str, number: i64) -> Option<Severity> {
    let position = [10, 20, 30, 40, 50, 60].iter().position(|level| *level == number)?;
    key.eq_ignore_ascii_case("level").then(|| Severity::LEVELS[position].1)
}

/// `<3>` before the message: facility times eight plus severity (RFC 5424, "PRI").
fn syslog(line: &str) -> Option<Severity> {
    let (digits, rest) = line.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority: u8 = digits.parse().ok().filter(|priority| is_number && *priority <= 191)?;
    if rest.is_empty() {
        return None;
    }
    let name = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
    Severity::from_name(name[usize::from(priority % 8)])
}

/// `E0102 15:04:05.000000` before the message, as klog and glog write it.
fn klog(line: &str) -> Option<Severity> {
    let (head, rest) = line.split_once(' ')?;
    let (letter, date) = head.split_at_checked(1)?;
    let is_date = [4, 8].contains(&date.len()) && date.bytes().all(|byte| byte.is_ascii_digit());
    let clock = rest.trim_start().as_bytes().first_chunk::<8>()?;
    let is_clock = clock.iter().enumerate().all(|(index, byte)| match index {
        2 | 5 => *byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let name = match letter {
        "I" => "info",
        "W" => "warning",
        "E" => "error",
        "F" => "fatal",
        _ => return None,
    };
    if is_date && is_clock { Severity::from_name(name) } else { None }
}

/// `level=error` in a line of which everything up to there is `key=value`, a time at its start excepted.
fn logfmt(line: &str) -> Option<Severity> {
    let mut rest = line.trim_start();
    loop {
        let end = rest.find(['=', ' '])?;
        let key = &rest[..end];
        if rest.as_bytes()[end] == b' ' {
            if !is_time(key) {
                return None;
            }
            rest = rest[end..].trim_start();
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
        if key.is_empty() || !key.chars().all(is_word) {
            return None;
        }
        let (value, after) = logfmt_value(&rest[end + 1..])?;
        if is_key(key) {
            return Severity::from_name(value);
        }
        rest = after.trim_start();
    }
}

/// A value and what follows it; none where its quote does not end.
fn logfmt_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(text.split_once(' ').unwrap_or((text, "")));
    };
    let mut is_escaped = false;
    let end = quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((&quoted[..end], &quoted[end + 1..]))
}

/// A level before the message: `ERROR …`, `[warn] …`, `2026-01-02 15:04:05 INFO [main] …`, `error: …`.
fn before_the_message(line: &str) -> Option<Severity> {
    let mut rest = line;
    let mut is_after_time = false;
    for index in 0..SKIPPED_MAX {
        rest = skip(rest);
        if let Some(inner) = rest.strip_prefix('[') {
            let (content, after) = inner.split_once(']')?;
            if let Some(found) = bracketed(content) {
                return Some(found);
            }
            is_after_time |= content.starts_with(|c: char| c.is_ascii_digit());
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let ends = after.is_empty() || after.starts_with([' ', '\t', ':', '|', '\x1b']);
        if ends && let Some(found) = Severity::from_name(word) {
            let is_plain = index == 0 && after.starts_with(':') && is_message_prefix(word);
            if is_plain || is_shouted(word) && (index > 0 || !is_title(after)) {
                return Some(found);
            }
        }
        let (token, after) = rest.split_once([' ', '\t'])?;
        let token = token.split('\x1b').next().unwrap_or_default();
        let is_skipped = is_time(token) || is_after_time && is_beside_time(token);
        if !is_skipped {
            return None;
        }
        is_after_time = true;
        rest = after;
    }
    None
}

/// What stands in brackets before a message: a level, `module:level`, or a time and a level.
fn bracketed(content: &str) -> Option<Severity> {
    let content = skip(content).trim_end_matches("\x1b[0m").trim_end();
    if let Some(found) = Severity::from_name(content) {
        return Some(found);
    }
    if let Some((module, level)) = content.rsplit_once(':')
        && !module.is_empty()
        && module.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        return Severity::from_name(level);
    }
    let mut words = content.split_ascii_whitespace();
    if !is_time(words.next()?) {
        return None;
    }
    let level = words.find(|word| !is_time(word))?;
    Severity::from_name(level).filter(|_| is_shouted(level))
}

/// Leaves out white space, bars and colours.
fn skip(text: &str) -> &str {
    let mut rest = text;
    loop {
        let before = rest;
        rest = rest.trim_start_matches([' ', '\t', '|']);
        if let Some(colour) = rest.strip_prefix("\x1b[") {
            let digits = colour.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
            rest = digits.strip_prefix('m').unwrap_or(rest);
        }
        if rest.len() == before.len() {
            return rest;
        }
    }
}

/// True for a date, a time of day, both, or seconds since 1970.
fn is_time(token: &str) -> bool {
    let token = token.trim_end_matches(':');
    let is_written = |byte: u8| {
        byte.is_ascii_digit() || matches!(byte, b':' | b'.' | b',' | b'/' | b'-' | b'+' | b'T' | b'Z')
    };
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    token.starts_with(|c: char| c.is_ascii_digit())
        && token.bytes().all(is_written)
        && (digits >= 6 && token.contains([':', '-', '/']) || digits >= 10)
}

/// True for what stands between a time and a level: a zone, a number, a line.
fn is_beside_time(token: &str) -> bool {
    let is_zone = token.len() <= 5 && is_shouted(token);
    is_zone || token.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_punctuation())
}

fn is_shouted(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// True when the next word is shouted too: then the line is a title, not a message.
fn is_title(after: &str) -> bool {
    let word = after.trim_start().split([' ', '\t']).next().unwrap_or_default();
    after.starts_with(' ') && word.len() > 1 && is_shouted(word)
}

/// The levels that programs write before a message without shouting.
fn is_message_prefix(word: &str) -> bool {
    ["error", "warning", "warn", "fatal", "critical", "panic", "info"]
        .iter()
        .any(|level| level.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use crate::model::packed::write::Packer;

    use super::*;

    fn level(text: &str) -> &'static str {
        of_body(Value::Text(text)).map_or("unknown", Severity::name)
    }

    #[test]
    fn levels_are_read_where_loggers_put_them() {
        for (line, wanted) in [
            (r#"{"level":"error","msg":"x"}"#, "error"),
            (r#" {"time":1,"severity":"WARNING"}"#, "warn"),
            (r#"{"lvl":"dbg"}"#, "debug"),
            (r#"{"log.level":"Info"}"#, "info"),
            (r#"{"log":{"level":"fatal"},"message":"x"}"#, "fatal"),
            (r#"{"Level":"Error","MessageTemplate":"x"}"#, "error"),
            (r#"{"name":"app","level":50,"msg":"x","v":0}"#, "error"),
            (r#"{"severity":"P1","level":"info"}"#, "info"),
            ("time=\"2026-01-02T15:04:05Z\" level=warning msg=\"a = b\"", "warn"),
            ("ts=1 caller=\"x \\\" level=error\" level=info", "info"),
            ("2026-01-02T15:04:05Z level=error msg=x", "error"),
            ("ERROR could not connect", "error"),
            ("WARNING:root:disk is full", "warn"),
            ("[warn] disk is full", "warn"),
            ("[core:error] [pid 1] AH00126", "error"),
            ("2026-01-02 15:04:05,123 ERROR [main] c.e.Pay - failed", "error"),
            ("2026-01-02T15:04:05.123+01:00  INFO 1234 --- [main] c.e.Pay : up", "info"),
            ("15:04:05.123 [main] DEBUG com.example.Pay - hm", "debug"),
            ("2026/01/02 15:04:05 [error] 123#0: *1 connect() failed", "error"),
            ("[Wed Oct 11 14:32:52 2026] [error] [client ::1] no", "error"),
            ("[2026-01-02T15:04:05Z WARN app] slow", "warn"),
            ("2026-01-02 15:04:05.000 UTC [12] FATAL:  the database is starting", "fatal"),
            ("\x1b[31mERROR\x1b[0m it broke", "error"),
            ("\x1b[2m2026-01-02T15:04:05Z\x1b[0m \x1b[32m INFO\x1b[0m up", "info"),
            ("error: cannot open", "error"),
            ("panic: runtime error", "fatal"),
            ("E0102 15:04:05.000000       1 pay.go:10] failed", "error"),
            ("I20260102 15:04:05.000000 1 pay.cc:10] up", "info"),
            ("<3>disk failed", "error"),
            ("<165>1 2026-01-02T15:04:05Z host app - - - x", "info"),
            ("DEBUG", "debug"),
        ] {
            assert_eq!(level(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_might_mean_something_else_stays_unknown() {
        for line in [
            "",
            "error reading file",
            "Error handling was improved",
            "no ERROR here",
            "3 WARN lines",
            "set level=debug for user 7",
            "the level is error",
            "CRITICAL SECTION entered",
            "ERROR_CODE=5",
            "ERRORS were found",
            "debug: false",
            "information about you",
            "fine, thanks",
            r#"{"level":3,"msg":"x"}"#,
            r#"{"level":"high"}"#,
            r#"{"a":{"level":"error"}}"#,
            r#"{"message":"level=error"}"#,
            r#"{"severity":50}"#,
            "GET /?level=error 200",
            "<3 you>",
            "<999>x",
            "<3>",
            "E0102 is a part number",
            "E0102",
            "[main] error while starting",
            "[a] [b] nothing",
            "2026-01-02 15:04:05 request failed",
            "12 ERROR",
            "level=",
            "level=\"error",
        ] {
            assert_eq!(level(line), "unknown", "{line}");
        }
    }

    #[test]
    fn maps_are_read_like_json() {
        let of = |key: &str, fill: &dyn Fn(&mut Packer)| {
            let mut packer = Packer::default();
            packer.message(6, |map| map.attribute(1, key, fill));
            let packed = packer.finish();
            of_body(crate::model::packed::value::any_value(&packed)).map_or("unknown", Severity::name)
        };
        assert_eq!(of("Severity", &|any| any.text(1, "error")), "error");
        assert_eq!(of("level", &|any| any.int(3, 40)), "warn");
        assert_eq!(of("level", &|any| any.int(3, 4)), "unknown");
        assert_eq!(of("log", &|any| any.message(6, |map| map.attribute_text(1, "level", "info"))), "info");
        assert_eq!(
            of("user", &|any| any.message(6, |map| map.attribute_text(1, "level", "info"))),
            "unknown"
        );
        assert_eq!(of_body(Value::Int(3)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".{0,64}", line in r"[\[\]<>{}0-9:=\x1b A-Zm\x22-]{0,24}") {
            let _ = (level(&text), level(&line));
            // What follows the line does not matter.
            proptest::prop_assume!(!line.trim_ascii_start().starts_with('{') && !line.trim().is_empty());
            assert_eq!(level(&line), level(&format!("{line}\nERROR more")));
        }
    }
}
