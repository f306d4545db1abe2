//! The queue message, a JSON array of content blobs to fetch: encoding, decoding and packing. [`crate::queue`] sends it; the host
//! receives it.

mod pack;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::pack::pack;
use crate::{clock::rfc3339, limits::HAND_MADE_LIFE, management_api::ContentBlob, workload::Workload};

/// Most text in one message, before base64: the queue takes 64 KiB of base64.
/// <https://learn.microsoft.com/rest/api/storageservices/put-message>
pub const MAX_TEXT: usize = 48 * 1024;

/// One content blob on the queue. Everything but the URI may be missing, where an operator put it there by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// contentUri.
    pub uri: String,
    /// Content type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// contentId.
    #[serde(default)]
    pub id: String,
    /// contentCreated.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub created: Option<DateTime<Utc>>,
    /// contentExpiration.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub expires: Option<DateTime<Utc>>,
    /// The number of times that it was put off.
    #[serde(default)]
    pub attempt: u32,
    /// The tenant that listed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// The reason why a message is not understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "the queue message is {found}; expected a JSON array of {{\"uri\",\"type\",\"id\",\"created\",\"expires\",\"attempt\"}} or of content URIs"
)]
pub struct NotABatch {
    found: String,
}

impl Item {
    /// An item of a blob in a tenant's listing, as it is queued for the first time.
    #[must_use]
    pub fn listed(workload: Workload, blob: &ContentBlob, tenant: &str) -> Self {
        Self {
            uri: blob.content_uri.clone(),
            workload: Some(workload),
            id: blob.content_id.clone(),
            created: Some(blob.content_created),
            expires: Some(blob.content_expiration),
            attempt: 0,
            tenant: Some(tenant.to_owned()),
        }
    }

    /// A bare URI: the contentId is its last segment, which in its present form names content type and time as well
    /// (`start$end$audit_exchange$Audit_Exchange$region`, where contentCreated is the end); what it does not tell stays
    /// unknown.
    #[must_use]
    fn bare(uri: String) -> Self {
        let path = uri.split(['?', '#']).next().unwrap_or_default();
        let id = percent_encoding::percent_decode_str(path.rsplit('/').next().unwrap_or_default()).decode_utf8_lossy().into_owned();
        let pieces: Vec<&str> = id.split('$').collect();
        let workload = pieces.iter().find_map(|piece| piece.replace('_', ".").parse().ok());
        let created = pieces.get(1).and_then(|end| {
            let digits: String = end.chars().filter(char::is_ascii_digit).take(17).collect();
            chrono::NaiveDateTime::parse_from_str(&digits, "%Y%m%d%H%M%S%3f").ok().map(|at| at.and_utc())
        });
        Self { uri, workload, id, created, expires: None, attempt: 0, tenant: None }
    }

    /// The item with an end: one that tells no expiry of its own is tried for seven days after its message was put.
    #[must_use]
    pub fn put_at(self, put: DateTime<Utc>) -> Self {
        Self { expires: self.expires.or(Some(put + HAND_MADE_LIFE)), ..self }
    }

    /// The time under whose hour it is journalled: contentCreated, or else when its first message was put, which its expiry
    /// tells. So all that is said of it stands in one place.
    #[must_use]
    pub fn journal_time(&self) -> Option<DateTime<Utc>> {
        self.created.or_else(|| self.expires.map(|expires| expires - HAND_MADE_LIFE))
    }

    /// The content type's name, for paths and reports.
    #[must_use]
    pub fn workload_name(&self) -> &'static str {
        self.workload.map_or("unknown", Workload::as_str)
    }
}

/// The message's text.
///
/// # Errors
/// None that can occur; serialisation is fallible in name.
pub fn encode(items: &[Item]) -> serde_json::Result<String> {
    serde_json::to_string(items)
}

/// Reads a message: an array of items, of bare URIs, or of both.
///
/// # Errors
/// Says what was found instead, without repeating it.
pub fn decode(text: &str) -> Result<Vec<Item>, NotABatch> {
    let found = |found: &str| NotABatch { found: found.to_owned() };
    let elements = match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Value::Array(elements)) => elements,
        Ok(Value::Object(_)) => return Err(found("a JSON object")),
        Ok(_) => return Err(found("a JSON value that is no array")),
        Err(_) => return Err(found(&format!("{} bytes that are no JSON", text.len()))),
    };
    elements
        .into_iter()
        .enumerate()
        .map(|(at, element)| item(element).ok_or_else(|| found(&format!("an array whose element {at} is neither an item nor a URI"))))
        .collect()
}

fn item(element: Value) -> Option<Item> {
    match element {
        Value::String(uri) if !uri.trim().is_empty() => Some(Item::bare(uri.trim().to_owned())),
        Value::Object(_) => {
            let item: Item = serde_json::from_value(element).ok()?;
            // An item without an id is a bare URI in other clothes.
            let bare = Item::bare(item.uri.clone());
            Some(Item {
                id: if item.id.is_empty() { bare.id } else { item.id },
                workload: item.workload.or(bare.workload),
                created: item.created.or(bare.created),
                ..item
            })
        }
        _ => None,
    }
}

/// Times in a message: RFC 3339, milliseconds.
mod time {
    use super::{DateTime, Utc, rfc3339};
    use crate::clock::parse_utc;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.serialize_str(&rfc3339(*at)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse_utc(&text).ok_or_else(|| serde::de::Error::custom("no time"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::parse_utc;

    #[test]
    fn a_message_has_the_documented_fields() {
        let item = Item {
            uri: "https://manage.office.com/api/v1.0/t/activity/feed/audit/a".to_owned(),
            workload: Some(Workload::Exchange),
            id: "a".to_owned(),
            created: parse_utc("2026-11-20T10:00:00Z"),
            expires: parse_utc("2026-11-27T10:00:00Z"),
            attempt: 2,
            tenant: Some("0873ee4d-d342-44f2-8961-74c442a2fad2".to_owned()),
        };
        let text = encode(std::slice::from_ref(&item)).unwrap();
        assert_eq!(
            text,
            r#"[{"uri":"https://manage.office.com/api/v1.0/t/activity/feed/audit/a","type":"Audit.Exchange","id":"a","created":"2026-11-20T10:00:00.000Z","expires":"2026-11-27T10:00:00.000Z","attempt":2,"tenant":"0873ee4d-d342-44f2-8961-74c442a2fad2"}]"#
        );
        assert_eq!(decode(&text).unwrap(), [item]);
    }

    #[test]
    fn bare_uris_tell_what_their_content_id_tells() {
        let uri = "https://manage.office.com/api/v1.0/t/activity/feed/audit/20201212000045238027763$20201212002126942044256$audit_exchange$Audit_Exchange$na0017";
        let items = decode(&format!("[{uri:?}]")).unwrap();
        assert_eq!(items[0].workload, Some(Workload::Exchange));
        assert_eq!(items[0].created, parse_utc("2020-12-12T00:21:26.942Z"));
        assert!(items[0].id.starts_with("20201212000045238027763$"));
        let opaque = decode(r#"["https://manage.office.com/api/v1.0/t/activity/feed/audit/4926"]"#).unwrap();
        assert_eq!((opaque[0].workload, opaque[0].created, opaque[0].id.as_str()), (None, None, "4926"));
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected_and_without_being_repeated() {
        for text in
            ["", "hello", "{}", "\"text\"", "3", "null", "[1]", "[\"\"]", "[{\"id\":\"x\"}]", "[{\"uri\":\"u\",\"type\":\"Audit.Mars\"}]"]
        {
            let error = decode(text).unwrap_err().to_string();
            assert!(error.contains("expected a JSON array"), "{text}: {error}");
            assert!(!error.contains("hello"), "{error}");
        }
    }
}
