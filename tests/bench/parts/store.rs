//! A commit on SQLite: rows, blocks, summaries, roll-ups.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use otelcontext::decode::Encoding;
use otelcontext::model::batch::Signal;
use otelcontext::model::trace_key::TraceKey;
use otelcontext::store::rows::Commit;

use crate::part::{Part, Work};
use crate::sample;
use crate::server::Server;
use crate::spans::trace_of_round;

pub(crate) const PARTS: &[Part] = &[
    Part { name: "store spans", item: "span", cycle: 2, prepare: |rounds| work(Signal::Traces, rounds) },
    Part {
        name: "store log records",
        item: "record",
        cycle: 2,
        prepare: |rounds| work(Signal::Logs, rounds),
    },
    Part { name: "store points", item: "point", cycle: 2, prepare: |rounds| work(Signal::Metrics, rounds) },
];

/// A commit a round, in an empty database at first.
fn work(signal: Signal, rounds: usize) -> Result<Work> {
    let server = Server::start()?;
    let batch = sample::batch(signal)?;
    let items = batch.items();
    server.apply(Encoding::Protobuf, sample::body(signal, Encoding::Protobuf)?, batch)?;
    let first = server.last()?;
    let commits = (0..rounds).map(|round| Arc::new(commit_of_round(&first, round))).collect();
    Ok(Work::with(items, commits, move |commit| server.store(commit)))
}

/// The same rows once more: with other traces, and points of the next second.
fn commit_of_round(first: &Commit, round: usize) -> Commit {
    let mut commit = first.clone();
    commit.lsn += round as u64;
    for span in &mut commit.spans {
        span.trace_id = trace_of_round(span.trace_id, round);
        span.trace_key = TraceKey::new(span.start, span.tenant, span.trace_id);
    }
    for row in &mut commit.points {
        row.point.time = row.point.time.plus(Duration::from_secs(round as u64));
    }
    if round > 0 {
        commit.templates.clear();
    }
    commit
}
