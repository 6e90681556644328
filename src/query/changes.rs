//! Who waits for a tenant's anomalies to change, and is told.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::id::TenantNumber;
use crate::model::tenant::Scope;

use super::handle::Query;

/// How often the anomalies of each tenant changed since the server started; a number for each tenant of which any did. Nobody
/// who is slow to look holds up who writes, or costs more than its own wait: what changed meanwhile is one change.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(Arc<watch::Sender<HashMap<TenantNumber, u64>>>);

impl Query {
    /// Tells whoever waits that anomalies of `tenant` began or ended. Never waits.
    pub fn anomalies_changed(&self, tenant: TenantNumber) {
        self.changes.0.send_modify(|changes| *changes.entry(tenant).or_default() += 1);
    }

    /// How often the tenant's anomalies changed since the server started.
    pub fn anomaly_changes(&self, scope: &Scope) -> u64 {
        self.changes_among(scope, &self.changes.0.borrow())
    }

    /// Waits until the tenant's anomalies changed another number of times than `seen`; answers how often they did.
    pub async fn anomaly_changes_beyond(&self, scope: &Scope, seen: u64) -> u64 {
        let mut changes = self.changes.0.subscribe();
        // Any tenant's change wakes all who wait. Those are a few hundred, and changes come twice a minute.
        let mut now = seen;
        let is_other = |changes: &HashMap<_, _>| {
            now = self.changes_among(scope, changes);
            now != seen
        };
        // It cannot end otherwise: this handle keeps the other side.
        drop(changes.wait_for(is_other).await);
        now
    }

    /// A tenant may get its number while somebody waits for it.
    fn changes_among(&self, scope: &Scope, changes: &HashMap<TenantNumber, u64>) -> u64 {
        self.tenant(scope).and_then(|tenant| changes.get(&tenant)).copied().unwrap_or_default()
    }
}
