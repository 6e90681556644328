//! Who sent last: enough to tell whether anybody else sends.

use std::time::{Duration, Instant};

/// How long a tenant that sent or asked counts as doing so.
pub(super) const ACTIVE: Duration = Duration::from_secs(60);

/// The two that sent last, and when.
///
/// Two suffice: of any two, one is another than whoever asks.
#[derive(Debug)]
pub struct Recent<K>([Option<(K, Instant)>; 2]);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self([None, None])
    }
}

impl<K: PartialEq + Clone> Recent<K> {
    /// `key` sends something.
    pub fn note(&mut self, key: &K, now: Instant) {
        match &mut self.0 {
            [Some((last, seen)), _] if last == key => *seen = now,
            recent => {
                recent.swap(0, 1);
                recent[0] = Some((key.clone(), now));
            }
        }
    }

    /// Whether somebody else than `key` sent within `active` before `now`.
    pub fn has_others(&self, key: &K, now: Instant, active: Duration) -> bool {
        self.0
            .iter()
            .flatten()
            .any(|(other, seen)| other != key && now.saturating_duration_since(*seen) < active)
    }

    /// Whether nobody sent within `active` before `now`.
    pub fn is_silent(&self, now: Instant, active: Duration) -> bool {
        self.0.iter().flatten().all(|(_, seen)| now.saturating_duration_since(*seen) >= active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_from_oneself_for_as_long_as_they_are_active() {
        const ACTIVE: Duration = Duration::from_secs(10);
        let (start, mut recent) = (Instant::now(), Recent::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(recent.is_silent(start, ACTIVE) && !recent.has_others(&'a', start, ACTIVE));
        recent.note(&'a', start);
        assert!(!recent.has_others(&'a', start, ACTIVE) && recent.has_others(&'b', start, ACTIVE));
        recent.note(&'b', after(1));
        recent.note(&'a', after(2));
        recent.note(&'a', after(3));
        assert!(recent.has_others(&'a', after(10), ACTIVE), "the other sent 9 seconds ago");
        assert!(!recent.has_others(&'a', after(11), ACTIVE));
        assert!(recent.has_others(&'b', after(12), ACTIVE) && !recent.is_silent(after(12), ACTIVE));
        assert!(recent.is_silent(after(13), ACTIVE));
    }
}
