//! The Activity API's words: listings, subscriptions and errors as they stand on the wire. [`super::client`] sends and retries.
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

use crate::{clock::parse_utc, workload::Workload};

/// One content blob of a listing. Only the fields that are used; the content type is known from the request.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlob {
    /// Where its records are fetched.
    pub content_uri: String,
    /// Its identity: opaque, compared whole.
    pub content_id: String,
    /// When it became available, which is not when its events happened.
    #[serde(deserialize_with = "utc")]
    pub content_created: DateTime<Utc>,
    /// Until when it can be fetched.
    #[serde(deserialize_with = "utc")]
    pub content_expiration: DateTime<Utc>,
}

/// One entry of `subscriptions/list`. An entry without a status occurs in the documentation's own sample.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The content type's name.
    pub content_type: String,
    /// `enabled` or `disabled`.
    #[serde(default)]
    pub status: Option<String>,
}

impl Subscription {
    /// True if content of this workload is being made available.
    #[must_use]
    pub fn is_on(&self, workload: Workload) -> bool {
        self.content_type.eq_ignore_ascii_case(workload.as_str())
            && self.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("enabled"))
    }
}

/// The body of an answer other than success: `{"error":{"code":"AF20022","message":"…"}}`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServiceError {
    /// Such as `AF20022`; empty where the service gave none.
    #[serde(default)]
    pub code: String,
    /// For people.
    #[serde(default)]
    pub message: String,
}

impl ServiceError {
    /// Reads an error body, whatever came: the API's form, the one without the outer `error`, or anything else, of which
    /// nothing is kept because it may hold record content.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: ServiceError,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Plain {
            message: String,
        }
        serde_json::from_slice::<Outer>(body)
            .map(|outer| outer.error)
            .or_else(|_| serde_json::from_slice::<Plain>(body).map(|plain| Self { message: plain.message, ..Self::default() }))
            .or_else(|_| serde_json::from_slice(body))
            .unwrap_or_default()
    }
}

fn utc<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_utc(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_entry_is_read_as_documented() {
        let blob: ContentBlob = serde_json::from_str(
            r#"{"contentType":"Audit.SharePoint","contentId":"492638008028$492638008028$f28ab78ad40140608012736e373933ebspo2015043022$4a81a7c326fc4aed89c62e6039ab833b$04",
            "contentUri":"https://manage.office.com/api/v1.0/x/activity/feed/audit/4926","contentCreated":"2015-05-23T17:35:00.000Z","contentExpiration":"2015-05-30T17:35:00.000Z"}"#,
        )
        .unwrap();
        assert_eq!(blob.content_created.to_rfc3339(), "2015-05-23T17:35:00+00:00");
        assert!(blob.content_id.ends_with("$04"));
    }

    #[test]
    fn an_error_is_read_in_each_form_and_content_is_never_kept() {
        assert_eq!(ServiceError::read(br#"{"error":{"code":"AF20022","message":"none"}}"#).code, "AF20022");
        assert_eq!(ServiceError::read(br#"{"code":"AF50000","message":"m"}"#).code, "AF50000");
        assert_eq!(ServiceError::read(br#"{"Message":"Authorization has been denied"}"#).message, "Authorization has been denied");
        assert_eq!(ServiceError::read(b"<html>user@example</html>").message, "");
    }
}
