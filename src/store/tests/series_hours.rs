//! Hours of metric series are noted, written, kept and given up, on either database.

use std::sync::Arc;

use super::home::{Home, on_both};
use super::retiring::reclaim_all;
use super::{TENANT, at, count, gauge, point, table};
use crate::model::id::{SeriesId, TenantNumber};
use crate::model::metric::{MetricKind, PointValue};
use crate::model::time::Window;
use crate::store::Store;
use crate::store::partition::Family;
use crate::store::read::metric_hours::SeriesPoints;
use crate::store::rows::{Commit, SeriesDefinition};
use crate::store::series_hours::{SeriesHour, Unreckoned};

const HOUR: i64 = 3_600;

fn commit(lsn: u64, points: &[(&Arc<SeriesDefinition>, i64, i64)]) -> Commit {
    let points =
        points.iter().map(|(series, seconds, value)| point(series, *seconds, PointValue::Int(*value)));
    Commit { lsn, points: points.collect(), ..Commit::default() }
}

/// Writes the values of the points of an hour as text, for want of reckoning.
async fn write(store: &Store, hour: Unreckoned) {
    let page = store.points_of_hour(hour.hour, None, 100).await.unwrap();
    assert_eq!(page.next, None);
    let rollups: Vec<SeriesHour> = page.items.iter().map(written).collect();
    store.put_series_hours(hour.hour, &rollups).await.unwrap();
}

fn written(series: &SeriesPoints) -> SeriesHour {
    assert_eq!((series.kind, series.monotonic), (MetricKind::Gauge, false));
    let value = |value: &PointValue| match value {
        PointValue::Int(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    let values: Vec<String> = series.points.iter().map(|point| value(&point.value)).collect();
    let points = values.len() as u64;
    SeriesHour { series: series.series, points, rollup: values.join(" ").into_bytes() }
}

/// The hours of all series in the first ten hours.
async fn stored(store: &Store, tenant: TenantNumber, limit: usize) -> Vec<(u32, i64, String)> {
    let window = Window::new(at(0), at(10 * HOUR));
    let series: Vec<SeriesId> = (1..=9).map(SeriesId).collect();
    let hours = store.series_hours(tenant, &series, window, limit).await.unwrap();
    let start = at(0).seconds();
    let read = |(hour, it): (i64, SeriesHour)| {
        (it.series.0, (hour - start) / HOUR, String::from_utf8(it.rollup).unwrap())
    };
    hours.into_iter().map(read).collect()
}

async fn unreckoned(store: &Store, until: i64) -> Vec<i64> {
    let windows = store.unreckoned_within(Window::new(at(0), at(until * HOUR))).await.unwrap();
    let start = at(0);
    windows.iter().flat_map(|it| [it.from, it.to]).map(|it| (it.seconds() - start.seconds()) / HOUR).collect()
}

#[test]
fn hours_are_noted_until_they_are_reckoned() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let (load, heat) = (gauge("load"), gauge("heat"));
        let points = [(&load, 0, 1), (&load, 5, 2), (&load, 5, 3), (&load, 9, 4), (&heat, 3_599, 5)];
        store.commit(commit(1, &points)).await.unwrap();
        store.commit(commit(2, &[(&load, HOUR, 6), (&heat, 3 * HOUR, 7)])).await.unwrap();
        assert_eq!(unreckoned(&store, 10).await, [0, 2, 3, 4]);
        assert_eq!(unreckoned(&store, 3).await, [0, 2]);
        assert_eq!(store.unreckoned_hours(at(HOUR)).await.unwrap(), [], "late points may be on their way");
        let hours = store.unreckoned_hours(at(2 * HOUR + 300)).await.unwrap();
        assert_eq!(hours.iter().map(|hour| hour.hour - at(0).seconds()).collect::<Vec<_>>(), [0, HOUR]);
        for hour in &hours {
            write(&store, *hour).await;
        }
        let expected = [(1, 0, "1 2 3 4".to_owned()), (1, 1, "6".to_owned()), (2, 0, "5".to_owned())];
        assert_eq!(stored(&store, TENANT, 100).await, expected);
        assert_eq!(stored(&store, TENANT, 2).await.len(), 2);
        assert_eq!(stored(&store, TenantNumber(2), 100).await, []);
        // One is touched before it is done, the other is not.
        store.commit(commit(3, &[(&load, 1_800, 8)])).await.unwrap();
        assert!(!store.reckoned(hours[0]).await.unwrap());
        assert!(store.reckoned(hours[1]).await.unwrap());
        assert_eq!(unreckoned(&store, 10).await, [0, 1, 3, 4]);
        let store = home.reopen(store).await;
        let again = store.unreckoned_hours(at(3 * HOUR)).await.unwrap();
        assert_eq!(again.len(), 1);
        store.commit(commit(4, &[(&load, 1_801, 9)])).await.unwrap();
        assert!(!store.reckoned(again[0]).await.unwrap());
        let again = store.unreckoned_hours(at(3 * HOUR)).await.unwrap();
        assert!(store.reckoned(again[0]).await.unwrap());
        assert_eq!(unreckoned(&store, 10).await, [3, 4]);
        // What was reckoned is noted again when points come.
        store.commit(commit(5, &[(&load, HOUR, 10)])).await.unwrap();
        assert_eq!(unreckoned(&store, 10).await, [1, 2, 3, 4]);
    });
}

#[test]
fn pages_of_an_hour_hold_whole_instants() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let (load, heat) = (gauge("load"), gauge("heat"));
        let points =
            [(&load, 0, 1), (&load, 5, 2), (&load, 5, 3), (&load, 9, 4), (&heat, 0, 5), (&heat, 5, 6)];
        store.commit(commit(1, &points)).await.unwrap();
        let hour = at(0).seconds();
        let whole = store.points_of_hour(hour, None, 100).await.unwrap();
        assert_eq!(whole.next, None);
        assert_eq!(whole.items.iter().map(|it| it.points.len()).collect::<Vec<_>>(), [4, 2]);
        for (limit, sizes) in [
            (6, vec![vec![4, 1], vec![1]]),
            (3, vec![vec![1], vec![2], vec![1, 1], vec![1]]),
            (2, vec![vec![1], vec![2], vec![1], vec![1], vec![1]]),
        ] {
            let (mut after, mut pages, mut points) = (None, Vec::new(), Vec::new());
            loop {
                let page = store.points_of_hour(hour, after, limit).await.unwrap();
                if !page.items.is_empty() {
                    pages.push(page.items.iter().map(|it| it.points.len()).collect::<Vec<_>>());
                }
                points.extend(page.items.into_iter().flat_map(|it| it.points));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(pages, sizes, "pages of {limit}");
            let all: Vec<_> = whole.items.iter().flat_map(|it| it.points.clone()).collect();
            assert_eq!(points, all, "pages of {limit}");
        }
        assert!(store.points_of_hour(hour + 30 * 86_400, None, 10).await.unwrap().items.is_empty());
    });
}

#[test]
fn hours_outlive_points_and_are_given_up_later() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let load = gauge("load");
        store.commit(commit(1, &[(&load, 0, 1), (&load, 1, 2)])).await.unwrap();
        let now = at(9 * HOUR);
        let reckon_all = async |store: &Store| {
            for hour in store.unreckoned_hours(now).await.unwrap() {
                write(store, hour).await;
                assert!(store.reckoned(hour).await.unwrap());
            }
        };
        let give_up = async |store: &Store, family| {
            let partitions = store.partitions().await.unwrap();
            let given: Vec<_> = partitions.into_iter().filter(|it| it.family == family).collect();
            assert_eq!(store.retire(&given, now).await.unwrap(), 1, "{family:?}");
            reclaim_all(store, at(86_400)).await;
        };
        reckon_all(&store).await;
        give_up(&store, Family::Points).await;
        assert_eq!(stored(&store, TENANT, 9).await, [(1, 0, "1 2".to_owned())]);
        // Of a day whose points are given up, late ones are less than what was reckoned.
        store.commit(commit(2, &[(&load, 2, 3)])).await.unwrap();
        reckon_all(&store).await;
        assert_eq!(stored(&store, TENANT, 9).await, [(1, 0, "1 2".to_owned())]);
        store.commit(commit(3, &[(&load, 3, 4)])).await.unwrap();
        reckon_all(&store).await;
        assert_eq!(stored(&store, TENANT, 9).await, [(1, 0, "3 4".to_owned())]);
        let seen = table(&store, "SELECT concat_ws(' ', series_id, points) FROM series_hours").await;
        assert_eq!(seen, ["1 2"]);
        give_up(&store, Family::SeriesHours).await;
        assert_eq!(stored(&store, TENANT, 9).await, []);
        assert_eq!(count(&store, "SELECT count(*) FROM series_hours").await, 0);
    });
}

#[test]
fn many_unreckoned_hours_are_one_window() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let load = gauge("load");
        let points: Vec<_> = (0..30).map(|hour| (&load, 2 * hour * HOUR, hour)).collect();
        store.commit(commit(1, &points)).await.unwrap();
        assert_eq!(unreckoned(&store, 48).await.len(), 48);
        assert_eq!(unreckoned(&store, 59).await, [0, 59]);
    });
}
