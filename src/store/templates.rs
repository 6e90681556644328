//! Log templates as commits write them: each with the last day of records that were counted of it.
//!
//! Which of them rest and which are forgotten is told in [`aging`](super::aging).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::connection::Connection;
use super::day::{Day, seen_on};
use super::error::Error;
use super::rows::{Commit, GoneTemplate, TemplateRow};
use super::{dictionaries, table};
use crate::model::id::{ServiceId, TemplateId};
use crate::model::rollup::{Folded, FoldedCell, Subject};
use crate::model::time::UnixNanos;

/// The last days that commits wrote, as far as they are known: two dozen bytes for each template that was counted since its
/// records are kept.
#[derive(Debug)]
pub(super) struct LastDays {
    written: HashMap<TemplateId, Day>,
    /// Whatever is counted counts as seen on this day at least. It only rises.
    floor: Day,
}

impl Default for LastDays {
    fn default() -> Self {
        Self { written: HashMap::new(), floor: Day(i32::MIN) }
    }
}

impl LastDays {
    /// From here on whatever is counted counts as seen on `floor` at least.
    pub(super) fn rise(&mut self, floor: Day) {
        if floor > self.floor {
            self.floor = floor;
            self.written.retain(|_, day| *day >= floor);
        }
    }

    /// Takes over what a commit wrote.
    pub(super) fn take(&mut self, staged: Staged) {
        self.written.extend(staged.last);
        for id in &staged.gone {
            self.written.remove(id);
        }
    }

    /// What was counted on a later day than is written, as far as that is known.
    fn behind(&self, counted: &[(TemplateId, Day)]) -> BTreeMap<TemplateId, Day> {
        let days = counted.iter().map(|(id, day)| (*id, self.floor.max(*day)));
        days.filter(|(id, day)| self.written.get(id).is_none_or(|written| written < day)).collect()
    }
}

/// What a commit changes in memory once it succeeded.
#[derive(Debug, Default)]
pub(super) struct Staged {
    last: BTreeMap<TemplateId, Day>,
    gone: Vec<TemplateId>,
}

/// The templates that cells count records of, each with the day on which it counts as seen last.
pub(super) fn counted(cells: &Folded) -> Vec<(TemplateId, Day)> {
    let mut counted: HashMap<TemplateId, Day> = HashMap::new();
    for FoldedCell { bucket_s, subject, .. } in cells.iter() {
        let Subject::Logs(_, id, _) = subject else { continue };
        let day = seen_on(id.0, UnixNanos::from_seconds(bucket_s));
        let last = counted.entry(id).or_insert(day);
        *last = day.max(*last);
    }
    counted.into_iter().collect()
}

/// Writes the templates of a commit, those that are new or have another text, and the last days of those that it counts; then
/// removes those that are gone. What was counted since they were chosen, by this commit too, stays.
pub(super) async fn write(
    connection: &mut Connection,
    commit: &Commit,
    (last_days, counted): (&LastDays, &[(TemplateId, Day)]),
) -> Result<Staged, Error> {
    let last = last_days.behind(counted);
    insert(connection, &commit.templates, &last).await?;
    let inserted: BTreeSet<TemplateId> = commit.templates.iter().map(|template| template.id).collect();
    let mut by_day: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
    for (id, day) in last.iter().filter(|(id, _)| !inserted.contains(*id)) {
        by_day.entry(*day).or_default().push(id.0);
    }
    for (day, ids) in by_day {
        dictionaries::set_last_day(connection, table::TEMPLATES.name, day, &ids).await?;
    }
    remove(connection, &commit.gone).await?;
    Ok(Staged { last, gone: commit.gone.iter().map(|gone| gone.id).collect() })
}

/// A template that changed twice within a commit is written once: as it is now, first seen when it was first.
async fn insert(
    connection: &mut Connection,
    templates: &[TemplateRow],
    last_days: &BTreeMap<TemplateId, Day>,
) -> Result<(), Error> {
    let mut last: HashMap<_, TemplateRow> = HashMap::new();
    for template in templates {
        let first_seen = last
            .get(&template.id)
            .map_or(template.first_seen, |before| before.first_seen.min(template.first_seen));
        last.insert(template.id, TemplateRow { first_seen, ..template.clone() });
    }
    let mut last: Vec<TemplateRow> = last.into_values().collect();
    last.sort_unstable_by_key(|template| template.id);
    connection
        .insert(&table::TEMPLATES.whole(), &last, |values, template| {
            let last_day = last_days.get(&template.id).copied();
            let last_day = last_day.unwrap_or_else(|| seen_on(template.id.0, template.first_seen));
            values.int(template.id.0);
            values.int(template.tenant.0);
            values.int(template.service.0);
            values.text(&template.text);
            values.text(&template.sample);
            values.int(template.first_seen.0);
            values.int(last_day.0);
        })
        .await
}

async fn remove(connection: &mut Connection, gone: &[GoneTemplate]) -> Result<(), Error> {
    let mut by_day: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
    for GoneTemplate { id, before } in gone {
        by_day.entry(*before).or_default().push(id.0);
    }
    for (before, ids) in by_day {
        dictionaries::remove_before(connection, table::TEMPLATES.name, before, &ids).await?;
    }
    Ok(())
}

/// Removes at most `most` templates of `services`, and answers how many: but for the last one of all, whose number is the
/// highest that was given.
pub(super) async fn remove_of(
    connection: &mut Connection,
    services: &[ServiceId],
    most: usize,
) -> Result<usize, Error> {
    let are_meant = connection.dialect().is_one_of(services.iter().map(|service| i64::from(service.0)));
    // With the sign its own index is not taken: few of all templates are looked for, and found by their services.
    let sql = format!(
        "DELETE FROM templates WHERE id IN (SELECT id FROM templates WHERE service_id{are_meant} \
         AND +id < (SELECT max(id) FROM templates) LIMIT {most})"
    );
    Ok(connection.execute(connection.sql(sql)).await? as usize)
}
