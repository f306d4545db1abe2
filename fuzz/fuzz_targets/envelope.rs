//! The host's envelope: whatever is posted, reading it does not panic.
#![no_main]

use handler::envelope::QueueMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = QueueMessage::read(body);
});
