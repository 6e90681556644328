//! Progress of long work: one line that changes on a terminal, a log line every ten seconds otherwise.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::info;

use crate::transfer::progress::{Progress, Reading, Unit};

/// How often the line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(500);
/// How often the log hears of it.
const LOG: Duration = Duration::from_secs(10);

/// Shows progress until it is dropped.
pub(super) struct Shown {
    task: JoinHandle<()>,
    is_terminal: bool,
}

/// Begins to show `progress` on standard error.
pub(super) fn show(progress: Progress) -> Shown {
    let is_terminal = std::io::stderr().is_terminal();
    let task = tokio::spawn(async move {
        let mut last = (progress.read(), Instant::now());
        loop {
            tokio::time::sleep(if is_terminal { REDRAW } else { LOG }).await;
            let now = progress.read();
            let rate = if now.step == last.0.step {
                now.done.saturating_sub(last.0.done) as f64 / last.1.elapsed().as_secs_f64()
            } else {
                0.0
            };
            last = (now, Instant::now());
            if is_terminal {
                // Erases what a longer line left behind.
                let _ = write!(std::io::stderr(), "\r\x1b[K{}", line(now, rate));
            } else if !now.step.is_empty() {
                info!(
                    done = now.done,
                    total = now.total,
                    rate = rate as u64,
                    unit = unit(now.unit),
                    "{}",
                    now.step
                );
            }
        }
    });
    Shown { task, is_terminal }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.task.abort();
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(reading: Reading, rate: f64) -> String {
    let Reading { step, unit, done, total } = reading;
    let amount = |number: f64| match unit {
        Unit::Bytes => format!("{:.1} MiB", number / f64::from(1 << 20)),
        Unit::Items => format!("{number:.0}"),
    };
    let share = if total > 0 { format!(" of {}", amount(total as f64)) } else { String::new() };
    format!("{step}: {}{share}, {}/s", amount(done as f64), amount(rate))
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "bytes",
        Unit::Items => "items",
    }
}
