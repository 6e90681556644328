//! Makes a reel: plays requests, encodes them, and puts each item where and when it is due.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use anyhow::{Context, Error, Result, anyhow};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::chatter::{About, Chatter, METRICS, SERIES, Times};
use super::places::{self, Shape};
use super::strip::{self, Piece, Strip};
use super::{Asked, Reel};
use crate::dice::Dice;
use crate::encode;
use crate::send::Signal;
use crate::sharing::{Dealer, Sharing};
use crate::traffic::{Span, Traffic};

/// Spans of a reel at most, unless it is thin; and seconds of traffic.
const SPANS: f64 = 65_536.0;
const SECONDS: f64 = 1.0;
/// Spans of each service, and traces of each connection, that a reel should have; with fewer it is thin. As many log records and
/// points of each series there should be, of those that do not belong to requests.
const EACH_MIN: usize = 4;
/// A thin reel is made longer, up to this.
const LONGEST_SECONDS: f64 = 5.0;
/// Spans, log records and points of a reel at most, beside the metrics about requests, which are a few of each instance. One
/// half is for what each playing holds; in the other is room for records and for points that are spread over several.
const ITEMS: f64 = 262_144.0;
/// How often services send the metrics of the requests that they took.
const METRICS_SECONDS: f64 = 10.0;

impl Reel {
    /// Makes a reel whose times begin at `base_ns`, the instant at which the run begins. That decides over the ids of traces as
    /// well, lest a server take what a second run of the seed sends for what it has already.
    ///
    /// # Errors
    /// When there is no room for a whole trace at the rates that are asked for, or an encoded message is not read back, which is
    /// a defect.
    pub(crate) fn make(asked: &Asked, traffic: &mut Traffic, base_ns: u64) -> Result<Self> {
        let taken = Taken::take(asked, traffic, base_ns)?;
        let mut making = Making {
            asked,
            traffic,
            taken: &taken,
            base_ns,
            dice: Dice::new(asked.seed).branch(4),
            senders: HashMap::new(),
            resources: Vec::new(),
            pieces: BTreeMap::new(),
        };
        making.requests();
        making.metrics();
        making.records();
        making.points();
        let Making { pieces, resources, .. } = making;
        let strips = pieces.into_iter().map(|((lane, signal), pieces)| {
            Strip::new((lane, signal), shape(signal), pieces).context("an encoded item cannot be read back")
        });
        Ok(Self {
            strips: strips.collect::<Result<_>>()?,
            length_ns: taken.length_ns,
            base_ns,
            // Through the dice again: instants lie close together, and the seeds of playings follow one another.
            seed: Dice::new(Dice::new(asked.seed).branch(5).word() ^ base_ns).word(),
            resources,
            scope: strip::first_field(&encode::scope()),
        })
    }
}

const fn shape(signal: Signal) -> &'static Shape {
    match signal {
        Signal::Traces => &places::SPAN,
        Signal::Logs => &places::LOG_RECORD,
        Signal::Metrics => &places::METRIC,
    }
}

/// Requests that were played for a reel.
struct Taken {
    spans: Vec<Span>,
    /// For each span, when its trace is due.
    offsets_ns: Vec<u64>,
    traces: Vec<Range<usize>>,
    length_ns: u64,
}

impl Taken {
    fn take(asked: &Asked, traffic: &mut Traffic, base_ns: u64) -> Result<Self> {
        let mut taken = Self { spans: Vec::new(), offsets_ns: Vec::new(), traces: Vec::new(), length_ns: 0 };
        let (services, rate) = (traffic.topology().services.len(), asked.spans_per_second);
        let longest = longest_seconds(asked, services);
        if rate <= 0.0 {
            taken.length_ns = nanos(longest.min(SECONDS));
            return Ok(taken);
        }
        let wanted = SPANS.min(rate * longest.min(SECONDS));
        let most = rate * longest;
        let is_thin = |taken: &Self| {
            taken.spans.len() < EACH_MIN * services || taken.traces.len() < EACH_MIN * asked.connections
        };
        while (taken.spans.len() as f64) < wanted || (taken.spans.len() as f64) < most && is_thin(&taken) {
            let begin = taken.spans.len();
            let offset_ns = nanos(begin as f64 / rate);
            traffic.request(base_ns + offset_ns, &mut taken.spans);
            if taken.spans.len() as f64 > most {
                if begin == 0 {
                    return Err(too_thin(asked, services, taken.spans.len(), longest));
                }
                taken.spans.truncate(begin);
                break;
            }
            taken.offsets_ns.resize(taken.spans.len(), offset_ns);
            taken.traces.push(begin..taken.spans.len());
        }
        // Whole traces are more spans than were wanted, or fewer; the length is what they take at the asked rate.
        taken.length_ns = nanos(taken.spans.len() as f64 / rate);
        Ok(taken)
    }
}

/// How long a reel may be for one playing to hold no more than its half of the items.
fn longest_seconds(asked: &Asked, services: usize) -> f64 {
    let requests = asked.spans_per_second * (1.0 + asked.chatter.clamp(0.0, 1.0));
    let beside = (asked.log_rate + asked.point_rate) * services as f64;
    LONGEST_SECONDS.min(ITEMS / 2.0 / (requests + beside))
}

fn too_thin(asked: &Asked, services: usize, spans: usize, longest: f64) -> Error {
    let least = spans as f64 / longest / services as f64;
    anyhow!(
        "{} spans a second in all are too few for --prepared: the first trace has {spans}, and what is made beforehand lasts \
         {longest:.3} s at most with these rates. Give --rate {:.2} or more, or less of --log-rate and --point-rate, or go \
         without --prepared",
        asked.spans_per_second,
        (least * 100.0).ceil() / 100.0
    )
}

struct Making<'a> {
    asked: &'a Asked,
    traffic: &'a Traffic,
    taken: &'a Taken,
    base_ns: u64,
    dice: Dice,
    /// Positions in `resources`.
    senders: HashMap<Vec<u8>, usize>,
    resources: Vec<Vec<u8>>,
    /// By connection and signal, and by laps.
    pieces: BTreeMap<(usize, Signal), BTreeMap<u64, Vec<Piece>>>,
}

/// Where and when an item is due.
#[derive(Clone, Copy)]
struct Due {
    lane: usize,
    signal: Signal,
    laps: u64,
    lap: u64,
    offset_ns: u64,
}

impl Making<'_> {
    /// Spans and the log records that belong to them.
    fn requests(&mut self) {
        let mut dealer = Dealer::new(self.asked.sharing, self.asked.connections);
        for trace in &self.taken.traces {
            let offset_ns = self.taken.offsets_ns[trace.start];
            let lanes = dealer.shared_out(&self.taken.spans[trace.clone()]).into_iter().enumerate();
            for (lane, spans) in lanes.filter(|(_, spans)| !spans.is_empty()) {
                let due = Due { lane, signal: Signal::Traces, laps: 1, lap: 0, offset_ns };
                for sent in encode::spans(self.traffic, &spans).resource_spans {
                    for span in sent.scope_spans.iter().flat_map(|scope| &scope.spans) {
                        self.add(due, sent.resource.as_ref(), span, 1);
                    }
                }
                let due = Due { signal: Signal::Logs, ..due };
                for sent in
                    encode::logs(self.traffic, &spans, self.asked.chatter, &mut self.dice).resource_logs
                {
                    for record in sent.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                        self.add(due, sent.resource.as_ref(), record, 1);
                    }
                }
            }
        }
    }

    /// Metrics about requests. Services send them as often as in a run that is not prepared, which may be once in many playings,
    /// and one after the other; they then count the requests of all of these, which are those of one so many times. Their windows
    /// do not stretch with `--backfill`.
    fn metrics(&mut self) {
        let laps = self.laps(METRICS_SECONDS, 0.0);
        let whole_ns = laps * self.taken.length_ns;
        let window = (self.base_ns.saturating_sub(whole_ns), self.base_ns);
        // By service whatever is asked for, lest two connections carry one series.
        let mut dealer = Dealer::new(Sharing::ByService, self.asked.connections);
        let mut sent: Vec<(usize, ResourceMetrics)> = Vec::new();
        for (lane, spans) in dealer.shared_out(&self.taken.spans).iter().enumerate() {
            let message = encode::metrics(self.traffic, spans, window, &mut self.dice);
            sent.extend(message.resource_metrics.into_iter().map(|sent| (lane, sent)));
        }
        let senders = sent.len().max(1) as u64;
        for (number, (lane, sent)) in (0..).zip(&mut sent) {
            let due = self.due(*lane, Signal::Metrics, laps, whole_ns / senders * number);
            for metric in sent.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
                multiply(metric, laps);
                self.add(due, sent.resource.as_ref(), metric, points(metric));
            }
        }
    }

    /// Log records beside those that belong to requests; a half of them belong to a span all the same.
    fn records(&mut self) {
        let (services, by_service) = (self.services(), self.by_service());
        let mut chatter = Chatter::new(services, Dice::new(self.asked.seed).branch(6));
        let rate = self.asked.log_rate * services as f64;
        let laps = self.laps(EACH_MIN as f64 / self.asked.log_rate, rate);
        for (number, at_ns) in self.instants(rate, laps) {
            let service = number % services;
            let mut due = self.due(service % self.asked.connections, Signal::Logs, laps, at_ns);
            if self.asked.sharing == Sharing::ByTrace {
                // In turn, and another one for the same service in the next round.
                due.lane = (service + number / services) % self.asked.connections;
            }
            let mut instance = self.dice.below(self.traffic.topology().services[service].instances);
            let mut about = None;
            let mut time_ns = self.base_ns + due.offset_ns;
            if self.dice.chance(0.5) {
                let found = by_service[service].get(self.dice.below(by_service[service].len()));
                about = Some(match found {
                    Some(position) => self.about(*position),
                    None => self.elsewhere(),
                });
                if let Some(position) = found {
                    // Due with its trace, so that it moves with that.
                    let span = &self.taken.spans[*position];
                    due.offset_ns = self.taken.offsets_ns[*position];
                    instance = span.instance;
                    time_ns = span.start_ns + (span.duration_ns as f64 * self.dice.share()) as u64;
                }
            }
            let record = chatter.record(time_ns, about);
            let resource = encode::instance(self.traffic, service, instance, self.base_ns);
            self.add(due, Some(&resource), &record, 1);
        }
    }

    /// Metric points beside those about requests.
    fn points(&mut self) {
        let (services, by_service) = (self.services(), self.by_service());
        let mut chatter = Chatter::new(services, Dice::new(self.asked.seed).branch(7));
        let rate = self.asked.point_rate;
        let between = (METRICS * SERIES) as f64 / rate;
        let laps = self.laps(EACH_MIN as f64 * between, rate * services as f64);
        for (number, at_ns) in self.instants(rate * services as f64 / SERIES as f64, laps) {
            let (service, which) = (number % services, number / services % METRICS);
            let due = self.due(service % self.asked.connections, Signal::Metrics, laps, at_ns);
            let at_ns = self.base_ns + due.offset_ns;
            let times = Times {
                // All laps of a loop count from where its first began.
                begin_ns: self.base_ns.saturating_sub(due.lap * self.taken.length_ns),
                before_ns: at_ns.saturating_sub(nanos(between)),
                at_ns,
            };
            let found = by_service[service].get(self.dice.below(by_service[service].len()));
            let about = found.map(|position| self.about(*position));
            let metric = chatter.metric(service, which, times, about);
            let instance = which % self.traffic.topology().services[service].instances;
            let resource = encode::instance(self.traffic, service, instance, self.base_ns);
            self.add(due, Some(&resource), &metric, points(&metric));
        }
    }

    fn add(&mut self, due: Due, resource: Option<&Resource>, message: &impl Message, count: u64) {
        let resource = resource.map(strip::first_field).unwrap_or_default();
        let sender = *self.senders.entry(resource).or_insert_with_key(|resource| {
            self.resources.push(resource.clone());
            self.resources.len() - 1
        });
        let Due { lane, signal, laps, lap, offset_ns } = due;
        let message = message.encode_to_vec();
        let pieces = self.pieces.entry((lane, signal)).or_default().entry(laps).or_default();
        pieces.push(Piece { lap, offset_ns, sender, count, message });
    }

    fn due(&self, lane: usize, signal: Signal, laps: u64, at_ns: u64) -> Due {
        let length_ns = self.taken.length_ns.max(1);
        Due { lane, signal, laps, lap: at_ns / length_ns, offset_ns: at_ns % length_ns }
    }

    /// How many playings a loop of so many items a second has to reach over to last so many seconds, or as many as there is room
    /// for.
    fn laps(&self, seconds: f64, rate: f64) -> u64 {
        let length_ns = self.taken.length_ns.max(1);
        // Infinite where the rate is zero; nothing is made then.
        let wanted = nanos(seconds.min(3600.0)).div_ceil(length_ns);
        let room = (ITEMS / 4.0 / (rate * length_ns as f64 / 1e9)) as u64;
        wanted.min(room).max(1)
    }

    /// Numbers and instants of what comes so often a second, over so many playings.
    fn instants(&self, rate: f64, laps: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let count = (rate * (laps * self.taken.length_ns) as f64 / 1e9).round() as usize;
        let whole_ns = (laps * self.taken.length_ns) as f64;
        (0..count).map(move |number| (number, (whole_ns * number as f64 / count as f64) as u64))
    }

    fn services(&self) -> usize {
        self.traffic.topology().services.len()
    }

    /// Positions of the spans of each service.
    fn by_service(&self) -> Vec<Vec<usize>> {
        let mut positions = vec![Vec::new(); self.services()];
        for (position, span) in self.taken.spans.iter().enumerate() {
            positions[span.service].push(position);
        }
        positions
    }

    fn about(&self, position: usize) -> About {
        let Span { trace_id, span_id, .. } = self.taken.spans[position];
        About { trace_id, span_id }
    }

    /// A span of a trace that nobody sends, as where few traces are sampled.
    fn elsewhere(&mut self) -> About {
        let [one, other, span] = [(); 3].map(|()| (self.dice.word() | 1).to_be_bytes());
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&one);
        trace_id[8..].copy_from_slice(&other);
        About { trace_id, span_id: span }
    }
}

fn points(metric: &Metric) -> u64 {
    let count = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    count as u64
}

/// Counts of requests of one playing become those of so many.
fn multiply(metric: &mut Metric, by: u64) {
    match &mut metric.data {
        Some(metric::Data::Sum(sum)) => {
            for point in &mut sum.data_points {
                if let Some(number_data_point::Value::AsDouble(value)) = &mut point.value {
                    *value *= by as f64;
                }
            }
        }
        Some(metric::Data::Histogram(histogram)) => {
            for point in &mut histogram.data_points {
                point.count *= by;
                point.sum = point.sum.map(|sum| sum * by as f64);
                point.bucket_counts.iter_mut().for_each(|count| *count *= by);
            }
        }
        _ => {}
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
