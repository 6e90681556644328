//! Requests through the door of a server, with its backpressure honoured.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::account::Account;
use super::error::Error;
use crate::decode::Encoding;
use crate::encode;
use crate::model::batch::{Batch, Signal};
use crate::model::packed::wire::{self, Field};
use crate::model::tenant::TenantId;

/// The first wait where a server does not say how long; it doubles up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_secs(1);
/// Longest wait between two tries, whatever a server says.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One export request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which signal.
    pub signal: Signal,
    /// Whose; the server's default where there is none.
    pub tenant: Option<TenantId>,
    /// How the body is written.
    pub encoding: Encoding,
    /// The request.
    pub body: Bytes,
}

/// What a server says to one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took the request, but for so many items.
    Accepted {
        /// Items it refused.
        rejected: u64,
        /// Why; may be empty.
        message: String,
    },
    /// The request is too large: less of it may do.
    TooLarge(String),
    /// The request will never do; others may.
    Refused(String),
    /// Neither this request nor any other will do: a wrong key or address.
    Turned(String),
    /// The same request may do later.
    Again {
        /// When, where the server says so.
        after: Option<Duration>,
        /// Why not now.
        reason: String,
        /// True when nobody answered at all.
        is_unreachable: bool,
    },
}

/// The door of a server.
pub trait Door: Send + Sync {
    /// Tries once.
    fn post(&self, request: &Request) -> impl Future<Output = Answer> + Send;
}

/// A request and what is in it, so that it can be split.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The request.
    pub request: Request,
    /// Items in it, those included that will be rejected.
    pub items: u64,
    /// Its valid items.
    pub batch: Batch,
    /// Why items of it are invalid; none where all are valid.
    pub invalid: Option<String>,
}

/// Delivers parcels through one door.
#[derive(Debug)]
pub struct Deliverer<D> {
    door: D,
    patience: Duration,
    /// True once the server answered: from then on it is waited for when it is away.
    is_reached: AtomicBool,
}

impl<D: Door> Deliverer<D> {
    /// Delivers through `door`; a request is tried for as long as `patience`.
    pub const fn new(door: D, patience: Duration) -> Self {
        Self { door, patience, is_reached: AtomicBool::new(false) }
    }

    /// Delivers one parcel; in parts where it is too large for the server. Answers the account of it.
    ///
    /// # Errors
    /// [`Error::Undelivered`] when the server turns everything away, was never reached, or stays away for longer than
    /// the patience.
    pub async fn deliver(&self, parcel: Parcel) -> Result<Account, Error> {
        let mut account = Account::default();
        let mut waiting = VecDeque::from([parcel]);
        while let Some(parcel) = waiting.pop_front() {
            match self.insist(&parcel.request).await? {
                Answer::Accepted { rejected, message } => {
                    account.requests += 1;
                    account.accepted += parcel.items.saturating_sub(rejected);
                    account.refused += rejected;
                    if rejected > 0 {
                        account.note(&without_numbers(&message), rejected);
                    }
                }
                Answer::TooLarge(reason) => match encode::halves(&parcel.batch) {
                    Some((first, second)) => {
                        let invalid = parcel.items - parcel.batch.items() as u64;
                        account.refused += invalid;
                        if let Some(reason) = parcel.invalid.filter(|_| invalid > 0) {
                            account.note(&without_numbers(&reason), invalid);
                        }
                        let tenant = parcel.request.tenant;
                        waiting.push_front(packed(second, tenant.clone()));
                        waiting.push_front(packed(first, tenant));
                    }
                    None => refuse(&mut account, parcel.items, &reason),
                },
                Answer::Refused(reason) => refuse(&mut account, parcel.items, &reason),
                Answer::Turned(reason) | Answer::Again { reason, .. } => {
                    return Err(Error::Undelivered { reason });
                }
            }
        }
        Ok(account)
    }

    /// Tries until there is an answer other than "later", or patience runs out.
    async fn insist(&self, request: &Request) -> Result<Answer, Error> {
        let began = Instant::now();
        let mut usual = WAIT;
        loop {
            let answer = self.door.post(request).await;
            let Answer::Again { after, reason, is_unreachable } = answer else {
                self.is_reached.store(true, Ordering::Relaxed);
                return Ok(answer);
            };
            if is_unreachable && !self.is_reached.load(Ordering::Relaxed) {
                return Err(Error::Undelivered { reason });
            }
            self.is_reached.fetch_or(!is_unreachable, Ordering::Relaxed);
            let wait = after.unwrap_or(usual).min(WAIT_MAX);
            usual = (usual * 2).min(WAIT_MAX);
            if self.patience < began.elapsed() + wait {
                return Err(Error::Undelivered { reason });
            }
            tokio::time::sleep(wait).await;
        }
    }
}

/// A batch as a protobuf request.
pub fn packed(batch: Batch, tenant: Option<TenantId>) -> Parcel {
    let body = encode::request(&batch);
    let request = Request { signal: batch.signal(), tenant, encoding: Encoding::Protobuf, body };
    Parcel { request, items: batch.items() as u64, batch, invalid: None }
}

/// Reads the answer to an accepted request: how many items were rejected, and why.
pub fn partial_success(signal: Signal, encoding: Encoding, body: &[u8]) -> (u64, String) {
    match encoding {
        Encoding::Protobuf => match wire::last(body, 1) {
            Some(Field::Bytes(partial)) => (wire::varint(partial, 1), wire::text(partial, 2).to_owned()),
            _ => (0, String::new()),
        },
        Encoding::Json => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            let partial = &answer["partialSuccess"];
            let rejected = match signal {
                Signal::Traces => &partial["rejectedSpans"],
                Signal::Logs => &partial["rejectedLogRecords"],
                Signal::Metrics => &partial["rejectedDataPoints"],
            };
            // Numbers of 64 bits are text in protobuf's JSON; some servers write them as numbers.
            let rejected = rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0);
            (rejected, partial["errorMessage"].as_str().unwrap_or_default().to_owned())
        }
    }
}

/// The message of a refusal, a `google.rpc.Status`; empty where there is none.
pub fn status_message(encoding: Encoding, body: &[u8]) -> String {
    match encoding {
        Encoding::Protobuf => wire::text(body, 2).to_owned(),
        Encoding::Json => {
            let answer: Value = serde_json::from_slice(body).unwrap_or_default();
            answer["message"].as_str().unwrap_or_default().to_owned()
        }
    }
}

fn refuse(account: &mut Account, items: u64, reason: &str) {
    account.refused += items;
    account.note(&without_numbers(reason), items);
}

/// The text with each number replaced, so that messages that differ in numbers alone are counted together.
fn without_numbers(text: &str) -> String {
    if text.is_empty() {
        return "the server does not say why".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut in_number = false;
    for character in text.chars() {
        if !character.is_ascii_digit() {
            out.push(character);
        } else if !in_number {
            out.push('…');
        }
        in_number = character.is_ascii_digit();
    }
    out
}
