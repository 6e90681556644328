//! How much the store holds.

use super::reader::Reader;
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::options::Database;
use crate::store::partition::{Family, LOGS, POINTS, SPANS, TRACES};

/// Log records of all tenants that are counted one by one rather than all of one tenant by an index.
const FEW_LOGS: u64 = 100_000;

/// Numbers of stored items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans.
    pub spans: u64,
    /// Trace summaries: a trace that was kept in parts counts once for each.
    pub traces: u64,
    /// Log records.
    pub logs: u64,
    /// Metric points.
    pub points: u64,
    /// Metric series.
    pub series: u64,
}

impl Store {
    /// How much `tenant` has, or all tenants where there is none. Exact; walks over the trace summaries and over
    /// indexes of log records and points, which takes seconds for hundreds of millions of them.
    pub async fn counts(&self, tenant: Option<TenantNumber>) -> Result<Counts, Error> {
        let of_tenant = tenant.map_or(String::new(), |tenant| format!(" WHERE tenant_id = {}", tenant.0));
        let of_series = match tenant {
            Some(_) => format!(" WHERE series_id IN (SELECT id FROM series{of_tenant})"),
            None => String::new(),
        };
        let mut reader = self.reader().await?;
        let mut counts = Counts::default();
        for day in reader.all_days(Family::Spans) {
            let (table, spans) = (TRACES.on(day), "CAST(coalesce(sum(spans), 0) AS BIGINT)");
            counts.spans += number(&mut reader, format!("SELECT {spans} FROM {table}{of_tenant}")).await?;
            counts.traces += number(&mut reader, format!("SELECT count(*) FROM {table}{of_tenant}")).await?;
        }
        for day in reader.all_days(Family::Logs) {
            let table = LOGS.on(day);
            counts.logs += number(&mut reader, format!("SELECT count(*) FROM {table}{of_tenant}")).await?;
        }
        for day in reader.all_days(Family::Points) {
            let table = POINTS.on(day);
            counts.points += number(&mut reader, format!("SELECT count(*) FROM {table}{of_series}")).await?;
        }
        counts.series = number(&mut reader, format!("SELECT count(*) FROM series{of_tenant}")).await?;
        reader.finish().await?;
        Ok(counts)
    }

    /// How many of the tenant's log records arrived on the day of number `id` after it.
    pub async fn logs_beyond(&self, tenant: TenantNumber, id: i64) -> Result<u64, Error> {
        let mut reader = self.reader().await?;
        let (day, id) = (Day::of_row(id), Day::id_of(id));
        let mut count = 0;
        if !reader.days_between(Family::Logs, (day, day)).is_empty() {
            let table = LOGS.on(day);
            let last = number(&mut reader, format!("SELECT coalesce(max(id), 0) FROM {table}")).await?;
            // Where few came after it they are counted by their ids: the tenant may have millions.
            let is_few = last.saturating_sub(u64::try_from(id).unwrap_or(0)) <= FEW_LOGS;
            let by_ids = if is_few { reader.dialect().by_ids() } else { "" };
            let sql =
                format!("SELECT count(*) FROM {table}{by_ids} WHERE id > {id} AND tenant_id = {}", tenant.0);
            count = number(&mut reader, sql).await?;
        }
        reader.finish().await?;
        Ok(count)
    }

    /// Bytes that the database takes on disk, its write-ahead log included.
    pub async fn data_bytes(&self) -> Result<u64, Error> {
        match &self.inner.options.database {
            Database::Sqlite(file) => {
                let file = file.clone();
                let bytes = tokio::task::spawn_blocking(move || file.bytes());
                bytes.await.map_err(Error::Lost)?.map_err(|error| Error::Disk(sqlx::Error::Io(error)))
            }
            Database::Postgres(_) => {
                let mut reader = self.reader().await?;
                let bytes =
                    number(&mut reader, "SELECT pg_database_size(current_database())".to_owned()).await?;
                reader.finish().await?;
                Ok(bytes)
            }
        }
    }

    /// Bytes of the database that hold something: without pages of a file that wait to be used again.
    pub async fn used_bytes(&self) -> Result<u64, Error> {
        if let Database::Postgres(_) = self.inner.options.database {
            return self.data_bytes().await;
        }
        let mut reader = self.reader().await?;
        let used = "SELECT (page_count - freelist_count) * page_size \
                    FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        let used = number(&mut reader, used.to_owned()).await?;
        reader.finish().await?;
        Ok(used)
    }

    /// Connections that questions use now, and how many there may be.
    pub fn connections(&self) -> (u32, u32) {
        self.readers().usage()
    }

    /// When the tenant's newest span began; none where it has no spans. Looks at the newest end of each service.
    pub async fn newest_span(&self, tenant: TenantNumber) -> Result<Option<UnixNanos>, Error> {
        let services = self.services_of_ask(tenant, &[], &[]);
        let mut reader = self.reader().await?;
        let mut newest = None;
        // Spans of one day may lie in the tables of the day before it.
        for day in reader.all_days(Family::Spans) {
            if newest.is_some_and(|newest: UnixNanos| day.plus(2).start() <= newest) {
                break;
            }
            let mut sql = reader.sql(format!(
                "SELECT max((SELECT max(start_ns) FROM {} WHERE service_id = services.id)) FROM services WHERE id",
                SPANS.on(day)
            ));
            sql.push(reader.dialect().is_one_of(services.iter().map(|service| service.0.into())));
            let of_day = reader.first(sql, |row| row.get::<Option<i64>>(0)).await?.flatten();
            newest = newest.max(of_day.map(|start| day.after(start)));
        }
        reader.finish().await?;
        Ok(newest)
    }
}

async fn number(reader: &mut Reader, sql: String) -> Result<u64, Error> {
    let number = reader.first(reader.sql(sql), |row| row.get::<i64>(0)).await?;
    Ok(number.unwrap_or_default().unsigned_abs())
}
