//! The Activity API's words: content types, listings, subscriptions and errors as they stand on the wire. Sending and
//! retrying are next door.
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};

/// A content type of the API, which this project calls a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Workload {
    /// Entra ID: sign-ins and directory changes.
    #[serde(rename = "Audit.AzureActiveDirectory")]
    AzureActiveDirectory,
    /// Exchange: mailboxes and administration.
    #[serde(rename = "Audit.Exchange")]
    Exchange,
    /// SharePoint and OneDrive.
    #[serde(rename = "Audit.SharePoint")]
    SharePoint,
    /// Everything else that is audited.
    #[serde(rename = "Audit.General")]
    General,
    /// Data loss prevention, all workloads.
    #[serde(rename = "DLP.All")]
    Dlp,
}

impl Workload {
    /// All five, in the order that reports have them.
    pub const ALL: [Self; 5] = [Self::AzureActiveDirectory, Self::Exchange, Self::SharePoint, Self::General, Self::Dlp];

    /// The name on the wire, in settings, state and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AzureActiveDirectory => "Audit.AzureActiveDirectory",
            Self::Exchange => "Audit.Exchange",
            Self::SharePoint => "Audit.SharePoint",
            Self::General => "Audit.General",
            Self::Dlp => "DLP.All",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|workload| workload.as_str().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|workload| workload.as_str()).collect();
            format!("names {name:?}, which is none of {}", known.join(", "))
        })
    }
}

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
    /// Whether content of this workload is being made available.
    #[must_use]
    pub fn is_on(&self, workload: Workload) -> bool {
        self.content_type.eq_ignore_ascii_case(workload.as_str())
            && self.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("enabled"))
    }
}

/// What an answer other than success says: `{"error":{"code":"AF20022","message":"…"}}`.
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

/// A time as the API writes it: RFC 3339, or without a zone, which is UTC.
#[must_use]
pub fn parse_utc(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc()))
        .ok()
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
