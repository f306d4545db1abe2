//! The Activity API client: subscriptions, listings and content blobs, with the one retry loop and the one place where an
//! answer is judged. It knows nothing of queues, journals or documents.
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>

mod pace;
mod wire;

use std::{sync::Arc, time::Duration};

use azure_core::{credentials::Secret, http::Transport};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, TryStreamExt};
use reqwest::{Client, Method, Response, StatusCode, header};
use tokio::time::{Instant, sleep};
use url::Url;

use self::pace::Pace;
pub use self::wire::{ContentBlob, ServiceError, Subscription, Workload, parse_utc};
use crate::{
    azure::identity::{ActivityToken, Claims},
    clock::Clock,
    config::Config,
};

/// How far back content can be listed. <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#list-available-content>
pub const LISTABLE: TimeDelta = TimeDelta::days(7);

/// The newest seconds are left out of a listing: it may still be settling there.
pub const SETTLE: TimeDelta = TimeDelta::seconds(5);
/// A machine's clock that is further from the service's is worth a word: far beyond it, signatures and tokens are refused.
pub const SKEW: TimeDelta = TimeDelta::seconds(60);

/// Tries of one call, the first included: a hiccup is bridged here, anything longer is the queue's or the next tick's.
const TRIES: u32 = 4;
/// Pause before the second try; doubled before each further one, and jittered.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// A `Retry-After` beyond this is not waited for, since waiting costs compute: the caller puts the work off instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pages of one listing beyond which something must be wrong.
const MOST_PAGES: usize = 10_000;
/// Most of an error body that is read.
const ERROR_BODY: usize = 16 * 1024;

/// Why a call got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ActivityError {
    /// The address is not the configured API root's, so nothing was sent.
    #[error("refused to call {0}: it is outside the configured API root and tenant")]
    Foreign(String),
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
        /// How long the service asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The connection failed before or within an answer.
    #[error("{what}: the connection failed")]
    Connection {
        /// The call, in words.
        what: String,
        /// What reqwest says, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that should have been JSON of a known form is not.
    #[error("{what}: the answer is not what the API documents: {reason} ({length} bytes of {content_type})")]
    Body {
        /// The call, in words.
        what: String,
        /// What is wrong, without any of the content.
        reason: String,
        /// Bytes read until that was clear.
        length: usize,
        /// The answer's Content-Type.
        content_type: String,
    },
}

/// What to do about an [`ActivityError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It passes: try again, after this long if the service said so.
    Passing(Option<Duration>),
    /// It stays: the content cannot be had, now or ever. The word is the journal's reason.
    Lasting(&'static str),
    /// The token was refused; a new one may be taken.
    Unauthorised,
    /// A person has to change something; the work stays where it is until then.
    Refused,
}

impl ActivityError {
    /// The one place where an answer is judged: by the AF code first, by the HTTP status second.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let (status, error, retry_after) = match self {
            Self::Foreign(_) => return Trouble::Lasting("foreign uri"),
            Self::Token(_) => return Trouble::Refused,
            Self::Connection { .. } | Self::Body { .. } => return Trouble::Passing(None),
            Self::Service { status, error, retry_after, .. } => (*status, error, *retry_after),
        };
        match error.code.as_str() {
            // Throttled; it comes as 403 as well, and at the start of a subscription without the letters.
            "AF429" | "429" => Trouble::Passing(retry_after),
            code if code.starts_with("AF500") => Trouble::Passing(retry_after),
            "AF20050" => Trouble::Lasting("content does not exist"),
            "AF20051" => Trouble::Lasting("content expired"),
            "AF20052" => Trouble::Lasting("content id invalid"),
            code if code.starts_with("AF") => Trouble::Refused,
            _ => match status {
                401 => Trouble::Unauthorised,
                408 | 429 | 500..=599 => Trouble::Passing(retry_after),
                // A success without the promised body, from a proxy or a dropped connection.
                200..=299 => Trouble::Passing(retry_after),
                // A bare 404 among them: the API itself would say AF20050, so it is a gateway's, and content is not given up for it.
                _ => Trouble::Refused,
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

    /// What is the matter and what to do, where people are known to be stuck.
    #[must_use]
    pub fn known(&self) -> Option<Known> {
        match self {
            Self::Service { error, .. } => known(error),
            _ => None,
        }
    }

    /// Whether the service says that calls come too fast.
    fn is_throttling(&self) -> bool {
        matches!(self, Self::Service { status, error, .. } if *status == 429 || ["AF429", "429"].contains(&error.code.as_str()))
    }

    fn is_code(&self, code: &str) -> bool {
        matches!(self, Self::Service { error, .. } if error.code == code)
    }
}

/// The service's words, and the next step where people are known to be stuck.
fn explain(error: &ServiceError) -> String {
    let colon = if error.message.is_empty() { "" } else { ": " };
    let known = match known(error) {
        Some(Known { next, .. }) if error.code.starts_with("AF") => format!(" → {next}"),
        Some(Known { what, next }) => format!(" → {what}: {next}"),
        None => String::new(),
    };
    format!("{colon}{}{known}", error.message)
}

/// A refusal that people are known to be stuck at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What is the matter.
    pub what: &'static str,
    /// What to do.
    pub next: &'static str,
}

/// By the AF code, or by its words where the service gives no code.
fn known(error: &ServiceError) -> Option<Known> {
    let (what, next) = match error.code.as_str() {
        "AF10001" => (
            "the token lacks a permission",
            "grant the app the application permission ActivityFeed.Read, and admin consent; DLP.All needs ActivityFeed.ReadDlp",
        ),
        "AF20010" => ("OFFICE365_TENANT_ID is not the tenant that the token is for", "correct OFFICE365_TENANT_ID"),
        "AF20011" | "AF20012" | "AF20013" => ("the API does not know the tenant", "check OFFICE365_TENANT_ID"),
        "AF20022" => ("the subscription is off", "the next run of QueueEvents starts it"),
        "AF20023" => (
            "the subscription was disabled",
            "the next run of QueueEvents starts it; if it stays off, an administrator switched the subscription off",
        ),
        _ if error.message.contains("does not exist") && error.message.contains("enant") => (
            "unified audit logging is off for this tenant",
            "turn on auditing for this tenant, in the Microsoft Purview portal under Audit; it takes up to an hour",
        ),
        _ => return None,
    };
    Some(Known { what, next })
}

/// A half-open range of contentCreated, in whole seconds, at most 24 h long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Included.
    pub start: DateTime<Utc>,
    /// Not included.
    pub end: DateTime<Utc>,
}

/// A complete listing of one window.
#[derive(Debug, Default)]
pub struct Listing {
    /// Every blob of every page, in no order.
    pub blobs: Vec<ContentBlob>,
    /// Pages it took.
    pub pages: usize,
}

/// A content blob's body on its way.
#[derive(Debug)]
pub struct ContentBody {
    response: Response,
    what: String,
    content_type: String,
}

/// The client, one a process.
pub struct ActivityClient {
    http: Client,
    /// `{root}/api/v1.0/{tenant}/activity/feed/`
    feed: Url,
    publisher_id: String,
    token: ActivityToken,
    clock: Arc<Clock>,
    pace: Pace,
}

impl ActivityClient {
    /// # Errors
    /// The settings do not make a credential here.
    pub fn new(config: &Config, http: Client, transport: &Transport, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let root = config.office365.api_url.as_str().trim_end_matches('/');
        Ok(Self {
            http,
            feed: Url::parse(&format!("{root}/api/v1.0/{}/activity/feed/", config.office365.tenant_id))?,
            publisher_id: config.office365.publisher_id.clone(),
            token: ActivityToken::new(config, transport)?,
            clock,
            pace: Pace::default(),
        })
    }

    /// What the access token says of itself; none where it is not to be read.
    ///
    /// # Errors
    /// No token could be had.
    pub async fn claims(&self) -> Result<Option<Claims>, ActivityError> {
        let token = self.token.get().await.map_err(ActivityError::Token)?;
        Ok(Claims::read(&token))
    }

    /// Which subscriptions there are.
    ///
    /// # Errors
    /// No usable answer after the retries.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, ActivityError> {
        let what = "list subscriptions".to_owned();
        let response = self.call(&what, Method::GET, self.operation("subscriptions/list", &[])?).await?;
        read_json(what, response).await.map(|(_, subscriptions)| subscriptions)
    }

    /// Starts a subscription. One that is on already is success (AF20024, undocumented).
    /// The API takes one such request a content type in 15 minutes, so there are no retries.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn start_subscription(&self, workload: Workload) -> Result<(), ActivityError> {
        let url = self.operation("subscriptions/start", &[("contentType", workload.as_str())])?;
        match self.call(&format!("start subscription {workload}"), Method::POST, url).await {
            Err(error) if !error.is_code("AF20024") => Err(error),
            _ => Ok(()),
        }
    }

    /// Lists a window to its last page, following `NextPageUri` verbatim. Where the service does not take a page of its own
    /// any more (AF20031), the window is listed once more from its first.
    ///
    /// # Errors
    /// Any page that cannot be had makes the listing incomplete, so nothing of it is returned.
    pub async fn list(&self, workload: Workload, window: Window) -> Result<Listing, ActivityError> {
        match self.list_pages(workload, window).await {
            Err(error) if error.is_code("AF20031") => self.list_pages(workload, window).await,
            done => done,
        }
    }

    async fn list_pages(&self, workload: Workload, window: Window) -> Result<Listing, ActivityError> {
        let what = format!("list {workload} from {} to {}", seconds(window.start), seconds(window.end));
        let times = [("contentType", workload.as_str()), ("startTime", &seconds(window.start)), ("endTime", &seconds(window.end))];
        let mut next = Some(self.operation("subscriptions/content", &times)?);
        let mut listing = Listing::default();
        let mut seen = std::collections::HashSet::new();
        while let Some(url) = next {
            if listing.pages == MOST_PAGES || !seen.insert(url.clone()) {
                return Err(body_error(what, "its pages repeat without end", 0, "NextPageUri"));
            }
            let response = self.call(&what, Method::GET, url).await?;
            let (headers, mut blobs) = read_json::<Vec<ContentBlob>>(what.clone(), response).await?;
            listing.pages += 1;
            listing.blobs.append(&mut blobs);
            next = match headers.get("NextPageUri") {
                Some(uri) => Some(self.own_url(&String::from_utf8_lossy(uri.as_bytes()))?),
                None => None,
            };
        }
        Ok(listing)
    }

    /// Begins to fetch a content blob. Its body is still on the way when this returns.
    ///
    /// # Errors
    /// A foreign address is refused before any request; else no usable answer after the retries.
    pub async fn fetch(&self, uri: &str) -> Result<ContentBody, ActivityError> {
        let what = "fetch content blob".to_owned();
        let response = self.call(&what, Method::GET, self.own_url(uri)?).await?;
        Ok(ContentBody { content_type: content_type(&response), response, what })
    }

    fn operation(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, ActivityError> {
        let mut url = self.feed.join(path).map_err(|_| ActivityError::Foreign(path.to_owned()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// An address that the service gave us, if it is the service's own: same scheme, host, port and tenant path.
    fn own_url(&self, uri: &str) -> Result<Url, ActivityError> {
        let foreign = || ActivityError::Foreign(printable(uri));
        let url = Url::parse(uri).map_err(|_| foreign())?;
        let same_origin = url.origin() == self.feed.origin() && url.username().is_empty() && url.password().is_none();
        (same_origin && self.is_tenant_path(&url)).then_some(url).ok_or_else(foreign)
    }

    /// `/api/v1.0/{tenant}/activity/feed/…`, below the root's own path; the documentation shows `/api/v1/` too.
    fn is_tenant_path(&self, url: &Url) -> bool {
        let ours: Vec<&str> = self.feed.path_segments().into_iter().flatten().collect();
        let theirs: Vec<&str> = url.path_segments().into_iter().flatten().collect();
        let depth = ours.len() - 1;
        theirs.len() > depth
            && ours[..depth]
                .iter()
                .zip(&theirs)
                .all(|(ours, theirs)| ours.eq_ignore_ascii_case(theirs) || (*ours == "v1.0" && theirs.eq_ignore_ascii_case("v1")))
    }

    /// The one retry loop: keeps the pace, bridges hiccups, renews a refused token once, and leaves the rest to the caller.
    async fn call(&self, what: &str, method: Method, mut url: Url) -> Result<Response, ActivityError> {
        self.add_publisher(&mut url);
        // The API takes one start in 15 minutes, refused ones included: its caller tries again then.
        let tries = if method == Method::POST { 1 } else { TRIES };
        let mut token = self.token.get().await.map_err(ActivityError::Token)?;
        let (mut attempt, mut renewed) = (1, false);
        loop {
            let sent = self.pace.turn().await;
            let error = match self.send(what, method.clone(), url.clone(), &token).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            // Starts have a limit of their own, which says nothing of the other calls.
            if error.is_throttling() && method != Method::POST {
                self.pace.halve(sent);
            }
            match error.trouble() {
                Trouble::Unauthorised if !renewed => {
                    renewed = true;
                    token = self.token.renew(&token).await.map_err(ActivityError::Token)?;
                }
                Trouble::Passing(retry_after) if attempt < tries => {
                    let pause = pause(attempt, retry_after);
                    if pause > LONGEST_PAUSE {
                        return Err(error);
                    }
                    tracing::debug!(what, attempt, error = %error, "passing trouble, trying again");
                    sleep(pause).await;
                    attempt += 1;
                }
                _ => return Err(error),
            }
        }
    }

    async fn send(&self, what: &str, method: Method, url: Url, token: &Secret) -> Result<Response, ActivityError> {
        let mut request = self.http.request(method.clone(), url).bearer_auth(token.secret());
        if method == Method::POST {
            // Left to itself the client sends no length with an empty body, which some servers refuse (411).
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        let asked = Instant::now();
        let response = request.send().await.map_err(|error| connection_error(what, error))?;
        self.learn_time(&response, asked.elapsed());
        if response.status().is_success() && response.status() != StatusCode::NO_CONTENT {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let body = read_at_most(response, ERROR_BODY).await;
        Err(ActivityError::Service { what: what.to_owned(), status, error: ServiceError::read(&body), retry_after })
    }

    /// Content URIs have no query and NextPageUri has one, so the identifier is added with a parser, and only if absent.
    fn add_publisher(&self, url: &mut Url) {
        if !url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("PublisherIdentifier")) {
            url.query_pairs_mut().append_pair("PublisherIdentifier", &self.publisher_id);
        }
    }

    fn learn_time(&self, response: &Response, took: Duration) {
        // A slow answer says little about the time, yet more than none.
        if took > Duration::from_secs(2) && self.clock.is_told() {
            return;
        }
        let date = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
        let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) else { return };
        let before = self.clock.skew();
        self.clock.learn(date.to_utc());
        let skew = self.clock.skew();
        if skew.abs() > SKEW && (skew - before).abs() > SKEW {
            tracing::warn!(skew_seconds = skew.num_seconds(), "this machine's clock differs from the service's; the service's is used");
        }
    }
}

impl ContentBody {
    /// The answer's Content-Type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The body, decompressed, as it comes.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ActivityError>> {
        let what = self.what;
        self.response.bytes_stream().map_err(move |error| connection_error(&what, error))
    }
}

/// An answer whose body is not what was promised.
#[must_use]
pub fn body_error(what: String, reason: &str, length: usize, content_type: &str) -> ActivityError {
    ActivityError::Body { what, reason: reason.to_owned(), length, content_type: content_type.to_owned() }
}

async fn read_json<T: serde::de::DeserializeOwned>(what: String, response: Response) -> Result<(header::HeaderMap, T), ActivityError> {
    let content_type = content_type(&response);
    let headers = response.headers().clone();
    let body = response.bytes().await.map_err(|error| connection_error(&what, error))?;
    match serde_json::from_slice(&body) {
        Ok(value) => Ok((headers, value)),
        // Only where and what kind: the text itself may be content.
        Err(error) => Err(body_error(what, &format!("{:?} error at byte {}", error.classify(), error.column()), body.len(), &content_type)),
    }
}

async fn read_at_most(mut response: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= most {
            break;
        }
    }
    body.truncate(most);
    body
}

fn connection_error(what: &str, error: reqwest::Error) -> ActivityError {
    ActivityError::Connection { what: what.to_owned(), source: error.without_url() }
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or("no content type").to_owned()
}

/// Seconds, or an HTTP date. <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    (at.to_utc() - Utc::now()).to_std().ok()
}

/// Doubled at each try, between half and the whole of it, so that callers do not march in step.
fn pause(attempt: u32, retry_after: Option<Duration>) -> Duration {
    let whole = FIRST_PAUSE * 2_u32.saturating_pow(attempt - 1);
    retry_after.unwrap_or_else(|| whole.mul_f64(0.5 + 0.5 * fastrand::f64()))
}

/// The API's documented form of a time: seconds, UTC, no zone.
fn seconds(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S").to_string()
}

/// A foreign address as a log may show it: no query, no credentials, not endless.
fn printable(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) => format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path()).chars().take(200).collect(),
        Err(_) => format!("an address of {} bytes that cannot be read", uri.len()),
    }
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
            (403, "AF429", Trouble::Passing(None)),
            (403, "429", Trouble::Passing(None)),
            (200, "AF50000", Trouble::Passing(None)),
            (500, "AF50005", Trouble::Passing(None)),
            (400, "AF20051", Trouble::Lasting("content expired")),
            (500, "AF20050", Trouble::Lasting("content does not exist")),
            (400, "AF20022", Trouble::Refused),
            (401, "AF10001", Trouble::Refused),
            (401, "", Trouble::Unauthorised),
            (404, "", Trouble::Refused),
            (429, "", Trouble::Passing(None)),
            (503, "", Trouble::Passing(None)),
            (302, "", Trouble::Refused),
        ] {
            assert_eq!(service(status, code, "").trouble(), expected, "{status} {code}");
        }
    }

    #[test]
    fn an_error_says_the_next_step() {
        let off = service(400, "", "Tenant 0873ee4d-d342-44f2-8961-74c442a2fad2 does not exist.").to_string();
        assert!(off.contains("turn on auditing"), "{off}");
    }
}
