//! The longest spans of services: for each service, which blocks have spans of it, and how long the longest of these took.
//!
//! Who asks for long spans of a service, or for its slowest, would otherwise look at all of its spans: no index is in the order
//! of durations. It takes some bytes for each service and block.
//!
//! Durations are told as *levels*: 0 where there is no span, then eight for each doubling.
//!
//! The format: a byte 1; 64 bits, one for each block of which this is known, the lowest for the first block; then for each service in the
//! order of their numbers, the distance from the one before, the blocks that have spans of it, as such bits, and a byte for
//! each of them, its level. Numbers are LEB128 varints, the bits in front are big-endian. What cannot be read says nothing.

use super::slices::SLICED;
use crate::model::packed::wire::take_varint;
use crate::model::packed::write::put_varint;

/// The services of a block, by their numbers, each with the level of its longest span.
pub type Longest = Vec<(u32, u8)>;
/// The level of the longest spans that there are.
const LEVEL_MAX: u8 = (PARTS * (LONG - SHORT)) as u8 + 2;
/// Levels of a doubling, and how many bits they take.
const PARTS: u32 = 1 << PART_BITS;
const PART_BITS: u32 = 3;
/// Doublings from which on, and up to which, durations are told from each other.
const SHORT: u32 = 10;
const LONG: u32 = 41;
/// The level of what may be of any length.
pub const UNKNOWN: u8 = u8::MAX;
const _: () = assert!(PARTS * (LONG - SHORT) + 2 < UNKNOWN as u32);
const VERSION: u8 = 1;

/// The level of a duration in nanoseconds: 1 below a microsecond (1,024 ns), [`LEVEL_MAX`] from 37 minutes on.
pub const fn level(duration_ns: u64) -> u8 {
    match duration_ns.checked_ilog2() {
        None | Some(..SHORT) => 1,
        Some(doublings @ SHORT..LONG) => {
            let part = duration_ns >> (doublings - PART_BITS) & (PARTS as u64 - 1);
            (PARTS * (doublings - SHORT)) as u8 + part as u8 + 2
        }
        Some(_) => LEVEL_MAX,
    }
}

/// The shortest duration of a level of one and more, in nanoseconds; none where no duration is as long.
pub const fn least(level: u8) -> Option<u64> {
    match level {
        ..=1 => Some(0),
        2..=LEVEL_MAX => {
            let (doublings, part) = ((level as u32 - 2) / PARTS, (level as u32 - 2) % PARTS);
            Some(((PARTS + part) as u64) << (doublings + SHORT - PART_BITS))
        }
        _ => None,
    }
}

/// What is known of up to [`SLICED`] blocks, each of them sorted by service.
pub fn put(blocks: &[Option<Longest>]) -> Vec<u8> {
    let is_known = |(at, block): (usize, &Option<Longest>)| u64::from(block.is_some()) << at;
    let known = blocks.iter().enumerate().map(is_known).fold(0, |all, bit| all | bit);
    let all = blocks.iter().enumerate().filter_map(|(at, block)| Some((at, block.as_ref()?)));
    let mut all: Vec<(u32, usize, u8)> = all
        .flat_map(|(at, block)| block.iter().map(move |(service, level)| (*service, at, *level)))
        .collect();
    all.sort_unstable();
    let mut bytes = vec![VERSION];
    bytes.extend(known.to_be_bytes());
    let mut before = 0;
    for of_service in all.chunk_by(|(a, ..), (b, ..)| a == b) {
        let service = of_service[0].0;
        put_varint(u64::from(service - before), &mut bytes);
        put_varint(of_service.iter().fold(0, |mask, (_, at, _)| mask | 1 << at), &mut bytes);
        bytes.extend(of_service.iter().map(|(.., level)| *level));
        before = service;
    }
    bytes
}

/// The highest level of the services that `is_wanted` in each block; [`UNKNOWN`] where it is not known.
pub fn levels(bytes: &[u8], is_wanted: impl Fn(u32) -> bool) -> [u8; SLICED] {
    let mut levels = [0; SLICED];
    let known = each(bytes, |service, at, level| {
        if is_wanted(service) {
            levels[at] = level.max(levels[at]);
        }
    });
    for (at, level) in levels.iter_mut().enumerate() {
        *level = if known.unwrap_or(0) >> at & 1 == 1 { *level } else { UNKNOWN };
    }
    levels
}

/// What is known of the first of the blocks.
pub fn first(bytes: &[u8]) -> Option<Longest> {
    let mut longest = Longest::new();
    let known = each(bytes, |service, at, level| {
        if at == 0 {
            longest.push((service, level));
        }
    });
    known.filter(|known| known & 1 == 1).map(|_| longest)
}

/// Has `take` read the service, the block and the level of all there is, and answers of which blocks it is known; none where it
/// cannot be read.
fn each(bytes: &[u8], mut take: impl FnMut(u32, usize, u8)) -> Option<u64> {
    let bytes = bytes.strip_prefix(&[VERSION])?;
    let (known, mut bytes) = bytes.split_first_chunk()?;
    let mut service = 0_u64;
    while !bytes.is_empty() {
        let (more, mut mask) = take_varint(&mut bytes).zip(take_varint(&mut bytes))?;
        service = service.saturating_add(more);
        let number = u32::try_from(service).ok()?;
        let (levels, rest) = bytes.split_at_checked(mask.count_ones() as usize)?;
        for level in levels {
            take(number, mask.trailing_zeros() as usize, *level);
            mask &= mask - 1;
        }
        bytes = rest;
    }
    Some(u64::from_be_bytes(*known))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use proptest::{collection, option};

    use super::*;

    fn blocks() -> impl Strategy<Value = Vec<Option<Longest>>> {
        let block = collection::btree_map(0_u32..40, 1_u8..=LEVEL_MAX, 0..12);
        let block = block.prop_map(|services: BTreeMap<u32, u8>| services.into_iter().collect());
        collection::vec(option::weighted(0.9, block), 1..=SLICED)
    }

    proptest! {
        #[test]
        fn levels_are_in_the_order_of_durations(a: u64, b: u64, shift in 0_u32..64) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert!(a > b || level(a) <= level(b));
            prop_assert!((1..=LEVEL_MAX).contains(&level(a)));
            prop_assert!(least(level(a)).is_some_and(|least| least <= a));
            prop_assert!(least(level(a) + 1).is_none_or(|least| least > a));
        }

        #[test]
        fn what_is_put_is_found(blocks in blocks(), wanted: [bool; 40]) {
            let bytes = put(&blocks);
            let found = levels(&bytes, |service| wanted[service as usize]);
            for (block, found) in blocks.iter().zip(found) {
                let expected = block.as_ref().map_or(UNKNOWN, |services| {
                    let levels = services.iter().filter(|(service, _)| wanted[*service as usize]);
                    levels.map(|(_, level)| *level).max().unwrap_or(0)
                });
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(first(&bytes), blocks[0].clone());
        }

        #[test]
        fn any_bytes_are_read_or_say_nothing(version in 0_u8..3, bytes in collection::vec(any::<u8>(), 0..64)) {
            let bytes = [&[version], &bytes[..]].concat();
            let found = levels(&bytes, |_| true);
            prop_assert!(version == VERSION || found == [UNKNOWN; SLICED]);
            prop_assert!(version == VERSION || first(&bytes).is_none());
        }
    }

    #[test]
    fn a_level_is_an_eighth_of_a_doubling() {
        let at = [0, 1_023, 1_024, 1_151, 1_152, 2_047, 2_048, (1 << 41) - 1, 1 << 41, u64::MAX];
        assert_eq!(at.map(level), [1, 1, 2, 2, 3, 9, 10, 249, 250, 250]);
        assert_eq!(
            [1, 2, 3, 10, 250, 251].map(least),
            [Some(0), Some(1_024), Some(1_152), Some(2_048), Some(1 << 41), None]
        );
    }
}
