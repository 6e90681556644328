//! Who listens for anomalies, and how many may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::tenant::{Scope, TenantId};
use crate::query::Query;

/// Most who listen at once: each costs a connection, and some tens of kilobytes.
const LISTENERS_MAX: usize = 256;
/// Most of one tenant, so that none keeps the others out.
const TENANT_LISTENERS_MAX: usize = 64;
const _: () = assert!(TENANT_LISTENERS_MAX < LISTENERS_MAX);

/// How many listen, by tenant; tenants of which nobody does are not in it.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<BTreeMap<TenantId, usize>>);

impl Listeners {
    /// A place for one of `tenant`; none where all are taken.
    pub(super) fn place(self: &Arc<Self>, tenant: &TenantId) -> Option<Place> {
        let mut counts = self.counts();
        let of_tenant = counts.get(tenant).copied().unwrap_or_default();
        if of_tenant >= TENANT_LISTENERS_MAX || counts.values().sum::<usize>() >= LISTENERS_MAX {
            return None;
        }
        counts.insert(tenant.clone(), of_tenant + 1);
        drop(counts);
        Some(Place { listeners: Arc::clone(self), tenant: tenant.clone() })
    }

    /// How many listen.
    pub(super) fn count(&self) -> usize {
        self.counts().values().sum()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
        // Every change leaves the counts whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who listen; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    listeners: Arc<Listeners>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.listeners.counts();
        match counts.get_mut(&self.tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.tenant)),
        }
    }
}

/// Somebody who hears of a tenant's anomalies.
#[derive(Debug)]
pub(super) struct Listener {
    query: Query,
    scope: Scope,
    /// How often they had changed when it was last told.
    seen: u64,
    stop: CancellationToken,
    _place: Place,
}

impl Listener {
    /// Hears of what changes from now on until `stop` is cancelled.
    pub(super) fn new(query: Query, scope: Scope, place: Place, stop: CancellationToken) -> Self {
        let seen = query.anomaly_changes(&scope);
        Self { query, scope, seen, stop, _place: place }
    }
}

impl mcp_tools::Listener for Listener {
    async fn changed(&mut self) -> bool {
        let news = self.query.anomaly_changes_beyond(&self.scope, self.seen);
        match self.stop.run_until_cancelled(news).await {
            Some(changes) => {
                self.seen = changes;
                true
            }
            None => false,
        }
    }

    async fn stopped(&mut self) {
        self.stop.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_a_tenant_and_in_all_and_come_back() {
        let listeners = Arc::new(Listeners::default());
        let tenant = |number: usize| TenantId::try_from(format!("tenant-{number}").as_str()).unwrap();
        let mut places = Vec::new();
        for number in 0..LISTENERS_MAX / TENANT_LISTENERS_MAX {
            for _ in 0..TENANT_LISTENERS_MAX {
                places.push(listeners.place(&tenant(number)).unwrap());
            }
            assert!(listeners.place(&tenant(number)).is_none(), "one too many of tenant {number}");
        }
        assert_eq!(listeners.count(), LISTENERS_MAX);
        assert!(listeners.place(&tenant(99)).is_none(), "one too many in all");
        places.pop();
        assert!(listeners.place(&tenant(99)).is_some());
        places.clear();
        assert_eq!(listeners.count(), 0);
        assert!(listeners.counts().is_empty());
    }
}
