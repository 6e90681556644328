//! Groups: cells of ten seconds that lie together in one row, packed.
//!
//! Nearly every cell of the last ten seconds changes with every commit, so a row for each would cost more than the spans
//! themselves. A group holds the cells of four neighbouring operations or services, and is written whole.
//!
//! The format, all numbers LEB128 varints: for each cell in the order of its ids the step of the first id, the second
//! and third id, count, errors, sum, longest, other time, answered, the length of the sketch and the sketch.

use super::Place;
use crate::model::id::TenantNumber;
use crate::model::packed::wire::take_varint;
use crate::model::packed::write::put_varint;
use crate::model::rollup::Cell;
use crate::model::sketch::Sketch;
use crate::store::values::Values;

/// Bits of the first id that tell the cells of a group apart.
const PART_BITS: u32 = 2;

/// Which group. The order is the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store) struct Group {
    pub(in crate::store) tenant: TenantNumber,
    pub(in crate::store) bucket: i64,
    pub(in crate::store) kind: i64,
    pub(in crate::store) part: i64,
}

/// Cells in the order of their ids.
pub(in crate::store) type Cells = Vec<([i64; 3], Cell)>;

impl Group {
    /// The group of a cell of ten seconds.
    pub(super) const fn of(place: &Place) -> Self {
        let [kind, a, ..] = place.subject;
        Self { tenant: place.tenant, bucket: place.bucket, kind, part: a >> PART_BITS }
    }

    pub(super) fn bind(self, values: &mut Values, cells: &Cells) {
        values.int(self.tenant.0);
        values.int(self.bucket);
        values.int(self.kind);
        values.int(self.part);
        values.owned_blob(encode(cells));
    }
}

/// Adds `more`, in the order of the ids, to `cells`.
pub(super) fn merge<'c>(cells: &mut Cells, more: impl Iterator<Item = ([i64; 3], &'c Cell)>) {
    for (ids, cell) in more {
        match cells.binary_search_by_key(&ids, |(ids, _)| *ids) {
            Ok(at) => cells[at].1.merge(cell),
            Err(at) => cells.insert(at, (ids, cell.clone())),
        }
    }
}

fn encode(cells: &Cells) -> Vec<u8> {
    let mut out = Vec::with_capacity(cells.len() * 64);
    let (mut sketch, mut before) = (Vec::new(), 0);
    for ([a, b, c], cell) in cells {
        for id in [a - before, *b, *c] {
            put_varint(id.unsigned_abs(), &mut out);
        }
        before = *a;
        for sum in [cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered] {
            put_varint(sum, &mut out);
        }
        sketch.clear();
        cell.sketch.encode(&mut sketch);
        put_varint(sketch.len() as u64, &mut out);
        out.extend_from_slice(&sketch);
    }
    out
}

/// The cells of a group; none where the bytes are not one.
pub(in crate::store) fn decode(mut bytes: &[u8]) -> Option<Cells> {
    let mut cells = Cells::new();
    let mut before = 0_i64;
    while !bytes.is_empty() {
        let mut number = || take_varint(&mut bytes);
        let mut id = || number().and_then(|id| u32::try_from(id).ok()).map(i64::from);
        let [step, b, c] = [id()?, id()?, id()?];
        before = before.checked_add(step)?;
        let mut cell = Cell { count: number()?, errors: number()?, sum_ns: number()?, ..Cell::default() };
        (cell.max_ns, cell.other_ns, cell.answered) = (number()?, number()?, number()?);
        let length = usize::try_from(number()?).ok()?;
        let (sketch, rest) = bytes.split_at_checked(length)?;
        cell.sketch = Sketch::decode(sketch)?;
        bytes = rest;
        cells.push(([before, b, c], cell));
    }
    Some(cells)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::model::rollup::Seen;

    proptest! {
        #[test]
        fn cells_come_back(seen in proptest::collection::vec((0_u32..9, any::<u32>(), 0_u32..2, any::<u64>(), any::<bool>()), 0..40)) {
            let mut cells = Cells::new();
            for (a, b, c, duration_ns, error) in seen {
                let mut cell = Cell::default();
                cell.add(&Seen::Call { duration_ns, caller_ns: duration_ns / 2, error });
                merge(&mut cells, [([a.into(), b.into(), c.into()], &cell)].into_iter());
            }
            prop_assert_eq!(decode(&encode(&cells)), Some(cells));
        }

        #[test]
        fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
