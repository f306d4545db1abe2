//! HTTP of the graph page: its files, and the small interface that they ask, on loopback and behind a key. What is
//! counted is told in `edges`.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Error;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;

use super::csv;
use super::edges::Edges;
use super::filter::Filter;
use super::page;
use super::store::Store;

/// Nodes that a search names.
const MAX_FOUND: usize = 20;
/// Records that a list shows.
const MAX_LISTED: usize = 200;

/// Scripts, styles and requests of our own alone; no markup from strings. What a record holds cannot become code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// What the requests share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) days: Option<u32>,
    pub(super) edges: RwLock<Arc<Edges>>,
    /// Made when the server starts.
    pub(super) script: String,
    /// A part of every path, so that no other user of this machine and no other page of the browser can guess one.
    pub(super) key: String,
    /// Names under which the server may be asked: another one means that somebody else's name leads here.
    pub(super) hosts: Vec<String>,
}

impl Shared {
    /// How far back records are read.
    pub(super) fn since(&self) -> Option<DateTime<Utc>> {
        Utc::now().checked_sub_signed(TimeDelta::days(i64::from(self.days?)))
    }

    fn edges(&self) -> Arc<Edges> {
        Arc::clone(&self.edges.read().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let at = |path: &str| format!("/{}{path}", shared.key);
    Router::new()
        .route(&at("/"), get(|| async { file("text/html; charset=utf-8", page::MARKUP.to_owned()) }))
        .route(&at("/style.css"), get(|| async { file("text/css; charset=utf-8", page::STYLE.to_owned()) }))
        .route(&at("/page.js"), get(async |State(shared): Here| file("text/javascript; charset=utf-8", shared.script.clone())))
        .route(&at("/api/summary"), get(async |State(shared): Here| Json(shared.edges().summary())))
        .route(&at("/api/picture"), get(async |State(shared): Here, Query(filter): Query<Filter>| Json(shared.edges().picture(&filter))))
        .route(
            &at("/api/findings"),
            get(async |State(shared): Here, Query(filter): Query<Filter>| Json(shared.edges().findings(&filter)).into_response()),
        )
        .route(
            &at("/api/path"),
            get(async |State(shared): Here, Query(filter): Query<Filter>| Json(shared.edges().told_path(&filter)).into_response()),
        )
        .route(&at("/api/edges.csv"), get(edges_csv))
        .route(&at("/api/search"), get(search))
        .route(&at("/api/records"), get(records))
        .route(&at("/api/record"), get(record))
        .route(&at("/api/reload"), post(reload))
        .layer(from_fn_with_state(Arc::clone(&shared), only_from_here))
        .layer(map_response(async |response: Response| (headers(), response)))
        .with_state(shared)
}

type Here = State<Arc<Shared>>;

fn file(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn headers() -> [(HeaderName, HeaderValue); 7] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
}

/// A page of another origin may lead a browser here, by a name of its own that it points at this machine.
async fn only_from_here(State(shared): Here, request: Request, next: Next) -> Response {
    if is_from_here(&shared.hosts, request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "Only for pages of this address.\n").into_response()
    }
}

fn is_from_here(hosts: &[String], headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours = |host: &str| hosts.iter().any(|ours| ours == host);
    let origin = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://").is_some_and(is_ours));
    text(header::HOST).is_some_and(is_ours) && origin
}

async fn edges_csv(State(shared): Here, Query(filter): Query<Filter>) -> Response {
    let edges = shared.edges();
    let attachment = (header::CONTENT_DISPOSITION, "attachment; filename=\"edges.csv\"");
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), attachment], csv::table(&edges.rows(&filter))).into_response()
}

#[derive(Deserialize)]
struct Search {
    q: String,
}

async fn search(State(shared): Here, Query(Search { q }): Query<Search>) -> Response {
    let edges = shared.edges();
    let found: Vec<_> = edges.search(&q, MAX_FOUND).into_iter().map(|(key, records)| json!({ "key": key, "records": records })).collect();
    Json(found).into_response()
}

/// Of a node, its key in one of the two; of an edge, both; of all that pass the filter, neither.
#[derive(Deserialize)]
struct Ends {
    of: Option<String>,
    and: Option<String>,
}

async fn records(State(shared): Here, Query(ends): Query<Ends>, Query(filter): Query<Filter>) -> Response {
    let edges = shared.edges();
    Json(edges.listing(&filter, (ends.of.as_deref(), ends.and.as_deref()), MAX_LISTED)).into_response()
}

#[derive(Deserialize)]
struct Place {
    pk: String,
    id: String,
}

async fn record(State(shared): Here, Query(Place { pk, id }): Query<Place>) -> Result<Response, Trouble> {
    Ok(match shared.store.record(&pk, &id).await? {
        Some(record) => Json(record).into_response(),
        None => (StatusCode::NOT_FOUND, "The record is no longer in the database.\n").into_response(),
    })
}

async fn reload(State(shared): Here) -> Result<Response, Trouble> {
    let edges = Arc::new(shared.store.edges(shared.since()).await?);
    *shared.edges.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&edges);
    Ok(Json(edges.summary()).into_response())
}

/// The database did not do its part; the page shows why.
struct Trouble(Error);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, format!("{:#}\n", self.0)).into_response()
    }
}
