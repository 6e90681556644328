//! The exposition behind `/metrics`: OpenMetrics text, or the older Prometheus text for scrapers that ask for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::openmetrics`].
pub const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of [`Metrics::prometheus`].
pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a value does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name is given without `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// Label names and values of one sample.
pub type Labels = Vec<(String, String)>;

/// The registry; cheap to clone.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Exports what `read` returns at each scrape under `name` (without the prefix `otelcontext_`).
    pub fn export<F>(&self, name: &'static str, help: &'static str, kind: Kind, read: F)
    where
        F: Fn() -> Vec<(Labels, f64)> + Send + Sync + 'static,
    {
        let source = Source { name, help, kind, read: Box::new(read) };
        self.lock().register_collector(Box::new(source));
    }

    /// Exports one value without labels.
    pub fn export_one<F>(&self, name: &'static str, help: &'static str, kind: Kind, read: F)
    where
        F: Fn() -> f64 + Send + Sync + 'static,
    {
        self.export(name, help, kind, move || vec![(Labels::new(), read())]);
    }

    /// A histogram of seconds from 100 µs to 52 s, in doubling buckets.
    pub fn seconds(&self, name: &'static str, help: &'static str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(0.0001, 2.0, 20));
        self.lock().register(format!("otelcontext_{name}"), unended(help), histogram.clone());
        histogram
    }

    /// A histogram of seconds for each of these values of `label`, in nine buckets from a millisecond to 66 seconds,
    /// each of which reaches four times as far as the one before. All are listed from the start.
    pub fn seconds_by(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl Iterator<Item = &'static str>,
    ) -> SecondsBy {
        let made = || Histogram::new(exponential_buckets(0.001, 4.0, 9));
        let family = Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(made);
        let of = |value: &'static str| {
            let labels = vec![(label.to_owned(), value.to_owned())];
            (value, family.get_or_create(&labels).clone())
        };
        let histograms = values.map(of).collect();
        self.lock().register(format!("otelcontext_{name}"), unended(help), family);
        SecondsBy { histograms }
    }

    /// The exposition in OpenMetrics text.
    pub fn openmetrics(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; the sources return no error of their own.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.lock());
        text
    }

    /// The exposition in Prometheus text 0.0.4, where a counter's description carries the suffix `_total`.
    pub fn prometheus(&self) -> String {
        let text = self.openmetrics();
        let counters: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut out = String::with_capacity(text.len());
        for line in text.lines().filter(|line| *line != "# EOF") {
            let described = ["# HELP ", "# TYPE "].iter().find_map(|start| {
                let rest = line.strip_prefix(start)?;
                let (name, rest) = rest.split_once(' ')?;
                counters.contains(name).then(|| format!("{start}{name}_total {rest}"))
            });
            out.push_str(described.as_deref().unwrap_or(line));
            out.push('\n');
        }
        out
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A description without the full stop that the registry puts behind those that it is given.
fn unended(help: &str) -> &str {
    help.trim_end_matches('.')
}

/// Histograms of seconds by the value of a label.
#[derive(Debug)]
pub struct SecondsBy {
    histograms: Vec<(&'static str, Histogram)>,
}

impl SecondsBy {
    /// Counts one duration for `value`; a value that was not named at the start counts nowhere.
    pub fn observe(&self, value: &str, seconds: f64) {
        if let Some((_, histogram)) = self.histograms.iter().find(|(known, _)| *known == value) {
            histogram.observe(seconds);
        }
    }
}

struct Source {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: Box<dyn Fn() -> Vec<(Labels, f64)> + Send + Sync>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let name = format!("otelcontext_{}", self.name);
        let mut metric = encoder.encode_descriptor(&name, self.help, None, kind)?;
        for (labels, value) in (self.read)() {
            let labelled = if labels.is_empty() { None } else { Some(metric.encode_family(&labels)?) };
            match (labelled, self.kind) {
                (Some(encoder), Kind::Counter) => ConstCounter::new(value).encode(encoder)?,
                (Some(encoder), Kind::Gauge) => ConstGauge::new(value).encode(encoder)?,
                (None, kind) => {
                    return match kind {
                        Kind::Counter => ConstCounter::new(value).encode(metric),
                        Kind::Gauge => ConstGauge::new(value).encode(metric),
                    };
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_describe_what_they_show() {
        let metrics = Metrics::default();
        metrics.export("refused", "Requests refused.", Kind::Counter, || {
            vec![(vec![("reason".into(), "a\"b".into())], 2.0), (vec![("reason".into(), "c".into())], 0.0)]
        });
        metrics.export_one("depth", "Items waiting.", Kind::Gauge, || 1.5);
        metrics.seconds("wait_seconds", "Time waited.").observe(0.5);
        let by_tool = metrics.seconds_by("call_seconds", "Time taken.", "tool", ["map", "hint"].into_iter());
        by_tool.observe("map", 0.5);
        by_tool.observe("nobody", 0.5);
        let open = metrics.openmetrics();
        assert!(open.contains("# TYPE otelcontext_refused counter\n"), "{open}");
        assert!(open.contains("otelcontext_refused_total{reason=\"a\\\"b\"} 2.0\n"), "{open}");
        assert!(open.ends_with("# EOF\n"));
        assert!(open.contains("# HELP otelcontext_call_seconds Time taken.\n"), "{open}");
        assert!(open.contains("# HELP otelcontext_wait_seconds Time waited.\n"), "{open}");
        let classic = metrics.prometheus();
        assert!(classic.contains("# TYPE otelcontext_refused_total counter\n"), "{classic}");
        assert!(classic.contains("otelcontext_depth 1.5\n") && !classic.contains("# EOF"), "{classic}");
        assert!(classic.contains("otelcontext_wait_seconds_count 1"), "{classic}");
        for line in [
            "otelcontext_call_seconds_bucket{le=\"0.256\",tool=\"map\"} 0",
            "otelcontext_call_seconds_bucket{le=\"1.024\",tool=\"map\"} 1",
            "otelcontext_call_seconds_count{tool=\"hint\"} 0",
        ] {
            assert!(classic.contains(line), "{line}:\n{classic}");
        }
    }
}
