//! Makes a document of a record: key, partition, time to live, edges, and the record's own fields verbatim. Pure;
//! [`crate::database`] writes it.

mod edges;
mod fields;
mod quoted;
pub mod records;
pub mod redact;
mod repair;
mod scan;
mod skim;
mod stub;
mod trim;

use std::{array, borrow::Cow, fmt::Write};

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

pub(crate) use self::fields::Fields;
pub use self::{
    edges::{ExplainedEdge, NodeType, Table},
    trim::MAX_BYTES,
};
use self::{
    fields::Field,
    quoted::write_quoted,
    records::{Kind, Record, RecordFlags},
    redact::{Redacted, Treatment, redact},
    repair::rewrite,
    trim::{omit, rename_reserved},
};
use crate::{
    clock::parse_utc,
    config::{LeaveOut, NOTHING},
    workload::Workload,
};

/// Longest id, in bytes. <https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits>
const MAX_ID_BYTES: usize = 1023;
/// Seconds that a document stays if it arrives older than its retention: a day, so that it is seen at all.
const MIN_TTL: i64 = 86_400;

/// Where records came from: the `feed` of their documents.
#[derive(Clone, Debug)]
pub struct Feed {
    content_type: Option<ContentType>,
    content_id: String,
    /// All of it as documents have it, made once for all records of a content blob.
    json: String,
}

impl Feed {
    /// Of the content blob, or the query, that records came in. `content_created` is when the blob became available, or the query
    /// was made, RFC 3339. What a hand-made message did not tell is null.
    #[must_use]
    pub fn new(content_type: Option<ContentType>, content_id: &str, content_created: Option<&str>) -> Self {
        let text = |text: Option<&str>| serde_json::Value::from(text).to_string();
        let json = format!(
            "{{\"contentType\":{},\"contentId\":{},\"contentCreated\":{}}}",
            text(content_type.map(ContentType::as_str)),
            text(Some(content_id)),
            text(content_created)
        );
        Self { content_type, content_id: content_id.to_owned(), json }
    }
}

/// The kind of content that a record came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// A content blob of the Activity API.
    Feed(Workload),
    /// The result of one of Graph's audit log queries: history.
    AuditSearch,
}

impl ContentType {
    /// The name in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feed(workload) => workload.as_str(),
            Self::AuditSearch => "AuditSearch",
        }
    }
}

/// The time from which a document's life counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeFrom {
    /// The record's event.
    Event,
    /// The moment of writing: history would be gone at once.
    Writing,
}

/// The rules that a document depends on, besides its record.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Logical partitions that a day of records is spread over.
    pub partitions_per_day: u8,
    /// The time that a document lives.
    pub retention: TimeDelta,
    /// What that time counts from.
    pub life_from: LifeFrom,
    /// The service's time.
    pub now: DateTime<Utc>,
    /// Treatment of values that data loss prevention matched.
    pub matched_values: Treatment,
    /// Records that are not stored.
    pub leave_out: &'a LeaveOut,
    /// The rows that make edges.
    pub table: &'a Table,
}

impl Rules<'static> {
    /// As they are where no setting says otherwise.
    #[must_use]
    pub fn by_default(now: DateTime<Utc>) -> Self {
        Self {
            table: Table::built_in(),
            partitions_per_day: 4,
            retention: TimeDelta::days(90),
            life_from: LifeFrom::Event,
            now,
            matched_values: Treatment::Drop,
            leave_out: &NOTHING,
        }
    }
}

/// The first half of the SHA-256 of a document's `id`: stands for the id in less space.
pub type Digest = [u8; 16];

/// The digest of a document's `id`.
#[must_use]
pub fn digest_of(id: &str) -> Digest {
    let hash = Sha256::digest(id.as_bytes());
    array::from_fn(|byte| hash[byte])
}

/// A document, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key within the partition.
    pub id: String,
    /// Its partition key.
    pub pk: String,
    /// All of it, as JSON.
    pub json: String,
    /// Stands for `id`.
    pub digest: Digest,
    /// Where the record could not be stored whole: the names of the fields it lacks. Empty where text alone was repaired.
    pub reduced: Option<Vec<String>>,
    /// The settings say that it is not stored.
    pub is_left_out: bool,
}

/// An element's text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a record is no valid JSON")]
pub struct NotARecord;

/// Makes the document. Key and partition depend on the record alone. What is no object has a document too, with its value in
/// `record_value`; that of a record which was too large to be held says so.
///
/// # Errors
/// The text is no JSON.
pub fn document(record: Record<'_>, feed: &Feed, rules: Rules<'_>) -> Result<Document, NotARecord> {
    judged(record, feed, rules, |_| false, |_| None).and_then(|document| document.ok_or(NotARecord))
}

/// The same document with `findings`: the JSON list that `judge` gives of the record's fields, where it gives one. None if
/// `is_stored` says of its id that it is stored already: then the rest of the record is not looked at.
pub(crate) fn judged(
    record: Record<'_>,
    feed: &Feed,
    rules: Rules<'_>,
    is_stored: impl FnOnce(&Digest) -> bool,
    judge: impl FnOnce(&Fields<'_>) -> Option<String>,
) -> Result<Option<Document>, NotARecord> {
    let looked_at = |fields: &Fields<'_>| (rules.table.edges(fields), judge(fields));
    match record.flags.kind {
        Kind::Record => document_with(record, Some(feed), rules, None, is_stored, looked_at),
        Kind::Value => value_document(&String::from_utf8_lossy(record.bytes), record.flags, feed, rules).map(Some),
        Kind::Oversized(digest) => {
            let own_id = format!("sha256-{}", hexadecimal(&digest));
            let document = document_with(record, Some(feed), rules, Some(own_id), |_| false, looked_at)?;
            Ok(document.map(|document| if document.is_left_out { document } else { document.stub() }))
        }
    }
}

/// The document of an element that is no JSON: its text in `record_value`.
///
/// # Errors
/// None that can occur.
pub fn document_of_text(element: &[u8], feed: &Feed, rules: Rules<'_>) -> Result<Document, NotARecord> {
    let text = String::from_utf8_lossy(element);
    let value = serde_json::to_string(&text).map_err(|_| NotARecord)?;
    wrapped(&value, sha256_id(text.as_bytes()), RecordFlags::default(), feed, rules)
}

/// The document of an element that is no object.
fn value_document(value: &str, flags: RecordFlags, feed: &Feed, rules: Rules<'_>) -> Result<Document, NotARecord> {
    // Without the values that were matched, as with a record that has no Id.
    let dropped = redact(&in_object(value), Treatment::Drop).and_then(|(text, _)| serde_json::from_str::<serde_json::Value>(&text).ok());
    let id = match dropped {
        Some(object) => sha256_id(object["record_value"].to_string().as_bytes()),
        None => sha256_id(&canonical(value)),
    };
    wrapped(value, id, flags, feed, rules)
}

/// The document of an object that holds nothing but this value. It is no record, so it counts as reduced.
fn wrapped(value: &str, id: String, flags: RecordFlags, feed: &Feed, rules: Rules<'_>) -> Result<Document, NotARecord> {
    let flags = RecordFlags { depth: flags.depth + 1, ..flags };
    let (text, nothing) = (in_object(value), |_: &Fields<'_>| ("[]".to_owned(), None));
    let record = Record::new(text.as_bytes(), flags);
    let document = document_with(record, Some(feed), rules, Some(id), |_| false, nothing)?.ok_or(NotARecord)?;
    Ok(Document { reduced: document.reduced.or(Some(Vec::new())), ..document })
}

fn in_object(value: &str) -> String {
    format!("{{\"record_value\":{value}}}")
}

/// The same document without `feed`, and which row of the table gave each of its edges. Takes a record whose flags are not known.
///
/// # Errors
/// The text is no JSON object.
pub(crate) fn explained(
    record: &[u8],
    rules: Rules<'_>,
    judge: impl FnOnce(&Fields<'_>) -> Option<String>,
) -> Result<(Document, Vec<ExplainedEdge>), NotARecord> {
    let any = RecordFlags { depth: usize::MAX, surrogates: true, long_numbers: true, ..RecordFlags::default() };
    let mut rows = Vec::new();
    let looked_at = |fields: &Fields<'_>| {
        let (edges, explained) = rules.table.explained(fields);
        rows = explained;
        (edges, judge(fields))
    };
    let document = document_with(Record::new(record, any), None, rules, None, |_| false, looked_at)?;
    Ok((document.ok_or(NotARecord)?, rows))
}

/// `own_id` is the id if the record has none that can be used; without one, what it says tells it. `look_at` gives the edges
/// and the findings of the record's fields, as JSON.
fn document_with(
    Record { bytes, flags, read }: Record<'_>,
    feed: Option<&Feed>,
    rules: Rules<'_>,
    own_id: Option<String>,
    is_stored: impl FnOnce(&Digest) -> bool,
    look_at: impl FnOnce(&Fields<'_>) -> (String, Option<String>),
) -> Result<Option<Document>, NotARecord> {
    let (text, read) = match read {
        Some((text, fields)) => (Cow::Borrowed(text), Some(fields)),
        // Nearly all are valid, and are read faster by this.
        None => (str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed), None),
    };
    let mut repaired = matches!(text, Cow::Owned(_));
    let is_rewritten = flags.long_numbers || flags.surrogates;
    let text = if is_rewritten { Cow::Owned(rewrite(&text, &mut repaired)) } else { text };
    let redaction = redact(&text, rules.matched_values);
    let redacted = redaction.as_ref().map(|(_, redacted)| *redacted);
    let original = &text;
    let text = redaction.as_ref().map_or(&*text, |(text, _)| text.as_str());
    let read = read.filter(|_| !is_rewritten && redaction.is_none());
    let mut fields = read.map(Fields::last).or_else(|| Fields::of(text)).ok_or(NotARecord)?;

    let id = id(&fields).or(own_id).unwrap_or_else(|| content_based_id(original));
    let hash = Sha256::digest(id.as_bytes());
    let digest: Digest = array::from_fn(|byte| hash[byte]);
    let is_left_out = is_left_out(&fields, feed, rules.leave_out);
    if !is_left_out && is_stored(&digest) {
        return Ok(None);
    }
    let created = fields.text("CreationTime").and_then(|time| parse_utc(&time));
    let (edges, findings) = look_at(&fields);
    let pk = partition(created, hash[0] % rules.partitions_per_day);
    let head = Head { id: &id, pk: &pk, ttl: time_to_live(created, rules), feed };

    rename_reserved(&mut fields.0);
    let omitted = omit(&mut fields.0, flags.depth, length_of(&head) + edges.len() + findings.as_ref().map_or(0, String::len) + text.len());
    let json = compose(&head, &edges, findings.as_deref(), redacted, &omitted, &fields.0, text).map_err(|_| NotARecord)?;
    let reduced = (repaired || !omitted.is_empty()).then_some(omitted);
    Ok(Some(Document { id, pk, json, digest, reduced, is_left_out }))
}

fn is_left_out(fields: &Fields<'_>, feed: Option<&Feed>, leave_out: &LeaveOut) -> bool {
    if leave_out.is_empty() {
        return false;
    }
    let workload = match feed.map(|feed| feed.content_type) {
        Some(Some(ContentType::Feed(workload))) => Some(workload),
        Some(None) => None,
        None | Some(Some(ContentType::AuditSearch)) => content_type(fields),
    };
    leave_out.matches(workload, fields.text("Operation").as_deref(), fields.text("RecordType").as_deref())
}

/// The content type under which the API offers a record of which nothing else is known.
fn content_type(fields: &Fields<'_>) -> Option<Workload> {
    if fields.get("PolicyDetails").is_some() {
        return Some(Workload::Dlp);
    }
    Some(match fields.text("Workload")?.as_ref() {
        "AzureActiveDirectory" => Workload::AzureActiveDirectory,
        "Exchange" => Workload::Exchange,
        "SharePoint" | "OneDrive" => Workload::SharePoint,
        _ => Workload::General,
    })
}

/// The document's own fields.
struct Head<'a> {
    id: &'a str,
    pk: &'a str,
    ttl: i64,
    feed: Option<&'a Feed>,
}

/// The record's `Id`, with its part number where it comes in parts; none if there is none that can be used.
fn id(fields: &Fields<'_>) -> Option<String> {
    let id = fields.text("Id")?;
    let id = match fields.text("RecordNumber") {
        Some(part) => encode_id(&format!("{id}-{part}")),
        None => encode_id(&id),
    };
    (id.len() <= MAX_ID_BYTES).then_some(id)
}

/// The id of a record that has none: what it is, without the values that were matched, so that no setting and no key makes another
/// id.
fn content_based_id(text: &str) -> String {
    let dropped = redact(text, Treatment::Drop);
    sha256_id(&canonical(dropped.as_ref().map_or(text, |(text, _)| text)))
}

fn sha256_id(bytes: &[u8]) -> String {
    format!("sha256-{:x}", Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encodes what Cosmos or its clients cannot take in an id, and the percent sign, so that no two become one.
fn encode_id(id: &str) -> String {
    // Nearly all are GUIDs.
    if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return id.to_owned();
    }
    let mut encoded = String::with_capacity(id.len());
    let last = id.len().saturating_sub(1);
    for (at, c) in id.char_indices() {
        if matches!(c, '%' | '/' | '\\' | '?' | '#') || c.is_control() || (c == ' ' && at == last) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}

/// The same record in the same bytes: names sorted, no spaces. One too deep to be parsed stands for itself.
fn canonical(text: &str) -> Vec<u8> {
    serde_json::from_str::<serde_json::Value>(text)
        .and_then(|value| serde_json::to_vec(&value))
        .unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn partition(created: Option<DateTime<Utc>>, n: u8) -> String {
    let mut partition = String::with_capacity(16);
    // Writing into a string cannot fail.
    let _ = match created {
        Some(created) => write!(partition, "{}-{n}", created.date_naive()),
        None => write!(partition, "unknown-{n}"),
    };
    partition
}

/// Seconds from now until the record's retention ends.
fn time_to_live(created: Option<DateTime<Utc>>, rules: Rules<'_>) -> i64 {
    let from = created.filter(|_| rules.life_from == LifeFrom::Event).unwrap_or(rules.now);
    let left = rules.retention - (rules.now - from);
    left.num_seconds().clamp(MIN_TTL, i64::from(i32::MAX))
}

fn length_of(head: &Head<'_>) -> usize {
    head.id.len() + head.pk.len() + 3 * head.feed.map_or(0, |feed| feed.content_id.len()) + 200
}

fn compose(
    head: &Head<'_>,
    edges: &str,
    findings: Option<&str>,
    redacted: Option<Redacted>,
    omitted: &[String],
    fields: &[Field<'_>],
    text: &str,
) -> serde_json::Result<String> {
    let of_fields = fields.iter().map(Field::length).sum::<usize>();
    let of_head = head.id.len() + head.pk.len() + head.feed.map_or(0, |feed| feed.json.len());
    // As long as it will be: thousands of documents wait to be written.
    let mut json = String::with_capacity(of_head + edges.len() + findings.map_or(0, str::len) + of_fields + 128);
    json.push_str("{\"id\":");
    write_quoted(&mut json, head.id);
    json.push_str(",\"pk\":");
    write_quoted(&mut json, head.pk);
    // Writing into a string cannot fail.
    let _ = write!(json, ",\"ttl\":{}", head.ttl);
    if let Some(feed) = head.feed {
        json.push_str(",\"feed\":");
        json.push_str(&feed.json);
    }
    json.push_str(",\"edges\":");
    json.push_str(edges);
    if let Some(findings) = findings {
        json.push_str(",\"findings\":");
        json.push_str(findings);
    }
    if let Some(redacted) = redacted {
        json.push_str(",\"redacted\":");
        json.push_str(&serde_json::to_string(&redacted)?);
    }
    if !omitted.is_empty() {
        json.push_str(",\"omitted\":");
        json.push_str(&serde_json::to_string(omitted)?);
    }
    if of_fields + 1 == text.len() && fields.iter().all(|field| field.as_it_stands().is_some()) {
        // Every field stands in the record's text as it does here, and nothing else stands there.
        json.push(',');
        json.push_str(&text[1..]);
        return Ok(json);
    }
    for field in fields {
        json.push(',');
        match field.as_it_stands() {
            Some(field) => json.push_str(field),
            None => {
                write_quoted(&mut json, &field.name);
                json.push(':');
                json.push_str(field.value);
            }
        }
    }
    json.push('}');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{records::Splitter, *};

    fn rules() -> Rules<'static> {
        Rules::by_default(parse_utc("2026-11-20T12:00:00Z").unwrap())
    }

    fn feed() -> Feed {
        Feed::new(Some(ContentType::Feed(Workload::Exchange)), "blob", Some("2026-11-20T11:00:00.000Z"))
    }

    fn made(record: &str) -> (Document, Value) {
        let (mut splitter, mut documents) = (Splitter::default(), Vec::new());
        splitter.push(format!("[{record}]").as_bytes(), |record| documents.push(document(record, &feed(), rules()).unwrap())).unwrap();
        let document = documents.remove(0);
        let value = serde_json::from_str(&document.json).unwrap();
        (document, value)
    }

    #[test]
    fn a_record_becomes_a_document_with_its_own_fields_at_the_top() {
        let (document, value) =
            made(r#"{"CreationTime":"2026-11-20T10:00:00","Id":"2a-b","Operation":"FileAccessed","UserType":0,"RecordType":6}"#);
        // 0x… of the SHA-256 of "2a-b" decides the partition; the rest is as documented.
        let n = Sha256::digest(b"2a-b")[0] % 4;
        assert_eq!(
            value,
            json!({
                "id": "2a-b", "pk": format!("2026-11-20-{n}"), "ttl": 90 * 86_400 - 2 * 3600,
                "feed": {"contentType": "Audit.Exchange", "contentId": "blob", "contentCreated": "2026-11-20T11:00:00.000Z"},
                "edges": [],
                "CreationTime": "2026-11-20T10:00:00", "Id": "2a-b", "Operation": "FileAccessed", "UserType": 0, "RecordType": 6,
            })
        );
        assert_eq!(document.reduced, None);
    }

    #[test]
    fn ids_take_no_character_that_cosmos_forbids_and_never_fall_together() {
        for (id, expected) in [
            ("a/b\\\\c?d#e%f", "a%2Fb%5Cc%3Fd%23e%25f"),
            ("tab\\tnew\\u0085", "tab%09new%C2%85"),
            ("inner space ", "inner space%20"),
            ("two  ", "two %20"),
            (" ", "%20"),
        ] {
            assert_eq!(made(&format!(r#"{{"Id":"{id}"}}"#)).0.id, expected);
        }
        assert_eq!(made(r#"{"Id":"a","RecordNumber":2}"#).0.id, "a-2");
        assert_eq!(made(r#"{"Id":"a","RecordNumber":"3"}"#).0.id, "a-3");
    }

    #[test]
    fn a_record_without_a_usable_id_is_known_by_what_it_says() {
        let sorted = made(r#"{"A":1,"B":{"x":1,"y":[true]}}"#).0.id;
        assert!(sorted.starts_with("sha256-") && sorted.len() == 7 + 64, "{sorted}");
        assert_eq!(made(r#"{ "B":{"y":[true],"x":1}, "A":1 }"#).0.id, sorted);
        assert_ne!(made(r#"{"A":2,"B":{"x":1,"y":[true]}}"#).0.id, sorted);
        for id in ["null", "\"\"", "{}", "[1]", &format!("\"{}\"", "x".repeat(1024)), &format!("\"{}\"", "/".repeat(400))] {
            assert!(made(&format!(r#"{{"Id":{id}}}"#)).0.id.starts_with("sha256-"), "{id}");
        }
        assert_eq!(made(&format!(r#"{{"Id":"{}"}}"#, "x".repeat(1023))).0.id.len(), 1023);
    }

    #[test]
    fn retention_counts_from_the_event_and_leaves_at_least_a_day() {
        let ttl = |time: &str| made(&format!(r#"{{"Id":"a","CreationTime":{time}}}"#)).1["ttl"].as_i64().unwrap();
        assert_eq!(ttl("\"2026-11-20T12:00:00\""), 90 * 86_400);
        assert_eq!(ttl("\"2026-11-19T12:00:00Z\""), 89 * 86_400);
        assert_eq!(ttl("\"2021-03-23T15:45:38\""), 86_400);
        assert_eq!(ttl("\"2026-11-21T12:00:00.123\""), 91 * 86_400);
        assert_eq!(ttl("\"yesterday\""), 90 * 86_400);
        assert_eq!(ttl("null"), 90 * 86_400);
        assert!(made(r#"{"Id":"a","CreationTime":"yesterday"}"#).0.pk.starts_with("unknown-"));
    }

    #[test]
    fn a_field_whose_name_is_taken_is_kept_under_another() {
        let (_, value) = made(r#"{"Id":"a","id":1,"pk":2,"ttl":3,"feed":4,"edges":5,"omitted":6,"_ts":7,"record_id":8}"#);
        for (name, number) in [
            ("record_record_id", 1),
            ("record_pk", 2),
            ("record_ttl", 3),
            ("record_feed", 4),
            ("record_edges", 5),
            ("record_omitted", 6),
            ("record__ts", 7),
            ("record_id", 8),
        ] {
            assert_eq!(value[name], json!(number), "{name}");
        }
        assert_eq!(value["id"], json!("a"));
    }

    #[test]
    fn numbers_keep_their_text_where_a_double_would_change_them() {
        for (number, expected) in [
            ("9007199254740993", "\"9007199254740993\""),
            ("9007199254740992", "9007199254740992"),
            ("12345678901234567890123", "\"12345678901234567890123\""),
            ("-98765432109876543210", "\"-98765432109876543210\""),
            ("0.1234567890123456789", "\"0.1234567890123456789\""),
            ("1234567.890123456", "1234567.890123456"),
            ("1e400", "\"1e400\""),
            ("1E3", "1000.0"),
            ("100000000000000000000000", "100000000000000000000000"),
            ("1.10", "1.10"),
        ] {
            let (document, value) = made(&format!(r#"{{"Id":"a","N":[{number}],"T":"9007199254740993"}}"#));
            assert!(document.json.contains(&format!("\"N\":[{expected}]")), "{number}: {}", document.json);
            assert_eq!(value["T"], json!("9007199254740993"));
            assert_eq!(document.reduced, None);
        }
    }

    #[test]
    fn text_that_is_no_unicode_is_repaired_and_said_to_be() {
        let (document, value) = made(r#"{"Id":"a","T":"x\ud83dy\\ud83d \ud83d\ude00 \ude00","\udc00":1}"#);
        assert_eq!(value["T"], json!("x\u{fffd}y\\ud83d 😀 \u{fffd}"));
        assert_eq!(value["\u{fffd}"], json!(1));
        assert_eq!(document.reduced, Some(vec![]));
        let (_, value) = made(r#"{"Id":"a","T":"\ud83d\ude00"}"#);
        assert_eq!(value["T"], json!("😀"));
        let invalid = document_of_bytes(b"{\"Id\":\"a\",\"T\":\"\xff\"}");
        assert_eq!(invalid.reduced, Some(vec![]));
        assert!(invalid.json.contains('\u{fffd}'));
    }

    fn document_of_bytes(record: &[u8]) -> Document {
        document(Record::new(record, RecordFlags::default()), &feed(), rules()).unwrap()
    }

    #[test]
    fn what_cosmos_cannot_take_is_left_out_and_named() {
        let large = "x".repeat(1_500_000);
        let (document, value) = made(&format!(r#"{{"Id":"a","Small":1,"Large":"{large}","Larger":"{large}y"}}"#));
        assert_eq!(value["omitted"], json!(["Larger"]));
        assert_eq!((value["Small"].clone(), value["Large"].as_str().map(str::len)), (json!(1), Some(1_500_000)));
        assert!(document.json.len() <= MAX_BYTES);
        assert_eq!(document.reduced, Some(vec!["Larger".to_owned()]));

        let deep = format!("{}1{}", "[".repeat(130), "]".repeat(130));
        let (document, value) = made(&format!(r#"{{"Id":"a","Deep":{deep},"Flat":[1]}}"#));
        assert_eq!((value["omitted"].clone(), value["Flat"].clone()), (json!(["Deep"]), json!([1])));
        assert_eq!(document.reduced, Some(vec!["Deep".to_owned()]));
        let just = format!("{}1{}", "[".repeat(124), "]".repeat(124));
        assert_eq!(made(&format!(r#"{{"Id":"a","Deep":{just}}}"#)).0.reduced, None);

        let many: Vec<_> = (0..3000).map(|n| format!(r#""{n}":"{}""#, "y".repeat(1000))).collect();
        let (document, value) = made(&format!(r#"{{"Id":"a",{}}}"#, many.join(",")));
        assert!(document.json.len() <= MAX_BYTES && document.json.len() > MAX_BYTES / 2);
        assert_eq!(value["omitted"].as_array().map(Vec::len), Some(3000 + 1 + 6 - value.as_object().unwrap().len()));
    }

    #[test]
    fn a_record_that_is_cut_down_keeps_its_edges_and_their_room_is_counted() {
        let members: Vec<_> = (0..2000).map(|n| json!({"UPN": format!("someone-{n}@contoso.com")})).collect();
        let members = json!(members).to_string();
        for length in [MAX_BYTES - members.len() - 66_000, MAX_BYTES - members.len() - 1000, 3_000_000] {
            let large = "x".repeat(length);
            let (document, value) = made(&format!(
                r#"{{"Id":"a","UserId":"megan@contoso.com","ClientIP":"203.0.113.7","Members":{members},"Large":"{large}"}}"#
            ));
            let edges = value["edges"].as_array().unwrap();
            assert!(document.json.len() <= MAX_BYTES, "{length}: {}", document.json.len());
            assert_eq!((&edges[0]["to"], &edges[1]["to"]), (&json!("203.0.113.7"), &json!("someone-0@contoso.com")));
            assert!(edges.len() > 400 && value["edges"].to_string().len() <= 64 * 1024, "{}", edges.len());
            assert_eq!(document.reduced.is_some(), length > MAX_BYTES - members.len() - 66_000, "{length}");
        }
    }

    #[test]
    fn a_record_gives_the_same_document_whether_its_fields_were_read_while_it_was_cut_out_or_not() {
        let records = [
            r#"{"Id":"a","CreationTime":"2026-11-20T10:00:00","UserId":"a@b.c"}"#,
            r#" { "Id" : "b" , "L" : [ 1 , {"x":{}} ] } "#,
            r#"{"Id":"c","Id":"d","a":1,"A":2,"edges":[],"record_edges":1}"#,
            r#"{"Id":"e","N":1.0000000000000001,"T":"\ud800 \ud83d\ude00","M":"\u00e9\n","\u0041":[]}"#,
            r#"{"Id":"f","DetectedValues":["4111"],"Data":"{\"DetectedValues\":[\"x\"]}"}"#,
            r#"{"Id":"g","bad":tru}"#,
            "{}",
        ];
        let body = format!("[{}]", records.join(","));
        let mut count = 0;
        let cut = Splitter::default().push(body.as_bytes(), |record| {
            count += 1;
            let plain = Record::new(record.bytes, record.flags);
            assert_eq!(record.read.is_some(), !record.bytes.starts_with(b"{\"Id\":\"g"));
            assert_eq!(document(record, &feed(), rules()), document(plain, &feed(), rules()));
        });
        assert_eq!((cut, count), (Ok(()), records.len()));
    }

    proptest! {
        #[test]
        fn key_and_partition_are_the_records_alone(id in ".{0,40}", time in "[0-9T:-]{0,20}", content_id in ".{0,20}", later in 0_i64..10_000_000) {
            let record = json!({"Id": id, "CreationTime": time, "X": [1, {"y": null}]}).to_string();
            let cut = || Record::new(record.as_bytes(), RecordFlags::default());
            let first = document(cut(), &feed(), rules()).unwrap();
            let other = Feed::new(None, &content_id, None);
            let again = document(cut(), &other, Rules { now: rules().now + TimeDelta::seconds(later), ..rules() }).unwrap();
            prop_assert_eq!((&first.id, &first.pk), (&again.id, &again.pk));
            prop_assert!(!first.id.is_empty() && first.id.len() <= MAX_ID_BYTES);
            prop_assert!(!first.id.contains(['/', '\\', '?', '#']) && !first.id.ends_with(' '));
            let value: Value = serde_json::from_str(&first.json).unwrap();
            prop_assert_eq!(&value["X"], &json!([1, {"y": null}]));
        }

        #[test]
        fn doubles_survive_as_numbers(double in proptest::num::f64::NORMAL) {
            let text = serde_json::to_string(&double).unwrap();
            let (_, value) = made(&format!(r#"{{"N":{text}}}"#));
            prop_assert_eq!(value["N"].as_f64(), Some(double));
        }
    }
}
