//! What to look at first: the findings of all records, one line for each account and rule.

use std::cmp::Reverse;
use std::collections::HashMap;

use handler::findings::Level;
use serde::Serialize;

use super::edges::{Edges, Span, utc};
use super::filter::{Filter, Sieve};

/// What a rule found: on one record, or on several that a rule over time puts together. Those stand at the record that completes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// A number of rules.
    pub(super) rule: u32,
    /// A number of users: the account, or what the records of several accounts have in common, such as an address.
    pub(super) account: u32,
    pub(super) span: Span,
}

impl Hit {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.rule, self.account) == (other.rule, other.account)
    }
}

/// A rule that found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found<'a> {
    pub(super) title: &'a str,
    pub(super) level: Level,
}

/// What a rule found on an account's records: one line, however many they are.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// In lower case; what the records of several accounts have in common, such as an address.
    pub(super) account: &'a str,
    pub(super) rule: &'a str,
    pub(super) title: &'a str,
    pub(super) level: Level,
    pub(super) records: u32,
    /// UTC; nothing where no record has a time.
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

impl Edges {
    /// The findings of the records that pass the filter. The account at which somebody must look first comes first, with all its lines:
    /// the one with the worst finding, then the one in whose records most rules of level medium or above found something.
    pub(super) fn findings(&self, filter: &Filter) -> Vec<Line<'_>> {
        let sieve = Sieve::new(self, filter);
        let mut counted: HashMap<(u32, u32), Span> = HashMap::new();
        for (record, _) in self.all().filter(|(record, edges)| sieve.is_in_time(record) && sieve.passes(self, record, edges)) {
            for hit in record.findings.iter().filter(|hit| sieve.is_of(hit)) {
                counted.entry((hit.account, hit.rule)).or_default().join(hit.span);
            }
        }
        let mut accounts: HashMap<&str, (Option<Level>, usize)> = HashMap::new();
        let mut lines: Vec<Line<'_>> = Vec::new();
        for ((account, rule), span) in counted {
            let Some(Found { title, level }) = self.rule(rule) else { continue };
            let (account, rule) = (self.users.text(account), self.rules.text(rule));
            let (worst, severe) = accounts.entry(account).or_default();
            *worst = (*worst).max(Some(level));
            *severe += usize::from(level >= Level::Medium);
            lines.push(Line { account, rule, title, level, records: span.records, first: span.first.map(utc), last: span.last.map(utc) });
        }
        let rank = |line: &Line<'_>| (Reverse(accounts.get(line.account).copied()), Reverse(line.level), Reverse(line.last.clone()));
        lines.sort_by(|a, b| {
            let ((worst, level, last), (other_worst, other_level, other_last)) = (rank(a), rank(b));
            let by_account = worst.cmp(&other_worst).then_with(|| a.account.cmp(b.account));
            by_account.then_with(|| (level, last, a.title).cmp(&(other_level, other_last, b.title)))
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
        let told: Vec<_> = lines.iter().map(|line| (line.account, line.title, line.level, line.records)).collect();
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
        let once = Span { records: 1, first: None, last: None };
        edges.find(0, ("a", "A", Level::Low), "ann", once);
        edges.find(0, ("b", "B", Level::High), "192.0.2.1", Span { records: 24, first: Some(0), last: Some(60) });
        edges.find(7, ("c", "C", Level::High), "ann", once);
        let told = |filter: &Filter| {
            edges.findings(filter).iter().map(|line| (line.account.to_owned(), line.title.to_owned(), line.records)).collect::<Vec<_>>()
        };
        let (spray, single) = (("192.0.2.1".to_owned(), "B".to_owned(), 24), ("ann".to_owned(), "A".to_owned(), 1));
        assert_eq!(told(&Filter::default()), [spray.clone(), single.clone()]);
        assert_eq!(told(&Filter { account: Some("192.0.2.1".to_owned()), ..Filter::default() }), [spray]);
        assert_eq!(told(&Filter { rule: Some("a".to_owned()), ..Filter::default() }), [single]);
        assert_eq!(told(&Filter { rule: Some("a".to_owned()), account: Some("192.0.2.1".to_owned()), ..Filter::default() }), []);
    }
}
