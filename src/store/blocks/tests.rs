//! What is put into a block comes out of it, whatever it is; what is not a block is refused.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::filter::{FILTER_BYTES_MAX, may_hold, may_hold_of};
use super::*;
use crate::model::packed::AttributeIter;
use crate::model::packed::write::Packer;

const ATTRIBUTES: u32 = 9;

/// A whole block, and its filter.
fn encoded(rows: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let Encoded { front, rest, filter } =
        Encoder::new().unwrap().encode(&of_services(rows), ATTRIBUTES, &[]).unwrap();
    ([front, rest].concat(), filter)
}

/// Rows, each with its service.
fn of_services(rows: &[Vec<u8>]) -> Vec<(&[u8], u32)> {
    rows.iter().map(Vec::as_slice).zip((0..SERVICES).cycle()).collect()
}

const SERVICES: u32 = 5;

/// An attribute as senders write it.
#[derive(Debug, Clone)]
enum Sent {
    Text(String, String),
    Int(String, i64),
    Bool(String, bool),
    Double(String, f64),
    List(String, String),
    Event(Vec<u8>),
    Flags(u32),
    Count(u64),
    Anything(Vec<u8>),
}

fn sent() -> impl Strategy<Value = Sent> {
    let key = || "[a-d]";
    prop_oneof![
        (key(), prop_oneof!["[a-z]{0,3}", "customer-[0-9]{4}", "[0-9a-f]{16}", "\\PC{0,12}"])
            .prop_map(|(key, value)| Sent::Text(key, value)),
        (key(), prop_oneof![-3_i64..3, any::<i64>()]).prop_map(|(key, value)| Sent::Int(key, value)),
        (key(), any::<bool>()).prop_map(|(key, value)| Sent::Bool(key, value)),
        (key(), any::<f64>()).prop_map(|(key, value)| Sent::Double(key, value)),
        (key(), "[a-z]{0,3}").prop_map(|(key, value)| Sent::List(key, value)),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Sent::Event),
        any::<u32>().prop_map(Sent::Flags),
        any::<u64>().prop_map(Sent::Count),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(Sent::Anything),
    ]
}

fn row(sent: &[Sent]) -> Vec<u8> {
    let mut packer = Packer::default();
    for part in sent {
        match part {
            Sent::Text(key, value) => packer.attribute_text(ATTRIBUTES, key, value),
            Sent::Int(key, value) => packer.attribute_int(ATTRIBUTES, key, *value),
            Sent::Bool(key, value) => packer.attribute_bool(ATTRIBUTES, key, *value),
            Sent::Double(key, value) => packer.attribute_double(ATTRIBUTES, key, *value),
            Sent::List(key, value) => {
                packer.attribute(ATTRIBUTES, key, |any| {
                    any.message(5, |list| list.message(1, |any| any.text(1, value)))
                });
            }
            Sent::Event(bytes) => packer.bytes(11, bytes),
            Sent::Flags(flags) => packer.fixed32(16, *flags),
            Sent::Count(count) => packer.varint(10, *count),
            Sent::Anything(bytes) => packer.raw(bytes),
        }
    }
    packer.finish().to_vec()
}

fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let row = proptest::collection::vec(sent(), 0..6).prop_map(|sent| row(&sent));
    // A few rows, and many that repeat them.
    (proptest::collection::vec(row, 0..12), 1_usize..30)
        .prop_map(|(rows, times)| rows.iter().cycle().take(rows.len() * times).cloned().collect())
}

proptest! {
    #[test]
    fn rows_come_back(rows in rows(), some in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5)) {
        let (data, _) = encoded(&rows);
        let mut block = Block::open(&data).unwrap();
        prop_assert_eq!(block.len(), rows.len());
        prop_assert_eq!(block.all().unwrap(), rows.clone());
        if !rows.is_empty() {
            let positions: Vec<usize> = some.iter().map(|index| index.index(rows.len())).collect();
            let expected: Vec<&[u8]> = positions.iter().map(|position| &rows[*position][..]).collect();
            prop_assert_eq!(Block::open(&data).unwrap().at(&positions).unwrap(), expected);
        }
    }

    #[test]
    fn what_a_row_has_is_found(rows in rows()) {
        let (data, filter) = encoded(&rows);
        let mut block = Block::open(&data).unwrap();
        for (position, row) in rows.iter().enumerate().take(12) {
            for (key, value) in AttributeIter::within(row, ATTRIBUTES) {
                let value = value.render();
                prop_assert!(may_hold_of(&filter, key, &value, position as u32 % SERVICES));
                prop_assert!(block.may_have(ATTRIBUTES, key, &value).unwrap()[position]);
            }
        }
    }

    #[test]
    fn strange_bytes_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>()) {
        if versioned {
            bytes.insert(0, VERSION);
        }
        // A run of zeros is an empty block; anything else that opens by chance must not panic.
        if let Ok(mut block) = Block::open(&bytes) {
            let _ = block.all();
        }
    }

    #[test]
    fn a_damaged_block_never_panics(rows in rows(), at in any::<proptest::sample::Index>(), flip in 1_u8..) {
        let (mut data, _) = encoded(&rows);
        let at = at.index(data.len());
        data[at] ^= flip;
        if let Ok(mut block) = Block::open(&data) {
            let _ = block.may_have(ATTRIBUTES, "a", "1");
            let _ = block.all();
        }
    }
}

fn text(key: &str, value: &str) -> Vec<u8> {
    row(&[Sent::Text(key.to_owned(), value.to_owned())])
}

#[test]
fn columns_tell_rows_apart() {
    let rows = [text("a", "1"), text("a", "2"), row(&[Sent::Int("a".into(), 1)]), text("b", "1")];
    let (data, _) = encoded(&rows);
    let found = Block::open(&data).unwrap().may_have(ATTRIBUTES, "a", "1").unwrap();
    assert_eq!(found, [true, false, true, false]);
    // An attribute in another field is none of those asked for.
    assert_eq!(Block::open(&data).unwrap().may_have(6, "a", "1").unwrap(), [false; 4]);
}

#[test]
fn short_columns_stand_in_front_and_answer_alone() {
    let rows: Vec<Vec<u8>> = (0..2_000_u64)
        .map(|number| {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let long = format!("{mixed:016x}{:016x}{:016x}", mixed.rotate_left(31) ^ number, !mixed);
            row(&[Sent::Text("long".into(), long), Sent::Text("short".into(), format!("{}", mixed % 10_000))])
        })
        .collect();
    let Encoded { front, rest, .. } =
        Encoder::new().unwrap().encode(&of_services(&rows), ATTRIBUTES, &[]).unwrap();
    assert!(front.len() <= FRONT_BYTES && rest.len() > 40_000, "{} and {} bytes", front.len(), rest.len());
    let mut opened = Block::open_front(&front).unwrap();
    assert!(opened.reaches(ATTRIBUTES, "short") && opened.reaches(ATTRIBUTES, "absent"));
    assert!(!opened.reaches(ATTRIBUTES, "long"));
    let whole = [front.clone(), rest].concat();
    let mut all = Block::open(&whole).unwrap();
    assert!(all.reaches(ATTRIBUTES, "long"));
    for key in ["short", "absent"] {
        let alone = opened.may_have(ATTRIBUTES, key, "7").unwrap();
        assert_eq!(alone, all.may_have(ATTRIBUTES, key, "7").unwrap());
    }
    assert!(opened.may_have(ATTRIBUTES, "long", "7").is_err(), "nothing is told that was not read");
    assert!(Block::open(&front).is_err(), "half a block is none");
}

#[test]
fn rows_with_too_many_columns_stay_whole() {
    let rows: Vec<Vec<u8>> = (0..ROWS_MAX).map(|number| text(&format!("key-{number}"), "v")).collect();
    let (data, filter) = encoded(&rows);
    let mut block = Block::open(&data).unwrap();
    assert_eq!(block.all().unwrap(), rows);
    assert!(may_hold(&filter, "key-2047", "v"));
    assert!(block.may_have(ATTRIBUTES, "key-2047", "v").unwrap()[2_047]);
    let rows = [&rows[..], &rows[..1]].concat();
    assert!(Encoder::new().unwrap().encode(&of_services(&rows), ATTRIBUTES, &[]).is_err());
}

#[test]
fn what_other_services_have_is_told_apart() {
    let rows: Vec<Vec<u8>> = (0..2_000_i64)
        .map(|number| {
            // Two of the five services fail, one of them now and then.
            let status = if number % 5 == 3 || number % 500 == 4 { 500 } else { 200 };
            let route = format!("/of/{}", number % 5);
            row(&[
                Sent::Int("status".into(), status),
                Sent::Text("route".into(), route),
                Sent::Text("user".into(), format!("u-{number}")),
                Sent::List("list".into(), "a".into()),
            ])
        })
        .collect();
    let (_, filter) = encoded(&rows);
    let may = |key, value: &str| {
        (0..SERVICES).filter(|service| may_hold_of(&filter, key, value, *service)).collect::<Vec<u32>>()
    };
    let all: Vec<u32> = (0..SERVICES).collect();
    assert_eq!(may("status", "500"), [3, 4]);
    assert_eq!(may("status", "200"), [0, 1, 2, 4]);
    for service in 0..SERVICES {
        assert_eq!(may("route", &format!("/of/{service}")), [service]);
    }
    assert_eq!(may("user", "u-1"), all, "of values that hardly repeat it is not told");
    let list = AttributeIter::within(&rows[0], ATTRIBUTES)
        .find(|(key, _)| *key == "list")
        .unwrap()
        .1
        .render()
        .into_owned();
    assert_eq!(may("list", &list), all, "nor of lists");
    assert_eq!(may("status", "404"), [0_u32; 0]);
    assert!(filter.len().is_power_of_two(), "builds that know nothing of services read it too");
}

#[test]
fn a_key_that_is_told_in_part_is_untold() {
    let rows: Vec<Vec<u8>> = (0..200_i64)
        .map(|number| {
            let mixed = match number % 20 {
                0 => Sent::Text("status".into(), format!("{number}")),
                _ => Sent::Int("status".into(), 200),
            };
            // Rows that stay whole beside those in columns.
            let whole = if number % 50 == 1 { Sent::Anything(vec![0xff; 3]) } else { Sent::Flags(1) };
            row(&[mixed, Sent::Text("route".into(), "/".into()), whole])
        })
        .collect();
    let (_, filter) = encoded(&rows);
    for (position, row) in rows.iter().enumerate() {
        for (key, value) in AttributeIter::within(row, ATTRIBUTES) {
            assert!(
                may_hold_of(&filter, key, &value.render(), position as u32 % SERVICES),
                "{position} {key}"
            );
        }
    }
}

#[test]
fn where_there_is_no_room_the_keys_with_the_most_services_are_untold() {
    // Each of sixteen keys has another value for every fourth row.
    let rows: Vec<Vec<u8>> = (0..ROWS_MAX)
        .map(|number| {
            let keys = (0..16).map(|key| Sent::Text(format!("key-{key}"), format!("v-{}", number / 4 + key)));
            row(&keys.chain([Sent::Text("few".into(), "one".into())]).collect::<Vec<_>>())
        })
        .collect();
    let (_, filter) = encoded(&rows);
    assert!(filter.len() <= FILTER_BYTES_MAX);
    for (position, row) in rows.iter().enumerate().step_by(7) {
        for (key, value) in AttributeIter::within(row, ATTRIBUTES) {
            assert!(
                may_hold_of(&filter, key, &value.render(), position as u32 % SERVICES),
                "{position} {key}"
            );
        }
    }
    let stranger = |key: &str, value: &str| may_hold_of(&filter, key, value, SERVICES);
    assert!(!stranger("few", "one"), "there is room for few");
    assert!((0..16).any(|key| stranger(&format!("key-{key}"), "v-100")), "there is room for all");
}

#[test]
fn ids_take_half_the_bytes_of_their_digits() {
    let rows: Vec<Vec<u8>> = (0..2_000_u64)
        .map(|number| {
            let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            text("session.id", &format!("{mixed:016x}{:016x}", mixed.rotate_left(31) ^ number))
        })
        .collect();
    let (data, _) = encoded(&rows);
    assert!(data.len() < 2_000 * 17, "{} bytes", data.len());
}

#[test]
fn all_columns_together_are_bounded() {
    let value = |key: &str, number: usize| Sent::Text(key.into(), format!("{number:0100}"));
    let rows: Vec<Vec<u8>> = (0..10).map(|number| row(&[value("a", number), value("b", number)])).collect();
    let (data, _) = encoded(&rows);
    for (left, is_enough) in [(2_000, true), (1_999, false), (1_000, false)] {
        let mut block = Block::open(&data).unwrap();
        block.left = left;
        assert_eq!(block.all().is_ok(), is_enough, "{left}");
        let mut block = Block::open(&data).unwrap();
        block.left = left;
        assert!(block.may_have(ATTRIBUTES, "a", "1").is_ok(), "one of them fits");
    }
}

#[test]
fn a_bomb_is_refused() {
    let mut directory = Vec::new();
    let bomb = vec![0; section::DECODED_BYTES_MAX + 1];
    let frame = zstd::bulk::compress(&bomb, 1).unwrap();
    crate::model::packed::write::put_varint(bomb.len() as u64, &mut directory);
    crate::model::packed::write::put_varint(frame.len() as u64, &mut directory);
    let block = [&[VERSION][..], &directory, &frame].concat();
    assert!(matches!(Block::open(&block), Err(Error::Unreadable { .. })));
}
