//! A tap before Azurite's queue service: passes everything on, and notes what is put on queues, since a message that is
//! hidden for a while cannot be looked at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use tokio::net::TcpListener;

/// A running tap.
pub(crate) struct Tap {
    /// The storage account with its queue service behind the tap.
    pub(crate) connection_string: String,
    behind: Arc<Behind>,
}

struct Behind {
    origin: String,
    http: reqwest::Client,
    puts: Mutex<Vec<Put>>,
}

struct Put {
    path: String,
    text: String,
    delay: u64,
}

impl Tap {
    pub(crate) async fn before(connection_string: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("http://{}", listener.local_addr().unwrap());
        let (_, endpoint) = connection_string.split_once("QueueEndpoint=").expect("a queue endpoint");
        let (origin, _) = endpoint.split_at(endpoint.find("/devstoreaccount1").expect("an account in the path"));
        let http = reqwest::Client::builder().no_gzip().build().unwrap();
        let behind = Arc::new(Behind { origin: origin.to_owned(), http, puts: Mutex::default() });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&behind));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let connection_string = connection_string.replace(&format!("QueueEndpoint={origin}"), &format!("QueueEndpoint={here}"));
        Self { connection_string, behind }
    }

    /// Messages put on a queue so far: their items, and for how many seconds they are hidden.
    pub(crate) fn puts(&self, queue: &str) -> Vec<(Vec<Value>, u64)> {
        let puts = self.behind.puts.lock().unwrap();
        let of_queue = puts.iter().filter(|put| put.path.ends_with(&format!("/{queue}/messages")));
        of_queue.map(|put| (serde_json::from_str(&put.text).expect("a message is a JSON array"), put.delay)).collect()
    }
}

async fn pass(State(behind): State<Arc<Behind>>, method: Method, uri: Uri, mut headers: HeaderMap, body: Bytes) -> Response {
    if method == Method::POST {
        behind.puts.lock().unwrap().push(put(&uri, &body));
    }
    headers.remove(header::HOST);
    let address = format!("{}{}", behind.origin, uri.path_and_query().expect("a path"));
    let answer = behind.http.request(method, address).headers(headers).body(body).send().await.unwrap();
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    // The answer is whole here, whatever its framing was.
    headers.remove(header::TRANSFER_ENCODING);
    (status, headers, answer.bytes().await.unwrap()).into_response()
}

/// <https://learn.microsoft.com/rest/api/storageservices/put-message>
fn put(uri: &Uri, body: &[u8]) -> Put {
    let query: HashMap<_, _> = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
    let body = String::from_utf8_lossy(body);
    let (_, text) = body.split_once("<MessageText>").expect("a message");
    let (text, _) = text.split_once("</MessageText>").expect("the end of a message");
    Put {
        path: uri.path().to_owned(),
        text: String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap(),
        delay: query.get("visibilitytimeout").map_or(0, |seconds| seconds.parse().unwrap()),
    }
}
