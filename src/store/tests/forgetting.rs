//! Names, contents and series are forgotten once nothing that is kept has them, and then there is room again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::home::{Home, on_both};
use super::{TENANT, anomalies, at, count, gauge, log, point, span, table, tamper, template, trace};
use crate::model::id::{OperationId, ResourceId, SeriesId, ServiceId, TemplateId};
use crate::model::log::Severity;
use crate::model::metric::PointValue;
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::rollup::{Observation, Seen, Subject};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::aging::Aged;
use crate::store::day::Day;
use crate::store::names::{Limits, OVERFLOW};
use crate::store::options::Options;
use crate::store::partition::Family;
use crate::store::rows::{Commit, GoneTemplate, LogRow, PointRow, SpanRow, TemplateRow};
use crate::store::series_hours::SeriesHour;
use crate::store::sql::Dialect;

const DAY: i64 = 86_400;

async fn open(options: &Options) -> Store {
    let store = Store::open(options.clone()).await.unwrap();
    assert_eq!(store.names().tenant(&TenantId::try_from("acme").unwrap()), TENANT);
    store
}

/// A span that an instance sends on a day after the start, and what it is known as.
fn sent(store: &Store, (service, instance): (&str, &str), day: i64) -> SpanRow {
    let (names, at) = (store.names(), at(day * DAY));
    let mut packer = Packer::default();
    packer.attribute_text(1, "service.name", service);
    packer.attribute_text(1, "service.instance.id", instance);
    let resource = Resource {
        service: service.into(),
        attributes: Attributes::from_checked(packer.finish()),
        dropped_attributes: 0,
        schema_url: Text::default(),
    };
    let service = names.service(TENANT, NodeKind::Service, service, at);
    SpanRow {
        service,
        operation: names.operation(TENANT, service, SpanKind::SERVER, "pay", at),
        resource: names.resource(TENANT, service, &Arc::new(resource), at),
        instrumentation: names.instrumentation(TENANT, &Arc::new(Instrumentation::default()), at),
        start: at,
        trace_key: TraceKey::new(at, TENANT, trace(1)),
        ..span(1, 1)
    }
}

async fn commit(store: &Store, lsn: u64, spans: Vec<SpanRow>) {
    store.commit(Commit { lsn, spans, ..Commit::default() }).await.unwrap();
}

/// Gives up all days before `day` after the start.
async fn give_up(store: &Store, day: i64) {
    let first = Day::of(at(day * DAY));
    let mut old = store.partitions().await.unwrap();
    old.retain(|partition| partition.end() <= first);
    store.retire(&old, at(day * DAY)).await.unwrap();
}

/// How many names and series are forgotten.
async fn forgotten(store: &Store) -> (usize, usize) {
    let (mut names, mut series) = (0, 0);
    loop {
        let forgotten = store.forget_unseen().await.unwrap();
        if forgotten.is_empty() {
            return (names, series);
        }
        (names, series) = (names + forgotten.names, series + forgotten.series);
    }
}

fn instance(store: &Store, id: ResourceId) -> Option<String> {
    store.names().resource_info(id).map(|info| info.instance.to_string())
}

#[test]
fn what_nothing_kept_has_makes_room_at_once_and_is_forgotten_later() {
    on_both(async |home: Home| {
        let names = Limits { resources: 2, ..Limits::default() };
        let options = Options { names, ..home.options() };
        let store = open(&options).await;
        let old = ["1", "2"].map(|pod| sent(&store, ("shop", pod), 0));
        commit(&store, 1, old.to_vec()).await;
        let third = sent(&store, ("shop", "3"), 10);
        assert_eq!(instance(&store, third.resource).unwrap(), OVERFLOW);
        commit(&store, 2, vec![third.clone()]).await;
        give_up(&store, 10).await;
        // What is under way may have it: it stays, and takes no room.
        assert_eq!(forgotten(&store).await, (0, 0));
        let fourth = sent(&store, ("shop", "4"), 10);
        assert_eq!(instance(&store, fourth.resource).unwrap(), "4");
        assert_eq!(instance(&store, old[0].resource).unwrap(), "1");
        commit(&store, 3, vec![fourth.clone()]).await;
        commit(&store, 4, Vec::new()).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        commit(&store, 5, Vec::new()).await;
        assert_eq!(forgotten(&store).await, (2, 0));
        assert_eq!(instance(&store, old[0].resource), None);
        assert_eq!(table(&store, "SELECT instance FROM resources").await, ["4", OVERFLOW]);
        // Its service went on and is the same one. What comes again has another id, also after a restart.
        let again = sent(&store, ("shop", "1"), 10);
        assert_eq!((again.service, again.operation), (old[0].service, old[0].operation));
        assert_eq!(again.resource.0, fourth.resource.0 + 1);
        assert_eq!(store.names().resource_info(again.resource).unwrap().first_seen, at(10 * DAY));
        commit(&store, 6, vec![again.clone()]).await;
        store.stop().await;
        let store = open(&options).await;
        assert_eq!(sent(&store, ("shop", "1"), 10).resource, again.resource);
        let fifth = sent(&store, ("shop", "5"), 10);
        assert_eq!(fifth.resource, third.resource, "there is no room for a third one");
        assert_eq!(store.names().resources_of(again.service).len(), 3);
    });
}

#[test]
fn what_was_seen_yesterday_stays_however_old_it_is() {
    on_both(async |home: Home| {
        let options = home.options();
        let store = open(&options).await;
        let old = [("gone", "1"), ("shop", "1"), ("shop", "2")].map(|sender| sent(&store, sender, 0));
        commit(&store, 1, old.to_vec()).await;
        commit(&store, 2, vec![sent(&store, ("shop", "2"), 9)]).await;
        commit(&store, 3, vec![sent(&store, ("shop", "3"), 10)]).await;
        store.stop().await;
        let store = open(&options).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        for lsn in 4..7 {
            commit(&store, lsn, Vec::new()).await;
        }
        // A service with its operation and its instance, and an instance of another one.
        assert_eq!(forgotten(&store).await, (4, 0));
        assert_eq!(table(&store, "SELECT name FROM services").await, ["shop"]);
        assert_eq!(table(&store, "SELECT instance FROM resources").await, ["2", "3"]);
        assert_eq!(store.names().services_of(TENANT).len(), 1);
        assert_eq!(store.names().operation_info(old[0].operation), None);
        let again = sent(&store, ("shop", "2"), 10);
        assert_eq!(again.resource, old[2].resource);
        let info = store.names().resource_info(again.resource).unwrap();
        assert_eq!(info.first_seen, at(0));
        let last = count(&store, "SELECT max(last_day) FROM services").await;
        assert_eq!(last, i64::from(Day::of(at(10 * DAY)).0));
    });
}

#[test]
fn the_highest_id_is_not_given_again_after_a_restart() {
    on_both(async |home: Home| {
        let options = home.options();
        let store = open(&options).await;
        let old = ["1", "2"].map(|pod| sent(&store, ("shop", pod), 0));
        commit(&store, 1, old.to_vec()).await;
        commit(&store, 2, vec![sent(&store, ("shop", "1"), 10)]).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        // One that is handed out and never written protects nothing.
        assert_eq!(sent(&store, ("shop", "3"), 10).resource, ResourceId(3));
        store.names().service(TENANT, NodeKind::Queue, "orders", at(10 * DAY));
        let store = home.crash(store).await;
        for lsn in 3..6 {
            commit(&store, lsn, Vec::new()).await;
        }
        assert_eq!(forgotten(&store).await, (0, 0), "the one with the highest id stays");
        let store = home.crash(store).await;
        assert_eq!(sent(&store, ("shop", "4"), 10).resource, ResourceId(3));
        assert_eq!(sent(&store, ("shop", "2"), 10).resource, old[1].resource);
    });
}

#[test]
fn what_anomalies_are_about_stays() {
    on_both(async |home: Home| {
        let options = home.options();
        let store = open(&options).await;
        let old = [("told", "1"), ("gone", "1")].map(|sender| sent(&store, sender, 0));
        commit(&store, 1, old.to_vec()).await;
        store.put_episodes(TENANT, &[anomalies::episode(1, 60, None)]).await.unwrap();
        assert_eq!(old[0].operation, OperationId(1));
        commit(&store, 2, vec![sent(&store, ("shop", "1"), 10)]).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        for lsn in 3..6 {
            commit(&store, lsn, Vec::new()).await;
        }
        // Of what is told its instance alone goes.
        assert_eq!(forgotten(&store).await, (4, 0));
        assert_eq!(table(&store, "SELECT name FROM services").await, ["shop", "told"]);
        assert_eq!(count(&store, "SELECT count(*) FROM operations").await, 2);
        assert_eq!(count(&store, "SELECT count(*) FROM resources").await, 1);
    });
}

#[test]
fn what_was_forgotten_while_the_database_failed_is_told_later() {
    on_both(async |home: Home| {
        let options = home.options();
        let store = open(&options).await;
        let old = sent(&store, ("gone", "1"), 0);
        commit(&store, 1, vec![old.clone()]).await;
        commit(&store, 2, vec![sent(&store, ("shop", "1"), 10)]).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        for lsn in 3..6 {
            commit(&store, lsn, Vec::new()).await;
        }
        let (stop, go_on) = match home.dialect() {
            Dialect::Sqlite => (
                "CREATE TRIGGER stop BEFORE DELETE ON services BEGIN SELECT raise(ABORT, 'stop'); END",
                "DROP TRIGGER stop",
            ),
            Dialect::Postgres => {
                ("ALTER TABLE services RENAME TO hidden", "ALTER TABLE hidden RENAME TO services")
            }
        };
        tamper(&options, stop).await;
        for _ in 0..2 {
            store.forget_unseen().await.unwrap_err();
            assert_eq!(store.names().operation_info(old.operation), None);
        }
        tamper(&options, go_on).await;
        commit(&store, 6, Vec::new()).await;
        assert_eq!(table(&store, "SELECT name FROM services").await, ["shop"]);
        let told = store.forget_unseen().await.unwrap();
        assert_eq!((told.operations, told.names), (vec![(TENANT, old.operation)], 3));
        assert!(store.forget_unseen().await.unwrap().is_empty());
    });
}

#[test]
fn templates_go_after_their_service_some_at_a_time() {
    on_both(async |home: Home| {
        let options = home.options();
        let store = open(&options).await;
        let (old, new) = (sent(&store, ("gone", "1"), 0), sent(&store, ("shop", "1"), 10));
        let of = |service, ids: std::ops::RangeInclusive<u32>| -> Vec<TemplateRow> {
            ids.map(|id| TemplateRow { id: TemplateId(id), ..template(TENANT, service) }).collect()
        };
        let templates = of(old.service, 1..=2_500);
        let first = Commit { lsn: 1, spans: vec![old], templates, ..Commit::default() };
        store.commit(first).await.unwrap();
        let templates = of(new.service, 2_501..=2_502);
        let second = Commit { lsn: 2, spans: vec![new], templates, ..Commit::default() };
        store.commit(second).await.unwrap();
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        for lsn in 3..6 {
            commit(&store, lsn, Vec::new()).await;
        }
        let names = store.forget_unseen().await.unwrap();
        assert_eq!((names.names, names.templates), (3, 0));
        assert_eq!(store.names().services_forgotten(), 1);
        assert_eq!(store.forget_unseen().await.unwrap().templates, 1_000);
        // A start finds those that are left.
        let store = home.crash(store).await;
        for templates in [1_000, 500, 0] {
            assert_eq!(store.forget_unseen().await.unwrap().templates, templates);
        }
        assert_eq!(count(&store, "SELECT count(*) FROM templates").await, 2);
    });
}

/// A service that is named on a day after the start.
fn shop(store: &Store, day: i64) -> ServiceId {
    store.names().service(TENANT, NodeKind::Service, "shop", at(day * DAY))
}

/// A log record of each of these templates on a day after the start.
fn lines(service: ServiceId, ids: &[u32], day: i64) -> Commit {
    let time = at(day * DAY);
    let seen = Seen::Call { duration_ns: 0, caller_ns: 0, error: false };
    let subject = |id: u32| Subject::Logs(service, TemplateId(id), Severity(9));
    let logs = ids.iter().map(|id| LogRow { time, service, template: TemplateId(*id), ..log(1) });
    let cells = ids.iter().map(|id| (TENANT, Observation { subject: subject(*id), at: time, seen }));
    Commit { logs: logs.collect(), cells: cells.collect(), ..Commit::default() }
}

/// The same of templates that are new.
fn first_lines(service: ServiceId, ids: &[u32], day: i64) -> Commit {
    let first_seen = at(day * DAY);
    let template = |id: &u32| TemplateRow { id: TemplateId(*id), first_seen, ..template(TENANT, service) };
    Commit { templates: ids.iter().map(template).collect(), ..lines(service, ids, day) }
}

async fn put(store: &Store, lsn: u64, commit: Commit) {
    store.commit(Commit { lsn, ..commit }).await.unwrap();
}

/// What a miner forgets that asks now.
fn gone(store: &Store) -> Vec<GoneTemplate> {
    store.aged_templates().gone.into_iter().map(|(.., gone)| gone).collect()
}

/// Each template with its last day, counted from the start.
async fn last_days(store: &Store) -> Vec<String> {
    let start = Day::of(at(0)).0;
    table(store, &format!("SELECT concat_ws(' ', id, last_day - {start}) FROM templates")).await
}

#[test]
fn templates_rest_without_records_and_go_without_roll_ups() {
    on_both(async |home: Home| {
        let options = Options { resting_templates_max: 2, ..home.options() };
        let store = open(&options).await;
        let service = shop(&store, 10);
        for (lsn, id, day) in [(1, 1, 0), (2, 2, 1), (3, 3, 2), (4, 4, 3)] {
            put(&store, lsn, first_lines(service, &[id], day)).await;
        }
        put(&store, 5, first_lines(service, &[5, 6], 10)).await;
        put(&store, 6, lines(service, &[4, 5], 10)).await;
        assert_eq!(last_days(&store).await, ["1 0", "2 1", "3 2", "4 10", "5 10", "6 10"]);
        let mut old = store.partitions().await.unwrap();
        old.retain(|it| it.family == Family::Logs && it.end() <= Day::of(at(10 * DAY)));
        store.retire(&old, at(10 * DAY)).await.unwrap();
        assert_eq!(forgotten(&store).await, (0, 0));
        // As many that rest are kept as may be: not the one that was counted longest ago.
        let before = Day::of(at(10 * DAY));
        let first = GoneTemplate { id: TemplateId(1), before };
        let aged = Aged { gone: vec![(TENANT, service, first)], room: vec![(TENANT, service, 3)] };
        assert_eq!(store.aged_templates(), aged);
        assert_eq!(store.aged_templates(), Aged::default());
        put(&store, 7, Commit { gone: vec![first], ..Commit::default() }).await;
        assert_eq!(last_days(&store).await, ["2 1", "3 2", "4 10", "5 10", "6 10"]);
        // What comes late takes room.
        put(&store, 8, lines(service, &[3], 2)).await;
        assert_eq!(last_days(&store).await, ["2 1", "3 10", "4 10", "5 10", "6 10"]);
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        let second = GoneTemplate { id: TemplateId(2), before };
        let aged = Aged { gone: vec![(TENANT, service, second)], room: vec![(TENANT, service, 4)] };
        assert_eq!(store.aged_templates(), aged);
        // It is removed with a commit that counts others.
        put(&store, 9, Commit { gone: vec![second], ..lines(service, &[5], 11) }).await;
        assert_eq!(last_days(&store).await, ["3 10", "4 10", "5 11", "6 10"]);
        store.stop().await;
        let store = open(&options).await;
        let counted = store.templates_of_services().await.unwrap();
        let counted: Vec<_> = counted.iter().map(|own| (own.service, own.all, own.taking_room())).collect();
        assert_eq!(counted, [(service, 4, 4)]);
    });
}

#[test]
fn templates_that_are_counted_before_they_are_removed_stay() {
    on_both(async |home: Home| {
        let store = open(&home.options()).await;
        let service = shop(&store, 10);
        put(&store, 1, first_lines(service, &[1, 2, 3], 0)).await;
        put(&store, 2, first_lines(service, &[4], 10)).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        // One is counted before the miner asks, and another by the commit before which it did; both late.
        put(&store, 3, lines(service, &[1], 0)).await;
        let gone = gone(&store);
        assert_eq!(gone.iter().map(|gone| gone.id.0).collect::<Vec<_>>(), [1, 2, 3]);
        put(&store, 4, Commit { gone, ..lines(service, &[2], 0) }).await;
        assert_eq!(last_days(&store).await, ["1 10", "2 10", "4 10"]);
        assert_eq!(forgotten(&store).await, (0, 0));
        assert_eq!(store.aged_templates().gone, []);
        // They are forgotten once they are old again.
        put(&store, 5, lines(service, &[4], 20)).await;
        shop(&store, 20);
        give_up(&store, 20).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        let chosen: Vec<u32> = store.aged_templates().gone.iter().map(|(.., gone)| gone.id.0).collect();
        assert_eq!(chosen, [1, 2]);
    });
}

#[test]
fn templates_are_chosen_some_at_a_time_and_anew_after_a_crash() {
    on_both(async |home: Home| {
        let store = open(&home.options()).await;
        let service = shop(&store, 10);
        let ids: Vec<u32> = (1..=2_500).collect();
        put(&store, 1, first_lines(service, &ids, 0)).await;
        put(&store, 2, lines(service, &[1], 10)).await;
        give_up(&store, 10).await;
        // No more of them before the miner asked.
        for chosen in [1_000, 0] {
            assert_eq!(store.forget_unseen().await.unwrap().templates, chosen);
        }
        assert_eq!(gone(&store).len(), 1_000);
        let store = home.crash(store).await;
        for (lsn, chosen) in [(3, 1_000), (4, 1_000), (5, 498)] {
            assert_eq!(store.forget_unseen().await.unwrap().templates, chosen);
            put(&store, lsn, Commit { gone: gone(&store), ..Commit::default() }).await;
        }
        assert_eq!(store.forget_unseen().await.unwrap().templates, 0);
        // One was counted, and the one with the highest id stays.
        assert_eq!(count(&store, "SELECT count(*) FROM templates").await, 2);
        assert_eq!(count(&store, "SELECT max(id) FROM templates").await, 2_500);
    });
}

#[test]
fn nodes_without_templates_take_no_turn_of_the_writer_each() {
    on_both(async |home: Home| {
        let store = open(&home.options()).await;
        for number in 0..1_500 {
            store.names().service(TENANT, NodeKind::External, &format!("host-{number}"), at(0));
        }
        let (old, new) = (sent(&store, ("gone", "1"), 0), sent(&store, ("shop", "1"), 10));
        let row = |service, id| TemplateRow { id: TemplateId(id), ..template(TENANT, service) };
        let templates = vec![row(old.service, 1), row(old.service, 2), row(new.service, 3)];
        let first = Commit { lsn: 1, spans: vec![old], templates, ..Commit::default() };
        store.commit(first).await.unwrap();
        commit(&store, 2, vec![new]).await;
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        for lsn in 3..6 {
            commit(&store, lsn, Vec::new()).await;
        }
        // With them a service, its operation and its instance.
        assert_eq!(store.forget_unseen().await.unwrap().names, 1_503);
        // Whoever takes turns beside sees how many are left after each.
        let (inner, mut left) = (Arc::clone(&store.inner), BTreeSet::new());
        let look = async {
            while left.len() < 20 {
                let slot = inner.writing().await.unwrap();
                left.insert(inner.orphans.lock().unwrap().count());
                drop(slot);
                tokio::task::yield_now().await;
            }
        };
        let templates = tokio::select! {
            forgotten = store.forget_unseen() => forgotten.unwrap().templates,
            () = look => panic!("they take a turn each"),
        };
        assert_eq!(templates, 2);
        assert!(left.iter().all(|left| [1_501, 501, 0].contains(left)), "{left:?}");
        assert_eq!(inner.orphans.lock().unwrap().count(), 0);
        assert_eq!(count(&store, "SELECT count(*) FROM templates").await, 1);
    });
}

/// Commits a point of each of these metrics on a day, and answers how many had no room for a series.
async fn measure(store: &Store, lsn: u64, names: &[&str], day: i64) -> u64 {
    let points = names.iter().map(|name| point(&gauge(name), day * DAY, PointValue::Int(1))).collect();
    store.commit(Commit { lsn, points, ..Commit::default() }).await.unwrap().overflowed_points
}

#[test]
fn series_go_with_their_points_and_make_room() {
    on_both(async |home: Home| {
        let options = Options { series_per_tenant_max: 2, ..home.options() };
        let store = open(&options).await;
        assert_eq!(measure(&store, 1, &["a", "b"], 0).await, 0);
        assert_eq!(measure(&store, 2, &["b", "c"], 10).await, 1);
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 1));
        assert_eq!(table(&store, "SELECT name FROM series").await, [OVERFLOW, "b"]);
        assert_eq!(measure(&store, 3, &["b", "c"], 10).await, 0);
        assert_eq!(measure(&store, 4, &["a"], 10).await, 1, "another one has its room");
        assert_eq!(count(&store, "SELECT max(id) FROM series").await, 4);
        store.stop().await;
        let store = open(&options).await;
        assert_eq!(measure(&store, 5, &["a", "c"], 10).await, 1);
        let stored = table(&store, "SELECT concat_ws(' ', id, name) FROM series").await;
        assert_eq!(stored, ["2 b", &format!("3 {OVERFLOW}"), "4 c"]);
    });
}

#[test]
fn series_whose_hours_are_kept_rest() {
    on_both(async |home: Home| {
        let options = Options { series_per_tenant_max: 2, ..home.options() };
        let store = open(&options).await;
        assert_eq!(measure(&store, 1, &["a", "b"], 0).await, 0);
        let rollup = SeriesHour { series: SeriesId(1), points: 1, rollup: b"one".to_vec() };
        store.put_series_hours(at(0).seconds(), &[rollup]).await.unwrap();
        assert_eq!(measure(&store, 2, &["c"], 10).await, 1);
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        // They take no room, and one that comes again is as it was.
        assert_eq!(measure(&store, 3, &["c"], 10).await, 0);
        assert_eq!(measure(&store, 4, &["a"], 10).await, 0);
        assert_eq!(measure(&store, 5, &["d"], 10).await, 1);
        assert_eq!(measure(&store, 6, &["b", "c"], 20).await, 0);
        assert_eq!(measure(&store, 7, &["e"], 30).await, 1);
        give_up(&store, 30).await;
        // Of those that rest as many are kept as may take room: not the one of which nothing was heard for longest.
        assert_eq!(forgotten(&store).await, (0, 1));
        assert_eq!(table(&store, "SELECT name FROM series").await, [OVERFLOW, "b", "c"]);
        assert_eq!(measure(&store, 8, &["e"], 30).await, 0);
    });
}

#[test]
fn what_comes_late_has_nothing_that_rests_take_room_again() {
    on_both(async |home: Home| {
        let names = Limits { resources: 2, ..Limits::default() };
        let options = Options { names, series_per_tenant_max: 3, ..home.options() };
        let store = open(&options).await;
        let points = |names: &[&str], day: i64| -> Vec<PointRow> {
            names.iter().map(|name| point(&gauge(name), day * DAY, PointValue::Int(1))).collect()
        };
        let spans = ["1", "2"].map(|pod| sent(&store, ("shop", pod), 7)).to_vec();
        let old = Commit { lsn: 1, spans, points: points(&["a", "b", "c"], 7), ..Commit::default() };
        store.commit(old).await.unwrap();
        let rollup = SeriesHour { series: SeriesId(1), points: 1, rollup: b"one".to_vec() };
        store.put_series_hours(at(0).seconds(), &[rollup]).await.unwrap();
        store.prepare(&Family::ALL.map(|family| family.partition(Day::of(at(10 * DAY))))).await.unwrap();
        give_up(&store, 10).await;
        assert_eq!(forgotten(&store).await, (0, 0));
        // One record brings a day back.
        let logs = vec![LogRow { time: at(7 * DAY), ..log(1) }];
        store.commit(Commit { lsn: 2, logs, ..Commit::default() }).await.unwrap();
        assert_eq!(forgotten(&store).await, (0, 0));
        let fourth = sent(&store, ("shop", "4"), 10);
        assert_eq!(instance(&store, fourth.resource).unwrap(), "4");
        let spans = vec![fourth];
        let next = Commit { lsn: 3, spans, points: points(&["d"], 10), ..Commit::default() };
        assert_eq!(store.commit(next).await.unwrap().overflowed_points, 0);
        store.stop().await;
        let store = open(&options).await;
        assert_eq!(instance(&store, sent(&store, ("shop", "5"), 10).resource).unwrap(), "5");
        assert_eq!(instance(&store, sent(&store, ("shop", "6"), 10).resource).unwrap(), OVERFLOW);
        let next = Commit { lsn: 4, points: points(&["e"], 10), ..Commit::default() };
        assert_eq!(store.commit(next).await.unwrap().overflowed_points, 0);
        // A series that comes again takes room, late as it is.
        let late = Commit { lsn: 5, points: points(&["a"], 8), ..Commit::default() };
        assert_eq!(store.commit(late).await.unwrap().overflowed_points, 0);
        let first = i64::from(Day::of(at(9 * DAY)).0);
        assert_eq!(count(&store, "SELECT last_day FROM series WHERE name = 'a'").await, first);
        let next = Commit { lsn: 6, points: points(&["f"], 10), ..Commit::default() };
        assert_eq!(store.commit(next).await.unwrap().overflowed_points, 1);
    });
}
