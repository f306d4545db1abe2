//! What the tenant remembers of each request. Nothing here decides an answer.

use chrono::{DateTime, Utc};
use hyper::Method;

/// Which of the tenant's endpoints a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Entra's token endpoint.
    Token,
    /// App Service's managed identity endpoint.
    Identity,
    /// `subscriptions/list`
    ListSubscriptions,
    /// `subscriptions/start`
    StartSubscription,
    /// `subscriptions/stop`
    StopSubscription,
    /// `subscriptions/content`
    ListContent,
    /// `audit/{contentId}`
    FetchContent,
    /// POST of Graph's `security/auditLog/queries`
    CreateQuery,
    /// GET of the same
    ListQueries,
    /// GET of `queries/{id}`
    ReadQuery,
    /// DELETE of the same
    DeleteQuery,
    /// `queries/{id}/records`
    ListRecords,
    /// Anything else.
    Other,
}

impl Operation {
    /// The operation that a path names; of Graph's the method decides too.
    pub(super) fn of(path: &str, method: &Method) -> Self {
        let path = with_plain_key(path);
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments[..] {
            [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"] => Self::Token,
            ["msi", "token"] => Self::Identity,
            ["v1.0" | "beta", "security", "auditLog", "queries", ref rest @ ..] => match (rest, method.as_str()) {
                ([], "POST") => Self::CreateQuery,
                ([], "GET") => Self::ListQueries,
                ([_], "GET") => Self::ReadQuery,
                ([_], "DELETE") => Self::DeleteQuery,
                ([_, "records"], "GET") => Self::ListRecords,
                _ => Self::Other,
            },
            // The documented NextPageUri says v1 where everything else says v1.0.
            ["api", "v1.0" | "v1", _, "activity", "feed", group, name] => match (group, name) {
                ("subscriptions", "list") => Self::ListSubscriptions,
                ("subscriptions", "start") => Self::StartSubscription,
                ("subscriptions", "stop") => Self::StopSubscription,
                ("subscriptions", "content") => Self::ListContent,
                ("audit", _) => Self::FetchContent,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// A path of Graph's in which `queries('id')`, the quotes escaped, is written as `queries/id`.
pub(super) fn with_plain_key(path: &str) -> String {
    path.replace("queries(%27", "queries/").replace("%27)", "")
}

/// One request, as it came and as it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// HTTP method.
    pub method: Method,
    /// Path as it was sent, percent-encoding and all.
    pub path: String,
    /// Query parameters in their order, decoded.
    pub query: Vec<(String, String)>,
    /// The endpoint.
    pub operation: Operation,
    /// The content type asked for, or that of the blob fetched.
    pub content_type: Option<String>,
    /// PublisherIdentifier, where one was sent.
    pub publisher: Option<String>,
    /// Whether the bearer token was one that the API takes at that moment.
    pub authorised: bool,
    /// Whether any Authorization header was there.
    pub authorization_present: bool,
    /// Whether the client takes gzip.
    pub accepts_gzip: bool,
    /// HTTP status of the answer; 0 while there is none, and for a connection that was reset.
    pub status: u16,
    /// The tenant's time of arrival.
    pub at: DateTime<Utc>,
}

impl Call {
    /// A query parameter by name. The API does not mind the case of names.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
