//! Ties the names of a record together: who did what to what, from where, as the edges of a graph. The rows of `edges.toml` say
//! which; no function here knows a record type. Pure, and of the record alone.

mod graph;
mod nodes;
mod readers;
mod table;
mod texts;
mod tree;

#[cfg(test)]
mod coverage;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
};

use serde::Serialize;

use self::nodes::Node;
use self::{
    graph::Graph,
    readers::{Reading, kind_of, node},
    table::{Over, Row, Rows, matches},
    texts::{Text, Texts},
};
pub use self::{nodes::NodeType, table::Table};
use super::fields::Fields;

/// Pairs of nodes that one row is asked for; a record of two long lists would have millions.
const MAX_PAIRS: usize = 4_096;

const BUILT_IN: &str = include_str!("../edges.toml");

/// An edge, and the row of the table that gave it: what `handler explain` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedEdge {
    /// The name of the node that it starts at.
    pub from: String,
    /// The type of that node.
    pub from_type: NodeType,
    /// The name of the node that it ends at.
    pub to: String,
    /// The type of that node.
    pub to_type: NodeType,
    /// The row's name.
    pub row: String,
}

impl ExplainedEdge {
    fn new(from: &Node<'_>, to: &Node<'_>, row: &str) -> Self {
        let name = |node: &Node<'_>| node.name.clone().into_owned();
        Self { from: name(from), from_type: from.kind, to: name(to), to_type: to.kind, row: row.to_owned() }
    }
}

impl Table {
    /// The table that is compiled in; made when it is first asked for.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::compile(&[("edges.toml", BUILT_IN)]).0);
        &TABLE
    }

    /// The built-in table with the rows of further files behind it, and what is wrong with files and rows, each of which is
    /// left out. Takes each file's name and text.
    #[must_use]
    pub fn with(files: &[(String, String)]) -> (Self, Vec<String>) {
        let built_in = ("edges.toml", BUILT_IN);
        let files: Vec<_> = std::iter::once(built_in).chain(files.iter().map(|(name, text)| (name.as_str(), text.as_str()))).collect();
        Self::compile(&files)
    }

    /// The edges of a record's text as a JSON array; none of what is no object.
    #[must_use]
    pub fn edges_of(&self, record: &str) -> Option<String> {
        Fields::of(record).map(|fields| self.edges(&fields))
    }

    /// A record's edges as a JSON array, each once.
    pub(super) fn edges(&self, fields: &Fields<'_>) -> String {
        self.graph(fields, |graph| graph.into_json())
    }

    /// The same edges, and beside each the row that gave it.
    pub(super) fn explained(&self, fields: &Fields<'_>) -> (String, Vec<ExplainedEdge>) {
        self.graph(fields, |graph| {
            let explained = graph.explained();
            (graph.into_json(), explained)
        })
    }

    fn graph<T>(&self, fields: &Fields<'_>, take: impl FnOnce(Graph<'_>) -> T) -> T {
        let texts = Texts::of(&self.tree, fields);
        let label = texts.first(self.places.operation).unwrap_or_default();
        let mut record = Record::new(self, &texts, label);
        let mut graph = Graph::new(label);
        record.find_actor();
        record.add_rows(&mut graph);
        record.add_unread(&mut graph);
        record.add_alone(&mut graph);
        take(graph)
    }
}

/// A record, and what rows ask of it.
struct Record<'r, 'a> {
    table: &'r Table,
    reading: Reading<'r, 'a>,
    /// The rows that are for records of its kind.
    rows: Arc<Rows>,
}

impl<'r, 'a> Record<'r, 'a> {
    fn new(table: &'r Table, texts: &'r Texts<'a>, operation: &'r str) -> Self {
        let workload = texts.first(table.places.workload).unwrap_or_default();
        let record_type = texts.first(table.places.record_type).unwrap_or_default();
        Self {
            table,
            reading: Reading { table, texts, actor: None, last_ip: RefCell::default() },
            rows: table.rows_for(record_type, workload, operation),
        }
    }

    fn find_actor(&mut self) {
        for (over, is_open) in [
            (Over::None, (|_| true) as fn(&Option<Node<'_>>) -> bool),
            (Over::System, |actor| actor.as_ref().is_none_or(|actor| actor.kind == NodeType::System)),
            (Over::Nobody, |actor| actor.is_none()),
        ] {
            if !is_open(&self.reading.actor) {
                continue;
            }
            let mut rows = self.rows.actors.iter().map(|row| &self.table.actors[*row]).filter(|row| row.over == over);
            let found = rows.find_map(|row| self.holds(row.when).then(|| self.reading.first(&row.is)).flatten());
            self.reading.actor = found.or_else(|| self.reading.actor.take());
        }
    }

    /// Adds what the rows say, in their order.
    fn add_rows(&self, graph: &mut Graph<'r>) {
        for row in self.rows.edges.iter().map(|row| &self.table.rows[*row]) {
            let has_end = row.to.places.iter().any(|place| self.reading.texts.has(*place));
            if has_end && !graph.is_full() && self.holds(row.when) {
                self.add_row(row, graph);
            }
        }
    }

    fn add_row(&self, row: &'r Row, graph: &mut Graph<'r>) {
        let reading = &self.reading;
        let mut pairs = 0;
        let mut add = |from: &Node<'r>, from_text: Option<&Text<'_>>| {
            if graph.is_full() || pairs > MAX_PAIRS {
                return;
            }
            reading.each(&row.to, &mut |to, to_text| {
                pairs += 1;
                let is_own = reading.actor.as_ref().is_some_and(|actor| actor.name == to.name);
                if (row.own || !is_own) && graph.add(from, to, row.label.as_deref(), &row.name) && !row.to.is_part() {
                    from_text.into_iter().chain(to_text).for_each(|text| text.is_read.set(true));
                }
            });
        };
        match &row.from {
            Some(from) => reading.each(from, &mut |from, text| add(&from, text)),
            None => reading.actor.iter().for_each(|actor| add(actor, None)),
        }
    }

    /// Adds what a text names wholly that no row read, unless a node bears that name.
    fn add_unread(&self, graph: &mut Graph<'r>) {
        let Some(actor) = &self.reading.actor else { return };
        let unread = self.reading.texts.placed().filter(|(place, text)| !text.is_read.get() && !self.table.places.has(*place));
        for (_, text) in unread {
            if graph.is_full() {
                return;
            }
            if graph.bears_text(&text.text) {
                continue;
            }
            let Some(kind) = kind_of(&text.name, &text.text) else { continue };
            if matches(&self.table.names_nothing, &text.name) {
                continue;
            }
            let is_of = |row: &&table::Anywhere| {
                let is_kind = row.kind == kind || (row.kind == table::Kind::Address && kind == table::Kind::Account);
                is_kind && (row.fields.is_empty() || matches(&row.fields, &text.name))
            };
            let Some(row) = self.table.anywhere.iter().find(is_of) else { continue };
            let is_new = |to: &Node<'_>| to.name != actor.name && !graph.bears(&to.name);
            if let Some(to) = node(row.kind, &text.text).filter(is_new) {
                graph.add(actor, to, row.label.as_deref(), &row.name);
            }
        }
    }

    /// Ties one who acted on nothing that is named.
    fn add_alone(&self, graph: &mut Graph<'r>) {
        let Some(actor) = &self.reading.actor else { return };
        let is_service = actor.kind == NodeType::System && !actor.name.contains('@');
        if is_service || graph.bears(&actor.name) {
            return;
        }
        for row in self.rows.alone.iter().map(|row| &self.table.rows[*row]) {
            if self.holds(row.when) {
                self.add_row(row, graph);
            }
        }
    }

    /// True if a record has the fields and values that rows ask for.
    fn holds(&self, when: usize) -> bool {
        let (when, texts) = (&self.table.whens[when], self.reading.texts);
        when.has.iter().all(|place| texts.has(*place))
            && !when.has_not.iter().any(|place| texts.has(*place))
            && when.r#where.iter().all(|(place, values)| texts.first(*place).is_some_and(|text| matches(values, text)))
            && when.same.is_none_or(|(one, other)| {
                let (one, other) = (texts.first(one), texts.first(other));
                one.zip(other).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
            })
    }
}
