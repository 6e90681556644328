use std::cmp::Reverse;
use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::{option, prop_oneof, sample};

use super::{SERVICES, WORLD, span_id, template, trace_id, window};
use crate::model::log::Severity;
use crate::store::day::Day;
use crate::store::read::logs::{LogAsk, StoredLog};

fn asks() -> impl Strategy<Value = LogAsk> {
    let tenant = &WORLD.tenants[0];
    let attributes = prop_oneof![
        3 => Just(Vec::new()),
        1 => Just(vec![("route".to_owned(), "/pay".to_owned()), ("retries".to_owned(), "0".to_owned())]),
        1 => Just(vec![("rare".to_owned(), "yes".to_owned())]),
    ];
    let services = sample::subsequence(tenant.services.clone(), 0..=SERVICES);
    let templates = prop_oneof![
        3 => Just(Vec::new()),
        1 => Just(vec![template(tenant.services[0], 9)]),
        1 => Just(vec![template(tenant.services[1], 17), template(tenant.services[2], 0)]),
    ];
    let severity = sample::select(vec![0, 1, 9, 13, 17, 24]).prop_map(Severity);
    let trace = prop_oneof![3 => Just(None), 1 => (0_u64..250).prop_map(|number| Some(trace_id(number)))];
    let span = option::weighted(0.2, (0_u64..20).prop_map(span_id));
    let times = (0_i64..3_600, 0_i64..3_600);
    (times, severity, services, templates, trace, span, attributes, 1_usize..600).prop_map(
        |(times, severity_min, services, templates, trace, span, attributes, limit)| LogAsk {
            window: window(times.0, times.0 + times.1),
            severity_min,
            services,
            templates,
            trace,
            span,
            attributes,
            before: None,
            limit,
            with_detail: true,
        },
    )
}

/// What `ask` should find without its limit, by looking at every record.
fn expected(ask: &LogAsk) -> Vec<StoredLog> {
    let mut found: Vec<StoredLog> = stored()
        .filter(|StoredLog { row, .. }| {
            row.tenant == WORLD.tenants[0].number
                && ask.window.contains(row.time)
                && row.severity >= ask.severity_min
                && (ask.services.is_empty() || ask.services.contains(&row.service))
                && (ask.templates.is_empty() || ask.templates.contains(&row.template))
                && ask.trace.is_none_or(|trace| row.trace_id == Some(trace))
                && ask.span.is_none_or(|span| row.span_id == Some(span))
                && ask.attributes.iter().all(|(key, value)| {
                    row.detail.attribute(key).is_some_and(|found| found.render() == *value)
                })
        })
        .collect();
    found.sort_by_key(|log| Reverse((log.row.time, log.id)));
    found
}

/// Every record, in the order of arrival, with its number among those of its day.
fn stored() -> impl Iterator<Item = StoredLog> {
    let mut next = BTreeMap::new();
    WORLD.logs.iter().map(move |row| {
        let day = Day::of(row.time);
        let id = next.entry(day).or_insert(0);
        *id += 1;
        StoredLog { id: day.row(*id), row: row.clone() }
    })
}

proptest! {
    #[test]
    fn pages_of_logs_have_no_gaps_and_no_repeats(mut ask in asks()) {
        let mut found = Vec::new();
        loop {
            let page = WORLD.ask(async |store| store.logs(WORLD.tenants[0].number, &ask).await);
            prop_assert!(page.items.len() == ask.limit || page.next.is_none());
            found.extend(page.items);
            ask.before = page.next;
            if page.next.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected(&ask));
    }
}

#[test]
fn logs_by_id_keep_the_order_and_the_tenant() {
    let all: Vec<StoredLog> = stored().collect();
    let (own, other): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|log| log.row.tenant == WORLD.tenants[0].number);
    let ids = [own[9].id, other[0].id, own[2].id, 1 << 40, own[5].id];
    let found = WORLD.ask(async |store| store.logs_by_id(WORLD.tenants[0].number, &ids).await);
    assert_eq!(found, [own[9].clone(), own[2].clone(), own[5].clone()]);
}

#[test]
fn logs_after_walk_over_all_tenants() {
    let days = WORLD.ask(async |store| store.log_days().await);
    assert_eq!(days.len(), 2);
    let mut found: Vec<StoredLog> = Vec::new();
    for (day, last) in days {
        let mut after = day.row(0);
        while after < last {
            let part = WORLD.ask(async |store| store.logs_after(after, 97).await);
            after = part.last().unwrap().id;
            found.extend(part);
        }
        assert_eq!(WORLD.ask(async |store| store.logs_after(last, 97).await), []);
    }
    let mut stored: Vec<_> = stored().collect();
    stored.sort_by_key(|log| log.id);
    assert_eq!(found, stored);
}
