//! Requests played through a topology: what every service would have recorded.

use crate::dice::Dice;
use crate::fault::{self, BAD_VERSION, Fault, Kind};
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
    faults: Vec<Fault>,
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
        Self { topology, faults, dice: Dice::new(seed).branch(2) }
    }

    /// The system.
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Plays one request that arrives at `at_ns`; appends its spans, callers before callees.
    pub fn request(&mut self, at_ns: u64, spans: &mut Vec<Span>) {
        let entry = self.dice.below(self.topology.entries.len());
        let (service, operation) = self.topology.entries[entry];
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&self.dice.word().to_be_bytes());
        trace_id[8..].copy_from_slice(&(self.dice.word() | 1).to_be_bytes());
        let visit =
            Visit { service, operation, parent_id: None, start_ns: at_ns, role: Role::Server, depth: 0 };
        Play { traffic: self, trace_id, spans }.visit(visit);
    }

    fn own_failure(&mut self, service: usize, instance: usize, at_ns: u64) -> Option<Failure> {
        if self.has(Kind::Error, service, at_ns) && self.dice.chance(0.5) {
            let message = format!("invalid state in ledger entry {}", self.dice.below(10_000));
            return Some(Failure { kind: "IllegalStateException", message, own: true });
        }
        if self.has(Kind::BadVersion, service, at_ns) && instance == 0 && self.dice.chance(0.9) {
            let message = "cannot read property 'amount' of undefined".to_owned();
            return Some(Failure { kind: "TypeError", message, own: true });
        }
        None
    }

    /// True while a fault keeps what `call` reaches from answering anybody.
    fn is_dead(&self, call: &Call, at_ns: u64) -> bool {
        let Some(reached) = fault::node_name(call) else { return false };
        let mut dead =
            self.faults.iter().filter(|fault| fault.kind == Kind::DeadDependency && fault.is_active(at_ns));
        dead.any(|fault| fault::dependency_of(&self.topology, fault.service).as_ref() == Some(&reached))
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

    fn has(&self, kind: Kind, service: usize, at_ns: u64) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.kind == kind && fault.service == service && fault.is_active(at_ns))
    }

    /// The version that an instance of a service runs at an instant.
    pub fn version(&self, service: usize, instance: usize, at_ns: u64) -> &str {
        if instance == 0 && self.has(Kind::BadVersion, service, at_ns) {
            BAD_VERSION
        } else {
            &self.topology.services[service].version
        }
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
        let mut own_ns = self.traffic.dice.latency(typical_ns);
        let mut failure = self.traffic.own_failure(service, instance, start_ns);
        if self.traffic.has(Kind::Latency, service, start_ns) {
            own_ns = own_ns.saturating_mul(20);
        }
        let mut spent_ns = own_ns / 2;
        if depth < DEPTH_MAX && failure.is_none() {
            for call in &calls {
                let (took_ns, failed) = self.call(call, position, start_ns + spent_ns, depth);
                spent_ns += took_ns;
                if let Some(failed) = failed {
                    failure = Some(Failure { own: false, ..failed });
                    break;
                }
            }
        }
        self.end(position, spent_ns + own_ns / 2, failure)
    }

    /// Plays one call from the span at `caller`: the client's span and whatever it reaches.
    fn call(&mut self, call: &Call, caller: usize, start_ns: u64, depth: usize) -> (u64, Option<Failure>) {
        let network_ns = self.traffic.dice.latency(0.3e6);
        let Span { service, instance, span_id, .. } = self.spans[caller];
        let described = self.traffic.describe(call);
        let position = self.begin((service, instance), Some(span_id), described, start_ns);
        if self.traffic.is_dead(call, start_ns) {
            let message = format!("connection to {} timed out", fault::node_name(call).unwrap_or_default());
            let failure = Failure { kind: "TimeoutError", message, own: true };
            let waited_ns = self.traffic.dice.latency(TIMEOUT_NS);
            return self.end(position, waited_ns, Some(failure));
        }
        let parent_id = Some(self.spans[position].span_id);
        let (took_ns, failure) = match call {
            Call::Service { service, operation } => {
                let start_ns = start_ns + network_ns / 2;
                let (service, operation) = (*service, *operation);
                let visit =
                    Visit { service, operation, parent_id, start_ns, role: Role::Server, depth: depth + 1 };
                let (took_ns, failure) = self.visit(visit);
                (took_ns + network_ns, failure.map(|failure| Failure { own: false, ..failure }))
            }
            Call::Queue { destination, service, operation } => {
                let start_ns = start_ns + network_ns + self.traffic.dice.latency(20e6);
                let (service, operation) = (*service, *operation);
                let role = Role::Consumer(destination.clone());
                // The producer does not wait for the consumer and does not see it fail.
                self.visit(Visit { service, operation, parent_id, start_ns, role, depth: depth + 1 });
                (network_ns, None)
            }
            Call::Database { .. } => (self.traffic.dice.latency(2e6), None),
            Call::External { .. } => (self.traffic.dice.latency(40e6), None),
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
