//! The graph after a restart: from roll-ups, never by scanning spans.

use std::time::Duration;

use crate::graph::Graph;
use crate::model::rollup::{COARSE_SECONDS, FINE_SECONDS};
use crate::model::time::Window;
use crate::store::Store;
use crate::store::error::Error;
use crate::store::read::rollups::RollupKind;

/// How far back fine buckets are restored; the graph keeps no more.
const FINE_REACH: Duration = Duration::from_secs(10 * 60);
/// How far back coarse buckets are restored.
const COARSE_REACH: Duration = Duration::from_secs(2 * 3600);

/// Gives `graph` what it would remember had it never stopped: for each tenant the hours before its newest roll-up.
///
/// # Errors
/// When the store cannot be read.
pub async fn graph(store: &Store, graph: &Graph) -> Result<(), Error> {
    let kinds = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];
    for tenant in store.rollup_tenants().await? {
        for service in store.names().services_of(tenant) {
            for operation in store.names().operations_of(service.id) {
                graph.declare(tenant, operation.id, service.id);
            }
        }
        let Some(range) = store.rollup_range(tenant).await? else { continue };
        for (width, reach) in [(COARSE_SECONDS, COARSE_REACH), (FINE_SECONDS, FINE_REACH)] {
            let window = Window::new(range.to.minus(reach), range.to);
            let cells = store.rollups(tenant, width, window, &kinds).await?;
            graph.restore(tenant, width, cells.into_iter());
        }
    }
    Ok(())
}
