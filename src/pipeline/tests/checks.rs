//! What must hold in a simulated world: while a server runs, when its life is over, and in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{self, Told};
use super::database::Event;
use super::operator;
use super::store::{self, Store, Sums};
use super::world::{Server, World};
use crate::graph::Graph;
use crate::model::batch::Signal;
use crate::model::rollup::{COARSE_SECONDS, FINE_SECONDS, Subject};
use crate::model::time::{UnixNanos, Window};
use crate::pipeline::{Handle, Options};

impl Server {
    /// What is wrong now. Syncs promised that everything up to `promised` survives a power cut.
    pub(super) fn faults(&self, segment_bytes: u64, promised: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let stats = self.journal.stats();
        // Headers are left out of the bound, and what a failure made the writer write again.
        let bytes_max = stats.bytes_max + segment_bytes + 48 * stats.segments as u64;
        if bytes_max < stats.bytes {
            faults.push(format!("{} bytes in a journal of {}", stats.bytes, stats.bytes_max));
        }
        if promised < stats.released.0 {
            faults.push(format!("{:?} is released, of which {promised} is safe", stats.released));
        }
        let tally = self.handle.tally();
        for (signal, stored) in Signal::ALL.into_iter().zip(self.store.counts()) {
            let counted = tally.stored_items(signal);
            if stored < counted {
                faults.push(format!("{counted} {signal:?} count as stored, which {stored} are"));
            }
        }
        faults
    }
}

/// What is wrong with the accounts of a server that does nothing any more, and did not give up.
pub(super) fn accounts(handle: &Handle) -> Vec<String> {
    let tally = handle.tally();
    let accepted = Signal::ALL.map(|signal| tally.accepted_items(signal));
    let gone = Signal::ALL.map(|signal| {
        let duplicates = if signal == Signal::Traces { tally.duplicate_spans() } else { 0 };
        tally.stored_items(signal) + tally.buried_items(signal) + duplicates
    });
    // What the journal took when it was stopped waits there.
    let found = gone.iter().sum::<u64>() + handle.waiting_items().0 as u64;
    let sum = accepted.iter().sum::<u64>();
    // What was replayed was accepted earlier.
    let is_right = match tally.replayed_requests() {
        0 => found == sum && gone.iter().zip(&accepted).all(|(gone, accepted)| gone <= accepted),
        _ => found >= sum,
    };
    if is_right { Vec::new() } else { vec![format!("{found} items are accounted for: {tally:?}")] }
}

impl World {
    /// Looks back on a life; a whole one ended with all stored that was accepted.
    pub(super) fn look_back(&mut self, (store, graph, options): (&Store, &Graph, &Options), is_whole: bool) {
        let stored = store.stored();
        let shown = sums_of(graph, COARSE_SECONDS);
        let mut of_spans = shown.clone();
        of_spans.retain(|(_, subject), _| !matches!(subject, Subject::Logs(..)));
        if sums_of(graph, FINE_SECONDS) != of_spans {
            self.broken.push("tens of seconds of the graph do not add up to its minutes".to_owned());
        }
        // The server may have ended before it heard of the last commit.
        let is_but_last =
            !is_whole && stored.split_last().is_some_and(|(_, before)| store::sums(before) == shown);
        if store::sums(&stored) != shown && !is_but_last {
            self.broken.push(format!("the graph has other sums than the store: {shown:?}"));
        }
        for (name, _) in self.letters.list().unwrap() {
            if self.letters.read(&name).unwrap().items == 0 {
                self.database.tables().note(Event::Unreadable);
            }
        }
        let ledger = self.ledger.lock().unwrap();
        for commit in stored {
            let items = client::stored(&commit);
            let bytes: usize = items.iter().map(|(number, ..)| ledger.bytes[number]).sum();
            let bytes_max = options.bytes_max / 4;
            if bytes_max + ledger.bytes_max <= bytes {
                self.broken.push(format!("{bytes} bytes in a commit of {bytes_max}"));
            }
            if bytes_max <= bytes && items.len() < options.commit_items_max {
                self.database.tables().note(Event::FullOfBytes);
            }
        }
    }

    /// What is wrong with what is stored in the end.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut stored: BTreeMap<u64, Vec<(Signal, u32)>> = BTreeMap::new();
        let mut tenants: BTreeMap<u64, u32> = BTreeMap::new();
        for commit in self.database.commits() {
            for (number, signal, tenant) in client::stored(&commit) {
                stored.entry(number).or_default().push((signal, tenant));
                tenants.entry(number % 2).or_insert(tenant);
            }
        }
        let mut faults = self.broken.clone();
        let buried = self.buried(&mut faults);
        let ledger = self.ledger.lock().unwrap();
        for (number, (signal, told)) in &ledger.items {
            let copies = stored.remove(number).unwrap_or_default();
            let expected = tenants.get(&(number % 2)).copied().unwrap_or_default();
            let letters = buried.get(number).copied().unwrap_or_default();
            match copies.as_slice() {
                [] if *told == Told::Accepted && letters == 0 => {
                    faults.push(format!("{number} ({signal:?}) is lost"))
                }
                [] => {}
                [(as_signal, tenant)] if as_signal == signal && *tenant == expected => {}
                [_] => faults.push(format!("{number} came back as another")),
                more => faults.push(format!("{number} ({signal:?}) is stored {} times", more.len())),
            }
            // Spans come again, and are stored once the database takes them.
            let is_once = *signal == Signal::Traces || ledger.again.contains(number);
            if copies.len() + letters > 1 && !is_once {
                faults.push(format!("{number} ({signal:?}) is in {letters} letters, and stored"));
            }
        }
        faults.extend(stored.keys().map(|number| format!("{number} was never sent")));
        if tenants.len() == 2 && tenants[&0] == tenants[&1] {
            faults.push("two tenants are one".to_owned());
        }
        faults
    }

    /// How many letters each item is in.
    fn buried(&self, faults: &mut Vec<String>) -> BTreeMap<u64, usize> {
        let mut buried = BTreeMap::new();
        let ledger = self.ledger.lock().unwrap();
        for (name, _) in self.letters.list().unwrap() {
            let letter = self.letters.read(&name).unwrap();
            let numbers = operator::numbers(&letter);
            // None is told of a request that did not decode.
            let is_unreadable = letter.items == 0;
            if !is_unreadable && numbers.len() as u64 != letter.items {
                faults.push(format!("a letter of {} items holds {numbers:?}", letter.items));
            }
            for number in numbers {
                *buried.entry(number).or_default() += 1;
                if !is_unreadable && self.database.tables().refusal(number).is_none() {
                    faults.push(format!("{number} is in a letter, and nobody refused it"));
                }
                let sent = ledger.items.get(&number).map(|(signal, _)| *signal);
                if sent != Some(letter.signal) || client::tenant(number) != letter.tenant {
                    faults.push(format!("{number} is another in a letter"));
                }
            }
        }
        buried
    }
}

/// The sums of the graph by buckets of a width.
fn sums_of(graph: &Graph, width_seconds: i64) -> Sums {
    let begin = UnixNanos(client::BEGIN);
    let window = Window::new(begin, begin.plus(Duration::from_secs(COARSE_SECONDS.unsigned_abs())));
    let tenants = graph.tenants().into_iter();
    let cells = tenants.flat_map(|tenant| {
        let merged = graph.merged(tenant, window, width_seconds).into_iter();
        merged.map(move |(subject, cell)| ((tenant, subject), cell))
    });
    cells.collect()
}
