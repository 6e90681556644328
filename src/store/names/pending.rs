//! Entries on their way to the database, or from it.

use std::sync::Arc;

use super::info::{InstrumentationInfo, OperationInfo, ResourceInfo, ServiceInfo};
use super::key::Key;
use crate::model::id::TenantNumber;
use crate::model::tenant::TenantId;
use crate::store::day::Day;

/// An entry, and the last day of telemetry that named it.
#[derive(Debug)]
pub(in crate::store) struct Dated<T> {
    pub(in crate::store) entry: Arc<T>,
    pub(in crate::store) last: Day,
}

impl<T> Clone for Dated<T> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), last: self.last }
    }
}

/// Entries as rows: those not written yet, or those read from the database.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Pending {
    pub(in crate::store) tenants: Vec<(TenantNumber, TenantId)>,
    pub(in crate::store) services: Vec<Dated<ServiceInfo>>,
    pub(in crate::store) operations: Vec<Dated<OperationInfo>>,
    pub(in crate::store) resources: Vec<Dated<ResourceInfo>>,
    pub(in crate::store) instrumentations: Vec<Dated<InstrumentationInfo>>,
    /// Entries that were named on a later day than is written.
    pub(in crate::store) seen: Vec<(Key, Day)>,
    /// Entries that were forgotten, none of them among those above. Their names may be, under other ids.
    pub(in crate::store) gone: Vec<Key>,
}

impl Pending {
    /// New entries only ever queue up behind those that were taken, so the taken ones are the first.
    pub(super) fn drain(&mut self, taken: &Self) {
        self.tenants.drain(..taken.tenants.len());
        self.services.drain(..taken.services.len());
        self.operations.drain(..taken.operations.len());
        self.resources.drain(..taken.resources.len());
        self.instrumentations.drain(..taken.instrumentations.len());
        self.seen.drain(..taken.seen.len());
        self.gone.drain(..taken.gone.len());
    }
}
