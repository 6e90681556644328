//! Chooses a system, and a place in it where a fault is felt.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::fault::{Fault, Kind, dependency_of};
use crate::topology::{Call, Topology};
use crate::traffic::{Role, Span, Traffic};

/// Requests that are played to see where requests go.
const SAMPLE: usize = 400;
/// A fault lies where at least so many of them come by.
const VISITS_MIN: usize = 40;
/// Systems that are tried until one has a place for the fault.
const TRIES: u64 = 200;
/// The smallest system, and by how many services others are larger.
const SERVICES: (usize, usize) = (8, 17);

/// A system and what is wrong with it.
#[derive(Debug, Clone)]
pub(super) struct Planted {
    /// What is wrong; nothing in a quiet run.
    pub(super) kind: Option<Kind>,
    /// Repeats the run.
    pub(super) seed: u64,
    pub(super) topology: Topology,
    pub(super) fault: Option<Fault>,
    /// What a right answer says.
    pub(super) truth: Truth,
}

/// What a right answer says.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    /// The nodes of which one is named first: the two ends of an edge, a queue or who reads from it.
    pub(super) names: Vec<String>,
    /// How far down the fault lies, and the fault's name where that tells more; any of them is right.
    pub(super) levels: Vec<&'static str>,
}

/// Where requests come by: spans of service and operation, calls from service to service.
#[derive(Default)]
struct Visits {
    operations: BTreeMap<(usize, usize), usize>,
    calls: BTreeMap<(usize, usize), usize>,
    consumed: BTreeMap<usize, usize>,
    depending: BTreeMap<usize, usize>,
}

/// Plants a fault of a kind, or none, at `from_ns`; the same seed gives the same.
pub(super) fn plant(kind: Option<Kind>, seed: u64, from_ns: u64) -> Option<Planted> {
    (0..TRIES).find_map(|attempt| {
        let seed = seed + attempt * 1_000_003;
        let mut dice = Dice::new(seed).branch(11);
        let topology = Topology::seeded(seed, SERVICES.0 + dice.below(SERVICES.1));
        let Some(kind) = kind else {
            return Some(Planted { kind: None, seed, topology, fault: None, truth: Truth::default() });
        };
        let (fault, truth) = place(kind, &topology, seed, from_ns, &mut dice)?;
        Some(Planted { kind: Some(kind), seed, topology, fault: Some(fault), truth })
    })
}

fn visits(topology: &Topology, seed: u64) -> Visits {
    let mut traffic = Traffic::new(topology.clone(), Vec::new(), seed);
    let mut visits = Visits::default();
    for _ in 0..SAMPLE {
        let mut spans: Vec<Span> = Vec::new();
        traffic.request(0, &mut spans);
        for span in &spans {
            let operations = &topology.services[span.service].operations;
            let operation = operations.iter().position(|operation| operation.name == span.name);
            match (&span.role, operation) {
                (Role::Server | Role::Consumer(_), Some(operation)) => {
                    *visits.operations.entry((span.service, operation)).or_default() += 1;
                    if matches!(span.role, Role::Consumer(_)) {
                        *visits.consumed.entry(span.service).or_default() += 1;
                    }
                }
                (Role::Client(callee), _) => {
                    let callee = topology.position(callee).unwrap_or(span.service);
                    *visits.calls.entry((span.service, callee)).or_default() += 1;
                }
                (Role::Dependency(call), _)
                    if crate::fault::node_name(call) == dependency_of(topology, span.service) =>
                {
                    *visits.depending.entry(span.service).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    visits
}

fn often<K: Copy>(visits: &BTreeMap<K, usize>) -> Vec<K> {
    visits.iter().filter(|(_, count)| **count >= VISITS_MIN).map(|(key, _)| *key).collect()
}

fn any<K: Copy>(dice: &mut Dice, found: &[K]) -> Option<K> {
    (!found.is_empty()).then(|| *dice.pick(found))
}

fn place(
    kind: Kind,
    topology: &Topology,
    seed: u64,
    from_ns: u64,
    dice: &mut Dice,
) -> Option<(Fault, Truth)> {
    let visits = visits(topology, seed);
    let is_entry = |service: usize| topology.entries.iter().any(|entry| entry.0 == service);
    let name = |service: usize| topology.services[service].name.clone();
    // Of operations that requests come by in the middle of the system.
    let mut operations = often(&visits.operations);
    operations.retain(|(service, _)| !is_entry(*service) && !visits.consumed.contains_key(service));
    let used = |service: usize| visits.operations.keys().filter(|(other, _)| *other == service).count();
    let whole =
        |service: usize, level| if used(service) == 1 { vec![level, "operation"] } else { vec![level] };
    let truth = |names: Vec<String>, levels| Truth { names, levels };
    match kind {
        Kind::Error | Kind::Latency => {
            let (service, operation) = any(dice, &operations)?;
            let fault = Fault { operation: Some(operation), ..Fault::of(kind, service, from_ns) };
            let levels = if used(service) == 1 { vec!["operation", "service"] } else { vec!["operation"] };
            Some((fault, truth(vec![name(service)], levels)))
        }
        Kind::RetryStorm | Kind::DeadService => {
            let (service, _) = any(dice, &operations)?;
            Some((Fault::of(kind, service, from_ns), truth(vec![name(service)], whole(service, "service"))))
        }
        Kind::CpuSaturation | Kind::MemorySaturation => {
            let (service, _) = any(dice, &operations)?;
            Some((Fault::of(kind, service, from_ns), truth(vec![name(service)], vec!["resource"])))
        }
        Kind::BadVersion | Kind::BadInstance => {
            operations.retain(|(service, _)| topology.services[*service].instances > 1);
            let (service, _) = any(dice, &operations)?;
            let level = if kind == Kind::BadVersion { "version" } else { "instance" };
            Some((Fault::of(kind, service, from_ns), truth(vec![name(service)], vec![level])))
        }
        Kind::DeadDependency | Kind::SlowDependency => {
            let mut services = often(&visits.depending);
            services.retain(|service| !is_queue(topology, *service));
            let service = any(dice, &services)?;
            let fault = Fault::of(kind, service, from_ns);
            let culprit = fault.culprit(topology);
            Some((fault, truth(vec![culprit], vec!["dependency"])))
        }
        Kind::QueueBacklog => {
            let service = any(dice, &often(&visits.consumed))?;
            let mut names = queues_of(topology, service);
            names.push(name(service));
            Some((Fault::of(kind, service, from_ns), truth(names, vec!["dependency", "edge"])))
        }
        Kind::NetworkDelay => {
            let (caller, callee) = any(dice, &often(&visits.calls))?;
            let fault = Fault { caller: Some(caller), ..Fault::of(kind, callee, from_ns) };
            Some((fault, truth(vec![name(caller), name(callee)], vec!["edge"])))
        }
        Kind::Surge => surge(topology, seed, from_ns, dice),
        Kind::MissingTraffic => {
            let entries: Vec<(usize, usize)> =
                often(&visits.operations).into_iter().filter(|(service, _)| is_entry(*service)).collect();
            let (service, operation) = any(dice, &entries)?;
            let entry = Some((service, operation));
            let fault = Fault { entry, ..Fault::of(kind, service, from_ns) };
            Some((fault, truth(vec![name(service)], vec!["operation"])))
        }
    }
}

/// More requests of one kind than a service on their way copes with.
fn surge(topology: &Topology, seed: u64, from_ns: u64, dice: &mut Dice) -> Option<(Fault, Truth)> {
    let entry = *dice.pick(&topology.entries);
    let only = Topology { entries: vec![entry], ..topology.clone() };
    let mut on_its_way = often(&visits(&only, seed).operations);
    on_its_way.retain(|(service, _)| *service != entry.0);
    let (service, _) = any(dice, &on_its_way)?;
    let names = [service, entry.0].map(|service| topology.services[service].name.clone());
    let fault = Fault { entry: Some(entry), ..Fault::of(Kind::Surge, service, from_ns) };
    Some((fault, Truth { names: names.to_vec(), levels: vec!["surge"] }))
}

fn is_queue(topology: &Topology, service: usize) -> bool {
    let calls = topology.services[service].operations.iter().flat_map(|operation| &operation.calls);
    let mut reached = calls.filter(|call| crate::fault::node_name(call).is_some());
    matches!(reached.next(), Some(Call::Queue { .. }))
}

/// The queues that a service reads from, as the graph names them.
fn queues_of(topology: &Topology, consumer: usize) -> Vec<String> {
    let operations = topology.services.iter().flat_map(|service| &service.operations);
    let queues = operations
        .flat_map(|operation| &operation.calls)
        .filter(|call| matches!(call, Call::Queue { service, .. } if *service == consumer));
    let mut names: Vec<String> = queues.filter_map(crate::fault::node_name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_a_place_and_repeats() {
        for kind in Kind::ALL {
            let planted = plant(Some(kind), 5, 1).unwrap();
            assert!(!planted.truth.names.is_empty() && !planted.truth.levels.is_empty(), "{kind}");
            let again = plant(Some(kind), 5, 1).unwrap();
            assert_eq!(format!("{planted:?}"), format!("{again:?}"));
        }
        assert!(plant(None, 5, 1).unwrap().fault.is_none());
    }
}
