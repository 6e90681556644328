//! `get_service_map`: who calls whom.

use serde_json::{Map, Value};

use crate::arguments::{Argument, CURSOR, LIMIT, MAX_TOKENS, Reader, SERVICE, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

const DEPTH_DEFAULT: u32 = 2;
const DEPTH: Argument = Argument::integer("depth", 1, 10, "Hops around `service`. Default 2.");

const LIMIT_DEFAULT: u32 = 50;

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "get_service_map",
    title: "Service map",
    description: "Who calls whom, with rate, error ratio and latency of each call path, around one service \
                  or for the whole system.",
    arguments: &[
        &SERVICE.described("Centre of the map. Default: everything."),
        &DEPTH,
        &SINCE,
        &UNTIL,
        &LIMIT,
        &CURSOR,
        &MAX_TOKENS,
    ],
};

/// Which part of the map an agent wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceMapAsk {
    /// The centre; absent means the whole map.
    pub service: Option<String>,
    /// Most hops from the centre, 1 to 10; without a centre it has no effect.
    pub depth: u32,
    /// The window whose calls are counted.
    pub range: TimeRange,
    /// Most rows, 1 to 500.
    pub limit: usize,
    /// Where an earlier answer left off.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<ServiceMapAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let ask = ServiceMapAsk {
        service: reader.service(),
        depth: reader.integer(&DEPTH, DEPTH_DEFAULT),
        range: reader.range(),
        limit: reader.limit(LIMIT_DEFAULT),
        cursor: reader.cursor(),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}
