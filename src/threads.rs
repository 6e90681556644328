//! Which threads give way to which.
//!
//! The system shares a contended processor out by `nice(2)`: each step is a quarter more for those that have not taken it. On
//! Linux a thread begins with the priority of the one that starts it, and who has given way cannot come back without a
//! privilege. So the threads through which all telemetry passes one after the other (`store::ahead`) are started before others
//! give way; then come those that answer, prepare and read; and last what can wait.

use std::sync::OnceLock;

/// The priority that the process was started with, once [`begin`] was called.
static STARTED_WITH: OnceLock<i32> = OnceLock::new();
/// The last priority there is.
const LAST: i32 = 19;

/// Who is to give way to others, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// What answers, prepares and reads: everything but the threads that write the database.
    Usual,
    /// What can wait: what makes and merges search segments of what was added. A merge takes a processor for seconds.
    Last,
}

/// Has threads give way from now on: before it [`Rank::take`] does nothing, so whoever uses a part of the server alone has all
/// threads alike.
pub fn begin() {
    STARTED_WITH.get_or_init(|| priority().unwrap_or(0));
}

impl Rank {
    /// Steps of `nice(2)` from the priority that the process was started with.
    const fn steps(self) -> i32 {
        match self {
            Self::Usual => 10,
            Self::Last => 19,
        }
    }

    /// Has the calling thread give way, and all that it starts. Elsewhere than on Linux, where a priority is that of the whole
    /// process, nothing happens.
    pub fn take(self) {
        let Some(started_with) = STARTED_WITH.get() else { return };
        let wanted = (started_with + self.steps()).min(LAST);
        if priority().is_some_and(|priority| priority < wanted) {
            set_priority(wanted);
        }
    }
}

/// The calling thread's, where threads have their own.
#[cfg(target_os = "linux")]
fn priority() -> Option<i32> {
    rustix::process::getpriority_process(None).ok()
}

#[cfg(target_os = "linux")]
fn set_priority(priority: i32) {
    // Without it everything is right as well.
    let _refused = rustix::process::setpriority_process(None, priority);
}

#[cfg(not(target_os = "linux"))]
const fn priority() -> Option<i32> {
    None
}

#[cfg(not(target_os = "linux"))]
const fn set_priority(_: i32) {}
