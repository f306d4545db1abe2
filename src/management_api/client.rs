//! The client: lists subscriptions and content, fetches content blobs, with the one retry loop.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use azure_core::credentials::Secret;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, TryStreamExt};
use reqwest::{Client, Method, Response, StatusCode, header};
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    error::{ActivityError, Trouble, body_error, connection_error},
    pace::Pace,
    wire::{ContentBlob, ServiceError, Subscription},
};
use crate::{
    azure::{
        Connection,
        identity::{ActivityToken, Claims},
    },
    clock::Clock,
    config::Config,
    workload::Workload,
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
    pub fn new(config: &Config, connection: &Connection, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let root = config.office365.api_url.as_str().trim_end_matches('/');
        Ok(Self {
            http: connection.http.clone(),
            feed: Url::parse(&format!("{root}/api/v1.0/{}/activity/feed/", config.office365.tenant_id))?,
            publisher_id: config.office365.publisher_id.clone(),
            token: ActivityToken::new(config, &connection.transport)?,
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
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else { return };
        let before = self.clock.skew();
        self.clock.learn(date.into());
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
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(SystemTime::now()).ok()
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
