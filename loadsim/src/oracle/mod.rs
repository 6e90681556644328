//! An oracle: what a load sent and what was answered, kept on disk, against what a server says it has stored.
//!
//! Promises: an item is in the book before it is sent, so that nothing can be stored that the book does not know; its answer
//! is in the book before the next request goes out; both are synced. The check says of every item whether it is present,
//! once, unaltered and with its tenant. Never: an answer of the server's own counters taken as proof.
//!
//! Files in reading order: `item` is what is known of a span, log record or point; `book` writes the ledger; `entries` reads
//! it; `check` compares. What is stored comes as OTLP/JSON lines, one export request a line, as the Collector's file
//! exporter and `otelcontext export` write them.

pub mod book;
pub mod check;
pub mod entries;
pub mod item;

#[cfg(test)]
mod tests;
