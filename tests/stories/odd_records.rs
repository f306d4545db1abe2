//! Records that are none, records that are too large, and documents that the database refuses: neighbours are stored, and
//! what is odd is a document that says so.

use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use standins::cosmos::{CosmosFault, CosmosFaultKind};

use crate::world::{Setting, World, record, record_with, world};

fn sha256(text: &str) -> String {
    format!("sha256-{:x}", Sha256::digest(text))
}

async fn reduced(world: &World) -> Vec<(String, Value)> {
    let lines = world.journalled("reduced").await;
    let mut reduced: Vec<_> = lines.iter().map(|line| (line["record"].as_str().unwrap().to_owned(), line["omitted"].clone())).collect();
    reduced.sort_by(|one, other| one.0.cmp(&other.0));
    reduced
}

/// Taken out: were an element that is no object a fault of the whole body, its neighbours would wait for seven days and be lost.
#[tokio::test]
async fn an_element_that_is_no_record_is_a_document_of_its_own_and_costs_its_neighbours_nothing() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    let values = ["null", "7", "-1.5e3", "true", "false", "\"te]xt, \\\"so\\\"\"", "[]", "[1,{\"b\":[2],\"a\":1}]", "9007199254740993"];
    let body = format!("[{},{},{}]", record("a"), values.join(" ,\n"), record("b"));
    let blob = world.publish_raw(body, "application/json");
    let line = world.store_blobs(&[blob]).await;
    assert_eq!((&line["stored"], &line["requeued"], &line["lost"]), (&json!(1), &json!(0), &json!(0)), "{line}");
    assert_eq!((&line["records"], &line["documents"]), (&json!(11), &json!(11)), "{line}");

    let mut documents = world.documents().await;
    documents.remove("a").expect("the neighbour before");
    documents.remove("b").expect("the neighbour behind");
    let expected = [
        ("null", json!(null)),
        ("7", json!(7)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("\"te]xt, \\\"so\\\"\"", json!("te]xt, \"so\"")),
        ("[]", json!([])),
        ("[1,{\"a\":1,\"b\":[2]}]", json!([1, {"a": 1, "b": [2]}])),
    ];
    for (canonical, value) in expected {
        let document = documents.remove(&sha256(canonical)).unwrap_or_else(|| panic!("{canonical}: {documents:?}"));
        assert_eq!(document["record_value"], value, "{document}");
        assert!(document["pk"].as_str().unwrap().starts_with("unknown-"), "{document}");
        assert!(document["ttl"].as_i64().unwrap() >= 86_400 && document["feed"]["contentId"].is_string(), "{document}");
        assert!(document.get("omitted").is_none(), "{document}");
    }
    let rest: Vec<_> = documents.into_values().map(|document| document["record_value"].clone()).collect();
    let is_number = |value: &Value| value.as_f64() == Some(-1500.0);
    assert!(rest.len() == 2 && rest.iter().any(is_number) && rest.contains(&json!("9007199254740993")), "{rest:?}");
    assert_eq!(reduced(&world).await.len(), 9);
}

/// Taken out: with one value in two blobs two documents, it would be there twice.
#[tokio::test]
async fn the_same_value_again_is_a_duplicate() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    let one = world.publish_raw("[null, {\"Id\":\"a\"}]", "application/json");
    let other = world.publish_raw("[ null,null ]", "application/json");
    world.store_blobs(&[one]).await;
    let line = world.store_blobs(&[other]).await;
    assert_eq!((&line["records"], &line["documents"], &line["duplicates"]), (&json!(2), &json!(0), &json!(2)), "{line}");
    assert_eq!(world.ids().await.len(), 2);
}

/// Taken out: were a record that is too large a fault of its body, its neighbours would be lost with it; were it held to its
/// end, memory would grow with it.
#[tokio::test]
async fn a_record_beyond_what_is_taken_is_a_document_that_says_so_and_costs_its_neighbours_nothing() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    let large = "x".repeat(17 * 1024 * 1024);
    let huge = record_with("huge", json!({"CreationTime": "2026-11-20T10:00:00", "Text": large, "After": [1]}));
    let (before, after) = (format!("{{\"A\":\"{large}\",\"Id\":\"late\"}}"), format!("[\"{large}\"]"));
    let body = format!("[{},{huge},{before},{after},{}]", record("a"), record("b"));
    let blob = world.publish_raw(body, "application/json");
    let line = world.store_blobs(&[blob]).await;
    assert_eq!((&line["stored"], &line["records"], &line["documents"]), (&json!(1), &json!(5), &json!(5)), "{line}");
    let documents = world.documents().await;
    assert!(documents.contains_key("a") && documents.contains_key("b"), "{:?}", documents.keys());
    let document = &documents["huge"];
    assert_eq!(document["omitted"], json!(["all"]), "{document}");
    assert!(document["pk"].as_str().unwrap().starts_with("2026-11-20-"), "{document}");
    assert!(document.get("UserId").is_none() && document["edges"].is_array() && document["feed"]["contentId"].is_string(), "{document}");
    assert_eq!(documents["late"]["omitted"], json!(["all"]));
    let omitted: Vec<_> = reduced(&world).await;
    assert!(omitted.len() == 3 && omitted.iter().all(|(_, omitted)| *omitted == json!(["all"])), "{omitted:?}");
}

/// Taken out: were the refusal of one document its blob's, the blob would be fetched and written some 350 times, and be lost
/// whole in the end.
#[tokio::test]
async fn a_document_that_the_database_refuses_is_stored_as_one_that_says_so() {
    join_all([400, 413].map(|status| async move {
        let world = Setting::default().with("PARTITIONS_PER_DAY", "1").wired().start().await;
        world.publish(50, &["a", "b", "c"]);
        world.publish(40, &["d"]);
        world.tick().await;
        // The batch, and then one of those that are tried alone.
        world.cosmos.fail(CosmosFault::times(CosmosFaultKind::status(status), 2));
        let (invocation, line) = world.store(&world.last_sent().text()).await;
        assert!(invocation.outcome.is_success(), "{status}: {invocation:?}");
        assert_eq!((&line["stored"], &line["requeued"]), (&json!(2), &json!(0)), "{status}: {line}");
        assert_eq!((&line["documents"], &line["reduced"]), (&json!(4), &json!(1)), "{status}: {line}");
        let documents = world.documents().await;
        let stubs: Vec<_> = documents.values().filter(|document| document["omitted"] == json!(["all"])).collect();
        let [stub] = stubs.as_slice() else { panic!("{status}: {documents:?}") };
        assert!(stub.get("UserId").is_none() && stub["feed"]["contentId"].is_string(), "{stub}");
        assert!(!stub["edges"].as_array().unwrap().is_empty() && stub["ttl"].as_i64().unwrap() > 86_400, "{stub}");
        assert_eq!(reduced(&world).await, [(stub["id"].as_str().unwrap().to_owned(), json!(["all"]))]);
        assert!(world.logged("ERROR").contains("reduced"), "{}", world.logged("ERROR"));
    }))
    .await;
}

/// Taken out: were a record that is no JSON its body's fault for ever, its neighbours would be lost with it; were it believed at
/// once, a body that was spoilt on the way would leave its mark.
#[tokio::test]
async fn a_record_that_is_no_json_however_often_it_is_fetched_costs_its_neighbours_nothing() {
    let world = Setting::default().wired().start().await;
    world.storage.create_container(&world.container).await.unwrap();
    let body = format!("[{},{{\"Id\":secret}},{}]", record("a"), record("b"));
    let blob = world.publish_raw(body, "application/json");
    let mut message = world.message(&[blob]);
    for attempt in 1..=3 {
        let (_, line) = world.store(&message).await;
        assert_eq!((&line["stored"], &line["requeued"]), (&json!(0), &json!(1)), "{attempt}: {line}");
        message = world.last_sent().text();
    }
    let (_, line) = world.store(&message).await;
    assert_eq!((&line["stored"], &line["records"], &line["documents"]), (&json!(1), &json!(3), &json!(3)), "{line}");
    let documents = world.documents().await;
    assert!(documents.contains_key("a") && documents.contains_key("b"), "{documents:?}");
    let odd = documents.values().find(|document| document.get("record_value").is_some()).unwrap();
    assert_eq!((&odd["record_value"], &odd["id"]), (&json!("{\"Id\":secret}"), &json!(sha256("{\"Id\":secret}"))), "{odd}");
    assert!(!world.host.output().join("\n").contains("secret"));
}
