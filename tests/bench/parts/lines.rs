//! Log lines: their templates, and the index over them.

use std::hint::black_box;

use anyhow::Result;
use otelcontext::model::id::{ServiceId, TemplateId, TenantNumber};
use otelcontext::model::log::Severity;
use otelcontext::search::{self, DAY_BITS, Document, Index};
use otelcontext::templates::{self, Miner};

use crate::part::{Part, Work};
use crate::sample::{self, ITEMS, RECEIVED};

pub(crate) const PARTS: &[Part] = &[
    Part { name: "mine templates", item: "line", cycle: 4, prepare: |_| mine() },
    Part { name: "index lines", item: "line", cycle: 2, prepare: index },
];

const TENANT: TenantNumber = TenantNumber(1);

fn mine() -> Result<Work> {
    let lines = sample::lines();
    let mut miner = Miner::new(templates::Options::default());
    let mut last = 0;
    Ok(Work::new(ITEMS, move || {
        for line in &lines {
            let mut next = || {
                last += 1;
                TemplateId(last)
            };
            black_box(miner.mine(TENANT, ServiceId(1), line, RECEIVED, &mut next));
        }
        Ok(())
    }))
}

/// Adds lines with three attributes each, and commits them.
fn index(rounds: usize) -> Result<Work> {
    let folder = tempfile::tempdir()?;
    let options = search::Options { directory: folder.path().to_owned(), writer_bytes: 50 << 20 };
    let index = Index::open(options)?;
    let lines = sample::lines();
    let day = RECEIVED.bucket_seconds(86_400) / 86_400;
    let rounds = (0..rounds as i64).collect();
    Ok(Work::with(ITEMS, rounds, move |round: i64| {
        let first = day << DAY_BITS | (round * ITEMS as i64 + 1);
        let documents = lines.iter().zip(first..).map(|(line, row)| Document {
            row,
            tenant: TENANT,
            time: RECEIVED,
            service: ServiceId(1),
            severity: Severity(9),
            template: TemplateId(line.len() as u32 % 24),
            body: line,
            attributes: [
                ("logger.name", "com.shop.jobs.Job"),
                ("thread.name", "worker-17"),
                ("customer.id", &line[line.len() - 8..]),
            ],
        });
        index.add(documents)?;
        index.commit()?;
        // It goes when all rounds are over.
        black_box(&folder);
        Ok(())
    }))
}
