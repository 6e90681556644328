//! What operators see of the store: connections, partitions, and how letting go of what is old goes on.

use std::sync::Arc;

use crate::store::Store;
use crate::upkeep::retention::Tally;
use crate::vitals::health::Health;
use crate::vitals::metrics::{Kind, Metrics};

/// Shows the store.
pub(super) fn register(metrics: &Metrics, store: &Store, health: &Health, retention: &Arc<Tally>) {
    let checked = health.clone();
    metrics.export_one("db_up", "1 while the database takes what is stored.", Kind::Gauge, move || {
        let report = checked.report();
        let is_up =
            ["store", "database"].iter().all(|part| report.checks.get(*part).is_none_or(|check| check.ok));
        f64::from(u8::from(is_up))
    });
    let pool = store.clone();
    metrics.export_one("db_pool_in_use", "Connections that questions use now.", Kind::Gauge, move || {
        f64::from(pool.connections().0)
    });
    let pool = store.clone();
    metrics.export_one("db_pool_max_open", "Connections that questions may use.", Kind::Gauge, move || {
        f64::from(pool.connections().1)
    });
    let export = |name, help, kind, read: fn(&Tally) -> f64| {
        let tally = Arc::clone(retention);
        metrics.export_one(name, help, kind, move || read(&tally));
    };
    export("partitions_active", "Days and kinds of data that can be asked about.", Kind::Gauge, |tally| {
        tally.active() as f64
    });
    export("partitions_dropped", "Days and kinds of data given up.", Kind::Counter, |tally| {
        tally.dropped() as f64
    });
    export(
        "partitions_dropped_for_space",
        "Those given up before their age because DATA_DISK_BUDGET_MB was spent.",
        Kind::Counter,
        |tally| tally.dropped_for_space() as f64,
    );
    export(
        "retention_rows_behind",
        "Spans and log records that were given up and still take space, about.",
        Kind::Gauge,
        |tally| tally.rows_behind() as f64,
    );
    export(
        "retention_consecutive_failures",
        "Failures to let go of what is old since the last success.",
        Kind::Gauge,
        |tally| tally.consecutive_failures() as f64,
    );
    export(
        "retention_last_success_timestamp",
        "When letting go of what is old last succeeded, in seconds since 1970.",
        Kind::Gauge,
        |tally| tally.last_success_seconds() as f64,
    );
}
