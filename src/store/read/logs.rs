//! Log records by time, severity, service, template, trace and attributes.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use sqlx::{QueryBuilder, Row, Sqlite};

use super::Page;
use super::columns::{self, Found};
use super::details;
use super::reader::{Reader, check_named, push_list};
use super::scan::{Scan, Walk};
use super::spans::push_in;
use crate::model::id::{ServiceId, SpanId, TemplateId, TenantNumber, TraceId};
use crate::model::log::Severity;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::rows::LogRow;

/// Most log records of one answer.
pub const LOGS_MAX: usize = 10_000;

/// Which log records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogAsk {
    /// Records of this time.
    pub window: Window,
    /// At least so severe. Records of unknown severity are the least severe.
    pub severity_min: Severity,
    /// Of one of these services; of all where there are none.
    pub services: Vec<ServiceId>,
    /// Of one of these templates; of all where there are none.
    pub templates: Vec<TemplateId>,
    /// Only those of this trace.
    pub trace: Option<TraceId>,
    /// Only those of this span.
    pub span: Option<SpanId>,
    /// Only those that have all of these attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// Only what comes after this place in the order; [`Page::next`] of the part before.
    pub before: Option<LogPlace>,
    /// How many; [`LOGS_MAX`] at most.
    pub limit: usize,
}

/// A place in the order of log records: the greatest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogPlace {
    /// When the record happened.
    pub time: UnixNanos,
    /// Its number.
    pub id: i64,
}

/// A log record and the number it has in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLog {
    /// Its number, in the order of arrival.
    pub id: i64,
    /// The record with its details.
    pub row: LogRow,
}

impl Store {
    /// The log records that `ask` describes, newest first; among equals the one that arrived last.
    ///
    /// Costs as many rows as it has to look at: a trace's own, else warnings and worse where those are asked
    /// for, else those of the services, else all of the time from the newest on.
    pub async fn logs(&self, tenant: TenantNumber, ask: &LogAsk) -> Result<Page<StoredLog, LogPlace>, Error> {
        check_named("services", ask.services.len())?;
        check_named("templates", ask.templates.len())?;
        check_named("attributes", ask.attributes.len())?;
        let limit = ask.limit.min(LOGS_MAX);
        if limit == 0 {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut reader = self.reader().await?;
        let services = services(&mut reader, tenant, ask).await?;
        let walks = walks(tenant, ask, services.as_deref());
        let mut conditions = conditions(tenant, ask);
        if let Some(services) = services.as_deref().filter(|_| walks.first().is_some_and(Walk::is_whole)) {
            push_in(&mut conditions, "service_id", services.iter().map(|service| service.0));
        }
        let scan = Scan {
            table: "logs",
            columns: columns::LOG,
            time: "time_ns",
            read: columns::log,
            place: |found| (found.row.time, found.id),
            walks: &walks,
            window: ask.window,
            conditions: &conditions,
            attributes: &ask.attributes,
            after: ask.before.map(|before| (before.time, before.id)),
        };
        // One more than asked for tells whether there is another part.
        let mut found = if walks.is_empty() { Vec::new() } else { scan.run(&mut reader, limit + 1).await? };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|found| LogPlace { time: found.row.time, id: found.id });
        if ask.attributes.is_empty() {
            details::load(&mut reader, &mut found).await?;
        }
        reader.finish().await?;
        Ok(Page { items: found.into_iter().map(stored).collect(), next })
    }

    /// The tenant's log records with these numbers, in the order of `ids`; what does not exist is left out.
    /// Looks at the first [`LOGS_MAX`] of `ids`.
    pub async fn logs_by_id(&self, tenant: TenantNumber, ids: &[i64]) -> Result<Vec<StoredLog>, Error> {
        let ids = &ids[..ids.len().min(LOGS_MAX)];
        let mut reader = self.reader().await?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(columns::LOG).push(" FROM logs WHERE +tenant_id = ").push(tenant.0).push(" AND id IN ");
        push_list(&mut query, ids.iter().copied());
        let mut found = reader.all(query, columns::log).await?;
        details::load(&mut reader, &mut found).await?;
        reader.finish().await?;
        let mut found: HashMap<i64, StoredLog> =
            found.into_iter().map(|found| (found.id, stored(found))).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// The log records of all tenants that arrived after number `id`, in the order of arrival, `limit` of them
    /// and [`LOGS_MAX`] at most. Asked again and again with the last number it was given, it walks over all.
    pub async fn logs_after(&self, id: i64, limit: usize) -> Result<Vec<StoredLog>, Error> {
        let mut reader = self.reader().await?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(columns::LOG).push(" FROM logs WHERE id > ").push(id);
        query.push(" ORDER BY id LIMIT ").push(limit.min(LOGS_MAX));
        let mut found = reader.all(query, columns::log).await?;
        details::load(&mut reader, &mut found).await?;
        reader.finish().await?;
        Ok(found.into_iter().map(stored).collect())
    }
}

fn stored(found: Found<LogRow>) -> StoredLog {
    StoredLog { id: found.id, row: found.row }
}

/// The services to look at: those asked for, and those whose templates are asked for. None: all.
async fn services(
    reader: &mut Reader,
    tenant: TenantNumber,
    ask: &LogAsk,
) -> Result<Option<Vec<ServiceId>>, Error> {
    let mut services: BTreeSet<u32> = ask.services.iter().map(|service| service.0).collect();
    if !ask.templates.is_empty() {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT service_id FROM templates WHERE tenant_id = ");
        query.push(tenant.0).push(" AND id IN ");
        push_list(&mut query, ask.templates.iter().map(|template| template.0.into()));
        let owners = reader.all(query, |row| Ok(row.try_get::<u32, _>(0)?)).await?.into_iter();
        services = owners.filter(|owner| ask.services.is_empty() || services.contains(owner)).collect();
    } else if ask.services.is_empty() {
        return Ok(None);
    }
    Ok(Some(services.into_iter().map(ServiceId).collect()))
}

fn walks(tenant: TenantNumber, ask: &LogAsk, services: Option<&[ServiceId]>) -> Vec<Walk> {
    let whole = |index, condition| vec![Walk::of_tenant(index, condition, tenant)];
    match services {
        Some([]) => Vec::new(),
        // The sign leaves the tenant to be compared: this index is ordered by trace alone.
        _ if ask.trace.is_some() => whole("logs_by_trace", "+tenant_id = "),
        _ if ask.severity_min >= Severity::WARN => whole("logs_severe", "severity >= 13 AND tenant_id = "),
        Some(services) => Walk::of_services("logs_by_service", services),
        None => whole("logs_by_time", "tenant_id = "),
    }
}

/// What holds for every record of the answer, whatever index finds it.
fn conditions(tenant: TenantNumber, ask: &LogAsk) -> String {
    let mut conditions = format!(" AND +tenant_id = {}", tenant.0);
    if ask.severity_min > Severity(0) {
        let _ = write!(conditions, " AND severity >= {}", ask.severity_min.0);
    }
    if !ask.templates.is_empty() {
        push_in(&mut conditions, "template_id", ask.templates.iter().map(|template| template.0));
    }
    // Ids are written as hexadecimal literals.
    if let Some(trace) = ask.trace {
        let _ = write!(conditions, " AND trace_id = x'{trace}'");
    }
    if let Some(span) = ask.span {
        let _ = write!(conditions, " AND span_id = x'{span}'");
    }
    conditions
}
