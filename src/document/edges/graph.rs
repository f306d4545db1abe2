//! The edges of one record as they are found: each once, as JSON, within a bound.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{
    ExplainedEdge,
    nodes::{Node, cut},
};
use crate::document::quoted::write_quoted;

/// Most bytes of a record's edges as JSON: about five hundred. What is beyond stays in the record's own fields.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Most bytes of a label; longer ones are cut.
const MAX_LABEL: usize = 256;
/// Few nodes are found faster one by one.
const FEW: usize = 24;

/// A record's edges.
pub(super) struct Graph<'a> {
    /// The record's.
    label: &'a str,
    json: String,
    nodes: Vec<Node<'a>>,
    /// Where a node stands in `nodes`, once there are many.
    places: HashMap<Node<'a>, usize>,
    names: HashSet<Cow<'a, str>>,
    /// Ends of edges, and the row that gave each.
    edges: Vec<(usize, usize, &'a str)>,
    known: HashSet<(usize, usize)>,
    is_full: bool,
}

impl<'a> Graph<'a> {
    pub(super) fn new(label: &'a str) -> Self {
        let (json, nodes, edges) = (String::with_capacity(960), Vec::with_capacity(8), Vec::with_capacity(8));
        let (places, names, known) = Default::default();
        let mut graph = Self { label, json, nodes, places, names, edges, known, is_full: false };
        graph.json.push('[');
        graph
    }

    /// Nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// True if some node bears just this text for a name.
    pub(super) fn bears_text(&self, text: &str) -> bool {
        self.nodes.len() <= FEW && self.nodes.iter().any(|node| node.name.eq_ignore_ascii_case(text))
    }

    /// True if some node bears a name, of whatever type.
    pub(super) fn bears(&self, name: &str) -> bool {
        if self.nodes.len() <= FEW { self.nodes.iter().any(|node| node.name == name) } else { self.names.contains(name) }
    }

    /// Adds an edge where both ends differ, unless it is known or there is no more room. Tells whether it stands now.
    pub(super) fn add(&mut self, from: &Node<'a>, to: Node<'a>, label: Option<&str>, row: &'a str) -> bool {
        if *from == to || self.is_full {
            return false;
        }
        let ends = (self.place(from), self.place(&to));
        if let (Some(from), Some(to)) = ends
            && self.knows(from, to)
        {
            return true;
        }
        let end = self.json.len();
        if end > 1 {
            self.json.push(',');
        }
        self.write(from, &to, label);
        if self.json.len() >= MAX_BYTES {
            self.json.truncate(end);
            self.is_full = true;
            return false;
        }
        let from = ends.0.unwrap_or_else(|| self.learn(from.clone()));
        let to = ends.1.unwrap_or_else(|| self.learn(to));
        self.edges.push((from, to, row));
        if self.edges.len() > FEW {
            let new = if self.known.is_empty() { 0 } else { self.edges.len() - 1 };
            self.known.extend(self.edges[new..].iter().map(|(from, to, _)| (*from, *to)));
        }
        true
    }

    /// `{"from":…,"fromType":…,"to":…,"toType":…,"label":…}`
    fn write(&mut self, from: &Node<'_>, to: &Node<'_>, label: Option<&str>) {
        let json = &mut self.json;
        for (before, node, after) in [("{\"from\":", from, ",\"fromType\":\""), ("\",\"to\":", to, ",\"toType\":\"")] {
            json.push_str(before);
            write_quoted(json, &node.name);
            json.push_str(after);
            json.push_str(node.kind.as_str());
        }
        json.push_str("\",\"label\":");
        write_quoted(json, cut(label.unwrap_or(self.label), MAX_LABEL));
        json.push('}');
    }

    fn knows(&self, from: usize, to: usize) -> bool {
        match self.edges.len() {
            0..=FEW => self.edges.iter().any(|known| (known.0, known.1) == (from, to)),
            _ => self.known.contains(&(from, to)),
        }
    }

    fn place(&self, node: &Node<'a>) -> Option<usize> {
        if self.nodes.len() <= FEW { self.nodes.iter().position(|known| known == node) } else { self.places.get(node).copied() }
    }

    fn learn(&mut self, node: Node<'a>) -> usize {
        self.nodes.push(node);
        if self.nodes.len() > FEW {
            let new = if self.places.is_empty() { 0 } else { self.nodes.len() - 1 };
            for (at, node) in self.nodes.iter().enumerate().skip(new) {
                self.places.insert(node.clone(), at);
                self.names.insert(node.name.clone());
            }
        }
        self.nodes.len() - 1
    }

    /// Each edge with the row that gave it.
    pub(super) fn explained(&self) -> Vec<ExplainedEdge> {
        self.edges.iter().map(|(from, to, row)| ExplainedEdge::new(&self.nodes[*from], &self.nodes[*to], row)).collect()
    }

    /// All edges as a JSON array.
    pub(super) fn into_json(mut self) -> String {
        self.json.push(']');
        self.json
    }
}
