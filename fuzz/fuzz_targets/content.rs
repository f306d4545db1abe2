//! A content blob's body: however it is cut into chunks, the same records come out, and each becomes a document that is
//! valid JSON with a usable key, or is refused.
#![no_main]

use chrono::DateTime;
use handler::document::{
    Feed, Rules, document,
    records::{BodyError, Record, RecordFlags, Splitter},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, body) = input;
    let whole = split(body, usize::MAX);
    assert_eq!(whole, split(body, usize::from(size) + 1));
    for (record, flags) in whole.into_iter().flatten() {
        check(&record, flags);
    }
});

fn split(body: &[u8], size: usize) -> Result<Vec<(Vec<u8>, RecordFlags)>, BodyError> {
    let (mut splitter, mut records) = (Splitter::default(), Vec::new());
    for chunk in body.chunks(size) {
        splitter.push(chunk, |record| {
            let (bytes, flags) = (record.bytes.to_vec(), record.flags);
            let again = document(Record::new(&bytes, flags), &feed(), rules());
            assert_eq!(document(record, &feed(), rules()), again, "fields that were read on the way");
            records.push((bytes, flags));
        })?;
    }
    splitter.finish()?;
    Ok(records)
}

fn feed() -> Feed {
    Feed::new(None, "blob", None)
}

fn rules() -> Rules<'static> {
    Rules::by_default(DateTime::UNIX_EPOCH)
}

fn check(record: &[u8], flags: RecordFlags) {
    let record = || Record::new(record, flags);
    let Ok(document) = document(record(), &feed(), rules()) else { return };
    let json: serde_json::Value = serde_json::from_str(&document.json).expect("a document is valid JSON");
    assert_eq!(json["id"], document.id);
    assert_eq!(json["pk"], document.pk);
    assert!(json["ttl"].as_i64().is_some_and(|ttl| ttl >= 86_400));
    assert!(!document.id.is_empty() && document.id.len() <= 1023);
    assert!(!document.id.contains(['/', '\\', '?', '#']) && !document.id.ends_with(' '));
    assert!(document.json.len() <= 2 * 1024 * 1024);
    let again = handler::document::document(record(), &feed(), rules()).expect("the same again");
    assert_eq!((document.id, document.pk), (again.id, again.pk));
}
