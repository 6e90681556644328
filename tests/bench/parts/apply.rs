//! From an accepted request to a commit: the journal, the queue, names, templates, joining, roll-ups, the graph.

use anyhow::Result;
use otelcontext::decode::Encoding;
use otelcontext::model::batch::{Batch, Signal};

use crate::part::{Part, Work};
use crate::sample;
use crate::server::Server;
use crate::spans::trace_of_round;

pub(crate) const PARTS: &[Part] = &[
    Part { name: "apply spans", item: "span", cycle: 4, prepare: |rounds| work(Signal::Traces, rounds) },
    Part {
        name: "apply log records",
        item: "record",
        cycle: 2,
        prepare: |rounds| work(Signal::Logs, rounds),
    },
    Part { name: "apply points", item: "point", cycle: 16, prepare: |rounds| work(Signal::Metrics, rounds) },
];

/// A request a round, all of it but decoding and storing. Its traces are new each time.
fn work(signal: Signal, rounds: usize) -> Result<Work> {
    let server = Server::start()?;
    let (encoding, batch) = (Encoding::Protobuf, sample::batch(signal)?);
    let body = sample::body(signal, encoding)?;
    let batches: Vec<Batch> = (0..rounds).map(|round| batch_of_round(&batch, round)).collect();
    Ok(Work::with(batch.items(), batches, move |batch| server.apply(encoding, body.clone(), batch)))
}

fn batch_of_round(batch: &Batch, round: usize) -> Batch {
    let mut batch = batch.clone();
    if let Batch::Traces(groups) = &mut batch {
        for span in groups.iter_mut().flat_map(|group| &mut group.items) {
            span.trace_id = trace_of_round(span.trace_id, round);
        }
    }
    batch
}
