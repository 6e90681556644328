//! Numbers as JSON spells them, read exactly.

use super::lexer::number_length;

/// Reads an integer: digits, or a fraction or power that is integral (`5.0`, `1e3`). None for anything else, and
/// for what does not fit 66 bits.
pub(super) fn integer(text: &[u8]) -> Option<i128> {
    let (mantissa, exponent) = split(text)?;
    let is_negative = mantissa.starts_with(b"-");
    let mantissa = mantissa.strip_prefix(b"-").unwrap_or(mantissa);
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let fraction = point.map_or(0, |point| mantissa.len() - point - 1);
    let digits = || mantissa.iter().filter(|byte| **byte != b'.');
    let zeros = digits().rev().take_while(|byte| **byte == b'0').count();
    let significant = digits().count() - zeros;
    if significant == 0 {
        return Some(0);
    }
    let power =
        exponent.checked_sub(i64::try_from(fraction).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?;
    let power = u32::try_from(power).ok()?;
    let leading = digits().take_while(|byte| **byte == b'0').count();
    if significant - leading > 20 || power > 20 {
        return None;
    }
    let value = digits()
        .take(significant)
        .skip(leading)
        .fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    let value = value.checked_mul(10_i128.checked_pow(power)?)?;
    Some(if is_negative { -value } else { value })
}

/// Reads a double; none when the text is no number or lies beyond the largest double.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    if number_length(text)? != text.len() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Reads a double as text: a number, or one of the three that JSON cannot spell.
pub(super) fn quoted_double(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => double(text),
    }
}

/// Splits a number into mantissa and exponent; exponents past 64 bits are none.
fn split(text: &[u8]) -> Option<(&[u8], i64)> {
    if number_length(text)? != text.len() {
        return None;
    }
    match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => {
            let exponent = std::str::from_utf8(&text[at + 1..]).ok()?;
            Some((&text[..at], exponent.parse().ok()?))
        }
        None => Some((text, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a4_integers_are_exact() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("0e99999999999", 0),
            ("0.000", 0),
            ("5.0", 5),
            ("1e3", 1000),
            ("1E+3", 1000),
            ("12.50e2", 1250),
            ("1000e-3", 1),
            ("0.001e3", 1),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("-9223372036854775808", i128::from(i64::MIN)),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "5.5",
            "1e-1",
            "1e400",
            "abc",
            "1 ",
            " 1",
            "+1",
            "0x1",
            "1_0",
            "NaN",
            "01",
            "1.",
            ".5",
            "1e",
            "1e9223372036854775808",
            "1.5e9223372036854775807",
            "111111111111111111111",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a15_doubles_round_correctly_or_not_at_all() {
        assert_eq!(double(b"0.1"), Some(0.1));
        assert_eq!(double(b"-0").map(f64::to_bits), Some((-0.0_f64).to_bits()));
        assert_eq!(double(b"5e-324"), Some(5e-324));
        for text in ["1e400", "inf", "nan", "+1", "infinity", "1f"] {
            assert_eq!(double(text.as_bytes()), None, "{text}");
        }
        assert_eq!(quoted_double(b"-Infinity"), Some(f64::NEG_INFINITY));
        assert!(quoted_double(b"NaN").unwrap().is_nan());
        assert_eq!(quoted_double(b"nan"), None);
    }
}
