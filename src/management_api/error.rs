//! The errors of a call to the API, and the one place where an answer is judged.

use std::time::Duration;

use super::{
    advice::{Advice, advice, explain},
    wire::ServiceError,
};

/// The reason why a call got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// The address is not the configured API root's, so nothing was sent.
    #[error("refused to call {address}: it is outside the configured API root and tenant {root}")]
    Foreign {
        /// As far as it may be shown.
        address: String,
        /// Root and tenant that are configured.
        root: String,
    },
    /// No token could be had.
    #[error("no access token for the Office 365 Management API")]
    Token(#[source] azure_core::Error),
    /// The service answered, and it was not success.
    #[error("{what}: HTTP {status} {}{}", .error.code, explain(.error))]
    Service {
        /// The call, in words.
        what: String,
        /// HTTP status.
        status: u16,
        /// The body's word on it.
        error: ServiceError,
        /// The time for which the service asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The connection failed before or within an answer.
    #[error("{what}: the connection failed")]
    Connection {
        /// The call, in words.
        what: String,
        /// The error of reqwest, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// More came than is taken.
    #[error("{what}: the answer has more than {limit}")]
    TooLarge {
        /// The call, in words.
        what: String,
        /// The largest that is taken.
        limit: String,
    },
    /// An answer that should have been JSON of a known form is not.
    #[error("{what}: the answer is not what the API documents: {reason} ({length} bytes of {content_type})")]
    Body {
        /// The call, in words.
        what: String,
        /// The fault, without any of the content.
        reason: String,
        /// Bytes read until that was clear.
        length: usize,
        /// The answer's Content-Type.
        content_type: String,
    },
}

/// The remedy for an [`ActivityError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It passes: try again, after this long if the service said so.
    Passing(Option<Duration>),
    /// It stays: the content cannot be had, now or ever. The word is the journal's reason.
    Lasting(&'static str),
    /// It stays if it is said again an hour later: a wrong setting brings the same answer. The word is the journal's reason.
    Doubtful(&'static str),
    /// The content is another tenant's, cloud's or root's, as the settings stand.
    Foreign,
    /// The token was refused; a new one may be taken.
    Unauthorised,
    /// A person has to change something; the work stays where it is until then.
    Refused,
}

impl ActivityError {
    /// The one place where an answer is judged: by the AF code first, by the HTTP status second.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let (status, error, retry_after) = match self {
            Self::Foreign { .. } => return Remedy::Foreign,
            Self::Token(_) | Self::TooLarge { .. } => return Remedy::Refused,
            Self::Connection { .. } | Self::Body { .. } => return Remedy::Passing(None),
            Self::Service { status, error, retry_after, .. } => (*status, error, *retry_after),
        };
        match error.code.as_str() {
            // Throttled; it comes as 403 as well, and at the start of a subscription without the letters.
            "AF429" | "429" => Remedy::Passing(retry_after),
            code if code.starts_with("AF500") => Remedy::Passing(retry_after),
            "AF20050" => Remedy::Doubtful("content does not exist"),
            "AF20051" => Remedy::Lasting("content expired"),
            "AF20052" => Remedy::Doubtful("content id invalid"),
            code if code.starts_with("AF") => Remedy::Refused,
            _ => match status {
                401 => Remedy::Unauthorised,
                408 | 429 | 500..=599 => Remedy::Passing(retry_after),
                // A success without the promised body, from a proxy or a dropped connection.
                200..=299 => Remedy::Passing(retry_after),
                // A bare 404 among them: the API itself would say AF20050, so it is a gateway's, and content is not given up for it.
                _ => Remedy::Refused,
            },
        }
    }

    /// The AF code, or the HTTP status where there is none: what a journal or a log line names.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            Self::Service { error, .. } if !error.code.is_empty() => Some(error.code.clone()),
            Self::Service { status, .. } => Some(status.to_string()),
            _ => None,
        }
    }

    /// Advice, if this is a refusal that people are known to be stuck at.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Service { error, .. } => advice(error),
            _ => None,
        }
    }

    /// True if the service says that calls come too fast.
    pub(super) fn is_throttling(&self) -> bool {
        matches!(self, Self::Service { status, error, .. } if *status == 429 || ["AF429", "429"].contains(&error.code.as_str()))
    }

    pub(super) fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Service { error, .. } if error.code == code)
    }
}

/// An answer whose body is not what was promised.
#[must_use]
pub fn body_error(what: String, reason: &str, length: usize, content_type: &str) -> ActivityError {
    ActivityError::Body { what, reason: reason.to_owned(), length, content_type: content_type.to_owned() }
}

pub(super) fn connection_error(what: &str, error: reqwest::Error) -> ActivityError {
    ActivityError::Connection { what: what.to_owned(), source: error.without_url() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(status: u16, code: &str, message: &str) -> ActivityError {
        let error = ServiceError { code: code.to_owned(), message: message.to_owned() };
        ActivityError::Service { what: "list".to_owned(), status, error, retry_after: None }
    }

    #[test]
    fn the_code_in_the_body_is_believed_before_the_status() {
        for (status, code, expected) in [
            (403, "AF429", Remedy::Passing(None)),
            (403, "429", Remedy::Passing(None)),
            (200, "AF50000", Remedy::Passing(None)),
            (500, "AF50005", Remedy::Passing(None)),
            (400, "AF20051", Remedy::Lasting("content expired")),
            (500, "AF20050", Remedy::Doubtful("content does not exist")),
            (400, "AF20052", Remedy::Doubtful("content id invalid")),
            (400, "AF20022", Remedy::Refused),
            (401, "AF10001", Remedy::Refused),
            (401, "", Remedy::Unauthorised),
            (404, "", Remedy::Refused),
            (429, "", Remedy::Passing(None)),
            (503, "", Remedy::Passing(None)),
            (302, "", Remedy::Refused),
        ] {
            assert_eq!(service(status, code, "").remedy(), expected, "{status} {code}");
        }
    }

    #[test]
    fn an_error_says_the_next_step() {
        let off = service(400, "", "Tenant 0873ee4d-d342-44f2-8961-74c442a2fad2 does not exist.").to_string();
        assert!(off.contains("turn on auditing"), "{off}");
    }
}
