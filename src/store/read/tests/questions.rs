use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{Chance, WORLD, World, seconds, span_id, trace_id, window};
use crate::fault::Kind;
use crate::model::id::{OperationId, ResourceId, ServiceId, TemplateId, TenantNumber};
use crate::model::log::Severity;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, Observation, Seen, Subject};
use crate::model::span::Status;
use crate::model::subject_map::SubjectMap;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::read::NAMED_MAX;
use crate::store::read::counts::Counts;
use crate::store::read::minutes::Minutes;
use crate::store::read::rollups::RollupKind;
use crate::store::read::spans::{SpanAsk, SpanOrder};
use crate::store::read::templates::{OfService, TemplateText};
use crate::store::rows::Commit;

const KINDS: [RollupKind; 4] =
    [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge, RollupKind::Logs];

fn observations(tenants: &[TenantNumber]) -> Vec<(TenantNumber, Observation)> {
    let mut chance = Chance(3);
    let mut observations = Vec::new();
    for _ in 0..3_000 {
        let [a, b] = [1, 2].map(|_| chance.below(5) as u32);
        let subject = match chance.below(4) {
            0 => Subject::Operation(OperationId(a)),
            1 => Subject::Instance(ServiceId(a), ResourceId(b)),
            2 => Subject::Edge(OperationId(a), OperationId(b)),
            _ => Subject::Logs(ServiceId(a), TemplateId(b), Severity(9)),
        };
        let duration_ns = chance.below(1 << 40);
        let seen = Seen::Call { duration_ns, caller_ns: duration_ns + 5, error: chance.below(3) == 0 };
        let at = seconds(chance.below(400) as i64);
        let tenant = tenants[chance.below(2) as usize];
        observations.push((tenant, Observation { subject, at, seen }));
    }
    observations
}

#[test]
fn rollups_are_what_was_observed() {
    let mut world = World::empty();
    let tenants: Vec<TenantNumber> = world.tenants.iter().map(|tenant| tenant.number).collect();
    let observations = observations(&tenants);
    world.commit(Commit { lsn: 1, cells: observations.iter().copied().collect(), ..Commit::default() });
    // Both ends lie inside a bucket; buckets that overlap count whole.
    for (width, window) in [(COARSE_SECONDS, window(90, 250)), (FINE_SECONDS, window(15, 85))] {
        let whole = |at: i64| at.div_euclid(width) * width;
        let (from, to) = (whole(window.from.seconds()), whole(window.to.seconds() - 1) + width);
        let mut cells: BTreeMap<(i64, Subject), Cell> = BTreeMap::new();
        let mut merged: SubjectMap<Cell> = SubjectMap::default();
        for (tenant, seen) in &observations {
            let fine_logs = width == FINE_SECONDS && matches!(seen.subject, Subject::Logs(..));
            if *tenant == tenants[0] && (from..to).contains(&seen.at.seconds()) && !fine_logs {
                let bucket = seen.at.bucket_seconds(width);
                cells.entry((bucket, seen.subject)).or_default().add(&seen.seen);
                merged.entry(seen.subject).or_default().add(&seen.seen);
            }
        }
        let cells: Vec<_> =
            cells.into_iter().map(|((bucket, subject), cell)| (bucket, subject, cell)).collect();
        assert_eq!(world.ask(async |store| store.rollups(tenants[0], width, window, &KINDS).await), cells);
        assert_eq!(
            world.ask(async |store| store.merged_rollups(tenants[0], width, window, &KINDS).await),
            merged
        );
        let numbers = BTreeSet::from([2]);
        let mut about = merged.clone();
        about.retain(|subject, _| match *subject {
            Subject::Operation(operation) => operation.0 == 2,
            Subject::Edge(from, to) => from.0 == 2 || to.0 == 2,
            Subject::Instance(service, resource) => service.0 == 2 || resource.0 == 2,
            Subject::Logs(service, template, _) => service.0 == 2 || template.0 == 2,
        });
        assert!((1..merged.len()).contains(&about.len()));
        let ask = (&KINDS[..], &numbers);
        let found = world.ask(async |store| store.merged_rollups_about(tenants[0], width, window, ask).await);
        assert_eq!(found, about);
        merged.retain(|subject, _| matches!(subject, Subject::Edge(..)));
        let edges = [RollupKind::Edge];
        let edges = world.ask(async |store| store.merged_rollups(tenants[0], width, window, &edges).await);
        assert_eq!(edges, merged);
    }
    let range = world.ask(async |store| store.rollup_range(tenants[0]).await).unwrap();
    assert!(range.from <= seconds(10) && range.to >= seconds(390) && range.to <= seconds(460));
    assert_eq!(world.ask(async |store| store.rollup_range(TenantNumber(9)).await), None);
    assert_eq!(world.ask(async |store| store.rollup_tenants().await), tenants);
}

#[test]
fn single_minutes_of_few_subjects_are_those_of_the_roll_ups() {
    let mut world = World::empty();
    let tenants: Vec<TenantNumber> = world.tenants.iter().map(|tenant| tenant.number).collect();
    let mut observations = observations(&tenants);
    // The same on another day, part of whose minutes nobody was heard in, and only by a log record in one.
    let day = 86_400;
    let earlier = |seconds: i64| UnixNanos::from_seconds(seconds - day);
    let (tenant, seen) = (tenants[0], Seen::Call { duration_ns: 7, caller_ns: 7, error: false });
    for (second, subject) in [
        (70, Subject::Operation(OperationId(1))),
        (70, Subject::Operation(OperationId(2))),
        (130, Subject::Instance(ServiceId(2), ResourceId(3))),
        (131, Subject::Instance(ServiceId(2), ResourceId(4))),
        (190, Subject::Logs(ServiceId(2), TemplateId(1), Severity(9))),
    ] {
        let at = earlier(seconds(second).seconds());
        observations.push((tenant, Observation { subject, at, seen }));
    }
    world.commit(Commit { lsn: 1, cells: observations.iter().copied().collect(), ..Commit::default() });
    let minute = |second: i64| seconds(second).bucket_seconds(COARSE_SECONDS);
    let minutes: BTreeSet<i64> =
        [0, 60, 180, 390].into_iter().flat_map(|second| [minute(second), minute(second) - day]).collect();
    let minutes: BTreeSet<i64> = minutes.into_iter().chain([minute(120) - day]).collect();
    let subjects = [
        Subject::Operation(OperationId(1)),
        Subject::Operation(OperationId(9)),
        Subject::Instance(ServiceId(2), ResourceId(3)),
    ];
    let mut expected = Minutes::default();
    for (of, Observation { subject, at, seen }) in &observations {
        let minute = at.bucket_seconds(COARSE_SECONDS);
        let is_heard = matches!(subject, Subject::Operation(_) | Subject::Instance(..));
        if *of != tenant || !minutes.contains(&minute) || !is_heard {
            continue;
        }
        expected.heard.insert(minute);
        let Seen::Call { duration_ns, .. } = seen else { continue };
        if subjects.contains(subject) {
            let cell = expected.cells.entry((minute, *subject)).or_default();
            cell.count += 1;
            cell.sum_ns += duration_ns;
        }
    }
    assert_eq!(world.ask(async |store| store.minutes_of(tenant, &minutes, &subjects).await), expected);
    let nobody = world.ask(async |store| store.minutes_of(TenantNumber(9), &minutes, &subjects).await);
    assert_eq!(nobody, Minutes::default());
    let many: BTreeSet<i64> = (0..=NAMED_MAX as i64).collect();
    let refused = world.runtime.block_on(world.stores[0].minutes_of(tenant, &many, &subjects)).unwrap_err();
    assert_eq!(refused.kind(), Kind::TooLarge);
}

#[test]
fn counts_are_those_of_the_lists() {
    let count = |tenant| WORLD.ask(async |store| store.counts(tenant).await);
    let expected = |tenant: Option<TenantNumber>| {
        let own = |of: TenantNumber| tenant.is_none_or(|tenant| tenant == of);
        let spans = || WORLD.spans.iter().filter(|span| own(span.tenant));
        let parts: std::collections::HashSet<_> =
            spans().map(|span| (span.tenant, span.trace_id, span.trace_key)).collect();
        Counts {
            spans: spans().count() as u64,
            traces: parts.len() as u64,
            logs: WORLD.logs.iter().filter(|log| own(log.tenant)).count() as u64,
            points: 0,
            series: 0,
        }
    };
    for tenant in [None, Some(WORLD.tenants[0].number), Some(WORLD.tenants[1].number), Some(TenantNumber(9))]
    {
        assert_eq!(count(tenant), expected(tenant));
    }
    for store in &WORLD.stores {
        assert!(WORLD.runtime.block_on(store.data_bytes()).unwrap() > 100_000);
    }
    for tenant in &WORLD.tenants {
        let newest =
            WORLD.spans.iter().filter(|span| span.tenant == tenant.number).map(|span| span.start).max();
        assert_eq!(WORLD.ask(async |store| store.newest_span(tenant.number).await), newest);
    }
    assert_eq!(WORLD.ask(async |store| store.newest_span(TenantNumber(9)).await), None);
}

#[test]
fn templates_are_read_back() {
    let mut expected: Vec<_> = WORLD.tenants.iter().flat_map(super::templates).collect();
    expected.sort_by_key(|template| template.id);
    let count = expected.len();
    for together in [1, 7, count, 10_000] {
        let all = WORLD.ask(async |store| store.newest_templates_by(10_000, together).await);
        assert_eq!(all, expected);
        let newest = WORLD.ask(async |store| store.newest_templates_by(10, together).await);
        assert_eq!(newest, expected[count - 10..]);
    }
    assert_eq!(WORLD.ask(async |store| store.newest_templates(count).await), expected);
    assert_eq!(WORLD.ask(async |store| store.template_highest().await), expected[count - 1].id.0);
}

#[test]
fn templates_are_found_by_id_and_by_their_text() {
    let [tenant, other] = &WORLD.tenants[..] else { panic!("two tenants") };
    let own = super::templates(tenant);
    let foreign = super::templates(other)[0].id;
    let wanted: BTreeSet<TemplateId> = [own[3].id, own[8].id, foreign, TemplateId(u32::MAX)].into();
    let mut expected = [own[3].clone(), own[8].clone()];
    expected.sort_by_key(|template| template.id);
    assert_eq!(WORLD.ask(async |store| store.templates_by_id(tenant.number, &wanted).await), expected);
    let texts = expected.map(|template| TemplateText {
        id: template.id,
        service: template.service,
        text: template.text,
        first_seen: template.first_seen,
    });
    assert_eq!(WORLD.ask(async |store| store.template_texts(tenant.number, &wanted).await), texts);
    let none = WORLD.ask(async |store| store.template_texts(tenant.number, &BTreeSet::new()).await);
    assert_eq!(none, []);
    // All of a service have one text.
    let alike = WORLD.ask(async |store| store.templates_alike(tenant.number, own[2].id).await);
    let of_service = own.iter().filter(|template| template.service == own[2].service);
    assert_eq!(alike, of_service.map(|template| template.id).collect::<Vec<_>>());
    assert_eq!(WORLD.ask(async |store| store.templates_alike(tenant.number, foreign).await), []);
    // The world has no roll-ups.
    let lately = WORLD.ask(async |store| store.templates_counted_lately(tenant.number).await);
    assert_eq!(lately, Some(BTreeSet::new()));
}

#[test]
fn templates_that_were_counted_lately_are_told() {
    let mut world = World::empty();
    let tenant = world.tenants[0].number;
    let mut cells = crate::model::rollup::Folded::default();
    for (template, at) in [(1, 0), (2, 86_400), (3, 4 * 86_400)] {
        let subject = Subject::Logs(ServiceId(1), TemplateId(template), Severity(9));
        let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error: false };
        cells.add(tenant, &Observation { subject, at: seconds(at), seen });
    }
    world.commit(Commit { lsn: 1, cells, ..Commit::default() });
    let lately = world.ask(async |store| store.templates_counted_lately(tenant).await);
    assert_eq!(lately, Some(BTreeSet::from([TemplateId(3)])));
    let nobody = world.ask(async |store| store.templates_counted_lately(TenantNumber(9)).await);
    assert_eq!(nobody, Some(BTreeSet::new()));
}

#[test]
fn templates_are_counted_by_service() {
    let all: Vec<_> = WORLD.tenants.iter().flat_map(super::templates).collect();
    let services: BTreeSet<ServiceId> = all.iter().map(|template| template.service).collect();
    // None was counted in a commit since: they are of the day on which they were first seen.
    let day = Day::of(seconds(0));
    let of_service = |service: &ServiceId| OfService { service: *service, all: 7, before: [0, 7, 7] };
    let expected: Vec<OfService> = services.iter().map(of_service).collect();
    let days = [day, day.plus(2), day.plus(3)];
    for together in [1, 3, 500] {
        let counted = WORLD.ask(async |store| store.templates_of_services_by(days, together).await);
        assert_eq!(counted, expected);
    }
    let service = all[0].service;
    let mut own: Vec<_> = all.into_iter().filter(|template| template.service == service).collect();
    own.sort_by_key(|template| template.id);
    for max in [3, 7, 9] {
        let newest = WORLD.ask(async |store| store.newest_templates_of(service, max).await);
        assert_eq!(newest, own[7_usize.saturating_sub(max)..]);
    }
    assert!(WORLD.ask(async |store| store.newest_templates_of(ServiceId(99), 9).await).is_empty());
    let seen_before = |after: Option<(Day, TemplateId)>, most: usize| {
        WORLD.ask(async |store| store.templates_seen_before(service, day.plus(2), after, most).await)
    };
    let old = seen_before(None, 9);
    assert!(old.is_sorted() && old.iter().all(|(seen, _)| [day, day.plus(1)].contains(seen)));
    let mut ids: Vec<TemplateId> = old.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    assert_eq!(ids, own.iter().map(|own| own.id).collect::<Vec<TemplateId>>());
    assert_eq!((seen_before(None, 3), seen_before(Some(old[2]), 3)), (old[..3].to_vec(), old[3..6].to_vec()));
    assert_eq!(seen_before(Some(old[6]), 3), []);
}

#[test]
fn edges_are_counted_from_the_spans() {
    let mut world = World::empty();
    let mut spans = Vec::new();
    // Each trace: a parent, a child elsewhere that failed, and a child of its own service.
    for number in 0..50 {
        for (tenant, place, failed) in [(0, 0, false), (0, 2, true), (0, 1, false), (1, 4, true)] {
            let tenant = &world.tenants[tenant];
            let mut span = WORLD.spans[0].clone();
            span.tenant = tenant.number;
            span.trace_id = trace_id(number);
            span.span_id = span_id(number * 10 + place as u64);
            span.parent_id = (place != 0).then(|| span_id(number * 10));
            span.service = tenant.services[place / 2];
            span.operation = tenant.operations[place];
            span.status = if failed { Status::Error } else { Status::Unset };
            span.start = seconds(number as i64);
            span.trace_key = TraceKey::new(span.start, span.tenant, span.trace_id);
            spans.push(span);
        }
    }
    world.commit(Commit { lsn: 1, spans, ..Commit::default() });
    let tenant = &world.tenants[0];
    let recount = |window: Window| {
        let edges = world.ask(async |store| store.edges_recount(tenant.number, window).await);
        edges
            .into_iter()
            .map(|edge| (edge.from, edge.to, edge.crosses, edge.count, edge.errors))
            .collect::<Vec<_>>()
    };
    let [from, own, other] = [0, 1, 2].map(|place: usize| tenant.operations[place]);
    assert_eq!(recount(window(0, 100)), [(from, own, false, 50, 0), (from, other, true, 50, 50)]);
    assert_eq!(recount(window(10, 13)), [(from, own, false, 3, 0), (from, other, true, 3, 3)]);
    assert_eq!(recount(window(60, 90)), []);
}

#[test]
fn a_question_that_is_dropped_stops_and_frees_its_connection() {
    let world = World::empty();
    for store in &world.stores {
        stops_when_dropped(store, &world.runtime);
    }
}

fn stops_when_dropped(store: &Store, runtime: &Runtime) {
    let endless = async {
        let mut reader = store.reader().await.unwrap();
        let query = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let query = reader.sql(query);
        reader.all(query, |row| row.get::<i64>(0)).await
    };
    let dropped = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(50), endless).await });
    assert!(dropped.is_err());
    // There is one connection: were it still at work, this would wait for it.
    let next = async { tokio::time::timeout(Duration::from_secs(5), store.template_highest()).await };
    assert_eq!(runtime.block_on(next).unwrap().unwrap(), 0);
}

#[test]
fn a_question_that_names_too_much_is_refused() {
    let ask = SpanAsk {
        window: window(0, 10),
        services: Vec::new(),
        operations: vec![OperationId(1); NAMED_MAX + 1],
        failed: false,
        duration_min_ns: None,
        attributes: Vec::new(),
        order: SpanOrder::Newest,
        limit: 10,
        with_detail: false,
    };
    let refused = WORLD.runtime.block_on(WORLD.stores[0].spans(WORLD.tenants[0].number, &ask)).unwrap_err();
    assert_eq!(refused.kind(), Kind::TooLarge);
}
