//! Rows as they come out of the tables, without their details.

use crate::model::id::{InstrumentationId, OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::{LogDetail, Severity};
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::row::Row;
use crate::store::rows::{LogRow, SpanRow};

/// The columns that [`span`] reads.
pub(super) const SPAN: &str = "id, block_id, block_row, tenant_id, trace_key, trace_id, span_id, parent_id, service_id, \
     operation_id, resource_id, instrumentation_id, kind, status, entry, http_status, dependency_id, start_ns, \
     duration_ns";

/// The columns that [`log`] reads.
pub(super) const LOG: &str = "id, block_id, block_row, tenant_id, time_ns, severity, service_id, resource_id, \
     instrumentation_id, template_id, trace_id, span_id";

/// A row, and where the rest of it is.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    /// The day whose tables it is in.
    pub(super) day: Day,
    /// Its place in the order of arrival, on its day.
    pub(super) id: i64,
    /// The block that holds its details, on its day.
    pub(super) block: i64,
    /// Its position there.
    pub(super) position: usize,
    /// The row, with empty details until they are loaded.
    pub(super) row: T,
}

impl<T> Found<T> {
    /// Its number, unique among all days.
    pub(super) const fn number(&self) -> i64 {
        self.day.row(self.id)
    }
}

/// Reads a row of the columns [`SPAN`].
pub(super) fn span(row: Row<'_>, day: Day) -> Result<Found<SpanRow>, Error> {
    let columns = Columns { row, what: "span" };
    let span = SpanRow {
        tenant: TenantNumber(columns.number(3)?),
        trace_key: TraceKey(columns.number(4)?),
        trace_id: columns.id(5)?,
        span_id: columns.id(6)?,
        parent_id: columns.optional_id(7)?,
        service: ServiceId(columns.number(8)?),
        operation: OperationId(columns.number(9)?),
        resource: ResourceId(columns.number(10)?),
        instrumentation: InstrumentationId(columns.number(11)?),
        kind: SpanKind(columns.number(12)?),
        status: Status::from_otlp(columns.number(13)?),
        entry: row.get(14)?,
        http_status: columns.number(15)?,
        dependency: columns.optional_number(16)?.map(ServiceId),
        start: UnixNanos(columns.number(17)?),
        duration_ns: columns.number(18)?,
        detail: SpanDetail::default(),
    };
    columns.found(day, span)
}

/// Reads a row of the columns [`LOG`].
pub(super) fn log(row: Row<'_>, day: Day) -> Result<Found<LogRow>, Error> {
    let columns = Columns { row, what: "log record" };
    let log = LogRow {
        tenant: TenantNumber(columns.number(3)?),
        time: UnixNanos(columns.number(4)?),
        severity: Severity(columns.number(5)?),
        service: ServiceId(columns.number(6)?),
        resource: ResourceId(columns.number(7)?),
        instrumentation: InstrumentationId(columns.number(8)?),
        template: TemplateId(columns.number(9)?),
        trace_id: columns.optional_id(10)?,
        span_id: columns.optional_id(11)?,
        detail: LogDetail::default(),
    };
    columns.found(day, log)
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

    fn found<T>(&self, day: Day, row: T) -> Result<Found<T>, Error> {
        Ok(Found { day, id: self.number(0)?, block: self.number(1)?, position: self.number(2)?, row })
    }
}
