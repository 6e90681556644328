//! Changes of inputs, from a seed: the same seed changes the same input alike on every machine.

/// Longest input that is made, in bytes.
const INPUT_BYTES_MAX: usize = 4_096;
/// Changes of one input, at most.
const CHANGES_MAX: u64 = 4;
/// Bytes at which readers turn: bounds of bytes, of varints, of lines, of texts, of JSON.
const BYTES: [u8; 16] = *b"\x00\x01\x7f\x80\xff\n \"\\{}[]():";
/// What means something to one of the readers.
const WORDS: [&[u8]; 40] = [
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    b"\x00\x00\x00\x00\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
    b"\x28\xb5\x2f\xfd",
    b"\x0a\x00",
    b"\x12\x00",
    b"null",
    b"true",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0.0",
    b"9223372036854775808",
    b"18446744073709551615",
    b"\\u0000",
    b"\\ud800",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\x8b",
    b"\xc3",
    b"'",
    b"''",
    b"--",
    b"/*",
    b";",
    b" or ",
    b" union select ",
    b"(select ",
    b"count(*)",
    b" NOT ",
    b"key:[1 TO 2]",
    b"\"two words\"~2",
    b"now-15m",
    b"2026-11-20T09:30:00Z",
    b"<*>",
    b"key=\"value\"",
    b"%00",
    b"-----BEGIN CERTIFICATE-----\n",
];

/// A number after the other, out of a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// One of `kept`, changed one to four times; other kept ones may be spliced into it.
pub(super) fn mutate(kept: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = kept.get(chance.below(kept.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.next() % CHANGES_MAX {
        change(&mut input, kept, chance);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(input.len());
    let end = at + chance.below((input.len() - at).min(64) + 1);
    match chance.below(10) {
        0 if !input.is_empty() => input[at] ^= 1 << chance.below(8),
        1 if !input.is_empty() => input[at] = BYTES[chance.below(BYTES.len())],
        2 if !input.is_empty() => input[at] = input[at].wrapping_add([1, 255, 8][chance.below(3)]),
        3 => input.truncate(at),
        4 => drop(input.drain(at..end)),
        5 => {
            let piece = input[at..end].to_vec();
            insert(input, at, &piece.repeat(1 + chance.below(8)));
        }
        6 => insert(input, at, WORDS[chance.below(WORDS.len())]),
        7 => {
            let number = chance.next() >> chance.below(64);
            let mut varint = Vec::new();
            prost::encoding::encode_varint(number, &mut varint);
            insert(input, at, &varint);
        }
        8 => {
            let other = kept.get(chance.below(kept.len())).map_or(&[][..], Vec::as_slice);
            let from = chance.below(other.len());
            let to = from + chance.below(other.len() - from + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..to]);
        }
        _ => insert(input, at, &[chance.next() as u8]),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.iter().copied());
}
