//! What a finding rests on, as handles that can be asked about again.

use mcp_tools::Evidence;

use crate::diagnose::observed::Observed;
use crate::diagnose::verdict::{Proof, Reference};
use crate::model::id::{SeriesId, SpanId, TemplateId, TraceId};
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::query::Query;
use crate::query::reopened::Named;

/// The contract's form of a proof.
pub(super) fn evidence(query: &Query, proof: &Proof) -> Evidence {
    let (mut id, kind) = handle(query, &proof.reference);
    if let Some((window, observed)) = proof.seen {
        id.push_str(&suffix(window, observed));
    }
    Evidence { id, kind: kind.to_owned(), text: proof.text.clone() }
}

/// The window in which something was observed, and a digest of what it was, where that is firm: `@1795950000+600#3f9a`.
fn suffix(window: Window, observed: Option<Observed>) -> String {
    let (from, length) = (window.from.0, window.to.0 - window.from.0);
    let seconds = |nanos: i64| match (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{rest:09}"),
    };
    let digest = observed.map(|observed| format!("#{:04x}", observed.digest())).unwrap_or_default();
    format!("@{}+{}{digest}", seconds(from), seconds(length))
}

/// A handle taken apart.
pub(super) struct Handle {
    pub(super) named: Named,
    /// Where it says so: when it was observed, and the digest of what was observed.
    pub(super) seen: Option<(Window, Option<u16>)>,
}

/// Reads a handle; none where it is none.
pub(super) fn read(text: &str) -> Option<Handle> {
    let text = mcp_tools::unescaped(text);
    let (kind, rest) = text.split_once(':')?;
    let (name, seen) = match rest.rsplit_once('@').and_then(|(name, seen)| Some((name, read_suffix(seen)?))) {
        Some((name, seen)) => (name, Some(seen)),
        None => (rest, None),
    };
    let named = match kind {
        "operation" => Named::Operation(name.to_owned()),
        "edge" => Named::Edge(name.to_owned()),
        "instance" => Named::Instance(name.to_owned()),
        "template" => Named::Template(TemplateId(name.parse().ok()?)),
        "series" => Named::Series(SeriesId(name.parse().ok()?)),
        "change" => Named::Change(UnixNanos(name.parse().ok()?)),
        "trace" => Named::Trace(TraceId::from_hex(name).ok()?),
        "span" => {
            let (trace, span) = name.split_once('/')?;
            Named::Span(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?)
        }
        _ => return None,
    };
    Some(Handle { named, seen })
}

fn read_suffix(text: &str) -> Option<(Window, Option<u16>)> {
    let (window, digest) = match text.split_once('#') {
        Some((window, digest)) => (window, Some(u16::from_str_radix(digest, 16).ok()?)),
        None => (text, None),
    };
    let (from, length) = window.split_once('+')?;
    let (from, length) = (nanos(from)?, nanos(length)?);
    let window = Window::new(UnixNanos(from), UnixNanos(from.checked_add(length)?));
    Some((window, digest))
}

/// Seconds with up to nine digits behind the point, as nanoseconds.
fn nanos(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok().filter(|whole| *whole >= 0)?;
    whole.checked_mul(NANOS_PER_SECOND)?.checked_add(format!("{fraction:0<9}").parse().ok()?)
}

/// The handle of what can be opened again, and its kind. It names what to open: a trace id for `trace_graph`, a template
/// for `search_logs`, an operation or call path for `get_service_health` and `get_service_map`.
pub(super) fn handle(query: &Query, reference: &Reference) -> (String, &'static str) {
    match reference {
        Reference::Operation { id, .. } => (format!("operation:{}", query.operation_path(*id)), "operation"),
        Reference::Edge { from, to } => {
            (format!("edge:{} -> {}", query.operation_path(*from), query.operation_path(*to)), "topology")
        }
        Reference::Instance { service, resource } => (
            format!("instance:{}/{}", query.service_name(*service), query.instance_name(*resource)),
            "instance",
        ),
        Reference::Template(id) => (format!("template:{}", id.0), "log"),
        Reference::Series(id) => (format!("series:{}", id.0), "metric"),
        Reference::Change(at) => (format!("change:{}", at.0), "change"),
        Reference::Trace(id) => (format!("trace:{id}"), "trace"),
        Reference::Span(trace, span) => (format!("span:{trace}/{span}"), "trace"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn handles_are_read() {
        let of = |text: &str| read(text).map(|handle| handle.named);
        assert_eq!(of("operation:payment POST /a@b"), Some(Named::Operation("payment POST /a@b".into())));
        assert_eq!(of("edge:a GET -> b GET"), Some(Named::Edge("a GET -> b GET".into())));
        assert_eq!(of("template:17"), Some(Named::Template(TemplateId(17))));
        assert_eq!(of("series:-1"), None);
        assert_eq!(of("trace:12"), None);
        assert_eq!(of("secret:12"), None);
        assert_eq!(of("payment"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(from in 0_i64..4_000_000_000_000_000_000, length in 0_i64..40_000_000_000_000, count in any::<u64>()) {
            let window = Window::new(UnixNanos(from), UnixNanos(from + length));
            let observed = Observed::Records(count);
            for observed in [None, Some(observed)] {
                let handle = read(&format!("template:3{}", suffix(window, observed))).unwrap();
                prop_assert_eq!(handle.named, Named::Template(TemplateId(3)));
                prop_assert_eq!(handle.seen, Some((window, observed.map(|it| it.digest()))));
            }
        }

        #[test]
        fn strange_handles_never_panic(text in ".{0,60}") {
            let _ = read(&text);
        }
    }
}
