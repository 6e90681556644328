//! What is behind the lock of [`super::Names`].

use std::collections::HashMap;
use std::sync::Arc;

use super::contents::Contents;
use super::forgetting::Pass;
use super::info::{self, InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use super::key::{Dictionary, Key};
use super::pending::{Dated, Pending};
use super::table::{Mark, Slot, Table};
use super::{Limits, OVERFLOW};
use foldhash::quality::RandomState;

use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use crate::store::day::Day;

/// Where a name leads.
pub(super) enum Found<T> {
    /// To its own entry.
    Known(T),
    /// To the shared entry, for lack of room.
    Overflow(T),
    /// To an entry that is still to be made, or whose last day is to be moved on.
    New,
}

impl<T: Copy> Found<T> {
    fn id(&self) -> Option<T> {
        match self {
            Self::Known(id) | Self::Overflow(id) => Some(*id),
            Self::New => None,
        }
    }

    fn unless(self, is_behind: impl FnOnce(T) -> bool) -> Self {
        if self.id().is_some_and(is_behind) { Self::New } else { self }
    }
}

/// Who names something, and when.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) tenant: TenantNumber,
    pub(super) at: UnixNanos,
}

#[derive(Debug, Default)]
pub(super) struct State {
    numbers: HashMap<TenantId, TenantNumber>,
    last_tenant: u32,
    pub(super) tenants: HashMap<TenantNumber, Tenant, RandomState>,
    pub(super) services: Table<Box<Service>>,
    pub(super) operations: Table<Arc<OperationInfo>>,
    pub(super) resources: Table<Arc<ResourceInfo>>,
    pub(super) instrumentations: Table<Arc<InstrumentationInfo>>,
    pub(super) pending: Pending,
    pub(super) pass: Pass,
}

/// One tenant's way from names to ids.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) services: [HashMap<Arc<str>, ServiceId, RandomState>; NodeKind::ALL.len()],
    pub(super) resources: Contents<ResourceId>,
    pub(super) instrumentations: Contents<InstrumentationId>,
    /// How many entries of each dictionary take room: not the shared ones, and not those that rest.
    pub(super) counts: [usize; Dictionary::ALL.len()],
    /// Entries that were last named before this day rest.
    pub(super) rests_before: Option<Day>,
}

impl Tenant {
    fn is_full(&self, dictionary: Dictionary, limits: &Limits) -> bool {
        self.counts[dictionary as usize] >= limits.of(dictionary)
    }

    fn rests(&self, last: Day) -> bool {
        self.rests_before.is_some_and(|before| last < before)
    }

    fn count(&mut self, dictionary: Dictionary, entry: Mark) {
        if entry.counts && !self.rests(entry.last) {
            self.counts[dictionary as usize] += 1;
        }
    }
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) info: Arc<ServiceInfo>,
    /// Few names come with more than one kind.
    pub(super) operations: HashMap<Arc<str>, Vec<(SpanKind, OperationId)>, RandomState>,
    pub(super) resources: Vec<ResourceId>,
    /// Stands for the resources past the limit.
    overflow_resource: Arc<Resource>,
}

impl State {
    pub(super) fn find_tenant(&self, tenant: &TenantId) -> Option<TenantNumber> {
        self.numbers.get(tenant).copied()
    }

    pub(super) fn tenant(&mut self, tenant: &TenantId) -> TenantNumber {
        if let Some(number) = self.find_tenant(tenant) {
            return number;
        }
        let number = TenantNumber(self.last_tenant + 1);
        self.put_tenant(number, tenant.clone());
        self.pending.tenants.push((number, tenant.clone()));
        number
    }

    fn put_tenant(&mut self, number: TenantNumber, tenant: TenantId) {
        self.last_tenant = self.last_tenant.max(number.0);
        self.numbers.insert(tenant, number);
        self.tenants.entry(number).or_default();
    }

    pub(super) fn tenants(&self) -> Vec<(TenantNumber, TenantId)> {
        let mut tenants: Vec<_> =
            self.numbers.iter().map(|(tenant, number)| (*number, tenant.clone())).collect();
        tenants.sort();
        tenants
    }

    /// The entry of a name, where it is there and was named as late before.
    pub(super) fn find_service(
        &self,
        seen: Seen,
        kind: NodeKind,
        name: &str,
        limits: &Limits,
    ) -> Found<ServiceId> {
        self.service_named(seen.tenant, kind, name, limits).unless(|id| self.is_behind(id.into(), seen.at))
    }

    fn service_named(
        &self,
        tenant: TenantNumber,
        kind: NodeKind,
        name: &str,
        limits: &Limits,
    ) -> Found<ServiceId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let services = &known.services[kind as usize];
        let full = known.is_full(Dictionary::Services, limits);
        find(services.get(name).copied(), full, || services.get(OVERFLOW).copied())
    }

    pub(super) fn service(
        &mut self,
        seen: Seen,
        kind: NodeKind,
        name: &str,
        limits: &Limits,
    ) -> Found<ServiceId> {
        let Seen { tenant, at } = seen;
        let found = self.service_named(tenant, kind, name, limits);
        if let Some(id) = found.id() {
            self.see(tenant, id.into(), at);
            return found;
        }
        let full = self.tenants.entry(tenant).or_default().is_full(Dictionary::Services, limits);
        let name = if full { OVERFLOW } else { name };
        let id = ServiceId(self.services.next());
        let entry = Arc::new(ServiceInfo { id, tenant, kind, name: name.into(), first_seen: at });
        let dated = Dated { entry, last: self.pass.day(id.0, at) };
        self.pending.services.push(dated.clone());
        self.put_service(dated);
        added(id, full)
    }

    fn put_service(&mut self, Dated { entry: info, last }: Dated<ServiceInfo>) {
        let (id, counts) = (info.id, &*info.name != OVERFLOW);
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.services[info.kind as usize].insert(Arc::clone(&info.name), id);
        tenant.count(Dictionary::Services, Mark { last, counts });
        let overflow_resource = overflow_resource(&info.name);
        let service =
            Service { info, operations: HashMap::default(), resources: Vec::new(), overflow_resource };
        self.services.put(id.0, Slot { entry: Box::new(service), last, counts });
    }

    pub(super) fn find_operation(
        &self,
        seen: Seen,
        service: ServiceId,
        kind: SpanKind,
        name: &str,
        limits: &Limits,
    ) -> Found<OperationId> {
        let found = self.operation_named(seen.tenant, service, kind, name, limits);
        found.unless(|id| self.is_behind(id.into(), seen.at))
    }

    fn operation_named(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        kind: SpanKind,
        name: &str,
        limits: &Limits,
    ) -> Found<OperationId> {
        let Some(known) = self.services.get(service.0) else { return Found::New };
        let named = |name: &str, kind| {
            let kinds = known.operations.get(name)?;
            kinds.iter().find(|(other, _)| *other == kind).map(|(_, id)| *id)
        };
        if let Some(id) = named(name, kind) {
            return Found::Known(id);
        }
        let tenant = self.tenants.get(&tenant);
        let full = tenant.is_some_and(|tenant| tenant.is_full(Dictionary::Operations, limits));
        find(None, full, || named(OVERFLOW, SpanKind::INTERNAL))
    }

    pub(super) fn operation(
        &mut self,
        seen: Seen,
        service: ServiceId,
        kind: SpanKind,
        name: &str,
        limits: &Limits,
    ) -> Found<OperationId> {
        let Seen { tenant, at } = seen;
        let found = self.operation_named(tenant, service, kind, name, limits);
        if let Some(id) = found.id() {
            self.see(tenant, id.into(), at);
            return found;
        }
        let full = self.tenants.entry(tenant).or_default().is_full(Dictionary::Operations, limits);
        let (name, kind) = if full { (OVERFLOW, SpanKind::INTERNAL) } else { (name, kind) };
        let id = OperationId(self.operations.next());
        let entry = Arc::new(OperationInfo { id, tenant, service, kind, name: name.into(), first_seen: at });
        let dated = Dated { entry, last: self.pass.day(id.0, at) };
        self.pending.operations.push(dated.clone());
        self.put_operation(dated);
        added(id, full)
    }

    fn put_operation(&mut self, Dated { entry: info, last }: Dated<OperationInfo>) {
        let counts = &*info.name != OVERFLOW;
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.count(Dictionary::Operations, Mark { last, counts });
        if let Some(service) = self.services.get_mut(info.service.0) {
            service.operations.entry(Arc::clone(&info.name)).or_default().push((info.kind, info.id));
        }
        self.operations.put(info.id.0, Slot { entry: info, last, counts });
    }

    pub(super) fn find_resource(
        &self,
        seen: Seen,
        service: ServiceId,
        hash: u128,
        limits: &Limits,
    ) -> Found<ResourceId> {
        let found = self.resource_with(seen.tenant, service, hash, limits);
        found.unless(|id| self.is_behind(id.into(), seen.at))
    }

    fn resource_with(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        hash: u128,
        limits: &Limits,
    ) -> Found<ResourceId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let full = known.is_full(Dictionary::Resources, limits);
        find(known.resources.get(hash), full, || {
            let stand_in = &self.services.get(service.0)?.overflow_resource;
            known.resources.get(info::resource_hash(stand_in))
        })
    }

    pub(super) fn resource(
        &mut self,
        seen: Seen,
        service: ServiceId,
        resource: &Arc<Resource>,
        hash: u128,
        limits: &Limits,
    ) -> Found<ResourceId> {
        let Seen { tenant, at } = seen;
        let found = self.resource_with(tenant, service, hash, limits);
        if let Some(id) = found.id() {
            self.see(tenant, id.into(), at);
            return found;
        }
        let full = self.tenants.entry(tenant).or_default().is_full(Dictionary::Resources, limits);
        let stand_in = self.services.get(service.0).map(|service| Arc::clone(&service.overflow_resource));
        // Kept for long, so without the request that it came in.
        let kept = || Arc::new(resource.detached());
        let resource = if full { stand_in } else { None }.unwrap_or_else(kept);
        let id = ResourceId(self.resources.next());
        let entry = Arc::new(ResourceInfo {
            id,
            tenant,
            service,
            version: resource.version().unwrap_or_default().into(),
            instance: resource.instance().unwrap_or_default().into(),
            resource,
            first_seen: at,
        });
        let dated = Dated { entry, last: self.pass.day(id.0, at) };
        self.pending.resources.push(dated.clone());
        self.put_resource(dated);
        added(id, full)
    }

    fn put_resource(&mut self, Dated { entry: info, last }: Dated<ResourceInfo>) {
        let counts = &*info.instance != OVERFLOW;
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.resources.put(info::resource_hash(&info.resource), info.id);
        tenant.count(Dictionary::Resources, Mark { last, counts });
        if let Some(service) = self.services.get_mut(info.service.0) {
            service.resources.push(info.id);
        }
        self.resources.put(info.id.0, Slot { entry: info, last, counts });
    }

    pub(super) fn find_instrumentation(
        &self,
        seen: Seen,
        hash: u128,
        limits: &Limits,
    ) -> Found<InstrumentationId> {
        let found = self.instrumentation_with(seen.tenant, hash, limits);
        found.unless(|id| self.is_behind(id.into(), seen.at))
    }

    fn instrumentation_with(
        &self,
        tenant: TenantNumber,
        hash: u128,
        limits: &Limits,
    ) -> Found<InstrumentationId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let full = known.is_full(Dictionary::Instrumentations, limits);
        find(known.instrumentations.get(hash), full, || {
            known.instrumentations.get(info::instrumentation_hash(&overflow_instrumentation()))
        })
    }

    pub(super) fn instrumentation(
        &mut self,
        seen: Seen,
        instrumentation: &Arc<Instrumentation>,
        hash: u128,
        limits: &Limits,
    ) -> Found<InstrumentationId> {
        let Seen { tenant, at } = seen;
        let found = self.instrumentation_with(tenant, hash, limits);
        if let Some(id) = found.id() {
            self.see(tenant, id.into(), at);
            return found;
        }
        let full = self.tenants.entry(tenant).or_default().is_full(Dictionary::Instrumentations, limits);
        let instrumentation =
            if full { Arc::new(overflow_instrumentation()) } else { Arc::new(instrumentation.detached()) };
        let id = InstrumentationId(self.instrumentations.next());
        let entry = Arc::new(InstrumentationInfo { id, tenant, instrumentation });
        let dated = Dated { entry, last: self.pass.day(id.0, at) };
        self.pending.instrumentations.push(dated.clone());
        self.put_instrumentation(dated);
        added(id, full)
    }

    fn put_instrumentation(&mut self, Dated { entry: info, last }: Dated<InstrumentationInfo>) {
        let counts = info.instrumentation.name.as_str() != OVERFLOW;
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.instrumentations.put(info::instrumentation_hash(&info.instrumentation), info.id);
        tenant.count(Dictionary::Instrumentations, Mark { last, counts });
        self.instrumentations.put(info.id.0, Slot { entry: info, last, counts });
    }

    /// Whether an entry was last named on an earlier day than that of `at`; an entry that is not there was not.
    pub(super) fn is_behind(&self, key: Key, at: UnixNanos) -> bool {
        self.mark(key).is_some_and(|entry| entry.last < self.pass.day(key.id, at))
    }

    /// When an entry was named last.
    pub(super) fn mark(&self, key: Key) -> Option<Mark> {
        match key.dictionary {
            Dictionary::Services => self.services.mark(key.id),
            Dictionary::Operations => self.operations.mark(key.id),
            Dictionary::Resources => self.resources.mark(key.id),
            Dictionary::Instrumentations => self.instrumentations.mark(key.id),
        }
    }

    /// Notes that an entry was named at `at`. One that rested takes room again.
    pub(super) fn see(&mut self, tenant: TenantNumber, key: Key, at: UnixNanos) {
        let day = self.pass.day(key.id, at);
        let raised = match key.dictionary {
            Dictionary::Services => self.services.raise(key.id, day),
            Dictionary::Operations => self.operations.raise(key.id, day),
            Dictionary::Resources => self.resources.raise(key.id, day),
            Dictionary::Instrumentations => self.instrumentations.raise(key.id, day),
        };
        let Some(before) = raised else { return };
        self.pending.seen.push((key, day));
        if let Some(tenant) = self.tenants.get_mut(&tenant)
            && tenant.rests(before.last)
        {
            tenant.count(key.dictionary, Mark { last: day, ..before });
        }
    }

    pub(super) fn service_info(&self, id: ServiceId) -> Option<Arc<ServiceInfo>> {
        self.services.get(id.0).map(|service| Arc::clone(&service.info))
    }

    pub(super) fn operation_info(&self, id: OperationId) -> Option<Arc<OperationInfo>> {
        self.operations.get(id.0).cloned()
    }

    pub(super) fn resource_info(&self, id: ResourceId) -> Option<Arc<ResourceInfo>> {
        self.resources.get(id.0).cloned()
    }

    pub(super) fn instrumentation_info(&self, id: InstrumentationId) -> Option<Arc<InstrumentationInfo>> {
        self.instrumentations.get(id.0).cloned()
    }

    pub(super) fn services_of(&self, tenant: TenantNumber) -> Vec<Arc<ServiceInfo>> {
        let kinds = self.tenants.get(&tenant).map_or(&[][..], |tenant| &tenant.services);
        kinds.iter().flat_map(HashMap::values).filter_map(|id| self.service_info(*id)).collect()
    }

    pub(super) fn services_named(&self, tenant: TenantNumber, name: &str) -> Vec<Arc<ServiceInfo>> {
        let kinds = self.tenants.get(&tenant).map_or(&[][..], |tenant| &tenant.services);
        kinds.iter().filter_map(|kind| self.service_info(*kind.get(name)?)).collect()
    }

    pub(super) fn operations_of(&self, service: ServiceId) -> Vec<Arc<OperationInfo>> {
        let Some(service) = self.services.get(service.0) else { return Vec::new() };
        service.operations.values().flatten().filter_map(|(_, id)| self.operation_info(*id)).collect()
    }

    pub(super) fn resources_of(&self, service: ServiceId) -> Vec<Arc<ResourceInfo>> {
        let Some(service) = self.services.get(service.0) else { return Vec::new() };
        service.resources.iter().filter_map(|id| self.resource_info(*id)).collect()
    }

    /// Services come before what refers to them.
    pub(super) fn load(&mut self, rows: Pending) {
        rows.tenants.into_iter().for_each(|(number, tenant)| self.put_tenant(number, tenant));
        rows.services.into_iter().for_each(|dated| self.put_service(dated));
        rows.operations.into_iter().for_each(|dated| self.put_operation(dated));
        rows.resources.into_iter().for_each(|dated| self.put_resource(dated));
        rows.instrumentations.into_iter().for_each(|dated| self.put_instrumentation(dated));
    }
}

fn find<T>(known: Option<T>, full: bool, overflow: impl FnOnce() -> Option<T>) -> Found<T> {
    match known {
        Some(id) => Found::Known(id),
        None if full => overflow().map_or(Found::New, Found::Overflow),
        None => Found::New,
    }
}

const fn added<T: Copy>(id: T, full: bool) -> Found<T> {
    if full { Found::Overflow(id) } else { Found::Known(id) }
}

fn overflow_resource(service: &Arc<str>) -> Arc<Resource> {
    let mut packer = Packer::default();
    packer.attribute_text(1, "service.name", service);
    packer.attribute_text(1, "service.instance.id", OVERFLOW);
    Arc::new(Resource {
        service: Arc::clone(service),
        attributes: Attributes::from_checked(packer.finish()),
        dropped_attributes: 0,
        schema_url: Text::default(),
    })
}

fn overflow_instrumentation() -> Instrumentation {
    Instrumentation { name: OVERFLOW.into(), ..Instrumentation::default() }
}
