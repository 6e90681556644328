//! How many measurements a distribution holds, and what is known of them without its buckets.

/// Count, sum and extremes of some measurements.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// How many; saturates.
    pub count: u64,
    /// Their sum; none where a sender did not tell, or told something that is no finite number.
    pub sum: Option<f64>,
    /// No measurement is smaller; none where a sender did not tell.
    pub min: Option<f64>,
    /// No measurement is larger; none where a sender did not tell.
    pub max: Option<f64>,
}

impl Totals {
    /// Totals as a point has them. What is not finite is unknown.
    pub fn new(count: u64, sum: Option<f64>, (min, max): (Option<f64>, Option<f64>)) -> Self {
        if count == 0 {
            return Self::default();
        }
        let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
        Self { count, sum: finite(sum), min: finite(min), max: finite(max) }
    }

    /// Adds those of other measurements. What either does not know the sum does not know.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let both = |a: Option<f64>, b: Option<f64>, join: fn(f64, f64) -> f64| Some(join(a?, b?));
        *self = Self {
            count: self.count.saturating_add(other.count),
            sum: both(self.sum, other.sum, |a, b| a + b),
            min: both(self.min, other.min, f64::min),
            max: both(self.max, other.max, f64::max),
        };
    }

    /// What came since `previous` of the same sequence; none when the count fell. The extremes are those of the whole
    /// sequence, which hold for any part of it.
    pub fn since(&self, previous: &Self) -> Option<Self> {
        let count = self.count.checked_sub(previous.count)?;
        if count == 0 {
            return Some(Self::default());
        }
        let before = if previous.count == 0 { Some(0.0) } else { previous.sum };
        let sum = self.sum.zip(before).map(|(now, before)| now - before);
        Some(Self { count, sum, ..*self })
    }

    /// The mean of the measurements.
    pub fn mean(&self) -> Option<f64> {
        self.sum.filter(|_| self.count > 0).map(|sum| sum / self.count as f64)
    }

    /// `value` moved between the extremes, as far as they are known.
    pub(super) fn within(&self, value: f64) -> f64 {
        let value = self.min.map_or(value, |min| value.max(min));
        self.max.map_or(value, |max| value.min(max))
    }
}

/// The value at `fraction` of the way from `low` to `high`.
pub(super) fn between(low: f64, high: f64, fraction: f64) -> f64 {
    if low >= high {
        return high;
    }
    (low * (1.0 - fraction) + high * fraction).clamp(low, high)
}
