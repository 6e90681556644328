//! Everything that a SQLite file holds is moved as it is, or nothing is.

use super::home::{Home, run};
use super::{
    TENANT, at, call, count, day, gauge, log, point, span, stored_cells, table, tamper, template, traces,
};
use crate::model::id::SeriesId;
use crate::model::metric::PointValue;
use crate::model::node::NodeKind;
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::commit::Slot;
use crate::store::error::Error;
use crate::store::investigations::Belongs;
use crate::store::options::Options;
use crate::store::partition::Family;
use crate::store::relocate::{Refusal, Step};
use crate::store::rows::Commit;
use crate::store::series_hours::SeriesHour;

const SERVICE: &str = "sh\0op \u{F0000}0";
const VALUES: [PointValue; 5] = [
    PointValue::Gap,
    PointValue::Int(-3),
    PointValue::Double(0.1),
    PointValue::Double(f64::NEG_INFINITY),
    PointValue::Double(f64::from_bits(0x7ff8_0000_0000_0abc)),
];

/// Something in every table, and a day that is given up.
async fn fill(store: &Store) {
    let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
    let service = store.names().service(tenant, NodeKind::Service, SERVICE, at(0));
    store.names().operation(tenant, service, SpanKind::SERVER, "pay", at(1));
    let template = template(tenant, service);
    let load = gauge("load");
    let mut later = log(4);
    later.time = at(86_400);
    let commit = Commit {
        lsn: 7,
        spans: (1..=5).map(|number| span(1, number)).collect(),
        logs: (1..=3).map(log).chain([later]).collect(),
        points: (0..).zip(VALUES).map(|(second, value)| point(&load, second, value)).collect(),
        cells: [call(1, 1, 5), call(40_000, 1, 5)].into_iter().collect(),
        templates: vec![template],
        ..Commit::default()
    };
    store.commit(commit).await.unwrap();
    // As many blocks as have their filters laid across each other.
    for number in 6..=70 {
        let (spans, logs) = (vec![span(1, number)], vec![log(number)]);
        store.commit(Commit { lsn: 7, spans, logs, ..Commit::default() }).await.unwrap();
    }
    assert_eq!(store.roll_up_hours(at(8_000)).await.unwrap(), 1);
    let rollup = SeriesHour { series: SeriesId(1), points: 5, rollup: b"five".to_vec() };
    store.put_series_hours(at(0).seconds(), &[rollup]).await.unwrap();
    store.put_episodes(TENANT, &[super::anomalies::episode(1, 60, None)]).await.unwrap();
    let begun = Belongs::New(SERVICE.to_owned());
    super::investigations::put(store, TENANT, begun, (1, SERVICE)).await;
    let given_up = Family::Logs.partition(day().plus(1));
    assert_eq!(store.retire(&[given_up], at(0)).await.unwrap(), 1);
}

/// All rows that can be asked for, as text.
async fn seen(store: &Store) -> Vec<Vec<String>> {
    let mut seen = vec![traces(store).await, stored_cells(store).await];
    for sql in [
        "SELECT concat_ws(' ', id, name) FROM tenants",
        "SELECT concat_ws(' ', id, service_id, text, sample, first_seen, last_day) FROM templates",
        "SELECT concat_ws(' ', id, hex(hash), name, kind, service_id, first_seen) FROM series",
        "SELECT concat_ws(' ', day, id, tenant_id, trace_row, text(run), hex(span_id), hex(parent_id), service_id, \
         operation_id, status, entry, http_status, text(dependency_id), start_ns, duration_ns) FROM spans",
        "SELECT concat_ws(' ', day, id, rows, min_ns, max_ns, hex(front), hex(rest)) FROM span_blocks",
        "SELECT concat_ws(' ', day, id, blocks, min_ns, max_ns, filter_bytes, hex(ids), hex(filter)) FROM span_filters",
        "SELECT concat_ws(' ', day, id, hex(bits)) FROM span_slices",
        "SELECT concat_ws(' ', day, id, time_ns, severity, template_id, hex(trace_id), trace_key) FROM logs",
        "SELECT concat_ws(' ', day, id, rows, min_ns, max_ns, hex(front), hex(rest)) FROM log_blocks",
        "SELECT concat_ws(' ', day, id, blocks, min_ns, max_ns, filter_bytes, hex(ids), hex(filter)) FROM log_filters",
        "SELECT concat_ws(' ', day, id, hex(bits)) FROM log_slices",
        "SELECT concat_ws(' ', series_id, time_ns, seq, flags, text(int_value), text(count)) FROM points",
        "SELECT concat_ws(' ', series_id, hour, points, hex(rollup)) FROM series_hours",
        "SELECT concat_ws(' ', family, day, seq) FROM partitions WHERE retired IS NULL",
        "SELECT concat_ws(' ', family, day, key) FROM promoted WHERE family = 0",
        "SELECT concat_ws(' ', hour) FROM unrolled",
        "SELECT concat_ws(' ', hour) FROM unreckoned",
        "SELECT concat_ws(' ', tenant_id, minute) FROM open_minutes",
        "SELECT concat_ws(' ', tenant_id, onset, kind, a, b, what, text(ended), seen, CAST(peak AS INTEGER)) FROM anomalies",
        "SELECT concat_ws(' ', tenant_id, id, number, written) FROM investigation_notes",
    ] {
        let rows = table(store, sql).await;
        assert!(!rows.is_empty(), "{sql}");
        seen.push(rows);
    }
    seen
}

async fn values(store: &Store) -> Vec<PointValue> {
    let always = Window::new(UnixNanos(0), UnixNanos(i64::MAX));
    let points = store.points(TENANT, &[SeriesId(1)], always, 100).await.unwrap();
    points.into_iter().map(|(_, point)| point.value).collect()
}

#[test]
fn everything_is_moved_as_it_is() {
    for to in Home::both() {
        run(async {
            let from = Home::sqlite();
            let source = Options { promoted: ["number".to_owned()].into(), ..from.options() };
            let store = Store::open(source.clone()).await.unwrap();
            fill(&store).await;
            let store = from.crash(store).await;
            let before = seen(&store).await;
            // As a killed process ends, so that what is open stays open.
            *store.inner.writer.lock().await = Slot::Stopped;
            store.stop().await;

            let target = Options { journal: "elsewhere".to_owned(), ..to.options() };
            let steps = std::sync::Mutex::new(Vec::new());
            let told = |step: Step| steps.lock().unwrap().push(step);
            let moved = Store::relocate(source.database.path().unwrap(), &target, &told).await.unwrap();
            assert_eq!(moved.applied, 7);
            for wanted in [
                ("spans", 70),
                ("traces", 1),
                ("logs", 68),
                ("points", 5),
                ("series_hours", 1),
                ("investigation_notes", 2),
            ] {
                assert!(moved.rows.contains(&wanted), "{moved:?}");
            }
            let all: u64 = moved.rows.iter().map(|(_, rows)| rows).sum();
            let steps = steps.into_inner().unwrap();
            assert_eq!(steps[0], Step::Counting);
            assert!(
                steps.contains(&Step::Copying(all)) && steps.contains(&Step::Verifying(all)),
                "{steps:?}"
            );
            let store = Store::open(target).await.unwrap();
            assert_eq!(store.applied(), 7);
            assert_eq!(seen(&store).await, before);
            assert_eq!(values(&store).await, VALUES);
            let notes = store.notes(TENANT, 1).await.unwrap();
            assert_eq!(notes.iter().map(|note| &*note.text).collect::<Vec<_>>(), [SERVICE, SERVICE]);
            assert_eq!(store.names().find_services(TENANT, SERVICE).len(), 1);
            let next = Commit { lsn: 8, logs: vec![log(5)], spans: vec![span(1, 6)], ..Commit::default() };
            assert_eq!(store.commit(next).await.unwrap().log_ids, [day().row(69)]);
            assert_eq!(count(&store, "SELECT spans FROM traces").await, 71);
            store.stop().await;
        });
    }
}

#[test]
fn a_move_that_fails_leaves_nothing_behind_and_one_into_rows_is_refused() {
    run(async {
        let (from, to) = (Home::sqlite(), Home::postgres());
        let store = from.open().await;
        fill(&store).await;
        store.stop().await;
        let (source, target) = (from.options(), to.options());
        let relocate =
            async || Store::relocate(source.database.path().unwrap(), &target, &|_: Step| {}).await;

        let leader = to.open().await;
        let led = relocate().await.unwrap_err();
        assert!(matches!(led, Error::NotMoved(Refusal::Led)), "{led}");
        leader.stop().await;

        tamper(&target, "ALTER TABLE applied ADD CONSTRAINT stop CHECK (lsn < 2)").await;
        let failed = relocate().await.unwrap_err();
        assert!(matches!(failed, Error::Statement(_)), "{failed}");
        let store = to.open().await;
        for table in ["tenants", "services", "spans", "rollups", "partitions", "unrolled", "applied"] {
            assert_eq!(count(&store, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        store.stop().await;

        tamper(&target, "ALTER TABLE applied DROP CONSTRAINT stop").await;
        assert_eq!(relocate().await.unwrap().applied, 7);
        let again = relocate().await.unwrap_err();
        assert!(matches!(again, Error::NotMoved(Refusal::NotEmpty { table: "tenants" })), "{again}");
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (900, 'later', true, x'00', 0)";
        tamper(&source, later).await;
        let newer = relocate().await.unwrap_err();
        assert!(matches!(newer, Error::Newer { found: 900, .. }), "{newer}");
    });
}
