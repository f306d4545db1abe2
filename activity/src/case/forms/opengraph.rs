//! The graph of all edges, as BloodHound takes it: nodes, and edges with how often and when they were seen.
//! <https://bloodhound.specterops.io/opengraph/schema>

use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Writer;
use crate::case::document::Document;
use crate::case::folder::HashedFile;
use crate::case::manifest::Listed;
use crate::case::tally::Tally;

/// What BloodHound calls where a node came from, and the kind that all nodes have.
const SOURCE: &str = "O365";

pub(super) struct OpenGraph {
    file: HashedFile,
    nodes: Tally,
    edges: Tally,
}

impl OpenGraph {
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: HashedFile::create(folder, "opengraph.json")?, nodes: Tally::new()?, edges: Tally::new()? })
    }
}

impl Writer for OpenGraph {
    fn write(&mut self, document: &Document) -> io::Result<()> {
        let created = document.text("CreationTime");
        for edge in document.edges() {
            let (from, to) = (id(edge.from_type, edge.from), id(edge.to_type, edge.to));
            self.nodes.add(&[&from, edge.from_type, edge.from], created)?;
            self.nodes.add(&[&to, edge.to_type, edge.to], created)?;
            self.edges.add(&[&from, &to, edge.label], created)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Vec<Listed>> {
        let Self { mut file, nodes, edges } = *self;
        write!(file, r#"{{"metadata":{},"graph":{{"nodes":["#, json!({ "source_kind": SOURCE }))?;
        let mut separator = "\n";
        nodes.each(|key, seen| {
            let [id, kind, name] = key.as_slice() else { return Ok(()) };
            let named = [("name", json!(name)), ("displayname", json!(name)), ("objectid", json!(id))];
            let node = json!({ "id": id, "kinds": [node_kind(kind), SOURCE], "properties": properties(named, seen.properties()) });
            write!(file, "{separator}{node}")?;
            separator = ",\n";
            file.count(1);
            Ok(())
        })?;
        write!(file, "\n],\"edges\":[")?;
        separator = "\n";
        edges.each(|key, seen| {
            let [from, to, label] = key.as_slice() else { return Ok(()) };
            let end = |id: &String| json!({ "match_by": "id", "value": id });
            let properties = properties([("operation", json!(label))], seen.properties());
            let edge = json!({ "start": end(from), "end": end(to), "kind": edge_kind(label), "properties": properties });
            write!(file, "{separator}{edge}")?;
            separator = ",\n";
            file.count(1);
            Ok(())
        })?;
        file.write_all(b"\n]}}\n")?;
        Ok(vec![file.finish()?])
    }
}

fn properties<const N: usize>(named: [(&'static str, Value); N], seen: Vec<(&'static str, Value)>) -> Map<String, Value> {
    named.into_iter().chain(seen).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The same name can be that of two nodes of different types.
fn id(kind: &str, name: &str) -> String {
    format!("{kind}:{name}")
}

/// `user` as `O365User`.
fn node_kind(kind: &str) -> String {
    let mut letters = kind.chars().filter(char::is_ascii_alphanumeric);
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    SOURCE.chars().chain(first).chain(letters).collect()
}

/// BloodHound takes letters, digits and underscores only; the operation stands verbatim in the edge's properties.
fn edge_kind(label: &str) -> String {
    let words: Vec<_> = label.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "Unnamed".to_owned() } else { words.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_bloodhound_takes() {
        assert_eq!((node_kind("user"), node_kind("")), ("O365User".to_owned(), "O365".to_owned()));
        assert_eq!(edge_kind("Add member to role."), "Add_member_to_role");
        assert_eq!(edge_kind("…"), "Unnamed");
    }
}
