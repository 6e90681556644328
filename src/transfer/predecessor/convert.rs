//! Single rows of the predecessor to records. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::model::batch::Group;
use crate::model::id::{SpanId, TraceId};
use crate::model::log::{LogDetail, LogRecord, Severity};
use crate::model::metric::{Metric, MetricKind, Point, PointDetail, PointValue, Temporality};
use crate::model::packed::write::Packer;
use crate::model::packed::{Attributes, DEPTH_MAX};
use crate::model::resource::{Instrumentation, Resource};
use crate::model::span::{Span, SpanDetail, SpanKind, Status};
use crate::model::text::Text;
use crate::model::time::UnixNanos;
use crate::store::predecessor::{OldBucket, OldLog, OldSpan};

/// Largest attributes of one row, decompressed.
const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a metric bucket lasts.
const BUCKET_NS: i64 = 30_000_000_000;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A row that can be carried over.
#[derive(Debug)]
pub(super) struct Carried<T> {
    pub(super) item: T,
    /// What of it is missing.
    pub(super) missing: Vec<&'static str>,
}

/// A span; errs with the reason why it cannot be carried.
pub(super) fn span(row: &OldSpan) -> Result<Carried<Span>, &'static str> {
    let trace_id = TraceId::from_hex(&row.trace).map_err(|_| "spans whose trace id is not 32 hex digits")?;
    let span_id = SpanId::from_hex(&row.span).map_err(|_| "spans whose span id is not 16 hex digits")?;
    let start = time(&row.start).ok_or("spans whose start time cannot be read")?;
    let mut missing = Vec::new();
    let parent_id = SpanId::from_hex(&row.parent).ok();
    if parent_id.is_none() && !row.parent.trim_matches('0').is_empty() {
        missing.push("spans carried without a parent id that is not 16 hex digits");
    }
    let duration_ns = match time(&row.end) {
        Some(end) if start <= end => end.0.abs_diff(start.0),
        _ => u64::try_from(row.duration_us).unwrap_or(0).saturating_mul(1_000),
    };
    let mut packer = Packer::default();
    attributes(9, &row.attributes, &mut packer, &mut missing);
    let status = status(&row.status);
    if status != Status::Unset {
        packer.message(15, |message| message.varint(3, u64::from(status.number())));
    }
    let item = Span {
        trace_id,
        span_id,
        parent_id,
        name: Text::from(row.operation.as_str()),
        // The predecessor did not keep the kind.
        kind: SpanKind::INTERNAL,
        status,
        start,
        duration_ns,
        detail: SpanDetail::from_checked(packer.finish()),
    };
    Ok(Carried { item, missing })
}

/// A log record; errs with the reason why it cannot be carried.
pub(super) fn log(row: &OldLog) -> Result<Carried<LogRecord>, &'static str> {
    let time = time(&row.time).ok_or("log records whose time cannot be read")?;
    let mut missing = Vec::new();
    let trace_id = TraceId::from_hex(&row.trace).ok();
    if trace_id.is_none() && !row.trace.trim_matches('0').is_empty() {
        missing.push("log records carried without a trace id that is not 32 hex digits");
    }
    let severity_text = row.severity.strip_prefix("SEVERITY_NUMBER_").unwrap_or(&row.severity);
    let level = severity_text.trim_end_matches(|c: char| c.is_ascii_digit());
    let mut packer = Packer::default();
    if !severity_text.is_empty() {
        packer.text(3, severity_text);
    }
    packer.message(5, |body| body.text(1, &row.body));
    attributes(6, &row.attributes, &mut packer, &mut missing);
    if !row.insight.is_empty() {
        match unpacked(&row.insight).map(String::from_utf8) {
            Some(Ok(insight)) => packer.attribute_text(6, "ai_insight", &insight),
            _ => missing.push("log records carried without an insight that cannot be read"),
        }
    }
    let item = LogRecord {
        time,
        severity: Severity::from_name(level).unwrap_or_default(),
        trace_id,
        span_id: trace_id.and_then(|_| SpanId::from_hex(&row.span).ok()),
        detail: LogDetail::from_checked(packer.finish()),
    };
    Ok(Carried { item, missing })
}

/// A metric bucket as a point of a summary, the one kind that keeps its four numbers: count, sum, and the least and
/// greatest value as quantiles 0 and 1. Errs with the reason why it cannot be carried.
pub(super) fn bucket(row: &OldBucket) -> Result<Carried<Metric>, &'static str> {
    let start = time(&row.time).ok_or("metric buckets whose time cannot be read")?;
    if row.name.is_empty() {
        return Err("metric buckets without a name");
    }
    let count = u64::try_from(row.count).map_err(|_| "metric buckets with a count below zero")?;
    let mut missing = vec!["metric buckets carried as summaries: whether gauge or sum was not kept"];
    let mut own = Packer::default();
    attributes(7, &row.attributes, &mut own, &mut missing);
    let mut detail = Packer::default();
    if row.min <= row.max {
        for (quantile, value) in [(0.0, row.min), (1.0, row.max)] {
            detail.message(6, |message| {
                message.double(1, quantile);
                message.double(2, value);
            });
        }
    }
    let point = Point {
        time: UnixNanos(start.0.saturating_add(BUCKET_NS)),
        start,
        attributes: Attributes::from_checked(own.finish()),
        value: PointValue::Distribution { count, sum: Some(row.sum) },
        detail: PointDetail::from_checked(detail.finish()),
    };
    let item = Metric {
        name: Text::from(row.name.as_str()),
        unit: Text::default(),
        description: Text::default(),
        metadata: Attributes::default(),
        kind: MetricKind::Summary,
        temporality: Temporality::None,
        monotonic: false,
        points: vec![point],
    };
    Ok(Carried { item, missing })
}

/// Groups by service: all that the predecessor kept of a resource.
pub(super) fn groups<T>(by_service: BTreeMap<String, Vec<T>>) -> Vec<Group<T>> {
    let instrumentation = Arc::new(Instrumentation::default());
    let group = |(service, items): (String, Vec<T>)| {
        let mut packer = Packer::default();
        packer.attribute_text(1, "service.name", &service);
        let resource = Resource {
            service: service.as_str().into(),
            attributes: Attributes::from_checked(packer.finish()),
            dropped_attributes: 0,
            schema_url: Text::default(),
        };
        Group { resource: Arc::new(resource), instrumentation: Arc::clone(&instrumentation), items }
    };
    by_service.into_iter().map(group).collect()
}

/// Statuses were kept as text of several spellings.
fn status(text: &str) -> Status {
    let text = text.to_ascii_uppercase();
    match text.strip_prefix("STATUS_CODE_").unwrap_or(&text) {
        "ERROR" | "2" => Status::Error,
        "OK" | "1" => Status::Ok,
        _ => Status::Unset,
    }
}

/// A time as a Go program's SQLite driver writes it: `2026-08-22 10:11:12.5+00:00`, the same with `T`, with `Z`, with
/// ` +0000 UTC` behind it or without any offset, which is UTC. Times before 1970 are none.
fn time(text: &str) -> Option<UnixNanos> {
    let text = text.trim();
    let clock = text
        .get(10..)
        .filter(|rest| !rest.is_empty())?
        .find(['+', '-', 'Z', 'z'])
        .map_or(text.len(), |at| at + 10);
    let (local, zone) = text.split_at(clock);
    let local: DateTime = local.trim().replacen(' ', "T", 1).parse().ok()?;
    let zone = zone.split_whitespace().next().unwrap_or("Z");
    let offset = match zone.as_bytes() {
        [b'Z' | b'z', ..] => 0,
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let digits: Vec<i64> =
                digits.iter().filter(|c| c.is_ascii_digit()).map(|c| i64::from(c - b'0')).collect();
            let [a, b, c, d] = digits[..] else { return None };
            let seconds = (10 * a + b) * 3_600 + (10 * c + d) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let nanos = local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond();
    let nanos = nanos - i128::from(offset) * 1_000_000_000;
    i64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(UnixNanos)
}

/// Bytes as they were before they were stored; none where they cannot be decompressed.
fn unpacked(stored: &[u8]) -> Option<Vec<u8>> {
    if !stored.starts_with(&ZSTD) {
        return Some(stored.to_vec());
    }
    let mut decoder = zstd::stream::read::Decoder::new(stored).ok()?;
    let mut plain = Vec::new();
    let limit = ATTRIBUTES_BYTES_MAX as u64 + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut decoder, limit), &mut plain).ok()?;
    (plain.len() <= ATTRIBUTES_BYTES_MAX).then_some(plain)
}

/// Packs the attributes of a row under field `number`.
fn attributes(number: u32, stored: &[u8], packer: &mut Packer, missing: &mut Vec<&'static str>) {
    const UNREADABLE: &str = "items carried without attributes that cannot be read";
    if stored.is_empty() {
        return;
    }
    let parsed = unpacked(stored).and_then(|plain| serde_json::from_slice(&plain).ok());
    match parsed {
        None => missing.push(UNREADABLE),
        Some(Value::Null) => {}
        // A plain object, as some versions kept metric attributes.
        Some(Value::Object(members)) => {
            for (key, value) in &members {
                packer.attribute(number, key, |any| plain_value(value, 0, any));
            }
        }
        Some(Value::Array(entries)) => {
            for entry in &entries {
                match entry["key"].as_str() {
                    Some(key) => packer.attribute(number, key, |any| any_value(&entry["value"], 0, any)),
                    None => missing.push(UNREADABLE),
                }
            }
        }
        Some(_) => missing.push(UNREADABLE),
    }
}

/// Packs an `AnyValue` as Go's JSON encoder writes its struct, `{"Value":{"StringValue":"x"}}`, or as OTLP/JSON does.
fn any_value(value: &Value, depth: usize, packer: &mut Packer) {
    if depth > DEPTH_MAX {
        return;
    }
    let inner = value.get("Value").unwrap_or(value);
    let Some((name, held)) = inner.as_object().and_then(|members| members.iter().next()) else { return };
    match name.to_ascii_lowercase().as_str() {
        "stringvalue" => packer.text(1, held.as_str().unwrap_or_default()),
        "boolvalue" => packer.varint(2, u64::from(held.as_bool().unwrap_or_default())),
        "intvalue" => {
            let number = held.as_i64().or_else(|| held.as_str()?.parse().ok());
            packer.int(3, number.unwrap_or_default());
        }
        "doublevalue" => packer.double(4, held.as_f64().unwrap_or_default()),
        "arrayvalue" => packer.message(5, |list| {
            for item in held["values"].as_array().into_iter().flatten() {
                list.message(1, |any| any_value(item, depth + 1, any));
            }
        }),
        "kvlistvalue" => packer.message(6, |list| {
            for entry in held["values"].as_array().into_iter().flatten() {
                let key = entry["key"].as_str().unwrap_or_default();
                list.attribute(1, key, |any| any_value(&entry["value"], depth + 1, any));
            }
        }),
        "bytesvalue" => {
            packer.bytes(7, &STANDARD.decode(held.as_str().unwrap_or_default()).unwrap_or_default());
        }
        _ => {}
    }
}

/// Packs a plain JSON value.
fn plain_value(value: &Value, depth: usize, packer: &mut Packer) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Null => {}
        Value::Bool(flag) => packer.varint(2, u64::from(*flag)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => packer.int(3, number),
            None => packer.double(4, number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => packer.text(1, text),
        Value::Array(items) => packer.message(5, |list| {
            items.iter().for_each(|item| list.message(1, |any| plain_value(item, depth + 1, any)));
        }),
        Value::Object(members) => packer.message(6, |list| {
            for (key, item) in members {
                list.attribute(1, key, |any| plain_value(item, depth + 1, any));
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_drivers_write_them() {
        let noon = Some(UnixNanos(1_787_393_472_500_000_000));
        for text in [
            "2026-08-22 10:11:12.5+00:00",
            "2026-08-22 12:11:12.5+02:00",
            "2026-08-22T10:11:12.500Z",
            "2026-08-22 05:11:12.5 -0500 EST",
            "2026-08-22 10:11:12.5 +0000 UTC m=+0.1",
            "2026-08-22 10:11:12.5",
        ] {
            assert_eq!(time(text), noon, "{text}");
        }
        for text in ["", "yesterday", "2026-08-22", "0001-01-01 00:00:00+00:00", "2026-13-22 10:11:12Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn statuses_and_levels_are_read_in_all_their_spellings() {
        assert_eq!(status("STATUS_CODE_ERROR"), Status::Error);
        assert_eq!(status("Ok"), Status::Ok);
        assert_eq!(status("STATUS_CODE_UNSET"), Status::Unset);
    }
}
