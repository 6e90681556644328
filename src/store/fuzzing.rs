//! Blocks of any bytes: refused, or read as they were written. Statements and connection strings lie deeper.

use super::blocks::{Block, Encoded, Encoder, RAW_BYTES_MAX, ROWS_MAX, may_hold_of};
use crate::model::packed::AttributeIter;
use crate::model::packed::value::Value;

pub(crate) use super::postgres::fuzzing::dsn;
pub(crate) use super::read::sql::fuzzing::statement;

/// The field that holds an attribute.
const ATTRIBUTES: u32 = 9;

/// A block of these bytes: refused, or its rows come back from a block that is made of them.
pub(crate) fn block(input: &[u8]) {
    if let Ok(mut front) = Block::open_front(input) {
        if front.reaches(ATTRIBUTES, "a") {
            let _ = front.may_have(ATTRIBUTES, "a", "1");
        }
        let _ = front.at(&[0]);
    }
    let Ok(mut block) = Block::open(input) else { return };
    let _ = block.may_have(ATTRIBUTES, "a", "1");
    let _ = block.at(&[block.len()]).map(|_| panic!("a row behind the last"));
    let Ok(rows) = block.all() else { return };
    assert_eq!(rows.len(), block.len());
    let rows: Vec<&[u8]> = rows.iter().map(|row| &row[..]).collect();
    if rows.iter().map(|row| row.len()).sum::<usize>() <= RAW_BYTES_MAX {
        again(&rows);
    }
}

/// Rows: the first byte of each is its length, its highest bit repeats the row before.
pub(crate) fn rows(input: &[u8]) {
    let (mut rest, mut rows): (&[u8], Vec<&[u8]>) = (input, Vec::new());
    while let Some((length, after)) = rest.split_first()
        && rows.len() < ROWS_MAX
    {
        rest = after;
        if *length >= 0x80
            && let Some(last) = rows.last()
        {
            rows.extend(std::iter::repeat_n(*last, usize::from(length & 7)));
            continue;
        }
        let (row, after) = rest.split_at(usize::from(length & 0x7f).min(rest.len()));
        rest = after;
        rows.push(row);
    }
    rows.truncate(ROWS_MAX);
    again(&rows);
}

/// Rows come back from a block, and what they have is found in it.
fn again(rows: &[&[u8]]) {
    let mut encoder = Encoder::new().expect("there is memory for a compressor");
    let of_services: Vec<(&[u8], u32)> = rows.iter().copied().zip(0..).collect();
    let Encoded { front, rest, filter } =
        encoder.encode(&of_services, ATTRIBUTES, &[]).expect("the rows fit");
    let whole = [&front[..], &rest].concat();
    let mut block = Block::open(&whole).expect("what was written can be read");
    assert_eq!(block.all().expect("what was written can be read"), rows, "rows come back");
    for (position, row) in rows.iter().enumerate().take(4) {
        assert_eq!(block.at(&[position]).expect("the row is there"), [*row]);
        for (key, value) in AttributeIter::within(row, ATTRIBUTES).take(4) {
            // Text that is no UTF-8 does not come through the door, and reads as nothing.
            if key.is_empty() || matches!(value, Value::Empty) {
                continue;
            }
            let may = block.may_have(ATTRIBUTES, key, &value.render()).expect("what was written can be read");
            assert!(may[position], "{key} of row {position} is not found");
            let told = may_hold_of(&filter, key, &value.render(), position as u32);
            assert!(told, "the filter says that row {position} has no {key}");
        }
    }
}
