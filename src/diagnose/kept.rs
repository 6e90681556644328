//! How much of a sufferer's trouble stays with a suspect, by the shares that causes are ranked by.

use crate::model::id::ServiceId;

use super::blame::Flow;
use super::rank::{Account, accounts, seated};
use super::ways::Ways;

/// Part of the sufferer's trouble that must stay with the suspect; less may be noise.
const KEPT_MIN: f64 = 0.1;

/// Part of the trouble of `effect` that stays with `cause`, of what of it reaches `cause`; none where hardly any does.
pub(super) fn kept(flow: &Flow<'_, '_>, cause: ServiceId, effect: ServiceId) -> Option<f64> {
    let ways = Ways::new(flow.view);
    let of = |account: &Account| {
        let seats = seated(flow.view, &account.ledger, &ways);
        let own = seats.iter().filter(|((service, _), _)| *service == cause);
        let stays: f64 = own.map(|(_, share)| share).sum();
        let reached = account.ledger.reached.get(&cause).copied().unwrap_or(0.0);
        (stays > KEPT_MIN).then(|| (account.weight * stays, stays / reached.max(stays)))
    };
    let accounts = accounts(flow, Some(effect));
    let worst = accounts.iter().filter_map(of).max_by(|(a, _), (b, _)| a.total_cmp(b));
    worst.map(|(_, part)| part)
}
