//! Checkpoint and journal: whatever a person or an accident left in them, reading them does not panic.
#![no_main]

use chrono::DateTime;
use handler::state::{Shard, checkpoint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = checkpoint::parse("Audit.Exchange.log", text, DateTime::UNIX_EPOCH);
    let mut shard = Shard::default();
    let _ = shard.read(text);
    for (id, _) in shard.queued_before(DateTime::<chrono::Utc>::MAX_UTC) {
        assert!(shard.standing(id).is_some());
    }
});
