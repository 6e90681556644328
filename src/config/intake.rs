//! What is taken of what arrives, and what is left out of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::log::Severity;

use super::load::Reader;

/// Keys or names that one list may hold; each attribute is compared with them.
const LIST_MAX: usize = 1_000;

/// Keys of promoted attributes: each takes bits of the filters from all others.
const PROMOTED_MAX: usize = 16;

/// What is taken and what is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Keys of attributes that are left out; one that ends in `*` means all that begin so.
    pub attributes_denied: Vec<String>,
    /// Keys of the only attributes that are kept, in the same notation; empty keeps all.
    pub attributes_allowed: Vec<String>,
    /// Bytes kept of one attribute value; none where nothing less than the usual bound is asked for.
    pub attribute_bytes_max: Option<usize>,
    /// Attributes kept of one item.
    pub attributes_max: usize,
    /// Keys of attributes whose values filters tell better.
    pub attributes_promoted: Vec<String>,
    /// The only services that are taken; empty takes all.
    pub services_allowed: Vec<String>,
    /// Services that are not taken.
    pub services_excluded: Vec<String>,
    /// The least severe log records that are taken; 0 takes all.
    pub ingest_severity_min: Severity,
    /// The least severe log records that are stored; 0 stores all that are taken.
    pub store_severity_min: Severity,
    /// Whether severities are read from bodies.
    pub severity_from_body: bool,
    /// Whether JSON bodies become attributes.
    pub parse_json: bool,
}

impl Reader<'_> {
    /// Reads what is taken.
    pub(super) fn intake(&mut self) -> Intake {
        Intake {
            attributes_denied: self.keys("ATTRIBUTE_DROP"),
            attributes_allowed: self.keys("ATTRIBUTE_ALLOW"),
            attribute_bytes_max: Some(self.number("ATTRIBUTE_VALUE_MAX_BYTES", 0, 65_536) as usize)
                .filter(|bytes| *bytes != 0),
            attributes_max: self.number("ATTRIBUTES_MAX", 1, 1_024) as usize,
            attributes_promoted: self.promoted(),
            services_allowed: self.short_list("INGEST_ALLOWED_SERVICES"),
            services_excluded: self.short_list("INGEST_EXCLUDED_SERVICES"),
            ingest_severity_min: self.severity("INGEST_MIN_SEVERITY"),
            store_severity_min: self.severity("STORE_MIN_SEVERITY"),
            severity_from_body: self.flag("LOG_SEVERITY_FROM_BODY"),
            parse_json: self.flag("LOG_PARSE_JSON"),
        }
    }

    /// Reads which traces are stored.
    pub(super) fn sampling(&mut self) -> (f64, bool, Option<Duration>) {
        const NAME: &str = "SAMPLING_RATE";
        let wanted = "a share from 0 to 1, such as 0.05";
        let share = self.parsed::<f64>(NAME, wanted).unwrap_or(1.0);
        if !(0.0..=1.0).contains(&share) {
            self.mistake(NAME, &share.to_string(), &format!("is not {wanted}"));
        }
        let slow = self.milliseconds("SAMPLING_LATENCY_THRESHOLD_MS", 0, 86_400_000);
        (share, self.flag("SAMPLING_ALWAYS_ON_ERRORS"), Some(slow).filter(|slow| !slow.is_zero()))
    }

    fn promoted(&mut self) -> Vec<String> {
        const NAME: &str = "PROMOTED_ATTRIBUTES";
        let keys = self.list(NAME);
        if keys.len() > PROMOTED_MAX {
            self.mistakes
                .push(format!("{NAME}: holds {} keys; at most {PROMOTED_MAX} are possible", keys.len()));
        }
        if let Some(key) = keys.iter().find(|key| key.contains('*')) {
            self.mistake(NAME, key, &"has a *; write whole keys");
        }
        let distinct: BTreeSet<String> = keys.into_iter().collect();
        distinct.into_iter().collect()
    }

    /// Keys, of which each may end in `*`.
    fn keys(&mut self, name: &'static str) -> Vec<String> {
        let keys = self.short_list(name);
        for key in &keys {
            if key.strip_suffix('*').unwrap_or(key).contains('*') {
                self.mistake(
                    name,
                    key,
                    &"has a * that is not its end; write whole keys, or beginnings such as http.*",
                );
            }
        }
        keys
    }

    fn short_list(&mut self, name: &'static str) -> Vec<String> {
        let found = self.list(name);
        if found.len() > LIST_MAX {
            self.mistakes
                .push(format!("{name}: holds {} entries; at most {LIST_MAX} are possible", found.len()));
        }
        found
    }

    fn severity(&mut self, name: &'static str) -> Severity {
        let value = self.text(name);
        if value.trim().is_empty() {
            return Severity(0);
        }
        Severity::from_name(&value).unwrap_or_else(|| {
            self.mistake(name, &value, &"is not one of TRACE, DEBUG, INFO, WARN, ERROR, FATAL");
            Severity(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Intake, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied())).map(|loaded| loaded.config.intake)
    }

    #[test]
    fn without_settings_everything_is_taken() {
        let intake = load(&[]).unwrap();
        assert!(intake.attributes_denied.is_empty() && intake.attributes_allowed.is_empty());
        assert!(intake.services_allowed.is_empty() && intake.services_excluded.is_empty());
        assert_eq!((intake.ingest_severity_min, intake.store_severity_min), (Severity(0), Severity(0)));
        assert_eq!((intake.attributes_max, intake.attribute_bytes_max), (1_024, Some(65_536)));
        assert!(intake.severity_from_body && intake.parse_json);
    }

    #[test]
    fn lists_and_levels_are_read() {
        let intake = load(&[
            ("ATTRIBUTE_DROP", "user.email, http.request.header.*"),
            ("INGEST_MIN_SEVERITY", "Warning"),
            ("ATTRIBUTE_VALUE_MAX_BYTES", "0"),
            ("INGEST_EXCLUDED_SERVICES", "noise,"),
        ])
        .unwrap();
        assert_eq!(intake.attributes_denied, ["user.email", "http.request.header.*"]);
        assert_eq!((intake.ingest_severity_min, intake.attribute_bytes_max), (Severity::WARN, None));
        assert_eq!(intake.services_excluded, ["noise"]);
    }

    #[test]
    fn mistakes_name_their_variable() {
        let many = "k,".repeat(LIST_MAX + 1);
        for (name, value) in [
            ("ATTRIBUTE_DROP", "a*b"),
            ("ATTRIBUTE_ALLOW", "a**"),
            ("ATTRIBUTE_DROP", many.as_str()),
            ("ATTRIBUTES_MAX", "0"),
            ("PROMOTED_ATTRIBUTES", "customer.*"),
            ("PROMOTED_ATTRIBUTES", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"),
            ("STORE_MIN_SEVERITY", "loud"),
            ("SAMPLING_RATE", "5"),
            ("SAMPLING_RATE", "NaN"),
            ("LOG_PARSE_JSON", "perhaps"),
        ] {
            let mistakes = load(&[(name, value)]).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{name}: {mistakes:?}");
            assert!(mistakes[0].starts_with(name), "{mistakes:?}");
        }
    }
}
