//! `trace_graph`: one trace as a tree of spans.

use serde_json::{Map, Value};

use crate::arguments::{Argument, CURSOR, LIMIT, MAX_TOKENS, Reader, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const TRACE_ID: Argument = Argument::trace_id("32 hexadecimal digits.").required();

const LIMIT_DEFAULT: u32 = 100;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "trace_graph",
    title: "Trace graph",
    description: "One trace: its spans as a tree with service, operation, start, duration and status; the \
                  root, errors and critical path come first when it is cut.",
    arguments: &[
        &TRACE_ID,
        &SINCE.described("Only look in this window. Default: all retained."),
        &UNTIL,
        &LIMIT.described("Spans. Default 100."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which trace an agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceGraphAsk {
    /// Its id, never all zero.
    pub trace_id: [u8; 16],
    /// Where to look; absent means everywhere.
    pub range: Option<TimeRange>,
    /// Most spans listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<TraceGraphAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = TraceGraphAsk {
        trace_id: reader.trace_id(&TRACE_ID).unwrap_or_default(),
        range: reader.range_if_given(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
