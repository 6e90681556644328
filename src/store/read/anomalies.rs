//! Episodes in which something left its normal course.

use std::time::Duration;

use super::columns::Columns;
use super::rollups::subject;
use crate::model::id::TenantNumber;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::anomalies::EpisodeRow;
use crate::store::error::Error;

/// Most episodes of one answer, the newest.
const EPISODES_MAX: usize = 10_000;

impl Store {
    /// The episodes of `tenant` that overlap `window` and began at most `longest` before it, earliest onset first; where
    /// they are too many, the latest.
    pub async fn episodes(
        &self,
        tenant: TenantNumber,
        window: Window,
        longest: Duration,
    ) -> Result<Vec<EpisodeRow>, Error> {
        let (from, to) = (window.from.seconds(), window.to.seconds());
        let since = window.from.minus(longest).seconds();
        let mut reader = self.reader().await?;
        let query = reader.sql(format!(
            "SELECT kind, a, b, what, onset, ended, seen, before, peak, severity FROM anomalies \
             WHERE tenant_id = {} AND onset BETWEEN {since} AND {to} AND (ended IS NULL OR ended > {from}) \
             ORDER BY onset DESC, kind DESC, a DESC, b DESC, what DESC LIMIT {EPISODES_MAX}",
            tenant.0
        ));
        let found = reader.all(query, |row| {
            let columns = Columns { row, what: "anomaly" };
            let ids = [columns.number(1)?, columns.number(2)?, 0];
            Ok(EpisodeRow {
                subject: subject(row.get(0)?, ids).ok_or(Error::Unreadable { what: "anomaly" })?,
                what: columns.number(3)?,
                onset: UnixNanos::from_seconds(row.get(4)?),
                end: row.get::<Option<i64>>(5)?.map(UnixNanos::from_seconds),
                seen: UnixNanos::from_seconds(row.get(6)?),
                before: row.get(7)?,
                peak: row.get(8)?,
                severity: row.get(9)?,
            })
        });
        let mut found = found.await?;
        reader.finish().await?;
        found.reverse();
        Ok(found)
    }
}
