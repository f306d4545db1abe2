//! The client of Graph's audit log queries: one call at a time, with its retries, and the one place where an answer is judged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use azure_core::credentials::Secret;
use chrono::{DateTime, Utc};
use handler::clock::{Clock, TimeUncertain, Witness};
use handler::management_api::{ActivityClient, retry_after, told_offset};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use url::Url;

use super::access::Access;
use super::wire::{NewQuery, Query, QueryPage, ServiceError};

/// Records asked for on a page; the largest that others use. Where such a page is too large: so few.
const PAGE: usize = 999;
const SMALL_PAGE: usize = 50;
/// Bytes of a page.
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Pages of queries that are looked through for a lost one.
const MAX_LIST_PAGES: usize = 50;
/// Tries of a call, the first included.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The same where too much was asked, and no time is told.
const FIRST_BUSY_PAUSE: Duration = Duration::from_secs(30);
/// A longer wait is the next run's.
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How long pauses last.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    divisor: u32,
}

impl Pauses {
    /// As the service should be treated.
    pub const REAL: Self = Self { divisor: 1 };

    /// So many times shorter, for a simulated tenant whose clock is pushed.
    pub const fn shortened(divisor: u32) -> Self {
        Self { divisor: if divisor == 0 { 1 } else { divisor } }
    }

    /// Waits.
    pub(super) async fn wait(self, pause: Duration) {
        tokio::time::sleep(pause / self.divisor).await;
    }
}

/// Why a call got no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SearchError {
    #[error("no access token for Graph")]
    Token(#[source] azure_core::Error),
    /// Nobody knows whether what was asked is done.
    #[error("{what}: no answer came")]
    Lost {
        what: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("{what}: {why}")]
    Passing { what: &'static str, why: String },
    #[error("{what}: too many requests{}", in_minutes(*wait))]
    Busy { what: &'static str, wait: Option<Duration> },
    #[error("{0}: the answer is too large")]
    TooLarge(&'static str),
    #[error("{0}: the query does not exist")]
    Gone(&'static str),
    #[error("Graph refuses to be asked (403 {0}): the permission is AuditLogsQuery.Read.All")]
    Forbidden(String),
    #[error("Graph does not take the token (401)")]
    Unauthorised,
    #[error(
        "auditing is off in this tenant: Set-AdminAuditLogConfig -UnifiedAuditLogIngestionEnabled $true turns it on; it takes up to an \
         hour, and nothing is filled in afterwards"
    )]
    AuditingOff,
    #[error("{what}: refused with {status} {code}")]
    Refused { what: &'static str, status: u16, code: String },
    #[error("{0}")]
    Link(&'static str),
}

impl SearchError {
    /// True if nothing else can be asked either.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Token(_) | Self::Forbidden(_) | Self::Unauthorised | Self::AuditingOff)
    }

    fn is_passing(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Passing { .. } | Self::Busy { .. })
    }
}

/// The client, one a run.
pub(super) struct SearchClient {
    http: reqwest::Client,
    access: Access,
    /// The version that answered; none yet: v1.0 is tried first.
    version: Mutex<Option<&'static str>>,
    /// Records that are asked for on a page.
    page: AtomicUsize,
    pauses: Pauses,
    clock: Arc<Clock>,
}

impl SearchClient {
    pub(super) fn new(http: reqwest::Client, access: Access, pauses: Pauses, clock: Arc<Clock>) -> Self {
        Self { http, access, version: Mutex::new(None), page: AtomicUsize::new(PAGE), pauses, clock }
    }

    /// The service's time, as far as its answers have told it.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(super) fn pauses(&self) -> Pauses {
        self.pauses
    }

    /// Root and version that answer: `https://graph.microsoft.com/v1.0`.
    pub(super) fn root(&self) -> String {
        format!("{}{}", self.access.root(), self.version().unwrap_or("v1.0"))
    }

    fn version(&self) -> Option<&'static str> {
        *self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Finds out which version answers, by listing queries: v1.0 first, beta if there is none.
    pub(super) async fn probe(&self) -> Result<(), SearchError> {
        for version in ["v1.0", "beta"] {
            *self.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(version);
            match self.call("list queries", Method::GET, self.queries("")?, None).await {
                // Graph says 400 where a path is not known: "Resource not found for the segment".
                Err(SearchError::Gone(_) | SearchError::Refused { status: 400 | 405 | 501, .. }) if version == "v1.0" => {}
                Err(SearchError::Gone(_)) => {
                    return Err(SearchError::Refused {
                        what: "find a version",
                        status: 404,
                        code: "neither v1.0 nor beta is there".to_owned(),
                    });
                }
                answered => return answered.map(|_| ()),
            }
        }
        Ok(())
    }

    /// A time that is over an hour from the machine's needs a second witness, which is the Activity API: the days that can be reached and
    /// the queries that may be made are counted by it.
    pub(super) async fn ask_time(&self, activity: &ActivityClient) -> Result<(), TimeUncertain> {
        if self.clock.doubt().is_some() { activity.ask_time().await } else { Ok(()) }
    }

    /// Makes a query. [`SearchError::Lost`] if it may have been made all the same.
    pub(super) async fn make(&self, query: &NewQuery<'_>) -> Result<Query, SearchError> {
        let what = "make a query";
        let body = serde_json::to_vec(query).unwrap_or_default();
        let answer = self.call(what, Method::POST, self.queries("")?, Some(&body)).await?;
        Query::read(&answer).ok_or(SearchError::Passing { what, why: "the answer cannot be read".to_owned() })
    }

    /// Looks at a query.
    pub(super) async fn look(&self, id: &str) -> Result<Query, SearchError> {
        let what = "look at a query";
        let mut tries = 0;
        loop {
            let answer = self.call(what, Method::GET, self.queries(&format!("/{}", encoded(id)))?, None).await;
            tries += 1;
            match answer {
                // Under load the service refuses looks at a query that is well.
                Err(SearchError::Refused { status: 400, .. }) if tries < TRIES => self.pauses.wait(pause(tries)).await,
                Err(error) => return Err(error),
                Ok(body) => match Query::read(&body) {
                    Some(query) => return Ok(query),
                    None if tries < TRIES => self.pauses.wait(pause(tries)).await,
                    None => return Err(SearchError::Passing { what, why: "the answer cannot be read".to_owned() }),
                },
            }
        }
    }

    /// Looks for queries of a name.
    pub(super) async fn named(&self, name: &str) -> Result<Vec<Query>, SearchError> {
        let what = "list queries";
        let mut next = Some(self.queries("")?);
        let (mut found, mut pages) = (Vec::new(), 0);
        while let Some(url) = next.take() {
            let body = self.call(what, Method::GET, url, None).await?;
            let page: QueryPage =
                serde_json::from_slice(&body).map_err(|_| SearchError::Passing { what, why: "the answer cannot be read".to_owned() })?;
            found.extend(page.queries().filter(|query| query.display_name.as_deref() == Some(name)));
            pages += 1;
            if let Some(link) = page.next.filter(|_| pages < MAX_LIST_PAGES) {
                next = Some(self.own_link(&link, &self.queries("")?)?);
            }
        }
        Ok(found)
    }

    /// The first page of a query's records.
    pub(super) fn records(&self, id: &str) -> Result<Url, SearchError> {
        self.queries(&format!("/{}/records?$top={}", encoded(id), self.page.load(Ordering::Relaxed)))
    }

    /// A page of records, whole. After one that is too large, the readings that follow ask for smaller ones.
    pub(super) async fn page(&self, url: Url) -> Result<Vec<u8>, SearchError> {
        let page = self.call("read records", Method::GET, url, None).await;
        if matches!(page, Err(SearchError::TooLarge(_))) {
            self.page.store(SMALL_PAGE, Ordering::Relaxed);
        }
        page
    }

    /// The address that a page names as its next, if it is one of the same query's.
    pub(super) fn next_page(&self, link: &str, id: &str) -> Result<Url, SearchError> {
        self.own_link(link, &self.records(id)?)
    }

    fn own_link(&self, link: &str, own: &Url) -> Result<Url, SearchError> {
        let refused = SearchError::Link("a nextLink leaves the query's own address, and is not followed");
        let Ok(url) = own.join(link) else { return Err(refused) };
        let is_own = url.origin() == own.origin() && url.username().is_empty() && url.password().is_none();
        if is_own && same_path(url.path(), own.path()) { Ok(url) } else { Err(refused) }
    }

    fn queries(&self, rest: &str) -> Result<Url, SearchError> {
        let version = self.version().unwrap_or("v1.0");
        let address = format!("{}{version}/security/auditLog/queries{rest}", self.access.root());
        Url::parse(&address).map_err(|_| SearchError::Link("an id of the service makes no address"))
    }

    /// The one retry loop. A query is made once: whether it was, where no answer came, is the caller's to find out.
    async fn call(&self, what: &'static str, method: Method, url: Url, body: Option<&[u8]>) -> Result<Vec<u8>, SearchError> {
        let mut token = self.access.token().await.map_err(SearchError::Token)?;
        let (mut tries, mut renewed) = (1, false);
        loop {
            let error = match self.send(what, &method, &url, body, &token).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_made_once = method == Method::POST && !matches!(error, SearchError::Busy { .. });
            match error {
                SearchError::Unauthorised if !renewed => {
                    renewed = true;
                    token = self.access.renewed(&token).await.map_err(SearchError::Token)?;
                }
                error if error.is_passing() && !is_made_once && tries < TRIES => {
                    let pause = match &error {
                        SearchError::Busy { wait, .. } => wait.unwrap_or_else(|| doubled(FIRST_BUSY_PAUSE, tries)),
                        _ => pause(tries),
                    };
                    if pause > MAX_PAUSE {
                        return Err(error);
                    }
                    self.pauses.wait(pause).await;
                    tries += 1;
                }
                error => return Err(error),
            }
        }
    }

    async fn send(
        &self,
        what: &'static str,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
        token: &Secret,
    ) -> Result<Vec<u8>, SearchError> {
        let mut request = self.http.request(method.clone(), url.clone()).bearer_auth(token.secret());
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        let lost = |source: reqwest::Error| SearchError::Lost { what, source: source.without_url() };
        let asked = Instant::now();
        let mut response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let told = told_offset(&headers, asked.elapsed());
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if answer.len() + chunk.len() > MAX_PAGE_BYTES {
                return Err(SearchError::TooLarge(what));
            }
            answer.extend_from_slice(&chunk);
        }
        if answer.starts_with(BYTE_ORDER_MARK) {
            answer.drain(..BYTE_ORDER_MARK.len());
        }
        judge(what, status, &headers, &answer, self.now())?;
        // Now it is known to be the service's own.
        if let Some(offset) = told {
            self.clock.learn(offset, Witness::Search);
        }
        Ok(answer)
    }
}

/// The one place where an answer is judged.
fn judge(what: &'static str, status: StatusCode, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<(), SearchError> {
    let is_html = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if status.is_success() {
        let passing = |why: &str| Err(SearchError::Passing { what, why: why.to_owned() });
        return match body {
            _ if is_html => passing("a web page stands in the place of an answer"),
            [] if status != StatusCode::NO_CONTENT => passing("the answer is empty"),
            _ => Ok(()),
        };
    }
    let error = ServiceError::read(body);
    if error.code == "AuditingDisabledTenant" {
        return Err(SearchError::AuditingOff);
    }
    let challenge = headers.get(header::WWW_AUTHENTICATE).is_some_and(|value| String::from_utf8_lossy(value.as_bytes()).contains("claims"));
    Err(match status.as_u16() {
        401 => SearchError::Unauthorised,
        403 if challenge => SearchError::Unauthorised,
        403 if is_html => SearchError::Passing { what, why: "a web page stands in the place of an answer".to_owned() },
        403 => SearchError::Forbidden(error.code),
        404 => SearchError::Gone(what),
        429 => SearchError::Busy { what, wait: retry_after(headers, now) },
        501 => SearchError::Refused { what, status: 501, code: error.code },
        408 | 500.. => SearchError::Passing { what, why: format!("HTTP {} {}", status.as_u16(), error.code) },
        _ if is_html => SearchError::Passing { what, why: "a web page stands in the place of an answer".to_owned() },
        status => SearchError::Refused { what, status, code: error.code },
    })
}

fn pause(tries: u32) -> Duration {
    doubled(FIRST_PAUSE, tries)
}

fn doubled(first: Duration, tries: u32) -> Duration {
    first * 2_u32.saturating_pow(tries - 1)
}

/// How long nothing is to be asked, in words.
fn in_minutes(wait: Option<Duration>) -> String {
    wait.map(|wait| format!(", for {} minutes", wait.as_secs().div_ceil(60))).unwrap_or_default()
}

/// Ids are the service's; one that is no plain name cannot reach another address.
fn encoded(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// The same path; `queries('id')` says what `queries/id` says.
fn same_path(one: &str, other: &str) -> bool {
    let unescaped = |path: &str| path.replace("%28", "(").replace("%27", "'").replace("%29", ")");
    let plain = |path: &str| unescaped(path).replace("('", "/").replace("')", "").to_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_querys_own_in_both_of_its_forms_and_no_other() {
        let own = "/v1.0/security/auditLog/queries/a-1/records";
        for form in ["('a-1')", "(%27a-1%27)", "%28%27a-1%27%29"] {
            assert!(same_path(&format!("/v1.0/security/auditLog/queries{form}/records"), own), "{form}");
        }
        assert!(same_path("/v1.0/security/auditlog/queries/A-1/records", own));
        for other in [
            "/v1.0/security/auditLog/queries/a-2/records",
            "/v1.0/security/auditLog/queries/a-1",
            "/beta/security/auditLog/queries/a-1/records",
        ] {
            assert!(!same_path(other, own), "{other}");
        }
    }
}
