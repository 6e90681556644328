//! After a restart: what the journal holds beyond the store, decoded again.

use tracing::error;

use crate::decode::{self, Encoding, Limits};
use crate::journal::{Record, Replay};

use super::queue::Waiting;

/// Reads the journal off the reactor, a commit's worth at a time.
pub(super) struct Source {
    state: Option<(Replay, Limits)>,
}

impl Source {
    pub(super) fn new(replay: Replay, limits: Limits) -> Self {
        Self { state: Some((replay, limits)) }
    }

    /// The next requests, about `items_max` items; none at the end.
    pub(super) async fn next(&mut self, items_max: usize) -> Option<Vec<Waiting>> {
        let (mut replay, limits) = self.state.take()?;
        let work = tokio::task::spawn_blocking(move || {
            let mut waiting = Vec::new();
            let mut items = 0;
            while items < items_max {
                let Some(record) = replay.next() else { break };
                match record {
                    Ok(record) => {
                        if let Some(request) = decoded(record, &limits) {
                            items += request.batch.items();
                            waiting.push(request);
                        }
                    }
                    Err(failure) => error!(error = %failure, "a journal record cannot be read"),
                }
            }
            (waiting, replay, limits)
        });
        let (waiting, replay, limits) = work.await.ok()?;
        if waiting.is_empty() {
            return None;
        }
        self.state = Some((replay, limits));
        Some(waiting)
    }
}

/// The request as it was accepted: the same bytes at the same instant decode to the same batch.
fn decoded(record: Record, limits: &Limits) -> Option<Waiting> {
    let Record { lsn, entry } = record;
    let encoding = Encoding::from_number(entry.encoding)?;
    match decode::decode(entry.signal, encoding, &entry.body, entry.received, limits) {
        Ok(decoded) => {
            Some(Waiting { lsn, tenant: entry.tenant, batch: decoded.batch, bytes: entry.body.len() })
        }
        Err(failure) => {
            error!(lsn = lsn.0, error = %failure, "an accepted request no longer decodes and is left out");
            None
        }
    }
}
