//! Which entry of which dictionary.

use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId};
use crate::model::rollup::Subject;

/// A dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store) enum Dictionary {
    Services,
    Operations,
    Resources,
    Instrumentations,
}

impl Dictionary {
    /// All of them.
    pub(in crate::store) const ALL: [Self; 4] =
        [Self::Services, Self::Operations, Self::Resources, Self::Instrumentations];

    /// The name of its table.
    pub(in crate::store) const fn table(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Operations => "operations",
            Self::Resources => "resources",
            Self::Instrumentations => "instrumentations",
        }
    }
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store) struct Key {
    pub(in crate::store) dictionary: Dictionary,
    pub(in crate::store) id: u32,
}

impl Key {
    /// The entries that a cell is about.
    pub(super) fn of(subject: Subject) -> [Option<Self>; 2] {
        match subject {
            Subject::Operation(id) => [Some(id.into()), None],
            Subject::Instance(service, resource) => [Some(service.into()), Some(resource.into())],
            Subject::Edge(from, to) => [Some(from.into()), Some(to.into())],
            Subject::Logs(service, ..) => [Some(service.into()), None],
        }
    }
}

impl From<ServiceId> for Key {
    fn from(id: ServiceId) -> Self {
        Self { dictionary: Dictionary::Services, id: id.0 }
    }
}

impl From<OperationId> for Key {
    fn from(id: OperationId) -> Self {
        Self { dictionary: Dictionary::Operations, id: id.0 }
    }
}

impl From<ResourceId> for Key {
    fn from(id: ResourceId) -> Self {
        Self { dictionary: Dictionary::Resources, id: id.0 }
    }
}

impl From<InstrumentationId> for Key {
    fn from(id: InstrumentationId) -> Self {
        Self { dictionary: Dictionary::Instrumentations, id: id.0 }
    }
}
