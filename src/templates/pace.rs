//! How often something may be done: a share of a service's lines, of which some is saved up where it was not done for long.

/// What may be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Once in so many lines.
    pub(super) lines: u64,
    /// And so many times at once where that was saved up.
    pub(super) saved_max: usize,
}

/// How much of it was done. At first all that may be saved up is.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The line at which one more time would be due, if none had been saved up.
    due: u64,
}

impl Pace {
    /// Nothing is saved up at line `now`.
    pub(super) fn spent(now: u64, rate: Rate) -> Self {
        Self { due: rate.ahead(now) }
    }

    /// Whether it may be done at line `now`; counts it as done then.
    pub(super) fn allows(&mut self, now: u64, rate: Rate) -> bool {
        let due = self.due.max(now).saturating_add(rate.lines);
        let allows = due <= rate.ahead(now);
        if allows {
            self.due = due;
        }
        allows
    }
}

impl Rate {
    /// The line at which all that may be saved up at line `now` would be due.
    fn ahead(self, now: u64) -> u64 {
        now.saturating_add((self.saved_max.max(1) as u64).saturating_mul(self.lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_up_may_be_done_at_once() {
        let rate = Rate { lines: 10, saved_max: 3 };
        let done = |pace: &mut Pace, lines: std::ops::Range<u64>| {
            lines.filter(|now| pace.allows(*now, rate)).collect::<Vec<u64>>()
        };
        let mut pace = Pace::default();
        assert_eq!(done(&mut pace, 0..35), [0, 1, 2, 10, 20, 30]);
        assert_eq!(done(&mut pace, 100..105), [100, 101, 102], "no more than three");
        let mut pace = Pace::spent(7, rate);
        assert_eq!(done(&mut pace, 7..40), [17, 27, 37]);
    }
}
