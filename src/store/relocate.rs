//! A move to another database: every row as it is, with the position of the journal, in one transaction.
//!
//! Both databases have the same tables and columns, so nothing is computed: the rows of a table are read in the order of
//! its key, some at a time, and written to the table of the same name. A move that fails or is interrupted leaves no row
//! behind, and what it reads stays as it was.

use std::path::Path;

use super::catalog::{self, Making};
use super::connection::Connection;
use super::day::Day;
use super::error::Error;
use super::options::{ONLY_JOURNAL, Options};
use super::partition::{self, Family, Kept, Partition, Partitions};
use super::row::Row;
use super::snapshot::read_only;
use super::sql::Dialect;
use super::table::{self, Clash, Kind, Table, Target};
use super::values::Values;
use super::{Store, schema};
use crate::fault;

/// Rows that are held at a time.
const ROWS_MAX: usize = 8_192;
/// Bytes of texts and blobs that are held at a time, unless a single row has more.
const BYTES_MAX: i64 = 16 << 20;
/// What keeps short transactions from hanging would end one that takes as long as it takes.
const UNHURRIED: [&str; 2] =
    ["SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"];
/// The SQLSTATE of Postgres when its table of locks is full.
const OUT_OF_LOCKS: &str = "53200";

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It begins to count the rows.
    Counting,
    /// It begins to copy so many rows.
    Copying(u64),
    /// It begins to count the copies, so many if all is well.
    Verifying(u64),
    /// It is done with so many more rows.
    Done(u64),
}

/// A finished move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The journal position that went along.
    pub applied: u64,
    /// How many rows of each table, those of all days together.
    pub rows: Vec<(&'static str, u64)>,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Somebody keeps something there.
    #[error(
        "the database to move to is not empty (its table {table} has rows): name an empty one, or drop this one and \
         create it again"
    )]
    NotEmpty {
        /// The first table that has rows.
        table: &'static str,
    },
    /// A server works there.
    #[error("a server writes to the database to move to: stop it, or name a database that no server uses")]
    Led,
    /// The copy has fewer rows than what was copied, or more.
    #[error("the table {table} has {there} rows and its copy has {copied}: nothing was moved")]
    Uneven {
        /// The table.
        table: String,
        /// How many rows it has.
        there: u64,
        /// How many were counted in the copy.
        copied: u64,
    },
    /// The tables of all days, in one transaction, are too many for the settings of the Postgres server.
    #[error(
        "the Postgres server has no room for as many locks as there are tables of days: raise \
         max_locks_per_transaction there, to 1024 for example, restart it, and move again"
    )]
    Locks(#[source] sqlx::Error),
}

impl Refusal {
    /// What the caller can do about it.
    pub const fn kind(&self) -> fault::Kind {
        match self {
            Self::NotEmpty { .. } => fault::Kind::Invalid,
            Self::Led | Self::Locks(_) => fault::Kind::Unavailable,
            Self::Uneven { .. } => fault::Kind::Internal,
        }
    }
}

impl Store {
    /// Copies everything that the SQLite file at `from` holds into the database of `to`, which has no rows and gets a
    /// schema where it has none. The journal is known there by its name in `to`. `told` hears how far it is.
    ///
    /// What the file holds when it begins is moved: no server may write to it. Partitions that were given up stay
    /// behind.
    ///
    /// # Errors
    /// With [`Error::NotMoved`] where rows, another server or too few locks are in the way; when the file is missing or
    /// of another release; when either database fails. Nothing was moved then, unless the answer to the commit is what
    /// was lost.
    pub async fn relocate(from: &Path, to: &Options, told: &(dyn Fn(Step) + Sync)) -> Result<Moved, Error> {
        let mut source = begin(from).await?;
        let mut target = to.database.writer().await.map_err(refused)?;
        let moved = relocate(&mut source, &mut target, &to.journal, told).await.map_err(refused);
        // Best effort: either database also notices when a connection just ends.
        let _ = source.close().await;
        let _ = target.close().await;
        moved
    }
}

/// Begins to read one state of a file, of which nothing is changed.
async fn begin(from: &Path) -> Result<Connection, Error> {
    let mut source = Connection::from(read_only(from, false).await?);
    let (found, known) = (schema::highest(&mut source).await?, schema::known(source.dialect()));
    if found > known {
        return Err(Error::Newer { found, known });
    }
    if found < known {
        return Err(Error::Older { found, known });
    }
    source.execute(source.sql("BEGIN")).await?;
    Ok(source)
}

async fn relocate(
    source: &mut Connection,
    target: &mut Connection,
    journal: &str,
    told: &(dyn Fn(Step) + Sync),
) -> Result<Moved, Error> {
    schema::migrate(target, true).await.map_err(|error| match error {
        Error::Newer { .. } => Refusal::NotEmpty { table: "_sqlx_migrations" }.into(),
        other => other,
    })?;
    check_empty(target).await?;
    told(Step::Counting);
    let applied = catalog::applied(source, ONLY_JOURNAL).await?;
    let places = places(source, told).await?;
    let rows: u64 = places.iter().map(|place| place.rows).sum();
    target
        .in_transaction(async |target| {
            if target.dialect() == Dialect::Postgres {
                for limit in UNHURRIED {
                    target.execute(target.sql(limit)).await?;
                }
            }
            make_partitions(source, target).await?;
            told(Step::Copying(rows));
            for place in &places {
                place.copy(source, target, told).await?;
            }
            catalog::set_applied(target, journal, applied).await?;
            told(Step::Verifying(rows));
            for place in &places {
                place.verify(target).await?;
                told(Step::Done(place.rows));
            }
            Ok(())
        })
        .await?;
    Ok(Moved { applied, rows: totals(&places) })
}

/// What an error means to a move.
fn refused(error: Error) -> Error {
    match error {
        Error::Led => Refusal::Led.into(),
        Error::Busy(sqlx::Error::Database(source)) if source.code().as_deref() == Some(OUT_OF_LOCKS) => {
            Refusal::Locks(sqlx::Error::Database(source)).into()
        }
        other => other,
    }
}

/// The names of all tables; of those that are kept by day, the one that stands for all days.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    let of_days = Family::ALL.into_iter().flat_map(|family| family.tables()).map(|kept| kept.parent);
    let whole = WHOLE.iter().map(|moving| moving.table.name);
    whole.chain(["partitions", "promoted", "applied"]).chain(of_days)
}

/// Refuses a database that has rows.
async fn check_empty(target: &mut Connection) -> Result<(), Error> {
    for table in tables() {
        let sql = target.sql(format!("SELECT 1 FROM {table} LIMIT 1"));
        if target.first(sql, |row| row.get::<i64>(0)).await?.is_some() {
            return Err(Refusal::NotEmpty { table }.into());
        }
    }
    Ok(())
}

/// Makes the partitions, each with the attributes that are promoted in it and the first free number of its points.
async fn make_partitions(source: &mut Connection, target: &mut Connection) -> Result<(), Error> {
    let listing = source.sql("SELECT family, day, seq FROM partitions WHERE retired IS NULL");
    let rows = source.rows(listing, |row| Ok((catalog::partition(row)?, row.get::<i64>(2)?))).await?;
    let promoted = catalog::promoted(source).await?;
    let partitions = Partitions(rows.iter().map(|(partition, _)| *partition).collect());
    for (made, seq) in rows {
        let promoted = promoted.get(&made).cloned().unwrap_or_default();
        let making = Making::read(target, &promoted).await?;
        catalog::make(target, &making, &partitions, made).await?;
        let Partition { family, day } = made;
        let family = family as u8;
        let sql = format!("UPDATE partitions SET seq = {seq} WHERE family = {family} AND day = {}", day.0);
        target.execute(target.sql(sql)).await?;
    }
    Ok(())
}

/// A table that is to be moved, on either side.
#[derive(Debug)]
struct Place {
    moving: &'static Moving,
    /// Its name: with the day, where it is kept by day.
    name: String,
    /// Its name without the day.
    kind: &'static str,
    day: Day,
    rows: u64,
}

/// All tables with their rows, but for those that are about partitions and journals.
async fn places(source: &mut Connection, told: &(dyn Fn(Step) + Sync)) -> Result<Vec<Place>, Error> {
    let whole = WHOLE.iter().map(|moving| {
        let kind = moving.table.name;
        Place { moving, name: kind.to_owned(), kind, day: Day(0), rows: 0 }
    });
    let mut places: Vec<Place> = whole.collect();
    for Partition { family, day } in catalog::partitions(source).await?.0 {
        places.extend(family.tables().iter().map(|kept| {
            let moving = of_day(*kept);
            Place { moving, name: kept.on(day), kind: kept.name, day, rows: 0 }
        }));
    }
    for place in &mut places {
        place.rows = count(source, &place.name).await?;
        told(Step::Done(place.rows));
    }
    Ok(places)
}

async fn count(connection: &mut Connection, table: &str) -> Result<u64, Error> {
    let sql = connection.sql(format!("SELECT count(*) FROM {table}"));
    let rows = connection.first(sql, |row| row.get::<i64>(0)).await?;
    Ok(rows.unwrap_or(0).unsigned_abs())
}

fn totals(places: &[Place]) -> Vec<(&'static str, u64)> {
    let mut totals: Vec<(&'static str, u64)> = Vec::new();
    for place in places {
        match totals.iter_mut().find(|(kind, _)| *kind == place.kind) {
            Some((_, rows)) => *rows += place.rows,
            None => totals.push((place.kind, place.rows)),
        }
    }
    totals
}

impl Place {
    /// Copies its rows.
    async fn copy(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        told: &(dyn Fn(Step) + Sync),
    ) -> Result<(), Error> {
        let Self { moving, name, day, .. } = self;
        let place = Target { table: &moving.table, name: name.clone() };
        let mut after: Option<String> = None;
        loop {
            let rows = moving.read(source, name, after.as_deref()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(moving.key_of(last)?);
            target.insert(&place, &rows, |values, row| moving.bind(values, row, *day)).await?;
            told(Step::Done(rows.len() as u64));
        }
    }

    /// Refuses a copy that has another number of rows.
    async fn verify(&self, target: &mut Connection) -> Result<(), Error> {
        let copied = count(target, &self.name).await?;
        if copied == self.rows {
            return Ok(());
        }
        Err(Refusal::Uneven { table: self.name.clone(), there: self.rows, copied }.into())
    }
}

/// A kind of table, as it is moved.
#[derive(Debug)]
struct Moving {
    /// Its rows meet no others.
    table: Table,
    /// The columns of its key, all of them numbers.
    key: &'static str,
}

/// A value on its way.
#[derive(Debug)]
enum Value {
    Number(Option<i64>),
    Real(Option<f64>),
    Text(String),
    Bytes(Option<Vec<u8>>),
}

impl Moving {
    const fn by(table: &Table, key: &'static str) -> Self {
        Self { table: Table { name: table.name, columns: table.columns, clash: Clash::Never }, key }
    }

    /// The next rows of the table `name`, those whose keys come after `after`; none at its end.
    async fn read(
        &self,
        source: &mut Connection,
        name: &str,
        after: Option<&str>,
    ) -> Result<Vec<Vec<Value>>, Error> {
        let key = self.key;
        let behind = after.map(|after| format!(" WHERE ({key}) > ({after})")).unwrap_or_default();
        let rest = format!("FROM {name}{behind} ORDER BY {key}");
        // How long a value is stands before it, so that this reads none of the long ones.
        let sizes = source.sql(format!("SELECT {} {rest} LIMIT {ROWS_MAX}", self.size()));
        let sizes = source.rows(sizes, |row| row.get::<i64>(0)).await?;
        if sizes.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = 0;
        let fitting = sizes.iter().take_while(|size| {
            bytes += **size;
            bytes <= BYTES_MAX
        });
        let fitting = fitting.count().max(1);
        let kinds: Vec<Kind> = self.table.columns(Dialect::Sqlite).map(|(_, kind)| kind).collect();
        let list = self.table.list(Dialect::Sqlite);
        let sql = source.sql(format!("SELECT {list} {rest} LIMIT {fitting}"));
        source.rows(sql, |row| values(row, &kinds)).await
    }

    /// The bytes of a row's texts and blobs, about, in SQL.
    fn size(&self) -> String {
        let long = self.table.columns.iter().filter(|(_, kind)| matches!(kind, Kind::Text | Kind::Bytes));
        let lengths: Vec<String> = long.map(|(name, _)| format!("coalesce(length({name}), 0)")).collect();
        if lengths.is_empty() { "0".to_owned() } else { lengths.join(" + ") }
    }

    /// The key of a row, in SQL.
    fn key_of(&self, row: &[Value]) -> Result<String, Error> {
        let numbers: Option<Vec<String>> = self.key.split(", ").map(|part| self.number(row, part)).collect();
        Ok(numbers.ok_or(Error::Unreadable { what: "key" })?.join(", "))
    }

    fn number(&self, row: &[Value], column: &str) -> Option<String> {
        let columns = self.table.columns(Dialect::Sqlite);
        let (_, value) = columns.zip(row).find(|((name, _), _)| *name == column)?;
        match value {
            Value::Number(Some(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Adds the values of a row of `day` in the order of the columns.
    fn bind(&self, values: &mut Values, row: &[Value], day: Day) {
        let mut row = row.iter();
        for (_, kind) in self.table.columns {
            if *kind == Kind::Day {
                values.day(day);
                continue;
            }
            match row.next() {
                Some(Value::Number(number)) => values.optional_int(*number),
                Some(Value::Real(number)) => values.optional_real(*number),
                Some(Value::Text(text)) => values.text(text),
                Some(Value::Bytes(bytes)) => values.optional_blob(bytes.as_deref()),
                None => {}
            }
        }
    }
}

/// The values of a row whose columns are of these kinds.
fn values(row: Row<'_>, kinds: &[Kind]) -> Result<Vec<Value>, Error> {
    let mut values = Vec::with_capacity(kinds.len());
    for (column, kind) in kinds.iter().enumerate() {
        values.push(match kind {
            Kind::Small | Kind::Int | Kind::Big | Kind::Day => Value::Number(row.get(column)?),
            Kind::Real => Value::Real(row.get(column)?),
            Kind::Text => Value::Text(row.get(column)?),
            Kind::Bytes => Value::Bytes(row.get::<Option<&[u8]>>(column)?.map(<[u8]>::to_vec)),
        });
    }
    Ok(values)
}

static UNROLLED: Table = Table { name: "unrolled", columns: &[("hour", Kind::Big)], clash: Clash::Never };

static UNRECKONED: Table = Table { name: "unreckoned", columns: &[("hour", Kind::Big)], clash: Clash::Never };

static OPEN_MINUTES: Table = Table {
    name: "open_minutes",
    columns: &[("tenant_id", Kind::Int), ("minute", Kind::Big)],
    clash: Clash::Never,
};

/// The tables that are not kept by day.
static WHOLE: [Moving; 12] = [
    Moving::by(&table::TENANTS, "id"),
    Moving::by(&table::SERVICES, "id"),
    Moving::by(&table::OPERATIONS, "id"),
    Moving::by(&table::RESOURCES, "id"),
    Moving::by(&table::INSTRUMENTATIONS, "id"),
    Moving::by(&table::TEMPLATES, "id"),
    Moving::by(&table::SERIES, "id"),
    Moving::by(&UNROLLED, "hour"),
    Moving::by(&UNRECKONED, "hour"),
    Moving::by(&OPEN_MINUTES, "tenant_id, minute"),
    Moving::by(&table::ANOMALIES, "tenant_id, onset, kind, a, b, what"),
    Moving::by(&table::NOTES, "tenant_id, id, number"),
];

/// How the tables of a day are moved.
fn of_day(kept: Kept) -> &'static Moving {
    static SPANS: Moving = Moving::by(&table::SPANS, "id");
    static TRACES: Moving = Moving::by(&table::NEW_TRACES, "id");
    static LOGS: Moving = Moving::by(&table::LOGS, "id");
    static BLOCKS: Moving = Moving::by(&table::BLOCKS, "id");
    static FILTERS: Moving = Moving::by(&table::FILTERS, "id");
    static SLICES: Moving = Moving::by(&table::SLICES, "id");
    static POINTS: Moving = Moving::by(&table::POINTS, "series_id, time_ns, seq");
    static GROUPS: Moving = Moving::by(&table::GROUPS, "tenant_id, bucket, kind, part");
    static ROLLUPS: Moving = Moving::by(&table::ROLLUPS, "tenant_id, width, bucket, kind, a, b, c");
    static SERIES_HOURS: Moving = Moving::by(&table::SERIES_HOURS, "series_id, hour");
    match kept {
        partition::SPANS => &SPANS,
        partition::TRACES => &TRACES,
        partition::LOGS => &LOGS,
        partition::SPAN_BLOCKS | partition::LOG_BLOCKS => &BLOCKS,
        partition::SPAN_FILTERS | partition::LOG_FILTERS => &FILTERS,
        partition::SPAN_SLICES | partition::LOG_SLICES => &SLICES,
        partition::POINTS => &POINTS,
        partition::FINE => &GROUPS,
        partition::SERIES_HOURS => &SERIES_HOURS,
        _ => &ROLLUPS,
    }
}
