//! What each tenant holds of the budget, and whether others send too.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::tenant::TenantId;

use super::recent::{ACTIVE, Recent};

/// The tenants with requests, and the two that came last.
#[derive(Debug, Default)]
pub(super) struct Shares(Mutex<Tenants>);

#[derive(Debug, Default)]
struct Tenants {
    held: HashMap<TenantId, Held>,
    recent: Recent<TenantId>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    requests: usize,
    bytes: u64,
}

impl Shares {
    /// Consistent between statements, so a panic under the lock leaves it usable.
    fn lock(&self) -> MutexGuard<'_, Tenants> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tenant begins a request.
    pub(super) fn enter(&self, tenant: &TenantId) {
        let (mut tenants, now) = (self.lock(), Instant::now());
        match tenants.held.get_mut(tenant) {
            Some(held) => held.requests += 1,
            None => drop(tenants.held.insert(tenant.clone(), Held { requests: 1, bytes: 0 })),
        }
        tenants.recent.note(tenant, now);
    }

    /// A request of a tenant is over.
    pub(super) fn leave(&self, tenant: &TenantId) {
        let mut tenants = self.lock();
        if let Some(held) = tenants.held.get_mut(tenant) {
            held.requests = held.requests.saturating_sub(1);
            if held.requests == 0 {
                tenants.held.remove(tenant);
            }
        }
    }

    /// Takes `bytes` for a request; false where its tenant would hold more than `share` while others send too. One request at a
    /// time is never too much.
    pub(super) fn take(&self, tenant: &TenantId, bytes: u64, share: u64) -> bool {
        let mut tenants = self.lock();
        let Some(&Held { requests, bytes: before }) = tenants.held.get(tenant) else { return true };
        let grown = before.saturating_add(bytes);
        if share < grown && 1 < requests && tenants.recent.has_others(tenant, Instant::now(), ACTIVE) {
            return false;
        }
        if let Some(held) = tenants.held.get_mut(tenant) {
            held.bytes = grown;
        }
        true
    }

    /// A tenant holds so much less.
    pub(super) fn give_back(&self, tenant: &TenantId, bytes: u64) {
        if let Some(held) = self.lock().held.get_mut(tenant) {
            held.bytes = held.bytes.saturating_sub(bytes);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().held.is_empty()
    }
}
