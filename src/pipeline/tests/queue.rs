//! What is taken out of the queue at once.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::client;
use crate::decode::Encoding;
use crate::journal::tests::power::{self, PowerDisk};
use crate::journal::{Entry, Journal, Lsn, Options, Prepared, Sync};
use crate::model::batch::Signal;
use crate::model::time::UnixNanos;
use crate::pipeline;
use crate::pipeline::queue::{Claim, Depth, Queue, Source};

/// A journal whose writer never runs.
fn journal() -> Journal {
    let options = Options {
        directory: PathBuf::from("/journal"),
        segment_bytes: 1 << 20,
        bytes_max: 1 << 30,
        pending_bytes_max: 1 << 30,
        free_bytes_min: 0,
        sync: Sync::Durable,
    };
    power::open(&PowerDisk::new(1), &options, Lsn(0)).unwrap().0
}

/// Queues a request of so many items, which counts as so many bytes.
fn push(queue: &Queue, journal: &Journal, items: u64, bytes: usize) {
    let numbers: Vec<u64> = (0..items).map(|place| place * 2).collect();
    let (encoding, received) = (Encoding::Protobuf, UnixNanos(client::BEGIN));
    let source = Source { encoding, received, body: client::logs(&numbers).into() };
    let tenant = client::tenant(0);
    let entry = Entry {
        tenant: tenant.clone(),
        signal: Signal::Logs,
        encoding: encoding.number(),
        received,
        body: source.body.clone(),
    };
    let batch = client::decoded(Signal::Logs, &source);
    let prepared = Prepared::new(&entry).unwrap();
    let mut claim = Claim::of(&tenant, &batch, &source);
    claim.bytes = bytes;
    let _appended = queue.push(journal, prepared, claim, (batch, source)).unwrap();
}

#[test]
fn a_slow_store_is_given_no_more_than_it_takes_in_a_moment() {
    let (queue, journal) = (Queue::new(&pipeline::Options::default()), journal());
    let push = |count| (0..count).for_each(|_| push(&queue, &journal, 5_000, 1));
    push(9);
    let taken = queue.take(Lsn(9), 200_000);
    assert_eq!((taken.items, taken.is_full), (40_000, true), "nothing is known of the store");
    queue.stored(40_000, Duration::from_secs(4));
    push(8);
    let taken = queue.take(Lsn(17), 200_000);
    assert_eq!((taken.items, taken.is_full), (40_000, true), "10,000 a second");
    (0..60).for_each(|_| queue.stored(40_000, Duration::from_millis(400)));
    push(8);
    let taken = queue.take(Lsn(25), 200_000);
    assert_eq!((taken.items, taken.is_full), (45_000, false), "100,000 a second");
}

proptest! {
    #[test]
    fn no_more_is_taken_at_once_than_a_commit_may_hold(
        requests in proptest::collection::vec((1_u64..6, 1_usize..400), 1..60),
        items_max in 1_usize..40,
        spare in 1_usize..8,
        durable in 0_u64..60,
    ) {
        let bytes: usize = requests.iter().map(|(_, bytes)| bytes).sum();
        let bytes_max = bytes * 2 * spare;
        let options = pipeline::Options { bytes_max, ..pipeline::Options::default() };
        let (queue, journal) = (Queue::new(&options), journal());
        requests.iter().for_each(|(items, bytes)| push(&queue, &journal, *items, *bytes));
        let durable = durable.min(requests.len() as u64);
        let mut left = &requests[..durable as usize];
        loop {
            let taken = queue.take(Lsn(durable), items_max);
            if taken.requests.is_empty() {
                break;
            }
            let (now, later) = left.split_at(taken.requests.len());
            let items = |of: &[(u64, usize)]| of.iter().map(|(items, _)| *items as usize).sum::<usize>();
            let bytes = |of: &[(u64, usize)]| of.iter().map(|(_, bytes)| *bytes).sum::<usize>();
            let is_full = |of: &[(u64, usize)]| items_max <= items(of) || (bytes_max / 4).max(1) <= bytes(of);
            let first = durable - left.len() as u64 + 1;
            let lsns: Vec<u64> = taken.requests.iter().map(|request| request.lsn.0).collect();
            prop_assert_eq!(lsns, (first..).take(now.len()).collect::<Vec<_>>());
            prop_assert!(!is_full(&now[..now.len() - 1]), "{:?} is more than fits", now);
            prop_assert_eq!((taken.items, taken.is_full), (items(now), is_full(now)));
            prop_assert!(taken.is_full || later.is_empty(), "{:?} had room", later);
            left = later;
        }
        prop_assert!(left.is_empty());
        let waiting = &requests[durable as usize..];
        let bytes = waiting.iter().map(|(_, bytes)| *bytes).sum();
        prop_assert_eq!(queue.depth(), Depth { requests: waiting.len(), bytes });
    }
}
