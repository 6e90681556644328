//! What is measured.

use anyhow::{Context, Result};

/// One part of the way.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// What its figures are for each of.
    pub(crate) item: &'static str,
    /// Rounds after which it is where it was: tables have grown by then, and what is given up in turns was.
    pub(crate) cycle: usize,
    /// Makes everything that so many rounds need.
    pub(crate) prepare: fn(rounds: usize) -> Result<Work>,
}

/// A part that is ready to be run.
pub(crate) struct Work {
    /// Items of each round.
    pub(crate) items: usize,
    round: Box<dyn FnMut() -> Result<()>>,
}

impl Work {
    /// Rounds that are all alike.
    pub(crate) fn new(items: usize, round: impl FnMut() -> Result<()> + 'static) -> Self {
        Self { items, round: Box::new(round) }
    }

    /// Rounds that each use up one of `inputs`.
    pub(crate) fn with<T: 'static>(
        items: usize,
        inputs: Vec<T>,
        mut round: impl FnMut(T) -> Result<()> + 'static,
    ) -> Self {
        let mut inputs = inputs.into_iter();
        Self::new(items, move || round(inputs.next().context("more rounds than were prepared")?))
    }

    /// One round.
    pub(crate) fn run(&mut self) -> Result<()> {
        (self.round)()
    }
}
