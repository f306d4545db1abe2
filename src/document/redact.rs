//! Takes the values that data loss prevention matched (card numbers, passwords, health data) out of a record, or puts keyed
//! tokens in their place. Pure.
//!
//! A record names them `DetectedValues`: in Microsoft's schema below
//! `PolicyDetails[].Rules[].ConditionsMatched.SensitiveInformation[].SensitiveInformationDetections`, and for endpoints, in no
//! document, below `EndpointMetaData.SensitiveInfoTypeData[].SensitiveInformationDetectionsInfo`. Each element holds the matched
//! value and an excerpt of the text around it. Counts, types and confidence stand beside them and stay.
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#dlp-schema>

use std::{borrow::Cow, fmt, fmt::Write as _, sync::LazyLock};

use hmac::{Hmac, Mac};
use memchr::memmem;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use super::fields::{Field, Fields, text};
use crate::config::DlpValues;

/// The name and version of this rule, as documents and tokens bear it.
pub const RULE: &str = "dlp1";

/// Texts in texts that are looked into. What lies deeper is taken out whole.
const MAX_TEXTS: usize = 8;
/// Levels that are looked into, as many as a document can have. What lies deeper keeps its depth and nothing else.
const MAX_LEVELS: usize = 128;
/// Bytes of a token's digest: enough that no two of a tenant's values share one.
const DIGEST_BYTES: usize = 16;

/// Treatment of matched values.
#[derive(Clone, Copy, Debug)]
pub enum Treatment {
    /// They are taken out.
    Drop,
    /// Each becomes `dlp1:<key id>:<digest>`, equal for equal values of one type under one key. What stands around it is taken out.
    Hash(HashKey),
    /// The record stays as it is.
    Keep,
}

impl Treatment {
    /// As the settings have it, for a tenant.
    #[must_use]
    pub fn new(values: &DlpValues, tenant: &str) -> Self {
        match values {
            DlpValues::Drop => Self::Drop,
            DlpValues::Hash(secret) => Self::Hash(HashKey::new(secret.secret(), tenant)),
            DlpValues::Keep => Self::Keep,
        }
    }
}

/// A tenant's key for tokens.
#[derive(Clone, Copy)]
pub struct HashKey {
    key: [u8; 32],
    id: [u8; 4],
}

impl HashKey {
    /// Derives the key of a tenant, so that one secret used for two tenants gives tokens that cannot be compared.
    #[must_use]
    pub fn new(secret: &str, tenant: &str) -> Self {
        let key = digest(secret.as_bytes(), &[RULE, &tenant.to_ascii_lowercase()]);
        let mut id = [0; 4];
        id.copy_from_slice(&digest(&key, &["key id"])[..4]);
        Self { key, id }
    }

    fn token(&self, kind: &str, value: &str) -> String {
        let mut token = format!("{RULE}:");
        hex(&mut token, &self.id);
        token.push(':');
        hex(&mut token, &digest(&self.key, &[&kind.to_lowercase(), &normalised(value)])[..DIGEST_BYTES]);
        token
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// A document's word on values that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Redacted {
    /// [`RULE`].
    pub rule: &'static str,
    /// Matched values that were taken out or hashed.
    pub values: usize,
}

/// Treats the matched values of a JSON text. `None`: it holds none, or they are kept.
pub(super) fn redact(json: &str, treatment: Treatment) -> Option<(String, Redacted)> {
    let key = match treatment {
        Treatment::Keep => return None,
        Treatment::Drop => None,
        Treatment::Hash(key) => Some(key),
    };
    let mut redaction = Redaction { key, values: 0 };
    let redacted = redaction.value(json, Scope::default())?;
    Some((redacted, Redacted { rule: RULE, values: redaction.values }))
}

/// True if a text may name matched values: in either letter case, or with letters escaped, which no sender does but every parser reads.
/// Nearly all records end here.
fn may_hold_values(json: &str) -> bool {
    let bytes = json.as_bytes();
    let [lower, upper, escape] = &*MARKS;
    lower.find(bytes).is_some()
        || upper.find(bytes).is_some()
        || escape.find_iter(bytes).any(|at| matches!(bytes.get(at + 4), Some(b'4'..=b'7')))
}

static MARKS: LazyLock<[memmem::Finder<'static>; 3]> = LazyLock::new(|| ["etect", "ETECT", "\\u00"].map(memmem::Finder::new));

/// Where a value stands.
#[derive(Clone, Copy, Default)]
struct Scope<'a> {
    /// The sensitive information type that the values around belong to.
    kind: &'a str,
    /// Inside `SensitiveInformationDetectionsInfo`: a text there is a matched value, whatever its name.
    is_detection: bool,
    levels: usize,
    texts: usize,
}

struct Redaction {
    key: Option<HashKey>,
    values: usize,
}

impl Redaction {
    /// A value without what it matched; `None` where it stays as it is.
    fn value(&mut self, json: &str, scope: Scope<'_>) -> Option<String> {
        if !scope.is_detection && !may_hold_values(json) {
            return None;
        }
        match json.as_bytes().first()? {
            b'{' | b'[' if scope.levels >= MAX_LEVELS => Some(self.give_up(&only_depth(json))),
            b'{' => self.object(json, scope),
            b'[' => self.array(json, scope),
            b'"' => self.text(json, scope),
            _ => None,
        }
    }

    fn object(&mut self, json: &str, scope: Scope<'_>) -> Option<String> {
        // A name that comes twice is treated twice: the first value is no field of the document, but stands in its text.
        let Some(fields) = Fields::all(json) else { return Some(self.give_up("{}")) };
        let kind = kind_of(&fields);
        let inner = Scope { kind: kind.as_deref().unwrap_or(scope.kind), levels: scope.levels + 1, ..scope };
        let members: Vec<_> = fields.iter().map(|field| self.member(field, inner)).collect();
        if members.iter().all(Option::is_none) {
            return None;
        }
        let mut object = String::with_capacity(json.len());
        for (field, redacted) in fields.iter().zip(&members) {
            object.push(if object.is_empty() { '{' } else { ',' });
            match &field.name {
                Cow::Borrowed(name) => object.extend(["\"", name, "\":"]),
                Cow::Owned(name) => object.extend([&quoted(name), ":"]),
            }
            object.push_str(redacted.as_deref().unwrap_or(field.value));
        }
        object.push('}');
        Some(object)
    }

    fn member(&mut self, field: &Field<'_>, scope: Scope<'_>) -> Option<String> {
        let value = field.value;
        if field.name.eq_ignore_ascii_case("DetectedValues") {
            return self.detected(value, scope);
        }
        let is_detection = field.name.eq_ignore_ascii_case("SensitiveInformationDetectionsInfo");
        if scope.is_detection && !is_detection && KINDS.iter().any(|kind| field.name.eq_ignore_ascii_case(kind)) {
            return None;
        }
        self.value(value, Scope { is_detection: scope.is_detection || is_detection, ..scope })
    }

    fn array(&mut self, json: &str, scope: Scope<'_>) -> Option<String> {
        let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) else { return Some(self.give_up("[]")) };
        let scope = Scope { levels: scope.levels + 1, ..scope };
        let redacted: Vec<_> = elements.iter().map(|element| self.value(element.get(), scope)).collect();
        if redacted.iter().all(Option::is_none) {
            return None;
        }
        let mut array = String::with_capacity(json.len());
        for (element, redacted) in elements.iter().zip(&redacted) {
            array.push(if array.is_empty() { '[' } else { ',' });
            array.push_str(redacted.as_deref().unwrap_or(element.get()));
        }
        array.push(']');
        Some(array)
    }

    /// A text: JSON in it is treated as if it stood there. What names matched values and is no whole JSON is cut off where it does.
    fn text(&mut self, json: &str, scope: Scope<'_>) -> Option<String> {
        // A text in a text may hold half of a surrogate pair.
        let Ok(content) = serde_json::from_str::<String>(json) else { return Some(self.give_up("\"\"")) };
        let inner = content.trim();
        if inner.starts_with(['{', '[', '"']) && scope.texts < MAX_TEXTS && serde_json::from_str::<&RawValue>(inner).is_ok() {
            let redacted = self.value(inner, Scope { texts: scope.texts + 1, levels: 0, ..scope })?;
            return Some(quoted(&redacted));
        }
        if scope.is_detection {
            return Some(self.one(&content, scope.kind));
        }
        let at = named_at(&content)?;
        self.values += 1;
        Some(quoted(&content[..at]))
    }

    /// All of a `DetectedValues`.
    fn detected(&mut self, json: &str, scope: Scope<'_>) -> Option<String> {
        if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(json) {
            let inner = text.trim();
            let is_json = inner.starts_with(['{', '[']) && serde_json::from_str::<&RawValue>(inner).is_ok();
            return match is_json {
                true => self.detected(inner, scope).map(|redacted| quoted(&redacted)),
                false => Some(self.one(&text, scope.kind)),
            };
        }
        let elements: Vec<&RawValue> = match json.as_bytes().first()? {
            b'[' => serde_json::from_str(json).unwrap_or_default(),
            _ => serde_json::from_str::<&RawValue>(json).into_iter().collect(),
        };
        if matches!(json, "null" | "[]") {
            return None;
        }
        let kept: Vec<_> = elements.iter().filter_map(|element| self.element(element, scope.kind)).collect();
        Some(format!("[{}]", kept.join(",")))
    }

    /// An element of `DetectedValues`: `{Name: value, Value: what stands around it}` as the service sends it, or
    /// `{Value: value, Context: …}` as its document says. Left out where values are dropped.
    fn element(&mut self, element: &RawValue, kind: &str) -> Option<String> {
        self.values += 1;
        let key = self.key?;
        let Some(fields) = Fields::all(element.get()) else {
            return Some(quoted(&key.token(kind, &text(element.get()).unwrap_or(Cow::Borrowed(element.get())))));
        };
        let find = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let value = if find("Context").is_some() { find("Value").or(find("Name")) } else { find("Name").or(find("Value")) }?;
        let token = key.token(kind, &text(value.value).unwrap_or(Cow::Borrowed(value.value)));
        Some(format!("{{{}:{}}}", quoted(&value.name), quoted(&token)))
    }

    /// The text in place of something that may hold values and that no parser takes.
    fn give_up(&mut self, empty: &str) -> String {
        self.values += 1;
        empty.to_owned()
    }

    /// One matched value that stands as a plain text.
    fn one(&mut self, value: &str, kind: &str) -> String {
        self.values += 1;
        quoted(&self.key.map_or(String::new(), |key| key.token(kind, value)))
    }
}

/// Members that name a sensitive information type, most exact first; they are no matched values.
const KINDS: [&str; 4] = ["SensitiveType", "SensitiveInfoTypeId", "SensitiveInformationTypeName", "SensitiveInfoTypeName"];

fn kind_of(fields: &[Field<'_>]) -> Option<String> {
    let find = |kind: &&str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(kind)).and_then(|field| text(field.value));
    KINDS.iter().find_map(find).map(Cow::into_owned)
}

/// Where a text that is no whole JSON names matched values, or begins to do so with escaped letters.
fn named_at(text: &str) -> Option<usize> {
    const NAMES: [&str; 2] = ["detectedvalues", "sensitiveinformationdetectionsinfo"];
    let first = |text: &str| {
        let lower = text.to_ascii_lowercase();
        NAMES.iter().filter_map(|name| lower.find(name)).min()
    };
    first(text).or_else(|| {
        let mut read = Cow::Borrowed(text);
        // Texts in texts have escapes of escapes.
        while read.contains('\\') {
            read = Cow::Owned(without_escapes(&read));
            if first(&read).is_some() {
                return text.find("\\u");
            }
        }
        None
    })
}

/// The text with one layer of escapes less: each `\uXXXX` of ASCII is its letter, and what stands behind another backslash stands for
/// itself.
fn without_escapes(text: &str) -> String {
    let (mut rest, mut read) = (text, String::with_capacity(text.len()));
    while let Some((before, escaped)) = rest.split_once('\\') {
        read.push_str(before);
        let byte = escaped.strip_prefix("u00").and_then(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).filter(u8::is_ascii);
        rest = match byte {
            Some(byte) => {
                read.push(char::from(byte));
                &escaped[5..]
            }
            None => {
                let mut letters = escaped.chars();
                read.extend(letters.next());
                letters.as_str()
            }
        };
    }
    read.push_str(rest);
    read
}

/// The same levels of brackets and nothing in them: what is too deep is left out later, by its depth.
fn only_depth(json: &str) -> String {
    let levels = super::trim::levels(json);
    "[".repeat(levels) + &"]".repeat(levels)
}

/// Spaces and dashes only group digits, and letter case tells nobody apart.
fn normalised(value: &str) -> String {
    value.chars().filter(|c| !c.is_whitespace() && *c != '-').flat_map(char::to_lowercase).collect()
}

/// HMAC-SHA256 over parts that cannot run into each other.
fn digest(key: &[u8], parts: &[&str]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String never fails.
        let _ = write!(out, "{byte:02x}");
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const CANARY: &str = "4111 1111 1111 1111";

    fn hash(secret: &str) -> Treatment {
        Treatment::Hash(HashKey::new(secret, "11111111-2222-3333-4444-555555555555"))
    }

    fn treated(record: &str, treatment: Treatment) -> (Value, usize) {
        match redact(record, treatment) {
            Some((text, redacted)) => (serde_json::from_str(&text).unwrap(), redacted.values),
            None => (serde_json::from_str(record).unwrap(), 0),
        }
    }

    fn dlp(detected: &Value) -> Value {
        json!({"Id": "a", "PolicyDetails": [{"PolicyName": "Cards", "Rules": [{"ConditionsMatched": {"SensitiveInformation": [{
            "Confidence": 85, "Count": 2, "SensitiveType": "50842eb7-edc8-4019-85dd-5a5c1f2bb085",
            "SensitiveInformationTypeName": "Credit Card Number",
            "SensitiveInformationDetections": {"DetectedValues": detected, "ResultsTruncated": false},
        }]}}]}]})
    }

    #[test]
    fn matched_values_are_dropped_and_what_counts_them_stays() {
        let detected =
            json!([{"Name": CANARY, "Value": format!("pay with {CANARY} please")}, {"Name": "5500 0000 0000 0004", "Value": "…"}]);
        assert_eq!(treated(&dlp(&detected).to_string(), Treatment::Drop), (dlp(&json!([])), 2));
    }

    #[test]
    fn equal_values_of_a_type_have_equal_tokens_under_one_key_alone() {
        let token = |record: &Value, treatment| {
            let (value, count) = treated(&record.to_string(), treatment);
            assert_eq!(count, 1);
            let detections =
                &value["PolicyDetails"][0]["Rules"][0]["ConditionsMatched"]["SensitiveInformation"][0]["SensitiveInformationDetections"];
            let element = detections["DetectedValues"][0].as_object().unwrap().clone();
            assert_eq!(element.len(), 1, "the text around a value is dropped: {element:?}");
            element.into_iter().next().unwrap().1.as_str().unwrap().to_owned()
        };
        let one = dlp(&json!([{"Name": CANARY, "Value": "context"}]));
        let spelled = dlp(&json!([{"Value": "4111-1111-1111-1111", "Context": "other"}]));
        let first = token(&one, hash("key one"));
        assert_eq!(first, token(&spelled, hash("key one")));
        assert!(first.starts_with("dlp1:") && first.len() == 5 + 8 + 1 + 32, "{first}");
        assert_ne!(first, token(&one, hash("key two")));
        assert_ne!(first[..13], token(&one, hash("key two"))[..13], "tokens tell their key");
        let mut other_type = one.clone();
        other_type["PolicyDetails"][0]["Rules"][0]["ConditionsMatched"]["SensitiveInformation"][0]["SensitiveType"] = json!("other");
        assert_ne!(first, token(&other_type, hash("key one")));
        let elsewhere = Treatment::Hash(HashKey::new("key one", "another tenant"));
        assert_ne!(first, token(&one, elsewhere));
    }

    #[test]
    fn a_record_that_is_kept_stays_byte_for_byte() {
        assert!(redact(&dlp(&json!([{"Name": CANARY}])).to_string(), Treatment::Keep).is_none());
    }

    /// A record in each form in which a matched value was seen, or could stand.
    fn forms(canary: &str) -> Vec<String> {
        let detected = json!([{"Name": canary, "Value": format!("before {canary} after")}]);
        let as_text = |value: &Value| Value::String(value.to_string());
        let escaped: String = canary.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
        vec![
            dlp(&detected).to_string(),
            dlp(&json!([{"Value": canary, "Context": format!("before {canary} after")}])).to_string(),
            dlp(&json!([canary])).to_string(),
            dlp(&json!(canary)).to_string(),
            dlp(&json!({"Name": canary})).to_string(),
            dlp(&as_text(&detected)).to_string(),
            dlp(&json!([[canary, {"x": {"y": canary}}]])).to_string(),
            json!({"EndpointMetaData": {"SensitiveInfoTypeData": [{"Count": 1, "SensitiveInformationDetectionsInfo": {"DetectedValues": detected}}]}}).to_string(),
            json!({"SensitiveInformationDetectionsInfo": [{"Matches": [canary], "More": {"Text": canary}}]}).to_string(),
            json!({"SensitiveInformationDetectionsInfo": canary}).to_string(),
            json!({"Data": as_text(&dlp(&detected))}).to_string(),
            json!({"Data": as_text(&json!({"Inner": as_text(&dlp(&detected))}))}).to_string(),
            json!({"Data": as_text(&as_text(&dlp(&detected)))}).to_string(),
            json!({"Data": format!("alert {}", dlp(&detected))}).to_string(),
            json!({"Data": dlp(&detected).to_string().trim_end_matches('}')}).to_string(),
            format!(r#"{{"X":{{"Detected\u0056alues":[{{"Name":"{escaped}"}}]}}}}"#),
            format!(r#"{{"DETECTEDVALUES":["{escaped}"]}}"#),
            format!(r#"{{"D\u0065tectedValues":["{escaped}"]}}"#),
            json!({"Data": format!(r#"{{"D\u0065tected\u0056alues":["{escaped}"]}}"#)}).to_string(),
            json!({"Data": format!(r#"not whole {{"D\u0065tected\u0056alues":["{canary}"]"#)}).to_string(),
            format!(r#"{{"DetectedValues":["{canary}"],"DetectedValues":null}}"#),
            format!(r#"{{"X":{{"DetectedValues":["{canary}"]}},"X":1}}"#),
            format!(r#"{{"X":{{"DetectedValues":["\ud800 {canary}"]}}}}"#),
            json!({"Data": format!(r#"{{"DetectedValues":["\ud800 {canary}"]}}"#)}).to_string(),
            format!(r#"{}{{"DetectedValues":["{canary}"]}}{}"#, r#"{"a":["#.repeat(100), "]}".repeat(100)),
        ]
    }

    #[test]
    fn no_form_lets_a_matched_value_through() {
        for form in forms(CANARY) {
            for treatment in [Treatment::Drop, hash("key")] {
                let (text, redacted) = redact(&form, treatment).unwrap_or_else(|| panic!("nothing was found in {form}"));
                assert!(redacted.values > 0, "{form}");
                assert!(serde_json::from_str::<&RawValue>(&text).is_ok(), "{form} became {text}");
                assert!(!text.contains("4111"), "{form} became {text}");
                assert!(!text.contains("\\u003"), "{form} became {text}");
            }
        }
    }

    #[test]
    fn what_only_sounds_like_it_stays_verbatim() {
        for record in [
            r#"{"Operation":"ThreatDetection","N":1.10,"T":"\u0041\u0027","Detections":[{"DetectedBy":"x"}]}"#,
            r#"{"DetectedValues":null,"X":[{"DetectedValues":[]}]}"#,
            r#"{"Path":"C:\\\\u0045","Data":"{\"Detection\":\"x\"}"}"#,
        ] {
            assert!(redact(record, Treatment::Drop).is_none(), "{record}");
        }
    }

    #[test]
    fn what_stands_around_matched_values_stays_verbatim() {
        let record = r#"{"A":1.10,"B":"\u0027 é","DetectedValues":["x"],"C":[ 1e2 ]}"#;
        let (text, _) = redact(record, Treatment::Drop).unwrap();
        assert_eq!(text, r#"{"A":1.10,"B":"\u0027 é","DetectedValues":[],"C":[ 1e2 ]}"#);
    }

    proptest! {
        #[test]
        fn a_canary_is_nowhere_whatever_it_is_made_of(canary in "[A-Za-z0-9\"\\\\ /é]{6,20}", form in 0_usize..25) {
            prop_assume!(canary.trim().len() > 5);
            let canary = format!("QQ{canary}ZZ");
            let form = json!({"Outer": serde_json::from_str::<Value>(&dlp(&json!([canary])).to_string()).unwrap(), "N": form}).to_string();
            let (text, _) = redact(&form, hash("key")).unwrap();
            prop_assert!(!text.contains("QQ") && !text.contains(&canary));
        }

        #[test]
        fn any_text_is_treated_or_left_alone(text in ".{0,60}") {
            let record = json!({"DetectedValuesOfX": text, "Y": format!("{{\"DetectedValues\":{text}}}")}).to_string();
            if let Some((text, _)) = redact(&record, Treatment::Drop) {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }
}
