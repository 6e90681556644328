//! The days that have log records.

use sqlx::{QueryBuilder, Row};

use crate::store::Store;
use crate::store::error::Error;

/// Bits of a log record's number below its day.
const DAY_BITS: u32 = 36;

impl Store {
    /// Each day that has log records, with the highest number among them, oldest first. Days are counted from
    /// 1970 in UTC. Two looks into the table for each day.
    pub async fn log_days(&self) -> Result<Vec<(i32, i64)>, Error> {
        let mut reader = self.reader().await?;
        let mut days = Vec::new();
        let mut from = 0_i64;
        loop {
            let query = format!("SELECT min(id) FROM logs WHERE id >= {from}");
            let first =
                reader.first(QueryBuilder::new(query), |row| Ok(row.try_get::<Option<i64>, _>(0)?)).await?;
            let Some(first) = first.flatten() else { break };
            let day = first >> DAY_BITS;
            from = (day + 1).saturating_mul(1 << DAY_BITS);
            let query = format!("SELECT max(id) FROM logs WHERE id < {from}");
            let highest = reader.first(QueryBuilder::new(query), |row| Ok(row.try_get::<i64, _>(0)?)).await?;
            days.push((i32::try_from(day).unwrap_or(i32::MAX), highest.unwrap_or(first)));
        }
        reader.finish().await?;
        Ok(days)
    }
}
