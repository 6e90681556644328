//! Episodes are written, written over, answered to their tenant and forgotten, on either database.

use std::time::Duration;

use super::home::{Home, on_both};
use super::{TENANT, at};
use crate::model::id::{OperationId, ResourceId, ServiceId, TenantNumber};
use crate::model::rollup::Subject;
use crate::model::time::Window;
use crate::store::Store;
use crate::store::anomalies::EpisodeRow;
use crate::store::error::Error;

/// Failures of an operation from one second to another.
pub(super) fn episode(operation: u32, onset: i64, end: Option<i64>) -> EpisodeRow {
    EpisodeRow {
        subject: Subject::Operation(OperationId(operation)),
        what: 0,
        onset: at(onset),
        end: end.map(at),
        seen: at(end.unwrap_or(onset + 30)),
        before: 0.25,
        peak: 1.0,
        severity: 0.75,
    }
}

async fn of(store: &Store, tenant: TenantNumber, window: Window) -> Result<Vec<EpisodeRow>, Error> {
    store.episodes(tenant, window, Duration::from_secs(86_400)).await
}

#[test]
fn episodes_are_written_over_by_identity_and_answered_by_time() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let instance = EpisodeRow {
            subject: Subject::Instance(ServiceId(3), ResourceId(4)),
            what: 3,
            ..episode(0, 100, Some(200))
        };
        let first = [episode(1, 60, None), episode(2, 60, Some(90)), instance];
        store.put_episodes(TENANT, &first).await.unwrap();
        store.put_episodes(TENANT, &[]).await.unwrap();
        let within = |from, to| Window::new(at(from), at(to));
        assert_eq!(of(&store, TENANT, within(0, 50)).await.unwrap(), []);
        assert_eq!(of(&store, TENANT, within(0, 1_000)).await.unwrap(), first);
        assert_eq!(of(&store, TENANT, within(90, 1_000)).await.unwrap(), [first[0], first[2]]);
        assert_eq!(of(&store, TENANT, within(5_000, 6_000)).await.unwrap(), [first[0]], "it lasts");
        let later = within(90_000, 91_000);
        assert_eq!(of(&store, TENANT, later).await.unwrap(), [], "nothing lasts so long");
        let stranger = TenantNumber(TENANT.0 + 1);
        assert_eq!(of(&store, stranger, within(0, 1_000)).await.unwrap(), []);

        let over = EpisodeRow { peak: 2.0, ..episode(1, 60, Some(150)) };
        store.put_episodes(TENANT, &[over]).await.unwrap();
        let store = home.crash(store).await;
        assert_eq!(of(&store, TENANT, within(0, 1_000)).await.unwrap(), [over, first[1], first[2]]);
        store.forget_episodes(at(150)).await.unwrap();
        assert_eq!(of(&store, TENANT, within(0, 1_000)).await.unwrap(), [over, first[2]]);
    });
}
