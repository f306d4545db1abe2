//! What the rules find in the simulated tenant: its attack, each step once, and nothing in a tenant without one.

use std::collections::BTreeMap;

use chrono::Utc;
use handler::findings::{Level, RuleSet};
use standins::tenant::{Body, NewBlob, generate};

/// Titles at medium or above, with how often each came, those over time included. A record that repeats another counts once.
fn found(blobs: &[NewBlob]) -> BTreeMap<String, u32> {
    let set = RuleSet::ours();
    let (mut over_time, mut found, mut seen) = (set.over_time(), BTreeMap::new(), std::collections::HashSet::new());
    let texts = blobs.iter().flat_map(|blob| match &blob.body {
        Body::Records(texts) => texts.as_slice(),
        _ => &[],
    });
    let mut count = |title: &str, level: Level| {
        if level >= Level::Medium {
            *found.entry(title.to_owned()).or_default() += 1;
        }
    };
    for (line, text) in (0..).zip(texts.filter(|text| seen.insert(*text))) {
        over_time.take(line, text);
        set.ask_document(text).unwrap().iter().for_each(|finding| count(finding.title, finding.level));
    }
    over_time.findings().values().flatten().for_each(|finding| count(finding.title, finding.level));
    found
}

#[test]
fn the_attack_in_the_simulated_tenant_is_found_step_by_step_each_once() {
    let found = found(&generate::generate(1, 20_000, Utc::now()));
    let steps = [
        "Password spray by a program",
        "Sign-in from an address whose program sprayed passwords",
        "Inbox rule forwards mail",
        "Full access to a mailbox given",
        "Full access to a mailbox given, then used by who gave it",
        "Mail of a mailbox forwarded",
        "Many files taken",
        "Somebody outside may rule a site or file",
        "Consent that opens mail, files or the directory",
    ];
    for step in steps {
        assert_eq!(found.get(step), Some(&1), "{step}: {found:#?}");
    }
    assert!(found.values().all(|count| *count == 1), "{found:#?}");
}

#[test]
fn a_tenant_without_an_attack_gives_nothing_to_look_at() {
    for seed in 1..4 {
        let found = found(&generate::generate_calm(seed, 20_000, Utc::now()));
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}
