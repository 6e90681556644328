//! Bodies and details of any bytes: what is read out of them is what they say, and the rest stays as it came.

use bytes::Bytes;

use super::{LeftOut, Options, Rules, json, severity};
use crate::model::log::LogDetail;
use crate::model::packed::value::Value;
use crate::model::packed::write::Packer;
use crate::model::span::SpanDetail;

/// A body that is text.
pub(crate) fn body(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let said = severity::of_body(Value::Text(text));
    assert!(said.is_none_or(|severity| (1..=24).contains(&severity.0)), "{said:?} is no severity");
    let mut scalars = 0;
    let is_object = json::scalars(text, 4, &mut |_, _| {
        scalars += 1;
        true
    });
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    // The library refuses numbers that no double can hold.
    let is_range = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
    assert!(
        !is_object || is_range || theirs.as_ref().is_ok_and(serde_json::Value::is_object),
        "no JSON object"
    );
    let mut packer = Packer::default();
    packer.message(5, |any| any.text(1, text));
    let detail = LogDetail::from_checked(packer.finish());
    let rules = Rules::default();
    let unfolded = rules.unfold(detail.clone(), &mut LeftOut::default());
    assert!(unfolded.as_bytes().starts_with(detail.as_bytes()), "the body stays as it came");
    assert!(is_object || unfolded == detail, "added to what is no object");
    assert!(unfolded.attributes().count() <= scalars, "more attributes than scalars");
    assert_eq!(rules.unfold(unfolded.clone(), &mut LeftOut::default()), unfolded, "once is enough");
}

/// Details that nobody checked.
pub(crate) fn details(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let (span, log) = (SpanDetail::from_checked(bytes.clone()), LogDetail::from_checked(bytes));
    let _ = (span.attribute("a"), span.status_message(), span.flags(), span.dropped(), span.trace_state());
    let _ = (span.events().count(), span.links().count(), log.line(), log.severity_text());
    for (key, value) in span.attributes().chain(log.attributes()) {
        assert!(key.len() + value.render().len() <= 64 + input.len() * 32, "more text than bytes");
    }
    let _ = severity::of_body(log.body());
    let _ = Rules::default().unfold(log.clone(), &mut LeftOut::default());
    let nothing = Rules::new(Options { attributes_denied: vec!["*".into()], ..Options::default() });
    let kept = nothing.span(span.clone(), &mut LeftOut::default());
    assert!(kept.as_bytes().len() <= input.len() && kept.attributes().count() == 0);
    let kept = nothing.log(log, &mut LeftOut::default());
    assert!(kept.as_bytes().len() <= input.len() && kept.attributes().count() == 0);
}
