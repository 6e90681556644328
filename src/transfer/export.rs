//! The stored telemetry of one tenant and signal as OTLP/JSON, one export request a line.
//!
//! Spans and log records are walked by time, the oldest first, in windows that are as wide as what one question
//! answers; points metric by metric and series by series. What is in memory is one answer and one line.

use std::io::Write;
use std::path::Path;

use super::error::Error;
use super::progress::{Progress, Unit};
use super::{json, rebuild};
use crate::encode;
use crate::model::batch::{Batch, Signal};
use crate::model::id::{OperationId, ServiceId, TenantNumber};
use crate::model::log::Severity;
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::names::Names;
use crate::store::read::logs::{LogAsk, LogPlace};
use crate::store::read::metrics::{SERIES_MAX, SeriesAsk, StoredSeries};
use crate::store::read::spans::{SPANS_MAX, SpanAsk, SpanOrder};
use crate::store::rows::{LogRow, SpanRow};

/// Rows of one question: few where they are large.
const ROWS: std::ops::RangeInclusive<usize> = 100..=5_000;
/// Bytes of packed details that one question should answer.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Items and bytes of packed details of one line, about.
const LINE: (usize, usize) = (2_000, 4 * 1024 * 1024);
/// Series whose points are asked for at once, and points of one such question.
const SERIES: usize = 200;
const POINTS: usize = 20_000;
/// Tenants that are named where one is not found.
const TENANTS_NAMED: usize = 20;

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Whose.
    pub tenant: TenantId,
    /// Which signal.
    pub signal: Signal,
    /// Items of this time: the start of spans, the time of records and points.
    pub window: Window,
}

/// A finished export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Lines, each one export request.
    pub lines: u64,
    /// Spans, log records or points in them.
    pub items: u64,
    /// Bytes written, before compression.
    pub bytes: u64,
}

/// Writes what `ask` describes to `out`. Items that arrive meanwhile may or may not be in it.
///
/// # Errors
/// [`Error::NoTenant`], and when the database cannot be read or `out` not be written.
pub async fn run(
    store: &Store,
    ask: &Ask,
    out: &mut (dyn Write + Send),
    progress: &Progress,
) -> Result<Done, Error> {
    progress.begin("exporting", Unit::Items, 0);
    let tenant = store.names().find_tenant(&ask.tenant).ok_or_else(|| no_tenant(store, &ask.tenant))?;
    let mut export = Export {
        store: store.clone(),
        tenant,
        out,
        progress: progress.clone(),
        line: String::new(),
        done: Done::default(),
    };
    match ask.signal {
        Signal::Traces => export.spans(ask.window).await?,
        Signal::Logs => export.logs(ask.window).await?,
        Signal::Metrics => export.metrics(ask.window).await?,
    }
    Ok(export.done)
}

fn no_tenant(store: &Store, tenant: &TenantId) -> Error {
    let tenants = store.names().tenants();
    let mut known: Vec<&str> = tenants.iter().take(TENANTS_NAMED).map(|(_, name)| name.as_str()).collect();
    if TENANTS_NAMED < tenants.len() {
        known.push("…");
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Error::NoTenant { tenant: tenant.to_string(), known }
}

/// How wide the next window is and how many rows it may answer.
struct Pace {
    from: i64,
    to: i64,
    width: i64,
    rows: usize,
}

impl Pace {
    fn new(window: Window) -> Self {
        Self { from: window.from.0, to: window.to.0, width: 1_000_000_000, rows: 1_000 }
    }

    /// The next window; none at the end.
    fn window(&self) -> Option<Window> {
        let to = self.from.saturating_add(self.width).min(self.to);
        (self.from < to).then_some(Window { from: UnixNanos(self.from), to: UnixNanos(to) })
    }

    /// After a whole answer: goes on behind `window`, wider where it held little.
    fn advance(&mut self, window: Window, rows: usize, bytes: usize) {
        self.from = window.to.0;
        let factor = (self.rows / 2 / rows.max(1)).clamp(1, 8);
        self.width = self.width.saturating_mul(i64::try_from(factor).unwrap_or(1));
        if let Some(row_bytes) = bytes.checked_div(rows) {
            self.rows = (ANSWER_BYTES / row_bytes.max(1)).clamp(*ROWS.start(), *ROWS.end());
        }
    }

    /// After an answer that was cut: the same again, half as wide. False where it cannot be narrower.
    const fn narrow(&mut self, window: Window) -> bool {
        let whole = window.to.0.saturating_sub(window.from.0);
        self.width = if whole < 2 { 1 } else { whole / 2 };
        whole > 1
    }
}

struct Export<'a> {
    store: Store,
    tenant: TenantNumber,
    out: &'a mut (dyn Write + Send),
    progress: Progress,
    line: String,
    done: Done,
}

impl Export<'_> {
    async fn spans(&mut self, window: Window) -> Result<(), Error> {
        let mut pace = Pace::new(window);
        while let Some(window) = pace.window() {
            let mut rows = self.ask_spans(window, (&[], &[]), pace.rows).await?;
            if pace.rows <= rows.len() {
                if pace.narrow(window) {
                    continue;
                }
                rows = self.instant(window).await?;
            }
            // Questions answer the newest first.
            rows.reverse();
            let bytes = rows.iter().map(|row| row.detail.as_bytes().len()).sum();
            pace.advance(window, rows.len(), bytes);
            for part in parts(rows, |row| row.detail.as_bytes().len()) {
                self.write(|names| rebuild::spans(names, &part)).await?;
            }
        }
        Ok(())
    }

    async fn ask_spans(
        &self,
        window: Window,
        (services, operations): (&[ServiceId], &[OperationId]),
        limit: usize,
    ) -> Result<Vec<SpanRow>, Error> {
        let ask = SpanAsk {
            window,
            services: services.to_vec(),
            operations: operations.to_vec(),
            failed: false,
            duration_min_ns: None,
            attributes: Vec::new(),
            order: SpanOrder::Newest,
            limit,
            with_detail: true,
        };
        Ok(self.store.spans(self.tenant, &ask).await?)
    }

    /// All spans of one instant that has too many for one question, operation by operation.
    async fn instant(&self, window: Window) -> Result<Vec<SpanRow>, Error> {
        let mut rows = Vec::new();
        for service in self.store.names().services_of(self.tenant) {
            for operation in self.store.names().operations_of(service.id) {
                let part = self.ask_spans(window, (&[service.id], &[operation.id]), SPANS_MAX).await?;
                if SPANS_MAX <= part.len() {
                    let (what, at_ns) = ("spans", window.from.0);
                    return Err(Error::Crowded { what, at_ns, max: SPANS_MAX });
                }
                rows.extend(part);
            }
        }
        Ok(rows)
    }

    async fn logs(&mut self, window: Window) -> Result<(), Error> {
        let mut pace = Pace::new(window);
        while let Some(window) = pace.window() {
            let (mut rows, mut next) = self.ask_logs(window, None, pace.rows).await?;
            if next.is_some() && pace.narrow(window) {
                continue;
            }
            let bytes = rows.iter().map(|row| row.detail.as_bytes().len()).sum();
            pace.advance(window, rows.len(), bytes);
            // More pages only within one instant, where the order tells nothing.
            loop {
                rows.reverse();
                for part in parts(rows, |row| row.detail.as_bytes().len()) {
                    self.write(|names| rebuild::logs(names, &part)).await?;
                }
                if next.is_none() {
                    break;
                }
                (rows, next) = self.ask_logs(window, next, pace.rows).await?;
            }
        }
        Ok(())
    }

    async fn ask_logs(
        &self,
        window: Window,
        before: Option<LogPlace>,
        limit: usize,
    ) -> Result<(Vec<LogRow>, Option<LogPlace>), Error> {
        let ask = LogAsk {
            window,
            severity_min: Severity(0),
            services: Vec::new(),
            templates: Vec::new(),
            trace: None,
            span: None,
            attributes: Vec::new(),
            before,
            limit,
            with_detail: true,
        };
        let page = self.store.logs(self.tenant, &ask).await?;
        Ok((page.items.into_iter().map(|stored| stored.row).collect(), page.next))
    }

    async fn metrics(&mut self, window: Window) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let names = self.store.metric_names_after(self.tenant, after.as_deref()).await?;
            let Some(last) = names.last().cloned() else { return Ok(()) };
            after = Some(last);
            for name in names {
                self.metric(name, window).await?;
            }
        }
    }

    async fn metric(&mut self, name: String, window: Window) -> Result<(), Error> {
        let all =
            SeriesAsk { name: Some(name), within: Some(window), limit: SERIES_MAX, ..SeriesAsk::default() };
        let series = self.store.series(self.tenant, &all).await?;
        if series.len() < SERIES_MAX {
            return self.points(&series, window).await;
        }
        for service in self.store.names().services_of(self.tenant) {
            let own = SeriesAsk { services: vec![service.id], ..all.clone() };
            let series = self.store.series(self.tenant, &own).await?;
            if SERIES_MAX <= series.len() {
                let (what, at_ns) = ("series", window.from.0);
                return Err(Error::Crowded { what, at_ns, max: SERIES_MAX });
            }
            self.points(&series, window).await?;
        }
        Ok(())
    }

    /// The points of some series of one metric.
    async fn points(&mut self, series: &[StoredSeries], window: Window) -> Result<(), Error> {
        let mut rest = series;
        while !rest.is_empty() {
            let part = &rest[..rest.len().min(SERIES)];
            let ids: Vec<_> = part.iter().map(|series| series.id).collect();
            let mut points = self.store.points(self.tenant, &ids, window, POINTS).await?;
            let cut = if points.len() < POINTS { None } else { points.last().map(|(id, _)| *id) };
            // The last series of a cut answer may be incomplete: it is walked by itself.
            points.retain(|(id, _)| Some(*id) != cut);
            for points in
                parts(points, |(_, point)| point.detail.as_bytes().len() + point.attributes.as_bytes().len())
            {
                self.write(|names| rebuild::points(names, part, &points)).await?;
            }
            let done = match cut.and_then(|cut| part.iter().position(|series| series.id == cut)) {
                Some(at) => {
                    self.long_series(&part[at], window).await?;
                    at + 1
                }
                None => part.len(),
            };
            rest = &rest[done..];
        }
        Ok(())
    }

    /// All points of one series, by time.
    async fn long_series(&mut self, series: &StoredSeries, window: Window) -> Result<(), Error> {
        let mut from = window.from;
        let mut limit = POINTS;
        loop {
            let window = Window { from, to: window.to };
            let mut points = self.store.points(self.tenant, &[series.id], window, limit).await?;
            let last = points.last().map(|(_, point)| point.time).filter(|_| limit <= points.len());
            if let Some(last) = last {
                // Others of the last instant may be missing: it comes again with the next part.
                points.retain(|(_, point)| point.time < last);
                if points.is_empty() {
                    limit = limit.saturating_mul(2);
                    if crate::store::read::metrics::POINTS_MAX < limit {
                        return Err(Error::Crowded { what: "points", at_ns: last.0, max: limit / 2 });
                    }
                    continue;
                }
                from = last;
            }
            for points in parts(points, |(_, point)| point.detail.as_bytes().len()) {
                let series = std::slice::from_ref(series);
                self.write(|names| rebuild::points(names, series, &points)).await?;
            }
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes one line; nothing for an empty batch.
    async fn write(&mut self, build: impl Fn(&Names) -> Result<Batch, Error>) -> Result<(), Error> {
        let batch = match build(self.store.names()) {
            // The server has given out names since the store was opened.
            Err(Error::Nameless { .. }) => {
                self.store = self.store.reopened().await?;
                build(self.store.names())?
            }
            built => built?,
        };
        let items = batch.items() as u64;
        if items == 0 {
            return Ok(());
        }
        self.line.clear();
        json::write(batch.signal(), &encode::request(&batch), &mut self.line);
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes()).map_err(Error::io("write", Path::new("the output")))?;
        self.done.lines += 1;
        self.done.items += items;
        self.done.bytes += self.line.len() as u64;
        self.progress.add(items);
        Ok(())
    }
}

/// Cuts rows into lines.
fn parts<T>(rows: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let more = size(&row);
        match parts.last_mut().filter(|part| part.len() < LINE.0 && bytes + more <= LINE.1) {
            Some(part) => {
                bytes += more;
                part.push(row);
            }
            None => {
                bytes = more;
                parts.push(vec![row]);
            }
        }
    }
    parts
}
