//! Which rules can fire on a record, by its operation: most records ask none.

use std::collections::HashMap;

use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Quantifier, SelectorPattern, SigmaValue, detection_name_matches};

use super::{load::Rule, record::plain_operation};

/// Rules by the operations that they need, in lower case, and those that need none.
pub(super) struct Index {
    by_operation: HashMap<Box<str>, Vec<u32>>,
    always: Vec<u32>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self { by_operation: HashMap::new(), always: Vec::new() };
        for (at, rule) in (0..).zip(rules) {
            match &rule.operations {
                None => index.always.push(at),
                Some(operations) => {
                    for operation in operations {
                        let rules = index.by_operation.entry(operation.as_str().into()).or_default();
                        if rules.last() != Some(&at) {
                            rules.push(at);
                        }
                    }
                }
            }
        }
        index
    }

    /// Places of the rules that a record of an operation may fire, in their order.
    pub(super) fn candidates(&self, operation: Option<&str>) -> Vec<usize> {
        let operation = operation.unwrap_or_default();
        let found = |name: &str| self.by_operation.get(name.to_lowercase().as_str());
        let plain = plain_operation(operation);
        let (written, plain) = (found(operation), if plain == operation { None } else { found(&plain) });
        let mut places = written.into_iter().chain(plain).chain([&self.always]).flatten().map(|at| *at as usize).collect::<Vec<_>>();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// The operations of which a record must have one for a rule to fire, in lower case; none where a rule may fire on any.
pub(super) fn operations(detections: &Detections) -> Option<Vec<String>> {
    any_of(detections.conditions.iter().map(|condition| of_condition(condition, detections)))
}

fn of_condition(condition: &ConditionExpr, detections: &Detections) -> Option<Vec<String>> {
    let named = |name: &str| detections.named.get(name).and_then(of_detection);
    match condition {
        ConditionExpr::And(parts) => parts.iter().filter_map(|part| of_condition(part, detections)).min_by_key(Vec::len),
        ConditionExpr::Or(parts) => any_of(parts.iter().map(|part| of_condition(part, detections))),
        ConditionExpr::Not(_) => None,
        ConditionExpr::Identifier(name) => named(name),
        ConditionExpr::Selector { quantifier, pattern } => {
            let is_meant = |name: &&String| match pattern {
                SelectorPattern::Them => !name.starts_with('_'),
                SelectorPattern::Pattern(pattern) => detection_name_matches(pattern, name),
            };
            let parts = detections.named.keys().filter(is_meant).map(|name| named(name));
            match quantifier {
                Quantifier::Any => any_of(parts),
                Quantifier::All => parts.flatten().min_by_key(Vec::len),
                Quantifier::Count(_) => None,
            }
        }
    }
}

/// All of the parts' operations; none where a part has none, or there is no part.
fn any_of(parts: impl Iterator<Item = Option<Vec<String>>>) -> Option<Vec<String>> {
    let all = parts.collect::<Option<Vec<_>>>()?.concat();
    (!all.is_empty()).then_some(all)
}

fn of_detection(detection: &Detection) -> Option<Vec<String>> {
    match detection {
        Detection::AllOf(items) => items.iter().filter_map(of_item).min_by_key(Vec::len),
        Detection::And(parts) => parts.iter().filter_map(of_detection).min_by_key(Vec::len),
        Detection::AnyOf(parts) => any_of(parts.iter().map(of_detection)),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => None,
    }
}

/// `Operation: a` or `Operation: [a, b]`, with no modifier and no wildcard.
fn of_item(item: &DetectionItem) -> Option<Vec<String>> {
    if item.field.name.as_deref() != Some("Operation") || !item.field.modifiers.is_empty() {
        return None;
    }
    let plain = |value: &SigmaValue| match value {
        SigmaValue::String(text) if text.is_plain() => text.as_plain().map(|text| text.to_lowercase()),
        _ => None,
    };
    item.values.iter().map(plain).collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())
}
