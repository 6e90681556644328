//! Filters: which attributes a block may hold.
//!
//! A Bloom filter over tokens `key=value`, two of them where the key is promoted: [`PROBES`] bits a token out of XXH3-64, a
//! power of two of bytes with about
//! [`TOKEN_BITS`] bits for each distinct token, [`FILTER_BYTES_MAX`] at most. An empty filter says nothing. It answers
//! "no" only when no row of the block has the attribute.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use foldhash::quality::RandomState;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::packed::AttributeIter;
use crate::model::packed::value::Value;

/// Largest filter, in bytes.
pub(super) const FILTER_BYTES_MAX: usize = 16 << 10;
/// Bits that one token sets.
pub(super) const PROBES: u32 = 4;
/// Bits of filter for each distinct token, at least.
pub(super) const TOKEN_BITS: usize = 10;

/// Collects the tokens of a block's rows.
#[derive(Debug, Default)]
pub(super) struct FilterBuilder<'p> {
    tokens: HashSet<u64, RandomState>,
    text: Vec<u8>,
    /// Keys whose values have a second token.
    promoted: &'p [String],
}

/// The token that stands beside `token` where its key is promoted.
fn second(token: u64) -> u64 {
    xxh3_64(&token.to_le_bytes())
}

impl<'p> FilterBuilder<'p> {
    pub(super) fn new(promoted: &'p [String]) -> Self {
        Self { promoted, ..Self::default() }
    }

    /// Adds the attributes of one row.
    pub(super) fn add(&mut self, attributes: AttributeIter<'_>) {
        for (key, value) in attributes {
            match value {
                Value::Text(text) => self.add_pair(key.as_bytes(), text.as_bytes()),
                other => self.add_value(key.as_bytes(), other),
            }
        }
    }

    /// Adds an attribute whose value [renders](Value::render) as `value`.
    pub(super) fn add_pair(&mut self, key: &[u8], value: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(key);
        self.text.push(b'=');
        self.text.extend_from_slice(value);
        self.insert(key);
    }

    /// Adds an attribute with any value.
    pub(super) fn add_value(&mut self, key: &[u8], value: Value<'_>) {
        self.text.clear();
        self.text.extend_from_slice(key);
        self.text.push(b'=');
        match value {
            // Writing to a vector cannot fail.
            Value::Int(number) => drop(write!(self.text, "{number}")),
            other => self.text.extend_from_slice(other.render().as_bytes()),
        }
        self.insert(key);
    }

    fn insert(&mut self, key: &[u8]) {
        let token = xxh3_64(&self.text);
        self.tokens.insert(token);
        if self.promoted.iter().any(|promoted| promoted.as_bytes() == key) {
            self.tokens.insert(second(token));
        }
    }

    /// The filter, empty where no row had an attribute.
    pub(super) fn finish(self) -> Vec<u8> {
        if self.tokens.is_empty() {
            return Vec::new();
        }
        let bytes = (self.tokens.len() * TOKEN_BITS).div_ceil(8).next_power_of_two();
        let mut filter = vec![0; bytes.min(FILTER_BYTES_MAX)];
        for token in self.tokens {
            for bit in bits(token, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

/// For each length that a filter can have, the bits that it has set where a row of the block may have attribute `key` with
/// a value that [renders](Value::render) as `value`; more of them where the key is promoted. A filter of another length, as an
/// empty one, says "maybe" to everything.
pub fn probes(key: &str, value: &str, is_promoted: bool) -> impl Iterator<Item = (usize, Vec<usize>)> {
    let token = xxh3_64(format!("{key}={value}").as_bytes());
    let tokens = [token, if is_promoted { second(token) } else { token }];
    let lengths = std::iter::successors(Some(1), |length| {
        Some(2 * length).filter(|length| *length <= FILTER_BYTES_MAX)
    });
    lengths.map(move |length| {
        let bits: BTreeSet<usize> = tokens.iter().flat_map(|token| bits(*token, length)).collect();
        (length, bits.into_iter().collect())
    })
}

/// Whether a row of the block may have attribute `key` with a value that [renders](Value::render) as `value`.
#[cfg(test)]
pub(super) fn may_hold(filter: &[u8], key: &str, value: &str) -> bool {
    let Some((_, bits)) = probes(key, value, false).find(|(length, _)| *length == filter.len()) else {
        return true;
    };
    bits.into_iter().all(|bit| filter[bit / 8] & 1 << (bit % 8) != 0)
}

/// Double hashing (Kirsch and Mitzenmacher 2006) over a power of two of bits.
fn bits(token: u64, filter_bytes: usize) -> impl Iterator<Item = usize> {
    let mask = filter_bytes * 8 - 1;
    let (first, step) = (token as usize, (token >> 32) as usize | 1);
    (0..PROBES as usize).map(move |probe| first.wrapping_add(step.wrapping_mul(probe)) & mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;
    use crate::model::packed::Attributes;
    use crate::model::packed::write::Packer;

    proptest! {
        #[test]
        fn what_is_there_may_be_there(values in proptest::collection::vec("[a-z]{0,12}", 1..600)) {
            let mut builder = FilterBuilder::default();
            for value in &values {
                builder.add(packed(value, 7).iter());
            }
            let filter = builder.finish();
            prop_assert!(filter.len() <= FILTER_BYTES_MAX);
            for value in &values {
                prop_assert!(may_hold(&filter, "name", value));
            }
            prop_assert!(may_hold(&filter, "number", "7"));
        }
    }

    fn packed(name: &str, number: i64) -> Attributes {
        let mut packer = Packer::default();
        packer.attribute_text(9, "name", name);
        packer.attribute_int(9, "number", number);
        Attributes::from_checked(packer.finish())
    }

    #[test]
    fn most_absent_values_are_known_to_be_absent() {
        let mut builder = FilterBuilder::default();
        for number in 0..2_000 {
            builder.add(packed("same", number).iter());
        }
        let filter = builder.finish();
        let wrong = (2_000..12_000).filter(|number| may_hold(&filter, "number", &number.to_string())).count();
        assert!(wrong < 300, "{wrong} of 10,000 were not told apart");
        let promoted = ["number".to_owned()];
        let mut builder = FilterBuilder::new(&promoted);
        for number in 0..2_000 {
            builder.add(packed("same", number).iter());
        }
        let filter = builder.finish();
        let holds = |number: i64| {
            let value = number.to_string();
            let (_, bits) =
                probes("number", &value, true).find(|(length, _)| *length == filter.len()).unwrap();
            bits.into_iter().all(|bit| filter[bit / 8] & 1 << (bit % 8) != 0)
        };
        assert!((0..2_000).all(holds));
        let wrong = (2_000..12_000).filter(|number| holds(*number)).count();
        assert!(wrong < 20, "{wrong} of 10,000 promoted ones were not told apart");
        assert!(!may_hold(&filter, "name", "other"));
        assert!(may_hold(&[], "name", "other"));
    }
}
