//! The tables that commits write: their columns, and what happens to a row whose key is there already.

use super::day::Day;
use super::partition::{self, Kept};
use super::sql::Dialect;

/// How Postgres holds a column. SQLite knows numbers, text and bytes without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two bytes.
    Small,
    /// Four bytes.
    Int,
    /// Eight bytes.
    Big,
    Real,
    Text,
    Bytes,
    /// The day of the partition, four bytes. On SQLite each day has a table of its own, without this column.
    Day,
}

/// What happens to a new row whose key is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Clash {
    /// It cannot be.
    Never,
    /// The old one stays. What meets a row under another key is an error.
    Keep { key: &'static str },
    /// The new one takes its place.
    Replace { key: &'static str },
    /// They are put together; `least(` and `greatest(` are those of Postgres, `t` is the row that is there.
    Fold { key: &'static str, set: &'static str },
}

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    pub(super) clash: Clash,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) table: &'static Table,
    /// The table's own name: with the day, where it is kept by day.
    pub(super) name: String,
}

impl Table {
    /// The table itself.
    pub(super) fn whole(&'static self) -> Target {
        Target { table: self, name: self.name.to_owned() }
    }

    /// The table of `day`.
    pub(super) fn on(&'static self, kept: Kept, day: Day) -> Target {
        Target { table: self, name: kept.on(day) }
    }

    /// The columns that it has in a database of this dialect.
    pub(super) fn columns(&self, dialect: Dialect) -> impl Iterator<Item = (&'static str, Kind)> {
        self.columns
            .iter()
            .copied()
            .filter(move |(_, kind)| dialect == Dialect::Postgres || *kind != Kind::Day)
    }

    /// The names of the columns, separated by commas.
    pub(super) fn list(&self, dialect: Dialect) -> String {
        let names: Vec<&str> = self.columns(dialect).map(|(name, _)| name).collect();
        names.join(", ")
    }
}

use Kind::{Big, Bytes, Day as OfDay, Int, Real, Small, Text};

const BY_ID: Clash = Clash::Keep { key: "id" };

pub(super) static TENANTS: Table =
    Table { name: "tenants", columns: &[("id", Int), ("name", Text)], clash: BY_ID };

pub(super) static SERVICES: Table = Table {
    name: "services",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("kind", Small),
        ("name", Text),
        ("first_seen", Big),
        ("last_day", Int),
    ],
    clash: BY_ID,
};

pub(super) static OPERATIONS: Table = Table {
    name: "operations",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("service_id", Int),
        ("kind", Small),
        ("name", Text),
        ("first_seen", Big),
        ("last_day", Int),
    ],
    clash: BY_ID,
};

pub(super) static RESOURCES: Table = Table {
    name: "resources",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("hash", Bytes),
        ("service_id", Int),
        ("version", Text),
        ("instance", Text),
        ("attributes", Bytes),
        ("dropped_attributes", Big),
        ("schema_url", Text),
        ("first_seen", Big),
        ("last_day", Int),
    ],
    clash: BY_ID,
};

pub(super) static INSTRUMENTATIONS: Table = Table {
    name: "instrumentations",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("hash", Bytes),
        ("name", Text),
        ("version", Text),
        ("attributes", Bytes),
        ("dropped_attributes", Big),
        ("schema_url", Text),
        ("last_day", Int),
    ],
    clash: BY_ID,
};

pub(super) static TEMPLATES: Table = Table {
    name: "templates",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("service_id", Int),
        ("text", Text),
        ("sample", Text),
        ("first_seen", Big),
        ("last_day", Int),
    ],
    clash: Clash::Fold {
        key: "id",
        set: "text = excluded.text, sample = excluded.sample, \
              first_seen = least(t.first_seen, excluded.first_seen), \
              last_day = greatest(t.last_day, excluded.last_day)",
    },
};

pub(super) static SERIES: Table = Table {
    name: "series",
    columns: &[
        ("id", Int),
        ("tenant_id", Int),
        ("hash", Bytes),
        ("name", Text),
        ("unit", Text),
        ("description", Text),
        ("metadata", Bytes),
        ("kind", Small),
        ("temporality", Small),
        ("monotonic", Small),
        ("service_id", Int),
        ("resource_id", Int),
        ("instrumentation_id", Int),
        ("attributes", Bytes),
        ("first_seen", Big),
        ("last_day", Int),
    ],
    clash: Clash::Never,
};

pub(super) static SPANS: Table = Table {
    name: partition::SPANS.name,
    columns: &[
        ("day", OfDay),
        ("id", Big),
        ("tenant_id", Int),
        ("trace_row", Big),
        ("run", Int),
        ("span_id", Bytes),
        ("parent_id", Bytes),
        ("service_id", Int),
        ("operation_id", Int),
        ("resource_id", Int),
        ("instrumentation_id", Int),
        ("status", Small),
        ("entry", Small),
        ("http_status", Int),
        ("dependency_id", Int),
        ("start_ns", Big),
        ("duration_ns", Big),
    ],
    clash: Clash::Never,
};

const TRACE_COLUMNS: &[(&str, Kind)] = &[
    ("day", OfDay),
    ("id", Big),
    ("trace_key", Big),
    ("trace_id", Bytes),
    ("tenant_id", Int),
    ("root_operation_id", Int),
    ("root_start_ns", Big),
    ("first_operation_id", Int),
    ("start_ns", Big),
    ("end_ns", Big),
    ("spans", Int),
    ("errors", Int),
];

/// Summaries of traces that have no row yet.
pub(super) static NEW_TRACES: Table =
    Table { name: partition::TRACES.name, columns: TRACE_COLUMNS, clash: Clash::Never };

/// Summaries of traces that have a row.
pub(super) static TRACES: Table = Table {
    name: partition::TRACES.name,
    columns: TRACE_COLUMNS,
    clash: Clash::Fold {
        key: "id",
        set: "root_operation_id = CASE WHEN t.root_start_ns IS NULL \
              OR (excluded.root_start_ns, excluded.root_operation_id) < (t.root_start_ns, t.root_operation_id) \
              THEN excluded.root_operation_id ELSE t.root_operation_id END, \
              root_start_ns = coalesce(least(t.root_start_ns, excluded.root_start_ns), t.root_start_ns, \
              excluded.root_start_ns), \
              first_operation_id = CASE \
              WHEN (excluded.start_ns, excluded.first_operation_id) < (t.start_ns, t.first_operation_id) \
              THEN excluded.first_operation_id ELSE t.first_operation_id END, \
              start_ns = least(t.start_ns, excluded.start_ns), \
              end_ns = greatest(t.end_ns, excluded.end_ns), \
              spans = t.spans + excluded.spans, \
              errors = t.errors + excluded.errors",
    },
};

pub(super) static LOGS: Table = Table {
    name: partition::LOGS.name,
    columns: &[
        ("day", OfDay),
        ("id", Big),
        ("tenant_id", Int),
        ("time_ns", Big),
        ("severity", Small),
        ("service_id", Int),
        ("resource_id", Int),
        ("instrumentation_id", Int),
        ("template_id", Int),
        ("trace_id", Bytes),
        ("span_id", Bytes),
        ("trace_key", Big),
    ],
    clash: Clash::Never,
};

pub(super) static BLOCKS: Table = Table {
    name: "blocks",
    columns: &[
        ("day", OfDay),
        ("id", Big),
        ("tenant_id", Int),
        ("rows", Int),
        ("min_ns", Big),
        ("max_ns", Big),
        ("front", Bytes),
        ("rest", Bytes),
    ],
    clash: Clash::Never,
};

pub(super) static FILTERS: Table = Table {
    name: "filters",
    columns: &[
        ("day", OfDay),
        ("id", Big),
        ("tenant_id", Int),
        ("blocks", Int),
        ("min_ns", Big),
        ("max_ns", Big),
        ("filter_bytes", Int),
        ("ids", Bytes),
        ("filter", Bytes),
    ],
    clash: Clash::Never,
};

pub(super) static SLICES: Table =
    Table { name: "slices", columns: &[("day", OfDay), ("id", Big), ("bits", Bytes)], clash: Clash::Never };

pub(super) static POINTS: Table = Table {
    name: partition::POINTS.name,
    columns: &[
        ("series_id", Int),
        ("time_ns", Big),
        ("seq", Big),
        ("start_ns", Big),
        ("flags", Small),
        ("int_value", Big),
        ("real_value", Real),
        ("count", Big),
        ("detail", Bytes),
    ],
    clash: Clash::Never,
};

pub(super) static GROUPS: Table = Table {
    name: partition::FINE.name,
    columns: &[("tenant_id", Int), ("bucket", Big), ("kind", Small), ("part", Int), ("cells", Bytes)],
    clash: Clash::Replace { key: "tenant_id, bucket, kind, part" },
};

pub(super) static ROLLUPS: Table = Table {
    name: "rollups",
    columns: &[
        ("tenant_id", Int),
        ("width", Int),
        ("bucket", Big),
        ("kind", Small),
        ("a", Int),
        ("b", Int),
        ("c", Int),
        ("count", Big),
        ("errors", Big),
        ("sum_ns", Big),
        ("max_ns", Big),
        ("other_ns", Big),
        ("answered", Big),
        ("sketch", Bytes),
    ],
    clash: Clash::Replace { key: "tenant_id, width, bucket, kind, a, b, c" },
};

pub(super) static ANOMALIES: Table = Table {
    name: "anomalies",
    columns: &[
        ("tenant_id", Int),
        ("onset", Big),
        ("kind", Small),
        ("a", Int),
        ("b", Int),
        ("what", Small),
        ("ended", Big),
        ("seen", Big),
        ("before", Real),
        ("peak", Real),
        ("severity", Real),
    ],
    clash: Clash::Replace { key: "tenant_id, onset, kind, a, b, what" },
};

pub(super) static NOTES: Table = Table {
    name: "investigation_notes",
    columns: &[
        ("tenant_id", Int),
        ("id", Int),
        ("number", Int),
        ("written", Big),
        ("text", Text),
        ("evidence", Text),
    ],
    clash: Clash::Never,
};

/// Points are given up by the day, so a roll-up of fewer points than the stored one has lost some: the stored one stays.
pub(super) static SERIES_HOURS: Table = Table {
    name: partition::SERIES_HOURS.name,
    columns: &[("series_id", Int), ("hour", Big), ("points", Big), ("rollup", Bytes)],
    clash: Clash::Fold {
        key: "series_id, hour",
        set: "rollup = CASE WHEN t.points > excluded.points THEN t.rollup ELSE excluded.rollup END, \
              points = greatest(t.points, excluded.points)",
    },
};
