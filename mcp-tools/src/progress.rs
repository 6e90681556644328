//! Word of a call that takes its time, for clients that asked to hear of it.

use std::pin::pin;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// After which time, and how often from then on, a client hears that its call is worked on.
const INTERVAL: Duration = Duration::from_secs(1);

/// Works; where the request carries a progress token, tells each second how many have passed. Nothing is told of a call that
/// is answered within the first, so that its answer is plain JSON; word of it makes the answer a stream. A client that
/// does not read holds up the words and not the work, and the answer comes after the last of them.
pub(crate) async fn told<A>(
    context: &RequestContext<RoleServer>,
    tool: &str,
    work: impl Future<Output = A>,
) -> A {
    let Some(token) = context.meta.get_progress_token() else { return work.await };
    let began = Instant::now();
    let mut ticks = interval_at(began + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = pin!(work);
    let mut seconds = 0;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return result,
            _ = ticks.tick() => {}
        }
        // Each word says more than the one before (Model Context Protocol, progress), however ticks fall.
        seconds = began.elapsed().as_secs().max(seconds + 1);
        let word = ProgressNotificationParam::new(token.clone(), seconds as f64)
            .with_message(format!("answering {tool}, {seconds} s so far"));
        let mut telling = pin!(context.peer.notify_progress(word));
        tokio::select! {
            result = &mut work => {
                tokio::select! {
                    _ = telling => {}
                    () = context.ct.cancelled() => {}
                }
                return result;
            }
            // It fails where the client has left, which ends the work too.
            _ = &mut telling => {}
        }
    }
}
