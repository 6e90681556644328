//! Calls of one operation told apart by whom they go to.
//!
//! Spans of calls are often named by their method alone, so that one operation calls many. Where such a span names a host, the
//! host has an edge of its own, which counts every call to it as its caller saw it, answered or not. Where an instrumented
//! service turned out to answer there, that edge tells of the calls to this service alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::id::ServiceId;
use crate::model::node::NodeKind;
use crate::model::rollup::Cell;

use super::stats::excess_errors;
use super::view::{Edge, View, Way};

/// The calls of one operation to one service, as the caller counts them.
pub(super) struct Peer {
    /// The position of the host's operation; of several the one that is called most.
    pub(super) at: usize,
    pub(super) now: Cell,
    pub(super) before: Cell,
}

impl<'a> View<'a> {
    /// The calls of an operation to a service; none where their spans do not say whom they call.
    pub(super) fn peer(&self, from: usize, service: ServiceId) -> Option<Peer> {
        let edges = self.operations[from].callees.iter().map(|edge| &self.edges[*edge]);
        let hosts = edges.filter(|edge| self.behind.get(&self.operations[edge.to].service) == Some(&service));
        let (mut found, mut most): (Option<Peer>, u64) = (None, 0);
        for edge in hosts {
            let count = edge.now.count + edge.before.count;
            let peer = found.get_or_insert_with(|| Peer {
                at: edge.to,
                now: Cell::default(),
                before: Cell::default(),
            });
            if count > most {
                (peer.at, most) = (edge.to, count);
            }
            peer.now.merge(edge.now);
            peer.before.merge(edge.before);
        }
        found
    }

    /// What an operation counts of its calls to a service, now and before: of all its calls where their spans do not say whom
    /// they call.
    pub(super) fn made(&self, from: usize, service: ServiceId) -> (Cell, Cell) {
        let caller = &self.operations[from];
        let all = || (caller.now.clone().into_owned(), caller.before.clone().into_owned());
        self.peer(from, service).map_or_else(all, |peer| (peer.now, peer.before))
    }

    /// The calls of an operation that arrived at a service.
    pub(super) fn arrived(&self, from: usize, service: ServiceId) -> impl Iterator<Item = &Edge<'a>> {
        let edges = self.operations[from].callees.iter().map(|edge| &self.edges[*edge]);
        edges.filter(move |edge| edge.way == Way::Remote && self.operations[edge.to].service == service)
    }

    /// Failures of calls to a service that it knows nothing of, beyond those of the baseline; none where the spans of the calls
    /// do not say whom they call.
    pub(super) fn refused(&self, from: usize, service: ServiceId) -> Option<f64> {
        let peer = self.peer(from, service)?;
        let known: f64 = self.arrived(from, service).map(|edge| excess_errors(edge.now, edge.before)).sum();
        Some((excess_errors(&peer.now, &peer.before) - known).max(0.0))
    }

    /// Calls of an operation to a service that it knows nothing of: those to nobody known where their spans do not say whom they
    /// call. None where they are less than one of a hundred, of which the spans may be on their way.
    pub(super) fn unanswered(&self, from: usize, service: ServiceId) -> u64 {
        let count = |edge: &Edge<'_>| edge.now.count;
        let (made, arrived) = match self.peer(from, service) {
            Some(peer) => (peer.now.count, self.arrived(from, service).map(count).sum::<u64>()),
            None => {
                let edges = self.operations[from].callees.iter().map(|edge| &self.edges[*edge]);
                let known = edges.filter(|edge| matches!(edge.way, Way::Remote | Way::Dependency));
                (self.operations[from].now.count, known.map(count).sum::<u64>())
            }
        };
        let missing = made.saturating_sub(arrived);
        if 100 * missing < made { 0 } else { missing }
    }

    /// How many calls of an operation to a service can be lost at most: those that did not arrive, where their spans say whom
    /// they call; any number where they do not.
    pub(super) fn most_lost(&self, from: usize, service: ServiceId) -> f64 {
        let is_known = self.peer(from, service).is_some();
        if is_known { self.unanswered(from, service) as f64 } else { f64::INFINITY }
    }

    /// Whether an operation calls several services by its one name.
    pub(super) fn calls_many(&self, from: usize) -> bool {
        let edges = self.operations[from].callees.iter().map(|edge| &self.edges[*edge]);
        let called = edges.filter(|edge| matches!(edge.way, Way::Remote | Way::Dependency));
        let called: BTreeSet<ServiceId> = called.map(|edge| self.operations[edge.to].service).collect();
        called.len() > 1
    }
}

/// The services that turned out to stand behind hosts, by host: of those that all reach who call the host the one that has its
/// name, or the only one.
pub(super) fn behind(view: &View<'_>) -> BTreeMap<ServiceId, ServiceId> {
    let mut reached: BTreeMap<ServiceId, BTreeSet<ServiceId>> = BTreeMap::new();
    for edge in view.edges.iter().filter(|edge| edge.now.answered + edge.before.answered > 0) {
        let host = &view.operations[edge.to];
        if host.node_kind != NodeKind::External {
            continue;
        }
        let others = view.operations[edge.from].callees.iter().map(|other| &view.edges[*other]);
        let others = others.filter(|other| other.way == Way::Remote);
        let others: BTreeSet<ServiceId> = others.map(|other| view.operations[other.to].service).collect();
        match reached.get_mut(&host.service) {
            Some(known) => known.retain(|service| others.contains(service)),
            None => {
                reached.insert(host.service, others);
            }
        }
    }
    let found = reached.into_iter().filter_map(|(host, services)| {
        let has_name = |service: &&ServiceId| is_named(view.node_name(host), view.node_name(**service));
        let only = services.first().filter(|_| services.len() == 1);
        let service = services.iter().find(has_name).or(only)?;
        Some((host, *service))
    });
    found.collect()
}

/// Whether a host, with its port and domain, has the name of a service.
fn is_named(host: &str, service: &str) -> bool {
    let without_port = host.split(':').next().unwrap_or(host);
    let label = without_port.split('.').next().unwrap_or(without_port);
    !service.is_empty() && [without_port, label].iter().any(|name| name.eq_ignore_ascii_case(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_the_names_of_services() {
        assert!(is_named("payments:8080", "payments"));
        assert!(is_named("Payments.shop.svc.cluster.local:443", "payments"));
        assert!(is_named("api.shop.example", "api.shop.example"));
        assert!(!is_named("payments-db:5432", "payments"));
        assert!(!is_named("10.0.0.7:80", "payments"));
    }
}
