//! The search index follows the store.
//!
//! It reads each day's log records after the position the index of that day stands at, whatever the reason it stands
//! there: a moment's lag, a restart, or a day that was damaged and begun anew. Days that the store no longer has are
//! dropped. Nothing else needs to tell it what is missing.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::rounds::Rounds;
use crate::fault;
use crate::search::{self, DAY_BITS, Document, Index};
use crate::store::Store;
use crate::store::read::logs::StoredLog;
use crate::vitals::health::Health;

/// Records read at once.
const RECORDS_PER_READ: usize = 5_000;
/// Records of one day that are indexed before they are made searchable, while catching up.
const RECORDS_PER_COMMIT: usize = 100_000;
/// How long new records are gathered before they are made searchable together: each time costs a few synced
/// files and a segment that is merged later.
const GATHER_TIME: Duration = Duration::from_millis(500);
/// Pause between looks when nothing announces new records.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Starts following; ends when `stop` is cancelled. `committed` announces new records.
pub fn start(
    (store, health): (Store, Health),
    index: Arc<Index>,
    committed: Arc<Notify>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut rounds = Rounds::new("search_index", health);
        loop {
            // What is committed while the index follows is announced once, and must not be missed.
            let announced = committed.notified();
            tokio::pin!(announced);
            announced.as_mut().enable();
            if let Some(Err(failure)) = rounds.work(follow(&store, &index, &stop)).await {
                warn!(error = failure, "the search index did not follow; it is tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    tokio::time::sleep(rounds.pause(GATHER_TIME)).await;
                    let _ = tokio::time::timeout(LOOK_INTERVAL, announced).await;
                } => {}
            }
        }
    })
}

/// Indexes everything that is stored and not yet indexed, the newest day first, and forgets what is no longer
/// stored. While an older day is built anew, each round makes the newest records searchable too.
async fn follow(store: &Store, index: &Arc<Index>, stop: &CancellationToken) -> Result<(), String> {
    let mut is_behind = true;
    while is_behind && !stop.is_cancelled() {
        let stored = store.log_days().await.map_err(|error| error.to_string())?;
        let stored: Vec<(i32, i64)> = stored.into_iter().map(|(day, highest)| (day.0, highest)).collect();
        forget(index, stored.clone()).await?;
        is_behind = false;
        for (day, highest) in stored.into_iter().rev() {
            if index.position_of(day) < highest {
                is_behind |= index_part(store, index, stop, day).await?;
            }
        }
    }
    let index = Arc::clone(index);
    blocking(move || {
        index.close_idle();
        Ok(())
    })
    .await
}

/// Drops the days that the store dropped, and those that are ahead of it: they belong to another database, and
/// their rows would be somebody else's.
async fn forget(index: &Arc<Index>, stored: Vec<(i32, i64)>) -> Result<(), String> {
    let gone = move |day: i32, position: i64| match stored.iter().find(|(stored, _)| *stored == day) {
        None => true,
        Some((_, highest)) if *highest < position => {
            warn!(day, position, highest, "the search index is ahead of the database and is built anew");
            true
        }
        Some(_) => false,
    };
    let days: Vec<i32> =
        index.positions().into_iter().filter(|(day, at)| gone(*day, *at)).map(|(day, _)| day).collect();
    if days.is_empty() {
        return Ok(());
    }
    let index = Arc::clone(index);
    blocking(move || days.into_iter().try_for_each(|day| index.drop_day(day))).await
}

/// Indexes the next records of `day` and makes them searchable; true when there are more of them.
async fn index_part(
    store: &Store,
    index: &Arc<Index>,
    stop: &CancellationToken,
    day: i32,
) -> Result<bool, String> {
    let mut position = index.position_of(day);
    let mut taken = 0;
    let mut has_more = true;
    let mut outcome = Ok(());
    while has_more && taken < RECORDS_PER_COMMIT && !stop.is_cancelled() {
        let mut logs = match store.logs_after(position, RECORDS_PER_READ).await {
            Ok(logs) => logs,
            Err(error) => {
                // What was added is made searchable before it is tried again.
                outcome = Err(error.to_string());
                break;
            }
        };
        has_more = logs.len() == RECORDS_PER_READ;
        let of_day = logs.iter().take_while(|log| log.id >> DAY_BITS == i64::from(day)).count();
        has_more &= of_day == logs.len();
        logs.truncate(of_day);
        let Some(last) = logs.last().map(|log| log.id) else { break };
        (position, taken) = (last, taken + logs.len());
        let index = Arc::clone(index);
        blocking(move || {
            fault::point("upkeep.indexed");
            let lines: Vec<Line<'_>> = logs.iter().map(Line::of).collect();
            index.add(lines.iter().map(Line::document))
        })
        .await?;
    }
    let index = Arc::clone(index);
    blocking(move || index.commit()).await?;
    outcome.map(|()| has_more)
}

/// Runs `work` where it may block; a panic of it goes on here.
async fn blocking(work: impl FnOnce() -> Result<(), search::Error> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(error.to_string()),
    }
}

/// A record's texts, which the document borrows.
struct Line<'a> {
    log: &'a StoredLog,
    body: Cow<'a, str>,
    attributes: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Line<'a> {
    fn of(log: &'a StoredLog) -> Self {
        let detail = &log.row.detail;
        let mut attributes: Vec<(&str, Cow<'_, str>)> =
            detail.attributes().map(|(key, value)| (key, value.render())).collect();
        if !detail.event_name().is_empty() {
            attributes.push(("event.name", detail.event_name().into()));
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
            template: row.template,
            body: &self.body,
            attributes: self.attributes.iter().map(|(key, value)| (*key, &**value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{ServiceId, TemplateId, TenantNumber};
    use crate::model::log::Severity;
    use crate::model::time::UnixNanos;
    use crate::store::options::Options;

    #[tokio::test]
    async fn days_that_the_store_does_not_have_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(directory.path().join("store.db"))).await.unwrap();
        let options =
            search::Options { directory: directory.path().join("search"), writer_bytes: 15_000_000 };
        let index = Arc::new(Index::open(options).unwrap());
        let line = |day: i64| Document {
            row: day << DAY_BITS | 1,
            tenant: TenantNumber(1),
            time: UnixNanos::from_seconds(day * 86_400),
            service: ServiceId(1),
            severity: Severity(9),
            template: TemplateId(1),
            body: "of another database",
            attributes: Vec::<(String, String)>::new(),
        };
        index.add([line(0), line(20_785)]).unwrap();
        index.commit().unwrap();
        assert_eq!(index.positions().len(), 2);
        follow(&store, &index, &CancellationToken::new()).await.unwrap();
        assert_eq!(index.positions(), []);
        assert_eq!(index.stats().documents, 0);
    }
}
