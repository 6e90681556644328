//! Repeatable chance. Its own few lines, because a seed printed today must replay on any later version.

/// A SplitMix64 generator (Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A generator that always gives the same sequence for `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one part of the work, independent of the others.
    pub fn branch(&self, part: u64) -> Self {
        let mut branch = Self(self.0 ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        branch.word();
        branch
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number from 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.word() % bound as u64) as usize }
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A duration around `typical_ns` with the long right tail that latencies have (log-normal, sigma 0.35).
    pub fn latency(&mut self, typical_ns: f64) -> u64 {
        // The sum of twelve uniform numbers is close enough to a normal one.
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        (typical_ns * (0.35 * normal).exp()) as u64
    }
}
