//! `otelcontext dlq`.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::decode::Limits;
use crate::letters::{Letters, Listed, Options};
use crate::transfer::deliver::Deliverer;
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
            for letter in &chosen {
                found.remove(&letter.name)?;
            }
            println!("{} dead letters removed", chosen.len());
            Ok(Ending::Good)
        }
        Arguments::Replay { which, server } => {
            let limits = Limits { attributes_max: config.intake.attributes_max, ..Limits::default() };
            let deliverer = Deliverer::new(server.door(&config)?, PATIENCE);
            let mut left = 0;
            for listed in which.of(&found)? {
                let name = listed.name;
                let outcome = match listed.letter {
                    Err(error) => Outcome::Stays(error.to_string()),
                    Ok(letter) => super::runtime()?.block_on(letters::send(letter, &deliverer, &limits))?,
                };
                match outcome {
                    Outcome::Taken { items } => {
                        found.remove(&name)?;
                        println!("{name}: {items} items accepted");
                    }
                    Outcome::Stays(reason) => {
                        left += 1;
                        println!("{name}: stays, {reason}");
                    }
                }
            }
            Ok(if left == 0 { Ending::Good } else { Ending::CheckFailed })
        }
    }
}

impl Which {
    fn of(&self, letters: &Letters) -> Result<Vec<Listed>> {
        let mut listed = letters.list()?;
        if self.all {
            return Ok(listed);
        }
        for name in &self.names {
            if !listed.iter().any(|letter| letter.name == *name) {
                bail!("there is no dead letter {name:?}; `otelcontext dlq list` names those that there are");
            }
        }
        listed.retain(|letter| self.names.contains(&letter.name));
        Ok(listed)
    }
}

fn list(letters: &Letters, as_json: bool) -> Result<Ending> {
    let listed = letters.list()?;
    if as_json {
        let each = listed.iter().map(|listed| match &listed.letter {
            Ok(letter) => json!({
                "name": listed.name,
                "bytes": listed.bytes,
                "tenant": letter.tenant.as_str(),
                "signal": letter.signal.name(),
                "items": letter.items,
                "received_unix_nano": letter.received.0,
                "reason": letter.reason,
            }),
            Err(error) => json!({ "name": listed.name, "bytes": listed.bytes, "error": error.to_string() }),
        });
        println!("{:#}", json!({ "letters": each.collect::<Vec<_>>() }));
        return Ok(Ending::Good);
    }
    for Listed { name, bytes, letter } in &listed {
        match letter {
            Ok(letter) => println!(
                "{name}  {}  {}  {} items, {bytes} bytes  {}",
                letter.tenant.as_str(),
                letter.signal.name(),
                letter.items,
                letter.reason
            ),
            Err(error) => println!("{name}  {bytes} bytes  {error}"),
        }
    }
    println!("{} dead letters", listed.len());
    Ok(Ending::Good)
}
