//! The client: lists subscriptions and content, fetches content blobs, with the one retry loop.

use std::{sync::Arc, time::Duration};

use azure_core::credentials::Secret;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, TryStreamExt};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{self, HeaderMap},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::{
    error::{ActivityError, Remedy, body_error, connection_error},
    pace::Pace,
    wire::{ContentBlob, ServiceError, Subscription},
};
use crate::{
    azure::{
        Connection,
        identity::{ActivityToken, TokenClaims},
    },
    clock::{Clock, TimeUncertain, Witness, parse_http_date, rfc3339},
    config::{Config, is_guid},
    error_text::chain,
    limits::{MAX_ERROR_BODY, MAX_LISTED, MAX_PAGE_BYTES, MAX_PAGES},
    workload::Workload,
};

/// The time that content can be listed back. <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#list-available-content>
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
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// An answer that took longer says too little about the time.
const MAX_PROMPT: Duration = Duration::from_secs(2);
/// The longest that the time is asked for.
const MAX_TIME_CALL: Duration = Duration::from_secs(30);

/// A half-open range of contentCreated, in whole seconds, at most 24 h long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Included.
    pub start: DateTime<Utc>,
    /// Not included.
    pub end: DateTime<Utc>,
}

impl Window {
    /// Both halves, if it is longer than a second.
    #[must_use]
    pub fn halves(self) -> Option<(Self, Self)> {
        let half = TimeDelta::seconds((self.end - self.start).num_seconds() / 2);
        let middle = self.start + half;
        (half > TimeDelta::zero()).then_some((Self { end: middle, ..self }, Self { start: middle, ..self }))
    }
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
    answer: Answer,
    what: String,
    content_type: String,
}

/// An answer, and the time that it tells. That it is the service's own, and no proxy's, shows only in its body.
#[derive(Debug)]
struct Answer {
    response: Response,
    time: ToldTime,
}

/// A time that an answer tells, for [`ActivityClient::learn_time`].
#[derive(Clone, Copy, Debug)]
pub struct ToldTime {
    /// None if there was no `Date`, or the answer was slow.
    offset: Option<TimeDelta>,
    by: Witness,
}

/// The client, one a process.
pub struct ActivityClient {
    http: Client,
    /// `{root}/api/v1.0/{tenant}/activity/feed/`
    feed: Url,
    tenant_id: String,
    publisher_id: String,
    token: ActivityToken,
    clock: Arc<Clock>,
    pace: Pace,
}

impl ActivityClient {
    /// # Errors
    /// The settings do not make a credential here.
    pub fn new(config: &Config, connection: &Connection, clock: Arc<Clock>) -> anyhow::Result<Self> {
        Self::with_token(config, connection, ActivityToken::new(config, &connection.transport)?, clock)
    }

    /// A client that asks with these tokens.
    ///
    /// # Errors
    /// The API's root and the tenant do not make an address.
    pub fn with_token(config: &Config, connection: &Connection, token: ActivityToken, clock: Arc<Clock>) -> anyhow::Result<Self> {
        let root = config.office365.api_url.as_str().trim_end_matches('/');
        Ok(Self {
            http: connection.http.clone(),
            feed: Url::parse(&format!("{root}/api/v1.0/{}/activity/feed/", config.office365.tenant_id))?,
            tenant_id: config.office365.tenant_id.clone(),
            publisher_id: config.office365.publisher_id.clone(),
            token,
            clock,
            pace: Pace::default(),
        })
    }

    /// Reads the access token's claims; none if they cannot be read.
    ///
    /// # Errors
    /// No token could be had.
    pub async fn claims(&self) -> Result<Option<TokenClaims>, ActivityError> {
        let token = self.token.get().await.map_err(ActivityError::Token)?;
        Ok(TokenClaims::read(&token))
    }

    /// Which subscriptions there are.
    ///
    /// # Errors
    /// No usable answer after the retries.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, ActivityError> {
        let what = "list subscriptions".to_owned();
        let answer = self.call(&what, Witness::Subscriptions, Method::GET, self.operation("subscriptions/list", &[])?).await?;
        self.read_json(what, answer).await.map(|(_, subscriptions)| subscriptions)
    }

    /// Starts a subscription. One that is on already is success (AF20024, undocumented).
    /// The API takes one such request a content type in 15 minutes, so there are no retries.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn start_subscription(&self, workload: Workload) -> Result<(), ActivityError> {
        let url = self.operation("subscriptions/start", &[("contentType", workload.as_str())])?;
        match self.call(&format!("start subscription {workload}"), Witness::Subscriptions, Method::POST, url).await {
            Err(error) if !error.is_code("AF20024") => Err(error),
            _ => Ok(()),
        }
    }

    /// Lists a window to its last page, following `NextPageUri` verbatim. Where the service does not take a page of its own
    /// any more (AF20031), the window is listed once more from its first.
    ///
    /// # Errors
    /// Any page that cannot be had makes the listing incomplete, so nothing of it is returned. [`ActivityError::TooLarge`] if a
    /// shorter window may be listed in its place.
    pub async fn list(&self, workload: Workload, window: Window, longest: Option<Duration>) -> Result<Listing, ActivityError> {
        let until = longest.map(|longest| Instant::now() + longest);
        match self.list_pages(workload, window, until).await {
            Err(error) if error.is_code("AF20031") => self.list_pages(workload, window, until).await,
            done => done,
        }
    }

    async fn list_pages(&self, workload: Workload, window: Window, until: Option<Instant>) -> Result<Listing, ActivityError> {
        let what = format!("list {workload} from {} to {}", seconds(window.start), seconds(window.end));
        let times = [("contentType", workload.as_str()), ("startTime", &seconds(window.start)), ("endTime", &seconds(window.end))];
        let mut next = Some(self.operation("subscriptions/content", &times)?);
        let mut listing = Listing::default();
        let mut seen = std::collections::HashSet::new();
        while let Some(url) = next {
            if listing.pages == MAX_PAGES || !seen.insert(url.clone()) {
                return Err(body_error(what, "its pages repeat without end", 0, "NextPageUri"));
            }
            let answer = self.call(&what, Witness::Listing, Method::GET, url).await?;
            let (headers, mut blobs) = self.read_json::<Vec<ContentBlob>>(what.clone(), answer).await?;
            listing.pages += 1;
            listing.blobs.append(&mut blobs);
            if listing.blobs.len() > MAX_LISTED {
                return Err(ActivityError::TooLarge { what, limit: format!("{MAX_LISTED} content blobs") });
            }
            next = match headers.get("NextPageUri") {
                Some(uri) => Some(self.own_url(&String::from_utf8_lossy(uri.as_bytes()))?),
                None => None,
            };
            if next.is_some() && until.is_some_and(|until| Instant::now() > until) && window.halves().is_some() {
                return Err(ActivityError::TooLarge { what, limit: format!("the {} pages that there is time for", listing.pages) });
            }
        }
        Ok(listing)
    }

    /// Begins to fetch a content blob, of the tenant that listed it, if that is known. Its body is still on the way when this
    /// returns.
    ///
    /// # Errors
    /// A foreign address, or another tenant's, is refused before any request; else no usable answer after the retries.
    pub async fn fetch(&self, uri: &str, tenant: Option<&str>) -> Result<ContentBody, ActivityError> {
        let what = "fetch content blob".to_owned();
        let url = self.own_content(uri, tenant)?;
        let answer = self.call(&what, Witness::Content, Method::GET, url).await?;
        Ok(ContentBody { content_type: content_type(&answer.response), answer, what })
    }

    /// True if content is outside the configured root or tenant.
    #[must_use]
    pub fn is_foreign(&self, uri: &str, tenant: Option<&str>) -> bool {
        self.own_content(uri, tenant).is_err()
    }

    /// The address of a content blob, if it is the service's own and the tenant that listed it is the configured one, or unknown.
    fn own_content(&self, uri: &str, tenant: Option<&str>) -> Result<Url, ActivityError> {
        match tenant.filter(|tenant| !tenant.eq_ignore_ascii_case(&self.tenant_id)) {
            Some(tenant) => Err(self.foreign(format!("{}, listed by the tenant {}", printable(uri), shown(tenant)))),
            None => self.own_url(uri),
        }
    }

    /// The tenant whose content is collected.
    #[must_use]
    pub fn tenant_id(&self) -> &str {
        &self.tenant_id
    }

    /// Asks for the time if it is not certain: by a call of another kind than the one that told a time which is in doubt.
    ///
    /// # Errors
    /// It still is not certain.
    pub async fn ask_time(&self) -> Result<(), TimeUncertain> {
        // Twice, since the first answer may be what is in doubt.
        for _ in 0..2 {
            if self.clock.is_certain() {
                break;
            }
            let asked = async {
                match self.clock.doubt() {
                    Some((_, Witness::Subscriptions)) => self.list_last_minute().await.err(),
                    _ => self.subscriptions().await.err(),
                }
            };
            match timeout(MAX_TIME_CALL, asked).await {
                Ok(Some(error)) => tracing::debug!(error = %chain(&error), "the time was asked for"),
                Ok(None) => {}
                Err(_) => tracing::debug!("the time was asked for, and no answer came"),
            }
        }
        self.clock.certain()
    }

    /// Of any workload: what it lists is not used.
    async fn list_last_minute(&self) -> Result<Listing, ActivityError> {
        let end = self.clock.now();
        self.list_pages(Workload::ALL[0], Window { start: end - TimeDelta::minutes(1), end }, None).await
    }

    fn operation(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, ActivityError> {
        let mut url = self.feed.join(path).map_err(|_| self.foreign(path.to_owned()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// An address that the service gave us, if it is the service's own: same scheme, host, port and tenant path.
    fn own_url(&self, uri: &str) -> Result<Url, ActivityError> {
        let foreign = || self.foreign(printable(uri));
        let url = Url::parse(uri).map_err(|_| foreign())?;
        let same_origin = url.origin() == self.feed.origin() && url.username().is_empty() && url.password().is_none();
        (same_origin && self.is_tenant_path(&url)).then_some(url).ok_or_else(foreign)
    }

    fn foreign(&self, address: String) -> ActivityError {
        ActivityError::Foreign { address, root: self.feed.as_str().trim_end_matches("/activity/feed/").to_owned() }
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
    async fn call(&self, what: &str, witness: Witness, method: Method, mut url: Url) -> Result<Answer, ActivityError> {
        self.add_publisher(&mut url);
        // The API takes one start in 15 minutes, refused ones included: its caller tries again then.
        let tries = if method == Method::POST { 1 } else { TRIES };
        let mut token = self.token.get().await.map_err(ActivityError::Token)?;
        let (mut attempt, mut renewed) = (1, false);
        loop {
            let sent = self.pace.turn().await;
            let error = match self.send(what, witness, method.clone(), url.clone(), &token).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Starts have a limit of their own, which says nothing of the other calls.
            if error.is_throttling() && method != Method::POST {
                self.pace.halve(sent);
            }
            match error.remedy() {
                Remedy::Unauthorised if !renewed => {
                    renewed = true;
                    token = self.token.renew(&token).await.map_err(ActivityError::Token)?;
                }
                Remedy::Passing(retry_after) if attempt < tries => {
                    let pause = pause(attempt, retry_after);
                    if pause > MAX_PAUSE {
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

    async fn send(&self, what: &str, by: Witness, method: Method, url: Url, token: &Secret) -> Result<Answer, ActivityError> {
        let mut request = self.http.request(method.clone(), url).bearer_auth(token.secret());
        if method == Method::POST {
            // Left to itself the client sends no length with an empty body, which some servers refuse (411).
            request = request.header(header::CONTENT_LENGTH, 0);
        }
        let asked = Instant::now();
        let response = request.send().await.map_err(|error| connection_error(what, error))?;
        let time = ToldTime { offset: told_offset(response.headers(), asked.elapsed()), by };
        if response.status().is_success() && response.status() != StatusCode::NO_CONTENT {
            return Ok(Answer { response, time });
        }
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let (body, _) = read_at_most(response, MAX_ERROR_BODY).await.unwrap_or_default();
        let error = ServiceError::read(&body);
        if error.is_the_services_own() {
            self.learn_time(time);
        }
        Err(ActivityError::Service { what: what.to_owned(), status, error, retry_after })
    }

    /// Content URIs have no query and NextPageUri has one, so the identifier is added with a parser, and only if absent.
    fn add_publisher(&self, url: &mut Url) {
        if !url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("PublisherIdentifier")) {
            url.query_pairs_mut().append_pair("PublisherIdentifier", &self.publisher_id);
        }
    }

    /// Learns the time from an answer that is known to be the service's own.
    pub fn learn_time(&self, time: ToldTime) {
        let Some(offset) = time.offset else { return };
        let before = self.clock.skew();
        let is_believed = self.clock.learn(offset, time.by);
        if !is_believed {
            tracing::warn!(
                told = %rfc3339(Utc::now() + offset),
                believed = %rfc3339(self.clock.now()),
                "an answer's time is over an hour from what was known; it needs a second witness"
            );
        } else if offset.abs() > SKEW && (offset - before).abs() > SKEW {
            tracing::warn!(skew_seconds = offset.num_seconds(), "this machine's clock differs from the service's; the service's is used");
        }
    }

    /// Reads an answer whole, which shows that it is the service's own.
    async fn read_json<T: DeserializeOwned>(
        &self,
        what: String,
        Answer { response, time }: Answer,
    ) -> Result<(HeaderMap, T), ActivityError> {
        let content_type = content_type(&response);
        let headers = response.headers().clone();
        let (body, is_whole) = read_at_most(response, MAX_PAGE_BYTES).await.map_err(|error| connection_error(&what, error))?;
        if !is_whole {
            return Err(ActivityError::TooLarge { what, limit: format!("{} MiB", MAX_PAGE_BYTES / 1024 / 1024) });
        }
        match serde_json::from_slice(&body) {
            Ok(value) => {
                self.learn_time(time);
                Ok((headers, value))
            }
            Err(error) => {
                // Only where and what kind: the text itself may be content.
                let reason = format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column());
                Err(body_error(what, &reason, body.len(), &content_type))
            }
        }
    }
}

impl ContentBody {
    /// The answer's Content-Type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The time that the answer tells; to be learnt once the body has shown that it is a content blob's.
    #[must_use]
    pub fn time(&self) -> ToldTime {
        self.answer.time
    }

    /// The body, decompressed, as it comes.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ActivityError>> {
        let what = self.what;
        self.answer.response.bytes_stream().map_err(move |error| connection_error(&what, error))
    }
}

/// Reads a body up to so many bytes after decompression; returns them, and true if that is all of it.
async fn read_at_most(mut response: Response, max_bytes: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            body.extend_from_slice(&chunk[..max_bytes - body.len()]);
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

/// The offset of the service's clock that an answer's `Date` tells; none if the answer took too long to say.
#[must_use]
pub fn told_offset(headers: &HeaderMap, took: Duration) -> Option<TimeDelta> {
    let date = parse_http_date(headers.get(header::DATE)?.to_str().ok()?)?;
    (took <= MAX_PROMPT).then(|| Clock::offset(date))
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or("no content type").to_owned()
}

/// The wait that an answer asks for: seconds, or an HTTP date. <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    (parse_http_date(text)? - now).to_std().ok()
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
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let shown = format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
            shown.chars().take(200).collect()
        }
        Err(_) => format!("an address of {} bytes that cannot be read", uri.len()),
    }
}

/// Another tenant as a log may show it: by its id, and by nothing else that stands in its place.
fn shown(tenant: &str) -> &str {
    if is_guid(tenant) { tenant } else { "of another name" }
}
