//! Episodes in which something left its normal course, as upkeep found them: written now and then, a few rows each.

use super::commit::Slot;
use super::error::Error;
use super::rollups::columns;
use super::{Store, table};
use crate::model::id::TenantNumber;
use crate::model::rollup::Subject;
use crate::model::time::UnixNanos;

/// An episode. Its subject, what it is and its onset are its identity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpisodeRow {
    /// What deviates: an operation or an instance.
    pub subject: Subject,
    /// 0 errors, 1 latency, 2 traffic, 3 silence.
    pub what: u8,
    /// When it began; whole seconds.
    pub onset: UnixNanos,
    /// When it was over; none while it lasts.
    pub end: Option<UnixNanos>,
    /// Until when it was last found.
    pub seen: UnixNanos,
    /// The measure in the baseline: failed share, mean nanoseconds, or calls a second.
    pub before: f64,
    /// The same measure at its worst.
    pub peak: f64,
    /// 0 to 1.
    pub severity: f64,
}

impl Store {
    /// Writes episodes; those that are there are written over.
    pub async fn put_episodes(&self, tenant: TenantNumber, episodes: &[EpisodeRow]) -> Result<(), Error> {
        if episodes.is_empty() {
            return Ok(());
        }
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        writer
            .connection
            .in_transaction(async |connection| {
                connection
                    .insert(&table::ANOMALIES.whole(), episodes, |values, episode| {
                        let [kind, a, b, _] = columns(episode.subject);
                        values.int(tenant.0);
                        values.int(episode.onset.seconds());
                        [kind, a, b].into_iter().for_each(|column| values.int(column));
                        values.int(episode.what);
                        values.optional_int(episode.end.map(UnixNanos::seconds));
                        values.int(episode.seen.seconds());
                        for measure in [episode.before, episode.peak, episode.severity] {
                            values.optional_real(Some(measure));
                        }
                    })
                    .await
            })
            .await
    }

    /// Forgets the episodes of all tenants that were last found before `before`.
    pub async fn forget_episodes(&self, before: UnixNanos) -> Result<(), Error> {
        let mut slot = self.inner.writing().await?;
        let Slot::Ready(writer) = &mut *slot else { return Err(Error::Stopped) };
        let sql = writer.connection.sql(format!("DELETE FROM anomalies WHERE seen < {}", before.seconds()));
        writer.connection.in_transaction(async |connection| connection.execute(sql).await.map(|_| ())).await
    }
}
