//! Instructions, as valgrind counts them.
//!
//! This program runs itself under valgrind twice, for one and for two cycles of a part, with everything made ready for two
//! in either case. What lies between the counts is one cycle, without the start, the sample and the end. That many
//! threads take part does not matter, and neither does what else the machine does.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::part::Part;

const MISSING: &str = "valgrind is missing; install it with `apt-get install valgrind`";

/// Fails where there is no valgrind, and tells how to get it.
pub(crate) fn look_for_valgrind() -> Result<()> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!("valgrind fails: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(MISSING),
        Err(error) => Err(error).context("valgrind"),
    }
}

/// Instructions of an item of a part whose rounds have so many.
pub(crate) fn each(part: &Part, items: usize) -> Result<f64> {
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| counted(part, 1));
        let two = counted(part, 2);
        (one.join(), two)
    });
    let one = one.map_err(|_| anyhow!("a run under valgrind ended in a panic"))??;
    let cycle = two?.checked_sub(one).context("two cycles take fewer instructions than one")?;
    Ok(cycle as f64 / (items * part.cycle) as f64)
}

/// What valgrind runs: a cycle that is in both counts, then so many.
pub(crate) fn play(part: &Part, cycles: usize) -> Result<()> {
    let mut work = (part.prepare)(3 * part.cycle)?;
    (0..(1 + cycles) * part.cycle).try_for_each(|_| work.run())
}

/// Instructions of a whole run.
fn counted(part: &Part, cycles: usize) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--branch-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--play", part.name, &cycles.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the run under valgrind failed: {told}");
    let line = told.lines().find_map(|line| line.split_once("I   refs:").or(line.split_once("I refs:")));
    let (_, count) = line.with_context(|| format!("valgrind told no instructions: {told}"))?;
    Ok(count.trim().replace(',', "").parse()?)
}
