//! Hours of metric series, reckoned from their points: small enough to be kept much longer.

use tokio_util::sync::CancellationToken;

use crate::model::id::SeriesId;
use crate::model::time::UnixNanos;
use crate::reckon::{Nature, Rollup};
use crate::store::Store;
use crate::store::error::Error;
use crate::store::read::metric_hours::SeriesPoints;
use crate::store::series_hours::{SeriesHour, Unreckoned};

/// Points that memory holds at a time: some tens of megabytes.
const PAGE_POINTS: usize = 50_000;

/// Reckons the hours that ended before `now` and changed since they were reckoned; answers how many. Ends early, between
/// two pages of points, when `stop` is cancelled: an hour that was begun is begun anew.
pub(super) async fn reckon_hours(
    store: &Store,
    now: UnixNanos,
    stop: &CancellationToken,
) -> Result<usize, Error> {
    let mut done = 0;
    for hour in store.unreckoned_hours(now).await? {
        if !reckon(store, hour, PAGE_POINTS, stop).await? {
            break;
        }
        done += 1;
    }
    Ok(done)
}

/// Reckons one hour, `page_points` points at a time; answers false where it was stopped.
async fn reckon(
    store: &Store,
    hour: Unreckoned,
    page_points: usize,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    let mut after = None;
    let mut open: Option<Reckoned> = None;
    while !stop.is_cancelled() {
        let page = store.points_of_hour(hour.hour, after, page_points).await?;
        after = page.next;
        let work = tokio::task::spawn_blocking(move || add(open, page.items, after.is_none()));
        let whole;
        (whole, open) = work.await.map_err(Error::Lost)?;
        store.put_series_hours(hour.hour, &whole).await?;
        if after.is_none() {
            store.reckoned(hour).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A series of the hour.
struct Reckoned {
    series: SeriesId,
    points: u64,
    rollup: Rollup,
}

/// Adds a page to what was `open`. Answers the series that are whole, and the last one, which may go on in the next page.
fn add(
    mut open: Option<Reckoned>,
    page: Vec<SeriesPoints>,
    is_last: bool,
) -> (Vec<SeriesHour>, Option<Reckoned>) {
    let mut whole = Vec::new();
    for SeriesPoints { series, kind, temporality, monotonic, points } in page {
        let rollup = Rollup::of(Nature { kind, temporality, monotonic }, &points);
        let points = points.len() as u64;
        if let Some(begun) = open.as_mut().filter(|begun| begun.series == series) {
            begun
                .rollup
                .merge(&rollup)
                .expect("the next page of a series begins behind the instant that ended the last");
            begun.points += points;
        } else {
            whole.extend(open.replace(Reckoned { series, points, rollup }).map(Reckoned::encoded));
        }
    }
    if is_last {
        whole.extend(open.take().map(Reckoned::encoded));
    }
    (whole, open)
}

impl Reckoned {
    fn encoded(self) -> SeriesHour {
        let mut rollup = Vec::new();
        self.rollup.encode(&mut rollup);
        SeriesHour { series: self.series, points: self.points, rollup }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::id::{InstrumentationId, ResourceId, ServiceId, TenantNumber};
    use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
    use crate::model::node::NodeKind;
    use crate::model::packed::Attributes;
    use crate::model::rollup::HOUR_SECONDS;
    use crate::model::tenant::TenantId;
    use crate::model::time::Window;
    use crate::store::options::Options;
    use crate::store::rows::{Commit, PointRow, SeriesDefinition};

    const START: i64 = 1_800_000_000;
    const COUNTER: Nature =
        Nature { kind: MetricKind::Sum, temporality: Temporality::Cumulative, monotonic: true };

    fn counter(name: &str) -> Arc<SeriesDefinition> {
        Arc::new(SeriesDefinition {
            name: name.into(),
            unit: "1".into(),
            description: "".into(),
            metadata: Attributes::default(),
            kind: COUNTER.kind,
            temporality: COUNTER.temporality,
            monotonic: COUNTER.monotonic,
        })
    }

    fn point(seconds: i64, value: i64) -> Point {
        Point {
            time: UnixNanos::from_seconds(START + seconds),
            start: UnixNanos::from_seconds(START),
            attributes: Attributes::default(),
            value: PointValue::Int(value),
            detail: PointDetail::default(),
        }
    }

    /// Three series, one of them with a reset, a pair of one instant and the instant at which the hour ends.
    fn series() -> [(Arc<SeriesDefinition>, Vec<Point>); 3] {
        let values = [(0, 1), (600, 5), (600, 6), (1_200, 2), (3_599, 9), (3_600, 11)];
        [
            (counter("a"), vec![point(1_800, 7)]),
            (counter("b"), values.map(|(seconds, value)| point(seconds, value)).to_vec()),
            (counter("c"), vec![point(10, 1), point(20, 2)]),
        ]
    }

    async fn commit(store: &Store, tenant: TenantNumber, series: &[(Arc<SeriesDefinition>, Vec<Point>)]) {
        let row = |series: &Arc<SeriesDefinition>, point: &Point| PointRow {
            tenant,
            service: ServiceId(1),
            resource: ResourceId(1),
            instrumentation: InstrumentationId(1),
            series: Arc::clone(series),
            point: point.clone(),
        };
        let rows = series.iter().flat_map(|(series, points)| points.iter().map(move |it| row(series, it)));
        let commit = Commit { lsn: 1, points: rows.collect(), ..Commit::default() };
        store.commit(commit).await.unwrap();
    }

    /// The first two hours as they are stored.
    async fn stored(store: &Store, tenant: TenantNumber) -> Vec<(u32, i64, u64, Rollup)> {
        let at = |seconds| UnixNanos::from_seconds(START + seconds);
        let ids = [1, 2, 3].map(SeriesId);
        let hours = store.series_hours(tenant, &ids, Window::new(at(0), at(7_200)), 100).await.unwrap();
        let read = |(hour, it): (i64, SeriesHour)| {
            (it.series.0, hour - START, it.points, Rollup::decode(&it.rollup).unwrap())
        };
        hours.into_iter().map(read).collect()
    }

    #[tokio::test]
    async fn hours_are_reckoned_from_pages_of_any_size() {
        let all = series();
        let (hour, rest) = all[1].1.split_at(5);
        let of = |points: &[Point]| Rollup::of(COUNTER, points);
        let expected = vec![
            (1, 0, 1, of(&all[0].1)),
            (2, 0, 5, of(hour)),
            (2, HOUR_SECONDS, 1, of(rest)),
            (3, 0, 2, of(&all[2].1)),
        ];
        assert_eq!(expected[1].3.tally().resets, 1);
        for page_points in [2, 3, 4, 5, 8, 100] {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
            let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
            store.names().service(tenant, NodeKind::Service, "cart", UnixNanos(0));
            commit(&store, tenant, &all).await;
            let now = UnixNanos::from_seconds(START + 7_200 + 300);
            for hour in store.unreckoned_hours(now).await.unwrap() {
                assert!(reckon(&store, hour, page_points, &CancellationToken::new()).await.unwrap());
            }
            assert_eq!(stored(&store, tenant).await, expected, "pages of {page_points}");
            assert_eq!(store.unreckoned_hours(now).await.unwrap(), []);
        }
    }

    #[tokio::test]
    async fn what_is_stopped_or_comes_late_is_reckoned_later() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let tenant = store.names().tenant(&TenantId::try_from("acme").unwrap());
        commit(&store, tenant, &series()).await;
        let now = |seconds| UnixNanos::from_seconds(START + seconds);
        let stop = CancellationToken::new();
        assert_eq!(reckon_hours(&store, now(3_700), &stop).await.unwrap(), 0, "too early");
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert_eq!(reckon_hours(&store, now(9_000), &stopped).await.unwrap(), 0);
        assert_eq!(stored(&store, tenant).await, []);
        assert_eq!(reckon_hours(&store, now(9_000), &stop).await.unwrap(), 2);
        assert_eq!(reckon_hours(&store, now(9_000), &stop).await.unwrap(), 0);
        commit(&store, tenant, &[(counter("a"), vec![point(60, 3)])]).await;
        assert_eq!(reckon_hours(&store, now(9_000), &stop).await.unwrap(), 1);
        let late = stored(&store, tenant).await;
        assert_eq!(late[0], (1, 0, 2, Rollup::of(COUNTER, &[point(60, 3), point(1_800, 7)])));
        assert_eq!(late.len(), 4);
    }
}
