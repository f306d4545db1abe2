//! Asks Sigma's correlations over many records: how many, how many different, one after another. Such a finding stands once, at the record
//! that completes it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use rsigma_eval::Event as _;
use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, WindowMode};
use sha2::{Digest, Sha256};

use super::{
    Finding, Level, RuleSet,
    load::{Refused, Rule, level},
    record::{MAX_TEXT, Record},
};
use crate::{clock::parse_utc, document::Fields};

/// Most records that one group of one rule keeps.
const MAX_KEPT: usize = 10_000;
/// The depth to which one rule over time may rest on another.
const MAX_CHAIN: usize = 5;
/// Most rules that one rule over time rests on.
const MAX_BASES: usize = 50;
/// Longest time that a rule may look back over, in seconds: 30 days.
const MAX_TIMESPAN: u64 = 30 * 86_400;

/// A rule over time, with what it rests on.
pub(super) struct Correlation {
    id: String,
    title: String,
    level: Level,
    file: Box<str>,
    kind: CorrelationType,
    bases: Vec<Base>,
    /// For each base, the fields that records are grouped by.
    group_by: Vec<Vec<String>>,
    /// The names under which groups go up to a rule that rests on this one.
    group_names: Vec<String>,
    /// The field whose values `value_count` counts.
    counted: Vec<String>,
    seconds: i64,
    predicates: Vec<(ConditionOperator, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Rule(usize),
    Correlation(usize),
}

impl Correlation {
    pub(super) fn finding(&self) -> Finding<'_> {
        Finding { rule: &self.id, title: &self.title, level: self.level, file: &self.file }
    }

    /// The time that it looks back over.
    pub(super) fn seconds(&self) -> i64 {
        self.seconds
    }

    /// True if a base's accounts are those to look at: of steps in order, who took the last one.
    fn is_told_of(&self, base: usize) -> bool {
        self.kind != CorrelationType::TemporalOrdered || base + 1 == self.bases.len()
    }

    fn is_met(&self, window: &Window) -> bool {
        let value = match self.kind {
            CorrelationType::EventCount => window.entries.len(),
            CorrelationType::ValueCount => window.values.len(),
            CorrelationType::TemporalOrdered => return window.is_in_order(self.bases.len()),
            _ => (0..self.bases.len()).filter(|base| window.entries.iter().any(|entry| entry.base as usize == *base)).count(),
        };
        let value = value as u64;
        self.predicates.iter().all(|(operator, bound)| match operator {
            ConditionOperator::Lt => value < *bound,
            ConditionOperator::Lte => value <= *bound,
            ConditionOperator::Gt => value > *bound,
            ConditionOperator::Gte => value >= *bound,
            ConditionOperator::Eq => value == *bound,
            ConditionOperator::Neq => value != *bound,
        })
    }
}

/// Finds what each rule over time rests on. One that cannot be asked is refused.
pub(super) fn linked(read: Vec<(Box<str>, CorrelationRule)>, rules: &[Rule], refused: &mut Vec<Refused>) -> Vec<Correlation> {
    let mut refuse =
        |file: &str, title: &str, why: String| refused.push(Refused { file: file.to_owned(), why: format!("{title:?}: {why}") });
    // Those that rest on a refused one are refused too: until nothing changes.
    let mut read = read;
    loop {
        let names = read.iter().map(|(_, rule)| (rule.id.clone(), rule.name.clone())).collect::<Vec<_>>();
        let base = |reference: &str| {
            let rule = rules.iter().position(|rule| rule.is_called(reference)).map(Base::Rule);
            let is_meant = |(id, name): &(Option<String>, Option<String>)| [id, name].into_iter().flatten().any(|own| own == reference);
            rule.or_else(|| names.iter().position(is_meant).map(Base::Correlation))
        };
        let (mut linked, mut kept) = (Vec::new(), Vec::new());
        let before = read.len();
        for (file, rule) in read {
            match link(&file, &rule, base) {
                Ok(correlation) => {
                    linked.push(correlation);
                    kept.push((file, rule));
                }
                Err(why) => refuse(&file, &rule.title, why),
            }
        }
        if linked.len() == before {
            return linked;
        }
        read = kept;
    }
}

fn link(file: &str, rule: &CorrelationRule, base: impl Fn(&str) -> Option<Base>) -> Result<Correlation, String> {
    use CorrelationType::{EventCount, Temporal, TemporalOrdered, ValueCount};
    if !matches!(rule.correlation_type, EventCount | ValueCount | Temporal | TemporalOrdered) {
        return Err(format!("{} is not taken", rule.correlation_type.as_str()));
    }
    if rule.window != WindowMode::Sliding {
        return Err("only sliding windows are taken".to_owned());
    }
    if rule.timespan.seconds > MAX_TIMESPAN || rule.rules.len() > MAX_BASES {
        return Err(format!("its timespan is over 30 days, or it rests on over {MAX_BASES} rules"));
    }
    let CorrelationCondition::Threshold { predicates, field, .. } = &rule.condition else {
        return Err("a condition that names rules is not taken".to_owned());
    };
    let bases =
        rule.rules.iter().map(|reference| base(reference).ok_or_else(|| format!("it rests on {reference:?}, which is no rule here")));
    let bases = bases.collect::<Result<Vec<_>, _>>()?;
    let own_name = |reference: &str, field: &str| {
        let alias = rule.aliases.iter().find(|alias| alias.alias == field);
        alias.and_then(|alias| alias.mapping.get(reference)).cloned().unwrap_or_else(|| field.to_owned())
    };
    Ok(Correlation {
        id: rule.id.clone().unwrap_or_else(|| rule.title.clone()),
        title: rule.title.clone(),
        level: level(rule.level),
        file: file.into(),
        kind: rule.correlation_type,
        group_by: rule.rules.iter().map(|reference| rule.group_by.iter().map(|field| own_name(reference, field)).collect()).collect(),
        group_names: rule.group_by.clone(),
        counted: field.clone().unwrap_or_default(),
        seconds: i64::try_from(rule.timespan.seconds).unwrap_or(i64::MAX),
        predicates: predicates.clone(),
        bases,
    })
}

/// The part of a correlation's window that is kept.
#[derive(Default)]
struct Window {
    entries: VecDeque<Entry>,
    /// The number of times that each value stands in `entries`.
    values: HashMap<Box<[u32]>, u32>,
    /// When the condition last held, and the place of its episode: while it goes on, it is one finding.
    held: Option<(i64, usize)>,
}

struct Entry {
    at: i64,
    base: u32,
    account: u32,
    value: Box<[u32]>,
}

impl Window {
    fn push(&mut self, entry: Entry, seconds: i64) {
        while self.entries.front().is_some_and(|first| first.at < entry.at - seconds) || self.entries.len() >= MAX_KEPT {
            self.pop();
        }
        *self.values.entry(entry.value.clone()).or_default() += 1;
        self.entries.push_back(entry);
    }

    fn pop(&mut self) {
        let Some(Entry { value, .. }) = self.entries.pop_front() else { return };
        if let Some(count) = self.values.get_mut(&value) {
            *count -= 1;
            if *count == 0 {
                self.values.remove(&value);
            }
        }
    }

    /// True if all bases came, each after the one before it.
    fn is_in_order(&self, bases: usize) -> bool {
        self.entries.iter().fold(0, |next, entry| if entry.base as usize == next { next + 1 } else { next }) >= bases
    }
}

/// A record that a rule over time counts: as little of it as is needed, since there may be many.
struct Hit {
    at: i64,
    line: u64,
    rule: u32,
    account: u32,
    /// Values of `fields[rule]`, each a number of `texts`.
    values: Box<[u32]>,
}

/// A finding over time: from the first record that counts to the last one while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode<'r> {
    /// The rule.
    pub finding: Finding<'r>,
    /// The line of the record that completes it.
    pub line: u64,
    /// CreationTime of the first record, in seconds since 1970.
    pub first: i64,
    /// CreationTime of the last record.
    pub last: i64,
    /// Records that count, as the rule counts them.
    pub count: u64,
    /// Accounts of these records, in lower case; of steps in order, those that took the last one.
    pub accounts: BTreeSet<Arc<str>>,
    /// The values that these records have in common, by which the rule groups, in lower case.
    pub group: Vec<Arc<str>>,
}

/// Texts, each held once and known by its number.
struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    texts: HashMap<u32, Arc<str>>,
    next: u32,
}

/// Stands for a field that a record does not have.
const ABSENT: u32 = 0;

impl Texts {
    fn new() -> Self {
        Self { numbers: HashMap::from([("".into(), ABSENT)]), texts: HashMap::from([(ABSENT, "".into())]), next: ABSENT + 1 }
    }

    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (number, text): (u32, Arc<str>) = (self.next, text.into());
        self.next = self.next.saturating_add(1);
        self.numbers.insert(Arc::clone(&text), number);
        self.texts.insert(number, text);
        number
    }

    fn text(&self, number: u32) -> Arc<str> {
        self.texts.get(&number).map_or_else(|| "".into(), Arc::clone)
    }

    fn keep(&mut self, used: &HashSet<u32>) {
        self.texts.retain(|number, _| *number == ABSENT || used.contains(number));
        self.numbers.retain(|_, number| *number == ABSENT || used.contains(number));
    }
}

/// Gathers records in any order, then asks the rules over time in the order of CreationTime. Keeps some forty bytes for each record that a
/// rule counts, and each value once, until they are [settled](OverTime::settle).
pub struct OverTime<'r> {
    set: &'r RuleSet,
    /// For each rule that a rule over time counts, the fields that are asked of its records.
    fields: Vec<Option<Vec<&'r str>>>,
    hits: Vec<Hit>,
    seen: HashSet<[u8; 16]>,
    texts: Texts,
    windows: HashMap<(usize, Vec<u32>), Window>,
    episodes: Vec<Episode<'r>>,
}

impl<'r> OverTime<'r> {
    pub(super) fn new(set: &'r RuleSet) -> Self {
        let mut fields: Vec<Option<Vec<&str>>> = set.rules.iter().map(|_| None).collect();
        for correlation in &set.correlations {
            for (base, group_by) in correlation.bases.iter().zip(&correlation.group_by) {
                let Base::Rule(rule) = *base else { continue };
                let fields = fields[rule].get_or_insert_default();
                for field in group_by.iter().chain(&correlation.counted) {
                    if !fields.contains(&field.as_str()) {
                        fields.push(field);
                    }
                }
            }
        }
        let (hits, seen, texts) = (Vec::new(), HashSet::new(), Texts::new());
        Self { set, fields, hits, seen, texts, windows: HashMap::new(), episodes: Vec::new() }
    }

    /// Takes a record, or its document, which stands at `line`. One that was delivered before, or has no readable time, is not counted.
    /// Returns whether a rule counts it.
    pub fn take(&mut self, line: u64, json: &str) -> bool {
        Fields::of(json).is_some_and(|fields| self.take_fields(line, &fields))
    }

    fn take_fields(&mut self, line: u64, fields: &Fields<'_>) -> bool {
        let Some(created) = fields.text("CreationTime").and_then(|time| parse_utc(&time)) else { return false };
        let set = self.set;
        let fired = set.fired(fields, |place| self.fields[place].is_some());
        if fired.is_empty() || set.silences.is_silent(fields) || self.is_repeated(fields) {
            return false;
        }
        let record = Record::new(fields);
        let account = self.texts.number(&fields.text("UserId").unwrap_or_default().to_lowercase());
        for rule in fired {
            let names = self.fields[rule].as_deref().unwrap_or_default();
            let values = names.iter().map(|name| self.texts.number(&value_of(&record, name))).collect();
            self.hits.push(Hit { at: created.timestamp(), line, rule: u32::try_from(rule).unwrap_or(u32::MAX), account, values });
        }
        true
    }

    fn is_repeated(&mut self, fields: &Fields<'_>) -> bool {
        let Some(id) = fields.text("Id") else { return false };
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        !self.seen.insert(key)
    }

    /// Asks the rules of all records that were taken, and forgets what no later record needs. From here on, only later records are taken:
    /// who hands in day after day holds a day at a time.
    pub fn settle(&mut self) {
        self.hits.sort_by_key(|hit| (hit.at, hit.line));
        let hits = std::mem::take(&mut self.hits);
        for hit in &hits {
            let names = self.fields[hit.rule as usize].clone().unwrap_or_default();
            let named = names.into_iter().zip(hit.values.iter().copied()).collect::<HashMap<_, _>>();
            self.count(Base::Rule(hit.rule as usize), hit, &named, 0);
        }
        self.seen.clear();
        if let Some(last) = hits.last() {
            let correlations = &self.set.correlations;
            let is_needed = |at: i64, place: usize| at >= last.at - correlations[place].seconds;
            self.windows.retain(|(place, _), window| window.entries.back().is_some_and(|entry| is_needed(entry.at, *place)));
        }
        let mut used = HashSet::new();
        for ((_, group), window) in &self.windows {
            used.extend(group);
            window.entries.iter().for_each(|entry| used.extend(entry.value.iter().chain([&entry.account])));
        }
        self.texts.keep(&used);
    }

    /// The lines that complete what was found until now.
    #[must_use]
    pub fn completing(&self) -> HashSet<u64> {
        self.episodes.iter().map(|episode| episode.line).collect()
    }

    /// What was found, in the order in which it was completed.
    #[must_use]
    pub fn episodes(mut self) -> Vec<Episode<'r>> {
        self.settle();
        self.episodes.retain(|episode| !self.set.silences.is_silent_over_time(&episode.finding, &episode.accounts));
        self.episodes
    }

    /// The findings by the line that completes each, most severe first.
    #[must_use]
    pub fn findings(self) -> BTreeMap<u64, Vec<Finding<'r>>> {
        let mut findings: BTreeMap<u64, Vec<Finding<'_>>> = BTreeMap::new();
        for episode in self.episodes() {
            findings.entry(episode.line).or_default().push(episode.finding);
        }
        for findings in findings.values_mut() {
            findings.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.title.cmp(b.title)));
        }
        findings
    }

    /// Counts what a rule, or a rule over time, gave; goes up to those that rest on it.
    fn count(&mut self, given: Base, hit: &Hit, named: &HashMap<&'r str, u32>, depth: usize) {
        let set = self.set;
        for (place, correlation) in set.correlations.iter().enumerate() {
            for base in (0..correlation.bases.len()).filter(|base| correlation.bases[*base] == given) {
                let value = |field: &String| named.get(field.as_str()).copied().unwrap_or(ABSENT);
                let group = correlation.group_by[base].iter().map(value).collect::<Vec<_>>();
                let counted = correlation.counted.iter().map(value).collect::<Box<[_]>>();
                // A record without what is grouped or counted by belongs to nobody's group.
                if group.contains(&ABSENT) || counted.contains(&ABSENT) {
                    continue;
                }
                let window = self.windows.entry((place, group.clone())).or_default();
                let entry = Entry { at: hit.at, base: u32::try_from(base).unwrap_or(u32::MAX), account: hit.account, value: counted };
                window.push(entry, correlation.seconds);
                if !correlation.is_met(window) {
                    continue;
                }
                match window.held.filter(|(before, _)| hit.at - before <= correlation.seconds) {
                    Some((_, episode)) => {
                        window.held = Some((hit.at, episode));
                        let account = self.texts.text(hit.account);
                        let Episode { last, count, accounts, .. } = &mut self.episodes[episode];
                        (*last, *count) = (hit.at, *count + 1);
                        if correlation.is_told_of(base) {
                            accounts.insert(account);
                        }
                    }
                    None => {
                        window.held = Some((hit.at, self.episodes.len()));
                        self.episodes.push(Episode {
                            finding: correlation.finding(),
                            line: hit.line,
                            first: window.entries.front().map_or(hit.at, |entry| entry.at),
                            last: hit.at,
                            count: window.entries.len() as u64,
                            accounts: {
                                let told = window.entries.iter().filter(|entry| correlation.is_told_of(entry.base as usize));
                                told.map(|entry| self.texts.text(entry.account)).collect()
                            },
                            group: group.iter().map(|number| self.texts.text(*number)).collect(),
                        });
                    }
                }
                if depth < MAX_CHAIN {
                    let named = correlation.group_names.iter().map(String::as_str).zip(group).collect();
                    self.count(Base::Correlation(place), hit, &named, depth + 1);
                }
            }
        }
    }
}

/// A field's text as records are grouped by it: in lower case, addresses without their port.
fn value_of(record: &Record<'_>, field: &str) -> String {
    let value = record.get_field(field);
    let text = value.as_ref().and_then(|value| match value {
        rsigma_eval::EventValue::Array(values) => values.first().and_then(|first| first.as_str()),
        other => other.as_str(),
    });
    let text = text.unwrap_or_default().to_lowercase();
    let text = if field.contains("IP") || field.contains("Ip") { without_port(&text) } else { &text };
    text[..text.len().min(MAX_TEXT)].to_owned()
}

/// `192.0.2.1:50` and `[2001:db8::1]:50` as the address alone.
pub(super) fn without_port(address: &str) -> &str {
    if let Some((address, _)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => address,
    }
}
