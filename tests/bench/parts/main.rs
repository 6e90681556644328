//! Measures the parts of the way from the socket to the disk, each by itself.
//!
//!     cargo bench --profile parts --bench parts
//!     cargo bench --profile parts --bench parts -- --only decode --rounds 100
//!     cargo bench --profile parts --bench parts -- --instructions --json parts.json
//!     cargo bench --profile parts --bench parts -- --check
//!
//! Prints for an item of each part: the processor time in the median of some rounds, how often the allocator is asked and
//! for how many bytes, and with `--instructions` how many instructions valgrind counts. What a round makes is given up
//! within it. `--check` compares allocations and instructions with `tests/bench/parts/bounds.json` and fails where a part
//! costs more than is permitted; `--keep` writes the file anew. Times are printed and judged by nobody.

mod apply;
#[path = "../arrival.rs"]
mod arrival;
mod bounds;
mod decode;
mod details;
mod instructions;
mod journal;
mod lines;
#[path = "../log_lines.rs"]
mod log_lines;
mod measure;
mod part;
mod rules;
mod sample;
mod server;
mod spans;
mod store;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use counting::Counting;
use mimalloc::MiMalloc;

use self::bounds::Bounds;
use self::measure::Figures;
use self::part::Part;

/// That of the server, counted.
#[global_allocator]
static ALLOCATOR: Counting<MiMalloc> = Counting::new(MiMalloc);

/// All parts, in the order of the way.
const TOPICS: [&[Part]; 8] = [
    decode::PARTS,
    rules::PARTS,
    journal::PARTS,
    lines::PARTS,
    spans::PARTS,
    apply::PARTS,
    details::PARTS,
    store::PARTS,
];

/// Measures the parts of the way from the socket to the disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// Parts whose names hold this.
    #[arg(long, default_value = "")]
    only: String,
    /// Rounds whose time is taken, of each part.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Count instructions too, with valgrind.
    #[arg(long)]
    instructions: bool,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Fail where a part costs more than is written down; implies `--instructions`.
    #[arg(long, conflicts_with_all = ["keep", "rounds"])]
    check: bool,
    /// Write down what the parts cost; implies `--instructions`.
    #[arg(long, conflicts_with = "only")]
    keep: bool,
    /// Runs one part for so many cycles and prints nothing: what valgrind counts.
    #[arg(long, hide = true, num_args = 2, value_names = ["PART", "CYCLES"])]
    play: Vec<String>,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    ensure!(!cfg!(debug_assertions), "a build without optimisation tells nothing: use `cargo bench`");
    let arguments = Arguments::parse();
    let parts = || TOPICS.into_iter().flatten();
    if let [name, cycles] = &arguments.play[..] {
        let part = parts().find(|part| part.name == name).context("there is no such part")?;
        return instructions::play(part, cycles.parse()?);
    }
    let counts_instructions = arguments.instructions || arguments.check || arguments.keep;
    if counts_instructions {
        instructions::look_for_valgrind()?;
    }
    if arguments.check || arguments.keep {
        Bounds::look_at_profile()?;
    }
    // A check judges no times.
    let rounds = if arguments.check { 1 } else { arguments.rounds.max(1) };
    let mut all = Vec::new();
    Figures::print_head();
    for part in parts().filter(|part| part.name.contains(&arguments.only)) {
        let figures = measure::measure(part, rounds, counts_instructions);
        let figures = figures.with_context(|| format!("`{}`", part.name))?;
        figures.print();
        all.push(figures);
    }
    ensure!(!all.is_empty(), "no part has `{}` in its name", arguments.only);
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    if arguments.keep {
        return Bounds::keep(&all);
    }
    if arguments.check {
        let faults = Bounds::read()?.faults(&all, arguments.only.is_empty());
        if !faults.is_empty() {
            bail!("{}", faults.join("\n"));
        }
        println!("all {} parts are within their bounds", all.len());
    }
    Ok(())
}
