//! Joining spans, adding up what they tell, and showing it to the graph.

use std::hint::black_box;

use anyhow::Result;
use otelcontext::decode::Encoding;
use otelcontext::graph::Graph;
use otelcontext::graph::join::{Arrival, Dependency, Joiner, Options};
use otelcontext::model::batch::Signal;
use otelcontext::model::id::TraceId;
use otelcontext::model::rollup::Folded;
use otelcontext::model::span::SpanKind;
use otelcontext::store::names::Names;
use otelcontext::store::rows::SpanRow;

use crate::part::{Part, Work};
use crate::sample::{self, RECEIVED};
use crate::server::Server;

pub(crate) const PARTS: &[Part] = &[
    Part { name: "join spans", item: "span", cycle: JOIN_CYCLE, prepare: join },
    Part { name: "add up observations", item: "observation", cycle: 4, prepare: |_| fold() },
    Part { name: "show cells to the graph", item: "cell", cycle: 16, prepare: |_| graph() },
];

/// Rounds in which the joiner forgets what it remembered before.
const JOIN_CYCLE: usize = 8;

/// The trace that stands for `trace` in another round.
pub(crate) fn trace_of_round(trace: TraceId, round: usize) -> TraceId {
    let mut bytes = *trace.as_bytes();
    // The last half stays as it is, so no id becomes zero.
    let mixed = (round as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes.iter_mut().zip(mixed).for_each(|(byte, mixed)| *byte ^= mixed);
    TraceId::try_from(&bytes[..]).unwrap_or(trace)
}

fn join(rounds: usize) -> Result<Work> {
    let arrivals = arrivals()?;
    let spans = arrivals.len();
    let mut joiner = Joiner::new(Options { spans_max: 2 * JOIN_CYCLE * spans });
    let rounds = (0..rounds).map(|round| {
        let mut arrivals = arrivals.clone();
        arrivals.iter_mut().for_each(|arrival| arrival.trace_id = trace_of_round(arrival.trace_id, round));
        arrivals
    });
    Ok(Work::with(spans, rounds.collect(), move |arrivals: Vec<Arrival>| {
        black_box(joiner.join_each(&arrivals, |tenant, observation| {
            black_box((tenant, observation));
        }));
        Ok(())
    }))
}

fn fold() -> Result<Work> {
    let arrivals = arrivals()?;
    let observations = Joiner::new(Options::default()).join(&arrivals).observations;
    Ok(Work::new(observations.len(), move || {
        black_box(observations.iter().copied().collect::<Folded>());
        Ok(())
    }))
}

fn graph() -> Result<Work> {
    let arrivals = arrivals()?;
    let observations = Joiner::new(Options::default()).join(&arrivals).observations;
    let cells: Folded = observations.into_iter().collect();
    let graph = Graph::new();
    for arrival in &arrivals {
        graph.declare(arrival.tenant, arrival.operation, arrival.service);
    }
    Ok(Work::new(cells.len(), move || {
        graph.record(&cells, RECEIVED);
        Ok(())
    }))
}

/// The spans of the sample as they arrive at the joiner.
fn arrivals() -> Result<Vec<Arrival>> {
    let server = Server::start()?;
    let signal = Signal::Traces;
    server.apply(Encoding::Protobuf, sample::body(signal, Encoding::Protobuf)?, sample::batch(signal)?)?;
    let commit = server.last()?;
    Ok(commit.spans.iter().map(|row| arrival(server.names(), row)).collect())
}

fn arrival(names: &Names, row: &SpanRow) -> Arrival {
    let dependency = row.dependency.and_then(|node| {
        let kind = names.service_info(node)?.kind;
        let operation = names.operation(row.tenant, node, SpanKind::CLIENT, "call", row.start);
        Some(Dependency { kind, operation })
    });
    crate::arrival::of(row, dependency)
}
