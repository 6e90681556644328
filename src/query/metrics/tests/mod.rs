//! Metrics from a store to answers.

mod hours;
mod names;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::fault::Kind;
use crate::graph::Graph;
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::tenant::{Scope, TenantId};
use crate::model::text::Text;
use crate::model::time::{UnixNanos, Window};
use crate::query::metrics::labels::{Filter, Key, suggestions};
use crate::query::metrics::reading::Pages;
use crate::query::metrics::refusal::Refusal;
use crate::query::metrics::{GROUPS_MAX, MetricAnswer, MetricQuestion, STEPS_MAX};
use crate::query::{Error, Options, Query};
use crate::reckon::Function;
use crate::reckon::gather::Gathered;
use crate::store::Store;
use crate::store::rows::{Commit, PointRow, SeriesDefinition};

const START: i64 = 1_800_000_000;

const fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(START + seconds)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut packer = Packer::default();
    pairs.iter().for_each(|(key, value)| packer.attribute_text(9, key, value));
    Attributes::from_checked(packer.finish())
}

fn definition(name: &str, kind: MetricKind, temporality: Temporality) -> Arc<SeriesDefinition> {
    Arc::new(SeriesDefinition {
        name: name.into(),
        unit: "s".into(),
        description: Text::default(),
        metadata: Attributes::default(),
        kind,
        temporality,
        monotonic: kind == MetricKind::Sum,
    })
}

/// A store with what is sent to it, and questions about it.
struct Shop {
    store: Store,
    query: Query,
    scope: Scope,
    rows: Vec<PointRow>,
    _directory: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = crate::store::options::Options::at(directory.path().join("store.db"));
        let store = Store::open(options).await.unwrap();
        let options = Options { cache_ttl: Duration::ZERO, samples: false };
        let query = Query::new(&options, store.clone(), Graph::new(), None, Clock::standing(at(3_600)));
        let scope = Scope::authorized(TenantId::try_from("acme").unwrap());
        Self { store, query, scope, rows: Vec::new(), _directory: directory }
    }

    fn send(
        &mut self,
        series: &Arc<SeriesDefinition>,
        (service, instance): (&str, &str),
        labels: &[(&str, &str)],
        points: impl IntoIterator<Item = Point>,
    ) {
        let names = self.store.names();
        let tenant = names.tenant(self.scope.tenant());
        let number = names.service(tenant, NodeKind::Service, service, at(0));
        let described = [("service.name", service), ("service.instance.id", instance), ("zone", "north")];
        let resource = Arc::new(Resource {
            service: service.into(),
            attributes: attributes(&described),
            dropped_attributes: 0,
            schema_url: Text::default(),
        });
        let resource = names.resource(tenant, number, &resource, at(0));
        let instrumentation = names.instrumentation(tenant, &Arc::new(Instrumentation::default()), at(0));
        for point in points {
            let point = Point { attributes: attributes(labels), ..point };
            let series = Arc::clone(series);
            self.rows.push(PointRow { tenant, service: number, resource, instrumentation, series, point });
        }
    }

    async fn commit(&mut self) {
        let commit = Commit { lsn: 1, points: std::mem::take(&mut self.rows), ..Commit::default() };
        self.store.commit(commit).await.unwrap();
    }

    async fn ask(&self, question: MetricQuestion) -> Result<MetricAnswer, Error> {
        self.query.metrics(&self.scope, question).await
    }
}

fn point(seconds: i64, value: PointValue) -> Point {
    Point {
        time: at(seconds),
        start: at(-1_000),
        attributes: Attributes::default(),
        value,
        detail: PointDetail::default(),
    }
}

/// A counter that counts `per_second`, exported every ten seconds for `seconds`.
fn counter(per_second: i64, seconds: i64) -> impl Iterator<Item = Point> {
    (0..seconds / 10).map(move |step| point(10 * step, PointValue::Int(10 * step * per_second)))
}

fn question(name: &str, function: Function) -> MetricQuestion {
    MetricQuestion {
        name: name.to_owned(),
        function,
        window: Window::new(at(60), at(180)),
        step: Duration::from_secs(60),
        range: Duration::from_secs(60),
        group_by: Vec::new(),
        filters: Vec::new(),
        top: None,
    }
}

/// The groups of the first part, as text.
fn groups(answer: &MetricAnswer) -> Vec<String> {
    let groups = answer.parts[0].groups.iter();
    groups.map(|group| format!("{} {} {:?}", group.labels.join("/"), group.series, group.values)).collect()
}

async fn shop_with_counters() -> Shop {
    let mut shop = Shop::open().await;
    let calls = definition("calls", MetricKind::Sum, Temporality::Cumulative);
    shop.send(&calls, ("cart", "a"), &[("route", "/add")], counter(1, 300));
    shop.send(&calls, ("cart", "b"), &[("route", "/add")], counter(2, 300));
    shop.send(&calls, ("cart", "b"), &[("route", "/drop")], counter(4, 300));
    shop.send(&calls, ("pay", "c"), &[], counter(8, 300));
    shop.commit().await;
    shop
}

#[test]
fn rates_are_summed_by_group_and_filter() {
    run(async {
        let shop = shop_with_counters().await;
        let ask = async |by: &[&str], filters: &[(&str, &str, bool)], top| {
            let question = MetricQuestion {
                group_by: by.iter().map(|key| Key::read(key)).collect(),
                filters: filters
                    .iter()
                    .map(|(key, value, equal)| Filter {
                        key: Key::read(key),
                        value: (*value).to_owned(),
                        equal: *equal,
                    })
                    .collect(),
                top,
                ..question("calls", Function::Rate)
            };
            groups(&shop.ask(question).await.unwrap())
        };
        assert_eq!(ask(&[], &[], None).await, [" 4 [Some(15.0), Some(15.0)]"]);
        assert_eq!(
            ask(&["service", "route"], &[], None).await,
            [
                "pay/ 1 [Some(8.0), Some(8.0)]",
                "cart//drop 1 [Some(4.0), Some(4.0)]",
                "cart//add 2 [Some(3.0), Some(3.0)]"
            ]
        );
        let by_instance = ["c 1 [Some(8.0), Some(8.0)]", "b 2 [Some(6.0), Some(6.0)]"];
        assert_eq!(ask(&["instance"], &[], Some(2)).await, by_instance);
        assert_eq!(
            ask(&["resource.zone"], &[("route", "/add", false)], None).await,
            ["north 2 [Some(12.0), Some(12.0)]"]
        );
        assert_eq!(
            ask(&[], &[("service", "cart", true), ("route", "/add", true)], None).await,
            [" 2 [Some(3.0), Some(3.0)]"]
        );
        assert_eq!(ask(&[], &[("route", "", true)], None).await, [" 1 [Some(8.0), Some(8.0)]"]);
    });
}

#[test]
fn keys_that_no_series_has_are_told() {
    run(async {
        let shop = shop_with_counters().await;
        let ask = async |by: &[&str]| {
            let group_by = by.iter().map(|key| Key::read(key)).collect();
            let question = MetricQuestion { group_by, ..question("calls", Function::Rate) };
            let answer = shop.ask(question).await.unwrap();
            (answer.absent, answer.keys.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(ask(&["service", "version", "route", "resource.zone"]).await, (Vec::new(), Vec::new()));
        let known = [
            "instance",
            "resource.service.instance.id",
            "resource.service.name",
            "resource.zone",
            "route",
            "service",
            "version",
        ];
        let wanted = vec![Key::Attribute("zone".to_owned()), Key::Resource("route".to_owned())];
        let known = known.map(str::to_owned).to_vec();
        assert_eq!(ask(&["zone", "route", "resource.route"]).await, (wanted, known));
        let nobodys = Filter { key: Key::Service, value: "crat".to_owned(), equal: true };
        let group_by = vec![Key::read("zone")];
        let question =
            MetricQuestion { filters: vec![nobodys], group_by, ..question("calls", Function::Rate) };
        assert!(shop.ask(question).await.unwrap().absent.is_empty(), "without series nothing is absent");
    });
}

#[test]
fn steps_are_whole_and_ranges_slide() {
    run(async {
        let shop = shop_with_counters().await;
        let asked = MetricQuestion {
            window: Window::new(at(65), at(130)),
            step: Duration::from_secs(30),
            range: Duration::from_secs(60),
            ..question("calls", Function::Increase)
        };
        let answer = shop.ask(asked).await.unwrap();
        assert_eq!(answer.window, Window::new(at(60), at(150)));
        assert_eq!(groups(&answer), [" 4 [Some(900.0), Some(900.0), Some(900.0)]"]);
        assert_eq!(answer.parts[0].groups_left_out, 0);
        // Before and behind the points nothing is known.
        let asked =
            MetricQuestion { window: Window::new(at(-60), at(0)), ..question("calls", Function::Rate) };
        assert_eq!(groups(&shop.ask(asked).await.unwrap()), [" 4 [None]"]);
    });
}

#[test]
fn kinds_and_units_of_one_name_stay_apart() {
    run(async {
        let mut shop = Shop::open().await;
        let gauge = definition("size", MetricKind::Gauge, Temporality::None);
        shop.send(&gauge, ("cart", "a"), &[], [point(70, PointValue::Double(2.5))]);
        let sum = definition("size", MetricKind::Sum, Temporality::Delta);
        shop.send(&sum, ("cart", "a"), &[], [point(70, PointValue::Int(6))]);
        let mut packer = Packer::default();
        packer.fixed64s(6, [0_u64, 10, 0].into_iter());
        packer.fixed64s(7, [1.0_f64, 2.0].map(f64::to_bits).into_iter());
        let distribution = PointValue::Distribution { count: 10, sum: Some(15.0) };
        let detail = PointDetail::from_checked(packer.finish());
        let histogram = definition("size", MetricKind::Histogram, Temporality::Delta);
        shop.send(&histogram, ("cart", "a"), &[], [Point { detail, ..point(70, distribution) }]);
        shop.commit().await;
        let answer = shop.ask(question("size", "p50".parse().unwrap())).await.unwrap();
        let parts = answer.parts.iter().map(|part| (part.kind, part.unfit.is_some(), part.groups.len()));
        let expected =
            [(MetricKind::Gauge, true, 0), (MetricKind::Sum, true, 0), (MetricKind::Histogram, false, 1)];
        assert_eq!(parts.collect::<Vec<_>>(), expected);
        assert_eq!(answer.parts[2].groups[0].values, [Some(1.5), None]);
        let sums = shop.ask(question("size", Function::Sum)).await.unwrap();
        let values: Vec<_> = sums.parts.iter().map(|part| part.groups[0].values[0]).collect();
        assert_eq!(values, [Some(2.5), Some(6.0), Some(15.0)]);
    });
}

#[test]
fn what_cannot_be_answered_says_how_to_ask() {
    run(async {
        let mut shop = Shop::open().await;
        let refusal = async |shop: &Shop, question| match shop.ask(question).await {
            Err(Error::Metrics(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
        let rate = || question("queue.length", Function::Rate);
        let unknown = refusal(&shop, rate()).await;
        assert!(matches!(&unknown, Refusal::UnknownMetric { known, .. } if known.is_empty()));
        let gauge = definition("queue.length", MetricKind::Gauge, Temporality::None);
        for number in 0..=GROUPS_MAX {
            let label = number.to_string();
            shop.send(&gauge, ("cart", "a"), &[("queue", &label)], [point(70, PointValue::Int(1))]);
        }
        shop.commit().await;
        let unknown = refusal(&shop, question("length.queue", Function::Rate)).await;
        assert_eq!(unknown.kind(), Kind::NotFound);
        assert!(matches!(&unknown, Refusal::UnknownMetric { known, .. } if *known == ["queue.length"]));
        let of_cart = Filter { key: Key::Service, value: "cart".to_owned(), equal: true };
        let unknown = MetricQuestion { filters: vec![of_cart], ..question("length.queue", Function::Rate) };
        assert!(matches!(refusal(&shop, unknown).await, Refusal::UnknownMetric { .. }), "of a service too");
        let unfit = refusal(&shop, rate()).await;
        assert_eq!(
            unfit.to_string(),
            "`queue.length` does not answer `rate`: a gauge does not count anything; ask for avg, min, max, last or sum"
        );
        let average = || question("queue.length", Function::Average);
        let by_queue = MetricQuestion { group_by: vec![Key::read("queue")], ..average() };
        let too_many = refusal(&shop, by_queue.clone()).await;
        assert_eq!(too_many, Refusal::TooManyToShow { groups: GROUPS_MAX + 1, max: GROUPS_MAX });
        let top = shop.ask(MetricQuestion { top: Some(3), ..by_queue.clone() }).await.unwrap();
        assert_eq!((top.parts[0].groups.len(), top.parts[0].groups_left_out), (3, GROUPS_MAX - 2));
        let long = Window::new(at(0), at(60 * STEPS_MAX as i64));
        let too_many = refusal(&shop, MetricQuestion { window: long, ..by_queue }).await;
        assert!(matches!(too_many, Refusal::TooManyGroups { .. }), "{too_many}");
        let longer = Window::new(at(0), at(60 * (STEPS_MAX as i64 + 1)));
        let Refusal::TooManySteps { step_seconds, .. } =
            refusal(&shop, MetricQuestion { window: longer, ..average() }).await
        else {
            panic!("too many steps are refused");
        };
        let step = Duration::from_secs(step_seconds);
        let advised = MetricQuestion { window: longer, step, range: step, ..average() };
        assert!(shop.ask(advised).await.is_ok(), "the step that was advised will do");
        let empty = refusal(&shop, MetricQuestion { window: Window::new(at(5), at(5)), ..average() }).await;
        assert_eq!(empty, Refusal::EmptyWindow);
        for step in [Duration::ZERO, Duration::from_millis(1_500)] {
            assert_eq!(refusal(&shop, MetricQuestion { step, ..average() }).await, Refusal::Step);
        }
        for range in [Duration::ZERO, Duration::from_secs(90), Duration::from_secs(60 * 1_001)] {
            let refused = refusal(&shop, MetricQuestion { range, ..average() }).await;
            assert!(matches!(refused, Refusal::Range { .. }), "{refused}");
        }
        let keys = MetricQuestion { group_by: vec![Key::Service; 17], ..average() };
        assert!(matches!(refusal(&shop, keys).await, Refusal::TooManyKeys { .. }));
    });
}

#[test]
fn tenants_do_not_see_each_other() {
    run(async {
        let mut shop = shop_with_counters().await;
        shop.scope = Scope::authorized(TenantId::try_from("other").unwrap());
        let names = shop.store.names().tenant(shop.scope.tenant());
        assert!(shop.query.tenant(&shop.scope) == Some(names));
        assert!(matches!(
            shop.ask(question("calls", Function::Rate)).await,
            Err(Error::Metrics(Refusal::UnknownMetric { .. }))
        ));
    });
}

#[test]
fn points_are_read_page_by_page() {
    run(async {
        let mut shop = Shop::open().await;
        let calls = definition("calls", MetricKind::Sum, Temporality::Cumulative);
        // Three series of 50 points.
        for (instance, per_second) in [("a", 1), ("b", 2), ("c", 4)] {
            let points = (0..50).map(move |step| point(step, PointValue::Int(step * per_second)));
            shop.send(&calls, ("cart", instance), &[], points);
        }
        shop.commit().await;
        let tenant = shop.query.tenant(&shop.scope).unwrap();
        let asked = MetricQuestion {
            window: Window::new(at(0), at(50)),
            step: Duration::from_secs(10),
            range: Duration::from_secs(10),
            group_by: vec![Key::Instance],
            ..question("calls", Function::Increase)
        };
        let plan = crate::query::metrics::plan(&asked).unwrap();
        let series = shop.query.series_of(tenant, &asked, &plan).await.unwrap().unwrap();
        let (_, part) = shop.query.parts(series, &asked, plan.steps).unwrap().pop_first().unwrap();
        // A page ends within a series, just behind one, and behind all of them.
        for page_points in [51, 99, 100, 149, 150, 1_000] {
            let pages = Pages { page_points, points: 1_000, ..Pages::OF_A_QUESTION };
            let groups = shop.query.reckon(tenant, &part, plan, pages).await.unwrap();
            let value = |steps: &Vec<Option<Box<Gathered>>>| steps[4].as_ref()?.answer(Function::Increase);
            let last: Vec<_> = groups.iter().map(value).collect();
            assert_eq!(last, [Some(10.0), Some(20.0), Some(40.0)], "pages of {page_points}");
        }
        for pages in [
            Pages { page_points: 50, points: 1_000, ..Pages::OF_A_QUESTION },
            Pages { page_points: 60, points: 149, ..Pages::OF_A_QUESTION },
        ] {
            let refused = shop.query.reckon(tenant, &part, plan, pages).await;
            assert!(matches!(refused, Err(Error::Metrics(Refusal::TooManyPoints { .. }))), "{pages:?}");
        }
    });
}

#[test]
fn what_was_not_told_is_counted() {
    run(async {
        let mut shop = Shop::open().await;
        let sizes = definition("sizes", MetricKind::Histogram, Temporality::Delta);
        for (instance, bounds) in [("a", [1.0_f64, 2.0]), ("b", [3.0, 4.0])] {
            let mut packer = Packer::default();
            packer.fixed64s(6, [0_u64, 10, 0].into_iter());
            packer.fixed64s(7, bounds.map(f64::to_bits).into_iter());
            let detail = PointDetail::from_checked(packer.finish());
            let value = PointValue::Distribution { count: 10, sum: None };
            shop.send(&sizes, ("cart", instance), &[], [Point { detail, ..point(70, value) }]);
        }
        shop.commit().await;
        let median = question("sizes", Function::Quantile(0.5));
        let together = shop.ask(median.clone()).await.unwrap();
        assert_eq!((together.parts[0].not_told, together.parts[0].groups[0].values[0]), (1, None));
        let apart = shop.ask(MetricQuestion { group_by: vec![Key::Instance], ..median }).await.unwrap();
        assert_eq!(apart.parts[0].not_told, 0);
        assert_eq!(groups(&apart), ["b 1 [Some(3.5), None]", "a 1 [Some(1.5), None]"]);
    });
}

#[test]
fn suggestions_share_words() {
    let names = ["http.server.duration", "queue.length", "http.client.duration"];
    let found = suggestions("http_client_latency", names.into_iter());
    assert_eq!(found, ["http.client.duration", "http.server.duration", "queue.length"]);
}
