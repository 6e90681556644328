//! Our own log: structured records on standard error, JSON unless a person watches.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Least severe level that is written.
    pub level: tracing::Level,
}

/// Starts logging for the process. A second call changes nothing.
pub fn start(options: Options) {
    // That a caller of the agents' route was refused or left is counted, and no error of ours; ours are logged where they
    // are made.
    let others = "tantivy=warn,sqlx=warn,h2=warn,hyper=warn,rmcp=off";
    let filter = EnvFilter::new(format!("{},{others}", options.level));
    let registry = tracing_subscriber::registry().with(filter);
    let person = std::io::stderr().is_terminal();
    // An error only says that somebody (a test, an embedding program) started logging before.
    let _ = if person {
        registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false))
            .try_init()
    } else {
        registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init()
    };
}
