//! Dictionaries: names and contents that rows refer to by number, all of them in memory.
//!
//! An id is handed out at once, without waiting for the disk, and is written by the next commit that succeeds;
//! rows that use it cannot come earlier. Looking up what is known allocates nothing and takes a shared lock for
//! one hash probe. What one tenant may fill is limited: past a limit new names share one entry called
//! [`OVERFLOW`], so that a client that puts an id into every span name costs accuracy, not memory.
//!
//! Each entry has the last day of telemetry that named it. One that nothing of spans, log records and points that are kept
//! can name any more *rests*: it takes no room, and as many that rest are kept as may take room, for roll-ups that go
//! further back. What comes again is as it was, or, where it was forgotten, has another id: none is given twice.
//!
//! Files: `mod.rs` (the handle), `state` (what is behind the lock), `table` (entries by id), `contents` (ids by content),
//! `pending` (what is to be written), `forgetting` (what rests and what goes), `key` (which entry), [`info`] (what is known
//! about an id).

mod contents;
mod forgetting;
pub mod info;
mod key;
mod pending;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::info::{InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use self::state::{Found, Seen, State};
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::rollup::Folded;
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

pub(super) use self::forgetting::Oldest;
pub(super) use self::key::{Dictionary, Key};
pub(super) use self::pending::{Dated, Pending};

/// The name of the entry that new names go to past a limit.
pub const OVERFLOW: &str = "__overflow__";
/// Longest name that is kept, in bytes; longer ones are cut at a character.
pub const NAME_BYTES_MAX: usize = 1_024;

/// How many entries one tenant may have that do not rest, and how many more that do.
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

impl Limits {
    const fn of(&self, dictionary: Dictionary) -> usize {
        match dictionary {
            Dictionary::Services => self.services,
            Dictionary::Operations => self.operations,
            Dictionary::Resources => self.resources,
            Dictionary::Instrumentations => self.instrumentations,
        }
    }
}

/// The dictionaries of all tenants.
#[derive(Debug, Default)]
pub struct Names {
    limits: Limits,
    state: RwLock<State>,
    overflows: AtomicU64,
    services_forgotten: AtomicU64,
}

impl Names {
    /// Empty dictionaries with limits of one's own.
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

    /// The id of a node that telemetry of `at` names; hands one out for a new node.
    pub fn service(&self, tenant: TenantNumber, kind: NodeKind, name: &str, at: UnixNanos) -> ServiceId {
        let (seen, name) = (Seen { tenant, at }, cut(name));
        let found = self.read().find_service(seen, kind, name, &self.limits);
        self.settle(found, || self.write().service(seen, kind, name, &self.limits))
    }

    /// The id of an operation of a node that telemetry of `at` names; hands one out for a new operation.
    pub fn operation(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        kind: SpanKind,
        name: &str,
        at: UnixNanos,
    ) -> OperationId {
        let (seen, name) = (Seen { tenant, at }, cut(name));
        let found = self.read().find_operation(seen, service, kind, name, &self.limits);
        self.settle(found, || self.write().operation(seen, service, kind, name, &self.limits))
    }

    /// The id of a resource, by its content, that sent telemetry of `at`; hands one out for a new resource.
    pub fn resource(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        resource: &Arc<Resource>,
        at: UnixNanos,
    ) -> ResourceId {
        let (seen, hash) = (Seen { tenant, at }, info::resource_hash(resource));
        let found = self.read().find_resource(seen, service, hash, &self.limits);
        self.settle(found, || self.write().resource(seen, service, resource, hash, &self.limits))
    }

    /// The id of an instrumentation scope, by its content, that made telemetry of `at`; hands one out for a new scope.
    pub fn instrumentation(
        &self,
        tenant: TenantNumber,
        instrumentation: &Arc<Instrumentation>,
        at: UnixNanos,
    ) -> InstrumentationId {
        let (seen, hash) = (Seen { tenant, at }, info::instrumentation_hash(instrumentation));
        let found = self.read().find_instrumentation(seen, hash, &self.limits);
        self.settle(found, || self.write().instrumentation(seen, instrumentation, hash, &self.limits))
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

    /// How many nodes were forgotten since start. Whoever remembers something of nodes asks for them again when it changes.
    pub fn services_forgotten(&self) -> u64 {
        self.services_forgotten.load(Ordering::Acquire)
    }

    /// What was handed out, named on a later day or forgotten, and is not written yet.
    pub(super) fn pending(&self) -> Pending {
        self.read().pending.clone()
    }

    /// Takes note that `pending` is written. Only the one writer calls it, with what it got last.
    pub(super) fn written(&self, pending: &Pending) {
        self.write().pending.drain(pending);
    }

    /// Takes note that a commit moved the position.
    pub(super) fn moved_on(&self) {
        self.write().pass.moved_on();
    }

    /// Notes on which days a commit counts something about entries: whoever joins spans remembers some of them without
    /// asking again.
    pub(super) fn counted(&self, cells: &Folded) {
        let behind = self.read().behind(cells);
        if !behind.is_empty() {
            let mut state = self.write();
            behind.into_iter().for_each(|(tenant, key, at)| state.see(tenant, key, at));
        }
    }

    /// Has entries rest that were last named before `oldest.usual`, or before that of an earlier call. Answers whether there
    /// may be some to forget. Where `oldest` is as in the last call, that is all that it does; else it holds the lock for about
    /// a millisecond for each hundred thousand entries of a tenant.
    pub(super) fn rest(&self, oldest: Oldest) -> bool {
        if self.write().pass.begin(oldest) {
            for (tenant, _) in self.tenants() {
                self.write().rest(tenant);
            }
        }
        self.read().pass.may_forget()
    }

    /// Forgets entries that rest, `most` or a few more: those that nothing that is kept can name, and of the others those
    /// named longest ago while there are more of them than there is room for. Never those named from `oldest.raw` on, nor those
    /// in `referred`. Call
    /// [`Names::rest`] before, and write what is pending afterwards.
    pub(super) fn forget(
        &self,
        oldest: Oldest,
        referred: &HashSet<Key>,
        most: usize,
    ) -> Vec<(TenantNumber, Key)> {
        let mut forgotten = Vec::new();
        for (tenant, _) in self.tenants() {
            let left = most.saturating_sub(forgotten.len());
            if left == 0 {
                return forgotten;
            }
            let gone = self.write().forget(tenant, (oldest, &self.limits), referred, left);
            let services = gone.iter().filter(|key| key.dictionary == Dictionary::Services).count();
            self.services_forgotten.fetch_add(services as u64, Ordering::Release);
            forgotten.extend(gone.into_iter().map(|key| (tenant, key)));
        }
        if forgotten.len() < most {
            self.write().pass.end();
        }
        forgotten
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
