//! Dead letters through the door of a server once more.

use super::deliver::{Deliverer, Door, packed};
use super::error::Error;
use crate::decode::{self, Encoding, Limits};
use crate::fault::chain;
use crate::letters::Letter;

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has all of it.
    Taken {
        /// How many items.
        items: u64,
    },
    /// The server does not have all of it; it is to be kept.
    Stays(String),
}

/// Sends a letter.
///
/// # Errors
/// As [`Deliverer::deliver`]: then none of the others will do either.
pub async fn send(
    letter: Letter,
    deliverer: &Deliverer<impl Door>,
    limits: &Limits,
) -> Result<Outcome, Error> {
    let Some(encoding) = Encoding::from_number(letter.encoding) else {
        return Ok(Outcome::Stays("this version does not know how it is written".to_owned()));
    };
    let decoded = match decode::decode(letter.signal, encoding, &letter.body, letter.received, limits) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Outcome::Stays(format!("it does not decode: {}", chain(&error)))),
    };
    // Packed anew: times that the server of then filled in stay what they were.
    let items = decoded.batch.items() as u64;
    let account = deliverer.deliver(packed(decoded.batch, Some(letter.tenant))).await?;
    if account.accepted == items && account.refused == 0 {
        return Ok(Outcome::Taken { items });
    }
    let reasons: Vec<String> = account.reasons.iter().map(|(reason, _)| reason.clone()).collect();
    Ok(Outcome::Stays(format!("{} of {items} items refused: {}", account.refused, reasons.join("; "))))
}
