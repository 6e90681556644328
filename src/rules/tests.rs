//! The rules as laws: they take away what they say and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::{collection, option, prop_assert_eq, proptest, sample};

use crate::model::batch::{Batch, Group};
use crate::model::id::{SpanId, TraceId};
use crate::model::log::{LogDetail, LogRecord, Severity};
use crate::model::metric::{MetricKind, Point, PointDetail, PointValue};
use crate::model::packed::Attributes;
use crate::model::packed::value::Value;
use crate::model::packed::wire::{Field, Fields};
use crate::model::packed::write::Packer;
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::{Span, SpanDetail, SpanKind, Status};
use crate::model::time::UnixNanos;

use super::*;

const KEYS: [&str; 8] = [
    "user.email",
    "user.id",
    "http.route",
    "http.request.header.cookie",
    "service.name",
    "exception.type",
    "a",
    "",
];

fn rules(denied: &[&str], allowed: &[&str]) -> Rules {
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    Rules::new(Options {
        attributes_denied: owned(denied),
        attributes_allowed: owned(allowed),
        ..Options::default()
    })
}

fn attribute(number: u32, key: &str, value: i64, packer: &mut Packer) {
    match value % 3 {
        0 => packer.attribute_text(number, key, &"x".repeat(value.unsigned_abs() as usize)),
        1 => packer.attribute_int(number, key, value),
        _ => packer
            .attribute(number, key, |any| any.message(6, |map| map.attribute_text(1, "user.email", "e"))),
    }
}

type Pairs = Vec<(&'static str, i64)>;
type Slice = [(&'static str, i64)];

fn pairs() -> impl Strategy<Value = Pairs> {
    collection::vec((sample::select(KEYS.to_vec()), 0..200_i64), 0..6)
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    let pattern = sample::select(vec!["user.email", "user.*", "http.*", "*", "none", "service.name", "a"]);
    collection::vec(pattern, 0..3)
}

/// A span with everything that may have attributes, and much that has none.
fn span(own: &Slice, event: &Slice, link: &Slice) -> SpanDetail {
    let mut packer = Packer::default();
    packer.text(3, "state=1");
    own.iter().for_each(|(key, value)| attribute(9, key, *value, &mut packer));
    packer.varint(10, 3);
    packer.message(11, |message| {
        message.fixed64(1, 7);
        message.text(2, "exception");
        event.iter().for_each(|(key, value)| attribute(3, key, *value, message));
    });
    packer.message(13, |message| {
        message.bytes(1, &[1; 16]);
        message.bytes(2, &[2; 8]);
        link.iter().for_each(|(key, value)| attribute(4, key, *value, message));
    });
    packer.message(15, |status| status.text(2, "user.email"));
    packer.fixed32(16, 0x301);
    SpanDetail::from_checked(packer.finish())
}

fn keys<'a>(attributes: impl Iterator<Item = (&'a str, Value<'a>)>) -> Vec<(&'a str, String)> {
    attributes.map(|(key, value)| (key, value.to_json())).collect()
}

/// The rules, said again in other words.
fn is_kept(key: &str, denied: &[&str], allowed: &[&str]) -> bool {
    let matches = |patterns: &[&str]| {
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == *pattern,
        })
    };
    let is_needed = ["service.name", "exception.type"].contains(&key);
    !matches(denied) && (allowed.is_empty() || is_needed || matches(allowed))
}

fn is_whole(packed: &[u8]) -> bool {
    let mut fields = Fields::new(packed);
    while fields.next().is_some() {}
    !fields.is_broken()
}

proptest! {
    #[test]
    fn what_is_left_out_is_what_the_lists_say_and_nothing_else(
        (own, event, link) in (pairs(), pairs(), pairs()),
        denied in patterns(),
        allowed in patterns(),
    ) {
        let rules = rules(&denied, &allowed);
        let detail = span(&own, &event, &link);
        let mut left_out = LeftOut::default();
        let kept = rules.span(detail.clone(), &mut left_out);
        assert!(is_whole(kept.as_bytes()));
        let wanted = |pairs: &Slice| -> Pairs {
            pairs.iter().copied().filter(|(key, _)| is_kept(key, &denied, &allowed)).collect()
        };
        prop_assert_eq!(&kept, &span(&wanted(&own), &wanted(&event), &wanted(&link)));
        let gone = own.len() + event.len() + link.len()
            - wanted(&own).len() - wanted(&event).len() - wanted(&link).len();
        prop_assert_eq!(left_out.denied + left_out.not_allowed, gone as u64);
        // Once more changes nothing, and copies nothing.
        let again = rules.span(kept.clone(), &mut LeftOut::default());
        prop_assert_eq!(again.as_bytes().as_ptr(), kept.as_bytes().as_ptr());
        if gone == 0 {
            prop_assert_eq!(kept.as_bytes().as_ptr(), detail.as_bytes().as_ptr());
        }
    }

    #[test]
    fn any_bytes_are_filtered_without_harm(bytes in collection::vec(any::<u8>(), 0..64)) {
        let detail = SpanDetail::from_checked(Bytes::from(bytes));
        let kept = rules(&["*"], &[]).span(detail.clone(), &mut LeftOut::default());
        assert!(kept.as_bytes().len() <= detail.as_bytes().len());
        assert_eq!(kept.attributes().count(), 0);
    }

    #[test]
    fn bodies_add_what_does_not_exist_yet_and_change_nothing_else(
        own in pairs(),
        members in collection::btree_map("[a-c.]{0,3}", prop_oneof![
            option::of("[a-zé\"\\\\]{0,9}").prop_map(|text| serde_json::json!(text)),
            any::<i64>().prop_map(|number| serde_json::json!(number)),
            any::<bool>().prop_map(|flag| serde_json::json!({"x": flag, "list": [1, 2]})),
        ], 0..6),
        is_map in any::<bool>(),
    ) {
        let body = serde_json::json!(members);
        let mut packer = Packer::default();
        packer.message(5, |any| if is_map { pack(&body, any) } else { any.text(1, &body.to_string()) });
        own.iter().for_each(|(key, value)| attribute(6, key, *value, &mut packer));
        let detail = LogDetail::from_checked(packer.finish());
        let rules = Rules::default();
        let unfolded = rules.unfold(detail.clone(), &mut LeftOut::default());
        assert!(is_whole(unfolded.as_bytes()));
        assert!(unfolded.as_bytes().starts_with(detail.as_bytes()));
        assert_eq!(unfolded.body(), detail.body());
        let existing: BTreeSet<&str> = own.iter().map(|(key, _)| *key).collect();
        let added = keys(unfolded.attributes()).split_off(own.len());
        let names: BTreeSet<&str> = added.iter().map(|(key, _)| *key).collect();
        assert_eq!(names.len(), added.len(), "a key is added once");
        for (key, value) in &added {
            assert!(!existing.contains(key));
            let wanted = flat(&body);
            assert!(wanted.contains(&((*key).to_owned(), value.clone())), "{key}={value} of {body}");
        }
        for (key, _) in flat(&body) {
            assert!(key.is_empty() || existing.contains(key.as_str()) || names.contains(key.as_str()), "{key}");
        }
        let again = rules.unfold(unfolded.clone(), &mut LeftOut::default());
        assert_eq!(again, unfolded);
    }

    #[test]
    fn texts_of_bodies_are_cut_between_characters(text in "[aé😀]{0,20}", bytes_max in 0..30_usize) {
        let rules = Rules::new(Options { attribute_bytes_max: bytes_max, ..Options::default() });
        let mut packer = Packer::default();
        packer.message(5, |any| any.text(1, &serde_json::json!({"k": text}).to_string()));
        let mut left_out = LeftOut::default();
        let unfolded = rules.unfold(LogDetail::from_checked(packer.finish()), &mut left_out);
        let wanted = &text[..text.floor_char_boundary(bytes_max)];
        assert_eq!(unfolded.attribute("k"), Some(Value::Text(wanted)));
        assert_eq!(left_out.shortened, u64::from(wanted.len() < text.len()));
    }
}

#[test]
fn what_tells_services_of_one_name_apart_is_stored_in_any_case() {
    let needed =
        ["service.namespace", "deployment.environment.name", "deployment.environment", "k8s.cluster.name"];
    let mut packer = Packer::default();
    needed.iter().chain(&["k8s.node.name"]).for_each(|key| packer.attribute_text(1, key, "x"));
    let resource = Arc::new(Resource {
        service: "shop".into(),
        attributes: Attributes::from_checked(packer.finish()),
        dropped_attributes: 0,
        schema_url: "".into(),
    });
    let kept = rules(&[], &["http.*"]).resource(&resource, &mut LeftOut::default());
    let keys: Vec<&str> = kept.attributes.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, needed);
}

/// Scalars with their paths, as JSON text.
fn flat(value: &serde_json::Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &serde_json::Value, found: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::Object(members) => members.iter().for_each(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, found);
            }),
            serde_json::Value::Array(_) | serde_json::Value::Null => {}
            scalar => found.push((path.to_owned(), scalar.to_string())),
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}

/// Packs JSON as the content of an `AnyValue`.
fn pack(value: &serde_json::Value, any: &mut Packer) {
    match value {
        serde_json::Value::Object(members) => any.message(6, |map| {
            members.iter().for_each(|(key, value)| map.attribute(1, key, |any| pack(value, any)));
        }),
        serde_json::Value::Array(_) => any.message(5, |_| {}),
        serde_json::Value::String(text) => any.text(1, text),
        serde_json::Value::Bool(flag) => any.varint(2, u64::from(*flag)),
        serde_json::Value::Number(number) => any.int(3, number.as_i64().unwrap()),
        serde_json::Value::Null => {}
    }
}

#[test]
fn without_rules_nothing_is_copied() {
    let rules = Rules::default();
    let detail = span(&[("a", 1)], &[], &[]);
    let kept = rules.span(detail.clone(), &mut LeftOut::default());
    assert_eq!(kept.as_bytes().as_ptr(), detail.as_bytes().as_ptr());
    let resource = Arc::new(resource("shop"));
    assert!(Arc::ptr_eq(&rules.resource(&resource, &mut LeftOut::default()), &resource));
    let scope = Arc::new(Instrumentation::default());
    assert!(Arc::ptr_eq(&rules.instrumentation(&scope, &mut LeftOut::default()), &scope));
}

#[test]
fn resources_scopes_metrics_points_and_exemplars_are_held_to_the_lists() {
    let rules = rules(&["user.*"], &[]);
    let mut left_out = LeftOut::default();
    let list = |packer: &mut Packer, number| {
        packer.attribute_text(number, "user.email", "e");
        packer.attribute_text(number, "kept", "k");
    };
    let packed = |number| {
        let mut packer = Packer::default();
        list(&mut packer, number);
        Attributes::from_checked(packer.finish())
    };
    let sender = Arc::new(Resource { attributes: packed(1), ..resource("shop") });
    assert_eq!(
        keys(rules.resource(&sender, &mut left_out).attributes.iter()),
        [("kept", "\"k\"".to_owned())]
    );
    let scope = Arc::new(Instrumentation { attributes: packed(3), ..Instrumentation::default() });
    assert_eq!(rules.instrumentation(&scope, &mut left_out).attributes.iter().count(), 1);
    assert_eq!(rules.metadata(packed(12), &mut left_out).iter().count(), 1);
    for (kind, attributes, exemplars) in [
        (MetricKind::Gauge, 7, 5),
        (MetricKind::Sum, 7, 5),
        (MetricKind::Histogram, 9, 8),
        (MetricKind::ExponentialHistogram, 1, 11),
    ] {
        let mut detail = Packer::default();
        detail.message(exemplars, |exemplar| {
            exemplar.fixed64(2, 5);
            list(exemplar, 7);
        });
        detail.varint(20, 1);
        let before = PointDetail::from_checked(detail.finish());
        let (time, start, value) = (UnixNanos(1), UnixNanos(0), PointValue::Int(1));
        let point = Point { time, start, value, attributes: packed(attributes), detail: before };
        let point = rules.point(point, kind, &mut left_out);
        assert_eq!(point.attributes.iter().count(), 1);
        let found: Vec<_> = Fields::new(point.detail.as_bytes()).collect();
        let Field::Bytes(exemplar) = found[0].1 else { panic!("{found:?}") };
        assert_eq!(Fields::new(exemplar).count(), 2, "a time and one attribute");
        assert_eq!(found[1], (20, Field::Varint(1)));
    }
    assert_eq!(left_out, LeftOut { denied: 3 + 4 * 2, ..LeftOut::default() });
}

#[test]
fn long_bodies_and_large_objects_are_bounded() {
    let unfold = |text: &str| {
        let mut packer = Packer::default();
        packer.message(5, |any| any.text(1, text));
        Rules::default().unfold(LogDetail::from_checked(packer.finish()), &mut LeftOut::default())
    };
    let many: serde_json::Map<_, _> = (0..500).map(|index| (format!("k{index}"), index.into())).collect();
    assert_eq!(unfold(&serde_json::Value::from(many).to_string()).attributes().count(), 64);
    let long = serde_json::json!({"a": "x".repeat(70_000)}).to_string();
    assert_eq!(unfold(&long).attributes().count(), 0);
    let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    assert_eq!(unfold(&deep).attributes().count(), 0);
    for text in
        ["", "{", "{}", "{\"a\":1", "{\"a\":1}}", "[{\"a\":1}]", "x{\"a\":1}", "{\"a\":1} and more {}"]
    {
        assert_eq!(unfold(text).attributes().count(), 0, "{text}");
    }
    assert_eq!(unfold(" {\"a\":{\"b\":1}}\n").attribute("a.b"), Some(Value::Int(1)));
}

#[test]
fn the_line_of_a_structured_record_is_its_message() {
    let line = |text: &str| {
        let mut packer = Packer::default();
        packer.message(5, |any| any.text(1, text));
        let detail = LogDetail::from_checked(packer.finish());
        Rules::default().unfold(detail, &mut LeftOut::default()).line().into_owned()
    };
    assert_eq!(line(r#"{"msg":"b","message":"a"}"#), "a");
    assert_eq!(line(r#"{"level":"info","event":"paid"}"#), "paid");
    assert_eq!(line(r#"{"level":"info"}"#), r#"{"level":"info"}"#);
    assert_eq!(line(r#"message={"msg":"b"}"#), r#"message={"msg":"b"}"#);
}

fn resource(service: &str) -> Resource {
    Resource {
        service: service.into(),
        attributes: Attributes::default(),
        dropped_attributes: 0,
        schema_url: "".into(),
    }
}

fn group<T>(service: &str, items: Vec<T>) -> Group<T> {
    Group {
        resource: Arc::new(resource(service)),
        instrumentation: Arc::new(Instrumentation::default()),
        items,
    }
}

fn record(severity: u8, body: &str) -> LogRecord {
    let mut packer = Packer::default();
    packer.message(5, |any| any.text(1, body));
    LogRecord {
        time: UnixNanos(1),
        severity: Severity(severity),
        trace_id: None,
        span_id: None,
        detail: LogDetail::from_checked(packer.finish()),
    }
}

#[test]
fn services_are_taken_by_name() {
    let spans = || {
        let span = Span {
            trace_id: TraceId::try_from(&[1; 16][..]).unwrap(),
            span_id: SpanId::try_from(&[1; 8][..]).unwrap(),
            parent_id: None,
            name: "work".into(),
            kind: SpanKind::SERVER,
            status: Status::Unset,
            start: UnixNanos(1),
            duration_ns: 1,
            detail: SpanDetail::default(),
        };
        Batch::Traces(vec![group("shop", vec![span.clone(); 3]), group("noise", vec![span; 2])])
    };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (allowed, excluded, rejected) in [
        (&[][..], &[][..], 0),
        (&["shop", "noise"], &[], 0),
        (&["shop"], &[], 2),
        (&[], &["noise"], 2),
        (&["shop", "noise"], &["shop"], 3),
        (&["none"], &[], 5),
    ] {
        let (services_allowed, services_excluded) = (owned(allowed), owned(excluded));
        let rules = Rules::new(Options { services_allowed, services_excluded, ..Options::default() });
        let mut batch = spans();
        let found = rules.admit(&mut batch);
        assert_eq!(
            (found.service, found.items(), batch.items()),
            (rejected, rejected, 5 - rejected as usize)
        );
        assert_eq!(found.message.is_some(), rejected > 0);
        let once = batch.clone();
        assert_eq!(rules.admit(&mut batch), Rejected::default());
        assert_eq!(batch, once);
    }
}

#[test]
fn severities_are_read_then_held_to_the_least() {
    let batch = || {
        let records =
            vec![record(9, "a"), record(17, "b"), record(0, "?"), record(0, "DEBUG c"), record(0, "ERROR d")];
        Batch::Logs(vec![group("shop", records), group("quiet", vec![record(1, "e")])])
    };
    let severities = |batch: &Batch| {
        let Batch::Logs(groups) = batch else { panic!("no records") };
        assert!(groups.iter().all(|group| !group.items.is_empty()));
        groups.iter().flat_map(|group| &group.items).map(|record| record.severity.0).collect::<Vec<_>>()
    };
    let admit = |options: Options| {
        let mut batch = batch();
        let rejected = Rules::new(options).admit(&mut batch);
        (severities(&batch), rejected)
    };
    let (all, rejected) = admit(Options::default());
    assert_eq!((all, rejected), (vec![9, 17, 0, 5, 17, 1], Rejected::default()));
    let (unread, _) = admit(Options { severity_from_body: false, ..Options::default() });
    assert_eq!(unread, [9, 17, 0, 0, 0, 1]);
    let (warned, rejected) = admit(Options { ingest_severity_min: Severity::WARN, ..Options::default() });
    assert_eq!((warned, rejected.severity), (vec![17, 0, 17], 3));
    assert_eq!(rejected.message.unwrap(), "3 log records rejected: below INGEST_MIN_SEVERITY=warn");
    let options = Options { store_severity_min: Severity::WARN, ..Options::default() };
    assert!(
        !Rules::new(options.clone()).stores(Severity(12)) && Rules::new(options.clone()).stores(Severity(0))
    );
    let (counted, rejected) = admit(options);
    assert_eq!((counted.len(), rejected.items()), (6, 0));
    assert_eq!(
        rejected.message.unwrap(),
        "3 log records counted and not stored: below STORE_MIN_SEVERITY=warn"
    );
}
