//! Lets so many questions in at once, gives each so much time, and drops those whose caller has left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fault::Fault;

/// The gate all questions pass.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    slots: Option<Arc<Semaphore>>,
    call_timeout: Option<Duration>,
}

impl Gate {
    /// A gate for so many questions at once and so much time for each; zero is no limit.
    pub(crate) fn new(concurrent_max: usize, call_timeout: Duration) -> Self {
        let slots = (0 < concurrent_max)
            .then(|| Arc::new(Semaphore::new(concurrent_max.min(Semaphore::MAX_PERMITS))));
        Self { slots, call_timeout: (!call_timeout.is_zero()).then_some(call_timeout) }
    }

    /// Runs `work` and returns its result. Past the limit it refuses at once with [`Fault::Overloaded`]; past
    /// its time it errs with [`Fault::TimedOut`]; a panic within is [`Fault::Internal`].
    ///
    /// Work runs in a task of its own and is dropped with this future, so a caller who leaves frees what it
    /// held. Its slot is free once the work has really stopped; what the work gave to another thread, where nothing
    /// waits, goes on there to its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let slot = match &self.slots {
            Some(slots) => Some(Arc::clone(slots).try_acquire_owned().map_err(|_| Fault::Overloaded)?),
            None => None,
        };
        // A set of one: dropping it aborts the task.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let result = work.await;
            drop(slot);
            result
        });
        let joined = match self.call_timeout {
            Some(timeout) => {
                tokio::time::timeout(timeout, task.join_next()).await.map_err(|_| Fault::TimedOut)?
            }
            None => task.join_next().await,
        };
        match joined {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(Fault::internal(format!("a question's task failed: {error}"))),
            None => Err(Fault::internal("a question's task is missing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::Gate;
    use crate::fault::Fault;

    #[tokio::test]
    async fn the_question_past_the_limit_is_refused_and_a_dropped_one_frees_its_slot() {
        let gate = Gate::new(1, Duration::ZERO);
        let started = Arc::new(Semaphore::new(0));
        let first = tokio::spawn({
            let (gate, started) = (gate.clone(), Arc::clone(&started));
            async move {
                gate.run(async move {
                    started.add_permits(1);
                    std::future::pending::<Result<(), Fault>>().await
                })
                .await
            }
        });
        started.acquire().await.unwrap().forget();
        assert_eq!(gate.run(async { Ok(()) }).await, Err(Fault::Overloaded));
        first.abort();
        while gate.run(async { Ok(()) }).await == Err(Fault::Overloaded) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn time_runs_out_and_panics_are_contained() {
        let gate = Gate::new(0, Duration::from_millis(1));
        assert_eq!(gate.run(std::future::pending::<Result<(), Fault>>()).await, Err(Fault::TimedOut));
        let gate = Gate::new(0, Duration::ZERO);
        let result: Result<(), Fault> = gate.run(async { panic!("a defect") }).await;
        assert!(matches!(result, Err(Fault::Internal { .. })), "{result:?}");
    }
}
