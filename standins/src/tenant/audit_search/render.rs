//! A record as Graph serves it: in an envelope, its own members annotated, its CreationTime with a zone.

use serde_json::{Map, Value, json};

use super::fault::Oddity;
use super::index::Row;

const OBJECT: &str = "#microsoft.graph.security.defaultAuditData";
const LIST: &str = "#Collection(microsoft.graph.security.defaultAuditData)";
/// Deeper records are served without annotations.
const MAX_DEPTH: usize = 500;
/// Members that every record has, and that stay outside of `dynamicProperties`.
const COMMON: [&str; 9] = ["Id", "RecordType", "CreationTime", "Operation", "OrganizationId", "UserType", "UserKey", "Workload", "UserId"];

/// The envelopes of a row: one, or two where it has two bodies.
pub(super) fn envelopes(row: &Row, oddity: Option<Oddity>) -> Vec<String> {
    let text = row.text();
    let second = text.replacen('{', "{\"SecondBody\":true,", 1);
    match oddity {
        Some(Oddity::NoEnvelope) => vec!["null".to_owned()],
        Some(Oddity::TwoBodies) => vec![envelope(row, &text, None), envelope(row, &second, None)],
        Some(Oddity::Twin) => vec![envelope(row, &text, None), envelope(row, &second, Some(Oddity::IdUnlike))],
        _ => vec![envelope(row, &text, oddity)],
    }
}

fn envelope(row: &Row, text: &str, oddity: Option<Oddity>) -> String {
    let record: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let member = |name: &str| record.get(name).cloned().unwrap_or(Value::Null);
    let id = match oddity {
        Some(Oddity::IdUnlike) => json!(format!("{:08x}-1111-4111-8111-111111111111", row.mark("unlike") as u32)),
        Some(Oddity::IdEmpty) => json!(""),
        Some(Oddity::IdNumber) => json!(row.mark("number") as u32),
        _ => json!(row.id),
    };
    let mut envelope = json!({
        "id": id,
        "createdDateTime": row.event.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "auditLogRecordType": record_type(&member("RecordType")),
        "operation": member("Operation"),
        "organizationId": member("OrganizationId"),
        "userType": user_type(&member("UserType")),
        "userId": member("UserKey"),
        "service": member("Workload"),
        "objectId": member("ObjectId"),
        "userPrincipalName": member("UserId"),
        "clientIp": null,
        "administrativeUnits": [""],
    })
    .to_string();
    let data = match oddity {
        Some(Oddity::Nothing) => "null".to_owned(),
        Some(Oddity::OnlyAnnotation) => annotated("{}"),
        Some(Oddity::AsText) => Value::from(with_zone(text)).to_string(),
        Some(Oddity::NoObject) => Value::from(text.chars().take(text.chars().count() / 2).collect::<String>()).to_string(),
        Some(Oddity::UpperId) => annotated(&with_zone(text).replacen("\"Id\":", "\"ID\":", 1)),
        Some(Oddity::DynamicProperties) => annotated(&in_dictionary(&with_zone(text))),
        _ => annotated(&with_zone(text)),
    };
    envelope.pop();
    format!("{envelope},\"auditData\":{data}}}")
}

/// The same JSON with a line for each member and element.
pub(super) fn on_many_lines(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), String::with_capacity(text.len() * 2), 0);
    while at < bytes.len() {
        let end = if bytes[at] == b'"' { string(bytes, at) } else { at + 1 };
        let is_plain = !matches!(bytes[at], b'{' | b'[' | b',');
        // What is no ASCII stands in texts alone.
        out.push_str(&text[at..end]);
        out.push_str(if is_plain { "" } else { "\r\n  " });
        at = end;
    }
    out
}

/// With a `Z` behind CreationTime, where it is a text without one.
fn with_zone(text: &str) -> String {
    let name = "\"CreationTime\":\"";
    let Some(start) = text.find(name).map(|at| at + name.len()) else { return text.to_owned() };
    match text[start..].find('"').map(|length| start + length) {
        Some(end) if !text[..end].ends_with('Z') => format!("{}Z{}", &text[..end], &text[end..]),
        _ => text.to_owned(),
    }
}

/// The record with its rarer members in a dictionary, at the end.
fn in_dictionary(text: &str) -> String {
    let members: Vec<_> = members(text);
    let (common, rare): (Vec<_>, Vec<_>) = members.into_iter().partition(|(name, _)| COMMON.contains(&name.trim_matches('"')));
    let joined = |members: Vec<(&str, &str)>| members.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",");
    format!("{{{},\"dynamicProperties\":{{{}}}}}", joined(common), joined(rare))
}

/// The members of an object's text, names quoted as they stand.
fn members(text: &str) -> Vec<(&str, &str)> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 1);
    loop {
        at = space(bytes, at);
        if bytes.get(at) != Some(&b'"') {
            return found;
        }
        let name_end = string(bytes, at);
        let start = space(bytes, space(bytes, name_end) + 1);
        let end = value(bytes, start);
        found.push((&text[at..name_end], &text[start..end]));
        at = space(bytes, end);
        if bytes.get(at) != Some(&b',') {
            return found;
        }
        at += 1;
    }
}

/// The same text with annotations before the members that have one. Everything else stays as it is.
pub(super) fn annotated(text: &str) -> String {
    if depth(text) > MAX_DEPTH {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() * 3 / 2);
    annotate(text, space(text.as_bytes(), 0), true, &mut out);
    out
}

/// Copies a value with annotations; returns where it ends.
fn annotate(text: &str, start: usize, is_root: bool, out: &mut String) -> usize {
    let bytes = text.as_bytes();
    let (is_object, close) = match bytes.get(start) {
        Some(b'{') => (true, b'}'),
        Some(b'[') => (false, b']'),
        _ => {
            let end = value(bytes, start);
            out.push_str(&text[start..end]);
            return end;
        }
    };
    out.push(char::from(bytes[start]));
    let mut at = start + 1;
    if is_root {
        out.push_str(&format!("\"@odata.type\":\"{OBJECT}\""));
        if bytes.get(space(bytes, at)) != Some(&close) {
            out.push(',');
        }
    }
    loop {
        let next = space(bytes, at);
        out.push_str(&text[at..next]);
        at = next;
        match bytes.get(at) {
            None => return at,
            Some(&byte) if byte == close => {
                out.push(char::from(byte));
                return at + 1;
            }
            Some(b',') => {
                out.push(',');
                at += 1;
            }
            Some(b'"') if is_object => {
                let name_end = string(bytes, at);
                let value_start = space(bytes, space(bytes, name_end) + 1);
                if let Some(kind) = annotation(bytes, value_start) {
                    out.push_str(&format!("{}@odata.type\":\"{kind}\",", &text[at..name_end - 1]));
                }
                out.push_str(&text[at..value_start]);
                at = annotate(text, value_start, false, out);
            }
            Some(_) => at = annotate(text, at, false, out),
        }
    }
}

fn annotation(bytes: &[u8], start: usize) -> Option<&'static str> {
    match bytes.get(start)? {
        b'[' => Some(LIST),
        b'-' | b'0'..=b'9' => {
            let number = &bytes[start..value(bytes, start)];
            Some(if number.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) { "#Double" } else { "#Int64" })
        }
        _ => None,
    }
}

fn depth(text: &str) -> usize {
    let (mut depth, mut max) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        max = max.max(depth);
    }
    max
}

fn space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where a text ends that begins here.
fn string(bytes: &[u8], start: usize) -> usize {
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

/// Where a value ends that begins here.
fn value(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start) {
        Some(b'"') => string(bytes, start),
        Some(b'{' | b'[') => {
            let (mut at, mut depth) = (start, 0_usize);
            while at < bytes.len() {
                match bytes[at] {
                    b'"' => {
                        at = string(bytes, at);
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

/// Some of the names; where none is known the number stands for itself.
fn record_type(number: &Value) -> String {
    let name = match number.as_i64() {
        Some(1) => "ExchangeAdmin",
        Some(2) => "ExchangeItem",
        Some(4) => "SharePoint",
        Some(6) => "SharePointFileOperation",
        Some(8) => "AzureActiveDirectory",
        Some(15) => "AzureActiveDirectoryStsLogon",
        Some(25) => "MicrosoftTeams",
        Some(50) => "ExchangeItemAggregated",
        Some(295) => "AuditSearch",
        _ => return number.to_string(),
    };
    name.to_owned()
}

fn user_type(number: &Value) -> &'static str {
    match number.as_i64() {
        Some(2) => "Admin",
        Some(3) => "DcAdmin",
        Some(4) => "System",
        Some(5) => "Application",
        _ => "Regular",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_stand_before_numbers_and_lists_and_nothing_else_changes() {
        let text = r#"{"Id":"a","RecordType":6,"List":[{"N": 1.5}, "x\"[" ],"O":{"B":true}}"#;
        let expected = concat!(
            r##"{"@odata.type":"#microsoft.graph.security.defaultAuditData","Id":"a","RecordType@odata.type":"#Int64","RecordType":6,"##,
            r##""List@odata.type":"#Collection(microsoft.graph.security.defaultAuditData)","List":[{"N@odata.type":"#Double","N": 1.5}, "x\"[" ],"##,
            r##""O":{"B":true}}"##
        );
        assert_eq!(annotated(text), expected);
        assert_eq!(annotated("{}"), r##"{"@odata.type":"#microsoft.graph.security.defaultAuditData"}"##);
    }
}
