//! Files of dead letters: damage is told, and what is read can be written.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::{Letter, file};

/// A file: of these bytes where the first is even, else of the rest behind its right digest.
pub(crate) fn letter(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let mut bytes = Vec::new();
    if choice & 1 == 1 {
        bytes.extend_from_slice(format!("{:016x} ", xxh3_64(rest)).as_bytes());
    }
    bytes.extend_from_slice(rest);
    let read = |bytes: &[u8]| file::read(Path::new("letter"), bytes).ok();
    let Some(letter) = read(&bytes) else { return };
    let again = |letter: &Letter| file::write(letter).ok().and_then(|bytes| read(&bytes));
    assert_eq!(again(&letter).as_ref(), Some(&letter), "written again it is the same");
    let at = usize::from(choice >> 1) % bytes.len();
    bytes[at] ^= 1;
    assert_eq!(read(&bytes), None, "byte {at} was changed");
}
