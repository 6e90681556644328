//! Spans by time, service, outcome, duration and attributes.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::columns::{self, Found};
use super::details;
use super::lines;
use super::longest::Search;
use super::reader::{Reader, check_named};
use super::scan::{Scan, Walk};
use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::span::SpanDetail;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, SPANS};
use crate::store::rows::SpanRow;
use crate::store::sql::{Dialect, Sql};

/// Most spans of one answer.
pub const SPANS_MAX: usize = 10_000;
/// Spans at least this long are in an index of their own.
const SLOW_NS: u64 = 500_000_000;
/// The condition of this index, up to the number of the tenant: it is used only where the condition is spelled out.
const SLOW: &str = "s.duration_ns >= 500000000 AND s.tenant_id = ";
/// Spans of a service that are at least this long are in another one.
const LONG_NS: u64 = 200_000_000;
/// Rows that are read at a time where attributes decide which of the slowest are kept: first, and later on. Each
/// time the rows of the window are sorted anew.
const SEARCHED: (usize, usize) = (1_024, 16_384);

/// Spans that an index leads to and that are looked at one by one before blocks are asked for long ones.
const WALKED: usize = if cfg!(test) { 30 } else { 1_000 };

/// Which spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanAsk {
    /// Spans that began within it.
    pub window: Window,
    /// Of one of these services; of all where there are none.
    pub services: Vec<ServiceId>,
    /// Of one of these operations; of all where there are none.
    pub operations: Vec<OperationId>,
    /// Only those that failed.
    pub failed: bool,
    /// Only those that took at least so long.
    pub duration_min_ns: Option<u64>,
    /// Only those that have all of these attributes, by key and rendered value.
    pub attributes: Vec<(String, String)>,
    /// What comes first.
    pub order: SpanOrder,
    /// How many; [`SPANS_MAX`] at most.
    pub limit: usize,
    /// Whether their details are wanted too; they are left empty otherwise.
    pub with_detail: bool,
}

/// In which order spans are answered. Among equals the newest is first, then the one that arrived last, of those that
/// are kept on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanOrder {
    /// By when they began, the newest first.
    Newest,
    /// By how long they took, the slowest first.
    Slowest,
}

impl SpanAsk {
    /// The newest `limit` spans of `window`, without their details.
    pub const fn newest(window: Window, limit: usize) -> Self {
        Self {
            window,
            services: Vec::new(),
            operations: Vec::new(),
            failed: false,
            duration_min_ns: None,
            attributes: Vec::new(),
            order: SpanOrder::Newest,
            limit,
            with_detail: false,
        }
    }
}

impl Store {
    /// The spans that `ask` describes, in its order.
    ///
    /// Newest first costs as many rows as it has to look at: few, unless operations or failure leave most of them out.
    /// Where durations or attributes do, and for the slowest, blocks tell which of them have what is asked for.
    pub async fn spans(&self, tenant: TenantNumber, ask: &SpanAsk) -> Result<Vec<SpanRow>, Error> {
        check_named("services", ask.services.len())?;
        check_named("operations", ask.operations.len())?;
        check_named("attributes", ask.attributes.len())?;
        let limit = ask.limit.min(SPANS_MAX);
        let services = self.services_of_ask(tenant, &ask.services, &ask.operations);
        if limit == 0 || services.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = self.reader().await?;
        let mut found = match ask.order {
            SpanOrder::Newest => newest(&mut reader, tenant, ask, &services, limit).await?,
            SpanOrder::Slowest => slowest(&mut reader, tenant, ask, &services, limit).await?,
        };
        if ask.with_detail && ask.attributes.is_empty() {
            details::load(&mut reader, &mut found).await?;
        }
        reader.finish().await?;
        let spans = found.into_iter().map(|found| found.row);
        Ok(if ask.with_detail { spans.collect() } else { spans.map(without_detail).collect() })
    }

    /// The tenant's services among `services` (all of them where it is empty) that have one of `operations`
    /// (any where it is empty), by number.
    pub(super) fn services_of_ask(
        &self,
        tenant: TenantNumber,
        services: &[ServiceId],
        operations: &[OperationId],
    ) -> Vec<ServiceId> {
        let owners: BTreeSet<ServiceId> = operations
            .iter()
            .filter_map(|operation| self.names().operation_info(*operation))
            .map(|operation| operation.service)
            .collect();
        let own: BTreeSet<ServiceId> = self
            .names()
            .services_of(tenant)
            .into_iter()
            .filter(|service| service.kind == NodeKind::Service)
            .map(|service| service.id)
            .filter(|service| services.is_empty() || services.contains(service))
            .filter(|service| operations.is_empty() || owners.contains(service))
            .collect();
        own.into_iter().collect()
    }
}

fn without_detail(span: SpanRow) -> SpanRow {
    SpanRow { detail: SpanDetail::default(), ..span }
}

async fn newest(
    reader: &mut Reader,
    tenant: TenantNumber,
    ask: &SpanAsk,
    services: &[ServiceId],
    limit: usize,
) -> Result<Vec<Found<SpanRow>>, Error> {
    let named = named(ask, services);
    let at_least = |ns| ask.duration_min_ns.is_some_and(|duration_ns| duration_ns >= ns);
    let of_any = || vec![Walk::of_tenant("slow", SLOW, tenant)];
    let walks = if ask.failed {
        vec![Walk::of_tenant("failed", "s.status = 2 AND s.tenant_id = ", tenant)]
    } else if named.is_empty() && at_least(SLOW_NS) {
        of_any()
    } else if at_least(LONG_NS) && has_long(reader, ask.window).await? {
        Walk::of_long(services)
    } else if at_least(SLOW_NS) {
        of_any()
    } else {
        Walk::of_services("by_service", services)
    };
    let asked = (tenant, ask, named);
    if !at_least(1) || ask.failed || !ask.attributes.is_empty() {
        return walk(reader, asked, (&walks, ask.window), limit).await;
    }
    let (mut window, mut found) = (ask.window, Vec::new());
    if let [only] = &walks[..] {
        let from = last_of(reader, only, window, limit).await?;
        found = walk(reader, asked, (&walks, Window::new(from, window.to)), limit).await?;
        window = Window::new(window.from, from);
    }
    if found.len() >= limit || window.from >= window.to {
        return Ok(found);
    }
    let search = search(tenant, (ask, window), (named, limit - found.len()));
    let (newest, rest) = search.newest(reader).await?;
    found.extend(newest);
    if let Some(rest) = rest.filter(|_| found.len() < limit) {
        let missing = limit - found.len();
        found.extend(walk(reader, asked, (&walks, rest), missing).await?);
    }
    Ok(found)
}

/// The newest spans of `window` that some walks lead to.
async fn walk(
    reader: &mut Reader,
    (tenant, ask, named): (TenantNumber, &SpanAsk, &[ServiceId]),
    (walks, window): (&[Walk], Window),
    limit: usize,
) -> Result<Vec<Found<SpanRow>>, Error> {
    let mut conditions = conditions(tenant, ask);
    if walks.iter().any(Walk::is_whole) && !named.is_empty() {
        push_in(&mut conditions, "s.service_id", named.iter().map(|service| service.0));
    }
    let scan = Scan {
        family: Family::Spans,
        columns: columns::SPAN,
        table: SPANS,
        tables: |dialect, day| columns::span_tables(dialect, day, None),
        time: "start_ns",
        read: columns::span,
        lines: (lines::SPANS, lines::span),
        at: |span| span.start,
        walks,
        tenant,
        window,
        conditions: &conditions,
        attributes: &ask.attributes,
        services: named,
        least_ns: ask.duration_min_ns.filter(|least| *least > 0),
        keyed: None,
        after: None,
    };
    scan.run(reader, limit).await
}

/// When the last [`WALKED`] spans of `window` begin that a walk leads to, or the last `limit`; where there are no more, the
/// beginning of it.
async fn last_of(reader: &mut Reader, walk: &Walk, window: Window, limit: usize) -> Result<UnixNanos, Error> {
    let mut from = window.from;
    for day in reader.days(Family::Spans, window) {
        let sql = reader.sql(format!(
            "SELECT s.start_ns FROM {} AND s.start_ns >= {} AND s.start_ns < {} \
             ORDER BY s.start_ns DESC LIMIT 1 OFFSET {}",
            walk.rows(reader.dialect(), SPANS, day),
            day.since(from),
            day.since(window.to),
            WALKED.max(limit)
        ));
        from = reader.first(sql, |row| Ok(day.after(row.get(0)?))).await?.unwrap_or(from);
    }
    Ok(from)
}

/// `services` where they are those that `ask` names, and not just all that there are.
const fn named<'s>(ask: &SpanAsk, services: &'s [ServiceId]) -> &'s [ServiceId] {
    if ask.services.is_empty() && ask.operations.is_empty() { &[] } else { services }
}

async fn slowest(
    reader: &mut Reader,
    tenant: TenantNumber,
    ask: &SpanAsk,
    services: &[ServiceId],
    limit: usize,
) -> Result<Vec<Found<SpanRow>>, Error> {
    let named = named(ask, services);
    let (found, below_ns) = match ask.failed {
        true => (Vec::new(), Some(u64::MAX)),
        false => search(tenant, (ask, ask.window), (named, limit)).slowest(reader).await?,
    };
    let Some(below_ns) = below_ns.filter(|_| found.len() < limit) else { return Ok(found) };
    let mut conditions = conditions(tenant, ask);
    push_in(&mut conditions, "s.service_id", services.iter().map(|service| service.0));
    if let Ok(below_ns) = i64::try_from(below_ns) {
        let _ = write!(conditions, " AND s.duration_ns < {below_ns}");
    }
    let mut search = SlowSearch { ask, tenant, services: named, conditions, found, limit };
    if ask.failed {
        search.run(reader, "failed", "s.status = 2").await?;
        return Ok(search.found);
    }
    if below_ns > SLOW_NS {
        search.run(reader, "slow", "s.duration_ns >= 500000000").await?;
    }
    if !search.reaches_below(SLOW_NS) {
        return Ok(search.found);
    }
    if !has_long(reader, ask.window).await? {
        search.run(reader, "by_service", "s.duration_ns < 500000000").await?;
        return Ok(search.found);
    }
    if below_ns > LONG_NS {
        search.run(reader, "long", "s.duration_ns >= 200000000 AND s.duration_ns < 500000000").await?;
    }
    if search.reaches_below(LONG_NS) {
        search.run(reader, "by_service", "s.duration_ns < 200000000").await?;
    }
    Ok(search.found)
}

/// The same question of blocks, about the services that it names.
fn search<'a>(
    tenant: TenantNumber,
    (ask, window): (&'a SpanAsk, Window),
    (services, limit): (&'a [ServiceId], usize),
) -> Search<'a> {
    let mut of_services = String::new();
    if !services.is_empty() {
        push_in(&mut of_services, "+s.service_id", services.iter().map(|service| service.0));
    }
    let conditions = of_services + &conditions(tenant, ask);
    let least_ns = ask.duration_min_ns.unwrap_or(0);
    Search { tenant, window, services, least_ns, conditions, attributes: &ask.attributes, limit }
}

/// Whether all days of `window` have the index over long spans of a service. Those that an earlier release made have not; on
/// Postgres a statement does not name it.
async fn has_long(reader: &mut Reader, window: Window) -> Result<bool, Error> {
    let days = reader.days(Family::Spans, window);
    if reader.dialect() == Dialect::Postgres || days.is_empty() {
        return Ok(true);
    }
    let names: Vec<String> = days.iter().map(|day| format!("'{}_long'", SPANS.on(*day))).collect();
    let sql = reader.sql(format!(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name IN ({})",
        names.join(",")
    ));
    Ok(reader.first(sql, |row| row.get::<i64>(0)).await? == Some(days.len() as i64))
}

/// Collects the slowest spans out of one index after the other: those that failed, and others where blocks do not lead to them.
struct SlowSearch<'a> {
    ask: &'a SpanAsk,
    tenant: TenantNumber,
    services: &'a [ServiceId],
    conditions: String,
    found: Vec<Found<SpanRow>>,
    limit: usize,
}

impl SlowSearch<'_> {
    /// Whether spans that took less than `duration_ns` belong to the answer, all others having been looked at.
    fn reaches_below(&self, duration_ns: u64) -> bool {
        self.found.len() < self.limit && self.ask.duration_min_ns.is_none_or(|least| least < duration_ns)
    }

    /// Adds the slowest spans that `index` of each day leads to.
    async fn run(&mut self, reader: &mut Reader, index: &str, condition: &str) -> Result<(), Error> {
        let mut slowest = Vec::new();
        for day in reader.days(Family::Spans, self.ask.window) {
            slowest.extend(self.of_day(reader, (index, condition), day).await?);
        }
        slowest
            .sort_by_key(|found| std::cmp::Reverse((found.row.duration_ns, found.row.start, found.number())));
        self.found.extend(slowest);
        self.found.truncate(self.limit);
        Ok(())
    }

    async fn of_day(
        &self,
        reader: &mut Reader,
        source: (&str, &str),
        day: Day,
    ) -> Result<Vec<Found<SpanRow>>, Error> {
        let searching = !self.ask.attributes.is_empty();
        let missing = self.limit - self.found.len();
        let mut chunk = if searching { SEARCHED.0 } else { missing };
        let (mut after, mut slowest) = (None, Vec::new());
        loop {
            let sql = self.statement(reader, source, after, (day, chunk));
            let rows = reader.all(sql, |row| columns::span(row, day)).await?;
            let last = rows.len() < chunk;
            after = rows.last().map(|found| (found.row.duration_ns, day.since(found.row.start), found.id));
            slowest.extend(match searching {
                true => {
                    details::matching(reader, (self.tenant, self.services), rows, &self.ask.attributes)
                        .await?
                }
                false => rows,
            });
            if last || slowest.len() >= missing {
                slowest.truncate(missing);
                return Ok(slowest);
            }
            chunk = (2 * chunk).min(SEARCHED.1);
        }
    }

    fn statement(
        &self,
        reader: &Reader,
        (index, condition): (&str, &str),
        after: Option<(u64, i64, i64)>,
        (day, rows_max): (Day, usize),
    ) -> Sql {
        let Window { from, to } = self.ask.window;
        let dialect = reader.dialect();
        let mut sql = reader.sql(format!(
            "SELECT {} FROM (SELECT s.id AS id FROM {} AS s{} WHERE s.tenant_id = {} AND {condition} \
             AND s.start_ns >= {} AND s.start_ns < {}{}",
            columns::SPAN,
            SPANS.on(day),
            dialect.indexed(SPANS, day, index),
            self.tenant.0,
            day.since(from),
            day.since(to),
            self.conditions,
        ));
        if let Some((duration_ns, start_ns, id)) = after {
            sql.push(format_args!(
                " AND (s.duration_ns, s.start_ns, s.id) < ({duration_ns}, {start_ns}, {id})"
            ));
        }
        const ORDER: &str = " ORDER BY s.duration_ns DESC, s.start_ns DESC, s.id DESC";
        let tables = columns::span_tables(dialect, day, None);
        sql.push(format_args!("{ORDER} LIMIT {rows_max}) AS w CROSS JOIN {tables} AND s.id = w.id{ORDER}"));
        sql
    }
}

/// What holds for every span of the answer, whatever index finds it.
fn conditions(tenant: TenantNumber, ask: &SpanAsk) -> String {
    // The sign keeps the database from taking the tenant for something to search by.
    let mut conditions = format!(" AND +s.tenant_id = {}", tenant.0);
    if ask.failed {
        conditions.push_str(" AND s.status = 2");
    }
    if let Some(duration_ns) = ask.duration_min_ns {
        let duration_ns = i64::try_from(duration_ns).unwrap_or(i64::MAX);
        let _ = write!(conditions, " AND s.duration_ns >= {duration_ns}");
    }
    if !ask.operations.is_empty() {
        push_in(&mut conditions, "s.operation_id", ask.operations.iter().map(|operation| operation.0));
    }
    conditions
}

/// Appends ` AND column IN (…)`.
pub(super) fn push_in(conditions: &mut String, column: &str, numbers: impl Iterator<Item = u32>) {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let _ = write!(conditions, " AND {column} IN ({})", numbers.join(","));
}
