//! What can be known after a storm, from outside the handlers: what the tenant published and served, what the journal, the
//! database and the queues hold. Judging it is next door.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use azure_core::http::StatusCode;
use azure_storage_queue::models::QueueClientReceiveMessagesOptions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::content::Published;
use super::world::{QUEUE, STATE, STRANGERS_STATE, World};
use crate::case::manifest::Manifest;
use standins::azurite::Storage;
use standins::tenant::Operation;

/// All of it.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) blobs: Vec<Witnessed>,
    /// By contentId.
    pub(super) journal: HashMap<String, Vec<Line>>,
    pub(super) documents: Vec<Value>,
    /// contentIds in the poison queue.
    pub(super) poison: Vec<String>,
    /// Calls of `/subscriptions/stop`.
    pub(super) stops: usize,
    /// Connections to a host that is not the tenant's.
    pub(super) foreign_calls: usize,
    /// Answers of the tenant by status; 0 for none.
    pub(super) answers: std::collections::BTreeMap<u16, u64>,
    /// Time ranges that could not be listed.
    pub(super) gaps: usize,
    /// Journal blobs of the collector of another tenant.
    pub(super) strangers_journal: usize,
    /// What an export says of it.
    pub(super) exported: Manifest,
    /// The tenant's time.
    pub(super) now: DateTime<Utc>,
}

/// A content blob, and what the tenant saw of it.
#[derive(Clone, Debug)]
pub(super) struct Witnessed {
    pub(super) blob: Published,
    /// On how many pages of listings it stood.
    pub(super) listed: usize,
    /// How often it was served to its end.
    pub(super) served: usize,
    /// When a fetch of it was refused.
    pub(super) refused: Vec<DateTime<Utc>>,
}

/// A line of the journal, as documented.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Line {
    pub(super) at: DateTime<Utc>,
    pub(super) event: String,
    pub(super) id: String,
    pub(super) records: Option<usize>,
    #[serde(rename = "leftOut", default)]
    pub(super) left_out: usize,
    pub(super) reason: Option<String>,
    pub(super) code: Option<String>,
}

impl Evidence {
    pub(super) async fn gather(world: &World) -> Result<Self> {
        let seen: HashMap<_, _> = world.tenant.blobs().into_iter().map(|blob| (blob.id, (blob.listed, blob.fetched))).collect();
        let calls = world.tenant.calls();
        let mut refused: HashMap<String, Vec<DateTime<Utc>>> = HashMap::new();
        for call in calls.iter().filter(|call| call.operation == Operation::FetchContent && matches!(call.status, 400 | 404)) {
            // The tenant's contentIds need no encoding in a path.
            refused.entry(call.path.rsplit('/').next().unwrap_or_default().to_owned()).or_default().push(call.at);
        }
        let witnessed = |blob: &Published| {
            let (listed, served) = blob.seen_before_withdrawn.or(seen.get(&blob.id).copied()).unwrap_or_default();
            Witnessed { blob: blob.clone(), listed, served, refused: refused.get(&blob.id).cloned().unwrap_or_default() }
        };
        let mut answers = std::collections::BTreeMap::new();
        calls.iter().for_each(|call| *answers.entry(call.status).or_default() += 1);
        Ok(Self {
            blobs: world.feed.published.iter().map(witnessed).collect(),
            journal: journal(&world.storage).await?,
            documents: world.cosmos.documents().await?,
            poison: poison(&world.storage).await?,
            stops: calls.iter().filter(|call| call.operation == Operation::StopSubscription).count(),
            foreign_calls: world.foreign_calls.load(std::sync::atomic::Ordering::Relaxed),
            answers,
            gaps: world.storage.read_blob(STATE, "gaps.ndjson").await?.unwrap_or_default().lines().count(),
            strangers_journal: world.storage.list_blobs(STRANGERS_STATE).await?.iter().filter(|name| name.starts_with("journal/")).count(),
            exported: world.export().await?,
            now: world.tenant.now(),
        })
    }
}

async fn journal(storage: &Storage) -> Result<HashMap<String, Vec<Line>>> {
    let mut journal: HashMap<String, Vec<Line>> = HashMap::new();
    for name in storage.list_blobs(STATE).await?.iter().filter(|name| name.starts_with("journal/")) {
        let text = storage.read_blob(STATE, name).await?.unwrap_or_default();
        for line in text.lines() {
            let line: Line = serde_json::from_str(line).with_context(|| format!("{name} holds a line that is none: {line}"))?;
            journal.entry(line.id.clone()).or_default().push(line);
        }
    }
    Ok(journal)
}

/// Takes every message off the poison queue.
async fn poison(storage: &Storage) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Item {
        id: String,
    }
    let queue = storage.queue(&format!("{QUEUE}-poison"))?;
    let mut ids = Vec::new();
    loop {
        let options =
            QueueClientReceiveMessagesOptions { number_of_messages: Some(32), visibility_timeout: Some(3600), ..Default::default() };
        let messages = match queue.receive_messages(Some(options)).await {
            Ok(received) => received.into_model()?.items.unwrap_or_default(),
            Err(error) if error.http_status() == Some(StatusCode::NotFound) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        if messages.is_empty() {
            return Ok(ids);
        }
        for message in messages {
            let text = BASE64.decode(message.message_text.unwrap_or_default())?;
            let items: Vec<Item> = serde_json::from_slice(&text).context("a poisoned message is none of ours")?;
            ids.extend(items.into_iter().map(|item| item.id));
        }
    }
}
