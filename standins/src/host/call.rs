//! One call of a handler: the request that the host sends to a port, and what it makes of the answer. Knows no process.
//! <https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs>

use std::time::Duration;

use anyhow::Result;
use futures::future::pending;
use futures::stream;
use reqwest::{Body, Client, Response, header};
use serde_json::Value;
use uuid::Uuid;

use super::InvocationOutcome;

/// The version that the host claims to be.
const HOST_VERSION: &str = "4.1037.0.0";
/// The host takes the time between two chunks as it comes; several chunks are what a handler must cope with.
const CHUNK: usize = 8 * 1024;

/// Speaks to handlers.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    http: Client,
    buffered: bool,
}

impl Caller {
    /// `buffered`: with a Content-Length, as under Core Tools; else in chunks, as in Azure.
    pub(super) fn new(buffered: bool) -> Result<Self> {
        let agent = format!("Azure-Functions-Host/{HOST_VERSION}");
        Ok(Self { http: Client::builder().user_agent(agent).no_proxy().no_gzip().http1_only().build()?, buffered })
    }

    /// The readiness probe: any answer at all is good.
    pub(super) async fn probe(&self, port: u16) -> bool {
        self.http.get(format!("http://127.0.0.1:{port}/")).send().await.is_ok()
    }

    /// Posts a payload and waits for the outcome, at most `limit`.
    pub(super) async fn invoke(&self, port: u16, function: &str, id: Uuid, payload: String, limit: Option<Duration>) -> InvocationOutcome {
        let request = self
            .http
            .post(format!("http://127.0.0.1:{port}/{function}"))
            .header("X-Azure-Functions-HostVersion", HOST_VERSION)
            .header("X-Azure-Functions-InvocationId", id.to_string())
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .body(if self.buffered { payload.into() } else { chunked(&payload) });
        let call = async {
            match request.send().await {
                Ok(response) => outcome(response).await,
                Err(error) => failed(format!("HttpRequestException: {}", causes(&error))),
            }
        };
        match limit {
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or(InvocationOutcome::TimedOut),
            None => call.await,
        }
    }
}

fn chunked(payload: &str) -> Body {
    let chunks: Vec<_> = payload.as_bytes().chunks(CHUNK).map(|chunk| anyhow::Ok(chunk.to_vec())).collect();
    Body::wrap_stream(stream::iter(chunks))
}

/// The host's table of answers. What it reads as null completes nothing: it waits until the function times out.
async fn outcome(response: Response) -> InvocationOutcome {
    let status = response.status();
    if !status.is_success() {
        // The body is thrown away.
        return failed(format!("HttpRequestException: Response status code does not indicate success: {status}."));
    }
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next()).map(|value| value.trim().to_lowercase());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return failed(format!("HttpRequestException: {}", causes(&error))),
    };
    if body.is_empty() {
        return pending().await;
    }
    if !matches!(media_type.as_deref(), Some("application/json" | "text/json")) {
        let media_type = media_type.as_deref().unwrap_or("application/octet-stream");
        return failed(format!(
            "UnsupportedMediaTypeException: No MediaTypeFormatter is available to read an object of type \
             'HttpScriptInvocationResult' from content with media type '{media_type}'."
        ));
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
    match serde_json::from_slice(body) {
        Ok(Value::Null) => pending().await,
        Ok(reply) if is_result(&reply) => InvocationOutcome::Succeeded { logs: logs(&reply), reply },
        _ => failed(format!("InvalidOperationException: Invalid HttpResponseMessage: {}", String::from_utf8_lossy(body))),
    }
}

/// Whether Json.NET can make an `HttpScriptInvocationResult` of it: any object, as long as `Outputs` and `Logs` fit.
fn is_result(reply: &Value) -> bool {
    let outputs = member(reply, "Outputs").is_none_or(|outputs| outputs.is_object() || outputs.is_null());
    let logs = member(reply, "Logs").is_none_or(|logs| match logs {
        Value::Array(logs) => !logs.iter().any(|log| log.is_object() || log.is_array()),
        other => other.is_null(),
    });
    reply.is_object() && outputs && logs
}

fn logs(reply: &Value) -> Vec<String> {
    let logs = member(reply, "Logs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |log: &Value| log.as_str().map_or_else(|| log.to_string(), str::to_owned);
    logs.iter().map(text).collect()
}

/// Names are compared without case.
fn member<'a>(reply: &'a Value, name: &str) -> Option<&'a Value> {
    reply.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn failed(reason: String) -> InvocationOutcome {
    InvocationOutcome::Failed { reason }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, StatusCode};
    use axum::routing::post;
    use axum::{Json, Router};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::ports::Port;

    async fn serve(router: Router) -> Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(port)
    }

    /// No header can hold it, so none is sent.
    const NONE: &str = "\n";

    /// What the host makes of an answer, in a word.
    async fn verdict(status: u16, content_type: &str, body: &'static str, limit: Duration) -> Result<String> {
        let content_type = content_type.to_owned();
        let answer = move || async move {
            let mut headers = HeaderMap::new();
            headers.extend(content_type.parse::<HeaderValue>().ok().map(|value| (header::CONTENT_TYPE, value)));
            let body = axum::body::Body::from(body);
            (StatusCode::from_u16(status).unwrap_or_default(), headers, body)
        };
        let port = serve(Router::new().route("/F", post(answer))).await?;
        let outcome = Caller::new(false)?.invoke(port, "F", Uuid::new_v4(), "{}".to_owned(), Some(limit)).await;
        Ok(match outcome {
            InvocationOutcome::Succeeded { logs, .. } => format!("succeeded {logs:?}"),
            InvocationOutcome::Failed { reason } => reason.split(':').next().unwrap_or_default().to_owned(),
            InvocationOutcome::TimedOut => "timed out".to_owned(),
        })
    }

    #[tokio::test]
    async fn answers_are_read_as_the_host_reads_them() -> Result<()> {
        let json = "application/json";
        let cases = [
            (200, json, r#"{"Outputs":{},"Logs":["a"],"ReturnValue":null}"#, r#"succeeded ["a"]"#),
            (200, "text/json; charset=utf-8", r#"{"logs":["a",1]}"#, r#"succeeded ["a", "1"]"#),
            (201, json, "{}", "succeeded []"),
            (200, json, r#"{"unrelated":1}"#, "succeeded []"),
            (200, json, "", "timed out"),
            (200, "text/plain", "", "timed out"),
            (204, NONE, "", "timed out"),
            (200, json, "null", "timed out"),
            (200, json, "{", "InvalidOperationException"),
            (200, json, "[]", "InvalidOperationException"),
            (200, json, r#"{"Outputs":[]}"#, "InvalidOperationException"),
            (200, "text/plain", "done", "UnsupportedMediaTypeException"),
            (200, NONE, "{}", "UnsupportedMediaTypeException"),
            (500, json, "{}", "HttpRequestException"),
            (404, json, "{}", "HttpRequestException"),
        ];
        for (status, content_type, body, expected) in cases {
            // What is never answered is waited for a moment; all else for as long as a busy machine takes.
            let limit = Duration::from_millis(if expected == "timed out" { 300 } else { 60_000 });
            assert_eq!(verdict(status, content_type, body, limit).await?, expected, "{status} {content_type} {body}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn the_request_looks_like_the_hosts() -> Result<()> {
        let echo = |headers: HeaderMap, body: String| async move {
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Json(json!({
                "type": header("content-type"), "framing": header("transfer-encoding"), "length": header("content-length"),
                "agent": header("user-agent"), "id": header("x-azure-functions-invocationid"), "body": body,
            }))
        };
        let port = serve(Router::new().route("/F", post(echo))).await?;
        for (buffered, framing, length) in [(false, json!("chunked"), Value::Null), (true, Value::Null, json!("4"))] {
            let id = Uuid::new_v4();
            let outcome = Caller::new(buffered)?.invoke(port, "F", id, "body".to_owned(), None).await;
            let InvocationOutcome::Succeeded { reply, .. } = outcome else { anyhow::bail!("{outcome:?}") };
            let expected = json!({
                "type": "application/json; charset=utf-8", "framing": framing, "length": length,
                "agent": format!("Azure-Functions-Host/{HOST_VERSION}"), "id": id, "body": "body",
            });
            assert_eq!(reply, expected);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_dead_port_fails_the_call() -> Result<()> {
        let port = Port::lease()?;
        let outcome = Caller::new(false)?.invoke(port.number(), "F", Uuid::new_v4(), String::new(), None).await;
        assert!(matches!(outcome, InvocationOutcome::Failed { .. }));
        Ok(())
    }
}
