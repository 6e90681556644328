//! Axes: from zero to a round number, with round steps.

/// Steps of time that are read easily, in seconds.
const TIMES: [f64; 17] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0,
    21_600.0, 43_200.0,
];
const DAY_SECONDS: f64 = 86_400.0;

/// An axis that begins at zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    end: f64,
    step: f64,
}

impl Scale {
    /// An axis for so many seconds; it ends with them.
    pub(super) fn of_time(seconds: f64) -> Self {
        let wanted = seconds / 10.0;
        let days = (wanted / DAY_SECONDS).ceil() * DAY_SECONDS;
        Self { end: seconds, step: TIMES.into_iter().find(|step| wanted <= *step).unwrap_or(days) }
    }

    /// An axis for values up to `most`, with three to six steps.
    pub(super) fn of_values(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * power).find(|step| most <= 5.0 * step);
        let step = step.unwrap_or(10.0 * power);
        Self { end: (most / step).ceil() * step, step }
    }

    /// Where the steps are, both ends among them where they are steps.
    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let Self { end, step } = *self;
        let count = (end / step + 1e-6).floor() as u32;
        (0..=count).map(move |number| f64::from(number) * step)
    }

    /// Where a value lies, from 0 to 1 and beyond.
    pub(super) fn share(&self, value: f64) -> f64 {
        value / self.end
    }

    /// A value of it, with as many decimals as its steps have.
    pub(super) fn value(&self, value: f64) -> String {
        let (factor, unit) = match self.end {
            end if end >= 2e9 => (1e9, "G"),
            end if end >= 2e6 => (1e6, "M"),
            end if end >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        let decimals = (-(self.step / factor).log10().floor()).clamp(0.0, 6.0) as usize;
        if value == 0.0 { "0".into() } else { format!("{:.decimals$}{unit}", value / factor) }
    }

    /// An instant of it.
    pub(super) fn time(&self, seconds: f64) -> String {
        match self.step {
            step if step >= DAY_SECONDS => format!("{:.0} d", seconds / DAY_SECONDS),
            step if step >= 3_600.0 => format!("{:.0} h", seconds / 3_600.0),
            step if step >= 60.0 => format!("{:.0} min", seconds / 60.0),
            _ => format!("{seconds:.0} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_round_steps_that_reach_over_them() {
        for (most, wanted) in [
            (0.0, "0 0.2 0.4 0.6 0.8 1.0"),
            (1.49, "0 0.5 1.0 1.5"),
            (0.034, "0 0.01 0.02 0.03 0.04"),
            (5.0, "0 1 2 3 4 5"),
            (908.0, "0 200 400 600 800 1000"),
            (1_999.0, "0 500 1000 1500 2000"),
            (152_400.0, "0 50k 100k 150k 200k"),
            (7.1e6, "0 2M 4M 6M 8M"),
            (12_500.0, "0 5k 10k 15k"),
            (2_400.0, "0 500 1000 1500 2000 2500"),
        ] {
            let scale = Scale::of_values(most);
            let shown: Vec<String> = scale.ticks().map(|tick| scale.value(tick)).collect();
            assert_eq!(shown.join(" "), wanted, "{most}");
            assert!(scale.share(most) <= 1.0, "{most}");
        }
    }

    #[test]
    fn time_ends_with_the_run() {
        for (seconds, wanted) in [
            (10.1, "0 s, 2 s, 4 s, 6 s, 8 s, 10 s"),
            (300.0, "0 s, 30 s, 60 s, 90 s, 120 s, 150 s, 180 s, 210 s, 240 s, 270 s, 300 s"),
            (7_300.0, "0 min, 20 min, 40 min, 60 min, 80 min, 100 min, 120 min"),
            (259_200.0, "0 h, 12 h, 24 h, 36 h, 48 h, 60 h, 72 h"),
            (1e6, "0 d, 2 d, 4 d, 6 d, 8 d, 10 d"),
        ] {
            let scale = Scale::of_time(seconds);
            let shown: Vec<String> = scale.ticks().map(|tick| scale.time(tick)).collect();
            assert_eq!(shown.join(", "), wanted, "{seconds}");
            assert!((scale.share(seconds) - 1.0).abs() < 1e-9);
        }
    }
}
