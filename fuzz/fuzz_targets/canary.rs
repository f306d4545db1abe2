//! A value that data loss prevention matched: in whatever form a record brings it, the record's document does not hold it.
#![no_main]

use chrono::DateTime;
use handler::document::{
    Feed, Rules, document,
    records::Splitter,
    redact::{HashKey, Treatment},
};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/canary/form.rs"]
mod form;

use form::{Choices, holds, record};

fuzz_target!(|input: &[u8]| {
    let record = record(&mut Choices(input), "QQ4111 1111-1111ZZ");
    let feed = Feed::new(None, "blob", None);
    for matched_values in [Treatment::Drop, Treatment::Hash(HashKey::new("secret", "tenant"))] {
        let rules = Rules { matched_values, ..Rules::by_default(DateTime::UNIX_EPOCH) };
        let mut splitter = Splitter::default();
        let cut = splitter.push(format!("[{record}]").as_bytes(), |record| {
            let document = document(record, &feed, rules).expect("a record is JSON");
            assert!(!holds(&document.json, "QQ4111") && !holds(&document.json, "1111ZZ"), "{}", document.json);
        });
        cut.expect("a body is cut");
    }
});
