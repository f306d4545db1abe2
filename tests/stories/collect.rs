//! Both functions together: whole tenants collected, every field looked at, and two runs at the same moment.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use chrono::{DateTime, TimeDelta};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use standins::{
    cosmos::CosmosOptions,
    host::{HostOptions, QueueUntil},
    tenant::{Body, Fault, FaultKind, NewBlob, Operation, generate, playback},
};

use crate::world::{EXCHANGE, Setting, World, real_records, start_host, tick, world};

/// A world for thousands of documents: the emulator is quick with many small partitions.
fn of_all_workloads() -> Setting {
    // Verbatim: without it, values that data loss prevention matched are dropped.
    let setting = Setting::of_all_workloads().with("DLP_VALUES", "keep");
    Setting { cosmos: CosmosOptions { partitions: 64, ..setting.cosmos }, ..setting }
}

const OWN: [&str; 6] = ["id", "pk", "ttl", "feed", "edges", "findings"];

/// A published blob, as far as documents tell of it.
struct Published {
    content_type: String,
    created: String,
    records: Vec<Map<String, Value>>,
}

/// Publishes blobs of records; by contentId.
fn publish(world: &World, blobs: Vec<NewBlob>) -> HashMap<String, Published> {
    let published = blobs.into_iter().map(|blob| {
        let Body::Records(texts) = &blob.body else { panic!("a blob of records") };
        let published = Published {
            content_type: blob.content_type.clone(),
            created: blob.created.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            records: texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect(),
        };
        (world.tenant.publish(blob), published)
    });
    published.collect()
}

/// Ticks and stores, and looks at every document; answers how many records and documents there were.
async fn collect_and_compare(world: &World, blobs: Vec<NewBlob>) -> (u64, usize) {
    let published = publish(world, blobs);
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{:?}", tick.invocation);
    let summary = world.store_all().await;
    assert_eq!((summary.failed(), summary.poisoned, summary.is_empty), (0, 0, true), "{}", world.logged("ERROR"));

    let documents = world.documents().await;
    for (id, document) in &documents {
        compare(id, document.as_object().unwrap(), &published);
    }

    let (mut records, mut created, mut duplicates) = (0, 0, 0);
    for invocation in &summary.invocations {
        let line = world.line_of(invocation).await;
        let figure = |name: &str| line[name].as_u64().unwrap();
        (records, created, duplicates) = (records + figure("records"), created + figure("documents"), duplicates + figure("duplicates"));
    }
    let all: usize = published.values().map(|blob| blob.records.len()).sum();
    assert_eq!((records, created, duplicates), (all as u64, documents.len() as u64, (all - documents.len()) as u64));
    (records, documents.len())
}

/// A document is its record, field by field, and what it says of where it came from is true.
fn compare(id: &str, document: &Map<String, Value>, published: &HashMap<String, Published>) {
    let feed = &document["feed"];
    let blob = &published[feed["contentId"].as_str().unwrap()];
    assert_eq!(*feed, json!({"contentType": blob.content_type, "contentId": feed["contentId"], "contentCreated": blob.created}));
    let own: Map<_, _> = document.clone().into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect();
    let record = blob.records.iter().find(|record| record["Id"] == *id).expect("the feed names a blob with this record");
    assert_eq!(own, *record, "{id}");
    for edge in document["edges"].as_array().unwrap() {
        let names: Vec<_> =
            edge.as_object().unwrap().iter().filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty())).collect();
        let is_label = edge["label"] == record["Operation"] || edge["label"] == "mentions" || edge["label"] == "acts as";
        assert!(names.len() == 5 && is_label, "{id}: {edge}");
        assert_ne!((&edge["from"], &edge["fromType"]), (&edge["to"], &edge["toType"]), "{id}");
    }

    let created = record["CreationTime"].as_str().unwrap();
    let n = Sha256::digest(id.as_bytes())[0] % 4;
    assert_eq!(document["pk"], json!(format!("{}-{n}", &created[..10])));
    let ends = DateTime::parse_from_rfc3339(&format!("{created}Z")).unwrap() + TimeDelta::days(90);
    let left = (ends.to_utc() - chrono::Utc::now()).num_seconds().max(86_400);
    assert!((left..left + 120).contains(&document["ttl"].as_i64().unwrap()), "{created}: {}", document["ttl"]);
}

async fn a_second_run_does_nothing(world: &World) {
    world.tenant.clear_calls();
    let before = world.cosmos.requests();
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success());
    for report in tick.line["workloads"].as_array().unwrap() {
        assert_eq!((&report["queued"], &report["messages"]), (&json!(0), &json!(0)), "{report}");
    }
    assert!(!world.calls(Operation::ListContent).is_empty());
    assert!(world.store_all().await.invocations.is_empty());
    assert!(world.calls(Operation::FetchContent).is_empty());
    assert_eq!(world.cosmos.requests(), before);
}

#[tokio::test]
async fn real_records_become_one_document_an_id_with_every_field_verbatim() {
    let Some(file) = real_records() else { return };
    let world = of_all_workloads().start().await;
    let blobs = playback::blobs(&file, 1, world.tenant.now()).unwrap();
    assert_eq!(collect_and_compare(&world, blobs).await, (4284, 2396));
    a_second_run_does_nothing(&world).await;
}

#[tokio::test]
async fn a_made_up_tenant_of_five_workloads_becomes_one_document_an_id_with_every_field_verbatim() {
    let world = of_all_workloads().start().await;
    let blobs = generate::generate(7, 2000, world.tenant.now());
    let (records, documents) = collect_and_compare(&world, blobs).await;
    assert_eq!(records, 2000);
    assert!(documents < 2000, "the seed repeats no record");
    a_second_run_does_nothing(&world).await;
}

#[tokio::test]
async fn two_ticks_at_the_same_moment_lose_nothing_and_store_nothing_twice() {
    for checkpoint_before in [None, Some(6 * 24 * 60)] {
        let world = world().await;
        if let Some(minutes) = checkpoint_before {
            world.write_checkpoint(EXCHANGE, &world.ago(minutes).to_rfc3339()).await;
        }
        two_ticks(world).await;
    }
}

async fn two_ticks(world: World) {
    let other = start_host(&world.settings, HostOptions::default()).await.unwrap();
    let blobs: Vec<String> =
        (0..30).map(|number| world.publish(number * 100 + 1, &[&format!("a{number}"), &format!("b{number}")])).collect();
    // Slow listings, so that each run meets the other's checkpoints.
    world.tenant.fail(Fault::always(Operation::ListContent, FaultKind::Delay(Duration::from_millis(100))));
    let ticks = tokio::join!(world.tick(), tick(&other));
    let ticks = [ticks.0, ticks.1];
    assert!(ticks.iter().all(|tick| tick.invocation.outcome.is_success()), "{}", world.logged("ERROR"));
    let (mut outcomes, mut moved_to) = (Vec::new(), BTreeMap::new());
    for tick in &ticks {
        let outcome = tick.exchange()["outcome"].as_str().unwrap();
        moved_to.insert(outcome, tick.exchange()["checkpoint_after"].clone());
        outcomes.push(outcome);
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["complete", "conflict"], "the second to write stops; the first goes on");
    assert_eq!(moved_to["complete"], json!(world.checkpoint(EXCHANGE).await));

    let queued: Vec<_> = world.journalled("queued").await;
    for blob in &blobs {
        assert!(queued.iter().any(|line| line["id"] == json!(blob)), "{blob} was never queued");
    }
    let (one, two) = tokio::join!(world.store_all(), other.run_queue(QueueUntil::empty()));
    assert_eq!((one.failed(), two.unwrap().failed()), (0, 0));
    assert_eq!(world.ids().await.len(), 60);
    assert_eq!(world.cosmos.document_count().await.unwrap(), 60);
}
