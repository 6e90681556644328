//! `describe_data`: what telemetry there is, and what is wrong with it.

use serde_json::{Map, Value};

use crate::arguments::{
    Argument, CURSOR, LIMIT, MAX_TOKENS, NAME_BYTES_MAX, Reader, SERVICE, SINCE, Spec, UNTIL,
};
use crate::fault::Fault;
use crate::time::TimeRange;

const ATTRIBUTE: Argument = Argument::text("attribute", NAME_BYTES_MAX, "Show the values of this key.");
const MATCH: Argument = Argument::text("match", NAME_BYTES_MAX, "Part of the key.");

const LIMIT_DEFAULT: u32 = 20;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "describe_data",
    title: "Describe the data",
    description: "Which signals, attribute keys and values there are, from whom, and what is wrong with them: broken \
                  traces, clock skew, logs without traces, services without versions. Ask when an answer is empty.",
    arguments: &[
        &SERVICE,
        &ATTRIBUTE,
        &MATCH,
        &SINCE,
        &UNTIL,
        &LIMIT.described("Keys or values. Default 20."),
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// What an agent wants described.
///
/// The answer has tables `signals`, `attributes` (or `values` of one attribute) and `quality`: what is wrong, whose, and for
/// services that share a name the values that tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DescribeDataAsk {
    /// Only what this service sends.
    pub service: Option<String>,
    /// The key whose values are wanted.
    pub attribute: Option<String>,
    /// Part of the keys that are wanted.
    pub part: Option<String>,
    /// The window.
    pub range: TimeRange,
    /// Most keys or values listed, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<DescribeDataAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = DescribeDataAsk {
        service: reader.service(),
        attribute: reader.text(&ATTRIBUTE),
        part: reader.text(&MATCH),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
