//! What is on the queue: the same record twice, messages made by hand, bodies that are none, and addresses that lead away.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::TimeDelta;
use serde_json::{Value, json};
use standins::tenant::{Fault, FaultKind, NewBlob, Operation};
use tokio::net::TcpListener;

use crate::world::{EXCHANGE, SHAREPOINT, Setting, World, reason, record, record_with, world};

#[tokio::test]
async fn a_record_in_two_blobs_of_one_message_is_one_document_and_one_counted_duplicate() {
    let world = world().await;
    let blobs = [world.publish(3, &["a", "b"]), world.publish(2, &["b", "c"])];
    world.storage.create_container(&world.container).await.unwrap();
    let line = world.store_blobs(&blobs).await;
    assert_eq!((&line["records"], &line["documents"], &line["duplicates"]), (&json!(4), &json!(3), &json!(1)), "{line}");
    assert_eq!(world.ids().await, ["a", "b", "c"]);
    let stored = world.journalled("stored").await;
    let sum = |name: &str| stored.iter().map(|line| line[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((stored.len(), sum("records"), sum("documents"), sum("duplicates")), (2, 4, 3, 1), "{stored:?}");
    assert_eq!((world.cosmos.requests().conflicts, world.cosmos.requests().creates), (0, 0), "it never reached the database");
}

#[tokio::test]
async fn a_record_in_two_messages_is_one_document_and_the_first_stays_with_its_feed() {
    let world = world().await;
    let (first, second) = (world.publish(3, &["a", "b"]), world.publish(2, &["b", "c"]));
    world.storage.create_container(&world.container).await.unwrap();
    world.store_blobs(std::slice::from_ref(&first)).await;
    let before = world.documents().await;
    let line = world.store_blobs(std::slice::from_ref(&second)).await;
    assert_eq!((&line["documents"], &line["duplicates"]), (&json!(1), &json!(1)), "{line}");
    let after = world.documents().await;
    assert_eq!((&after["a"], &after["b"]), (&before["a"], &before["b"]));
    assert_eq!((&after["b"]["feed"]["contentId"], &after["c"]["feed"]["contentId"]), (&json!(first), &json!(second)));
    let stored = world.journalled("stored").await;
    let of_second = stored.iter().find(|line| line["id"] == json!(second)).unwrap();
    assert_eq!((&of_second["records"], &of_second["documents"], &of_second["duplicates"]), (&json!(2), &json!(1), &json!(1)));
}

/// Taken out: with a key made of the record's text, it is there twice.
#[tokio::test]
async fn a_record_that_comes_days_later_with_its_fields_in_another_order_is_the_same_document() {
    let world = world().await;
    let first = record("a");
    let fields: serde_json::Map<String, Value> = serde_json::from_str(&first).unwrap();
    let backwards: Vec<String> = fields.iter().rev().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
    let backwards = format!("{{{}}}", backwards.join(", "));
    assert_ne!(backwards, first);
    world.publish_records(&[first]);
    world.tick().await;
    world.store_all().await;
    let before = world.documents().await;
    world.travel(TimeDelta::days(5));
    world.publish_records(&[backwards]);
    world.tick().await;
    world.store_all().await;
    assert_eq!((world.documents().await, before.len()), (before, 1));
    let stored = world.journalled("stored").await;
    assert_eq!((stored.len(), &stored[1]["duplicates"]), (2, &json!(1)), "{stored:?}");
}

#[tokio::test]
async fn duplicates_among_more_records_than_a_batch_takes_are_counted_one_by_one() {
    let world = Setting::default().with("PARTITIONS_PER_DAY", "1").start().await;
    let ids: Vec<String> = (0..250).map(|number| format!("r{number:03}")).collect();
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.storage.create_container(&world.container).await.unwrap();
    // Every tenth was there before, and every fiftieth stands twice in the blob.
    let early: Vec<&str> = all.iter().copied().step_by(10).collect();
    let first = world.publish(3, &early);
    world.store_blobs(&[first]).await;
    let twice: Vec<&str> = all.iter().copied().chain(all.iter().copied().step_by(50)).collect();
    let second = world.publish(2, &twice);
    let line = world.store_blobs(&[second]).await;
    assert_eq!((&line["records"], &line["documents"], &line["duplicates"]), (&json!(255), &json!(225), &json!(30)), "{line}");
    assert_eq!(world.ids().await, ids);
    assert_eq!(world.documents().await.values().map(|document| document["pk"].to_string()).collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_blob_listed_twice_in_a_message_is_fetched_once() {
    let world = world().await;
    let blob = world.publish(3, &["a"]);
    let mut items: Vec<Value> = serde_json::from_str(&world.message(&[blob.clone(), blob])).unwrap();
    items.push(items[0]["uri"].clone());
    let (invocation, line) = world.store(&Value::from(items).to_string()).await;
    assert!(invocation.outcome.is_success(), "{}", world.logged("WARN"));
    assert_eq!((&line["blobs"], &line["stored"], &line["duplicates"]), (&json!(1), &json!(1), &json!(0)), "{line}");
    assert_eq!(world.calls(Operation::FetchContent).len(), 1);
}

#[tokio::test]
async fn bare_uris_that_an_operator_puts_on_the_queue_are_stored_with_what_is_known() {
    let world = world().await;
    let named = world.publish(3, &["a"]);
    let opaque =
        world.tenant.publish(NewBlob { id: Some("4926$04".to_owned()), ..NewBlob::new(SHAREPOINT, world.ago(2), vec![record("b")]) });
    let whole = world.publish(1, &["c"]);
    let uri = |id: &String| world.tenant.content_uri(id).unwrap();
    let item: Vec<Value> = serde_json::from_str(&world.message(std::slice::from_ref(&whole))).unwrap();
    // No tick ran before: the handler makes what it needs, wherever its first work comes from.
    world.storage.create_queue(&world.queue).await.unwrap();
    let bare = json!([uri(&named), format!("  {}\n", uri(&opaque))]).to_string();
    for message in [bare, json!([item[0], uri(&opaque), {"uri": uri(&opaque)}]).to_string()] {
        world.storage.send_message(&world.queue, &message).await.unwrap();
        let summary = world.store_all().await;
        assert_eq!((summary.succeeded(), summary.failed()), (1, 0), "{}", world.logged("WARN"));
    }

    let documents = world.documents().await;
    let feed = |id: &str| documents[id]["feed"].clone();
    // The service's ids end their range at the time of creation.
    let blobs = world.tenant.blobs();
    let created = blobs.iter().find(|blob| blob.id == named).unwrap().created.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    assert_eq!(feed("a"), json!({"contentType": EXCHANGE, "contentId": named, "contentCreated": created}));
    assert_eq!(feed("b"), json!({"contentType": null, "contentId": opaque, "contentCreated": null}));
    assert_eq!((&feed("c")["contentId"], &feed("c")["contentCreated"]), (&json!(whole), &item[0]["created"]));
    assert!(world.journalled("stored").await.iter().any(|line| line["id"] == json!(named)));
    let unknown: Vec<Value> = world.journal("unknown").await;
    let figures: Vec<_> =
        unknown.iter().map(|line| (line["event"].as_str(), line["documents"].as_u64(), line["duplicates"].as_u64())).collect();
    assert_eq!(figures, [(Some("stored"), Some(1), Some(0)), (Some("stored"), Some(0), Some(1))]);
}

#[tokio::test]
async fn blobs_of_one_name_at_two_addresses_are_two_pieces_of_work() {
    let world = world().await;
    let blob = world.publish(3, &["a"]);
    let uri = world.tenant.content_uri(&blob).unwrap();
    let elsewhere = uri.replace("https://localhost", "https://elsewhere.example");
    let message = json!([elsewhere, uri, "https://elsewhere.example/", "https://elsewhere.example/more/"]).to_string();
    world.storage.create_container(&world.container).await.unwrap();
    let (invocation, line) = world.store(&message).await;
    assert!(invocation.outcome.is_success());
    assert_eq!((&line["blobs"], &line["stored"], &line["requeued"]), (&json!(4), &json!(1), &json!(3)), "{line}");
    assert_eq!(world.ids().await, ["a"]);
}

#[tokio::test]
async fn a_message_that_is_none_fails_saying_what_was_expected_and_ends_in_the_poison_queue_alone() {
    let mut setting = Setting::default();
    // Five deliveries at once instead of one every half minute.
    setting.host.visibility_timeout = Some(std::time::Duration::ZERO);
    let world = setting.start().await;
    let bad = ["hello secret", r#"{"uri":"secret"}"#, "[1]", r#"["secret", {"id":"no uri"}]"#, "3", "[\"cut"];
    world.publish(3, &["a"]);
    world.tick().await;
    for text in bad {
        world.storage.send_message(&world.queue, text).await.unwrap();
    }
    let summary = world.store_all().await;
    assert_eq!((summary.succeeded(), summary.failed(), summary.poisoned), (1, 5 * bad.len(), bad.len() as u64));
    assert_eq!(world.ids().await, ["a"], "the others go on");
    let poisoned: BTreeSet<String> = world.poison_queue().await.into_iter().collect();
    assert_eq!(poisoned, bad.iter().map(|text| (*text).to_owned()).collect());

    let failed = summary.invocations.iter().find(|invocation| !invocation.outcome.is_success()).unwrap();
    assert!(reason(failed).contains("422"), "{failed:?}");
    let errors: Vec<Value> = world.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 5 * bad.len());
    for error in errors {
        let text = error["error"].as_str().unwrap();
        assert!(
            text.contains(r#"expected a JSON array of {"uri","type","id","created","expires","attempt"} or of content URIs"#),
            "{text}"
        );
    }
    assert!(!world.host.output().join("\n").contains("secret"), "a message's content is printed");
}

/// A blob that cannot be had whole: how it is made so, and what the error says of it.
struct Spoilt {
    name: &'static str,
    body: &'static str,
    content_type: &'static str,
    fault: Option<FaultKind>,
    said: &'static str,
}

const JSON: &str = "application/json";
const RECORDS: &str = r#"[{"Id":"bad","UserId":"secret@contoso.example"},{"Id":"worse"}]"#;

fn spoilt() -> Vec<Spoilt> {
    let body = |name, body, said| Spoilt { name, body, content_type: JSON, fault: None, said };
    let wire = |name, fault, said| Spoilt { name, body: RECORDS, content_type: JSON, fault: Some(fault), said };
    vec![
        body("an object", r#"{"Id":"bad","UserId":"secret"}"#, "it is no JSON array (30 bytes of application/json)"),
        body("no array to its end", r#"[{"Id":"bad"},{"Id":"sec"#, "it is cut short (24 bytes of application/json)"),
        body("no value", "[{\"Id\":\"bad\"},]", "it is no JSON array (15 bytes of application/json)"),
        body("no JSON within", r#"[{"Id":"bad"},{"Id":secret}]"#, "a record is no valid JSON (28 bytes of application/json)"),
        body("two arrays", r#"[{"Id":"bad"}]["secret"]"#, "something follows the array (24 bytes of application/json)"),
        Spoilt { content_type: "text/plain", ..body("text", "secret", "it is no JSON array (6 bytes of text/plain)") },
        wire("cut short", FaultKind::Clipped { bytes: 40 }, "it is cut short (40 bytes of application/json)"),
        wire("a proxy's page", FaultKind::Html, "it is no JSON array (96 bytes of text/html; charset=utf-8)"),
        wire("nothing", FaultKind::EmptyBody, "it is no JSON array (0 bytes of application/json; charset=utf-8)"),
        wire("a lost connection", FaultKind::Truncated { bytes: 20 }, "fetch content blob: the connection failed"),
    ]
}

#[tokio::test]
async fn a_body_that_is_no_whole_array_of_records_puts_that_blob_back_alone_and_stores_nothing_of_it() {
    let world = Setting::default().wired().start().await;
    world.storage.create_container(&world.container).await.unwrap();
    for (number, Spoilt { name, body, content_type, fault, said }) in spoilt().into_iter().enumerate() {
        let good = format!("good{number}");
        let blobs = [world.publish(3, &[&good]), world.publish_raw(body, content_type)];
        let bad = &blobs[1];
        if let Some(fault) = fault {
            world.tenant.fail(Fault::once(Operation::FetchContent, fault).matching(bad));
        }
        let line = world.store_blobs(&blobs).await;
        assert_eq!((&line["stored"], &line["requeued"], &line["lost"]), (&json!(1), &json!(1), &json!(0)), "{name}: {line}");
        assert_eq!((&line["records"], &line["documents"]), (&json!(1), &json!(1)), "{name}: {line}");

        let sent = world.last_sent();
        let mut expected: Vec<Value> = serde_json::from_str(&world.message(std::slice::from_ref(bad))).unwrap();
        expected[0]["attempt"] = json!(1);
        assert_eq!(Value::from(sent.items), times_as_queued(expected), "{name}");
        assert!((24..=36).contains(&sent.hidden_for), "{name}: {} s", sent.hidden_for);

        let warned = world.logged("WARN");
        assert!(warned.contains(said), "{name}: {warned}");
        let journal = world.journal(EXCHANGE).await;
        let events: Vec<_> = journal.iter().filter(|line| line["id"] == json!(bad)).map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["queued"], "{name}");
    }
    assert_eq!(world.wire().sent().len(), spoilt().len());
    let ids = world.ids().await;
    assert!(ids.len() == spoilt().len() && ids.iter().all(|id| id.starts_with("good")), "{ids:?}");
    let output = world.host.output().join("\n");
    assert!(!output.contains("secret") && !output.contains("proxy"), "{output}");
}

/// The handler writes its times with milliseconds.
fn times_as_queued(mut items: Vec<Value>) -> Value {
    for item in &mut items {
        for name in ["created", "expires"] {
            let time = chrono::DateTime::parse_from_rfc3339(item[name].as_str().unwrap()).unwrap();
            item[name] = json!(time.to_utc().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        }
    }
    Value::from(items)
}

#[tokio::test]
async fn a_large_blob_cut_short_is_stored_whole_when_it_comes_again() {
    let world = Setting::default().wired().start().await;
    world.storage.create_container(&world.container).await.unwrap();
    let text = "x".repeat(10_000);
    let records: Vec<String> = (0..200).map(|number| record_with(&format!("r{number:03}"), json!({"Text": text}))).collect();
    let blob = world.publish_records(&records);
    world.tenant.fail(Fault::once(Operation::FetchContent, FaultKind::Clipped { bytes: 1_500_000 }));
    let line = world.store_blobs(std::slice::from_ref(&blob)).await;
    assert_eq!((&line["stored"], &line["requeued"], &line["records"], &line["documents"]), (&json!(0), &json!(1), &json!(0), &json!(0)));
    let (again, line) = world.store(&world.last_sent().text()).await;
    assert!(again.outcome.is_success());
    assert_eq!((&line["stored"], &line["records"]), (&json!(1), &json!(200)));
    assert_eq!(line["documents"].as_u64().unwrap() + line["duplicates"].as_u64().unwrap(), 200);
    assert_eq!(world.ids().await.len(), 200);
}

/// Someone else's server: counts who connects.
struct Foreign {
    address: String,
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Foreign {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address: format!("127.0.0.1:{port}"), port, connections }
    }

    async fn saw(&self) -> usize {
        // A connection of our own that is counted comes after all that were made before.
        tokio::net::TcpStream::connect(&self.address).await.unwrap();
        while self.connections.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        self.connections.load(Ordering::SeqCst) - 1
    }
}

/// Addresses that are not the API's, though some look like it. `path` is what the API's own would have.
fn led_away(world: &World, foreign: &Foreign, path: &str) -> Vec<String> {
    let (root, tenant) = (world.tenant.api_url().as_str().trim_end_matches('/').to_owned(), world.tenant.tenant_id());
    let (authority, away) = (root.trim_start_matches("https://"), &foreign.address);
    let own = format!("api/v1.0/{tenant}/activity/feed/{path}");
    let other = uuid::Uuid::new_v4();
    vec![
        format!("https://{away}/{own}"),
        format!("https://localhost:{}/{own}", foreign.port),
        format!("http://{away}/{own}"),
        format!("http://{authority}/{own}"),
        format!("https://{authority}@{away}/{own}"),
        format!("https://user:password@{authority}/{own}"),
        format!("https://user@{authority}/{own}"),
        format!("https:\\\\{away}\\{own}"),
        format!("//{away}/{own}"),
        format!("https://{authority}.evil.example/{own}"),
        format!("{root}/api/v1.0/{other}/activity/feed/{path}"),
        format!("{root}/api/v1.0/{tenant}/../{other}/activity/feed/{path}"),
        format!("{root}/api/v1.0/{tenant}%2f..%2f{other}/activity/feed/{path}"),
        format!("{root}/api/v2.0/{tenant}/activity/feed/{path}"),
        format!("{root}/{path}"),
        format!("ftp://{authority}/{own}"),
        "file:///etc/passwd".to_owned(),
        "not an address".to_owned(),
    ]
}

/// Taken out: were such an address asked for, the token would go to whom it names; were it a loss, a wrong setting would be one.
#[tokio::test]
async fn a_content_uri_that_leads_away_is_refused_before_any_request_and_lost_only_when_it_has_expired() {
    let (world, foreign) = (world().await, Foreign::start().await);
    let good = world.publish(3, &["a"]);
    let away = led_away(&world, &foreign, "audit/x?sig=secret");
    for (number, uri) in away.iter().enumerate() {
        let (id, uri, expires) = (Some(format!("away{number:02}")), Some(uri.clone()), Some(world.ago(-20)));
        world.tenant.publish(NewBlob { id, uri, expires, ..NewBlob::new(EXCHANGE, world.ago(2), vec![record("never")]) });
    }
    world.tick().await;
    let message: Vec<Value> = world.messages().await.concat();
    world.store_all_visible().await;
    assert_eq!(world.journalled("lost").await.len(), 0);
    let errors = world.logged("ERROR");
    assert_eq!(errors.matches("outside the configured API root and tenant").count(), away.len(), "{errors}");
    assert!(!errors.contains("secret") && !errors.contains("password"), "{errors}");

    world.travel(TimeDelta::minutes(21));
    world.tick().await;
    let (invocation, line) = world.store(&Value::from(message).to_string()).await;
    assert!(invocation.outcome.is_success(), "{invocation:?}");
    assert_eq!((&line["lost"], &line["requeued"]), (&json!(away.len()), &json!(0)), "{line}");
    let lost = world.journalled("lost").await;
    let ids: BTreeSet<_> = lost.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids, (0..away.len()).map(|number| format!("away{number:02}")).collect::<Vec<_>>().iter().map(String::as_str).collect());
    assert!(lost.iter().all(|line| line["reason"].as_str().unwrap().starts_with("expired before it could be stored: refused to call")));
    assert!(!world.host.output().join("").contains("password"));

    let calls = world.tenant.calls();
    let fetched: Vec<_> = calls.iter().filter(|call| matches!(call.operation, Operation::FetchContent | Operation::Other)).collect();
    assert_eq!(fetched.len(), 1, "{fetched:?}");
    assert!(fetched[0].path.ends_with(&good));
    assert_eq!(foreign.saw().await, 0);
    assert_eq!(world.ids().await, ["a"]);
}

#[tokio::test]
async fn a_next_page_that_leads_away_leaves_its_window_incomplete_and_the_checkpoint_where_it_was() {
    let (world, foreign) = (world().await, Foreign::start().await);
    world.publish(3, &["a"]);
    let before = world.ago(60).format("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    world.write_checkpoint(EXCHANGE, &before).await;
    for uri in led_away(&world, &foreign, "subscriptions/content?contentType=Audit.Exchange&nextPage=1") {
        world.tenant.clear_calls();
        world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::ForeignNextPage(uri.clone())));
        let tick = world.tick().await;
        assert!(reason(&tick.invocation).contains("500"), "{uri}");
        assert_eq!((&tick.exchange()["outcome"], &tick.exchange()["queued"]), (&json!("failed"), &json!(0)), "{uri}");
        assert_eq!(world.checkpoint(EXCHANGE).await.as_deref(), Some(before.as_str()), "{uri}");
        let calls = world.tenant.calls();
        assert!(calls.iter().all(|call| call.operation != Operation::Other), "{uri}: {calls:?}");
        let listings = world.calls(Operation::ListContent);
        assert!(listings.iter().all(|call| call.parameter("nextPage").is_none()), "{uri}: {listings:?}");
        world.tenant.clear_faults();
    }
    let errors: Vec<Value> = world.lines().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), led_away(&world, &foreign, "").len());
    assert!(errors.iter().all(|line| line["error"].as_str().unwrap().contains("outside the configured API root and tenant")), "{errors:?}");
    assert!(!world.host.output().join("\n").contains("password"));
    assert_eq!(foreign.saw().await, 0);

    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(1), "the next run makes up for it: {}", tick.line);
}
