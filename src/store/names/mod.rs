//! Dictionaries: names and contents that rows refer to by number, all of them in memory.
//!
//! An id is handed out at once, without waiting for the disk, and is written by the next commit that succeeds;
//! rows that use it cannot come earlier. Looking up what is known allocates nothing and takes a shared lock for
//! one hash probe. What one tenant may fill is limited: past a limit new names share one entry called
//! [`OVERFLOW`], so that a client that puts an id into every span name costs accuracy, not memory.
//!
//! Files: `mod.rs` (the handle), `state` (what is behind the lock), [`info`] (what is known about an id).

pub mod info;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::info::{InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use self::state::{Found, State};
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

pub(super) use self::state::Pending;

/// The name of the entry that new names go to past a limit.
pub const OVERFLOW: &str = "__overflow__";
/// Longest name that is kept, in bytes; longer ones are cut at a character.
pub const NAME_BYTES_MAX: usize = 1_024;

/// How many entries one tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes of all kinds. Past it, new ones share one entry for each kind of node.
    pub services: usize,
    /// Operations of all nodes. Past it, new ones share one entry for each node.
    pub operations: usize,
    /// Resources. Past it, new ones share one entry for each service.
    pub resources: usize,
    /// Instrumentation scopes. Past it, new ones share one entry.
    pub instrumentations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { services: 10_000, operations: 50_000, resources: 50_000, instrumentations: 10_000 }
    }
}

/// The dictionaries of all tenants.
#[derive(Debug, Default)]
pub struct Names {
    limits: Limits,
    state: RwLock<State>,
    overflows: AtomicU64,
}

impl Names {
    /// Empty dictionaries with limits of one's own; the store opens with the default ones.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The number of a tenant; hands one out for a new tenant. Tenants have no limit here: they must never share
    /// an entry, and only `auth` decides which exist.
    pub fn tenant(&self, tenant: &TenantId) -> TenantNumber {
        self.find_tenant(tenant).unwrap_or_else(|| self.write().tenant(tenant))
    }

    /// The number of a tenant that is known.
    pub fn find_tenant(&self, tenant: &TenantId) -> Option<TenantNumber> {
        self.read().find_tenant(tenant)
    }

    /// All tenants, by number.
    pub fn tenants(&self) -> Vec<(TenantNumber, TenantId)> {
        self.read().tenants()
    }

    /// The id of a node; hands one out for a new node.
    pub fn service(
        &self,
        tenant: TenantNumber,
        kind: NodeKind,
        name: &str,
        first_seen: UnixNanos,
    ) -> ServiceId {
        let name = cut(name);
        let found = self.read().find_service(tenant, kind, name, &self.limits);
        self.settle(found, || self.write().service(tenant, kind, name, first_seen, &self.limits))
    }

    /// The id of an operation of a node; hands one out for a new operation.
    pub fn operation(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        kind: SpanKind,
        name: &str,
        first_seen: UnixNanos,
    ) -> OperationId {
        let name = cut(name);
        let found = self.read().find_operation(tenant, service, kind, name, &self.limits);
        let seen = state::Seen { tenant, first_seen };
        self.settle(found, || self.write().operation(seen, service, kind, name, &self.limits))
    }

    /// The id of a resource by its content; hands one out for a new resource.
    pub fn resource(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        resource: &Arc<Resource>,
        first_seen: UnixNanos,
    ) -> ResourceId {
        let hash = info::resource_hash(resource);
        let found = self.read().find_resource(tenant, service, hash, &self.limits);
        let seen = state::Seen { tenant, first_seen };
        self.settle(found, || self.write().resource(seen, service, resource, hash, &self.limits))
    }

    /// The id of an instrumentation scope by its content; hands one out for a new scope.
    pub fn instrumentation(
        &self,
        tenant: TenantNumber,
        instrumentation: &Arc<Instrumentation>,
    ) -> InstrumentationId {
        let hash = info::instrumentation_hash(instrumentation);
        let found = self.read().find_instrumentation(tenant, hash, &self.limits);
        self.settle(found, || self.write().instrumentation(tenant, instrumentation, hash, &self.limits))
    }

    /// What is known about a node.
    pub fn service_info(&self, id: ServiceId) -> Option<Arc<ServiceInfo>> {
        self.read().service_info(id)
    }

    /// What is known about an operation.
    pub fn operation_info(&self, id: OperationId) -> Option<Arc<OperationInfo>> {
        self.read().operation_info(id)
    }

    /// What is known about a resource.
    pub fn resource_info(&self, id: ResourceId) -> Option<Arc<ResourceInfo>> {
        self.read().resource_info(id)
    }

    /// What is known about an instrumentation scope.
    pub fn instrumentation_info(&self, id: InstrumentationId) -> Option<Arc<InstrumentationInfo>> {
        self.read().instrumentation_info(id)
    }

    /// All nodes of a tenant, by name and kind.
    pub fn services_of(&self, tenant: TenantNumber) -> Vec<Arc<ServiceInfo>> {
        let mut services = self.read().services_of(tenant);
        services.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        services
    }

    /// The nodes of a tenant that have this name, at most one of each kind.
    pub fn find_services(&self, tenant: TenantNumber, name: &str) -> Vec<Arc<ServiceInfo>> {
        self.read().services_named(tenant, cut(name))
    }

    /// All operations of a node, by name and kind.
    pub fn operations_of(&self, service: ServiceId) -> Vec<Arc<OperationInfo>> {
        let mut operations = self.read().operations_of(service);
        operations.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        operations
    }

    /// All resources of a service, in the order in which they were first seen.
    pub fn resources_of(&self, service: ServiceId) -> Vec<Arc<ResourceInfo>> {
        let mut resources = self.read().resources_of(service);
        resources.sort_by_key(|resource| (resource.first_seen, resource.id));
        resources
    }

    /// How many times since start something was counted under [`OVERFLOW`] for lack of room.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    /// What was handed out and is not written yet.
    pub(super) fn pending(&self) -> Pending {
        self.read().pending()
    }

    /// Takes note that `pending` is written. Only the one writer calls it, with what it got last.
    pub(super) fn written(&self, pending: &Pending) {
        self.write().written(pending);
    }

    /// Takes over what the database holds; called once, before anything else.
    pub(super) fn load(&self, rows: Pending) {
        self.write().load(rows);
    }

    fn settle<T>(&self, found: Found<T>, add: impl FnOnce() -> Found<T>) -> T {
        let found = match found {
            Found::New => add(),
            settled => settled,
        };
        match found {
            Found::Known(id) => id,
            Found::Overflow(id) => {
                self.overflows.fetch_add(1, Ordering::Relaxed);
                id
            }
            Found::New => unreachable!("adding always settles on an entry"),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name as it is kept: at most [`NAME_BYTES_MAX`] bytes. Indexes of Postgres take no text of any length.
pub fn cut(name: &str) -> &str {
    if name.len() <= NAME_BYTES_MAX { name } else { &name[..name.floor_char_boundary(NAME_BYTES_MAX)] }
}
