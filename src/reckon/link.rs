//! From one point of a series to the next: what was counted in between (data model, "Resets and Gaps", "Overlap").
//!
//! The rule looks at two neighbours only, never at the points before them, so that what a series counted over a long
//! time is the sum over its parts.

use super::amount::Amount;
use super::nature::Accrual;
use crate::model::metric::START_WANDER_NS;

/// A point as its neighbours see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// When it was measured, in nanoseconds since 1970.
    pub time_ns: i64,
    /// From when it counts; zero where the sender does not say.
    pub start_ns: i64,
    /// Its raw amount; none for deltas, whose neighbours do not ask.
    pub amount: Option<Amount>,
}

/// What lies between two neighbours.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    /// What was counted; none where nothing is known.
    pub amount: Option<Amount>,
    /// Over how long, in nanoseconds.
    pub covered_ns: u64,
    /// How much of the time that the later point counts the earlier one counted too, in nanoseconds; of deltas.
    pub shared_ns: u64,
    /// True when the sequence began anew.
    pub reset: bool,
    /// True when the later point says that it counts from before the earlier one's time without being its sequel: two
    /// senders share one identity, or a clock went back.
    pub overlap: bool,
}

impl Mark {
    /// True when it counts from its own time: it begins a sequence whose true start is unknown.
    const fn has_no_duration(&self) -> bool {
        self.start_ns == self.time_ns
    }

    /// How long it counts; zero where its sender does not say.
    pub(super) const fn duration_ns(&self) -> u64 {
        if self.start_ns == 0 { 0 } else { length(self.start_ns, self.time_ns) }
    }
}

/// What lies between `before` and `after`, the next point of the same series.
pub fn link(accrual: Accrual, before: &Mark, after: &Mark) -> Link {
    let between_ns = length(before.time_ns, after.time_ns);
    let amounts = before.amount.as_ref().zip(after.amount.as_ref());
    match accrual {
        Accrual::Level => Link::default(),
        Accrual::Change => {
            let amount = amounts.and_then(|(before, after)| after.change_from(before));
            Link { amount, covered_ns: between_ns, ..Link::default() }
        }
        // What a delta counts is its own. Without a start it counts since the point before it ("Sums: Missing
        // Timestamps").
        Accrual::Delta => Link {
            covered_ns: if after.start_ns == 0 { between_ns } else { 0 },
            shared_ns: length(after.start_ns, before.time_ns).min(after.duration_ns()),
            overlap: after.start_ns != 0 && after.start_ns < before.time_ns,
            ..Link::default()
        },
        Accrual::Total => amounts.map_or_else(Link::default, |amounts| total(before, after, amounts)),
    }
}

/// The rule for cumulative points.
fn total(before: &Mark, after: &Mark, (was, is): (&Amount, &Amount)) -> Link {
    let covered_ns = length(before.time_ns, after.time_ns);
    let new_start = after.start_ns != 0 && after.start_ns != before.start_ns;
    if new_start && after.start_ns >= before.time_ns {
        // The sequence of `before` is over.
        if !after.has_no_duration() {
            // A true reset: from its start on, all of it is new.
            return Link { amount: Some(is.clone()), covered_ns, reset: true, ..Link::default() };
        }
        if !before.has_no_duration() {
            // "Cumulative streams: handling unknown start time": it contributes nothing.
            return Link { reset: true, ..Link::default() };
        }
        // A sender that always gives the point's own time as start says nothing by it.
    }
    let overlap = new_start && before.start_ns != 0 && after.start_ns < before.time_ns;
    if overlap && before.start_ns.abs_diff(after.start_ns) > START_WANDER_NS {
        // Points of two senders: neither says what the other counted in between.
        return Link { overlap, ..Link::default() };
    }
    // The same sequence; or starts that are unknown, or that wander with the sender's clock and so tell nothing either:
    // then the values tell, for not everything must be counted again.
    match is.since(was) {
        Some(amount) => Link { amount: Some(amount), covered_ns, overlap, ..Link::default() },
        None => Link { amount: Some(is.clone()), covered_ns, reset: true, overlap, ..Link::default() },
    }
}

/// What the first known point of a series counts, when nothing is known before `known_from_ns`: all of it where it
/// began after that, else nothing, it is only where counting begins. `counted_from_ns` is the beginning of the
/// interval it is counted in: a series that begins within it counted nothing before.
pub fn first(accrual: Accrual, mark: &Mark, known_from_ns: i64, counted_from_ns: i64) -> Link {
    let begins = mark.start_ns != 0 && mark.start_ns < mark.time_ns && mark.start_ns >= known_from_ns;
    match accrual {
        Accrual::Change | Accrual::Total if begins => Link {
            amount: mark.amount.clone(),
            covered_ns: length(mark.start_ns.min(counted_from_ns), mark.time_ns),
            ..Link::default()
        },
        _ => Link::default(),
    }
}

/// Nanoseconds from `from` to `to`; zero when `to` is not later.
const fn length(from: i64, to: i64) -> u64 {
    if to > from { to.wrapping_sub(from).cast_unsigned() } else { 0 }
}
