//! Time and allocations of a part, and how figures are shown.
//!
//! Time is that of the processor, of all threads: a disk that is slow does not show, and neither does what else the machine
//! does, but for the caches that it takes away.

use std::time::Duration;

use anyhow::Result;
use counting::Asked;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::ALLOCATOR;
use crate::instructions;
use crate::part::Part;

/// What an item of a part costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) part: &'static str,
    pub(crate) item: &'static str,
    /// Items of a round.
    items: usize,
    /// Nanoseconds of processor time, in the median of the rounds.
    nanoseconds: f64,
    pub(crate) allocations: f64,
    pub(crate) allocated_bytes: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instructions: Option<f64>,
}

/// Measures a part: a cycle that does not count, a cycle whose allocations are counted, `rounds` whose time is taken.
pub(crate) fn measure(part: &Part, rounds: usize, counts_instructions: bool) -> Result<Figures> {
    let mut work = (part.prepare)(rounds + 2 * part.cycle)?;
    (0..part.cycle).try_for_each(|_| work.run())?;
    let (asked, outcome) = ALLOCATOR.during(|| (0..part.cycle).try_for_each(|_| work.run()));
    outcome?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = processor_time();
        work.run()?;
        times.push(processor_time().saturating_sub(begun));
    }
    let items = work.items;
    drop(work);
    let instructions = if counts_instructions { Some(instructions::each(part, items)?) } else { None };
    let Asked { allocations, bytes } = asked;
    let each = |count: u64| count as f64 / (items * part.cycle) as f64;
    Ok(Figures {
        part: part.name,
        item: part.item,
        items,
        nanoseconds: rounded(median(&mut times).as_nanos() as f64 / items as f64),
        allocations: rounded(each(allocations)),
        allocated_bytes: rounded(each(bytes)),
        instructions: instructions.map(rounded),
    })
}

impl Figures {
    /// The head of the table that [`Figures::print`] goes on with.
    pub(crate) fn print_head() {
        println!(
            "{:<36} {:<11} {:>10} {:>12} {:>10} {:>13}",
            "for each", "", "ns", "allocations", "bytes", "instructions"
        );
    }

    pub(crate) fn print(&self) {
        let instructions = self.instructions.map_or("-".to_owned(), |number| format!("{number:.0}"));
        println!(
            "{:<36} {:<11} {:>10.1} {:>12.4} {:>10.1} {instructions:>13}",
            self.part, self.item, self.nanoseconds, self.allocations, self.allocated_bytes
        );
    }
}

/// What this process had of the processor so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Four digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
