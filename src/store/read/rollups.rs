//! Roll-ups: cells by bucket, or merged over time.
//!
//! A row of its own for each cell would cost four times as much in passing rows between threads as in reading
//! them: SQLite joins the cells of a bucket into one line of text.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite};

use super::columns::Columns;
use super::reader::{Reader, push_list};
use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::sketch::Sketch;
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::store::Store;
use crate::store::error::Error;

/// Most cells of one answer: about 400 MB.
pub const CELLS_MAX: usize = 1_000_000;
const UNREADABLE: Error = Error::Unreadable { what: "roll-up" };

/// What a cell is about; see [`Subject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RollupKind {
    /// Operations.
    Operation = 0,
    /// Instances of services.
    Instance = 1,
    /// Calls between operations.
    Edge = 2,
    /// Log records by template and severity.
    Logs = 3,
}

impl Store {
    /// The cells of `kinds` in the buckets of `width_seconds` that overlap `window`, by the start of their bucket
    /// in seconds and then by subject. Errs when there are more than [`CELLS_MAX`].
    pub async fn rollups(
        &self,
        tenant: TenantNumber,
        width_seconds: i64,
        window: Window,
        kinds: &[RollupKind],
    ) -> Result<Vec<(i64, Subject, Cell)>, Error> {
        let mut cells = Vec::new();
        let mut reader = self.reader().await?;
        let ask = Ask { tenant, width_seconds, window, kinds };
        walk(&mut reader, &ask, |bucket, subject, cell| {
            cells.push((bucket, subject, cell));
            cells.len() <= CELLS_MAX
        })
        .await?;
        reader.finish().await?;
        cells.sort_unstable_by_key(|(bucket, subject, _)| (*bucket, *subject));
        Ok(cells)
    }

    /// As [`Store::rollups`], with the buckets of each subject merged. Holds one cell a subject, and errs when
    /// there are more than [`CELLS_MAX`] subjects.
    pub async fn merged_rollups(
        &self,
        tenant: TenantNumber,
        width_seconds: i64,
        window: Window,
        kinds: &[RollupKind],
    ) -> Result<HashMap<Subject, Cell>, Error> {
        let mut cells: HashMap<Subject, Cell> = HashMap::new();
        let mut reader = self.reader().await?;
        let ask = Ask { tenant, width_seconds, window, kinds };
        walk(&mut reader, &ask, |_, subject, cell| {
            cells.entry(subject).or_default().merge(&cell);
            cells.len() <= CELLS_MAX
        })
        .await?;
        reader.finish().await?;
        Ok(cells)
    }

    /// The totals of the cells of `kinds` in buckets of [`COARSE_SECONDS`] that overlap `window`, added up over steps of
    /// `step_seconds`, a multiple of that, without sketches: by the start of the step in seconds. Errs when there are
    /// more than [`CELLS_MAX`].
    pub async fn timeline(
        &self,
        tenant: TenantNumber,
        step_seconds: i64,
        window: Window,
        kinds: &[RollupKind],
    ) -> Result<Vec<(i64, Subject, Cell)>, Error> {
        let mut reader = self.reader().await?;
        let step = step_seconds.max(COARSE_SECONDS);
        let (from, to) = (window.from.bucket_seconds(COARSE_SECONDS), window.to.seconds());
        let mut query = QueryBuilder::<Sqlite>::new("");
        query.push(format_args!(
            "SELECT bucket / {step} * {step}, kind, a, b, c, sum(count), sum(errors), total(sum_ns), total(other_ns) \
             FROM rollups WHERE tenant_id = {} AND width = {COARSE_SECONDS} AND bucket >= {from} AND bucket <= {to} AND kind IN ",
            tenant.0,
        ));
        push_list(&mut query, kinds.iter().map(|kind| *kind as i64));
        query.push(" GROUP BY 1, 2, 3, 4, 5 LIMIT ").push(CELLS_MAX + 1);
        let cells = reader.all(query, |row| {
            let columns = Columns { row, what: "roll-up" };
            let ids = [columns.number::<u32>(2)?, columns.number::<u32>(3)?, columns.number::<u32>(4)?];
            let subject = subject(columns.number(1)?, ids).ok_or(UNREADABLE)?;
            let (sum_ns, other_ns): (f64, f64) = (row.try_get(7)?, row.try_get(8)?);
            let cell = Cell {
                count: columns.number(5)?,
                errors: columns.number(6)?,
                sum_ns: sum_ns as u64,
                other_ns: other_ns as u64,
                ..Cell::default()
            };
            Ok((columns.number(0)?, subject, cell))
        });
        let cells: Vec<_> = cells.await?;
        reader.finish().await?;
        if cells.len() > CELLS_MAX {
            return Err(Error::TooMuch { what: "roll-ups", max: CELLS_MAX });
        }
        Ok(cells)
    }

    /// The time from the first bucket to the end of the last, of all widths; none where there is no bucket.
    pub async fn rollup_range(&self, tenant: TenantNumber) -> Result<Option<Window>, Error> {
        let mut reader = self.reader().await?;
        // Jumps from width to width, and looks at both ends of each.
        let mut query = QueryBuilder::<Sqlite>::new("");
        query.push(format_args!(
            "WITH RECURSIVE widths (width) AS (\
             SELECT min(width) FROM rollups WHERE tenant_id = {0} UNION ALL \
             SELECT (SELECT min(r.width) FROM rollups r WHERE r.tenant_id = {0} AND r.width > widths.width) \
             FROM widths WHERE width IS NOT NULL) \
             SELECT width, (SELECT min(bucket) FROM rollups r WHERE r.tenant_id = {0} AND r.width = widths.width), \
             (SELECT max(bucket) FROM rollups r WHERE r.tenant_id = {0} AND r.width = widths.width) \
             FROM widths WHERE width IS NOT NULL",
            tenant.0
        ));
        let ranges = reader.all(query, |row| {
            let (width, first, last): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let end = UnixNanos::from_seconds(last.saturating_add(width));
            Ok(Window::new(UnixNanos::from_seconds(first), end))
        });
        let ranges = ranges.await?;
        reader.finish().await?;
        Ok(ranges.into_iter().reduce(|a, b| Window::new(a.from.min(b.from), a.to.max(b.to))))
    }

    /// The tenants that have roll-ups, by number.
    pub async fn rollup_tenants(&self) -> Result<Vec<TenantNumber>, Error> {
        let mut reader = self.reader().await?;
        let query = "WITH RECURSIVE tenants_of (id) AS (SELECT min(tenant_id) FROM rollups UNION ALL \
                     SELECT (SELECT min(r.tenant_id) FROM rollups r WHERE r.tenant_id > tenants_of.id) \
                     FROM tenants_of WHERE id IS NOT NULL) SELECT id FROM tenants_of WHERE id IS NOT NULL";
        let tenants = reader.all(QueryBuilder::new(query), |row| Ok(TenantNumber(row.try_get(0)?))).await?;
        reader.finish().await?;
        Ok(tenants)
    }
}

struct Ask<'a> {
    tenant: TenantNumber,
    width_seconds: i64,
    window: Window,
    kinds: &'a [RollupKind],
}

/// Hands every cell to `take`, bucket by bucket, until that answers that there are too many.
async fn walk(
    reader: &mut Reader,
    ask: &Ask<'_>,
    mut take: impl FnMut(i64, Subject, Cell) -> bool + Send,
) -> Result<(), Error> {
    let mut query = QueryBuilder::<Sqlite>::new("");
    let from = ask.window.from.bucket_seconds(ask.width_seconds.max(1));
    let to = ask.window.to.0.div_euclid(NANOS_PER_SECOND)
        + i64::from(ask.window.to.0.rem_euclid(NANOS_PER_SECOND) != 0);
    query.push(format_args!(
        "SELECT bucket, kind, group_concat(concat_ws(',', a, b, c, count, errors, sum_ns, max_ns, other_ns, \
         answered, hex(sketch)), ';') FROM rollups \
         WHERE tenant_id = {} AND width = {} AND bucket >= {from} AND bucket < {to} AND kind IN ",
        ask.tenant.0, ask.width_seconds,
    ));
    push_list(&mut query, ask.kinds.iter().map(|kind| *kind as i64));
    // The order of the table: no sorting.
    query.push(" GROUP BY bucket, kind");
    let mut bytes = Vec::new();
    let lines = reader.all(query, |row| {
        let columns = Columns { row, what: "roll-up" };
        let (bucket, kind) = (columns.number(0)?, columns.number(1)?);
        for text in row.try_get::<&str, _>(2)?.split(';') {
            let (subject, cell) = read(kind, text, &mut bytes).ok_or(UNREADABLE)?;
            if !take(bucket, subject, cell) {
                return Err(Error::TooMuch { what: "roll-ups", max: CELLS_MAX });
            }
        }
        Ok(())
    });
    lines.await.map(|_| ())
}

/// Reads the text of one cell; `bytes` is room for its sketch.
fn read(kind: i64, text: &str, bytes: &mut Vec<u8>) -> Option<(Subject, Cell)> {
    let mut fields = text.split(',');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (a, b, c) = (number()?, number()?, number()?);
    let (count, errors, sum_ns, max_ns) = (number()?, number()?, number()?, number()?);
    let (other_ns, answered) = (number()?, number()?);
    unhex(fields.next()?, bytes)?;
    let subject = subject(kind, [u32::try_from(a).ok()?, u32::try_from(b).ok()?, u32::try_from(c).ok()?])?;
    let sketch = Sketch::decode(bytes)?;
    Some((subject, Cell { count, errors, sum_ns, max_ns, other_ns, answered, sketch }))
}

fn subject(kind: i64, [a, b, c]: [u32; 3]) -> Option<Subject> {
    Some(match kind {
        0 => Subject::Operation(OperationId(a)),
        1 => Subject::Instance(ServiceId(a), ResourceId(b)),
        2 => Subject::Edge(OperationId(a), OperationId(b)),
        3 => Subject::Logs(ServiceId(a), TemplateId(b), Severity(u8::try_from(c).ok()?)),
        _ => return None,
    })
}

fn unhex(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    bytes.clear();
    for pair in text.as_bytes().chunks_exact(2) {
        bytes.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(())
}
