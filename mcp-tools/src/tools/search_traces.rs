//! `search_traces`: traces by service, operation, outcome, duration and attributes.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, FILTER, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::Fault;
use crate::filter;
use crate::time::TimeRange;

/// A day in milliseconds.
const DURATION_MS_MAX: u32 = 86_400_000;

const OPERATION: Argument = Argument::text("operation", NAME_BYTES_MAX, "Span name.");
const STATUS: Argument =
    Argument::choice("status", &["error", "ok"], "With failed spans, or without. Default both.");
const DURATION_MIN: Argument = Argument::integer("min_duration_ms", 0, DURATION_MS_MAX, "Shortest.");
const DURATION_MAX: Argument = Argument::integer("max_duration_ms", 0, DURATION_MS_MAX, "Longest.");
const SORT: Argument = Argument::choice("sort", &TraceSort::WORDS, "What comes first. Default newest.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "search_traces",
    title: "Search traces",
    description: "Traces by service, operation, outcome, duration and span attributes; open one with trace_graph.",
    arguments: &[
        &SERVICE,
        &OPERATION,
        &STATUS,
        &DURATION_MIN,
        &DURATION_MAX,
        &FILTER.described("Attributes of one span: `http.route=/pay user.tier=\"gold plus\"`."),
        &SORT,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Traces. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which traces an agent wants to see; every condition given must hold, service, operation and attributes for one span.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SearchTracesAsk {
    /// A service that took part.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// Only those with failed spans, or only those without.
    pub failed: Option<bool>,
    /// The shortest, in milliseconds.
    pub min_duration_ms: Option<u32>,
    /// The longest, in milliseconds.
    pub max_duration_ms: Option<u32>,
    /// Attributes of a span, by key and value.
    pub filter: Vec<(String, String)>,
    /// What comes first.
    pub sort: TraceSort,
    /// The window in which they began.
    pub range: TimeRange,
    /// Most traces listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// What traces are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceSort {
    /// When they began, the newest first.
    Newest,
    /// How long they took, the slowest first.
    Slowest,
    /// How many of their spans failed, the most first.
    MostErrors,
}

impl TraceSort {
    const WORDS: [&'static str; 3] = ["newest", "slowest", "most_errors"];
    const ALL: [Self; 3] = [Self::Newest, Self::Slowest, Self::MostErrors];
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<SearchTracesAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let (service, filter) = filter::with_service(&mut reader);
    let ask = SearchTracesAsk {
        service,
        operation: reader.text(&OPERATION),
        failed: reader.choice(&STATUS, &[("failed", "error"), ("success", "ok")]).map(|at| at == 0),
        min_duration_ms: reader.integer_if_given(&DURATION_MIN),
        max_duration_ms: reader.integer_if_given(&DURATION_MAX),
        filter,
        sort: reader
            .choice(&SORT, &[("errors", "most_errors")])
            .map_or(TraceSort::Newest, |at| TraceSort::ALL[at]),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
