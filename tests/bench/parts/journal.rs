//! A request as the journal writes it.

use std::hint::black_box;

use anyhow::Result;
use otelcontext::decode::Encoding;
use otelcontext::journal::{Entry, Prepared};
use otelcontext::model::batch::Signal;
use otelcontext::model::tenant::TenantId;

use crate::part::{Part, Work};
use crate::sample::{self, ITEMS, RECEIVED};

pub(crate) const PARTS: &[Part] =
    &[Part { name: "a record of the journal", item: "span", cycle: 2, prepare: |_| work() }];

fn work() -> Result<Work> {
    let (signal, encoding) = (Signal::Traces, Encoding::Protobuf);
    let entry = Entry {
        tenant: TenantId::try_from("bench")?,
        signal,
        encoding: encoding.number(),
        received: RECEIVED,
        body: sample::body(signal, encoding)?,
    };
    Ok(Work::new(ITEMS, move || {
        black_box(Prepared::new(&entry)?);
        Ok(())
    }))
}
