//! What Graph puts around and into a record is taken away: annotations at all depths, the dictionary, the zone of CreationTime. All
//! else stays as it came, numbers too, since nothing here reads a value but as text.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use handler::clock::parse_utc;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// Every name of an annotation holds it. <https://docs.oasis-open.org/odata/odata-json-format/v4.01/odata-json-format-v4.01.html#sec_ControlInformation>
const ANNOTATION: &str = "@odata.";
const DICTIONARY: &str = "dynamicProperties";

/// What tells a record from others: half of the SHA-256 of its ids.
pub(super) type Key = [u8; 16];

/// A row of a page: the envelope's id, and the record. Nothing where the row is no object.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    id: Option<String>,
    data: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// That of a row.
    pub(super) fn of(row: &'a RawValue) -> Self {
        let mut envelope = Self::default();
        for member in members(row.get()) {
            match member.name {
                "id" => envelope.id = plain(member.value),
                "auditData" => envelope.data = Some(member.value),
                _ => {}
            }
        }
        envelope
    }

    /// Its id; empty where it has none.
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

/// The SHA-256 of a text.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// A record as the activity API would have it.
#[derive(Debug)]
pub(super) struct Record {
    /// Its JSON.
    pub(super) text: String,
    pub(super) key: Key,
    /// Tells bodies apart.
    pub(super) body: [u8; 7],
    /// When it happened, where that can be read.
    pub(super) event: Option<DateTime<Utc>>,
    /// The envelope has another id than the record.
    pub(super) is_unlike: bool,
    /// The envelope held a text that is no object: the record is this text.
    pub(super) is_no_object: bool,
}

/// Makes a record of a row; none where the envelope holds none.
pub(super) fn record(envelope: &Envelope<'_>) -> Option<Record> {
    let envelope_id = envelope.id();
    let data = envelope.data.filter(|data| *data != "null")?;
    let inside = data.starts_with('"').then(|| serde_json::from_str::<String>(data).ok()).flatten();
    let text = inside.as_deref().unwrap_or(data).trim();
    // What stands in a text was not read by anybody yet.
    if text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() {
        return object(text, envelope_id);
    }
    let key = key(&[envelope_id, data]);
    Some(Record { text: data.to_owned(), key, body: body(data), event: None, is_unlike: false, is_no_object: true })
}

/// None where nothing is left of it but what Graph put there.
fn object(text: &str, envelope_id: &str) -> Option<Record> {
    let without = without_annotations(text);
    let members = lifted(members(&without));
    if members.is_empty() {
        return None;
    }
    let value = |wanted: &str| members.iter().find(|member| member.name == wanted).map(|member| member.value);
    let own_id = value("Id").and_then(plain).filter(|id| !id.is_empty());
    let fill = match own_id {
        Some(_) => None,
        None => {
            value("ID").and_then(plain).filter(|id| !id.is_empty()).or_else(|| Some(envelope_id.to_owned()).filter(|id| !id.is_empty()))
        }
    };
    let id = own_id.as_deref().or(fill.as_deref()).unwrap_or_default();
    let part = value("RecordNumber").unwrap_or_default();
    let is_unlike = !id.is_empty() && !envelope_id.is_empty() && own_id.is_some() && id != envelope_id;
    let event = value("CreationTime").and_then(plain).and_then(|time| parse_utc(&time));
    let text = written(&members, fill.as_deref());
    // Where nothing names it, it is what it says. The envelope's id does not tell records apart: their documents would be one.
    let key = if id.is_empty() { key(&[&text]) } else { key(&[id, part]) };
    Some(Record { key, body: body(&text), text, event, is_unlike, is_no_object: false })
}

fn key(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let hash = hash.finalize();
    std::array::from_fn(|byte| hash[byte])
}

fn body(text: &str) -> [u8; 7] {
    let hash = Sha256::digest(text);
    std::array::from_fn(|byte| hash[byte])
}

/// A member of an object, all of it as it stands.
#[derive(Clone, Copy)]
struct Member<'a> {
    /// Without quotes.
    name: &'a str,
    value: &'a str,
}

/// The members with those of the dictionary in its place. A name that stands outside too keeps that value.
fn lifted(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    if !members.iter().any(|member| member.name == DICTIONARY && member.value.starts_with('{')) {
        return members;
    }
    let outside: Vec<_> = members.iter().map(|member| member.name).collect();
    let mut all = Vec::new();
    for member in &members {
        if member.name == DICTIONARY && member.value.starts_with('{') {
            all.extend(self::members(member.value).into_iter().filter(|inside| !outside.contains(&inside.name)));
        } else {
            all.push(*member);
        }
    }
    all
}

fn written(members: &[Member<'_>], fill: Option<&str>) -> String {
    let length: usize = members.iter().map(|member| member.name.len() + member.value.len() + 4).sum();
    let mut text = String::with_capacity(length + 64);
    let mut write = |name: &str, value: &str| {
        text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
        text.push_str(name);
        text.push_str("\":");
        text.push_str(value);
    };
    if let Some(id) = fill {
        write("Id", &serde_json::Value::from(id).to_string());
    }
    for member in members {
        match member.name {
            "Id" if fill.is_some() => {}
            "CreationTime" => write(member.name, &without_zone(member.value)),
            _ => write(member.name, member.value),
        }
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

fn without_zone(value: &str) -> Cow<'_, str> {
    match value.strip_suffix("Z\"") {
        Some(time) if time.starts_with('"') => Cow::Owned(format!("{time}\"")),
        _ => Cow::Borrowed(value),
    }
}

/// A text without its quotes and escapes; of a number its digits.
fn plain(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'0'..=b'9' | b'-' => Some(value.to_owned()),
        _ => None,
    }
}

/// The same JSON without annotations, at all depths. The rest keeps its bytes.
fn without_annotations(text: &str) -> Cow<'_, str> {
    // A name may be written with escapes.
    if !text.contains(ANNOTATION) && !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in annotations(text) {
        kept.push_str(&text[from..start]);
        from = end;
    }
    kept.push_str(&text[from..]);
    Cow::Owned(kept)
}

/// An object or a list that is not closed yet.
struct Open {
    is_object: bool,
    /// The comma behind the last member that stays.
    comma: Option<usize>,
}

/// Where annotations stand, each with the comma that goes with it, in order and apart.
fn annotations(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let (mut cuts, mut open, mut at): (Vec<(usize, usize)>, Vec<Open>, usize) = (Vec::new(), Vec::new(), 0);
    let mut is_name_next = false;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => {
                open.push(Open { is_object: true, comma: None });
                is_name_next = true;
                at += 1;
            }
            b'[' => {
                open.push(Open { is_object: false, comma: None });
                is_name_next = false;
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                is_name_next = false;
                at += 1;
            }
            b',' => {
                if let Some(within) = open.last_mut().filter(|within| within.is_object) {
                    within.comma = Some(at);
                    is_name_next = true;
                }
                at += 1;
            }
            b'"' if is_name_next => {
                let name_end = string_end(bytes, at);
                is_name_next = false;
                if !is_annotation(&text[at + 1..name_end - 1]) {
                    at = name_end;
                    continue;
                }
                let value_start = after_space(bytes, after_space(bytes, name_end) + 1);
                let end = value_end(bytes, value_start);
                let behind = after_space(bytes, end);
                if bytes.get(behind) == Some(&b',') {
                    let next = after_space(bytes, behind + 1);
                    cuts.push((at, next));
                    (at, is_name_next) = (next, true);
                } else {
                    // The last member: the comma before it goes too, and with it what was cut in between.
                    let start = open.last().and_then(|within| within.comma).unwrap_or(at);
                    let start =
                        cuts.iter().rev().take_while(|(start_of, _)| *start_of >= start).last().map_or(start, |cut| cut.0.min(start));
                    cuts.retain(|(start_of, _)| *start_of < start);
                    cuts.push((start, end));
                    at = behind;
                }
            }
            b'"' => at = string_end(bytes, at),
            _ => at += 1,
        }
    }
    cuts
}

fn is_annotation(name: &str) -> bool {
    if !name.contains('\\') {
        return name.contains(ANNOTATION);
    }
    serde_json::from_str::<String>(&format!("\"{name}\"")).is_ok_and(|name| name.contains(ANNOTATION))
}

/// The members of an object, in their order.
fn members(object: &str) -> Vec<Member<'_>> {
    let bytes = object.as_bytes();
    let (mut found, mut at) = (Vec::with_capacity(32), 1);
    loop {
        at = after_space(bytes, at);
        if bytes.get(at) != Some(&b'"') {
            return found;
        }
        let name_end = string_end(bytes, at);
        let start = after_space(bytes, after_space(bytes, name_end) + 1);
        let end = value_end(bytes, start);
        found.push(Member { name: &object[at + 1..name_end - 1], value: &object[start..end] });
        at = after_space(bytes, end);
        if bytes.get(at) != Some(&b',') {
            return found;
        }
        at += 1;
    }
}

fn after_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn value_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => string_end(bytes, start),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (start, 0_usize);
            while at < bytes.len() {
                match bytes[at] {
                    b'"' => {
                        at = string_end(bytes, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return at;
                }
            }
            bytes.len()
        }
        _ => {
            let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
            bytes.iter().skip(start).position(is_end).map_or(bytes.len(), |length| start + length)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    fn read(envelope: &str) -> Option<Record> {
        record(&Envelope::of(serde_json::from_str(envelope).unwrap()))
    }

    fn cleaned(envelope: &str) -> Record {
        read(envelope).unwrap()
    }

    #[test]
    fn annotations_go_at_all_depths_and_all_else_keeps_its_bytes() {
        for (with, without) in [
            (r##"{"@odata.type":"#x","A@odata.type":"#Int64","A": 1 ,"B":"@odata.type"}"##, r#"{"A": 1 ,"B":"@odata.type"}"#),
            (r##"{"A":1,"x@odata.type":"#y"}"##, r#"{"A":1}"#),
            (r##"{"A":1,"x@odata.type":"#y","z@odata.type":{"q":[1,2]}}"##, r#"{"A":1}"#),
            (r##"{"x@odata.type":"#y"}"##, "{}"),
            (r##"{"L":[{"N@odata.type":"#Int64","N":1},{"N":2,"M@odata.type":"#Int64"}],"M":[ ]}"##, r#"{"L":[{"N":1},{"N":2}],"M":[ ]}"#),
            (r##"{"\u0040odata.type":"#x","A":"\u00e9"}"##, r#"{"A":"\u00e9"}"#),
            (r##"{"A":{"a@odata.type":"","a":"}\"{"}, "b@odata.type":"", "c@odata.type":""}"##, r#"{"A":{"a":"}\"{"}}"#),
        ] {
            assert_eq!(without_annotations(with), without, "{with}");
        }
    }

    #[test]
    fn a_number_keeps_its_text() {
        let text = r##"{"id":"a","auditData":{"Id":"a","N@odata.type":"#Int64","N":123456789012345678901234567890,"F":1.50e3}}"##;
        assert_eq!(cleaned(text).text, r#"{"Id":"a","N":123456789012345678901234567890,"F":1.50e3}"#);
    }

    #[test]
    fn a_missing_id_is_filled_and_a_present_one_stands() {
        for (envelope, expected, is_unlike) in [
            (r#"{"id":"e","auditData":{"Id":"r"}}"#, r#"{"Id":"r"}"#, true),
            (r#"{"id":"r","auditData":{"Id":"r"}}"#, r#"{"Id":"r"}"#, false),
            (r#"{"id":"","auditData":{"Id":"r"}}"#, r#"{"Id":"r"}"#, false),
            (r#"{"id":"e","auditData":{"ID":"r","A":1}}"#, r#"{"Id":"r","ID":"r","A":1}"#, false),
            (r#"{"id":"e","auditData":{"A":1}}"#, r#"{"Id":"e","A":1}"#, false),
            (r#"{"id":"e","auditData":{"Id":null,"A":1}}"#, r#"{"Id":"e","A":1}"#, false),
            (r#"{"auditData":{"A":1}}"#, r#"{"A":1}"#, false),
        ] {
            let record = cleaned(envelope);
            assert_eq!((record.text.as_str(), record.is_unlike), (expected, is_unlike), "{envelope}");
        }
    }

    #[test]
    fn the_zone_goes_the_dictionary_is_lifted_and_a_text_is_read() {
        let expected = r#"{"Id":"r","CreationTime":"2026-11-20T10:00:00","A":{"B":1}}"#;
        for data in [
            r##"{"Id":"r","CreationTime":"2026-11-20T10:00:00Z","A":{"@odata.type":"#x","B":1}}"##,
            r##"{"Id":"r","CreationTime":"2026-11-20T10:00:00Z","dynamicProperties":{"@odata.type":"#x","A":{"B":1}}}"##,
            r##"{"Id":"r","CreationTime":"2026-11-20T10:00:00Z","A":{"B":1},"dynamicProperties":{"A":2}}"##,
            r##""{\"Id\":\"r\",\"CreationTime\":\"2026-11-20T10:00:00Z\",\"A\":{\"B\":1}}""##,
        ] {
            let record = cleaned(&format!("{{\"id\":\"r\",\"auditData\":{data}}}"));
            assert_eq!(record.text, expected, "{data}");
            assert_eq!(record.event, parse_utc("2026-11-20T10:00:00"));
        }
    }

    #[test]
    fn what_is_no_object_is_kept_as_it_came_and_nothing_is_nothing() {
        let record = cleaned(r#"{"id":"e","auditData":"{no json"}"#);
        assert!(record.is_no_object);
        assert_eq!(record.text, r#""{no json""#);
        for row in [
            r#"{"id":"e","auditData":null}"#,
            r#"{"id":"e"}"#,
            r##"{"id":"e","auditData":{"@odata.type":"#x"}}"##,
            r##"{"id":"e","auditData":{"dynamicProperties":{}}}"##,
            "null",
            "5",
            r#"[{"id":"e","auditData":{"Id":"e"}}]"#,
        ] {
            assert!(read(row).is_none(), "{row}");
        }
    }

    #[test]
    fn a_row_is_read_whatever_its_other_members_are() {
        let row = "{\n  \"id\" : 5,\n  \"other\": {\"id\": 1},\n  \"auditData\" : {\n \"A\": 1\n }\n}";
        assert_eq!(cleaned(row).text, r#"{"Id":"5","A":1}"#);
        assert_eq!(cleaned(r#"{"id":null,"id2":[],"auditData":{"Id":"r"}}"#).text, r#"{"Id":"r"}"#);
    }

    #[test]
    fn the_same_record_has_the_same_key_however_it_is_wrapped_and_parts_have_their_own() {
        let key = |data: &str| cleaned(&format!("{{\"id\":\"r\",\"auditData\":{data}}}")).key;
        assert_eq!(key(r##"{"Id":"r","A@odata.type":"#Int64","A":1}"##), key(r#"{"A":1,"Id":"r"}"#));
        assert_eq!(key(r#"{"Id":"r"}"#), cleaned(r#"{"id":"another","auditData":{"Id":"r"}}"#).key);
        assert_ne!(key(r#"{"Id":"r","RecordNumber":1}"#), key(r#"{"Id":"r","RecordNumber":2}"#));
    }
}
