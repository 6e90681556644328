//! Long spans and the slowest are found through what blocks say of the longest, however many blocks there are.

use std::cmp::Reverse;
use std::time::Duration;

use super::{World, seconds, span_id, trace_id, window};
use crate::model::id::{InstrumentationId, ResourceId};
use crate::model::packed::write::Packer;
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::trace_key::TraceKey;
use crate::store::commit::Slot;
use crate::store::day::Day;
use crate::store::partition::Family;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::rows::{Commit, SpanRow};

/// Commits, and so blocks of each tenant; a few of them stand alone.
const COMMITS: u64 = 140;
/// Spans of a tenant in a commit.
const SPANS: u64 = 40;
const MILLISECOND: u64 = 1_000_000;
/// When a day ends, in seconds.
const MIDNIGHT: i64 = 1_800;

/// The spans of service 0 are mostly short, those of service 1 all of about one length, and service 2 has few spans, in some
/// commits. Of the second operation of each all are short.
fn span(world: &World, (first, tenant): (i64, usize), commit: u64, number: u64) -> SpanRow {
    let tenant = &world.tenants[tenant];
    let own = commit * SPANS + number;
    let start = seconds(first + (commit / 2) as i64);
    // Some traces are kept on the day before their last spans.
    let key =
        TraceKey::new(start.minus(Duration::from_secs(commit % 3 * 5)), tenant.number, trace_id(commit));
    let service = if own.is_multiple_of(97) { 2 } else { own as usize % 2 };
    let operation = usize::from(own.is_multiple_of(3));
    let duration_ns = match service {
        _ if operation == 1 => own % 7,
        0 if own.is_multiple_of(58) => 20 * MILLISECOND + own * 10_000,
        0 => own % 900 * 1_000,
        1 => MILLISECOND + own % 64 * 8_000,
        _ => own * MILLISECOND,
    };
    let mut packer = Packer::default();
    packer.attribute_int(9, "third", (own / 2 % 3) as i64);
    packer.attribute_int(9, "commit", commit as i64);
    SpanRow {
        tenant: tenant.number,
        trace_key: key,
        trace_id: trace_id(commit),
        span_id: span_id(own),
        parent_id: None,
        service: tenant.services[service],
        operation: tenant.operations[2 * service + operation],
        resource: ResourceId(1),
        instrumentation: InstrumentationId(1),
        kind: SpanKind::SERVER,
        status: Status::Ok,
        entry: true,
        http_status: 200,
        dependency: None,
        start,
        duration_ns,
        detail: SpanDetail::from_checked(packer.finish()),
    }
}

/// Spans from `first` on, in seconds.
fn filled(first: i64) -> World {
    let mut world = World::empty();
    for commit in 0..COMMITS {
        let spans = (0..2).flat_map(|tenant| (0..SPANS).map(move |number| (tenant, number)));
        let spans = spans.map(|(tenant, number)| span(&world, (first, tenant), commit, number)).collect();
        world.commit(Commit { lsn: commit + 1, spans, ..Commit::default() });
    }
    world
}

fn check_all(world: &World, first: i64) {
    let tenant = &world.tenants[1];
    for order in [SpanOrder::Newest, SpanOrder::Slowest] {
        for services in [&[][..], &[0], &[2], &[1, 2]] {
            for least in [None, Some(20 * MILLISECOND), Some(u64::MAX)] {
                for (operations, third) in [(&[][..], None), (&[1][..], None), (&[], Some("1"))] {
                    for (limit, (from, to)) in [(1, (0, 100)), (7, (0, 40)), (500, (5, 69))] {
                        let third = third.map(|third: &str| ("third".to_owned(), third.to_owned()));
                        let ask = SpanAsk {
                            window: window(first + from, first + to),
                            services: services.iter().map(|at| tenant.services[*at]).collect(),
                            operations: operations.iter().map(|at| tenant.operations[*at]).collect(),
                            failed: false,
                            duration_min_ns: least,
                            attributes: third.into_iter().collect(),
                            order,
                            limit,
                            with_detail: false,
                        };
                        check(world, &ask);
                    }
                }
            }
        }
    }
}

fn check(world: &World, ask: &SpanAsk) {
    let tenant = world.tenants[1].number;
    let is_meant = |span: &&SpanRow| {
        span.tenant == tenant
            && ask.window.contains(span.start)
            && (ask.services.is_empty() || ask.services.contains(&span.service))
            && (ask.operations.is_empty() || ask.operations.contains(&span.operation))
            && ask.duration_min_ns.is_none_or(|least| span.duration_ns >= least)
            && ask
                .attributes
                .iter()
                .all(|(key, value)| span.detail.attribute(key).is_some_and(|found| found.render() == *value))
    };
    let mut expected: Vec<(usize, &SpanRow)> =
        world.spans.iter().enumerate().filter(|(_, span)| is_meant(span)).collect();
    expected.sort_by_key(|(id, span)| {
        let rank = if ask.order == SpanOrder::Slowest { span.duration_ns } else { 0 };
        Reverse((rank, span.start, Day::of_key(span.trace_key), *id))
    });
    let expected: Vec<_> = expected.into_iter().take(ask.limit).map(|(_, span)| span.span_id).collect();
    let found = world.ask(async |store| store.spans(tenant, ask).await);
    let found: Vec<_> = found.iter().map(|span| span.span_id).collect();
    assert_eq!(found, expected, "{ask:?}");
}

#[test]
fn long_spans_are_found_in_blocks_that_stand_alone_and_in_others() {
    check_all(&filled(0), 0);
}

#[test]
fn long_spans_are_found_on_both_sides_of_midnight() {
    let first = MIDNIGHT - COMMITS as i64 / 4;
    check_all(&filled(first), first);
}

#[test]
fn blocks_that_say_nothing_of_the_longest_are_looked_into() {
    let world = filled(0);
    for store in &world.stores {
        world.runtime.block_on(async {
            let mut slot = store.inner.writing().await.unwrap();
            let Slot::Ready(writer) = &mut *slot else { panic!("the writer is busy") };
            let reader = store.reader().await.unwrap();
            let day = reader.all_days(Family::Spans)[0];
            reader.finish().await.unwrap();
            // Of a third of the filters.
            let sql = format!("DELETE FROM span_slices_{day} WHERE id % 128 = 127 AND id / 128 % 3 = 1");
            let deleted = writer.connection.execute(writer.connection.sql(sql)).await.unwrap();
            assert!(deleted > 0);
        });
    }
    check_all(&world, 0);
}
