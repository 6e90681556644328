//! Days are made, given up and reclaimed, and come back, on either database.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::home::{Home, beside, on_both, run};
use super::{TENANT, at, call, cell_counts, count, gauge, log, point, span, stored_cells};
use crate::model::id::OperationId;
use crate::model::metric::PointValue;
use crate::model::rollup::{COARSE_SECONDS, HOUR_SECONDS, Subject};
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};
use crate::model::trace_key::TraceKey;
use crate::store::Store;
use crate::store::day::Day;
use crate::store::partition::{Family, Partition};
use crate::store::read::rollups::RollupKind;
use crate::store::retire::Reclaimed;
use crate::store::rows::Commit;

const DAY: i64 = 86_400;

/// A commit with something of every kind on each of the days `0..days` after the start.
fn of_days(lsn: u64, days: i64) -> Commit {
    let cells = (0..days).map(|day| call(day * DAY, 1, 5)).collect();
    let mut commit = Commit { lsn, cells, ..Commit::default() };
    let series = gauge("load");
    for day in 0..days {
        let mut span = span(1, 1);
        span.start = at(day * DAY);
        span.trace_key = TraceKey::new(span.start, TENANT, span.trace_id);
        let mut log = log(1);
        log.time = at(day * DAY);
        commit.spans.push(span);
        commit.logs.push(log);
        commit.points.push(point(&series, day * DAY, PointValue::Int(day)));
    }
    commit
}

pub(super) async fn reclaim_all(store: &Store, now: UnixNanos) {
    loop {
        store.read_ahead().await.unwrap();
        if store.reclaim(now).await.unwrap() != Reclaimed::Step {
            break;
        }
    }
}

async fn rows(store: &Store) -> [i64; 5] {
    let mut rows = [0; 5];
    for (row, name) in rows.iter_mut().zip(["spans", "traces", "logs", "points"]) {
        *row = count(store, &format!("SELECT count(*) FROM {name}")).await;
    }
    rows[4] = stored_cells(store).await.len() as i64;
    rows
}

#[test]
fn what_is_given_up_is_gone_and_its_space_comes_back() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.commit(of_days(1, 3)).await.unwrap();
        assert_eq!(rows(&store).await, [3, 3, 3, 3, 6]);
        let first = Day::of(at(0));
        let partitions = store.partitions().await.unwrap();
        assert_eq!(partitions.len(), 15);
        let old: Vec<Partition> =
            partitions.iter().copied().filter(|partition| partition.day == first).collect();
        let now = at(9 * DAY);
        assert_eq!(store.retire(&old, now).await.unwrap(), 5);
        assert_eq!(store.retire(&old, now).await.unwrap(), 0);
        assert_eq!(store.partitions().await.unwrap().len(), 10);
        assert_eq!(store.counts(None).await.unwrap().spans, 2);
        assert_eq!(store.rows_behind().await.unwrap(), 2, "a span and a log record");
        assert!(store.trace(TENANT, span(1, 1).trace_id, 10).await.unwrap().unwrap().spans.len() == 2);
        // After a restart too; and questions that began before are let finish.
        let store = home.reopen(store).await;
        assert_eq!(store.partitions().await.unwrap().len(), 10);
        reclaim_all(&store, now).await;
        reclaim_all(&store, now.plus(Duration::from_secs(120))).await;
        assert_eq!(store.reclaim(now).await.unwrap(), Reclaimed::Done);
        assert_eq!(store.rows_behind().await.unwrap(), 0);
        assert_eq!(rows(&store).await, [2, 2, 2, 2, 4]);
        let kept = count(&store, "SELECT count(*) FROM partitions").await;
        assert_eq!(kept, 10);
    });
}

#[test]
fn a_day_that_was_given_up_can_come_again() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.commit(of_days(1, 1)).await.unwrap();
        let all = store.partitions().await.unwrap();
        store.retire(&all, at(0)).await.unwrap();
        // Half way through, new rows of the day arrive.
        store.reclaim(at(0)).await.unwrap();
        store.commit(of_days(2, 1)).await.unwrap();
        reclaim_all(&store, at(DAY)).await;
        assert_eq!(rows(&store).await, [1, 1, 1, 1, 2]);
        assert_eq!(cell_counts(&store).await, ["10 1", "60 1"], "what was given up is not added up again");
        let logs = store.logs_after(Day::of(at(0)).row(0), 10).await.unwrap();
        assert_eq!(logs.len(), 1);
    });
}

#[test]
fn days_can_be_made_ahead() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let days: Vec<Partition> = (0..3)
            .flat_map(|ahead| Family::ALL.map(|family| Partition { family, day: Day::of(at(0)).plus(ahead) }))
            .filter(|partition| partition.family.days() == 1)
            .collect();
        assert_eq!(store.prepare(&days).await.unwrap(), 15);
        assert_eq!(store.prepare(&days).await.unwrap(), 0);
        store.commit(of_days(1, 3)).await.unwrap();
        assert_eq!(store.partitions().await.unwrap().len(), 15);
        assert_eq!(rows(&store).await, [3, 3, 3, 3, 6]);
    });
}

/// As a dump or a long report does.
#[test]
fn who_reads_all_days_keeps_none_from_being_made_and_one_that_goes_waits_for_them() {
    run(async {
        let home = Home::postgres();
        let store = home.open().await;
        store.commit(of_days(1, 1)).await.unwrap();
        let old = store.partitions().await.unwrap();
        store.retire(&old, at(0)).await.unwrap();
        let mut report = beside(&home.options()).await;
        report.begin().await.unwrap();
        for table in ["spans", "logs", "points", "rollups_10s", "rollups", "series_hours"] {
            report.execute(report.sql(format!("SELECT count(*) FROM {table}"))).await.unwrap();
        }
        let began = Instant::now();
        let next: Vec<Partition> =
            Family::ALL.iter().map(|family| family.partition(Day::of(at(100 * DAY)))).collect();
        assert_eq!(store.prepare(&next).await.unwrap(), 7);
        // A commit makes what it needs as well.
        let mut log = log(1);
        log.time = at(50 * DAY);
        store.commit(Commit { lsn: 2, logs: vec![log], ..Commit::default() }).await.unwrap();
        assert_eq!(store.reclaim(at(DAY)).await.unwrap(), Reclaimed::Waiting);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "commits waited for {took:?}");
        report.roll_back().await.unwrap();
        reclaim_all(&store, at(DAY)).await;
        assert_eq!(store.reclaim(at(DAY)).await.unwrap(), Reclaimed::Done);
    });
}

/// The cells of an hour and more, asked for in every way, before and after hours were added up and minutes given up.
#[test]
fn hours_are_added_up_from_minutes_and_again_when_late_telemetry_comes() {
    on_both(async |home: Home| {
        let store = home.open().await;
        assert_eq!(store.names().tenant(&TenantId::try_from("acme").unwrap()), TENANT);
        let observations: Vec<_> =
            (0..600).map(|number| call(number * 37, (number % 5) as u32, number as u64 * 1_000)).collect();
        let commit = |lsn, observations: &[_]| Commit {
            lsn,
            cells: observations.iter().copied().collect(),
            ..Commit::default()
        };
        store.commit(commit(1, &observations[..400])).await.unwrap();
        let kinds = [RollupKind::Operation];
        let windows = [(0, 22_200), (60, 22_200), (1_800, 9_000), (3_000, 21_660)];
        let merged = async |store: &Store| {
            let mut answers = Vec::new();
            for (from, to) in windows {
                let window = Window::new(at(from), at(to));
                let cells = store.merged_rollups(TENANT, COARSE_SECONDS, window, &kinds).await.unwrap();
                let ask = (&kinds[..], &BTreeSet::from([2]));
                let about = store.merged_rollups_about(TENANT, COARSE_SECONDS, window, ask).await.unwrap();
                let own = cells.get_key_value(&Subject::Operation(OperationId(2)));
                assert_eq!((about.iter().next(), about.len()), (own, 1));
                let mut steps = store.timeline(TENANT, HOUR_SECONDS, window, &kinds).await.unwrap();
                steps.sort_by_key(|(bucket, subject, _)| (*bucket, *subject));
                answers.push((cells, steps));
            }
            answers
        };
        let now = at(40_000);
        assert_eq!(store.roll_up_hours(at(3_600)).await.unwrap(), 0, "no hour is over for long enough");
        let before = merged(&store).await;
        assert_eq!(store.roll_up_hours(now).await.unwrap(), 5);
        assert_eq!(store.roll_up_hours(now).await.unwrap(), 0);
        assert_eq!(merged(&store).await, before);
        store.commit(commit(2, &observations[400..])).await.unwrap();
        store.commit(commit(3, &observations[..10])).await.unwrap();
        let late = merged(&store).await;
        let store = home.reopen(store).await;
        assert_eq!(store.roll_up_hours(now).await.unwrap(), 4);
        assert_eq!(merged(&store).await, late);
        let hour = count(&store, "SELECT CAST(sum(count) AS BIGINT) FROM rollups WHERE width = 3600").await;
        assert_eq!(hour, 610);
        // Without minutes, hours answer; those that a window cuts count whole.
        let minutes = store.partitions().await.unwrap();
        let minutes: Vec<_> =
            minutes.into_iter().filter(|partition| partition.family == Family::Minute).collect();
        store.retire(&minutes, now).await.unwrap();
        let window = Window::new(at(60), at(22_200));
        let cells = store.merged_rollups(TENANT, COARSE_SECONDS, window, &kinds).await.unwrap();
        assert_eq!(cells.values().map(|cell| cell.count).sum::<u64>(), 610);
    });
}
