//! Maps by subject with a quick hash. Subjects' parts are numbers that the store hands out in sequence, so nobody outside
//! can choose them to collide, and the keyed hash of the standard library would only cost time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::rollup::Subject;

/// A map by subject.
pub type SubjectMap<V> = HashMap<Subject, V, BuildHasherDefault<SubjectHasher>>;

/// Multiplies and rotates each word in; the last step carries high bits down to where the table looks.
#[derive(Debug, Default)]
pub struct SubjectHasher(u64);

impl SubjectHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}

impl Hasher for SubjectHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.mix(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_i64(&mut self, word: i64) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}
