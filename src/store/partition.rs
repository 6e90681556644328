//! Partitions: the tables of one day and kind, made when the first row of the day comes and given up as a whole.
//!
//! Giving a partition up is a change of one row, after which no question sees it. Its space comes back later and in
//! small steps, between commits: see `retire`.

use std::collections::BTreeSet;

use super::day::{Day, days_of, key_days_of};
use super::sql::{Dialect, Sql};
use crate::model::time::Window;

/// What lies together and is given up together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// Spans, their details and the summaries of their traces; by the day of the trace key.
    Spans = 0,
    /// Log records and their details.
    Logs = 1,
    /// Metric points.
    Points = 2,
    /// Roll-ups of ten seconds.
    Fine = 3,
    /// Roll-ups of a minute.
    Minute = 4,
    /// Roll-ups of an hour; a partition holds 32 days.
    Hour = 5,
    /// Roll-ups of an hour of metric series; a partition holds 32 days.
    SeriesHours = 6,
}

/// A table that is kept by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    /// The name of the table of a day, before the day.
    pub(super) name: &'static str,
    /// The name of the table that shows all days, whose shape the tables of the days have.
    pub(super) parent: &'static str,
}

const fn kept(name: &'static str) -> Kept {
    Kept { name, parent: name }
}

pub(super) const SPANS: Kept = kept("spans");
pub(super) const TRACES: Kept = kept("traces");
pub(super) const SPAN_BLOCKS: Kept = kept("span_blocks");
pub(super) const SPAN_FILTERS: Kept = kept("span_filters");
pub(super) const SPAN_SLICES: Kept = kept("span_slices");
pub(super) const LOGS: Kept = kept("logs");
pub(super) const LOG_BLOCKS: Kept = kept("log_blocks");
pub(super) const LOG_FILTERS: Kept = kept("log_filters");
pub(super) const LOG_SLICES: Kept = kept("log_slices");
pub(super) const POINTS: Kept = kept("points");
pub(super) const FINE: Kept = kept("rollups_10s");
pub(super) const MINUTE: Kept = Kept { name: "rollups_60s", parent: "rollups" };
pub(super) const HOUR: Kept = Kept { name: "rollups_3600s", parent: "rollups" };
pub(super) const SERIES_HOURS: Kept = kept("series_hours");

impl Kept {
    /// The table of `day`.
    pub(super) fn on(self, day: Day) -> String {
        format!("{}_{day}", self.name)
    }
}

impl Family {
    /// All families.
    pub const ALL: [Self; 7] =
        [Self::Spans, Self::Logs, Self::Points, Self::Fine, Self::Minute, Self::Hour, Self::SeriesHours];

    /// The family with this number.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|family| *family as i64 == number)
    }

    /// The word in labels and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Points => "points",
            Self::Fine => "rollups_10s",
            Self::Minute => "rollups_60s",
            Self::Hour => "rollups_3600s",
            Self::SeriesHours => "series_hours",
        }
    }

    /// Days that one partition holds.
    pub const fn days(self) -> i32 {
        if matches!(self, Self::Hour | Self::SeriesHours) { 32 } else { 1 }
    }

    /// The family of the roll-ups of this width.
    pub(super) const fn of_width(width_seconds: i64) -> Self {
        match width_seconds {
            ..60 => Self::Fine,
            60..3_600 => Self::Minute,
            _ => Self::Hour,
        }
    }

    pub(super) const fn tables(self) -> &'static [Kept] {
        match self {
            Self::Spans => &[SPANS, TRACES, SPAN_BLOCKS, SPAN_FILTERS, SPAN_SLICES],
            Self::Logs => &[LOGS, LOG_BLOCKS, LOG_FILTERS, LOG_SLICES],
            Self::Points => &[POINTS],
            Self::Fine => &[FINE],
            Self::Minute => &[MINUTE],
            Self::Hour => &[HOUR],
            Self::SeriesHours => &[SERIES_HOURS],
        }
    }

    /// The partition that keeps `day`.
    pub const fn partition(self, day: Day) -> Partition {
        Partition { family: self, day: Day(day.0.div_euclid(self.days()) * self.days()) }
    }
}

/// The tables of one family and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// What it holds.
    pub family: Family,
    /// Its first day.
    pub day: Day,
}

impl Partition {
    /// The day after its last.
    pub const fn end(self) -> Day {
        self.day.plus(self.family.days())
    }

    /// The statements that make its tables, given how SQLite made the tables they resemble.
    pub(super) fn create(self, dialect: Dialect, shapes: &[(String, String)]) -> Vec<Sql> {
        let tables = self.family.tables().iter();
        match dialect {
            Dialect::Postgres => tables.flat_map(|table| self.create_on_postgres(*table)).collect(),
            Dialect::Sqlite => tables
                .flat_map(|table| {
                    let shape = format!("{}_shape", table.parent);
                    let name = table.on(self.day);
                    let made = shapes.iter().filter(move |(of, _)| *of == shape);
                    made.map(move |(of, sql)| Sql::from(dialect, sql.replace(of, &name)))
                })
                .collect(),
        }
    }

    fn create_on_postgres(self, table: Kept) -> Vec<Sql> {
        let (first, end) = (self.day, self.end());
        let (from, to) = match self.family {
            Family::Spans | Family::Logs => (first.0.into(), end.0.into()),
            Family::Points => (first.start().0, end.start().0),
            _ => (first.start_seconds(), end.start_seconds()),
        };
        let parent = match table {
            MINUTE | HOUR => table.name,
            _ => table.parent,
        };
        let name = table.on(first);
        // Made as a partition at once, it would wait for everybody who reads the parent, a dump or a long report, and whoever
        // came later for it.
        let mut made = vec![
            format!("CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)"),
            format!("ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"),
        ];
        if table == TRACES {
            // The parent cannot have it: it does not know the day.
            made.push(format!("CREATE UNIQUE INDEX IF NOT EXISTS {name}_by_id ON {name} (id)"));
        }
        made.into_iter().map(|sql| Sql::from(Dialect::Postgres, sql)).collect()
    }
}

/// Which partitions there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Partitions(pub(super) BTreeSet<Partition>);

impl Partitions {
    /// Whether there is this one.
    pub(super) fn has(&self, partition: Partition) -> bool {
        self.0.contains(&partition)
    }

    /// Those of `family` that hold a day from `first` to `last`, both included; the newest first.
    pub(super) fn between(&self, family: Family, (first, last): (Day, Day)) -> Vec<Day> {
        let (first, last) = (family.partition(first), family.partition(last));
        if last < first {
            return Vec::new();
        }
        self.0.range(first..=last).rev().map(|partition| partition.day).collect()
    }

    /// Those of a family whose rows go by their own time, that may have rows of `window`; the newest first.
    pub(super) fn of(&self, family: Family, window: Window) -> Vec<Day> {
        let days = if family == Family::Spans { key_days_of(window) } else { days_of(window) };
        self.between(family, days)
    }

    /// All of a family; the newest first.
    pub(super) fn all(&self, family: Family) -> Vec<Day> {
        self.between(family, (Day(i32::MIN / 2), Day(i32::MAX / 2)))
    }
}

/// Views that show the newest days together; SQLite merges at most 500 tables in one.
const VIEWED_MAX: usize = 400;

/// The statements that make the views of `family` show `partitions`; none on Postgres, where the parents do.
pub(super) fn views(dialect: Dialect, partitions: &Partitions, family: Family) -> Vec<Sql> {
    if dialect == Dialect::Postgres {
        return Vec::new();
    }
    let mut parents: Vec<&str> = family.tables().iter().map(|table| table.parent).collect();
    parents.dedup();
    let mut statements = Vec::new();
    for parent in parents {
        let shown = Family::ALL.into_iter().flat_map(|family| {
            let tables = family.tables().iter().filter(move |table| table.parent == parent);
            tables.flat_map(move |table| partitions.all(family).into_iter().map(|day| (day, *table)))
        });
        let mut shown: Vec<(Day, Kept)> = shown.collect();
        shown.sort_unstable_by_key(|(day, _)| std::cmp::Reverse(*day));
        shown.truncate(VIEWED_MAX);
        let mut view =
            format!("CREATE VIEW {parent} AS {}", shown_of(parent, Day(0), |name| format!("{name}_shape")));
        for (day, table) in shown.iter().rev() {
            view.push_str(" UNION ALL ");
            let name = |name: &str| if name == parent { table.on(*day) } else { format!("{name}_{day}") };
            view.push_str(&shown_of(parent, *day, name));
        }
        statements.push(Sql::from(dialect, format!("DROP VIEW IF EXISTS {parent}")));
        statements.push(Sql::from(dialect, view));
    }
    statements
}

/// What the view `parent` shows of one day, whose tables are called what `name` says.
fn shown_of(parent: &str, day: Day, name: impl Fn(&str) -> String) -> String {
    let (table, day) = (name(parent), day.0);
    match parent {
        "spans" => format!(
            "SELECT {day} AS day, s.*, t.trace_key, t.trace_id FROM {table} AS s CROSS JOIN {} AS t \
             ON t.id = s.trace_row",
            name("traces")
        ),
        "points" | "rollups_10s" | "rollups" | "series_hours" => format!("SELECT * FROM {table}"),
        _ => format!("SELECT {day} AS day, * FROM {table}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_found_by_their_days() {
        let days = [Day(20_000), Day(20_001), Day(20_005)];
        let partitions = Partitions(
            days.into_iter()
                .map(|day| Family::Logs.partition(day))
                .chain([Family::Spans.partition(days[0])])
                .collect(),
        );
        assert_eq!(partitions.between(Family::Logs, (Day(20_001), Day(20_004))), [Day(20_001)]);
        assert_eq!(partitions.all(Family::Logs), [Day(20_005), Day(20_001), Day(20_000)]);
        assert!(partitions.all(Family::Points).is_empty());
        assert!(partitions.between(Family::Logs, (Day(20_004), Day(20_001))).is_empty());
        assert_eq!(Family::Hour.partition(Day(33)).day, Day(32));
        assert_eq!(Family::Hour.partition(Day(-1)).day, Day(-32));
    }
}
