//! `get_log_patterns`: what the logs say, counted by template and compared with the time before.

use serde_json::{Map, Value};

use crate::arguments::{Argument, CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SEVERITY, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;
use crate::tools::search_logs::Severity;

const MATCH: Argument = Argument::text("match", 1_024, "Part of the pattern.");
const STATUS: Argument = Argument::choice("status", &PatternStatus::WORDS, "Only these. Default all.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "get_log_patterns",
    title: "Log patterns",
    description: "Log templates with counts in the window and in as long a time before it: new, gone, rising or \
                  falling ones first, each with an example trace.",
    arguments: &[
        &SERVICE,
        &SEVERITY,
        &MATCH,
        &STATUS,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Patterns. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which log patterns an agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogPatternsAsk {
    /// The service that writes them.
    pub service: Option<String>,
    /// The least severity of the records that are counted.
    pub severity: Option<Severity>,
    /// Part of the pattern.
    pub part: Option<String>,
    /// Only those that moved in this way.
    pub status: Option<PatternStatus>,
    /// The window.
    pub range: TimeRange,
    /// Most patterns listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// How the number of records of a pattern moved from the time before to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatternStatus {
    /// There were none ever before.
    New,
    /// There were none in as long a time before, but earlier.
    Returned,
    /// There are none any more.
    Gone,
    /// There are more than chance explains.
    Up,
    /// There are fewer than chance explains.
    Down,
    /// There are about as many.
    Steady,
}

impl PatternStatus {
    const WORDS: [&'static str; 6] = ["new", "returned", "gone", "up", "down", "steady"];
    const ALL: [Self; 6] = [Self::New, Self::Returned, Self::Gone, Self::Up, Self::Down, Self::Steady];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<LogPatternsAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = LogPatternsAsk {
        service: reader.service(),
        severity: reader.severity(),
        part: reader.text(&MATCH),
        status: reader.choice(&STATUS, &[]).map(|at| PatternStatus::ALL[at]),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
