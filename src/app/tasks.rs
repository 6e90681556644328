//! Tasks that live as long as the server, by name: none of them ends in a panic unnoticed.

use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::fault::Panicked;

/// Some tasks.
#[derive(Default)]
pub(super) struct Tasks {
    ends: JoinSet<(&'static str, Result<(), JoinError>)>,
}

impl Tasks {
    /// Looks after `task` too.
    pub(super) fn add(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.ends.spawn(async move { (name, task.await) });
    }

    /// Waits until one of them panics; never ends while none does. One that ends well is done.
    pub(super) async fn panicked(&mut self) -> (&'static str, Panicked) {
        while let Some(ended) = self.ends.join_next().await {
            if let Ok((name, Err(error))) = ended
                && error.is_panic()
            {
                return (name, Panicked::of(&*error.into_panic()));
            }
        }
        std::future::pending().await
    }

    /// Waits until all have ended, at most until `deadline`.
    pub(super) async fn ended(mut self, deadline: Instant) {
        let all = async { while self.ends.join_next().await.is_some() {} };
        // What does not end in time ends with the runtime.
        let _ = tokio::time::timeout_at(deadline, all).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_with_its_task_and_a_good_end_is_not() {
        let mut tasks = Tasks::default();
        tasks.add("short", tokio::spawn(async {}));
        tasks.add("sick", tokio::spawn(async { panic!("a defect") }));
        tasks.add("long", tokio::spawn(std::future::pending()));
        let (name, panicked) = tasks.panicked().await;
        assert_eq!(name, "sick");
        assert!(panicked.to_string().ends_with(": a defect"), "{panicked}");
    }
}
