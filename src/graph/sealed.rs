//! The cells of a bucket that is rarely changed, as bytes: about 60 bytes each instead of about 400.
//!
//! A cell is a run of LEB128 numbers: the length of what follows, count, errors, sum, longest, other, answered,
//! then the sketch as the sketch itself writes it. Cells follow each other in the order of their subjects.

use crate::model::packed::wire::take_varint;
use crate::model::packed::write::put_varint;
use crate::model::rollup::{Cell, Subject};
use crate::model::sketch::Sketch;

/// Cells in order of their subjects, never changed.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    subjects: Box<[Subject]>,
    bytes: Box<[u8]>,
}

impl Sealed {
    /// How many cells there are.
    pub(super) fn len(&self) -> usize {
        self.subjects.len()
    }

    /// All cells whose subject `filter` picks, in order.
    pub(super) fn cells(&self, filter: impl Fn(&Subject) -> bool) -> impl Iterator<Item = (Subject, Cell)> {
        self.encoded(filter).filter_map(|(subject, cell, sketch)| {
            Some((subject, Cell { sketch: Sketch::decode(sketch)?, ..cell }))
        })
    }

    /// As [`Sealed::cells`], each without its sketch, which comes beside it as bytes: reading those is most of the cost.
    pub(super) fn encoded(
        &self,
        filter: impl Fn(&Subject) -> bool,
    ) -> impl Iterator<Item = (Subject, Cell, &[u8])> {
        let mut rest: &[u8] = &self.bytes;
        self.subjects.iter().filter_map(move |subject| {
            let length = usize::try_from(take_varint(&mut rest)?).ok()?;
            let (cell, after) = rest.split_at_checked(length)?;
            rest = after;
            let (cell, sketch) = if filter(subject) { decode(cell)? } else { return None };
            Some((*subject, cell, sketch))
        })
    }

    /// These cells and `added`, which is in order of subject and has each once, as new sealed ones.
    pub(super) fn with(&self, added: Vec<(Subject, Cell)>) -> Self {
        let mut subjects = Vec::with_capacity(self.len() + added.len());
        let mut bytes = Vec::with_capacity(self.bytes.len() + added.len() * 64);
        let mut scratch = Vec::new();
        let mut put = |subject: Subject, cell: &Cell| {
            subjects.push(subject);
            scratch.clear();
            encode(cell, &mut scratch);
            put_varint(scratch.len() as u64, &mut bytes);
            bytes.extend_from_slice(&scratch);
        };
        let mut added = added.into_iter().peekable();
        for (subject, mut cell) in self.cells(|_| true) {
            while let Some((earlier, cell)) = added.next_if(|(other, _)| *other < subject) {
                put(earlier, &cell);
            }
            if let Some((_, more)) = added.next_if(|(other, _)| *other == subject) {
                cell.merge(&more);
            }
            put(subject, &cell);
        }
        added.for_each(|(subject, cell)| put(subject, &cell));
        Self { subjects: subjects.into(), bytes: bytes.into() }
    }
}

fn encode(cell: &Cell, out: &mut Vec<u8>) {
    for number in [cell.count, cell.errors, cell.sum_ns, cell.max_ns, cell.other_ns, cell.answered] {
        put_varint(number, out);
    }
    cell.sketch.encode(out);
}

/// The cell without its sketch, and the bytes of that.
fn decode(mut bytes: &[u8]) -> Option<(Cell, &[u8])> {
    let mut number = || take_varint(&mut bytes);
    let (count, errors, sum_ns) = (number()?, number()?, number()?);
    let (max_ns, other_ns, answered) = (number()?, number()?, number()?);
    Some((Cell { count, errors, sum_ns, max_ns, other_ns, answered, sketch: Sketch::default() }, bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

    use crate::model::id::{OperationId, ServiceId, TemplateId};
    use crate::model::log::Severity;
    use crate::model::rollup::Seen;

    use super::*;

    fn any_cells() -> impl Strategy<Value = BTreeMap<Subject, Cell>> {
        let subject = (0..3_u8, 0..6_u32, 0..6_u32).prop_map(|(kind, a, b)| match kind {
            0 => Subject::Operation(OperationId(a)),
            1 => Subject::Edge(OperationId(a), OperationId(b)),
            _ => Subject::Logs(ServiceId(a), TemplateId(b), Severity(a as u8)),
        });
        let calls = proptest::collection::vec((any::<u32>(), any::<u64>(), any::<bool>()), 0..6);
        let cell = calls.prop_map(|calls| {
            let mut cell = Cell::default();
            for (duration, caller_ns, error) in calls {
                cell.add(&Seen::Call { duration_ns: u64::from(duration), caller_ns, error });
            }
            cell
        });
        proptest::collection::btree_map(subject, cell, 0..30)
    }

    proptest! {
        #[test]
        fn sealing_loses_nothing(first in any_cells(), second in any_cells(), third in any_cells()) {
            let mut sealed = Sealed::default();
            let mut sums: BTreeMap<Subject, Cell> = BTreeMap::new();
            for part in [first, second, third] {
                for (subject, cell) in &part {
                    sums.entry(*subject).or_default().merge(cell);
                }
                sealed = sealed.with(part.into_iter().collect());
            }
            prop_assert_eq!(sealed.len(), sums.len());
            let is_edge = |subject: &Subject| matches!(subject, Subject::Edge(..));
            let edges: Vec<_> = sums.clone().into_iter().filter(|(subject, _)| is_edge(subject)).collect();
            prop_assert_eq!(sealed.cells(is_edge).collect::<Vec<_>>(), edges);
            prop_assert_eq!(sealed.cells(|_| true).collect::<BTreeMap<_, _>>(), sums);
        }
    }
}
