//! The search index follows the store.
//!
//! It reads the log records after the position the index stands at, whatever the reason it stands there: a moment's
//! lag, a restart, or an index that was damaged and begun anew. Nothing else needs to tell it what is missing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::search::{Document, Index};
use crate::store::Store;
use crate::store::read::logs::StoredLog;

/// Records read at once.
const RECORDS_PER_READ: usize = 5_000;
/// Records indexed before they are made searchable, while catching up.
const RECORDS_PER_COMMIT: usize = 100_000;
/// Pause between looks when nothing announces new records.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts following; ends when `stop` is cancelled. `committed` announces new records.
pub fn start(
    store: Store,
    index: Arc<Index>,
    committed: Arc<Notify>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            if let Err(failure) = follow(&store, &index, &stop).await {
                warn!(error = failure, "the search index did not follow; it is tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    // A moment is waited in any case, so that records are made searchable a second's worth at a time.
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    tokio::select! {
                        () = committed.notified() => {}
                        () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    }
                } => {}
            }
        }
    })
}

/// Indexes everything that is stored and not yet indexed.
async fn follow(store: &Store, index: &Arc<Index>, stop: &CancellationToken) -> Result<(), String> {
    let mut position = index.position();
    let mut pending = 0;
    while !stop.is_cancelled() {
        let logs = store.logs_after(position, RECORDS_PER_READ).await.map_err(|error| error.to_string())?;
        let Some(last) = logs.last().map(|log| log.id) else { break };
        pending += logs.len();
        let commit = pending >= RECORDS_PER_COMMIT || logs.len() < RECORDS_PER_READ;
        let index = Arc::clone(index);
        let work = tokio::task::spawn_blocking(move || {
            let lines: Vec<Line<'_>> = logs.iter().map(Line::of).collect();
            index.add(lines.iter().map(Line::document))?;
            if commit { index.commit(last) } else { Ok(()) }
        });
        work.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        position = last;
        if commit {
            pending = 0;
        }
    }
    Ok(())
}

/// A record's texts, which the document borrows.
struct Line<'a> {
    log: &'a StoredLog,
    body: String,
    attributes: Vec<(&'a str, String)>,
}

impl<'a> Line<'a> {
    fn of(log: &'a StoredLog) -> Self {
        let detail = &log.row.detail;
        let mut attributes: Vec<(&str, String)> =
            detail.attributes().map(|(key, value)| (key, value.render())).collect();
        if !detail.event_name().is_empty() {
            attributes.push(("event.name", detail.event_name().to_owned()));
        }
        Self { log, body: detail.body_text(), attributes }
    }

    fn document(&self) -> Document<'_, impl Iterator<Item = (&str, &str)>> {
        let row = &self.log.row;
        Document {
            row: self.log.id,
            tenant: row.tenant,
            time: row.time,
            service: row.service,
            severity: row.severity,
            body: &self.body,
            attributes: self.attributes.iter().map(|(key, value)| (*key, value.as_str())),
        }
    }
}
