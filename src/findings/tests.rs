//! Each rule of ours against its own records, and what others' rules may do.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json, value::RawValue};

use super::*;

fn data() -> impl Iterator<Item = (String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/findings");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|path| {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let lines = fs::read_to_string(path).unwrap();
        lines.lines().map(move |line| (file.clone(), serde_json::from_str(line).unwrap())).collect::<Vec<_>>()
    })
}

/// Titles of what records fire, those over time included.
fn titles(set: &RuleSet, records: &[Value]) -> Vec<String> {
    let mut over_time = set.over_time();
    let mut titles = Vec::new();
    for (line, record) in (0..).zip(records) {
        let text = record.to_string();
        let fields = Fields::of(&text).unwrap();
        titles.extend(set.ask(&fields).iter().map(|finding| finding.title.to_owned()));
        over_time.take(line, &text);
    }
    titles.extend(over_time.findings().into_values().flatten().map(|finding| finding.title.to_owned()));
    titles
}

/// As [`titles`], with those of rules that are only counted.
fn fired(set: &RuleSet, records: &[Value]) -> Vec<String> {
    let mut all = titles(set, records);
    for record in records {
        let text = record.to_string();
        let fields = Fields::of(&text).unwrap();
        all.extend(set.fired(&fields, |_| true).into_iter().map(|place| set.rules[place].title.clone()));
    }
    all
}

#[test]
fn every_rule_of_ours_fires_on_its_records_and_not_on_its_near_misses() {
    let set = RuleSet::ours();
    let mut proven: BTreeMap<String, [u32; 2]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, case) in data() {
        let (rule, fires) = (case["rule"].as_str().unwrap(), case["fires"].as_bool().unwrap());
        let records = case["records"].as_array().unwrap();
        if fired(set, records).iter().any(|title| title == rule) != fires {
            wrong.push(format!("{file}: {rule}: fires: {fires}: {}", &records[0].to_string()));
        }
        proven.entry(rule.to_owned()).or_default()[usize::from(fires)] += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = set.rules.iter().map(|rule| rule.title.as_str()).chain(set.correlations.iter().map(|rule| rule.finding().title));
    let unproven = all.filter(|title| !proven.get(*title).is_some_and(|counts| counts.iter().all(|count| *count > 0))).collect::<Vec<_>>();
    assert_eq!(unproven, [""; 0], "each rule needs a record that fires it and one that nearly does");
}

#[test]
fn our_files_are_all_compiled_in_and_each_rule_tells_what_an_investigator_needs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/findings/rules");
    let mut names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.sort_unstable();
    let mut compiled = OURS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    compiled.sort_unstable();
    assert_eq!(names, compiled);

    let set = RuleSet::ours();
    assert_eq!(set.refused(), []);
    assert!(set.len() >= 40);
    let mut ids = HashSet::new();
    for (file, text) in OURS {
        let read = rsigma_parser::parse_sigma_yaml(text).unwrap();
        let rules = read.rules.iter().map(|rule| (&rule.title, &rule.id, &rule.tags, &rule.falsepositives, &rule.description, rule.level));
        let over_time =
            read.correlations.iter().map(|rule| (&rule.title, &rule.id, &rule.tags, &rule.falsepositives, &rule.description, rule.level));
        for (title, id, tags, falsepositives, description, level) in rules.chain(over_time) {
            let id = id.as_deref().unwrap_or_default();
            assert!(uuid::Uuid::parse_str(id).is_ok() && ids.insert(id.to_owned()), "{file}: {title}: {id}");
            assert!(tags.iter().any(|tag| tag.starts_with("attack.t")), "{file}: {title} names no technique");
            assert!(!falsepositives.is_empty() && description.is_some() && level.is_some(), "{file}: {title} lacks something");
        }
    }
}

#[test]
fn our_rules_ask_only_for_fields_that_audit_records_have() {
    let set = RuleSet::of(&OURS.iter().map(|(name, text)| (*name, *text)).collect::<Vec<_>>(), Silences::default());
    // Read as others' rules, each is refused for its id; so the check looks at the texts themselves.
    assert!(
        set.refused().iter().all(|refused| refused.why.contains("is there already") || refused.why.contains("rests on")),
        "{:?}",
        set.refused()
    );
}

/// Prints what a file of records gives: `FINDINGS_FILE=… cargo test -p handler --lib findings::tests::look -- --ignored --nocapture`.
#[test]
#[ignore = "a look for people"]
fn look() {
    let Ok(files) = std::env::var("FINDINGS_FILE") else { return };
    let set = RuleSet::ours();
    for file in files.split(',') {
        let (mut over_time, mut out) = (set.over_time(), Vec::new());
        for (number, line) in (0_u64..).zip(fs::read_to_string(file).unwrap().lines()) {
            let value: Box<RawValue> = serde_json::from_str(line).unwrap();
            let inner: Value = serde_json::from_str(line).unwrap();
            let text = inner.get("record").map_or_else(|| value.get().to_owned(), Value::to_string);
            let fields = Fields::of(&text).unwrap();
            over_time.take(number, &text);
            out.push((
                fields.text("Id").unwrap_or_default().into_owned(),
                fields.text("Operation").unwrap_or_default().into_owned(),
                set.ask(&fields),
            ));
        }
        for (line, findings) in over_time.findings() {
            out[line as usize].2.extend(findings);
        }
        for (id, operation, findings) in out {
            println!(
                "{}",
                json!({"file": file.rsplit('/').next(), "id": id, "operation": operation, "findings": findings.iter().map(|f| format!("{}: {}", f.level.as_str(), f.title)).collect::<Vec<_>>()})
            );
        }
    }
}
