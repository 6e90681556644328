//! Traces by time, service, outcome and duration, without their spans.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use super::Page;
use super::columns::{self, IN_RUN};
use super::parts::{MATCHES, PART, Part, fold, part};
use super::reader::{Reader, check_named};
use super::scan;
use super::spans::push_in;
use crate::model::id::{OperationId, ServiceId, TenantNumber, TraceId};
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::{BUCKET_SECONDS, TraceKey};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, SPANS, TRACES};
use crate::store::row::Row;
use crate::store::sql::{Dialect, Sql};

/// Most traces of one answer.
pub const TRACES_MAX: usize = 1_000;
/// Parts of one trace that lie no further apart are answered as one.
pub const PARTS_WITHIN: Duration = Duration::from_secs(3_600);
/// How long before a span its trace may have got its key: a bucket, and where in it.
const KEY_BEFORE: Duration = Duration::from_secs(2 * BUCKET_SECONDS.unsigned_abs());
/// Parts are looked for over this much of a trace's own time.
const PARTS_OVER: Duration = Duration::from_secs(6 * 3_600);
/// A span of the services asked for, or a failed one, that begins later than this after the window may not lead to
/// its trace.
const SPANS_AFTER: Duration = Duration::from_secs(3_600);
/// Up to so many spans of the services, or failed ones, in the window, these are looked up first and lead to the
/// traces. Above it they are so common that walking over the traces finds some soon.
const LEADS_MAX: usize = if cfg!(test) { 100 } else { 10_000 };
/// The same where it would be looked at all traces of the window: one takes as long as several spans.
const LEADS_MAX_OF_ALL: usize = if cfg!(test) { 300 } else { 250_000 };
/// How many traces are looked at for a span of the services, the foremost first, in one step after the other.
const RANKED: [usize; 2] = if cfg!(test) { [2, 4] } else { [256, 2_048] };
/// Keys that one statement looks for.
const PROBES: usize = 1_024;

/// Which traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceAsk {
    /// Traces that began within it.
    pub window: Window,
    /// With a span of one of these services; of any where there are none.
    pub services: Vec<ServiceId>,
    /// With a span of one of these operations; of any where there are none.
    pub operations: Vec<OperationId>,
    /// Only those with failed spans, or only those without.
    pub failed: Option<bool>,
    /// Only those that took at least so long from their first start to their last end.
    pub duration_min_ns: Option<u64>,
    /// What comes first.
    pub order: TraceOrder,
    /// Only what comes after this place in the order; [`Page::next`] of the part before.
    pub after: Option<TracePlace>,
    /// How many; [`TRACES_MAX`] at most.
    pub limit: usize,
}

/// In which order traces are answered. Among equals the newest is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceOrder {
    /// By when they began, the newest first.
    Newest,
    /// By how long they took, the slowest first.
    Slowest,
    /// By how many of their spans failed, the most first.
    MostErrors,
}

/// A place in the order of traces: the greatest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TracePlace {
    /// The duration in nanoseconds or the failed spans, whichever the order is by; 0 for the newest first.
    pub rank: u64,
    /// When the trace began.
    pub start: UnixNanos,
    /// Its key.
    pub key: TraceKey,
    /// Its id.
    pub trace_id: TraceId,
}

/// What is kept about a trace beside its spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// Its key; the earliest of them where it was kept in parts.
    pub key: TraceKey,
    /// The operation of its first span without a parent; none while no such span was seen.
    pub root_operation: Option<OperationId>,
    /// The operation of its first span.
    pub first_operation: OperationId,
    /// When its first span began.
    pub start: UnixNanos,
    /// When its last span ended.
    pub end: UnixNanos,
    /// How many spans it has.
    pub spans: u64,
    /// How many of them failed.
    pub errors: u64,
}

impl Store {
    /// The traces that `ask` describes, in its order, each once.
    ///
    /// A trace that outlived the memory of its parts is kept in several. Each part is matched and placed by
    /// itself; the trace is answered whole, where its foremost part is, unless its parts lie further apart than
    /// [`PARTS_WITHIN`]. Newest first costs as many rows as it has to look at; the other orders look at all
    /// traces of the window that match.
    pub async fn trace_summaries(
        &self,
        tenant: TenantNumber,
        ask: &TraceAsk,
    ) -> Result<Page<TraceSummary, TracePlace>, Error> {
        check_named("services", ask.services.len())?;
        check_named("operations", ask.operations.len())?;
        let limit = ask.limit.min(TRACES_MAX);
        let services = self.services_of_ask(tenant, &ask.services, &ask.operations);
        if limit == 0 || services.is_empty() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut reader = self.reader().await?;
        let bands = match ask.order {
            TraceOrder::Newest => scan::bands(&reader, Family::Spans, ask.window).into(),
            // All of the window is looked at in any case.
            _ => VecDeque::from([ask.window]),
        };
        let mut search = Search {
            tenant,
            dialect: reader.dialect(),
            ask,
            services,
            source: Source::Traces,
            looks_at_all: false,
            after: ask.after,
            bands,
        };
        search.choose_source(&mut reader).await?;
        let page = search.run(&mut reader, limit).await?;
        reader.finish().await?;
        Ok(page)
    }
}

/// What leads to the traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The traces of the window, one after the other.
    Traces,
    /// Spans of the services.
    Services,
    /// Failed spans.
    Failures,
}

struct Search<'a> {
    tenant: TenantNumber,
    ask: &'a TraceAsk,
    services: Vec<ServiceId>,
    source: Source,
    /// Whether it is looked at all traces of the window for spans of the services, whatever their rank.
    looks_at_all: bool,
    after: Option<TracePlace>,
    /// What is still to be looked at, in the order of the answer.
    bands: VecDeque<Window>,
    dialect: Dialect,
}

impl Search<'_> {
    const fn by_service(&self) -> bool {
        !(self.ask.services.is_empty() && self.ask.operations.is_empty())
    }

    async fn choose_source(&mut self, reader: &mut Reader) -> Result<(), Error> {
        for source in [Source::Failures, Source::Services] {
            let applies = match source {
                Source::Failures => self.ask.failed == Some(true),
                _ => self.by_service(),
            };
            if !applies {
                continue;
            }
            if self.has_few(reader, source, LEADS_MAX).await? {
                self.source = source;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether at most `leads_max` spans of a source lead to traces.
    async fn has_few(&self, reader: &mut Reader, source: Source, leads_max: usize) -> Result<bool, Error> {
        let mut leads = 0;
        for day in reader.days(Family::Spans, self.ask.window) {
            let (these, most) = (self.leads(source, day), leads_max + 1);
            let sql = reader.sql(format!("SELECT count(*) FROM (SELECT 1 FROM {these} LIMIT {most}) AS l"));
            leads += reader.first(sql, |row| row.get::<i64>(0)).await?.unwrap_or(0);
            if leads > leads_max as i64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The spans that lead to the traces, as the end of a statement. Answered from the index alone.
    fn leads(&self, source: Source, day: Day) -> String {
        let from = day.since(self.ask.window.from);
        let to = day.since(self.ask.window.to.plus(SPANS_AFTER));
        let table = SPANS.on(day);
        let mut leads = match source {
            Source::Failures => {
                let index = self.dialect.indexed(SPANS, day, "failed");
                format!("{table}{index} WHERE status = 2 AND tenant_id = {}", self.tenant.0)
            }
            _ => {
                let index = self.dialect.indexed(SPANS, day, "by_service");
                let mut leads = format!("{table}{index} WHERE true");
                push_in(&mut leads, "service_id", self.services.iter().map(|service| service.0));
                leads
            }
        };
        let _ = write!(leads, " AND start_ns >= {from} AND start_ns < {to}");
        leads
    }

    async fn run(
        &mut self,
        reader: &mut Reader,
        limit: usize,
    ) -> Result<Page<TraceSummary, TracePlace>, Error> {
        let mut items: Vec<(TracePlace, TraceSummary)> = Vec::new();
        loop {
            // One more than is missing tells whether there is another part.
            let rows_max = limit + 1 - items.len();
            let parts = self.next(reader, rows_max).await?;
            let last = parts.len() < rows_max;
            self.after = parts.last().map(|part| self.place(part)).or(self.after);
            let mut others = self.others(reader, &parts).await?;
            for part in parts {
                let place = self.place(&part);
                let others = others.remove(&(part.trace_id, part.key)).unwrap_or_default();
                if !others.iter().any(|other| other.matches && self.place(other) > place) {
                    items.push((place, fold(part, &others)));
                }
            }
            if last || items.len() > limit {
                let more = items.len() > limit;
                items.truncate(limit);
                let next = items.last().filter(|_| more).map(|(place, _)| *place);
                return Ok(Page { items: items.into_iter().map(|(_, summary)| summary).collect(), next });
            }
        }
    }

    fn place(&self, part: &Part) -> TracePlace {
        let rank = match self.ask.order {
            TraceOrder::Newest => 0,
            TraceOrder::Slowest => part.end.0.saturating_sub(part.first.0.0).unsigned_abs(),
            TraceOrder::MostErrors => part.errors,
        };
        TracePlace { rank, start: part.first.0, key: part.key, trace_id: part.trace_id }
    }

    /// The next parts that match, in order; fewer than `rows_max` at the end only.
    async fn next(&mut self, reader: &mut Reader, rows_max: usize) -> Result<Vec<Part>, Error> {
        let mut parts: Vec<Part> = Vec::new();
        while let Some(band) = self.bands.front().copied() {
            let wanted = rows_max - parts.len();
            let found = match self.ranks_before_services() {
                true => self.ranked(reader, band, wanted).await?,
                false => self.of_band(reader, band, wanted).await?,
            };
            if found.len() < wanted {
                self.bands.pop_front();
            }
            parts.extend(found);
            if parts.len() == rows_max {
                break;
            }
            // The place lies in what was looked at before.
            self.after = parts.last().map(|part| self.place(part)).or(self.after);
        }
        Ok(parts)
    }

    /// Whether the order is followed first, and only then it is looked whether a trace has a span of the services: to look
    /// at the spans of all traces of the window would take longer than all else.
    fn ranks_before_services(&self) -> bool {
        let is_ranked = self.ask.order != TraceOrder::Newest && self.source == Source::Traces;
        is_ranked && self.by_service() && !self.looks_at_all
    }

    /// The next parts of `band` in order, at most `wanted` of those that have a span of the services. Each step sorts all traces
    /// of the band, so there are few: where those of the services come late, all their spans or all traces are looked at.
    async fn ranked(&mut self, reader: &mut Reader, band: Window, wanted: usize) -> Result<Vec<Part>, Error> {
        let mut found = Vec::new();
        for rows_max in RANKED {
            let rows_max = rows_max.max(2 * wanted);
            let parts = self.of_band(reader, band, rows_max).await?;
            let is_last = parts.len() < rows_max;
            self.after = parts.last().map(|part| self.place(part)).or(self.after);
            found.extend(parts.into_iter().filter(|part| part.matches));
            if is_last || found.len() >= wanted {
                found.truncate(wanted);
                return Ok(found);
            }
        }
        self.looks_at_all = true;
        if self.has_few(reader, Source::Services, LEADS_MAX_OF_ALL).await? {
            self.source = Source::Services;
        }
        found.extend(self.of_band(reader, band, wanted - found.len()).await?);
        Ok(found)
    }

    /// The next parts of `band`, in order.
    async fn of_band(&self, reader: &mut Reader, band: Window, rows_max: usize) -> Result<Vec<Part>, Error> {
        let mut found = Vec::new();
        for day in reader.days(Family::Spans, band) {
            let mut sql = self.matching((day, band), rows_max);
            let is_asked = self.ranks_before_services();
            if is_asked {
                let (table, by_ids) = (TRACES.on(day), self.dialect.by_ids());
                sql = reader.sql(format!(
                    "SELECT {PART}, {} FROM ({}) AS l CROSS JOIN {table} AS t{by_ids} WHERE t.id = l.id",
                    self.has_span(day),
                    sql.text
                ));
            }
            let read = |row: Row<'_>| {
                let matches = if is_asked { row.get(MATCHES)? } else { true };
                part((row, day), matches)
            };
            found.extend(reader.all(sql, read).await?);
        }
        found.sort_by_key(|part| Reverse(self.place(part)));
        found.truncate(rows_max);
        Ok(found)
    }

    /// The next parts of one day that match and began within `band`, in order; the ids alone of those that are to be looked at for
    /// services yet.
    fn matching(&self, (day, band): (Day, Window), rows_max: usize) -> Sql {
        let columns = if self.ranks_before_services() { "t.id" } else { PART };
        let mut sql = Sql::from(self.dialect, format!("SELECT {columns}"));
        let (table, tenant) = (TRACES.on(day), self.tenant.0);
        if self.source == Source::Traces {
            let index = self.dialect.indexed(TRACES, day, "by_time");
            sql.push(format_args!(" FROM {table} AS t{index} WHERE t.tenant_id = {tenant}"));
        } else {
            sql.push(" FROM (SELECT DISTINCT trace_row FROM ").push(self.leads(self.source, day));
            if self.source == Source::Services {
                sql.push(self.span_conditions(""));
            }
            sql.push(format_args!(
                ") AS l CROSS JOIN {table} AS t WHERE t.id = l.trace_row AND t.tenant_id = {tenant}"
            ));
        }
        sql.push(self.conditions(day));
        sql.push(format_args!(" AND t.start_ns >= {}", day.since(band.from)));
        if self.by_service() && self.source != Source::Services && !self.ranks_before_services() {
            sql.push(" AND ").push(self.has_span(day));
        }
        let rank = match self.ask.order {
            TraceOrder::Newest => "0",
            TraceOrder::Slowest => "(t.end_ns - t.start_ns)",
            TraceOrder::MostErrors => "t.errors",
        };
        match self.after {
            // One bound on the start, not two: the walk must begin at the place, not at the end of the band.
            Some(TracePlace { start, key, trace_id, .. })
                if self.ask.order == TraceOrder::Newest && start < band.to =>
            {
                let place = format!("({}, {}, {})", day.since(start), key.0, self.dialect.bytes(trace_id));
                sql.push(" AND (t.start_ns, t.trace_key, t.trace_id) < ").push(place);
            }
            Some(TracePlace { rank: after, start, key, trace_id })
                if self.ask.order != TraceOrder::Newest =>
            {
                let after = i64::try_from(after).unwrap_or(i64::MAX);
                let place =
                    format!("({after}, {}, {}, {})", day.since(start), key.0, self.dialect.bytes(trace_id));
                sql.push(format_args!(" AND ({rank}, t.start_ns, t.trace_key, t.trace_id) < {place}"));
                sql.push(format_args!(" AND t.start_ns < {}", day.since(band.to)));
            }
            _ => {
                sql.push(format_args!(" AND t.start_ns < {}", day.since(band.to)));
            }
        }
        sql.push(" ORDER BY ");
        if self.ask.order != TraceOrder::Newest {
            sql.push(rank).push(" DESC, ");
        }
        sql.push(format_args!("t.start_ns DESC, t.trace_key DESC, t.trace_id DESC LIMIT {rows_max}"));
        sql
    }

    /// What a part itself must be, but for the end of the window.
    fn conditions(&self, day: Day) -> String {
        let mut conditions = format!(" AND t.start_ns >= {}", day.since(self.ask.window.from));
        match self.ask.failed {
            Some(true) => conditions.push_str(" AND t.errors > 0"),
            Some(false) => conditions.push_str(" AND t.errors = 0"),
            None => {}
        }
        if let Some(duration_ns) = self.ask.duration_min_ns {
            let duration_ns = i64::try_from(duration_ns).unwrap_or(i64::MAX);
            let _ = write!(conditions, " AND t.end_ns - t.start_ns >= {duration_ns}");
        }
        conditions
    }

    /// Of whom the span must be that makes a part match; `of` stands before the names of its columns.
    fn span_conditions(&self, of: &str) -> String {
        let mut conditions = String::new();
        push_in(&mut conditions, &format!("+{of}service_id"), self.services.iter().map(|service| service.0));
        if !self.ask.operations.is_empty() {
            push_in(
                &mut conditions,
                &format!("{of}operation_id"),
                self.ask.operations.iter().map(|operation| operation.0),
            );
        }
        conditions
    }

    fn has_span(&self, day: Day) -> String {
        format!(
            "EXISTS (SELECT 1 FROM {} CROSS JOIN {} AS s{} WHERE r.trace_row = t.id AND {IN_RUN}{})",
            columns::runs(self.dialect, day),
            SPANS.on(day),
            self.dialect.by_ids(),
            self.span_conditions("s.")
        )
    }

    /// The other parts of the traces of `parts`, by trace and the key of the part that they are not.
    async fn others(
        &self,
        reader: &mut Reader,
        parts: &[Part],
    ) -> Result<HashMap<(TraceId, TraceKey), Vec<Part>>, Error> {
        let mut wanted: HashMap<TraceKey, Vec<&Part>> = HashMap::new();
        let mut keys: BTreeMap<Day, BTreeSet<i64>> = BTreeMap::new();
        for part in parts {
            let last = part.end.min(part.first.0.plus(PARTS_OVER)).max(part.key.bucket_start());
            let around = Window::new(
                part.first.0.minus(PARTS_WITHIN.saturating_add(KEY_BEFORE)),
                last.plus(PARTS_WITHIN),
            );
            for key in TraceKey::candidates(around, self.tenant, part.trace_id).filter(|key| *key != part.key)
            {
                keys.entry(Day::of_key(key)).or_default().insert(key.0);
                wanted.entry(key).or_default().push(part);
            }
        }
        let mut others: HashMap<(TraceId, TraceKey), Vec<Part>> = HashMap::new();
        let mut kept: Vec<(Day, Vec<i64>)> = Vec::new();
        for (day, keys) in keys {
            if !reader.days_between(Family::Spans, (day, day)).is_empty() {
                let keys: Vec<i64> = keys.into_iter().collect();
                kept.extend(keys.chunks(PROBES).map(|part| (day, part.to_vec())));
            }
        }
        for (day, keys) in kept {
            let mut sql =
                reader.sql(format!("SELECT {PART}, t.start_ns < {}", day.since(self.ask.window.to)));
            sql.push(self.conditions(day)).push(", ");
            sql.push(if self.by_service() { self.has_span(day) } else { String::from("true") });
            let by_key = reader.dialect().indexed(TRACES, day, "by_key");
            sql.push(format_args!(
                " FROM {} AS t{by_key} WHERE t.tenant_id = {}",
                TRACES.on(day),
                self.tenant.0
            ));
            sql.push(" AND t.trace_key").push(reader.dialect().is_one_of(keys));
            let found = reader.all(sql, |row| {
                let matches = row.get::<bool>(MATCHES)? && row.get::<bool>(MATCHES + 1)?;
                part((row, day), matches)
            });
            for other in found.await? {
                let asking = wanted.get(&other.key).into_iter().flatten();
                for part in asking.filter(|part| part.trace_id == other.trace_id) {
                    others.entry((part.trace_id, part.key)).or_default().push(other.clone());
                }
            }
        }
        Ok(others)
    }
}
