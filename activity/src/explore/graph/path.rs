//! The shortest way in time from one node to another: by what steps something could have got from here to there.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::edges::{Edge, Edges, Listed, Record, split};
use super::filter::{Filter, Sieve};

/// A way with more steps tells nobody anything.
const MAX_STEPS: usize = 16;
/// What everybody shares: a way may begin or end there, and never leads through it.
const SHARED: [&str; 3] = ["app", "system", "policy"];

/// A step of the way: an edge of a record.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) edge: Edge,
    record: &'a Record,
    at: i64,
    /// The end at which the step begins; an edge is walked either way.
    here: u32,
    there: u32,
}

/// A step as it is told.
#[derive(Debug, Serialize)]
pub(super) struct ToldStep<'a> {
    /// Where it begins, and where it leads: `type:name`.
    pub(super) here: &'a str,
    pub(super) there: &'a str,
    /// The edge as the document has it.
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) label: &'a str,
    pub(super) record: Listed<'a>,
}

impl Edges {
    /// The steps, in order, from the filter's one node to its other; none where there is no way, or the filter has not both.
    pub(super) fn told_path(&self, filter: &Filter) -> Option<Vec<ToldStep<'_>>> {
        let steps = self.path(&Sieve::new(self, filter), filter.path_from.as_deref()?, filter.path_to.as_deref()?)?;
        let told = steps.into_iter().map(|step| ToldStep {
            here: self.nodes.text(step.here),
            there: self.nodes.text(step.there),
            from: self.nodes.text(step.edge.from),
            to: self.nodes.text(step.edge.to),
            label: self.labels.text(step.edge.label),
            record: self.listed(step.record),
        });
        Some(told.collect())
    }

    /// The way with fewest steps of which none is earlier than the one before; of several, the one that arrives first. The steps of
    /// one record are at one time.
    ///
    /// Round by round, each node keeps the earliest time at which that many steps reach it. A node goes on in the next round only
    /// if it was reached earlier than by fewer steps: else those fewer steps lead as far.
    pub(super) fn path(&self, sieve: &Sieve, from: &str, to: &str) -> Option<Vec<Step<'_>>> {
        let (begin, end) = (self.nodes.find(from)?, self.nodes.find(to)?);
        let shared: HashSet<u32> = self
            .nodes
            .numbers()
            .filter(|node| SHARED.contains(&split(self.nodes.text(*node)).0) && *node != begin && *node != end)
            .collect();
        let steps = self.steps(sieve, &shared);

        let mut earliest = HashMap::from([(begin, i64::MIN)]);
        let mut rounds: Vec<HashMap<u32, Step<'_>>> = Vec::new();
        let mut reached = HashMap::from([(begin, i64::MIN)]);
        while !reached.is_empty() && rounds.len() < MAX_STEPS {
            let mut round: HashMap<u32, Step<'_>> = HashMap::new();
            // In the order of time: the first step that leads to a node is the earliest.
            for step in &steps {
                if reached.get(&step.here).is_some_and(|since| *since <= step.at)
                    && earliest.get(&step.there).is_none_or(|at| step.at < *at)
                {
                    round.entry(step.there).or_insert(*step);
                }
            }
            reached = round.iter().map(|(node, step)| (*node, step.at)).collect();
            earliest.extend(&reached);
            rounds.push(round);
            if reached.contains_key(&end) {
                return back(&rounds, end);
            }
        }
        None
    }

    /// Every edge that passes, walked either way, in the order of time; of what was tried and not done, none.
    fn steps(&self, sieve: &Sieve, left_out: &HashSet<u32>) -> Vec<Step<'_>> {
        let passing =
            self.all().filter(|(record, edges)| !record.is_failed && sieve.is_in_time(record) && sieve.passes(self, record, edges));
        let timed = passing.filter_map(|(record, edges)| Some((record.at?, record, edges)));
        let both = timed.flat_map(|(at, record, edges)| {
            edges.iter().filter(|edge| sieve.has_kind(edge)).flat_map(move |edge| {
                let step = |here, there| Step { edge: *edge, record, at, here, there };
                [step(edge.from, edge.to), step(edge.to, edge.from)]
            })
        });
        let mut steps: Vec<_> = both.filter(|step| !left_out.contains(&step.here) && !left_out.contains(&step.there)).collect();
        steps.sort_by_key(|step| step.at);
        steps
    }
}

/// The way that the rounds lead to a node.
fn back<'a>(rounds: &[HashMap<u32, Step<'a>>], end: u32) -> Option<Vec<Step<'a>>> {
    let mut node = end;
    let mut steps = Vec::new();
    for round in rounds.iter().rev() {
        let step = round.get(&node)?;
        node = step.here;
        steps.push(*step);
    }
    steps.reverse();
    Some(steps)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::{Value, json};

    use super::*;

    /// Each record: hour, and its edges as `type:name>type:name`.
    fn edges(records: &[(&str, &[&str])]) -> Edges {
        let mut edges = Edges::default();
        for (number, (hour, pairs)) in records.iter().enumerate() {
            let edge = |pair: &&str| {
                let (from, to) = pair.split_once('>').unwrap();
                let ((from_type, from), (to_type, to)) = (split(from), split(to));
                json!({ "from": from, "fromType": from_type, "to": to, "toType": to_type, "label": "x" })
            };
            let list: Vec<Value> = pairs.iter().map(edge).collect();
            let at = format!("2026-11-20T{hour}:00:00");
            edges.add(&json!({ "id": number.to_string(), "pk": "p", "CreationTime": at, "Workload": "Exchange", "edges": list }));
        }
        edges
    }

    /// The ids of the records by which something could get from one to the other.
    fn way(edges: &Edges, from: &str, to: &str) -> Option<Vec<String>> {
        let filter = Filter { path_from: Some(from.to_owned()), path_to: Some(to.to_owned()), ..Filter::default() };
        edges.told_path(&filter).map(|steps| steps.iter().map(|step| step.record.id.to_owned()).collect())
    }

    fn told(ids: &[&str]) -> Option<Vec<String>> {
        Some(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn a_way_goes_forward_in_time_and_along_edges_either_way() {
        let edges = edges(&[
            ("09", &["user:bob>file:f"]),
            ("10", &["user:ann>ip:1", "user:ann>session:s"]),
            ("11", &["user:ann>file:f"]),
            ("12", &["user:bob>file:f"]),
            ("13", &["user:bob>address:x"]),
        ]);
        assert_eq!(way(&edges, "ip:1", "address:x"), told(&["1", "2", "3", "4"]));
        assert_eq!(way(&edges, "address:x", "ip:1"), None);
        assert_eq!(way(&edges, "ip:1", "session:s"), told(&["1", "1"]));
        assert_eq!(way(&edges, "ip:1", "ip:unknown"), None);
        let steps =
            edges.told_path(&Filter { path_from: Some("ip:1".into()), path_to: Some("user:ann".into()), ..Filter::default() }).unwrap();
        assert_eq!((steps[0].here, steps[0].there, steps[0].from, steps[0].to), ("ip:1", "user:ann", "user:ann", "ip:1"));
    }

    #[test]
    fn the_shortest_way_is_taken_and_of_equals_the_one_that_arrives_first() {
        let edges = edges(&[
            ("01", &["user:a>file:f"]),
            ("02", &["user:b>file:f"]),
            ("03", &["user:b>file:g"]),
            ("04", &["user:a>file:g"]),
            ("05", &["user:a>file:g"]),
        ]);
        assert_eq!(way(&edges, "user:a", "file:g"), told(&["3"]));
    }

    #[test]
    fn a_later_start_is_taken_where_an_early_one_cannot_go_on_and_a_longer_way_where_the_short_one_is_too_late() {
        // b is reached directly at 9, and by way of f at 2; only then is it in time for g at 3.
        let edges =
            edges(&[("09", &["user:a>user:b"]), ("01", &["user:a>file:f"]), ("02", &["user:b>file:f"]), ("03", &["user:b>file:g"])]);
        assert_eq!(way(&edges, "user:a", "file:g"), told(&["1", "2", "3"]));
    }

    #[test]
    fn what_everybody_shares_ends_a_way_and_carries_none() {
        let edges = edges(&[("01", &["user:a>app:mail"]), ("02", &["user:b>app:mail", "user:b>file:f"])]);
        assert_eq!(way(&edges, "user:a", "file:f"), None);
        assert_eq!(way(&edges, "app:mail", "file:f"), told(&["1", "1"]));
        assert_eq!(way(&edges, "user:a", "app:mail"), told(&["0"]));
    }

    #[test]
    fn what_failed_opens_no_way() {
        let edge = json!([{ "from": "ann", "fromType": "user", "to": "1", "toType": "ip", "label": "x" }]);
        for (operation, result, is_open) in [
            ("UserLoggedIn", "Success", true),
            ("UserLoginFailed", "Success", false),
            ("Set-Mailbox", "False", false),
            ("Add user.", "Failure", false),
        ] {
            let mut edges = Edges::default();
            edges.add(
                &json!({ "id": "0", "CreationTime": "2026-11-20T10:00:00", "Operation": operation, "ResultStatus": result, "edges": edge }),
            );
            assert_eq!(way(&edges, "ip:1", "user:ann").is_some(), is_open, "{operation} {result}");
        }
    }

    #[test]
    fn a_picture_of_a_way_has_its_edges_alone() {
        let edges = edges(&[("10", &["user:ann>ip:1", "user:ann>app:x"]), ("11", &["user:ann>file:f"]), ("12", &["user:eve>ip:1"])]);
        let filter = Filter { path_from: Some("ip:1".into()), path_to: Some("file:f".into()), ..Filter::default() };
        let picture = edges.picture(&filter);
        assert_eq!((picture.edges.len(), picture.nodes.len()), (2, 3));
    }
}
