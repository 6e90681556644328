//! What the operator leaves out, and what is read out of log bodies.

use std::hint::black_box;

use anyhow::{Result, bail};
use otelcontext::model::batch::Batch;
use otelcontext::model::batch::Signal;
use otelcontext::model::log::{LogRecord, Severity};
use otelcontext::model::span::SpanDetail;
use otelcontext::rules::{LeftOut, Options, Rules};

use crate::part::{Part, Work};
use crate::sample::{self, Bodies};

pub(crate) const PARTS: &[Part] = &[
    Part { name: "rules, none", item: "span", cycle: 4, prepare: |_| attributes(&[], &[]) },
    Part {
        name: "rules, one key denied",
        item: "span",
        cycle: 4,
        prepare: |_| attributes(&["enduser.id"], &[]),
    },
    Part {
        name: "rules, three denied, some found",
        item: "span",
        cycle: 4,
        prepare: |_| attributes(&["enduser.id", "url.path", "http.request.header.*"], &[]),
    },
    Part {
        name: "rules, three allowed",
        item: "span",
        cycle: 4,
        prepare: |_| attributes(&[], &["http.route", "db.system.name", "server.*"]),
    },
    Part { name: "severity of a line", item: "record", cycle: 4, prepare: |_| severity(Bodies::Lines) },
    Part { name: "severity of JSON", item: "record", cycle: 4, prepare: |_| severity(Bodies::Objects) },
    Part { name: "attributes of JSON", item: "record", cycle: 4, prepare: |_| unfold() },
    Part { name: "the line of JSON", item: "record", cycle: 4, prepare: |_| line() },
];

fn attributes(denied: &[&str], allowed: &[&str]) -> Result<Work> {
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let rules = Rules::new(Options {
        attributes_denied: keys(denied),
        attributes_allowed: keys(allowed),
        ..Options::default()
    });
    let Batch::Traces(groups) = sample::batch(Signal::Traces)? else { bail!("no spans") };
    let spans = groups.into_iter().flat_map(|group| group.items);
    let details: Vec<SpanDetail> = spans.map(|span| span.detail).collect();
    Ok(Work::new(details.len(), move || {
        let mut left_out = LeftOut::default();
        for detail in &details {
            black_box(rules.span(detail.clone(), &mut left_out));
        }
        black_box(left_out);
        Ok(())
    }))
}

fn severity(bodies: Bodies) -> Result<Work> {
    let rules = Rules::default();
    let mut batch = sample::log_batch(bodies)?;
    Ok(Work::new(batch.items(), move || {
        if let Batch::Logs(groups) = &mut batch {
            groups
                .iter_mut()
                .flat_map(|group| &mut group.items)
                .for_each(|record| record.severity = Severity(0));
        }
        black_box(rules.admit(&mut batch));
        Ok(())
    }))
}

fn unfold() -> Result<Work> {
    let (rules, records) = (Rules::default(), objects()?);
    Ok(Work::new(records.len(), move || {
        let mut left_out = LeftOut::default();
        for record in &records {
            black_box(rules.unfold(record.detail.clone(), &mut left_out));
        }
        Ok(())
    }))
}

fn line() -> Result<Work> {
    let (rules, mut records) = (Rules::default(), objects()?);
    for record in &mut records {
        record.detail = rules.unfold(std::mem::take(&mut record.detail), &mut LeftOut::default());
    }
    Ok(Work::new(records.len(), move || {
        for record in &records {
            black_box(record.detail.line());
        }
        Ok(())
    }))
}

/// Log records whose bodies are JSON.
fn objects() -> Result<Vec<LogRecord>> {
    let Batch::Logs(groups) = sample::log_batch(Bodies::Objects)? else { bail!("no log records") };
    Ok(groups.into_iter().flat_map(|group| group.items).collect())
}
