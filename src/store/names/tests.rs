use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::info::{InstrumentationInfo, ResourceInfo, ServiceInfo};
use super::{Dated, Key, Limits, NAME_BYTES_MAX, Names, OVERFLOW, Oldest, Pending};
use crate::model::id::{InstrumentationId, ResourceId, ServiceId, TenantNumber};
use crate::model::node::NodeKind;
use crate::model::packed::Attributes;
use crate::model::packed::write::Packer;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::SpanKind;
use crate::model::tenant::TenantId;
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use crate::store::day::Day;
use crate::store::partition::{Family, Partitions};

const AT: UnixNanos = UnixNanos(7);

fn small() -> (Names, TenantNumber) {
    let names = Names::with_limits(Limits { services: 2, operations: 2, resources: 2, instrumentations: 2 });
    let tenant = names.tenant(&TenantId::try_from("t").unwrap());
    (names, tenant)
}

fn resource(service: &str, instance: &str) -> Arc<Resource> {
    let mut packer = Packer::default();
    packer.attribute_text(1, "service.name", service);
    packer.attribute_text(1, "service.version", "1.2");
    packer.attribute_text(1, "service.instance.id", instance);
    Arc::new(Resource {
        service: service.into(),
        attributes: Attributes::from_checked(packer.finish()),
        dropped_attributes: 0,
        schema_url: Text::default(),
    })
}

#[test]
fn names_are_told_apart_by_tenant_and_kind() {
    let names = Names::default();
    let [a, b] = ["a", "b"].map(|name| names.tenant(&TenantId::try_from(name).unwrap()));
    let shop = names.service(a, NodeKind::Service, "shop", AT);
    assert_eq!(names.service(a, NodeKind::Service, "shop", UnixNanos(9)), shop);
    let others =
        [names.service(b, NodeKind::Service, "shop", AT), names.service(a, NodeKind::Queue, "shop", AT)];
    assert!(!others.contains(&shop));
    assert_eq!(names.find_services(a, "shop").len(), 2);
    assert_eq!(names.service_info(shop).unwrap().first_seen, AT);
    let server = names.operation(a, shop, SpanKind::SERVER, "pay", AT);
    assert_ne!(names.operation(a, shop, SpanKind::CLIENT, "pay", AT), server);
    assert_eq!(names.operation(a, shop, SpanKind::SERVER, "pay", AT), server);
    assert_eq!(names.operations_of(shop).len(), 2);
    assert_eq!(names.find_tenant(&TenantId::try_from("c").unwrap()), None);
    assert_eq!(names.tenants().len(), 2);
    assert_eq!(names.service_info(ServiceId(0)), None);
    assert_eq!(names.service_info(ServiceId(99)), None);
}

#[test]
fn a_resource_is_the_same_in_whatever_order_its_attributes_come() {
    let names = Names::default();
    let tenant = names.tenant(&TenantId::try_from("t").unwrap());
    let service = names.service(tenant, NodeKind::Service, "shop", AT);
    let id = |keys: [&str; 3], dropped_attributes| {
        let mut packer = Packer::default();
        keys.iter().for_each(|key| packer.attribute_text(1, key, "value"));
        let attributes = Attributes::from_checked(packer.finish());
        let resource = Resource { attributes, dropped_attributes, ..(*resource("shop", "1")).clone() };
        names.resource(tenant, service, &Arc::new(resource), AT)
    };
    let one = id(["k8s.pod.name", "k8s.pod.uid", "service.name"], 0);
    assert_eq!(id(["service.name", "k8s.pod.uid", "k8s.pod.name"], 0), one);
    assert_eq!(id(["k8s.pod.uid", "service.name", "k8s.pod.name"], 3), one);
    assert_ne!(id(["k8s.pod.uid", "service.name", "k8s.node.name"], 0), one);
}

#[test]
fn resources_and_scopes_are_known_by_content() {
    let names = Names::default();
    let tenant = names.tenant(&TenantId::try_from("t").unwrap());
    let shop = names.service(tenant, NodeKind::Service, "shop", AT);
    let one = names.resource(tenant, shop, &resource("shop", "1"), AT);
    assert_eq!(names.resource(tenant, shop, &resource("shop", "1"), AT), one);
    let two = names.resource(tenant, shop, &resource("shop", "2"), UnixNanos(6));
    let info = names.resource_info(one).unwrap();
    assert_eq!((&*info.version, &*info.instance), ("1.2", "1"));
    let order: Vec<_> = names.resources_of(shop).iter().map(|resource| resource.id).collect();
    assert_eq!(order, [two, one]);
    let scope = |name: &str| Arc::new(Instrumentation { name: name.into(), ..Instrumentation::default() });
    let http = names.instrumentation(tenant, &scope("http"), AT);
    assert_eq!(names.instrumentation(tenant, &scope("http"), AT), http);
    assert_ne!(names.instrumentation(tenant, &scope("sql"), AT), http);
}

#[test]
fn what_is_known_for_good_does_not_hold_the_request_that_it_came_in() {
    let names = Names::default();
    let tenant = names.tenant(&TenantId::try_from("t").unwrap());
    let shop = names.service(tenant, NodeKind::Service, "shop", AT);
    let known = resource("shop", "1");
    let packed = known.attributes.as_bytes();
    let body = Bytes::from([&packed[..], &[0; 10_000]].concat());
    let attributes = || Attributes::from_checked(body.slice(..packed.len()));
    let text = || Text::from_bytes(body.slice(body.len() - 9..));
    let sent = Resource { attributes: attributes(), schema_url: text(), ..(*known).clone() };
    let id = names.resource(tenant, shop, &Arc::new(sent), AT);
    let scope = Instrumentation {
        name: text(),
        version: text(),
        attributes: attributes(),
        ..Instrumentation::default()
    };
    names.instrumentation(tenant, &Arc::new(scope), AT);
    assert_eq!(names.resource_info(id).unwrap().resource.attributes, known.attributes);
    assert!(body.is_unique(), "the request is still held");
}

#[test]
fn past_a_limit_new_names_share_an_entry() {
    let (names, tenant) = small();
    let known = names.service(tenant, NodeKind::Service, "a", AT);
    names.service(tenant, NodeKind::Database, "b", AT);
    assert_eq!(names.overflows(), 0);
    let shared = names.service(tenant, NodeKind::Service, "c", AT);
    assert_eq!(names.service(tenant, NodeKind::Service, "d", AT), shared);
    assert_eq!(&*names.service_info(shared).unwrap().name, OVERFLOW);
    let queues = names.service(tenant, NodeKind::Queue, "c", AT);
    assert_eq!(names.service_info(queues).unwrap().kind, NodeKind::Queue);
    assert_eq!(names.service(tenant, NodeKind::Service, "a", AT), known);
    assert_eq!(names.overflows(), 3);
    let other = names.tenant(&TenantId::try_from("other").unwrap());
    let free = names.service(other, NodeKind::Service, "c", AT);
    assert_eq!(&*names.service_info(free).unwrap().name, "c");
}

#[test]
fn past_a_limit_operations_stay_with_their_service() {
    let (names, tenant) = small();
    let [a, b] = ["a", "b"].map(|name| names.service(tenant, NodeKind::Service, name, AT));
    let known = ["x", "y"].map(|name| names.operation(tenant, a, SpanKind::SERVER, name, AT));
    let shared_a = names.operation(tenant, a, SpanKind::CLIENT, "z", AT);
    assert_eq!(names.operation(tenant, a, SpanKind::SERVER, "w", AT), shared_a);
    let shared_b = names.operation(tenant, b, SpanKind::CLIENT, "z", AT);
    assert_ne!(shared_a, shared_b);
    assert_eq!(names.operation_info(shared_b).unwrap().service, b);
    assert_eq!(names.operation(tenant, a, SpanKind::SERVER, "x", AT), known[0]);

    let resources = ["1", "2", "3", "4"].map(|instance| {
        let id = names.resource(tenant, a, &resource("a", instance), AT);
        names.resource_info(id).unwrap()
    });
    assert_eq!(resources[2].id, resources[3].id);
    assert_eq!((resources[3].service, &*resources[3].instance), (a, OVERFLOW));
    let scope = |name: &str| Arc::new(Instrumentation { name: name.into(), ..Instrumentation::default() });
    let scopes = ["1", "2", "3", "4"].map(|name| names.instrumentation(tenant, &scope(name), AT));
    assert_eq!(scopes[2], scopes[3]);
    assert_ne!(scopes[1], scopes[3]);
    assert_eq!(names.overflows(), 3 + 2 + 2);
}

#[test]
fn long_names_are_cut_at_a_character() {
    let (names, tenant) = small();
    let long = format!("{}é", "x".repeat(NAME_BYTES_MAX - 1));
    let id = names.service(tenant, NodeKind::Service, &long, AT);
    assert_eq!(&*names.service_info(id).unwrap().name, "x".repeat(NAME_BYTES_MAX - 1));
    assert_eq!(names.service(tenant, NodeKind::Service, &long, AT), id);
    assert_eq!(names.find_services(tenant, &long)[0].id, id);
}

#[test]
fn what_is_pending_leaves_once_it_is_written() {
    let (names, tenant) = small();
    names.service(tenant, NodeKind::Service, "a", AT);
    let first = names.pending();
    assert_eq!((first.tenants.len(), first.services.len()), (1, 1));
    let late = names.service(tenant, NodeKind::Service, "b", AT);
    names.written(&first);
    let second = names.pending();
    assert_eq!((second.tenants.len(), second.services.len()), (0, 1));
    assert_eq!(second.services[0].entry.id, late);
}

/// The first instant of a day.
fn on(day: i32) -> UnixNanos {
    Day(day).start()
}

/// What is kept where no day came back.
fn since(raw: i32, any: i32) -> Oldest {
    Oldest { usual: Day(raw), raw: Day(raw), any: Day(any) }
}

/// As many commits as may be under way.
fn commits(names: &Names) {
    for _ in 0..3 {
        names.written(&names.pending());
        names.moved_on();
    }
}

#[test]
fn what_rests_takes_no_room_and_comes_back_as_it_was() {
    let (names, tenant) = small();
    let service = |name: &str, day| names.service(tenant, NodeKind::Service, name, on(day));
    let old = [service("a", 1), service("b", 1)];
    let shared = service("c", 5);
    assert_eq!(&*names.service_info(shared).unwrap().name, OVERFLOW);
    names.rest(since(3, 0));
    for name in ["c", "d"] {
        assert_eq!(&*names.service_info(service(name, 5)).unwrap().name, name);
    }
    assert_eq!(service("a", 5), old[0]);
    assert_eq!(service("e", 5), shared);
    let seen = names.pending().seen;
    assert_eq!(seen, [(Key::from(old[0]), Day(5))]);
    // It is noted once a day.
    assert_eq!((service("a", 5), service("b", 0)), (old[0], old[1]));
    assert_eq!(names.pending().seen[1..], [(Key::from(old[1]), Day(3))]);
}

#[test]
fn what_is_named_no_more_is_forgotten_with_what_it_has() {
    let (names, tenant) = small();
    let scope = |name: &str| Arc::new(Instrumentation { name: name.into(), ..Instrumentation::default() });
    let named = |service: &str, day| {
        let id = names.service(tenant, NodeKind::Service, service, on(day));
        let operation = names.operation(tenant, id, SpanKind::SERVER, "pay", on(day));
        let resource = names.resource(tenant, id, &resource(service, "1"), on(day));
        (id, operation, resource, names.instrumentation(tenant, &scope(service), on(day)))
    };
    let old = named("old", 1);
    let new = named("new", 9);
    let oldest = since(5, 3);
    assert!(!names.rest(oldest), "commits may be under way");
    commits(&names);
    assert!(names.rest(oldest));
    let referred = HashSet::from([Key::from(old.1)]);
    let first = names.forget(oldest, &referred, 100);
    assert_eq!(first, [(tenant, Key::from(old.2)), (tenant, Key::from(old.3))]);
    assert!(!names.rest(oldest), "nothing is left");
    let second = names.forget(oldest, &HashSet::new(), 100);
    assert_eq!(second, [(tenant, Key::from(old.0)), (tenant, Key::from(old.1))]);
    assert_eq!((names.service_info(old.0), names.operation_info(old.1)), (None, None));
    assert_eq!((names.resource_info(old.2), names.instrumentation_info(old.3)), (None, None));
    assert!(names.find_services(tenant, "old").is_empty());
    assert_eq!(names.pending().gone.len(), 4);
    let again = named("old", 9);
    assert_eq!(again.0.0, new.0.0 + 1);
    assert_eq!(names.service_info(again.0).unwrap().first_seen, on(9));
    assert_eq!(named("new", 9), new);
}

#[test]
fn what_is_handed_out_is_not_forgotten_before_it_is_written() {
    let (names, tenant) = small();
    let scope = |name: &str, day| {
        let scope = Instrumentation { name: name.into(), ..Instrumentation::default() };
        names.instrumentation(tenant, &Arc::new(scope), on(day))
    };
    let [late, old, _] = ["late", "old", "shared"].map(|name| scope(name, 1));
    let oldest = since(5, 5);
    names.rest(oldest);
    commits(&names);
    // Some telemetry comes late, and is not written yet.
    assert_eq!(scope("late", 1), late);
    let pending = scope("pending", 1);
    let gone = names.forget(oldest, &HashSet::new(), 100);
    assert_eq!(gone, [(tenant, Key::from(old))]);
    for id in [late, pending] {
        assert!(names.instrumentation_info(id).is_some());
    }
}

#[test]
fn as_many_as_may_take_room_are_kept_while_they_rest() {
    let (names, tenant) = small();
    let service = |name: &str, day| names.service(tenant, NodeKind::Service, name, on(day));
    let [a, b] = [service("a", 1), service("b", 2)];
    names.rest(since(5, 0));
    let [c, d] = [service("c", 6), service("d", 7)];
    let oldest = since(10, 0);
    names.rest(oldest);
    let e = service("e", 20);
    commits(&names);
    assert!(names.rest(oldest));
    let mut gone = HashSet::new();
    while names.rest(oldest) {
        gone.extend(names.forget(oldest, &HashSet::new(), 1).into_iter().map(|(_, key)| key));
    }
    assert_eq!(gone, HashSet::from([a, b].map(Key::from)));
    for id in [c, d, e] {
        assert!(names.service_info(id).is_some());
    }
}

#[test]
fn what_rests_takes_no_room_again_when_a_day_comes_back_and_is_not_forgotten() {
    let (names, tenant) = small();
    let service = |name: &str, day| names.service(tenant, NodeKind::Service, name, on(day));
    let [a, b] = [service("a", 1), service("b", 1)];
    names.rest(since(3, 0));
    let c = service("c", 4);
    names.rest(since(5, 0));
    let late = since(1, 0);
    names.rest(late);
    commits(&names);
    let new = [service("d", 6), service("e", 6)];
    assert_eq!(new.map(|id| names.service_info(id).unwrap().name.to_string()), ["d", "e"]);
    assert_eq!(&*names.service_info(service("f", 6)).unwrap().name, OVERFLOW);
    assert!(names.rest(late));
    assert!(names.forget(late, &HashSet::new(), 100).is_empty());
    // Of three that rest there is room for two.
    let oldest = since(5, 0);
    assert!(names.rest(oldest));
    assert_eq!(names.forget(oldest, &HashSet::new(), 100), [(tenant, Key::from(a))]);
    assert_eq!([service("b", 2), service("c", 2)], [b, c]);
}

#[test]
fn days_that_came_back_alone_are_not_what_entries_rest_by() {
    let oldest = |days: &[(i32, &[Family])]| {
        let of_day = |(day, families): &(i32, &[Family])| {
            families.iter().map(|family| family.partition(Day(*day))).collect::<Vec<_>>()
        };
        let partitions = Partitions(days.iter().flat_map(of_day).collect());
        Oldest::of(&partitions).map(|Oldest { usual, raw, any }| [usual.0, raw.0, any.0])
    };
    let all = &[Family::Spans, Family::Logs, Family::Points, Family::Fine][..];
    let (logs, points, minute) = (&[Family::Logs][..], &[Family::Points][..], &[Family::Minute][..]);
    assert_eq!(oldest(&[(7, minute)]), None);
    // Points are kept for longest.
    let usual = [(20, points), (21, points), (22, all), (23, all)];
    let and_usual = |before: &[(i32, &[Family])]| oldest(&[before, &usual[..]].concat());
    assert_eq!(and_usual(&[]), Some([19, 19, 19]));
    assert_eq!(and_usual(&[(17, logs)]), Some([19, 16, 16]));
    assert_eq!(and_usual(&[(10, minute), (16, points), (17, logs)]), Some([19, 15, 9]));
    // The server stood still for some days.
    assert_eq!(and_usual(&[(16, logs), (17, all)]), Some([15, 15, 15]));
    // Nobody made days ahead.
    assert_eq!(oldest(&[(17, logs), (22, points)]), Some([16, 16, 16]));
}

/// Attributes with these keys, in this order.
fn with_keys(keys: [&str; 2]) -> Attributes {
    let mut packer = Packer::default();
    keys.iter().for_each(|key| packer.attribute_text(1, key, "value"));
    Attributes::from_checked(packer.finish())
}

fn dated<T>(entry: T, day: i32) -> Dated<T> {
    Dated { entry: Arc::new(entry), last: Day(day) }
}

fn ordered(keys: [&str; 2]) -> (Arc<Resource>, Arc<Instrumentation>) {
    let resource = Resource { attributes: with_keys(keys), ..(*resource("shop", "1")).clone() };
    let scope = Instrumentation { attributes: with_keys(keys), ..Instrumentation::default() };
    (Arc::new(resource), Arc::new(scope))
}

/// Earlier builds stored a content once for each order of its attributes.
#[test]
fn of_a_content_that_is_stored_twice_either_row_goes_once_it_is_named_no_more() {
    let tenant = TenantNumber(1);
    let (one, other) = (["a", "b"], ["b", "a"]);
    for (last_days, gone, left) in [([20, 9], 2, 1), ([9, 20], 1, 2)] {
        let names = Names::default();
        let service = ServiceInfo {
            id: ServiceId(1),
            tenant,
            kind: NodeKind::Service,
            name: "shop".into(),
            first_seen: AT,
        };
        let mut rows = Pending {
            tenants: vec![(tenant, TenantId::try_from("t").unwrap())],
            services: vec![dated(service, 20)],
            ..Pending::default()
        };
        // The last one stays, whatever its age.
        let contents = [(1, other, last_days[0]), (2, one, last_days[1]), (3, ["a", "c"], 20)];
        for (id, keys, day) in contents {
            let (resource, instrumentation) = ordered(keys);
            let (version, instance) = ("".into(), "".into());
            let (id, service) = (ResourceId(id), ServiceId(1));
            let info = ResourceInfo { id, tenant, service, version, instance, resource, first_seen: AT };
            rows.resources.push(dated(info, day));
            let info = InstrumentationInfo { id: InstrumentationId(id.0), tenant, instrumentation };
            rows.instrumentations.push(dated(info, day));
        }
        names.load(rows);
        let are_found_as = |id: u32| {
            for keys in [one, other] {
                let (resource, scope) = ordered(keys);
                assert_eq!(names.resource(tenant, ServiceId(1), &resource, on(1)), ResourceId(id));
                assert_eq!(names.instrumentation(tenant, &scope, on(1)), InstrumentationId(id));
            }
        };
        are_found_as(1);
        let oldest = since(10, 10);
        names.rest(oldest);
        commits(&names);
        assert!(names.rest(oldest));
        let expected = [Key::from(ResourceId(gone)), Key::from(InstrumentationId(gone))];
        assert_eq!(names.forget(oldest, &HashSet::new(), 100), expected.map(|key| (tenant, key)));
        are_found_as(left);
        assert_eq!(names.resources_of(ServiceId(1)).len(), 2);
    }
}
