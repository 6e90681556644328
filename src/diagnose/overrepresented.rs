//! Which attribute values some spans have more often than others.

use std::collections::{BTreeMap, BTreeSet};

use super::stats::{even_surprise, saturate};

/// Standard deviations that a value must leave behind.
const SURPRISE_MIN: f64 = 3.5;
/// Times that the bad spans must have a value.
const COUNT_MIN: u64 = 2;
/// Different values of one key, as part of the spans that have it, from which on it names single spans.
const NAMES_SINGLE: f64 = 0.8;
/// Spans of a key from which on that is judged.
const NAMES_SINGLE_OF: u64 = 20;

/// A value that the bad spans have more often.
#[derive(Debug, Clone, PartialEq)]
pub struct Overrepresented {
    /// The key and the value; several where the same spans have them, those first that say most of the reason: which version
    /// runs, which flag is set, where it runs, in which zone, then others by key.
    pub pairs: Vec<(String, String)>,
    /// Bad spans that have it, and their share.
    pub bad: (u64, f64),
    /// Other spans that have it, and their share.
    pub rest: (u64, f64),
    /// How many times larger the share is among the bad; infinite where no other span has it.
    pub lift: f64,
    /// 0 to 1: how far beyond chance, times the difference of the shares.
    pub score: f64,
}

/// How many bad spans and others have a value, and which, as the sum of a number for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    bad: u64,
    rest: u64,
    which: u64,
}

/// Counts of attribute values among bad spans and others.
#[derive(Debug, Clone, Default)]
pub struct Values {
    counts: BTreeMap<(String, String), Count>,
    /// Bad spans and others.
    spans: (u64, u64),
    keys: BTreeMap<String, u64>,
}

impl Values {
    /// Counts a span with its attributes; a key that comes twice counts once for each value.
    pub fn add(&mut self, is_bad: bool, attributes: impl IntoIterator<Item = (String, String)>) {
        *(if is_bad { &mut self.spans.0 } else { &mut self.spans.1 }) += 1;
        // Numbers that are spread widely, so that the sums of different spans are hardly ever the same.
        let number = (self.spans.0 + self.spans.1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let number = (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let pairs: BTreeSet<(String, String)> = attributes.into_iter().collect();
        for pair in pairs {
            *self.keys.entry(pair.0.clone()).or_default() += 1;
            let count = self.counts.entry(pair).or_default();
            *(if is_bad { &mut count.bad } else { &mut count.rest }) += 1;
            count.which = count.which.wrapping_add(number);
        }
    }

    /// How many bad spans and how many others were counted.
    pub const fn spans(&self) -> (u64, u64) {
        self.spans
    }

    /// The values that the bad spans have more often, the most telling first, then by key and value.
    pub fn overrepresented(&self) -> Vec<Overrepresented> {
        let (all_bad, all_rest) = self.spans;
        let mut different: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, _) in self.counts.keys() {
            *different.entry(key).or_default() += 1;
        }
        let names_single = |key: &str| {
            let of = self.keys.get(key).copied().unwrap_or(0);
            let different = different.get(key).copied().unwrap_or(0);
            of >= NAMES_SINGLE_OF && different as f64 > NAMES_SINGLE * of as f64
        };
        let mut found: Vec<Overrepresented> = Vec::new();
        let mut places: BTreeMap<(u64, u64, u64), usize> = BTreeMap::new();
        for ((key, value), Count { bad, rest, which }) in &self.counts {
            let shares = (share(*bad, all_bad), share(*rest, all_rest));
            if *bad < COUNT_MIN || shares.0 <= shares.1 || names_single(key) {
                continue;
            }
            let surprise = even_surprise((*bad, all_bad), (*rest, all_rest));
            if surprise < SURPRISE_MIN {
                continue;
            }
            let pair = (key.clone(), value.clone());
            // Values that the same spans have tell the same.
            if let Some(same) = places.get(&(*bad, *rest, *which)) {
                found[*same].pairs.push(pair);
                continue;
            }
            places.insert((*bad, *rest, *which), found.len());
            found.push(Overrepresented {
                pairs: vec![pair],
                bad: (*bad, shares.0),
                rest: (*rest, shares.1),
                lift: shares.0 / shares.1,
                score: saturate(surprise - SURPRISE_MIN, 4.0) * (shares.0 - shares.1),
            });
        }
        for same in &mut found {
            // Equals stay in the order of their keys.
            same.pairs.sort_by_key(|(key, _)| Telling::of(key));
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.pairs.cmp(&b.pairs)));
        found
    }
}

/// How much a key says of why spans differ that have a value of it: what somebody changed comes before where it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Telling {
    Version,
    Flag,
    Place,
    Zone,
    Other,
}

impl Telling {
    fn of(key: &str) -> Self {
        let words: Vec<&str> = key.split(['.', '_']).collect();
        let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
        // Of a protocol or of what runs below the service, a version is one attribute among others; so is whom a request names.
        let of_others = has(&["sdk", "protocol", "runtime", "os", "schema", "distro", "http", "net"]);
        if of_others {
            Self::Other
        } else if has(&["version"]) {
            Self::Version
        } else if has(&["flag", "variant"]) {
            Self::Flag
        } else if has(&["pod", "host", "node", "instance", "container"]) {
            Self::Place
        } else if has(&["zone", "region"]) {
            Self::Zone
        } else {
            Self::Other
        }
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, String)]) -> Vec<(String, String)> {
        of.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn what_the_bad_have_in_common_comes_first() {
        let mut values = Values::default();
        for at in 0..400_u32 {
            let region = if at % 4 == 0 { "west" } else { "east" };
            let zone = format!("{region}-1");
            let is_bad = at % 4 == 0 && at % 3 != 0;
            let attributes = pairs(&[
                ("region", region.to_owned()),
                ("zone", zone),
                ("method", if at % 2 == 0 { "GET" } else { "POST" }.to_owned()),
                ("request.id", at.to_string()),
            ]);
            values.add(is_bad, attributes);
        }
        let found = values.overrepresented();
        let first: Vec<&str> = found[0].pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(first, ["region", "zone"], "{found:?}");
        assert_eq!(found[0].bad.1, 1.0);
        assert!(found.iter().flat_map(|it| &it.pairs).all(|(key, _)| key != "request.id"), "{found:?}");
    }

    #[test]
    fn of_values_that_the_same_spans_have_the_version_comes_first() {
        let mut values = Values::default();
        for at in 0..400_u32 {
            let bad = at % 4 == 0;
            let own = |good: &str, new: &str| if bad { new } else { good }.to_owned();
            let attributes = pairs(&[
                ("app.color", own("red", "blue")),
                ("feature_flag.result.variant", own("off", "on")),
                ("resource.cloud.availability_zone", own("eu-1a", "eu-1b")),
                ("resource.k8s.pod.name", own("fare-a", "fare-b")),
                ("resource.service.version", own("1", "2")),
                ("resource.telemetry.sdk.version", own("7", "8")),
            ]);
            values.add(bad, attributes);
        }
        let found = values.overrepresented();
        let keys: Vec<&str> = found[0].pairs.iter().map(|(key, _)| key.as_str()).collect();
        let wanted = [
            "resource.service.version",
            "feature_flag.result.variant",
            "resource.k8s.pod.name",
            "resource.cloud.availability_zone",
            "app.color",
            "resource.telemetry.sdk.version",
        ];
        assert_eq!(keys, wanted, "{found:?}");
    }

    #[test]
    fn nothing_stands_out_where_both_are_alike() {
        let mut values = Values::default();
        for at in 0..600_u32 {
            values.add(at % 3 == 0, pairs(&[("shard", (at % 7).to_string())]));
        }
        assert_eq!(values.overrepresented(), []);
        let mut apart = Values::default();
        for at in 0..400_u32 {
            let shard = if at < 100 { (at % 2).to_string() } else { "9".to_owned() };
            apart.add(at < 100, pairs(&[("shard", shard)]));
        }
        let found = apart.overrepresented();
        assert!(
            found.len() == 2 && found.iter().all(|it| it.pairs.len() == 1),
            "other spans have them: {found:?}"
        );
        assert_eq!(Values::default().overrepresented(), []);
        assert_eq!(values.spans(), (200, 400));
    }
}
