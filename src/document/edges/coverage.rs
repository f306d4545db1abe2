//! Measures which of the things that records name are in their edges, by a definition of its own; and counts the edges of real
//! records for the documentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::*;

/// Names of fields whose texts name nothing.
const NOTHING: [&str; 8] = ["version", "useragent", "subject", "description", "messageid", "userkey", "correlationid", "threadid"];

/// The names in a record: every text, at any depth, also in JSON that stands as text and in lists of names and values, that is
/// wholly an IP address, an account or an address of SharePoint or OneDrive, and each GUID of an application.
fn named(record: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(record, "", &mut names);
    names
}

fn collect(value: &Value, field: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let property = ["Name", "Key"].iter().find_map(|key| members.get(*key)?.as_str());
            for (name, member) in members {
                let is_value = ["Value", "NewValue", "OldValue"].contains(&name.as_str());
                collect(member, property.filter(|_| is_value).unwrap_or(name), names);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, field, names)),
        Value::String(text) if !NOTHING.iter().any(|nothing| field.to_lowercase().contains(nothing)) => {
            match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => collect(&inner, field, names),
                _ => names.extend(ip(text).or_else(|| account(text)).or_else(|| location(text)).or_else(|| app(field, text))),
            }
        }
        _ => {}
    }
}

fn ip(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    let plain = plain.split('%').next()?;
    let plain = plain.strip_prefix("ffff:").filter(|rest| rest.contains('.')).unwrap_or(plain);
    let ip = plain.parse::<IpAddr>().ok()?.to_canonical();
    let is_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    (!ip.is_loopback() && !ip.is_unspecified() && !is_local).then(|| ip.to_string())
}

fn account(text: &str) -> Option<String> {
    let name = text.trim().to_lowercase();
    let name = name.rsplit('|').next()?;
    let name = name.strip_prefix("smtp:").unwrap_or(name);
    let name = if name.len() > 33 && name.chars().take(32).all(|c| c.is_ascii_hexdigit()) { &name[32..] } else { name };
    let name = match name.split_once("#ext#") {
        Some((local, _)) => local.rsplit_once('_').map(|(name, domain)| format!("{name}@{domain}"))?,
        None => name.to_owned(),
    };
    let (local, domain) = name.split_once('@')?;
    let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "<>\",;:/\\()[]{}@".contains(c));
    (is_word(local) && is_word(domain) && domain.trim_matches('.').contains('.')).then_some(name)
}

fn location(text: &str) -> Option<String> {
    let url = text.trim().split('?').next()?;
    let host = url.split("://").nth(1)?.split('/').next()?.to_lowercase();
    let is_meant = url.to_lowercase().starts_with("http") && host.split('.').any(|label| label.starts_with("sharepoint"));
    let decoded = percent_decode_str(url).decode_utf8().ok()?.to_lowercase();
    is_meant.then(|| decoded.trim().trim_end_matches('/').to_owned())
}

fn app(field: &str, text: &str) -> Option<String> {
    let is_app = ["AppId", "ClientAppId", "ApplicationId", "AadAppId"].contains(&field);
    (is_app && crate::config::is_guid(text) && !text.starts_with("00000000-0000-0000-0000-")).then(|| text.to_lowercase())
}

/// The names that are covered, and of how many, by record type; and those that are not.
fn covered(records: &str) -> (BTreeMap<String, (usize, usize)>, Vec<String>) {
    let (mut types, mut missing) = (BTreeMap::<String, (usize, usize)>::new(), Vec::new());
    for line in records.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let edges = Table::built_in().explained(&Fields::of(line).unwrap()).1;
        let nodes: BTreeSet<_> = edges.iter().flat_map(|edge| [edge.from.to_lowercase(), edge.to.to_lowercase()]).collect();
        let kind = record["RecordType"].to_string();
        for name in named(&record) {
            let counts = types.entry(kind.clone()).or_default();
            counts.1 += 1;
            if nodes.contains(&name) {
                counts.0 += 1;
            } else {
                missing.push(format!("type {kind}, {}: {name}", record["Operation"]));
            }
        }
    }
    (types, missing)
}

fn assert_covered(records: &str, what: &str) {
    let (types, missing) = covered(records);
    let (found, all) = types.values().fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
    let share = |(found, all): (usize, usize)| 100.0 * found as f64 / all as f64;
    let mean = types.values().map(|counts| share(*counts)).sum::<f64>() / types.len() as f64;
    println!("{what}: {found} of {all} names, {:.1} %; {mean:.1} % in the mean over {} record types", share((found, all)), types.len());
    assert!(share((found, all)) >= 99.0 && mean >= 95.0, "{what} lack {missing:#?}");
}

/// Data that stands beside the project; None, and a word of it, where it does not.
fn beside(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: there is nothing at {}", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn what_records_of_many_types_name_is_in_their_edges() {
    assert_covered(include_str!("../../../tests/data/shapes.ndjson"), "records in published shapes");
    let cases: Vec<_> =
        include_str!("../../../tests/data/edge-cases.ndjson").lines().map(|case| serde_json::from_str::<Value>(case).unwrap()).collect();
    assert_covered(&cases.iter().map(|case| case["record"].to_string()).collect::<Vec<_>>().join("\n"), "records of cases");
}

#[test]
fn what_real_records_name_is_in_their_edges() {
    let Some(path) = beside("audit-records.ndjson") else { return };
    assert_covered(&fs::read_to_string(path).unwrap(), "real records");
    let Some(attacks) = beside("attacks") else { return };
    let all: Vec<_> = fs::read_dir(attacks).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_covered(&all.join("\n").lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"), "attacks");
}

#[test]
fn nothing_is_a_node_that_no_text_of_the_record_holds() {
    let Some(path) = beside("audit-records.ndjson") else { return };
    for line in fs::read_to_string(path).unwrap().lines() {
        let text = percent_decode_str(&line.to_lowercase().replace("\\/", "/").replace("\\\\", "\\")).decode_utf8_lossy().into_owned();
        for edge in Table::built_in().explained(&Fields::of(line).unwrap()).1 {
            for (kind, name) in [(edge.from_type, edge.from), (edge.to_type, edge.to)] {
                // A guest's address is spelled otherwise, and a mailbox's may be its short name and the organisation's domain.
                let local = name.split('@').next().unwrap_or_default().to_lowercase();
                assert!(text.contains(&name.to_lowercase()) || text.contains(&local), "{kind} {name} is not in {line}");
            }
        }
    }
}

#[test]
fn each_field_of_the_schema_that_names_something_is_read_or_it_is_said_why_not() {
    let rows = |text: &'static str| text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>());
    let exceptions: BTreeMap<_, _> = rows(include_str!("../../../tests/data/schema-exceptions.tsv")).map(|row| (row[0], row[1])).collect();
    let mut lacking = Vec::new();
    for row in rows(include_str!("../../../tests/data/schema.tsv")) {
        let (field, kind) = (row[1], row[2]);
        let text = match kind {
            "ip" => "192.0.2.7",
            "account" => "sample@contoso.example",
            "location" => "https://contoso.sharepoint.com/sites/a/b.docx",
            "app" => "0f1e2d3c-4b5a-4978-8899-aabbccddeeff",
            _ => "",
        };
        let record =
            serde_json::json!({"Operation": "A", "Workload": "Some", "UserId": "someone@contoso.example", field: text}).to_string();
        let edges = Table::built_in().explained(&Fields::of(&record).unwrap()).1;
        let is_in_table = || BUILT_IN.split(|c: char| !c.is_alphanumeric()).any(|word| word == field);
        let is_read = if text.is_empty() { is_in_table() } else { edges.iter().any(|edge| edge.to == text || edge.from == text) };
        match (is_read, exceptions.contains_key(field)) {
            (false, false) => lacking.push(format!("{field} of {} ({kind})", row[0])),
            (true, true) => lacking.push(format!("{field} is read, and is an exception")),
            _ => {}
        }
    }
    assert!(lacking.is_empty(), "{lacking:#?}");
}

/// The part of a document between two marks, which a test writes anew with UPDATE_DOCS=1 in the environment.
fn assert_documented(part: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/EDGES.md");
    let document = fs::read_to_string(&path).unwrap();
    let (start, end) = (format!("<!-- {part}: -->\n"), format!("<!-- :{part} -->"));
    let (before, rest) = document.split_once(&start).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{start}{expected}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "docs/EDGES.md is not as the table; UPDATE_DOCS=1 cargo test edges writes it anew");
}

#[test]
fn the_documentation_has_every_row() {
    let mut rows = "| row | edge |\n| --- | --- |\n".to_owned();
    let table: toml::Table = BUILT_IN.parse().unwrap();
    let node = |node: &toml::Value| {
        let mut parts: Vec<_> =
            node.as_table().unwrap().iter().filter(|(name, _)| !["type", "organization"].contains(&name.as_str())).collect();
        let (reader, paths) = parts.pop().unwrap();
        let paths: Vec<_> = paths.as_str().unwrap().split(", ").map(|path| format!("`{}`", path.replace('|', "\\|"))).collect();
        format!("{reader} {}", paths.join(", "))
    };
    for row in table["edge"].as_array().unwrap() {
        let from = row.get("from").map_or("who acted".to_owned(), node);
        writeln!(rows, "| {} | {from} -> {} |", row["name"].as_str().unwrap(), node(&row["to"])).unwrap();
    }
    for row in table["anywhere"].as_array().unwrap() {
        writeln!(rows, "| {} | who acted -> any text that is wholly an {} |", row["name"].as_str().unwrap(), row["to"].as_str().unwrap())
            .unwrap();
    }
    assert_documented(
        "rows",
        &rows
            .replace("wholly an location", "wholly an address of SharePoint or OneDrive")
            .replace("wholly an address |", "wholly a mail address |")
            .replace("an app |", "application's GUID |")
            .replace("an ip |", "an IP address |"),
    );
}

#[test]
fn the_documentation_counts_the_edges_of_real_records() {
    let Some(path) = beside("audit-records.ndjson") else { return };
    let mut kinds: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut sittings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut bytes, mut most, mut count) = (0, 0, 0);
    for record in fs::read_to_string(path).unwrap().lines() {
        let (json, _) = Table::built_in().explained(&Fields::of(record).unwrap());
        (bytes, most, count) = (bytes + json.len(), most.max(json.len()), count + 1);
        for edge in serde_json::from_str::<Vec<Value>>(&json).unwrap() {
            let [from, to, label, name, other] = ["fromType", "toType", "label", "from", "to"].map(|name| edge[name].as_str().unwrap());
            *kinds.entry(format!("{from} -> {to}")).or_default().entry(label.trim().to_owned()).or_default() += 1;
            if (from, to) == ("session", "ip") {
                sittings.entry(name.to_owned()).or_default().insert(other.to_owned());
            }
        }
    }
    // The rules before the table took 227.7 bytes in the mean; a quarter more is the bound.
    let mean = bytes as f64 / f64::from(count);
    assert!(mean <= 1.25 * 227.7, "edges take {mean:.1} bytes in the mean");
    assert_eq!(sittings.values().filter(|places| places.len() > 1).count(), 2, "sessions seen at more than one address");

    let mut table = format!(
        "{count} records; {mean:.1} bytes of edges in the mean, at most {most}.\n\n| kind | edges | most frequent |\n| --- | ---: | --- |\n"
    );
    for (kind, labels) in &kinds {
        let mut labels: Vec<_> = labels.iter().collect();
        labels.sort_by_key(|(label, count)| (std::cmp::Reverse(**count), label.as_str()));
        let total: usize = labels.iter().map(|(_, count)| **count).sum();
        let top: Vec<_> = labels.iter().take(3).map(|(label, count)| format!("{label} {count}")).collect();
        writeln!(table, "| {kind} | {total} | {} |", top.join(", ")).unwrap();
    }
    assert_documented("counts", &table);
}
