//! Log records by time, severity, service, template, trace and attributes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use super::Page;
use super::columns::{self, Found};
use super::details;
use super::lines;
use super::reader::{Reader, check_named};
use super::scan::{Scan, Walk};
use super::spans::push_in;
use crate::model::id::{ServiceId, SpanId, TemplateId, TenantNumber, TraceId};
use crate::model::log::Severity;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, LOGS};
use crate::store::rows::LogRow;
use crate::store::sql::Dialect;

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
    /// Whether their details are wanted too; they may be left empty otherwise.
    pub with_detail: bool,
}

impl LogAsk {
    /// The newest `limit` records of `window`, without their details.
    pub fn newest(window: Window, limit: usize) -> Self {
        Self {
            window,
            severity_min: Severity::default(),
            services: Vec::new(),
            templates: Vec::new(),
            trace: None,
            span: None,
            attributes: Vec::new(),
            before: None,
            limit,
            with_detail: false,
        }
    }
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
        let mut conditions = conditions(reader.dialect(), tenant, ask);
        if let Some(services) = services.as_deref().filter(|_| walks.first().is_some_and(Walk::is_whole)) {
            push_in(&mut conditions, "s.service_id", services.iter().map(|service| service.0));
        }
        let scan = Scan {
            family: Family::Logs,
            columns: columns::LOG,
            table: LOGS,
            tables: |dialect, day| format!("{} AS s{} WHERE true", LOGS.on(day), dialect.by_ids()),
            time: "time_ns",
            read: columns::log,
            lines: (lines::LOGS, lines::log),
            at: |log| log.time,
            walks: &walks,
            tenant,
            window: ask.window,
            conditions: &conditions,
            attributes: &ask.attributes,
            services: services.as_deref().unwrap_or_default(),
            least_ns: None,
            keyed: ask.trace,
            after: ask.before.map(|before| (before.time, before.id)),
        };
        // One more than asked for tells whether there is another part.
        let mut found = if walks.is_empty() { Vec::new() } else { scan.run(&mut reader, limit + 1).await? };
        let more = found.len() > limit;
        found.truncate(limit);
        let next =
            found.last().filter(|_| more).map(|found| LogPlace { time: found.row.time, id: found.number() });
        if ask.attributes.is_empty() && ask.with_detail {
            details::load(&mut reader, &mut found).await?;
        }
        reader.finish().await?;
        Ok(Page { items: found.into_iter().map(stored).collect(), next })
    }

    /// The tenant's log records with these numbers, in the order of `ids`; what does not exist is left out.
    /// Looks at the first [`LOGS_MAX`] of `ids`.
    pub async fn logs_by_id(&self, tenant: TenantNumber, ids: &[i64]) -> Result<Vec<StoredLog>, Error> {
        let ids = &ids[..ids.len().min(LOGS_MAX)];
        let mut by_day: BTreeMap<Day, Vec<i64>> = BTreeMap::new();
        for id in ids {
            by_day.entry(Day::of_row(*id)).or_default().push(Day::id_of(*id));
        }
        let mut reader = self.reader().await?;
        let mut found = Vec::new();
        for (day, ids) in by_day {
            if reader.days_between(Family::Logs, (day, day)).is_empty() {
                continue;
            }
            let table = LOGS.on(day);
            let mut sql = reader.sql(format!(
                "SELECT {} FROM {table} AS s WHERE +s.tenant_id = {}",
                columns::LOG,
                tenant.0
            ));
            sql.push(" AND s.id").push(reader.dialect().is_one_of(ids));
            found.extend(reader.all(sql, |row| columns::log(row, day)).await?);
        }
        details::load(&mut reader, &mut found).await?;
        reader.finish().await?;
        let mut found: HashMap<i64, StoredLog> =
            found.into_iter().map(|found| (found.number(), stored(found))).collect();
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// The log records of all tenants on the day of number `id` that arrived after it, in the order of arrival, `limit`
    /// of them and [`LOGS_MAX`] at most. Asked again and again with the last number it was given, it walks over all of
    /// the day; [`Store::log_days`] tells which days there are.
    pub async fn logs_after(&self, id: i64, limit: usize) -> Result<Vec<StoredLog>, Error> {
        let day = Day::of_row(id);
        let mut reader = self.reader().await?;
        let mut found = Vec::new();
        if !reader.days_between(Family::Logs, (day, day)).is_empty() {
            let sql = reader.sql(format!(
                "SELECT {} FROM {} AS s WHERE s.id > {} ORDER BY s.id LIMIT {}",
                columns::LOG,
                LOGS.on(day),
                Day::id_of(id),
                limit.min(LOGS_MAX),
            ));
            found = reader.all(sql, |row| columns::log(row, day)).await?;
            details::load(&mut reader, &mut found).await?;
        }
        reader.finish().await?;
        Ok(found.into_iter().map(stored).collect())
    }

    /// The days that hold log records, each with the number of the record that arrived last; the oldest first.
    pub async fn log_days(&self) -> Result<Vec<(Day, i64)>, Error> {
        let mut reader = self.reader().await?;
        let mut days = Vec::new();
        for day in reader.all_days(Family::Logs).into_iter().rev() {
            let sql = reader.sql(format!("SELECT coalesce(max(id), 0) FROM {}", LOGS.on(day)));
            let last = reader.first(sql, |row| row.get::<i64>(0)).await?.unwrap_or(0);
            days.push((day, day.row(last)));
        }
        reader.finish().await?;
        Ok(days)
    }
}

fn stored(found: Found<LogRow>) -> StoredLog {
    StoredLog { id: found.number(), row: found.row }
}

/// The services to look at: those asked for, and those whose templates are asked for. None: all.
async fn services(
    reader: &mut Reader,
    tenant: TenantNumber,
    ask: &LogAsk,
) -> Result<Option<Vec<ServiceId>>, Error> {
    let mut services: BTreeSet<u32> = ask.services.iter().map(|service| service.0).collect();
    if !ask.templates.is_empty() {
        let mut sql =
            reader.sql(format!("SELECT service_id FROM templates WHERE tenant_id = {} AND id", tenant.0));
        sql.push(reader.dialect().is_one_of(ask.templates.iter().map(|template| template.0.into())));
        let owners = reader.all(sql, |row| row.get::<u32>(0)).await?.into_iter();
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
        _ if ask.trace.is_some() => whole("by_trace", "+s.tenant_id = "),
        _ if ask.severity_min >= Severity::WARN => whole("severe", "s.severity >= 13 AND s.tenant_id = "),
        Some(services) => Walk::of_services("by_service", services),
        None => whole("by_time", "s.tenant_id = "),
    }
}

/// What holds for every record of the answer, whatever index finds it.
fn conditions(dialect: Dialect, tenant: TenantNumber, ask: &LogAsk) -> String {
    let mut conditions = format!(" AND +s.tenant_id = {}", tenant.0);
    if ask.severity_min > Severity(0) {
        let _ = write!(conditions, " AND s.severity >= {}", ask.severity_min.0);
    }
    if !ask.templates.is_empty() {
        push_in(&mut conditions, "s.template_id", ask.templates.iter().map(|template| template.0));
    }
    if let Some(trace) = ask.trace {
        let _ = write!(conditions, " AND s.trace_id = {}", dialect.bytes(trace));
    }
    if let Some(span) = ask.span {
        let _ = write!(conditions, " AND s.span_id = {}", dialect.bytes(span));
    }
    conditions
}
