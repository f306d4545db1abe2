//! A record as Sigma rules see it: its own fields, its property bags by name, and the texts that are JSON inside. The document stays
//! verbatim; this view lives only while rules are asked.

use std::{borrow::Cow, cell::OnceCell};

use rsigma_eval::{Event, EventValue};
use serde_json::{Map, Value};

use crate::document::Fields;

/// Longest part of a text that a rule looks at, in bytes: an audit record may hold megabytes, and a rule of another's making must
/// not stall the handler on them.
pub(super) const MAX_TEXT: usize = 8 * 1024;
/// Most text that one path gives, and that a keyword is asked of, in bytes.
pub(super) const MAX_TEXTS: usize = 64 * 1024;
/// Deepest level that a path or a keyword reaches.
const MAX_DEPTH: usize = 16;
/// Most values that one path gives, and that a keyword is asked of.
const MAX_VALUES: usize = 512;

/// Lists of `{Name, Value}` or `{Name, OldValue, NewValue}`: `Parameters.ForwardTo`, `ModifiedProperties.Role.DisplayName.NewValue`.
const BAGS: [&str; 5] = ["Parameters", "ExtendedProperties", "ModifiedProperties", "OperationProperties", "DeviceProperties"];

/// A record's fields, each parsed when a rule first asks for it.
pub(super) struct Record<'a> {
    fields: &'a Fields<'a>,
    parsed: Vec<OnceCell<Value>>,
}

impl<'a> Record<'a> {
    pub(super) fn new(fields: &'a Fields<'a>) -> Self {
        Self { fields, parsed: fields.0.iter().map(|_| OnceCell::new()).collect() }
    }

    /// A field's value as rules see it.
    fn field(&self, name: &str) -> Option<&Value> {
        let at = self.fields.0.iter().position(|field| field.name == name)?;
        Some(self.value_at(at))
    }

    fn value_at(&self, at: usize) -> &Value {
        self.parsed[at].get_or_init(|| {
            let field = &self.fields.0[at];
            let value = serde_json::from_str(field.value).unwrap_or(Value::Null);
            if BAGS.contains(&&*field.name) { bag(value) } else { value }
        })
    }

    /// Both spellings of an operation: as it stands, and without the full stop, spaces and dashes by which workloads differ.
    fn operation(&self) -> Option<EventValue<'_>> {
        let text = self.field("Operation")?.as_str()?;
        let written = EventValue::Str(Cow::Borrowed(cut(text)));
        match plain_operation(text) {
            plain if plain == text => Some(written),
            plain => Some(EventValue::Array(vec![written, EventValue::Str(Cow::Owned(cut(&plain).to_owned()))])),
        }
    }

    fn visit(&self, take: &mut dyn FnMut(&str)) {
        let mut left = (MAX_VALUES, MAX_TEXTS);
        for at in 0..self.fields.0.len() {
            visit_strings(self.value_at(at), MAX_DEPTH, &mut left, take);
        }
    }
}

/// An operation's name as our rules write it: `Add member to role`, `Update application - Certificates and secrets management`.
pub(super) fn plain_operation(operation: &str) -> Cow<'_, str> {
    let trimmed = operation.trim_matches(|c: char| c.is_whitespace() || c == '.');
    // An en dash, and what is left of one where UTF-8 was read as another encoding.
    match trimmed.contains(['\u{2013}', '\u{e2}']) {
        false => Cow::Borrowed(trimmed),
        true => Cow::Owned(trimmed.replace("\u{e2}\u{20ac}\u{201c}", "-").replace('\u{2013}', "-")),
    }
}

impl Event for Record<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        if path == "Operation" {
            return self.operation();
        }
        if let Some(value) = self.field(path) {
            return Some(event_value(value, MAX_DEPTH, &mut MAX_TEXTS.clone()));
        }
        let (root, rest) = path.split_once('.')?;
        let mut found = Vec::new();
        collect(self.field(root)?, rest, MAX_DEPTH, &mut MAX_TEXTS.clone(), &mut found);
        match found.len() {
            0 => None,
            1 => found.pop(),
            _ => Some(EventValue::Array(found)),
        }
    }

    fn any_string_value(&self, is_meant: &dyn Fn(&str) -> bool) -> bool {
        let mut any = false;
        self.visit(&mut |text| any = any || is_meant(text));
        any
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        let mut all = Vec::new();
        self.visit(&mut |text| all.push(Cow::Owned(text.to_owned())));
        all
    }

    fn to_json(&self) -> Value {
        Value::Object(self.fields.0.iter().enumerate().map(|(at, field)| (field.name.to_string(), self.value_at(at).clone())).collect())
    }
}

/// A bag as an object by name, whatever shape it came in; anything else as it is.
fn bag(value: Value) -> Value {
    let value = match value {
        Value::String(text) if text.trim_start().starts_with(['[', '{']) => parse(&text).unwrap_or(Value::String(text)),
        other => other,
    };
    match value {
        Value::Array(items) if items.iter().all(|item| name_of(item).is_some()) => Value::Object(by_name(items)),
        Value::String(text) => Value::Object(of_command_line(text)),
        other => other,
    }
}

fn name_of(item: &Value) -> Option<&str> {
    item.get("Name").and_then(Value::as_str)
}

/// `Value` stands under the name itself; old and new under `<name>.OldValue` and `<name>.NewValue`, and the new one under the name too.
/// Where a name comes twice, both values count.
fn by_name(items: Vec<Value>) -> Map<String, Value> {
    let mut map = Map::new();
    for mut item in items {
        let Some(name) = name_of(&item).map(str::to_owned) else { continue };
        let Some(item) = item.as_object_mut() else { continue };
        for (key, suffix) in [("OldValue", Some(".OldValue")), ("NewValue", Some(".NewValue")), ("NewValue", None), ("Value", None)] {
            let value = if suffix.is_some() { item.get(key).cloned() } else { item.remove(key) };
            let Some(value) = value else { continue };
            put(&mut map, format!("{name}{}", suffix.unwrap_or_default()), value);
        }
    }
    map
}

fn put(map: &mut Map<String, Value>, name: String, value: Value) {
    // As PowerShell writes what cmdlets note as `True` and `False`.
    let value = match value.as_str() {
        Some("$true") => Value::from("True"),
        Some("$false") => Value::from("False"),
        _ => value,
    };
    match map.get_mut(&name) {
        None => drop(map.insert(name, value)),
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

/// Parameters as the compliance centre writes them: `-Name "value" -Other "value"`. The whole text stands under the empty name.
fn of_command_line(text: String) -> Map<String, Value> {
    let mut map = Map::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find('-') {
        rest = &rest[start + 1..];
        let Some(end) = rest.find(' ') else { break };
        let name = &rest[..end];
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name {
            continue;
        }
        rest = &rest[end + 1..];
        let value = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next().unwrap_or_default(),
            None => rest.split(" -").next().unwrap_or_default(),
        };
        put(&mut map, name.to_owned(), Value::String(value.to_owned()));
        rest = &rest[value.len()..];
    }
    map.insert(String::new(), Value::String(text));
    map
}

/// The values at a path below a value: through objects by name (a name may hold dots), lists by all of their elements, and texts that are JSON.
fn collect<'v>(value: &'v Value, path: &str, depth: usize, left: &mut usize, found: &mut Vec<EventValue<'v>>) {
    if depth == 0 || found.len() >= MAX_VALUES {
        return;
    }
    match value {
        Value::Object(map) => {
            if let Some(value) = map.get(path) {
                return found.push(event_value(value, depth - 1, left));
            }
            let dots = path.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
            for at in dots.into_iter().rev() {
                if let Some(value) = map.get(&path[..at]) {
                    return collect(value, &path[at + 1..], depth - 1, left, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, depth - 1, left, found)),
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Some(value) = parse(text) {
                let mut inner = Vec::new();
                collect(&value, path, depth - 1, left, &mut inner);
                found.extend(inner.iter().map(owned));
            }
        }
        _ => {}
    }
}

/// A text that is JSON; texts longer than rules look at are left as they are.
fn parse(text: &str) -> Option<Value> {
    (text.len() <= 8 * MAX_TEXT).then(|| serde_json::from_str(text).ok()).flatten()
}

/// A value as rules take it; of its texts as much as is left, in bytes.
fn event_value<'v>(value: &'v Value, depth: usize, left: &mut usize) -> EventValue<'v> {
    match value {
        Value::String(text) => {
            let text = cut_to(text, MAX_TEXT.min(*left));
            *left -= text.len();
            EventValue::Str(Cow::Borrowed(text))
        }
        Value::Array(items) if depth > 0 => {
            EventValue::Array(items.iter().take(MAX_VALUES).map(|item| event_value(item, depth - 1, left)).collect())
        }
        // A command line is asked for as a whole under the bag's own name.
        Value::Object(map) => map.get("").map_or(EventValue::Map(Vec::new()), |whole| event_value(whole, 0, left)),
        Value::Array(_) => EventValue::Null,
        other => EventValue::from(other),
    }
}

fn owned<'o>(value: &EventValue<'_>) -> EventValue<'o> {
    match value {
        EventValue::Str(text) => EventValue::Str(Cow::Owned(text.to_string())),
        EventValue::Int(number) => EventValue::Int(*number),
        EventValue::Float(number) => EventValue::Float(*number),
        EventValue::Bool(is_so) => EventValue::Bool(*is_so),
        EventValue::Array(items) => EventValue::Array(items.iter().map(owned).collect()),
        EventValue::Map(_) => EventValue::Map(Vec::new()),
        EventValue::Null => EventValue::Null,
    }
}

/// Hands out texts as long as values, and bytes of text, are left.
fn visit_strings(value: &Value, depth: usize, left: &mut (usize, usize), take: &mut dyn FnMut(&str)) {
    if depth == 0 || left.0 == 0 || left.1 == 0 {
        return;
    }
    match value {
        Value::String(text) => {
            let text = cut_to(text, MAX_TEXT.min(left.1));
            *left = (left.0 - 1, left.1 - text.len());
            take(text);
        }
        Value::Array(items) => items.iter().for_each(|item| visit_strings(item, depth - 1, left, take)),
        Value::Object(map) => map.values().for_each(|item| visit_strings(item, depth - 1, left, take)),
        _ => {}
    }
}

/// The part of a text that rules look at.
fn cut(text: &str) -> &str {
    cut_to(text, MAX_TEXT)
}

fn cut_to(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
