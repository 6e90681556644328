//! What faults do to the requests that meet them.

use crate::dice::Dice;
use crate::fault::{self, BAD_VERSION, Fault, Kind};
use crate::topology::{Call, Topology};
use crate::traffic::Failure;

/// How much longer slow work takes.
const SLOW: f64 = 20.0;
/// How much longer work takes where processors are used up.
const WITHOUT_CPU: f64 = 6.0;
/// How much longer work takes where memory is used up.
const WITHOUT_MEMORY: f64 = 3.0;
/// How much longer work takes that is too much.
const OVERWHELMED: f64 = 10.0;
/// How many more requests arrive in a surge.
const SURGE: f64 = 8.0;
/// How much longer a slow network takes.
const NETWORK_NS: u64 = 150_000_000;
/// How often a call is tried in a retry storm.
const TRIES: u32 = 4;

/// The faults of a system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effects(pub(crate) Vec<Fault>);

/// Where a request is worked on, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) service: usize,
    pub(crate) operation: usize,
    pub(crate) instance: usize,
    pub(crate) at_ns: u64,
}

impl Effects {
    fn active(&self, at_ns: u64) -> impl Iterator<Item = &Fault> {
        self.0.iter().filter(move |fault| fault.is_active(at_ns))
    }

    fn at(&self, service: usize, at_ns: u64) -> impl Iterator<Item = &Fault> {
        self.active(at_ns).filter(move |fault| fault.service == service)
    }

    /// The failure that arises at `place`.
    pub(crate) fn failure(&self, place: Place, dice: &mut Dice) -> Option<Failure> {
        let failure = |kind, message: String| Some(Failure { kind, message, own: true });
        for fault in self.at(place.service, place.at_ns) {
            if fault.operation.is_some_and(|operation| operation != place.operation) {
                continue;
            }
            match fault.kind {
                Kind::Error if dice.chance(0.5) => {
                    let message = format!("invalid state in ledger entry {}", dice.below(10_000));
                    return failure("IllegalStateException", message);
                }
                Kind::BadVersion if place.instance == 0 && dice.chance(0.9) => {
                    return failure("TypeError", "cannot read property 'amount' of undefined".to_owned());
                }
                Kind::MemorySaturation if dice.chance(0.2) => {
                    return failure("OutOfMemoryError", "allocation of 4194304 bytes failed".to_owned());
                }
                Kind::RetryStorm if dice.chance(0.7) => {
                    return failure("ResourceExhausted", "no permit of the pool became free".to_owned());
                }
                _ => {}
            }
        }
        None
    }

    /// How many times as long the work at `place` takes.
    pub(crate) fn slowness(&self, place: Place) -> f64 {
        let hit = self
            .at(place.service, place.at_ns)
            .filter(|fault| fault.operation.is_none_or(|operation| operation == place.operation));
        hit.map(|fault| match fault.kind {
            Kind::Latency => SLOW,
            Kind::BadInstance if place.instance == 0 => SLOW,
            Kind::CpuSaturation => WITHOUT_CPU,
            Kind::MemorySaturation => WITHOUT_MEMORY,
            Kind::Surge => OVERWHELMED,
            _ => 1.0,
        })
        .product()
    }

    fn hits_dependency(&self, kind: Kind, topology: &Topology, call: &Call, at_ns: u64) -> bool {
        let Some(reached) = fault::node_name(call) else { return false };
        let mut faults = self.active(at_ns).filter(|fault| fault.kind == kind);
        faults.any(|fault| fault::dependency_of(topology, fault.service).as_ref() == Some(&reached))
    }

    /// True while a fault keeps what `call` reaches from answering anybody.
    pub(crate) fn is_dead(&self, topology: &Topology, call: &Call, at_ns: u64) -> bool {
        self.hits_dependency(Kind::DeadDependency, topology, call, at_ns)
    }

    /// How many times as long the dependency takes that `call` reaches.
    pub(crate) fn dependency_slowness(&self, topology: &Topology, call: &Call, at_ns: u64) -> f64 {
        if self.hits_dependency(Kind::SlowDependency, topology, call, at_ns) { SLOW } else { 1.0 }
    }

    /// True while a service does not run.
    pub(crate) fn is_down(&self, service: usize, at_ns: u64) -> bool {
        self.at(service, at_ns).any(|fault| fault.kind == Kind::DeadService)
    }

    /// How much longer the network between two services takes.
    pub(crate) fn delay_ns(&self, caller: usize, callee: usize, at_ns: u64) -> u64 {
        let slow = self
            .at(callee, at_ns)
            .any(|fault| fault.kind == Kind::NetworkDelay && fault.caller.is_none_or(|hit| hit == caller));
        if slow { NETWORK_NS } else { 0 }
    }

    /// How much longer a message waits for `consumer`: as long as the backlog lasts already.
    pub(crate) fn wait_ns(&self, consumer: usize, at_ns: u64) -> u64 {
        let backlog = self.at(consumer, at_ns).filter(|fault| fault.kind == Kind::QueueBacklog);
        backlog.map(|fault| (at_ns - fault.from_ns) / 2).max().unwrap_or(0)
    }

    /// How often a call to `callee` is tried until it is given up.
    pub(crate) fn tries(&self, callee: usize, at_ns: u64) -> u32 {
        let storm = self.at(callee, at_ns).any(|fault| fault.kind == Kind::RetryStorm);
        if storm { TRIES } else { 1 }
    }

    /// How many times as many requests of a kind arrive from outside.
    pub(crate) fn arrivals(&self, entry: (usize, usize), at_ns: u64) -> f64 {
        let hit = self.active(at_ns).filter(|fault| fault.entry.is_none_or(|hit| hit == entry));
        hit.map(|fault| match fault.kind {
            Kind::Surge => SURGE,
            Kind::MissingTraffic => 0.0,
            _ => 1.0,
        })
        .product()
    }

    /// The version that an instance of a service runs instead of its usual one.
    pub(crate) fn version(&self, service: usize, instance: usize, at_ns: u64) -> Option<&'static str> {
        let bad = self.at(service, at_ns).any(|fault| fault.kind == Kind::BadVersion);
        (bad && instance == 0).then_some(BAD_VERSION)
    }

    /// The parts of its processors and of its memory that an instance of a service uses.
    pub(crate) fn usage(&self, service: usize, instance: usize, at_ns: u64, dice: &mut Dice) -> (f64, f64) {
        let (mut cpu, mut memory) = (0.1 + 0.2 * dice.share(), 0.4 + 0.1 * dice.share());
        for fault in self.at(service, at_ns) {
            match fault.kind {
                Kind::CpuSaturation => cpu = 0.95 + 0.05 * dice.share(),
                Kind::MemorySaturation => memory = 0.93 + 0.06 * dice.share(),
                Kind::Surge => cpu = 0.8 + 0.15 * dice.share(),
                Kind::Latency | Kind::BadInstance if instance == 0 => cpu += 0.1 * dice.share(),
                _ => {}
            }
        }
        (cpu, memory)
    }
}
