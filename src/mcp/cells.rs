//! Numbers and texts for models: three significant digits, units in the column, times relative to the end of the window as
//! it was asked for, which answers give as `as_of`, whatever part of it they tell about.

use serde_json::Value;

use crate::model::rollup::Cell;
use crate::model::time::{UnixNanos, Window};

/// Three significant digits; whole numbers from a thousand on.
pub(super) fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 9) };
    let factor = 10_f64.powi(digits);
    let short = (value * factor).round() / factor;
    if short.fract() == 0.0 && short.abs() < 1e15 { Value::from(short as i64) } else { Value::from(short) }
}

/// Nanoseconds as milliseconds.
pub(super) fn milliseconds(nanos: f64) -> Value {
    rounded(nanos / 1e6)
}

/// A share of 0 to 1 as a percentage.
pub(super) fn percent(share: f64) -> Value {
    rounded(share * 100.0)
}

/// Requests a second over a window.
pub(super) fn rate(cell: &Cell, window: Window) -> Value {
    rounded(per_second(cell.count, window))
}

/// Occurrences a second over a window.
pub(super) fn per_second(count: u64, window: Window) -> f64 {
    count as f64 / window.length().as_secs_f64().max(1e-9)
}

/// A quantile of a cell in milliseconds; null where nothing was counted.
pub(super) fn quantile(cell: &Cell, share: f64) -> Value {
    cell.sketch.quantile(share).map_or(Value::Null, |nanos| milliseconds(nanos as f64))
}

/// An instant relative to `end`, such as `-12m30s`; `0s` at the end itself.
pub(super) fn relative(at: UnixNanos, end: UnixNanos) -> Value {
    let (sign, distance) = if at < end { ("-", end.since(at)) } else { ("+", at.since(end)) };
    let seconds = distance.as_secs_f64();
    let text = if seconds < 0.0005 {
        "0s".to_owned()
    } else if seconds < 60.0 {
        format!("{sign}{}s", (seconds * 1e3).round() / 1e3)
    } else if seconds < 7_200.0 {
        format!("{sign}{}m{:02}s", distance.as_secs() / 60, distance.as_secs() % 60)
    } else {
        format!("{sign}{}h{:02}m", distance.as_secs() / 3600, distance.as_secs() / 60 % 60)
    };
    Value::from(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, json!(0)),
            (1234.56, json!(1235)),
            (12.345, json!(12.3)),
            (0.012345, json!(0.0123)),
            (100.0, json!(100)),
            (f64::NAN, json!(null)),
        ];
        for (value, wanted) in cases {
            assert_eq!(rounded(value), wanted, "{value}");
        }
    }

    #[test]
    fn times_are_relative_to_the_end() {
        let end = UnixNanos::from_seconds(10_000);
        let at = |seconds: f64| UnixNanos(10_000_000_000_000 + (seconds * 1e9) as i64);
        assert_eq!(relative(end, end), json!("0s"));
        assert_eq!(relative(at(-12.5), end), json!("-12.5s"));
        assert_eq!(relative(at(-750.0), end), json!("-12m30s"));
        assert_eq!(relative(at(-9_000.0), end), json!("-2h30m"));
    }
}
