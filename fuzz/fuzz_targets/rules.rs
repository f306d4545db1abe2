//! Rules of others and what is silenced: whatever stands in the state container, reading it does not panic, and asking it ends soon.
#![no_main]

use std::time::{Duration, Instant};

use handler::findings::{RuleSet, Silences};
use libfuzzer_sys::fuzz_target;

// The first line is what is silenced, the rest are rules. They are asked of one record with long texts in every kind of place, and over
// time of many short ones, so that a run ends soon.
fuzz_target!(|text: &str| {
    let (silence, rules) = text.split_once('\n').unwrap_or(("", text));
    let set = RuleSet::without_ours("rules/x.yml", rules, Silences::read(silence).unwrap_or_default());
    let began = Instant::now();
    let _ = set.ask_document(&record("1", &"ab".repeat(20_000)));
    let mut over_time = set.over_time();
    for line in 0..50 {
        over_time.take(line, &record(&line.to_string(), "ab"));
    }
    let _ = over_time.findings();
    assert!(began.elapsed() < Duration::from_secs(60), "a rule stalls the handler");
});

fn record(id: &str, text: &str) -> String {
    serde_json::json!({
        "Id": id, "CreationTime": "2026-11-20T10:00:00", "Operation": "UserLoggedIn", "UserId": text, "ClientIP": "192.0.2.1",
        "Parameters": vec![serde_json::json!({"Name": "x", "Value": text}); 10], "Data": serde_json::json!([{ "a": text }]).to_string(),
    })
    .to_string()
}
