//! The server: the router that the host speaks to, and each invocation's frame: its time, its one log line, its answer.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Json, Response},
    routing::{get, post},
};
use chrono::Utc;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use crate::{
    clock::rfc3339,
    envelope::{INVOCATION_ID, QueueMessage, Reply},
    error_text::chain,
    failure::Failure,
    limits::{ANSWER, Deadline},
    log, queue_events,
    services::Services,
    store_events,
};

/// Largest request taken; a queue message is 64 KiB at most.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// The parts that each request is served with.
#[derive(Clone)]
struct Served {
    services: Arc<Services>,
    /// Where the functions run.
    work: Handle,
}

/// The router that the host speaks to. The functions run on `work`, which must not be the runtime that this is served on.
pub fn router(services: Arc<Services>, work: Handle) -> Router {
    Router::new()
        .route("/", get(|| async { StatusCode::OK }))
        .route("/QueueEvents", post(queue_events))
        .route("/StoreEvents", post(store_events))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Served { services, work })
}

/// The timer. Its payload says nothing that is needed: what to list is decided by the stored state.
async fn queue_events(State(served): State<Served>, headers: HeaderMap) -> Response {
    let invocation = Invocation::begin("QueueEvents", &headers);
    let (services, deadline) = (served.services, invocation.deadline());
    let run = async move { queue_events::run(&services.clients, &services.listing, deadline).await };
    invocation.of(run, &served.work, "the next run does the work again").await
}

async fn store_events(State(served): State<Served>, headers: HeaderMap, body: Bytes) -> Response {
    let invocation = Invocation::begin("StoreEvents", &headers);
    let message = match QueueMessage::read(&body) {
        Ok(message) => message,
        Err(error) => return invocation.end(&store_events::MessageReport::default(), Err(error.into()), "the host decides"),
    };
    let what_follows = format!(
        "message {} was delivered {} times; the host delivers it again, and after its last delivery moves it to the poison \
         queue; content blobs in it that the journal has as queued are queued again by a run after an hour",
        message.id, message.dequeue_count
    );
    let (services, deadline) = (served.services, invocation.deadline());
    let run = async move { store_events::run(&services.clients, &services.storing, &message, deadline).await };
    invocation.of(run, &served.work, &what_follows).await
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

    /// Runs a function to its end. A panic in it ends in a line and an answer like any other failure; so does a run that goes on
    /// past all its deadlines, even one that never lets go of its thread.
    async fn of<R: Serialize + fmt::Display + Default + Send + 'static>(
        self,
        run: impl Future<Output = (R, Result<(), Failure>)> + Send + 'static,
        work: &Handle,
        what_follows: &str,
    ) -> Response {
        let mut running = work.spawn(run);
        let (report, result) = match timeout_at(self.began + ANSWER, &mut running).await {
            Ok(Ok(ended)) => ended,
            // What it says may be a record's text; where it was, the panic hook has told.
            Ok(Err(_)) => (R::default(), Err(Failure::Panic)),
            Err(_) => {
                running.abort();
                (R::default(), Err(Failure::OutOfTime))
            }
        };
        self.end(&report, result, what_follows)
    }

    /// Prints the figures, on success and on failure; the host throws a failure's answer away, so its reason is printed first.
    fn end<R: Serialize + fmt::Display>(self, report: &R, result: Result<(), Failure>, what_follows: &str) -> Response {
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
        log::information(&line);
        match result {
            Ok(()) => Json(Reply::success(report.to_string())).into_response(),
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
    use std::time::Duration;

    use axum::body::to_bytes;
    use tokio::runtime::Builder;

    use super::*;

    /// As long as the process has only one thread to work on, a record that keeps it would keep every answer.
    #[test]
    fn what_never_lets_go_of_its_thread_is_answered_before_the_host_gives_up() {
        let work = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (kept, released) = std::sync::mpsc::channel::<()>();
        let begun = Instant::now();
        let invocation =
            Invocation { began: begun - ANSWER + Duration::from_millis(50), ..Invocation::begin("StoreEvents", &HeaderMap::new()) };
        let run = async move {
            let _ = released.recv();
            (store_events::MessageReport::default(), Ok(()))
        };
        let front = Builder::new_current_thread().enable_all().build().unwrap();
        let answer = front.block_on(invocation.of(run, work.handle(), "the host decides"));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(kept);
        work.shutdown_background();
    }

    #[test]
    fn a_panic_is_answered_and_says_nothing_of_what_was_in_hand() {
        let work = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let run = async { panic!("of megan@contoso.example") };
        let body = Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let invocation = Invocation::begin("StoreEvents", &HeaderMap::new());
            let answer = invocation.of::<store_events::MessageReport>(run, work.handle(), "the host decides").await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            to_bytes(answer.into_body(), MAX_BODY).await.unwrap()
        });
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("panicked") && !body.contains("megan"), "{body}");
    }
}
