//! Microseconds that a record takes in each step between a body's bytes and a document with its findings: `cargo bench -p handler`. The fastest
//! of many rounds is told: what is slower was disturbed.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use chrono::Utc;
use handler::{
    document::{
        Feed, Rules, document,
        records::{Record, Splitter},
    },
    findings::RuleSet,
};
use standins::tenant::{Body, generate};

const RECORDS: usize = 2000;
const ROUNDS: usize = 40;

fn main() {
    let records: Vec<String> = generate::generate(1, RECORDS, Utc::now())
        .into_iter()
        .flat_map(|blob| match blob.body {
            Body::Records(records) => records,
            _ => Vec::new(),
        })
        .collect();
    let body = format!("[{}]", records.join(","));
    let feed = Feed::new(None, "blob", None);
    let rules = Rules::by_default(Utc::now());
    println!("{} records, {} bytes each in the mean", records.len(), body.len() / records.len());

    tell("cut", || {
        cut(&body, |record| {
            black_box(record.bytes);
        });
    });
    tell("cut and document", || {
        cut(&body, |record| drop(black_box(document(record, &feed, rules))));
    });
    tell("ask the rules", || {
        for record in &records {
            black_box(RuleSet::ours().ask_document(record));
        }
    });
    tell("ask them over time", || {
        let mut over_time = RuleSet::ours().over_time();
        for (line, record) in (0..).zip(&records) {
            over_time.take(line, record);
        }
        black_box(over_time.findings());
    });
}

/// Bodies are cut in pieces of about this size.
const CHUNK: usize = 64 * 1024;

fn cut(body: &str, mut record: impl FnMut(Record<'_>)) {
    let mut splitter = Splitter::default();
    for chunk in body.as_bytes().chunks(CHUNK) {
        if let Err(error) = splitter.push(chunk, &mut record) {
            panic!("the records made here are no array: {error}");
        }
    }
}

fn tell(step: &str, mut work: impl FnMut()) {
    let fastest = (0..ROUNDS).map(|_| time(&mut work)).min().unwrap_or_default();
    println!("{step:<20} {:6.2} µs a record", fastest.as_secs_f64() * 1e6 / RECORDS as f64);
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
