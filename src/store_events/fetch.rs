//! Fetches one content blob and makes documents of its records while the body arrives.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use tokio::sync::mpsc;

use super::{Blob, Shortfall, dedupe::Sourced};
use crate::{
    batch::Item,
    clock::rfc3339,
    document::{
        ContentType, Digest, Feed, document_of_text, judged,
        records::{BodyError, Splitter},
    },
    findings::Found,
    management_api::{ActivityError, body_error},
    services::{Clients, Storing},
    workload::Workload,
};

/// Documents of a blob wait for its end up to this many bytes, so that a small blob that turns out cut short leaves nothing.
const MAX_WAITING_BYTES: usize = 512 * 1024;

/// Bytes of a body that are cut at a time: so many that nearly all records lie whole in them. Chunks come in a few kilobytes.
const PART_BYTES: usize = 64 * 1024;

/// A record that is no JSON is taken for what it is once its blob was put off so often.
const BELIEVED_AFTER: u32 = 3;

/// Sends the blob's documents to `documents`. `at` is the blob's place in its message.
pub(super) async fn fetch(clients: &Clients, storing: &Storing, at: usize, item: &Item, documents: mpsc::Sender<Vec<Sourced>>) -> Blob {
    let mut blob = Blob::default();
    let _permit = storing.fetches.acquire().await;
    let set = storing.rule_set(&clients.state, clients.clock.now()).await;
    let mut found = Found::new(set.as_deref());
    if let Err(error) = fetch_records(clients, storing, at, item, documents, &mut blob, &mut found).await {
        blob.trouble = Some(Shortfall::Fetch(error));
    }
    // Of a blob that is not whole too: when it comes again, what is stored of it is not looked at.
    for (finding, count) in found.severe() {
        let workload = item.workload.map(Workload::as_str);
        tracing::warn!(rule = finding.rule, level = finding.level.as_str(), workload, count, "finding: {}", finding.title);
    }
    blob
}

/// Streams a blob's records on as documents. A receiver that is gone has failed, and says so itself.
async fn fetch_records(
    clients: &Clients,
    storing: &Storing,
    at: usize,
    item: &Item,
    documents: mpsc::Sender<Vec<Sourced>>,
    blob: &mut Blob,
    found: &mut Found<'_>,
) -> Result<(), ActivityError> {
    let body = clients.activity.fetch(&item.uri, item.tenant.as_deref()).await?;
    let time = body.time();
    let content_type = body.content_type().to_owned();
    let refused = |reason: &str, bytes: u64| {
        body_error("fetch content blob".to_owned(), reason, usize::try_from(bytes).unwrap_or(usize::MAX), &content_type)
    };
    let feed = Feed::new(item.workload.map(ContentType::Feed), &item.id, item.created.map(rfc3339).as_deref());
    let table = storing.own_table();
    let rules = storing.rules(clients.clock.now(), table.as_deref());
    let erased = clients.state.erased();
    let (mut splitter, mut waiting, mut waiting_bytes) = (Splitter::default(), Vec::new(), 0);
    // A body may be spoilt on the way; what it says again and again is what there is.
    let is_believed = item.attempt >= BELIEVED_AFTER;
    let mut invalid = None;
    let mut stream = std::pin::pin!(body.into_stream());
    let mut part = Vec::with_capacity(PART_BYTES);
    while let Some(part) = next_part(&mut stream, &mut part).await? {
        blob.bytes += part.len() as u64;
        // This process may have stored what was erased since: it counts as erased, and is no repeat.
        let is_stored = |digest: &Digest| !erased.contains(digest) && storing.database.ids().is_stored(digest);
        let cut = splitter.push(part, |record| {
            let bytes = record.bytes;
            let document = judged(record, &feed, rules, is_stored, |fields| found.judge(fields));
            let document = if is_believed { document.or_else(|_| document_of_text(bytes, &feed, rules).map(Some)) } else { document };
            match document {
                Ok(Some(document)) if document.is_left_out => blob.left_out += 1,
                Ok(Some(document)) if erased.contains(&document.digest) => blob.erased += 1,
                Ok(Some(document)) => {
                    found.count();
                    waiting_bytes += document.json.len();
                    waiting.push(Sourced { blob: at, document, is_put_back: false });
                }
                Ok(None) => blob.duplicates += 1,
                Err(error) => invalid = Some(error),
            }
        });
        cut.map_err(|error: BodyError| refused(&error.to_string(), blob.bytes))?;
        if let Some(error) = invalid {
            return Err(refused(&error.to_string(), blob.bytes));
        }
        if waiting_bytes > MAX_WAITING_BYTES {
            waiting_bytes = 0;
            let _ = documents.send(std::mem::take(&mut waiting)).await;
        }
    }
    blob.records = splitter.finish().map_err(|error| refused(&error.to_string(), blob.bytes))? as u64;
    clients.activity.learn_time(time);
    let _ = documents.send(waiting).await;
    Ok(())
}

/// The next part of a body, gathered in a buffer until it is long enough or the last one; none at the end.
async fn next_part<'p>(
    body: &mut (impl Stream<Item = Result<Bytes, ActivityError>> + Unpin),
    part: &'p mut Vec<u8>,
) -> Result<Option<&'p [u8]>, ActivityError> {
    part.clear();
    while part.len() < PART_BYTES {
        match body.try_next().await? {
            Some(chunk) => part.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok((!part.is_empty()).then_some(part.as_slice()))
}
