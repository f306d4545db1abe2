//! What the service refuses and the emulator lets pass: a missing or wrong key, ids and TTLs that are not allowed, documents
//! nested too deeply. Sizes (2 MB, 100 operations) are the emulator's own rules. Pure functions of the request.

use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use hyper::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use super::EmulatedAccount;

/// The longest id, in bytes.
/// <https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits>
const MAX_ID_BYTES: usize = 1023;

/// The deepest nesting of objects and arrays, the document itself counted. Text is refused by the emulator's parser already,
/// and in a batch from 126 levels on; the SDK sends single documents in binary, which has no such parser.
/// <https://learn.microsoft.com/azure/cosmos-db/concepts-limits#per-item-limits>
const MAX_LEVELS: usize = 128;

/// Whether the request may come in: signed with the account's key, or bearing a token of Entra, which is taken at its word.
/// <https://learn.microsoft.com/rest/api/cosmos-db/access-control-on-cosmosdb-resources>
pub(super) fn is_authorized(account: &EmulatedAccount, method: &str, path: &str, headers: &HeaderMap) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(authorization) = header("authorization") else {
        return false;
    };
    let form = format!("token={authorization}");
    let Some((_, token)) = form_urlencoded::parse(form.as_bytes()).next() else {
        return false;
    };
    if token.starts_with("type=aad&ver=1.0&sig=") {
        return account.takes_tokens;
    }
    let Some(date) = header("x-ms-date").or_else(|| header("date")) else {
        return false;
    };
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    [path, &decoded].into_iter().any(|path| Some(&*token) == master_token(&account.key, method, path, date).as_deref())
}

/// The token that a request should bear.
fn master_token(key: &str, method: &str, path: &str, date: &str) -> Option<String> {
    let path = path.trim_matches('/');
    let segments: Vec<_> = path.split('/').collect();
    // An odd count names a feed: its type comes last, and its owner is what is signed.
    let (kind, link) = match segments.as_slice() {
        [owner @ .., kind] if segments.len() % 2 == 1 => (*kind, owner.join("/")),
        [.., kind, _] => (*kind, path.to_owned()),
        _ => ("", String::new()),
    };
    let signed = format!("{}\n{kind}\n{link}\n{}\n\n", method.to_lowercase(), date.to_lowercase());
    let signature = hmac_sha256(&signed, &Secret::new(key.to_owned())).ok()?;
    Some(format!("type=master&ver=1.0&sig={signature}"))
}

/// What is looked at in a document; the rest is skipped, not built.
#[derive(Deserialize)]
pub(super) struct Document {
    #[serde(default)]
    id: Value,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Value>,
}

/// Tells `"ttl": null`, which is refused, from no `ttl`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Document {
    /// Why the service refuses the document; `None` if it does not.
    pub(super) fn fault(&self) -> Option<String> {
        id_fault(&self.id).or_else(|| ttl_fault(self.ttl.as_ref()?))
    }
}

/// Why the service refuses a document's shape.
pub(super) fn nesting_fault(document: &Value) -> Option<String> {
    let mut level = vec![document];
    for _ in 0..=MAX_LEVELS {
        level = level.into_iter().flat_map(children).collect();
        if level.is_empty() {
            return None;
        }
    }
    Some(format!("The document is nested deeper than {MAX_LEVELS} levels."))
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

/// <https://learn.microsoft.com/dotnet/api/microsoft.azure.documents.resource.id#remarks>
fn id_fault(id: &Value) -> Option<String> {
    let Value::String(id) = id else {
        return Some("The input content is invalid because the required property 'id' is missing or no string.".to_owned());
    };
    match id {
        id if id.is_empty() => Some("The id is empty.".to_owned()),
        id if id.len() > MAX_ID_BYTES => Some(format!("The id has {} bytes; the most is {MAX_ID_BYTES}.", id.len())),
        id if id.contains(['/', '\\', '?', '#']) => Some(format!("The id '{id}' holds one of the characters / \\ ? #.")),
        id if id.ends_with(' ') => Some(format!("The id '{id}' ends in a space.")),
        _ => None,
    }
}

/// <https://learn.microsoft.com/azure/cosmos-db/nosql/time-to-live#time-to-live-for-containers-and-items>
fn ttl_fault(ttl: &Value) -> Option<String> {
    let allowed = ttl.as_i64().is_some_and(|seconds| seconds == -1 || (1..=i64::from(i32::MAX)).contains(&seconds));
    (!allowed).then(|| format!("The input ttl '{ttl}' is invalid. Ensure to provide a nonzero positive integer or -1."))
}

/// One operation of a transactional batch.
#[derive(Deserialize)]
pub(super) struct Operation {
    #[serde(rename = "resourceBody")]
    pub(super) document: Option<Document>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(document: &str) -> Option<String> {
        serde_json::from_str::<Document>(document).ok()?.fault()
    }

    #[test]
    fn refuses_ids_and_ttls_that_the_service_refuses() {
        for good in [r#"{"id":"a b%2F"}"#, r#"{"id":"a","ttl":-1}"#, r#"{"id":"a","ttl":86400}"#] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            r#"{}"#,
            r#"{"id":7}"#,
            r#"{"id":""}"#,
            r#"{"id":"a/b"}"#,
            r#"{"id":"a\\b"}"#,
            r#"{"id":"a?"}"#,
            r##"{"id":"#"}"##,
            r#"{"id":"a "}"#,
            r#"{"id":"a","ttl":0}"#,
            r#"{"id":"a","ttl":-2}"#,
            r#"{"id":"a","ttl":1.5}"#,
            r#"{"id":"a","ttl":"60"}"#,
            r#"{"id":"a","ttl":null}"#,
            r#"{"id":"a","ttl":2147483648}"#,
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
