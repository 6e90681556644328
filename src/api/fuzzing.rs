//! Cursors and moments out of parameters: taken by their own question alone, and read as they are shown.

use super::cursor::{Place, Seal};
use super::time::{duration, moment, rfc3339, stretch};
use crate::model::tenant::TenantId;
use crate::model::time::{UnixNanos, Window};

const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

/// A cursor: these bytes as text, and one that is made of them.
pub(crate) fn cursor(input: &[u8]) {
    let seals = ["team", "other"].map(|tenant| {
        let Ok(tenant) = TenantId::try_from(tenant) else { unreachable!("the name is plain") };
        Seal::new(&tenant, "/api/v1/spans", &[("service".into(), "shop".into())])
    });
    if let Ok(text) = std::str::from_utf8(input)
        && let Some((window, place)) = seals[0].open(text)
    {
        assert_eq!(seals[0].close(window, &place), text, "a place has one cursor");
        assert_eq!(seals[1].open(text), None, "another tenant's cursor");
    }
    let (numbers, rest) = input.as_chunks::<8>();
    let mut numbers = numbers.iter().take(6).map(|bytes| i64::from_be_bytes(*bytes));
    let (from, to) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let window = Window::new(UnixNanos(from), UnixNanos(to));
    let place = Place { numbers: numbers.collect(), name: String::from_utf8_lossy(rest).into_owned() };
    let closed = seals[0].close(window, &place);
    assert_eq!(seals[0].open(&closed), Some((window, place)));
    assert_eq!(seals[1].open(&closed), None, "another tenant's cursor");
}

/// A moment and a stretch of time.
pub(crate) fn time(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(at) = moment(text, NOW) {
        assert!(at.0 >= 0, "before 1970");
        assert_eq!(moment(&rfc3339(at), NOW), Some(at), "shown as it is read");
    }
    if let Some(length) = stretch(text) {
        assert_eq!(duration(text), Some(length), "a unit means the same everywhere");
        assert!(length.as_nanos() <= i64::MAX as u128 + 1);
    }
}
