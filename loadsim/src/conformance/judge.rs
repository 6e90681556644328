//! Holds an answer against what a case expects.

use regex::Regex;

use super::answer::{self, Got};
use super::case::{Answer, Case, Door, ExpectHttp};
use crate::send::Signal;

/// The status codes of gRPC by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const OK: i32 = 0;
const RESOURCE_EXHAUSTED: i32 = 8;
/// Codes after which OTLP clients send again (OTLP specification, OTLP/gRPC failures).
const RETRYABLE: [i32; 6] = [1, 4, 10, 11, 14, 15];
/// Statuses after which they do over HTTP.
const RETRYABLE_HTTP: [u16; 4] = [429, 502, 503, 504];

/// How an answer was understood, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Which of the expected kinds it is; none where it is none of them.
    pub(super) kind: Option<Answer>,
    pub(super) faults: Vec<String>,
}

/// Judges what came of `case` for `signal` through `door`.
pub(super) fn judge(case: &Case, (signal, door): (Signal, Door), got: &Got) -> Verdict {
    let expect = &case.expect;
    let mut closest: Option<Vec<String>> = None;
    for kind in expect.answer.as_slice() {
        let mut faults = as_kind(*kind, case, (signal, door), got);
        faults.extend(details(case, got));
        if faults.is_empty() {
            return Verdict { kind: Some(*kind), faults };
        }
        if closest.as_ref().is_none_or(|least| faults.len() < least.len()) {
            closest = Some(faults);
        }
    }
    Verdict { kind: None, faults: closest.unwrap_or_default() }
}

/// Why the answer is none of this kind.
fn as_kind(kind: Answer, case: &Case, (signal, door): (Signal, Door), got: &Got) -> Vec<String> {
    let wanted = format!("{kind:?}").to_lowercase();
    match (kind, got) {
        (_, Got::Silence) => vec!["no answer came in time".to_owned()],
        (Answer::Closed, Got::Closed(_)) => Vec::new(),
        (_, Got::Closed(why)) => vec![format!("wanted {wanted}, the connection ended: {why}")],
        (Answer::Closed, Got::Http { status, .. }) => {
            let listed = case.expect.http.status.as_ref().is_some_and(|s| s.as_slice().contains(status));
            let refused = listed || (400..500).contains(status);
            if refused { Vec::new() } else { vec![format!("wanted a refusal, got HTTP {status}")] }
        }
        (Answer::Closed, Got::Grpc { http_status, code, .. }) => {
            let refused = (400..500).contains(http_status) || code.is_some_and(|code| code != OK);
            if refused { Vec::new() } else { vec![format!("wanted a refusal, got {}", got.text())] }
        }
        (Answer::Success | Answer::Partial, _) => taken(kind, case, (signal, door), got),
        (Answer::Refused | Answer::Retryable, Got::Http { .. }) => refused_http(kind, case, door, got),
        (Answer::Refused | Answer::Retryable, Got::Grpc { .. }) => refused_grpc(kind, case, got),
    }
}

fn taken(kind: Answer, case: &Case, (signal, door): (Signal, Door), got: &Got) -> Vec<String> {
    let mut faults = Vec::new();
    let (media_type, body) = match got {
        Got::Http { status, body, .. } => {
            if case.expect.http.status.is_none() && *status != 200 {
                faults.push(format!("wanted HTTP 200, got {status}"));
            }
            if is_any(&case.expect.http) {
                return faults;
            }
            if case.expect.http.content_type.is_none() && got.media_type() != door.media_type() {
                faults.push(format!(
                    "the answer is {}, not the caller's {}",
                    got.media_type(),
                    door.media_type()
                ));
            }
            (got.media_type(), body.as_slice())
        }
        Got::Grpc { http_status, code, body, .. } => {
            if *code != Some(OK) {
                return vec![format!("wanted grpc-status 0, got {code:?}")];
            }
            if *http_status != 200 || !got.media_type().starts_with("application/grpc") {
                faults.push(format!("a success with HTTP {http_status} and {}", got.media_type()));
            }
            match message_of(body) {
                Some(message) => (String::new(), message),
                None => return vec!["the answer is not one plain message in one frame".to_owned()],
            }
        }
        Got::Closed(_) | Got::Silence => return faults,
    };
    if !faults.is_empty() {
        return faults;
    }
    match answer::rejected(signal, &media_type, body) {
        Err(error) => faults.push(error),
        Ok((rejected, message)) => {
            match kind {
                Answer::Partial if rejected <= 0 => faults.push("no item was rejected".to_owned()),
                Answer::Partial if message.is_empty() => faults.push("no reason is given".to_owned()),
                Answer::Success if rejected != 0 => faults.push(format!("{rejected} items were rejected")),
                _ => {}
            }
            if let (Answer::Partial, Some(wanted)) = (kind, case.expect.rejected)
                && wanted != rejected
            {
                faults.push(format!("{rejected} items were rejected, not {wanted}"));
            }
        }
    }
    faults
}

/// The message of an answer that is one frame and not compressed.
fn message_of(frames: &[u8]) -> Option<&[u8]> {
    let ([0, length @ ..], message) = frames.split_first_chunk::<5>()? else { return None };
    (u32::from_be_bytes(*length) as usize == message.len()).then_some(message)
}

fn refused_http(kind: Answer, case: &Case, door: Door, got: &Got) -> Vec<String> {
    let mut faults = Vec::new();
    let Got::Http { status, body, .. } = got else { return faults };
    let expect = &case.expect.http;
    let is_retryable = RETRYABLE_HTTP.contains(status);
    match kind {
        _ if expect.status.is_some() => {}
        Answer::Retryable if !is_retryable => faults.push(format!("HTTP {status} is not retryable")),
        Answer::Refused if !(400..500).contains(status) || [408, 429].contains(status) => {
            faults.push(format!("wanted a refusal for good, got HTTP {status}"));
        }
        _ => {}
    }
    match expect.body.as_deref() {
        Some("any") => {}
        Some("empty") if !body.is_empty() => faults.push("the body is not empty".to_owned()),
        Some("empty") => {}
        _ => {
            let media_type = got.media_type();
            if expect.content_type.is_none() && media_type != door.media_type() {
                faults.push(format!("the refusal is {media_type}, not the caller's {}", door.media_type()));
            }
            match answer::status(&media_type, body) {
                Ok(status) if status.message.is_empty() => faults.push("no reason is given".to_owned()),
                Ok(_) => {}
                Err(error) => faults.push(error),
            }
        }
    }
    faults
}

fn refused_grpc(kind: Answer, case: &Case, got: &Got) -> Vec<String> {
    let Got::Grpc { http_status, headers, code, message, .. } = got else { return Vec::new() };
    if case.expect.grpc.http_status.is_some_and(|status| status != 200 && status == *http_status) {
        return Vec::new();
    }
    let Some(code) = code else { return vec![format!("HTTP {http_status} without grpc-status")] };
    let mut faults = Vec::new();
    let advises = headers.contains_key("grpc-status-details-bin");
    let is_retryable = RETRYABLE.contains(code) || *code == RESOURCE_EXHAUSTED && advises;
    match kind {
        _ if *code == OK => faults.push("wanted a refusal, got grpc-status 0".to_owned()),
        Answer::Retryable if !is_retryable => faults.push(format!("{} is not retryable", name(*code))),
        Answer::Refused if is_retryable => faults.push(format!("{} makes clients send again", name(*code))),
        _ => {}
    }
    if message.is_empty() && *code != OK {
        faults.push("no reason is given".to_owned());
    }
    faults
}

/// What the case asks for beyond the kind of answer.
fn details(case: &Case, got: &Got) -> Vec<String> {
    let mut faults = Vec::new();
    match got {
        Got::Http { status, .. } => {
            let expect = &case.expect.http;
            if let Some(wanted) = &expect.status
                && !wanted.as_slice().contains(status)
            {
                faults.push(format!("wanted HTTP {:?}, got {status}", wanted.as_slice()));
            }
            if let Some(wanted) = &expect.content_type
                && got.media_type() != *wanted
            {
                faults.push(format!("the answer is {}, not {wanted}", got.media_type()));
            }
            faults.extend(headers(&expect.headers, got));
        }
        Got::Grpc { http_status, code, .. } => {
            let expect = &case.expect.grpc;
            if expect.http_status.is_some_and(|wanted| wanted != *http_status) {
                faults.push(format!("got HTTP {http_status}"));
            }
            let code = name(code.unwrap_or(-1));
            if let Some(wanted) = &expect.code
                && !wanted.as_slice().contains(&code)
                && *http_status == 200
            {
                faults.push(format!("wanted {:?}, got {code}", wanted.as_slice()));
            }
            faults.extend(headers(&expect.headers, got));
        }
        Got::Closed(_) | Got::Silence => {}
    }
    faults
}

fn headers(wanted: &std::collections::BTreeMap<String, String>, got: &Got) -> Vec<String> {
    let wrong = |name: &str, pattern: &str| match (got.header(name), Regex::new(pattern)) {
        (_, Err(error)) => Some(error.to_string()),
        (None, _) => Some(format!("the header {name} is missing")),
        (Some(value), Ok(pattern)) if !pattern.is_match(value) => Some(format!("{name} is \"{value}\"")),
        _ => None,
    };
    wanted.iter().filter_map(|(name, pattern)| wrong(name, pattern)).collect()
}

fn is_any(expect: &ExpectHttp) -> bool {
    expect.body.as_deref() == Some("any")
}

fn name(code: i32) -> String {
    let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
    known.map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}
