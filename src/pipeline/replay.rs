//! After a restart: what the journal holds beyond the store, decoded again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::decode::{self, Encoding, Limits};
use crate::fault::chain;
use crate::journal::{self, Lsn, Record, Replay};
use crate::letters::Letter;
use crate::model::time::UnixNanos;
use crate::rules::Rules;

use super::apply::in_place;
use super::queue::{Source as Made, Waiting};
use super::shares::Sender;

/// Why the journal could not be replayed to its end. What follows must not be applied: it would leave a hole that
/// nothing ever fills.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The journal could not be read.
    #[error("the journal cannot be read")]
    Journal(#[source] journal::Error),
    /// Another server leads on the database.
    #[error("another server leads on the database")]
    Led,
    /// Reading ended in a panic.
    #[error("reading the journal ended in a panic")]
    Panicked,
}

/// Reads the journal, a commit's worth at a time.
pub(super) struct Source {
    replay: Replay,
    door: Door,
}

/// What requests were held to when they were accepted.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) limits: Limits,
    pub(super) rules: Rules,
}

impl Source {
    pub(super) fn new(replay: Replay, door: Door) -> Self {
        Self { replay, door }
    }

    /// The next requests, about `items_max` items or `bytes_max` bytes; none at the end. Nothing is to be read after an error.
    pub(super) fn next(&mut self, items_max: usize, bytes_max: usize) -> Result<Option<Read>, Broken> {
        let work = || self.read(items_max, bytes_max);
        let read = in_place(|| catch_unwind(AssertUnwindSafe(work))).map_err(|_| Broken::Panicked)??;
        Ok((!read.waiting.is_empty() || !read.unreadable.is_empty()).then_some(read))
    }

    fn read(&mut self, items_max: usize, bytes_max: usize) -> Result<Read, Broken> {
        let mut read = Read::default();
        let (mut items, mut bytes) = (0, 0);
        while items < items_max && bytes < bytes_max {
            let Some(record) = self.replay.next() else { break };
            let record = record.map_err(Broken::Journal)?;
            read.last = Some(record.lsn);
            match decoded(record, &self.door) {
                Ok(request) => {
                    items += request.batch.items();
                    bytes += request.bytes;
                    read.waiting.push(request);
                }
                Err(letter) => {
                    items += 1;
                    read.unreadable.push(*letter);
                }
            }
        }
        Ok(read)
    }
}

/// Some requests of the journal.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Those that decode, in order.
    pub(super) waiting: Vec<Waiting>,
    /// Those that this version does not decode, though some version accepted them.
    pub(super) unreadable: Vec<Letter>,
    /// The last of all.
    pub(super) last: Option<Lsn>,
}

impl Read {
    /// When each of them was received, and its number.
    pub(super) fn requests(&self) -> impl Iterator<Item = (UnixNanos, u64)> {
        let waiting = self.waiting.iter().map(|request| (request.source.received, request.lsn.0));
        waiting.chain(self.unreadable.iter().map(|letter| (letter.received, letter.lsn)))
    }
}

/// The request as it was accepted: the same bytes at the same instant decode to the same batch.
fn decoded(record: Record, door: &Door) -> Result<Waiting, Box<Letter>> {
    let Record { lsn, entry } = record;
    let letter = |reason: String| {
        Box::new(Letter {
            tenant: entry.tenant.clone(),
            signal: entry.signal,
            encoding: entry.encoding,
            received: entry.received,
            lsn: lsn.0,
            first: 0,
            items: 0,
            reason,
            body: entry.body.clone(),
        })
    };
    let Some(encoding) = Encoding::from_number(entry.encoding) else {
        return Err(letter(format!(
            "it is written in encoding {}, which this version does not know",
            entry.encoding
        )));
    };
    let read = || decode::decode(entry.signal, encoding, &entry.body, entry.received, &door.limits);
    let mut decoded = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(decoded)) => decoded,
        Ok(Err(error)) => return Err(letter(format!("this version does not decode it: {}", chain(&error)))),
        Err(_) => return Err(letter("decoding it ended in a panic, a defect of this version".to_owned())),
    };
    door.rules.admit(&mut decoded.batch);
    let source = Made { encoding, received: entry.received, body: entry.body };
    let bytes = source.bytes_with(&decoded.batch);
    let sender = Sender::of(&entry.tenant, &decoded.batch);
    Ok(Waiting { lsn, sender, batch: decoded.batch, bytes, source })
}
