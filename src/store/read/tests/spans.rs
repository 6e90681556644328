use std::cmp::Reverse;
use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, proptest};
use proptest::{option, prop_oneof, sample};

use super::{SERVICES, WORLD, World, seconds, span_id, window};
use crate::model::id::ServiceId;
use crate::model::node::NodeKind;
use crate::model::span::{SpanDetail, Status};
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::store::commit::Slot;
use crate::store::day::Day;
use crate::store::partition::SPANS;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::rows::{Commit, SpanRow};

/// An ask of the first tenant; services and operations are indexes.
fn asks() -> impl Strategy<Value = SpanAsk> {
    let tenant = &WORLD.tenants[0];
    let attributes = prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(vec![("route".to_owned(), "/pay".to_owned())]),
        1 => Just(vec![("rare".to_owned(), "yes".to_owned())]),
        1 => Just(vec![("route".to_owned(), "/cart".to_owned()), ("retries".to_owned(), "2".to_owned())]),
        1 => Just(vec![("route".to_owned(), "/nowhere".to_owned())]),
    ];
    let services = sample::subsequence(tenant.services.clone(), 0..=SERVICES);
    let operations = prop_oneof![
        2 => Just(Vec::new()),
        1 => sample::subsequence(tenant.operations.clone(), 0..=4),
    ];
    let duration = option::of(sample::select(vec![0, 200_000_000, 300_000_000, 500_000_000, 900_000_000]));
    let order = sample::select(vec![SpanOrder::Newest, SpanOrder::Slowest]);
    let times = (0_i64..4_000, 0_i64..4_000);
    (times, services, operations, any::<bool>(), duration, attributes, order, 0_usize..400, any::<bool>())
        .prop_map(
            |(
                times,
                services,
                operations,
                failed,
                duration_min_ns,
                attributes,
                order,
                limit,
                with_detail,
            )| {
                let window = window(times.0, times.0 + times.1);
                SpanAsk {
                    window,
                    services,
                    operations,
                    failed,
                    duration_min_ns,
                    attributes,
                    order,
                    limit,
                    with_detail,
                }
            },
        )
}

/// What `ask` should find, by looking at every span.
fn expected(ask: &SpanAsk) -> Vec<SpanRow> {
    let holds = |span: &SpanRow| {
        span.tenant == WORLD.tenants[0].number
            && ask.window.contains(span.start)
            && (ask.services.is_empty() || ask.services.contains(&span.service))
            && (ask.operations.is_empty() || ask.operations.contains(&span.operation))
            && (!ask.failed || span.status == Status::Error)
            && ask.duration_min_ns.is_none_or(|duration_ns| span.duration_ns >= duration_ns)
            && ask
                .attributes
                .iter()
                .all(|(key, value)| span.detail.attribute(key).is_some_and(|found| found.render() == *value))
    };
    let mut found: Vec<(usize, &SpanRow)> =
        WORLD.spans.iter().enumerate().filter(|(_, span)| holds(span)).collect();
    found.sort_by_key(|(id, span)| {
        let rank = if ask.order == SpanOrder::Slowest { span.duration_ns } else { 0 };
        Reverse((rank, span.start, Day::of_key(span.trace_key), *id))
    });
    let mut spans: Vec<SpanRow> = found.into_iter().take(ask.limit).map(|(_, span)| span.clone()).collect();
    if !ask.with_detail {
        spans.iter_mut().for_each(|span| span.detail = SpanDetail::default());
    }
    spans
}

proptest! {
    #[test]
    fn spans_are_what_a_look_at_every_span_finds(ask in asks()) {
        let found = WORLD.ask(async |store| store.spans(WORLD.tenants[0].number, &ask).await);
        prop_assert_eq!(found, expected(&ask));
    }
}

#[test]
fn the_newest_of_many_services_come_in_order() {
    let mut world = World::empty();
    let tenant = world.tenants[0].number;
    let mut spans = Vec::new();
    for number in 0..450_u64 {
        let name = format!("one-of-many-{number}");
        let mut span = WORLD.spans[0].clone();
        span.tenant = tenant;
        for store in &world.stores {
            span.service = store.names().service(tenant, NodeKind::Service, &name, seconds(0));
        }
        span.span_id = span_id(number);
        span.start = seconds((number * 7 % 450) as i64);
        spans.push(span);
    }
    world.commit(Commit { lsn: 1, spans: spans.clone(), ..Commit::default() });
    spans.sort_by_key(|span| Reverse(span.start));
    let ask = SpanAsk { limit: 37, with_detail: true, ..newest(Vec::new()) };
    assert_eq!(world.ask(async |store| store.spans(tenant, &ask).await), spans[..37]);
}

/// How many spans begin at each of these milliseconds: moments apart, at once, in a row, and with long pauses between.
const BURSTS: &[(u64, u64)] = &[
    (0, 900),
    (1, 1),
    (40_000, 3_000),
    (40_001, 2_000),
    (100_000, 5),
    (3_600_000, 70),
    (86_399_999, 400),
    (86_400_000, 500),
];

#[test]
fn the_newest_of_many_services_are_the_same_however_many_are_read() {
    let mut world = World::empty();
    let tenant = world.tenants[0].number;
    let mut services = BTreeMap::new();
    for number in 0..23 {
        let name = format!("one-of-some-{number}");
        for store in &world.stores {
            let service = store.names().service(tenant, NodeKind::Service, &name, seconds(0));
            services.insert(number, service);
        }
    }
    let mut spans = Vec::new();
    for (milliseconds, count) in BURSTS {
        for number in 0..*count {
            let mut span = WORLD.spans[0].clone();
            span.tenant = tenant;
            span.service = services[&(number * 7 % 23)];
            span.span_id = span_id(spans.len() as u64);
            // The last ones come one after the other.
            let apart = if *count == 70 { number * 13 } else { 0 };
            span.start = UnixNanos((milliseconds + apart) as i64 * 1_000_000);
            span.trace_key = TraceKey::new(span.start, tenant, span.trace_id);
            spans.push(span);
        }
    }
    world.commit(Commit { lsn: 1, spans: spans.clone(), ..Commit::default() });
    spans.reverse();
    for (from, to) in
        [(0, 90_000), (0, 86_400), (0, 4_000), (0, 3_600), (0, 1), (1, 40), (40, 41), (41, 3_000)]
    {
        for limit in [256, 300, 1_000, 3_000, 5_001, 9_999] {
            let window = window(from, to);
            let found = world.ask(async |store| store.span_outlines(tenant, window, limit).await);
            let expected = spans.iter().filter(|span| window.contains(span.start)).take(limit);
            assert!(
                found.iter().map(|span| span.span_id).eq(expected.map(|span| span.span_id)),
                "{window:?} {limit}"
            );
        }
    }
}

#[test]
fn days_of_an_earlier_release_are_answered_without_what_tells_of_long_spans() {
    let mut world = World::empty();
    let (tenant, services) = (world.tenants[0].number, world.tenants[0].services.clone());
    let mut spans = Vec::new();
    for number in 0..60_u64 {
        let mut span = WORLD.spans[0].clone();
        span.tenant = tenant;
        span.service = services[number as usize % 2];
        span.span_id = span_id(number);
        // Half of them a day later.
        span.start = seconds((number / 2 % 2 * 86_400 + number) as i64);
        span.trace_key = TraceKey::new(span.start, tenant, span.trace_id);
        span.duration_ns = number * 10_000_000;
        spans.push(span);
    }
    world.commit(Commit { lsn: 1, spans: spans.clone(), ..Commit::default() });
    let of = |order, duration_min_ns, limit| {
        let services = vec![services[0]];
        SpanAsk { window: window(0, 2 * 86_400), order, duration_min_ns, limit, ..newest(services) }
    };
    let asks = [
        of(SpanOrder::Newest, Some(200_000_000), 10),
        of(SpanOrder::Newest, Some(300_000_000), 100),
        of(SpanOrder::Slowest, None, 25),
        of(SpanOrder::Slowest, Some(250_000_000), 100),
    ];
    let answers = || asks.each_ref().map(|ask| world.ask(async |store| store.spans(tenant, ask).await));
    let before = answers();
    assert_eq!(before.each_ref().map(Vec::len), [10, 15, 25, 17]);
    let index = format!("{}_long", SPANS.on(Day::of(seconds(0))));
    world.runtime.block_on(async {
        let mut slot = world.stores[0].inner.writing().await.unwrap();
        let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
        let day = Day::of(seconds(0));
        for sql in
            [format!("DROP INDEX {index}"), format!("DELETE FROM span_slices_{day} WHERE id % 128 = 127")]
        {
            writer.connection.execute(writer.connection.sql(sql)).await.unwrap();
        }
    });
    assert_eq!(answers(), before);
}

fn newest(services: Vec<ServiceId>) -> SpanAsk {
    SpanAsk {
        window: window(0, 10_000),
        services,
        operations: Vec::new(),
        failed: false,
        duration_min_ns: None,
        attributes: Vec::new(),
        order: SpanOrder::Newest,
        limit: 10,
        with_detail: false,
    }
}

#[test]
fn another_tenants_services_find_nothing() {
    let ask = newest(WORLD.tenants[1].services.clone());
    let find =
        |tenant: usize| WORLD.ask(async |store| store.spans(WORLD.tenants[tenant].number, &ask).await).len();
    assert_eq!((find(0), find(1)), (0, 10));
}
