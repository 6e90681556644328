//! Counts what a request holds before anything is allocated for it.
//!
//! Two bytes on the wire can stand for a whole span, so that a limit on bytes says nothing about memory: eight
//! mebibytes of empty spans are four million spans. The walk below touches tags and lengths only and stops at
//! the first item too many.

use super::metrics::Head;
use super::reader::{Message, Value};
use crate::decode::error::Error;
use crate::decode::limits::Limits;
use crate::model::batch::Signal;

/// Counts the items of `request`: spans, log records or points. A metric of foreign shape counts as one item.
pub(super) fn count(signal: Signal, request: Message<'_>, limits: &Limits) -> Result<usize, Error> {
    let mut budget = Budget { max: limits.items_max, items: 0, envelopes: 0 };
    each(request, 1, |resource_group| {
        budget.envelope()?;
        each(resource_group, 2, |scope_group| {
            budget.envelope()?;
            each(scope_group, 2, |item| {
                if signal != Signal::Metrics {
                    return budget.item();
                }
                budget.envelope()?;
                let head = Head::read(item)?;
                if head.is_foreign {
                    return budget.item();
                }
                let Some((_, data)) = head.data else { return Ok(()) };
                each(data, 1, |_| budget.item())
            })
        })
    })?;
    Ok(budget.items)
}

struct Budget {
    max: usize,
    items: usize,
    envelopes: usize,
}

impl Budget {
    #[inline]
    fn item(&mut self) -> Result<(), Error> {
        self.items += 1;
        if self.items > self.max { Err(too_many("items", self.max)) } else { Ok(()) }
    }

    #[inline]
    fn envelope(&mut self) -> Result<(), Error> {
        self.envelopes += 1;
        if self.envelopes > self.max {
            Err(too_many("resource, scope and metric messages", self.max))
        } else {
            Ok(())
        }
    }
}

const fn too_many(what: &'static str, max: usize) -> Error {
    Error::TooManyItems { what, max }
}

#[inline]
fn each<'a>(
    message: Message<'a>,
    number: u32,
    mut visit: impl FnMut(Message<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut fields = message.fields();
    while let Some(field) = fields.next()? {
        if let Value::Bytes(inner) = field.value
            && field.number == number
        {
            visit(inner)?;
        }
    }
    Ok(())
}
