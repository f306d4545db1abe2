//! The host's envelope: the JSON that the Functions host posts to a custom handler, and the JSON that it wants back.
//! <https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers#request-payload>

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::parse_utc;

/// The host's header that tells invocations apart.
pub const INVOCATION_ID: &str = "x-azure-functions-invocationid";

/// The host's request: one entry of `Data` a binding, and what it knows of the trigger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Payload {
    data: Map<String, Value>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// A queue message, as the host delivered it.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueMessage {
    /// Its text, as it was put on the queue.
    pub text: String,
    /// The queue's id of it; empty where the host did not say.
    pub id: String,
    /// The number of its deliveries, this one included; 1 if the host did not say.
    pub dequeue_count: u32,
    /// When it was put on the queue, by the queue's clock; none if the host did not say.
    pub inserted: Option<DateTime<Utc>>,
}

/// The request is not what a Functions host sends.
#[derive(Debug, thiserror::Error)]
#[error("the request is no invocation of a queue trigger: {0}")]
pub struct NotAnInvocation(String);

/// The answer that the host takes for success: always an object, since an empty answer or `null` is waited for until the time-out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reply {
    outputs: Map<String, Value>,
    logs: Vec<String>,
    return_value: Value,
}

impl Reply {
    /// Success, with a sentence for the function's own log, which a person reads who looks at one invocation in the portal.
    #[must_use]
    pub fn success(sentence: String) -> Self {
        Self { outputs: Map::new(), logs: vec![sentence], return_value: Value::Null }
    }
}

impl QueueMessage {
    /// Reads the envelope. The host encodes a message's text twice, as JSON text in a JSON string; the documentation's
    /// sample and hand-made tests encode it once or not at all, and are taken as well.
    ///
    /// # Errors
    /// The body is no envelope, or has no binding in it.
    pub fn read(body: &[u8]) -> Result<Self, NotAnInvocation> {
        let payload: Payload = serde_json::from_slice(body)
            .map_err(|error| NotAnInvocation(format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())))?;
        let bound = payload.data.get("msg").or_else(|| payload.data.values().next());
        let text = match bound.ok_or_else(|| NotAnInvocation("Data is empty".to_owned()))? {
            Value::String(encoded) => decoded(encoded),
            other => other.to_string(),
        };
        Ok(Self {
            text,
            id: text_of(payload.metadata.get("Id")).unwrap_or_default(),
            dequeue_count: text_of(payload.metadata.get("DequeueCount")).and_then(|count| count.parse().ok()).unwrap_or(1),
            inserted: text_of(payload.metadata.get("InsertionTime")).and_then(|at| parse_utc(&at)),
        })
    }
}

/// Metadata comes as a number, a string, or a string in a string.
fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(encoded) => Some(decoded(encoded)),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn decoded(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        QueueMessage::read(body.as_bytes()).unwrap().text
    }

    #[test]
    fn the_hosts_payloads_are_read_byte_for_byte() {
        assert_eq!(text(r#"{"Data":{"msg":"\"hello world\""},"Metadata":{}}"#), "hello world");
        assert_eq!(
            text(r#"{"Data":{"msg":"\"[\\\"https://a/1\\\",\\\"https://a/2\\\"]\""},"Metadata":{}}"#),
            r#"["https://a/1","https://a/2"]"#
        );
        let message = QueueMessage::read(
            br#"{"Data":{"msg":"\"[]\""},"Metadata":{"DequeueCount":"3","ExpirationTime":"2026-10-04T10:05:01+00:00",
            "Id":"\"800ae4b3-bdd2-4c08-badd-f08e5a34b865\"","InsertionTime":"2026-09-27T10:05:01+00:00",
            "PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","sys":{"MethodName":"StoreEvents"}}}"#,
        )
        .unwrap();
        assert_eq!(
            message,
            QueueMessage {
                text: "[]".to_owned(),
                id: "800ae4b3-bdd2-4c08-badd-f08e5a34b865".to_owned(),
                dequeue_count: 3,
                inserted: parse_utc("2026-09-27T10:05:01Z"),
            }
        );
    }

    #[test]
    fn leaner_forms_are_taken_as_well() {
        for body in [
            r#"{"Data":{"msg":"[\"https://a/1\"]"}}"#,
            r#"{"Data":{"msg":["https://a/1"]},"Metadata":{"DequeueCount":1}}"#,
            r#"{"Data":{"other":"\"[\\\"https://a/1\\\"]\""}}"#,
        ] {
            assert_eq!(text(body), r#"["https://a/1"]"#, "{body}");
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for body in ["", "[]", "{}", r#"{"Data":{}}"#, r#"{"Data":[]}"#] {
            assert!(QueueMessage::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
