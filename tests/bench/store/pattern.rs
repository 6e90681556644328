//! Packed details with places that are filled anew for each row: copying costs less than packing.

use crate::random::Random;

/// What is written at a place.
#[derive(Debug, Clone, Copy)]
enum Filling {
    Digits,
    Hexadecimal,
    /// The three bytes of a varint.
    Integer,
}

/// A detail with places to fill.
#[derive(Debug)]
pub(crate) struct Pattern {
    bytes: Vec<u8>,
    places: Vec<(usize, usize, Filling)>,
}

impl Pattern {
    /// An integer attribute with this value gets another one of the same length in each row.
    pub(crate) const INTEGER: i64 = 0x55 | 0x2a << 7 | 0x55 << 14;
    const INTEGER_BYTES: [u8; 3] = [0xd5, 0xaa, 0x55];
    /// Shorter runs of a mark may be lengths or tags.
    const RUN_MIN: usize = 4;

    /// Runs of `#` become digits, runs of `~` hexadecimal ones.
    pub(crate) fn new(packed: &[u8]) -> Self {
        let mut places = Vec::new();
        let mut at = 0;
        for run in packed.chunk_by(|a, b| a == b) {
            let filling = match run[0] {
                b'#' => Some(Filling::Digits),
                b'~' => Some(Filling::Hexadecimal),
                _ => None,
            };
            if let Some(filling) = filling.filter(|_| run.len() >= Self::RUN_MIN) {
                places.push((at, run.len(), filling));
            }
            at += run.len();
        }
        for at in 0..packed.len().saturating_sub(2) {
            if packed[at..at + 3] == Self::INTEGER_BYTES {
                places.push((at, 3, Filling::Integer));
            }
        }
        Self { bytes: packed.to_vec(), places }
    }

    /// Appends one filled copy to `out` and answers its length.
    pub(crate) fn fill(&self, random: &mut Random, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for (at, length, filling) in &self.places {
            let mut bits = random.next();
            for (index, byte) in out[start + at..start + at + length].iter_mut().enumerate() {
                if index % 16 == 15 {
                    bits = random.next();
                }
                *byte = match filling {
                    Filling::Digits => {
                        let digit = b'0' + (bits % 10) as u8;
                        bits /= 10;
                        digit
                    }
                    Filling::Hexadecimal => {
                        let digit = b"0123456789abcdef"[bits as usize & 15];
                        bits >>= 4;
                        digit
                    }
                    Filling::Integer => {
                        let low = (bits as u8) & 0x7f;
                        bits >>= 7;
                        // The last byte ends the varint and is not zero.
                        if index < 2 { low | 0x80 } else { low.max(1) & 0x0f | 1 }
                    }
                };
            }
        }
        self.bytes.len()
    }
}
