//! Which metrics there are, of whom and of which kind.

use super::{Shop, at, definition, point, run};
use crate::model::metric::{MetricKind, PointValue, Temporality};
use crate::model::time::Window;
use crate::query::Error;

fn window(from: i64, to: i64) -> Window {
    Window::new(at(from), at(to))
}

#[test]
fn names_of_a_service_are_those_that_it_reports_in_the_window() {
    run(async {
        let mut shop = Shop::open().await;
        let load = definition("load", MetricKind::Gauge, Temporality::None);
        let calls = definition("calls", MetricKind::Sum, Temporality::Cumulative);
        let value = || PointValue::Double(1.0);
        // Two report to the end, one only long before it; another service reports what this one has left off.
        for instance in ["a", "b"] {
            let points = (0..60).map(|minute| point(60 * minute, value()));
            shop.send(&load, ("cart", instance), &[], points);
        }
        shop.send(&load, ("cart", "c"), &[], [point(10, value())]);
        shop.send(&calls, ("cart", "a"), &[], [point(-600, value())]);
        shop.send(&calls, ("pay", "a"), &[], [point(3_000, value())]);
        shop.commit().await;
        let names = async |service: &str, window: Window| {
            let (names, more) = shop.query.metric_names_of(&shop.scope, window, service).await.unwrap();
            assert!(!more);
            names.into_iter().map(|it| (it.name, it.kind, it.series)).collect::<Vec<_>>()
        };
        let gauge = |series| vec![("load".to_owned(), MetricKind::Gauge, series)];
        assert_eq!(names("cart", window(0, 3_600)).await, gauge(3));
        assert_eq!(names("cart", window(60, 3_600)).await, gauge(2));
        assert_eq!(names("cart", window(-900, -300)).await, [("calls".to_owned(), MetricKind::Sum, 1)]);
        assert!(names("cart", window(-300, 0)).await.is_empty());
        assert_eq!(names("pay", window(0, 3_600)).await, [("calls".to_owned(), MetricKind::Sum, 1)]);
        let unknown = shop.query.metric_names_of(&shop.scope, window(0, 3_600), "crat").await;
        assert!(matches!(unknown, Err(Error::UnknownService { .. })), "{unknown:?}");
    });
}

#[test]
fn where_kinds_differ_those_that_report_count() {
    run(async {
        let mut shop = Shop::open().await;
        let before = definition("queue", MetricKind::Sum, Temporality::Cumulative);
        let now = definition("queue", MetricKind::Gauge, Temporality::None);
        shop.send(&before, ("cart", "a"), &[], [point(10, PointValue::Double(1.0))]);
        shop.send(&now, ("cart", "a"), &[], [point(3_000, PointValue::Double(1.0))]);
        shop.send(&before, ("pay", "a"), &[], [point(3_000, PointValue::Double(1.0))]);
        shop.commit().await;
        let kinds = async |window: Window, name: &str, service: Option<&str>| {
            let kinds = shop.query.metric_kinds(&shop.scope, window, (name, service)).await.unwrap();
            kinds.into_iter().collect::<Vec<_>>()
        };
        let (early, late) = (window(0, 100), window(2_000, 3_600));
        assert_eq!(kinds(early, "queue", Some("cart")).await, [MetricKind::Sum]);
        assert_eq!(kinds(late, "queue", Some("cart")).await, [MetricKind::Gauge]);
        assert_eq!(kinds(late, "queue", None).await, [MetricKind::Gauge, MetricKind::Sum]);
        assert_eq!(kinds(early, "queue", Some("pay")).await, [MetricKind::Sum], "there is no other");
        assert!(kinds(early, "no such metric", None).await.is_empty());
        assert!(kinds(early, "queue", Some("nobody")).await.is_empty());
    });
}
