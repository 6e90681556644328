use bytes::Bytes;

use super::{Error, Letter, Letters, Options};
use crate::model::batch::Signal;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

fn letter(lsn: u64, body: &[u8]) -> Letter {
    Letter {
        tenant: TenantId::try_from("acme").unwrap(),
        signal: Signal::Logs,
        encoding: 0,
        received: UnixNanos::from_seconds(1_800_000_000 + lsn as i64),
        lsn,
        first: 3,
        items: 1,
        reason: "a \"reason\"\nof two lines".to_owned(),
        body: Bytes::copy_from_slice(body),
    }
}

/// Bytes that do not shrink.
fn noise(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|index| xxhash_rust::xxh3::xxh3_64(&index.to_le_bytes()) as u8).collect()
}

fn open(folder: &std::path::Path, (letters_max, bytes_max): (u64, u64), drops_oldest: bool) -> Letters {
    Letters::open(Options { folder: folder.join("dlq"), letters_max, bytes_max, drops_oldest }).unwrap()
}

#[test]
fn letters_come_back_after_a_restart_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let letters = open(folder.path(), (0, 0), false);
    assert!(letters.list().unwrap().is_empty());
    let written = [letter(2, b"second"), letter(1, b"")];
    written.iter().for_each(|letter| drop(letters.put(letter).unwrap()));
    // As after a crash between the letter and what followed it.
    letters.put(&written[0]).unwrap();
    let again = open(folder.path(), (0, 0), false);
    let listed = again.list().unwrap();
    let found: Vec<Letter> = listed.iter().map(|(name, _)| again.read(name).unwrap()).collect();
    assert_eq!(found, [written[1].clone(), written[0].clone()]);
    assert_eq!((again.stats().letters, again.stats().written, letters.stats().written), (2, 0, 3));
    assert_eq!(again.stats().bytes, listed.iter().map(|(_, bytes)| bytes).sum::<u64>());
    again.remove(&listed[0].0).unwrap();
    assert_eq!(letters.stats().letters, 1, "what another process removes is gone here too");
    assert!(matches!(again.remove("no such"), Err(Error::Unknown { .. })));
    again.put(&written[1]).unwrap();
    again.take_back(written[1].received, written[1].lsn).unwrap();
    assert_eq!(again.stats().letters, 1, "only those of this request");
    assert!(matches!(again.remove("../../etc/passwd"), Err(Error::Unknown { .. })));
}

#[test]
fn nothing_is_given_up_for_room_unless_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let letters = open(folder.path(), (2, 0), false);
    (1..=2).for_each(|lsn| drop(letters.put(&letter(lsn, b"x")).unwrap()));
    assert!(matches!(letters.put(&letter(3, b"x")), Err(Error::Full { letters: 2, .. })));
    letters.put(&letter(2, b"x")).unwrap();
    let letters = open(folder.path(), (2, 0), true);
    letters.put(&letter(3, b"x")).unwrap();
    let kept: Vec<u64> =
        letters.list().unwrap().iter().map(|(name, _)| letters.read(name).unwrap().lsn).collect();
    assert_eq!(kept, [2, 3]);
    assert_eq!((letters.stats().evicted, letters.stats().written), (1, 1));
    // By bytes: a letter as large as the bound takes all the room, and one alone is always kept.
    let letters = open(folder.path(), (0, 2_000), true);
    letters.put(&letter(4, &noise(5_000))).unwrap();
    assert_eq!((letters.stats().letters, letters.stats().evicted), (1, 2));
    assert!(letters.stats().evicted_bytes > 0);
    let letters = open(folder.path(), (0, 2_000), false);
    assert!(matches!(letters.put(&letter(5, b"x")), Err(Error::Full { .. })));
}

#[test]
fn damaged_letters_are_told_from_others_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let letters = open(folder.path(), (0, 0), false);
    let name = letters.put(&letter(1, &noise(500))).unwrap();
    let path = folder.path().join("dlq").join(format!("{name}.letter"));
    let whole = std::fs::read(&path).unwrap();
    let mut cases = vec![whole[..whole.len() - 1].to_vec(), Vec::new(), b"{}\n".to_vec(), vec![b'\n'; 99]];
    cases.extend((0..whole.len()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        flipped
    }));
    for bytes in cases {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(letters.list().unwrap().len(), 1);
        let read = letters.read(&name);
        assert!(matches!(read, Err(Error::Damaged { .. })), "{read:?}");
    }
    std::fs::write(folder.path().join("dlq").join("half.unfinished"), "{").unwrap();
    assert_eq!(letters.stats().letters, 1);
}
