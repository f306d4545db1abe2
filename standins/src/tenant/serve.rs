//! How requests come and answers go: TLS, HTTP/1.1, the record of calls, compression, and the faults of the wire. What
//! an answer says is decided in `feed` and `login`.

use std::io;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blob::{self, Blob, Pieces};
use super::call::{Call, Operation};
use super::fault::{self, FaultKind, Trouble};
use super::{World, audit_search, feed, login};

const JSON: &str = "application/json; charset=utf-8";

/// An answer before it travels.
pub(super) struct Answer {
    status: StatusCode,
    media_type: String,
    headers: Vec<(String, String)>,
    content: Content,
    /// The connection is reset in its place.
    is_lost: bool,
}

enum Content {
    Bytes(Bytes),
    Blob(Arc<Blob>),
}

impl Answer {
    pub(super) fn text(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, media_type: media_type.to_owned(), headers: Vec::new(), content: Content::Bytes(body.into()), is_lost: false }
    }

    pub(super) fn json(status: StatusCode, body: &(impl Serialize + ?Sized)) -> Self {
        // Only maps with keys that are no strings fail, and there are none here.
        Self::text(status, JSON, serde_json::to_vec(body).unwrap_or_default())
    }

    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &json!({ "error": { "code": code, "message": message } }))
    }

    /// What the API says to a token that is missing, expired or not its own; it bears no code.
    pub(super) fn unauthorised() -> Self {
        Self::json(StatusCode::UNAUTHORIZED, &json!({ "Message": "Authorization has been denied for this request." }))
    }

    pub(super) fn blob(blob: Arc<Blob>) -> Self {
        let media_type = blob.media_type.clone();
        Self { status: StatusCode::OK, media_type, headers: Vec::new(), content: Content::Blob(blob), is_lost: false }
    }

    /// What was asked is done, and nobody is told.
    pub(super) fn lost(self) -> Self {
        Self { is_lost: true, ..self }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The connection is to be reset.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("reset on purpose")
    }
}

impl std::error::Error for Reset {}

/// Accepts connections until shutdown; with an acceptor over TLS, without one for the managed identity.
pub(super) async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    world: Arc<World>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (acceptor, world, shutdown) = (acceptor.clone(), world.clone(), shutdown.clone());
        tasks.spawn(async move {
            shutdown.run_until_cancelled(connection(stream, acceptor, world)).await;
        });
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, world: Arc<World>) {
    // Small answers, asked for one after another, should not wait for each other.
    stream.set_nodelay(true).ok();
    let secure = acceptor.is_some();
    let stream: Either<TlsStream<TcpStream>, TcpStream> = match acceptor {
        None => Either::Right(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Either::Left(stream),
            // A client that does not trust the CA says so itself.
            Err(_) => return,
        },
    };
    let service = service_fn(|request| respond(world.clone(), request, secure));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let Err(error) = (&mut connection).await else {
        return;
    };
    if std::error::Error::source(&error).is_some_and(|source| source.is::<Reset>()) {
        let socket = match connection.into_parts().io.into_inner() {
            Either::Left(tls) => tls.into_inner().0,
            Either::Right(plain) => plain,
        };
        socket.set_zero_linger().ok();
    }
}

async fn respond(world: Arc<World>, request: Request<Incoming>, secure: bool) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Reset> {
    let (parts, body) = request.into_parts();
    let cleared = world.faults_cleared.notified(); // from here on: it may happen before the wait for it
    let (number, call, trouble) = arrive(&world, &parts, secure);
    let body = body.collect().await.map_err(|_| Reset)?.to_bytes();
    if !trouble.delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(trouble.delay) => {}
            () = cleared => {}
        }
    }

    let answer = match &trouble.what {
        Some(FaultKind::Reset) => return Err(Reset),
        Some(what) => replaced(what).unwrap_or_else(|| route(&world, &call, &parts.headers, &body, Some(what))),
        None => route(&world, &call, &parts.headers, &body, None),
    };
    if answer.is_lost {
        return Err(Reset);
    }
    if let Some(call) = world.state().calls.get_mut(&number) {
        call.status = answer.status.as_u16();
    }
    Ok(dispatch(&world, &call, answer, trouble))
}

/// Notes a request, and takes the fault that it meets.
fn arrive(world: &World, parts: &Parts, secure: bool) -> (u64, Call, Trouble) {
    let at = world.now();
    let path = parts.uri.path().to_owned();
    let operation = match Operation::of(&path, &parts.method) {
        // Each of the two doors has its own endpoints.
        Operation::Identity if secure => Operation::Other,
        operation if !secure && operation != Operation::Identity => Operation::Other,
        operation => operation,
    };
    let query = parts.uri.query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let mut state = world.state();
    let mut call = Call {
        method: parts.method.clone(),
        operation,
        content_type: None,
        publisher: None,
        authorised: login::roles(world, &state, &parts.headers, at).is_some(),
        authorization_present: parts.headers.contains_key(header::AUTHORIZATION),
        accepts_gzip: accepts_gzip(&parts.headers),
        status: 0,
        at,
        path,
        query,
    };
    call.publisher = call.parameter("PublisherIdentifier").map(str::to_owned);
    call.content_type = match operation {
        Operation::FetchContent => state.blobs.get(&feed::content_id(&call.path)).map(|blob| blob.content_type.clone()),
        _ => call.parameter("contentType").map(str::to_owned),
    };
    let target = parts.uri.path_and_query().map_or(call.path.as_str(), |target| target.as_str());
    let trouble = fault::meet(&mut state.faults, operation, target);
    state.struck += u64::from(trouble.what.is_some() || !trouble.delay.is_zero() || !trouble.ahead.is_zero());
    let number = state.arrivals;
    state.arrivals += 1;
    state.calls.insert(number, call.clone());
    (number, call, trouble)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|coding| coding.split(';').next())
        .any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// The answer of a fault that puts its own in the place of the right one.
fn replaced(what: &FaultKind) -> Option<Answer> {
    match what {
        FaultKind::Status { status, body, content_type, retry_after } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let answer = Answer::text(status, content_type, body.clone());
            Some(match retry_after {
                Some(seconds) => answer.with("retry-after", &seconds.to_string()),
                None => answer,
            })
        }
        FaultKind::Code { status, code, message } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(Answer::error(status, code, message))
        }
        FaultKind::Html => {
            let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to the proxy</body></html>";
            Some(Answer::text(StatusCode::OK, "text/html; charset=utf-8", page))
        }
        FaultKind::EmptyBody => Some(Answer::text(StatusCode::OK, JSON, "")),
        FaultKind::InvalidToken401 => Some(Answer::unauthorised()),
        FaultKind::ClaimsChallenge403 => {
            let challenge = r#"Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ==""#;
            Some(Answer::text(StatusCode::FORBIDDEN, JSON, "").with("www-authenticate", challenge))
        }
        FaultKind::Truncated { .. }
        | FaultKind::Clipped { .. }
        | FaultKind::Stall { .. }
        | FaultKind::Reset
        | FaultKind::Delay(_)
        | FaultKind::Date(_)
        | FaultKind::ForeignNextPage(_)
        | FaultKind::RepeatNextPage
        | FaultKind::EmptyPage => None,
    }
}

fn route(world: &World, call: &Call, headers: &HeaderMap, body: &[u8], fault: Option<&FaultKind>) -> Answer {
    match call.operation {
        Operation::Token => login::token(world, call, body),
        Operation::Identity => login::identity(world, call, headers),
        Operation::Other => Answer::json(StatusCode::NOT_FOUND, &json!({ "Message": "No HTTP resource was found." })),
        Operation::CreateQuery | Operation::ListQueries | Operation::ReadQuery | Operation::DeleteQuery | Operation::ListRecords => {
            audit_search::answer(world, call, headers, body, fault)
        }
        _ => {
            let now = world.now();
            let roles = login::roles(world, &world.state(), headers, now);
            let declares_length = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
            feed::answer(world, call, roles.as_deref(), declares_length, fault)
        }
    }
}

/// Puts an answer on the wire.
fn dispatch(world: &World, call: &Call, answer: Answer, trouble: Trouble) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let date = world.now() + trouble.ahead;
    let fault = trouble.what;
    let feed = matches!(call.operation, Operation::ListContent | Operation::FetchContent);
    let right = fault.as_ref().is_none_or(|fault| replaced(fault).is_none());
    let clipped = matches!(fault, Some(FaultKind::Clipped { .. }));
    let compressed = feed && right && !clipped && call.accepts_gzip && answer.status == StatusCode::OK;

    let mut response = Response::builder().status(answer.status);
    let (mut pieces, blob) = match answer.content {
        Content::Blob(blob) => (blob.pieces(), Some(blob)),
        Content::Bytes(bytes) => {
            if !compressed && !clipped {
                response = response.header(header::CONTENT_LENGTH, bytes.len());
            }
            (blob::whole(bytes), None)
        }
    };
    if compressed {
        pieces = blob::gzip(pieces);
        response = response.header(header::CONTENT_ENCODING, "gzip");
    }
    let event = match fault {
        Some(FaultKind::Truncated { bytes }) => Some((bytes, Event::Cut)),
        Some(FaultKind::Stall { bytes, pause }) => Some((bytes, Event::Pause(pause))),
        _ => None,
    };
    let blob = match fault {
        Some(FaultKind::Clipped { bytes }) => {
            pieces = blob::head(pieces, bytes);
            None
        }
        _ => blob,
    };

    response = response.header(header::CONTENT_TYPE, answer.media_type);
    response = response.header(header::DATE, date.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let mut response = response
        .body(Sending { pieces: pieces.peekable(), held: None, event, blob }.into_body())
        .unwrap_or_else(|_| Response::new(Sending::nothing().into_body()));
    for (name, value) in answer.headers {
        // A value that no header can bear is left out; only a test could plan one.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A body under way.
struct Sending {
    pieces: Peekable<Pieces>,
    /// The rest of a piece that an event divided.
    held: Option<Bytes>,
    /// What happens after so many more bytes.
    event: Option<(usize, Event)>,
    /// Told when its last byte has gone.
    blob: Option<Arc<Blob>>,
}

enum Event {
    Cut,
    Pause(Duration),
}

impl Sending {
    fn nothing() -> Self {
        Self { pieces: blob::whole(Bytes::new()).peekable(), held: None, event: None, blob: None }
    }

    fn into_body(self) -> UnsyncBoxBody<Bytes, io::Error> {
        StreamBody::new(stream::unfold(self, Self::next)).boxed_unsync()
    }

    async fn next(mut self) -> Option<(io::Result<Frame<Bytes>>, Self)> {
        match self.event {
            Some((0, Event::Cut)) => {
                // Time for what was sent to leave, which hyper would throw away with the connection.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return Some((Err(io::Error::other("cut on purpose")), self));
            }
            Some((0, Event::Pause(pause))) => {
                self.event = None;
                tokio::time::sleep(pause).await;
            }
            _ => {}
        }
        let mut piece = self.held.take().or_else(|| self.pieces.next())?;
        if let Some((left, _)) = &mut self.event {
            if piece.len() > *left {
                self.held = Some(piece.split_off(*left));
            }
            *left -= piece.len();
        }
        let cut_next = matches!(self.event, Some((0, Event::Cut)));
        if self.held.is_none()
            && !cut_next
            && self.pieces.peek().is_none()
            && let Some(blob) = self.blob.take()
        {
            blob.fetched.fetch_add(1, Ordering::Relaxed);
        }
        Some((Ok(Frame::data(piece)), self))
    }
}
