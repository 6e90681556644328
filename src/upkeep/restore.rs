//! The graph after a restart: from roll-ups, never by scanning spans.

use std::time::Duration;

use tracing::warn;

use crate::graph::Graph;
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, FINE_SECONDS};
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::read::rollups::RollupKind;

/// How far back fine buckets are restored; the graph keeps no more.
const FINE_REACH: Duration = Duration::from_secs(31 * 60);
/// How far back coarse buckets are restored.
const COARSE_REACH: Duration = Duration::from_secs(130 * 60);
/// Buckets that are read at once; few enough for any number of operations.
const PART: Duration = Duration::from_secs(5 * 60);
/// Roll-ups further ahead of now than this come from wrong clocks.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Gives `graph` what it would remember had it never stopped: for each tenant the hours before its newest roll-up.
///
/// The graph is derived: where the store cannot tell, the server starts without, and questions about that time go to
/// the store.
pub async fn graph(store: &Store, graph: &Graph, now: UnixNanos) {
    let tenants = match store.rollup_tenants().await {
        Ok(tenants) => tenants,
        Err(error) => {
            warn!(%error, "the graph starts empty");
            return;
        }
    };
    for tenant in tenants {
        if let Err(error) = restore(store, graph, tenant, now).await {
            warn!(tenant = tenant.0, %error, "the graph of a tenant starts without its past");
            for width in [COARSE_SECONDS, FINE_SECONDS] {
                let next = now.bucket_seconds(width) + width;
                graph.restore(tenant, width, Some(next), std::iter::empty());
            }
        }
    }
}

async fn restore(store: &Store, graph: &Graph, tenant: TenantNumber, now: UnixNanos) -> Result<(), Error> {
    for service in store.names().services_of(tenant) {
        for operation in store.names().operations_of(service.id) {
            graph.declare(tenant, operation.id, service.id);
        }
    }
    let Some(range) = store.rollup_range(tenant).await? else { return Ok(()) };
    let newest = range.to.min(now.plus(AHEAD_MAX));
    if newest < range.to {
        graph.leave_out(tenant, Window::new(newest, range.to));
    }
    let of_spans = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge];
    let all = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge, RollupKind::Logs];
    let widths = [(COARSE_SECONDS, COARSE_REACH, &all[..]), (FINE_SECONDS, FINE_REACH, &of_spans)];
    for (width, reach, kinds) in widths {
        let mut cells = Vec::new();
        let first = UnixNanos::from_seconds(
            newest.minus(reach).max(range.from).bucket_seconds(PART.as_secs() as i64),
        );
        let mut from = first;
        while from < newest {
            let part = Window::new(from, from.plus(PART));
            cells.extend(store.rollups(tenant, width, part, kinds).await?);
            from = part.to;
        }
        let since = (range.from < first).then_some(first.seconds());
        graph.restore(tenant, width, since, cells.into_iter());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::model::id::{OperationId, ServiceId, TemplateId};
    use crate::model::log::Severity;
    use crate::model::rollup::{Observation, Seen, Subject};
    use crate::store::options::Options;
    use crate::store::rows::Commit;

    use super::*;

    const TENANT: TenantNumber = TenantNumber(1);
    const NOW: i64 = 1_800_000_000;

    fn minutes(from: i64, to: i64) -> Window {
        Window::new(UnixNanos::from_seconds(NOW + from * 60), UnixNanos::from_seconds(NOW + to * 60))
    }

    #[tokio::test]
    async fn a_graph_that_is_restored_says_what_the_store_says() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let seen = Seen::Call { duration_ns: 5, caller_ns: 0, error: false };
        let subjects = [
            Subject::Operation(OperationId(1)),
            Subject::Edge(OperationId(1), OperationId(2)),
            Subject::Logs(ServiceId(1), TemplateId(7), Severity::WARN),
        ];
        // One of them ten minutes ahead, which the graph does not follow.
        let observations = [-200, -50, -50, -3, 10].into_iter().flat_map(|minute| {
            let at = UnixNanos::from_seconds(NOW + minute * 60);
            subjects.map(|subject| (TENANT, Observation { subject, at, seen }))
        });
        let cells = observations.collect();
        store.commit(Commit { lsn: 1, cells, ..Commit::default() }).await.unwrap();
        let restored = Graph::new();
        graph(&store, &restored, UnixNanos::from_seconds(NOW)).await;
        let kinds = [RollupKind::Operation, RollupKind::Edge, RollupKind::Logs];
        for window in [minutes(-60, 0), minutes(-50, -3)] {
            assert!(restored.covers_by(TENANT, window, COARSE_SECONDS));
            let stored = store.merged_rollups(TENANT, COARSE_SECONDS, window, &kinds).await.unwrap();
            assert_eq!(stored.len(), subjects.len());
            assert_eq!(restored.merged(TENANT, window, COARSE_SECONDS), stored);
        }
        for beyond in [minutes(-210, 0), minutes(0, 11)] {
            assert!(!restored.covers_by(TENANT, beyond, COARSE_SECONDS));
        }
    }
}
