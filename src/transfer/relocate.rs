//! A move: everything that a stopped server keeps in a SQLite file, into an empty database.
//!
//! The lock of the journal is held throughout, so no server writes meanwhile. The journal itself stays where it is: the
//! position that moves along tells the next start what to replay of it.

use super::backup::{JOURNAL, Source, blocking};
use super::error::Error;
use super::progress::{Progress, Unit};
use super::unfinished;
use crate::journal;
use crate::store::Store;
use crate::store::options::Options;
use crate::store::relocate::{Moved, Step};

/// Moves what `source` holds into the database of `to`, which has no rows. Only reads the source.
///
/// # Errors
/// When a server runs on the source, a restore into it was not finished, or [`Store::relocate`] errs. Nothing was moved
/// then.
pub async fn run(source: &Source, to: &Options, progress: &Progress) -> Result<Moved, Error> {
    let Source { data_dir, database } = source.clone();
    let _claim = blocking(move || {
        unfinished::check(&data_dir)?;
        journal::claim(&data_dir.join(JOURNAL)).map_err(|source| Error::Running { path: data_dir, source })
    })
    .await?;
    Store::relocate(&database, to, &|step| show(progress, step)).await.map_err(Error::Relocate)
}

fn show(progress: &Progress, step: Step) {
    match step {
        Step::Counting => progress.begin("counting the rows", Unit::Items, 0),
        Step::Copying(rows) => progress.begin("copying the rows", Unit::Items, rows),
        Step::Verifying(rows) => progress.begin("counting the copies", Unit::Items, rows),
        Step::Done(rows) => progress.add(rows),
    }
}
