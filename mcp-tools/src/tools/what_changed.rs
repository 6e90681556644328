//! `what_changed`: both sides of the moment at which something changed.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, TIME_BYTES_MAX, UNTIL,
};
use crate::fault::Fault;
use crate::time::{TimeExpression, TimeRange};

const AT: Argument = Argument::text("at", TIME_BYTES_MAX, "The moment, as `since`. Default: found.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "what_changed",
    title: "What changed",
    description: "Finds the moment the symptom began, then compares both sides over operations, call paths, instances \
                  and versions, log patterns, metrics and change events: one ranked list, and what did not change.",
    arguments: &[
        &SERVICE.described("Only this service and what it calls. Default: everything."),
        &AT,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Changes. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which changes an agent wants to see.
///
/// The answer has a table `changes` whose first columns are `rank`, `kind`, `service`, `subject`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WhatChangedAsk {
    /// Only what concerns this service and what it calls.
    pub service: Option<String>,
    /// The moment between the two sides; absent lets the server find it.
    pub at: Option<TimeExpression>,
    /// The window.
    pub range: TimeRange,
    /// Most changes listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<WhatChangedAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = WhatChangedAsk {
        service: reader.service(),
        at: reader.time(&AT),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
