//! The queue message: whatever is on the queue, reading it does not panic, and what was read is written and read the same.
#![no_main]

use handler::batch::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(items) = decode(text) {
        let again = decode(&encode(&items).expect("items serialise")).expect("what we wrote we read");
        assert_eq!(items, again);
    }
});
