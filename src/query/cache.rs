//! Answers remembered for a few seconds, so that an agent that asks twice costs once.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::tenant::{Scope, TenantId};

use super::handle::Query;

/// Answers kept at most.
const ENTRIES_MAX: u64 = 4_096;
/// Once newer telemetry is stored, an answer is given again for this long at most: who looks again sees what came in.
const OVERTAKEN_AFTER: Duration = Duration::from_secs(1);

type Key = (TenantId, String);

#[derive(Clone)]
struct Remembered {
    answer: Arc<dyn Any + Send + Sync>,
    at: Instant,
    /// What was stored when the work on the answer began.
    applied: u64,
    /// How often the tenant's anomalies had changed by then.
    changes: u64,
}

/// The cache; off when its time to live is zero. The tenant is part of every key.
#[derive(Clone)]
pub struct Cache {
    entries: Option<moka::future::Cache<Key, Remembered>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("on", &self.entries.is_some()).finish()
    }
}

impl Cache {
    /// A cache whose entries live for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        let entries = (!ttl.is_zero())
            .then(|| moka::future::Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(ttl).build());
        Self { entries }
    }
}

impl Query {
    /// The answer to `question` if it was given to this tenant a moment ago, else what `work` answers. A moment is the
    /// cache's time to live, and no more than a second once anything newer is stored; none once the tenant's anomalies changed, of
    /// which a listener may have been told. Failures are not remembered.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn remember<T, E, F>(&self, scope: &Scope, question: String, work: F) -> Result<Arc<T>, E>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, E>>,
    {
        let Some(entries) = &self.cache.entries else { return work.await.map(Arc::new) };
        let key = (scope.tenant().clone(), question);
        let (applied, changes) = (self.store.applied(), self.anomaly_changes(scope));
        if let Some(found) = entries.get(&key).await
            && found.changes == changes
            && (found.applied == applied || found.at.elapsed() < OVERTAKEN_AFTER)
            && let Ok(answer) = found.answer.downcast::<T>()
        {
            return Ok(answer);
        }
        let answer = Arc::new(work.await?);
        entries
            .insert(key, Remembered { answer: answer.clone(), at: Instant::now(), applied, changes })
            .await;
        Ok(answer)
    }
}
