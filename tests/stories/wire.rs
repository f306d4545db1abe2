//! The wire between handler and storage account: a proxy that notes what was put on the queue, for how long it is hidden
//! there, and that refuses or holds requests where a story says so.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};
use url::Url;

/// A request to storage that a story may spoil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A message put on a queue.
    Send,
    /// Lines appended to the journal or the gaps.
    Append,
    /// Lines appended to the first blob of a journal's hour.
    AppendToFirst,
    /// The ids that were erased, read.
    Erased,
    /// A checkpoint written.
    Checkpoint,
    /// Anything that changes something.
    Write,
}

impl At {
    fn is(self, method: &Method, target: &str) -> bool {
        match self {
            Self::Send => *method == Method::POST && target.contains("/messages"),
            Self::Append => target.contains("comp=appendblock"),
            Self::AppendToFirst => target.contains("comp=appendblock") && !target.contains("-2.ndjson"),
            Self::Erased => *method == Method::GET && target.contains("/erased.ndjson"),
            Self::Checkpoint => *method == Method::PUT && target.contains(".log"),
            Self::Write => *method != Method::GET && *method != Method::HEAD,
        }
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It is answered 403, as when the key was changed; nothing else happens.
    Refused,
    /// It is answered as an append blob answers that has had 50,000 appends; nothing else happens.
    /// <https://learn.microsoft.com/rest/api/storageservices/append-block>
    Full,
    /// It never arrives, and whoever waits for [`Wire::held`] goes on.
    HeldBefore,
    /// It is carried out, and its answer never arrives.
    HeldAfter,
    /// It waits for [`Wire::release`], and is carried out then.
    Late,
}

struct Plan {
    at: At,
    skip: usize,
    times: usize,
    what: What,
}

/// A message that the queue acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) items: Vec<Value>,
    /// Seconds.
    pub(crate) hidden_for: i64,
}

impl Sent {
    /// Its text, to be delivered by hand where the story does not wait for the queue.
    pub(crate) fn text(&self) -> String {
        Value::from(self.items.clone()).to_string()
    }
}

pub(crate) struct Wire {
    shared: Arc<Shared>,
    blob: Url,
    queue: Url,
}

struct Shared {
    http: reqwest::Client,
    plans: Mutex<Vec<Plan>>,
    sent: Mutex<Vec<Sent>>,
    peeks: AtomicUsize,
    held: Notify,
    released: Notify,
}

impl Wire {
    /// A proxy before each of the two services that a connection string names.
    pub(crate) async fn start(connection_string: &str) -> Self {
        let shared = Arc::new(Shared {
            http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap(),
            plans: Mutex::default(),
            sent: Mutex::default(),
            peeks: AtomicUsize::new(0),
            held: Notify::new(),
            released: Notify::new(),
        });
        let (blob, queue) = (
            serve(endpoint(connection_string, "BlobEndpoint"), &shared).await,
            serve(endpoint(connection_string, "QueueEndpoint"), &shared).await,
        );
        Self { shared, blob, queue }
    }

    /// The connection string through the proxy.
    pub(crate) fn connection_string(&self, behind: &str) -> String {
        let part = |part: &str| match part.split_once('=') {
            Some(("BlobEndpoint", _)) => format!("BlobEndpoint={}", self.blob),
            Some(("QueueEndpoint", _)) => format!("QueueEndpoint={}", self.queue),
            _ => part.to_owned(),
        };
        behind.split(';').map(part).collect::<Vec<_>>().join(";")
    }

    /// Spoils requests of a kind from the `skip`th on.
    pub(crate) fn spoil(&self, at: At, skip: usize, times: usize, what: What) {
        self.shared.plans.lock().unwrap().push(Plan { at, skip, times, what });
    }

    pub(crate) fn mend(&self) {
        self.shared.plans.lock().unwrap().clear();
    }

    /// Until a request is held.
    pub(crate) async fn held(&self) {
        self.shared.held.notified().await
    }

    pub(crate) fn release(&self) {
        self.shared.released.notify_one();
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// Looks at a queue that were answered.
    pub(crate) fn peeks(&self) -> usize {
        self.shared.peeks.load(Ordering::Relaxed)
    }
}

fn endpoint(connection_string: &str, name: &str) -> Url {
    let mut parts = connection_string.split(';').filter_map(|part| part.split_once('='));
    Url::parse(parts.find(|(key, _)| *key == name).unwrap().1).unwrap()
}

async fn serve(behind: Url, shared: &Arc<Shared>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut front = behind.clone();
    front.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    let router = Router::new().fallback(forward).with_state((Arc::clone(shared), behind));
    // It ends with the story's runtime.
    tokio::spawn(async move { axum::serve(listener, router).await });
    front
}

async fn forward(State((shared, behind)): State<(Arc<Shared>, Url)>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let what = shared.strike(&parts.method, &target);
    match what {
        Some(What::Refused) => return Response::builder().status(StatusCode::FORBIDDEN).body(Body::empty()).unwrap(),
        Some(What::Full) => {
            let full = Response::builder().status(StatusCode::CONFLICT).header("x-ms-error-code", "BlockCountExceedsLimit");
            return full.body(Body::empty()).unwrap();
        }
        Some(What::HeldBefore) => return shared.hold().await,
        Some(What::Late) => {
            shared.held.notify_one();
            shared.released.notified().await;
        }
        Some(What::HeldAfter) | None => {}
    }
    // As text: put together anew, the path's encoding might change, and with it the signature.
    let url = format!("{}{target}", &behind[..url::Position::BeforePath]);
    let answer =
        shared.http.request(parts.method.clone(), url).headers(without_hop(parts.headers)).body(body.clone()).send().await.unwrap();
    if answer.status().is_success() && At::Send.is(&parts.method, &target) {
        shared.note(&target, &body);
    }
    if target.contains("peekonly=true") {
        shared.peeks.fetch_add(1, Ordering::Relaxed);
    }
    if what == Some(What::HeldAfter) {
        return shared.hold().await;
    }
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = without_hop(answer.headers().clone());
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// Headers that belong to a connection and not to a message.
fn without_hop(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

impl Shared {
    fn strike(&self, method: &Method, target: &str) -> Option<What> {
        for plan in self.plans.lock().unwrap().iter_mut().filter(|plan| plan.times > 0 && plan.at.is(method, target)) {
            if plan.skip > 0 {
                plan.skip -= 1;
                continue;
            }
            plan.times -= 1;
            return Some(plan.what);
        }
        None
    }

    async fn hold(&self) -> Response<Body> {
        self.held.notify_one();
        std::future::pending().await
    }

    fn note(&self, target: &str, body: &[u8]) {
        let hidden_for = target.split(['?', '&']).find_map(|part| part.strip_prefix("visibilitytimeout="));
        let body = String::from_utf8_lossy(body);
        let (_, text) = body.split_once("<MessageText>").unwrap();
        let text = BASE64_STANDARD.decode(text.split('<').next().unwrap()).unwrap();
        let items = serde_json::from_slice(&text).unwrap();
        self.sent.lock().unwrap().push(Sent { items, hidden_for: hidden_for.map_or(0, |seconds| seconds.parse().unwrap()) });
    }
}
