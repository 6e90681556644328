//! What is observed of something in one window, in numbers that can be observed again.

use crate::model::rollup::Cell;

use super::evidence::Evidence;
use super::verdict::{Reference, Summary};

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observed {
    /// Of an operation, of calls or of an instance.
    Requests(Summary),
    /// Log records of a template.
    Records(u64),
    /// The middle of a series.
    Level(f64),
}

impl Observed {
    /// Sixteen bits that differ, in all but one of 65,536 cases, where any number differs in its first three digits.
    pub fn digest(&self) -> u16 {
        let text = match self {
            Self::Requests(it) => {
                format!("{} {} {:.2e} {:.2e}", it.count, it.errors, it.mean_ns, it.p95_ns as f64)
            }
            Self::Records(count) => format!("{count}"),
            Self::Level(level) => format!("{level:.2e}"),
        };
        // FNV-1a, 64 bits, folded.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
    }
}

/// What is observed of `reference` in the window of `evidence`; none of what is not counted or measured. Where nothing was
/// counted, no requests are observed: that may be the evidence.
pub fn observed(evidence: &Evidence, reference: &Reference) -> Option<Observed> {
    let none = Cell::default();
    let requests = |cell: &Cell| Some(Observed::Requests(Summary::from(cell)));
    match *reference {
        Reference::Operation { id, .. } => {
            let own = evidence.operations.iter().find(|operation| operation.id == id);
            // Who sends no spans is observed by the calls to it.
            if let Some(own) = own.filter(|own| own.now.count > 0 || own.before.count > 0) {
                return requests(&own.now);
            }
            let mut all = Cell::default();
            evidence.edges.iter().filter(|edge| edge.to == id).for_each(|edge| all.merge(&edge.now));
            requests(&all)
        }
        Reference::Edge { from, to } => {
            let mut edges = evidence.edges.iter();
            let edge = edges.find(|edge| edge.from == from && edge.to == to);
            requests(edge.map_or(&none, |edge| &edge.now))
        }
        Reference::Instance { service, resource } => {
            let mut instances = evidence.instances.iter();
            let own = instances.find(|it| it.service == service && it.resource == resource);
            requests(own.map_or(&none, |own| &own.now))
        }
        Reference::Template(id) => {
            let own = evidence.templates.iter().filter(|template| template.id == id);
            Some(Observed::Records(own.map(|template| template.now).sum()))
        }
        Reference::Series(id) => {
            let series = evidence.series.iter().find(|series| series.id == id)?;
            (series.now.count > 0).then_some(Observed::Level(series.now.median))
        }
        Reference::Change(_) | Reference::Trace(_) | Reference::Span(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_has_another_digest() {
        let of =
            |count, mean_ns| Observed::Requests(Summary { count, errors: 1, mean_ns, p95_ns: 7 }).digest();
        assert_eq!(of(10, 1_000.0), of(10, 1_000.4), "beyond three digits nothing counts");
        assert_ne!(of(10, 1_000.0), of(11, 1_000.0));
        assert_ne!(of(10, 1_000.0), of(10, 1_100.0));
        assert_ne!(Observed::Records(3).digest(), Observed::Level(3.0).digest());
    }
}
