//! The account of a storm: holds what is known against what was promised, and says the first difference. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::Value;

use super::StormOptions;
use super::evidence::{Evidence, Line, Witnessed};
use super::figures::StormCounts;
use crate::case::manifest::{Day, Manifest};
use crate::text_table::{Count, TextTable};

/// A `Date` header's resolution, and the way here.
const CLOCK: TimeDelta = TimeDelta::seconds(3);
/// What is refused is given up when it is refused again so long afterwards.
const DOUBT: TimeDelta = TimeDelta::minutes(61);
/// For so long after it became available can content be listed.
const LISTABLE: TimeDelta = TimeDelta::days(7);
/// What a document has on top of its record's own fields.
const ADDED: [&str; 11] = ["id", "pk", "ttl", "feed", "edges", "findings", "_rid", "_self", "_etag", "_ts", "_attachments"];

/// What came of a storm.
#[derive(Clone, Debug)]
pub struct StormReport {
    options: StormOptions,
    counts: StormCounts,
    answers: BTreeMap<u16, u64>,
    /// Of content blobs, by what became of them.
    fates: BTreeMap<String, usize>,
    blobs: usize,
    stored: usize,
    /// Reasons of content that was given up, by contentId.
    lost: BTreeMap<String, String>,
    records: usize,
    ids: usize,
    documents: usize,
    doubled: usize,
    missing: usize,
    /// Records of stored content that the journal says were left out.
    left_out: usize,
    /// Lost content that was served whole, and what of it is documents all the same.
    in_vain: usize,
    documented: usize,
    poisoned: usize,
    gaps: usize,
    seconds: f64,
    /// Where what is there is not what was promised, first things first.
    pub differences: Vec<String>,
}

impl StormReport {
    pub(super) fn new(options: StormOptions, counts: StormCounts, evidence: &Evidence, took: Duration) -> Self {
        let mut account = Self {
            options,
            counts,
            answers: evidence.answers.clone(),
            fates: BTreeMap::new(),
            blobs: evidence.blobs.len(),
            stored: 0,
            lost: BTreeMap::new(),
            records: evidence.blobs.iter().map(|witnessed| witnessed.blob.records.len()).sum(),
            ids: 0,
            documents: evidence.documents.len(),
            doubled: 0,
            missing: 0,
            left_out: 0,
            in_vain: 0,
            documented: 0,
            poisoned: evidence.poison.len(),
            gaps: evidence.gaps,
            seconds: took.as_secs_f64(),
            differences: Vec::new(),
        };
        let records = Records::of(evidence);
        account.ids = records.by_id.len();
        let documents = account.documents(evidence, &records);
        account.blobs(evidence, &documents);
        account.surroundings(evidence);
        account.exported(evidence);
        account
    }

    /// Whether everything promised was kept.
    pub fn is_kept(&self) -> bool {
        self.differences.is_empty()
    }

    /// Each document is one record's, and the only one of its id. Returns them by id.
    fn documents<'a>(&mut self, evidence: &'a Evidence, records: &Records) -> HashMap<&'a str, &'a Value> {
        let mut documents: HashMap<&str, &Value> = HashMap::new();
        for document in &evidence.documents {
            let id = document["id"].as_str().unwrap_or_default();
            if documents.insert(id, document).is_some() {
                self.doubled += 1;
                self.differences.push(format!("record {id} is a document twice"));
            }
            match records.by_id.get(id) {
                None => self.differences.push(format!("document {id} is no record's")),
                Some(_) if records.is_left_out(id) => {
                    self.differences.push(format!("document {id} is of a record that the settings leave out"));
                }
                Some(record) if !is_same(document, record) => self.differences.push(format!("document {id} is not what its record says")),
                Some(_) if !records.is_in(id, document["feed"]["contentId"].as_str()) => {
                    self.differences.push(format!("document {id} says it is from {}, which does not hold it", document["feed"]));
                }
                Some(_) => {}
            }
        }
        documents
    }

    /// Each content blob is stored with all its records, or lost as the tenant confirms, or was gone before it could be queued.
    fn blobs(&mut self, evidence: &Evidence, documents: &HashMap<&str, &Value>) {
        for witnessed in &evidence.blobs {
            let lines = evidence.journal.get(&witnessed.blob.id).map(Vec::as_slice).unwrap_or_default();
            match fate(witnessed, lines, evidence) {
                Ok(fate) => {
                    self.lost.extend(fate.reason().map(|reason| (witnessed.blob.id.clone(), reason.to_owned())));
                    self.stored += usize::from(matches!(fate, Fate::Stored));
                    *self.fates.entry(fate.to_string()).or_default() += 1;
                    if matches!(fate, Fate::Stored) {
                        self.left_out += left_out(witnessed);
                        self.records(witnessed, documents);
                    } else if witnessed.served > 0 {
                        self.in_vain += 1;
                        let is_document = |id: String| documents.contains_key(id.as_str());
                        self.documented += usize::from(kept(witnessed).all(is_document));
                    }
                }
                Err(difference) => {
                    *self.fates.entry("not as promised".to_owned()).or_default() += 1;
                    self.differences.push(difference);
                }
            }
        }
        let known: std::collections::HashSet<_> = evidence.blobs.iter().map(|witnessed| witnessed.blob.id.as_str()).collect();
        for id in evidence.journal.keys().filter(|id| !known.contains(id.as_str())) {
            self.differences.push(format!("the journal names content {id}, which the tenant never published"));
        }
    }

    fn records(&mut self, witnessed: &Witnessed, documents: &HashMap<&str, &Value>) {
        for id in kept(witnessed) {
            if !documents.contains_key(id.as_str()) {
                self.missing += 1;
                self.differences.push(format!("record {id} of {} is no document, but the journal says stored", witnessed.blob.id));
            }
        }
    }

    fn surroundings(&mut self, evidence: &Evidence) {
        for id in &evidence.poison {
            let lines = evidence.journal.get(id).map(Vec::as_slice).unwrap_or_default();
            if !lines.iter().any(|line| line.event == "stored" || line.event == "lost") {
                self.differences.push(format!("content {id} is in the poison queue, and neither stored nor lost"));
            }
        }
        if evidence.stops > 0 {
            self.differences.push(format!("/subscriptions/stop was called {} times", evidence.stops));
        }
        if evidence.foreign_calls > 0 {
            self.differences.push(format!("a foreign host was called {} times", evidence.foreign_calls));
        }
        if evidence.strangers_journal > 0 {
            self.differences.push("the journal of another tenant's collector knows of content that is not its own".to_owned());
        }
        if evidence.gaps > 0 {
            self.differences.push(format!("{} gaps are written down, where everything could be listed in time", evidence.gaps));
        }
    }

    /// The manifest of an export gives up the same content, for the same reasons, and holds every document.
    fn exported(&mut self, evidence: &Evidence) {
        let Manifest { files, completeness, .. } = &evidence.exported;
        let sum = |of: fn(&Day) -> u64| completeness.workloads.iter().map(of).sum::<u64>();
        let rows: u64 = files.iter().filter(|file| file.name == "records.ndjson").map(|file| file.rows).sum();
        let told = [
            ("content blobs listed", sum(|day| day.listed), evidence.journal.len()),
            ("content blobs stored", sum(|day| day.stored), self.stored),
            ("content blobs lost", sum(|day| day.lost), self.lost.len()),
            ("content blobs waiting", sum(|day| day.waiting), 0),
            ("ranges that could not be listed", completeness.gaps.len() as u64, evidence.gaps),
            ("documents", rows, evidence.documents.len()),
        ];
        for (what, said, counted) in told.into_iter().filter(|(_, said, counted)| *said != *counted as u64) {
            self.differences.push(format!("the manifest of an export counts {said} {what}, and there are {counted}"));
        }
        let said: BTreeMap<_, _> = completeness.lost.iter().map(|lost| (lost.id.as_str(), lost.reason.as_str())).collect();
        for (id, reason) in &self.lost {
            if !said.get(id.as_str()).is_some_and(|said| said.starts_with(reason.as_str())) {
                let said = said.get(id.as_str()).unwrap_or(&"nothing");
                self.differences.push(format!("of content {id}, lost since {reason}, the manifest of an export says: {said}"));
            }
        }
    }
}

/// What became of a content blob.
enum Fate {
    Stored,
    Lost(String),
    /// It was gone before any listing.
    NeverListed,
    /// It stood on a page, but was gone before a run lived to queue it.
    GoneBeforeQueued,
}

impl Fate {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::Lost(reason) => Some(reason),
            _ => None,
        }
    }
}

impl Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("stored"),
            Self::Lost(reason) => write!(f, "lost: {reason}"),
            Self::NeverListed => f.write_str("gone before it was listed"),
            Self::GoneBeforeQueued => f.write_str("gone before it was queued"),
        }
    }
}

fn fate(witnessed: &Witnessed, lines: &[Line], evidence: &Evidence) -> Result<Fate, String> {
    let (blob, id) = (&witnessed.blob, &witnessed.blob.id);
    if let Some(line) = lines.iter().find(|line| line.event == "lost" && !is_confirmed(line, witnessed)) {
        return Err(format!(
            "content {id} is journalled lost ({}{}) at {}, which the tenant does not confirm: created {}, expires {}",
            line.reason.as_deref().unwrap_or("no reason"),
            line.code.as_deref().map(|code| format!(", {code}")).unwrap_or_default(),
            line.at,
            blob.created,
            blob.expires
        ));
    }
    if let Some(line) = lines.iter().find(|line| line.event == "stored" && line.records != Some(blob.records.len())) {
        return Err(format!(
            "content {id} holds {} records, but is journalled stored with {:?} at {}",
            blob.records.len(),
            line.records,
            line.at
        ));
    }
    let expected = left_out(witnessed);
    if let Some(line) = lines.iter().find(|line| line.event == "stored" && line.left_out != expected) {
        return Err(format!(
            "content {id} holds {expected} records that the settings leave out, but is journalled with {} of them at {}",
            line.left_out, line.at
        ));
    }
    let is_gone = blob.expires <= evidence.now.min(blob.created + LISTABLE - TimeDelta::seconds(1)) || blob.withdrawn.is_some();
    match (lines.iter().find(|line| line.event == "lost"), lines.last()) {
        _ if lines.iter().any(|line| line.event == "stored") => Ok(Fate::Stored),
        (Some(line), _) => Ok(Fate::Lost(line.reason.clone().unwrap_or_default())),
        (None, Some(line)) => Err(format!("content {id} is journalled {} at {}, and neither stored nor lost", line.event, line.at)),
        (None, None) if is_gone && witnessed.listed == 0 => Ok(Fate::NeverListed),
        (None, None) if is_gone => Ok(Fate::GoneBeforeQueued),
        (None, None) => Err(format!(
            "content {id}, available since {}, is nowhere in the journal; it stood on {} pages",
            blob.available, witnessed.listed
        )),
    }
}

/// Whether the tenant says the same as a line that gives content up.
fn is_confirmed(line: &Line, Witnessed { blob, refused, .. }: &Witnessed) -> bool {
    let first_word = line.at - DOUBT;
    let is_said_twice =
        refused.iter().any(|at| *at <= first_word + CLOCK) && refused.iter().filter(|at| **at <= line.at + CLOCK).count() > 1;
    match line.reason.as_deref() {
        Some(reason) if reason == "content expired" || reason.starts_with("expired before it could be stored") => {
            blob.expires <= line.at + CLOCK
        }
        // The tenant said so, and said so again an hour later.
        Some("content does not exist" | "content id invalid") => is_said_twice,
        // PlannedContent that could be had all the time is never excused by its age: it should have come home.
        Some("never stored, and too old to be listed again") => {
            let was_gone = blob.withdrawn.is_some() || blob.is_foreign || blob.expires < blob.created + LISTABLE;
            was_gone && blob.created + LISTABLE <= line.at + CLOCK
        }
        _ => false,
    }
}

/// How many records of a content blob the settings leave out.
fn left_out(witnessed: &Witnessed) -> usize {
    witnessed.blob.records.len() - kept(witnessed).count()
}

/// The ids of the records of a content blob that the settings do not leave out.
fn kept(Witnessed { blob, .. }: &Witnessed) -> impl Iterator<Item = String> {
    let records = blob.records.iter().map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
    records.filter(|record| !blob.leaves_out(record)).map(|record| record_id(&record))
}

/// What the tenant published, by the id of its document.
struct Records {
    by_id: HashMap<String, Value>,
    /// The content blobs in which the settings do not leave it out.
    blobs: HashMap<String, Vec<String>>,
}

impl Records {
    fn of(evidence: &Evidence) -> Self {
        let mut records = Self { by_id: HashMap::new(), blobs: HashMap::new() };
        for witnessed in &evidence.blobs {
            for id in kept(witnessed) {
                records.blobs.entry(id).or_default().push(witnessed.blob.id.clone());
            }
            for text in &witnessed.blob.records {
                let record: Value = serde_json::from_str(text).unwrap_or_default();
                records.by_id.entry(record_id(&record)).or_insert(record);
            }
        }
        records
    }

    fn is_left_out(&self, id: &str) -> bool {
        !self.blobs.contains_key(id)
    }

    fn is_in(&self, id: &str, content_id: Option<&str>) -> bool {
        self.blobs.get(id).is_some_and(|blobs| blobs.iter().any(|blob| Some(blob.as_str()) == content_id))
    }
}

/// Generated records all have an Id, a GUID: its document's id.
fn record_id(record: &Value) -> String {
    record["Id"].as_str().unwrap_or_default().to_owned()
}

fn is_same(document: &Value, record: &Value) -> bool {
    let (Some(document), Some(record)) = (document.as_object(), record.as_object()) else { return false };
    let own = document.iter().filter(|(name, _)| !ADDED.contains(&name.as_str()));
    own.clone().count() == record.len() && own.into_iter().all(|(name, value)| record.get(name) == Some(value))
}

impl Display for StormReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StormOptions { seed, minutes, records_count } = self.options;
        let (records, seconds) = (Count(records_count as u64), self.seconds);
        writeln!(f, "Storm of seed {seed}: {minutes} min of faults over two handlers, {records} records; {seconds:.0} s in all.\n")?;
        writeln!(f, "{}", self.acts())?;
        writeln!(f, "{}", self.work())?;
        writeln!(f, "{}", self.content())?;
        match self.differences.as_slice() {
            [] => write!(f, "Every record is a document once, or its loss is on record and the tenant confirms it."),
            [first, ..] => write!(f, "{} differences from what was promised; the first: {first}", self.differences.len()),
        }
    }
}

impl StormReport {
    fn acts(&self) -> TextTable {
        let mut table = TextTable::new(["what was done", "times", "requests met"]);
        for (kind, (times, met)) in &self.counts.acts {
            let met = if *met > 0 { Count(*met).to_string() } else { String::new() };
            table.row([kind.clone(), Count(*times).to_string(), met]);
        }
        table
    }

    fn work(&self) -> TextTable {
        let mut table = TextTable::new(["what the handlers did", "all", "well"]);
        let StormCounts { timers, deliveries, poisoned, said, .. } = &self.counts;
        for (words, (well, all)) in [("runs of the timer", timers), ("deliveries of messages", deliveries)] {
            table.row([words.to_owned(), Count(*all).to_string(), Count(*well).to_string()]);
        }
        let mut row = |words: &str, count: u64| table.row([words.to_owned(), Count(count).to_string(), String::new()]);
        row("messages poisoned", *poisoned);
        row("content blobs in them", self.poisoned as u64);
        SAID.iter().for_each(|(name, words)| row(words, said.get(name).copied().unwrap_or(0)));
        for (status, count) in &self.answers {
            row(&if *status == 0 { "API calls without an answer".to_owned() } else { format!("API calls answered {status}") }, *count);
        }
        table
    }

    fn content(&self) -> TextTable {
        let mut table = TextTable::new(["the account", "count"]);
        let mut row = |words: &str, count: usize| table.row([words.to_owned(), Count(count as u64).to_string()]);
        row("content blobs published", self.blobs);
        self.fates.iter().for_each(|(fate, count)| row(&format!("  {fate}"), *count));
        row("  of those not stored, served whole at least once", self.in_vain);
        row("    of these, all documents though not journalled stored", self.documented);
        row("time ranges given up (gaps)", self.gaps);
        row("records published", self.records);
        row("different records", self.ids);
        row("of stored content, records left out", self.left_out);
        row("documents", self.documents);
        row("doubled", self.doubled);
        row("missing", self.missing);
        table
    }
}

/// Sums of the handlers' own log, and what they mean.
const SAID: [(&str, &str); 8] = [
    ("messages", "messages queued by the timer"),
    ("queued", "content blobs queued by the timer"),
    ("late", "of these, late"),
    ("overdue", "of these, queued again as overdue"),
    ("requeued", "content blobs put off"),
    ("lost", "content blobs given up"),
    ("documents", "documents written"),
    ("duplicates", "duplicates met"),
];

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::json;

    use super::super::content::Published;
    use super::*;
    use crate::case::manifest::{Completeness, Listed, Lost};

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    /// One content blob with one record, stored, ten days later.
    fn evidence() -> Evidence {
        let blob = Published {
            id: "blob".to_owned(),
            content_type: "Audit.SharePoint".to_owned(),
            created: at(0),
            available: at(0),
            expires: at(7 * 24),
            records: vec![r#"{"Id":"a","Size":1.5}"#.to_owned()],
            is_foreign: false,
            withdrawn: None,
            seen_before_withdrawn: None,
        };
        Evidence {
            blobs: vec![Witnessed { blob, listed: 1, served: 1, refused: Vec::new() }],
            journal: HashMap::from([("blob".to_owned(), vec![line("queued", None), line("stored", None)])]),
            documents: vec![json!({ "id": "a", "pk": "p", "ttl": 1, "feed": { "contentId": "blob" }, "Size": 1.5, "Id": "a" })],
            poison: Vec::new(),
            stops: 0,
            foreign_calls: 0,
            answers: BTreeMap::new(),
            gaps: 0,
            strangers_journal: 0,
            exported: exported(Day { listed: 1, stored: 1, ..Day::default() }, &[], 1),
            now: at(10 * 24),
        }
    }

    fn exported(day: Day, lost: &[&str], rows: u64) -> Manifest {
        let lost = lost.iter().map(|reason| Lost { id: "blob".to_owned(), reason: (*reason).to_owned() }).collect();
        Manifest {
            version: String::new(),
            made: String::new(),
            asked: Value::Null,
            files: vec![Listed { name: "records.ndjson".to_owned(), sha256: String::new(), bytes: 0, rows }],
            completeness: Completeness::judge(vec![day], Vec::new(), lost, Vec::new()),
        }
    }

    fn line(event: &str, reason: Option<&str>) -> Line {
        let (event, reason) = (event.to_owned(), reason.map(str::to_owned));
        Line { at: at(9 * 24), event, id: "blob".to_owned(), records: Some(1), left_out: 0, reason, code: None }
    }

    fn differences(evidence: &Evidence) -> Vec<String> {
        let options = StormOptions { seed: 1, minutes: 1.0, records_count: 1 };
        StormReport::new(options, StormCounts::default(), evidence, Duration::ZERO).differences
    }

    #[test]
    fn what_was_kept_is_no_difference() {
        assert_eq!(differences(&evidence()), [] as [&str; 0]);
    }

    #[test]
    fn each_breach_is_a_difference() {
        type Breach = (&'static str, fn(&mut Evidence));
        let breaches: [Breach; 16] = [
            ("is no document", |evidence| evidence.documents.clear()),
            ("is a document twice", |evidence| evidence.documents.push(evidence.documents[0].clone())),
            ("is not what its record says", |evidence| evidence.documents[0]["Size"] = json!(2)),
            ("which does not hold it", |evidence| evidence.documents[0]["feed"]["contentId"] = json!("other")),
            ("is no record's", |evidence| evidence.documents[0]["id"] = json!("b")),
            ("neither stored nor lost", |evidence| evidence.journal.values_mut().for_each(|lines| lines.truncate(1))),
            ("of a record that the settings leave out", |evidence| {
                evidence.blobs[0].blob.records[0] = r#"{"Id":"a","Operation":"MailItemsAccessed","Size":1.5}"#.to_owned();
            }),
            ("with 1 of them", |evidence| evidence.journal.values_mut().flatten().for_each(|line| line.left_out = 1)),
            ("nowhere in the journal", |evidence| evidence.journal.clear()),
            ("does not confirm", |evidence| {
                let line = line("lost", Some("never stored, and too old to be listed again"));
                evidence.journal.insert("blob".to_owned(), vec![line]);
            }),
            ("does not confirm", |evidence| {
                evidence.blobs[0].refused = vec![at(9 * 24)];
                evidence.journal.insert("blob".to_owned(), vec![line("lost", Some("content id invalid"))]);
            }),
            ("counts 2 content blobs stored", |evidence| evidence.exported.completeness.workloads[0].stored = 2),
            ("counts 0 documents", |evidence| evidence.exported.files[0].rows = 0),
            ("another tenant's collector", |evidence| evidence.strangers_journal = 1),
            ("stop was called", |evidence| evidence.stops = 1),
            ("foreign host", |evidence| evidence.foreign_calls = 1),
        ];
        for (expected, breach) in breaches {
            let mut evidence = evidence();
            breach(&mut evidence);
            let differences = differences(&evidence);
            assert!(differences.first().is_some_and(|first| first.contains(expected)), "{expected}: {differences:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_no_document_and_counted_to_the_unit() {
        let mut evidence = evidence();
        evidence.blobs[0].blob.records.push(r#"{"Id":"b","Operation":"FileAccessed"}"#.to_owned());
        evidence.journal.values_mut().flatten().for_each(|line| (line.records, line.left_out) = (Some(2), 1));
        assert_eq!(differences(&evidence), [] as [&str; 0]);
        // Under another content type the settings do not leave it out.
        evidence.blobs[0].blob.content_type = "Audit.General".to_owned();
        assert!(differences(&evidence)[0].contains("holds 0 records that the settings leave out"));
    }

    #[test]
    fn a_loss_that_the_tenant_confirms_is_no_difference() {
        let mut evidence = evidence();
        let manifest = |reason| exported(Day { listed: 1, lost: 1, ..Day::default() }, &[reason], 0);
        evidence.documents.clear();
        evidence.journal.insert("blob".to_owned(), vec![line("queued", None), line("lost", Some("content expired"))]);
        evidence.exported = manifest("content expired (AF20051)");
        assert_eq!(differences(&evidence), [] as [&str; 0]);
        evidence.blobs[0].refused = vec![at(9 * 24 - 2), at(9 * 24)];
        evidence.journal.insert("blob".to_owned(), vec![line("lost", Some("content does not exist"))]);
        assert!(differences(&evidence)[0].contains("the manifest of an export says: content expired"));
        evidence.exported = manifest("content does not exist");
        assert_eq!(differences(&evidence), [] as [&str; 0]);
    }
}
