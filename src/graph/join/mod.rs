//! Joins arriving spans with what is remembered of their traces, and says what each of them adds to the roll-ups.
//!
//! Promise: the sum of all observations is the same whatever the order in which spans arrive and however they
//! are split into calls. A span that comes twice is told as a duplicate and adds nothing. A pair of parent and
//! child is counted once, when the second of the two arrives.
//!
//! Never: reads a clock or the store, waits, or follows more than one step of parents, so cyclic parents are
//! harmless. What was forgotten must be handed back with [`Joiner::seed`] before spans of that trace are
//! joined; [`Joiner::unknown`] says which traces that concerns.
//!
//! Reading order: this file, `rules` (what a span, a pair and a link add), `trace` (what is remembered of one
//! trace), `memory` (two generations of traces, bounded). The one handle is [`Joiner`].

mod memory;
mod rules;
mod trace;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Observation, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

use memory::Memory;
use trace::{PendingLink, Trace};

/// Links of one span that are followed; the same number as OpenTelemetry's default limit. Later ones are ignored.
pub const LINKS_MAX: usize = 128;
/// Links that wait for spans of one trace; later ones are dropped and never counted.
pub const PENDING_LINKS_MAX: usize = 1_024;

/// Bounds of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Spans remembered, over all tenants. A trace untouched while half as many spans passed may be forgotten
    /// and is then asked for again by [`Joiner::unknown`]. About 60 to 120 bytes each. One trace is remembered
    /// up to an eighth of this; past that its earlier spans are forgotten for good.
    pub spans_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { spans_max: 2_000_000 }
    }
}

/// What a span calls or takes work from, where that is not an instrumented service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// Database, queue or external host. Spans with outbound kinds may have any of these, consumers only a
    /// queue; elsewhere the dependency is ignored.
    pub kind: NodeKind,
    /// The operation of that node.
    pub operation: OperationId,
}

/// The facts of an arriving span that the graph needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Whose span it is.
    pub tenant: TenantNumber,
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it; its own id counts as none.
    pub parent_id: Option<SpanId>,
    /// The service that sent it.
    pub service: ServiceId,
    /// The instance that sent it.
    pub resource: ResourceId,
    /// Its operation.
    pub operation: OperationId,
    /// Its part in a call.
    pub kind: SpanKind,
    /// Whether it failed.
    pub error: bool,
    /// Whether its service took up the work here.
    pub entry: bool,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: u64,
    /// What it calls outside the instrumented services.
    pub dependency: Option<Dependency>,
    /// Spans of other traces that it points to; the first [`LINKS_MAX`] are followed.
    pub links: Vec<(TraceId, SpanId)>,
}

/// The facts of a span that was stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its own id.
    pub span_id: SpanId,
    /// The span that caused it.
    pub parent_id: Option<SpanId>,
    /// The service that sent it.
    pub service: ServiceId,
    /// Its operation.
    pub operation: OperationId,
    /// Its part in a call.
    pub kind: SpanKind,
    /// Whether it failed.
    pub error: bool,
    /// When it began.
    pub start: UnixNanos,
    /// How long it took.
    pub duration_ns: u64,
    /// What it calls outside the instrumented services.
    pub dependency: Option<Dependency>,
}

/// What became of one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Seen for the first time; it belongs to the trace with this key.
    New(TraceKey),
    /// The same tenant, trace and span id were seen before.
    Duplicate,
}

/// What a call of [`Joiner::join`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// One for each arrival, in the same order.
    pub outcomes: Vec<Outcome>,
    /// What to add to the roll-ups.
    pub observations: Vec<(TenantNumber, Observation)>,
}

/// Remembers recent traces and turns arrivals into observations. Used by one task; holds no lock.
#[derive(Debug)]
pub struct Joiner {
    memory: Memory,
    trace_spans_max: usize,
    /// Observations that seeding brought to light; the next join hands them out.
    owed: Vec<(TenantNumber, Observation)>,
}

impl Joiner {
    /// A joiner that remembers nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            memory: Memory::new(options.spans_max / 2),
            trace_spans_max: (options.spans_max / 8).max(1),
            owed: Vec::new(),
        }
    }

    /// The traces of `tenant` that `arrivals` belong or point to and that are not remembered, each once with the
    /// earliest start known for it, in order of first mention. Hand what the store knows of them to
    /// [`Joiner::seed`] before joining the same arrivals; a trace the store does not know needs no call. What is
    /// remembered now stays remembered until the end of the next [`Joiner::join`].
    pub fn unknown(&self, tenant: TenantNumber, arrivals: &[Arrival]) -> Vec<(TraceId, UnixNanos)> {
        let mut found: Vec<(TraceId, UnixNanos)> = Vec::new();
        let mut places: HashMap<TraceId, usize, RandomState> = HashMap::default();
        let mut mention = |trace: TraceId, start: UnixNanos| {
            let place = *places.entry(trace).or_insert(found.len());
            match found.get_mut(place) {
                Some((_, earliest)) => *earliest = start.min(*earliest),
                None => found.push((trace, start)),
            }
        };
        for arrival in arrivals.iter().filter(|arrival| arrival.tenant == tenant) {
            // A trace that is only pointed to was looked up when the pointer came, under the pointer's time;
            // its own spans know the time better, so it is looked up once more for them.
            let known = |trace| self.memory.get(&(tenant, trace));
            if known(arrival.trace_id).is_none_or(|trace| trace.key().is_none()) {
                mention(arrival.trace_id, arrival.start);
            }
            for (trace, _) in followed_links(arrival).filter(|(trace, _)| known(*trace).is_none()) {
                mention(trace, arrival.start);
            }
        }
        found
    }

    /// Remembers what the store knew of a trace: pairs among `spans` were counted before and are not counted
    /// again. Spans that are remembered already are skipped. The first key given to a trace stays.
    pub fn seed(&mut self, tenant: TenantNumber, trace: TraceId, key: TraceKey, spans: Vec<Known>) {
        let Self { memory, owed, trace_spans_max } = self;
        memory.update((tenant, trace), |remembered| {
            remembered.key_or_set(|| key);
            for mut span in spans {
                rules::normalize(&mut span);
                if remembered.find(span.span_id).is_some() {
                    continue;
                }
                for link in remembered.take_pending(span.span_id) {
                    rules::link(&span, &link, &mut |subject, at, seen| {
                        owed.push((tenant, Observation { subject, at, seen }));
                    });
                }
                remembered.forget_beyond(*trace_spans_max);
                remembered.add(span, &mut |_, _, _| {});
            }
        });
    }

    /// Takes in `arrivals` in their order. Call [`Joiner::unknown`] and [`Joiner::seed`] before.
    pub fn join(&mut self, arrivals: &[Arrival]) -> Joined {
        let mut joined = Joined::default();
        let observations = &mut joined.observations;
        joined.outcomes =
            self.join_each(arrivals, |tenant, observation| observations.push((tenant, observation)));
        joined
    }

    /// As [`Joiner::join`]; hands each observation to `observe` instead of keeping it.
    pub fn join_each(
        &mut self,
        arrivals: &[Arrival],
        mut observe: impl FnMut(TenantNumber, Observation),
    ) -> Vec<Outcome> {
        std::mem::take(&mut self.owed).into_iter().for_each(|(tenant, owed)| observe(tenant, owed));
        let take_in = |arrival: &Arrival| {
            let mut emit = |subject: Subject, at: UnixNanos, seen: Seen| {
                observe(arrival.tenant, Observation { subject, at, seen });
            };
            self.take_in(arrival, &mut emit)
        };
        let outcomes = arrivals.iter().map(take_in).collect();
        self.memory.turn_when_full();
        outcomes
    }

    /// Traces remembered, those that are only pointed to included.
    pub fn traces(&self) -> usize {
        self.memory.traces()
    }

    fn take_in(&mut self, arrival: &Arrival, emit: &mut impl FnMut(Subject, UnixNanos, Seen)) -> Outcome {
        let span = known(arrival);
        let trace_spans_max = self.trace_spans_max;
        let outcome = self.memory.update((arrival.tenant, arrival.trace_id), |trace: &mut Trace| {
            if trace.find(span.span_id).is_some() {
                return Outcome::Duplicate;
            }
            rules::span(&span, arrival, emit);
            for link in trace.take_pending(span.span_id) {
                rules::link(&span, &link, emit);
            }
            trace.forget_beyond(trace_spans_max);
            trace.add(span, emit);
            Outcome::New(trace.key_or_set(|| TraceKey::new(arrival.start, arrival.tenant, arrival.trace_id)))
        });
        if !arrival.links.is_empty() && outcome != Outcome::Duplicate {
            self.follow_links(arrival, &span, emit);
        }
        outcome
    }

    fn follow_links(
        &mut self,
        arrival: &Arrival,
        span: &Known,
        emit: &mut impl FnMut(Subject, UnixNanos, Seen),
    ) {
        let mut links: Vec<_> = followed_links(arrival).collect();
        links.sort_unstable();
        links.dedup();
        let pending = PendingLink::of(span, links.len());
        let links_max = self.trace_spans_max.min(PENDING_LINKS_MAX);
        for (trace, linked) in links {
            self.memory.update((arrival.tenant, trace), |remembered| match remembered.find(linked) {
                Some(linked) => rules::link(&linked, &pending, emit),
                None => remembered.wait_for(linked, pending, links_max),
            });
        }
    }
}

/// The links of a span that count: those to other traces, up to the limit.
fn followed_links(arrival: &Arrival) -> impl Iterator<Item = (TraceId, SpanId)> {
    let own = arrival.trace_id;
    arrival.links.iter().copied().take(LINKS_MAX).filter(move |(trace, _)| *trace != own)
}

fn known(arrival: &Arrival) -> Known {
    let mut span = Known {
        span_id: arrival.span_id,
        parent_id: arrival.parent_id,
        service: arrival.service,
        operation: arrival.operation,
        kind: arrival.kind,
        error: arrival.error,
        start: arrival.start,
        duration_ns: arrival.duration_ns,
        dependency: arrival.dependency,
    };
    rules::normalize(&mut span);
    span
}
