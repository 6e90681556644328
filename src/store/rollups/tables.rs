//! Roll-ups in their tables.

use std::collections::BTreeMap;

use super::Place;
use super::group::{Cells, Group, decode};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Subject};
use crate::model::sketch::Sketch;
use crate::model::time::UnixNanos;
use crate::store::connection::Connection;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{self, Family, Partition, Partitions};
use crate::store::row::Row;
use crate::store::sql::Sql;
use crate::store::values::Values;

/// Cells or groups that one statement looks for.
pub(super) const PROBES: usize = 128;
const UNREADABLE: Error = Error::Unreadable { what: "roll-up" };

/// The columns kind, a, b and c.
pub(in crate::store) fn columns(subject: Subject) -> [i64; 4] {
    match subject {
        Subject::Operation(operation) => [0, operation.0.into(), 0, 0],
        Subject::Instance(service, resource) => [1, service.0.into(), resource.0.into(), 0],
        Subject::Edge(caller, callee) => [2, caller.0.into(), callee.0.into(), 0],
        Subject::Logs(service, template, severity) => {
            [super::LOGS, service.0.into(), template.0.into(), severity.0.into()]
        }
    }
}

pub(in crate::store) fn bind(values: &mut Values, place: &Place, cell: &Cell) {
    values.int(place.tenant.0);
    values.int(place.width);
    values.int(place.bucket);
    place.subject.iter().for_each(|column| values.int(*column));
    for sum in [cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered] {
        values.unsigned(sum);
    }
    let mut sketch = Vec::with_capacity(64);
    cell.sketch.encode(&mut sketch);
    values.owned_blob(sketch);
}

/// The newest bucket of each tenant in a partition.
pub(super) async fn newest(
    connection: &mut Connection,
    family: Family,
    day: Day,
) -> Result<Vec<(TenantNumber, i64)>, Error> {
    let table = family.tables()[0].on(day);
    // The tenants that have cells: one probe of the key each, where DISTINCT would read the whole table.
    let newest = connection.sql(format!(
        "WITH RECURSIVE t (id) AS (SELECT min(tenant_id) FROM {table} UNION ALL \
         SELECT (SELECT min(r.tenant_id) FROM {table} AS r WHERE r.tenant_id > t.id) FROM t WHERE t.id IS NOT NULL) \
         SELECT id, (SELECT max(bucket) FROM {table} AS r WHERE r.tenant_id = t.id{}) FROM t WHERE id IS NOT NULL",
        match family {
            Family::Fine => String::new(),
            _ => format!(" AND r.width = {COARSE_SECONDS}"),
        }
    ));
    connection.rows(newest, |row| Ok((TenantNumber(row.get(0)?), row.get(1)?))).await
}

/// The cells of all minutes that are open, each as often as it has cells of ten seconds.
pub(super) async fn open_minutes(
    connection: &mut Connection,
    partitions: &Partitions,
) -> Result<Vec<(Place, Cell)>, Error> {
    let open = connection.sql("SELECT tenant_id, minute FROM open_minutes ORDER BY tenant_id, minute");
    let open = connection.rows(open, |row| Ok((TenantNumber(row.get(0)?), row.get::<i64>(1)?))).await?;
    let mut found = Vec::new();
    for (tenant, minute) in open {
        let day = Day::of(UnixNanos::from_seconds(minute));
        if !partitions.has(Family::Fine.partition(day)) {
            continue;
        }
        let sql = connection.sql(format!(
            "SELECT tenant_id, bucket, kind, part, cells FROM {} WHERE tenant_id = {} AND bucket >= {minute} \
             AND bucket < {}",
            partition::FINE.on(day),
            tenant.0,
            minute + COARSE_SECONDS
        ));
        for (Group { bucket, kind, .. }, cells) in connection.rows(sql, stored_group).await? {
            found.extend(cells.into_iter().map(|([a, b, c], cell)| {
                let place = Place { tenant, width: FINE_SECONDS, bucket, subject: [kind, a, b, c] };
                (place.minute(), cell)
            }));
        }
    }
    Ok(found)
}

/// Reads those of `groups` that there are.
pub(super) async fn read_groups(
    connection: &mut Connection,
    partitions: &Partitions,
    groups: &[Group],
) -> Result<BTreeMap<Group, Cells>, Error> {
    let mut found = BTreeMap::new();
    let day = |group: &Group| Day::of(UnixNanos::from_seconds(group.bucket));
    for of_day in groups.chunk_by(|a, b| day(a) == day(b)) {
        let day = day(&of_day[0]);
        if !partitions.has(Family::Fine.partition(day)) {
            continue;
        }
        for groups in of_day.chunks(PROBES) {
            let mut sql =
                connection.sql("SELECT r.tenant_id, r.bucket, r.kind, r.part, r.cells FROM (VALUES ");
            for (index, group) in groups.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let Group { tenant, bucket, kind, part } = group;
                sql.push(format_args!("{comma}({},{bucket},{kind},{part})", tenant.0));
            }
            sql.push(format_args!(
                ") AS w CROSS JOIN {} AS r WHERE r.tenant_id = w.column1 AND r.bucket = w.column2 \
                 AND r.kind = w.column3 AND r.part = w.column4",
                partition::FINE.on(day)
            ));
            found.extend(connection.rows(sql, stored_group).await?);
        }
    }
    Ok(found)
}

fn stored_group(row: Row<'_>) -> Result<(Group, Cells), Error> {
    let group = Group {
        tenant: TenantNumber(row.get(0)?),
        bucket: row.get(1)?,
        kind: row.get(2)?,
        part: row.get(3)?,
    };
    Ok((group, decode(row.get(4)?).ok_or(UNREADABLE)?))
}

/// Reads the cells at `places`, all of one partition, of which each has a row.
pub(super) async fn read(connection: &mut Connection, places: &[Place]) -> Result<Vec<(Place, Cell)>, Error> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let Partition { family, day } = first.partition();
    let mut sql: Sql = connection.sql(
        "SELECT r.tenant_id, r.width, r.bucket, r.kind, r.a, r.b, r.c, r.count, r.errors, r.sum_ns, r.max_ns, \
         r.other_ns, r.answered, r.sketch FROM (VALUES ",
    );
    for (index, place) in places.iter().enumerate() {
        let [kind, a, b, c] = place.subject;
        let comma = if index == 0 { "" } else { "," };
        let (tenant, width, bucket) = (place.tenant.0, place.width, place.bucket);
        sql.push(format_args!("{comma}({tenant},{width},{bucket},{kind},{a},{b},{c})"));
    }
    sql.push(format_args!(
        ") AS w CROSS JOIN {} AS r WHERE r.tenant_id = w.column1 AND r.width = w.column2 AND r.bucket = w.column3 \
         AND r.kind = w.column4 AND r.a = w.column5 AND r.b = w.column6 AND r.c = w.column7",
        family.tables()[0].on(day)
    ));
    connection.rows(sql, stored).await
}

fn stored(row: Row<'_>) -> Result<(Place, Cell), Error> {
    let place = Place {
        tenant: TenantNumber(row.get(0)?),
        width: row.get(1)?,
        bucket: row.get(2)?,
        subject: [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?],
    };
    let sum = |column: usize| row.get::<i64>(column).map(i64::unsigned_abs);
    let sketch = Sketch::decode(row.get(13)?).ok_or(Error::Unreadable { what: "duration sketch" })?;
    let cell = Cell {
        count: sum(7)?,
        errors: sum(8)?,
        sum_ns: sum(9)?,
        max_ns: sum(10)?,
        other_ns: sum(11)?,
        answered: sum(12)?,
        sketch,
    };
    Ok((place, cell))
}
