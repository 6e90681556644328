//! Which threads give way to which.
//!
//! The system shares a contended processor out by `nice(2)`: each step is a quarter more for those that have not taken it. On
//! Linux a thread begins with the priority of the one that starts it, and who has given way cannot come back without a
//! privilege. So the threads through which all telemetry passes one after the other (`store::ahead`) are started before others
//! give way; then come those that answer, prepare and read; and last what can wait for minutes.

/// Who is to give way to others, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// What answers, prepares and reads: everything but the threads that write the database.
    Usual,
    /// What can wait: merges of search segments, each of which takes a processor for seconds.
    Last,
}

impl Rank {
    /// Steps of `nice(2)`.
    #[cfg(target_os = "linux")]
    const fn steps(self) -> i32 {
        match self {
            Self::Usual => 10,
            Self::Last => 19,
        }
    }

    /// Has the calling thread give way, and all that it starts. Elsewhere than on Linux, where a priority is that of the whole
    /// process, nothing happens.
    pub fn take(self) {
        // Without it everything is right as well.
        #[cfg(target_os = "linux")]
        let _refused = rustix::process::setpriority_process(None, self.steps());
    }
}
