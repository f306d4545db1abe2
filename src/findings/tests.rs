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
    let set = RuleSet::of(OURS, &OURS.iter().map(|(name, text)| (*name, *text)).collect::<Vec<_>>(), Silences::default());
    // Read as others' rules, each is refused for its id; so the check looks at the texts themselves.
    assert!(
        set.refused().iter().all(|refused| refused.why.contains("is there already") || refused.why.contains("rests on")),
        "{:?}",
        set.refused()
    );
}

/// Reads others' rules: `RULES_FOLDER=… cargo test -p handler --lib findings::tests::others -- --ignored --nocapture`.
#[test]
#[ignore = "a look for people"]
fn others() {
    let Some(folder) = std::env::var_os("RULES_FOLDER") else { return };
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.map(|path| (path.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())).collect::<Vec<_>>();
    let set = RuleSet::with(files.iter().map(|(name, text)| (name.as_str(), text.as_str())), Silences::default());
    let unknown = set.unknown_fields().collect::<Vec<_>>();
    println!("{} files, {} rules of them read, {} refused", files.len(), set.len() - RuleSet::ours().len(), set.refused().len());
    set.refused().iter().for_each(|refused| println!("refused: {refused}"));
    unknown.iter().for_each(|(file, title, field)| println!("unknown: {file}: {title}: {field}"));
}

#[test]
fn a_rule_of_anothers_making_is_refused_by_name_and_the_others_are_asked() {
    let rule = |id: &str, detection: &str| {
        format!("title: Rule {id}\nid: {id}\nlogsource: {{product: m365}}\ndetection:\n{detection}\n  condition: a\nlevel: high\n")
    };
    let large = format!("  a: {{UserId|re: '{}'}}", "(a|b|c){1,99}{1,9}");
    let good = rule("good", "  a: {Operation: Nothing, Parameters.X: y}");
    let files = [
        ("rules/good.yml", good.clone()),
        ("rules/twice.yml", good),
        ("rules/no.yml", "a: [".to_owned()),
        ("rules/huge.yml", "#".repeat(300 * 1024)),
        ("rules/large.yml", rule("large", &large)),
        ("rules/other.yml", rule("other", "  a: {EventID: 1}").replace("m365", "windows")),
        ("rules/aws.yml", rule("aws", "  a: {eventSource: x, UserId: y}")),
        (
            "rules/lost.yml",
            "title: Lost\ncorrelation: {type: event_count, rules: [nobody], group-by: [UserId], timespan: 1h, condition: {gte: 1}}\n"
                .to_owned(),
        ),
    ];
    let set = RuleSet::with(files.iter().map(|(name, text)| (*name, text.as_str())), Silences::default());
    let refused = set.refused().iter().map(|refused| refused.file.as_str()).collect::<Vec<_>>();
    assert_eq!(refused, ["rules/twice.yml", "rules/no.yml", "rules/huge.yml", "rules/large.yml", "rules/other.yml", "rules/lost.yml"]);
    assert_eq!(set.unknown_fields().collect::<Vec<_>>(), [("rules/aws.yml", "Rule aws", "eventSource")]);
    assert_eq!(titles(&set, &[json!({"Operation": "Nothing", "Parameters": [{"Name": "X", "Value": "y"}]})]), ["Rule good"]);
}

#[test]
fn what_is_known_to_be_no_trouble_is_silent_until_its_day() {
    let record = json!({"Operation": "Delete user.", "UserType": 0, "UserId": "Megan@contoso.example", "ClientIP": "203.0.113.9:50"});
    let silenced = |entry: &str| {
        let text = format!("[[silence]]\nreason = \"known\"\n{entry}");
        titles(&RuleSet::with([], Silences::read(&text).unwrap()), std::slice::from_ref(&record)).is_empty()
    };
    assert!(silenced("rule = \"Account deleted\"\nuntil = 2099-01-01"));
    assert!(silenced("account = \"megan@contoso.example\"\naddress = \"203.0.113.9\"\nuntil = 2099-01-01"));
    assert!(!silenced("rule = \"Account deleted\"\nuntil = 2020-01-01"));
    assert!(!silenced("rule = \"Account deleted\"\naccount = \"adele@contoso.example\"\nuntil = 2099-01-01"));
    let guessed = (0..9).map(|number| {
        json!({"Id": number, "CreationTime": "2026-11-20T10:00:00", "Operation": "UserLoginFailed", "ErrorNumber": "50126", "UserId": "Megan@contoso.example"})
    });
    let guessed = guessed.collect::<Vec<_>>();
    let of = |account: &str| {
        let text = format!(
            "[[silence]]\nreason = \"known\"\nrule = \"Many wrong passwords for one account\"\naccount = \"{account}\"\nuntil = 2099-01-01"
        );
        titles(&RuleSet::with([], Silences::read(&text).unwrap()), &guessed).len()
    };
    assert_eq!((of("megan@contoso.example"), of("adele@contoso.example")), (0, 1));
    for bad in ["[[silence]]\nuntil = 2099-01-01\nreason = \"x\"", "[[silence]]\nrule = \"x\"\nuntil = 2099-01-01", "silence"] {
        assert!(Silences::read(bad).is_err(), "{bad}");
    }
}

/// Asked of a database day after day, rules over time give what they give over all records at once.
#[test]
fn days_that_are_settled_one_after_another_give_what_all_give_at_once() {
    let set = RuleSet::ours();
    let mut records = data().flat_map(|(_, case)| case["records"].as_array().unwrap().clone()).collect::<Vec<_>>();
    records.retain(|record| record["CreationTime"].is_string());
    records.sort_by_key(|record| record["CreationTime"].as_str().unwrap().to_owned());
    let day = |record: &Value| record["CreationTime"].as_str().unwrap()[..10].to_owned();
    let (mut at_once, mut by_day, mut today) = (set.over_time(), set.over_time(), String::new());
    for (line, record) in (0..).zip(&records) {
        if day(record) != today {
            today = day(record);
            by_day.settle();
        }
        // Records of different examples may share an Id, which counts once.
        let mut record = record.clone();
        record["Id"] = format!("id-{line}").into();
        let json = record.to_string();
        assert_eq!(at_once.take(line, &json), by_day.take(line, &json));
    }
    let episodes = at_once.episodes();
    assert!(episodes.len() > 20 && episodes.iter().any(|episode| episode.accounts.len() > 2), "{episodes:#?}");
    assert_eq!(episodes, by_day.episodes());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(12))]
    /// Rules come from outside: whatever they are, reading and asking them ends, and soon.
    #[test]
    fn no_text_stalls_or_ends_the_handler(seed in 0..10_000_usize, cut in 0..4000_usize, noise in "[a-z0-9:|*?'\\[\\](){}&!>\\n -]{0,40}") {
        let text = OURS[seed % OURS.len()].1;
        let (start, end) = (seed % text.len(), (seed % text.len() + cut).min(text.len()));
        let mangled = format!("{}{noise}{}", text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default()).replace("id: ", "id: x");
        let set = RuleSet::with([("rules/x.yml", mangled.as_str())], Silences::default());
        let long = json!({"Operation": "UserLoggedIn", "UserId": "ab".repeat(100_000)}).to_string();
        let began = std::time::Instant::now();
        let _ = set.ask(&Fields::of(&long).unwrap());
        proptest::prop_assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}

/// Regular expressions that are hard to match: repetitions in repetitions, alternatives that begin alike, classes.
fn hard_expressions() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let leaf = proptest::sample::select(vec!["a", "b", ".", "[ab]", "\\w", "\\S", "ab", "x*", "(?i)k", "^", "$"]).prop_map(str::to_owned);
    leaf.prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0..400_u32).prop_map(|(part, max)| format!("(?:{part}){{0,{max}}}")),
            inner.clone().prop_map(|part| format!("({part})*")),
            inner.clone().prop_map(|part| format!("({part})+")),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join("|"))),
            proptest::collection::vec(inner, 2..4).prop_map(|parts| parts.concat()),
        ]
    })
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(12))]
    /// What `fuzz/fuzz_targets/rules.rs` does, as far as it goes without a fuzzer: an expression is refused, or asked of a long record soon.
    #[test]
    fn no_regular_expression_stalls_the_handler(expressions in proptest::collection::vec(hard_expressions(), 1..3), is_keyword in proptest::bool::ANY) {
        let list = serde_json::to_string(&expressions).unwrap();
        let detection = if is_keyword { format!("  a:\n    '|re': {list}") } else { format!("  a:\n    UserId|re: {list}") };
        let rule = format!("title: Hard\nid: hard\nlogsource: {{product: m365}}\ndetection:\n{detection}\n  condition: a\nlevel: high\n");
        let set = RuleSet::with([("rules/hard.yml", rule.as_str())], Silences::default());
        let long = "ab".repeat(50_000);
        let record = json!({"Operation": "Nothing", "UserId": long, "Parameters": vec![json!({"Name": "x", "Value": long}); 200]}).to_string();
        let began = std::time::Instant::now();
        let _ = set.ask(&Fields::of(&record).unwrap());
        proptest::prop_assert!(began.elapsed() < std::time::Duration::from_secs(20), "{rule}");
    }
}

/// Rules see so much of a record, however large it is, and whatever they ask for.
#[test]
fn of_a_record_of_any_size_a_rule_sees_a_bounded_part() {
    use rsigma_eval::{Event as _, EventValue};
    let long = "\u{e9}".repeat(10_000);
    let list = vec![json!({"Name": "x", "Value": [long, long]}); 200];
    let text = json!({"UserId": long, "Parameters": list, "Data": json!([{"a": long}, {"a": long}]).to_string(), "List": vec![&long; 300]})
        .to_string();
    let fields = Fields::of(&text).unwrap();
    let record = Record::new(&fields);
    fn length(value: &EventValue<'_>) -> usize {
        match value {
            EventValue::Str(text) => text.len(),
            EventValue::Array(items) => items.iter().map(length).sum(),
            _ => 0,
        }
    }
    for path in ["UserId", "Parameters.x", "Data.a", "List", "Parameters"] {
        let length = record.get_field(path).map_or(0, |value| length(&value));
        assert!(length <= record::MAX_TEXTS, "{path}: {length}");
    }
    let keywords = record.all_string_values().iter().map(|text| text.len()).sum::<usize>();
    assert!(keywords <= record::MAX_TEXTS && keywords > record::MAX_TEXTS / 2, "{keywords}");
}

/// The table of docs/FINDINGS.md, most severe first.
fn table() -> String {
    let mut rows = Vec::new();
    for (file, text) in OURS {
        let read = rsigma_parser::parse_sigma_yaml(text).unwrap();
        let rules = read.rules.into_iter().map(|rule| (rule.title, rule.level, rule.tags, rule.description, rule.falsepositives, ""));
        let over_time = read
            .correlations
            .into_iter()
            .map(|rule| (rule.title, rule.level, rule.tags, rule.description, rule.falsepositives, ", over time"));
        rows.extend(rules.chain(over_time).map(|row| (*file, row)));
    }
    rows.sort_by(|(_, a), (_, b)| load::level(b.1).cmp(&load::level(a.1)).then_with(|| a.0.cmp(&b.0)));
    let mut table = "| level | rule | technique | false positives | file |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (file, (title, level, tags, description, falsepositives, over_time)) in rows {
        let techniques =
            tags.iter().filter_map(|tag| tag.strip_prefix("attack.t")).map(|id| format!("T{id}")).collect::<Vec<_>>().join(", ");
        let (level, description) = (load::level(level).as_str(), description.unwrap_or_default());
        table += &format!("| {level}{over_time} | **{title}**: {description} | {techniques} | {} | {file} |\n", falsepositives.join("; "));
    }
    table
}

#[test]
fn the_table_of_rules_in_the_documents_is_made_from_the_files() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FINDINGS.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("This table is made from the files.\n").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, format!("{before}This table is made from the files.\n\n{}", table())).unwrap();
    } else {
        assert!(after.trim() == table().trim(), "run this test once with UPDATE_DOCS=1");
    }
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
