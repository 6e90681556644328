//! The heart: evidence in, verdict out.
//!
//! Promises: the same answer for the same evidence in whatever order it comes; a cause is never the entry point
//! just because failures surface there; every statement carries references that can be opened again; where
//! nothing deviates beyond chance, the answer says so instead of naming someone. Never: I/O, a clock, randomness,
//! constants that describe how fast or how busy a system ought to be. Each service is compared with its own past.
//!
//! Reading order: [`evidence`] (what comes in, with `alike`) and [`verdict`] (what goes out); `stats` and `view` with `awaited`
//! and `peers` (what every step rests on); `symptom` (what needs an explanation); `blame` with `unheard`, `origin` with
//! `message`, `silence`, and `signal` with `template`, `steps`, `series` (with `meaning` and `traffic`) and `spoken` (four ways
//! to look for the cause: roll-ups, traces, missing calls, and logs with ways taken and measured series, of whomever they
//! speak); `ways` (which end of a slow way), `concentration` (which version or instance), `place` with `apart` (which host or
//! zone) and `onset` (since when); `rank`, `path`, `sentence` with `figures`, and `dismissed` (the verdict); then
//! [`mod@impact`], [`mod@health`] (with `due`) and [`anomaly`], which answer their own questions, with [`replaced`], which knows
//! the instances that others replace, [`usual`], which knows what the same time of earlier days shows as well, and [`episode`],
//! which gives anomalies one identity over time; and [`mod@split`], which finds the window where nothing else does, with
//! [`averaged`], which makes one verdict of several windows. [`hypothesis`] tries a suspicion, with `absent`, `kept`, `shown`
//! and `correlation`, and [`placed`] one of a host or zone. [`difference`] lists what differs between two windows and blames
//! nobody (`restated` leaves out what was said already), [`moved`] tells whether a count rose or fell, [`overrepresented`]
//! compares attributes, [`observed`] says what can be observed again.
//!
//! The handle is eight functions: [`root_cause`], [`hypothesis::test`], [`placed::test`], [`impact::impact`], [`health::health`], [`anomaly::anomalies`],
//! [`difference::differences`], and [`overrepresented::Values::overrepresented`].

mod absent;
mod alike;
pub mod anomaly;
mod apart;
pub mod averaged;
mod awaited;
mod blame;
mod change;
mod concentration;
mod correlation;
pub mod difference;
mod dismissed;
mod due;
pub mod episode;
pub mod evidence;
mod figures;
pub mod health;
pub mod hypothesis;
pub mod impact;
mod kept;
mod meaning;
mod message;
pub mod moved;
pub mod observed;
mod onset;
mod origin;
pub mod overrepresented;
mod path;
mod peers;
mod place;
pub mod placed;
mod rank;
pub mod replaced;
mod restated;
mod sentence;
mod series;
mod shown;
mod signal;
mod silence;
pub mod split;
mod spoken;
mod stats;
mod steps;
mod symptom;
mod template;
#[cfg(test)]
mod tests;
mod traffic;
mod unheard;
pub mod usual;
pub mod verdict;
mod view;
mod waiting;
mod ways;

use crate::model::id::ServiceId;

use self::evidence::Evidence;
use self::verdict::Verdict;
use self::view::View;

/// How much a verdict names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Causes at most; the rest is less probable than all that are named.
    pub causes_max: usize,
    /// Dismissed suspects at most.
    pub ruled_out_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { causes_max: 8, ruled_out_max: 8 }
    }
}

/// Whether a metric of this name says something about a service's health or its traffic.
pub fn is_telling(name: &str) -> bool {
    meaning::meaning_of(name) != meaning::Meaning::Neutral
}

/// Whether a metric of this name measures a resource that may be used up.
pub fn is_resource(name: &str) -> bool {
    meaning::meaning_of(name) == meaning::Meaning::Resource
}

/// Whether a series of the metric `name` with these attributes counts failures.
pub fn counts_failures(name: &str, attributes: &[(String, String)]) -> bool {
    meaning::meaning_of_series(name, attributes) == meaning::Meaning::Worse(verdict::SymptomKind::Errors)
}

/// Whether a metric of this name tells how much has piled up, such as messages in a queue.
pub fn piles_up(name: &str) -> bool {
    meaning::piles_up(name)
}

/// Explains what deviates at `symptom`, or the window's worst symptom where no service is given.
///
/// Answers [`verdict::Outcome::InsufficientEvidence`] when nothing deviates significantly or too little was seen.
/// Takes time in proportion to the evidence, times the depth of the calls.
pub fn root_cause(evidence: &Evidence, symptom: Option<ServiceId>, options: &Options) -> Verdict {
    let together = alike::together(evidence);
    rank::root_cause(&View::new(together.as_ref().unwrap_or(evidence)), symptom, options)
}
