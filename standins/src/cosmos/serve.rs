//! HTTP in front of the emulator: each request is checked, counted and, if so planned, spoilt; what is left goes through.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use azure_core::http::headers::{HeaderName, HeaderValue};
use azure_core::http::{Method, Request};
use azure_data_cosmos_driver::binary_json;
use bytes::Bytes;
use futures::future::pending;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::rules::{Document, Operation, is_authorized, nesting_fault};
use super::{CosmosFaultKind, EmulatedAccount, lock};
use crate::doors;

/// Serves until told to stop; then every connection is closed as it stands.
pub(super) async fn run(listener: TcpListener, account: Arc<EmulatedAccount>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match stream {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, account.clone(), stop.child_token()))),
            // Out of file descriptors, say: others may close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// One connection. The SDK asks for HTTP/2 without TLS first, other clients speak HTTP/1.1.
async fn serve(stream: TcpStream, account: Arc<EmulatedAccount>, closed: CancellationToken) {
    let mut is_closed = account.is_closed.subscribe();
    if *is_closed.borrow_and_update() {
        let _ = stream.set_zero_linger(); // dropped, it is reset
        return;
    }
    let _ = stream.set_nodelay(true);
    let connection = closed.clone();
    let service = service_fn(move |request| answer(account.clone(), request, connection.clone()));
    let server = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = server.serve_connection(TokioIo::new(stream), service) => {}
        () = closed.cancelled() => {}
        _ = is_closed.wait_for(|is_closed| *is_closed) => {}
    }
}

async fn answer(
    account: Arc<EmulatedAccount>,
    request: hyper::Request<Incoming>,
    connection: CancellationToken,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return pending().await;
    }; // the client has gone
    let exchange = Exchange { account, kind: Kind::of(&head), head, body: body.to_bytes() };
    exchange.note();
    let answer = match exchange.fault() {
        Some(CosmosFaultKind::Status { status, substatus, retry_after }) => refusal(status, substatus, retry_after),
        Some(CosmosFaultKind::Reset) => return close(connection).await,
        Some(CosmosFaultKind::LostAnswer) => {
            exchange.count(&exchange.execute().await);
            return close(connection).await;
        }
        Some(CosmosFaultKind::Delay(time)) => {
            tokio::time::sleep(time).await;
            exchange.execute().await
        }
        None => exchange.execute().await,
    };
    exchange.count(&answer);
    Ok(answer.into_response())
}

/// Closes the connection under its requests, which never get an answer.
async fn close<T>(connection: CancellationToken) -> T {
    connection.cancel();
    pending().await
}

/// What a request is about, as far as it is counted or checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    Create,
    Read,
    Query,
    /// Replaces, patches or deletes a document.
    Change,
    Other,
}

impl Kind {
    fn of(head: &Parts) -> Self {
        let is = |name| head.headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
        let segments: Vec<_> = head.uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        match (head.method.as_str(), segments.as_slice()) {
            ("POST", ["dbs", _, "colls", _, "docs"]) if is("x-ms-cosmos-is-batch-request") => Self::Batch,
            ("POST", ["dbs", _, "colls", _, "docs"])
                if is("x-ms-documentdb-isquery") || is("x-ms-documentdb-query") || is("x-ms-cosmos-is-query-plan-request") =>
            {
                Self::Query
            }
            ("POST", ["dbs", _, "colls", _, "docs"]) => Self::Create,
            ("GET", ["dbs", _, "colls", _, "docs", _]) => Self::Read,
            (_, ["dbs", _, "colls", _, "docs", _]) => Self::Change,
            _ => Self::Other,
        }
    }

    fn is_write(self) -> bool {
        matches!(self, Self::Batch | Self::Create | Self::Change)
    }
}

/// A request that was read to its end.
struct Exchange {
    account: Arc<EmulatedAccount>,
    kind: Kind,
    head: Parts,
    body: Bytes,
}

/// What is sent back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Exchange {
    fn fault(&self) -> Option<CosmosFaultKind> {
        let fault = if self.kind.is_write() { lock(&self.account.faults).strike() } else { None };
        lock(&self.account.requests).struck += u64::from(fault.is_some());
        fault
    }

    async fn execute(&self) -> Answer {
        let host =
            self.head.headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| self.head.uri.authority().map(|host| host.as_str()));
        if let Some(refusal) = doors::refusal(host, self.head.headers.contains_key(ORIGIN)) {
            return error(403, refusal);
        }
        if !is_authorized(&self.account, self.head.method.as_str(), self.head.uri.path(), &self.head.headers) {
            return error(401, "The input authorization token can't serve the request.");
        }
        if let Some(answer) = self.account.discarded.as_ref().and_then(|ids| ids.answer(self.kind, &self.head, &self.body)) {
            return answer;
        }
        if let Some(answer) = self.account.made.and_then(|made| made.answer(self.kind, &self.head, &self.body)) {
            return answer;
        }
        if let Some(refusal) = self.refused() {
            return refusal;
        }
        match self.emulate().await {
            Ok(answer) => answer,
            Err(failure) => error(500, &format!("{failure:#}")),
        }
    }

    /// What the service would not take and the emulator would. Bodies that do not parse are left to the emulator.
    fn refused(&self) -> Option<Answer> {
        match self.kind {
            Kind::Batch => {
                let operations: Vec<Operation> = serde_json::from_slice(&self.body).ok()?;
                let faulty = operations
                    .iter()
                    .position(|operation| operation.document.as_ref().is_some_and(|document| document.fault().is_some()))?;
                Some(failed_batch(operations.len(), faulty))
            }
            Kind::Create => Some(error(400, &self.document_fault()?)),
            Kind::Change if self.head.method == "PUT" => Some(error(400, &self.document_fault()?)),
            _ => None,
        }
    }

    /// The SDK sends single documents in Cosmos's binary JSON, other clients in text.
    fn document_fault(&self) -> Option<String> {
        if !binary_json::is_binary(&self.body) {
            return serde_json::from_slice::<Document>(&self.body).ok()?.fault();
        }
        let document = binary_json::decode(&self.body).ok()?;
        nesting_fault(&document).or_else(|| Document::deserialize(&document).ok()?.fault())
    }

    async fn emulate(&self) -> Result<Answer> {
        let path = self.head.uri.path_and_query().map_or("/", |path| path.as_str());
        let method: Method = self.head.method.as_str().parse()?;
        let mut request = Request::new(self.account.endpoint.join(path)?, method);
        for (name, value) in &self.head.headers {
            let value = value.to_str().context("a header is not text")?.to_owned();
            request.headers_mut().insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value));
        }
        request.set_body(self.body.clone());
        let response = self.account.emulator.execute_request(&request).await?.try_into_raw_response().await?;
        Ok(Answer {
            status: response.status().into(),
            headers: pairs(response.headers()),
            body: Bytes::copy_from_slice(response.body().as_ref()),
        })
    }

    /// Counts the request as it comes: whether it gets an answer is another matter.
    fn note(&self) {
        let mut requests = lock(&self.account.requests);
        match self.kind {
            Kind::Batch => requests.batches += 1,
            Kind::Create => requests.creates += 1,
            Kind::Read => requests.reads += 1,
            Kind::Query => requests.queries += 1,
            Kind::Change | Kind::Other => requests.other += 1,
        }
    }

    fn count(&self, answer: &Answer) {
        let mut requests = lock(&self.account.requests);
        if self.kind == Kind::Batch {
            requests.batch_operations += answer.operations();
        }
        requests.conflicts += u64::from(answer.is_conflict());
        requests.throttled += u64::from(answer.status == 429);
        requests.request_charge += answer.charge();
    }
}

fn pairs(headers: &azure_core::http::headers::Headers) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect()
}

impl Answer {
    /// How many results a batch's answer holds.
    fn operations(&self) -> u64 {
        let results = serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(&self.body);
        results.map_or(0, |results| results.len() as u64)
    }

    fn is_conflict(&self) -> bool {
        if self.status != 207 {
            return self.status == 409;
        }
        let results: Vec<Value> = serde_json::from_slice(&self.body).unwrap_or_default();
        results.iter().any(|result| result["statusCode"] == 409)
    }

    fn charge(&self) -> f64 {
        let header = self.headers.iter().find(|(name, _)| name == "x-ms-request-charge");
        header.and_then(|(_, charge)| charge.parse().ok()).unwrap_or(0.0)
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers: &mut HeaderMap = response.headers_mut();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (hyper::header::HeaderName::try_from(name), value.parse()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn refusal(status: u16, substatus: Option<u32>, retry_after: Option<Duration>) -> Answer {
    let mut answer = error(status, "Trouble on demand.");
    let substatus = substatus.map(|code| ("x-ms-substatus".to_owned(), code.to_string()));
    let wait = retry_after.map(|time| ("x-ms-retry-after-ms".to_owned(), time.as_millis().to_string()));
    answer.headers.extend(substatus.into_iter().chain(wait));
    answer
}

/// <https://learn.microsoft.com/rest/api/cosmos-db/http-status-codes-for-cosmosdb>
fn error(status: u16, message: &str) -> Answer {
    let code = match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        408 => "RequestTimeout",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    };
    Answer {
        status,
        headers: vec![(CONTENT_TYPE.to_string(), "application/json".to_owned()), ("x-ms-request-charge".to_owned(), "0".to_owned())],
        body: Bytes::from(json!({ "code": code, "message": message }).to_string()),
    }
}

/// A batch stands or falls as a whole: one operation names the fault, the others failed with it.
fn failed_batch(operations: usize, faulty: usize) -> Answer {
    let result = |index| json!({ "statusCode": if index == faulty { 400 } else { 424 }, "requestCharge": 0 });
    let results: Vec<_> = (0..operations).map(result).collect();
    Answer { body: Bytes::from(Value::from(results).to_string()), ..error(207, "") }
}
