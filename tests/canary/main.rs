//! The property of matched values: whatever form a record brings one in, its document does not hold it, and with `keep` holds every field
//! as it came.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed")]

mod form;

use chrono::DateTime;
use handler::document::{
    Document, Feed, Rules, document,
    records::Splitter,
    redact::{HashKey, Treatment},
};
use proptest::prelude::*;
use serde_json::{Value, value::RawValue};

use form::{Choices, holds, record};

const CANARY: &str = "QQ4111 1111-1111ZZ";

/// The document of a record that arrives in a body.
fn made(record: &str, matched_values: Treatment) -> Document {
    let feed = Feed::new(None, "blob", None);
    let rules = Rules { matched_values, ..Rules::by_default(DateTime::UNIX_EPOCH) };
    let (mut splitter, mut documents) = (Splitter::default(), Vec::new());
    splitter.push(format!("[{record}]").as_bytes(), |record| documents.push(document(record, &feed, rules).unwrap())).unwrap();
    splitter.finish().unwrap();
    documents.remove(0)
}

fn hash(secret: &str) -> Treatment {
    Treatment::Hash(HashKey::new(secret, "11111111-2222-3333-4444-555555555555"))
}

fn tokens(document: &Document) -> Vec<&str> {
    document.json.match_indices("dlp1:").filter_map(|(at, _)| document.json.get(at..at + 46)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_matched_value_is_in_no_document_whatever_form_it_comes_in(choices in prop::collection::vec(any::<u8>(), 0..40)) {
        let record = record(&mut Choices(&choices), CANARY);
        prop_assert!(holds(&record, CANARY), "{record}");
        prop_assert!(serde_json::from_str::<Value>(&record).is_ok(), "{record}");
        let dropped = made(&record, Treatment::Drop);
        prop_assert!(!holds(&dropped.json, "QQ4111") && !holds(&dropped.json, "1111ZZ"), "{record}\nbecame\n{}", dropped.json);
        let hashed = made(&record, hash("one"));
        prop_assert!(!holds(&hashed.json, "QQ4111") && !holds(&hashed.json, "1111ZZ"), "{record}\nbecame\n{}", hashed.json);
        let value: Value = serde_json::from_str(&dropped.json).unwrap();
        prop_assert!(value["redacted"]["values"].as_u64().is_some_and(|values| values > 0), "{}", dropped.json);

        // Which document it is depends on no setting and no key.
        let (other, kept) = (made(&record, hash("another")), made(&record, Treatment::Keep));
        for same in [&hashed, &other, &kept] {
            prop_assert_eq!((&dropped.id, &dropped.pk), (&same.id, &same.pk));
        }
        let (one, same, others) = (tokens(&hashed), made(&record, hash("one")), tokens(&other));
        prop_assert_eq!(&one, &tokens(&same));
        prop_assert!(!one.iter().any(|token| others.contains(token)));

        let fields: std::collections::HashMap<String, &RawValue> = serde_json::from_str(&kept.json).unwrap();
        let came: std::collections::HashMap<String, &RawValue> = serde_json::from_str(&record).unwrap();
        for (name, value) in came {
            prop_assert_eq!(fields[&name].get(), value.get());
        }
    }
}
