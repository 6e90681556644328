use std::sync::Arc;

use super::{World, seconds, window};
use crate::model::id::{InstrumentationId, ResourceId, SeriesId};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::store::read::metrics::{PointsAsk, SeriesAsk};
use crate::store::rows::{Commit, PointRow, SeriesDefinition};

fn definition(name: &str, kind: MetricKind, temporality: Temporality) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.into(),
        unit: "ms".into(),
        description: "what it is".into(),
        metadata: attributes("meta"),
        kind,
        temporality,
        monotonic: kind == MetricKind::Sum,
    })
}

fn attributes(value: &str) -> Attributes {
    let mut packer = Packer::default();
    packer.attribute_text(1, "which", value);
    Attributes::from_checked(packer.finish())
}

/// A negative zero is not among them: SQLite keeps it as zero.
fn values() -> Vec<PointValue> {
    let nan = f64::from_bits(0xfff8_0000_0000_0007);
    vec![
        PointValue::Gap,
        PointValue::Int(i64::MIN),
        PointValue::Int(0),
        PointValue::Double(0.1),
        PointValue::Double(3.0),
        PointValue::Double(f64::NAN),
        PointValue::Double(nan),
        PointValue::Double(f64::NEG_INFINITY),
        PointValue::Double(1e300),
        PointValue::Distribution { count: u64::MAX, sum: None },
        PointValue::Distribution { count: 3, sum: Some(2.5) },
        PointValue::Distribution { count: 3, sum: Some(nan) },
        PointValue::Distribution { count: 0, sum: Some(f64::INFINITY) },
    ]
}

/// Two series of the first tenant with every value, one of the second.
fn world() -> (World, Vec<PointRow>) {
    let mut world = World::empty();
    let mut points = Vec::new();
    for (tenant, which, name, kind) in [
        (0, "one", "latency", MetricKind::Histogram),
        (0, "two", "requests", MetricKind::Sum),
        (1, "one", "latency", MetricKind::Histogram),
    ] {
        let series = definition(name, kind, Temporality::Delta);
        for (value, second) in values().into_iter().zip(0..) {
            let mut packer = Packer::default();
            packer.fixed64s(6, [1, 2, second as u64].into_iter());
            let detail = if second % 2 == 0 {
                PointDetail::default()
            } else {
                PointDetail::from_checked(packer.finish())
            };
            points.push(PointRow {
                tenant: world.tenants[tenant].number,
                service: world.tenants[tenant].services[0],
                resource: ResourceId(1),
                instrumentation: InstrumentationId(1),
                series: Arc::clone(&series),
                point: Point {
                    time: seconds(second),
                    start: seconds(second - 10),
                    attributes: attributes(which),
                    value,
                    detail,
                },
            });
        }
    }
    world.commit(Commit { lsn: 1, points: points.clone(), ..Commit::default() });
    (world, points)
}

#[test]
fn points_come_back_as_they_were() {
    let (world, points) = world();
    let tenant = world.tenants[0].number;
    let ask = SeriesAsk { limit: 10, ..SeriesAsk::default() };
    let series = world.ask(async |store| store.series(tenant, &ask).await);
    assert_eq!(series.len(), 2);
    let ids: Vec<SeriesId> = (0..9).map(SeriesId).collect();
    let find = |window, limit| world.ask(async |store| store.points(tenant, &ids, window, limit).await);
    let found = find(window(-10, 100), 1_000);
    let expected: Vec<_> = points
        .iter()
        .filter(|row| row.tenant == tenant)
        .map(|row| {
            let series = series.iter().find(|series| series.definition == *row.series).unwrap();
            assert_eq!(series.attributes, row.point.attributes);
            (series.id, row.point.clone())
        })
        .collect();
    assert_eq!(found, expected);
    let ask = PointsAsk { windows: &[window(-10, 100)], limit: 1_000, with_detail: false };
    let bare = world.ask(async |store| store.points_within(tenant, &ids, ask).await);
    let without =
        |(id, point): &(SeriesId, Point)| (*id, Point { detail: PointDetail::default(), ..point.clone() });
    assert_eq!(bare, expected.iter().map(without).collect::<Vec<_>>());
    assert_eq!(find(window(3, 5), 1_000).len(), 4);
    for limit in 0..expected.len() {
        assert_eq!(find(window(-10, 100), limit), expected[..limit]);
    }
}

#[test]
fn series_and_names_are_the_tenants_own() {
    let (world, _) = world();
    let [own, other] = [0, 1].map(|index: usize| &world.tenants[index]);
    let find = |ask: SeriesAsk| world.ask(async |store| store.series(own.number, &ask).await).len();
    let ask = SeriesAsk { limit: 10, ..SeriesAsk::default() };
    assert_eq!(find(SeriesAsk { name: Some("latency".to_owned()), ..ask.clone() }), 1);
    assert_eq!(find(SeriesAsk { name: Some("late'ncy".to_owned()), ..ask.clone() }), 0);
    assert_eq!(find(SeriesAsk { services: own.services[..1].to_vec(), ..ask.clone() }), 2);
    assert_eq!(find(SeriesAsk { services: own.services[1..].to_vec(), ..ask.clone() }), 0);
    assert_eq!(find(SeriesAsk { services: other.services.clone(), ..ask.clone() }), 0);
    let within = |within| find(SeriesAsk { within: Some(within), ..ask.clone() });
    assert_eq!([within(window(-10, 100)), within(window(5_000, 6_000))], [2, 0]);
    let id = world.ask(async |store| store.series(own.number, &ask).await)[1].id;
    assert_eq!(find(SeriesAsk { id: Some(id), ..ask.clone() }), 1);
    let others = world.ask(async |store| store.series(other.number, &ask).await);
    assert_eq!(find(SeriesAsk { id: Some(others[0].id), ..ask.clone() }), 0);
    assert_eq!(find(SeriesAsk { limit: 1, ..ask }), 1);

    let names = |window| {
        let names = world.ask(async |store| store.metric_names(own.number, window).await);
        names.into_iter().map(|name| (name.name, name.kind, name.series)).collect::<Vec<_>>()
    };
    let all = [("latency".to_owned(), MetricKind::Histogram, 1), ("requests".to_owned(), MetricKind::Sum, 1)];
    assert_eq!(names(None), all);
    assert_eq!(names(Some(window(0, 1))), all);
    assert_eq!(names(Some(window(50, 60))), []);
}
