//! Filters: which attributes a block may hold, and the rows of which services.
//!
//! A Bloom filter over tokens `key=value`, two of them where the key is promoted: [`PROBES`] bits a token out of XXH3-64, a
//! power of two of bytes with about [`TOKEN_BITS`] bits for each distinct token, [`FILTER_BYTES_MAX`] at most. An empty filter
//! says nothing. It answers "no" only when no row of the block has the attribute.
//!
//! Where nearly every block has a value, as the status 200, that says little. So for a key whose values repeat each value has two
//! more tokens for each service that has it. Keys whose values hardly repeat, or for which there is no room, have two tokens that
//! say that they are *untold*. Which filters have these is noted beside them; see [`parts`].

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use foldhash::quality::RandomState;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::packed::AttributeIter;
use crate::model::packed::value::Value;

/// Largest filter, in bytes.
pub(super) const FILTER_BYTES_MAX: usize = 16 << 10;
/// Bits that one token sets.
pub(super) const PROBES: u32 = 4;
/// Bits of filter for each distinct token, at least.
pub(super) const TOKEN_BITS: usize = 10;
/// Up to so many bytes a filter grows for telling of services.
const TELLING_BYTES_MAX: usize = 8 << 10;
/// How many tokens a value with a service counts for: it sets twice the bits, and is asked for all of them.
const PAIR_TOKENS: (usize, usize) = (5, 4);
/// The part of the rows with a key that its values with their services may be for it to be told; few always may.
const REPEATED: (usize, usize) = (7, 8);
const PAIRS_FEW: usize = 64;
/// Tells tokens of keys from those of attributes.
const OF_KEY: u64 = 0x6b65_7973_6f6e_6c79;

/// Collects the tokens of a block's rows.
#[derive(Debug, Default)]
pub(super) struct FilterBuilder<'p> {
    tokens: HashSet<u64, RandomState>,
    text: Vec<u8>,
    /// Keys whose values have a second token.
    promoted: &'p [String],
    /// Of keys the tokens of their values with services.
    owned: Vec<(Vec<u8>, HashSet<u64, RandomState>)>,
}

/// The token that stands beside `token` where one is not enough.
fn second(token: u64) -> u64 {
    xxh3_64(&token.to_le_bytes())
}

/// Of the attribute with this token among the rows of a service.
fn owned(token: u64, service: u32) -> u64 {
    xxh3_64_with_seed(&token.to_le_bytes(), u64::from(service) + 1)
}

/// Of a key that is untold.
fn untold(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, OF_KEY)
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
            };
            self.leave_untold(key.as_bytes());
        }
    }

    /// Adds which services have values of `key`, by the tokens of these, one for each row that has one. All values that rows of
    /// the block have are to be added so, or the key is to be left untold beside them. It is, where they hardly repeat.
    pub(super) fn add_services(&mut self, key: &[u8], values: impl ExactSizeIterator<Item = (u64, u32)>) {
        let pairs_max = (values.len() * REPEATED.0 / REPEATED.1).max(PAIRS_FEW);
        let pairs: HashSet<u64, RandomState> = values.map(|(token, service)| owned(token, service)).collect();
        match pairs.len() <= pairs_max {
            true => self.owned.push((key.to_vec(), pairs)),
            false => self.leave_untold(key),
        }
    }

    /// Adds that `key` is untold.
    pub(super) fn leave_untold(&mut self, key: &[u8]) {
        let token = untold(key);
        self.tokens.extend([token, second(token)]);
    }

    /// Adds an attribute whose value [renders](Value::render) as `value`, and answers its token.
    pub(super) fn add_pair(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.text.clear();
        self.text.extend_from_slice(key);
        self.text.push(b'=');
        self.text.extend_from_slice(value);
        self.insert(key)
    }

    /// Adds an attribute with any value, and answers its token.
    pub(super) fn add_value(&mut self, key: &[u8], value: Value<'_>) -> u64 {
        self.text.clear();
        self.text.extend_from_slice(key);
        self.text.push(b'=');
        match value {
            // Writing to a vector cannot fail.
            Value::Int(number) => drop(write!(self.text, "{number}")),
            other => self.text.extend_from_slice(other.render().as_bytes()),
        }
        self.insert(key)
    }

    fn insert(&mut self, key: &[u8]) -> u64 {
        let token = xxh3_64(&self.text);
        self.tokens.insert(token);
        if self.promoted.iter().any(|promoted| promoted.as_bytes() == key) {
            self.tokens.insert(second(token));
        }
        token
    }

    /// The filter, empty where no row had an attribute.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.tokens.is_empty() {
            return Vec::new();
        }
        // Where there is no room for all, most keys are told of.
        let mut owned = std::mem::take(&mut self.owned);
        owned.sort_by_key(|(_, pairs)| pairs.len());
        let room = filter_bytes(self.tokens.len()).max(TELLING_BYTES_MAX);
        let mut pairs: Vec<u64> = Vec::new();
        for (key, more) in owned {
            match filter_bytes(self.tokens.len() + in_tokens(pairs.len() + more.len())) <= room {
                true => pairs.extend(more),
                false => self.leave_untold(&key),
            }
        }
        let bytes = filter_bytes(self.tokens.len() + in_tokens(pairs.len()));
        let mut filter = vec![0; bytes.min(FILTER_BYTES_MAX)];
        let seconds = pairs.iter().map(|token| second(*token));
        for token in self.tokens.into_iter().chain(pairs.iter().copied()).chain(seconds) {
            for bit in bits(token, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }
}

/// For how many tokens so many values with services count.
const fn in_tokens(pairs: usize) -> usize {
    pairs * PAIR_TOKENS.0 / PAIR_TOKENS.1
}

/// The bytes of a filter with [`TOKEN_BITS`] bits for each token, without a bound.
const fn filter_bytes(tokens: usize) -> usize {
    let bytes = (tokens * TOKEN_BITS).div_ceil(8).next_power_of_two();
    if bytes < 2 { 2 } else { bytes }
}

/// What is noted of filters of `bytes` bytes, at least two, that tell of services: one more. Builds that know nothing of that find
/// no filter of such a length, and expect nothing of it.
pub const fn telling(bytes: usize) -> usize {
    bytes + 1
}

/// The bytes of filters of which `noted` is noted, and whether they tell of services.
pub const fn parts(noted: usize) -> (usize, bool) {
    let tells = noted > 2 && noted % 2 == 1;
    (if tells { noted - 1 } else { noted }, tells)
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

/// For filters of `bytes` bytes that tell of services: the bits that are set where a row of `service` may have attribute `key` with
/// a value that [renders](Value::render) as `value`, unless the key is untold.
pub fn service_probes(key: &str, value: &str, service: u32, bytes: usize) -> Vec<usize> {
    both(owned(xxh3_64(format!("{key}={value}").as_bytes()), service), bytes)
}

/// For such filters: the bits that are set where `key` is untold.
pub fn untold_probes(key: &str, bytes: usize) -> Vec<usize> {
    both(untold(key.as_bytes()), bytes)
}

fn both(token: u64, bytes: usize) -> Vec<usize> {
    [token, second(token)].into_iter().flat_map(|token| bits(token, bytes)).collect()
}

/// Whether a row of the block may have attribute `key` with a value that [renders](Value::render) as `value`.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn may_hold(filter: &[u8], key: &str, value: &str) -> bool {
    let Some((_, bits)) = probes(key, value, false).find(|(length, _)| *length == filter.len()) else {
        return true;
    };
    has(filter, bits)
}

/// Whether a row of `service` may have it.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::store) fn may_hold_of(filter: &[u8], key: &str, value: &str, service: u32) -> bool {
    let bytes = filter.len();
    let told =
        || has(filter, service_probes(key, value, service, bytes)) || has(filter, untold_probes(key, bytes));
    bytes == 0 || may_hold(filter, key, value) && told()
}

/// Whether all of `bits` are set.
#[cfg(any(test, feature = "fuzzing"))]
fn has(filter: &[u8], bits: Vec<usize>) -> bool {
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
            has(&filter, bits)
        };
        assert!((0..2_000).all(holds));
        let wrong = (2_000..12_000).filter(|number| holds(*number)).count();
        assert!(wrong < 20, "{wrong} of 10,000 promoted ones were not told apart");
        assert!(!may_hold(&filter, "name", "other"));
        assert!(may_hold(&[], "name", "other"));
    }
}
