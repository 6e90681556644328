//! How a run went over time: a point each second, or less often where it is long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use crate::figures::{Figures, Source};
use crate::ledger::{Lap, Ledger};

/// Points of a run that is answered in time, at most.
const POINTS_MAX: u64 = 600;
/// How long a look at the server's figures may take; a point lacks them where it took longer.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What happened from the point before, or from the start, until this one. The server's figures are absent where it did not
/// tell them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Point {
    /// Seconds from the start of the run.
    pub seconds: f64,
    /// Spans acknowledged a second.
    pub acknowledged_spans_per_second: f64,
    /// The share of all items answered that was accepted at the first try; nothing where none were.
    pub first_try_share: Option<f64>,
    /// Time from when a request was due to its acknowledgement: of half of the requests at most so long.
    pub acknowledgement_p50_ms: Option<f64>,
    /// Of all but one in a hundred.
    pub acknowledgement_p99_ms: Option<f64>,
    /// Processor seconds that the server used for each second.
    pub server_cores: Option<f64>,
    /// Processor microseconds for each span stored, whatever else was.
    pub server_cpu_us_per_span: Option<f64>,
    /// The server's memory in use at the end.
    pub resident_mib: Option<f64>,
    /// Bytes of database, journal and index at the end.
    pub disk_bytes: Option<f64>,
    /// Bytes of them that were added since the start of the run, for each span stored since then.
    pub disk_bytes_per_span: Option<f64>,
    /// Items that waited to be stored at the end.
    pub waiting_items: Option<f64>,
}

/// Records points until `ended`, with the server's figures where they can be read; `before` is what they were at the start.
pub(crate) async fn record(
    ledger: Arc<Ledger>,
    server: Option<(Source, Figures)>,
    length: Duration,
    mut ended: oneshot::Receiver<()>,
) -> Vec<Point> {
    let (began, every) = (Instant::now(), interval(length));
    let mut ticks = tokio::time::interval_at((began + every).into(), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut series = Series::new(server.as_ref().map(|(_, before)| *before));
    loop {
        let is_over = tokio::select! {
            _ = &mut ended => true,
            _ = ticks.tick() => false,
        };
        let (seconds, lap) = (began.elapsed().as_secs_f64(), ledger.lap());
        let figures = match &server {
            Some((source, _)) => look(source, began).await,
            None => None,
        };
        let stretch = Stretch { seconds, lap, figures };
        if is_over {
            return series.finish(stretch, every.as_secs_f64());
        }
        series.add(stretch);
    }
}

/// A second, or as many as leave no more points than there may be.
fn interval(length: Duration) -> Duration {
    Duration::from_secs(length.as_secs().div_ceil(POINTS_MAX).max(1))
}

async fn look(source: &Source, began: Instant) -> Option<(f64, Figures)> {
    let figures = tokio::time::timeout(LOOK_MAX, source.read()).await.ok()?.ok()?;
    Some((began.elapsed().as_secs_f64(), figures))
}

/// What was entered until so many seconds, and the server's figures soon after, with the second in which they were read.
struct Stretch {
    seconds: f64,
    lap: Lap,
    figures: Option<(f64, Figures)>,
}

/// Points so far. The newest stretch waits for what follows, which may be too short for a point of its own.
struct Series {
    points: Vec<Point>,
    newest: Option<Stretch>,
    seconds: f64,
    /// The server's figures at the start.
    before: Option<Figures>,
    /// Those of the newest look.
    read: Option<(f64, Figures)>,
    /// Spans stored since the start.
    stored: f64,
}

impl Series {
    fn new(before: Option<Figures>) -> Self {
        let read = before.map(|before| (0.0, before));
        Self { points: Vec::new(), newest: None, seconds: 0.0, before, read, stored: 0.0 }
    }

    fn add(&mut self, stretch: Stretch) {
        if let Some(newest) = self.newest.replace(stretch) {
            self.close(&newest);
        }
    }

    /// All points; the rest joins the one before it where it is less than half as long as they are.
    fn finish(mut self, rest: Stretch, every: f64) -> Vec<Point> {
        match self.newest.take() {
            Some(mut newest) if rest.seconds - newest.seconds < every / 2.0 => {
                newest.lap.add(&rest.lap);
                let figures = rest.figures.or(newest.figures);
                self.close(&Stretch { seconds: rest.seconds, figures, lap: newest.lap });
            }
            newest => {
                newest.iter().for_each(|newest| self.close(newest));
                self.close(&rest);
            }
        }
        self.points
    }

    fn close(&mut self, stretch: &Stretch) {
        let Stretch { seconds, lap, figures } = stretch;
        let latency = |share: f64| {
            (!lap.latency_us.is_empty()).then(|| lap.latency_us.value_at_quantile(share) as f64 / 1e3)
        };
        let mut point = Point {
            seconds: *seconds,
            acknowledged_spans_per_second: lap.spans as f64 / (seconds - self.seconds).max(1e-9),
            first_try_share: (lap.sent > 0).then(|| lap.first_try as f64 / lap.sent as f64),
            acknowledgement_p50_ms: latency(0.5),
            acknowledgement_p99_ms: latency(0.99),
            ..Point::default()
        };
        self.seconds = *seconds;
        if let Some((at, now)) = figures {
            self.look(&mut point, *at, now);
        }
        self.points.push(point);
    }

    fn look(&mut self, point: &mut Point, at: f64, now: &Figures) {
        if let Some((earlier, before)) = self.read.replace((at, *now)) {
            let cpu = grown(before.cpu_seconds, now.cpu_seconds);
            let spans = grown(before.stored[0], now.stored[0]);
            self.stored += spans;
            point.server_cores = Some(cpu / (at - earlier).max(1e-9));
            point.server_cpu_us_per_span = (spans > 0.0).then(|| 1e6 * cpu / spans);
        }
        point.resident_mib = Some(now.resident_bytes / f64::from(1 << 20));
        point.disk_bytes = Some(now.disk_bytes);
        point.waiting_items = Some(now.waiting);
        let before = self.before.filter(|_| self.stored > 0.0);
        point.disk_bytes_per_span = before.map(|before| (now.disk_bytes - before.disk_bytes) / self.stored);
    }
}

/// By how much a counter has grown, which begins anew with its server.
fn grown(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::send::{Delivery, Outcome, Request, Signal};

    fn entered(ledger: &Ledger, signal: Signal, items: u64, retries: u64, ms: u64) {
        let request = Request { signal, body: bytes::Bytes::new(), items };
        let outcome = Outcome::Acknowledged { rejected: 0 };
        let delivery = Delivery { outcome, retries, latency: Duration::ZERO };
        ledger.enter(&request, &delivery, Duration::from_millis(ms));
    }

    fn figures(cpu_seconds: f64, spans: f64, disk_bytes: f64) -> Figures {
        let text = format!(
            "otelcontext_process_cpu_seconds_total {cpu_seconds}\n\
             otelcontext_process_resident_memory_bytes 2097152\n\
             otelcontext_disk_component_bytes{{component=\"database\"}} {disk_bytes}\n\
             otelcontext_ingest_pipeline_queue_items 7\n\
             otelcontext_ingest_stored_total{{signal=\"traces\"}} {spans}\n\
             otelcontext_ingest_stored_total{{signal=\"logs\"}} 0\n\
             otelcontext_ingest_stored_total{{signal=\"metrics\"}} 0\n\
             otelcontext_ingest_duplicate_spans_total 0\n"
        );
        Figures::of(&text).unwrap()
    }

    #[test]
    fn there_is_a_point_a_second_and_no_more_than_six_hundred() {
        for (seconds, wanted) in [(0, 1), (20, 1), (600, 1), (601, 2), (7_200, 12), (259_200, 432)] {
            assert_eq!(interval(Duration::from_secs(seconds)), Duration::from_secs(wanted), "{seconds}");
        }
    }

    #[test]
    fn points_sum_up_to_what_was_entered_and_a_short_rest_has_none_of_its_own() {
        for (end, seconds) in [(2.4, vec![1.0, 2.4]), (2.6, vec![1.0, 2.0, 2.6])] {
            let (ledger, mut series) = (Ledger::new().unwrap(), Series::new(None));
            let stretch = |seconds, lap| Stretch { seconds, lap, figures: None };
            entered(&ledger, Signal::Traces, 100, 0, 10);
            entered(&ledger, Signal::Logs, 300, 1, 30);
            series.add(stretch(1.0, ledger.lap()));
            series.add(stretch(2.0, ledger.lap()));
            entered(&ledger, Signal::Traces, 70, 0, 20);
            let points = series.finish(stretch(end, ledger.lap()), 1.0);
            assert_eq!(points.iter().map(|point| point.seconds).collect::<Vec<_>>(), seconds);
            let begins = std::iter::once(0.0).chain(seconds);
            let spans = points.iter().zip(begins);
            let spans: f64 =
                spans.map(|(it, begin)| it.acknowledged_spans_per_second * (it.seconds - begin)).sum();
            assert!((spans - 170.0).abs() < 1e-6, "{spans}");
            assert_eq!(points[0].first_try_share, Some(0.25));
            assert_eq!(points[0].acknowledgement_p99_ms.map(f64::round), Some(30.0));
            assert_eq!(points[points.len() - 1].acknowledgement_p50_ms.map(f64::round), Some(20.0));
        }
    }

    #[test]
    fn what_a_server_does_not_tell_is_absent_and_counters_begin_anew_with_it() {
        let (ledger, mut series) = (Ledger::new().unwrap(), Series::new(Some(figures(10.0, 1e6, 4e6))));
        let looks = [
            Some((1.5, figures(13.0, 1.5e6, 54e6))),
            None,
            Some((3.5, figures(16.0, 1.5e6, 54e6))),
            Some((4.5, figures(0.5, 0.5e6, 104e6))),
        ];
        for (second, look) in (1..).zip(looks) {
            series.add(Stretch { seconds: f64::from(second), lap: ledger.lap(), figures: look });
        }
        let points = series.finish(Stretch { seconds: 4.1, lap: ledger.lap(), figures: None }, 1.0);
        let cores: Vec<Option<f64>> = points.iter().map(|point| point.server_cores).collect();
        assert_eq!(cores, [Some(2.0), None, Some(1.5), Some(0.5)]);
        let each: Vec<Option<f64>> = points.iter().map(|point| point.server_cpu_us_per_span).collect();
        assert_eq!(each, [Some(6.0), None, None, Some(1.0)]);
        let disk: Vec<Option<f64>> = points.iter().map(|point| point.disk_bytes_per_span).collect();
        assert_eq!(disk, [Some(100.0), None, Some(100.0), Some(100.0)]);
        assert_eq!((points[0].resident_mib, points[0].waiting_items), (Some(2.0), Some(7.0)));
        assert_eq!((points[1].resident_mib, points[1].first_try_share), (None, None));
    }
}
