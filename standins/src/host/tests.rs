//! The host with a real process for a handler: this very test binary, which plays one when it is started by the host.

use std::process::exit;
use std::{env, fs};

use anyhow::bail;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::azurite::{Azurite, AzuriteOptions};

/// Not a test but the handler: does what the message says.
#[tokio::test]
#[ignore = "is started by the other tests"]
async fn handler() -> Result<()> {
    let Ok(port) = env::var("FUNCTIONS_CUSTOMHANDLER_PORT") else {
        return Ok(());
    };
    if env::var("START").is_ok_and(|start| start == "die") {
        eprintln!("START is not what it should be");
        exit(3);
    }
    let names: Vec<_> = env::vars().map(|(name, _)| name).filter(|name| name.starts_with("CARGO")).collect();
    println!("inherited: {names:?}");
    eprintln!("a warning");
    let router = Router::new().route("/", get(|| async {})).route("/{function}", post(play));
    axum::serve(TcpListener::bind(format!("127.0.0.1:{port}")).await?, router).await?;
    Ok(())
}

async fn play(Path(function): Path<String>, Json(payload): Json<Value>) -> Response {
    if function == "QueueEvents" {
        return Json(json!({ "Outputs": {}, "Logs": [payload["Data"]["timer"].to_string()] })).into_response();
    }
    let text = payload["Data"]["msg"].as_str().unwrap_or_default();
    let text: String = serde_json::from_str(text).unwrap_or_default();
    match text.split_once(' ').unwrap_or((&text, "")) {
        ("fail", _) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        ("empty", _) => ().into_response(),
        ("exit", code) => exit(code.parse().unwrap_or(1)),
        ("sleep", millis) => {
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap_or(0))).await;
            Json(json!({})).into_response()
        }
        _ => Json(json!({ "Logs": [payload["Metadata"]["DequeueCount"]] })).into_response(),
    }
}

/// An app whose executable is this test binary.
fn app() -> Result<TempDir> {
    let app = tempfile::tempdir()?;
    let write = |path: &str, json: Value| fs::write(app.path().join(path), json.to_string());
    let arguments = ["host::tests::handler", "--exact", "--ignored", "--nocapture"];
    write(
        "host.json",
        json!({
            "version": "2.0",
            "functionTimeout": "00:00:10",
            "customHandler": { "description": { "defaultExecutablePath": "handler", "arguments": arguments } },
            "extensions": { "queues": { "batchSize": 4, "newBatchThreshold": 2, "maxDequeueCount": 2 } },
        }),
    )?;
    for (function, binding) in [
        ("QueueEvents", json!({ "name": "timer", "type": "timerTrigger", "direction": "in", "schedule": "%SCHEDULE%" })),
        ("StoreEvents", json!({ "name": "msg", "type": "queueTrigger", "direction": "in", "queueName": "%CONTENT_QUEUE%" })),
    ] {
        fs::create_dir(app.path().join(function))?;
        write(&format!("{function}/function.json"), json!({ "bindings": [binding] }))?;
    }
    Ok(app)
}

fn options(app: &TempDir, more: &[(&str, &str)]) -> Result<HostOptions> {
    let settings = [("SCHEDULE", "0 */5 * * * *"), ("CONTENT_QUEUE", "content")];
    let settings = settings.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Ok(HostOptions { app_root: app.path().to_owned(), executable: Some(env::current_exe()?), settings, ..HostOptions::default() })
}

fn logs(invocation: &Invocation) -> Result<&[String]> {
    match &invocation.outcome {
        InvocationOutcome::Succeeded { logs, .. } => Ok(logs),
        other => bail!("{other:?}"),
    }
}

#[tokio::test]
async fn runs_both_functions() -> Result<()> {
    let app = app()?;
    let host = Host::start(options(&app, &[])?).await?;
    let first = host.run_timer("QueueEvents").await;
    assert!(logs(&first)?[0].contains(r#""Last":"0001-01-01T00:00:00+00:00""#), "{first:?}");
    assert!(!logs(&host.run_timer("QueueEvents").await)?[0].contains("0001-01-01"));
    assert_eq!(logs(&host.run_queue_message("StoreEvents", "[]").await)?, ["1"]);
    assert!(!host.run_timer("StoreEvents").await.outcome.is_success());

    assert!(host.output().contains(&"inherited: []".to_owned()), "{:?}", host.output());
    assert!(host.lines().contains(&LoggedLine { level: LogLevel::Warning, text: "a warning".to_owned() }));
    host.stop().await;
    Ok(())
}

#[tokio::test]
async fn says_how_the_handler_died() -> Result<()> {
    let app = app()?;
    let error = Host::start(options(&app, &[("START", "die")])?).await.err().context("it started")?.to_string();
    assert!(error.contains("code 3") && error.contains("START is not what it should be"), "{error}");
    let missing = HostOptions { executable: Some("/nowhere/handler".into()), ..options(&app, &[])? };
    let error = Host::start(missing).await.err().context("it started")?.to_string();
    assert!(error.contains("build it first"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_time_out_takes_everybody_down() -> Result<()> {
    let app = app()?;
    let function_timeout = Some(Duration::from_secs(1));
    let host = Host::start(HostOptions { function_timeout, ..options(&app, &[])? }).await?;
    let pid = host.pid();
    let innocent = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.run_queue_message("StoreEvents", "sleep 5000").await
    };
    let (guilty, innocent) = tokio::join!(host.run_queue_message("StoreEvents", "empty"), innocent);
    assert_eq!(guilty.outcome, InvocationOutcome::TimedOut);
    assert!(matches!(innocent.outcome, InvocationOutcome::Failed { .. }), "{innocent:?}");
    assert_ne!(host.pid(), pid);
    assert!(host.run_queue_message("StoreEvents", "[]").await.outcome.is_success());
    Ok(())
}

/// As the real host was seen to.
#[tokio::test]
async fn several_time_outs_at_once_end_the_host_and_leave_a_handler_behind() -> Result<()> {
    let app = app()?;
    let function_timeout = Some(Duration::from_secs(1));
    let host = Host::start(HostOptions { function_timeout, ..options(&app, &[])? }).await?;
    let (first, port) = (host.pid(), host.port());
    let hangs = (0..10).map(|_| host.run_queue_message("StoreEvents", "empty"));
    let outcomes: Vec<_> = futures::future::join_all(hangs).await.into_iter().map(|invocation| invocation.outcome).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == InvocationOutcome::TimedOut), "{outcomes:?}");
    assert_eq!(host.failure().as_deref(), Some("the host died"));
    let orphan = host.orphan().context("nothing was left behind")?;
    assert_ne!(Some(orphan), first);
    assert!(reqwest::get(format!("http://127.0.0.1:{port}/")).await?.status().is_success(), "it listens");
    assert!(!host.run_queue_message("StoreEvents", "[]").await.outcome.is_success());
    Ok(())
}

#[tokio::test]
async fn restarts_by_exit_code() -> Result<()> {
    let app = app()?;
    let host = Host::start(options(&app, &[])?).await?;
    for _ in 0..4 {
        host.restart().await;
        let pid = host.pid().unwrap_or_default();
        assert!(!host.run_queue_message("StoreEvents", "exit 200").await.outcome.is_success());
        host.core.supervisor.replaced(pid).await;
    }
    assert!(host.run_queue_message("StoreEvents", "[]").await.outcome.is_success());
    for _ in 0..3 {
        let pid = host.pid().unwrap_or_default();
        host.run_queue_message("StoreEvents", "exit 5").await;
        host.core.supervisor.replaced(pid).await;
    }
    let failure = host.failure().context("it lives on")?;
    assert!(failure.starts_with("Exceeded http worker restart retry count") && failure.contains("code 5"), "{failure}");

    let host = Host::start(options(&app, &[])?).await?;
    host.run_queue_message("StoreEvents", "exit 0").await;
    assert!(!host.run_queue_message("StoreEvents", "[]").await.outcome.is_success());
    // The caller may see the end of the connection before the host sees that of the process.
    for _ in 0..2000 {
        if host.pid().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((host.pid(), host.failure()), (None, None));
    Ok(())
}

#[tokio::test]
async fn listens_to_a_queue() -> Result<()> {
    let azurite = Azurite::start(AzuriteOptions::default()).await?;
    let storage = Storage::new(&azurite.connection_string())?;
    let app = app()?;
    let settings = [("AzureWebJobsStorage", azurite.connection_string())];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let second = Some(Duration::from_secs(1));
    let short = HostOptions { message_lease: second.map(|second| 2 * second), ..options(&app, &settings)? };
    let host = Host::start(HostOptions { visibility_timeout: second, ..short }).await?;
    assert!(host.run_queue(QueueUntil::empty()).await?.is_empty, "a missing queue is empty");

    storage.create_queue("content").await?;
    for text in ["[1]", "[2]", "[3]", "fail", "sleep 3000"] {
        storage.send_message("content", text).await?;
    }
    let text = azure_storage_queue::models::QueueMessage { message_text: Some("no base64!".to_owned()) };
    storage.queue("content")?.send_message(text.try_into()?, None).await?;

    let summary = host.run_queue(QueueUntil::empty().within(Duration::from_secs(30))).await?;
    assert_eq!((summary.succeeded(), summary.failed(), summary.poisoned), (4, 2, 2), "{summary:?}");
    assert!(summary.is_empty);
    assert_eq!(storage.message_count("content").await?, 0);
    let mut poison = storage.messages("content-poison").await?;
    poison.sort();
    assert_eq!(poison, ["fail", "no base64!"]);

    storage.send_message("content", "[1]").await?;
    storage.send_message("content", "[2]").await?;
    assert_eq!(host.run_queue(QueueUntil::empty().messages(1)).await?.invocations.len(), 1);
    assert_eq!(storage.message_count("content").await?, 1);
    Ok(())
}
