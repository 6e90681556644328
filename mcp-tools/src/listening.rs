//! The one resource that changes by itself, and how those who listen hear of it.

use std::time::Duration;

use rmcp::model::{ErrorCode, ErrorData, SubscriptionFilter};
use rmcp::service::SubscriptionContext;
use serde_json::json;

use crate::resources::ANOMALIES;
use crate::server::OVERLOADED_CODE;
use crate::triage::Listener;

/// How long a client may listen at a time: who wants more shows its credential again, so that a key that was withdrawn
/// does not listen for ever.
const LISTEN_TIME_MAX: Duration = Duration::from_secs(3_600);
/// When whoever was not let in may try again.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// All that can be listened to.
pub(crate) fn offered() -> SubscriptionFilter {
    SubscriptionFilter::builder().resource_subscription(ANOMALIES).build()
}

/// Tells the client of each change, until it leaves, its time is up or the server stops. While it does not read, nothing
/// but this waits, and what changes meanwhile is told once.
pub(crate) async fn tell(mut listener: impl Listener, subscription: &SubscriptionContext) {
    let telling = async {
        while listener.changed().await {
            tokio::select! {
                told = subscription.sink().notify_resource_updated(ANOMALIES) => {
                    if told.is_err() {
                        return;
                    }
                }
                () = listener.stopped() => return,
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = subscription.cancelled() => {}
        () = tokio::time::sleep(LISTEN_TIME_MAX) => {}
    }
}

/// The refusal of whoever comes while too many listen.
pub(crate) fn too_many() -> ErrorData {
    let advice = format!("too many listen already: read {ANOMALIES} once a minute instead, or listen later");
    let wait_ms = RETRY_AFTER.as_millis() as u64;
    ErrorData::new(ErrorCode(OVERLOADED_CODE), advice, Some(json!({ "retryAfterMs": wait_ms })))
}

/// The refusal of a subscription in a revision before 2026-07-28.
pub(crate) fn not_without_sessions() -> ErrorData {
    let advice = format!(
        "resources/subscribe needs a session, and this server keeps none: call subscriptions/listen of revision \
         2026-07-28, or read {ANOMALIES} once a minute"
    );
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, advice, None)
}
