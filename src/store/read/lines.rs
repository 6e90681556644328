//! Many rows in a few lines of text.
//!
//! To pass a row on from SQLite's thread costs as much as to find it, and grows with its columns. Where many are read, the
//! database joins each column into one text: its fields separated by semicolons, ids in hexadecimal. To join all columns
//! of a row first, and then the rows, takes it twice as long; two that have the same length, or are numbers, make one at less cost.

use std::borrow::Cow;
use std::str::{FromStr, Split};

use super::columns::Found;
use super::metrics::value_of;
use super::outlines::SpanOutline;
use super::reader::Reader;
use crate::model::id::{
    InstrumentationId, OperationId, ResourceId, SeriesId, ServiceId, SpanId, TemplateId, TenantNumber,
    TraceId,
};
use crate::model::log::{LogDetail, Severity};
use crate::model::metric::{Point, PointDetail};
use crate::model::packed::Attributes;
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::row::Row;
use crate::store::rows::{LogRow, SpanRow};
use crate::store::sql::Sql;

/// The columns `columns::SPAN`.
pub(super) const SPANS: &[&str] = &[
    "s.id",
    "s.tenant_id",
    "t.trace_key",
    "hex(t.trace_id)",
    "hex(s.span_id)",
    "hex(s.parent_id)",
    "s.service_id",
    "s.operation_id",
    "s.resource_id",
    "s.instrumentation_id",
    "coalesce(o.kind, 0)",
    "s.status",
    "s.entry",
    "s.http_status",
    "coalesce(s.dependency_id, '')",
    "s.start_ns",
    "s.duration_ns",
];

/// The columns `columns::OUTLINE`, some of them put together: fewer take less.
pub(super) const OUTLINES: &[&str] = &[
    "s.id",
    "t.trace_key",
    "hex(s.span_id || coalesce(s.parent_id, x''))",
    "2 * s.operation_id + s.entry",
    "s.start_ns",
    "s.duration_ns",
];

/// The columns `columns::LOG`.
pub(super) const LOGS: &[&str] = &[
    "s.id",
    "s.tenant_id",
    "s.time_ns",
    "s.severity",
    "s.service_id",
    "s.resource_id",
    "s.instrumentation_id",
    "s.template_id",
    "hex(s.trace_id)",
    "hex(s.span_id)",
];

/// Hexadecimal digits of the id of a span.
const ID_DIGITS: usize = 16;

/// Points without their details. Seventeen digits tell one number from the next; SQLite does not write the last of them
/// right where numbers are very large or small, which therefore make the text unreadable.
pub(super) const POINTS: &[&str] = &[
    "series_id",
    "time_ns",
    "start_ns",
    "flags",
    "coalesce(int_value, '')",
    "CASE WHEN real_value IS NULL THEN '' WHEN real_value = 0 OR abs(real_value) BETWEEN 1e-60 AND 1e60 \
     THEN printf('%!.17g', real_value) ELSE '?' END",
    "coalesce(count, '')",
];

/// What joins each of `columns` of all rows: the columns of a statement that [`read`] reads.
pub(super) fn joined(columns: &[&str]) -> String {
    let columns = columns.iter().map(|column| format!("coalesce(group_concat({column}, ';'), '')"));
    columns.collect::<Vec<String>>().join(", ")
}

/// The rows of a statement that joins each of `columns` into one text.
pub(super) async fn read<T: Send>(
    reader: &mut Reader,
    sql: Sql,
    columns: &[&str],
    read: impl Fn(&mut Fields<'_>) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, Error> {
    let mut rows = Vec::new();
    let texts = reader.all(sql, |row| {
        each(row, (0, columns.len()), |fields| {
            rows.push(read(fields).ok_or(Error::Unreadable { what: "row" })?);
            Ok(())
        })
    });
    texts.await?;
    Ok(rows)
}

/// Has `take` read each of the rows that lie in some columns, the first and their number, of `row`.
pub(super) fn each(
    row: Row<'_>,
    (first, columns): (usize, usize),
    mut take: impl FnMut(&mut Fields<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let texts = (first..first + columns).map(|column| row.get(column));
    let texts: Vec<Cow<'_, str>> = texts.collect::<Result<_, _>>()?;
    let Some(text) = texts.first().filter(|text| !text.is_empty()) else { return Ok(()) };
    let rows = text.bytes().filter(|byte| *byte == b';').count() + 1;
    let mut fields = Fields::new(&texts);
    (0..rows).try_for_each(|_| take(&mut fields))
}

/// Reads one row of [`SPANS`].
pub(super) fn span(fields: &mut Fields<'_>, day: Day) -> Option<Found<SpanRow>> {
    let id = fields.number()?;
    let row = SpanRow {
        tenant: TenantNumber(fields.number()?),
        trace_key: TraceKey(fields.number()?),
        trace_id: TraceId::from_hex(fields.text()?).ok()?,
        span_id: SpanId::from_hex(fields.text()?).ok()?,
        parent_id: fields.optional(|text| SpanId::from_hex(text).ok())?,
        service: ServiceId(fields.number()?),
        operation: OperationId(fields.number()?),
        resource: ResourceId(fields.number()?),
        instrumentation: InstrumentationId(fields.number()?),
        kind: SpanKind(fields.number()?),
        status: Status::from_otlp(fields.number()?),
        entry: fields.number::<u8>()? != 0,
        http_status: fields.number()?,
        dependency: fields.optional(|text| text.parse().ok())?.map(ServiceId),
        start: day.after(fields.number()?),
        duration_ns: fields.number()?,
        detail: SpanDetail::default(),
    };
    Some(Found { day, id, row })
}

/// Reads one row of [`OUTLINES`].
pub(super) fn outline(fields: &mut Fields<'_>, day: Day) -> Option<Found<SpanOutline>> {
    let (id, trace_key) = (fields.number()?, TraceKey(fields.number()?));
    let (span_id, parent_id) = fields.text()?.split_at_checked(ID_DIGITS)?;
    let operation: u64 = fields.number()?;
    let row = SpanOutline {
        trace_key,
        span_id: SpanId::from_hex(span_id).ok()?,
        parent_id: match parent_id {
            "" => None,
            parent_id => Some(SpanId::from_hex(parent_id).ok()?),
        },
        operation: OperationId(u32::try_from(operation / 2).ok()?),
        entry: operation % 2 == 1,
        start: day.after(fields.number()?),
        duration_ns: fields.number()?,
    };
    Some(Found { day, id, row })
}

/// Reads one row of [`LOGS`].
pub(super) fn log(fields: &mut Fields<'_>, day: Day) -> Option<Found<LogRow>> {
    let id = fields.number()?;
    let row = LogRow {
        tenant: TenantNumber(fields.number()?),
        time: day.after(fields.number()?),
        severity: Severity(fields.number()?),
        service: ServiceId(fields.number()?),
        resource: ResourceId(fields.number()?),
        instrumentation: InstrumentationId(fields.number()?),
        template: TemplateId(fields.number()?),
        trace_id: fields.optional(|text| TraceId::from_hex(text).ok())?,
        span_id: fields.optional(|text| SpanId::from_hex(text).ok())?,
        detail: LogDetail::default(),
    };
    Some(Found { day, id, row })
}

/// Reads one row of [`POINTS`].
pub(super) fn point(fields: &mut Fields<'_>) -> Option<(SeriesId, Point)> {
    let id = SeriesId(fields.number()?);
    let (time, start) = (UnixNanos(fields.number()?), UnixNanos(fields.number()?));
    let flags = fields.number()?;
    let numbers = (fields.optional(|text| text.parse().ok())?, fields.optional(|text| text.parse().ok())?);
    let value = value_of(flags, numbers, fields.optional(|text| text.parse().ok())?);
    let (attributes, detail) = (Attributes::default(), PointDetail::default());
    Some((id, Point { time, start, attributes, value, detail }))
}

/// The fields of rows, one after the other: those of the first row, then those of the second.
pub(super) struct Fields<'a> {
    columns: Vec<Split<'a, char>>,
    /// The column of the next field.
    next: usize,
}

impl<'a> Fields<'a> {
    fn new(texts: &'a [Cow<'_, str>]) -> Self {
        Self { columns: texts.iter().map(|text| text.split(';')).collect(), next: 0 }
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let text = self.columns.get_mut(self.next)?.next();
        self.next = (self.next + 1) % self.columns.len();
        text
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// A field that may be empty.
    fn optional<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
        let text = self.text()?;
        if text.is_empty() { Some(None) } else { read(text).map(Some) }
    }
}
