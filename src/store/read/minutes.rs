//! Single minutes of a few subjects, far apart in time: what was counted at the same time of other days.
//!
//! Reads only the cells that are asked for, by the primary key, and no sketches: about a look-up for each subject and
//! minute, however many other subjects there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::columns::Columns;
use super::reader::{Reader, check_named};
use super::rollups::{RollupKind, open_minutes, subject};
use crate::model::id::TenantNumber;
use crate::model::rollup::{COARSE_SECONDS, Cell, Subject};
use crate::model::time::UnixNanos;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::error::Error;
use crate::store::partition::{Family, MINUTE};
use crate::store::rollups::columns;

/// What is looked for: subjects that spans make.
const KINDS: &[RollupKind] = &[RollupKind::Operation, RollupKind::Instance];

/// What was counted in single minutes, each given by its first second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minutes {
    /// Those in which any operation or instance of the tenant was heard.
    pub heard: BTreeSet<i64>,
    /// Count and time of the subjects, nothing else, in the minutes in which they were heard.
    pub cells: HashMap<(i64, Subject), Cell>,
}

impl Minutes {
    fn add(&mut self, minute: i64, subject: Subject, (count, sum_ns): (u64, u64)) {
        let cell = self.cells.entry((minute, subject)).or_default();
        cell.merge_totals(&Cell { count, sum_ns, ..Cell::default() });
    }
}

impl Store {
    /// What `subjects`, operations and instances, did in `minutes`, each given by its first second. Errs where it is more
    /// than [`NAMED_MAX`](super::NAMED_MAX) of either.
    pub async fn minutes_of(
        &self,
        tenant: TenantNumber,
        minutes: &BTreeSet<i64>,
        subjects: &[Subject],
    ) -> Result<Minutes, Error> {
        check_named("minutes", minutes.len())?;
        check_named("subjects", subjects.len())?;
        let wanted: BTreeSet<Subject> = subjects.iter().copied().collect();
        let minutes: Vec<i64> = minutes.iter().copied().collect();
        let day = |minute: i64| Day::of(UnixNanos::from_seconds(minute));
        let mut found = Minutes::default();
        let mut reader = self.reader().await?;
        for minutes in minutes.chunk_by(|a, b| day(*a) == day(*b)) {
            let day = day(minutes[0]);
            if !reader.days_between(Family::Minute, (day, day)).is_empty() {
                written(&mut reader, (tenant, day), minutes, &wanted, &mut found).await?;
            }
            let range = (minutes[0], minutes[minutes.len() - 1].saturating_add(COARSE_SECONDS));
            // Few minutes are open, and seldom any of an earlier day: they are read whole.
            for ((minute, subject), cell) in open_minutes(&mut reader, (tenant, KINDS), range).await? {
                if minutes.binary_search(&minute).is_err() {
                    continue;
                }
                found.heard.insert(minute);
                if wanted.contains(&subject) {
                    found.add(minute, subject, (cell.count, cell.sum_ns));
                }
            }
        }
        reader.finish().await?;
        Ok(found)
    }
}

/// Adds what the table of one day has of `minutes`, which are of that day.
async fn written(
    reader: &mut Reader,
    (tenant, day): (TenantNumber, Day),
    minutes: &[i64],
    wanted: &BTreeSet<Subject>,
    found: &mut Minutes,
) -> Result<(), Error> {
    let (table, dialect) = (MINUTE.on(day), reader.dialect());
    // A look-up for each minute; as a join, Postgres might read all of them.
    let mut query = reader.sql("SELECT w.n FROM ");
    query.push(dialect.numbers(minutes.iter().copied())).push(format_args!(
        " WHERE (SELECT 1 FROM {table} AS r WHERE r.tenant_id = {} AND r.width = {COARSE_SECONDS} AND r.bucket = w.n \
         AND r.kind <= {} LIMIT 1) = 1",
        tenant.0,
        RollupKind::Instance as i64
    ));
    found.heard.extend(reader.all(query, |row| row.get::<i64>(0)).await?);
    // By the key, of which each of several lists makes every pair a look-up: operations by one list, instances by one list
    // for each service.
    let mut named: BTreeMap<(i64, Option<i64>), Vec<i64>> = BTreeMap::new();
    for subject in wanted {
        match columns(*subject) {
            [kind, operation, 0, 0] if kind == RollupKind::Operation as i64 => {
                named.entry((kind, None)).or_default().push(operation);
            }
            [kind, service, resource, _] => named.entry((kind, Some(service))).or_default().push(resource),
        }
    }
    for ((kind, service), ids) in named {
        let mut query = reader.sql(format!(
            "SELECT bucket, a, b, c, count, sum_ns FROM {table} WHERE tenant_id = {} AND width = {COARSE_SECONDS} \
             AND kind = {kind} AND bucket",
            tenant.0
        ));
        query.push(dialect.is_one_of(minutes.iter().copied()));
        match service {
            Some(service) => query.push(format_args!(" AND a = {service} AND b")),
            None => query.push(" AND a"),
        };
        query.push(dialect.is_one_of(ids));
        let rows = reader.all(query, |row| {
            let columns = Columns { row, what: "roll-up" };
            let ids = [columns.number(1)?, columns.number(2)?, columns.number(3)?];
            let subject = subject(kind, ids).ok_or_else(|| columns.unreadable())?;
            if wanted.contains(&subject) {
                found.add(columns.number(0)?, subject, (columns.number(4)?, columns.number(5)?));
            }
            Ok(())
        });
        rows.await?;
    }
    Ok(())
}
