//! Rows as they come out of the tables, without their details.

use super::outlines::SpanOutline;
use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::{LogDetail, Severity};
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::trace_key::TraceKey;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{SPANS, TRACES};
use crate::store::row::Row;
use crate::store::rows::{LogRow, SpanRow};
use crate::store::sql::Dialect;

/// The columns that [`span`] reads, out of [`span_tables`].
pub(super) const SPAN: &str = "s.id, s.tenant_id, t.trace_key, t.trace_id, s.span_id, s.parent_id, s.service_id, \
     s.operation_id, s.resource_id, s.instrumentation_id, coalesce(o.kind, 0), s.status, s.entry, s.http_status, \
     s.dependency_id, s.start_ns, s.duration_ns";

/// The columns that [`outline`] reads, out of [`span_tables`].
pub(super) const OUTLINE: &str =
    "s.id, t.trace_key, s.span_id, s.parent_id, s.operation_id, s.entry, s.start_ns, s.duration_ns";

/// The columns that [`log`] reads, out of a table `s`.
pub(super) const LOG: &str = "s.id, s.tenant_id, s.time_ns, s.severity, s.service_id, s.resource_id, \
     s.instrumentation_id, s.template_id, s.trace_id, s.span_id";

/// A row, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    /// The day whose tables it is in.
    pub(super) day: Day,
    /// Its place in the order of arrival, on its day.
    pub(super) id: i64,
    /// The row, with empty details until they are loaded.
    pub(super) row: T,
}

impl<T> Found<T> {
    /// Its number, unique among all days.
    pub(super) const fn number(&self) -> i64 {
        self.day.row(self.id)
    }
}

/// What comes after FROM for spans `s` of a day that an index of theirs leads to, or their ids, their traces `t` and their
/// operations `o`, to the first condition. SQLite takes the tables in this order.
pub(super) fn span_tables(dialect: Dialect, day: Day, index: Option<&str>) -> String {
    let index = index.map_or_else(|| dialect.by_ids().to_owned(), |index| dialect.indexed(SPANS, day, index));
    let spans = SPANS.on(day);
    let traces = TRACES.on(day);
    format!(
        "{spans} AS s{index} CROSS JOIN {traces} AS t LEFT JOIN operations AS o ON o.id = s.operation_id \
         WHERE t.id = s.trace_row"
    )
}

/// The same for the spans of traces that their key leads to.
pub(in crate::store) fn trace_tables(dialect: Dialect, day: Day) -> String {
    let (traces, by_key) = (TRACES.on(day), dialect.indexed(TRACES, day, "by_key"));
    let (runs, spans) = (runs(dialect, day), SPANS.on(day));
    format!(
        "{traces} AS t{by_key} CROSS JOIN {runs} CROSS JOIN {spans} AS s{} LEFT JOIN operations AS o \
         ON o.id = s.operation_id WHERE r.trace_row = t.id AND {IN_RUN}",
        dialect.by_ids()
    )
}

/// The first spans `r` of the runs of traces, that their `r.trace_row` leads to.
pub(super) fn runs(dialect: Dialect, day: Day) -> String {
    format!("{} AS r{}", SPANS.on(day), dialect.indexed(SPANS, day, "by_trace"))
}

/// That span `s` is one of the run that begins with `r`. The last condition follows from the others, and lets Postgres
/// expect few rows.
pub(super) const IN_RUN: &str =
    "r.run IS NOT NULL AND s.id >= r.id AND s.id < r.id + r.run AND s.trace_row = r.trace_row";

/// Reads a row of the columns [`SPAN`].
pub(super) fn span(row: Row<'_>, day: Day) -> Result<Found<SpanRow>, Error> {
    let columns = Columns { row, what: "span" };
    let span = SpanRow {
        tenant: TenantNumber(columns.number(1)?),
        trace_key: TraceKey(columns.number(2)?),
        trace_id: columns.id(3)?,
        span_id: columns.id(4)?,
        parent_id: columns.optional_id(5)?,
        service: ServiceId(columns.number(6)?),
        operation: OperationId(columns.number(7)?),
        resource: ResourceId(columns.number(8)?),
        instrumentation: InstrumentationId(columns.number(9)?),
        kind: SpanKind(columns.number(10)?),
        status: Status::from_otlp(columns.number(11)?),
        entry: row.get(12)?,
        http_status: columns.number(13)?,
        dependency: columns.optional_number(14)?.map(ServiceId),
        start: day.after(columns.number(15)?),
        duration_ns: columns.number(16)?,
        detail: SpanDetail::default(),
    };
    Ok(Found { day, id: columns.number(0)?, row: span })
}

/// Reads a row of the columns [`OUTLINE`].
pub(super) fn outline(row: Row<'_>, day: Day) -> Result<Found<SpanOutline>, Error> {
    let columns = Columns { row, what: "span" };
    let outline = SpanOutline {
        trace_key: TraceKey(columns.number(1)?),
        span_id: columns.id(2)?,
        parent_id: columns.optional_id(3)?,
        operation: OperationId(columns.number(4)?),
        entry: row.get(5)?,
        start: day.after(columns.number(6)?),
        duration_ns: columns.number(7)?,
    };
    Ok(Found { day, id: columns.number(0)?, row: outline })
}

/// Reads a row of the columns [`LOG`].
pub(super) fn log(row: Row<'_>, day: Day) -> Result<Found<LogRow>, Error> {
    let columns = Columns { row, what: "log record" };
    let log = LogRow {
        tenant: TenantNumber(columns.number(1)?),
        time: day.after(columns.number(2)?),
        severity: Severity(columns.number(3)?),
        service: ServiceId(columns.number(4)?),
        resource: ResourceId(columns.number(5)?),
        instrumentation: InstrumentationId(columns.number(6)?),
        template: TemplateId(columns.number(7)?),
        trace_id: columns.optional_id(8)?,
        span_id: columns.optional_id(9)?,
        detail: LogDetail::default(),
    };
    Ok(Found { day, id: columns.number(0)?, row: log })
}

/// Reads the columns of one row; what does not fit its type is an error that says of what it is a part.
pub(super) struct Columns<'a> {
    /// The row.
    pub(super) row: Row<'a>,
    /// What it is.
    pub(super) what: &'static str,
}

impl<'a> Columns<'a> {
    pub(super) fn number<T: TryFrom<i64>>(&self, column: usize) -> Result<T, Error> {
        T::try_from(self.row.get::<i64>(column)?).map_err(|_| self.unreadable())
    }

    pub(super) fn optional_number<T: TryFrom<i64>>(&self, column: usize) -> Result<Option<T>, Error> {
        let number: Option<i64> = self.row.get(column)?;
        number.map(|number| T::try_from(number).map_err(|_| self.unreadable())).transpose()
    }

    pub(super) fn id<T: TryFrom<&'a [u8]>>(&self, column: usize) -> Result<T, Error> {
        T::try_from(self.row.get::<&'a [u8]>(column)?).map_err(|_| self.unreadable())
    }

    pub(super) fn optional_id<T: TryFrom<&'a [u8]>>(&self, column: usize) -> Result<Option<T>, Error> {
        let bytes: Option<&'a [u8]> = self.row.get(column)?;
        bytes.map(|bytes| T::try_from(bytes).map_err(|_| self.unreadable())).transpose()
    }

    pub(super) const fn unreadable(&self) -> Error {
        Error::Unreadable { what: self.what }
    }
}
