//! Asks Sigma's correlations over many records: how many, how many different, one after another. Such a finding stands once, at the record
//! that completes it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

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

    fn is_met(&self, window: &Window) -> bool {
        let value = match self.kind {
            CorrelationType::EventCount => window.entries.len(),
            CorrelationType::ValueCount => window.values.len(),
            CorrelationType::TemporalOrdered => return window.is_in_order(self.bases.len()),
            _ => (0..self.bases.len()).filter(|base| window.entries.iter().any(|entry| entry.base == *base)).count(),
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
    /// When the condition last held: while it goes on, it is one finding.
    held: Option<i64>,
}

struct Entry {
    at: i64,
    base: usize,
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
        self.entries.iter().fold(0, |next, entry| if entry.base == next { next + 1 } else { next }) >= bases
    }
}

/// A record that a rule over time counts: as little of it as is needed, since there may be many.
struct Hit {
    at: i64,
    line: u64,
    rule: usize,
    /// Values of `fields[rule]`, each a place in `texts`.
    values: Box<[u32]>,
}

/// Gathers records in any order, then asks the rules over time in the order of CreationTime. Keeps some forty bytes for each record that a
/// rule counts, and each value once.
pub struct OverTime<'r> {
    set: &'r RuleSet,
    /// For each rule, the fields that rules over time ask of its records.
    fields: Vec<Vec<&'r str>>,
    hits: Vec<Hit>,
    seen: HashSet<[u8; 16]>,
    texts: HashMap<Box<str>, u32>,
}

/// Stands for a field that a record does not have.
const ABSENT: u32 = 0;

impl<'r> OverTime<'r> {
    pub(super) fn new(set: &'r RuleSet) -> Self {
        let mut fields: Vec<Vec<&str>> = set.rules.iter().map(|_| Vec::new()).collect();
        for correlation in &set.correlations {
            for (base, group_by) in correlation.bases.iter().zip(&correlation.group_by) {
                let Base::Rule(rule) = *base else { continue };
                for field in group_by.iter().chain(&correlation.counted) {
                    if !fields[rule].contains(&field.as_str()) {
                        fields[rule].push(field);
                    }
                }
            }
        }
        Self { set, fields, hits: Vec::new(), seen: HashSet::new(), texts: HashMap::from([("".into(), ABSENT)]) }
    }

    /// Takes a record, or its document, which stands at `line`. One that was delivered before, or has no readable time, is not counted.
    pub fn take(&mut self, line: u64, json: &str) {
        if let Some(fields) = Fields::of(json) {
            self.take_fields(line, &fields);
        }
    }

    fn take_fields(&mut self, line: u64, fields: &Fields<'_>) {
        let Some(created) = fields.text("CreationTime").and_then(|time| parse_utc(&time)) else { return };
        let set = self.set;
        let counted = |place: usize| set.correlations.iter().any(|correlation| correlation.bases.contains(&Base::Rule(place)));
        let fired = set.fired(fields, counted);
        if fired.is_empty() || set.silences.is_silent(fields) || self.is_repeated(fields) {
            return;
        }
        let record = Record::new(fields);
        for rule in fired {
            let names = std::mem::take(&mut self.fields[rule]);
            let values = names.iter().map(|name| self.place(&value_of(&record, name))).collect();
            self.fields[rule] = names;
            self.hits.push(Hit { at: created.timestamp(), line, rule, values });
        }
    }

    fn is_repeated(&mut self, fields: &Fields<'_>) -> bool {
        let Some(id) = fields.text("Id") else { return false };
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        !self.seen.insert(key)
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.texts.get(text) {
            return *place;
        }
        let place = u32::try_from(self.texts.len()).unwrap_or(ABSENT);
        self.texts.insert(text.into(), place);
        place
    }

    /// The findings by the line that completes each.
    #[must_use]
    pub fn findings(mut self) -> BTreeMap<u64, Vec<Finding<'r>>> {
        let mut findings: BTreeMap<u64, Vec<Finding<'_>>> = BTreeMap::new();
        self.hits.sort_by_key(|hit| (hit.at, hit.line));
        let mut windows = HashMap::new();
        for hit in std::mem::take(&mut self.hits) {
            let named = self.fields[hit.rule].iter().copied().zip(hit.values.iter().copied()).collect::<HashMap<_, _>>();
            let mut fired = Vec::new();
            self.count(Base::Rule(hit.rule), hit.at, &named, &mut windows, 0, &mut fired);
            if !fired.is_empty() {
                findings.entry(hit.line).or_default().extend(fired.into_iter().map(Correlation::finding));
            }
        }
        for findings in findings.values_mut() {
            self.set.silences.silence_rules(findings);
            findings.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.title.cmp(b.title)));
        }
        findings
    }

    /// Counts what a rule, or a rule over time, gave; goes up to those that rest on it.
    fn count(
        &self,
        given: Base,
        at: i64,
        named: &HashMap<&str, u32>,
        windows: &mut HashMap<(usize, Vec<u32>), Window>,
        depth: usize,
        fired: &mut Vec<&'r Correlation>,
    ) {
        let correlations = &self.set.correlations;
        for (place, correlation) in correlations.iter().enumerate() {
            for base in (0..correlation.bases.len()).filter(|base| correlation.bases[*base] == given) {
                let value = |field: &String| named.get(field.as_str()).copied().unwrap_or(ABSENT);
                let group = correlation.group_by[base].iter().map(value).collect::<Vec<_>>();
                let counted = correlation.counted.iter().map(value).collect::<Box<[_]>>();
                // A record without what is grouped or counted by belongs to nobody's group.
                if group.contains(&ABSENT) || counted.contains(&ABSENT) {
                    continue;
                }
                let window = windows.entry((place, group.clone())).or_default();
                window.push(Entry { at, base, value: counted }, correlation.seconds);
                if !correlation.is_met(window) {
                    continue;
                }
                let goes_on = window.held.replace(at).is_some_and(|before| at - before <= correlation.seconds);
                if !goes_on {
                    fired.push(correlation);
                }
                if depth < MAX_CHAIN {
                    let named = correlation.group_names.iter().map(String::as_str).zip(group).collect();
                    self.count(Base::Correlation(place), at, &named, windows, depth + 1, fired);
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
