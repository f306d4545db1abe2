//! The pages: short where they must be, linked to what is there, and true of what they show.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{files, root};

#[test]
fn the_readme_is_read_in_minutes() {
    let words = fs::read_to_string(root().join("README.md")).unwrap().split_whitespace().count();
    assert!(words <= 1300, "{words} words");
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() {
    let mut broken = Vec::new();
    for page in files(root(), "md") {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            if link.contains("://") || link.starts_with("crate::") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            if !target.exists() || !(heading.is_empty() || headings(&target).iter().any(|found| found == heading)) {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A page's headings as addresses name them.
fn headings(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    titles.map(|title| title.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()).collect()
}

#[test]
fn every_query_is_in_the_table_of_queries() {
    let page = fs::read_to_string(root().join("queries/README.md")).unwrap();
    for query in files(&root().join("queries"), "sql") {
        let name = query.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(page.contains(&format!("`{name}`")), "queries/README.md does not name {name}");
    }
}

/// The document in the README, without what the collector adds, is a record that becomes this document.
#[test]
fn the_document_that_is_shown_is_the_one_that_is_made() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Value = serde_json::from_str(shown).unwrap();
    let mut record = shown.as_object().unwrap().clone();
    record.retain(|name, _| !["id", "pk", "ttl", "feed", "edges"].contains(&name.as_str()));
    let made = explained(&Value::Object(record));
    for name in ["id", "pk", "edges"] {
        assert_eq!(shown[name], made[name], "{name}");
    }
}

fn explained(record: &Value) -> Value {
    let mut handler = Command::new(env!("CARGO_BIN_EXE_handler"))
        .args(["explain", "--json"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(handler.stdin.take().unwrap(), "{record}").unwrap();
    let answer: Value = serde_json::from_slice(&handler.wait_with_output().unwrap().stdout).unwrap();
    answer["document"].clone()
}
