//! The journal: what became of each content blob, an append blob per workload and UTC hour of contentCreated, one JSON
//! object a line, appended by both functions. An hour whose blob is full, or was uploaded by hand, goes on in a further one. What
//! is to be done about what stands there is decided by the functions.

use std::{collections::HashMap, sync::PoisonError};

use azure_core::http::{Etag, RequestContent};
use azure_storage_blob::models::{AppendBlobClientCreateOptions, BlobDownloadProperties, BlobType};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::State;
use crate::{
    azure::storage::{is_another_type, is_conflict, is_full, is_not_found},
    clock::rfc3339,
    limits::DOUBT,
};

/// The service takes 4 MiB in an append at least; longer ones are cut at a line's end.
const BLOCK: usize = 3 * 1024 * 1024;
/// Appends that an append blob takes. <https://learn.microsoft.com/rest/api/storageservices/append-block>
const MAX_APPENDS: i32 = 50_000;

/// An event of a content blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A message that carries it was acknowledged by the queue.
    Queued,
    /// Every record of it is a document, or was one already.
    Stored,
    /// It cannot be had; `reason` and `code` say why.
    Lost,
    /// One record of it could not be stored whole; `record` and `omitted` say which and what.
    Reduced,
    /// The service refused it with this `code`, which a wrong setting brings as well. It is asked again after 61 minutes.
    Doubted,
}

/// One line. Which of the optional fields are there depends on the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, UTC, RFC 3339.
    pub at: String,
    /// The event.
    pub event: Event,
    /// The contentId.
    pub id: String,
    /// Records in the blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Documents that they made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<u64>,
    /// Records that were documents already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// Records that the settings leave out, where there were any.
    #[serde(rename = "leftOut", default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// Records that were erased on request, where there were any. All but `records` add up to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<u64>,
    /// The reason why it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The AF code or HTTP status behind the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Id of the document that was reduced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Names of the fields it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Vec<String>>,
}

impl Line {
    /// A line with nothing but its event.
    #[must_use]
    pub fn new(at: DateTime<Utc>, event: Event, content_id: &str) -> Self {
        Self {
            at: rfc3339(at),
            event,
            id: content_id.to_owned(),
            records: None,
            documents: None,
            duplicates: None,
            left_out: None,
            erased: None,
            reason: None,
            code: None,
            record: None,
            omitted: None,
        }
    }

    /// Its time; one that cannot be read counts as long ago.
    pub(super) fn time(&self) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(&self.at).map_or(DateTime::UNIX_EPOCH, |at| at.to_utc())
    }
}

/// The standing of one content blob in the journal: the greatest that its lines give, in whatever order they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Queued, last at this time, and nothing further.
    Queued(DateTime<Utc>),
    /// Given up. It is not queued again, but a message that still carries it is given a try.
    Lost,
    /// Stored, for good.
    Stored,
}

/// One hour of the journal, read.
#[derive(Debug, Default)]
pub struct Shard {
    standings: HashMap<String, Standing>,
    /// When each refusal was first said of a content blob, by the blob and the code.
    doubts: HashMap<String, HashMap<String, DateTime<Utc>>>,
}

impl Shard {
    /// The standing of a content blob; none if it was never queued.
    #[must_use]
    pub fn standing(&self, content_id: &str) -> Option<Standing> {
        self.standings.get(content_id).copied()
    }

    /// When the service first refused a content blob with this code.
    #[must_use]
    pub fn doubted(&self, content_id: &str, code: &str) -> Option<DateTime<Utc>> {
        self.doubts.get(content_id)?.get(code).copied()
    }

    /// Content that is queued since before a time and neither stored nor lost, and since when.
    pub fn queued_before(&self, time: DateTime<Utc>) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
        self.standings.iter().filter_map(move |(id, standing)| match standing {
            Standing::Queued(at) if *at < time => Some((id.as_str(), *at)),
            _ => None,
        })
    }

    fn note(&mut self, content_id: String, standing: Standing) {
        let known = self.standings.entry(content_id).or_insert(standing);
        *known = standing.max(*known);
    }

    /// The first word of each refusal counts. Its message comes back after [`DOUBT`], and is not overdue before.
    fn doubt(&mut self, line: Line) {
        let at = line.time();
        self.note(line.id.clone(), Standing::Queued(at + DOUBT));
        let first = self.doubts.entry(line.id).or_default().entry(line.code.unwrap_or_default()).or_insert(at);
        *first = at.min(*first);
    }

    /// Takes lines in; answers how many could not be read. Those are passed over: forgetting one costs work done twice, and
    /// stopping at it would hold back everything behind it.
    pub fn read(&mut self, text: &str) -> usize {
        let mut unreadable = 0;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let Ok(line) = serde_json::from_str::<Line>(line) else {
                unreadable += 1;
                continue;
            };
            match line.event {
                Event::Stored => self.note(line.id, Standing::Stored),
                Event::Lost => self.note(line.id, Standing::Lost),
                Event::Queued => {
                    let at = line.time();
                    self.note(line.id, Standing::Queued(at));
                }
                Event::Doubted => self.doubt(line),
                Event::Reduced => {}
            }
        }
        unreadable
    }
}

/// The UTC hour that a time lies in.
#[must_use]
pub fn hour_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

impl State {
    /// Reads one hour of a workload's journal.
    ///
    /// # Errors
    /// Storage refused or could not be reached.
    pub async fn journal(&self, workload: &str, hour: DateTime<Utc>) -> azure_core::Result<Shard> {
        let mut shard = Shard::default();
        for part in 1.. {
            let name = name(workload, hour, part);
            let Some(stored) = self.read(&name).await? else { break };
            let unreadable = shard.read(&stored.text);
            if unreadable > 0 {
                tracing::warn!(blob = name, lines = unreadable, "journal lines that cannot be read were passed over");
            }
            if !stored.may_continue {
                break;
            }
        }
        Ok(shard)
    }

    /// Appends lines to one hour of a workload's journal; where there are none, an empty line, which shows that it can be
    /// written.
    ///
    /// # Errors
    /// Storage refused or could not be reached; some of the lines may be there.
    pub async fn append(&self, workload: &str, hour: DateTime<Utc>, lines: &[Line]) -> azure_core::Result<()> {
        let mut block = Vec::new();
        for line in lines {
            let line = serde_json::to_vec(line)?;
            if block.len() + line.len() >= BLOCK {
                self.append_to_hour(workload, hour, std::mem::take(&mut block)).await?;
            }
            block.extend_from_slice(&line);
            block.push(b'\n');
        }
        if block.is_empty() {
            block.push(b'\n');
        }
        self.append_to_hour(workload, hour, block).await
    }

    async fn append_to_hour(&self, workload: &str, hour: DateTime<Utc>, block: Vec<u8>) -> azure_core::Result<()> {
        self.append_to_parts(|part| name(workload, hour, part), block).await
    }

    /// Appends to the first of the parts that takes it: one may be full, or be no append blob any more since a person edited and
    /// uploaded it.
    pub(super) async fn append_to_parts(&self, name: impl Fn(u32) -> String, block: Vec<u8>) -> azure_core::Result<()> {
        let mut part = 1;
        loop {
            match self.append_block(&name(part), block.clone()).await {
                Err(error) if is_full(&error) => {}
                Err(error) if is_another_type(&error) => self.tell_once(name(part)),
                done => return done,
            }
            part += 1;
        }
    }

    fn tell_once(&self, blob: String) {
        let is_news = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.clone());
        if is_news {
            tracing::warn!(blob, "this blob was uploaded by hand, so nothing can be appended to it; it goes on in its next part");
        }
    }

    /// Most appends meet a blob that is there, so it is made only when one does not.
    pub(super) async fn append_block(&self, name: &str, block: Vec<u8>) -> azure_core::Result<()> {
        let blob = self.blob(name).append_blob_client();
        let length = block.len() as u64;
        match blob.append_block(RequestContent::from(block.clone()), length, None).await {
            Err(error) if is_not_found(&error) => {}
            done => return done.map(drop),
        }
        // The container may be missing too: a message put on the queue by hand can come before the timer's first run.
        self.ensure().await?;
        let only_if_missing = AppendBlobClientCreateOptions {
            if_none_match: Some(Etag::from("*")),
            blob_content_type: Some("application/x-ndjson".to_owned()),
            ..Default::default()
        };
        match blob.create(Some(only_if_missing)).await {
            Err(error) if !is_conflict(&error) => return Err(error),
            _ => {}
        }
        blob.append_block(RequestContent::from(block), length, None).await.map(drop)
    }
}

/// True if a further blob may continue this one: it is full, or a person put another kind of blob in its place.
pub(super) fn may_continue(properties: &BlobDownloadProperties) -> bool {
    let is_full = properties.blob_committed_block_count.is_none_or(|appends| appends >= MAX_APPENDS);
    is_full || properties.blob_type != Some(BlobType::AppendBlob)
}

/// An hour's blob `…T10.ndjson`, or one that continues it: `…T10-2.ndjson`, `…T10-3.ndjson`.
pub(super) fn name(workload: &str, hour: DateTime<Utc>, part: u32) -> String {
    let further = if part == 1 { String::new() } else { format!("-{part}") };
    format!("journal/{workload}/{}{further}.ndjson", hour.format("%Y-%m-%dT%H"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_as_documented() {
        let at = DateTime::parse_from_rfc3339("2026-11-20T10:00:00Z").unwrap().to_utc();
        let queued = serde_json::to_string(&Line::new(at, Event::Queued, "a$b")).unwrap();
        assert_eq!(queued, r#"{"at":"2026-11-20T10:00:00.000Z","event":"queued","id":"a$b"}"#);
        assert_eq!(name("Audit.Exchange", at, 1), "journal/Audit.Exchange/2026-11-20T10.ndjson");
        assert_eq!(name("Audit.Exchange", at, 2), "journal/Audit.Exchange/2026-11-20T10-2.ndjson");
    }

    #[test]
    fn stored_is_for_good_and_the_last_queueing_counts_in_whatever_order_lines_stand() {
        let text = r#"{"at":"2026-11-20T10:05:00Z","event":"stored","id":"a"}
{"at":"2026-11-20T10:09:00Z","event":"queued","id":"a"}
{"at":"2026-11-20T10:09:00Z","event":"queued","id":"b"}
{"at":"2026-11-20T10:01:00Z","event":"queued","id":"b","more":1}
torn {
{"at":"2026-11-20T10:01:00Z","event":"reduced","id":"c","record":"r"}
{"at":"2026-11-20T10:01:00Z","event":"lost","id":"d","reason":"content expired","code":"AF20051"}
{"at":"2026-11-20T10:09:00Z","event":"queued","id":"d"}
"#;
        let mut shard = Shard::default();
        assert_eq!(shard.read(text), 1);
        assert_eq!(shard.standing("a"), Some(Standing::Stored));
        assert_eq!(shard.standing("d"), Some(Standing::Lost));
        let Some(Standing::Queued(at)) = shard.standing("b") else { panic!("b is queued") };
        assert_eq!(rfc3339(at), "2026-11-20T10:09:00.000Z");
        assert_eq!(shard.standing("c"), None);
        assert_eq!(shard.queued_before(at + TimeDelta::seconds(1)).map(|(id, _)| id).collect::<Vec<_>>(), ["b"]);
        assert_eq!(shard.queued_before(at).count(), 0);
    }

    #[test]
    fn the_first_word_of_each_refusal_counts_and_what_is_doubted_is_not_overdue_before_it_is_asked_again() {
        let at = |time: &str| DateTime::parse_from_rfc3339(&format!("2026-11-20T{time}Z")).unwrap().to_utc();
        let line =
            |time: &str, event: &str, code: &str| format!(r#"{{"at":"2026-11-20T{time}Z","event":"{event}","id":"a","code":"{code}"}}"#);
        let lines =
            [line("10:20:00", "doubted", "AF20050"), line("10:00:00", "doubted", "AF20050"), line("10:10:00", "doubted", "AF20052")];
        let mut shard = Shard::default();
        assert_eq!(shard.read(&lines.join("\n")), 0);
        assert_eq!(shard.doubted("a", "AF20050"), Some(at("10:00:00")));
        assert_eq!(shard.doubted("a", "AF20052"), Some(at("10:10:00")));
        assert_eq!((shard.doubted("a", "AF20051"), shard.doubted("b", "AF20050")), (None, None));
        assert_eq!(shard.standing("a"), Some(Standing::Queued(at("11:21:00"))));
    }
}
