//! Once a second: is everything as it should be?

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::rounds::Rounds;
use crate::clock::Clock;
use crate::fault::{self, chain};
use crate::graph::Graph;
use crate::journal::{Journal, Stats};
use crate::store::Store;
use crate::store::error::Error;
use crate::vitals::health::Health;

const INTERVAL: Duration = Duration::from_secs(1);
/// What nothing was heard of for so long is forgotten by the graph; the store has it.
const GRAPH_IDLE: Duration = Duration::from_secs(3 * 3600);
/// How often the database is asked whether this server may still write: one that lost the lead while nothing came must
/// not go on saying that it is ready.
const CHECK_SECONDS: u64 = 5;
/// How long a round waits for that, which takes a moment as a rule.
const CHECK_WAIT: Duration = Duration::from_secs(1);
/// A sync that takes longer than this is worth a warning.
const SYNC_MAX: Duration = Duration::from_secs(10);

/// What is watched, and where it is reported.
pub struct Watched {
    /// The acknowledgement point.
    pub journal: Journal,
    /// Bytes that the journal may take.
    pub journal_bytes_max: u64,
    /// What must be writable.
    pub store: Store,
    /// What is forgotten when it is idle.
    pub graph: Graph,
    /// The wall time.
    pub clock: Clock,
    /// Where checks go.
    pub health: Health,
}

/// Starts watching; ends when `stop` is cancelled.
pub fn start(watched: Watched, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut rounds = Rounds::new("watch", watched.health.clone());
        let mut check = Check::default();
        for passed in 0_u64.. {
            rounds.work(watched.look(passed, &mut check)).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rounds.pause(INTERVAL)) => {}
            }
        }
    })
}

impl Watched {
    /// Looks, as it does after so many seconds.
    async fn look(&self, passed: u64, check: &mut Check) {
        fault::point("upkeep.watched");
        let (ok, detail) = judge(&self.journal.stats(), self.journal_bytes_max);
        self.health.set("journal", ok, detail);
        if passed.is_multiple_of(CHECK_SECONDS) {
            check.begin(&self.store);
        }
        if let Some(checked) = check.ended().await {
            let (ok, detail) =
                checked.map_or_else(|error| (false, chain(&error)), |()| (true, String::new()));
            self.health.set("database", ok, detail);
        }
        if passed.is_multiple_of(60) {
            self.graph.evict_idle(self.clock.now().minus(GRAPH_IDLE));
        }
    }
}

/// A look at the database: it waits for the commit under way, and for a server that does not answer, so it goes on beside
/// the rounds.
#[derive(Default)]
struct Check(Option<AbortOnDropHandle<Result<(), Error>>>);

impl Check {
    /// Begins, unless one is under way.
    fn begin(&mut self, store: &Store) {
        let store = store.clone();
        self.0
            .get_or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(async move { store.check().await })));
    }

    /// What was found, once; nothing while it is under way.
    async fn ended(&mut self) -> Option<Result<(), Error>> {
        let ended = tokio::time::timeout(CHECK_WAIT, self.0.as_mut()?).await.ok()?;
        self.0 = None;
        Some(ended.unwrap_or_else(|error| Err(Error::Lost(error))))
    }
}

fn judge(stats: &Stats, bytes_max: u64) -> (bool, String) {
    if let Some(why) = &stats.poisoned {
        return (false, format!("failed and refuses new data: {why}"));
    }
    if stats.short {
        return (false, "the volume is nearly full: nothing more is taken until there is room".to_owned());
    }
    if stats.bytes > bytes_max / 10 * 9 {
        return (false, format!("{} of {bytes_max} bytes are used: the store does not keep up", stats.bytes));
    }
    match stats.sync_running {
        Some(running) if running > SYNC_MAX => {
            (false, format!("a sync takes {} s already", running.as_secs()))
        }
        _ => (true, loss(stats)),
    }
}

/// What was lost before this server started; it is no reason to refuse what comes now.
fn loss(stats: &Stats) -> String {
    let mut told = Vec::new();
    if stats.damaged_bytes > 0 {
        told.push(format!("{} bytes were damaged when this server started", stats.damaged_bytes));
    }
    if stats.missing > 0 {
        told.push(format!("{} acknowledged requests are neither here nor in the database", stats.missing));
    }
    told.join("; ")
}
