//! The edges of many records, held so that any choice of them is counted at once, and what is chosen. Pure: where the
//! records come from, and how the answer is sent, is told elsewhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use chrono::{DateTime, NaiveDateTime};
use handler::findings::Level;
use serde::Serialize;
use serde_json::Value;

use super::filter::{Filter, Order, Sieve};
use super::findings::{Found, Hit};

/// How many bars the picture in time has.
const BARS: i64 = 96;
/// Operations named with an edge; the rest is a number.
const MAX_OPERATIONS: usize = 12;

/// Texts, each held once and known by its number.
#[derive(Debug, Default)]
pub(super) struct Names {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// All numbers in use.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        0..u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", String::as_str)
    }
}

/// What is kept of a record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) pk: String,
    /// Seconds since 1970; `None` where CreationTime cannot be read.
    pub(super) at: Option<i64>,
    pub(super) workload: u32,
    pub(super) user: u32,
    pub(super) operation: u32,
    /// Where its edges begin; they end where the next record's begin.
    first_edge: usize,
    /// It was tried and not done.
    pub(super) is_failed: bool,
    /// Its findings, each once.
    pub(super) findings: Vec<Hit>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) kind: u32,
    pub(super) label: u32,
}

/// Records with their edges.
#[derive(Debug, Default)]
pub(super) struct Edges {
    records: Vec<Record>,
    edges: Vec<Edge>,
    /// As `type:name`.
    pub(super) nodes: Names,
    /// As `fromType-toType`.
    pub(super) kinds: Names,
    pub(super) labels: Names,
    pub(super) workloads: Names,
    pub(super) users: Names,
    pub(super) operations: Names,
    /// Ids of rules that found something.
    pub(super) rules: Names,
    /// Title and level, by the number of the rule.
    pub(super) titles: Vec<(String, Level)>,
    /// Whether there was more to read.
    pub(super) is_cut: bool,
}

/// What is shown, and what is not.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    pub(super) nodes: Vec<PictureNode>,
    pub(super) edges: Vec<PictureEdge>,
    /// Left out because `top` edges are enough.
    pub(super) left_out: LeftOut,
    /// Left out because they have fewer records than `least`.
    pub(super) below_least: usize,
    /// Records that match the filter, with or without a part in what is shown.
    pub(super) records: usize,
    pub(super) bars: Bars,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct LeftOut {
    pub(super) edges: usize,
    pub(super) nodes: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct PictureNode {
    pub(super) key: String,
    /// Edges that it has under the filter, shown or not.
    pub(super) edges: usize,
    /// Records with at least one edge of it, under the filter.
    pub(super) records: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct PictureEdge {
    /// Places in `nodes`.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) records: u32,
    /// UTC; nothing where no record has a time.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    /// The commonest, with how often.
    pub(super) operations: Vec<(String, u32)>,
    /// How many more operations there are.
    pub(super) more_operations: usize,
    /// The worst finding of its records, if there is any.
    pub(super) level: Option<Level>,
}

/// Records with edges, by time, under all of the filter but its time.
#[derive(Debug, Serialize)]
pub(super) struct Bars {
    /// UTC of the first bar's begin.
    pub(super) from: Option<String>,
    /// Seconds that a bar stands for.
    pub(super) seconds: i64,
    pub(super) counts: Vec<u32>,
}

/// What there is to choose from.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) records: usize,
    pub(super) records_with_edges: usize,
    pub(super) edges: usize,
    pub(super) nodes: usize,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) workloads: Vec<(String, usize)>,
    pub(super) kinds: Vec<(String, usize)>,
    pub(super) operations: Vec<(String, usize)>,
    pub(super) users: Vec<(String, usize)>,
    /// Edges by label, of labels that are no operation, such as `mentions`.
    pub(super) labels: Vec<(String, usize)>,
    /// Records by their worst finding, worst first.
    pub(super) findings: Vec<(Level, usize)>,
    /// Sessions seen at more than one address.
    pub(super) sessions: usize,
    pub(super) is_cut: bool,
}

/// A record in a list.
#[derive(Debug, Serialize)]
pub(super) struct Listed<'a> {
    pub(super) id: &'a str,
    pub(super) pk: &'a str,
    pub(super) at: Option<String>,
    pub(super) workload: &'a str,
    pub(super) user: &'a str,
    pub(super) operation: &'a str,
    /// Titles of what rules found, worst first.
    pub(super) findings: Vec<Found<'a>>,
}

/// The newest records of a node, an edge or a finding, and how many there are.
#[derive(Debug, Serialize)]
pub(super) struct Listing<'a> {
    pub(super) total: usize,
    pub(super) records: Vec<Listed<'a>>,
}

/// A row of a table of edges: one a pair of nodes and operation.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) from: (&'a str, &'a str),
    pub(super) to: (&'a str, &'a str),
    pub(super) label: &'a str,
    pub(super) records: u32,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// What is known of a pair of nodes.
#[derive(Debug, Default)]
struct Counted {
    kind: u32,
    records: u32,
    labels: BTreeMap<u32, Span>,
    level: Option<Level>,
}

/// How often, and from when to when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) records: u32,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
}

impl Span {
    pub(super) fn add(&mut self, at: Option<i64>) {
        self.join(Self { records: 1, first: at, last: at });
    }

    pub(super) fn join(&mut self, other: Self) {
        self.records += other.records;
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
    }
}

impl Counted {
    fn first(&self) -> Option<i64> {
        self.labels.values().filter_map(|span| span.first).min()
    }

    fn last(&self) -> Option<i64> {
        self.labels.values().filter_map(|span| span.last).max()
    }
}

/// Pairs of nodes, best first, and what was left out on the way.
struct Chosen {
    pairs: Vec<((u32, u32), Counted)>,
    nodes: HashMap<u32, Degree>,
    left_out: LeftOut,
    below_least: usize,
    records: usize,
    bars: Bars,
}

#[derive(Clone, Copy, Default)]
struct Degree {
    edges: usize,
    records: usize,
}

impl Edges {
    /// Adds a record, as a document of the database has it. What is no edge there is passed over.
    pub(super) fn add(&mut self, document: &Value) {
        let text = |name: &str| document[name].as_str().unwrap_or_default();
        let record = Record {
            id: text("id").to_owned(),
            pk: text("pk").to_owned(),
            at: seconds(text("CreationTime")),
            workload: self.workloads.number(text("Workload")),
            user: self.users.number(&text("UserId").to_lowercase()),
            operation: self.operations.number(text("Operation")),
            first_edge: self.edges.len(),
            is_failed: is_failed(text("Operation"), text("ResultStatus")),
            findings: Vec::new(),
        };
        for edge in document["edges"].as_array().into_iter().flatten() {
            let text = |name: &str| edge[name].as_str().filter(|text| !text.is_empty());
            if let (Some(from), Some(from_type), Some(to), Some(to_type)) = (text("from"), text("fromType"), text("to"), text("toType")) {
                self.edges.push(Edge {
                    from: self.nodes.number(&format!("{from_type}:{from}")),
                    to: self.nodes.number(&format!("{to_type}:{to}")),
                    kind: self.kinds.number(&format!("{from_type}-{to_type}")),
                    label: self.labels.number(text("label").unwrap_or_default()),
                });
            }
        }
        self.records.push(record);
        for finding in document["findings"].as_array().into_iter().flatten() {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            let Ok(level) = text("level").parse() else { continue };
            let place = self.records.len() - 1;
            let Record { user, at, .. } = self.records[place];
            let (account, span) = (self.users.text(user).to_owned(), Span { records: 1, first: at, last: at });
            self.find(place, (text("rule"), text("title"), level), &account, span);
        }
    }

    /// Adds to a record, by its place, what a rule of this id, title and level found: about whom, and on how many records. The same
    /// counts once.
    pub(super) fn find(&mut self, place: usize, (rule, title, level): (&str, &str, Level), account: &str, span: Span) {
        let hit = Hit { rule: self.rules.number(rule), account: self.users.number(account), span };
        if self.titles.len() == hit.rule as usize {
            self.titles.push((title.to_owned(), level));
        }
        if let Some(record) = self.records.get_mut(place).filter(|record| !record.findings.iter().any(|known| known.is_same(&hit))) {
            record.findings.push(hit);
        }
    }

    /// A rule's title and level, by its number.
    pub(super) fn rule(&self, number: u32) -> Option<Found<'_>> {
        self.titles.get(number as usize).map(|(title, level)| Found { title, level: *level })
    }

    /// The level of a record's worst finding.
    pub(super) fn level(&self, record: &Record) -> Option<Level> {
        record.findings.iter().filter_map(|hit| Some(self.rule(hit.rule)?.level)).max()
    }

    /// How many records were added.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Every record with its edges.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Record, &[Edge])> {
        let ends = self.records.iter().skip(1).map(|next| next.first_edge).chain([self.edges.len()]);
        self.records.iter().zip(ends).map(|(record, end)| (record, &self.edges[record.first_edge..end]))
    }

    fn with_edges(&self) -> impl Iterator<Item = (&Record, &[Edge])> {
        self.all().filter(|(_, edges)| !edges.is_empty())
    }

    /// Sessions from which more than one IP address is seen.
    pub(super) fn sessions_at_several_addresses(&self) -> HashSet<u32> {
        let of_type = |node: u32, wanted: &str| split(self.nodes.text(node)).0 == wanted;
        let mut addresses: HashMap<u32, u32> = HashMap::new();
        let mut several = HashSet::new();
        for Edge { from, to, .. } in self.edges.iter().filter(|edge| of_type(edge.from, "session") && of_type(edge.to, "ip")) {
            if addresses.entry(*from).or_insert(*to) != to {
                several.insert(*from);
            }
        }
        several
    }

    /// What there is to choose from, the commonest first.
    pub(super) fn summary(&self) -> Summary {
        let mut workloads = vec![0; self.workloads.texts.len()];
        let mut operations = vec![0; self.operations.texts.len()];
        let mut users = vec![0; self.users.texts.len()];
        let mut kinds = vec![0; self.kinds.texts.len()];
        let mut labels = vec![0; self.labels.texts.len()];
        let (mut first, mut last, mut records_with_edges) = (None, None, 0);
        let mut findings: BTreeMap<Reverse<Level>, usize> = BTreeMap::new();
        for record in self.records.iter().filter(|record| !record.findings.is_empty()) {
            if let Some(level) = self.level(record) {
                *findings.entry(Reverse(level)).or_default() += 1;
            }
        }
        for (record, edges) in self.with_edges() {
            workloads[record.workload as usize] += 1;
            operations[record.operation as usize] += 1;
            users[record.user as usize] += 1;
            for edge in edges {
                kinds[edge.kind as usize] += 1;
                labels[edge.label as usize] += usize::from(self.operations.find(self.labels.text(edge.label)).is_none());
            }
            first = first.into_iter().chain(record.at).min();
            last = last.max(record.at);
            records_with_edges += 1;
        }
        Summary {
            records: self.records.len(),
            records_with_edges,
            edges: self.edges.len(),
            nodes: self.nodes.texts.len(),
            from: first.map(utc),
            to: last.map(utc),
            workloads: commonest(&self.workloads, &workloads),
            kinds: commonest(&self.kinds, &kinds),
            operations: commonest(&self.operations, &operations),
            users: commonest(&self.users, &users),
            labels: commonest(&self.labels, &labels),
            findings: findings.into_iter().map(|(Reverse(level), count)| (level, count)).collect(),
            sessions: self.sessions_at_several_addresses().len(),
            is_cut: self.is_cut,
        }
    }

    /// Nodes whose name has this text in it, in any case: those that begin with it first, then by records.
    pub(super) fn search(&self, text: &str, most: usize) -> Vec<(&str, usize)> {
        let wanted = text.trim().to_lowercase();
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for (_, edges) in self.with_edges() {
            for node in nodes_of(edges) {
                *counts.entry(node).or_default() += 1;
            }
        }
        let mut found: Vec<_> = counts
            .into_iter()
            .filter_map(|(node, records)| {
                let key = self.nodes.text(node);
                let at = split(key).1.to_lowercase().find(&wanted)?;
                Some((at > 0, Reverse(records), key))
            })
            .collect();
        found.sort_unstable();
        found.into_iter().take(most).map(|(_, Reverse(records), key)| (key, records)).collect()
    }

    /// What the filter lets through, counted, the most frequent first.
    pub(super) fn picture(&self, filter: &Filter) -> Picture {
        let chosen = self.choose(filter);
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut nodes = Vec::new();
        let mut place = |node: u32| {
            *places.entry(node).or_insert_with(|| {
                let Degree { edges, records } = chosen.nodes.get(&node).copied().unwrap_or_default();
                nodes.push(PictureNode { key: self.nodes.text(node).to_owned(), edges, records });
                nodes.len() - 1
            })
        };
        let edges = chosen.pairs.iter().map(|((from, to), counted)| {
            let mut operations: Vec<_> =
                counted.labels.iter().map(|(label, span)| (self.labels.text(*label).to_owned(), span.records)).collect();
            operations.sort_by_key(|(_, count)| Reverse(*count));
            let more_operations = operations.len().saturating_sub(MAX_OPERATIONS);
            operations.truncate(MAX_OPERATIONS);
            PictureEdge {
                from: place(*from),
                to: place(*to),
                records: counted.records,
                first: counted.first().map(utc),
                last: counted.last().map(utc),
                operations,
                more_operations,
                level: counted.level,
            }
        });
        let edges = edges.collect();
        Picture { nodes, edges, left_out: chosen.left_out, below_least: chosen.below_least, records: chosen.records, bars: chosen.bars }
    }

    /// The edges of the picture, one row an operation.
    pub(super) fn rows(&self, filter: &Filter) -> Vec<Row<'_>> {
        let chosen = self.choose(filter);
        let rows = chosen.pairs.iter().flat_map(|((from, to), counted)| {
            counted.labels.iter().map(|(label, span)| Row {
                from: split(self.nodes.text(*from)),
                to: split(self.nodes.text(*to)),
                label: self.labels.text(*label),
                records: span.records,
                first: span.first.map(utc),
                last: span.last.map(utc),
            })
        });
        rows.collect()
    }

    /// The records behind a node, or behind the edge from one node to another, or all that pass; newest first.
    pub(super) fn listing(&self, filter: &Filter, ends: (Option<&str>, Option<&str>), most: usize) -> Listing<'_> {
        let sieve = Sieve::new(self, filter);
        let (from, to) = (ends.0.map(|key| self.nodes.find(key)), ends.1.map(|key| self.nodes.find(key)));
        let is_meant = |edge: &Edge| match (from, to) {
            (Some(from), Some(to)) => from == Some(edge.from) && to == Some(edge.to),
            (Some(node), None) | (None, Some(node)) => node == Some(edge.from) || node == Some(edge.to),
            (None, None) => true,
        };
        let is_any = from.is_none() && to.is_none();
        let mut found: Vec<&Record> = self
            .all()
            .filter(|(record, edges)| {
                let is_meant = is_any || edges.iter().any(|edge| sieve.has_kind(edge) && is_meant(edge));
                is_meant && sieve.is_in_time(record) && sieve.passes(self, record, edges)
            })
            .map(|(record, _)| record)
            .collect();
        found.sort_by_key(|record| Reverse(record.at));
        let total = found.len();
        found.truncate(most);
        Listing { total, records: found.into_iter().map(|record| self.listed(record)).collect() }
    }

    pub(super) fn listed<'a>(&'a self, record: &'a Record) -> Listed<'a> {
        let mut findings: Vec<Found<'_>> = record.findings.iter().filter_map(|hit| self.rule(hit.rule)).collect();
        findings.sort_by_key(|found| Reverse(found.level));
        Listed {
            id: &record.id,
            pk: &record.pk,
            at: record.at.map(utc),
            workload: self.workloads.text(record.workload),
            user: self.users.text(record.user),
            operation: self.operations.text(record.operation),
            findings,
        }
    }

    fn choose(&self, filter: &Filter) -> Chosen {
        let sieve = Sieve::new(self, filter);
        let mut counted: HashMap<(u32, u32), Counted> = HashMap::new();
        let mut records_of: HashMap<u32, usize> = HashMap::new();
        let (mut records, mut times) = (0, Vec::new());
        for (record, edges) in self.with_edges().filter(|(record, edges)| sieve.passes(self, record, edges)) {
            let edges: Vec<Edge> = edges.iter().copied().filter(|edge| sieve.has_kind(edge)).collect();
            if edges.is_empty() {
                continue;
            }
            times.extend(record.at);
            if !sieve.is_in_time(record) {
                continue;
            }
            records += 1;
            let mut pairs = HashSet::new();
            let level = self.level(record);
            for edge in &edges {
                let pair = counted.entry((edge.from, edge.to)).or_default();
                pair.kind = edge.kind;
                pair.level = pair.level.max(level);
                pair.labels.entry(edge.label).or_default().add(record.at);
                pair.records += u32::from(pairs.insert((edge.from, edge.to)));
            }
            for node in nodes_of(&edges) {
                *records_of.entry(node).or_default() += 1;
            }
        }
        if let (Some(from), Some(to)) = (&filter.path_from, &filter.path_to) {
            let path: HashSet<(u32, u32)> =
                self.path(&sieve, from, to).into_iter().flatten().map(|step| (step.edge.from, step.edge.to)).collect();
            counted.retain(|pair, _| path.contains(pair));
        }
        let all = counted.len();
        counted.retain(|_, pair| pair.records >= filter.least.unwrap_or(1));
        let below_least = all - counted.len();
        let mut pairs = self.ranked(counted, filter);
        let mut nodes: HashMap<u32, Degree> = HashMap::new();
        for ((from, to), _) in &pairs {
            for node in [from, to] {
                let records = records_of.get(node).copied().unwrap_or_default();
                nodes.entry(*node).or_insert(Degree { edges: 0, records }).edges += 1;
            }
        }
        let top = filter.top.unwrap_or(usize::MAX);
        let edges_left_out = pairs.len().saturating_sub(top);
        pairs.truncate(top);
        let shown: HashSet<u32> = pairs.iter().flat_map(|((from, to), _)| [*from, *to]).collect();
        let left_out = LeftOut { edges: edges_left_out, nodes: nodes.len() - shown.len() };
        Chosen { pairs, nodes, left_out, below_least, records, bars: bars(&times) }
    }

    /// The nearest to the filter's node first, and of what is equally near, the first of each kind, the second of each, …; within
    /// a kind, what somebody must look at comes first.
    fn ranked(&self, counted: HashMap<(u32, u32), Counted>, filter: &Filter) -> Vec<((u32, u32), Counted)> {
        let distances = filter.node.as_deref().map(|node| self.distances(&counted, node, filter.hops.unwrap_or(1)));
        // An edge is as near as its nearer end; what is out of reach has no distance. Around no node all are equally near.
        let distance = |(from, to): &(u32, u32)| match &distances {
            None => Some(0),
            Some(distances) => Some(*distances.get(from)?.min(distances.get(to)?)),
        };
        let order = |pair: &Counted| {
            let records = i64::from(pair.records);
            let last = pair.last().unwrap_or(i64::MIN);
            let is_marked = pair.level >= Some(Level::Medium);
            Reverse(match filter.order {
                Order::Often => (is_marked, records, last),
                Order::Seldom => (is_marked, -records, last),
                Order::Newest => (is_marked, last, records),
            })
        };
        let mut pairs: Vec<_> =
            counted.into_iter().filter_map(|(pair, counted)| Some(((distance(&pair)?, order(&counted), pair), counted))).collect();
        pairs.sort_unstable_by_key(|(rank, _)| *rank);
        let mut seen: HashMap<(u32, u32), usize> = HashMap::new();
        let mut pairs: Vec<_> = pairs
            .into_iter()
            .map(|((distance, order, pair), counted)| {
                let place = seen.entry((distance, counted.kind)).or_default();
                *place += 1;
                ((distance, *place, order, pair), counted)
            })
            .collect();
        pairs.sort_unstable_by_key(|(rank, _)| *rank);
        pairs.into_iter().map(|((_, _, _, pair), counted)| (pair, counted)).collect()
    }

    /// How far each node is from one, up to a limit.
    fn distances(&self, counted: &HashMap<(u32, u32), Counted>, node: &str, hops: u32) -> HashMap<u32, u32> {
        let mut neighbours: HashMap<u32, Vec<u32>> = HashMap::new();
        for (from, to) in counted.keys() {
            neighbours.entry(*from).or_default().push(*to);
            neighbours.entry(*to).or_default().push(*from);
        }
        let mut distances: HashMap<u32, u32> = self.nodes.find(node).map(|node| (node, 0)).into_iter().collect();
        let mut queue: VecDeque<u32> = distances.keys().copied().collect();
        while let Some(node) = queue.pop_front() {
            let next = distances.get(&node).map_or(0, |distance| distance + 1);
            for other in neighbours.get(&node).into_iter().flatten().filter(|_| next <= hops) {
                distances.entry(*other).or_insert_with(|| {
                    queue.push_back(*other);
                    next
                });
            }
        }
        distances
    }
}

/// By the operation's name, or by what each workload writes for a result.
fn is_failed(operation: &str, result: &str) -> bool {
    operation.to_lowercase().contains("fail") || ["failed", "failure", "false"].contains(&result.to_lowercase().as_str())
}

/// Each node once.
fn nodes_of(edges: &[Edge]) -> HashSet<u32> {
    edges.iter().flat_map(|edge| [edge.from, edge.to]).collect()
}

/// Type and name of a node; a type has no colon, a name may.
pub(super) fn split(key: &str) -> (&str, &str) {
    key.split_once(':').unwrap_or(("", key))
}

fn commonest(names: &Names, counts: &[usize]) -> Vec<(String, usize)> {
    let mut pairs: Vec<_> = names.texts.iter().cloned().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
    pairs.sort_by(|(a, many), (b, more)| more.cmp(many).then_with(|| a.cmp(b)));
    pairs
}

/// A time without a zone is UTC, with or without seconds; one with a zone is as it says.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp());
    let plain = || ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"].iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    zoned.ok().or_else(|| plain().map(|time| time.and_utc().timestamp()))
}

pub(super) fn utc(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%S").to_string())
}

/// A bar for each equal part of the whole time, of a length that a person can name.
fn bars(times: &[i64]) -> Bars {
    const LENGTHS: [i64; 17] =
        [1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000, 31_536_000];
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return Bars { from: None, seconds: 0, counts: Vec::new() };
    };
    let fits = |length: &&i64| (last - first) / **length < BARS;
    let length = *LENGTHS.iter().find(fits).unwrap_or(&((last - first) / (BARS - 1) + 1).max(1));
    let begin = first.div_euclid(length) * length;
    let bar = |time: i64| usize::try_from((time - begin) / length).unwrap_or(0);
    let mut counts = vec![0; bar(*last) + 1];
    times.iter().for_each(|time| counts[bar(*time)] += 1);
    Bars { from: Some(utc(begin)), seconds: length, counts }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::json;

    use super::*;

    /// `who>what` pairs, as one record of a user at a time has them.
    fn record(edges: &mut Edges, at: &str, workload: &str, user: &str, operation: &str, pairs: &[&str]) {
        let edge = |pair: &&str| {
            let (from, to) = pair.split_once('>').unwrap();
            let ((from_type, from), (to_type, to)) = (split(from), split(to));
            json!({ "from": from, "fromType": from_type, "to": to, "toType": to_type, "label": operation })
        };
        let list: Vec<Value> = pairs.iter().map(edge).collect();
        let id = format!("r{}", edges.len());
        edges.add(&json!({
            "id": id, "pk": "p", "CreationTime": at, "Workload": workload, "UserId": user, "Operation": operation, "edges": list
        }));
    }

    /// Ann signs in often and reads a file once; Bob, who is written in two ways, reads it too; mail leaves Ann's mailbox.
    fn edges() -> Edges {
        let mut edges = Edges::default();
        for hour in 0..5 {
            let at = format!("2026-11-20T0{hour}:30:00");
            record(&mut edges, &at, "AzureActiveDirectory", "ann@c.example", "UserLoggedIn", &["user:ann@c.example>ip:192.0.2.1"]);
        }
        let read = ["user:ann@c.example>file:https://c.example/a", "user:ann@c.example>ip:192.0.2.1"];
        record(&mut edges, "2026-11-20T06:00:00", "SharePoint", "Ann@C.example", "FileAccessed", &read);
        record(
            &mut edges,
            "2026-11-20T07:00:00",
            "SharePoint",
            "bob@c.example",
            "FileAccessed",
            &["user:bob@c.example>file:https://c.example/a"],
        );
        record(
            &mut edges,
            "2026-11-20T08:00:00",
            "Exchange",
            "ann@c.example",
            "New-InboxRule",
            &["mailbox:ann@c.example>address:x@evil.example"],
        );
        record(&mut edges, "no time", "Exchange", "nobody", "Send", &[]);
        edges
    }

    fn filter(query: &str) -> Filter {
        let pairs: serde_json::Map<String, Value> = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.clone().into_owned(), value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number))))
            .collect();
        serde_json::from_value(pairs.into()).unwrap()
    }

    /// `from>to=records` of what is shown, in order.
    fn shown(query: &str) -> Vec<String> {
        let picture = edges().picture(&filter(query));
        let name = |place: usize| split(&picture.nodes[place].key).1.rsplit(['@', '/']).next_back().unwrap_or_default().to_owned();
        let name =
            |place: usize| if picture.nodes[place].key.contains('@') { name(place) } else { split(&picture.nodes[place].key).1.to_owned() };
        picture.edges.iter().map(|edge| format!("{}>{}={}", name(edge.from), name(edge.to), edge.records)).collect()
    }

    #[test]
    fn edges_are_counted_by_record_and_carry_their_operations_and_times() {
        let picture = edges().picture(&Filter::default());
        let edge = &picture.edges[0];
        assert_eq!(
            (edge.records, edge.operations.as_slice()),
            (6, [("UserLoggedIn".to_owned(), 5), ("FileAccessed".to_owned(), 1)].as_slice())
        );
        assert_eq!((edge.first.as_deref(), edge.last.as_deref()), (Some("2026-11-20T00:30:00"), Some("2026-11-20T06:00:00")));
        let ann = picture.nodes.iter().find(|node| node.key == "user:ann@c.example").unwrap();
        assert_eq!((ann.records, ann.edges), (6, 2));
        assert_eq!(picture.records, 8);
    }

    #[test]
    fn every_filter_takes_away_what_it_says() {
        let all = ["ann>192.0.2.1=6", "bob>https://c.example/a=1", "ann>x=1", "ann>https://c.example/a=1"];
        let mut sorted = shown("");
        sorted.sort_unstable();
        let mut expected = all.to_vec();
        expected.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(shown("workload=Exchange"), ["ann>x=1"]);
        assert_eq!(shown("workload=Exchange,Nowhere"), ["ann>x=1"]);
        assert_eq!(shown("workload="), [""; 0]);
        assert_eq!(shown("user=BOB@c.example"), ["bob>https://c.example/a=1"]);
        assert_eq!(shown("user=unknown"), [""; 0]);
        assert_eq!(shown("operation=New-InboxRule"), ["ann>x=1"]);
        assert_eq!(shown("kind=mailbox-address"), ["ann>x=1"]);
        assert_eq!(shown("least=2"), ["ann>192.0.2.1=6"]);
        assert_eq!(shown("from=2026-11-20T07:00&to=2026-11-20T08:00:00"), ["bob>https://c.example/a=1"]);
        assert_eq!(edges().picture(&filter("least=2")).below_least, 3);
    }

    #[test]
    fn a_loud_kind_of_edge_drowns_no_other() {
        let mut edges = edges();
        for address in 0..50 {
            for _ in 0..9 {
                let pair = format!("system:s>ip:198.51.100.{address}");
                record(&mut edges, "2026-11-20T09:00:00", "Exchange", "s", "Set-Mailbox", &[&pair]);
            }
        }
        let picture = edges.picture(&filter("top=4"));
        assert!(picture.edges.iter().any(|edge| picture.nodes[edge.to].key == "address:x@evil.example"));
        assert_eq!((picture.left_out.edges, picture.edges.len()), (50, 4));
        // All 50 addresses but the one shown, and Bob or Ann's share of the file.
        assert!(picture.left_out.nodes >= 49, "{:?}", picture.left_out);
    }

    #[test]
    fn around_a_node_is_what_can_be_reached_from_it_nearest_first() {
        assert_eq!(shown("node=user:bob@c.example"), ["bob>https://c.example/a=1"]);
        assert_eq!(shown("node=user:bob@c.example&hops=2"), ["bob>https://c.example/a=1", "ann>https://c.example/a=1"]);
        assert_eq!(shown("node=user:bob@c.example&hops=3").len(), 3);
        assert_eq!(shown("node=user:nobody"), [""; 0]);
    }

    #[test]
    fn the_order_says_what_stays_among_its_kind() {
        let kept = |order: &str| shown(&format!("kind=user-ip,user-file&top=2&order={order}"));
        assert!(kept("often").contains(&"ann>192.0.2.1=6".to_owned()));
        assert!(kept("newest").contains(&"bob>https://c.example/a=1".to_owned()));
        assert_eq!(shown("kind=user-file,user-ip&top=1&order=seldom"), ["bob>https://c.example/a=1"]);
    }

    #[test]
    fn records_of_a_node_or_an_edge_come_newest_first() {
        let edges = edges();
        let file = edges.listing(&Filter::default(), (Some("file:https://c.example/a"), None), 10);
        assert_eq!(file.records.iter().map(|record| record.user).collect::<Vec<_>>(), ["bob@c.example", "ann@c.example"]);
        let sign_ins = edges.listing(&filter("operation=UserLoggedIn"), (Some("user:ann@c.example"), Some("ip:192.0.2.1")), 2);
        assert_eq!((sign_ins.total, sign_ins.records.len()), (5, 2));
        assert_eq!(sign_ins.records[0].at.as_deref(), Some("2026-11-20T04:30:00"));
        assert_eq!(edges.listing(&Filter::default(), (Some("user:unknown"), None), 10).total, 0);
    }

    #[test]
    fn a_search_finds_names_by_any_part_in_any_case() {
        let edges = edges();
        assert_eq!(edges.search("ANN", 9)[0], ("user:ann@c.example", 6));
        assert_eq!(edges.search("evil", 9), [("address:x@evil.example", 1)]);
        assert_eq!(edges.search("user:", 9), []);
    }

    #[test]
    fn bars_cover_all_times_whatever_the_filter_on_time() {
        let bars = edges().picture(&filter("from=2026-11-20T07:00:00")).bars;
        assert_eq!(bars.counts.iter().sum::<u32>(), 8);
        assert_eq!((bars.from.as_deref(), bars.seconds), (Some("2026-11-20T00:30:00"), 300));
        assert!(bars.counts.len() <= 96 && bars.counts.first() == Some(&1) && bars.counts.last() == Some(&1));
        assert_eq!(self::bars(&[i64::MIN / 4, i64::MAX / 4]).counts.iter().sum::<u32>(), 2);
    }

    #[test]
    fn what_is_no_edge_is_passed_over() {
        let mut edges = Edges::default();
        edges.add(&json!({ "id": "a", "pk": "p", "edges": [{ "from": "x", "to": "y" }, 7, null, { "from": "", "fromType": "user", "to": "y", "toType": "ip" }] }));
        edges.add(&json!({ "id": 5, "edges": "none" }));
        edges.add(&Value::Null);
        assert_eq!((edges.len(), edges.summary().edges), (3, 0));
    }
}
