//! Nodes of the service graph.

/// What a node of the graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum NodeKind {
    /// An instrumented service: it sends telemetry itself.
    Service = 0,
    /// A database or cache, known from its callers.
    Database = 1,
    /// A queue or topic, known from its producers and consumers.
    Queue = 2,
    /// A host that services call and that sends no telemetry.
    External = 3,
}

impl NodeKind {
    /// All kinds, by number.
    pub const ALL: [Self; 4] = [Self::Service, Self::Database, Self::Queue, Self::External];

    /// The lower-case name used in answers.
    pub const fn name(self) -> &'static str {
        ["service", "database", "queue", "external"][self as usize]
    }

    /// The kind with this number.
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}
