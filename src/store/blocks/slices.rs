//! The filters of many blocks, laid across each other.
//!
//! Whether a block may hold an attribute is told by four bits of its filter. Who asks that of a thousand blocks would
//! read a thousand filters for them, a page or more each. So the filters of [`SLICED`] blocks are turned into slices: for
//! each bit of a filter one word, that has this bit of all of the blocks. The same question then reads four words for
//! sixty-four blocks (bit-sliced signatures: Faloutsos and Christodoulakis 1984).

/// Filters that are laid across each other: as many as a word has bits.
pub const SLICED: usize = 64;
/// Slices that filters can have, at most, and what lies behind them.
pub const SLICES_MAX: usize = 128;
/// In the place of this slice lies what the blocks say of their [longest](super::longest) spans.
pub const LONGEST: usize = SLICES_MAX - 1;
const _: () = assert!((super::filter::FILTER_BYTES_MAX * 8).div_ceil(WORDS) <= LONGEST);
/// Words of one slice: so that it fits a page of 16 KiB, and the slices of the largest filters are of about one size.
const WORDS: usize = 1_986;
const WORD_BYTES: usize = 8;

/// Where the word of a bit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// In which slice.
    pub slice: usize,
    /// Behind how many of its bytes.
    pub offset: usize,
}

impl Spot {
    /// Of bit `bit` of all filters.
    pub const fn of(bit: usize) -> Self {
        Self { slice: bit / WORDS, offset: bit % WORDS * WORD_BYTES }
    }
}

/// The slices of up to [`SLICED`] filters, and how many bytes the filters have in them: as many as the longest. Each length
/// is a power of two, or 0 for a filter that says nothing. Words are big-endian, the lowest bit is of the first filter.
///
/// A shorter filter is repeated: as bits are counted modulo its length, each of them is where it is looked for.
pub fn slice(filters: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    let filter_bytes = filters.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut words = vec![0_u64; filter_bytes * 8];
    for (index, words) in words.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        for (eight, filters) in filters.chunks(8).enumerate() {
            let mut bytes = [0; 8];
            for (byte, filter) in bytes.iter_mut().zip(filters) {
                // An empty one may hold everything.
                *byte = filter.get(index & filter.len().wrapping_sub(1)).copied().unwrap_or(u8::MAX);
            }
            for (word, bits) in words.iter_mut().zip(transposed(u64::from_le_bytes(bytes)).to_le_bytes()) {
                *word |= u64::from(bits) << (8 * eight);
            }
        }
    }
    let slices = words.chunks(WORDS).map(|words| words.iter().flat_map(|word| word.to_be_bytes()).collect());
    (filter_bytes, slices.collect())
}

/// A matrix of eight by eight bits across its diagonal (Warren, Hacker's Delight, 7-3).
const fn transposed(rows: u64) -> u64 {
    const fn swap(rows: u64, by: u32, mask: u64) -> u64 {
        let moved = (rows ^ rows >> by) & mask;
        rows ^ moved ^ moved << by
    }
    let rows = swap(rows, 7, 0x00aa_00aa_00aa_00aa);
    let rows = swap(rows, 14, 0x0000_cccc_0000_cccc);
    swap(rows, 28, 0x0000_0000_f0f0_f0f0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn every_bit_is_found_again(
            filters in proptest::collection::vec((0_u32..15, any::<u64>()), 1..=SLICED),
            places in proptest::collection::vec((any::<usize>(), any::<usize>()), 200),
        ) {
            let filters: Vec<Vec<u8>> = filters.into_iter().map(|(size, seed)| filter(size, seed)).collect();
            let (filter_bytes, slices) = slice(&filters);
            for (block, bit) in places {
                let (block, bit) = (block % filters.len(), bit % (filter_bytes * 8));
                let spot = Spot::of(bit);
                let word = &slices[spot.slice][spot.offset..spot.offset + WORD_BYTES];
                let word = u64::from_be_bytes(word.try_into().unwrap());
                let filter = &filters[block];
                let set = filter.is_empty() || {
                    let bit = bit % (filter.len() * 8);
                    filter[bit / 8] & 1 << (bit % 8) != 0
                };
                prop_assert_eq!(word & 1 << block != 0, set);
            }
        }
    }

    /// A filter of random bits; empty, or of half a power of two of bytes.
    fn filter(size: u32, seed: u64) -> Vec<u8> {
        let bytes = (1_usize << size) / 2;
        (0..bytes as u64)
            .map(|index| xxhash_rust::xxh3::xxh3_64_with_seed(&index.to_le_bytes(), seed) as u8)
            .collect()
    }

    #[test]
    fn slices_of_the_largest_filters_fit_a_page() {
        let (filter_bytes, slices) = slice(&vec![vec![0; super::super::filter::FILTER_BYTES_MAX]; SLICED]);
        assert_eq!(filter_bytes, 16_384);
        assert_eq!(slices.len(), 66);
        assert!(slices.len() <= LONGEST);
        assert!(slices.iter().all(|slice| slice.len() <= 15_900));
        assert_eq!(slices.iter().map(Vec::len).sum::<usize>(), 16_384 * 8 * WORD_BYTES);
    }
}
