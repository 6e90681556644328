//! Who is hurt when a node fails: whose requests pass through it.

use std::collections::{BTreeMap, BTreeSet};

use super::plant::Planted;
use super::play::{REQUESTS_PER_SECOND, WELL};
use crate::fault;
use crate::traffic::{Role, Span, Traffic};

/// An operation: its service and its name.
pub(super) type Operation = (String, String);

/// The operations of other services that wait for `node` while nothing is wrong.
///
/// Whoever sends a message does not wait for who reads it, and is not hurt.
pub(super) fn hurt(planted: &Planted, node: &str) -> BTreeSet<Operation> {
    let topology = &planted.topology;
    let mut traffic = Traffic::new(topology.clone(), Vec::new(), planted.seed);
    let mut found = BTreeSet::new();
    for _ in 0..(REQUESTS_PER_SECOND * WELL.as_secs_f64()) as usize {
        let mut spans: Vec<Span> = Vec::new();
        traffic.request(0, &mut spans);
        let by_id: BTreeMap<[u8; 8], &Span> = spans.iter().map(|span| (span.span_id, span)).collect();
        let is_inbound = |span: &Span| matches!(span.role, Role::Server | Role::Consumer(_));
        let name = |span: &Span| &topology.services[span.service].name;
        let meets = |span: &&Span| match &span.role {
            Role::Dependency(call) => fault::node_name(call).as_deref() == Some(node),
            _ => is_inbound(span) && name(span) == node,
        };
        for met in spans.iter().filter(meets) {
            let mut at = met;
            // Upwards, until somebody does not wait.
            while !matches!(at.role, Role::Consumer(_))
                && let Some(above) = at.parent_id.and_then(|id| by_id.get(&id))
            {
                at = above;
                if is_inbound(at) && name(at) != node {
                    found.insert((name(at).clone(), at.name.clone()));
                }
            }
        }
    }
    found
}
