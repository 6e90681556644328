//! The environment and `.env`, read once and whole.
//!
//! [`variables`] is the one table of every variable: name, default, unit and effect; `.env.example` and the check of
//! unknown names are made from it. [`Config::load`] reports all mistakes together. Nothing else in the program reads
//! the environment.

mod access;
mod encryption;
mod example;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod given_up;
mod intake;
mod letters;
mod load;
mod nearest;
mod origin;
mod own_spans;
mod storage;
pub mod variables;

pub use self::access::{Access, External};
pub use self::encryption::{Certificate, Encryption};
pub use self::example::env_example;
pub use self::intake::Intake;
pub use self::letters::DeadLetters;
pub use self::load::{Acknowledge, Config, Loaded};
pub use self::origin::{Environment, Origin};
pub use self::own_spans::OwnSpans;
pub use self::storage::{Driver, Retention, Storage};
