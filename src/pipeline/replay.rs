//! After a restart: what the journal holds beyond the store, decoded again.

use crate::decode::{self, Encoding, Limits};
use crate::journal::{self, Record, Replay};
use crate::rules::Rules;

use super::queue::Waiting;

/// Why the journal could not be replayed to its end. What follows must not be applied: it would leave a hole that
/// nothing ever fills.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The journal could not be read.
    #[error("the journal cannot be read")]
    Journal(#[source] journal::Error),
    /// A record that was accepted does not decode any more.
    #[error("the accepted request {lsn} does not decode any more")]
    Decode {
        /// Its number.
        lsn: u64,
        /// Why.
        #[source]
        source: decode::Error,
    },
    /// Another server leads on the database.
    #[error("another server leads on the database")]
    Led,
    /// Reading ended in a panic.
    #[error("reading the journal ended in a panic")]
    Panicked,
}

/// Reads the journal off the reactor, a commit's worth at a time.
pub(super) struct Source {
    state: Option<(Replay, Door)>,
}

/// What requests were held to when they were accepted.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) limits: Limits,
    pub(super) rules: Rules,
}

impl Source {
    pub(super) fn new(replay: Replay, door: Door) -> Self {
        Self { state: Some((replay, door)) }
    }

    /// The next requests, about `items_max` items; none at the end.
    pub(super) async fn next(&mut self, items_max: usize) -> Result<Option<Vec<Waiting>>, Broken> {
        let Some((mut replay, door)) = self.state.take() else { return Ok(None) };
        let work = tokio::task::spawn_blocking(move || {
            let mut waiting = Vec::new();
            let mut items = 0;
            while items < items_max {
                let Some(record) = replay.next() else { break };
                let request = decoded(record.map_err(Broken::Journal)?, &door)?;
                items += request.batch.items();
                waiting.push(request);
            }
            Ok((waiting, replay, door))
        });
        let (waiting, replay, door) = work.await.map_err(|_| Broken::Panicked)??;
        if waiting.is_empty() {
            return Ok(None);
        }
        self.state = Some((replay, door));
        Ok(Some(waiting))
    }
}

/// The request as it was accepted: the same bytes at the same instant decode to the same batch.
fn decoded(record: Record, door: &Door) -> Result<Waiting, Broken> {
    let Record { lsn, entry } = record;
    let encoding = Encoding::from_number(entry.encoding).unwrap_or(Encoding::Protobuf);
    let mut decoded = decode::decode(entry.signal, encoding, &entry.body, entry.received, &door.limits)
        .map_err(|source| Broken::Decode { lsn: lsn.0, source })?;
    door.rules.admit(&mut decoded.batch);
    let bytes = entry.body.len().saturating_add(decoded.batch.own_bytes());
    Ok(Waiting { lsn, tenant: entry.tenant, batch: decoded.batch, bytes })
}
