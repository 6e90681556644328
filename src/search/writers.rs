//! The live writers: one for each of the days that lines were added to last, [`WRITERS_MAX`] at most.
//!
//! A writer is two threads and tens of megabytes. Lines come for today and, while an older day is built anew
//! or records arrive late, for one day more; a third day takes the place of the one that waited longest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tantivy::IndexWriter;
use tantivy::indexer::UserOperation;

use super::day::Day;
use super::error::Error;
use super::line::Line;

/// Writers that may be live.
const WRITERS_MAX: usize = 2;
/// A writer that took nothing for so long is closed. Its merges are done by then.
const IDLE: Duration = Duration::from_secs(600);

/// The live writers, the one used last at the end.
pub(super) struct Writers {
    live: Vec<Writer>,
    writer_bytes: usize,
}

struct Writer {
    day: Arc<Day>,
    writer: IndexWriter<Line>,
    /// The highest row it took; what lies after the day's position is not committed.
    added: i64,
    used: Instant,
}

impl Writers {
    pub(super) const fn new(writer_bytes: usize) -> Self {
        Self { live: Vec::new(), writer_bytes }
    }

    /// The highest row that was added to `day`, committed or not.
    pub(super) fn added(&self, day: &Day) -> i64 {
        let live = self.live.iter().find(|live| live.day.number() == day.number());
        live.map_or_else(|| day.position(), |live| live.added)
    }

    /// Hands lines of one day to its writer; the last has the row `added`.
    ///
    /// After an error what was added to this day since its last commit has to be added again.
    pub(super) fn hand_over(
        &mut self,
        day: &Arc<Day>,
        lines: Vec<UserOperation<Line>>,
        added: i64,
    ) -> Result<(), Error> {
        let live = self.of(day)?;
        match live.writer.run(lines) {
            Ok(_) => {
                live.added = added;
                live.used = Instant::now();
                Ok(())
            }
            Err(source) => {
                self.give_up(day.number());
                Err(source.into())
            }
        }
    }

    /// Commits what every writer took. After an error the other days are committed nevertheless.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for number in self.live.iter().map(|live| live.day.number()).collect::<Vec<_>>() {
            outcome = self.commit_day(number).and(outcome);
        }
        outcome
    }

    /// Closes writers that took nothing for ten minutes.
    pub(super) fn close_idle(&mut self) {
        self.live.retain(|live| live.added != live.day.position() || live.used.elapsed() < IDLE);
    }

    /// Gives up the writer of a day, and with it everything since the last commit: part of it would otherwise
    /// be committed with a position that says all of it was.
    pub(super) fn give_up(&mut self, day: i32) {
        self.live.retain(|live| live.day.number() != day);
    }

    /// Gives up all writers.
    pub(super) fn give_up_all(&mut self) {
        self.live.clear();
    }

    /// True while a writer for `day` is live.
    #[cfg(test)]
    pub(super) fn is_live(&self, day: i32) -> bool {
        self.live.iter().any(|live| live.day.number() == day)
    }

    fn of(&mut self, day: &Arc<Day>) -> Result<&mut Writer, Error> {
        if let Some(at) = self.live.iter().position(|live| live.day.number() == day.number()) {
            self.live[at..].rotate_left(1);
        } else {
            if self.live.len() == WRITERS_MAX {
                let longest = self.live[0].day.number();
                self.commit_day(longest)?;
                self.give_up(longest);
            }
            let writer = day.writer(self.writer_bytes)?;
            let (day, added, used) = (Arc::clone(day), day.position(), Instant::now());
            self.live.push(Writer { day, writer, added, used });
        }
        Ok(self.live.last_mut().expect("a writer was put last"))
    }

    fn commit_day(&mut self, number: i32) -> Result<(), Error> {
        let Some(live) = self.live.iter_mut().find(|live| live.day.number() == number) else {
            return Ok(());
        };
        if live.added == live.day.position() {
            return Ok(());
        }
        live.day.commit(&mut live.writer, live.added).inspect_err(|_| self.give_up(number))
    }
}
