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
        self.visit(trace_id, visit, spans);
    }

    /// Plays one visit of an operation; answers its duration and failure.
    fn visit(&mut self, trace_id: [u8; 16], visit: Visit, spans: &mut Vec<Span>) -> (u64, Option<Failure>) {
        let Visit { service, operation, parent_id, start_ns, role, depth } = visit;
        let here = &self.topology.services[service];
        let (name, typical_ns) =
            (here.operations[operation].name.clone(), here.operations[operation].self_ns);
        let calls = here.operations[operation].calls.clone();
        let instance = self.dice.below(here.instances);
        let span_id = self.span_id();
        let position = spans.len();
        spans.push(Span {
            service,
            instance,
            trace_id,
            span_id,
            parent_id,
            name,
            role,
            start_ns,
            duration_ns: 0,
            failure: None,
        });
        let mut own_ns = self.dice.latency(typical_ns);
        let mut failure = self.own_failure(service, instance, start_ns);
        if self.has(Kind::Latency, service, start_ns) {
            own_ns = own_ns.saturating_mul(20);
        }
        let mut spent_ns = own_ns / 2;
        if depth < DEPTH_MAX && failure.is_none() {
            for call in &calls {
                let (took_ns, failed) =
                    self.call(trace_id, call, &spans[position].clone(), start_ns + spent_ns, depth, spans);
                spent_ns += took_ns;
                if let Some(failed) = failed {
                    failure = Some(Failure { own: false, ..failed });
                    break;
                }
            }
        }
        spent_ns += own_ns / 2;
        spans[position].duration_ns = spent_ns;
        spans[position].failure.clone_from(&failure);
        (spent_ns, failure)
    }

    /// Plays one call from `caller`: the client's span and whatever it reaches.
    fn call(
        &mut self,
        trace_id: [u8; 16],
        call: &Call,
        caller: &Span,
        start_ns: u64,
        depth: usize,
        spans: &mut Vec<Span>,
    ) -> (u64, Option<Failure>) {
        let span_id = self.span_id();
        let position = spans.len();
        let network_ns = self.dice.latency(0.3e6);
        let (name, role) = match call {
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
        };
        spans.push(Span {
            service: caller.service,
            instance: caller.instance,
            trace_id,
            span_id,
            parent_id: Some(caller.span_id),
            name,
            role,
            start_ns,
            duration_ns: 0,
            failure: None,
        });
        let dead = self.dead(call, start_ns);
        let (took_ns, failure) = if dead {
            let message = format!("connection to {} timed out", fault::node_name(call).unwrap_or_default());
            (self.dice.latency(TIMEOUT_NS), Some(Failure { kind: "TimeoutError", message, own: true }))
        } else {
            match call {
                Call::Service { service, operation } => {
                    let visit = Visit {
                        service: *service,
                        operation: *operation,
                        parent_id: Some(span_id),
                        start_ns: start_ns + network_ns / 2,
                        role: Role::Server,
                        depth: depth + 1,
                    };
                    let (took_ns, failure) = self.visit(trace_id, visit, spans);
                    (took_ns + network_ns, failure.map(|failure| Failure { own: false, ..failure }))
                }
                Call::Queue { destination, service, operation } => {
                    let visit = Visit {
                        service: *service,
                        operation: *operation,
                        parent_id: Some(span_id),
                        start_ns: start_ns + network_ns + self.dice.latency(20e6),
                        role: Role::Consumer(destination.clone()),
                        depth: depth + 1,
                    };
                    // The producer does not wait for the consumer and does not see it fail.
                    self.visit(trace_id, visit, spans);
                    (network_ns, None)
                }
                Call::Database { .. } => (self.dice.latency(2e6), None),
                Call::External { .. } => (self.dice.latency(40e6), None),
            }
        };
        spans[position].duration_ns = took_ns;
        spans[position].failure.clone_from(&failure);
        (took_ns, failure)
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

    fn dead(&self, call: &Call, at_ns: u64) -> bool {
        let dead =
            self.faults.iter().filter(|fault| fault.kind == Kind::DeadDependency && fault.is_active(at_ns));
        let reached = fault::node_name(call);
        // Dead is dead for everybody who calls it, not only for the service that the fault names.
        reached.is_some()
            && dead.into_iter().any(|fault| fault::dependency_of(&self.topology, fault.service) == reached)
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

    fn span_id(&mut self) -> [u8; 8] {
        (self.dice.word() | 1).to_be_bytes()
    }
}
