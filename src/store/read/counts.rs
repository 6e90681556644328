//! How much the store holds.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::columns::Columns;
use super::reader::{Reader, push_list};
use crate::model::id::TenantNumber;
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::error::Error;

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
        let mut counts = [0; 5];
        let statements = [
            format!("SELECT coalesce(sum(spans), 0) FROM traces{of_tenant}"),
            format!("SELECT count(*) FROM traces{of_tenant}"),
            format!("SELECT count(*) FROM logs{of_tenant}"),
            format!("SELECT count(*) FROM points{of_series}"),
            format!("SELECT count(*) FROM series{of_tenant}"),
        ];
        for (count, statement) in counts.iter_mut().zip(statements) {
            *count = number(&mut reader, QueryBuilder::new(statement)).await?;
        }
        reader.finish().await?;
        let [spans, traces, logs, points, series] = counts;
        Ok(Counts { spans, traces, logs, points, series })
    }

    /// How many of the tenant's log records arrived after the one numbered `id`.
    pub async fn logs_beyond(&self, tenant: TenantNumber, id: i64) -> Result<u64, Error> {
        let mut reader = self.reader().await?;
        let query = format!("SELECT count(*) FROM logs WHERE id > {id} AND tenant_id = {}", tenant.0);
        let count = number(&mut reader, QueryBuilder::new(query)).await?;
        reader.finish().await?;
        Ok(count)
    }

    /// The number of the log record that arrived last, over all tenants; 0 where there is none.
    pub async fn highest_log_id(&self) -> Result<i64, Error> {
        let mut reader = self.reader().await?;
        let query = QueryBuilder::new("SELECT coalesce(max(id), 0) FROM logs");
        let highest = reader.first(query, |row| row.try_get::<i64, _>(0).map_err(Error::from)).await?;
        reader.finish().await?;
        Ok(highest.unwrap_or(0))
    }

    /// Bytes that the database takes on disk, its write-ahead log included.
    pub async fn data_bytes(&self) -> Result<u64, Error> {
        let path = &self.inner.options.path;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let mut bytes: u64 = 0;
        for file in [path.as_os_str(), &log] {
            match tokio::fs::metadata(file).await {
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                // Without a log everything is in the database.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::Disk(sqlx::Error::Io(error))),
            }
        }
        Ok(bytes)
    }

    /// When the tenant's newest span began; none where it has no spans. Looks at the newest end of each service.
    pub async fn newest_span(&self, tenant: TenantNumber) -> Result<Option<UnixNanos>, Error> {
        let mut reader = self.reader().await?;
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT max((SELECT max(start_ns) FROM spans WHERE service_id = services.id)) FROM services \
             WHERE id IN ",
        );
        push_list(&mut query, self.services_of_ask(tenant, &[], &[]).iter().map(|service| service.0.into()));
        let newest = reader.first(query, |row| Ok(row.try_get::<Option<i64>, _>(0)?)).await?;
        reader.finish().await?;
        Ok(newest.flatten().map(UnixNanos))
    }
}

async fn number(reader: &mut Reader, query: QueryBuilder<Sqlite>) -> Result<u64, Error> {
    let number = reader.first(query, |row| Columns { row, what: "count" }.number(0)).await?;
    Ok(number.unwrap_or_default())
}
