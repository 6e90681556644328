//! `otelcontext check-config`.

use anyhow::Result;
use serde_json::json;

use super::Ending;

/// Prints every mistake at once and what else a start would fail on, or the effective configuration with the origin of each
/// value.
pub(super) fn run(as_json: bool) -> Result<Ending> {
    let outcome = super::of_server(&super::environment());
    if as_json {
        let value = match &outcome {
            Ok(loaded) => json!({
                "ok": true,
                "warnings": loaded.warnings,
                "variables": loaded.effective.iter().map(|(name, value, origin)| {
                    json!({"name": name, "value": value, "origin": origin.name()})
                }).collect::<Vec<_>>(),
            }),
            Err(mistakes) => json!({"ok": false, "mistakes": mistakes}),
        };
        println!("{value:#}");
        return Ok(if outcome.is_ok() { Ending::Good } else { Ending::CheckFailed });
    }
    match outcome {
        Ok(loaded) => {
            for (name, value, origin) in &loaded.effective {
                println!("{name}={value}  # {}", origin.name());
            }
            loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            Ok(Ending::Good)
        }
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            Ok(Ending::CheckFailed)
        }
    }
}
