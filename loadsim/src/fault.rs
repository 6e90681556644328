//! What can be made to go wrong.

use std::fmt;
use std::str::FromStr;

use crate::topology::{Call, Topology};

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Half of the requests fail.
    Error,
    /// The work itself takes twenty times as long.
    Latency,
    /// A dependency (database, queue or outside host) of a service no longer answers: calls time out.
    DeadDependency,
    /// One instance of a service runs a new version that fails in most of its requests.
    BadVersion,
    /// A dependency of a service takes twenty times as long.
    SlowDependency,
    /// Messages wait longer and longer for the service that consumes them.
    QueueBacklog,
    /// One instance of a service takes twenty times as long.
    BadInstance,
    /// The processors of a service are used up: its work takes six times as long.
    CpuSaturation,
    /// The memory of a service is used up: its work takes three times as long, and a fifth of it fails.
    MemorySaturation,
    /// A service fails in most of its requests, and whoever calls it tries up to four times.
    RetryStorm,
    /// Eight times as many requests of one kind arrive, and a service on their way is too slow for so many.
    Surge,
    /// The network between two services takes 150 ms longer.
    NetworkDelay,
    /// A service no longer runs: calls to it are refused.
    DeadService,
    /// Requests of one kind no longer arrive from outside.
    MissingTraffic,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Error,
        Self::Latency,
        Self::DeadDependency,
        Self::BadVersion,
        Self::SlowDependency,
        Self::QueueBacklog,
        Self::BadInstance,
        Self::CpuSaturation,
        Self::MemorySaturation,
        Self::RetryStorm,
        Self::Surge,
        Self::NetworkDelay,
        Self::DeadService,
        Self::MissingTraffic,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Latency => "latency",
            Self::DeadDependency => "dead-dependency",
            Self::BadVersion => "bad-version",
            Self::SlowDependency => "slow-dependency",
            Self::QueueBacklog => "queue-backlog",
            Self::BadInstance => "bad-instance",
            Self::CpuSaturation => "cpu-saturation",
            Self::MemorySaturation => "memory-saturation",
            Self::RetryStorm => "retry-storm",
            Self::Surge => "surge",
            Self::NetworkDelay => "network-delay",
            Self::DeadService => "dead-service",
            Self::MissingTraffic => "missing-traffic",
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
    /// The position of the one operation that goes wrong; all of the service where none is given.
    pub operation: Option<usize>,
    /// Position of the caller between which and the service the network is slow; all callers where none is given.
    pub caller: Option<usize>,
    /// The requests from outside of which more or none arrive: service and operation; all where none is given.
    pub entry: Option<(usize, usize)>,
    /// When it begins, in nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// When it ends.
    pub until_ns: u64,
}

/// The version that a [`Kind::BadVersion`] fault brings.
pub const BAD_VERSION: &str = "9.9.9-rc1";

impl Fault {
    /// A fault of a whole service from `from_ns` on.
    pub const fn of(kind: Kind, service: usize, from_ns: u64) -> Self {
        Self { kind, service, operation: None, caller: None, entry: None, from_ns, until_ns: u64::MAX }
    }

    /// Whether the system has what the fault needs.
    ///
    /// # Errors
    /// When it has not, in words.
    pub fn fits(&self, topology: &Topology) -> Result<(), String> {
        let name = &topology.services[self.service].name;
        let calls =
            || topology.services.iter().flat_map(|it| &it.operations).flat_map(|operation| &operation.calls);
        let is_so = match self.kind {
            Kind::DeadDependency | Kind::SlowDependency => dependency_of(topology, self.service).is_some(),
            Kind::QueueBacklog => {
                calls().any(|call| matches!(call, Call::Queue { service, .. } if *service == self.service))
            }
            Kind::MissingTraffic => topology.entries.iter().any(|entry| entry.0 == self.service),
            Kind::NetworkDelay | Kind::RetryStorm => {
                calls().any(|call| matches!(call, Call::Service { service, .. } if *service == self.service))
            }
            _ => true,
        };
        let what = match self.kind {
            Kind::QueueBacklog => "reads from no queue",
            Kind::MissingTraffic => "is called by no user",
            Kind::NetworkDelay | Kind::RetryStorm => "is called by no service",
            _ => "calls no database, queue or outside host",
        };
        if is_so { Ok(()) } else { Err(format!("`{name}` {what}: choose another service for {}", self.kind)) }
    }

    /// True while the fault lasts.
    pub const fn is_active(&self, at_ns: u64) -> bool {
        self.from_ns <= at_ns && at_ns < self.until_ns
    }

    /// The name of the node that a right answer names first: the service, or the dependency.
    pub fn culprit(&self, topology: &Topology) -> String {
        let service = &topology.services[self.service];
        match self.kind {
            Kind::DeadDependency | Kind::SlowDependency => {
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
