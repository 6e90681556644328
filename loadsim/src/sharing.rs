//! Which connection takes which spans.

use crate::traffic::Span;

/// How spans are shared out among connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Each service has one connection, as if it sent for itself.
    #[default]
    ByService,
    /// Each trace has one connection, which so carries spans of all services, as a Collector in front of them would.
    ByTrace,
}

/// Shares spans out; repeatable, for it goes by what it was given alone.
#[derive(Debug)]
pub(crate) struct Dealer {
    sharing: Sharing,
    /// Spans of the traces that each connection took so far.
    taken: Vec<usize>,
}

impl Dealer {
    /// Shares out among so many connections, one at least.
    pub(crate) fn new(sharing: Sharing, connections: usize) -> Self {
        Self { sharing, taken: vec![0; connections.max(1)] }
    }

    /// Spans by connection, in the order that they came in. Those of one trace stand together in it. A trace goes where the
    /// fewest spans went so far.
    pub(crate) fn shared_out(&mut self, spans: &[Span]) -> Vec<Vec<Span>> {
        let mut parts = vec![Vec::new(); self.taken.len()];
        match self.sharing {
            Sharing::ByService => {
                for span in spans {
                    parts[span.service % self.taken.len()].push(span.clone());
                }
            }
            Sharing::ByTrace => {
                for trace in spans.chunk_by(|one, other| one.trace_id == other.trace_id) {
                    let fewest = (0..self.taken.len()).min_by_key(|lane| self.taken[*lane]).unwrap_or(0);
                    self.taken[fewest] += trace.len();
                    parts[fewest].extend_from_slice(trace);
                }
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;
    use crate::traffic::Traffic;

    type Id = [u8; 16];

    /// The traces that each of five connections has after so many steps of one to three requests, with their spans.
    fn dealt(steps: usize) -> Vec<Vec<(Id, usize)>> {
        let mut traffic = Traffic::new(Topology::seeded(1, 30), Vec::new(), 1);
        let mut dealer = Dealer::new(Sharing::ByTrace, 5);
        let mut dealt = vec![Vec::new(); 5];
        for step in 0..steps {
            let mut spans = Vec::new();
            for _ in 0..=step % 3 {
                traffic.request(1, &mut spans);
            }
            for (traces, part) in dealt.iter_mut().zip(dealer.shared_out(&spans)) {
                let parts = part.chunk_by(|one, other| one.trace_id == other.trace_id);
                traces.extend(parts.map(|trace| (trace[0].trace_id, trace.len())));
            }
        }
        dealt
    }

    #[test]
    fn traces_are_whole_and_connections_carry_alike_over_many_steps() {
        let dealt = dealt(300);
        let counts: Vec<usize> =
            dealt.iter().map(|traces| traces.iter().map(|(_, spans)| spans).sum()).collect();
        let largest = dealt.iter().flatten().map(|(_, spans)| *spans).max().unwrap();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= largest && *least > 0, "{counts:?}, the largest trace has {largest}");
        let mut traces: Vec<Id> = dealt.iter().flatten().map(|(id, _)| *id).collect();
        traces.sort_unstable();
        traces.dedup();
        assert_eq!((dealt.iter().flatten().count(), traces.len()), (600, 600));
    }

    #[test]
    fn the_same_spans_are_shared_out_alike() {
        assert_eq!(dealt(20), dealt(20));
    }
}
