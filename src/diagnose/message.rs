//! What error texts give away: whether the other side could not be reached or the caller asked for something wrong.

use std::collections::BTreeMap;

use super::evidence::ExemplarSpan;
use super::view::View;

/// Words of failures in which the called side did not answer, or not in time, or took nobody in.
const UNREACHABLE: [&str; 33] = [
    "connection refused",
    "connection reset",
    "connection closed",
    "connect error",
    "connect timeout",
    "connecttimeout",
    "connectexception",
    "could not connect",
    "failed to connect",
    "econnrefused",
    "econnreset",
    "etimedout",
    "no route to host",
    "no such host",
    "unknown host",
    "unknownhost",
    "name resolution",
    "host unreachable",
    "timed out",
    "timeout",
    "deadline exceeded",
    "unavailable",
    "closed the connection",
    "socket hang up",
    "broken pipe",
    "gone away",
    "too many connections",
    "too many clients",
    "remaining connection slots",
    "max number of clients",
    "is starting up",
    "is shutting down",
    "clusterdown",
];

/// Those of them in which whoever called did not wait any longer.
const LATE: [&str; 5] =
    ["timed out", "timeout", "deadline exceeded", "deadline_exceeded", "deadlineexceeded"];

/// Words of failures in which the called side had no room for more.
const FULL: [&str; 7] = [
    "too many requests",
    "rate limit",
    "ratelimit",
    "resource exhausted",
    "resource_exhausted",
    "resourceexhausted",
    "overloaded",
];

/// Words of failures that the caller brought about.
const REJECTED: [&str; 14] = [
    "bad request",
    "unauthorized",
    "forbidden",
    "unauthenticated",
    "permission denied",
    "syntax error",
    "invalid argument",
    "invalid_argument",
    "no such table",
    "no such column",
    "does not exist",
    "duplicate key",
    "constraint",
    "not found",
];

/// Longest text that is quoted, in characters: room for a chain of two or three causes.
const QUOTE_CHARS_MAX: usize = 240;
/// Spans that waited for a failing one and are looked at for what it does not say.
const ANCESTORS_MAX: usize = 4;

/// What a failing span's text says about whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Hint {
    /// The called side could not be reached or did not answer in time.
    Unreachable,
    /// The called side refused what it was asked.
    Rejected,
    /// The called side had no room for more.
    Full,
    /// Nothing.
    Silent,
}

/// Reads the hint of a span's status message and exception.
pub(super) fn hint_of(span: &ExemplarSpan) -> Hint {
    let text = lower_text(span);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_status = |word: &str, class: &str| {
        word.len() == 3 && word.starts_with(class) && word.bytes().all(|b| b.is_ascii_digit())
    };
    if says(&UNREACHABLE) || words().any(|word| ["503", "504"].contains(&word)) {
        Hint::Unreachable
    } else if says(&FULL) || words().any(|word| word == "429") {
        Hint::Full
    } else if says(&REJECTED) || words().any(|word| is_status(word, "4")) {
        Hint::Rejected
    } else {
        Hint::Silent
    }
}

/// True for a span that says that whoever called did not wait any longer.
pub(super) fn is_late(span: &ExemplarSpan) -> bool {
    let text = lower_text(span);
    LATE.iter().any(|word| text.contains(word))
}

fn lower_text(span: &ExemplarSpan) -> String {
    let mut text = span.status_message.to_ascii_lowercase();
    if let Some(exception) = &span.exception {
        text.push(' ');
        text.push_str(&exception.kind.to_ascii_lowercase());
        text.push(' ');
        text.push_str(&exception.message.to_ascii_lowercase());
    }
    text
}

/// True for a text that says that the other side did not answer.
pub(super) fn is_unreachable(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    UNREACHABLE.iter().any(|word| text.contains(word))
}

/// The prevailing hint of each operation's failing spans, by the operation's position.
pub(super) struct Hints {
    counts: BTreeMap<usize, [u32; 4]>,
    late: BTreeMap<usize, u32>,
}

impl Hints {
    /// Reads all exemplars.
    pub(super) fn new(view: &View<'_>) -> Self {
        let mut counts: BTreeMap<usize, [u32; 4]> = BTreeMap::new();
        let mut late: BTreeMap<usize, u32> = BTreeMap::new();
        for span in view.traces.iter().flat_map(|trace| &trace.spans).filter(|span| span.error) {
            if let Some(position) = view.position(span.operation) {
                counts.entry(position).or_default()[hint_of(span) as usize] += 1;
                *late.entry(position).or_default() += u32::from(is_late(span));
            }
        }
        Self { counts, late }
    }

    /// What at least half of the operation's failing exemplars say; silent where there are none.
    pub(super) fn of(&self, position: usize) -> Hint {
        let Some(counts) = self.counts.get(&position) else { return Hint::Silent };
        // Of those that are told as often the first.
        let mut found = Hint::Silent;
        for hint in [Hint::Rejected, Hint::Full, Hint::Unreachable] {
            if counts[hint as usize] > 0 && counts[hint as usize] >= counts[found as usize] {
                found = hint;
            }
        }
        found
    }

    /// Whether at least half of the operation's failing exemplars say that whoever called did not wait any longer.
    pub(super) fn are_late(&self, position: usize) -> bool {
        let failing: u32 = self.counts.get(&position).into_iter().flatten().sum();
        let late = self.late.get(&position).copied().unwrap_or(0);
        late > 0 && 2 * late >= failing
    }
}

/// The text of a failing span for people; where it has none, that of the nearest failing span of its service that waited for
/// it: an exception is often recorded where it was caught.
pub(super) fn told_of<'s>(
    span: &'s ExemplarSpan,
    parent_of: impl Fn(&ExemplarSpan) -> Option<&'s ExemplarSpan>,
) -> String {
    let mut at = span;
    for _ in 0..ANCESTORS_MAX {
        let text = text_of(at, QUOTE_CHARS_MAX);
        if !text.is_empty() {
            return text;
        }
        match parent_of(at).filter(|parent| parent.error && parent.service == span.service) {
            Some(parent) => at = parent,
            None => break,
        }
    }
    String::new()
}

/// The text of a failing span for people: exception before status message, cut to `chars_max` characters.
fn text_of(span: &ExemplarSpan, chars_max: usize) -> String {
    let text = match &span.exception {
        Some(exception) if exception.kind.is_empty() => exception.message.clone(),
        Some(exception) if exception.message.is_empty() => exception.kind.clone(),
        Some(exception) => format!("{}: {}", exception.kind, exception.message),
        None => span.status_message.clone(),
    };
    cut(text.trim(), chars_max)
}

/// `text` on one line, cut to `chars_max` characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId};
    use crate::model::span::SpanKind;
    use crate::model::time::UnixNanos;

    use super::*;

    /// A failing call of a service, waited for by the span of the number before.
    fn failing(id: u8, service: u32, message: &str) -> ExemplarSpan {
        ExemplarSpan {
            span_id: SpanId::try_from(&[id; 8][..]).unwrap(),
            parent_id: SpanId::try_from(&[id - 1; 8][..]).ok(),
            service: ServiceId(service),
            operation: OperationId(1),
            resource: ResourceId(1),
            kind: SpanKind::CLIENT,
            peer: None,
            error: true,
            start: UnixNanos(0),
            duration_ns: 1,
            status_message: message.to_owned(),
            exception: None,
        }
    }

    #[test]
    fn texts_give_hints() {
        let hint = |message: &str| hint_of(&failing(1, 1, message));
        assert_eq!(hint("dial tcp 10.0.0.1:5432: Connection refused"), Hint::Unreachable);
        assert_eq!(hint("rpc error: DEADLINE EXCEEDED"), Hint::Unreachable);
        assert_eq!(hint("FATAL: sorry, too many clients already"), Hint::Unreachable);
        assert_eq!(hint("ERROR: syntax error at or near FROM"), Hint::Rejected);
        assert_eq!(hint("HTTP 422 for /orders"), Hint::Rejected);
        assert_eq!(hint("HTTP 429"), Hint::Full);
        assert_eq!(hint("rpc error: code = ResourceExhausted"), Hint::Full);
        assert_eq!(hint("boom"), Hint::Silent);
        assert_eq!(cut("a\nbcd", 3), "a b…");
    }

    #[test]
    fn what_a_span_does_not_say_is_said_by_who_waited() {
        let told = |spans: &[ExemplarSpan]| {
            let parent_of = |of: &ExemplarSpan| spans.iter().find(|span| Some(span.span_id) == of.parent_id);
            told_of(&spans[0], parent_of)
        };
        let long = "certificate has expired ".repeat(9);
        assert_eq!(told(&[failing(3, 1, ""), failing(2, 1, &long)]), long.trim());
        assert_eq!(told(&[failing(3, 1, "refused"), failing(2, 1, &long)]), "refused");
        assert_eq!(
            told(&[failing(3, 1, ""), failing(2, 2, &long)]),
            "",
            "another service fails for its own reasons"
        );
    }
}
