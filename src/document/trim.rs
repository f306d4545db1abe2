//! Fits a record to what Cosmos DB takes: renames fields whose names the document needs, and leaves out what is too large or
//! too deep. Pure.

use std::borrow::Cow;

use super::fields::Field;

/// Cosmos takes 2 MB; what it adds itself, and the request around a document, must fit as well.
/// <https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits>
pub const MAX_BYTES: usize = 2 * 1024 * 1024 - 16 * 1024;
/// Cosmos takes 128 levels. The JSON parsers on the way there stop at 128 too, and count two for the request around it.
const MAX_LEVELS: usize = 125;

/// Names that the document has for itself, those that Cosmos adds included. A record's own field of such a name is kept
/// as `record_<name>`.
const RESERVED: [&str; 13] =
    ["id", "pk", "ttl", "feed", "edges", "findings", "redacted", "omitted", "_rid", "_self", "_etag", "_attachments", "_ts"];

/// Renames fields whose names the document has for itself.
pub(super) fn rename_reserved(fields: &mut [Field<'_>]) {
    for at in 0..fields.len() {
        // Nearly all names of records begin with a capital letter.
        let may_be = matches!(fields[at].name.as_bytes().first(), Some(b'a'..=b'z' | b'_'));
        if !may_be || !RESERVED.contains(&&*fields[at].name) {
            continue;
        }
        let mut name = format!("record_{}", fields[at].name);
        while fields.iter().any(|field| field.name == name) {
            name = format!("record_{name}");
        }
        fields[at].name = Cow::Owned(name);
    }
}

/// Takes out fields that nest too deep, then the largest until the rest fits. Returns the names of those taken out.
pub(super) fn omit(fields: &mut Vec<Field<'_>>, depth: usize, length: usize) -> Vec<String> {
    let mut omitted = Vec::new();
    if depth > MAX_LEVELS {
        fields.retain(|field| {
            // The document itself is one level more.
            let fits = levels(field.value) < MAX_LEVELS;
            if !fits {
                omitted.push(short(&field.name));
            }
            fits
        });
    }
    if length <= MAX_BYTES / 2 {
        return omitted;
    }
    let mut length = length + omitted.iter().map(|name| name.len() + 3).sum::<usize>();
    let mut by_length: Vec<usize> = (0..fields.len()).collect();
    by_length.sort_by_key(|at| std::cmp::Reverse(fields[*at].length()));
    let mut out = vec![false; fields.len()];
    // The record's whole text was counted; what is saved is counted off.
    for at in by_length {
        if length <= MAX_BYTES {
            break;
        }
        let name = short(&fields[at].name);
        length = length.saturating_sub(fields[at].length()) + name.len() + 3;
        omitted.push(name);
        out[at] = true;
    }
    let mut at = 0;
    fields.retain(|_| {
        at += 1;
        !out[at - 1]
    });
    omitted
}

/// A name as `omitted` has it: names can be what is too large.
fn short(name: &str) -> String {
    name.chars().take(200).collect()
}

/// Levels of objects and arrays in a JSON text.
pub(super) fn levels(json: &str) -> usize {
    let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
