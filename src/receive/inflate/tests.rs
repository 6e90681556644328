use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use crate::admit::Budget;
use crate::fault::Kind;

use super::*;

const BYTES_MAX: usize = 4 << 20;

pub(in crate::receive) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::receive) fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(plain, 3).unwrap()
}

fn inflate_within(budget: &Budget, compression: Compression, packed: &[u8]) -> Result<Bytes, Error> {
    let mut packed_permit = budget.permit(BYTES_MAX);
    packed_permit.grow(packed.len())?;
    let packed = Bytes::copy_from_slice(packed);
    let inflate = Inflate::new(compression, packed, packed_permit, budget.permit(BYTES_MAX))?;
    inflate.finish().map(|(plain, _permit)| plain)
}

fn inflate(compression: Compression, packed: &[u8]) -> Result<Bytes, Error> {
    let budget = Budget::new(u64::MAX);
    let inflated = inflate_within(&budget, compression, packed);
    assert_eq!(budget.held_bytes(), 0, "every byte is given back");
    inflated
}

#[test]
fn what_was_packed_comes_out() {
    let samples = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, BYTES_MAX];
    for length in samples {
        let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        assert_eq!(inflate(Compression::Identity, &plain).unwrap(), plain, "{length}");
        assert_eq!(inflate(Compression::Gzip, &gzip(&plain)).unwrap(), plain, "{length}");
        assert_eq!(inflate(Compression::Zstd, &zstd(&plain)).unwrap(), plain, "{length}");
    }
}

#[test]
fn b1_b2_one_byte_more_than_the_limit_is_too_large() {
    let plain = vec![0; BYTES_MAX + 1];
    let mut unannounced = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    unannounced.write_all(&plain).unwrap();
    let cases = [
        (Compression::Gzip, gzip(&plain)),
        (Compression::Zstd, zstd(&plain)),
        (Compression::Zstd, unannounced.finish().unwrap()),
    ];
    for (compression, packed) in cases {
        assert_eq!(inflate(compression, &packed).unwrap_err().kind(), Kind::TooLarge, "{compression:?}");
    }
}

#[test]
fn b2_a_large_zstd_window_is_too_large() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"small").unwrap();
    encoder.flush().unwrap(); // Keeps the encoder from choosing a smaller window at the end.
    encoder.write_all(b"small").unwrap();
    let packed = encoder.finish().unwrap();
    let error = inflate(Compression::Zstd, &packed).unwrap_err();
    assert!(matches!(error, Error::WindowTooLarge { bytes_max: 8_388_608 }), "{error:?}");
    assert_eq!(error.kind(), Kind::TooLarge);
}

#[test]
fn b4_several_members_are_one_body_and_damage_is_invalid() {
    let double = |packed: Vec<u8>| [packed.clone(), packed].concat();
    assert_eq!(inflate(Compression::Gzip, &double(gzip(b"ab"))).unwrap(), "abab");
    assert_eq!(inflate(Compression::Zstd, &double(zstd(b"ab"))).unwrap(), "abab");
    assert_eq!(inflate(Compression::Gzip, &gzip(&gzip(b"ab"))).unwrap(), gzip(b"ab"), "decoded once");

    let mut wrong_sum = gzip(b"ab");
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let junk = |mut packed: Vec<u8>| {
        packed.extend(b"junk");
        packed
    };
    let damaged = [
        (Compression::Gzip, Vec::new()),
        (Compression::Gzip, b"plain".to_vec()),
        (Compression::Gzip, wrong_sum),
        (Compression::Gzip, junk(gzip(b"ab"))),
        (Compression::Gzip, zstd(b"ab")),
        (Compression::Zstd, b"plain".to_vec()),
        (Compression::Zstd, junk(zstd(b"ab"))),
        (Compression::Zstd, gzip(b"ab")),
    ];
    for (compression, packed) in damaged {
        let error = inflate(compression, &packed).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{compression:?} of {packed:?}: {error:?}");
    }
    for (compression, packed) in
        [(Compression::Gzip, gzip(b"some text")), (Compression::Zstd, zstd(b"some text"))]
    {
        for length in 1..packed.len() {
            let error = inflate(compression, &packed[..length]).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{compression:?} cut at {length}");
        }
    }
}

#[test]
fn b8_what_comes_out_is_taken_from_the_budget() {
    let budget = Budget::new(1 << 20);
    for (compression, packed) in
        [(Compression::Gzip, gzip(&[0; 2 << 20])), (Compression::Zstd, zstd(&[0; 2 << 20]))]
    {
        let error = inflate_within(&budget, compression, &packed).unwrap_err();
        assert_eq!(error.kind(), Kind::Overloaded, "{compression:?}");
        assert_eq!(budget.held_bytes(), 0);
    }
}

#[test]
fn b1_a_body_takes_its_own_length_and_one_that_is_refused_next_to_nothing() {
    let budget = Budget::new(u64::MAX);
    let begin = |packed: Vec<u8>| {
        let packed_permit = budget.permit(BYTES_MAX);
        Inflate::new(Compression::Gzip, packed.into(), packed_permit, budget.permit(BYTES_MAX)).unwrap()
    };
    let noise: Vec<u8> =
        (0_u32..1 << 18).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let lying = [gzip(&vec![0; 3 << 20]), gzip(b"a few bytes")].concat();
    let taken = [(gzip(&noise), noise.len()), (gzip(&vec![0; 3 << 20]), 3 << 20), (lying, (3 << 20) + 11)];
    for (packed, bytes) in taken {
        let mut inflate = begin(packed);
        assert!(inflate.run(bytes).unwrap());
        assert_eq!((inflate.plain.len(), inflate.plain.capacity()), (bytes, bytes));
    }
    let mut inflate = begin(gzip(&vec![0; BYTES_MAX + 1]));
    assert_eq!(inflate.run(usize::MAX).unwrap_err().kind(), Kind::TooLarge);
    assert!(inflate.plain.capacity() <= CREDIBLE_BYTES, "{}", inflate.plain.capacity());
}
