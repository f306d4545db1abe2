//! Repeats: the first delivery stays, every further one is counted, and none of them costs more than a little.

use std::sync::LazyLock;

use chrono::Utc;
use serde_json::json;
use standins::{
    cosmos::{CosmosFault, CosmosFaultKind, CosmosRequests},
    tenant::NewBlob,
};

use crate::world::{EXCHANGE, World, record_with, world};

/// Logical partitions that the records of one day fall into.
const PARTITIONS: u64 = 4;

fn ids(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("record-{number:04}")).collect()
}

/// Of one day, whenever the story is told.
fn record(id: &str) -> String {
    static TIME: LazyLock<String> = LazyLock::new(|| Utc::now().format("%Y-%m-%dT%H:%M:%S").to_string());
    record_with(id, json!({"CreationTime": *TIME}))
}

fn publish(world: &World, ids: &[String]) -> String {
    world.publish_records(&ids.iter().map(|id| record(id)).collect::<Vec<_>>())
}

fn writes(requests: CosmosRequests) -> u64 {
    requests.batches + requests.creates + requests.queries
}

/// Taken out: were each document of a batch that meets a conflict created by itself, this blob took over 200 requests.
#[tokio::test]
async fn a_batch_that_meets_repeats_costs_at_most_two_further_requests() {
    let world = world().await;
    let first = publish(&world, &ids(0..200));
    assert_eq!(world.store_blobs(std::slice::from_ref(&first)).await["documents"], json!(200));
    // A process that knows nothing of the first.
    world.host.restart().await;
    let before = writes(world.cosmos.requests());
    let line = world.store_blobs(&[publish(&world, &ids(100..300))]).await;
    assert_eq!((&line["records"], &line["documents"], &line["duplicates"]), (&json!(200), &json!(100), &json!(100)));
    let after = writes(world.cosmos.requests()) - before;
    assert!(after <= 3 * PARTITIONS, "{after} requests");
    let documents = world.documents().await;
    assert_eq!(documents.len(), 300);
    let from_first = |id: &String| documents[id]["feed"]["contentId"] == json!(first);
    assert!(ids(0..200).iter().all(from_first) && !ids(200..300).iter().any(from_first), "the first delivery stays");
}

#[tokio::test]
async fn a_repeat_of_what_this_process_stored_costs_no_request_and_is_counted() {
    let world = world().await;
    world.store_blobs(&[publish(&world, &ids(0..150))]).await;
    let before = writes(world.cosmos.requests());
    let line = world.store_blobs(&[publish(&world, &ids(0..150)), publish(&world, &ids(50..100))]).await;
    assert_eq!((&line["records"], &line["documents"], &line["duplicates"]), (&json!(200), &json!(0), &json!(200)));
    assert_eq!((writes(world.cosmos.requests()), world.documents().await.len()), (before, 150));
}

/// Taken out: were what was only sent taken for stored, the second delivery would store nothing, and call it a repeat.
#[tokio::test]
async fn what_the_database_did_not_take_is_no_repeat_later() {
    let world = world().await;
    let blob = publish(&world, &ids(0..50));
    world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
    assert!(!world.store(&world.message(std::slice::from_ref(&blob))).await.0.outcome.is_success());
    world.cosmos.clear_faults();
    let line = world.store_blobs(&[blob]).await;
    assert_eq!((&line["documents"], &line["duplicates"]), (&json!(50), &json!(0)));
    assert_eq!(world.documents().await.len(), 50);
}

/// Messages that are handled at the same time, each full of what the others hold too.
#[tokio::test]
async fn repeats_in_flight_beside_each_other_are_stored_once_and_counted() {
    let world = world().await;
    for round in 0..12 {
        let mut records = ids(0..60);
        records.rotate_left(round * 5);
        records.extend(ids(1000 + round * 10..1010 + round * 10));
        world.tenant.publish(NewBlob::new(EXCHANGE, world.ago(60), records.iter().map(|id| record(id)).collect()));
    }
    world.tick().await;
    world.store_all().await;
    let stored = world.journalled("stored").await;
    let sum = |name: &str| stored.iter().filter_map(|line| line[name].as_u64()).sum::<u64>();
    assert_eq!((stored.len(), sum("records"), sum("documents"), sum("duplicates")), (12, 840, 180, 660));
    assert_eq!(world.documents().await.len(), 180);
}
