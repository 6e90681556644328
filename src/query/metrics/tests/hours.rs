//! Hours that were reckoned answer as their points do.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use super::{Shop, at, definition, point, question, run};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::packed::write::Packer;
use crate::model::rollup::HOUR_SECONDS;
use crate::model::time::Window;
use crate::query::Error;
use crate::query::metrics::labels::Key;
use crate::query::metrics::reading::Pages;
use crate::query::metrics::refusal::Refusal;
use crate::query::metrics::{GroupAnswer, MetricQuestion};
use crate::reckon::rollup::Tally;
use crate::reckon::{Function, Nature, Rollup};
use crate::store::Store;
use crate::store::partition::Family;
use crate::store::rows::SeriesDefinition;
use crate::store::series_hours::SeriesHour;

const FUNCTIONS: [Function; 9] = [
    Function::Rate,
    Function::Increase,
    Function::Sum,
    Function::Average,
    Function::Minimum,
    Function::Maximum,
    Function::Last,
    Function::Count,
    Function::Quantile(0.9),
];
const SHAPES: [(&str, MetricKind, Temporality, bool); 9] = [
    ("counter", MetricKind::Sum, Temporality::Cumulative, true),
    ("delta", MetricKind::Sum, Temporality::Delta, true),
    ("level", MetricKind::Sum, Temporality::Cumulative, false),
    ("gauge", MetricKind::Gauge, Temporality::None, false),
    ("histogram", MetricKind::Histogram, Temporality::Cumulative, false),
    ("histogram.delta", MetricKind::Histogram, Temporality::Delta, false),
    ("exponential", MetricKind::ExponentialHistogram, Temporality::Cumulative, false),
    ("exponential.delta", MetricKind::ExponentialHistogram, Temporality::Delta, false),
    ("summary", MetricKind::Summary, Temporality::None, false),
];

/// What happens after some seconds.
#[derive(Debug, Clone)]
struct Event {
    after: i64,
    /// How much is counted; whole, so that no order of adding rounds.
    counted: u64,
    bucket: usize,
    what: What,
    /// The point comes in the second commit.
    is_late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Export,
    /// The sender begins anew and tells so.
    Restart,
    /// It begins anew and does not.
    Fall,
    Gap,
    NotANumber,
    /// Two points of one instant.
    Twice,
    /// The bounds of the buckets are others from now on.
    Bounds,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let what = proptest::sample::select(vec![
        What::Export,
        What::Export,
        What::Export,
        What::Export,
        What::Restart,
        What::Fall,
        What::Gap,
        What::NotANumber,
        What::Twice,
        What::Bounds,
    ]);
    let after = proptest::sample::select(vec![1, 60, 599, 1_800, 3_600, 5_000, 20_000]);
    let event = (after, 0_u64..50, 0_usize..4, what, proptest::bool::weighted(0.2))
        .prop_map(|(after, counted, bucket, what, is_late)| Event { after, counted, bucket, what, is_late });
    proptest::collection::vec(event, 1..40)
}

/// What a sender of this kind exports; in time for the first commit or late.
fn exports(
    (kind, temporality): (MetricKind, Temporality),
    events: &[Event],
    with_start: bool,
) -> Vec<(bool, Point)> {
    let (mut now, mut start, mut counts, mut scale) = (100, 50, [0_u64; 4], 1);
    let mut points = Vec::new();
    for event in events {
        now += event.after;
        if matches!(event.what, What::Restart | What::Fall) || temporality == Temporality::Delta {
            counts = [0; 4];
        }
        if event.what == What::Restart {
            start = now - 1;
        }
        if event.what == What::Bounds {
            scale += 1;
        }
        counts[event.bucket] += event.counted;
        let total: u64 = counts.iter().sum();
        let number = PointValue::Int(total.cast_signed());
        let distribution = PointValue::Distribution { count: total, sum: Some(total as f64 * 2.0) };
        let (value, detail) = match kind {
            MetricKind::Gauge | MetricKind::Sum => (number, PointDetail::default()),
            _ => (distribution, detail(kind, counts, scale)),
        };
        let value = match event.what {
            What::Gap => PointValue::Gap,
            What::NotANumber if matches!(kind, MetricKind::Gauge | MetricKind::Sum) => {
                PointValue::Double(f64::NAN)
            }
            _ => value,
        };
        let start = if with_start { at(start) } else { crate::model::time::UnixNanos(0) };
        let point = Point { start, detail, ..point(now, value) };
        if event.what == What::Twice {
            points.push((event.is_late, point.clone()));
        }
        points.push((event.is_late, point));
        if temporality == Temporality::Delta && with_start {
            start_after(&mut points, now);
        }
    }
    points
}

/// Deltas count from the point before them.
fn start_after(points: &mut [(bool, Point)], now: i64) {
    let before = points.iter().rev().map(|(_, point)| point.time).find(|time| *time < at(now));
    if let (Some(before), Some((_, last))) = (before, points.last_mut()) {
        last.start = before;
    }
}

fn detail(kind: MetricKind, counts: [u64; 4], scale: i32) -> PointDetail {
    let mut packer = Packer::default();
    match kind {
        MetricKind::Histogram => {
            packer.fixed64s(6, counts.into_iter());
            packer.fixed64s(7, [1.0, 2.0, 4.0 * f64::from(scale)].map(f64::to_bits).into_iter());
        }
        MetricKind::ExponentialHistogram => {
            packer.zigzag(6, (4 - scale).into());
            packer.fixed64(7, 0);
            packer.message(8, |side| {
                side.zigzag(1, 3);
                side.varints(2, &counts);
            });
            packer.double(14, 0.0);
        }
        _ => packer.message(6, |quantile| {
            quantile.double(1, 0.9);
            quantile.double(2, counts[0] as f64);
        }),
    }
    PointDetail::from_checked(packer.finish())
}

/// Reckons the hours that are over by `seconds`, as upkeep does.
async fn reckon_until(store: &Store, seconds: i64) -> usize {
    let hours = store.unreckoned_hours(at(seconds)).await.unwrap();
    for hour in &hours {
        let page = store.points_of_hour(hour.hour, None, 10_000).await.unwrap();
        assert_eq!(page.next, None);
        let rollups = page.items.into_iter().map(|it| {
            let nature = Nature { kind: it.kind, temporality: it.temporality, monotonic: it.monotonic };
            let mut rollup = Vec::new();
            Rollup::of(nature, &it.points).encode(&mut rollup);
            SeriesHour { series: it.series, points: it.points.len() as u64, rollup }
        });
        store.put_series_hours(hour.hour, &rollups.collect::<Vec<_>>()).await.unwrap();
        assert!(store.reckoned(*hour).await.unwrap());
    }
    hours.len()
}

fn shape(number: usize) -> Arc<SeriesDefinition> {
    let (name, kind, temporality, monotonic) = SHAPES[number];
    Arc::new(SeriesDefinition { monotonic, ..Arc::unwrap_or_clone(definition(name, kind, temporality)) })
}

type Answers = Vec<(Vec<GroupAnswer>, Tally, usize)>;

/// All that the shop answers about a metric.
async fn answers(shop: &Shop, name: &str, windows: &[(i64, i64, u64, u64)]) -> Answers {
    let mut answers = Vec::new();
    for (from, to, step_hours, range_steps) in windows {
        for function in FUNCTIONS {
            let step = Duration::from_secs(step_hours * HOUR_SECONDS.unsigned_abs());
            let asked = MetricQuestion {
                window: Window::new(at(*from), at(*to)),
                step,
                range: step * u32::try_from(*range_steps).unwrap(),
                group_by: vec![Key::Instance],
                ..question(name, function)
            };
            match shop.ask(asked).await {
                Ok(answer) => answers
                    .extend(answer.parts.into_iter().map(|part| (part.groups, part.tally, part.not_told))),
                Err(Error::Metrics(Refusal::Unfit { .. })) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    answers
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn reckoned_hours_answer_as_points_do(
        number in 0..SHAPES.len(),
        senders in proptest::collection::vec((events(), any::<bool>()), 1..3),
        until in 0_i64..400_000,
    ) {
        let (name, kind, temporality, _) = SHAPES[number];
        run(async {
            let (mut plain, mut kept) = (Shop::open().await, Shop::open().await);
            let windows =
                [(0, 900_000, 1, 1), (0, 900_000, 24, 1), (7_000, 100_000, 1, 3), (90_000, 95_000, 2, 30)];
            for is_late in [false, true] {
                for shop in [&mut plain, &mut kept] {
                    for (instance, (events, with_start)) in ["a", "b"].into_iter().zip(&senders) {
                        let points = exports((kind, temporality), events, *with_start);
                        let points = points.into_iter().filter(|(late, _)| *late == is_late);
                        shop.send(&shape(number), ("cart", instance), &[], points.map(|(_, point)| point));
                    }
                    shop.commit().await;
                }
                let metric_exists = plain.store.metric_names(plain.query.tenant(&plain.scope).unwrap(), None);
                if metric_exists.await.unwrap().is_empty() {
                    continue;
                }
                // Points alone.
                let expected = answers(&plain, name, &windows).await;
                prop_assert_eq!(&answers(&kept, name, &windows).await, &expected);
                reckon_until(&kept.store, until).await;
                prop_assert_eq!(&answers(&kept, name, &windows).await, &expected);
                while reckon_until(&kept.store, 2_000_000).await > 0 {}
                prop_assert_eq!(&answers(&kept, name, &windows).await, &expected);
            }
            let expected = answers(&plain, name, &windows).await;
            let partitions = kept.store.partitions().await.unwrap();
            let points: Vec<_> =
                partitions.into_iter().filter(|partition| partition.family == Family::Points).collect();
            kept.store.retire(&points, at(0)).await.unwrap();
            prop_assert_eq!(&answers(&kept, name, &windows).await, &expected);
            Ok(())
        })?;
    }
}

#[test]
fn hours_are_read_page_by_page() {
    run(async {
        let mut shop = Shop::open().await;
        let calls = shape(0);
        for (instance, per_hour) in [("a", 1), ("b", 2), ("c", 4)] {
            let points = (0..50).map(|hour| point(3_600 * hour, PointValue::Int(hour * per_hour)));
            shop.send(&calls, ("cart", instance), &[], points);
        }
        shop.commit().await;
        while reckon_until(&shop.store, 3_600 * 49).await > 0 {}
        let tenant = shop.query.tenant(&shop.scope).unwrap();
        let hour = Duration::from_secs(3_600);
        let asked = MetricQuestion {
            window: Window::new(at(0), at(3_600 * 50)),
            step: hour,
            range: hour,
            group_by: vec![Key::Instance],
            ..question("counter", Function::Increase)
        };
        let plan = crate::query::metrics::plan(&asked).unwrap();
        let series = shop.query.series_of(tenant, &asked, &plan).await.unwrap().unwrap();
        let (_, part) = shop.query.parts(series, &asked, plan.steps).unwrap().pop_first().unwrap();
        for page_hours in [50, 99, 104, 1_000] {
            let pages = Pages { page_hours, points: 200, ..Pages::OF_A_QUESTION };
            let groups = shop.query.reckon(tenant, &part, plan, pages).await.unwrap();
            let last = groups.iter().map(|steps| steps[49].as_ref()?.answer(Function::Increase));
            let expected = [Some(1.0), Some(2.0), Some(4.0)];
            assert_eq!(last.collect::<Vec<_>>(), expected, "pages of {page_hours}");
        }
        for (page_hours, points) in [(40, 1_000), (1_000, 149)] {
            let pages = Pages { page_hours, points, ..Pages::OF_A_QUESTION };
            let refused = shop.query.reckon(tenant, &part, plan, pages).await;
            assert!(matches!(refused, Err(Error::Metrics(Refusal::TooManyPoints { .. }))), "{pages:?}");
        }
    });
}

#[test]
fn a_stored_hour_that_is_not_one_is_no_answer() {
    run(async {
        let mut shop = Shop::open().await;
        shop.send(&shape(0), ("cart", "a"), &[], [point(10, PointValue::Int(1))]);
        shop.commit().await;
        let hour = shop.store.unreckoned_hours(at(9_000)).await.unwrap()[0];
        let page = shop.store.points_of_hour(hour.hour, None, 10).await.unwrap();
        let rollup = SeriesHour { series: page.items[0].series, points: 1, rollup: vec![1, 2, 3] };
        shop.store.put_series_hours(hour.hour, &[rollup]).await.unwrap();
        let asked = MetricQuestion {
            step: Duration::from_secs(3_600),
            range: Duration::from_secs(3_600),
            ..question("counter", Function::Increase)
        };
        let refused = shop.ask(asked.clone()).await;
        assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
        let minutes =
            MetricQuestion { step: Duration::from_secs(60), range: Duration::from_secs(60), ..asked };
        assert!(shop.ask(minutes).await.is_ok(), "minutes come from points");
    });
}
