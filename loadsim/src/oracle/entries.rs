//! A ledger, read again.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::book::BEGINNING;
use super::item::Item;
use crate::send::Signal;

/// What a ledger tells.
#[derive(Debug)]
pub struct Entries {
    /// The tenant that all was sent as; empty where the server chose it.
    pub tenant: String,
    /// The requests, as they were first sent.
    pub requests: Vec<Entry>,
}

/// One request.
#[derive(Debug)]
pub struct Entry {
    /// Which signal.
    pub signal: Signal,
    /// What was in it.
    pub items: Vec<Item>,
    /// How it ended; none where the ledger ends before.
    pub end: Option<End>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Acknowledged, but for so many of its items.
    Acknowledged {
        /// How often it was sent, the last time included.
        tries: u64,
        /// Items that the partial success named as rejected.
        rejected: u64,
    },
    /// Refused for good.
    Refused {
        /// How often it was sent.
        tries: u64,
    },
    /// Given up: refused for now or unanswered the last time.
    Unknown {
        /// How often it was sent.
        tries: u64,
    },
}

impl Entries {
    /// Reads a ledger; a line that a crash cut short is left out.
    ///
    /// # Errors
    /// When the file cannot be read or is no ledger.
    pub fn read(path: &Path) -> Result<Self> {
        let context = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(context)?;
        let Some(tenant) = text.lines().next().and_then(|line| line.strip_prefix(BEGINNING)) else {
            bail!(
                "{} is no ledger: its first line does not begin with `{}`",
                context(),
                BEGINNING.trim_end()
            );
        };
        let mut entries = Self { tenant: tenant.to_owned(), requests: Vec::new() };
        let mut places = HashMap::new();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (line, number) in whole.lines().zip(1..).skip(1) {
            entries.line(line, &mut places).with_context(|| format!("{}, line {number}", context()))?;
        }
        Ok(entries)
    }

    /// The items of acknowledged requests of a signal. Where some were rejected, the ledger cannot tell which, and all of
    /// them are left out.
    pub fn acknowledged(&self, signal: Signal) -> impl Iterator<Item = &Item> {
        let requests = self.requests.iter().filter(move |entry| {
            entry.signal == signal && matches!(entry.end, Some(End::Acknowledged { rejected: 0, .. }))
        });
        requests.flat_map(|entry| &entry.items)
    }

    fn line(&mut self, line: &str, places: &mut HashMap<u64, usize>) -> Result<()> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let number: u64 = words.next().context("no number")?.parse().context("no number")?;
        if kind == "sent" {
            let signal = words.next().and_then(Signal::from_name).context("no signal")?;
            let items = words.map(item).collect::<Result<_>>()?;
            places.insert(number, self.requests.len());
            self.requests.push(Entry { signal, items, end: None });
            return Ok(());
        }
        let counts: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().context("no count")?;
        let end = match (kind, counts.as_slice()) {
            ("acknowledged", &[tries, rejected]) => End::Acknowledged { tries, rejected },
            ("refused", &[tries]) => End::Refused { tries },
            ("unknown", &[tries]) => End::Unknown { tries },
            _ => bail!("`{kind}` is nothing that a ledger tells, or its counts are not"),
        };
        let place = places.get(&number).with_context(|| format!("request {number} was not sent"))?;
        self.requests[*place].end = Some(end);
        Ok(())
    }
}

fn item(word: &str) -> Result<Item> {
    let (id, digest) = word.split_once(':').with_context(|| format!("`{word}` is no item"))?;
    let digest = u128::from_str_radix(digest, 16).with_context(|| format!("`{word}` is no item"))?;
    Ok(Item { id: id.to_owned(), digest })
}
