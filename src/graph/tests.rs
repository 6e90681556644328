use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Folded, Observation, Seen, Subject};
use crate::model::sketch::Sketch;
use crate::model::time::{UnixNanos, Window};

use super::{COARSE_KEPT_SECONDS, Counts, FINE_KEPT_SECONDS, Graph};

impl Graph {
    /// The smallest width whose buckets hold everything known about the operations, calls and instances of `window`.
    fn covers(&self, tenant: TenantNumber, window: Window) -> Option<i64> {
        [FINE_SECONDS, COARSE_SECONDS].into_iter().find(|width| self.covers_by(tenant, window, *width))
    }
}

const TENANT: TenantNumber = TenantNumber(3);
/// A whole number of fine and coarse buckets.
const START: i64 = 1_800_000_000;

fn call(subject: Subject, at_seconds: i64, duration_ns: u64) -> (TenantNumber, Observation) {
    let seen = Seen::Call { duration_ns, caller_ns: duration_ns, error: duration_ns % 2 == 1 };
    (TENANT, Observation { subject, at: UnixNanos::from_seconds(at_seconds), seen })
}

fn operation(id: u32) -> Subject {
    Subject::Operation(OperationId(id))
}

fn edge(from: u32, to: u32) -> Subject {
    Subject::Edge(OperationId(from), OperationId(to))
}

/// Records observations, however late.
fn record(graph: &Graph, observations: &[(TenantNumber, Observation)]) {
    graph.record(&observations.iter().copied().collect(), UnixNanos(i64::MAX));
}

fn window(from: i64, to: i64) -> Window {
    Window::new(UnixNanos::from_seconds(from), UnixNanos::from_seconds(to))
}

#[test]
fn windows_are_covered_as_far_back_as_buckets_are_kept() {
    let graph = Graph::new();
    let covers = |from, to| graph.covers(TENANT, window(from, to));
    assert_eq!(covers(START, START + 10), None);
    record(&graph, &[call(operation(1), START, 5)]);
    assert_eq!(covers(START - FINE_KEPT_SECONDS + 10, START + 10), Some(FINE_SECONDS));
    assert_eq!(covers(START - FINE_KEPT_SECONDS, START + 10), Some(COARSE_SECONDS));
    assert_eq!(covers(START - COARSE_KEPT_SECONDS + 60, START + 10), Some(COARSE_SECONDS));
    assert_eq!(covers(START - COARSE_KEPT_SECONDS, START + 10), None);
    assert_eq!(graph.covers(TenantNumber(4), window(START, START + 10)), None);
    assert!(graph.merged(TENANT, window(START, START + 10), 17).is_empty());
}

#[test]
fn windows_pick_the_buckets_they_overlap() {
    let graph = Graph::new();
    record(
        &graph,
        &[call(operation(1), START, 5), call(operation(1), START + 10, 5), call(operation(2), START + 20, 5)],
    );
    let count = |from, to| {
        graph.merged(TENANT, window(from, to), FINE_SECONDS).values().map(|cell| cell.count).sum::<u64>()
    };
    assert_eq!(count(START, START + 10), 1);
    assert_eq!(count(START + 9, START + 11), 2);
    assert_eq!(count(START + 10, START + 10), 0);
    assert_eq!(count(START, START + 1_000), 3);
    let series =
        graph.series(TENANT, window(START, START + 60), FINE_SECONDS, |subject| *subject == operation(1));
    let buckets: Vec<_> = series.iter().map(|(bucket, _, cell)| (*bucket, cell.count)).collect();
    assert_eq!(buckets, [(START, 1), (START + 10, 1)]);
}

#[test]
fn what_is_too_old_is_counted_and_left_to_the_store() {
    let graph = Graph::new();
    let late = START - COARSE_KEPT_SECONDS;
    record(
        &graph,
        &[call(edge(1, 2), START, 5), call(operation(1), late, 5), call(operation(1), late + 60, 5)],
    );
    let counts = graph.counts(TENANT);
    assert_eq!((counts.observations, counts.late, counts.edges), (2, 1, 1));
    // Two hours later the edge is idle, and a jump past everything clears everything.
    record(&graph, &[call(edge(3, 4), START + COARSE_KEPT_SECONDS, 5)]);
    assert_eq!(graph.counts(TENANT).edges, 1);
    record(&graph, &[call(operation(9), START + 1_000_000, 5)]);
    assert_eq!(graph.counts(TENANT).edges, 0);
    assert_eq!(graph.merged(TENANT, window(0, START + 2_000_000), COARSE_SECONDS).len(), 1);
}

#[test]
fn declarations_count_nodes() {
    let graph = Graph::new();
    for (operation, service) in [(1, 1), (2, 1), (3, 2), (1, 1), (3, 3)] {
        graph.declare(TENANT, OperationId(operation), ServiceId(service));
    }
    assert_eq!(graph.counts(TENANT), Counts { nodes: 2, operations: 3, ..Counts::default() });
    assert_eq!(graph.owners(TENANT)[&OperationId(3)], ServiceId(3));
    record(&graph, &[call(edge(1, 3), START, 5), call(operation(1), START, 5)]);
    let topology = graph.topology(TENANT, window(START, START + 10), FINE_SECONDS);
    assert_eq!(topology.callees(ServiceId(1), 3), [(ServiceId(3), 1)]);
    assert_eq!(graph.tenants(), [TENANT]);
}

#[test]
fn restored_cells_are_covered_from_where_they_were_read() {
    let graph = Graph::new();
    let cell = Cell { count: 2, sum_ns: 9, ..Cell::default() };
    let cells = [START + 120, START + 60].map(|bucket| (bucket, edge(1, 2), cell.clone()));
    graph.restore(TENANT, COARSE_SECONDS, Some(START + 60), cells.into_iter());
    graph.restore(TENANT, 17, None, [(START, edge(5, 6), cell.clone())].into_iter());
    assert_eq!(graph.covers(TENANT, window(START + 60, START + 130)), Some(COARSE_SECONDS));
    assert_eq!(graph.covers(TENANT, window(START + 59, START + 130)), None);
    record(&graph, &[call(edge(1, 2), START + 60, 5)]);
    assert_eq!(graph.merged(TENANT, window(START, START + 180), COARSE_SECONDS)[&edge(1, 2)].count, 5);
    assert_eq!(graph.counts(TENANT).edges, 1);

    // Where there is nothing before, a window may begin before the first of them.
    let graph = Graph::new();
    graph.restore(TENANT, COARSE_SECONDS, None, [(START + 120, edge(1, 2), cell)].into_iter());
    assert_eq!(graph.covers(TENANT, window(START, START + 130)), Some(COARSE_SECONDS));
}

#[test]
fn what_was_left_out_is_not_covered() {
    let graph = Graph::new();
    let cells = |at| [call(edge(1, 2), at, 5)].into_iter().collect::<Folded>();
    let latest = UnixNanos::from_seconds(START + 60);
    graph.record(&cells(START), latest);
    graph.record(&cells(START + 310), latest);
    let covers = |from, to| graph.covers(TENANT, window(from, to));
    assert_eq!(covers(START, START + 300), Some(FINE_SECONDS));
    assert_eq!(covers(START, START + 310), None, "the minute is not whole");
    assert_eq!(covers(START + 300, START + 350), None);
    assert_eq!(covers(START + 360, START + 420), Some(FINE_SECONDS));
    // Once it would be forgotten anyway, it is.
    record(&graph, &[call(edge(1, 2), START + 420 + COARSE_KEPT_SECONDS, 5)]);
    let tenant = graph.tenant(TENANT).unwrap();
    assert_eq!(super::read(&tenant).left_out, None);
}

#[test]
fn what_will_not_come_again_is_forgotten() {
    let graph = Graph::new();
    for (operation, service) in [(1, 1), (2, 1), (3, 2)] {
        graph.declare(TENANT, OperationId(operation), ServiceId(service));
    }
    let gone = [1, 3, 9].map(|operation| (TENANT, OperationId(operation)));
    graph.forget(&gone);
    graph.forget(&[(TenantNumber(4), OperationId(2))]);
    assert_eq!(graph.counts(TENANT), Counts { nodes: 1, operations: 1, ..Counts::default() });
    assert_eq!(graph.owners(TENANT).get(&OperationId(2)), Some(&ServiceId(1)));
}

#[test]
fn idle_tenants_give_their_cells_back() {
    let graph = Graph::new();
    graph.declare(TENANT, OperationId(1), ServiceId(1));
    record(&graph, &[call(edge(1, 1), START, 5)]);
    assert_eq!(graph.evict_idle(UnixNanos::from_seconds(START)), 0);
    assert_eq!(graph.evict_idle(UnixNanos::from_seconds(START + 120)), 1);
    assert_eq!(graph.evict_idle(UnixNanos::from_seconds(START + 120)), 0);
    assert_eq!(
        graph.counts(TENANT),
        Counts { nodes: 1, operations: 1, observations: 1, ..Counts::default() }
    );
    // Stragglers do not make the dropped buckets look whole.
    record(&graph, &[call(edge(1, 1), START, 5)]);
    assert_eq!(graph.covers(TENANT, window(START, START + 10)), None);
    record(&graph, &[call(edge(1, 1), START + 600, 5)]);
    assert_eq!(graph.covers(TENANT, window(START + 60, START + 610)), Some(FINE_SECONDS));
}

fn any_observation() -> impl Strategy<Value = (TenantNumber, Observation)> {
    let subject = (0..4_u8, 0..4_u32, 0..4_u32).prop_map(|(kind, a, b)| match kind {
        0 => operation(a),
        1 => edge(a, b),
        2 => Subject::Logs(ServiceId(a), TemplateId(b), Severity::WARN),
        _ => Subject::Instance(ServiceId(a), ResourceId(b)),
    });
    (1..3_u32, subject, 0..3_000_i64, any::<u32>()).prop_map(|(tenant, subject, after, duration)| {
        (TenantNumber(tenant), call(subject, START + after, u64::from(duration)).1)
    })
}

proptest! {
    #[test]
    fn rings_hold_the_sums_of_what_they_cover(
        observations in proptest::collection::vec(any_observation(), 1..400),
        call_length in 1..50_usize,
        from in 0..3_000_i64,
        length in 1..3_000_i64,
    ) {
        let graph = Graph::new();
        observations.chunks(call_length).for_each(|part| record(&graph, part));
        let asked = window(START + from, START + from + length);
        for tenant in [TenantNumber(1), TenantNumber(2)] {
            let Some(width) = graph.covers(tenant, asked) else { continue };
            let mut sums: BTreeMap<(i64, Subject), Cell> = BTreeMap::new();
            let last = asked.to.minus(Duration::from_nanos(1)).bucket_seconds(width);
            for (_, observation) in observations.iter().filter(|(owner, _)| *owner == tenant) {
                let bucket = observation.at.bucket_seconds(width);
                let is_counted = width == COARSE_SECONDS || !matches!(observation.subject, Subject::Logs(..));
                if is_counted && asked.from.bucket_seconds(width) <= bucket && bucket <= last {
                    sums.entry((bucket, observation.subject)).or_default().add(&observation.seen);
                }
            }
            let mut merged: BTreeMap<Subject, Cell> = BTreeMap::new();
            for ((_, subject), cell) in &sums {
                merged.entry(*subject).or_default().merge(cell);
            }
            let series = graph.series(tenant, asked, width, |_| true);
            prop_assert_eq!(series, sums.into_iter().map(|((bucket, subject), cell)| (bucket, subject, Cell { sketch: Sketch::default(), ..cell })).collect::<Vec<_>>());
            prop_assert_eq!(graph.merged(tenant, asked, width).into_iter().collect::<BTreeMap<_, _>>(), merged);
        }
    }
}

fn any_calls() -> impl Strategy<Value = Vec<(u32, i64, u64)>> {
    proptest::collection::vec((0..4_u32, 0..3_000_i64, 1..1_000_000_u64), 0..400)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// What was read before makes no difference, whatever comes late.
    #[test]
    fn blocks_say_what_their_buckets_say(
        first in any_calls(),
        late in any_calls(),
        from in 0..1_500_i64,
        length in 1..2_400_i64,
    ) {
        let asked = Graph::new();
        let windows = [
            vec![(window(START + from, START + from + length), COARSE_SECONDS)],
            vec![(window(START, START + 3_600), COARSE_SECONDS)],
        ];
        let mut all = Vec::new();
        for calls in [first, late] {
            let mut calls: Vec<_> = calls
                .iter()
                .map(|(id, at, duration_ns)| call(operation(*id), START + at, *duration_ns))
                .collect();
            // So that everything before is sealed.
            calls.push(call(operation(9), START + 3_500, 1));
            record(&asked, &calls);
            all.extend(calls);
            let fresh = Graph::new();
            record(&fresh, &all);
            let wanted = fresh.merged_each(TENANT, &windows, |_| true);
            for _ in 0..4 {
                prop_assert_eq!(&asked.merged_each(TENANT, &windows, |_| true), &wanted);
            }
        }
    }
}

#[test]
fn ten_sealed_buckets_are_read_as_one() {
    let graph = Graph::new();
    let calls: Vec<_> = (0..60).map(|minute| call(operation(1), START + minute * 60, 5)).collect();
    record(&graph, &calls);
    let hour = [vec![(window(START, START + 3_600), COARSE_SECONDS)]];
    let read_at_once = || {
        let tenant = graph.tenant(TENANT).unwrap();
        super::read(&tenant).snapshot(&hour, true, |_| true).len()
    };
    let before = read_at_once();
    for _ in 0..3 {
        let sums = graph.merged_each(TENANT, &hour, |_| true);
        assert_eq!(sums[0][&operation(1)].count, 60);
    }
    assert_eq!(
        (before, read_at_once()),
        (60, 15),
        "five blocks, and ten buckets of which the last ones are open"
    );
}
