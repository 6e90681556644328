//! The way from a cause to the symptom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::id::ServiceId;

use super::rank::Account;
use super::view::View;

/// For each node, the node that leads back towards the symptom.
pub(super) struct Paths {
    towards: BTreeMap<ServiceId, ServiceId>,
    target: Option<ServiceId>,
}

impl Paths {
    /// Prefers the ways that blame took; falls back on known calls.
    pub(super) fn new(view: &View<'_>, accounts: &[Account], target: Option<ServiceId>) -> Self {
        let mut towards = BTreeMap::new();
        let Some(start) = target else { return Self { towards, target } };
        let mut blamed: BTreeMap<ServiceId, BTreeSet<ServiceId>> = BTreeMap::new();
        for account in accounts {
            for (from, targets) in &account.ledger.passed {
                blamed.entry(*from).or_default().extend(targets.keys());
            }
        }
        let mut seen = BTreeSet::from([start]);
        for graph in [blamed, view.callees_by_service()] {
            let mut pending: VecDeque<ServiceId> = seen.iter().copied().collect();
            while let Some(service) = pending.pop_front() {
                for callee in graph.get(&service).into_iter().flatten() {
                    if seen.insert(*callee) {
                        towards.insert(*callee, service);
                        pending.push_back(*callee);
                    }
                }
            }
        }
        Self { towards, target }
    }

    /// The nodes from `cause` to the symptom, both included; just `cause` where no way is known.
    pub(super) fn from(&self, cause: ServiceId) -> Vec<ServiceId> {
        let mut path = vec![cause];
        let mut at = cause;
        while Some(at) != self.target {
            match self.towards.get(&at) {
                Some(next) => at = *next,
                None => return vec![cause],
            }
            path.push(at);
        }
        path
    }
}
