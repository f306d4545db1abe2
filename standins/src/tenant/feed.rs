//! The Activity API's rules: who may ask, what a subscription allows, which blobs a window holds, what a content URI
//! gives. How an answer travels is in `serve`.
//!
//! Rules and codes:
//! <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::blob::Blob;
use super::call::{Call, Operation};
use super::fault::FaultKind;
use super::serve::Answer;
use super::{CONTENT_TYPES, State, World};

/// How long after a start request the next one for that content type is refused.
const BETWEEN_STARTS: TimeDelta = TimeDelta::minutes(15);
/// The longest window of a listing.
const MAX_WINDOW: TimeDelta = TimeDelta::hours(24);
/// How long ago a window may start.
const OLDEST_START: TimeDelta = TimeDelta::days(7);

const TIME_RULE: &str = "Start time and end time must both be specified (or both omitted) and must be less than or equal \
                         to 24 hours apart, with the start time no more than 7 days in the past.";

/// A content type's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Content can be listed.
    Enabled,
    /// Stopped; a start request enables it.
    Disabled,
    /// Never started.
    Absent,
    /// Disabled by an administrator: listed as disabled, and a start request does not help.
    DisabledByAdmin,
}

/// An error of the API.
struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    fn bad(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.status, &refusal.code, &refusal.message)
    }
}

impl World {
    /// The contentUri of a blob. The path is percent-encoded where an id needs it.
    pub(super) fn content_uri(&self, id: &str) -> String {
        let mut url = self.api_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            let tenant = self.options.tenant_id.to_string();
            path.clear().extend(["api", "v1.0", &tenant, "activity", "feed", "audit", id]);
        }
        url.into()
    }
}

/// Answers a request to the feed. `declares_length` says whether a POST came with a Content-Length or a chunked body.
pub(super) fn answer(world: &World, call: &Call, token: Option<&[String]>, declares_length: bool, fault: Option<&FaultKind>) -> Answer {
    // As ASP.NET answers, before the API itself is reached.
    let Some(roles) = token else {
        return Answer::unauthorised();
    };
    let expected = match call.operation {
        Operation::StartSubscription | Operation::StopSubscription => Method::POST,
        _ => Method::GET,
    };
    if call.method != expected {
        let message = format!("The requested resource does not support http method '{}'.", call.method);
        let body = json!({ "Message": message });
        return Answer::json(StatusCode::METHOD_NOT_ALLOWED, &body).with("allow", expected.as_str());
    }
    // As IIS, which the service names as its server, answers on HTTP/1.1.
    if expected == Method::POST && !declares_length {
        let page = "<h2>Length Required</h2><hr><p>HTTP Error 411. The request must be chunked or have a content length.</p>";
        return Answer::text(StatusCode::LENGTH_REQUIRED, "text/html; charset=us-ascii", page);
    }
    let now = world.now();
    let mut state = world.state();
    let answer = permit(world, &mut state, call, roles, now).and_then(|()| match call.operation {
        Operation::ListSubscriptions => Ok(list_subscriptions(&state)),
        Operation::StartSubscription => start(world, &mut state, call, now),
        Operation::StopSubscription => stop(&mut state, call),
        Operation::ListContent => list_content(world, &state, call, now, fault),
        _ => fetch(&state, call, now),
    });
    answer.unwrap_or_else(Answer::from)
}

/// The rules that hold for every operation.
fn permit(world: &World, state: &mut State, call: &Call, roles: &[String], now: DateTime<Utc>) -> Result<(), Refusal> {
    let tenant = call.path.trim_matches('/').split('/').nth(2).unwrap_or_default();
    let Ok(id) = Uuid::try_parse(tenant) else {
        return Err(Refusal::bad("AF20013", format!("The tenant ID passed in the URL ({tenant}) is not a valid GUID.")));
    };
    let own = world.options.tenant_id;
    if id != own {
        let message = format!("The tenant ID passed in the URL ({id}) does not match the tenant ID passed in the access token ({own}).");
        return Err(Refusal::bad("AF20010", message));
    }
    if !world.options.auditing {
        return Err(auditing_off(world, call));
    }
    let needed = match call.content_type.as_deref() {
        Some("DLP.All") => "ActivityFeed.ReadDlp",
        _ => "ActivityFeed.Read",
    };
    if !roles.iter().any(|role| role == needed) {
        let message =
            format!("The permission set ({}) sent in the request does not include the expected permission {needed}.", roles.join(" "));
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "AF10001", message));
    }
    throttle(world, state, call, now)
}

/// The answer where unified audit logging is off. The colon of its message splits it into code and message, as seen in
/// <https://github.com/counteractive/o365beat/issues/58>.
fn auditing_off(world: &World, call: &Call) -> Refusal {
    let operation = match call.operation {
        Operation::StartSubscription => "StartSubscription",
        Operation::StopSubscription => "StopSubscription",
        Operation::ListSubscriptions => "ListSubscriptions",
        _ => "GetContent",
    };
    let (tenant, client) = (world.options.tenant_id, world.client_id);
    let content_type = call.content_type.as_deref().unwrap_or_default();
    let publisher = publisher(call);
    let code = format!(
        "{operation} [CorrId={}][TenantId={tenant},ContentType={content_type},ApplicationId={client},PublisherId={publisher}][AppId",
        Uuid::new_v4()
    );
    let message = format!(
        "{client}] failed. Exception: Microsoft.Office.Compliance.Audit.DataServiceException: Tenant {tenant} does not \
         exist.\r\n   at Microsoft.Office.Compliance.Audit.API.AzureManager.MoveNext()"
    );
    Refusal::bad(&code, message)
}

/// Without a PublisherIdentifier all callers share one pool.
fn publisher(call: &Call) -> &str {
    call.publisher.as_deref().unwrap_or("00000000-0000-0000-0000-000000000000")
}

fn throttle(world: &World, state: &mut State, call: &Call, now: DateTime<Utc>) -> Result<(), Refusal> {
    let Some(limit) = world.options.requests_a_minute else {
        return Ok(());
    };
    let recent = state.recent.entry(publisher(call).to_owned()).or_default();
    // A time in the future is left over from a clock that was set back.
    recent.retain(|&at| at <= now && now - at < TimeDelta::minutes(1));
    if recent.len() >= limit as usize {
        let message = format!("Too many requests. Method={:?}, PublisherId={}", call.operation, publisher(call));
        return Err(Refusal::new(throttle_status(world), "AF429", message));
    }
    recent.push_back(now);
    Ok(())
}

fn throttle_status(world: &World) -> StatusCode {
    StatusCode::from_u16(world.options.throttle_status).unwrap_or(StatusCode::TOO_MANY_REQUESTS)
}

fn list_subscriptions(state: &State) -> Answer {
    let list: Vec<Value> = state.subscriptions.iter().map(|(content_type, &status)| entry(content_type, status)).collect();
    Answer::json(StatusCode::OK, &list)
}

fn entry(content_type: &str, status: SubscriptionState) -> Value {
    let status = if status == SubscriptionState::Enabled { "enabled" } else { "disabled" };
    json!({ "contentType": content_type, "status": status, "webhook": null })
}

fn start(world: &World, state: &mut State, call: &Call, now: DateTime<Utc>) -> Result<Answer, Refusal> {
    let content_type = content_type(call)?;
    if let Some(&last) = state.starts.get(content_type) {
        let wait = last + BETWEEN_STARTS - now;
        if wait > TimeDelta::zero() && wait <= BETWEEN_STARTS {
            let message = format!(
                "Too many frequent subscription start requests. Please retry again after {}m {}s",
                wait.num_minutes(),
                wait.num_seconds() % 60
            );
            // The code is a bare number, unlike that of other throttling:
            // <https://github.com/opensearch-project/data-prepper/pull/6231>
            return Err(Refusal::new(throttle_status(world), "429", message));
        }
    }
    state.starts.insert(content_type.to_owned(), now);
    match state.subscriptions.get(content_type) {
        Some(SubscriptionState::Enabled) => Err(Refusal::bad("AF20024", "The subscription is already enabled. No property change.")),
        Some(SubscriptionState::DisabledByAdmin) => Err(disabled()),
        _ => {
            state.subscriptions.insert(content_type.to_owned(), SubscriptionState::Enabled);
            Ok(Answer::json(StatusCode::OK, &entry(content_type, SubscriptionState::Enabled)))
        }
    }
}

fn stop(state: &mut State, call: &Call) -> Result<Answer, Refusal> {
    let content_type = content_type(call)?;
    let status = state.subscriptions.get_mut(content_type).ok_or_else(|| no_subscription(content_type))?;
    if *status == SubscriptionState::Enabled {
        *status = SubscriptionState::Disabled;
    }
    Ok(Answer::text(StatusCode::OK, "application/json; charset=utf-8", ""))
}

fn content_type(call: &Call) -> Result<&str, Refusal> {
    let asked = call.parameter("contentType").ok_or_else(|| Refusal::bad("AF20001", "Missing parameter: contentType."))?;
    if CONTENT_TYPES.contains(&asked) { Ok(asked) } else { Err(Refusal::bad("AF20020", "The specified content type is not valid.")) }
}

fn no_subscription(content_type: &str) -> Refusal {
    Refusal::bad("AF20022", format!("No subscription found for the specified content type {content_type}."))
}

fn disabled() -> Refusal {
    Refusal::bad("AF20023", "The subscription was disabled.")
}

/// One page of the blobs that became available in a window, in no order.
fn list_content(world: &World, state: &State, call: &Call, now: DateTime<Utc>, fault: Option<&FaultKind>) -> Result<Answer, Refusal> {
    let content_type = content_type(call)?;
    let (start, end) = window(call, now)?;
    match state.subscriptions.get(content_type) {
        Some(SubscriptionState::Enabled) => {}
        None | Some(SubscriptionState::Absent) => return Err(no_subscription(content_type)),
        Some(_) => return Err(disabled()),
    }
    let page = match call.parameter("nextPage") {
        None => Page { from: 0, turn: 0 },
        Some(token) => Page::parse(token, start).ok_or_else(|| Refusal::bad("AF20031", format!("Invalid nextPage Input: {token}.")))?,
    };

    let mut rest: Vec<&Arc<Blob>> = state
        .blobs
        .values()
        .filter(|blob| blob.content_type == content_type && blob.rank >= page.from)
        .filter(|blob| blob.created >= start && blob.created < end)
        .filter(|blob| blob.visible_from <= now && blob.expires > now)
        .collect();
    rest.sort_unstable_by_key(|blob| blob.rank);

    let size = if matches!(fault, Some(FaultKind::EmptyPage)) { 0 } else { state.page_size };
    let items: Vec<Value> = rest.iter().take(size).map(|blob| item(blob)).collect();
    let next = rest.get(size).map(|blob| Page { from: blob.rank, turn: (page.turn + 1) % 1000 });
    let next = match fault {
        Some(FaultKind::ForeignNextPage(url)) => Some(url.clone()),
        Some(FaultKind::RepeatNextPage) => Some(url_of(world, call)),
        _ => next.map(|page| page.url(world, content_type, start, end)),
    };
    let answer = Answer::json(StatusCode::OK, &items);
    Ok(match next {
        Some(url) => answer.with("NextPageUri", &url),
        None => answer,
    })
}

fn item(blob: &Blob) -> Value {
    blob.listed.fetch_add(1, Ordering::Relaxed);
    json!({
        "contentUri": blob.uri,
        "contentId": blob.id,
        "contentType": blob.content_type,
        "contentCreated": milliseconds(blob.created),
        "contentExpiration": milliseconds(blob.expires),
    })
}

fn milliseconds(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Where a page of a listing starts. Counting by rank and not by place keeps pages whole while blobs are published.
struct Page {
    from: u64,
    /// Tells two pages with the same start apart; three digits, then from nought again.
    turn: u32,
}

impl Page {
    fn token(&self, start: DateTime<Utc>) -> String {
        format!("{}R{:03}{:020}", start.format("%Y%m%d%H%M"), self.turn, self.from)
    }

    /// `None` for what is no token, or that of another window.
    fn parse(token: &str, start: DateTime<Utc>) -> Option<Self> {
        let (_, digits) = token.split_once('R')?;
        let (turn, from) = digits.split_at_checked(3)?;
        let page = Self { from: from.parse().ok()?, turn: turn.parse().ok()? };
        (page.token(start) == token).then_some(page)
    }

    /// The NextPageUri: times in lower case, and no PublisherIdentifier, as the service writes it.
    fn url(&self, world: &World, content_type: &str, start: DateTime<Utc>, end: DateTime<Utc>) -> String {
        let path = format!("api/v1.0/{}/activity/feed/subscriptions/content", world.options.tenant_id);
        let mut url = world.api_url.clone();
        url.set_path(&path);
        let second = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M:%S%.f").to_string();
        url.query_pairs_mut()
            .append_pair("contentType", content_type)
            .append_pair("starttime", &second(start))
            .append_pair("endtime", &second(end))
            .append_pair("nextPage", &self.token(start));
        url.into()
    }
}

/// The URL of a call, as it was asked for.
fn url_of(world: &World, call: &Call) -> String {
    let mut url: Url = world.api_url.clone();
    url.set_path(&call.path);
    url.query_pairs_mut().extend_pairs(&call.query);
    url.into()
}

/// The window asked for, `[start, end)`; the last 24 hours where none is.
fn window(call: &Call, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), Refusal> {
    let time = |name: &str| {
        call.parameter(name)
            .map(|text| {
                parse_time(text).ok_or_else(|| Refusal::bad("AF20002", format!("Invalid parameter type: {name}. Expected type: DateTime")))
            })
            .transpose()
    };
    let (start, end) = match (time("startTime")?, time("endTime")?) {
        (None, None) => (now - MAX_WINDOW, now),
        (Some(start), Some(end)) => (start, end),
        _ => return Err(Refusal::bad("AF20030", TIME_RULE)),
    };
    if end < start || end - start > MAX_WINDOW {
        return Err(Refusal::bad("AF20030", TIME_RULE));
    }
    if now - start > OLDEST_START {
        return Err(Refusal::bad("AF20055", TIME_RULE));
    }
    Ok((start, end))
}

/// A time in one of the documented forms, UTC, or with the fraction and zone that callers are known to add.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let zoned = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
    let plain = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN).and_utc());
    zoned
        .iter()
        .find_map(|form| DateTime::parse_from_str(text, form).ok().map(|time| time.to_utc()))
        .or_else(|| plain.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok().map(|time| time.and_utc())))
        .or_else(date)
}

fn fetch(state: &State, call: &Call, now: DateTime<Utc>) -> Result<Answer, Refusal> {
    let id = content_id(&call.path);
    let Some(blob) = state.blobs.get(&id).filter(|blob| blob.visible_from <= now) else {
        return Err(if id.chars().all(|c| c.is_ascii_alphanumeric() || "$_.-".contains(c)) {
            Refusal::new(StatusCode::NOT_FOUND, "AF20050", format!("The specified content ({id}) does not exist."))
        } else {
            Refusal::bad("AF20052", format!("Content ID {id} in the URL is invalid."))
        });
    };
    if blob.expires <= now {
        let message = format!("Content requested with the key {id} has already expired. Content older than 7 days cannot be retrieved.");
        return Err(Refusal::bad("AF20051", message));
    }
    Ok(Answer::blob(blob.clone()))
}

/// The contentId at the end of a content URI's path.
pub(super) fn content_id(path: &str) -> String {
    let segment = path.rsplit('/').next().unwrap_or_default();
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}
