//! The handler as the Functions host sees it: what it is posted, what it answers, what it prints, and how it ends.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind},
    host::LogLevel,
    ports::Port,
    tenant::{Body, Fault, FaultKind, Operation, generate},
};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{
    wire::{At, What},
    world::{EXCHANGE, Setting, World, account_key, record, world},
};

const TIMER: &str = r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},
  "ScheduleStatus":{"Last":"2026-09-27T10:00:00.0045319+00:00","Next":"2026-09-27T10:05:00+00:00","LastUpdated":"2026-09-27T10:00:00.0045319+00:00"},
  "IsPastDue":false}},
 "Metadata":{"sys":{"MethodName":"QueueEvents","UtcNow":"2026-09-27T10:05:00.0123456Z","RandGuid":"24ad4c06-24ad-4e5b-8294-3da9714877e9"}}}"#;

/// What the host knows of a message; each name and encoding is its own.
const METADATA: &str = r#""Metadata":{"DequeueCount":"1","ExpirationTime":"2026-10-04T10:05:01+00:00",
 "Id":"\"800ae4b3-bdd2-4c08-badd-f08e5a34b865\"","InsertionTime":"2026-09-27T10:05:01+00:00",
 "NextVisibleTime":"2026-09-27T10:15:02+00:00","PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"",
 "sys":{"MethodName":"StoreEvents","UtcNow":"2026-09-27T10:05:02Z","RandGuid":"24ad4c06-24ad-4e5b-8294-3da9714877e9"}}"#;

/// Posts a payload as the host does: in chunks in Azure, with a length under Core Tools.
async fn post(port: u16, function: &str, id: Uuid, body: &str, chunked: bool) -> Response {
    let chunks: Vec<_> = body.as_bytes().chunks(50).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let body = if chunked { reqwest::Body::wrap_stream(futures::stream::iter(chunks)) } else { body.to_owned().into() };
    let request = reqwest::Client::new()
        .post(format!("http://127.0.0.1:{port}/{function}"))
        .header("X-Azure-Functions-HostVersion", "4.1037.0.0")
        .header("X-Azure-Functions-InvocationId", id.to_string())
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    request.body(body).send().await.unwrap()
}

/// Lines of an invocation, once its one structured line is among them.
async fn lines_of(world: &World, id: Uuid) -> Vec<Value> {
    let of_it = || world.lines().into_iter().filter(|line| line["invocation"] == json!(id.to_string())).collect::<Vec<_>>();
    for _ in 0..1000 {
        if of_it().iter().any(|line| line["message"] == "invocation") {
            return of_it();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing is printed of {id}: {:?}", world.host.output());
}

#[tokio::test]
async fn each_payload_of_the_host_is_answered_with_what_the_host_takes_for_success_or_failure() {
    let world = world().await;
    let queue = |msg: &str| format!(r#"{{"Data":{{"msg":{msg}}},{METADATA}}}"#);
    let ok = StatusCode::OK;
    let cases = [
        ("QueueEvents", TIMER.to_owned(), ok, ""),
        ("QueueEvents", TIMER.replace("2026-09-27T10:00:00.0045319+00:00", "0001-01-01T00:00:00"), ok, ""),
        (
            "QueueEvents",
            r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":true}},"Metadata":{}}"#.to_owned(),
            ok,
            "",
        ),
        (
            "StoreEvents",
            queue(r#""\"hello world\"""#),
            StatusCode::UNPROCESSABLE_ENTITY,
            "11 bytes that are no JSON; expected a JSON array",
        ),
        ("StoreEvents", queue(r#""\"[\\\"https://a/1\\\",\\\"https://a/2\\\"]\"""#), ok, ""),
        (
            "StoreEvents",
            queue(r#""\"{\\\"contentId\\\":\\\"abc\\\",\\\"n\\\":2}\"""#),
            StatusCode::UNPROCESSABLE_ENTITY,
            "a JSON object; expected a JSON array",
        ),
        ("StoreEvents", queue(r#""[]""#), ok, ""),
        ("StoreEvents", queue("[]"), ok, ""),
        ("StoreEvents", r#"{"Data":{"msg":["https://a/1"]},"Metadata":{"DequeueCount":1}}"#.to_owned(), ok, ""),
        ("StoreEvents", r#"{"Data":{"msg":"[\"https://a/1\"]"}}"#.to_owned(), ok, ""),
        ("StoreEvents", "{}".to_owned(), StatusCode::BAD_REQUEST, "no invocation of a queue trigger"),
        ("StoreEvents", r#"{"Data":{}}"#.to_owned(), StatusCode::BAD_REQUEST, "Data is empty"),
        ("StoreEvents", String::new(), StatusCode::BAD_REQUEST, "no invocation of a queue trigger"),
    ];
    for (function, body, status, said) in &cases {
        for chunked in [true, false] {
            let id = Uuid::new_v4();
            let answer = post(world.host.port(), function, id, body, chunked).await;
            assert_eq!(answer.status(), *status, "{body}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json", "{body}");
            let reply: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            let lines = lines_of(&world, id).await;
            let [rest @ .., line] = lines.as_slice() else { panic!("{body}") };
            assert_eq!((&line["function"], &line["succeeded"]), (&json!(function), &json!(*status == ok)), "{line}");
            if *status == ok {
                // A sentence for the portal; the figures stand in the line, and nowhere twice.
                let sentence = reply["Logs"][0].as_str().unwrap();
                assert!(sentence.contains("content blob") && sentence.len() < 100 && !sentence.contains(['{', '\n']), "{sentence}");
                assert_eq!(reply, json!({"Outputs": {}, "Logs": [sentence], "ReturnValue": null}));
            } else {
                // The answer's body is thrown away: the reason stands in the log, before the invocation's own line.
                let [error] = rest else { panic!("{body}: {lines:?}") };
                assert!(error["level"] == "ERROR" && error["error"].as_str().unwrap().contains(said), "{error}");
            }
        }
    }
    let unknown = post(world.host.port(), "Other", Uuid::new_v4(), "{}", false).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_the_host_says_of_a_message_is_told_when_it_fails() {
    let world = world().await;
    let body = format!(r#"{{"Data":{{"msg":"\"no\""}},{}}}"#, METADATA.replace(r#""DequeueCount":"1""#, r#""DequeueCount":"4""#));
    let id = Uuid::new_v4();
    post(world.host.port(), "StoreEvents", id, &body, true).await;
    let said = lines_of(&world, id).await[0]["what_follows"].to_string();
    assert!(said.contains("800ae4b3-bdd2-4c08-badd-f08e5a34b865 was delivered 4 times") && said.contains("poison"), "{said}");
}

#[tokio::test]
async fn probes_are_answered_while_invocations_run_and_nobody_else_is_listened_to() {
    let world = world().await;
    let blob = world.publish(3, &["a"]);
    world.tenant.fail(Fault::once(Operation::FetchContent, FaultKind::Delay(Duration::from_secs(120))));
    let message = world.message(&[blob]);
    let probes = async {
        until(|| !world.calls(Operation::FetchContent).is_empty()).await;
        for _ in 0..5 {
            let answer = reqwest::get(format!("http://127.0.0.1:{}/", world.host.port())).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        // Not answered yet: the probes overtook it.
        assert_eq!(world.calls(Operation::FetchContent)[0].status, 0);
        world.tenant.clear_faults();
    };
    let ((invocation, _), ()) = tokio::join!(world.store(&message), probes);
    assert!(invocation.outcome.is_success(), "{invocation:?}");

    let elsewhere = TcpStream::connect(SocketAddr::from(([127, 0, 0, 2], world.host.port()))).await;
    assert_eq!(elsewhere.map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionRefused));
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], world.host.port()))).await.unwrap();
}

/// Until something came to pass; a minute, on a busy machine.
async fn until(happened: impl Fn() -> bool) {
    for _ in 0..12_000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to pass");
}

/// Until a handler that was started without a host listens; a minute, on a busy machine.
async fn until_it_answers(port: u16) {
    for _ in 0..12_000 {
        if reqwest::get(format!("http://127.0.0.1:{port}/")).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing answers on port {port}");
}

/// The handler without a host.
fn handler(world: &World, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
    command.env_clear().envs(&world.settings).env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Killed when the story is over, however it ends.
struct Alone(Child);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn asked_to_end_it_finishes_what_is_under_way_and_asks_the_host_for_a_new_start() {
    let world = world().await;
    let lease = Port::lease().unwrap();
    let port = lease.number();
    for busy in [false, true] {
        let mut alone = Alone(handler(&world, port).spawn().unwrap());
        until_it_answers(port).await;
        let terminate = || Command::new("kill").args(["-TERM", &alone.0.id().to_string()]).status().unwrap();
        if busy {
            let blob = world.publish(3, &["a"]);
            world.tenant.fail(Fault::once(Operation::FetchContent, FaultKind::Delay(Duration::from_millis(500))));
            let body = json!({"Data": {"msg": world.message(&[blob])}}).to_string();
            let end = async {
                until(|| !world.calls(Operation::FetchContent).is_empty()).await;
                terminate();
            };
            let (answer, ()) = tokio::join!(post(port, "StoreEvents", Uuid::new_v4(), &body, true), end);
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(world.ids().await, ["a"]);
        } else {
            terminate();
        }
        let status = tokio::task::spawn_blocking(move || alone.0.wait().unwrap()).await.unwrap();
        assert_eq!(status.code(), Some(200), "0 would leave it dead, anything else counts as an error");
    }
}

/// The host's own death reaches no handler: it would stay behind, listening, and take messages that nobody counts.
#[tokio::test]
async fn it_ends_within_two_seconds_of_its_host() {
    let world = world().await;
    let lease = Port::lease().unwrap();
    let port = lease.number();
    // A shell is its parent, as the host is, and dies as the host does.
    let mut host = Command::new("sh");
    host.args(["-c", r#""$0" & echo $!; wait"#, env!("CARGO_BIN_EXE_handler")]).env_clear().envs(&world.settings);
    host.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut host = Alone(host.spawn().unwrap());
    let mut pid = String::new();
    BufReader::new(host.0.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    // What has ended and was not waited for yet still has its folder there, as a zombie.
    let stat = std::path::Path::new("/proc").join(pid.trim()).join("stat");
    let is_there = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    until_it_answers(port).await;
    assert!(is_there());
    host.0.kill().unwrap();
    host.0.wait().unwrap();
    let died = std::time::Instant::now();
    until(|| !is_there()).await;
    assert!(died.elapsed() < Duration::from_secs(2), "{:?}", died.elapsed());
}

/// As PR_SET_PDEATHSIG would end it: .NET starts processes on threads of a pool.
#[tokio::test]
async fn it_outlives_the_thread_that_started_it() {
    let world = world().await;
    let lease = Port::lease().unwrap();
    let port = lease.number();
    let mut command = handler(&world, port);
    let mut alone = std::thread::spawn(move || Alone(command.spawn().unwrap())).join().unwrap();
    until_it_answers(port).await;
    // Longer than it takes to see that a host is gone.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(alone.0.try_wait().unwrap(), None);
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_in_one_line() {
    let world = world().await;
    let output = handler(&world, world.host.port()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(1), ""));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{}", world.host.port())) && said.contains("in use"), "{said}");
}

/// Every text in a record that is more than a word, which the log may say for its own reasons.
fn contents(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 7 && !text.chars().all(char::is_alphabetic) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| contents(item, found)),
        Value::Object(fields) => {
            let telling = fields.iter().filter(|(name, _)| !["Id", "CreationTime", "OrganizationId", "Workload"].contains(&name.as_str()));
            telling.for_each(|(_, value)| contents(value, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn nothing_that_is_printed_tells_a_secret_or_what_records_say() {
    let world = Setting::of_all_workloads().wired().start().await;
    let mut secret = Vec::new();
    for blob in generate::generate(3, 300, world.tenant.now()) {
        let Body::Records(texts) = &blob.body else { panic!("a blob of records") };
        texts.iter().for_each(|text| contents(&serde_json::from_str(text).unwrap(), &mut secret));
        world.tenant.publish(blob);
    }
    assert!(secret.len() > 2000, "{}", secret.len());
    secret.push(world.settings["OFFICE365_CLIENT_SECRET"].clone());
    secret.push(PAGE.to_owned());
    // Every token begins with the same words, as JSON Web Tokens do.
    secret.push(world.settings["COSMOS_KEY"].clone());
    secret.extend([account_key(), "eyJ", "Bearer", "SharedKey", "type=master", "type%3Dmaster"].map(str::to_owned));

    misfortunes(&world).await;
    world.tick().await;
    assert!(world.store_all_visible().await > 0);
    for invocation in [world.tick().await.invocation, world.tick().await.invocation] {
        assert!(invocation.outcome.is_success(), "{invocation:?}");
    }
    assert!(world.ids().await.len() > 200);

    let output = world.host.lines();
    assert!(output.len() > 20);
    for line in &output {
        let said: Value = serde_json::from_str(&line.text).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let level = match said["level"].as_str().unwrap() {
            "ERROR" => LogLevel::Error,
            "WARN" => LogLevel::Warning,
            _ => LogLevel::Information,
        };
        assert_eq!(line.level, level, "the host takes it for another: {line:?}");
        let told: Vec<_> = secret.iter().filter(|text| line.text.contains(text.as_str())).collect();
        assert!(told.is_empty(), "{told:?} in {}", line.text);
    }
    let printed = world.host.output().join("\n");
    for trouble in [
        "AF50000",
        "no JSON array",
        "is cut short",
        "outside the configured",
        "expected a JSON array",
        "database refused",
        "content queue did not",
    ] {
        assert!(printed.contains(trouble), "{trouble} did not happen");
    }
}

/// What a proxy may say of whoever asks.
const PAGE: &str = "<p>megan@contoso.example may not</p>";

/// One of each kind of trouble, so that what is printed about it can be searched.
async fn misfortunes(world: &World) {
    let wire = world.wire();
    wire.spoil(At::Send, 0, 1, What::Refused);
    world.tick().await;
    wire.mend();

    world.tenant.revoke_tokens();
    world.tenant.fail(Fault::once(Operation::ListContent, FaultKind::internal()).matching(EXCHANGE).times(4));
    world.tick().await;

    let blobs: Vec<String> =
        world.tenant.blobs().into_iter().filter(|blob| blob.content_type == EXCHANGE).map(|blob| blob.id).take(4).collect();
    let page = FaultKind::Status { status: 403, body: PAGE.to_owned(), content_type: "text/html".to_owned(), retry_after: None };
    for fault in [page, FaultKind::Html, FaultKind::Clipped { bytes: 700 }, FaultKind::Truncated { bytes: 700 }] {
        world.tenant.fail(Fault::once(Operation::FetchContent, fault));
    }
    world.store(&world.message(&blobs)).await;
    world.store(&format!("[{:?}]", "https://elsewhere.example/x")).await;
    world.store(&record("hand-made")).await;
    for trouble in [CosmosFaultKind::status(403), CosmosFaultKind::status(400), CosmosFaultKind::status(503)] {
        world.cosmos.fail(CosmosFault::lasting(trouble));
        world.store(&world.message(&blobs[..1])).await;
        world.cosmos.clear_faults();
    }
}

/// Taken out: with `println!`, a reader who has gone makes the function panic after its work was done, and the host does it again.
#[tokio::test]
async fn a_reader_of_its_output_who_has_gone_is_no_trouble() {
    let world = world().await;
    let lease = Port::lease().unwrap();
    let port = lease.number();
    let mut alone = Alone(handler(&world, port).spawn().unwrap());
    drop((alone.0.stdout.take(), alone.0.stderr.take()));
    until_it_answers(port).await;
    let blob = world.publish(3, &["a"]);
    let body = json!({"Data": {"msg": world.message(&[blob])}}).to_string();
    let answer = post(port, "StoreEvents", Uuid::new_v4(), &body, true).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(world.ids().await, ["a"]);
    // What fails is answered as well, though nobody reads why.
    let answer = post(port, "StoreEvents", Uuid::new_v4(), r#"{"Data":{"msg":"no"}}"#, true).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(alone.0.try_wait().unwrap().is_none());
}
