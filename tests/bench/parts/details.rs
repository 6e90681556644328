//! Packed details as blocks of columns, compressed.

use std::hint::black_box;

use anyhow::{Result, bail};
use bytes::Bytes;
use otelcontext::model::batch::{Batch, Signal};
use otelcontext::model::log::LogDetail;
use otelcontext::model::span::SpanDetail;
use otelcontext::store::blocks::{Encoder, ROWS_MAX};

use crate::part::{Part, Work};
use crate::sample;

pub(crate) const PARTS: &[Part] = &[
    Part { name: "pack details of spans", item: "span", cycle: 1, prepare: |_| work(Signal::Traces) },
    Part { name: "pack details of records", item: "record", cycle: 1, prepare: |_| work(Signal::Logs) },
];

fn work(signal: Signal) -> Result<Work> {
    let (details, attributes): (Vec<Bytes>, u32) = match sample::batch(signal)? {
        Batch::Traces(groups) => {
            let spans = groups.into_iter().flat_map(|group| group.items);
            (spans.map(|span| span.detail.as_bytes().clone()).collect(), SpanDetail::ATTRIBUTES)
        }
        Batch::Logs(groups) => {
            let records = groups.into_iter().flat_map(|group| group.items);
            (records.map(|record| record.detail.as_bytes().clone()).collect(), LogDetail::ATTRIBUTES)
        }
        Batch::Metrics(_) => bail!("points have no blocks"),
    };
    Ok(Work::new(details.len(), move || {
        let mut encoder = Encoder::new()?;
        for rows in details.chunks(ROWS_MAX) {
            let rows: Vec<(&[u8], u32)> = rows.iter().zip(0..).map(|(row, at)| (&row[..], at % 32)).collect();
            black_box(encoder.encode(&rows, attributes, &[])?);
        }
        Ok(())
    }))
}
