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

    pub(super) fn bind(self, values: &mut Values, cells: &[u8]) {
        values.int(self.tenant.0);
        values.int(self.bucket);
        values.int(self.kind);
        values.int(self.part);
        values.blob(cells);
    }
}

/// The ids of a cell within its group.
const fn ids(place: &Place) -> [i64; 3] {
    let [_, a, b, c] = place.subject;
    [a, b, c]
}

/// Adds what is at `place` to `cells`.
pub(super) fn add(cells: &mut Cells, place: &Place, cell: Cell) {
    let ids = ids(place);
    match cells.binary_search_by_key(&ids, |(ids, _)| *ids) {
        Ok(at) => cells[at].1.merge(&cell),
        Err(at) => cells.insert(at, (ids, cell)),
    }
}

/// What `cells` and `more`, each in the order of the ids, are together.
pub(super) fn encode(cells: &[([i64; 3], Cell)], more: &[(Place, Cell)]) -> Vec<u8> {
    let mut out = Encoder { out: Vec::with_capacity((cells.len() + more.len()) * 64), ..Encoder::default() };
    let mut held = cells.iter().peekable();
    for (place, added) in more {
        let ids = ids(place);
        while let Some((before, cell)) = held.next_if(|(held, _)| *held < ids) {
            out.put(*before, cell);
        }
        match held.next_if(|(held, _)| *held == ids) {
            Some((_, cell)) => {
                let mut whole = cell.clone();
                whole.merge(added);
                out.put(ids, &whole);
            }
            None => out.put(ids, added),
        }
    }
    held.for_each(|(ids, cell)| out.put(*ids, cell));
    out.out
}

#[derive(Default)]
struct Encoder {
    out: Vec<u8>,
    sketch: Vec<u8>,
    before: i64,
}

impl Encoder {
    fn put(&mut self, [a, b, c]: [i64; 3], cell: &Cell) {
        for id in [a - self.before, b, c] {
            put_varint(id.unsigned_abs(), &mut self.out);
        }
        self.before = a;
        for sum in [cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered] {
            put_varint(sum, &mut self.out);
        }
        self.sketch.clear();
        cell.sketch.encode(&mut self.sketch);
        put_varint(self.sketch.len() as u64, &mut self.out);
        self.out.extend_from_slice(&self.sketch);
    }
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
    use std::collections::BTreeMap;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::model::rollup::Seen;

    proptest! {
        #[test]
        fn cells_come_back(seen in proptest::collection::vec((0_i64..9, any::<u32>(), any::<u64>(), any::<bool>()), 0..40), cut in 0_usize..40) {
            let mut cells: BTreeMap<[i64; 4], Cell> = BTreeMap::new();
            let mut parts: [BTreeMap<[i64; 4], Cell>; 2] = Default::default();
            for (index, (a, b, duration_ns, error)) in seen.into_iter().enumerate() {
                let seen = Seen::Call { duration_ns, caller_ns: duration_ns / 2, error };
                let subject = [2, a, i64::from(b % 3), 0];
                cells.entry(subject).or_default().add(&seen);
                parts[usize::from(index < cut)].entry(subject).or_default().add(&seen);
            }
            let [more, held] = parts;
            let cells: Cells = cells.into_iter().map(|([_, a, b, c], cell)| ([a, b, c], cell)).collect();
            let mut held: Cells = held.into_iter().map(|([_, a, b, c], cell)| ([a, b, c], cell)).collect();
            let place = |subject| Place { tenant: TenantNumber(1), width: 10, bucket: 0, subject };
            let more: Vec<(Place, Cell)> = more.into_iter().map(|(subject, cell)| (place(subject), cell)).collect();
            let encoded = encode(&held, &more);
            prop_assert_eq!(decode(&encoded), Some(cells.clone()));
            more.into_iter().for_each(|(place, cell)| add(&mut held, &place, cell));
            prop_assert_eq!(held, cells);
        }

        #[test]
        fn strange_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
