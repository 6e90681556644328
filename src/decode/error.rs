//! Why a whole request is refused.

use super::Encoding;
use crate::fault::Kind;
use crate::model::batch::Signal;

/// Why a whole request is refused. Nothing of the request's own text is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not the encoding they claim to be.
    #[error("malformed {} at byte {offset}: {what}", encoding.name())]
    Malformed {
        /// What the bytes should have been.
        encoding: Encoding,
        /// What is wrong.
        what: &'static str,
        /// Where, counted from the start of the body.
        offset: usize,
    },
    /// A value nests deeper than allowed.
    #[error("a value nested deeper than {depth_max} levels at byte {offset}")]
    TooDeep {
        /// The deepest nesting that is allowed.
        depth_max: usize,
        /// Where, counted from the start of the body.
        offset: usize,
    },
    /// The request holds more than allowed of something.
    #[error("more than {max} {what} in one request")]
    TooManyItems {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// Nothing in the request is a valid item, and everything has the shape of something else.
    #[error("none of the {items} items has the shape of {}; this looks like another signal", signal.name())]
    WrongSignal {
        /// The signal the request was sent as.
        signal: Signal,
        /// How many items it holds.
        items: u64,
    },
}

impl Error {
    /// What the sender can do: mend the request, or split it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Malformed { .. } | Self::TooDeep { .. } | Self::WrongSignal { .. } => Kind::Invalid,
            Self::TooManyItems { .. } => Kind::TooLarge,
        }
    }
}
