//! Of which time anything was counted, and whose.

use std::collections::BTreeSet;

use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, FINE_SECONDS, HOUR_SECONDS};
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::partition::Family;

/// The families of roll-ups and their widths in seconds.
const WIDTHS: [(Family, i64); 3] =
    [(Family::Fine, FINE_SECONDS), (Family::Minute, COARSE_SECONDS), (Family::Hour, HOUR_SECONDS)];

impl Store {
    /// The time from the first bucket to the end of the last, of all widths, as precisely as the narrowest tell; none where
    /// there is no bucket.
    pub async fn rollup_range(&self, tenant: TenantNumber) -> Result<Option<Window>, Error> {
        let mut reader = self.reader().await?;
        let mut range: Option<Window> = None;
        for (family, width) in WIDTHS {
            let mut days = reader.all_days(family);
            // The newest bucket is in the newest tables that the tenant has, the first in the oldest ones.
            for end in [true, false] {
                for day in &days {
                    let table = family.tables()[0].on(*day);
                    let one = |which: &str| {
                        let of_width = match family {
                            Family::Fine => String::new(),
                            _ => format!(" AND width = {width}"),
                        };
                        format!(
                            "(SELECT {which}(bucket) FROM {table} WHERE tenant_id = {}{of_width})",
                            tenant.0
                        )
                    };
                    let sql = reader.sql(format!("SELECT {}, {}", one("min"), one("max")));
                    let ends =
                        reader.first(sql, |row| Ok((row.get::<Option<i64>>(0)?, row.get::<Option<i64>>(1)?)));
                    if let Some((Some(first), Some(last))) = ends.await? {
                        let to = UnixNanos::from_seconds(last.saturating_add(width));
                        let found = Window::new(UnixNanos::from_seconds(first), to);
                        range = Some(range.map_or(found, |range| reaching(range, found, width)));
                        break;
                    }
                }
                if end {
                    days.reverse();
                }
            }
        }
        reader.finish().await?;
        Ok(range)
    }

    /// The tenants that have roll-ups, by number.
    pub async fn rollup_tenants(&self) -> Result<Vec<TenantNumber>, Error> {
        let mut reader = self.reader().await?;
        let mut tenants = BTreeSet::new();
        for (family, _) in WIDTHS {
            for day in reader.all_days(family) {
                let table = family.tables()[0].on(day);
                let sql = reader.sql(format!(
                    "WITH RECURSIVE tenants_of (id) AS (SELECT min(tenant_id) FROM {table} UNION ALL \
                     SELECT (SELECT min(r.tenant_id) FROM {table} r WHERE r.tenant_id > tenants_of.id) \
                     FROM tenants_of WHERE id IS NOT NULL) SELECT id FROM tenants_of WHERE id IS NOT NULL"
                ));
                tenants.extend(reader.all(sql, |row| Ok(TenantNumber(row.get(0)?))).await?);
            }
        }
        reader.finish().await?;
        Ok(tenants.into_iter().collect())
    }
}

/// The time that is known by narrow buckets and by wider ones: where both end within one wide bucket, the narrow ones tell
/// where.
fn reaching(narrow: Window, wide: Window, width_seconds: i64) -> Window {
    let width_ns = width_seconds.saturating_mul(NANOS_PER_SECOND);
    let is_within = |one: UnixNanos, other: UnixNanos| one.0.saturating_sub(other.0).abs() < width_ns;
    let from = if is_within(narrow.from, wide.from) { narrow.from } else { narrow.from.min(wide.from) };
    let to = if is_within(narrow.to, wide.to) { narrow.to } else { narrow.to.max(wide.to) };
    Window::new(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_buckets_tell_where_wide_ones_begin() {
        let at = |from, to| Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        let known = reaching(
            reaching(at(5_010, 9_020), at(4_980, 9_060), COARSE_SECONDS),
            at(3_600, 10_800),
            HOUR_SECONDS,
        );
        assert_eq!(known, at(5_010, 9_020));
        let older = reaching(at(50_010, 90_020), at(3_600, 93_600), HOUR_SECONDS);
        assert_eq!(older, at(3_600, 90_020));
    }
}
