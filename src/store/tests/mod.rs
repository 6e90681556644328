mod folds;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::Row;

use super::error::Error;
use super::options::Options;
use super::rows::{Commit, LogRow, PointRow, SeriesDefinition, SpanRow, TemplateRow};
use super::series::SeriesTable;
use super::{Store, blocks};
use crate::fault::Kind;
use crate::model::id::{
    InstrumentationId, OperationId, ResourceId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId,
};
use crate::model::log::{LogDetail, Severity};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::rollup::{Observation, Seen, Subject};
use crate::model::span::{SpanDetail, SpanKind, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::model::trace_key::TraceKey;

const START: i64 = 1_800_000_000;
const TENANT: TenantNumber = TenantNumber(1);

async fn open(directory: &Path) -> Store {
    let options =
        Options { cache_kib: 1_024, mmap_bytes: 0, ..Options::at(directory.join("deep/er/store.db")) };
    Store::open(options).await.unwrap()
}

async fn reopen(store: Store, directory: &Path) -> Store {
    store.stop().await;
    open(directory).await
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
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

fn call(seconds: i64, operation: u32, duration_ns: u64) -> (TenantNumber, Observation) {
    let seen = Seen::Call { duration_ns, caller_ns: duration_ns, error: duration_ns.is_multiple_of(3) };
    (TENANT, Observation { subject: Subject::Operation(OperationId(operation)), at: at(seconds), seen })
}

/// Every row of a table as text, in the order of its columns.
async fn table(store: &Store, sql: &'static str) -> Vec<String> {
    let rows = sqlx::query(sql).fetch_all(store.readers()).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

async fn traces(store: &Store) -> Vec<String> {
    table(
        store,
        "SELECT concat_ws(' ', trace_key, hex(trace_id), ifnull(root_operation_id, '-'), ifnull(root_start_ns, '-'), \
         first_operation_id, start_ns, end_ns, spans, errors) FROM traces ORDER BY 1",
    )
    .await
}

async fn stored_cells(store: &Store) -> Vec<String> {
    table(
        store,
        "SELECT concat_ws(' ', width, bucket, kind, a, b, c, count, errors, sum_ns, max_ns, other_ns, answered, \
         hex(sketch)) FROM rollups ORDER BY 1",
    )
    .await
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(store.readers()).await.unwrap()
}

#[test]
fn a_commit_is_there_after_a_restart() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        assert_eq!(store.applied(), 0);
        let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
        assert_eq!(tenant, TENANT);
        let service = store.names().service(tenant, NodeKind::Service, "shop", at(0));
        store.names().operation(tenant, service, SpanKind::SERVER, "pay", at(1));
        let template = TemplateRow {
            id: TemplateId(3),
            tenant,
            service,
            text: "paid in <*>".to_owned(),
            sample: "paid in 7".to_owned(),
            first_seen: at(2),
        };
        let commit = Commit {
            lsn: 40,
            spans: (1..=5).map(|number| span(1, number)).collect(),
            logs: (1..=3).map(log).collect(),
            points: vec![point(&gauge("load"), 1, PointValue::Double(0.5))],
            observations: vec![call(1, 1, 5)],
            templates: vec![template.clone()],
        };
        let committed = store.commit(commit).await.unwrap();
        assert_eq!((committed.first_log_id, committed.log_ids.as_slice()), (1, &[1, 2, 3][..]));
        assert_eq!(store.sync().await.unwrap(), 40);
        let store = reopen(store, directory.path()).await;
        assert_eq!(store.applied(), 40);
        assert_eq!(store.names().find_services(tenant, "shop")[0].id, service);
        assert_eq!(&*store.names().operations_of(service)[0].name, "pay");
        let details: Vec<u8> = sqlx::query_scalar("SELECT data FROM blocks WHERE signal = 0")
            .fetch_one(store.readers())
            .await
            .unwrap();
        let expected: Vec<Bytes> = (1..=5).map(|number| span(1, number).detail.as_bytes().clone()).collect();
        assert_eq!(blocks::decode(&details).unwrap(), expected);
        let spots = table(&store, "SELECT concat_ws(' ', block_id, block_row) FROM spans ORDER BY id").await;
        assert_eq!(spots, ["1 0", "1 1", "1 2", "1 3", "1 4"]);
        let wider = TemplateRow { text: "<*> in <*>".to_owned(), first_seen: at(3), ..template };
        let next = Commit { lsn: 41, logs: vec![log(9)], templates: vec![wider], ..Commit::default() };
        assert_eq!(store.commit(next).await.unwrap().log_ids, [4]);
        let templates = table(&store, "SELECT concat_ws(' ', text, first_seen) FROM templates").await;
        assert_eq!(templates, [format!("<*> in <*> {}", at(2).0)]);
        assert_eq!(count(&store, "SELECT block_id FROM logs WHERE id = 4").await, 3);
        store.stop().await;
        let stopped = store.commit(Commit { lsn: 42, ..Commit::default() }).await.unwrap_err();
        assert_eq!(stopped.kind(), Kind::Unavailable);
        assert!(matches!(store.recall(TENANT, &[(trace(1), at(0))]).await, Err(Error::Stopped)));
    });
}

#[test]
fn positions_only_move_forward() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
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
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let options = Options { automigrate: false, ..Options::at(&path) };
        let older = Store::open(options).await.unwrap_err();
        assert!(matches!(older, Error::Older { found: 0, .. }), "{older}");
        let store = Store::open(Options::at(&path)).await.unwrap();
        store.stop().await;
        let mut connection = super::open::reconnect(&Options::at(&path)).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (900, 'later', 0, 1, x'00', 0)")
            .execute(&mut connection)
            .await
            .unwrap();
        let newer = Store::open(Options::at(&path)).await.unwrap_err();
        assert!(newer.to_string().contains("schema 900"), "{newer}");
        let nowhere = Store::open(Options::at("/proc/none/store.db")).await.unwrap_err();
        assert!(matches!(nowhere, Error::Directory { .. }));
    });
}

#[test]
fn a_failed_commit_changes_nothing_and_counts_once_when_retried() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
        let service = store.names().service(tenant, NodeKind::Service, "shop", at(0));
        let series = gauge("load");
        let commit = |lsn| {
            Arc::new(Commit {
                lsn,
                spans: vec![span(1, 1), span(1, 2)],
                logs: vec![log(1)],
                points: vec![point(&series, 1, PointValue::Int(4))],
                observations: vec![call(1, 1, 6), call(2, 1, 9)],
                templates: Vec::new(),
            })
        };
        store.commit(commit(1)).await.unwrap();
        let before = (traces(&store).await, stored_cells(&store).await);
        let tamper = |sql: &'static str| {
            let options = store.inner.options.clone();
            async move {
                let mut connection = super::open::reconnect(&options).await.unwrap();
                sqlx::query(sql).execute(&mut connection).await.unwrap();
            }
        };
        tamper("CREATE TRIGGER stop BEFORE UPDATE ON applied BEGIN SELECT raise(ABORT, 'stop'); END").await;
        let late = store.names().service(tenant, NodeKind::Service, "late", at(0));
        let second = commit(2);
        for _ in 0..2 {
            let error = store.commit(Arc::clone(&second)).await.unwrap_err();
            assert!(matches!(error, Error::Statement(_)), "{error:?}");
        }
        assert_eq!((traces(&store).await, stored_cells(&store).await), before);
        assert_eq!(store.applied(), 1);
        tamper("DROP TRIGGER stop").await;
        assert_eq!(store.commit(second).await.unwrap().log_ids, [2]);
        let cells = stored_cells(&store).await;
        assert!(cells.iter().all(|cell| cell.contains(" 0 1 0 0 4 4 30 9 ")), "{cells:?}");
        assert_eq!(count(&store, "SELECT spans FROM traces").await, 4);
        assert_eq!(count(&store, "SELECT count(*) FROM spans").await, 4);
        assert_eq!(count(&store, "SELECT group_concat(seq) = '0,1' FROM points").await, 1);
        let store = reopen(store, directory.path()).await;
        let ids: Vec<_> = store.names().services_of(tenant).iter().map(|service| service.id).collect();
        assert_eq!(ids, [late, service]);
    });
}

#[test]
fn a_commit_whose_end_was_lost_is_looked_for() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        store.names().tenant(&TenantId::try_from("acme").unwrap());
        let commit = |lsn| Arc::new(Commit { lsn, observations: vec![call(1, 1, 6)], ..Commit::default() });
        let answer = store.commit(commit(1)).await.unwrap();
        // As if the answer to the first commit had been lost: memory knows nothing of it.
        store.inner.applied.store(0, std::sync::atomic::Ordering::Release);
        let doubt = super::commit::Slot::InDoubt { lsn: 1, committed: answer.clone() };
        *store.inner.writer.lock().await = doubt;
        assert_eq!(store.commit(commit(1)).await.unwrap(), answer);
        assert_eq!(store.applied(), 1);
        // One that did not land is written when it is tried again.
        *store.inner.writer.lock().await = super::commit::Slot::InDoubt { lsn: 2, committed: answer };
        store.commit(commit(2)).await.unwrap();
        assert_eq!(count(&store, "SELECT sum(count) FROM rollups WHERE width = 10").await, 2);
    });
}

#[test]
fn points_are_kept_with_their_values() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let series = gauge("load");
        let nan = f64::from_bits(0x7ff8_0000_0000_0abc);
        let values = [
            PointValue::Gap,
            PointValue::Int(-3),
            PointValue::Double(1.5),
            PointValue::Double(nan),
            PointValue::Double(f64::NEG_INFINITY),
            PointValue::Distribution { count: 4, sum: None },
            PointValue::Distribution { count: 5, sum: Some(2.5) },
        ];
        let points = (0..).zip(values).map(|(second, value)| point(&series, second, value)).collect();
        store.commit(Commit { lsn: 1, points, ..Commit::default() }).await.unwrap();
        let rows = table(
            &store,
            "SELECT concat_ws(' ', flags, ifnull(int_value, '-'), ifnull(real_value, '-'), ifnull(count, '-')) \
             FROM points ORDER BY time_ns",
        )
        .await;
        let nan = format!("2 {} - -", nan.to_bits());
        assert_eq!(
            rows,
            ["1 - - -", "0 -3 - -", "0 - 1.5 -", nan.as_str(), "0 - -Inf -", "0 - - 4", "0 - 2.5 5"]
        );
        // Again, and again after a restart, with another series between: all are kept.
        let again = |lsn| {
            let other = gauge("other");
            let points = vec![
                point(&series, 1, PointValue::Int(1)),
                point(&other, 1, PointValue::Int(1)),
                point(&series, 1, PointValue::Int(2)),
                point(&series, 9, PointValue::Int(2)),
            ];
            Commit { lsn, points, ..Commit::default() }
        };
        store.commit(again(2)).await.unwrap();
        let store = reopen(store, directory.path()).await;
        store.commit(again(3)).await.unwrap();
        let seqs = table(
            &store,
            "SELECT concat_ws(' ', series_id, group_concat(seq)) FROM points WHERE time_ns IN \
             (1800000001000000000, 1800000009000000000) GROUP BY series_id, time_ns ORDER BY series_id, time_ns",
        )
        .await;
        assert_eq!(seqs, ["1 0,1,2,3,4", "1 0,1", "2 0,1"]);
        assert_eq!(count(&store, "SELECT count(*) FROM series").await, 2);
    });
}

#[test]
fn traces_of_earlier_commits_are_recalled() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
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
        asked.extend([(trace(1), at(599)), (trace(1), at(700)), (trace(2), at(1_900))]);
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
fn past_a_limit_new_series_share_one() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
        let mut connection = super::open::reconnect(&store.inner.options).await.unwrap();
        let mut table = SeriesTable::start(&mut connection, 2).await.unwrap();
        let points: Vec<_> =
            ["a", "b", "c", "d"].map(|name| point(&gauge(name), 1, PointValue::Int(1))).into();
        let staged = table.write(&mut connection, &points).await.unwrap();
        assert_eq!(staged.overflowed, 2);
        table.take(staged);
        let mut table = SeriesTable::start(&mut connection, 2).await.unwrap();
        let staged = table.write(&mut connection, &points[1..]).await.unwrap();
        assert_eq!(staged.overflowed, 2);
        table.take(staged);
        let counts = self::table(
            &store,
            "SELECT concat_ws(' ', s.name, count(*)) FROM points p JOIN series s ON s.id = p.series_id \
             GROUP BY s.id ORDER BY s.id",
        )
        .await;
        assert_eq!(counts, ["a 1", "b 2", "__overflow__ 4"]);
    });
}

#[test]
fn commits_are_written_in_the_order_of_the_calls() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).await;
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
