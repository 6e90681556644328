use std::cmp::Reverse;
use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::{option, prop_oneof, sample};

use super::{SERVICES, WORLD, World, trace_id, window};
use crate::model::id::TraceId;
use crate::model::span::{SpanDetail, Status};
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;
use crate::store::read::exemplars::{DetailsOf, EXEMPLARS_MAX};
use crate::store::read::summaries::{TraceAsk, TraceOrder, TracePlace, TraceSummary};
use crate::store::rows::{Commit, SpanRow};

fn asks() -> impl Strategy<Value = TraceAsk> {
    let tenant = &WORLD.tenants[0];
    let services = sample::subsequence(tenant.services.clone(), 0..=SERVICES);
    let operations = prop_oneof![
        3 => Just(Vec::new()),
        1 => sample::subsequence(tenant.operations.clone(), 0..=3),
    ];
    let duration = option::of(sample::select(vec![1_000_000_000, 15_000_000_000, 600_000_000_000]));
    let order = sample::select(vec![TraceOrder::Newest, TraceOrder::Slowest, TraceOrder::MostErrors]);
    let times = (0_i64..4_000, 0_i64..4_000);
    (times, services, operations, option::of(any::<bool>()), duration, order, 1_usize..60).prop_map(
        |(times, services, operations, failed, duration_min_ns, order, limit)| TraceAsk {
            window: window(times.0, times.0 + times.1),
            services,
            operations,
            failed,
            duration_min_ns,
            order,
            after: None,
            limit,
        },
    )
}

fn summary(spans: &[&SpanRow]) -> TraceSummary {
    let first = spans.iter().map(|span| (span.start, span.operation)).min().unwrap();
    let roots = spans.iter().filter(|span| span.parent_id.is_none());
    TraceSummary {
        trace_id: spans[0].trace_id,
        key: spans.iter().map(|span| span.trace_key).min().unwrap(),
        root_operation: roots.map(|span| (span.start, span.operation)).min().map(|(_, operation)| operation),
        first_operation: first.1,
        start: first.0,
        end: spans.iter().map(|span| span.end()).max().unwrap(),
        spans: spans.len() as u64,
        errors: spans.iter().filter(|span| span.status == Status::Error).count() as u64,
    }
}

/// What `ask` should find without its limit: each trace whole, where its foremost matching part is.
fn expected(ask: &TraceAsk) -> Vec<TraceSummary> {
    let mut parts: BTreeMap<(TraceId, TraceKey), Vec<&SpanRow>> = BTreeMap::new();
    let mut wholes: BTreeMap<TraceId, Vec<&SpanRow>> = BTreeMap::new();
    for span in WORLD.spans.iter().filter(|span| span.tenant == WORLD.tenants[0].number) {
        parts.entry((span.trace_id, span.trace_key)).or_default().push(span);
        wholes.entry(span.trace_id).or_default().push(span);
    }
    let mut foremost: BTreeMap<TraceId, TracePlace> = BTreeMap::new();
    for spans in parts.values() {
        let part = summary(spans);
        let duration_ns = (part.end.0 - part.start.0).unsigned_abs();
        let by_span = |span: &&&SpanRow| {
            (ask.services.is_empty() || ask.services.contains(&span.service))
                && (ask.operations.is_empty() || ask.operations.contains(&span.operation))
        };
        let matches = ask.window.contains(part.start)
            && ask.failed.is_none_or(|failed| failed == (part.errors > 0))
            && ask.duration_min_ns.is_none_or(|least| duration_ns >= least)
            && spans.iter().find(by_span).is_some();
        let rank = match ask.order {
            TraceOrder::Newest => 0,
            TraceOrder::Slowest => duration_ns,
            TraceOrder::MostErrors => part.errors,
        };
        if matches {
            let place = TracePlace { rank, start: part.start, key: part.key, trace_id: part.trace_id };
            let known = foremost.entry(part.trace_id).or_insert(place);
            *known = place.max(*known);
        }
    }
    let mut places: Vec<TracePlace> = foremost.into_values().collect();
    places.sort_by_key(|place| Reverse(*place));
    places.iter().map(|place| summary(&wholes[&place.trace_id])).collect()
}

proptest! {
    #[test]
    fn pages_of_traces_have_no_gaps_and_no_repeats(mut ask in asks()) {
        let mut found = Vec::new();
        loop {
            let tenant = WORLD.tenants[0].number;
            let page = WORLD.ask(async |store| store.trace_summaries(tenant, &ask).await);
            prop_assert!(page.items.len() == ask.limit || page.next.is_none());
            found.extend(page.items);
            ask.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected(&ask));
    }
}

#[test]
fn a_trace_is_found_whole_and_only_by_its_tenant() {
    for tenant in &WORLD.tenants {
        for number in 0..260 {
            let mut spans: Vec<&SpanRow> = WORLD
                .spans
                .iter()
                .filter(|span| span.tenant == tenant.number && span.trace_id == trace_id(number))
                .collect();
            spans.sort_by_key(|span| (span.start, span.span_id));
            let trace = WORLD.ask(async |store| store.trace(tenant.number, trace_id(number), 1_000).await);
            assert_eq!(trace.is_some(), !spans.is_empty());
            if let Some(trace) = trace {
                assert_eq!(trace.spans.iter().collect::<Vec<_>>(), spans);
                assert_eq!((trace.total, trace.truncated), (spans.len() as u64, false));
            }
        }
    }
}

#[test]
fn a_long_trace_is_cut_after_its_first_spans() {
    let tenant = WORLD.tenants[0].number;
    let whole = WORLD.ask(async |store| store.trace(tenant, trace_id(3), 1_000).await).unwrap();
    let cut = WORLD.ask(async |store| store.trace(tenant, trace_id(3), 2).await).unwrap();
    assert!(whole.spans.len() > 2);
    assert_eq!((cut.total, cut.truncated), (whole.total, true));
    assert_eq!(cut.spans, whole.spans[..2]);
}

#[test]
fn several_traces_are_found_at_once_with_the_details_that_are_wanted() {
    let tenant = WORLD.tenants[1].number;
    let ask = TraceAsk {
        window: window(-100_000, 100_000),
        services: Vec::new(),
        operations: Vec::new(),
        failed: None,
        duration_min_ns: None,
        order: TraceOrder::Newest,
        after: None,
        limit: EXEMPLARS_MAX,
    };
    let page = WORLD.ask(async |store| store.trace_summaries(tenant, &ask).await);
    let keys: Vec<_> = page.items.iter().map(|summary| (summary.key, summary.trace_id)).collect();
    assert!(keys.len() > 100, "{}", keys.len());
    for (spans_max, details_of) in [
        (1_000, DetailsOf::All),
        (1_000, DetailsOf::Failed),
        (1_000, DetailsOf::None),
        (2, DetailsOf::All),
        (2, DetailsOf::Failed),
    ] {
        let found = WORLD.ask(async |store| store.traces_by_key(tenant, &keys, spans_max, details_of).await);
        assert_eq!(
            found.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(),
            keys.iter().map(|(_, id)| *id).collect::<Vec<_>>()
        );
        for (trace, key) in found.into_iter().zip(&keys) {
            let whole = WORLD.ask(async |store| store.trace(tenant, key.1, 1_000).await).unwrap();
            let mut spans: Vec<SpanRow> =
                whole.spans.into_iter().filter(|span| span.trace_key == key.0).collect();
            spans.truncate(spans_max);
            for span in &mut spans {
                if details_of == DetailsOf::None
                    || details_of == DetailsOf::Failed && span.status != Status::Error
                {
                    span.detail = SpanDetail::default();
                }
            }
            assert_eq!(trace.spans, spans);
        }
    }
}

#[test]
fn a_span_with_a_wrong_clock_does_not_hide_traces() {
    let mut world = World::empty();
    let tenant = world.tenants[0].number;
    let mut spans = Vec::new();
    for (number, at) in
        [(0, UnixNanos(5)), (1, window(50, 60).from), (2, UnixNanos::from_seconds(2_400_000_000))]
    {
        let mut span = WORLD.spans[0].clone();
        span.tenant = tenant;
        span.trace_id = trace_id(number);
        span.start = at;
        span.trace_key = TraceKey::new(at, tenant, span.trace_id);
        spans.push(span);
    }
    world.commit(Commit { lsn: 1, spans, ..Commit::default() });
    for number in 0..3 {
        let trace = world.ask(async |store| store.trace(tenant, trace_id(number), 10).await);
        assert_eq!(trace.unwrap().spans, [world.spans[number as usize].clone()]);
    }
    assert_eq!(world.ask(async |store| store.trace(tenant, trace_id(3), 10).await), None);
}
