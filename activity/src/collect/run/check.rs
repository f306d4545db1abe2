//! The handler's account held against what the services saw: each place where they differ, in a sentence. Empty is good.

use std::collections::BTreeMap;

use anyhow::Result;

use super::log::{LogFigures, LogTotals};
use crate::collect::stack::Stack;
use standins::cosmos::Cosmos;
use standins::tenant::{Operation, Tenant};

/// What tenant and database saw so far; of services that are not ours to look into, nothing.
#[derive(Debug, Default)]
pub(super) struct Witness {
    tenant: Option<Seen>,
    database: Option<Written>,
}

/// What the tenant saw, by content type.
#[derive(Debug, Default)]
struct Seen {
    published: BTreeMap<String, u64>,
    /// Content blobs served to their end, at least once.
    served: BTreeMap<String, u64>,
    /// Records in those.
    records: BTreeMap<String, u64>,
    /// Listing pages given.
    pages: BTreeMap<String, u64>,
    /// Content blobs asked for, however often.
    fetches: u64,
}

/// What the database holds.
#[derive(Debug, Default)]
struct Written {
    /// Documents by the content type that they came from.
    documents: BTreeMap<String, u64>,
    /// Batches and single creations, whatever came of them.
    writes: u64,
}

impl Witness {
    pub(super) async fn of(stack: &Stack) -> Result<Self> {
        let database = match &stack.cosmos {
            Some(cosmos) => {
                Some(Written { documents: documents(cosmos).await?, writes: cosmos.requests().batches + cosmos.requests().creates })
            }
            None => None,
        };
        Ok(Self { tenant: stack.tenant.as_ref().map(seen), database })
    }
}

/// By the content type that they came from.
async fn documents(cosmos: &Cosmos) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    cosmos.for_each_document(|document| *counts.entry(text(&document["feed"]["contentType"])).or_default() += 1).await?;
    Ok(counts)
}

fn seen(tenant: &Tenant) -> Seen {
    let (blobs, calls) = (tenant.blobs(), tenant.calls());
    let served = || blobs.iter().filter(|blob| blob.fetched > 0);
    let pages = calls.iter().filter(|call| call.operation == Operation::ListContent && call.status == 200);
    Seen {
        published: counted(blobs.iter().map(|blob| (blob.content_type.clone(), 1))),
        served: counted(served().map(|blob| (blob.content_type.clone(), 1))),
        records: counted(served().map(|blob| (blob.content_type.clone(), blob.records as u64))),
        pages: counted(pages.map(|call| (call.content_type.clone().unwrap_or_default(), 1))),
        fetches: calls.iter().filter(|call| call.operation == Operation::FetchContent).count() as u64,
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or("no content type").to_owned()
}

fn counted(entries: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    entries.fold(BTreeMap::new(), |mut counts, (name, count)| {
        *counts.entry(name).or_default() += count;
        counts
    })
}

/// After a run: everything that was published is a document, and the handler says so.
pub(super) fn collected(said: &LogTotals, witness: &Witness) -> Vec<String> {
    let mut faults = Vec::new();
    for (workload, figures) in &said.workloads {
        if figures.documents + figures.duplicates != figures.records {
            let LogFigures { records, documents, duplicates, .. } = figures;
            faults.push(format!("{workload}: {documents} documents and {duplicates} duplicates do not make {records} records"));
        }
        if figures.lost > 0 {
            faults.push(format!("{workload}: {} content blobs are lost; journal and log say why", figures.lost));
        }
    }
    if let Some(seen) = &witness.tenant {
        faults.extend(differ(said, |figures| figures.pages, "listing pages read", &seen.pages, "given by the tenant"));
        faults.extend(differ(said, |figures| figures.queued, "content blobs queued", &seen.published, "published by the tenant"));
        faults.extend(differ(said, |figures| figures.fetched, "content blobs fetched", &seen.served, "served by the tenant"));
        faults.extend(differ(said, |figures| figures.records, "records read", &seen.records, "served by the tenant"));
    }
    if let Some(written) = &witness.database {
        faults.extend(differ(said, |figures| figures.documents, "documents created", &written.documents, "in the database"));
    }
    faults
}

/// Where one figure of the handler is not what another saw.
fn differ(said: &LogTotals, figure: fn(&LogFigures) -> u64, what: &str, seen: &BTreeMap<String, u64>, by: &str) -> Vec<String> {
    let said = said.workloads.iter().map(|(workload, figures)| (workload.clone(), figure(figures)));
    let mut both: BTreeMap<_, _> = said.map(|(workload, count)| (workload, (count, 0))).collect();
    for (workload, count) in seen {
        both.entry(workload.clone()).or_default().1 = *count;
    }
    let unlike = both.into_iter().filter(|(_, (said, seen))| said != seen);
    unlike.map(|(workload, (said, seen))| format!("{workload}: the handler says {said} {what}, but {seen} are {by}")).collect()
}

/// After a tick that had nothing to do. A real tenant may have published something meanwhile; then this shows nothing.
pub(super) fn idle(said: &LogTotals, before: &Witness, after: &Witness) -> Vec<String> {
    let mut faults = Vec::new();
    let total = said.total();
    if let (Some(seen_before), Some(seen)) = (&before.tenant, &after.tenant) {
        if total.listed == 0 {
            faults.push("run once more, it listed nothing, though there is content of the last two hours".to_owned());
        }
        if (total.queued, total.fetched) != (0, 0) || seen.fetches != seen_before.fetches {
            let fetches = seen.fetches - seen_before.fetches;
            faults.push(format!("run once more, it queued {} content blobs and fetched {fetches} that it had already", total.queued));
        }
    }
    if let (0, Some(written_before), Some(written)) = (total.queued, &before.database, &after.database)
        && written.writes != written_before.writes
    {
        faults.push(format!("run once more, it wrote to the database {} times", written.writes - written_before.writes));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_differs() {
        let figures = LogFigures { records: 3, documents: 2, duplicates: 1, ..LogFigures::default() };
        let said = LogTotals { workloads: [("DLP.All".to_owned(), figures)].into(), ..LogTotals::default() };
        let witness = |documents| Witness { tenant: None, database: Some(Written { documents, writes: 1 }) };
        let documents = |entries: &[(&str, u64)]| entries.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(collected(&said, &witness(documents(&[("DLP.All", 2)]))), [] as [&str; 0]);
        assert_eq!(
            collected(&said, &witness(documents(&[("Audit.Exchange", 1)]))),
            [
                "Audit.Exchange: the handler says 0 documents created, but 1 are in the database",
                "DLP.All: the handler says 2 documents created, but 0 are in the database"
            ]
        );
    }
}
