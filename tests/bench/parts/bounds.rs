//! What the parts may cost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::measure::Figures;

/// A part that asks the allocator a few times a round may do so this much more often for an item.
const ALLOCATIONS_SLACK: f64 = 0.002;

/// What was measured of each part, and by how much it may grow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bounds {
    growth: Costs,
    parts: BTreeMap<String, Bound>,
}

/// What an item of a part cost, or by which share of that it may grow.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Costs {
    allocations: f64,
    allocated_bytes: f64,
    instructions: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bound {
    #[serde(flatten)]
    costs: Costs,
    /// Where it varies from run to run by more than that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    growth: Option<Costs>,
}

impl Bounds {
    /// Fails where this program was built by another profile than those were whose bounds are written down: cargo puts it
    /// into a folder of that name.
    pub(crate) fn look_at_profile() -> Result<()> {
        let program = std::env::current_exe()?;
        let is_of_profile = program.ancestors().any(|folder| folder.ends_with("parts/deps"));
        ensure!(is_of_profile, "bounds hold for a build by `cargo bench --profile parts --bench parts`");
        Ok(())
    }

    pub(crate) fn read() -> Result<Self> {
        let path = path();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes down what was measured. What is permitted stays.
    pub(crate) fn keep(all: &[Figures]) -> Result<()> {
        let mut bounds = Self::read()?;
        let mut before = std::mem::take(&mut bounds.parts);
        for figures in all {
            let growth = before.remove(figures.part).and_then(|bound| bound.growth);
            bounds.parts.insert(figures.part.to_owned(), Bound { costs: Costs::of(figures), growth });
        }
        let path = path();
        std::fs::write(&path, serde_json::to_string_pretty(&bounds)? + "\n")
            .with_context(|| path.display().to_string())?;
        println!("written down in {}", path.display());
        Ok(())
    }

    /// What costs more than is permitted, and where nothing is written down; with all parts also bounds of none.
    pub(crate) fn faults(&self, measured: &[Figures], are_all: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for figures in measured {
            let Some(bound) = self.parts.get(figures.part) else {
                faults.push(format!("{}: nothing is written down; `--keep` does", figures.part));
                continue;
            };
            let (now, then) = (Costs::of(figures), bound.costs);
            let growth = bound.growth.unwrap_or(self.growth);
            for (what, now, then, share, slack) in [
                ("allocations", now.allocations, then.allocations, growth.allocations, ALLOCATIONS_SLACK),
                ("bytes", now.allocated_bytes, then.allocated_bytes, growth.allocated_bytes, 0.0),
                ("instructions", now.instructions, then.instructions, growth.instructions, 0.0),
            ] {
                if now > then * (1.0 + share) + slack {
                    faults.push(format!(
                        "{}: {now} {what} for each {}; {then} are written down, and {} % more are permitted",
                        figures.part,
                        figures.item,
                        share * 100.0
                    ));
                }
            }
        }
        let is_measured = |part: &str| measured.iter().any(|figures| figures.part == part);
        let strangers = self.parts.keys().filter(|part| are_all && !is_measured(part));
        faults.extend(strangers.map(|part| format!("{part}: there is no such part")));
        faults
    }
}

impl Costs {
    fn of(figures: &Figures) -> Self {
        Self {
            allocations: figures.allocations,
            allocated_bytes: figures.allocated_bytes.round(),
            instructions: figures.instructions.unwrap_or_default().round(),
        }
    }
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/bench/parts/bounds.json"].iter().collect()
}
