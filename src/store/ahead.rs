//! The threads that go ahead of others: the one that hands a commit's statements over, and SQLite's, which works on them.
//!
//! All telemetry passes through the two, one statement after the other. While one of them waits for a processor, nothing
//! else can do its work; everybody else has others like it. So they are to have a processor whenever they can use one. On
//! Linux a thread begins with the priority of the one that starts it, and who has given way cannot come back. Hence a runtime
//! of one thread, which is started before others give way: commits run on it, and on it SQLite's thread is started.

use std::io;
use std::sync::OnceLock;
use std::thread;

use tokio::runtime::{Builder, Handle};

use crate::threads::Rank;

static AHEAD: OnceLock<Option<Handle>> = OnceLock::new();

/// Starts the thread, with the priority of the caller's. Those to which it hands what takes long give way. Where one runs
/// already, nothing happens.
///
/// # Errors
/// When the system has no thread left.
pub(super) fn start() -> io::Result<()> {
    if AHEAD.get().is_some_and(Option::is_some) {
        return Ok(());
    }
    let handle = run()?;
    // Where two start at once the second waits for nothing.
    let _ = AHEAD.set(Some(handle));
    Ok(())
}

/// Where what goes ahead is to run: wherever the caller does, if no thread could be had.
pub(super) fn handle() -> Handle {
    let ahead = AHEAD.get_or_init(|| {
        let started = run();
        started.inspect_err(|error| tracing::warn!(%error, "the database's writer goes ahead of nobody")).ok()
    });
    ahead.clone().unwrap_or_else(Handle::current)
}

fn run() -> io::Result<Handle> {
    let runtime =
        Builder::new_current_thread().enable_all().on_thread_start(|| Rank::Usual.take()).build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("ahead".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
