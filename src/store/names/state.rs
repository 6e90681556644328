//! What is behind the lock of [`super::Names`].

use std::collections::HashMap;
use std::sync::Arc;

use super::info::{self, InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
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

/// Where a name leads.
pub(super) enum Found<T> {
    /// To its own entry.
    Known(T),
    /// To the shared entry, for lack of room.
    Overflow(T),
    /// To an entry that is still to be made.
    New,
}

/// Who names something, and when.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) tenant: TenantNumber,
    pub(super) first_seen: UnixNanos,
}

/// Entries as rows: those not written yet, or those read from the database.
#[derive(Debug, Default)]
pub(in crate::store) struct Pending {
    pub(in crate::store) tenants: Vec<(TenantNumber, TenantId)>,
    pub(in crate::store) services: Vec<Arc<ServiceInfo>>,
    pub(in crate::store) operations: Vec<Arc<OperationInfo>>,
    pub(in crate::store) resources: Vec<Arc<ResourceInfo>>,
    pub(in crate::store) instrumentations: Vec<Arc<InstrumentationInfo>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    numbers: HashMap<TenantId, TenantNumber>,
    last_tenant: u32,
    tenants: HashMap<TenantNumber, Tenant, RandomState>,
    services: Table<Service>,
    operations: Table<Arc<OperationInfo>>,
    resources: Table<Arc<ResourceInfo>>,
    instrumentations: Table<Arc<InstrumentationInfo>>,
    pending: Pending,
}

/// One tenant's way from names to ids. The counts leave the shared entries out.
#[derive(Debug, Default)]
struct Tenant {
    services: [HashMap<Arc<str>, ServiceId, RandomState>; NodeKind::ALL.len()],
    resources: HashMap<u128, ResourceId>,
    instrumentations: HashMap<u128, InstrumentationId>,
    service_count: usize,
    operation_count: usize,
    resource_count: usize,
    instrumentation_count: usize,
}

#[derive(Debug)]
struct Service {
    info: Arc<ServiceInfo>,
    /// Few names come with more than one kind.
    operations: HashMap<Arc<str>, Vec<(SpanKind, OperationId)>, RandomState>,
    resources: Vec<ResourceId>,
    /// Stands for the resources past the limit.
    overflow_resource: Arc<Resource>,
}

/// Entries by id. Ids count up from 1, so a vector serves.
#[derive(Debug)]
struct Table<T>(Vec<Option<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(vec![None])
    }
}

impl<T> Table<T> {
    fn next(&self) -> u32 {
        u32::try_from(self.0.len()).expect("four billion entries do not fit in memory")
    }

    fn get(&self, id: u32) -> Option<&T> {
        self.0.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.0.get_mut(id as usize)?.as_mut()
    }

    fn put(&mut self, id: u32, entry: T) {
        let index = id as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(entry);
    }
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

    pub(super) fn find_service(
        &self,
        tenant: TenantNumber,
        kind: NodeKind,
        name: &str,
        limits: &Limits,
    ) -> Found<ServiceId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let services = &known.services[kind as usize];
        let full = known.service_count >= limits.services;
        find(services.get(name).copied(), full, || services.get(OVERFLOW).copied())
    }

    pub(super) fn service(
        &mut self,
        tenant: TenantNumber,
        kind: NodeKind,
        name: &str,
        first_seen: UnixNanos,
        limits: &Limits,
    ) -> Found<ServiceId> {
        match self.find_service(tenant, kind, name, limits) {
            Found::New => {}
            found => return found,
        }
        let full = self.tenants.entry(tenant).or_default().service_count >= limits.services;
        let name = if full { OVERFLOW } else { name };
        let id = ServiceId(self.services.next());
        let info = Arc::new(ServiceInfo { id, tenant, kind, name: name.into(), first_seen });
        self.pending.services.push(Arc::clone(&info));
        self.put_service(info);
        added(id, full)
    }

    fn put_service(&mut self, info: Arc<ServiceInfo>) {
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.services[info.kind as usize].insert(Arc::clone(&info.name), info.id);
        tenant.service_count += usize::from(&*info.name != OVERFLOW);
        let overflow_resource = overflow_resource(&info.name);
        self.services.put(
            info.id.0,
            Service { info, operations: HashMap::default(), resources: Vec::new(), overflow_resource },
        );
    }

    pub(super) fn find_operation(
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
        let full =
            self.tenants.get(&tenant).is_some_and(|tenant| tenant.operation_count >= limits.operations);
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
        let Seen { tenant, first_seen } = seen;
        match self.find_operation(tenant, service, kind, name, limits) {
            Found::New => {}
            found => return found,
        }
        let full = self.tenants.entry(tenant).or_default().operation_count >= limits.operations;
        let (name, kind) = if full { (OVERFLOW, SpanKind::INTERNAL) } else { (name, kind) };
        let id = OperationId(self.operations.next());
        let info = Arc::new(OperationInfo { id, tenant, service, kind, name: name.into(), first_seen });
        self.pending.operations.push(Arc::clone(&info));
        self.put_operation(info);
        added(id, full)
    }

    fn put_operation(&mut self, info: Arc<OperationInfo>) {
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.operation_count += usize::from(&*info.name != OVERFLOW);
        if let Some(service) = self.services.get_mut(info.service.0) {
            service.operations.entry(Arc::clone(&info.name)).or_default().push((info.kind, info.id));
        }
        self.operations.put(info.id.0, info);
    }

    pub(super) fn find_resource(
        &self,
        tenant: TenantNumber,
        service: ServiceId,
        hash: u128,
        limits: &Limits,
    ) -> Found<ResourceId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let full = known.resource_count >= limits.resources;
        find(known.resources.get(&hash).copied(), full, || {
            let stand_in = &self.services.get(service.0)?.overflow_resource;
            known.resources.get(&info::resource_hash(stand_in)).copied()
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
        let Seen { tenant, first_seen } = seen;
        match self.find_resource(tenant, service, hash, limits) {
            Found::New => {}
            found => return found,
        }
        let full = self.tenants.entry(tenant).or_default().resource_count >= limits.resources;
        let stand_in = self.services.get(service.0).map(|service| Arc::clone(&service.overflow_resource));
        // Kept for good, so without the request that it came in.
        let kept = || Arc::new(resource.detached());
        let resource = if full { stand_in } else { None }.unwrap_or_else(kept);
        let id = ResourceId(self.resources.next());
        let info = Arc::new(ResourceInfo {
            id,
            tenant,
            service,
            version: resource.version().unwrap_or_default().into(),
            instance: resource.instance().unwrap_or_default().into(),
            resource,
            first_seen,
        });
        self.pending.resources.push(Arc::clone(&info));
        self.put_resource(info);
        added(id, full)
    }

    fn put_resource(&mut self, info: Arc<ResourceInfo>) {
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.resources.insert(info::resource_hash(&info.resource), info.id);
        tenant.resource_count += usize::from(&*info.instance != OVERFLOW);
        if let Some(service) = self.services.get_mut(info.service.0) {
            service.resources.push(info.id);
        }
        self.resources.put(info.id.0, info);
    }

    pub(super) fn find_instrumentation(
        &self,
        tenant: TenantNumber,
        hash: u128,
        limits: &Limits,
    ) -> Found<InstrumentationId> {
        let Some(known) = self.tenants.get(&tenant) else { return Found::New };
        let full = known.instrumentation_count >= limits.instrumentations;
        find(known.instrumentations.get(&hash).copied(), full, || {
            known.instrumentations.get(&info::instrumentation_hash(&overflow_instrumentation())).copied()
        })
    }

    pub(super) fn instrumentation(
        &mut self,
        tenant: TenantNumber,
        instrumentation: &Arc<Instrumentation>,
        hash: u128,
        limits: &Limits,
    ) -> Found<InstrumentationId> {
        match self.find_instrumentation(tenant, hash, limits) {
            Found::New => {}
            found => return found,
        }
        let full = self.tenants.entry(tenant).or_default().instrumentation_count >= limits.instrumentations;
        let instrumentation =
            if full { Arc::new(overflow_instrumentation()) } else { Arc::new(instrumentation.detached()) };
        let id = InstrumentationId(self.instrumentations.next());
        let info = Arc::new(InstrumentationInfo { id, tenant, instrumentation });
        self.pending.instrumentations.push(Arc::clone(&info));
        self.put_instrumentation(info);
        added(id, full)
    }

    fn put_instrumentation(&mut self, info: Arc<InstrumentationInfo>) {
        let tenant = self.tenants.entry(info.tenant).or_default();
        tenant.instrumentations.insert(info::instrumentation_hash(&info.instrumentation), info.id);
        tenant.instrumentation_count += usize::from(info.instrumentation.name.as_str() != OVERFLOW);
        self.instrumentations.put(info.id.0, info);
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

    pub(super) fn pending(&self) -> Pending {
        Pending {
            tenants: self.pending.tenants.clone(),
            services: self.pending.services.clone(),
            operations: self.pending.operations.clone(),
            resources: self.pending.resources.clone(),
            instrumentations: self.pending.instrumentations.clone(),
        }
    }

    /// New entries only ever queue up behind those that were taken, so the taken ones are the first.
    pub(super) fn written(&mut self, taken: &Pending) {
        self.pending.tenants.drain(..taken.tenants.len());
        self.pending.services.drain(..taken.services.len());
        self.pending.operations.drain(..taken.operations.len());
        self.pending.resources.drain(..taken.resources.len());
        self.pending.instrumentations.drain(..taken.instrumentations.len());
    }

    /// Services come before what refers to them.
    pub(super) fn load(&mut self, rows: Pending) {
        rows.tenants.into_iter().for_each(|(number, tenant)| self.put_tenant(number, tenant));
        rows.services.into_iter().for_each(|info| self.put_service(info));
        rows.operations.into_iter().for_each(|info| self.put_operation(info));
        rows.resources.into_iter().for_each(|info| self.put_resource(info));
        rows.instrumentations.into_iter().for_each(|info| self.put_instrumentation(info));
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
