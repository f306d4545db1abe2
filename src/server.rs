//! The server: the router that the host speaks to, and each invocation's frame: its time, its one log line, its answer.

use std::{
    io::{Write, stdout},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Json, Response},
    routing::{get, post},
};
use chrono::Utc;
use futures::FutureExt;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    clock::rfc3339,
    envelope::{INVOCATION_ID, QueueMessage, Reply},
    error_text::chain,
    failure::Failure,
    limits::Deadline,
    queue_events,
    services::Services,
    store_events,
};

/// Largest request taken; a queue message is 64 KiB at most.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The router that the host speaks to.
pub fn router(services: Arc<Services>) -> Router {
    Router::new()
        .route("/", get(|| async { StatusCode::OK }))
        .route("/QueueEvents", post(queue_events))
        .route("/StoreEvents", post(store_events))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(services)
}

/// The timer. Its payload says nothing that is needed: what to list is decided by the stored state.
async fn queue_events(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response {
    let invocation = Invocation::begin("QueueEvents", &headers);
    let run = queue_events::run(&services.clients, &services.listing, invocation.deadline());
    invocation.of(run, "the next run does the work again").await
}

async fn store_events(State(services): State<Arc<Services>>, headers: HeaderMap, body: Bytes) -> Response {
    let invocation = Invocation::begin("StoreEvents", &headers);
    let message = match QueueMessage::read(&body) {
        Ok(message) => message,
        Err(error) => return invocation.end(&store_events::Report::default(), Err(error.into()), "the host decides"),
    };
    let run = store_events::run(&services.clients, &services.storing, &message, invocation.deadline());
    let what_follows = format!(
        "message {} was delivered {} times; the host delivers it again, and after its last delivery moves it to the poison \
         queue; content blobs in it that the journal has as queued are queued again by a run after an hour",
        message.id, message.dequeue_count
    );
    invocation.of(run, &what_follows).await
}

/// One invocation's frame: its time, its one line on stdout, its answer.
struct Invocation {
    function: &'static str,
    id: String,
    began: Instant,
}

impl Invocation {
    fn begin(function: &'static str, headers: &HeaderMap) -> Self {
        let id = headers.get(INVOCATION_ID).and_then(|id| id.to_str().ok()).unwrap_or("none").to_owned();
        Self { function, id, began: Instant::now() }
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.began)
    }

    /// Runs a function to its end. A panic in it ends in a line and an answer like any other failure.
    async fn of<R: Serialize + Default>(self, run: impl Future<Output = (R, Result<(), Failure>)>, what_follows: &str) -> Response {
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok((report, result)) => self.end(&report, result, what_follows),
            // What it says may be a record's text; where it was, the panic hook has told.
            Err(_) => self.end(&R::default(), Err(Failure::Panic), what_follows),
        }
    }

    /// Prints the figures, on success and on failure; the host throws a failure's answer away, so its reason is printed first.
    fn end<R: Serialize>(self, report: &R, result: Result<(), Failure>, what_follows: &str) -> Response {
        if let Err(failure) = &result {
            let error = chain(failure);
            match failure.level() {
                tracing::Level::ERROR => {
                    tracing::error!(function = self.function, invocation = self.id, error, what_follows, "invocation failed")
                }
                _ => tracing::warn!(function = self.function, invocation = self.id, error, what_follows, "invocation failed"),
            }
        }
        let line = self.line(report, result.is_ok());
        // A reader who has gone is no trouble: the work is done.
        let _ = writeln!(stdout(), "{line}");
        match result {
            Ok(()) => Json(Reply::success(vec![line])).into_response(),
            Err(failure) => (failure.status(), Json(serde_json::json!({"error": chain(&failure)}))).into_response(),
        }
    }

    fn line<R: Serialize>(&self, report: &R, succeeded: bool) -> String {
        #[derive(Serialize)]
        struct Line<'a, R> {
            timestamp: String,
            level: &'static str,
            message: &'static str,
            function: &'static str,
            invocation: &'a str,
            succeeded: bool,
            milliseconds: u128,
            #[serde(flatten)]
            report: &'a R,
        }
        let line = Line {
            timestamp: rfc3339(Utc::now()),
            level: "INFO",
            message: "invocation",
            function: self.function,
            invocation: &self.id,
            succeeded,
            milliseconds: self.began.elapsed().as_millis(),
            report,
        };
        // A report is numbers and names: it always serialises.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_and_says_nothing_of_what_was_in_hand() {
        std::panic::set_hook(Box::new(|_| {}));
        let run = async { panic!("of megan@contoso.example") };
        let answer = Invocation::begin("StoreEvents", &HeaderMap::new()).of::<store_events::Report>(run, "the host decides").await;
        let _ = std::panic::take_hook();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), MAX_BODY).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("panicked") && !body.contains("megan"), "{body}");
    }
}
