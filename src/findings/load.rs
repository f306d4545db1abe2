//! Reads Sigma rules: ours, and others' within bounds, so that none of them can stall the handler or fill its memory.

use std::{collections::HashSet, fmt, sync::Arc};

use regex::RegexBuilder;
use rsigma_eval::{CompiledRule, compile_rule, evaluate_rule};
use rsigma_parser::{CorrelationRule, Detection, DetectionItem, Modifier, SigmaCollection, SigmaRule, SigmaValue, parse_sigma_yaml};

use super::{Finding, Level, index, record::Record};

/// Largest file of rules, in bytes.
const MAX_FILE: usize = 256 * 1024;
/// Most rules of an administrator's, over all files.
const MAX_RULES: usize = 1000;
/// Longest regular expression, and longest text with wildcards (which becomes one), in bytes.
const MAX_PATTERN: usize = 1000;
/// Largest compiled regular expression, in bytes. What is matched is cut; the matcher takes time in proportion to both, some 20 ms at worst.
const MAX_COMPILED: usize = 32 * 1024;
/// Most regular expressions in one rule.
const MAX_EXPRESSIONS: usize = 20;
/// Most regular expressions and texts with wildcards in one rule.
const MAX_PATTERNS: usize = 200;
/// All regular expressions and texts with wildcards of one rule, in bytes.
const MAX_PATTERNS_TEXT: usize = 10_000;
/// Longest condition, in bytes.
const MAX_CONDITION: usize = 2000;

/// The reason why a file, or a rule in it, is not asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// The fault, with the rule's title if it has one.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// A rule that looks at one record.
pub(super) struct Rule {
    compiled: CompiledRule,
    pub(super) id: String,
    /// Sigma's `name`, by which rules over time refer to it too.
    pub(super) name: Option<String>,
    pub(super) title: String,
    pub(super) level: Level,
    pub(super) file: Box<str>,
    /// Operations that it needs, in lower case; none: any record may fire it.
    pub(super) operations: Option<Vec<String>>,
    /// Only rules over time use it: it is no finding by itself.
    pub(super) is_only_counted: bool,
    /// Fields that it asks for and no audit record has. Never filled for ours.
    pub(super) unknown_fields: Vec<String>,
}

impl Rule {
    pub(super) fn finding(&self) -> Finding<'_> {
        Finding { rule: &self.id, title: &self.title, level: self.level, file: &self.file }
    }

    pub(super) fn is_fired_by(&self, record: &Record<'_>) -> bool {
        evaluate_rule(&self.compiled, record).is_some()
    }

    /// True if a rule over time means this rule.
    pub(super) fn is_called(&self, reference: &str) -> bool {
        self.id == reference || self.name.as_deref() == Some(reference)
    }
}

/// The result of reading: rules, rules over time with their files, and what was refused.
pub(super) struct Loaded {
    pub(super) rules: Vec<Rule>,
    pub(super) correlations: Vec<(Box<str>, CorrelationRule)>,
    pub(super) refused: Vec<Refused>,
}

/// Reads our files, then others'. An id that is there already is refused.
pub(super) fn load(ours: &[(&str, &str)], theirs: &[(&str, &str)]) -> Loaded {
    let mut loaded = Loaded { rules: Vec::new(), correlations: Vec::new(), refused: Vec::new() };
    for (file, text) in ours {
        loaded.read(file, text, false);
    }
    let count = loaded.rules.len() + loaded.correlations.len();
    for (file, text) in theirs {
        if loaded.rules.len() + loaded.correlations.len() - count >= MAX_RULES {
            loaded.refuse(file, format!("there are {MAX_RULES} rules already; no more are read"));
            continue;
        }
        loaded.read(file, text, true);
    }
    let counted = counted(&loaded.correlations);
    for rule in &mut loaded.rules {
        rule.is_only_counted = counted.iter().any(|reference| rule.is_called(reference));
    }
    loaded
}

/// The rules that only rules over time use: they give no finding of their own, unless every rule over time that rests on them says
/// `generate`. <https://sigmahq.io/docs/meta/correlations.html>
fn counted(correlations: &[(Box<str>, CorrelationRule)]) -> HashSet<&str> {
    let silent = correlations.iter().filter(|(_, correlation)| !correlation.generate);
    silent.flat_map(|(_, correlation)| correlation.rules.iter().map(String::as_str)).collect()
}

impl Loaded {
    fn refuse(&mut self, file: &str, why: String) {
        self.refused.push(Refused { file: file.to_owned(), why });
    }

    fn read(&mut self, file: &str, text: &str, is_theirs: bool) {
        if text.len() > MAX_FILE {
            return self.refuse(file, format!("is over {} KiB", MAX_FILE / 1024));
        }
        let SigmaCollection { rules, correlations, filters, errors } = match parse_sigma_yaml(text) {
            Ok(collection) => collection,
            Err(error) => return self.refuse(file, format!("cannot be read: {error}")),
        };
        for error in errors {
            self.refuse(file, format!("cannot be read: {error}"));
        }
        for filter in filters {
            self.refuse(file, format!("{:?} is a filter, which is not taken: silence.toml does its work", filter.title));
        }
        for rule in rules {
            if let Err(why) = self.add(file, &rule, is_theirs) {
                self.refuse(file, format!("{:?}: {why}", rule.title));
            }
        }
        self.correlations.extend(correlations.into_iter().map(|correlation| (file.into(), correlation)));
    }

    fn add(&mut self, file: &str, rule: &SigmaRule, is_theirs: bool) -> Result<(), String> {
        if self.rules.len() > 2 * MAX_RULES {
            return Err("there are too many rules".to_owned());
        }
        if let Some(product) = rule.logsource.product.as_deref().filter(|product| !is_ours(product)) {
            return Err(format!("it is for {product}, not for Office 365"));
        }
        bound(rule)?;
        let id = rule.id.clone().unwrap_or_else(|| rule.title.clone());
        if self.rules.iter().any(|other| other.id == id) {
            return Err(format!("a rule with the id {id} is there already"));
        }
        let mut compiled = compile_rule(rule).map_err(|error| error.to_string())?;
        // Kept for nobody: findings have the title, the level and the id alone.
        (compiled.tags, compiled.falsepositives, compiled.description) = (Vec::new(), Vec::new(), None);
        compiled.custom_attributes = Arc::default();
        let unknown_fields = if is_theirs { unknown_fields(rule) } else { Vec::new() };
        self.rules.push(Rule {
            compiled,
            id,
            name: rule.name.clone(),
            title: rule.title.clone(),
            level: level(rule.level),
            file: file.into(),
            operations: index::operations(&rule.detection),
            is_only_counted: false,
            unknown_fields,
        });
        Ok(())
    }
}

/// The products by which rules mean Office 365 and its directory.
fn is_ours(product: &str) -> bool {
    ["m365", "microsoft365", "o365", "office365", "azure", "entra", "microsoft"].contains(&product.to_lowercase().as_str())
}

/// Sigma's level; medium where a rule has none.
pub(super) fn level(level: Option<rsigma_parser::Level>) -> Level {
    match level {
        Some(rsigma_parser::Level::Informational) => Level::Informational,
        Some(rsigma_parser::Level::Low) => Level::Low,
        None | Some(rsigma_parser::Level::Medium) => Level::Medium,
        Some(rsigma_parser::Level::High) => Level::High,
        Some(rsigma_parser::Level::Critical) => Level::Critical,
    }
}

/// Refuses what could take too long: to compile, or on a record.
fn bound(rule: &SigmaRule) -> Result<(), String> {
    if rule.detection.condition_strings.iter().any(|condition| condition.len() > MAX_CONDITION) {
        return Err(format!("its condition is over {MAX_CONDITION} characters"));
    }
    let (mut patterns, mut expressions, mut text_length) = (0, 0, 0);
    let mut check = |item: &DetectionItem| {
        let is_regex = item.field.has_modifier(Modifier::Re);
        for value in &item.values {
            let SigmaValue::String(text) = value else { continue };
            if !is_regex && !text.contains_wildcards() {
                continue;
            }
            patterns += 1;
            if patterns > MAX_PATTERNS {
                return Err(format!("it has over {MAX_PATTERNS} regular expressions and wildcards"));
            }
            if text.original.len() > MAX_PATTERN {
                return Err(format!("a regular expression or wildcard is over {MAX_PATTERN} characters"));
            }
            text_length += text.original.len();
            if text_length > MAX_PATTERNS_TEXT {
                return Err(format!("its regular expressions and wildcards are over {MAX_PATTERNS_TEXT} characters together"));
            }
            if is_regex {
                expressions += 1;
                if expressions > MAX_EXPRESSIONS {
                    return Err(format!("it has over {MAX_EXPRESSIONS} regular expressions"));
                }
                let built = RegexBuilder::new(&text.original).case_insensitive(true).size_limit(MAX_COMPILED).nest_limit(50).build();
                built.map_err(|error| format!("the regular expression {:?} is too large or wrong: {error}", text.original))?;
            }
        }
        Ok(())
    };
    rule.detection.named.values().try_for_each(|detection| each_item(detection, &mut check))
}

fn each_item(detection: &Detection, take: &mut impl FnMut(&DetectionItem) -> Result<(), String>) -> Result<(), String> {
    match detection {
        Detection::AllOf(items) => items.iter().try_for_each(take),
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().try_for_each(|part| each_item(part, take)),
        Detection::ArrayMatch { body, .. } => each_item(body, take),
        Detection::Conditional { named, .. } => named.values().try_for_each(|part| each_item(part, take)),
        Detection::Keywords(values) => {
            let field = rsigma_parser::FieldSpec::new(None, Vec::new());
            take(&DetectionItem { field, values: values.clone() })
        }
    }
}

/// Fields of a rule whose first part no audit record has.
fn unknown_fields(rule: &SigmaRule) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut collect = |item: &DetectionItem| {
        let Some(name) = &item.field.name else { return Ok(()) };
        let root = name.split(['.', '[']).next().unwrap_or_default();
        if !is_field(root) && !unknown.contains(name) {
            unknown.push(name.clone());
        }
        Ok(())
    };
    // Nothing in it fails.
    let _ = rule.detection.named.values().try_for_each(|detection| each_item(detection, &mut collect));
    unknown.sort_unstable();
    unknown
}

/// True if audit records have a field of this name.
fn is_field(name: &str) -> bool {
    static FIELDS: std::sync::LazyLock<HashSet<&str>> =
        std::sync::LazyLock::new(|| include_str!("fields.txt").split_whitespace().collect());
    FIELDS.contains(name)
}
