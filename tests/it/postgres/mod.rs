//! A real Postgres: what logging in to it is like, and the server that keeps its data there.
//!
//! In reading order: `server` (Postgres itself), `kept` (either database, asked by programs that share no code with the
//! server), `door` (an address that outlives a server), `load` (telemetry with ledgers), `laws` (what must be true of a
//! database afterwards), `oracle` (what is stored against what was sent); then the promises: `endpoint`, `login`, `entra`; `whole`, `schema`, `poison`, `letters`, `crashes`, `points`,
//! `full`, `outages`, `slow`, `silent`, `nonsense`, `refusals`, `takeover`, `relocating`, `leavers`.

mod crashes;
mod endpoint;
mod entra;
mod full;
mod kept;
mod laws;
mod leavers;
mod letters;
mod load;
mod login;
mod nonsense;
mod oracle;
pub(crate) mod outages;
mod points;
mod poison;
mod refusals;
mod relocating;
mod schema;
pub(crate) mod server;
mod silent;
mod slow;
mod takeover;
mod whole;
