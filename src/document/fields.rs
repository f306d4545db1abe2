//! A JSON object's fields in their order, their values untouched, and reading single values out of them however they are
//! shaped. Knows no field by name.

use std::borrow::Cow;

use super::{records::Record, scan::Scan};

/// Names of few fields are compared one by one faster than by their hashes.
const FEW: usize = 48;

/// One field, its value untouched: valid JSON without spaces around it.
pub(crate) struct Field<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) value: &'a str,
    /// Name and value as they stand.
    whole: &'a str,
}

impl<'a> Field<'a> {
    /// The field as a document has it, where it stands so already: a name without escapes, and no spaces.
    pub(crate) fn as_it_stands(&self) -> Option<&'a str> {
        let is_plain = matches!(self.name, Cow::Borrowed(_)) && self.whole.len() + 1 == self.length();
        is_plain.then_some(self.whole)
    }

    /// Bytes it takes in a document: name, value, quotes, colon and comma.
    pub(crate) fn length(&self) -> usize {
        self.name.len() + self.value.len() + 4
    }
}

/// An object's fields. Where a name comes twice, the last value counts, as JSON parsers have it.
pub(crate) struct Fields<'a>(pub(crate) Vec<Field<'a>>);

impl<'a> Fields<'a> {
    /// The fields of an object; none of anything else.
    pub(crate) fn of(json: &'a str) -> Option<Self> {
        Self::all(json).map(Self::last)
    }

    /// Of fields whose name comes again, the last alone.
    pub(super) fn last(mut fields: Vec<Field<'a>>) -> Self {
        keep_last(&mut fields);
        Self(fields)
    }

    /// All fields of the record that begins at a position, its text, and what was noticed of it.
    pub(super) fn of_record(scan: &mut Scan<'a>, at: usize) -> Option<Record<'a>> {
        let mut fields = Vec::with_capacity(32);
        let (text, flags) = scan.object_at(at, |name, value, whole| fields.push(Field { name, value, whole }))?;
        Some(Record { bytes: text.as_bytes(), flags, read: Some((text, fields)) })
    }

    /// The same, those included whose name comes again.
    pub(crate) fn all(json: &'a str) -> Option<Vec<Field<'a>>> {
        let mut fields = Vec::with_capacity(32);
        Scan::new(json).object(|name, value, whole| fields.push(Field { name, value, whole }))?;
        Some(fields)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// A string's content or a number as it stands, where there is something.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text).filter(|text| !text.is_empty())
    }
}

fn keep_last(fields: &mut Vec<Field<'_>>) {
    // Names of another length, first or last letter differ: most are told apart by a bit for each of these.
    let mut seen = 0_u64;
    let is_twice = |(at, field): (usize, &Field<'_>)| {
        let bit = bit_of(&field.name);
        let is_seen = seen & bit != 0;
        seen |= bit;
        is_seen && fields[..at].iter().any(|other| other.name == field.name)
    };
    if fields.len() <= FEW && !fields.iter().enumerate().any(is_twice) {
        return;
    }
    let mut names = std::collections::HashSet::with_capacity(fields.len());
    if fields.iter().all(|field| names.insert(field.name.clone())) {
        return;
    }
    names.clear();
    fields.reverse();
    fields.retain(|field| names.insert(field.name.clone()));
    fields.reverse();
}

/// One of 64 bits by a name's length and its letters.
fn bit_of(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let letter = |at: usize| bytes.get(at).map_or(0, |byte| u32::from(*byte));
    let sum = letter(0) * 5 + letter(bytes.len() / 2) * 11 + letter(bytes.len().saturating_sub(1)) * 23 + bytes.len() as u32;
    1 << (sum % 64)
}

/// A value's text: a string's content, or a number as it stands.
pub(crate) fn text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' if memchr::memchr(b'\\', raw.as_bytes()).is_none() => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
        b'"' => serde_json::from_str(raw).ok().map(Cow::Owned),
        b'0'..=b'9' | b'-' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}
