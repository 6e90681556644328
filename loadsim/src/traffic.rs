//! Requests played through a topology: what every service would have recorded.

use crate::dice::Dice;
use crate::effect::{Effects, Place};
use crate::fault::{self, Fault};
use crate::topology::{Call, Topology};

/// Deepest call chain; seeded systems stay below.
const DEPTH_MAX: usize = 24;
/// How long a caller waits for a dead dependency.
const TIMEOUT_NS: f64 = 3e9;

/// One span as its service recorded it.
#[derive(Debug, Clone)]
pub struct Span {
    /// Position of the service that recorded it.
    pub service: usize,
    /// Which of its instances.
    pub instance: usize,
    /// The trace.
    pub trace_id: [u8; 16],
    /// Its id.
    pub span_id: [u8; 8],
    /// The span that caused it.
    pub parent_id: Option<[u8; 8]>,
    /// Its name.
    pub name: String,
    /// Its part in the call and what it talked to.
    pub role: Role,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// What went wrong in it.
    pub failure: Option<Failure>,
}

/// Part in a call.
#[derive(Debug, Clone)]
pub enum Role {
    /// Takes a request.
    Server,
    /// Handles a message from this queue.
    Consumer(String),
    /// Calls the service of this name.
    Client(String),
    /// Calls a database, queue or outside host.
    Dependency(Call),
}

/// What went wrong in a span.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Exception type.
    pub kind: &'static str,
    /// Exception message, also the status message.
    pub message: String,
    /// True where it arose, false where it was passed on.
    pub own: bool,
}

/// Plays requests.
#[derive(Debug, Clone)]
pub struct Traffic {
    topology: Topology,
    effects: Effects,
    dice: Dice,
}

struct Visit {
    service: usize,
    operation: usize,
    parent_id: Option<[u8; 8]>,
    start_ns: u64,
    role: Role,
    depth: usize,
}

impl Traffic {
    /// Traffic through `topology` with `faults`; repeatable by `seed`.
    pub fn new(topology: Topology, faults: Vec<Fault>, seed: u64) -> Self {
        Self { topology, effects: Effects(faults), dice: Dice::new(seed).branch(2) }
    }

    /// The system.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Plays one request that arrives at `at_ns`; appends its spans, callers before callees.
    pub fn request(&mut self, at_ns: u64, spans: &mut Vec<Span>) {
        let (service, operation) = self.entry(at_ns);
        if self.effects.is_down(service, at_ns) {
            return;
        }
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&self.dice.word().to_be_bytes());
        trace_id[8..].copy_from_slice(&(self.dice.word() | 1).to_be_bytes());
        let visit =
            Visit { service, operation, parent_id: None, start_ns: at_ns, role: Role::Server, depth: 0 };
        Play { traffic: self, trace_id, spans }.visit(visit);
    }

    fn describe(&self, call: &Call) -> (String, Role) {
        match call {
            Call::Service { service, operation } => {
                let callee = &self.topology.services[*service];
                let name = callee.operations[*operation].name.split(' ').next().unwrap_or("call").to_owned();
                (name, Role::Client(callee.name.clone()))
            }
            Call::Database { statement, .. } => (statement.clone(), Role::Dependency(call.clone())),
            Call::Queue { destination, .. } => {
                (format!("send {destination}"), Role::Dependency(call.clone()))
            }
            Call::External { .. } => ("POST".to_owned(), Role::Dependency(call.clone())),
        }
    }

    /// The version that an instance of a service runs at an instant.
    pub fn version(&self, service: usize, instance: usize, at_ns: u64) -> &str {
        let bad = self.effects.version(service, instance, at_ns);
        bad.unwrap_or(&self.topology.services[service].version)
    }

    /// The parts of its processors and of its memory that an instance of a service uses at an instant.
    pub(crate) fn usage(&self, service: usize, instance: usize, at_ns: u64, dice: &mut Dice) -> (f64, f64) {
        self.effects.usage(service, instance, at_ns, dice)
    }

    /// How many times as many requests as usual arrive from outside at an instant.
    pub fn load(&self, at_ns: u64) -> f64 {
        let entries = &self.topology.entries;
        let arriving: f64 = entries.iter().map(|entry| self.effects.arrivals(*entry, at_ns)).sum();
        arriving / entries.len().max(1) as f64
    }

    /// Where the next request arrives.
    fn entry(&mut self, at_ns: u64) -> (usize, usize) {
        let entries = &self.topology.entries;
        let mut left = self.dice.share() * self.load(at_ns) * entries.len() as f64;
        for entry in entries {
            left -= self.effects.arrivals(*entry, at_ns);
            if left < 0.0 {
                return *entry;
            }
        }
        entries[entries.len() - 1]
    }
}

/// One request on its way.
struct Play<'a> {
    traffic: &'a mut Traffic,
    trace_id: [u8; 16],
    spans: &'a mut Vec<Span>,
}

impl Play<'_> {
    /// Plays one visit of an operation; answers its duration and failure.
    fn visit(&mut self, visit: Visit) -> (u64, Option<Failure>) {
        let Visit { service, operation, parent_id, start_ns, role, depth } = visit;
        let here = &self.traffic.topology.services[service];
        let (name, typical_ns) =
            (here.operations[operation].name.clone(), here.operations[operation].self_ns);
        let calls = here.operations[operation].calls.clone();
        let instance = self.traffic.dice.below(here.instances);
        let position = self.begin((service, instance), parent_id, (name, role), start_ns);
        let place = Place { service, operation, instance, at_ns: start_ns };
        let own_ns = self.traffic.dice.latency(typical_ns * self.traffic.effects.slowness(place));
        let mut failure = self.traffic.effects.failure(place, &mut self.traffic.dice);
        let mut spent_ns = own_ns / 2;
        if depth < DEPTH_MAX && failure.is_none() {
            for call in &calls {
                let (took_ns, failed) = self.calls(call, position, start_ns + spent_ns, depth);
                spent_ns += took_ns;
                if let Some(failed) = failed {
                    failure = Some(Failure { own: false, ..failed });
                    break;
                }
            }
        }
        self.end(position, spent_ns + own_ns / 2, failure)
    }

    /// Plays a call from the span at `caller` until it succeeds or is given up.
    fn calls(&mut self, call: &Call, caller: usize, start_ns: u64, depth: usize) -> (u64, Option<Failure>) {
        let tries = match call {
            Call::Service { service, .. } => self.traffic.effects.tries(*service, start_ns),
            _ => 1,
        };
        let (mut spent_ns, mut failure) = (0, None);
        for _ in 0..tries {
            let (took_ns, failed) = self.call(call, caller, start_ns + spent_ns, depth);
            spent_ns += took_ns;
            failure = failed;
            if failure.is_none() {
                break;
            }
        }
        (spent_ns, failure)
    }

    /// Plays one call from the span at `caller`: the client's span and whatever it reaches.
    fn call(&mut self, call: &Call, caller: usize, start_ns: u64, depth: usize) -> (u64, Option<Failure>) {
        let network_ns = self.traffic.dice.latency(0.3e6);
        let Span { service, instance, span_id, .. } = self.spans[caller];
        let described = self.traffic.describe(call);
        let position = self.begin((service, instance), Some(span_id), described, start_ns);
        let traffic = &mut *self.traffic;
        if traffic.effects.is_dead(&traffic.topology, call, start_ns) {
            let message = format!("connection to {} timed out", fault::node_name(call).unwrap_or_default());
            let failure = Failure { kind: "TimeoutError", message, own: true };
            let waited_ns = traffic.dice.latency(TIMEOUT_NS);
            return self.end(position, waited_ns, Some(failure));
        }
        let slowness = traffic.effects.dependency_slowness(&traffic.topology, call, start_ns);
        let parent_id = Some(self.spans[position].span_id);
        let (took_ns, failure) = match call {
            Call::Service { service: callee, .. } if traffic.effects.is_down(*callee, start_ns) => {
                let message = format!("connection to {} refused", traffic.topology.services[*callee].name);
                (network_ns, Some(Failure { kind: "ConnectException", message, own: true }))
            }
            Call::Service { service: callee, operation } => {
                let network_ns = network_ns + traffic.effects.delay_ns(service, *callee, start_ns);
                let start_ns = start_ns + network_ns / 2;
                let (service, operation) = (*callee, *operation);
                let visit =
                    Visit { service, operation, parent_id, start_ns, role: Role::Server, depth: depth + 1 };
                let (took_ns, failure) = self.visit(visit);
                (took_ns + network_ns, failure.map(|failure| Failure { own: false, ..failure }))
            }
            Call::Queue { service: consumer, .. } if traffic.effects.is_down(*consumer, start_ns) => {
                (network_ns, None)
            }
            Call::Queue { destination, service: consumer, operation } => {
                let waited_ns = traffic.dice.latency(20e6) + traffic.effects.wait_ns(*consumer, start_ns);
                let start_ns = start_ns + network_ns + waited_ns;
                let (service, operation) = (*consumer, *operation);
                let role = Role::Consumer(destination.clone());
                // The producer does not wait for the consumer and does not see it fail.
                self.visit(Visit { service, operation, parent_id, start_ns, role, depth: depth + 1 });
                (network_ns, None)
            }
            Call::Database { .. } => (traffic.dice.latency(2e6 * slowness), None),
            Call::External { .. } => (traffic.dice.latency(40e6 * slowness), None),
        };
        self.end(position, took_ns, failure)
    }

    fn begin(
        &mut self,
        (service, instance): (usize, usize),
        parent_id: Option<[u8; 8]>,
        (name, role): (String, Role),
        start_ns: u64,
    ) -> usize {
        let span_id = (self.traffic.dice.word() | 1).to_be_bytes();
        let trace_id = self.trace_id;
        let (duration_ns, failure) = (0, None);
        let span = Span {
            service,
            instance,
            trace_id,
            span_id,
            parent_id,
            name,
            role,
            start_ns,
            duration_ns,
            failure,
        };
        self.spans.push(span);
        self.spans.len() - 1
    }

    fn end(&mut self, position: usize, duration_ns: u64, failure: Option<Failure>) -> (u64, Option<Failure>) {
        let span = &mut self.spans[position];
        span.duration_ns = duration_ns;
        span.failure.clone_from(&failure);
        (duration_ns, failure)
    }
}
