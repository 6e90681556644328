//! `otelcontext templates FILE`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::model::id::{ServiceId, TemplateId, TenantNumber};
use crate::model::time::UnixNanos;
use crate::templates::{Miner, Options};

use super::Ending;

/// Mines the lines of a file and prints each line's template, as it stands after the last line. Mines them `passes` times in
/// all, and tells how fast that was.
pub(super) fn run(file: &Path, passes: u32) -> Result<Ending> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let (tenant, service) = (TenantNumber(1), ServiceId(1));
    let mut miner = Miner::new(Options::default());
    let mut highest = 0;
    let mut next = || {
        highest += 1;
        TemplateId(highest)
    };
    let mut mine = |line| miner.mine(tenant, service, line, UnixNanos(0), &mut next).template;
    let began = Instant::now();
    let ids: Vec<TemplateId> = text.lines().map(&mut mine).collect();
    for _ in 1..passes {
        for line in text.lines() {
            mine(line);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if passes > 1 {
        let lines = ids.len() as f64 * f64::from(passes);
        eprintln!("{:.0} lines a second", lines / seconds);
    }
    let mut out = String::from("LineId,EventTemplate\n");
    for (line, id) in ids.iter().enumerate() {
        let template = miner.text(tenant, service, *id).unwrap_or_default();
        out.push_str(&format!("{},\"{}\"\n", line + 1, template.replace('"', "\"\"")));
    }
    print!("{out}");
    Ok(Ending::Good)
}
