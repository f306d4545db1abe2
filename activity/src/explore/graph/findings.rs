//! What to look at first: the findings of all records, one line for each account and rule.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::edges::{Edges, Span, utc};
use super::filter::{Filter, Sieve};

/// The need for a person to look.
/// <https://sigmahq.io/docs/basics/rules.html#level>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing was found, or the word is unknown.
    None,
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Level {
    /// By the word that documents have for it.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "informational" => Self::Informational,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "critical" => Self::Critical,
            _ => Self::None,
        }
    }
}

/// What a rule found on a record.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found<'a> {
    pub(super) title: &'a str,
    pub(super) level: Level,
}

impl<'a> From<(&'a str, Level)> for Found<'a> {
    fn from((title, level): (&'a str, Level)) -> Self {
        Self { title, level }
    }
}

/// What a rule found on an account's records: one line, however many they are.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) user: &'a str,
    pub(super) rule: &'a str,
    pub(super) title: &'a str,
    pub(super) level: Level,
    pub(super) records: u32,
    /// UTC; nothing where no record has a time.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
    #[serde(skip)]
    account: u32,
}

impl Edges {
    /// The findings of the records that pass the filter. The account at which somebody must look first comes first, with all its lines:
    /// the one with the worst finding, then the one in whose records most rules of level medium or above found something.
    pub(super) fn findings(&self, filter: &Filter) -> Vec<Line<'_>> {
        let sieve = Sieve::new(self, filter);
        let mut counted: HashMap<(u32, u32), Span> = HashMap::new();
        for (record, _) in self.all().filter(|(record, edges)| sieve.is_in_time(record) && sieve.passes(self, record, edges)) {
            for rule in &record.findings {
                counted.entry((record.user, *rule)).or_default().add(record.at);
            }
        }
        let mut accounts: HashMap<u32, (Level, usize)> = HashMap::new();
        for (account, rule) in counted.keys() {
            let level = self.rule(*rule).1;
            let (worst, severe) = accounts.entry(*account).or_insert((Level::None, 0));
            *worst = level.max(*worst);
            *severe += usize::from(level >= Level::Medium);
        }
        let line = |((account, rule), span): ((u32, u32), Span)| {
            let (title, level) = self.rule(rule);
            let (user, rule) = (self.users.text(account), self.rules.text(rule));
            Line { user, rule, title, level, records: span.records, first: span.first.map(utc), last: span.last.map(utc), account }
        };
        let mut lines: Vec<_> = counted.into_iter().map(line).collect();
        lines.sort_by(|a, b| {
            let rank = |line: &Line<'_>| (Reverse(accounts[&line.account]), line.user.to_owned(), Reverse(line.level));
            rank(a).cmp(&rank(b)).then_with(|| b.last.cmp(&a.last)).then_with(|| a.title.cmp(b.title))
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn edges(records: &[(&str, &str, Value)]) -> Edges {
        let mut edges = Edges::default();
        for (number, (user, at, findings)) in records.iter().enumerate() {
            edges.add(&json!({ "id": number.to_string(), "pk": "p", "UserId": user, "CreationTime": at, "findings": findings }));
        }
        edges
    }

    #[test]
    fn an_account_has_one_line_for_each_rule_and_the_worst_account_comes_first() {
        let finding = |rule: &str, level: &str| json!({ "rule": rule, "title": format!("about {rule}"), "level": level });
        let mut records: Vec<_> =
            (10..34).map(|minute| ("ann@c.example", format!("2026-11-20T01:{minute}:00"), json!([finding("failed", "medium")]))).collect();
        records.push(("Ann@C.example", "2026-11-20T00:00:00".to_owned(), json!([finding("rule", "medium"), finding("failed", "medium")])));
        records.push(("bob@c.example", "2026-11-20T09:00:00".to_owned(), json!([finding("failed", "medium")])));
        records.push(("eve@c.example", "2026-11-20T08:00:00".to_owned(), json!([finding("role", "high")])));
        records.push(("zoe@c.example", "2026-11-20T08:00:00".to_owned(), json!("none")));
        let records: Vec<_> = records.iter().map(|(user, at, findings)| (*user, at.as_str(), findings.clone())).collect();
        let edges = edges(&records);
        let lines = edges.findings(&Filter::default());
        let told: Vec<_> = lines.iter().map(|line| (line.user, line.title, line.level, line.records)).collect();
        let expected = [
            ("eve@c.example", "about role", Level::High, 1),
            ("ann@c.example", "about failed", Level::Medium, 25),
            ("ann@c.example", "about rule", Level::Medium, 1),
            ("bob@c.example", "about failed", Level::Medium, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!((lines[1].first.as_deref(), lines[1].last.as_deref()), (Some("2026-11-20T00:00:00"), Some("2026-11-20T01:33:00")));
    }

    #[test]
    fn what_is_found_later_counts_once_with_what_the_record_had() {
        let mut edges = edges(&[("ann", "2026-11-20T01:00:00", json!([{ "rule": "a", "title": "A", "level": "low" }]))]);
        edges.find(0, "a", "A", Level::Low);
        edges.find(0, "b", "B", Level::High);
        edges.find(7, "c", "C", Level::High);
        let lines = edges.findings(&Filter::default());
        assert_eq!(lines.iter().map(|line| (line.title, line.records)).collect::<Vec<_>>(), [("B", 1), ("A", 1)]);
    }
}
