//! What is known about an id, shared by everyone who asks.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its id.
    pub id: ServiceId,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// What it is.
    pub kind: NodeKind,
    /// Its name.
    pub name: Arc<str>,
    /// The time of the telemetry that named it first.
    pub first_seen: UnixNanos,
}

/// An operation of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationInfo {
    /// Its id.
    pub id: OperationId,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The node it belongs to.
    pub service: ServiceId,
    /// The kind of its spans.
    pub kind: SpanKind,
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// The start of the span that named it first.
    pub first_seen: UnixNanos,
}

/// A resource: an instance of a service in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Its id.
    pub id: ResourceId,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// The service it is an instance of.
    pub service: ServiceId,
    /// `service.version`; empty where the sender does not say.
    pub version: Arc<str>,
    /// What tells it from other instances; empty where the sender does not say.
    pub instance: Arc<str>,
    /// Its content.
    pub resource: Arc<Resource>,
    /// The time of the telemetry that it sent first.
    pub first_seen: UnixNanos,
}

/// An instrumentation scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstrumentationInfo {
    /// Its id.
    pub id: InstrumentationId,
    /// Whose it is.
    pub tenant: TenantNumber,
    /// Its content.
    pub instrumentation: Arc<Instrumentation>,
}

/// Tells hashes over attributes in the order of their keys from those that rows have from before, which went by the order in
/// which they came: no row of one kind takes the place of one of the other.
const BY_KEY: &[u8] = b"by key";

/// XXH3-128 over the parts of a resource, each after its length. The service follows from the attributes.
pub(in crate::store) fn resource_hash(resource: &Resource) -> u128 {
    hash(&[&resource.attributes.identity(), BY_KEY, resource.schema_url.as_str().as_bytes()])
}

/// XXH3-128 over the parts of a scope, each after its length.
pub(in crate::store) fn instrumentation_hash(instrumentation: &Instrumentation) -> u128 {
    hash(&[
        &instrumentation.attributes.identity(),
        BY_KEY,
        instrumentation.schema_url.as_str().as_bytes(),
        instrumentation.name.as_str().as_bytes(),
        instrumentation.version.as_str().as_bytes(),
    ])
}

/// XXH3-128 over parts, each after its length, so that no two lists of parts look alike.
pub(in crate::store) fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.digest128()
}
