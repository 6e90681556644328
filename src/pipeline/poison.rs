//! What cannot be stored: found row by row, and put into letters.
//!
//! The store takes a commit whole or not at all, so one row that it refuses would hold up everything behind it. Parts of
//! the commit are tried and taken back until the rows are known that are refused by themselves; the rest is then
//! committed in one, as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::warn;

use crate::decode;
use crate::encode;
use crate::letters::Letter;
use crate::model::batch::{Batch, Signal};
use crate::model::tenant::TenantId;
use crate::store::rows::Commit;

use super::queue::Source;
use super::replay::Door;

/// A row of a commit: of which signal, and where among its rows.
pub(super) type Row = (Signal, usize);

/// A request, and which of the rows that were made are its own.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) lsn: u64,
    pub(super) tenant: TenantId,
    pub(super) signal: Signal,
    pub(super) items: usize,
    pub(super) source: Source,
    /// Places among the rows of its signal, before any was left out.
    pub(super) rows: Range<usize>,
}

/// For each row of a commit its place among the rows of its signal before any was left out; none for spans of earlier
/// requests, which were held.
#[derive(Debug, Default)]
pub(super) struct Origins([Vec<Option<usize>>; 3]);

impl Origins {
    /// Of a commit whose spans had these places, and that has all log records and points.
    pub(super) fn new(spans: Vec<Option<usize>>, commit: &Commit) -> Self {
        Self([
            spans,
            (0..commit.logs.len()).map(Some).collect(),
            (0..commit.points.len()).map(Some).collect(),
        ])
    }

    /// The requests of refused rows, each with the places of these and why one of them is refused.
    pub(super) fn requests<'r>(
        &self,
        requests: &'r [Request],
        refused: &'r BTreeMap<Row, String>,
    ) -> Vec<(&'r Request, BTreeSet<usize>, &'r str)> {
        let mut found: BTreeMap<usize, (BTreeSet<usize>, &str)> = BTreeMap::new();
        for ((signal, row), reason) in refused {
            let Some(place) = self.0[*signal as usize][*row] else {
                // Its request was applied without it: sampling had passed it over.
                warn!(reason, "a span that was held is refused by the store, and left out");
                continue;
            };
            let of = |request: &Request| request.signal == *signal && request.rows.contains(&place);
            if let Some(index) = requests.iter().position(of) {
                let of_request = found.entry(index).or_insert_with(|| (BTreeSet::new(), reason));
                of_request.0.insert(place - requests[index].rows.start);
            }
        }
        found.into_iter().map(|(index, (places, reason))| (&requests[index], places, reason)).collect()
    }

    /// `commit` without `rows`, and where the others came from.
    pub(super) fn without(&self, commit: &Commit, rows: &BTreeSet<Row>) -> (Commit, Self) {
        let others = |signal: Signal| {
            let of = &self.0[signal as usize];
            let kept = of.iter().enumerate().filter(|(row, _)| !rows.contains(&(signal, *row)));
            kept.map(|(_, place)| *place).collect()
        };
        let all = all_rows(commit);
        let kept = all.into_iter().filter(|row| !rows.contains(row));
        let (cells, gone) = (commit.cells.clone(), commit.gone.clone());
        let commit = Commit { cells, gone, ..part(commit, kept) };
        (commit, Self(Signal::ALL.map(others)))
    }
}

/// Looks for the rows of a commit that are refused by themselves: [`Search::next`] tells what to try, [`Search::took`] or
/// [`Search::refused`] is told what came of it.
pub(super) struct Search<'c> {
    commit: &'c Commit,
    /// Rows among which there may be some; the last is tried next.
    suspected: Vec<Vec<Row>>,
    found: BTreeMap<Row, String>,
}

impl<'c> Search<'c> {
    pub(super) fn new(commit: &'c Commit) -> Self {
        // First what belongs to no row: where that is refused, none is to blame.
        Self { commit, suspected: vec![all_rows(commit), Vec::new()], found: BTreeMap::new() }
    }

    /// What to try next; none at the end.
    pub(super) fn next(&self) -> Option<Commit> {
        let rows = self.suspected.last()?;
        let mut tried = part(self.commit, rows.iter().copied());
        if rows.is_empty() {
            tried.cells.clone_from(&self.commit.cells);
        }
        Some(tried)
    }

    /// The store would take it.
    pub(super) fn took(&mut self) {
        self.suspected.pop();
    }

    /// The store refuses it.
    pub(super) fn refused(&mut self, reason: String) {
        match self.suspected.pop().as_deref() {
            None => {}
            Some([]) => self.suspected.clear(),
            Some([row]) => drop(self.found.insert(*row, reason)),
            Some(rows) => {
                let (left, right) = rows.split_at(rows.len() / 2);
                self.suspected.extend([right.to_vec(), left.to_vec()]);
            }
        }
    }

    /// The rows that are refused, each with why; none where it is not for any row that the commit is refused.
    pub(super) fn found(self) -> BTreeMap<Row, String> {
        self.found
    }
}

fn all_rows(commit: &Commit) -> Vec<Row> {
    let counts = [commit.spans.len(), commit.logs.len(), commit.points.len()];
    let rows = Signal::ALL.into_iter().zip(counts);
    rows.flat_map(|(signal, count)| (0..count).map(move |row| (signal, row))).collect()
}

/// `rows` of a commit with the templates that they may name.
fn part(commit: &Commit, rows: impl Iterator<Item = Row>) -> Commit {
    let mut part = Commit { lsn: commit.lsn, templates: commit.templates.clone(), ..Commit::default() };
    for (signal, row) in rows {
        match signal {
            Signal::Traces => part.spans.push(commit.spans[row].clone()),
            Signal::Logs => part.logs.push(commit.logs[row].clone()),
            Signal::Metrics => part.points.push(commit.points[row].clone()),
        }
    }
    part
}

impl Request {
    /// The request as it came.
    pub(super) fn whole(&self, reason: &str) -> Letter {
        Letter {
            tenant: self.tenant.clone(),
            signal: self.signal,
            encoding: self.source.encoding.number(),
            received: self.source.received,
            lsn: self.lsn,
            first: 0,
            items: self.items as u64,
            reason: reason.to_owned(),
            body: self.source.body.clone(),
        }
    }

    /// Those of its items that became its rows at `places`.
    pub(super) fn part(&self, places: &BTreeSet<usize>, door: &Door, reason: &str) -> Letter {
        let Source { encoding, received, ref body } = self.source;
        let read = || decode::decode(self.signal, encoding, body, received, &door.limits);
        let Ok(Ok(mut decoded)) = catch_unwind(AssertUnwindSafe(read)) else { return self.whole(reason) };
        door.rules.admit(&mut decoded.batch);
        let stored = stored(&decoded.batch, door);
        let items: BTreeSet<usize> = places.iter().filter_map(|place| stored.get(*place).copied()).collect();
        let Some(first) = items.first().copied().filter(|_| items.len() == places.len()) else {
            return self.whole(reason);
        };
        Letter {
            encoding: decode::Encoding::Protobuf.number(),
            first: first as u64,
            items: items.len() as u64,
            body: encode::request(&encode::pick(&decoded.batch, &items)),
            ..self.whole(reason)
        }
    }
}

/// The items of a batch that get a row, in order.
fn stored(batch: &Batch, door: &Door) -> Vec<usize> {
    match batch {
        Batch::Logs(groups) => {
            let records = groups.iter().flat_map(|group| &group.items).enumerate();
            records.filter(|(_, record)| door.rules.stores(record.severity)).map(|(item, _)| item).collect()
        }
        _ => (0..batch.items()).collect(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::model::id::{
        InstrumentationId, OperationId, ResourceId, ServiceId, SpanId, TemplateId, TenantNumber, TraceId,
    };
    use crate::model::log::{LogDetail, Severity};
    use crate::model::span::{SpanDetail, SpanKind, Status};
    use crate::model::time::UnixNanos;
    use crate::model::trace_key::TraceKey;
    use crate::store::rows::{LogRow, SpanRow};

    /// A commit of spans and log records that are told apart by their times.
    fn commit(spans: usize, logs: usize) -> Commit {
        Commit {
            lsn: 9,
            spans: (0..spans as i64).map(span).collect(),
            logs: (0..logs as i64).map(log).collect(),
            ..Commit::default()
        }
    }

    pub(in crate::pipeline) fn span(number: i64) -> SpanRow {
        SpanRow {
            tenant: TenantNumber(1),
            trace_key: TraceKey(1),
            trace_id: TraceId::try_from(&[1; 16][..]).unwrap(),
            span_id: SpanId::try_from(&[1; 8][..]).unwrap(),
            parent_id: None,
            service: ServiceId(1),
            operation: OperationId(1),
            resource: ResourceId(1),
            instrumentation: InstrumentationId(1),
            kind: SpanKind::SERVER,
            status: Status::Ok,
            entry: true,
            http_status: 0,
            dependency: None,
            start: UnixNanos(number),
            duration_ns: 1,
            detail: SpanDetail::default(),
        }
    }

    fn log(number: i64) -> LogRow {
        LogRow {
            tenant: TenantNumber(1),
            time: UnixNanos(number),
            severity: Severity(9),
            service: ServiceId(1),
            resource: ResourceId(1),
            instrumentation: InstrumentationId(1),
            template: TemplateId(1),
            trace_id: None,
            span_id: None,
            detail: LogDetail::default(),
        }
    }

    proptest! {
        #[test]
        fn exactly_the_rows_that_are_refused_are_found(
            counts in proptest::array::uniform2(0_usize..40),
            chosen in proptest::collection::btree_set((0_usize..2, 0_usize..40), 0..5),
        ) {
            let commit = commit(counts[0], counts[1]);
            let bad: BTreeSet<Row> = chosen
                .into_iter()
                .filter(|(signal, row)| *row < counts[*signal])
                .map(|(signal, row)| (Signal::ALL[signal], row))
                .collect();
            let has_bad = |tried: &Commit| {
                bad.iter().any(|(signal, row)| match signal {
                    Signal::Traces => tried.spans.contains(&commit.spans[*row]),
                    _ => tried.logs.contains(&commit.logs[*row]),
                })
            };
            let (mut tries, mut search) = (0, Search::new(&commit));
            while let Some(tried) = search.next() {
                tries += 1;
                if has_bad(&tried) { search.refused("bad".to_owned()) } else { search.took() }
            }
            let found: BTreeSet<Row> = search.found().into_keys().collect();
            prop_assert_eq!(&found, &bad);
            prop_assert!(tries <= 2 + bad.len() * 2 * 8, "{} tries", tries);
            let (rest, origins) = Origins::new((0..counts[0]).map(Some).collect(), &commit).without(&commit, &found);
            prop_assert!(!has_bad(&rest));
            let left = rest.spans.len() + rest.logs.len();
            prop_assert_eq!(left + bad.len(), counts.iter().sum::<usize>());
            prop_assert!(rest.spans.iter().zip(&origins.0[0]).all(|(span, place)| Some(span) == place.map(|place| &commit.spans[place])));
        }
    }

    #[test]
    fn no_row_is_blamed_for_what_is_refused_without_any() {
        let commit = commit(3, 3);
        let mut search = Search::new(&commit);
        assert!(search.next().is_some_and(|tried| tried.spans.is_empty() && tried.logs.is_empty()));
        search.refused("full of something else".to_owned());
        assert!(search.next().is_none() && search.found().is_empty());
    }
}
