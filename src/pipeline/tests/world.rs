//! A simulated world: a few lives of a server, each ended by a power cut, a kill or a stop, under clients that send and a
//! disk and a database that fail; then a last life without trouble.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::checks;
use super::client::{self, Habits, ITEMS_MAX, Ledger, Told};
use super::database::{Database, Event, Happened, Trouble};
use super::operator::{self, Operator};
use super::store::Store;
use crate::clock::Clock;
use crate::decode::Limits;
use crate::graph::Graph;
use crate::journal::tests::power::{self, Dice, PowerDisk, Turns};
use crate::journal::{self, Journal, Lsn, Sync};
use crate::letters::{self, Letters};
use crate::model::time::UnixNanos;
use crate::pipeline::{Handle, Options, Parts, start};
use crate::rules::Rules;
use crate::vitals::health::Health;

/// Whatever takes longer takes for ever.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What a world is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The disk fails, power goes, the database is slow or away.
    Machine,
    /// The database also refuses items, loses connections, and lets another server lead; memory is short.
    Database,
    /// Requests are acknowledged before they are on the device: a planted defect.
    AcknowledgedBeforeSync,
    /// Segments are removed before the database is on the device: a planted defect.
    RemovedBeforeBarrier,
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    PowerCut,
    Kill,
    Stop,
}

pub(super) struct World {
    kind: Kind,
    dice: Dice,
    /// Decides what happens in worlds of [`Kind::Database`] alone.
    fate: Dice,
    disk: PowerDisk,
    pub(super) database: Database,
    pub(super) ledger: Ledger,
    options: journal::Options,
    pub(super) letters: Letters,
    /// Items of a request that the next server takes.
    pub(super) items_max: u64,
    _folder: Option<TempDir>,
    /// What happened, to tell two runs apart.
    diary: String,
    /// What must never be, and was while a server ran.
    pub(super) broken: Vec<String>,
}

/// A server of the world.
pub(super) struct Server {
    pub(super) handle: Handle,
    pub(super) journal: Journal,
    pub(super) options: Options,
    pub(super) store: Store,
    pub(super) graph: Graph,
    pub(super) applier: JoinHandle<()>,
    pub(super) writer: JoinHandle<()>,
    pub(super) health: Health,
    /// Items of a request that it takes.
    pub(super) items_max: u64,
}

impl World {
    pub(super) fn new(seed: u64, kind: Kind) -> Self {
        let mut dice = Dice(seed);
        let (disk, database) = (PowerDisk::new(dice.word()), Database::new(dice.word()));
        match kind {
            Kind::Machine | Kind::Database => {}
            Kind::AcknowledgedBeforeSync => disk.lie(),
            Kind::RemovedBeforeBarrier => database.lie(),
        }
        let is_sound = matches!(kind, Kind::Machine | Kind::Database);
        // Buffered acknowledgements promise nothing about power.
        let sync = if is_sound && dice.chance(20) { Sync::Buffered } else { Sync::Durable };
        let segment_bytes = 4096 << dice.below(3);
        let options = journal::Options {
            directory: PathBuf::from("/journal"),
            segment_bytes,
            bytes_max: segment_bytes * (2 + dice.below(20)),
            pending_bytes_max: 1 << 20,
            free_bytes_min: 0,
            sync,
        };
        let mut fate = Dice(!seed);
        let mut folder = None;
        if kind == Kind::Database {
            database.refuse([0, 2, 10][fate.below(3) as usize]);
            folder = Some(memory());
        }
        let letters = letters::Options {
            folder: folder
                .as_ref()
                .map_or_else(|| "/nonexistent".into(), |folder| folder.path().join("letters")),
            letters_max: 0,
            bytes_max: 0,
            drops_oldest: false,
        };
        let letters = Letters::open(letters).unwrap();
        let (ledger, diary, broken) = (Ledger::default(), String::new(), Vec::new());
        let (items_max, _folder) = (ITEMS_MAX, folder);
        Self { kind, dice, fate, disk, database, ledger, options, letters, items_max, _folder, diary, broken }
    }

    /// Lives to its end. Answers what was done, what is wrong after it, and what happened.
    pub(super) async fn run(mut self) -> (String, Vec<String>, Happened) {
        for _ in 0..1 + self.dice.below(4) {
            self.live().await;
        }
        self.settle().await;
        let ledger = self.ledger.lock().unwrap();
        let accepted = ledger.items.values().filter(|(_, told)| *told == Told::Accepted).count();
        let sent = ledger.items.len();
        drop(ledger);
        let mut happened = std::mem::take(&mut self.database.tables().happened);
        let written = self.letters.stats().written;
        if written > 0 {
            happened.insert(Event::Buried, written);
        }
        let diary = format!("{}{sent} sent, {accepted} accepted, {happened:?}\n", self.diary);
        (diary, self.faults(), happened)
    }

    fn note(&mut self, what: &str) {
        self.diary.push_str(what);
        self.diary.push('\n');
    }

    /// Starts a server; none while the disk fails.
    pub(super) async fn start(&mut self) -> Option<Server> {
        let (server, turns) = self.open().await?;
        let writer = tokio::spawn(write(turns, Dice(self.dice.word())));
        Some(Server { writer, ..server })
    }

    /// As [`World::start`], with a device that hangs until the turns of the journal's writer are run.
    pub(super) async fn open(&mut self) -> Option<(Server, Turns)> {
        let store = Store::open(&self.database).await;
        let opened = power::open(&self.disk, &self.options, Lsn(self.database.position()));
        let (journal, replay, turns) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.note(&format!("did not start: {:?}", error.kind()));
                return None;
            }
        };
        let (health, graph) = (Health::default(), Graph::new());
        let items_max = self.items_max;
        let parts = Parts {
            journal: journal.clone(),
            replay,
            store: store.clone(),
            graph: graph.clone(),
            limits: Limits { items_max: items_max as usize, ..Limits::default() },
            rules: Rules::default(),
            letters: self.letters.clone(),
            clock: Clock::standing(UnixNanos(client::BEGIN)),
            health: health.clone(),
            committed: Arc::default(),
        };
        let mut options = Options {
            requests_max: 1 + self.dice.below(60) as usize,
            commit_items_max: 1 + self.dice.below(40) as usize,
            tenant_requests_max: None,
            ..Options::default()
        };
        if self.kind == Kind::Database && self.fate.chance(50) {
            options.bytes_max = 2_000 + self.fate.below(30_000) as usize;
        }
        let (handle, applier) = start(options.clone(), parts).await.unwrap();
        let writer = tokio::spawn(async {});
        Some((Server { handle, journal, options, store, graph, applier, writer, health, items_max }, turns))
    }

    /// One life of a server.
    async fn live(&mut self) {
        let is_buffered = self.options.sync == Sync::Buffered;
        let end = match self.dice.below(10) {
            0..6 if !is_buffered => End::PowerCut,
            0..8 => End::Kill,
            _ => End::Stop,
        };
        let trouble = [0, 0, 5, 30][self.dice.below(4) as usize];
        let left = (end == End::PowerCut && self.dice.chance(80)).then(|| 1 + self.dice.below(300));
        self.disk.plan(trouble, left);
        let mut of_database =
            Trouble { away: [0, 10, 60][self.dice.below(3) as usize], ..Trouble::default() };
        if self.kind == Kind::Database {
            // The search for what is refused asks often.
            of_database.away = of_database.away.min(30);
            of_database.lost = [0, 10, 30][self.fate.below(3) as usize];
            of_database.led = [0, 30, 70][self.fate.below(3) as usize];
            of_database.panics = [0, 5, 15][self.fate.below(3) as usize];
            // What was accepted under a wider limit is not decoded any more.
            self.items_max = if self.fate.chance(20) { ITEMS_MAX - 2 } else { ITEMS_MAX };
        }
        self.database.plan(of_database);
        self.note(&format!("{end:?}, trouble {trouble}, power for {left:?}"));
        if let Some(server) = self.start().await {
            self.serve(end, server).await;
        }
        if end == End::PowerCut {
            self.disk.cut();
            self.database.cut();
        }
        self.disk.plan(0, None);
        self.note(&format!("stored up to {}", self.database.position()));
    }

    async fn serve(&mut self, end: End, server: Server) {
        let mut habits = Habits { pause_max: 40, rest_max: 0, items_max: server.items_max };
        if self.kind == Kind::Database && self.fate.chance(50) {
            // The queue has room while something is stored, and is empty now and then.
            (habits.pause_max, habits.rest_max) = (400, 20_000);
        }
        let mut clients: Vec<_> = (0..1 + self.dice.below(4))
            .map(|_| {
                let (handle, ledger) = (server.handle.clone(), Arc::clone(&self.ledger));
                tokio::spawn(client::client(handle, ledger, habits, Dice(self.dice.word())))
            })
            .collect();
        let mut until = Instant::now() + Duration::from_millis(self.dice.below(12_000));
        let (mut mended_at, mut led_until) = (None, until);
        if self.kind == Kind::Database {
            clients.push(tokio::spawn(self.operator(&server).work(Dice(self.fate.word()))));
            if self.fate.chance(30) {
                until += Duration::from_secs(20);
            }
            let millis = Duration::from_millis(self.fate.below(20_000));
            // What comes of it shows when the other server leads no more.
            led_until = until + Duration::from_secs([0, 40][self.fate.below(2) as usize]);
            mended_at = self.fate.chance(30).then(|| Instant::now() + millis);
        }
        while Instant::now() < until && !self.disk.is_off() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let faults = server.faults(self.options.segment_bytes, self.database.tables().promised());
            self.broken.extend(faults);
            if mended_at.is_some_and(|at| at <= Instant::now()) {
                self.database.mend();
            }
            if server.store.is_led() {
                if server.applier.is_finished() {
                    self.database.tables().note(Event::GaveUp);
                    break;
                }
                until = until.max(led_until);
            }
        }
        if self.disk.is_off() {
            // Answers that were under way arrive.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        clients.iter().for_each(JoinHandle::abort);
        match end {
            End::Stop => self.stop(server).await,
            End::PowerCut | End::Kill => {
                self.kill(server).await;
                for client in clients {
                    let _ = client.await;
                }
            }
        }
    }

    /// Kills a server. Whoever was aborted is gone before the next life begins.
    pub(super) async fn kill(&mut self, server: Server) {
        server.applier.abort();
        server.writer.abort();
        let _ = (server.applier.await, server.writer.await);
        self.look_back((&server.store, &server.graph, &server.options), false);
    }

    /// Stops a server, which first stores what it accepted.
    pub(super) async fn stop(&mut self, mut server: Server) {
        server.handle.stop();
        if timeout(PATIENCE, &mut server.applier).await.is_err() {
            let checks = server.health.report().checks;
            self.broken.push(format!("the applier waits for ever: {checks:?}"));
            server.applier.abort();
        }
        server.journal.stop();
        let _ = server.writer.await;
        // Who was waiting for an answer hears it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let is_whole = !server.store.is_led() && operator::replayed(&server.health);
        self.look_back((&server.store, &server.graph, &server.options), is_whole);
        if is_whole {
            self.broken.extend(checks::accounts(&server.handle));
            if server.handle.tally().replayed_requests() == 0 {
                self.database.tables().note(Event::Accounted);
            }
        }
    }

    /// The last life: nothing fails, and everything is stored in the end.
    async fn settle(&mut self) {
        self.disk.plan(0, None);
        self.database.plan(Trouble::default());
        self.items_max = ITEMS_MAX;
        let server = self.start().await.expect("a healthy disk opens");
        let since = Instant::now();
        while !operator::replayed(&server.health) && since.elapsed() < PATIENCE {
            assert!(
                !server.applier.is_finished(),
                "the journal was not replayed: {:?}",
                server.health.report()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if self.kind == Kind::Database && self.fate.chance(50) {
            self.database.mend();
            if !self.operator(&server).finish().await {
                self.broken.push("letters are sent again for ever".to_owned());
            }
        }
        self.stop(server).await;
    }

    fn operator(&self, server: &Server) -> Operator {
        Operator {
            handle: server.handle.clone(),
            health: server.health.clone(),
            letters: self.letters.clone(),
            database: self.database.clone(),
            ledger: Arc::clone(&self.ledger),
            items_max: server.items_max,
            read: Arc::default(),
        }
    }
}

/// A folder on no device, where there is such a thing: a sync of a file takes no time.
fn memory() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap()
}

/// Runs the writer of the journal, as fast as its disk.
pub(super) async fn write(mut turns: Turns, mut dice: Dice) {
    loop {
        // Now and then the device hangs for longer than clients are kept waiting.
        let pause = if dice.below(2_000) == 0 { 10_000 } else { dice.below(8) + 1 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if !turns.turn(Instant::now().into_std()) {
            return;
        }
    }
}
