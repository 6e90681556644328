//! From an accepted request to everything that is kept of it.
//!
//! [`Handle::accept`] appends a request to the journal and resolves once it is durable: that is the
//! acknowledgement. Behind it one applier takes requests in journal order, enriches them, and has them committed to the
//! store in large transactions together with the position reached, so that a restart replays exactly what is
//! missing. What the store took is then shown to the graph. Nothing is dropped: when the store is away the
//! applier waits and asks again, the queue fills, and new requests are refused as retryable. What it refuses by itself,
//! whenever it is asked, goes into a dead letter, durably, before the position moves past it.
//!
//! Reading order: [`options`], [`queue`] (what waits, bounded), `pace` and `shares` (by how much), [`accept`] (the acknowledgement), [`traits`] with `failure` (what attributes say of a call, and of its end) and
//! [`enrich`] (rows from records), `links` (which are followed), [`apply`] (the applier), `finish` (what becomes of a commit while the next is made), `recall` (what it asks of earlier commits), `keep` (what it asks of the store), `known` (the templates it starts from), `sampling` (which
//! spans get a row), `commit` and `poison` (what the store refuses), [`replay`] (after a restart), [`tally`] (the accounts).

mod accept;
mod apply;
mod commit;
mod enrich;
mod error;
mod failure;
mod finish;
mod keep;
mod known;
mod links;
mod options;
mod pace;
mod poison;
mod queue;
mod recall;
mod replay;
mod sampling;
mod shares;
mod tally;
mod traits;

#[cfg(test)]
mod tests;

pub use self::accept::{Handle, Submission};
pub use self::apply::{Parts, start};
pub use self::error::Error;
pub use self::keep::Keep;
pub use self::known::Known;
pub use self::options::{Options, Sampling};
pub use self::tally::Tally;
