//! Traces in order of time, as rows with the cells that the joiner's observations add up to.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use otelcontext::graph::join::{Arrival, Joiner, Options, Outcome};
use otelcontext::model::id::{SpanId, TraceId};
use otelcontext::model::span::{SpanDetail, SpanKind, Status};
use otelcontext::model::time::{NANOS_PER_SECOND, UnixNanos};
use otelcontext::store::rows::{Commit, SpanRow};

use crate::arrival;
use crate::random::Random;
use crate::world::{OPERATIONS, World};

/// Traces of different shape.
const SHAPES: usize = 2_000;
const TRACE_SPANS: (u64, u64) = (5, 40);
const HOUR_SECONDS: i64 = 3_600;
const SLOW_NS: u64 = 500_000_000;

/// When spans begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// When the first hour begins.
    pub(crate) from: UnixNanos,
    /// Spans of each hour; they come from its beginning on.
    pub(crate) hour_spans: u64,
    /// Spans a second while they come.
    pub(crate) rate: f64,
}

impl Schedule {
    /// `spans` over `days`, each hour's in one run of `rate` spans a second; evenly where `rate` is too low for that.
    pub(crate) fn new(from: UnixNanos, spans: u64, days: u32, rate: f64) -> Self {
        let hours = u64::from(days.max(1)) * 24;
        let hour_spans = spans.div_ceil(hours).max(1);
        Self { from, hour_spans, rate: rate.max(hour_spans as f64 / HOUR_SECONDS as f64) }
    }

    /// When the span of this number begins.
    pub(crate) fn at(&self, number: u64) -> UnixNanos {
        let hour = i64::try_from(number / self.hour_spans).unwrap_or(i64::MAX);
        let within = Duration::from_secs_f64((number % self.hour_spans) as f64 / self.rate);
        UnixNanos(self.from.0 + hour * HOUR_SECONDS * NANOS_PER_SECOND).plus(within)
    }
}

/// One span of a shape: its operation and the position of its parent.
#[derive(Debug, Clone, Copy)]
struct Step {
    operation: usize,
    parent: Option<usize>,
}

/// Makes traces.
pub(crate) struct Traffic {
    pub(crate) world: World,
    schedule: Schedule,
    shapes: Vec<Vec<Step>>,
    joiner: Joiner,
    random: Random,
    made: u64,
}

impl Traffic {
    pub(crate) fn new(world: World, schedule: Schedule, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shapes = (0..SHAPES).map(|_| shape(&world, &mut random)).collect();
        let joiner = Joiner::new(Options { spans_max: 200_000 });
        Self { world, schedule, shapes, joiner, random, made: 0 }
    }

    /// When the next span begins.
    pub(crate) fn now(&self) -> UnixNanos {
        self.schedule.at(self.made)
    }

    /// The next `spans` spans, to the end of the last trace.
    pub(crate) fn commit(&mut self, lsn: u64, spans: usize) -> Result<Commit> {
        let mut commit = Commit { lsn, ..Commit::default() };
        let mut arrivals = Vec::with_capacity(spans + TRACE_SPANS.1 as usize);
        while commit.spans.len() < spans {
            self.add_trace(&mut commit, &mut arrivals)?;
        }
        let joined = self.joiner.join(&arrivals);
        commit.cells = joined.observations.into_iter().collect();
        for (row, outcome) in commit.spans.iter_mut().zip(joined.outcomes) {
            if let Outcome::New(key) = outcome {
                row.trace_key = key;
            }
        }
        Ok(commit)
    }

    fn add_trace(&mut self, commit: &mut Commit, arrivals: &mut Vec<Arrival>) -> Result<()> {
        let (random, world) = (&mut self.random, &self.world);
        let shape = &self.shapes[random.below(SHAPES as u64) as usize];
        let first = commit.spans.len();
        let halves = [random.next(), random.next() | 1].map(u64::to_be_bytes);
        let trace_id = TraceId::try_from(halves.as_flattened())?;
        let at = self.schedule.at(self.made);
        self.made += shape.len() as u64;
        let mut details = Vec::with_capacity(shape.len() * 512);
        let mut lengths = Vec::with_capacity(shape.len());
        for step in shape {
            let operation = &world.operations[step.operation];
            let service = &world.services[operation.service];
            let parent = step.parent.map(|parent| &commit.spans[first + parent]);
            let chance = random.below(10_000);
            let duration_ns = match chance % 100 {
                0..3 => SLOW_NS + random.below(4 * SLOW_NS),
                // At most some 60 ms, mostly near what is usual.
                _ => operation.usual_ns / 2 + random.below(operation.usual_ns) + random.below(1_000_000),
            };
            let error = chance / 100 == 0;
            let start = parent.map_or(at, |parent| {
                parent.start.plus(Duration::from_nanos(random.below(parent.duration_ns / 2 + 1)))
            });
            let pattern = if error { &operation.failed_detail } else { &operation.detail };
            lengths.push(pattern.fill(random, &mut details));
            let row = SpanRow {
                tenant: world.tenant,
                trace_key: otelcontext::model::trace_key::TraceKey(0),
                trace_id,
                span_id: SpanId::try_from(&(random.next() | 1).to_be_bytes()[..])?,
                parent_id: parent.map(|parent| parent.span_id),
                service: service.id,
                operation: operation.id,
                resource: service.resources[random.below(service.resources.len() as u64) as usize],
                instrumentation: world.instrumentation,
                kind: operation.kind,
                status: if error { Status::Error } else { Status::Unset },
                entry: operation.kind == SpanKind::SERVER,
                http_status: match operation.kind {
                    SpanKind::INTERNAL => 0,
                    _ if operation.dependency.is_some() => 0,
                    SpanKind::SERVER if error => 500,
                    _ => 200,
                },
                dependency: operation.dependency.map(|(service, _)| service),
                start,
                duration_ns,
                detail: SpanDetail::default(),
            };
            arrivals.push(arrival::of(&row, operation.dependency.map(|(_, dependency)| dependency)));
            commit.spans.push(row);
        }
        // One buffer a trace, as spans of a request share one.
        let mut details = Bytes::from(details);
        for (row, length) in commit.spans[first..].iter_mut().zip(lengths) {
            row.detail = SpanDetail::from_checked(details.split_to(length));
        }
        Ok(())
    }
}

/// A walk from a service's door along its calls, until it is long enough.
fn shape(world: &World, random: &mut Random) -> Vec<Step> {
    let wanted = (TRACE_SPANS.0 + random.below(TRACE_SPANS.1 - TRACE_SPANS.0 + 1)) as usize;
    let door = random.below(world.services.len() as u64) as usize * OPERATIONS + random.below(3) as usize;
    let mut steps = vec![Step { operation: door, parent: None }];
    let mut next = 0;
    while steps.len() < wanted {
        // Those who were called call in turn; when all have, the first begins again.
        let caller = if next < steps.len() { next } else { random.below(steps.len() as u64) as usize };
        next += 1;
        let own = steps[caller].operation;
        let calls = &world.operations[own].calls;
        // A door that calls nobody asks its database.
        let database = own / OPERATIONS * OPERATIONS + OPERATIONS - 3;
        let called = if calls.is_empty() && caller == 0 { std::slice::from_ref(&database) } else { calls };
        let called = called.iter().take(wanted - steps.len());
        let called: Vec<Step> =
            called.map(|operation| Step { operation: *operation, parent: Some(caller) }).collect();
        steps.extend(called);
    }
    steps
}
