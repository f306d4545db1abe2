//! What is measured: content of a size and shape, made while it is served.

use std::sync::Arc;

use anyhow::{Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use standins::cosmos::CosmosRequests;
use standins::tenant::{Body, CONTENT_TYPES, NewBlob, Series, Tenant, generate};

/// Shapes that a series goes through.
const SHAPES: usize = 2000;
/// Content became available during so long a time.
const SPAN: TimeDelta = TimeDelta::hours(156);
/// The last of it this long before now: what is newer is left to the next listing.
const SETTLED: TimeDelta = TimeDelta::minutes(1);
/// Records of usual length in 100 MB.
pub(super) const RECORDS_OF_100_MB: u64 = 72_000;

/// Content of one shape.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) records_per_blob: u64,
    /// How many of a hundred records repeat an earlier one, as a rule of another message.
    pub(super) repeats: u64,
    /// All blobs became available within one hour, of one content type.
    pub(super) is_one_hour: bool,
}

impl Scenario {
    pub(super) fn new(name: impl Into<String>, records: u64, records_per_blob: u64) -> Self {
        Self { name: name.into(), records, records_per_blob, repeats: 0, is_one_hour: false }
    }

    pub(super) fn repeating(self, repeats: u64) -> Self {
        Self { repeats, ..self }
    }

    pub(super) fn within_one_hour(self) -> Self {
        Self { is_one_hour: true, ..self }
    }

    pub(super) fn blobs(&self) -> u64 {
        self.records.div_ceil(self.records_per_blob)
    }

    /// Publishes the content.
    pub(super) fn publish(&self, tenant: &Tenant, seed: u64) -> Result<()> {
        let now = tenant.now();
        let span = if self.is_one_hour { TimeDelta::minutes(40) } else { SPAN };
        let start = if self.is_one_hour { hour(now) } else { now - SETTLED - SPAN };
        let step = TimeDelta::nanoseconds(span.num_nanoseconds().unwrap_or(i64::MAX) / i64::try_from(self.records)?);
        let series = Arc::new(Series::new(&shapes(seed, now), self.repeats, start - TimeDelta::hours(1), step));
        ensure!(self.records < u64::from(u32::MAX), "a series has at most {} records", u32::MAX);
        for blob in 0..self.blobs() {
            let numbers = blob * self.records_per_blob..((blob + 1) * self.records_per_blob).min(self.records);
            let created = start + step * i32::try_from(numbers.end)?;
            let content_type = if self.is_one_hour { "Audit.Exchange" } else { CONTENT_TYPES[blob as usize % CONTENT_TYPES.len()] };
            tenant.publish(NewBlob::of(content_type, created, Body::Series { series: Arc::clone(&series), numbers }));
        }
        Ok(())
    }
}

/// The start of the last hour that is wholly over.
fn hour(now: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = now.timestamp() - now.timestamp() % 3600 - 3600;
    DateTime::from_timestamp(seconds, 0).unwrap_or(now)
}

fn shapes(seed: u64, now: DateTime<Utc>) -> Vec<String> {
    let blobs = generate::generate(seed, SHAPES, now);
    let records = blobs.into_iter().filter_map(|blob| if let Body::Records(records) = blob.body { Some(records) } else { None });
    records.flatten().collect()
}

/// What StoreEvents did of a scenario, and what it cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) records: u64,
    pub(super) documents: u64,
    pub(super) messages: u64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_mib: f64,
    pub(super) batches: u64,
    pub(super) creates: u64,
    pub(super) queries: u64,
    pub(super) request_units: f64,
}

impl Measured {
    pub(super) fn count(&mut self, requests: CosmosRequests) {
        self.batches = requests.batches;
        self.creates = requests.creates;
        self.queries = requests.queries;
        self.request_units = requests.request_charge;
    }

    pub(super) fn records_per_cpu_second(&self) -> f64 {
        self.records as f64 / self.cpu_seconds.max(0.01)
    }

    pub(super) fn cpu_ms_per_message(&self) -> f64 {
        self.cpu_seconds * 1000.0 / self.messages.max(1) as f64
    }

    /// Requests to the database for a thousand records.
    pub(super) fn requests_per_thousand(&self, requests: u64) -> f64 {
        requests as f64 * 1000.0 / self.records.max(1) as f64
    }

    pub(super) fn request_units_per_record(&self) -> f64 {
        self.request_units / self.records.max(1) as f64
    }
}
