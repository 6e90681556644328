//! `aggregate`: spans or log records counted and measured by group.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, FILTER, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::Fault;
use crate::filter;
use crate::time::TimeRange;

const SOURCE: Argument = Argument::choice("source", &["spans", "logs"], "Default spans.");
const MEASURE: Argument = Argument::choice("measure", &Measure::WORDS, "Default count.");
const GROUP_BY: Argument = Argument::text(
    "group_by",
    1_024,
    "Keys with commas: service, operation, kind, version, instance, severity, template, attributes. Default service.",
);
const OPERATION: Argument = Argument::text("operation", NAME_BYTES_MAX, "Span name.");
const STEP: Argument = Argument::integer("step_s", 10, 86_400, "Also by steps of so many seconds.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "aggregate",
    title: "Aggregate",
    description: "Counts, rates, error shares and durations of spans, or counts of log records, by service, operation, \
                  version, severity or any attribute; use it instead of counting rows of a search.",
    arguments: &[
        &SOURCE,
        &MEASURE,
        &GROUP_BY,
        &SERVICE,
        &OPERATION,
        &FILTER.described("Only items with these `key=value`."),
        &STEP,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Groups. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// What an agent wants counted or measured.
///
/// The answer has a table `groups`: the keys, then the value and how many items it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AggregateAsk {
    /// Whether log records are counted instead of spans.
    pub of_logs: bool,
    /// What is measured.
    pub measure: Measure,
    /// What is grouped by.
    pub group_by: Vec<String>,
    /// Only what this service sends.
    pub service: Option<String>,
    /// Only spans of this name.
    pub operation: Option<String>,
    /// Only items with these attributes, by key and value.
    pub filter: Vec<(String, String)>,
    /// Seconds of a step, 10 to 86,400; absent asks for no steps.
    pub step_s: Option<u32>,
    /// The window.
    pub range: TimeRange,
    /// Most groups listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// What is measured of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// How many.
    Count,
    /// How many a second.
    Rate,
    /// The failed share in percent; of spans.
    ErrorsPct,
    /// The mean duration; of spans.
    MeanMs,
    /// The median duration; of spans.
    P50Ms,
    /// The 95th percentile of the duration; of spans.
    P95Ms,
    /// The 99th percentile of the duration; of spans.
    P99Ms,
    /// The longest duration; of spans.
    MaxMs,
}

impl Measure {
    const WORDS: [&'static str; 8] =
        ["count", "rate", "errors_pct", "mean_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"];
    const ALL: [Self; 8] = [
        Self::Count,
        Self::Rate,
        Self::ErrorsPct,
        Self::MeanMs,
        Self::P50Ms,
        Self::P95Ms,
        Self::P99Ms,
        Self::MaxMs,
    ];

    /// The word for it, with its unit.
    pub const fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<AggregateAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let (service, filter) = filter::with_service(&mut reader);
    let of_logs = reader.choice(&SOURCE, &[("traces", "spans")]) == Some(1);
    let synonyms = [("error_ratio", "errors_pct"), ("avg", "mean_ms"), ("p95", "p95_ms"), ("p99", "p99_ms")];
    let measure = reader.choice(&MEASURE, &synonyms).map_or(Measure::Count, |at| Measure::ALL[at]);
    let operation = reader.text(&OPERATION);
    if of_logs && !matches!(measure, Measure::Count | Measure::Rate) {
        reader.refuse("log records have no duration and do not fail; ask for count or rate");
    }
    if of_logs && operation.is_some() {
        reader.refuse("log records have no operation; leave out `operation`, or set source to `spans`");
    }
    let ask = AggregateAsk {
        of_logs,
        measure,
        group_by: reader.list(&GROUP_BY).unwrap_or_else(|| vec!["service".to_owned()]),
        service,
        operation,
        filter,
        step_s: reader.integer_if_given(&STEP),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
