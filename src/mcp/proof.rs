//! What a finding rests on, as handles that can be asked about again.

use mcp_tools::Evidence;

use crate::diagnose::verdict::{Proof, Reference};
use crate::query::Query;

/// The contract's form of a proof.
pub(super) fn evidence(query: &Query, proof: &Proof) -> Evidence {
    let (id, kind) = handle(query, &proof.reference);
    Evidence { id, kind: kind.to_owned(), text: proof.text.clone() }
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
