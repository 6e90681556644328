//! The operator's rules: what is not taken, what is left out of it, and what is read out of log lines.
//!
//! Promises: the same batch under the same rules gives the same result, so that a replay of the journal ends where the
//! first try would have; what no rule touches keeps its very bytes, uncopied; rules applied twice change nothing more.
//! Never: a clock, a socket or a file; a change of a body, an id, a time or a severity that its sender gave.
//!
//! In reading order: [`options`] (what can be asked for), [`admit`] (at the door: services, severities), [`severity`]
//! (of lines that come without one), [`body`] (attributes out of JSON bodies) over [`json`], [`attributes`] over
//! [`keys`] (left out before rows are made). The handle is [`Rules`].

mod admit;
mod attributes;
mod body;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod json;
mod keys;
mod options;
mod severity;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::admit::Rejected;
pub use self::attributes::LeftOut;
pub use self::options::Options;

use self::attributes::AttributeRules;
use self::keys::Keys;

/// The rules in force; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    allowed_services: Keys,
    excluded_services: Keys,
    /// None where every attribute is kept, so that nobody looks at them.
    attributes: Option<AttributeRules>,
}

impl Rules {
    /// The rules that `options` ask for.
    pub fn new(options: Options) -> Self {
        let attributes = AttributeRules::new(&options.attributes_denied, &options.attributes_allowed);
        let (allowed_services, excluded_services) =
            (Keys::exact(&options.services_allowed), Keys::exact(&options.services_excluded));
        Self { inner: Arc::new(Inner { options, allowed_services, excluded_services, attributes }) }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Options::default())
    }
}
