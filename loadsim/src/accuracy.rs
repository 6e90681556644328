//! Everything that is measured of how right answers are, as one document.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::incidents::evaluate;
use crate::planted::suite;
use crate::templates;

/// The document with places for the tables.
const TEMPLATE: &str = include_str!("accuracy.md");

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder of the data: `rca/dev` and `loghub/dev` in it.
    pub data: PathBuf,
    /// The server's program.
    pub program: PathBuf,
    /// At which seconds of a minute recorded incidents end.
    pub seconds: Vec<u8>,
    /// Systems for each kind of planted fault.
    pub runs: u64,
    /// Repeats the planted faults.
    pub seed: u64,
}

/// Measures and writes the document; `progress` is told each answer in a line.
///
/// # Errors
/// When data is missing, or the server does not start or refuses something.
pub async fn document(options: &Options, progress: impl Fn(&str)) -> Result<String> {
    let scores = templates::evaluate(&folder(&options.data, "loghub"), &options.program)?;
    let incidents = evaluate::Options {
        folder: folder(&options.data, "rca"),
        program: options.program.clone(),
        only: Vec::new(),
        seconds: options.seconds.clone(),
    };
    let recorded = evaluate::evaluate(&incidents, |answer| progress(&answer.to_string())).await?;
    let planted = suite::Options {
        program: options.program.clone(),
        runs: options.runs,
        seed: options.seed,
        only: Vec::new(),
    };
    let planted = suite::run(&planted, |outcome| progress(&outcome.to_string())).await?;
    Ok(TEMPLATE
        .replace("{{seconds}}", &options.seconds.len().to_string())
        .replace("{{seed}}", &options.seed.to_string())
        .replace("{{runs}}", &options.runs.to_string())
        .replace("{{recorded}}", recorded.document().trim_end())
        .replace("{{planted}}", planted.document().trim_end())
        .replace("{{templates}}", templates::document(&scores).trim_end()))
}

fn folder(data: &Path, kind: &str) -> PathBuf {
    data.join(kind).join("dev")
}
