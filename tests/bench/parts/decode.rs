//! From the bytes of a request to what it holds.

use std::hint::black_box;

use anyhow::{Result, ensure};
use otelcontext::decode::{Encoding, Limits, decode};
use otelcontext::model::batch::Signal;

use crate::part::{Part, Work};
use crate::sample::{self, RECEIVED};

pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "decode spans",
        item: "span",
        cycle: 4,
        prepare: |_| work(Signal::Traces, Encoding::Protobuf),
    },
    Part {
        name: "decode log records",
        item: "record",
        cycle: 4,
        prepare: |_| work(Signal::Logs, Encoding::Protobuf),
    },
    Part {
        name: "decode points",
        item: "point",
        cycle: 4,
        prepare: |_| work(Signal::Metrics, Encoding::Protobuf),
    },
    Part {
        name: "decode spans in JSON",
        item: "span",
        cycle: 1,
        prepare: |_| work(Signal::Traces, Encoding::Json),
    },
    Part {
        name: "decode log records in JSON",
        item: "record",
        cycle: 1,
        prepare: |_| work(Signal::Logs, Encoding::Json),
    },
];

fn work(signal: Signal, encoding: Encoding) -> Result<Work> {
    let body = sample::body(signal, encoding)?;
    let limits = Limits::default();
    let first = decode(signal, encoding, &body, RECEIVED, &limits)?;
    ensure!(first.message.is_none(), "the sample is not taken as it is: {:?}", first.message);
    Ok(Work::new(first.batch.items(), move || {
        black_box(decode(signal, encoding, &body, RECEIVED, &limits)?);
        Ok(())
    }))
}
