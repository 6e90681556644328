//! Many rows in one line of text.
//!
//! To pass a row on from SQLite's thread costs as much as to find it, and grows with its columns. Where many are read, the
//! database joins them into one text: fields separated by commas, rows by semicolons, ids in hexadecimal.

use std::borrow::Cow;
use std::str::{FromStr, Split};

use super::columns::Found;
use super::metrics::value_of;
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
use crate::store::rows::{LogRow, SpanRow};
use crate::store::sql::Sql;

/// Stands for nothing: a field that is NULL is no field to SQLite.
const NOTHING: &str = "-";

/// What joins the columns `columns::SPAN` of all rows.
pub(super) const SPANS: &str = "coalesce(group_concat(concat_ws(',', s.id, s.tenant_id, t.trace_key, hex(t.trace_id), hex(s.span_id), \
     iif(s.parent_id IS NULL, '-', hex(s.parent_id)), s.service_id, s.operation_id, s.resource_id, s.instrumentation_id, \
     coalesce(o.kind, 0), s.status, s.entry, s.http_status, coalesce(s.dependency_id, '-'), s.start_ns, s.duration_ns), ';'), '')";

/// What joins the columns `columns::LOG` of all rows.
pub(super) const LOGS: &str = "coalesce(group_concat(concat_ws(',', s.id, s.tenant_id, s.time_ns, s.severity, s.service_id, \
     s.resource_id, s.instrumentation_id, s.template_id, iif(s.trace_id IS NULL, '-', hex(s.trace_id)), \
     iif(s.span_id IS NULL, '-', hex(s.span_id))), ';'), '')";

/// What joins points without their details. Seventeen digits tell one number from the next; SQLite does not write the last of
/// them right where numbers are very large or small, which therefore make the text unreadable.
pub(super) const POINTS: &str = "coalesce(group_concat(concat_ws(',', series_id, time_ns, start_ns, flags, coalesce(int_value, '-'), \
     CASE WHEN real_value IS NULL THEN '-' WHEN real_value = 0 OR abs(real_value) BETWEEN 1e-60 AND 1e60 \
     THEN printf('%!.17g', real_value) ELSE '?' END, coalesce(count, '-')), ';'), '')";

/// The rows of a statement that joins them into one text.
pub(super) async fn read<T: Send>(
    reader: &mut Reader,
    sql: Sql,
    read: impl Fn(&str) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, Error> {
    let mut rows = Vec::new();
    let texts = reader.all(sql, |row| {
        let text: Cow<'_, str> = row.get(0)?;
        for row in text.split(';').filter(|row| !row.is_empty()) {
            rows.push(read(row).ok_or(Error::Unreadable { what: "row" })?);
        }
        Ok(())
    });
    texts.await?;
    Ok(rows)
}

/// Reads one row of [`SPANS`].
pub(super) fn span(text: &str, day: Day) -> Option<Found<SpanRow>> {
    let mut fields = Fields(text.split(','));
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

/// Reads one row of [`LOGS`].
pub(super) fn log(text: &str, day: Day) -> Option<Found<LogRow>> {
    let mut fields = Fields(text.split(','));
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
pub(super) fn point(text: &str) -> Option<(SeriesId, Point)> {
    let mut fields = Fields(text.split(','));
    let id = SeriesId(fields.number()?);
    let (time, start) = (UnixNanos(fields.number()?), UnixNanos(fields.number()?));
    let flags = fields.number()?;
    let numbers = (fields.optional(|text| text.parse().ok())?, fields.optional(|text| text.parse().ok())?);
    let value = value_of(flags, numbers, fields.optional(|text| text.parse().ok())?);
    let (attributes, detail) = (Attributes::default(), PointDetail::default());
    Some((id, Point { time, start, attributes, value, detail }))
}

/// The fields of one row, one after the other.
pub(super) struct Fields<'a>(pub(super) Split<'a, char>);

impl<'a> Fields<'a> {
    pub(super) fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn optional<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
        let text = self.text()?;
        if text == NOTHING { Some(None) } else { read(text).map(Some) }
    }
}
