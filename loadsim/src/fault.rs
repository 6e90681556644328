//! What can be made to go wrong.

use std::fmt;
use std::str::FromStr;

use crate::topology::{Call, Topology};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An operation of a service fails in half of its requests.
    Error,
    /// An operation of a service takes twenty times as long.
    Latency,
    /// A dependency (database, queue or outside host) of a service no longer answers: calls time out.
    DeadDependency,
    /// One instance of a service runs a new version that fails in most of its requests.
    BadVersion,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Error, Self::Latency, Self::DeadDependency, Self::BadVersion];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Latency => "latency",
            Self::DeadDependency => "dead-dependency",
            Self::BadVersion => "bad-version",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no fault is called `{name}`; there are {names}")
        })
    }
}

/// A fault at a place and time.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// Position of the service where it goes wrong.
    pub service: usize,
    /// When it begins, in nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// When it ends.
    pub until_ns: u64,
}

/// The version that a [`Kind::BadVersion`] fault brings.
pub const BAD_VERSION: &str = "9.9.9-rc1";

impl Fault {
    /// True while the fault lasts.
    pub const fn is_active(&self, at_ns: u64) -> bool {
        self.from_ns <= at_ns && at_ns < self.until_ns
    }

    /// The name of the node that a right answer names first: the service, or the dead dependency.
    pub fn culprit(&self, topology: &Topology) -> String {
        let service = &topology.services[self.service];
        match self.kind {
            Kind::DeadDependency => {
                dependency_of(topology, self.service).unwrap_or_else(|| service.name.clone())
            }
            _ => service.name.clone(),
        }
    }
}

/// The name of the first database, queue or outside host that a service calls, as the graph names it.
pub fn dependency_of(topology: &Topology, service: usize) -> Option<String> {
    let calls = topology.services[service].operations.iter().flat_map(|operation| &operation.calls);
    calls.into_iter().find_map(node_name)
}

/// The graph's name for what a call reaches, unless it is a service.
pub fn node_name(call: &Call) -> Option<String> {
    match call {
        Call::Service { .. } => None,
        Call::Database { system, namespace, .. } => Some(format!("{system}/{namespace}")),
        Call::Queue { destination, .. } => Some(format!("kafka/{destination}")),
        Call::External { host } => Some(host.clone()),
    }
}
