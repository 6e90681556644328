//! The ledger on disk: a line for each request before it is sent, and one for how it ended.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use super::item::Item;
use crate::send::{Delivery, Outcome, Signal};

/// How the first line of a ledger begins; the tenant follows.
pub(super) const BEGINNING: &str = "loadsim ledger 1 ";

type Answer = oneshot::Sender<Result<(), String>>;

/// Writes a ledger; lines that come together are synced together.
#[derive(Debug)]
pub struct Book {
    lines: mpsc::Sender<(String, Answer)>,
    next: AtomicU64,
}

impl Book {
    /// A new ledger of what is sent as `tenant`, which is empty where the server chooses one.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub fn create(path: &Path, tenant: &str) -> Result<Self> {
        let context = || format!("cannot write the ledger {}", path.display());
        let mut file = File::create(path).with_context(context)?;
        writeln!(file, "{BEGINNING}{tenant}").and_then(|()| file.sync_all()).with_context(context)?;
        let (lines, waiting) = mpsc::channel();
        let path = path.to_owned();
        std::thread::Builder::new().name("ledger".into()).spawn(move || write(file, &path, &waiting))?;
        Ok(Self { lines, next: AtomicU64::new(1) })
    }

    /// Enters what is about to be sent; answers its number once that is on disk.
    ///
    /// # Errors
    /// When it cannot be written: then it must not be sent.
    pub async fn sent(&self, signal: Signal, items: &[Item]) -> Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line = format!("sent {number} {}", signal.name());
        for item in items {
            // Writing to a string does not fail.
            let _ = write!(line, " {}:{:032x}", item.id, item.digest);
        }
        self.enter(line).await?;
        Ok(number)
    }

    /// Enters how request `number` ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn ended(&self, number: u64, delivery: &Delivery) -> Result<()> {
        let tries = delivery.retries + 1;
        self.enter(match &delivery.outcome {
            Outcome::Acknowledged { rejected } => format!("acknowledged {number} {tries} {rejected}"),
            Outcome::Refused(_) => format!("refused {number} {tries}"),
            Outcome::GaveUp(_) => format!("unknown {number} {tries}"),
        })
        .await
    }

    async fn enter(&self, line: String) -> Result<()> {
        let (answer, written) = oneshot::channel();
        self.lines.send((line, answer)).map_err(|_| anyhow!("the ledger was closed after an error"))?;
        written
            .await
            .map_err(|_| anyhow!("the ledger was closed after an error"))?
            .map_err(anyhow::Error::msg)
    }
}

/// Writes what waits and syncs it, until nobody writes any more or the disk fails.
fn write(mut file: File, path: &Path, waiting: &mpsc::Receiver<(String, Answer)>) {
    while let Ok(first) = waiting.recv() {
        let mut answers = Vec::new();
        let mut text = String::new();
        for (line, answer) in std::iter::once(first).chain(waiting.try_iter()) {
            text.push_str(&line);
            text.push('\n');
            answers.push(answer);
        }
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        let result = written.map_err(|error| format!("cannot write the ledger {}: {error}", path.display()));
        let is_broken = result.is_err();
        for answer in answers {
            // Who asked may be gone.
            let _ = answer.send(result.clone());
        }
        if is_broken {
            return;
        }
    }
}
