//! Every decoder and parser under any bytes.
//!
//! Promises: each entry of [`TARGETS`] takes any bytes and returns, in memory that follows their length; it panics only
//! where what it tries breaks a promise. The same bytes do the same. Built for tests, and with the feature `fuzzing` for
//! the programs in `tests/fuzz`; never part of the server.
//!
//! What a target does stands beside what it tries, in a file `fuzzing` that sees what is private there. Here are their
//! table, and what the tests do with it: [`mutate`] changes inputs, `tests` runs the kept ones of `tests/corpus` and
//! changes of them.

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod tests;

use crate::api;
use crate::auth;
use crate::config;
use crate::decode;
use crate::journal;
use crate::letters;
use crate::net;
use crate::receive;
use crate::reckon;
use crate::rules;
use crate::search;
use crate::store;
use crate::templates;
use crate::transfer;

/// Takes any bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its program and of its folder in `tests/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode_traces", decode::fuzzing::traces),
    ("decode_logs", decode::fuzzing::logs),
    ("decode_metrics", decode::fuzzing::metrics),
    ("decode_traces_json", decode::fuzzing::traces_json),
    ("decode_logs_json", decode::fuzzing::logs_json),
    ("decode_metrics_json", decode::fuzzing::metrics_json),
    ("receive_inflate", receive::fuzzing::inflate),
    ("receive_packed", receive::fuzzing::packed),
    ("receive_grpc_message", receive::fuzzing::grpc_message),
    ("receive_headers", receive::fuzzing::headers),
    ("auth_headers", auth::fuzzing::headers),
    ("auth_keys", auth::fuzzing::keys),
    ("net_certificates", net::tls::fuzzing::certificates),
    ("config_variables", config::fuzzing::variables),
    ("config_dot_env", config::fuzzing::dot_env),
    ("rules_body", rules::fuzzing::body),
    ("rules_details", rules::fuzzing::details),
    ("templates_lines", templates::fuzzing::lines),
    ("journal_segment", journal::fuzzing::segment),
    ("journal_damage", journal::fuzzing::damage),
    ("letters_letter", letters::fuzzing::letter),
    ("store_block", store::fuzzing::block),
    ("store_rows", store::fuzzing::rows),
    ("store_statement", store::fuzzing::statement),
    ("store_dsn", store::fuzzing::dsn),
    ("reckon_rollup", reckon::fuzzing::rollup),
    ("search_query", search::fuzzing::query),
    ("api_cursor", api::fuzzing::cursor),
    ("api_time", api::fuzzing::time),
    ("mcp_time", mcp_tools::fuzzing::time),
    ("mcp_arguments", mcp_tools::fuzzing::arguments),
    ("transfer_request", transfer::fuzzing::request),
    ("transfer_lines", transfer::fuzzing::lines),
    ("transfer_manifest", transfer::fuzzing::manifest),
    ("transfer_answers", transfer::fuzzing::answers),
];

/// The target of this name; none where there is none.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
