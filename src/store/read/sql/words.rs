//! The words that the grammar knows: what can be read, what can be reckoned, what means something by itself.

use crate::store::sql::Dialect;

/// Longest statement, in bytes.
pub const TEXT_BYTES_MAX: usize = 65_536;
/// Parentheses in each other.
pub(super) const DEPTH_MAX: usize = 32;
/// Tables of one statement.
pub(super) const TABLES_MAX: usize = 16;
/// What can be read.
pub const VIEWS: [&str; 7] =
    ["v_services", "v_operations", "v_spans", "v_traces", "v_logs", "v_points", "v_rollups"];

/// The columns of the views.
pub(super) const COLUMNS: &[&str] = &[
    "a",
    "b",
    "bucket",
    "c",
    "count",
    "dependency",
    "duration_ms",
    "errors",
    "first_seen",
    "http_status",
    "id",
    "instance",
    "kind",
    "max_ms",
    "metric",
    "name",
    "operation",
    "parent_id",
    "series_id",
    "service",
    "severity",
    "span_id",
    "spans",
    "start",
    "status",
    "sum_ms",
    "template",
    "tenant",
    "time",
    "trace_id",
    "unit",
    "value",
    "version",
    "width_seconds",
];

const FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "ceil",
    "coalesce",
    "count",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "lag",
    "last_value",
    "lead",
    "length",
    "ln",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "ntile",
    "nullif",
    "power",
    "rank",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sqrt",
    "substr",
    "sum",
    "trim",
    "upper",
];
const OF_SQLITE: &[&str] = &[
    "date",
    "datetime",
    "ifnull",
    "iif",
    "instr",
    "julianday",
    "strftime",
    "time",
    "total",
    "typeof",
    "unixepoch",
];
const OF_POSTGRES: &[&str] = &[
    "bool_and",
    "bool_or",
    "date_part",
    "date_trunc",
    "greatest",
    "least",
    "now",
    "percentile_cont",
    "percentile_disc",
    "split_part",
    "stddev",
    "strpos",
    "to_char",
    "to_timestamp",
    "variance",
];
pub(super) const TYPES: &[&str] = &[
    "bigint",
    "boolean",
    "date",
    "integer",
    "interval",
    "numeric",
    "real",
    "text",
    "timestamp",
    "timestamptz",
];

/// Words of the grammar, which end an expression where they do not belong to it, and words that mean something to either
/// database: none of them can be given as a name.
pub(super) const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "attach",
    "between",
    "both",
    "by",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "commit",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "delete",
    "desc",
    "detach",
    "distinct",
    "do",
    "drop",
    "else",
    "end",
    "escape",
    "except",
    "execute",
    "exists",
    "explain",
    "false",
    "fetch",
    "filter",
    "first",
    "following",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "glob",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "indexed",
    "initially",
    "inner",
    "insert",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "last",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "match",
    "materialized",
    "natural",
    "not",
    "nothing",
    "notnull",
    "null",
    "nulls",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "over",
    "overlaps",
    "partition",
    "placing",
    "pragma",
    "preceding",
    "primary",
    "raise",
    "range",
    "recursive",
    "references",
    "regexp",
    "returning",
    "right",
    "row",
    "rowid",
    "rows",
    "select",
    "session_user",
    "set",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "unbounded",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "vacuum",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "within",
    "xmltable",
];
/// Words that end an expression.
pub(super) const ENDS: &[&str] = &[
    "as",
    "asc",
    "cross",
    "desc",
    "except",
    "from",
    "full",
    "group",
    "having",
    "inner",
    "intersect",
    "join",
    "left",
    "limit",
    "natural",
    "nulls",
    "offset",
    "order",
    "right",
    "union",
    "where",
];
pub(super) const OPERATORS: &[&str] = &["<=", ">=", "<>", "!=", "==", "*", "+", "-", "/", "%", "=", "<", ">"];

/// The functions that are taken.
pub(super) fn functions(dialect: Dialect) -> Vec<&'static str> {
    let own = if dialect == Dialect::Sqlite { OF_SQLITE } else { OF_POSTGRES };
    let mut all = [FUNCTIONS, own].concat();
    all.sort_unstable();
    all
}

/// Words that stand between values, or before one.
pub(super) fn is_joint(word: &str) -> bool {
    matches!(
        word,
        "and"
            | "or"
            | "not"
            | "in"
            | "is"
            | "like"
            | "ilike"
            | "glob"
            | "between"
            | "escape"
            | "case"
            | "when"
            | "then"
            | "else"
            | "end"
            | "exists"
    )
}
