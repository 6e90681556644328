//! What the parts may cost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::Figures;

/// A part that asks the allocator a few times a round may do so this much more often for an item.
const ALLOCATIONS_SLACK: f64 = 0.002;

/// What was measured of each part, and by how much it may grow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bounds {
    growth: Growth,
    parts: BTreeMap<String, Bound>,
}

/// Shares of what was measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Growth {
    allocations: f64,
    instructions: f64,
}

/// What an item of a part cost.
#[derive(Debug, Serialize, Deserialize)]
struct Bound {
    allocations: f64,
    instructions: f64,
    /// Where it varies from run to run by more than that of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    growth: Option<Growth>,
}

impl Bounds {
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
            let bound = Bound {
                allocations: figures.allocations,
                instructions: figures.instructions.unwrap_or_default().round(),
                growth: before.remove(figures.part).and_then(|bound| bound.growth),
            };
            bounds.parts.insert(figures.part.to_owned(), bound);
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
            let growth = bound.growth.unwrap_or(self.growth);
            let instructions = figures.instructions.unwrap_or_default();
            for (what, now, then, share, slack) in [
                (
                    "allocations",
                    figures.allocations,
                    bound.allocations,
                    growth.allocations,
                    ALLOCATIONS_SLACK,
                ),
                ("instructions", instructions, bound.instructions, growth.instructions, 0.0),
            ] {
                if now > then * (1.0 + share) + slack {
                    faults.push(format!(
                        "{}: {now} {what} for each {}, and {then} are written down, of which {} % more are permitted",
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

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/bench/parts/bounds.json"].iter().collect()
}
