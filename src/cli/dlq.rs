//! `otelcontext dlq`.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::decode::Limits;
use crate::letters::{Error, Letters, Options};
use crate::transfer::deliver::{Deliverer, Door};
use crate::transfer::letters::{self, Outcome};
use crate::vitals::log;

use super::Ending;
use super::door::Server;

/// How long one letter is tried while the server is away or at a limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Show them, oldest first.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send them to a running server, and remove those that it took.
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        server: Server,
    },
    /// Remove them for good.
    Purge {
        #[command(flatten)]
        which: Which,
    },
}

/// Some letters.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Their names, as `list` shows them.
    names: Vec<String>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

/// Works on the letters of DLQ_PATH, also while a server runs.
pub(super) fn run(arguments: &Arguments) -> Result<Ending> {
    let config = match super::loaded(&super::environment()) {
        Ok(loaded) => loaded.config,
        Err(ending) => return Ok(ending),
    };
    log::start(log::Options { level: config.log_level });
    let found = Letters::open(Options {
        folder: config.letters.folder.clone(),
        letters_max: 0,
        bytes_max: 0,
        drops_oldest: false,
    })?;
    match arguments {
        Arguments::List { json } => list(&found, *json),
        Arguments::Purge { which } => {
            let chosen = which.of(&found)?;
            for name in &chosen {
                found.remove(name)?;
            }
            println!("{} dead letters removed", chosen.len());
            Ok(Ending::Good)
        }
        Arguments::Replay { which, server } => {
            let deliverer = Deliverer::new(server.door(&config)?, PATIENCE);
            super::runtime()?.block_on(replay(&found, which.of(&found)?, &deliverer))
        }
    }
}

async fn replay(found: &Letters, names: Vec<String>, deliverer: &Deliverer<impl Door>) -> Result<Ending> {
    let mut left = 0;
    for name in names {
        let outcome = match found.read(&name) {
            Err(error) => Outcome::Stays(error.to_string()),
            Ok(letter) => letters::send(letter, deliverer, &Limits::default()).await?,
        };
        match outcome {
            Outcome::Taken { items } => {
                found.remove(&name)?;
                println!("{name}: {items} items accepted");
            }
            Outcome::Stays(reason) => {
                left += 1;
                println!("{name}: stays, {}", reason.escape_debug());
            }
        }
    }
    Ok(if left == 0 { Ending::Good } else { Ending::CheckFailed })
}

impl Which {
    fn of(&self, letters: &Letters) -> Result<Vec<String>> {
        let mut names: Vec<String> = letters.list()?.into_iter().map(|(name, _)| name).collect();
        if self.all {
            return Ok(names);
        }
        if let Some(name) = self.names.iter().find(|name| !names.contains(name)) {
            return Err(Error::Unknown { name: name.clone() }.into());
        }
        names.retain(|name| self.names.contains(name));
        Ok(names)
    }
}

fn list(letters: &Letters, as_json: bool) -> Result<Ending> {
    let listed = letters.list()?;
    let mut shown = Vec::new();
    for (name, bytes) in &listed {
        // One at a time: each may be as large as a request.
        match (letters.read(name), as_json) {
            (Ok(letter), true) => shown.push(json!({
                "name": name,
                "bytes": bytes,
                "tenant": letter.tenant.as_str(),
                "signal": letter.signal.name(),
                "items": letter.items,
                "received_unix_nano": letter.received.0,
                "reason": letter.reason,
            })),
            (Err(error), true) => {
                shown.push(json!({ "name": name, "bytes": bytes, "error": error.to_string() }))
            }
            (Ok(letter), false) => println!(
                "{name}  {}  {}  {} items, {bytes} bytes  {}",
                letter.tenant.as_str(),
                letter.signal.name(),
                letter.items,
                letter.reason.escape_debug()
            ),
            (Err(error), false) => println!("{name}  {bytes} bytes  {error}"),
        }
    }
    match as_json {
        true => println!("{:#}", json!({ "letters": shown })),
        false => println!("{} dead letters", listed.len()),
    }
    Ok(Ending::Good)
}
