//! Plays back a file of audit records as a tenant's content: one JSON record a line, each served as it stands in the
//! file. A record that the file has more than once comes more than once, as from the service.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::pack::{self, ContentTally};
use super::{NewBlob, Tenant};

/// RecordTypes whose records come under DLP.All.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#auditlogrecordtype>
const DLP: [i64; 7] = [11, 13, 33, 63, 99, 100, 107];

/// Publishes a file's records and returns what they come to, by content type. The seed decides how they are packed.
///
/// # Errors
/// As [`blobs`].
pub fn publish(tenant: &Tenant, path: &Path, seed: u64) -> anyhow::Result<BTreeMap<String, ContentTally>> {
    Ok(pack::publish(tenant, blobs(path, seed, tenant.now())?))
}

/// A file's records, packed in their order into blobs that became available in the six and a half days before `now`.
///
/// # Errors
/// Where the file cannot be read, holds no record, or a line is not JSON; the error names file and line.
pub fn blobs(path: &Path, seed: u64, now: DateTime<Utc>) -> anyhow::Result<Vec<NewBlob>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut blobs = Vec::new();
    for (content_type, texts) in read(path)? {
        let slots = pack::plan(texts.len(), now, &mut rng);
        let mut texts = texts.into_iter();
        blobs.extend(slots.into_iter().map(|slot| NewBlob::new(content_type, slot.created, texts.by_ref().take(slot.records).collect())));
    }
    Ok(blobs)
}

/// A file's records by content type, each the text of its line.
fn read(path: &Path) -> anyhow::Result<BTreeMap<&'static str, Vec<String>>> {
    let file = File::open(path).with_context(|| format!("the records {} cannot be opened", path.display()))?;
    let mut records: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), i + 1);
        let line = line.with_context(|| format!("{}: cannot be read", place()))?;
        // The mark that some editors put before the first line is no part of it.
        let text = line.strip_prefix('\u{feff}').unwrap_or(&line).trim_end_matches('\r');
        if text.trim().is_empty() {
            continue;
        }
        let content_type = content_type(text).with_context(|| format!("{}: not JSON", place()))?;
        records.entry(content_type).or_default().push(text.to_owned());
    }
    if records.is_empty() {
        bail!("{} holds no record", path.display());
    }
    Ok(records)
}

/// Where a record belongs. What is no object, or names neither, comes as general: the service has no rule for it, and the handler
/// takes it all the same.
fn content_type(text: &str) -> serde_json::Result<&'static str> {
    #[derive(Default, Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "Workload", borrow)]
        workload: Option<&'a RawValue>,
        #[serde(rename = "RecordType", borrow)]
        record_type: Option<&'a RawValue>,
    }
    let _: IgnoredAny = serde_json::from_str(text)?;
    let kind: Kind<'_> = serde_json::from_str(text).unwrap_or_default();
    let workload = kind.workload.and_then(|text| serde_json::from_str::<String>(text.get()).ok()).unwrap_or_default();
    let record_type = kind.record_type.and_then(|text| text.get().trim_matches('"').parse::<i64>().ok());
    Ok(match workload.as_str() {
        _ if record_type.is_some_and(|number| DLP.contains(&number)) => "DLP.All",
        "AzureActiveDirectory" => "Audit.AzureActiveDirectory",
        "Exchange" => "Audit.Exchange",
        "SharePoint" | "OneDrive" => "Audit.SharePoint",
        _ => "Audit.General",
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use std::collections::HashSet;
    use std::io::Write;

    use chrono::TimeDelta;

    use super::*;
    use crate::tenant::Body;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn lines_keep_their_text_and_go_to_their_content_type() {
        let lines = [
            (r#"{"Id":"a","Workload":"AzureActiveDirectory","RecordType":15}"#, "Audit.AzureActiveDirectory"),
            (r#"{ "Id":"b", "Workload":"Exchange", "RecordType":13 , "n":1.50e3}"#, "DLP.All"),
            (r#"{"Id":"c","Workload":"OneDrive","RecordType":6}"#, "Audit.SharePoint"),
            (r#"{"Id":"d"}"#, "Audit.General"),
            (r#"{"Id":"e","Workload":"Exchange","RecordType":"ExchangeAdmin"}"#, "Audit.Exchange"),
            (r#"{"Id":"f","Workload":"Exchange","RecordType":"13"}"#, "DLP.All"),
            (r#"{"Id":"g","Workload":7,"RecordType":null}"#, "Audit.General"),
            (r#"["no object"]"#, "Audit.General"),
            ("null", "Audit.General"),
        ];
        let file = file(&lines.map(|(text, _)| text).join("\r\n"));
        let blobs = blobs(file.path(), 1, Utc::now()).unwrap();
        for (text, content_type) in lines {
            let holds = |body: &Body| matches!(body, Body::Records(texts) if texts.iter().any(|found| found == text));
            let found = blobs.iter().any(|blob| blob.content_type == content_type && holds(&blob.body));
            assert!(found, "{text}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let file = file("{\"Id\":\"a\"}\n\n{\"Id\":\n");
        let error = format!("{:#}", blobs(file.path(), 1, Utc::now()).unwrap_err());
        assert!(error.contains("line 3"), "{error}");
        let error = blobs(Path::new("/nowhere/records.ndjson"), 1, Utc::now()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/records.ndjson"), "{error}");
    }

    #[test]
    fn blobs_spread_over_the_days_before_with_ties_and_a_last_hour() {
        let line = "{\"Id\":\"a\",\"Workload\":\"Exchange\"}\n";
        let file = file(&line.repeat(9000));
        let now = Utc::now();
        let blobs = blobs(file.path(), 7, now).unwrap();
        assert!(blobs.iter().all(|blob| blob.created <= now && now - blob.created < TimeDelta::days(7)));
        assert!(blobs.iter().any(|blob| now - blob.created < TimeDelta::hours(1)));
        assert!(blobs.iter().map(|blob| blob.created).collect::<HashSet<_>>().len() < blobs.len());
        let tally = pack::tally(&blobs)["Audit.Exchange"];
        assert_eq!((tally.blobs, tally.records, tally.ids), (blobs.len(), 9000, 1));
    }
}
