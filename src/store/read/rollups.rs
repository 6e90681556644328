//! Roll-ups: cells by bucket, or merged over time.
//!
//! A row of its own for each cell would cost four times as much in passing rows between threads as in reading
//! them: SQLite joins the cells of a bucket into a few lines of text.

use std::collections::{BTreeSet, HashMap};

use super::columns::Columns;
use super::lines::{self, Fields};
use super::long;
use super::reader::{Reader, check_named};
use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, HOUR_SECONDS, Subject};
use crate::model::sketch::Sketch;
use crate::model::subject_map::SubjectMap;
use crate::model::time::{NANOS_PER_SECOND, UnixNanos, Window};
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{FINE, Family};
use crate::store::rollups::decode;
use crate::store::sql::Dialect;

/// Most cells of one answer: about 400 MB.
pub const CELLS_MAX: usize = 1_000_000;
const UNREADABLE: Error = Error::Unreadable { what: "roll-up" };
/// The columns of a cell.
const CELLS: &[&str] =
    &["a", "b", "c", "count", "errors", "sum_ns", "max_ns", "other_ns", "answered", "hex(sketch)"];
/// The columns of a cell's totals.
const TOTALS: &[&str] = &["a", "b", "c", "count", "errors", "sum_ns", "other_ns"];

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

impl RollupKind {
    /// What this is.
    pub const fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Operation(..) => Self::Operation,
            Subject::Instance(..) => Self::Instance,
            Subject::Edge(..) => Self::Edge,
            Subject::Logs(..) => Self::Logs,
        }
    }
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
        let ask = Ask { tenant, width_seconds, window, kinds, only: None };
        walk(&mut reader, &ask, |bucket, subject, cell| {
            cells.push((bucket, subject, cell));
            cells.len() <= CELLS_MAX
        })
        .await?;
        reader.finish().await?;
        cells.sort_unstable_by_key(|(bucket, subject, _)| (*bucket, *subject));
        Ok(cells)
    }

    /// As [`Store::rollups`], with the buckets of each subject merged. Over hours, buckets of a minute are read as those
    /// of an hour where these are added up: the sums are the same. Holds one cell a subject, and errs when
    /// there are more than [`CELLS_MAX`] subjects.
    pub async fn merged_rollups(
        &self,
        tenant: TenantNumber,
        width_seconds: i64,
        window: Window,
        kinds: &[RollupKind],
    ) -> Result<SubjectMap<Cell>, Error> {
        self.merged_of(Ask { tenant, width_seconds, window, kinds, only: None }).await
    }

    /// The same for those subjects alone that [`is_about`] `numbers`, which takes less. Errs where these are more than
    /// [`NAMED_MAX`](super::NAMED_MAX).
    pub async fn merged_rollups_about(
        &self,
        tenant: TenantNumber,
        width_seconds: i64,
        window: Window,
        (kinds, numbers): (&[RollupKind], &BTreeSet<u32>),
    ) -> Result<SubjectMap<Cell>, Error> {
        check_named("subjects", numbers.len())?;
        self.merged_of(Ask { tenant, width_seconds, window, kinds, only: Some(numbers) }).await
    }

    async fn merged_of(&self, ask: Ask<'_>) -> Result<SubjectMap<Cell>, Error> {
        let mut cells: SubjectMap<Cell> = SubjectMap::default();
        let mut reader = self.reader().await?;
        let parts = match ask.width_seconds {
            COARSE_SECONDS => long::parts(&mut reader, ask.window).await?,
            width_seconds => vec![(width_seconds, ask.window)],
        };
        for (width_seconds, window) in parts {
            let ask = Ask { width_seconds, window, ..ask };
            walk(&mut reader, &ask, |_, subject, cell| {
                cells.entry(subject).or_default().merge(&cell);
                cells.len() <= CELLS_MAX
            })
            .await?;
        }
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
        let to = first_second_after(window);
        let from = window.from.bucket_seconds(COARSE_SECONDS);
        let mut cells: HashMap<(i64, Subject), Cell> = HashMap::new();
        let window = Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to));
        let parts = match step % HOUR_SECONDS {
            0 => long::parts(&mut reader, window).await?,
            _ => vec![(COARSE_SECONDS, window)],
        };
        for part in parts {
            totals(&mut reader, (tenant, kinds), step, part, |bucket, subject, cell| {
                cells.entry((bucket, subject)).or_default().merge(&cell);
                if cells.len() > CELLS_MAX {
                    return Err(Error::TooMuch { what: "roll-ups", max: CELLS_MAX });
                }
                Ok(())
            })
            .await?;
        }
        let cells: Vec<_> =
            cells.into_iter().map(|((bucket, subject), cell)| (bucket, subject, cell)).collect();
        reader.finish().await?;
        Ok(cells)
    }
}

/// Hands the totals of the cells of one width in a window to `take`, each with the beginning of its step, which it may
/// have in common with others.
async fn totals(
    reader: &mut Reader,
    (tenant, kinds): (TenantNumber, &[RollupKind]),
    step: i64,
    (width, window): (i64, Window),
    mut take: impl FnMut(i64, Subject, Cell) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let family = Family::of_width(width);
    let (from, to) = (window.from.seconds(), window.to.seconds());
    let dialect = reader.dialect();
    let (columns, grouped) = match dialect {
        Dialect::Sqlite => (
            format!("bucket, kind, {}", lines::joined(TOTALS)),
            // The order of the table: no sorting.
            " GROUP BY bucket, kind".to_owned(),
        ),
        Dialect::Postgres => (
            format!(
                "bucket / {step} * {step}, kind, a, b, c, CAST(sum(count) AS BIGINT), CAST(sum(errors) AS BIGINT), \
                 CAST(sum(CAST(sum_ns AS DOUBLE PRECISION)) AS DOUBLE PRECISION), \
                 CAST(sum(CAST(other_ns AS DOUBLE PRECISION)) AS DOUBLE PRECISION)"
            ),
            format!(" GROUP BY 1, 2, 3, 4, 5 LIMIT {}", CELLS_MAX + 1),
        ),
    };
    for day in reader.days(family, window) {
        let mut query = reader.sql(format!(
            "SELECT {columns} FROM {} WHERE tenant_id = {} AND width = {width} AND bucket >= {from} AND bucket < {to} \
             AND kind",
            family.tables()[0].on(day),
            tenant.0,
        ));
        query.push(dialect.is_one_of(kinds.iter().map(|kind| *kind as i64))).push(&grouped);
        let lines = reader.all(query, |row| {
            let columns = Columns { row, what: "roll-up" };
            let (bucket, kind) = (columns.number::<i64>(0)?, columns.number(1)?);
            if dialect == Dialect::Postgres {
                let (subject, cell) = total(&columns, kind)?;
                return take(bucket, subject, cell);
            }
            lines::each(row, (2, TOTALS.len()), |fields| {
                let (subject, cell) = read_total(kind, fields).ok_or(UNREADABLE)?;
                take(bucket / step * step, subject, cell)
            })
        });
        lines.await?;
    }
    if width == COARSE_SECONDS {
        for ((minute, subject), cell) in open_minutes(reader, (tenant, kinds), (from, to)).await? {
            let totals = Cell { max_ns: 0, answered: 0, sketch: Sketch::default(), ..cell };
            take(minute / step * step, subject, totals)?;
        }
    }
    Ok(())
}

/// Which cells.
#[derive(Clone, Copy)]
pub(in crate::store) struct Ask<'a> {
    pub(in crate::store) tenant: TenantNumber,
    pub(in crate::store) width_seconds: i64,
    pub(in crate::store) window: Window,
    pub(in crate::store) kinds: &'a [RollupKind],
    /// Those alone that are about these numbers.
    pub(in crate::store) only: Option<&'a BTreeSet<u32>>,
}

/// Whether one of `numbers` is that of an operation, a service, an instance or a log template that a subject is made of.
pub fn is_about(subject: &Subject, numbers: &BTreeSet<u32>) -> bool {
    let parts = match *subject {
        Subject::Operation(operation) => [operation.0, operation.0],
        Subject::Instance(service, resource) => [service.0, resource.0],
        Subject::Edge(from, to) => [from.0, to.0],
        Subject::Logs(service, template, _) => [service.0, template.0],
    };
    parts.iter().any(|part| numbers.contains(part))
}

/// The second at which a window ends, or the next one where it ends within a second.
fn first_second_after(window: Window) -> i64 {
    let (second, rest) = (window.to.seconds(), window.to.0.rem_euclid(NANOS_PER_SECOND));
    second + i64::from(rest != 0)
}

/// Hands every cell to `take`, bucket by bucket, until that answers that there are too many.
pub(in crate::store) async fn walk(
    reader: &mut Reader,
    ask: &Ask<'_>,
    mut take: impl FnMut(i64, Subject, Cell) -> bool + Send,
) -> Result<(), Error> {
    let width = ask.width_seconds.max(1);
    let from = ask.window.from.bucket_seconds(width);
    let to = first_second_after(ask.window);
    let family = Family::of_width(width);
    let days = (Day::of(UnixNanos::from_seconds(from)), Day::of(ask.window.to));
    let mut days = reader.days_between(family, days);
    days.reverse();
    let mut taken = |bucket: i64, subject: Subject, cell: Cell| {
        if ask.only.is_some_and(|numbers| !is_about(&subject, numbers)) || take(bucket, subject, cell) {
            return Ok(());
        }
        Err(Error::TooMuch { what: "roll-ups", max: CELLS_MAX })
    };
    if width == FINE_SECONDS {
        return walk_fine(reader, (ask.tenant, ask.kinds), (from, to), taken).await;
    }
    let dialect = reader.dialect();
    // SQLite: a few lines of text a bucket, in the order of the table. Postgres passes rows on in packets already.
    let (columns, grouped) = match dialect {
        Dialect::Sqlite => (lines::joined(CELLS), " GROUP BY bucket, kind"),
        Dialect::Postgres => {
            ("a, b, c, count, errors, sum_ns, max_ns, other_ns, answered, sketch".to_owned(), "")
        }
    };
    let mut bytes = Vec::new();
    for day in days {
        let mut sql = reader.sql(format!(
            "SELECT bucket, kind, {columns} FROM {} WHERE tenant_id = {} AND width = {width} AND bucket >= {from} \
             AND bucket < {to} AND kind",
            family.tables()[0].on(day),
            ask.tenant.0,
        ));
        sql.push(dialect.is_one_of(ask.kinds.iter().map(|kind| *kind as i64)));
        if let Some(numbers) = ask.only {
            let numbers = dialect.is_one_of(numbers.iter().map(|number| i64::from(*number)));
            sql.push(format_args!(" AND (a{numbers} OR b{numbers})"));
        }
        sql.push(grouped);
        let lines = reader.all(sql, |row| {
            let columns = Columns { row, what: "roll-up" };
            let (bucket, kind) = (columns.number(0)?, columns.number(1)?);
            if dialect == Dialect::Postgres {
                let (subject, cell) = cell(&columns, kind)?;
                return taken(bucket, subject, cell);
            }
            lines::each(row, (2, CELLS.len()), |fields| {
                let (subject, cell) = read(kind, fields, &mut bytes).ok_or(UNREADABLE)?;
                taken(bucket, subject, cell)
            })
        });
        lines.await?;
    }
    if width == COARSE_SECONDS {
        for ((minute, subject), cell) in open_minutes(reader, (ask.tenant, ask.kinds), (from, to)).await? {
            taken(minute, subject, cell)?;
        }
    }
    Ok(())
}

/// Hands every cell of ten seconds whose bucket lies in a range of seconds to `take`.
async fn walk_fine(
    reader: &mut Reader,
    (tenant, kinds): (TenantNumber, &[RollupKind]),
    (from, to): (i64, i64),
    mut take: impl FnMut(i64, Subject, Cell) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let day = |seconds: i64| Day::of(UnixNanos::from_seconds(seconds));
    let mut days = reader.days_between(Family::Fine, (day(from), day(to)));
    days.reverse();
    for day in days {
        let mut sql = reader.sql(format!(
            "SELECT bucket, kind, cells FROM {} WHERE tenant_id = {} AND bucket >= {from} AND bucket < {to} AND kind",
            FINE.on(day),
            tenant.0,
        ));
        sql.push(reader.dialect().is_one_of(kinds.iter().map(|kind| *kind as i64)));
        let groups = reader.all(sql, |row| {
            let (bucket, kind): (i64, i64) = (row.get(0)?, row.get(1)?);
            for (ids, cell) in decode(row.get(2)?).ok_or(UNREADABLE)? {
                let [a, b, c] = ids.map(|id| u32::try_from(id).ok());
                let ids = a.zip(b).zip(c).map(|((a, b), c)| [a, b, c]);
                take(bucket, ids.and_then(|ids| subject(kind, ids)).ok_or(UNREADABLE)?, cell)?;
            }
            Ok(())
        });
        groups.await?;
    }
    Ok(())
}

/// The cells of the minutes that begin in a range of seconds and are open: the sums of their tens of seconds.
pub(super) async fn open_minutes(
    reader: &mut Reader,
    (tenant, kinds): (TenantNumber, &[RollupKind]),
    (from, to): (i64, i64),
) -> Result<HashMap<(i64, Subject), Cell>, Error> {
    let sql = reader.sql(format!(
        "SELECT minute FROM open_minutes WHERE tenant_id = {} AND minute >= {from} AND minute < {to} ORDER BY minute",
        tenant.0
    ));
    let open = reader.all(sql, |row| row.get::<i64>(0)).await?;
    let mut cells: HashMap<(i64, Subject), Cell> = HashMap::new();
    for run in open.chunk_by(|a, b| a + COARSE_SECONDS == *b) {
        let range = (run[0], run[run.len() - 1] + COARSE_SECONDS);
        walk_fine(reader, (tenant, kinds), range, |bucket, subject, cell| {
            let minute = bucket.div_euclid(COARSE_SECONDS) * COARSE_SECONDS;
            cells.entry((minute, subject)).or_default().merge(&cell);
            Ok(())
        })
        .await?;
    }
    Ok(cells)
}

/// Reads a cell out of the columns from `a` on.
fn cell(columns: &Columns<'_>, kind: i64) -> Result<(Subject, Cell), Error> {
    let ids = [columns.number(2)?, columns.number(3)?, columns.number(4)?];
    let cell = Cell {
        count: columns.number(5)?,
        errors: columns.number(6)?,
        sum_ns: columns.number(7)?,
        max_ns: columns.number(8)?,
        other_ns: columns.number(9)?,
        answered: columns.number(10)?,
        sketch: Sketch::decode(columns.row.get(11)?).ok_or(UNREADABLE)?,
    };
    Ok((subject(kind, ids).ok_or(UNREADABLE)?, cell))
}

/// Reads totals out of the columns from `a` on.
fn total(columns: &Columns<'_>, kind: i64) -> Result<(Subject, Cell), Error> {
    let ids = [columns.number(2)?, columns.number(3)?, columns.number(4)?];
    let (sum_ns, other_ns): (f64, f64) = (columns.row.get(7)?, columns.row.get(8)?);
    let cell = Cell {
        count: columns.number(5)?,
        errors: columns.number(6)?,
        sum_ns: sum_ns as u64,
        other_ns: other_ns as u64,
        ..Cell::default()
    };
    Ok((subject(kind, ids).ok_or(UNREADABLE)?, cell))
}

/// Reads the totals of one cell, [`TOTALS`].
fn read_total(kind: i64, fields: &mut Fields<'_>) -> Option<(Subject, Cell)> {
    let ids = [fields.number()?, fields.number()?, fields.number()?];
    let (count, errors) = (fields.number()?, fields.number()?);
    let (sum_ns, other_ns) = (fields.number()?, fields.number()?);
    Some((subject(kind, ids)?, Cell { count, errors, sum_ns, other_ns, ..Cell::default() }))
}

/// Reads one cell, [`CELLS`]; `bytes` is room for its sketch.
fn read(kind: i64, fields: &mut Fields<'_>, bytes: &mut Vec<u8>) -> Option<(Subject, Cell)> {
    let ids = [fields.number()?, fields.number()?, fields.number()?];
    let (count, errors, sum_ns) = (fields.number()?, fields.number()?, fields.number()?);
    let (max_ns, other_ns, answered) = (fields.number()?, fields.number()?, fields.number()?);
    unhex(fields.text()?, bytes)?;
    let subject = subject(kind, ids)?;
    let sketch = Sketch::decode(bytes)?;
    Some((subject, Cell { count, errors, sum_ns, max_ns, other_ns, answered, sketch }))
}

pub(super) fn subject(kind: i64, [a, b, c]: [u32; 3]) -> Option<Subject> {
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
