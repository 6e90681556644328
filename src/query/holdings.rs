//! How much is kept.

use crate::model::node::NodeKind;
use crate::model::tenant::Scope;
use crate::model::time::UnixNanos;

use super::error::Error;
use super::handle::Query;

/// What is kept of a tenant, as far as that costs little to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Instrumented services.
    pub services: u64,
    /// Databases, queues and hosts that services call.
    pub dependencies: u64,
    /// Operations of both.
    pub operations: u64,
    /// Resources that sent telemetry: instances in one version.
    pub resources: u64,
    /// From when on anything is counted; none where nothing is.
    pub oldest: Option<UnixNanos>,
    /// When the newest span began; none where there is none.
    pub newest_span: Option<UnixNanos>,
}

impl Query {
    /// What is kept of the tenant.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn holdings(&self, scope: &Scope) -> Result<Holdings, Error> {
        let Some(tenant) = self.tenant(scope) else { return Ok(Holdings::default()) };
        let mut holdings = Holdings::default();
        for service in self.names().services_of(tenant) {
            if service.kind == NodeKind::Service {
                holdings.services += 1;
            } else {
                holdings.dependencies += 1;
            }
            holdings.operations += self.names().operations_of(service.id).len() as u64;
            holdings.resources += self.names().resources_of(service.id).len() as u64;
        }
        holdings.oldest = self.store.rollup_range(tenant).await?.map(|range| range.from);
        holdings.newest_span = self.store.newest_span(tenant).await?;
        Ok(holdings)
    }

    /// Bytes that the database of all tenants takes.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn store_bytes(&self) -> Result<u64, Error> {
        Ok(self.store.data_bytes().await?)
    }
}
