//! What a person chose to see, and which records and edges that lets through.

use std::collections::HashSet;

use handler::findings::Level;
use serde::Deserialize;

use super::edges::{Edge, Edges, Names, Record, seconds};
use super::findings::Hit;

/// What to count. All that is left out means all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// UTC, inclusive, such as `2026-11-20T10:00:00`.
    pub(super) from: Option<String>,
    /// UTC, exclusive.
    pub(super) to: Option<String>,
    /// Workloads, comma-separated.
    pub(super) workload: Option<String>,
    /// Whose records: the whole UserId, in any case of letters.
    pub(super) user: Option<String>,
    /// An operation, whole.
    pub(super) operation: Option<String>,
    /// Kinds of edge, comma-separated, such as `user-ip,user-file`.
    pub(super) kind: Option<String>,
    /// Only edges with so many records or more.
    pub(super) least: Option<u32>,
    /// At most so many edges: of each kind the first, then of each the second, so that a loud kind drowns none.
    pub(super) top: Option<usize>,
    /// Which come first among their kind.
    pub(super) order: Order,
    /// Only what is around this node, `type:name`.
    pub(super) node: Option<String>,
    /// How many edges away from it.
    pub(super) hops: Option<u32>,
    /// Labels to leave out, comma-separated, such as `mentions`.
    pub(super) without: Option<String>,
    /// Only records with a finding of this level or above, such as `medium`.
    pub(super) level: Option<String>,
    /// Only records with a finding of this rule, by its id.
    pub(super) rule: Option<String>,
    /// … that is about this account.
    pub(super) account: Option<String>,
    /// Only records of some sessions.
    pub(super) sessions: Option<Sessions>,
    /// Only the shortest way in time from this node, `type:name`, …
    pub(super) path_from: Option<String>,
    /// … to this one.
    pub(super) path_to: Option<String>,
}

/// Which sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sessions {
    /// Seen at more than one address, in all that was read.
    Several,
}

/// Which edges come first.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    /// With most records.
    #[default]
    Often,
    /// With fewest records.
    Seldom,
    /// Seen last.
    Newest,
}

/// A filter in numbers. What it names and nobody has lets nothing through.
pub(super) struct Sieve {
    from: Option<i64>,
    to: Option<i64>,
    workloads: Option<HashSet<u32>>,
    kinds: Option<HashSet<u32>>,
    without: HashSet<u32>,
    user: Option<Option<u32>>,
    operation: Option<Option<u32>>,
    level: Option<Level>,
    rule: Option<Option<u32>>,
    account: Option<Option<u32>>,
    sessions: Option<HashSet<u32>>,
}

impl Sieve {
    pub(super) fn new(edges: &Edges, filter: &Filter) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let list = |names: &Names, list: &Option<String>| {
            list.as_deref().map(|list| list.split(',').filter_map(|name| names.find(name)).collect())
        };
        Self {
            from: text(&filter.from).as_deref().and_then(seconds),
            to: text(&filter.to).as_deref().and_then(seconds),
            workloads: list(&edges.workloads, &filter.workload),
            kinds: list(&edges.kinds, &filter.kind),
            without: list(&edges.labels, &filter.without).unwrap_or_default(),
            user: text(&filter.user).map(|user| edges.users.find(&user.to_lowercase())),
            operation: text(&filter.operation).map(|operation| edges.operations.find(&operation)),
            level: text(&filter.level).and_then(|level| level.parse().ok()),
            rule: text(&filter.rule).map(|rule| edges.rules.find(&rule)),
            account: filter.account.as_deref().map(|account| edges.users.find(&account.to_lowercase())),
            sessions: filter.sessions.map(|Sessions::Several| edges.sessions_at_several_addresses()),
        }
    }

    /// True but for time and kind of edge.
    pub(super) fn passes(&self, edges: &Edges, record: &Record, its: &[Edge]) -> bool {
        let is_of = |sessions: &HashSet<u32>| its.iter().any(|edge| sessions.contains(&edge.from) || sessions.contains(&edge.to));
        self.workloads.as_ref().is_none_or(|workloads| workloads.contains(&record.workload))
            && self.user.is_none_or(|user| user == Some(record.user))
            && self.operation.is_none_or(|operation| operation == Some(record.operation))
            && self.level.is_none_or(|level| edges.level(record) >= Some(level))
            && ((self.rule.is_none() && self.account.is_none()) || record.findings.iter().any(|hit| self.is_of(hit)))
            && self.sessions.as_ref().is_none_or(is_of)
    }

    pub(super) fn is_in_time(&self, record: &Record) -> bool {
        match record.at {
            Some(at) => self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to),
            None => self.from.is_none() && self.to.is_none(),
        }
    }

    /// True if a finding is of the rule and about the account.
    pub(super) fn is_of(&self, hit: &Hit) -> bool {
        self.rule.is_none_or(|rule| rule == Some(hit.rule)) && self.account.is_none_or(|account| account == Some(hit.account))
    }

    /// True if edges of its kind and label are wanted.
    pub(super) fn has_kind(&self, edge: &Edge) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&edge.kind)) && !self.without.contains(&edge.label)
    }
}
