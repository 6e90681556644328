//! Recorded incidents: sent to a server again as OTLP, and whether it names the cause.
//!
//! A case is a folder with `case.json` (segments, windows, services, never the answer), requests as gzip'd OTLP/JSON lines
//! (`SEGMENT.{traces,logs,metrics}.jsonl.gz`) and, where something was changed, `changes.json`. A folder of cases has the
//! answers in `truth*.json` beside them.
//!
//! Reading order: `case` (what was recorded, moved to another time), `replay` (sending it), `server` (a fresh one for each
//! case), `evaluate` (asking it), `score` (how often it was right) and `tables` (as a document).

mod case;
pub mod evaluate;
pub mod replay;
mod score;
pub(crate) mod server;
mod tables;
