//! Judges documents, by the findings that they were stored with or by the rules anew, and asks the rules over time of them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use handler::clock::parse_utc;
use handler::findings::{Episode, Finding, OverTime, RuleSet};

use super::habits::Habits;
use super::rows::{Found, Place, Row, Rows};
use crate::case::document::Document;
use crate::geoip::GeoIp;

/// Which findings of single records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Those that the documents were stored with.
    AsStored,
    /// Those of the rules as they are now.
    Anew,
}

/// Takes documents in any order within a day, day after day, and gives what to look at first. Holds what rules over time need: no more than
/// a day's counted records, and what lies within a rule's timespan.
pub struct Judge<'r> {
    set: &'r RuleSet,
    judgement: Judgement,
    over_time: OverTime<'r>,
    habits: Habits,
    rows: Rows,
    from: Option<DateTime<Utc>>,
    /// Documents whose record a rule over time counts, by line.
    counted: HashMap<u64, Place>,
    line: u64,
}

impl<'r> Judge<'r> {
    /// Begins, for what happened from a time on; documents from before it are only looked back on.
    pub fn new(set: &'r RuleSet, judgement: Judgement, from: Option<DateTime<Utc>>, geoip: GeoIp) -> Self {
        let (over_time, habits) = (set.over_time(), Habits::new(geoip));
        Self { set, judgement, over_time, habits, rows: Rows::default(), from, counted: HashMap::new(), line: 0 }
    }

    /// Takes a document.
    pub fn take(&mut self, document: &Document) {
        let json = serde_json::to_string(document.fields()).unwrap_or_default();
        let (at, place) = (time(document), Place::of(document));
        let account = document.text("UserId").to_lowercase();
        let found = |finding, value| Found {
            finding,
            accounts: vec![account.clone()],
            common: String::new(),
            value,
            count: 1,
            first: at,
            last: at,
            place: place.clone(),
        };
        for finding in self.findings(document, &json) {
            self.rows.add(found(finding, None));
        }
        for (finding, value) in self.habits.firsts(document) {
            self.rows.add(found(finding, Some(value)));
        }
        self.count(&json, place);
    }

    /// Takes a document from before the time asked for: what rules over time may go back to, and what the account did before.
    pub(super) fn look_back(&mut self, document: &Document) {
        let json = serde_json::to_string(document.fields()).unwrap_or_default();
        self.count(&json, Place::of(document));
        self.habits.learn(document);
    }

    /// Takes what an account did long before.
    pub(super) fn learn(&mut self, document: &Document) {
        self.habits.learn(document);
    }

    /// Says that all documents of a day were taken.
    pub(super) fn end_day(&mut self) {
        self.over_time.settle();
        let completing = self.over_time.completing();
        self.counted.retain(|line, _| completing.contains(line));
    }

    /// What to look at first: most severe first, then by account.
    #[must_use]
    pub fn rows(mut self) -> Vec<Row> {
        let from = self.from.map_or(i64::MIN, |from| from.timestamp());
        for episode in self.over_time.episodes().into_iter().filter(|episode| episode.last >= from) {
            let place = self.counted.get(&episode.line).cloned().unwrap_or_default();
            self.rows.add(over_time(episode, place));
        }
        self.rows.sorted()
    }

    fn findings<'f>(&self, document: &'f Document, json: &str) -> Vec<Finding<'f>>
    where
        'r: 'f,
    {
        match self.judgement {
            Judgement::Anew => self.set.ask_document(json).unwrap_or_default(),
            Judgement::AsStored => {
                let stored = document.findings().filter_map(|stored| {
                    Some(Finding { rule: stored.rule, title: stored.title, level: stored.level.parse().ok()?, file: "" })
                });
                self.set.not_silenced(json, stored.collect())
            }
        }
    }

    fn count(&mut self, json: &str, place: Place) {
        self.line += 1;
        if self.over_time.take(self.line, json) {
            self.counted.insert(self.line, place);
        }
    }
}

fn over_time(episode: Episode<'_>, place: Place) -> Found<'_> {
    let at = |seconds| DateTime::from_timestamp(seconds, 0);
    let texts = |texts: &mut dyn Iterator<Item = std::sync::Arc<str>>| texts.map(|text| text.to_string()).collect::<Vec<_>>();
    Found {
        finding: episode.finding,
        accounts: texts(&mut episode.accounts.into_iter()),
        common: texts(&mut episode.group.into_iter()).join(", "),
        value: None,
        count: episode.count,
        first: at(episode.first),
        last: at(episode.last),
        place,
    }
}

/// When a record happened, as far as that can be read.
pub(super) fn time(document: &Document) -> Option<DateTime<Utc>> {
    parse_utc(document.text("CreationTime"))
}
