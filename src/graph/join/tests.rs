use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};

use crate::model::id::{OperationId, ResourceId, ServiceId, SpanId, TenantNumber, TraceId};
use crate::model::node::NodeKind;
use crate::model::rollup::{Cell, FINE_SECONDS, Subject};
use crate::model::span::SpanKind;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

use super::{Arrival, Dependency, Joined, Joiner, Known, Options, Outcome};

const TENANT: TenantNumber = TenantNumber(1);
const START: i64 = 1_800_000_000_000_000_000;

fn trace(number: u8) -> TraceId {
    TraceId::try_from([number.max(1); 16].as_slice()).unwrap()
}

fn span_id(number: u32) -> SpanId {
    SpanId::try_from((u64::from(number) + 1).to_be_bytes().as_slice()).unwrap()
}

/// A span of 100 ns that starts `id` ns after [`START`]; operation and resource follow the service.
fn arrival(id: u32, parent: Option<u32>, service: u32, kind: SpanKind) -> Arrival {
    Arrival {
        tenant: TENANT,
        trace_id: trace(1),
        span_id: span_id(id),
        parent_id: parent.map(span_id),
        service: ServiceId(service),
        resource: ResourceId(service),
        operation: OperationId(service * 10),
        kind,
        error: false,
        entry: kind.is_inbound(),
        start: UnixNanos(START + i64::from(id)),
        duration_ns: 100,
        dependency: None,
        links: Vec::new(),
    }
}

fn on(kind: NodeKind, arrival: Arrival) -> Arrival {
    let dependency = Dependency { kind, operation: OperationId(900 + kind as u32) };
    Arrival { dependency: Some(dependency), ..arrival }
}

type Sums = HashMap<(TenantNumber, Subject, i64), Cell>;

fn fold(sums: &mut Sums, joined: &Joined) {
    for (tenant, observation) in &joined.observations {
        let key = (*tenant, observation.subject, observation.at.bucket_seconds(FINE_SECONDS));
        sums.entry(key).or_default().add(&observation.seen);
    }
}

/// Joins one arrival at a time and returns the sums of each subject, whatever its bucket.
fn sums_of(arrivals: &[Arrival]) -> BTreeMap<Subject, Cell> {
    let mut joiner = Joiner::new(Options::default());
    let mut sums: BTreeMap<Subject, Cell> = BTreeMap::new();
    for arrival in arrivals {
        for (_, observation) in joiner.join(std::slice::from_ref(arrival)).observations {
            sums.entry(observation.subject).or_default().add(&observation.seen);
        }
    }
    sums
}

fn edge(from: u32, to: u32) -> Subject {
    Subject::Edge(OperationId(from), OperationId(to))
}

fn operation(id: u32) -> Subject {
    Subject::Operation(OperationId(id))
}

#[test]
fn a_call_between_services_is_one_edge_with_both_views() {
    let client = Arrival { error: true, duration_ns: 300, ..arrival(0, None, 1, SpanKind::CLIENT) };
    let server = arrival(10, Some(0), 2, SpanKind::SERVER);
    for order in [[client.clone(), server.clone()], [server, client]] {
        let sums = sums_of(&order);
        let call = &sums[&edge(10, 20)];
        assert_eq!((call.count, call.errors, call.sum_ns, call.other_ns), (1, 1, 100, 300));
        assert_eq!(sums[&operation(10)].other_ns, 100);
        assert_eq!(sums[&operation(20)].errors, 0, "the failure is the caller's");
        assert_eq!(sums[&Subject::Instance(ServiceId(2), ResourceId(2))].count, 1);
        assert_eq!(sums.len(), 4);
    }
}

#[test]
fn a_child_within_the_service_is_timed_by_itself() {
    let outer = Arrival { error: true, ..arrival(0, None, 1, SpanKind::CLIENT) };
    let late = Arrival { duration_ns: 100, ..arrival(60, Some(0), 1, SpanKind::INTERNAL) };
    let sums = sums_of(&[late, outer]);
    let call = &sums[&edge(10, 10)];
    assert_eq!((call.errors, call.sum_ns, call.other_ns), (0, 100, 100));
    assert_eq!(sums[&operation(10)].other_ns, 40, "cut to the parent's end");
}

#[test]
fn an_external_call_is_answered_once() {
    let client = on(NodeKind::External, arrival(0, None, 1, SpanKind::CLIENT));
    let first = arrival(1, Some(0), 2, SpanKind::SERVER);
    let second = arrival(2, Some(0), 2, SpanKind::SERVER);
    for order in [[&client, &first, &second], [&second, &first, &client], [&first, &client, &second]] {
        let sums = sums_of(&order.map(Clone::clone));
        assert_eq!((sums[&edge(10, 903)].count, sums[&edge(10, 903)].answered), (1, 1));
        assert_eq!((sums[&operation(903)].count, sums[&operation(903)].answered), (1, 1));
        assert_eq!(sums[&edge(10, 20)].count, 2);
    }
}

#[test]
fn a_queue_stands_between_producer_and_consumer() {
    let sent = on(NodeKind::Queue, arrival(0, None, 1, SpanKind::PRODUCER));
    let taken = on(NodeKind::Queue, arrival(5, Some(0), 2, SpanKind::CONSUMER));
    let sums = sums_of(&[taken.clone(), sent.clone()]);
    assert!(!sums.contains_key(&edge(10, 20)));
    assert_eq!(sums[&edge(10, 902)].count, 1);
    // Sent until 100, taken at 5 by a clock that is behind.
    assert_eq!((sums[&edge(902, 20)].sum_ns, sums[&edge(902, 20)].other_ns), (100, 100));
    assert_eq!(sums[&operation(10)].other_ns, 0, "a producer does not wait for consumers");
    // Taken 50 after it was sent, it waited for 50.
    let later = on(NodeKind::Queue, arrival(150, Some(0), 2, SpanKind::CONSUMER));
    for order in [[&sent, &later], [&later, &sent]] {
        assert_eq!(sums_of(&order.map(Clone::clone))[&edge(902, 20)].other_ns, 150);
    }
    // The queue's own operation counts what was put into it, not what was taken out.
    assert_eq!(sums[&operation(902)].count, 1);
    // Without a name for the queue the two are joined directly.
    let sums = sums_of(&[Arrival { dependency: None, ..sent }, taken]);
    assert_eq!(sums[&edge(10, 20)].count, 1);
}

#[test]
fn a_message_finds_its_way_from_queue_to_queue() {
    let sent = on(NodeKind::Queue, arrival(0, None, 1, SpanKind::PRODUCER));
    let other = Dependency { kind: NodeKind::Queue, operation: OperationId(950) };
    let taken = Arrival { dependency: Some(other), ..arrival(150, Some(0), 2, SpanKind::CONSUMER) };
    for order in [[&sent, &taken], [&taken, &sent]] {
        let sums = sums_of(&order.map(Clone::clone));
        assert!(!sums.contains_key(&edge(10, 20)));
        let way = &sums[&edge(902, 950)];
        assert_eq!((way.count, way.errors, way.sum_ns, way.other_ns), (1, 0, 0, 0));
        assert_eq!((sums[&edge(10, 902)].count, sums[&edge(950, 20)].count), (1, 1));
        assert_eq!(sums[&edge(950, 20)].other_ns, 150, "it waited before the one that took it");
    }
    // The same over a link.
    let target = Arrival { trace_id: trace(2), ..sent };
    let links = vec![(trace(2), span_id(0))];
    let taken = Arrival { links, parent_id: None, ..taken };
    assert_eq!(sums_of(&[taken, target])[&edge(902, 950)].count, 1);
}

#[test]
fn links_join_other_traces_in_any_order() {
    let target = Arrival { trace_id: trace(2), ..arrival(0, None, 1, SpanKind::INTERNAL) };
    let links = vec![(trace(2), span_id(0)), (trace(2), span_id(0)), (trace(1), span_id(9))];
    let pointer = Arrival { links, ..arrival(1, None, 2, SpanKind::SERVER) };
    let missing = arrival(9, None, 3, SpanKind::INTERNAL);
    for order in [[&target, &pointer, &missing], [&missing, &pointer, &target]] {
        let sums = sums_of(&order.map(Clone::clone));
        assert_eq!(sums[&edge(10, 20)].count, 1);
        assert!(!sums.contains_key(&edge(30, 20)), "links within a trace are not calls");
    }
    let sent = on(NodeKind::Queue, Arrival { kind: SpanKind::PRODUCER, ..target });
    let taken = on(NodeKind::Queue, Arrival { kind: SpanKind::CONSUMER, ..pointer });
    assert!(!sums_of(&[taken, sent]).contains_key(&edge(10, 20)));
}

#[test]
fn a_link_is_counted_when_the_store_brings_its_target() {
    let mut joiner = Joiner::new(Options::default());
    let links = vec![(trace(2), span_id(0))];
    let pointer = Arrival { links, ..arrival(1, None, 2, SpanKind::SERVER) };
    assert_eq!(joiner.unknown(TENANT, std::slice::from_ref(&pointer)).len(), 2);
    joiner.join(std::slice::from_ref(&pointer));
    let again = Arrival { span_id: span_id(2), ..pointer };
    assert_eq!(joiner.unknown(TENANT, &[again]), [], "a stub answers for links");
    let late = Arrival { trace_id: trace(2), ..arrival(3, Some(0), 1, SpanKind::INTERNAL) };
    assert_eq!(joiner.unknown(TENANT, std::slice::from_ref(&late)), [(trace(2), late.start)]);
    let stored = super::known(&Arrival { trace_id: trace(2), ..arrival(0, None, 1, SpanKind::INTERNAL) });
    joiner.seed(TENANT, trace(2), TraceKey(7), vec![stored]);
    let joined = joiner.join(&[late]);
    assert_eq!(joined.outcomes, [Outcome::New(TraceKey(7))]);
    let subjects: Vec<_> = joined.observations.iter().map(|(_, observation)| observation.subject).collect();
    assert!(subjects.contains(&edge(10, 20)) && subjects.contains(&edge(10, 10)));
}

#[test]
fn cycles_and_self_parents_end() {
    let mut own = arrival(0, Some(0), 1, SpanKind::INTERNAL);
    assert!(!sums_of(std::slice::from_ref(&own)).contains_key(&edge(10, 10)));
    own.parent_id = Some(span_id(1));
    let other = arrival(1, Some(0), 2, SpanKind::INTERNAL);
    let sums = sums_of(&[own, other]);
    assert_eq!((sums[&edge(10, 20)].count, sums[&edge(20, 10)].count), (1, 1));
}

#[test]
fn extreme_times_do_not_overflow() {
    let early = Arrival {
        start: UnixNanos(i64::MIN),
        duration_ns: u64::MAX,
        ..arrival(0, None, 1, SpanKind::CLIENT)
    };
    let late = Arrival {
        start: UnixNanos(i64::MAX),
        duration_ns: u64::MAX,
        ..arrival(1, Some(0), 2, SpanKind::SERVER)
    };
    assert_eq!(sums_of(&[early, late])[&edge(10, 20)].max_ns, u64::MAX);
}

#[test]
fn a_large_trace_stays_near_linear() {
    let spans = 100_000;
    // Parents come after their children, and half of the spans share one parent that comes last.
    let arrivals: Vec<_> = (0..spans)
        .rev()
        .map(|id| {
            let parent = (id > 0).then_some(if id % 2 == 0 { 0 } else { id - 1 });
            arrival(id, parent, id % 3, SpanKind::INTERNAL)
        })
        .collect();
    let mut joiner = Joiner::new(Options::default());
    let mut pairs = 0;
    for part in arrivals.chunks(1_000) {
        let joined = joiner.join(part);
        let edges = joined.observations.iter().filter(|(_, o)| matches!(o.subject, Subject::Edge(..)));
        pairs += edges.count() as u32;
    }
    assert_eq!(pairs, spans - 1);
    assert!(joiner.join(&arrivals).outcomes.iter().all(|outcome| *outcome == Outcome::Duplicate));
}

#[test]
fn memory_is_bounded() {
    let mut joiner = Joiner::new(Options { spans_max: 800 });
    let unbounded = vec![(trace(250), span_id(7))];
    for id in 0..5_000_u32 {
        let number = 1 + (id % 200) as u8;
        let pointing = Arrival {
            trace_id: trace(number),
            links: unbounded.clone(),
            ..arrival(id, None, 1, SpanKind::SERVER)
        };
        joiner.join(&[pointing, Arrival { trace_id: trace(240), ..arrival(id, None, 1, SpanKind::SERVER) }]);
        // Either generation may be over by what one call brings.
        assert!(joiner.memory.weight_for_tests() <= 800 + 12, "{}", joiner.memory.weight_for_tests());
    }
    // A trace past its share keeps its key and forgets its earlier spans.
    let first = Arrival { trace_id: trace(240), ..arrival(0, None, 1, SpanKind::SERVER) };
    assert!(matches!(joiner.join(&[first]).outcomes[..], [Outcome::New(_)]));
}

fn any_arrival() -> impl Strategy<Value = Arrival> {
    let ids = (1..3_u32, 1..4_u8, 0..12_u32, proptest::option::of(0..12_u32));
    let facts = (0..3_u32, 0..2_u32, 0..7_u8, any::<(bool, bool)>());
    let times = (0..20_i64, 0..15_000_000_000_u64);
    let dependency = proptest::option::of((0..4_i64, 0..2_u32));
    let links = proptest::collection::vec((1..4_u8, 0..12_u32), 0..3);
    (ids, facts, times, dependency, links).prop_map(|(ids, facts, times, dependency, links)| Arrival {
        tenant: TenantNumber(ids.0),
        trace_id: trace(ids.1),
        span_id: span_id(ids.2),
        parent_id: ids.3.map(span_id),
        service: ServiceId(facts.0),
        resource: ResourceId(facts.0),
        operation: OperationId(facts.0 * 10 + facts.1),
        kind: SpanKind(facts.2),
        error: facts.3.0,
        entry: facts.3.1,
        start: UnixNanos(START + times.0 * 1_000_000_000),
        duration_ns: times.1,
        dependency: dependency.map(|(kind, operation)| Dependency {
            kind: NodeKind::from_number(kind).unwrap(),
            operation: OperationId(900 + operation),
        }),
        links: links.into_iter().map(|(number, id)| (trace(number), span_id(id))).collect(),
    })
}

/// Distinct spans, and an order that mentions each at least once, in calls of some length.
fn any_order(spans: usize) -> impl Strategy<Value = (Vec<Arrival>, Vec<usize>, usize)> {
    proptest::collection::vec(any_arrival(), 1..spans)
        .prop_map(|mut arrivals| {
            let mut seen = BTreeSet::new();
            arrivals.retain(|arrival| seen.insert(identity(arrival)));
            arrivals
        })
        .prop_flat_map(|arrivals| {
            let count = arrivals.len();
            let repeated = proptest::collection::vec(0..count, 0..10);
            let order = repeated.prop_flat_map(move |repeated| {
                Just((0..count).chain(repeated).collect::<Vec<_>>()).prop_shuffle()
            });
            (Just(arrivals), order, 1..12_usize)
        })
}

fn identity(arrival: &Arrival) -> (TenantNumber, TraceId, SpanId) {
    (arrival.tenant, arrival.trace_id, arrival.span_id)
}

fn sorted_sums(arrivals: &[Arrival]) -> Sums {
    let mut sorted = arrivals.to_vec();
    sorted.sort_by_key(identity);
    let mut sums = Sums::new();
    fold(&mut sums, &Joiner::new(Options::default()).join(&sorted));
    sums
}

/// What a store would remember: new spans by trace, under the key they were told.
#[derive(Default)]
struct Stored(BTreeMap<(TenantNumber, TraceId), (TraceKey, Vec<Known>)>);

impl Stored {
    fn keep(&mut self, arrivals: &[Arrival], outcomes: &[Outcome]) {
        for (arrival, outcome) in arrivals.iter().zip(outcomes) {
            if let Outcome::New(key) = outcome {
                let trace = self.0.entry((arrival.tenant, arrival.trace_id)).or_insert((*key, Vec::new()));
                assert_eq!(trace.0, *key, "a trace keeps its key");
                trace.1.push(Known { parent_id: arrival.parent_id, ..super::known(arrival) });
            }
        }
    }

    fn recall(&self, joiner: &mut Joiner, arrivals: &[Arrival]) {
        for tenant in [TenantNumber(1), TenantNumber(2)] {
            for (trace, _) in joiner.unknown(tenant, arrivals) {
                if let Some((key, spans)) = self.0.get(&(tenant, trace)) {
                    joiner.seed(tenant, trace, *key, spans.clone());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn order_and_split_do_not_matter((arrivals, order, call) in any_order(40)) {
        let mut joiner = Joiner::new(Options::default());
        let (mut sums, mut new) = (Sums::new(), 0);
        for part in order.chunks(call) {
            let part: Vec<_> = part.iter().map(|index| arrivals[*index].clone()).collect();
            let joined = joiner.join(&part);
            new += joined.outcomes.iter().filter(|outcome| **outcome != Outcome::Duplicate).count();
            fold(&mut sums, &joined);
        }
        prop_assert_eq!(new, arrivals.len());
        prop_assert_eq!(sums, sorted_sums(&arrivals));
    }

    #[test]
    fn forgetting_does_not_matter((mut arrivals, order, call) in any_order(40), spans_max in 0..20_usize, lose_every in 1..4_usize) {
        // What a link points to is not part of what the store hands back, so links are left out.
        arrivals.iter_mut().for_each(|arrival| arrival.links.clear());
        let mut joiner = Joiner::new(Options { spans_max: 8 * 40 });
        joiner.memory.set_weight_max_for_tests(spans_max);
        let (mut sums, mut stored, mut new) = (Sums::new(), Stored::default(), 0);
        for (turn, part) in order.chunks(call).enumerate() {
            if turn % lose_every == 0 {
                joiner = Joiner::new(Options { spans_max: 8 * 40 });
                joiner.memory.set_weight_max_for_tests(spans_max);
            }
            let part: Vec<_> = part.iter().map(|index| arrivals[*index].clone()).collect();
            stored.recall(&mut joiner, &part);
            let joined = joiner.join(&part);
            new += joined.outcomes.iter().filter(|outcome| **outcome != Outcome::Duplicate).count();
            stored.keep(&part, &joined.outcomes);
            fold(&mut sums, &joined);
        }
        prop_assert_eq!(new, arrivals.len());
        prop_assert_eq!(sums, sorted_sums(&arrivals));
    }

    #[test]
    fn large_traces_follow_the_same_rules(parents in proptest::collection::vec(0..150_u32, 40..150), seed in any::<u64>()) {
        let arrivals: Vec<_> = (0..).zip(&parents).map(|(id, parent)| arrival(id, Some(*parent), id % 4, SpanKind(1 + (id % 5) as u8))).collect();
        let mut shuffled = arrivals.clone();
        shuffled.sort_by_key(|arrival| arrival.start.0.unsigned_abs().wrapping_mul(seed | 1).rotate_left(20));
        let mut sums = Sums::new();
        fold(&mut sums, &Joiner::new(Options::default()).join(&shuffled));
        prop_assert_eq!(&sums, &sorted_sums(&arrivals));
        let pairs = (0..).zip(&parents).filter(|(id, parent)| id != *parent && (**parent as usize) < parents.len()).count();
        let counted: u64 = sums.iter().filter(|((_, subject, _), _)| matches!(subject, Subject::Edge(..))).map(|(_, cell)| cell.count).sum();
        prop_assert!(counted == pairs as u64);
    }
}
