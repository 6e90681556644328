//! Whether something is counted more or less often than before.

use super::stats::rate_surprise;

/// Standard deviations that a rise or fall must leave behind.
const SURPRISE_MIN: f64 = 4.0;
/// How many times as often, or as seldom.
const RATIO_MIN: f64 = 1.5;

/// How a count moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Move {
    /// It was zero, and chance does not explain that; or it never was.
    New,
    /// It is zero, and chance does not explain that.
    Gone,
    /// It is more.
    Up,
    /// It is less.
    Down,
    /// It is about what it was.
    Steady,
}

/// A count in a window compared with that of its baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// Which way.
    pub kind: Move,
    /// About standard deviations; negative where it fell.
    pub surprise: f64,
    /// The larger rate divided by the smaller; infinite where one is zero.
    pub ratio: f64,
}

/// Compares a count and the seconds it took with those of the baseline.
pub fn moved((count, seconds): (u64, f64), (before, seconds_before): (u64, f64)) -> Moved {
    let surprise = rate_surprise(count as f64, seconds, before as f64, seconds_before);
    let rates = (count as f64 / seconds.max(1e-9), before as f64 / seconds_before.max(1e-9));
    let (more, less) = (rates.0.max(rates.1), rates.0.min(rates.1));
    let ratio = if more == less { 1.0 } else { more / less };
    let kind = if surprise.abs() <= SURPRISE_MIN || ratio < RATIO_MIN {
        Move::Steady
    } else if before == 0 {
        Move::New
    } else if count == 0 {
        Move::Gone
    } else if surprise > 0.0 {
        Move::Up
    } else {
        Move::Down
    };
    Moved { kind, surprise, ratio }
}

/// Compares the count of what never was before the window: it is new, however seldom it came. Chance says nothing about it,
/// so it counts no less than what moved as little as is told.
pub fn appeared(now: (u64, f64), seconds_before: f64) -> Moved {
    let compared = moved(now, (0, seconds_before));
    Moved { kind: Move::New, surprise: compared.surprise.max(SURPRISE_MIN), ..compared }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn counts_are_compared_by_their_rates() {
        let of = |now, before| moved(now, before).kind;
        assert_eq!(of((100, 60.0), (100, 60.0)), Move::Steady);
        assert_eq!(of((100, 60.0), (200, 120.0)), Move::Steady);
        assert_eq!(of((300, 60.0), (100, 60.0)), Move::Up);
        assert_eq!(of((20, 60.0), (100, 60.0)), Move::Down);
        assert_eq!(of((50, 60.0), (0, 60.0)), Move::New);
        assert_eq!(of((0, 60.0), (50, 60.0)), Move::Gone);
        assert_eq!(of((3, 60.0), (0, 60.0)), Move::Steady, "a few may be chance");
        assert_eq!(of((0, 0.0), (0, 0.0)), Move::Steady);
    }

    #[test]
    fn what_never_was_is_new_however_seldom() {
        for count in [1, 3, 11] {
            let found = appeared((count, 3_600.0), 3_600.0);
            assert_eq!((found.kind, found.surprise), (Move::New, SURPRISE_MIN), "{count}");
        }
        assert_eq!(appeared((50, 60.0), 60.0), moved((50, 60.0), (0, 60.0)), "what chance cannot explain");
    }

    proptest! {
        #[test]
        fn sides_mirror_each_other(now in 0_u64..10_000, before in 0_u64..10_000, seconds in 1_u32..5_000) {
            let seconds = f64::from(seconds);
            let (there, back) = (moved((now, seconds), (before, 60.0)), moved((before, 60.0), (now, seconds)));
            prop_assert!((there.surprise + back.surprise).abs() < 1e-6);
            prop_assert!((there.kind == Move::Steady) == (back.kind == Move::Steady));
        }
    }
}
