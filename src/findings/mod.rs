//! Asks Sigma rules of a record: ours, compiled in from `rules/*.yml`, and an administrator's from the state container. Pure; imports no
//! client.

mod index;
mod load;
mod over_time;
mod record;
mod silence;

use std::{collections::HashSet, str::FromStr, sync::OnceLock};

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use self::{index::Index, load::Rule, over_time::Correlation, record::Record};
pub use self::{
    load::Refused,
    over_time::{Episode, OverTime},
    silence::{BadSilence, Silences},
};
use crate::document::Fields;

/// Sigma's levels: the need for a person to look.
/// <https://sigmahq.io/docs/basics/rules.html#level>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing beside something else.
    Informational,
    /// Daily work that an attacker does too.
    Low,
    /// Somebody looks at it in the week.
    Medium,
    /// Somebody looks at it today.
    High,
    /// Somebody looks at it now.
    Critical,
}

impl Level {
    /// The word that a rule has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];
        let level = all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
        level.ok_or_else(|| format!("one of {} is meant", all.map(Self::as_str).join(", ")))
    }
}

/// A rule that fired: an element of the document's `findings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Finding<'r> {
    /// Sigma's id; the title where a rule has none.
    pub rule: &'r str,
    /// The title, for people.
    pub title: &'r str,
    /// The need for a person to look.
    pub level: Level,
    /// The file that the rule stands in.
    #[serde(skip)]
    pub file: &'r str,
}

/// Rules, compiled.
pub struct RuleSet {
    rules: Vec<Rule>,
    index: Index,
    correlations: Vec<Correlation>,
    refused: Vec<Refused>,
    silences: Silences,
}

macro_rules! ours {
    ($($name:literal)*) => {
        /// Our rules: the file's name and what stands in it.
        const OURS: &[(&str, &str)] = &[$((concat!($name, ".yml"), include_str!(concat!("rules/", $name, ".yml")))),*];
    };
}
ours!("sign-in" "accounts" "roles" "apps" "policies" "mailbox-access" "mail-rules" "auditing" "mail-protection" "compliance" "sharing" "files" "teams" "devices" "alerts" "over-time");

impl RuleSet {
    /// Our own rules, compiled at the first call.
    pub fn ours() -> &'static Self {
        static SET: OnceLock<RuleSet> = OnceLock::new();
        SET.get_or_init(|| Self::of(OURS, &[], Silences::default()))
    }

    /// Our rules and an administrator's: `(file, text)`. What cannot be used is refused by name and never stops the rest.
    #[must_use]
    pub fn with<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>, silences: Silences) -> Self {
        Self::of(OURS, &files.into_iter().collect::<Vec<_>>(), silences)
    }

    /// An administrator's rules without ours, whose compiling would take most of a fuzz target's time.
    #[must_use]
    pub fn without_ours(file: &str, text: &str, silences: Silences) -> Self {
        Self::of(&[], &[(file, text)], silences)
    }

    fn of(ours: &[(&str, &str)], theirs: &[(&str, &str)], silences: Silences) -> Self {
        let load::Loaded { rules, correlations, mut refused } = load::load(ours, theirs);
        let correlations = over_time::linked(correlations, &rules, &mut refused);
        Self { index: Index::new(&rules), rules, correlations, refused, silences }
    }

    /// Rules and rules over time that can be asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len() + self.correlations.len()
    }

    /// True if no rule can be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The administrator's rules that cannot be used, each with the reason.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Fields that an administrator's rules ask for and no audit record has: `(file, rule's title, field)`.
    pub fn unknown_fields(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.rules.iter().flat_map(|rule| rule.unknown_fields.iter().map(|field| (&*rule.file, &*rule.title, &**field)))
    }

    /// The rules that a record fires by itself, most severe first, each once; those that count only over time are not among them.
    #[must_use]
    pub(crate) fn ask(&self, fields: &Fields<'_>) -> Vec<Finding<'_>> {
        let fired = self.fired(fields, |place| !self.rules[place].is_only_counted);
        let mut findings = fired.into_iter().map(|place| self.rules[place].finding()).collect::<Vec<_>>();
        self.silences.silence(fields, &mut findings);
        findings.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.title.cmp(b.title)));
        let mut seen = HashSet::new();
        findings.retain(|finding| seen.insert(finding.rule));
        findings
    }

    /// As for a record that is stored already: its document's text. None where it is no JSON object.
    #[must_use]
    pub fn ask_document(&self, json: &str) -> Option<Vec<Finding<'_>>> {
        Fields::of(json).map(|fields| self.ask(&fields))
    }

    /// Findings that a document was stored with, without those that are silenced today.
    #[must_use]
    pub fn not_silenced<'f>(&self, json: &str, mut findings: Vec<Finding<'f>>) -> Vec<Finding<'f>> {
        if !findings.is_empty()
            && let Some(fields) = Fields::of(json)
        {
            self.silences.silence(&fields, &mut findings);
        }
        findings
    }

    /// The longest time that a rule over time looks back over.
    #[must_use]
    pub fn longest_timespan(&self) -> TimeDelta {
        TimeDelta::seconds(self.correlations.iter().map(Correlation::seconds).max().unwrap_or_default())
    }

    /// Begins to ask the rules over time.
    #[must_use]
    pub fn over_time(&self) -> OverTime<'_> {
        OverTime::new(self)
    }

    /// Places of the rules that fire on a record, of those that are to be asked.
    fn fired(&self, fields: &Fields<'_>, is_asked: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut places = self.index.candidates(fields.text("Operation").as_deref());
        places.retain(|place| is_asked(*place));
        if !places.is_empty() {
            let record = Record::new(fields);
            places.retain(|place| self.rules[*place].is_fired_by(&record));
        }
        places
    }
}

/// Judges the records of one content blob, and counts what somebody must look at today.
pub(crate) struct Found<'r> {
    set: Option<&'r RuleSet>,
    latest: Vec<Finding<'r>>,
    severe: Vec<(Finding<'r>, u64)>,
}

impl<'r> Found<'r> {
    pub(crate) fn new(set: Option<&'r RuleSet>) -> Self {
        Self { set, latest: Vec::new(), severe: Vec::new() }
    }

    /// A record's findings as its document has them.
    pub(crate) fn judge(&mut self, fields: &Fields<'_>) -> Option<String> {
        self.latest = self.set?.ask(fields);
        json(&self.latest)
    }

    /// Counts those of the record that was judged last.
    pub(crate) fn count(&mut self) {
        for finding in self.latest.drain(..).filter(|finding| finding.level >= Level::High) {
            match self.severe.iter_mut().find(|(counted, _)| counted.rule == finding.rule) {
                Some((_, count)) => *count += 1,
                None => self.severe.push((finding, 1)),
            }
        }
    }

    /// The findings of level high or above, with their counts.
    pub(crate) fn severe(&self) -> &[(Finding<'r>, u64)] {
        &self.severe
    }
}

/// Findings as the document has them: a JSON list; none where nothing fired.
#[must_use]
pub fn json(findings: &[Finding<'_>]) -> Option<String> {
    (!findings.is_empty()).then(|| serde_json::to_string(findings).ok()).flatten()
}

#[cfg(test)]
mod tests;
