//! The operator of the simulation: sends dead letters again, as `otelcontext dlq replay` does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{self, Ledger};
use super::database::{Database, Event};
use crate::decode::Encoding;
use crate::journal::tests::power::Dice;
use crate::letters::{Letter, Letters};
use crate::model::batch::Signal;
use crate::pipeline::queue::Source;
use crate::pipeline::{Error, Handle};
use crate::vitals::health::Health;

/// What the operator works with.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) handle: Handle,
    pub(super) health: Health,
    pub(super) letters: Letters,
    pub(super) database: Database,
    pub(super) ledger: Ledger,
    /// Items of a request that the server takes.
    pub(super) items_max: u64,
    /// Letters that were read. In one life of a server none is written anew once its journal was replayed.
    pub(super) read: Arc<Mutex<BTreeMap<String, Letter>>>,
}

impl Operator {
    /// Sends letters again until it is dropped.
    pub(super) async fn work(self, mut dice: Dice) {
        let most = [20, 2_000][dice.below(2) as usize];
        loop {
            tokio::time::sleep(Duration::from_millis(dice.below(most) + 1)).await;
            // Before that a letter may give way to its request in the journal.
            if !replayed(&self.health) {
                continue;
            }
            let promised = self.database.tables().promised();
            let letters = self.waiting(promised);
            let newest = letters.iter().max_by_key(|(_, letter)| letter.lsn);
            let chosen = if dice.chance(50) { newest } else { letters.get(dice.below(50) as usize) };
            let Some((name, letter)) = chosen else { continue };
            // The queue may be full for a while.
            for _ in 0..50 {
                if self.send(name, letter).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(dice.below(10) + 1)).await;
            }
        }
    }

    /// Sends all letters again, and whatever became one again, until there are none to be sent, in a world where power stays.
    /// False where there are some for ever.
    pub(super) async fn finish(self) -> bool {
        for _ in 0..1_000 {
            for (name, letter) in self.waiting(self.database.position()) {
                self.send(&name, &letter).await;
            }
            if self.letters.list().unwrap().iter().all(|(name, _)| self.is_given_up(&self.read(name))) {
                return true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        false
    }

    /// Letters that may be sent, and would be taken. Spans are recognised when they come twice. Log records and points are
    /// not: they are sent once, and only when the request that they came from does not come back, which is `safe`.
    fn waiting(&self, safe: u64) -> Vec<(String, Letter)> {
        let letters = self.letters.list().unwrap().into_iter().map(|(name, _)| (self.read(&name), name));
        let letters = letters.filter(|(letter, _)| numbers(letter).len() as u64 <= self.items_max);
        let letters = letters.filter(|(letter, _)| {
            letter.signal == Signal::Traces || letter.lsn <= safe && !self.is_given_up(letter)
        });
        letters.map(|(letter, name)| (name, letter)).collect()
    }

    fn read(&self, name: &str) -> Letter {
        let mut read = self.read.lock().unwrap();
        let letter = read.entry(name.to_owned()).or_insert_with(|| self.letters.read(name).unwrap());
        letter.clone()
    }

    /// Whether it was sent and nobody knows what became of it.
    fn is_given_up(&self, letter: &Letter) -> bool {
        let ledger = self.ledger.lock().unwrap();
        numbers(letter).iter().all(|number| ledger.again.contains(number))
    }

    /// Sends a letter. False where it was refused, and will be taken later.
    async fn send(&self, name: &str, letter: &Letter) -> bool {
        let source = source(letter);
        let batch = client::decoded(letter.signal, &source);
        let numbers = client::numbers(&batch);
        self.ledger.lock().unwrap().again.extend(numbers.iter().copied());
        let outcome = client::submit(&self.handle, &self.ledger, source, batch).await;
        if matches!(outcome, Err(Error::Journal(_) | Error::Unanswered { .. })) {
            return true;
        }
        self.ledger.lock().unwrap().again.retain(|number| !numbers.contains(number));
        if outcome.is_err() {
            return false;
        }
        let _ = self.letters.remove(name);
        let mut tables = self.database.tables();
        if tables.position() < letter.lsn {
            tables.note(Event::SentAgainEarly);
        }
        if tables.is_mended() && letter.signal == Signal::Traces {
            tables.note(Event::SentAgainMended);
        }
        true
    }
}

/// Whether a server has read its journal.
pub(super) fn replayed(health: &Health) -> bool {
    health.report().checks.get("replay").is_some_and(|check| check.ok)
}

fn source(letter: &Letter) -> Source {
    let encoding = Encoding::from_number(letter.encoding).unwrap();
    Source { encoding, received: letter.received, body: letter.body.clone() }
}

/// The numbers of the items of a letter.
pub(super) fn numbers(letter: &Letter) -> Vec<u64> {
    client::numbers(&client::decoded(letter.signal, &source(letter)))
}
