use opentelemetry_proto::tonic::trace::v1::{Span, Status, span};
use prost::Message;

use super::requests::{BEFORE, attribute, field, metric, packed_spans, record, text, trace_request, wrapped};
use super::{Limits, RECEIVED, decode_protobuf, spans};
use crate::decode::{Encoding, Error, decode};
use crate::fault::Kind;
use crate::model::batch::{Batch, Signal};
use crate::model::packed::value::Value;
use crate::model::span::{self as words, SpanKind};
use crate::model::time::UnixNanos;

#[test]
fn spans_keep_what_they_say() {
    let mut sent = span_with_everything();
    sent.flags = 0xffff_ff01;
    let body = packed_spans(vec![sent.clone()]);
    let decoded = decode_protobuf(Signal::Traces, body).unwrap();
    assert_eq!((decoded.rejected, decoded.message.clone()), (0, None));
    let span = spans(&decoded)[0];
    assert_eq!(span.trace_id.as_bytes()[..], sent.trace_id);
    assert_eq!(span.span_id.as_bytes()[..], sent.span_id);
    assert_eq!(span.parent_id.unwrap().as_bytes()[..], sent.parent_span_id);
    assert_eq!((span.name.as_str(), span.kind), ("pay", SpanKind::SERVER));
    assert_eq!((span.status, span.detail.status_message()), (words::Status::Error, "no money"));
    assert_eq!((span.start, span.duration_ns), (UnixNanos(BEFORE as i64), 500));
    assert_eq!(span.detail.flags(), 0xffff_ff01);
    assert_eq!(span.detail.trace_state(), "a=b");
    assert_eq!(span.detail.dropped(), [1, 2, 3]);
    assert_eq!(span.detail.attribute("http.route"), Some(Value::Text("/pay")));
    let events: Vec<_> = span.detail.events().collect();
    assert_eq!((events.len(), events[0].name(), events[0].text("e")), (1, "exception", Some("boom")));
    assert_eq!(span.detail.links().count(), 1);
    let Batch::Traces(groups) = &decoded.batch else { unreachable!() };
    assert_eq!(&*groups[0].resource.service, "shop");
}

fn span_with_everything() -> Span {
    Span {
        trace_state: "a=b".into(),
        dropped_attributes_count: 1,
        events: vec![span::Event {
            time_unix_nano: BEFORE,
            name: "exception".into(),
            attributes: vec![attribute("e", text("boom"))],
            dropped_attributes_count: 0,
        }],
        dropped_events_count: 2,
        links: vec![
            span::Link { trace_id: vec![4; 16], span_id: vec![5; 8], ..span::Link::default() },
            span::Link { trace_id: vec![4; 15], span_id: vec![5; 8], ..span::Link::default() },
        ],
        dropped_links_count: 3,
        status: Some(Status { message: "no money".into(), code: 2 }),
        ..super::requests::span("pay")
    }
}

#[test]
fn details_share_the_request_where_they_can() {
    let sent = super::requests::span("pay");
    let body = bytes::Bytes::from(packed_spans(vec![sent, span_with_everything()]));
    let decoded = decode_protobuf(Signal::Traces, body.clone()).unwrap();
    let is_shared = |detail: &words::SpanDetail| body.as_ptr_range().contains(&detail.as_bytes().as_ptr());
    let found = spans(&decoded);
    assert!(is_shared(&found[0].detail), "fields that lie together are a slice of the request");
    assert!(!is_shared(&found[1].detail), "trace state lies apart from the rest");
    assert!(found.iter().all(|span| body.as_ptr_range().contains(&span.name.as_str().as_ptr())));
}

#[test]
fn a5_ids_of_wrong_length_reject_the_span() {
    let mut sent = vec![super::requests::span("good")];
    for id in [vec![], vec![0; 16], vec![1; 15], vec![1; 17], vec![1; 32]] {
        sent.push(Span { trace_id: id, ..super::requests::span("bad") });
    }
    for id in [vec![], vec![0; 8], vec![1; 7], vec![1; 9], vec![1; 16]] {
        sent.push(Span { span_id: id, ..super::requests::span("bad") });
    }
    let decoded = decode_protobuf(Signal::Traces, packed_spans(sent)).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (1, 10));
    assert_eq!(
        decoded.message.as_deref(),
        Some("10 of 11 spans rejected: 5 without a valid trace id, 5 without a valid span id")
    );
}

#[test]
fn a5_parents_of_wrong_length_make_roots() {
    for (parent, is_told) in [(vec![], false), (vec![0; 8], false), (vec![1; 7], true), (vec![1; 16], true)] {
        let sent = Span { parent_span_id: parent, ..super::requests::span("root") };
        let decoded = decode_protobuf(Signal::Traces, packed_spans(vec![sent])).unwrap();
        assert_eq!(spans(&decoded)[0].parent_id, None);
        assert_eq!((decoded.rejected, decoded.message.is_some()), (0, is_told));
    }
}

#[test]
fn a6_other_signals_are_no_spans() {
    let gauge = |name: &str, description: &str| {
        let mut sent = metric(name, super::metrics::gauge());
        sent.description = description.into();
        sent.encode_to_vec()
    };
    let mut summary = metric("sixteen bytes !!", super::metrics::summary());
    summary.description = "8 bytes!".into();
    let foreign = [
        record("body").encode_to_vec(),
        gauge("requests", "how many"),
        gauge("sixteen bytes !!", "8 bytes!"),
        summary.encode_to_vec(),
        metric("sum", super::metrics::sum(1)).encode_to_vec(),
        metric("histogram", super::metrics::histogram(&[1], &[], 1)).encode_to_vec(),
    ];
    for item in foreign {
        let refused = decode_protobuf(Signal::Traces, wrapped(&item)).unwrap_err();
        assert_eq!(refused, Error::WrongSignal { signal: Signal::Traces, items: 1 });
        assert_eq!(refused.kind(), Kind::Invalid);
        let mixed = [wrapped(&item), packed_spans(vec![super::requests::span("good")])].concat();
        let decoded = decode_protobuf(Signal::Traces, mixed).unwrap();
        assert_eq!((decoded.batch.items(), decoded.rejected), (1, 1));
    }
    let nameless = Span { name: String::new(), start_time_unix_nano: 0, ..super::requests::span("") };
    let decoded = decode_protobuf(Signal::Traces, packed_spans(vec![nameless])).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (0, 1));
}

#[test]
fn a8_times_are_bounded() {
    let received = RECEIVED.0 as u64;
    let day = 86_400_000_000_000;
    let cases = [
        ((BEFORE, BEFORE + 5), Some((BEFORE, 5))),
        ((1, 2), Some((1, 1))),
        ((BEFORE, BEFORE - 5), Some((BEFORE, 0))),
        ((BEFORE, 0), Some((BEFORE, 0))),
        ((0, BEFORE), Some((BEFORE, 0))),
        ((0, 0), Some((received, 0))),
        ((received + day, received + day), Some((received + day, 0))),
        ((received + day + 1, received + day + 1), None),
        ((BEFORE, received + day + 1), None),
        ((BEFORE, 1 << 63), None),
        ((1 << 63, 1 << 63), None),
        ((u64::MAX, u64::MAX), None),
    ];
    for ((start, end), wanted) in cases {
        let sent =
            Span { start_time_unix_nano: start, end_time_unix_nano: end, ..super::requests::span("timed") };
        let decoded = decode_protobuf(Signal::Traces, packed_spans(vec![sent])).unwrap();
        let found = spans(&decoded).first().map(|span| (span.start.0 as u64, span.duration_ns));
        assert_eq!(found, wanted, "{start} to {end}");
        assert_eq!(decoded.rejected, u64::from(wanted.is_none()));
    }
}

#[test]
fn a8_the_time_of_receipt_may_be_anything() {
    let body = bytes::Bytes::from(packed_spans(vec![super::requests::span("pay")]));
    for received in [i64::MIN, -1, 0, i64::MAX] {
        let decoded =
            decode(Signal::Traces, Encoding::Protobuf, &body, UnixNanos(received), &Limits::default());
        assert_eq!(decoded.unwrap().rejected, u64::from(received <= 0), "{received}");
    }
}

#[test]
fn a10_one_bad_text_costs_no_span() {
    let mut packed = trace_request(vec![super::requests::span("pay"); 512]).encode_to_vec();
    let at = packed.windows(4).position(|bytes| bytes == b"/pay").unwrap();
    packed[at + 1] = 0xff;
    let at = packed.windows(3).rposition(|bytes| bytes == b"pay").unwrap();
    packed[at - 40..].iter_mut().for_each(|byte| *byte = if *byte == b'p' { 0xc3 } else { *byte });
    let decoded = decode_protobuf(Signal::Traces, packed).unwrap();
    assert_eq!((decoded.batch.items(), decoded.rejected), (512, 0));
    assert_eq!(spans(&decoded)[0].detail.attribute("http.route"), Some(Value::Text("/\u{fffd}ay")));
    assert_eq!(spans(&decoded)[1].detail.attribute("http.route"), Some(Value::Text("/pay")));
    assert!(decoded.message.unwrap().contains("not UTF-8"));
}

#[test]
fn a10_names_and_resources_are_repaired() {
    let mut span = super::requests::span("pay").encode_to_vec();
    let at = span.windows(3).position(|bytes| bytes == b"pay").unwrap();
    span[at] = 0xff;
    let service = b"\x0a\x0cservice.name\x12\x06\x0a\x04sh\xffp";
    let group = [
        field(1, &field(1, service)),
        field(2, &[field(1, &field(1, b"li\xffb")), field(2, &span)].concat()),
    ];
    let decoded = decode_protobuf(Signal::Traces, field(1, &group.concat())).unwrap();
    let Batch::Traces(groups) = &decoded.batch else { unreachable!() };
    assert_eq!(groups[0].items[0].name.as_str(), "\u{fffd}ay");
    assert_eq!(&*groups[0].resource.service, "sh\u{fffd}p");
    assert_eq!(groups[0].instrumentation.name.as_str(), "li\u{fffd}b");
    assert_eq!(
        decoded.message.as_deref(),
        Some("accepted with changes: 3 texts that were not UTF-8 repaired")
    );
}

#[test]
fn a11_long_texts_are_cut_between_characters() {
    let long = "é".repeat(100_000);
    let mut sent = super::requests::span(&long);
    sent.attributes = vec![attribute(&long, text(&format!("x{long}"))), attribute("nul\0", text("\0"))];
    sent.events = vec![span::Event { name: long.clone(), ..span::Event::default() }];
    let decoded = decode_protobuf(Signal::Traces, packed_spans(vec![sent])).unwrap();
    let span = spans(&decoded)[0];
    let max = Limits::default().value_bytes_max;
    assert_eq!(span.name.as_str().len(), max);
    let attributes: Vec<_> = span.detail.attributes().collect();
    assert_eq!(attributes[0].0.len(), max);
    assert!(matches!(attributes[0].1, Value::Text(text) if text.len() == max - 1));
    assert_eq!(attributes[1], ("nul\0", Value::Text("\0")));
    assert_eq!(span.detail.events().next().unwrap().name().len(), max);
    assert_eq!(
        decoded.message.as_deref(),
        Some("accepted with changes: 3 names or bodies shortened, 1 attribute values shortened")
    );
}

#[test]
fn a13_lists_past_their_limit_lose_their_end() {
    let many =
        |count: usize| (0..count).map(|index| attribute(&format!("k{index}"), text("v"))).collect::<Vec<_>>();
    let mut sent = super::requests::span("pay");
    sent.attributes = many(10_000);
    sent.dropped_attributes_count = 7;
    sent.events = vec![span::Event { attributes: many(1_025), ..span::Event::default() }; 2];
    sent.links =
        vec![span::Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..span::Link::default() }; 1_030];
    let mut request = trace_request(vec![sent]);
    request.resource_spans[0].resource.as_mut().unwrap().attributes.extend(many(1_024));
    let decoded = decode_protobuf(Signal::Traces, request.encode_to_vec()).unwrap();
    let span = spans(&decoded)[0];
    assert_eq!(span.detail.attributes().count(), 1_024);
    assert_eq!(span.detail.attribute("k1023"), Some(Value::Text("v")));
    assert_eq!(span.detail.dropped(), [10_000 - 1_024 + 7, 0, 6]);
    assert!(span.detail.events().all(|event| event.attributes().count() == 1_024));
    assert_eq!(span.detail.links().count(), 1_024);
    let Batch::Traces(groups) = &decoded.batch else { unreachable!() };
    assert_eq!(groups[0].resource.attributes.iter().count(), 1_024);
    assert_eq!((groups[0].resource.dropped_attributes, &*groups[0].resource.service), (1, "shop"));
    assert_eq!(decoded.attributes_dropped, 8_979);
    let message = decoded.message.unwrap();
    assert!(message.contains("8979 attributes dropped"), "{message}");
    assert!(message.contains("6 events or links dropped"), "{message}");
}

#[test]
fn a13_unknown_fields_are_ignored_and_duplicates_are_kept_in_order() {
    let mut span = super::requests::span("pay");
    span.attributes.push(attribute("http.route", text("/paid")));
    let mut packed = span.encode_to_vec();
    packed.extend(field(1_000, b"junk"));
    packed.extend([0xb8, 0x02, 0x01]); // field 39, a number
    let decoded = decode_protobuf(Signal::Traces, wrapped(&packed)).unwrap();
    let span = spans(&decoded)[0];
    assert_eq!(span.detail.attribute("http.route"), Some(Value::Text("/paid")));
    assert_eq!(span.detail.attributes().count(), 2);
    assert!(!span.detail.as_bytes().windows(4).any(|bytes| bytes == b"junk"));
}

#[test]
fn resources_without_a_service_name_are_unknown() {
    for service in [Some(""), None] {
        let mut request = trace_request(vec![super::requests::span("pay")]);
        request.resource_spans[0].resource = service.map(super::requests::resource);
        let decoded = decode_protobuf(Signal::Traces, request.encode_to_vec()).unwrap();
        let Batch::Traces(groups) = &decoded.batch else { unreachable!() };
        assert_eq!(&*groups[0].resource.service, "unknown_service");
    }
}

#[test]
fn groups_of_one_resource_share_it() {
    let mut request = trace_request(vec![super::requests::span("a")]);
    let again = request.resource_spans[0].scope_spans[0].clone();
    request.resource_spans[0].scope_spans.push(again);
    request.resource_spans[0].schema_url = "https://schema".into();
    let decoded = decode_protobuf(Signal::Traces, request.encode_to_vec()).unwrap();
    let Batch::Traces(groups) = &decoded.batch else { unreachable!() };
    assert!(std::sync::Arc::ptr_eq(&groups[0].resource, &groups[1].resource));
    assert_eq!(groups[0].resource.schema_url.as_str(), "https://schema");
}

#[test]
fn a11_a_long_text_is_repaired_no_further_than_it_is_kept() {
    let max = Limits::default().value_bytes_max;
    for (bad, wanted) in [(&[0xff; 90_000][..], max / 3), (&b"\xf0\x9f\x98".repeat(40_000), max / 3)] {
        let mut packed = super::requests::span("").encode_to_vec();
        packed.extend(field(5, bad));
        let decoded = decode_protobuf(Signal::Traces, wrapped(&packed)).unwrap();
        assert_eq!(spans(&decoded)[0].name.as_str(), "\u{fffd}".repeat(wanted));
    }
}
