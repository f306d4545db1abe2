//! StoreEvents: fetching, duplicates, documents, journal.

use serde_json::json;
use standins::{
    host::InvocationOutcome,
    tenant::{Operation, TenantOptions},
};

use crate::world::{EXCHANGE, Setting, world};

#[tokio::test]
async fn what_was_queued_becomes_documents_and_the_journal_says_so() {
    let world = world().await;
    let blob = world.publish(90, &["a", "b", "b"]);
    world.tick().await;
    let summary = world.store_all().await;
    assert_eq!((summary.succeeded(), summary.poisoned), (1, 0), "{summary:?}\n{}", world.host.output().join("\n"));
    assert_eq!(world.ids().await, ["a", "b"]);
    let stored = &world.journalled("stored").await[0];
    assert_eq!(
        (&stored["id"], &stored["records"], &stored["documents"], &stored["duplicates"]),
        (&json!(blob), &json!(3), &json!(2), &json!(1))
    );
    let InvocationOutcome::Succeeded { logs, .. } = &summary.invocations[0].outcome else { panic!("{summary:?}") };
    let line = world.line_of(&summary.invocations[0]).await;
    // An invocation that went well is one line and one sentence.
    assert_eq!(logs.as_slice(), ["1 content blob, 3 records: 2 documents, 1 repeat"]);
    let of_it = world.lines().into_iter().filter(|other| other["invocation"] == line["invocation"]);
    assert_eq!(of_it.count(), 1);
    assert_eq!(line["workloads"][EXCHANGE]["documents"], json!(2));
}

/// Taken out: with the identifier left off the content's own address, all fetches share one allowance with everybody else who
/// leaves it off.
#[tokio::test]
async fn every_call_names_its_publisher() {
    let tenant = TenantOptions { subscribed: false, ..TenantOptions::default() };
    let world = Setting { tenant, ..Setting::default() }.start().await;
    world.publish(90, &["a"]);
    world.tick().await;
    world.store_all().await;
    let publisher = world.tenant.tenant_id().to_string();
    for operation in [Operation::ListSubscriptions, Operation::StartSubscription, Operation::ListContent, Operation::FetchContent] {
        let calls = world.calls(operation);
        assert!(!calls.is_empty() && calls.iter().all(|call| call.publisher.as_ref() == Some(&publisher)), "{calls:?}");
    }
}

#[tokio::test]
async fn a_replayed_message_fetches_and_writes_nothing() {
    let world = world().await;
    let blob = world.publish(90, &["a", "b"]);
    let message = world.message(&[blob]);
    world.storage.create_container(&world.container).await.unwrap();
    assert!(world.store(&message).await.0.outcome.is_success());
    let before = world.cosmos.requests();
    let (again, line) = world.store(&message).await;
    assert!(again.outcome.is_success());
    assert_eq!((&line["blobs"], &line["stored_before"], &line["documents"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!(world.calls(Operation::FetchContent).len(), 1);
    assert_eq!(world.cosmos.requests().creates + world.cosmos.requests().batches, before.creates + before.batches);
}
