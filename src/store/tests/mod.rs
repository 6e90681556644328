//! The contract of the store: the same tests on SQLite and on Postgres.

mod anomalies;
mod flushing;
mod folds;
mod forgetting;
pub(in crate::store) mod home;
mod investigations;
mod keys;
mod points;
mod refusals;
mod relocating;
mod retiring;
mod schemas;
mod series_hours;
#[path = "../../../tests/it/postgres/server.rs"]
#[expect(dead_code, reason = "tests of the whole server use the rest")]
pub(in crate::store) mod server;
mod stopping;

use std::sync::Arc;

use bytes::Bytes;

use self::home::{Home, beside, on_both, run};
use super::Store;
use super::blocks::Block;
use super::day::Day;
use super::error::Error;
use super::options::Options;
use super::read::rollups::RollupKind;
use super::rollups;
use super::rows::{Commit, LogRow, PointRow, SeriesDefinition, SpanRow, TemplateRow};
use super::sql::Dialect;
use crate::fault::Kind;
use crate::model::id::{
    InstrumentationId, OperationId, ResourceId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId,
};
use crate::model::log::{LogDetail, Severity};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::rollup::{COARSE_SECONDS, Cell, FINE_SECONDS, HOUR_SECONDS, Observation, Seen, Subject};
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;

const START: i64 = 1_800_000_000;
const TENANT: TenantNumber = TenantNumber(1);

fn day() -> Day {
    Day::of(at(0))
}

fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(START + seconds)
}

fn trace(number: u8) -> TraceId {
    TraceId::try_from(&[number; 16][..]).unwrap()
}

fn span_id(number: u8) -> SpanId {
    SpanId::try_from(&[number; 8][..]).unwrap()
}

fn span(trace_number: u8, number: u8) -> SpanRow {
    let mut packer = Packer::default();
    packer.attribute_int(9, "number", number.into());
    let start = at(number.into());
    SpanRow {
        tenant: TENANT,
        trace_key: TraceKey::new(at(0), TENANT, trace(trace_number)),
        trace_id: trace(trace_number),
        span_id: span_id(number),
        parent_id: Some(span_id(200)),
        service: ServiceId(1),
        operation: OperationId(number.into()),
        resource: ResourceId(1),
        instrumentation: InstrumentationId(1),
        kind: SpanKind::SERVER,
        status: Status::Unset,
        entry: true,
        http_status: 200,
        dependency: None,
        start,
        duration_ns: 5,
        detail: SpanDetail::from_checked(packer.finish()),
    }
}

fn log(number: u8) -> LogRow {
    LogRow {
        tenant: TENANT,
        time: at(number.into()),
        severity: Severity::WARN,
        service: ServiceId(1),
        resource: ResourceId(1),
        instrumentation: InstrumentationId(1),
        template: TemplateId(3),
        trace_id: Some(trace(1)),
        span_id: None,
        detail: LogDetail::from_checked(Bytes::copy_from_slice(&[8 << 3 | 5, number, 0, 0, 0])),
    }
}

fn template(tenant: TenantNumber, service: ServiceId) -> TemplateRow {
    TemplateRow {
        id: TemplateId(3),
        tenant,
        service,
        text: "paid in <*>".to_owned(),
        sample: "paid in 7".to_owned(),
        first_seen: at(2),
    }
}

fn point(series: &Arc<SeriesDefinition>, seconds: i64, value: PointValue) -> PointRow {
    let point = Point {
        time: at(seconds),
        start: UnixNanos(0),
        attributes: Attributes::default(),
        value,
        detail: PointDetail::default(),
    };
    PointRow {
        tenant: TENANT,
        service: ServiceId(1),
        resource: ResourceId(1),
        instrumentation: InstrumentationId(1),
        series: Arc::clone(series),
        point,
    }
}

fn gauge(name: &str) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.into(),
        unit: "s".into(),
        description: "how long".into(),
        metadata: Attributes::default(),
        kind: MetricKind::Gauge,
        temporality: Temporality::None,
        monotonic: false,
    })
}

fn counter(name: &str) -> Arc<SeriesDefinition> {
    let temporality = Temporality::Cumulative;
    let counter =
        SeriesDefinition { kind: MetricKind::Sum, temporality, monotonic: true, ..(*gauge(name)).clone() };
    Arc::new(counter)
}

fn call(seconds: i64, operation: u32, duration_ns: u64) -> (TenantNumber, Observation) {
    let seen = Seen::Call { duration_ns, caller_ns: duration_ns, error: duration_ns.is_multiple_of(3) };
    (TENANT, Observation { subject: Subject::Operation(OperationId(operation)), at: at(seconds), seen })
}

/// Every row of a table as text, in the order of the rows' text. `hex(…)` and `text(…)` are written for either
/// database; a value that is missing is `-`.
async fn table(store: &Store, sql: &str) -> Vec<String> {
    let reader = store.reader().await.unwrap();
    let mut sql = sql.to_owned();
    for (function, sqlite, postgres) in [
        ("hex(", ("upper(hex(", "))"), ("upper(encode(", ", 'hex'))")),
        ("text(", ("coalesce(CAST(", " AS TEXT), '-')"), ("coalesce(CAST(", " AS TEXT), '-')")),
    ] {
        let (before, after) = if reader.dialect() == Dialect::Sqlite { sqlite } else { postgres };
        while let Some(at) = sql.find(&format!(" {function}")) {
            let end = at + sql[at..].find(')').unwrap();
            let column = sql[at + 1 + function.len()..end].to_owned();
            sql.replace_range(at + 1..=end, &format!("{before}{column}{after}").replace(function, "\u{1}"));
        }
        sql = sql.replace('\u{1}', function);
    }
    let (mut reader, sql) = {
        let sql = reader.sql(sql);
        (reader, sql)
    };
    let mut rows = reader.all(sql, |row| row.get::<String>(0)).await.unwrap();
    reader.finish().await.unwrap();
    rows.sort();
    rows
}

async fn traces(store: &Store) -> Vec<String> {
    table(
        store,
        "SELECT concat_ws(' ', day, trace_key, hex(trace_id), text(root_operation_id), text(root_start_ns), \
         first_operation_id, start_ns, end_ns, spans, errors) FROM traces",
    )
    .await
}

/// Every cell as questions see it: width, bucket, kind, ids and sums.
async fn stored_cells(store: &Store) -> Vec<String> {
    let kinds = [RollupKind::Operation, RollupKind::Instance, RollupKind::Edge, RollupKind::Logs];
    let always = Window::new(UnixNanos(i64::MIN), UnixNanos(i64::MAX));
    let mut rows = Vec::new();
    for tenant in store.rollup_tenants().await.unwrap() {
        for width in [FINE_SECONDS, COARSE_SECONDS, HOUR_SECONDS] {
            for (bucket, subject, cell) in store.rollups(tenant, width, always, &kinds).await.unwrap() {
                let [kind, a, b, c] = rollups::columns(subject);
                let mut sketch = Vec::new();
                cell.sketch.encode(&mut sketch);
                let sketch: String = sketch.iter().map(|byte| format!("{byte:02X}")).collect();
                let Cell { count, errors, sum_ns, max_ns, other_ns, answered, .. } = cell;
                rows.push(format!(
                    "{width} {bucket} {kind} {a} {b} {c} {count} {errors} {sum_ns} {max_ns} {other_ns} {answered} \
                     {sketch}"
                ));
            }
        }
    }
    rows.sort();
    rows
}

/// Width and count of every cell.
async fn cell_counts(store: &Store) -> Vec<String> {
    let cells = stored_cells(store).await;
    let parts = cells.iter().map(|cell| cell.split(' ').collect::<Vec<_>>());
    parts.map(|parts| format!("{} {}", parts[0], parts[6])).collect()
}

async fn count(store: &Store, sql: &str) -> i64 {
    let mut reader = store.reader().await.unwrap();
    let sql = reader.sql(sql);
    let number = reader.first(sql, |row| row.get::<i64>(0)).await.unwrap().unwrap();
    reader.finish().await.unwrap();
    number
}

#[test]
fn a_commit_is_there_after_a_restart() {
    on_both(async |home: Home| {
        let store = home.open().await;
        assert_eq!(store.applied(), 0);
        let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
        assert_eq!(tenant, TENANT);
        let service = store.names().service(tenant, NodeKind::Service, "shop", at(0));
        store.names().operation(tenant, service, SpanKind::SERVER, "pay", at(1));
        let template = template(tenant, service);
        let commit = Commit {
            lsn: 40,
            spans: (1..=5).map(|number| span(1, number)).collect(),
            logs: (1..=3).map(log).collect(),
            points: vec![point(&gauge("load"), 1, PointValue::Double(0.5))],
            cells: [call(1, 1, 5)].into_iter().collect(),
            templates: vec![template.clone()],
            ..Commit::default()
        };
        let committed = store.commit(commit).await.unwrap();
        assert_eq!(committed.log_ids, [1, 2, 3].map(|id| day().row(id)));
        assert_eq!(store.sync().await.unwrap(), 40);
        let store = home.reopen(store).await;
        assert_eq!(store.applied(), 40);
        assert_eq!(store.names().find_services(tenant, "shop")[0].id, service);
        assert_eq!(&*store.names().operations_of(service)[0].name, "pay");
        let mut reader = store.reader().await.unwrap();
        let sql = reader.sql("SELECT front, rest FROM span_blocks");
        let details = reader.first(sql, |row| Ok([row.get::<&[u8]>(0)?, row.get::<&[u8]>(1)?].concat()));
        let details = details.await.unwrap().unwrap();
        reader.finish().await.unwrap();
        let expected: Vec<Bytes> = (1..=5).map(|number| span(1, number).detail.as_bytes().clone()).collect();
        assert_eq!(Block::open(&details).unwrap().all().unwrap(), expected);
        let spots =
            table(&store, "SELECT concat_ws(' ', b.id, b.rows, s.id) FROM span_blocks AS b, spans AS s")
                .await;
        assert_eq!(spots, ["1 5 1", "1 5 2", "1 5 3", "1 5 4", "1 5 5"]);
        let wider = TemplateRow { text: "<*> in <*>".to_owned(), first_seen: at(3), ..template };
        let next = Commit { lsn: 41, logs: vec![log(9)], templates: vec![wider], ..Commit::default() };
        assert_eq!(store.commit(next).await.unwrap().log_ids, [day().row(4)]);
        let templates = table(&store, "SELECT concat_ws(' ', text, first_seen) FROM templates").await;
        assert_eq!(templates, [format!("<*> in <*> {}", at(2).0)]);
        assert_eq!(count(&store, "SELECT max(id) FROM log_blocks").await, 4);
        store.stop().await;
        let stopped = store.commit(Commit { lsn: 42, ..Commit::default() }).await.unwrap_err();
        assert_eq!(stopped.kind(), Kind::Unavailable);
        assert!(matches!(store.recall(TENANT, &[(trace(1), at(0))]).await, Err(Error::Stopped)));
    });
}

#[test]
fn positions_only_move_forward() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.commit(Commit { lsn: 7, ..Commit::default() }).await.unwrap();
        store.commit(Commit { lsn: 7, spans: vec![span(1, 1)], ..Commit::default() }).await.unwrap();
        let behind = store.commit(Commit { lsn: 6, ..Commit::default() }).await.unwrap_err();
        assert!(matches!(behind, Error::Behind { lsn: 6, applied: 7 }));
        let too_far = store.commit(Commit { lsn: u64::MAX, ..Commit::default() }).await.unwrap_err();
        assert_eq!(too_far.kind(), Kind::Internal);
        assert_eq!(store.applied(), 7);
    });
}

#[test]
fn a_newer_schema_is_refused() {
    on_both(async |home: Home| {
        let options = Options { automigrate: false, ..home.options() };
        let older = Store::open(options).await.unwrap_err();
        assert!(matches!(older, Error::Older { found: 0, .. }), "{older}");
        home.open().await.stop().await;
        let migrations = Store::migrations(&home.options().database).await.unwrap();
        assert!(!migrations.is_empty() && migrations.iter().all(|migration| migration.applied));
        let bytes = if home.dialect() == Dialect::Sqlite { "x'00'" } else { "'\\x00'::bytea" };
        let later = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (900, 'later', true, {bytes}, 0)"
        );
        tamper(&home.options(), &later).await;
        let newer = Store::open(home.options()).await.unwrap_err();
        assert!(newer.to_string().contains("schema 900"), "{newer}");
    });
    run(async {
        let nowhere = Store::open(Options::at("/proc/none/store.db")).await.unwrap_err();
        assert!(matches!(nowhere, Error::Directory { .. }));
    });
}

/// Runs a statement behind the store's back.
async fn tamper(options: &Options, sql: &str) {
    let mut connection = beside(options).await;
    let sql = connection.sql(sql);
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_failed_commit_changes_nothing_and_counts_once_when_retried() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
        let service = store.names().service(tenant, NodeKind::Service, "shop", at(0));
        let series = gauge("load");
        let commit = |lsn| {
            Arc::new(Commit {
                lsn,
                spans: vec![span(1, 1), span(1, 2)],
                logs: vec![log(1)],
                points: vec![point(&series, 1, PointValue::Int(4))],
                cells: [call(1, 1, 6), call(2, 1, 9)].into_iter().collect(),
                ..Commit::default()
            })
        };
        store.commit(commit(1)).await.unwrap();
        let before = (traces(&store).await, stored_cells(&store).await);
        let options = home.options();
        let stop = match home.dialect() {
            Dialect::Sqlite => {
                "CREATE TRIGGER stop BEFORE UPDATE ON applied BEGIN SELECT raise(ABORT, 'stop'); END"
            }
            Dialect::Postgres => "ALTER TABLE applied ADD CONSTRAINT stop CHECK (lsn < 2)",
        };
        tamper(&options, stop).await;
        let late = store.names().service(tenant, NodeKind::Service, "late", at(0));
        let second = commit(2);
        for _ in 0..2 {
            let error = store.commit(Arc::clone(&second)).await.unwrap_err();
            assert!(matches!(error, Error::Statement(_)), "{error:?}");
        }
        assert_eq!((traces(&store).await, stored_cells(&store).await), before);
        assert_eq!(store.applied(), 1);
        let go_on = match home.dialect() {
            Dialect::Sqlite => "DROP TRIGGER stop",
            Dialect::Postgres => "ALTER TABLE applied DROP CONSTRAINT stop",
        };
        tamper(&options, go_on).await;
        assert_eq!(store.commit(second).await.unwrap().log_ids, [day().row(2)]);
        let cells = stored_cells(&store).await;
        assert!(cells.iter().all(|cell| cell.contains(" 0 1 0 0 4 4 30 9 ")), "{cells:?}");
        assert_eq!(count(&store, "SELECT spans FROM traces").await, 4);
        assert_eq!(count(&store, "SELECT count(*) FROM spans").await, 4);
        let seqs = table(&store, "SELECT concat_ws(' ', seq, int_value) FROM points").await;
        assert_eq!(seqs, ["1 4", "2 4"]);
        let store = home.reopen(store).await;
        let ids: Vec<_> = store.names().services_of(tenant).iter().map(|service| service.id).collect();
        assert_eq!(ids, [late, service]);
    });
}

#[test]
fn d10_a_commit_whose_end_was_lost_is_looked_for() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.names().tenant(&TenantId::try_from("acme").unwrap());
        let commit =
            |lsn| Arc::new(Commit { lsn, cells: [call(1, 1, 6)].into_iter().collect(), ..Commit::default() });
        let answer = store.commit(commit(1)).await.unwrap();
        // As if the answer to the first commit had been lost: memory knows nothing of it.
        store.inner.applied.store(0, std::sync::atomic::Ordering::Release);
        let doubt = super::commit::Slot::InDoubt { lsn: 1, committed: answer.clone() };
        *store.inner.writer.lock().await = doubt;
        // Nobody else may settle it: the commit would be taken for new when it is tried again.
        assert!(matches!(store.partitions().await, Err(Error::InDoubt)));
        assert_eq!(store.commit(commit(1)).await.unwrap(), answer);
        assert_eq!(store.applied(), 1);
        // One that did not land is written when it is tried again.
        *store.inner.writer.lock().await = super::commit::Slot::InDoubt { lsn: 2, committed: answer };
        store.commit(commit(2)).await.unwrap();
        assert_eq!(cell_counts(&store).await, ["10 2", "60 2"]);
    });
}

#[test]
fn d10_a_commit_that_ends_in_a_panic_leaves_no_doubt() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let commit = |lsn| Arc::new(Commit { lsn, logs: vec![log(1)], ..Commit::default() });
        store.commit(commit(1)).await.unwrap();
        // The next row has no number, which is a defect.
        if let super::commit::Slot::Ready(writer) = &mut *store.inner.writer.lock().await {
            writer.next.insert((super::partition::LOGS, day()), i64::MAX);
        }
        let error = store.commit(commit(2)).await.unwrap_err();
        assert!(error.is_of_data() && matches!(error, Error::Lost(_)), "{error:?}");
        // What was not asked to end has not landed: its rows can be tried out one by one.
        store.try_out(commit(2)).await.unwrap();
        assert_eq!(store.commit(commit(2)).await.unwrap().log_ids, [day().row(2)]);
        assert_eq!(count(&store, "SELECT count(*) FROM logs").await, 2);
    });
}

#[test]
fn rows_of_tenants_that_come_mixed_keep_their_details() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let mixed = |number: u8| TenantNumber(1 + u32::from(number) % 3);
        let logs: Vec<LogRow> =
            (0..30).map(|number| LogRow { tenant: mixed(number), ..log(number) }).collect();
        let span = |number: u8| {
            let span = SpanRow { tenant: mixed(number), ..span(number + 1, 1) };
            SpanRow { trace_key: TraceKey::new(at(0), span.tenant, span.trace_id), ..span }
        };
        let spans: Vec<SpanRow> = (0..30).map(span).collect();
        for lsn in 1..=2 {
            let commit = Commit { lsn, logs: logs.clone(), spans: spans.clone(), ..Commit::default() };
            let ids = store.commit(commit).await.unwrap().log_ids;
            for (id, log) in ids.iter().zip(&logs) {
                assert_eq!(store.logs_by_id(log.tenant, &[*id]).await.unwrap()[0].row, *log);
            }
        }
        for span in &spans {
            let stored = store.trace(span.tenant, span.trace_id, 10).await.unwrap().unwrap().spans;
            let details: Vec<_> = stored.iter().map(|stored| stored.detail.as_bytes()).collect();
            assert_eq!(details, [span.detail.as_bytes(); 2]);
        }
    });
}

#[test]
fn traces_of_earlier_commits_are_recalled() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let mut first = span(1, 1);
        first.parent_id = None;
        first.dependency = Some(ServiceId(4));
        first.status = Status::Error;
        // The same trace of another tenant is another trace.
        let mut foreign = span(1, 7);
        foreign.tenant = TenantNumber(2);
        let spans = vec![first.clone(), foreign, span(2, 3), span(1, 2)];
        store.commit(Commit { lsn: 1, spans, ..Commit::default() }).await.unwrap();
        let mut asked: Vec<_> = (3..=250).map(|number| (trace(number), at(0))).collect();
        assert_eq!(store.recall(TENANT, &asked).await.unwrap(), []);
        asked.extend([(trace(1), at(3_599)), (trace(1), at(4_200)), (trace(2), at(11_400))]);
        let found = store.recall(TENANT, &asked).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].trace_id, found[0].key, found[0].truncated), (trace(1), first.trace_key, false));
        let spans = &found[0].spans;
        assert_eq!(spans.iter().map(|span| span.span_id).collect::<Vec<_>>(), [span_id(1), span_id(2)]);
        assert_eq!((spans[0].parent_id, spans[0].dependency), (None, Some(ServiceId(4))));
        assert_eq!((spans[0].status, spans[0].operation), (Status::Error, OperationId(1)));
        assert_eq!((spans[1].parent_id, spans[1].start), (Some(span_id(200)), at(2)));
    });
}

#[test]
fn commits_are_written_in_the_order_of_the_calls() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let many =
            (1..=20).map(|lsn| store.commit(Commit { lsn, spans: vec![span(1, 1)], ..Commit::default() }));
        let mut many: Vec<_> = many.map(Box::pin).collect();
        // Whoever asks first is first, and a call that is given up does not tear its commit.
        for commit in &mut many {
            let waker = std::task::Waker::noop();
            let _ = commit.as_mut().poll(&mut std::task::Context::from_waker(waker));
        }
        drop(many.remove(0));
        for commit in many {
            commit.await.unwrap();
        }
        assert_eq!(store.applied(), 20);
        assert_eq!(count(&store, "SELECT spans FROM traces").await, 20);
    });
}
