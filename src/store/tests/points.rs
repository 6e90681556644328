//! Metric points and the series that they belong to.

use super::home::{Home, on_both};
use super::{TENANT, at, count, counter, gauge, point, table, tamper};
use crate::model::id::SeriesId;
use crate::model::metric::PointValue;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::time::{UnixNanos, Window};
use crate::store::Store;
use crate::store::options::Options;
use crate::store::read::metrics::{NAMES_MAX, PointsAsk, SeriesAsk};
use crate::store::rows::{Commit, PointRow};
use crate::store::sql::Dialect;

#[test]
fn points_are_kept_with_their_values() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let series = gauge("load");
        let nan = f64::from_bits(0x7ff8_0000_0000_0abc);
        let values = [
            PointValue::Gap,
            PointValue::Int(-3),
            PointValue::Double(1.5),
            PointValue::Double(nan),
            PointValue::Double(f64::NEG_INFINITY),
            PointValue::Double(f64::INFINITY),
            PointValue::Double(0.1),
            PointValue::Double(1.0 / 3.0),
            PointValue::Double(-1.797_693_134_862_315_7e308),
            PointValue::Double(5e-324),
            PointValue::Double(2.225_073_858_507_201e-308),
            PointValue::Double(9_007_199_254_740_993.0),
            PointValue::Int(i64::MIN),
            PointValue::Distribution { count: 4, sum: None },
            PointValue::Distribution { count: u64::MAX, sum: Some(0.3) },
            PointValue::Distribution { count: 5, sum: Some(2.5) },
        ];
        let points = (0..).zip(values).map(|(second, value)| point(&series, second, value)).collect();
        store.commit(Commit { lsn: 1, points, ..Commit::default() }).await.unwrap();
        let ask = SeriesAsk { limit: 10, ..SeriesAsk::default() };
        let id = store.series(TENANT, &ask).await.unwrap()[0].id;
        let always = Window::new(at(0), at(100));
        let kept = store.points(TENANT, &[id], always, 100).await.unwrap();
        assert_eq!(kept.iter().map(|(_, point)| point.value).collect::<Vec<_>>(), values);
        let bare = PointsAsk { windows: &[always], limit: 100, with_detail: false };
        assert_eq!(store.points_within(TENANT, &[id], bare).await.unwrap(), kept, "none has a detail");
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
        let store = home.reopen(store).await;
        store.commit(again(3)).await.unwrap();
        let seconds = |series: &[SeriesId], second| {
            let (store, series) = (&store, series.to_vec());
            async move {
                let points =
                    store.points(TENANT, &series, Window::new(at(second), at(second + 1)), 100).await;
                points.unwrap().into_iter().map(|(_, point)| point.value).collect::<Vec<_>>()
            }
        };
        // In the order of arrival.
        let int = PointValue::Int;
        assert_eq!(seconds(&[id], 1).await, [int(-3), int(1), int(2), int(1), int(2)]);
        assert_eq!(seconds(&[id], 9).await[1..], [int(2), int(2)]);
        let other = store.series(TENANT, &ask).await.unwrap()[1].id;
        assert_eq!(seconds(&[other], 1).await, [int(1), int(1)]);
        assert_eq!(count(&store, "SELECT count(*) FROM series").await, 2);
    });
}

#[test]
fn a_series_is_the_same_in_whatever_order_its_attributes_come() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let row = |second, keys: [&str; 2]| {
            let mut row = point(&gauge("load"), second, PointValue::Int(second));
            let mut packer = Packer::default();
            keys.iter().for_each(|key| packer.attribute_text(7, key, "value"));
            row.point.attributes = Attributes::from_checked(packer.finish());
            row
        };
        let points = vec![row(1, ["a", "b"]), row(2, ["b", "a"]), row(3, ["b", "c"])];
        store.commit(Commit { lsn: 1, points, ..Commit::default() }).await.unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM series").await, 2);
    });
}

/// Points of a counter that counts since `start`, at the given seconds.
fn since(start: i64, at_seconds: &[(i64, i64)]) -> Vec<PointRow> {
    let series = counter("requests");
    let row = |(second, value): &(i64, i64)| {
        let mut row = point(&series, *second, PointValue::Int(*value));
        row.point.start = if start == 0 { UnixNanos(0) } else { at(start) };
        row
    };
    at_seconds.iter().map(row).collect()
}

/// For each series the values of its points.
async fn values(store: &Store) -> Vec<String> {
    let sql = "SELECT v FROM (SELECT s.id, string_agg(cast(p.int_value AS text), ',' ORDER BY p.time_ns, p.seq) v \
               FROM points p JOIN series s ON s.id = p.series_id GROUP BY s.id) x ORDER BY id";
    table(store, sql).await
}

#[test]
fn senders_that_share_an_identity_get_a_series_each() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let commit =
            |lsn, points: Vec<Vec<PointRow>>| Commit { lsn, points: points.concat(), ..Commit::default() };
        // Two in turn, in one commit and over several; the first one restarts while the second goes on.
        let first = [since(10, &[(100, 7)]), since(50, &[(101, 900)]), since(10, &[(110, 8)])];
        store.commit(commit(1, first.into())).await.unwrap();
        store.commit(commit(2, vec![since(50, &[(111, 905)]), since(10, &[(120, 9)])])).await.unwrap();
        let restarted = [since(50, &[(126, 910)]), since(125, &[(135, 2)]), since(50, &[(136, 911)])];
        store.commit(commit(3, restarted.into())).await.unwrap();
        assert_eq!(values(&store).await, ["7,8,9,2", "900,905,910,911"]);
        // A short job between two points of the first sender does not take its place, and what comes late of one that has
        // stopped belongs before the one that followed it.
        let job = vec![since(138, &[(141, 5)]), since(125, &[(145, 3)]), since(10, &[(121, 9)])];
        store.commit(commit(4, job)).await.unwrap();
        assert_eq!(values(&store).await, ["5", "7,8,9,9,2,3", "900,905,910,911"]);
        // After a restart of the server they come the other way round: still the same series.
        let store = home.reopen(store).await;
        let second = [since(50, &[(146, 912)]), since(125, &[(147, 3)]), since(50, &[(156, 913)])];
        store.commit(commit(5, second.into())).await.unwrap();
        assert_eq!(values(&store).await, ["5", "7,8,9,9,2,3,912,913", "900,905,910,911,3"]);
        assert_eq!(count(&store, "SELECT count(DISTINCT hash) FROM series").await, 3);
        assert_eq!(count(&store, "SELECT count(DISTINCT attributes) FROM series").await, 1);
    });
}

#[test]
fn one_sender_keeps_one_series() {
    on_both(async |home: Home| {
        let store = home.open().await;
        // Restarts, a start that wanders by a second, points that come late, the end of a sequence, no start at all.
        let mut points =
            vec![since(10, &[(100, 7), (110, 9)]), since(115, &[(120, 1)]), since(116, &[(130, 2)])];
        points.push(since(115, &[(140, 4)]));
        points.push(since(115, &[(125, 2)]));
        points.push(since(0, &[(150, 3)]));
        let mut end = since(100, &[(151, 0)]);
        end[0].point.value = PointValue::Gap;
        points.push(end);
        // One that always names the time of the point itself, and one that names a start to come.
        points.push([since(160, &[(160, 5)]), since(170, &[(170, 6)]), since(190, &[(180, 7)])].concat());
        store.commit(Commit { lsn: 1, points: points.concat(), ..Commit::default() }).await.unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM series").await, 1);
        assert_eq!(count(&store, "SELECT count(*) FROM points").await, 11);
    });
}

#[test]
fn c6_of_very_many_senders_those_past_a_bound_share_one_series() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let many = (0..100).map(|sender| since(10 * sender + 1, &[(1_000 + sender, sender)]));
        let points = many.collect::<Vec<_>>().concat();
        store.commit(Commit { lsn: 1, points, ..Commit::default() }).await.unwrap();
        assert_eq!(count(&store, "SELECT count(*) FROM series").await, 64);
        assert_eq!(count(&store, "SELECT count(*) FROM points").await, 100);
        // They do not take more than they may.
        store.stop().await;
        let store = Store::open(Options { series_per_tenant_max: 64, ..home.options() }).await.unwrap();
        let other = point(&gauge("other"), 1, PointValue::Int(1));
        let counts = store.commit(Commit { lsn: 2, points: vec![other], ..Commit::default() }).await.unwrap();
        assert_eq!(counts.overflowed_points, 1);
    });
}

#[test]
fn c6_past_a_limit_new_series_share_one() {
    on_both(async |home: Home| {
        let store = home.open().await;
        store.stop().await;
        let options = Options { series_per_tenant_max: 2, ..home.options() };
        let points: Vec<_> =
            ["a", "b", "c", "d"].map(|name| point(&gauge(name), 1, PointValue::Int(1))).into();
        let store = Store::open(options.clone()).await.unwrap();
        let first =
            store.commit(Commit { lsn: 1, points: points.clone(), ..Commit::default() }).await.unwrap();
        store.stop().await;
        let store = Store::open(options).await.unwrap();
        let points = points[1..].to_vec();
        let second = store.commit(Commit { lsn: 2, points, ..Commit::default() }).await.unwrap();
        assert_eq!((first.overflowed_points, second.overflowed_points), (2, 2));
        let counts = table(
            &store,
            "SELECT concat_ws(' ', s.name, count(*)) FROM points p JOIN series s ON s.id = p.series_id \
             GROUP BY s.id, s.name",
        )
        .await;
        assert_eq!(counts, ["__overflow__ 4", "a 1", "b 2"]);
    });
}

#[test]
fn numbers_are_the_same_however_they_are_read() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let mut bits = 1_u64;
        let numbers = std::iter::repeat_with(|| {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let exponent = (bits >> 32) % 120;
            (bits >> 11) as f64 * 10_f64.powi(exponent as i32 - 60)
        });
        let series = gauge("load");
        let points: Vec<_> = (0..)
            .zip(numbers.take(2_000))
            .map(|(second, number)| point(&series, second, PointValue::Double(number)))
            .collect();
        store.commit(Commit { lsn: 1, points, ..Commit::default() }).await.unwrap();
        let ask = SeriesAsk { limit: 10, ..SeriesAsk::default() };
        let id = store.series(TENANT, &ask).await.unwrap()[0].id;
        let always = [Window::new(at(0), at(5_000))];
        let ask = |with_detail| PointsAsk { windows: &always, limit: 5_000, with_detail };
        let rows = store.points_within(TENANT, &[id], ask(true)).await.unwrap();
        assert_eq!(rows.len(), 2_000);
        assert_eq!(store.points_within(TENANT, &[id], ask(false)).await.unwrap(), rows);
    });
}

#[test]
fn more_names_of_metrics_than_one_answer_holds_are_all_found() {
    on_both(async |home: Home| {
        let store = home.open().await;
        let bytes = if home.dialect() == Dialect::Sqlite { "BLOB" } else { "BYTEA" };
        let none = home.dialect().bytes("");
        let wanted = NAMES_MAX + 2;
        let series = format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {wanted}) \
             INSERT INTO series (id, tenant_id, hash, name, unit, description, metadata, kind, temporality, monotonic, \
             service_id, resource_id, instrumentation_id, attributes, first_seen, last_day) \
             SELECT i, 1, CAST(CAST(i AS TEXT) AS {bytes}), 'm' || i, '', '', {none}, 5, 0, 0, 1, 1, 1, {none}, 0, 0 FROM n"
        );
        tamper(&home.options(), &series).await;
        let (mut found, mut pages): (Vec<String>, usize) = (Vec::new(), 0);
        loop {
            let after = found.last().cloned();
            let names = store.metric_names_after(TENANT, after.as_deref()).await.unwrap();
            if names.is_empty() {
                break;
            }
            found.extend(names);
            pages += 1;
        }
        let mut all: Vec<String> = (1..=wanted).map(|number| format!("m{number}")).collect();
        all.sort_unstable();
        assert_eq!((found == all, pages), (true, 2), "{} names", found.len());
    });
}
