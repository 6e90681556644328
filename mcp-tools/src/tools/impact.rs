//! `impact_analysis`: who is hurt when a service fails.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::Fault;
use crate::time::TimeRange;

const DEPTH_DEFAULT: u32 = 5;
const OPERATION: Argument =
    Argument::text("operation", NAME_BYTES_MAX, "One operation (span name) of it. Default: all.");
const DEPTH: Argument = Argument::integer("depth", 1, 10, "Hops towards the callers. Default 5.");

const CALLER: Argument =
    Argument::text("caller", NAME_BYTES_MAX, "What if only this service's calls to it fail? Default: all.");
const ADDED_LATENCY: Argument = Argument::integer(
    "added_latency_ms",
    0,
    600_000,
    "What if each call took so much longer? Default 0: it fails.",
);

const LIMIT_DEFAULT: u32 = 50;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "impact_analysis",
    title: "Impact analysis",
    description: "Blast radius: the callers, operations and share of traffic affected when this service, or one operation of it, fails or slows down.",
    arguments: &[
        &SERVICE.described("The failing service.").required(),
        &OPERATION,
        &CALLER,
        &ADDED_LATENCY,
        &DEPTH,
        &SINCE,
        &UNTIL,
        &LIMIT,
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Whose failure an agent wants to follow.
///
/// The answer has a table `affected` whose first columns are `service`, `operation`, `share`; with an added latency,
/// `mean_ms` and `added_ms` tell what a request takes and what it would take longer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImpactAsk {
    /// The failing service.
    pub service: String,
    /// One operation of it; absent means all.
    pub operation: Option<String>,
    /// The service whose calls alone go wrong; absent means those of all.
    pub caller: Option<String>,
    /// What each call takes longer, in milliseconds, at most 600,000; 0 where it fails instead.
    pub added_latency_ms: u32,
    /// Most hops towards the callers, 1 to 10.
    pub depth: u32,
    /// The window whose traffic is counted.
    pub range: TimeRange,
    /// Most rows, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<ImpactAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = ImpactAsk {
        service: reader.required_text(&SERVICE),
        operation: reader.text(&OPERATION),
        caller: reader.text(&CALLER),
        added_latency_ms: reader.integer(&ADDED_LATENCY, 0),
        depth: reader.integer(&DEPTH, DEPTH_DEFAULT),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
