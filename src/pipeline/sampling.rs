//! Which spans get a row where not all are to: decided for whole traces, after everything was counted.
//!
//! A trace is kept by the randomness of its id, so that all senders and servers decide alike (OpenTelemetry, "TraceState:
//! Probability Sampling", consistent threshold), or because something in it is worth keeping: a failure, a slow span, an
//! operation that none was kept of for a while. What is worth keeping may show after parts of the trace were passed over,
//! so these are held for a while and stored after all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::id::{OperationId, TenantNumber, TraceId};
use crate::model::span::Status;
use crate::store::rows::SpanRow;

use super::options::Sampling;

/// How long passed-over spans are held: an SDK exports each five seconds, a Collector may wait for ten more.
const HELD_FOR: Duration = Duration::from_secs(30);
/// Bytes of spans that are held at most; beyond it the oldest go.
const HELD_BYTES_MAX: usize = 64 << 20;
/// How long later spans of a trace that was kept for its content are kept with it.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Traces that are remembered to be kept at most.
const KEPT_MAX: usize = 100_000;
/// An operation that no trace was kept of for so long has its next one kept.
const OPERATION_PAUSE: Duration = Duration::from_secs(60);
/// Operations that are remembered at most; beyond it all are forgotten.
const OPERATIONS_MAX: usize = 100_000;
/// Bits of a trace id that are random (W3C Trace Context, level 2).
const RANDOM_BITS: u32 = 56;

type Key = (TenantNumber, TraceId);

/// What becomes of the spans of a commit.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// To be stored.
    pub(super) rows: Vec<SpanRow>,
    /// The place of each among the rows of the commit's requests; none for what was held before.
    pub(super) places: Vec<Option<usize>>,
    /// Spans of this commit that were passed over for now.
    pub(super) passed_over: u64,
    /// Spans of earlier commits that are stored after all.
    pub(super) rescued: u64,
}

/// Decides; remembers what it has to.
#[derive(Debug)]
pub(super) struct Sampler {
    options: Sampling,
    /// The least randomness that is kept.
    threshold: u64,
    kept: HashMap<Key, Instant>,
    kept_since: VecDeque<(Instant, Key)>,
    operations: HashMap<OperationId, Instant>,
    held: HashMap<Key, Vec<SpanRow>>,
    held_since: VecDeque<(Instant, Key)>,
    held_bytes: usize,
    held_spans: u64,
    /// Spans that were held for long enough, or for which there was no room any more.
    gone: u64,
}

impl Sampler {
    pub(super) fn new(options: Sampling) -> Self {
        let all = 1_u64 << RANDOM_BITS;
        // A share between 0 and 1, so neither end is passed.
        let threshold = ((1.0 - options.share.clamp(0.0, 1.0)) * all as f64) as u64;
        Self {
            options,
            threshold,
            kept: HashMap::new(),
            kept_since: VecDeque::new(),
            operations: HashMap::new(),
            held: HashMap::new(),
            held_since: VecDeque::new(),
            held_bytes: 0,
            held_spans: 0,
            gone: 0,
        }
    }

    /// Spans that are held now, and those that were passed over for good since the last call.
    pub(super) fn account(&mut self) -> (u64, u64) {
        (self.held_spans, std::mem::take(&mut self.gone))
    }

    /// Picks from the spans of a commit, in order, each of which has a place.
    pub(super) fn pick(&mut self, now: Instant, (spans, places): (Vec<SpanRow>, Vec<usize>)) -> Picked {
        if self.threshold == 0 {
            let places = places.into_iter().map(Some).collect();
            return Picked { rows: spans, places, ..Picked::default() };
        }
        let mut picked = Picked::default();
        let mut worthy: HashSet<Key> = HashSet::new();
        for row in &spans {
            if !self.is_random(row.trace_id) && self.is_worthy(now, row) {
                worthy.insert((row.tenant, row.trace_id));
            }
        }
        for key in worthy {
            if self.kept.insert(key, now).is_none() {
                self.kept_since.push_back((now, key));
            }
            let rescued = self.held.remove(&key).unwrap_or_default();
            self.held_spans -= rescued.len() as u64;
            picked.rescued += rescued.len() as u64;
            for row in rescued {
                self.held_bytes -= bytes(&row);
                picked.rows.push(row);
                picked.places.push(None);
            }
        }
        for (row, place) in spans.into_iter().zip(places) {
            let key = (row.tenant, row.trace_id);
            if self.is_random(row.trace_id) || self.kept.contains_key(&key) {
                self.operations.insert(row.operation, now);
                picked.rows.push(row);
                picked.places.push(Some(place));
            } else {
                picked.passed_over += 1;
                self.hold(now, key, row);
            }
        }
        self.expire(now);
        picked
    }

    /// Forgets what is old, or too much.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((since, key)) = self.held_since.front().copied() {
            let is_old = since + HELD_FOR <= now;
            if !is_old && self.held_bytes <= HELD_BYTES_MAX {
                break;
            }
            self.held_since.pop_front();
            for row in self.held.remove(&key).unwrap_or_default() {
                self.held_bytes -= bytes(&row);
                self.held_spans -= 1;
                self.gone += 1;
            }
        }
        while let Some((since, key)) = self.kept_since.front().copied() {
            if now < since + KEPT_FOR && self.kept.len() <= KEPT_MAX {
                break;
            }
            self.kept_since.pop_front();
            self.kept.remove(&key);
        }
        if OPERATIONS_MAX < self.operations.len() {
            self.operations.clear();
        }
    }

    /// True where the id of a trace is among those that are kept: its last seven bytes are random.
    fn is_random(&self, trace: TraceId) -> bool {
        let bytes = u128::from_be_bytes(*trace.as_bytes());
        self.threshold <= (bytes & ((1 << RANDOM_BITS) - 1)) as u64
    }

    /// True where a span is a reason to keep its trace.
    fn is_worthy(&mut self, now: Instant, row: &SpanRow) -> bool {
        let fails = self.options.keeps_failures && row.status == Status::Error;
        let is_slow = self.options.slow.is_some_and(|slow| slow.as_nanos() <= u128::from(row.duration_ns));
        let is_rare = self.operations.get(&row.operation).is_none_or(|last| *last + OPERATION_PAUSE <= now);
        if is_rare {
            self.operations.insert(row.operation, now);
        }
        fails || is_slow || is_rare
    }

    fn hold(&mut self, now: Instant, key: Key, row: SpanRow) {
        // Few of a request may be held: they do not hold the others.
        let row = SpanRow { detail: row.detail.detached(), ..row };
        self.held_bytes += bytes(&row);
        self.held_spans += 1;
        let of_trace = self.held.entry(key).or_default();
        if of_trace.is_empty() {
            self.held_since.push_back((now, key));
        }
        of_trace.push(row);
    }
}

/// What a span takes in memory, about.
fn bytes(row: &SpanRow) -> usize {
    size_of::<SpanRow>() + row.detail.as_bytes().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::poison;

    const NONE: Sampling =
        Sampling { share: 0.0, keeps_failures: true, slow: Some(Duration::from_millis(500)) };

    /// A quick span of a trace that no share keeps, unless it keeps all.
    fn row(trace: u8, operation: u32) -> SpanRow {
        let mut bytes = [0; 16];
        bytes[0] = trace;
        of(TraceId::try_from(&bytes[..]).unwrap(), operation)
    }

    fn of(trace_id: TraceId, operation: u32) -> SpanRow {
        SpanRow { trace_id, operation: OperationId(operation), ..poison::tests::span(1) }
    }

    /// Picks from rows; answers the places of those that are stored, and how many were held before.
    fn pick(sampler: &mut Sampler, now: Instant, rows: Vec<SpanRow>) -> (Vec<usize>, u64) {
        let count = rows.len() as u64;
        let places = (0..rows.len()).collect();
        let picked = sampler.pick(now, (rows, places));
        assert_eq!(picked.rows.len() as u64 + picked.passed_over, count + picked.rescued);
        (picked.places.into_iter().flatten().collect(), picked.rescued)
    }

    #[test]
    fn a_share_of_random_ids_is_kept_and_always_the_same() {
        let mut dice = crate::clock::Clock::system().now().0.cast_unsigned();
        let mut next = || {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            dice.rotate_left(32)
        };
        let ids: Vec<TraceId> = (0..10_000)
            .map(|_| [next().to_be_bytes(), next().to_be_bytes()].concat())
            .map(|bytes| TraceId::try_from(&bytes[..]).unwrap())
            .collect();
        let kept = |share| {
            let sampler = Sampler::new(Sampling { share, ..NONE });
            ids.iter().filter(|id| sampler.is_random(**id)).copied().collect::<Vec<_>>()
        };
        let (few, many) = (kept(0.05), kept(0.5));
        assert!((300..700).contains(&few.len()) && (4_500..5_500).contains(&many.len()));
        assert!(few.iter().all(|id| many.contains(id)), "a larger share keeps what a smaller one does");
        assert_eq!((kept(0.0).len(), kept(1.0).len()), (0, 10_000));
    }

    #[test]
    fn a_trace_is_kept_whole_for_what_shows_late() {
        let now = Instant::now();
        let mut sampler = Sampler::new(NONE);
        assert_eq!(pick(&mut sampler, now, vec![row(9, 1)]), (vec![0], 0), "the first of its operation");
        assert_eq!(pick(&mut sampler, now, vec![row(1, 1), row(2, 1)]), (vec![], 0));
        let failed = SpanRow { status: Status::Error, ..row(1, 1) };
        assert_eq!(pick(&mut sampler, now, vec![row(2, 1), failed, row(1, 1)]), (vec![1, 2], 1));
        assert_eq!(pick(&mut sampler, now, vec![row(1, 1)]), (vec![0], 0), "and what comes later");
        let slow = SpanRow { duration_ns: 500_000_000, ..row(2, 1) };
        assert_eq!(pick(&mut sampler, now, vec![slow]), (vec![0], 2));
        assert_eq!(sampler.account(), (0, 0));
        let later = now + OPERATION_PAUSE;
        assert_eq!(
            pick(&mut sampler, later, vec![row(3, 1), row(4, 1)]).0,
            [0],
            "one a minute of each operation"
        );
    }

    #[test]
    fn what_is_held_for_long_or_too_much_goes_and_is_counted() {
        let now = Instant::now();
        let mut sampler = Sampler::new(NONE);
        pick(&mut sampler, now, vec![row(9, 1), row(1, 1), row(1, 1)]);
        assert_eq!(sampler.account(), (2, 0));
        sampler.expire(now + HELD_FOR);
        assert_eq!((sampler.account(), sampler.held_bytes), ((0, 2), 0));
        let count = HELD_BYTES_MAX / size_of::<SpanRow>() + 10;
        let rows = (0..count).map(|number| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            of(TraceId::try_from(&bytes[..]).unwrap(), 1)
        });
        pick(&mut sampler, now, rows.collect());
        let (held, gone) = sampler.account();
        assert!(gone >= 10 && held + gone == count as u64 && sampler.held_bytes <= HELD_BYTES_MAX);
    }
}
