//! Graph's audit log queries over the tenant's one store: who may ask, the states of a query, its pages. The records are those of
//! the content blobs, so that both APIs serve the same.
//!
//! It follows <https://learn.microsoft.com/graph/api/resources/security-auditlogquery> with the habits that others have reported.

mod fault;
mod index;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

pub use self::fault::{Oddity, PageFault, SearchFault};
use self::fault::{Planned, meet};
use self::index::{Index, Row};
use super::call::{Call, Operation, with_plain_key};
use super::fault::FaultKind;
use super::serve::Answer;
use super::{NewBlob, State, Tenant, World, login};

/// The app role that lets an app search everything.
pub const ROLE: &str = "AuditLogsQuery.Read.All";
const JSON: &str = "application/json";
const SUBMISSIONS: TimeDelta = TimeDelta::hours(24);

/// What the tenant's audit search is like. All of it can be changed while the tenant runs.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// App roles that access tokens for Graph carry.
    pub roles: Vec<String>,
    /// Whether v1.0 is there; where it is not, beta answers.
    pub has_v1: bool,
    /// How it is told that it is not there: 404, or 400 as for any path that Graph does not know.
    pub unknown_path: StatusCode,
    /// How long a query takes.
    pub takes: TimeDelta,
    /// Each look at a query pushes the tenant's clock so far.
    pub push: TimeDelta,
    /// What happened longer ago is gone.
    pub reach: TimeDelta,
    /// Whether a record at the very end that was asked for is found.
    pub is_end_included: bool,
    /// Some hundredths of the records are found so much later than in the feed.
    pub late: (u64, TimeDelta),
    /// Queries made in 24 hours, above which making one is 429.
    pub max_submissions: usize,
    /// Queries that have not ended, likewise.
    pub max_open: usize,
    /// Records of a query; the rest is cut.
    pub max_records: usize,
    /// Records on a page, where the client names no number.
    pub page_size: usize,
    /// The largest number that a client can name.
    pub max_page_size: usize,
    /// After its end, until the query's own record is there.
    pub reports_after: TimeDelta,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            roles: vec![ROLE.to_owned()],
            has_v1: true,
            unknown_path: StatusCode::NOT_FOUND,
            takes: TimeDelta::minutes(4),
            push: TimeDelta::zero(),
            reach: TimeDelta::days(180),
            is_end_included: false,
            late: (0, TimeDelta::zero()),
            max_submissions: 200,
            max_open: 50,
            max_records: 1_000_000,
            page_size: 150,
            max_page_size: 1000,
            reports_after: TimeDelta::minutes(30),
        }
    }
}

/// A query as a test sees it.
#[derive(Clone, Debug)]
pub struct SearchInfo {
    /// Its id.
    pub id: String,
    /// Its displayName.
    pub name: String,
    /// The first moment that was asked for.
    pub start: DateTime<Utc>,
    /// The last.
    pub end: DateTime<Utc>,
    /// When it was made.
    pub made: DateTime<Utc>,
    /// How often its records were read from the first page on.
    pub passes: u32,
}

/// The audit search's part of the tenant's state.
pub(super) struct Searches {
    options: SearchOptions,
    index: Index,
    queries: BTreeMap<Uuid, Query>,
    planned: Vec<Planned>,
    submissions: Vec<DateTime<Utc>>,
}

impl Searches {
    pub(super) fn new(options: SearchOptions) -> Self {
        Self { options, index: Index::default(), queries: BTreeMap::new(), planned: Vec::new(), submissions: Vec::new() }
    }

    /// App roles of tokens for Graph.
    pub(super) fn roles(&self) -> Vec<String> {
        self.options.roles.clone()
    }
}

struct Query {
    id: Uuid,
    asked: Asked,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    made: DateTime<Utc>,
    takes: TimeDelta,
    rows: Vec<Row>,
    found: usize,
    limit: usize,
    faults: Vec<SearchFault>,
    passes: u32,
    refused_looks: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    display_name: Option<String>,
    filter_start_date_time: Option<String>,
    filter_end_date_time: Option<String>,
}

impl Query {
    fn has(&self, fault: &SearchFault) -> bool {
        self.faults.contains(fault)
    }

    /// Its status; none once it has vanished.
    fn status(&self, now: DateTime<Utc>) -> Option<&str> {
        let ran = now - self.made;
        let word = self.faults.iter().find_map(|fault| if let SearchFault::Word(word) = fault { Some(*word) } else { None });
        if self.has(&SearchFault::Vanishes) && ran >= self.takes / 2 {
            return None;
        }
        Some(match ran {
            ran if ran < self.takes / 4 => word.unwrap_or("notStarted"),
            ran if ran < self.takes || self.has(&SearchFault::Stuck) => word.unwrap_or("running"),
            _ if self.has(&SearchFault::Fails) => "failed",
            _ if self.has(&SearchFault::Cancelled) => "cancelled",
            _ => "succeeded",
        })
    }

    fn is_open(&self, now: DateTime<Utc>) -> bool {
        self.status(now).is_some_and(|status| !matches!(status, "succeeded" | "failed" | "cancelled"))
    }

    fn json(&self, now: DateTime<Utc>) -> Value {
        let is_altered = self.has(&SearchFault::EchoAltered) || (self.has(&SearchFault::EchoAlteredLater) && now > self.made);
        let end = if is_altered { self.end + TimeDelta::hours(1) } else { self.end };
        let status = self.status(now).unwrap_or_default();
        let word = if self.has(&SearchFault::Capitals) { capitalised(status) } else { status.to_owned() };
        let mut json = json!({
            "@odata.type": "#microsoft.graph.security.auditLogQuery",
            "id": self.id,
            "displayName": self.asked.display_name,
            "filterStartDateTime": seconds(self.start),
            "filterEndDateTime": seconds(end),
            "recordTypeFilters": [], "keywordFilter": "", "serviceFilter": null, "operationFilters": [],
            "userPrincipalNameFilters": [], "ipAddressFilters": [], "objectIdFilters": [], "administrativeUnitIdFilters": [],
            "status": word,
        });
        if !self.has(&SearchFault::CountsMissing) {
            let percent = self.faults.iter().find_map(|fault| if let SearchFault::CountsWrong(of) = fault { Some(*of) } else { None });
            let is_done = status == "succeeded";
            let approximate = self.rows.len() * percent.unwrap_or(100) as usize / 100;
            let is_told = self.passes > 0 || !self.has(&SearchFault::CutToldLate);
            json["isRecordCountLimitExceeded"] = json!(is_done && is_told && self.found > self.rows.len());
            json["recordCountLimit"] = json!(self.limit);
            json["approximateReturnedRecordCount"] = json!(if is_done { approximate } else { 0 });
            if self.has(&SearchFault::CountsOdd) {
                json["isRecordCountLimitExceeded"] = json!(capitalised(&json["isRecordCountLimitExceeded"].to_string()));
                json["recordCountLimit"] = json!(self.limit.to_string());
                json["approximateReturnedRecordCount"] = json!(-1);
            }
        }
        json
    }

    /// The fault of a page in this reading.
    fn page_fault(&self, at: usize, pass: u32) -> Option<PageFault> {
        self.faults.iter().find_map(|fault| match fault {
            SearchFault::Page { page, passes, what } if *page == at && pass < *passes => Some(*what),
            _ => None,
        })
    }

    /// Which rows a reading has, some of them twice.
    fn reading(&self, pass: u32) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        for fault in &self.faults {
            match fault {
                SearchFault::LeavesOut { percent, pass: of } if *of == pass => rows.retain(|row| row.mark("left out") % 100 >= *percent),
                SearchFault::NeverWhole { of } => {
                    let numbered = rows.into_iter().enumerate();
                    rows = numbered.filter(|(at, _)| !(at + pass as usize).is_multiple_of(*of)).map(|(_, row)| row).collect();
                }
                SearchFault::Repeats { percent } => {
                    let again: Vec<_> = rows.iter().filter(|row| row.mark("repeat") % 100 < *percent).copied().collect();
                    rows.extend(again);
                }
                _ => {}
            }
        }
        rows
    }

    fn oddity(&self, row: &Row) -> Option<Oddity> {
        self.faults.iter().find_map(|fault| match fault {
            SearchFault::Odd { percent, what } if row.mark("odd") % 100 < *percent => Some(*what),
            _ => None,
        })
    }
}

/// Where the next page begins, as its link says without saying it.
struct Place {
    pass: u32,
    page: usize,
    row: usize,
}

impl Place {
    fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {} {}", self.pass, self.page, self.row))
    }

    fn read(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let mut numbers = text.split(' ').map(|number| number.parse::<usize>().ok());
        let (pass, page, row) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Self { pass: u32::try_from(pass).ok()?, page, row })
    }
}

/// Answers a request to the audit search.
pub(super) fn answer(world: &World, call: &Call, headers: &HeaderMap, body: &[u8], fault: Option<&FaultKind>) -> Answer {
    let now = world.now();
    let roles = login::roles_for(&world.state(), headers, now, world.graph_url.as_str());
    let Some(roles) = roles else {
        return error(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.");
    };
    if !roles.iter().any(|role| role == ROLE) {
        return forbidden();
    }
    let mut state = world.state();
    if !state.searches.options.has_v1 && call.path.starts_with("/v1.0/") {
        return error(state.searches.options.unknown_path, "BadRequest", "Resource not found for the segment 'auditLog'.");
    }
    match call.operation {
        Operation::CreateQuery => create(world, &mut state, call, body, now),
        Operation::ListQueries => list(&state, now),
        Operation::ReadQuery => look(&mut state, call, now),
        Operation::DeleteQuery => delete(&mut state, call),
        _ => records(world, &mut state, call, fault),
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({"error": {"code": code, "message": message, "innerError": {"request-id": Uuid::new_v4()}}}))
}

/// As the service words it: JSON inside of the message's text.
fn forbidden() -> Answer {
    let inside = json!({"error": {"code": "Forbidden", "message": "The caller lacks AuditLogsQuery.Read.All."}}).to_string();
    error(StatusCode::FORBIDDEN, "UnknownError", &inside)
}

fn auditing_off(is_inside: bool) -> Answer {
    let message = "Unified audit log ingestion is disabled for this tenant.";
    if is_inside {
        let inside = json!({"error": {"code": "AuditingDisabledTenant", "message": message}}).to_string();
        return error(StatusCode::BAD_REQUEST, "UnknownError", &inside);
    }
    error(StatusCode::BAD_REQUEST, "AuditingDisabledTenant", message)
}

fn too_many(wait: TimeDelta) -> Answer {
    error(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "Too many requests.")
        .with("retry-after", &wait.num_seconds().max(1).to_string())
}

fn create(world: &World, state: &mut State, call: &Call, body: &[u8], now: DateTime<Utc>) -> Answer {
    let Ok(asked) = serde_json::from_slice::<Asked>(body) else {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "Unable to read JSON request payload.");
    };
    let times = [&asked.filter_start_date_time, &asked.filter_end_date_time];
    let times = times.map(|text| DateTime::parse_from_rfc3339(text.as_deref().unwrap_or_default()).map(|time| time.to_utc()));
    // As the service answers to a date that it cannot read.
    let [Ok(start), Ok(end)] = times else { return error(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", "") };
    if end < start {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "The end is before the start.");
    }
    if !world.options.auditing {
        return auditing_off(false);
    }
    let State { searches, blobs, .. } = state;
    searches.submissions.retain(|at| now - *at < SUBMISSIONS);
    if let (true, Some(first)) = (searches.submissions.len() >= searches.options.max_submissions, searches.submissions.first()) {
        return too_many(SUBMISSIONS - (now - *first));
    }
    if searches.queries.values().filter(|query| query.is_open(now)).count() >= searches.options.max_open {
        return too_many(TimeDelta::seconds(30));
    }
    let faults = meet(&mut searches.planned, start, end);
    for fault in &faults {
        match fault {
            SearchFault::AuditingOff { is_inside } => return auditing_off(*is_inside),
            SearchFault::Forbidden => return forbidden(),
            SearchFault::NotMade => return error(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", ""),
            _ => {}
        }
    }
    searches.submissions.push(now);
    searches.index.add(blobs.values());
    let query = searches.query(asked, (start, end), faults, now);
    let answer = Answer::json(StatusCode::CREATED, &with_context(query.json(now), call));
    let lost =
        query.faults.iter().find_map(|fault| if let SearchFault::LosesAnswer { is_listed } = fault { Some(*is_listed) } else { None });
    let report = query.report(&searches.options, world);
    if lost != Some(false) {
        searches.queries.insert(query.id, query);
    }
    if let Some(report) = report {
        world.publish_into(state, report);
    }
    if lost.is_some() { answer.lost() } else { answer }
}

impl Searches {
    fn query(&self, asked: Asked, (start, end): (DateTime<Utc>, DateTime<Utc>), faults: Vec<SearchFault>, made: DateTime<Utc>) -> Query {
        let options = &self.options;
        let ignores_times = faults.contains(&SearchFault::IgnoresTimes);
        let in_times = |row: &Row| start <= row.event && (row.event < end || (options.is_end_included && row.event == end));
        let mut rows = self.index.select(|row| options.finds(row, made) && (ignores_times || in_times(row)));
        if faults.contains(&SearchFault::NoRows) {
            rows.clear();
        }
        let found = rows.len();
        rows.truncate(if faults.contains(&SearchFault::CutToldLate) { found / 2 } else { options.max_records });
        let slow = faults.iter().find_map(|fault| if let SearchFault::Slow(takes) = fault { Some(*takes) } else { None });
        Query {
            id: Uuid::new_v4(),
            asked,
            start,
            end,
            made,
            takes: slow.unwrap_or(options.takes),
            rows,
            found,
            limit: options.max_records,
            faults,
            passes: 0,
            refused_looks: 0,
        }
    }
}

impl SearchOptions {
    /// True if a search that is made now finds a record of this row, if it asks for its time.
    fn finds(&self, row: &Row, made: DateTime<Utc>) -> bool {
        let (percent, later) = self.late;
        let arrival = if row.mark("late") % 100 < percent { row.arrival + later } else { row.arrival };
        arrival <= made && row.event > made - self.reach
    }
}

impl Query {
    /// The record that it writes of itself.
    fn report(&self, options: &SearchOptions, world: &World) -> Option<NewBlob> {
        let ends = [SearchFault::Stuck, SearchFault::Vanishes, SearchFault::Fails, SearchFault::Cancelled];
        if ends.iter().any(|fault| self.has(fault)) {
            return None;
        }
        let event = self.made + self.takes;
        let filters = json!({"SearchName": self.asked.display_name, "Id": self.id, "RequestType": "AuditSearch",
            "StartDateUtc": seconds(self.start), "EndDateUtc": seconds(self.end), "IsGraphSearch": true});
        // A query that is told to have no rows found some all the same.
        let count = if self.has(&SearchFault::NoRows) { self.found.max(1) } else { self.rows.len() };
        let record = json!({
            "SearchJobId": self.id, "SearchSource": "App", "IsInternalServiceRequest": "false", "SearchFilters": filters.to_string(),
            "CompletionStatus": "Succeeded", "ResultsCount": count, "UserId": world.client_id, "Id": Uuid::new_v4(), "RecordType": 295,
            "CreationTime": event.format("%Y-%m-%dT%H:%M:%S").to_string(), "Operation": "AuditSearchCompleted",
            "OrganizationId": world.options.tenant_id, "UserType": 4, "UserKey": "__NULL__", "Workload": "SecurityComplianceCenter", "Version": 1,
        });
        Some(NewBlob::new("Audit.General", event + options.reports_after, vec![record.to_string()]))
    }
}

fn with_context(mut query: Value, call: &Call) -> Value {
    query["@odata.context"] = json!(format!("{}/$metadata#security/auditLog/queries/$entity", version(call)));
    query
}

fn version(call: &Call) -> &str {
    if call.path.starts_with("/beta/") { "beta" } else { "v1.0" }
}

fn list(state: &State, now: DateTime<Utc>) -> Answer {
    let queries: Vec<_> =
        state.searches.queries.values().filter(|query| query.status(now).is_some()).map(|query| query.json(now)).collect();
    Answer::json(StatusCode::OK, &json!({ "value": queries }))
}

fn id(call: &Call) -> Uuid {
    let path = with_plain_key(&call.path);
    Uuid::try_parse(path.trim_matches('/').split('/').nth(4).unwrap_or_default()).unwrap_or_default()
}

fn gone() -> Answer {
    error(StatusCode::NOT_FOUND, "NotFound", "The audit log query does not exist.")
}

fn look(state: &mut State, call: &Call, now: DateTime<Utc>) -> Answer {
    let push = state.searches.options.push;
    let now = now + push;
    state.clock_offset += push;
    let Some(query) = state.searches.queries.get_mut(&id(call)).filter(|query| query.status(now).is_some()) else { return gone() };
    query.refused_looks += 1;
    let is_not_there = |fault: &SearchFault| matches!(fault, SearchFault::NotThereYet(looks) if query.refused_looks <= *looks);
    if query.faults.iter().any(is_not_there) {
        return gone();
    }
    let is_refused = |fault: &SearchFault| matches!(fault, SearchFault::RefusesLooks(looks) if query.refused_looks <= *looks);
    if query.faults.iter().any(is_refused) {
        return error(StatusCode::BAD_REQUEST, "UnknownError", "");
    }
    Answer::json(StatusCode::OK, &with_context(query.json(now), call))
}

fn delete(state: &mut State, call: &Call) -> Answer {
    match state.searches.queries.remove(&id(call)) {
        Some(_) => Answer::text(StatusCode::NO_CONTENT, JSON, ""),
        None => gone(),
    }
}

fn records(world: &World, state: &mut State, call: &Call, fault: Option<&FaultKind>) -> Answer {
    let now = Utc::now() + state.clock_offset;
    let Searches { queries, options, .. } = &mut state.searches;
    let Some(query) = queries.get_mut(&id(call)).filter(|query| query.status(now).is_some()) else { return gone() };
    if query.status(now) != Some("succeeded") {
        return error(StatusCode::BAD_REQUEST, "BadRequest", "The query has not succeeded.");
    }
    let place = match call.parameter("$skiptoken") {
        Some(token) => match Place::read(token) {
            Some(place) => place,
            None => return error(StatusCode::BAD_REQUEST, "BadRequest", "The skip token is not valid."),
        },
        None => {
            query.passes += 1;
            Place { pass: query.passes - 1, page: 0, row: 0 }
        }
    };
    let size = call.parameter("$top").and_then(|top| top.parse().ok()).unwrap_or(options.page_size).clamp(1, options.max_page_size);
    page(world, query, call, &place, size, fault)
}

fn page(world: &World, query: &Query, call: &Call, place: &Place, size: usize, fault: Option<&FaultKind>) -> Answer {
    let rows = query.reading(place.pass);
    let end = (place.row + size).min(rows.len());
    let has_error = |fault: &SearchFault| matches!(fault, SearchFault::ErrorAfter { rows, passes } if place.pass < *passes && end > *rows);
    if query.faults.iter().any(has_error) {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "UnknownError", "");
    }
    let spoilt = query.page_fault(place.page, place.pass);
    match spoilt {
        Some(PageFault::Expired) => return error(StatusCode::BAD_REQUEST, "BadRequest", "The skip token has expired."),
        Some(PageFault::Html) => {
            return Answer::text(StatusCode::BAD_GATEWAY, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>");
        }
        Some(PageFault::Empty) => return Answer::text(StatusCode::OK, JSON, ""),
        _ => {}
    }
    let envelopes: Vec<_> = rows[place.row.min(end)..end].iter().flat_map(|row| render::envelopes(row, query.oddity(row))).collect();
    let own = |url: &mut Url, id: &str| {
        url.set_path(&format!("{}/security/auditLog/queries/{id}/records", version(call)));
        url.query_pairs_mut().append_pair("$top", &size.to_string());
    };
    let mut next = world.graph_url.clone();
    own(&mut next, &query.id.to_string());
    let token = Place { pass: place.pass, page: place.page + 1, row: end }.token();
    let link = match (spoilt, fault) {
        (Some(PageFault::LoopingLink), _) | (_, Some(FaultKind::RepeatNextPage)) => {
            next.query_pairs_mut().append_pair("$skiptoken", &Place { ..*place }.token());
            Some(next.to_string())
        }
        (Some(PageFault::ForeignLink), _) => {
            Some(format!("https://graph.example/v1.0/security/auditLog/queries/{}/records?$skiptoken=x", query.id))
        }
        (_, Some(FaultKind::ForeignNextPage(address))) => Some(address.clone()),
        (Some(PageFault::EmptyLink), _) if end == rows.len() => Some(String::new()),
        (Some(PageFault::StrayLink), _) => {
            let mut stray = world.graph_url.clone();
            own(&mut stray, &Uuid::new_v4().to_string());
            Some(stray.to_string())
        }
        _ if end < rows.len() => {
            next.query_pairs_mut().append_pair("$skiptoken", &token);
            let whole = next.to_string();
            Some(match spoilt {
                Some(PageFault::RelativeLink) => whole.replacen(world.graph_url.as_str(), "/", 1),
                Some(PageFault::EscapedLink) => whole.replacen(&format!("/{}/", query.id), &format!("(%27{}%27)/", query.id), 1),
                _ => whole,
            })
        }
        _ => None,
    };
    let mut text = format!("{{\"@odata.context\":\"{}/$metadata#records\",\"@odata.count\":{},", version(call), envelopes.len());
    if let Some(link) = link {
        text.push_str(&format!("\"@odata.nextLink\":{},", Value::from(link)));
    }
    text.push_str(&format!("\"value\":[{}]}}", envelopes.join(",")));
    match spoilt {
        Some(PageFault::CutShort) => drop(text.pop()),
        Some(PageFault::ManyLines) => text = format!("\u{feff}{}", render::on_many_lines(&text)),
        _ => {}
    }
    Answer::text(StatusCode::OK, JSON, text)
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Tenant {
    /// Root of Graph, such as `https://localhost:4003/`.
    pub fn graph_url(&self) -> &Url {
        &self.world.graph_url
    }

    /// Settings of a collector of history that signs in with a client secret.
    pub fn graph_settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.settings();
        settings.insert("OFFICE365_GRAPH_URL".into(), self.world.graph_url.as_str().trim_end_matches('/').into());
        settings
    }

    /// Pushes the tenant's clock.
    pub fn push_clock(&self, by: TimeDelta) {
        self.world.state().clock_offset += by;
    }

    /// Changes what the audit search is like.
    pub fn set_search(&self, change: impl FnOnce(&mut SearchOptions)) {
        change(&mut self.world.state().searches.options);
    }

    /// Plans a fault: of the queries made from now on, so many pass unharmed, and so many are hit then.
    pub fn fail_searches(&self, what: SearchFault, skip: usize, times: usize) {
        if times > 0 {
            self.world.state().searches.planned.push(Planned { what, of: None, skip, times });
        }
    }

    /// The same for queries that ask for a time, so many times.
    pub fn fail_searches_of(&self, time: DateTime<Utc>, what: SearchFault, times: usize) {
        if times > 0 {
            self.world.state().searches.planned.push(Planned { what, of: Some(time), skip: 0, times });
        }
    }

    /// Forgets the faults of searches that are planned.
    pub fn clear_search_faults(&self) {
        self.world.state().searches.planned.clear();
    }

    /// Every query that was made and is not deleted, in the order in which they were made.
    pub fn searches(&self) -> Vec<SearchInfo> {
        let state = self.world.state();
        let mut queries: Vec<_> = state.searches.queries.values().map(Query::info).collect();
        queries.sort_by_key(|query| query.made);
        queries
    }

    /// When queries were made in the last 24 hours, those too whose answer was lost.
    pub fn submissions(&self) -> Vec<DateTime<Utc>> {
        self.world.state().searches.submissions.clone()
    }

    /// Ids of records that happened in a half-open range and could be found by a query made at a time.
    pub fn findable(&self, start: DateTime<Utc>, end: DateTime<Utc>, made: DateTime<Utc>) -> BTreeSet<String> {
        let mut state = self.world.state();
        let State { searches, blobs, .. } = &mut *state;
        searches.index.add(blobs.values());
        let rows = searches.index.select(|row| searches.options.finds(row, made) && start <= row.event && row.event < end);
        rows.into_iter().map(|row| row.id).collect()
    }
}

impl Query {
    fn info(&self) -> SearchInfo {
        let name = self.asked.display_name.clone().unwrap_or_default();
        SearchInfo { id: self.id.to_string(), name, start: self.start, end: self.end, made: self.made, passes: self.passes }
    }
}
