//! Reading and writing fields by their path in nested objects.

use serde_json::{Map, Value};

type Fields = Map<String, Value>;

/// The value at a path such as `user.name`.
pub(super) fn at<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => fields.get(path),
        Some((first, rest)) => at(fields.get(first)?.as_object()?, rest),
    }
}

/// The value at a path, to be changed.
pub(super) fn at_mut<'a>(fields: &'a mut Fields, path: &str) -> Option<&'a mut Value> {
    match path.split_once('.') {
        None => fields.get_mut(path),
        Some((first, rest)) => at_mut(fields.get_mut(first)?.as_object_mut()?, rest),
    }
}

/// Takes the value at a path away; the objects around it stay.
pub(super) fn take(fields: &mut Fields, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => fields.remove(path),
        Some((first, rest)) => take(fields.get_mut(first)?.as_object_mut()?, rest),
    }
}

/// Puts a value at a path, making the objects around it.
pub(super) fn put(fields: &mut Fields, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            fields.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = fields.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Makes the value at a path a list, if it is none.
pub(super) fn make_list(fields: &mut Fields, path: &str) {
    let list = match take(fields, path) {
        Some(Value::Array(list)) => list,
        Some(Value::Null) | None => Vec::new(),
        Some(single) => vec![single],
    };
    put(fields, path, Value::Array(list));
}

/// Adds a value to the list at a path.
pub(super) fn push(fields: &mut Fields, path: &str, value: Value) {
    make_list(fields, path);
    if let Some(Value::Array(list)) = at_mut(fields, path) {
        list.push(value);
    }
}

/// Adds a value to the list at a path, unless it is there.
pub(super) fn append(fields: &mut Fields, path: &str, value: Value) {
    let there = at(fields, path).and_then(Value::as_array).is_some_and(|list| list.contains(&value));
    if !there {
        push(fields, path, value);
    }
}

/// A text, number or truth value as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}
