//! Attributes are found through filters that stand alone and through those that are laid across each other.

use super::super::promising::Scope;
use super::{World, seconds, span_id, trace_id, window};
use crate::model::id::{InstrumentationId, ResourceId};
use crate::model::packed::write::Packer;
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::trace_key::TraceKey;
use crate::store::packing::Signal;
use crate::store::partition::Family;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::rows::{Commit, SpanRow};

/// Commits, and so blocks of each tenant.
const COMMITS: u64 = 150;
/// Spans of a tenant in a commit.
const SPANS: u64 = 80;

/// A span with a number of its own, and two that it shares with those of its commit and of its hundred. What is `common` every
/// commit has, and one service alone.
fn span(world: &World, tenant: usize, commit: u64, number: u64) -> SpanRow {
    let tenant = &world.tenants[tenant];
    let own = commit * SPANS + number;
    let start = seconds(commit as i64);
    let mut packer = Packer::default();
    packer.attribute_text(9, "own", &own.to_string());
    packer.attribute_int(9, "commit", commit as i64);
    packer.attribute_int(9, "hundred", (own / 100) as i64);
    packer.attribute_int(9, "common", if own.is_multiple_of(3) { 500 } else { 200 });
    // Filters of different lengths.
    for word in 0..if commit.is_multiple_of(3) { 12 } else { 0 } {
        packer.attribute_text(9, &format!("word.{word}"), &(own * 31 + word).to_string());
    }
    SpanRow {
        tenant: tenant.number,
        trace_key: TraceKey::new(start, tenant.number, trace_id(commit)),
        trace_id: trace_id(commit),
        span_id: span_id(own),
        parent_id: None,
        service: tenant.services[own as usize % 3],
        operation: tenant.operations[0],
        resource: ResourceId(1),
        instrumentation: InstrumentationId(1),
        kind: SpanKind::SERVER,
        status: if own.is_multiple_of(7) { Status::Error } else { Status::Ok },
        entry: true,
        http_status: 200,
        dependency: None,
        start,
        duration_ns: own,
        detail: SpanDetail::from_checked(packer.finish()),
    }
}

#[test]
fn attributes_are_found_in_filters_that_are_laid_across_each_other() {
    let mut world = World::empty();
    for commit in 0..COMMITS {
        let spans = (0..2).flat_map(|tenant| (0..SPANS).map(move |number| (tenant, number)));
        let spans = spans.map(|(tenant, number)| span(&world, tenant, commit, number)).collect();
        world.commit(Commit { lsn: commit + 1, spans, ..Commit::default() });
    }
    let rows = world.ask(async |store| {
        let mut reader = store.reader().await?;
        let day = reader.all_days(Family::Spans)[0];
        let sql = format!(
            "SELECT tenant_id, blocks, count(*), min(filter_bytes), max(filter_bytes) FROM span_filters_{day} \
             GROUP BY tenant_id, blocks ORDER BY tenant_id, blocks"
        );
        let rows = reader.all(reader.sql(sql), |row| {
            let bytes: (i64, i64) = (row.get(3)?, row.get(4)?);
            Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?, bytes))
        });
        rows.await
    });
    let shapes: Vec<_> = rows.iter().map(|(tenant, blocks, count, _)| (*tenant, *blocks, *count)).collect();
    let [a, b] = [0, 1].map(|tenant| i64::from(world.tenants[tenant].number.0));
    assert_eq!(shapes, [(a, 1, 22), (a, 64, 2), (b, 1, 22), (b, 64, 2)]);
    assert!(rows[0].3.0 < rows[0].3.1, "all filters are of one length: {rows:?}");
    for order in [SpanOrder::Newest, SpanOrder::Slowest] {
        for asked in [
            vec![("own", 0)],
            vec![("own", 5_000)],
            vec![("own", COMMITS * SPANS - 1)],
            vec![("own", COMMITS * SPANS)],
            vec![("commit", 3)],
            vec![("hundred", 40)],
            vec![("hundred", 40), ("commit", 50)],
            vec![("hundred", 40), ("commit", 10)],
            vec![("common", 500), ("commit", 51)],
        ] {
            for (services, failed) in [(&[][..], false), (&[1], true), (&[2, 0], false)] {
                is_found(&world, (order, failed), &asked, services);
            }
        }
    }
}

#[test]
fn what_is_common_among_other_services_leads_to_no_block() {
    let mut world = World::empty();
    for commit in 0..COMMITS {
        let spans = (0..SPANS).map(|number| span(&world, 1, commit, number)).collect();
        world.commit(Commit { lsn: commit + 1, spans, ..Commit::default() });
    }
    let tenant = &world.tenants[1];
    let promising = |services: &[usize], value: &str| {
        let services: Vec<_> = services.iter().map(|at| tenant.services[*at]).collect();
        let asked = [("common".to_owned(), value.to_owned())];
        world.ask(async |store| {
            let mut reader = store.reader().await?;
            let day = reader.all_days(Family::Spans)[0];
            let (signal, tenant) = (Signal::Spans, tenant.number);
            let scope = Scope { signal, tenant, day, services: &services, least_ns: None };
            Ok(scope.newest(&mut reader, window(0, COMMITS as i64), &asked).await?.len())
        })
    };
    // Of filters that stand alone it is not asked.
    let (all, alone) = (COMMITS as usize, COMMITS as usize % 64);
    assert_eq!(promising(&[], "500"), all);
    // Some may say "maybe" by chance.
    assert!(promising(&[], "404") < 15);
    assert_eq!([promising(&[0], "500"), promising(&[1, 0], "500")], [all, all]);
    assert!((alone..alone + 6).contains(&promising(&[1], "500")));
    assert!((alone..alone + 6).contains(&promising(&[0], "200")));
    assert!((alone..alone + 6).contains(&promising(&[1, 2], "500")));
}

fn is_found(world: &World, (order, failed): (SpanOrder, bool), asked: &[(&str, u64)], services: &[usize]) {
    let attributes: Vec<_> =
        asked.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect();
    let has = |span: &SpanRow| {
        attributes
            .iter()
            .all(|(key, value)| span.detail.attribute(key).is_some_and(|found| found.render() == *value))
    };
    let tenant = &world.tenants[1];
    let services: Vec<_> = services.iter().map(|at| tenant.services[*at]).collect();
    let is_of = |span: &&SpanRow| {
        (services.is_empty() || services.contains(&span.service)) && (!failed || span.status == Status::Error)
    };
    let mut expected: Vec<_> =
        world.spans.iter().filter(|span| span.tenant == tenant.number && has(span)).filter(is_of).collect();
    expected.sort_by_key(|span| std::cmp::Reverse(span.duration_ns));
    let ask = SpanAsk {
        window: window(0, COMMITS as i64),
        services: services.clone(),
        operations: Vec::new(),
        failed,
        duration_min_ns: None,
        attributes: attributes.clone(),
        order,
        limit: 1_000,
        with_detail: true,
    };
    let found = world.ask(async |store| store.spans(tenant.number, &ask).await);
    let ids = |spans: &mut dyn Iterator<Item = &SpanRow>| spans.map(|span| span.span_id).collect::<Vec<_>>();
    assert_eq!(ids(&mut found.iter()), ids(&mut expected.into_iter()), "{attributes:?}");
}
